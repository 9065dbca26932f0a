/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP door: /metrics (Prometheus), /health, /v1/stat, /v1/where,
 * /v1/why. Read only. libmicrohttpd with its epoll descriptor in the server's loop: no thread
 * of its own, so a request sees the store at rest. What requests may cost is
 * bounded: connections, bytes of a request, time of a connection, parts and
 * pins looked at, processor time for reports, bytes of answers not yet sent.
 *
 *   GET /metrics              text/plain; version=0.0.4
 *   GET /health[/live|/ready] 200, or 503 with reasons; {"live":true,
 *                             "ready":true,"degraded":["..."],"notes":[".."]}
 *   GET /v1/stat[?tenant=T]   what `onecopy stat --json` prints
 *   GET /v1/where?key=HEX[&tenant=T]
 *                             what `onecopy where --json` prints
 *   GET /v1/why?key=HEX[,HEX...][&ns=N][&tenant=T]
 *                             what `onecopy why --json` prints
 *   GET /                     what there is
 *
 * docs/formats/http.md has all of it. Built without libmicrohttpd, there is no
 * such door: http_create() is -ENOSYS.
 */
#ifndef ONECOPY_FRONT_HTTP_HTTP_H
#define ONECOPY_FRONT_HTTP_HTTP_H

#include "front/door.h"
#include "front/report/report.h"
#include "loop/loop.h"

struct http;

struct http_options {
	struct loop *loop;
	/* What is told. Stays the caller's; the door's own counts are among
	 * its doors from http_create() to http_destroy(), which may change it
	 * for that alone. */
	struct report *report;
	int listen_fd; /* listening, non-blocking; stays the caller's */
	/* PEM, whole; NULL: no TLS. Copied. */
	const char *certificate, *key;
	/* SHA-256 of the bearer token that all but / and /health/live and
	 * /health/ready want; NULL: none is asked for. Copied. */
	const uint8_t *token_sha256;
	bool anybody; /* without a token, and told so by name: all may ask */
	uint32_t max_connections; /* 0: 64; one address gets half of them */
};

/* -EINVAL with a line in the log: certificate or key are of no use. -ENOSYS:
 * not built in, or its library lacks what it takes (said in the log). */
int http_create(const struct http_options *options, struct http **ret_http);
/* Ends its connections; the listening socket goes on. */
void http_destroy(struct http *h);
/* The door's own counts: all of no tenant. */
const struct door *http_door(const struct http *h);
/* Called in each turn of the server; returns when it wants to be called again
 * at the latest, in the time of now_ns. Calls report_tick(). */
uint64_t http_tick(struct http *h, uint64_t now_ns);

#endif

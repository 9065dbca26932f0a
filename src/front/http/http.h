/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP door: /metrics (Prometheus), /health, /v1/stat, /v1/where. Read
 * only. libmicrohttpd with its epoll descriptor in the server's loop: no thread
 * of its own, so a request sees the store at rest. What a request may cost is
 * bounded: connections, bytes of a request, time, and parts looked at.
 *
 *   GET /metrics              text/plain; version=0.0.4
 *   GET /health[/live|/ready] 200, or 503 with reasons; {"live":true,
 *                             "ready":true,"degraded":["..."]}
 *   GET /v1/stat[?tenant=T]   what `onecopy stat --json` prints
 *   GET /v1/where?key=HEX     what `onecopy where --json` prints
 *   GET /                     what there is
 */
#ifndef ONECOPY_FRONT_HTTP_HTTP_H
#define ONECOPY_FRONT_HTTP_HTTP_H

#include "front/door.h"
#include "loop/loop.h"

struct http;

struct http_options {
	struct loop *loop;
	struct store *store;
	int listen_fd; /* listening, non-blocking; stays the caller's */
	/* PEM, whole; NULL: no TLS. Copied. */
	const char *certificate, *key;
	/* SHA-256 of the bearer token that /v1 and /metrics want; NULL: none
	 * is asked for. /health/live and /health/ready never ask. */
	const uint8_t *token_sha256;
	struct door *const *doors; /* what /metrics tells besides; also its own
				      is added by http_create() */
	unsigned n_doors;
	const char *version; /* of onecopy */
};

/* -EINVAL with a line in the log: certificate or key are of no use. */
int http_create(const struct http_options *options, struct http **ret_http);
void http_destroy(struct http *h);
/* The door's own counts. */
const struct door *http_door(const struct http *h);
/* Called in each turn of the server; returns when it wants to be called again
 * at the latest (UINT64_MAX: it does not). */
uint64_t http_tick(struct http *h, uint64_t now_ns);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doors over TCP of a server, as its configuration wants them. A door that
 * cannot be opened is a line in the log and a reason for /health; the node
 * serves without it, and tries again every few seconds: files of TLS may be in
 * the middle of being renewed, and what the server holds is worth more than a
 * start afresh. Meanwhile who connects to its port, which the keeper listens
 * on, is not left waiting: the connection is closed at once.
 */
#ifndef ONECOPY_PROG_DOORS_H
#define ONECOPY_PROG_DOORS_H

#include "config.h"
#include "front/http/http.h"
#include "front/resp/resp.h"
#include "listen.h"
#include "tls_files.h"

struct door_place {
	struct loop *loop;
	int fd;	       /* listening, the caller's; -1: none */
	bool retry;    /* not open, and to be tried again */
	bool refusing; /* fd is in the loop, to close who connects */
	char failure[TLS_FILES_ERROR]; /* why it is not there; "": it is */
};

struct doors {
	struct resp_door *resp; /* NULL: there is none */
	struct http *http;
	struct stream_tls *tls;
	struct door_place place[LISTEN_DOORS];
	const struct node_config *config;
	struct store *store;
	struct report *report;
	uint64_t retry_ns;
};

/* resp_fd, http_fd: listening, -1 none. They and all the rest stay the caller's
 * until doors_close(); the struct stays where it is. Doors are added to the
 * report. */
void doors_open(struct doors *d, const struct node_config *config,
		struct loop *loop, struct store *store, struct report *report,
		int resp_fd, int http_fd);
/* Takes one that is all zero. */
void doors_close(struct doors *d);
/* In every turn of the server; tries what is not open: when it wants to be called
 * again at the latest. */
uint64_t doors_turn(struct doors *d, uint64_t now_ns);

#endif

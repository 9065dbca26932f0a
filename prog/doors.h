/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doors over TCP of a server, as its configuration wants them. A door that
 * cannot be opened is a line in the log and a reason for /health; the node
 * serves without it.
 */
#ifndef ONECOPY_PROG_DOORS_H
#define ONECOPY_PROG_DOORS_H

#include "config.h"
#include "front/http/http.h"
#include "front/resp/resp.h"

struct doors {
	struct resp_door *resp; /* NULL: there is none */
	struct http *http;
	struct stream_tls *tls;
	char failure[2][128]; /* why a door is not there */
	unsigned n_failures;
};

/* resp_fd, http_fd: listening, -1 none; they stay the caller's. Doors are added
 * to the report. */
void doors_open(struct doors *d, const struct node_config *config,
		struct loop *loop, struct store *store, struct report *report,
		int resp_fd, int http_fd);
void doors_close(struct doors *d, struct report *report);
/* In every turn of the server: when it wants to be called again at the latest. */
uint64_t doors_turn(struct doors *d, uint64_t now_ns);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A thread's connection to the RESP door, for an actor of the torture. Blocking;
 * each call has a deadline. */
#ifndef ONECOPY_PROG_TORTURE_RESP_H
#define ONECOPY_PROG_TORTURE_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct torture_resp {
	uint16_t port;
	const char *user; /* of the node's configuration */
	int fd;		  /* -1: none; each call opens one */
	size_t at, len;	  /* of buf: what came and was not taken */
	char buf[4096];
};

#define TORTURE_PASSWORD "torture"

/* A negative errno: whether it happened is not known, and the connection is
 * closed. A positive answer: the server said no. */
int torture_resp_set(struct torture_resp *c, const char *name, const void *data,
		     size_t bytes);
/* OC_MISS; else *ret_bytes of it are in `data`, -EMSGSIZE if it is longer. */
int torture_resp_get(struct torture_resp *c, const char *name, void *data,
		     size_t cap, size_t *ret_bytes);
int torture_resp_del(struct torture_resp *c, const char *name);
/* 0 or OC_MISS. */
int torture_resp_exists(struct torture_resp *c, const char *name);
void torture_resp_close(struct torture_resp *c);

#endif

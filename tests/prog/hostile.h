/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client made by hand: the raw socket and, after a HELLO, the segment that
 * the node shares with it. It follows no rules.
 */
#ifndef ONECOPY_TESTS_PROG_HOSTILE_H
#define ONECOPY_TESTS_PROG_HOSTILE_H

#include "shm/layout.h"
#include "shm/segment.h"
#include "tests/prog/live.h"
#include "wire/msg.h"

struct hostile {
	int sock, bell;
	uint64_t id;
	uint64_t client_bytes;
	struct client_segment *seg;
	uint32_t pins, overflow;
	uint64_t seq;
};

/* Connected, nothing said. -errno. */
int hostile_socket(const struct live *n);
/* A good HELLO and its welcome. */
void hostile_join(const struct live *n, struct hostile *h);
void hostile_join_as(const struct live *n, struct hostile *h,
		     const char *tenant);
/* Descriptors of a region: payload, descriptors. 0, or what the node said. */
int hostile_region(struct hostile *h, uint32_t region, uint64_t generation,
		   bool *ret_writable, int ret_fds[2]);
void hostile_leave(struct hostile *h);
/* Stores a request in a slot and shows it. */
void hostile_push(struct hostile *h, uint32_t slot, struct ring_call call);
/* Pushes it and waits for its answer. */
struct ring_answer hostile_ask(const struct live *n, struct hostile *h,
			       uint32_t slot, struct ring_call call);
/* Waits for one message: its type; 0: closed. */
unsigned hostile_hear(int sock, union msg *ret_msg);

#endif

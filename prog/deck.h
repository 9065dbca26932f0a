/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload as the commands drive it: requests in order, each with the dense
 * numbers of its blocks, dealt to client processes. Made once before the
 * processes are forked; read-only afterwards.
 *
 * Dealing. A request goes where its conversation went before: to the client of
 * the last request of its session, or, in a trace without sessions, of the
 * request that shares its deepest block. A block that many conversations begin
 * with does not count (it would send everything to one client). Otherwise the
 * clients take turns.
 */
#ifndef ONECOPY_PROG_DECK_H
#define ONECOPY_PROG_DECK_H

#include <stdint.h>

struct deck_request {
	uint64_t at_ms; /* since the first request */
	uint64_t first; /* its blocks: block[first .. first + n) */
	uint32_t n;
	uint32_t client;
};

struct deck {
	struct deck_request *request;
	uint64_t requests;
	uint32_t *block; /* dense numbers, 0 .. distinct - 1 */
	uint64_t blocks;
	uint64_t *id; /* of a dense number, as in the trace */
	uint32_t distinct;
	uint32_t clients;
	/* while it is made */
	uint64_t request_cap, block_cap;
	uint32_t *slot; /* hash table: dense number + 1 */
	uint32_t slots, id_cap;
	uint64_t *session;
};

#define DECK_NO_SESSION UINT64_MAX

int deck_init(struct deck *d);	/* -ENOMEM */
void deck_fini(struct deck *d); /* zeroed or half-built: fine */
/* 0, -ENOMEM, -E2BIG (more blocks than fit in 31 bits). */
int deck_add(struct deck *d, uint64_t at_ms, uint64_t session,
	     const uint64_t *ids, uint32_t n);
/* Once, after the last deck_add(). clients > 0. */
int deck_deal(struct deck *d, uint32_t clients);

struct trace_source;

/* Takes at most `limit` requests (0: all) from a source. Its own failures are
 * said on stderr. */
int deck_load(struct deck *d, struct trace_source *source, uint64_t limit);

#endif

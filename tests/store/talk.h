/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of simulated clients. Key i of a history is key_of(i). */
#ifndef ONECOPY_TESTS_STORE_TALK_H
#define ONECOPY_TESTS_STORE_TALK_H

#include <onecopy/session.h>
#include "store/session.h"
#include "tests/store/world.h"

#define TALK_LEASE 60000u /* ms */
extern const struct world_config talk_world;
#define TALK_EACH 8u /* blocks of a session */
/* Memory holds those of two; leases do not end. */
extern const struct world_config talk_two;

/* The result; the session's id in *ret_id. NULL: no name. */
int64_t talk_open(struct sim *c, const char *name, unsigned flags,
		  uint64_t *ret_id);
int64_t talk_fork(struct sim *c, uint64_t parent, uint64_t keep,
		  const char *name, uint64_t *ret_id);
/* Keys first, first + 1, ... after `at` that are there. */
int64_t talk_append(struct sim *c, uint64_t id, uint32_t at, uint64_t first,
		    uint32_t n);
int64_t talk_state(struct sim *c, uint64_t id, enum ring_state what,
		   uint64_t expected_ms, uint64_t lease_ms);
/* The requests alone, for those who push and serve by themselves. */
struct ring_call talk_open_call(const char *name, unsigned flags);
struct ring_call talk_append_call(struct sim *c, uint64_t id, uint32_t at,
				  uint64_t first, uint32_t n);
/* A frame of a tail that is lent, and its seal under key n. */
struct ring_call talk_tail_call(struct sim *c, uint64_t id, uint64_t n,
				uint32_t tokens, uint32_t keys,
				enum ring_tail then,
				const struct ring_answer *grant);

/* For store_pool_attach(): they all live. */
bool talk_alive(void *ctx, uint64_t client);
struct session_record *talk_record(struct world *w, uint64_t id);
/* Has it exactly the keys first .. first + n - 1? Fails the test else. */
void talk_is(struct world *w, uint64_t id, uint64_t first, uint32_t n);
struct session_said talk_said(struct world *w, uint64_t id);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fleet at work, as its engines' events tell it: sessions that grow by turns
 * behind shared prefixes, tails that are evicted leaf first and sometimes not,
 * copies in a second tier and on a second engine. Deterministic.
 *
 * A turn is one event with the prompt's new blocks and one for each block that
 * was decoded; a removal is one event for each block, as vLLM sends them, or
 * one for up to 16.
 */
#ifndef ONECOPY_PROG_BENCH_INDEX_TRAFFIC_H
#define ONECOPY_PROG_BENCH_INDEX_TRAFFIC_H

#include "base/rng.h"
#include "index/fleet.h"

#define TRAFFIC_ENGINES	 64u
#define TRAFFIC_TIERS	 2u /* vram, dram */
#define TRAFFIC_PREFIXES 64u
#define TRAFFIC_LONGEST	 1600u /* blocks of a session */

struct traffic_session {
	uint16_t prefix, home, second;
	bool offloads;	 /* its blocks go to the second tier as well */
	uint32_t len;	 /* blocks in the home's first tier, from the root */
	uint32_t target; /* of the filling */
	uint32_t copied; /* blocks on `second` */
	uint32_t dram_from, dram_to;
};

struct traffic {
	struct rng rng;
	uint32_t n; /* sessions; a multiple of TRAFFIC_ENGINES */
	struct traffic_session *session;
	uint32_t prefix_len[TRAFFIC_PREFIXES];
	uint64_t on_engine[TRAFFIC_PREFIXES]; /* bit: an engine has the prefix */
	/* the log: events in order, and their names */
	struct fleet_event *event;
	uint64_t *key;
	uint32_t n_events, n_keys, cap;
};

/* Room for sessions of `blocks` blocks in sum and a log of `cap` names. 0 or
 * -ENOMEM. */
int traffic_create(struct traffic *w, uint64_t blocks, uint32_t cap);
void traffic_destroy(struct traffic *w);

/* Each of these begins the log anew. False: filled, the log is empty. */
bool traffic_fill(struct traffic *w);
/* About `ops` stores and removals, as many of each; at most the log's cap. */
void traffic_steady(struct traffic *w, uint32_t ops);

/* The first n blocks of a session's prompt, resident or not. */
void traffic_prompt(const struct traffic *w, uint32_t session, uint64_t *keys,
		    uint32_t n);

#endif

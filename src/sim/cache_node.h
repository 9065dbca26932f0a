/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of one rung under a node's own policy, in the simulation of a cache: an
 * item of the order for each frame. Inside sim/ only.
 */
#ifndef ONECOPY_SIM_CACHE_NODE_H
#define ONECOPY_SIM_CACHE_NODE_H

#include "policy/policy.h"
#include "sim/cache.h"

struct frames {
	const struct policy_ops *ops;
	struct policy *policy;
	uint32_t *item;	 /* of a block */
	uint32_t *block; /* of an item */
	uint32_t *free;	 /* items without a block */
	uint32_t n_free;
	uint64_t stamp;
	/* of the request in hand */
	uint32_t *chain_item;
	uint64_t *chain_key;
	/* request -> the one that goes on from it; NULL without hints */
	uint64_t *next;
	uint64_t *root; /* request -> the first of its session */
	bool told;	/* of the sessions that the trace says come next */
};

/* n frames. NULL: no memory. */
struct frames *frames_create(const struct sim_cache *c, uint32_t n,
			     const struct policy_ops *ops);
void frames_free(struct frames *f);
/* Hints: those that the trace has (`next`); where it has none, who goes on from
 * each request. 0, or -ENOMEM. */
int frames_foresee(const struct sim_cache *c, struct frames *f);
/* After the use: what the request in hand says of others. */
void frames_expect(const struct sim_cache *c, struct frames *f);
/* The use that a request is, with what of it is resident in these frames. */
struct policy_use frames_describe(const struct sim_cache *c, struct frames *f,
				  const struct sim_request *q,
				  const uint8_t *resident);
/* The first in the order that is not in use, or POLICY_NONE. */
uint32_t frames_victim(const struct sim_cache *c, const struct frames *f);
/* A free one, which there must be. */
uint32_t frames_take(struct frames *f, uint32_t block);
void frames_give(struct frames *f, uint32_t item);

#endif

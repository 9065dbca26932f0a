/* SPDX-License-Identifier: Apache-2.0 */
/* A world with a fake tier below it. */
#ifndef ONECOPY_TESTS_STORE_DEEP_H
#define ONECOPY_TESTS_STORE_DEEP_H

#include "store/local.h"
#include "store/move.h"
#include "tests/store/fake_tier.h"
#include "tests/store/world.h"

#define DEEP_SLAB (16ull * PART_BYTES)

struct deep {
	struct world *w;
	struct fake_tier *f;
	struct sim *a; /* a client */
	uint64_t fillers;
};

/* slabs of 16 frames, all that there are. */
void deep_begin(struct deep *d, unsigned slabs);
void deep_begin_as(struct deep *d, const struct world_config *config,
		   const struct policy_ops *policy);
void deep_end(struct deep *d);
/* Ticks, until nothing is under way; every move ends well. */
void deep_rest(struct deep *d);
/* The server dies; the next one finds its tier (coming: not at once). */
void deep_restart(struct deep *d, bool coming);
bool deep_below(const struct deep *d, uint64_t n);
/* Puts blocks [first, first + n), with time for what is written behind. */
void deep_put(struct deep *d, uint64_t first, uint64_t n);

/* Somebody who waits. */
struct waiter {
	struct move_waiter w;
	unsigned told;
	int result;
};
int deep_up(struct deep *d, uint64_t n, enum tier_urgency urgency,
	    struct waiter *w);
/* The same, until it is told. */
int deep_fetch(struct deep *d, uint64_t n);
/* Puts block n, and others until it is below and nowhere else. */
void deep_lower(struct deep *d, uint64_t n);

#endif

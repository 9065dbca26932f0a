/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiers: places for blocks, with a measured price. Everything that decides
 * (placement, eviction, load or recompute) reads the price and nothing else.
 *
 * A backend is one static table of operations; tier_find() gives it by kind.
 * The numbers of `kind` are those of enum oc_tier in the public header.
 */
#ifndef ONECOPY_TIER_TIER_H
#define ONECOPY_TIER_TIER_H

#include "base/compiler.h"
#include "shm/layout.h"

struct tier_price {
	uint64_t latency_ns;  /* to the first byte */
	uint64_t bytes_per_s; /* one reader, streaming */
};

struct tier_ops {
	const char *name;
	unsigned kind;
	/* Measures now; bounded to a few milliseconds. 0 or -errno. */
	int (*measure)(struct tier_price *ret_price);
};

extern const struct tier_ops tier_dram;

const struct tier_ops *tier_find(unsigned kind); /* NULL */
/* Measures and publishes a tier's price in a pool's record. */
int tier_publish(const struct tier_ops *ops, struct pool_meta *m,
		 uint64_t now_ms);

#endif

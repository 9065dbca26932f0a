/* SPDX-License-Identifier: Apache-2.0 */
/* Prices that decisions of the store go by. Inside store/ only; price.c. */
#ifndef ONECOPY_STORE_PRICE_H
#define ONECOPY_STORE_PRICE_H

#include "policy/ladder.h"
#include "store/internal.h"

/* The rungs that a pool has, the fastest first: DRAM is rung 0. */
struct price {
	struct ladder_rung rung[3];
	uint32_t n;
	uint32_t cxl,
		nvme; /* which ones these are; 0: not there, or no price */
};

/* False: DRAM has not been measured. */
bool price_rungs(const struct store *s, const struct pool *p,
		 struct price *ret_price);

/* What making again the block that a frame holds takes, as a mean over the chain up
 * to it, for this one of its parts. load_ns: from the last rung. */
uint64_t price_again_ns(const struct store *s, const struct pool *p,
			const struct frame_desc *d, uint64_t load_ns);

/* struct policy_use.saves of a chain of n blocks: log2 of what having a block of it
 * saves, in 1/256, against a first block. 0 where nobody has told what prefill
 * takes. */
int32_t price_saves(const struct store *s, const struct pool *p, uint32_t ns,
		    uint32_t n);

/* The ladder's answers about a sealed part in DRAM that has just come, from a client
 * or from the nvme tier: would the next to leave be worth more in its place? By its
 * worth it stands before that then, and is what leaves. Without rates: never. */
bool price_passes_by(const struct store *s, const struct pool *p,
		     const struct pool_slab *slab, uint32_t frame,
		     bool from_below);
/* And about one in low memory that has just been used: is it not worth a place in
 * that arena of DRAM? */
bool price_stays_low(const struct store *s, const struct pool *p,
		     const struct pool_slab *slab, uint32_t frame,
		     uint32_t arena);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* SplitMix64: small, seedable, good enough for workloads and tests. Not for
 * secrets. Formula: Steele, Lea, Flood, "Fast splittable pseudorandom number
 * generators", OOPSLA 2014. */
#ifndef ONECOPY_BASE_RNG_H
#define ONECOPY_BASE_RNG_H

#include "base/compiler.h"

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* 0 .. n-1; n > 0. The bias of the multiply-shift is below n / 2^64. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)rng_next(r) * n) >> 64);
}

#endif

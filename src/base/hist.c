/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buckets: 0..15 one value each; then, for each power of two from 2^4 on, 16
 * equal steps. A value with top bit e lies in row e - 3 at the four bits below
 * its top bit; the rows are 0 .. 60.
 */
#include "base/hist.h"

#define STEPS 16

static unsigned bucket_of(uint64_t value)
{
	unsigned top;

	if (value < STEPS)
		return (unsigned)value;
	top = 63 - (unsigned)__builtin_clzll(value);
	return (top - 3) * STEPS +
	       (unsigned)((value >> (top - 4)) & (STEPS - 1));
}

/* The largest value of a bucket. */
static uint64_t bucket_edge(unsigned bucket)
{
	unsigned row = bucket / STEPS;
	uint64_t step = bucket % STEPS;

	if (row == 0)
		return bucket;
	/* Adds before it shifts: the last bucket's edge is UINT64_MAX. */
	return ((STEPS + step) << (row - 1)) + ((1ull << (row - 1)) - 1);
}

void hist_init(struct hist *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void hist_add(struct hist *h, uint64_t value)
{
	hist_add_n(h, value, 1);
}

void hist_add_n(struct hist *h, uint64_t value, uint64_t n)
{
	h->count += n;
	h->sum += value * n;
	h->min = MIN(h->min, value);
	h->max = MAX(h->max, value);
	h->bucket[bucket_of(value)] += n;
}

void hist_merge(struct hist *into, const struct hist *from)
{
	into->count += from->count;
	into->sum += from->sum;
	into->min = MIN(into->min, from->min);
	into->max = MAX(into->max, from->max);
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}

/* The rank that the quantile asks for, 1 .. count. */
static uint64_t rank_of(const struct hist *h, double q)
{
	double exact = q * (double)h->count;
	uint64_t rank;

	if (!(exact > 0))
		return 1; /* q = 0 and not-a-number, too */
	if (exact >= (double)h->count)
		return h->count;
	rank = (uint64_t)exact;
	return (double)rank < exact ? rank + 1 : rank;
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t seen = 0, rank;

	if (h->count == 0)
		return 0;
	rank = rank_of(h, q);
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank)
			return MIN(bucket_edge(i), h->max);
	}
	return h->max;
}

uint64_t hist_upto(const struct hist *h, uint64_t value)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < HIST_BUCKETS && bucket_edge(i) <= value; i++)
		seen += h->bucket[i];
	return seen;
}

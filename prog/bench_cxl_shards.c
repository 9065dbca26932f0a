/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup_shards: what it costs to find and pin a block among 16 shards of
 * 250,000 blocks each, against a region with one such shard, by turns; in
 * random order over all blocks, so that index and descriptors come from memory.
 * Payload is not touched, and has no pages.
 */
#include "bench_cxl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"

#define SHARDS	     16u
#define SHARD_BLOCKS 250000u
#define SHARD_CHUNK  64u
#define SHARD_CHUNKS 4000u

struct shards {
	struct bench *b;
	struct cxl_bench one, many;
	struct region *single; /* owns the only shard */
	struct region *own;    /* owns one of 16 */
	struct region *others; /* owns 15 */
	double *chunk;
};

/* Nanoseconds of a pin and unpin of blocks from `first` on, the median of
 * chunks. */
static int shards_pass(struct shards *s, struct region *r, uint64_t first,
		       uint64_t n, uint64_t seed, double *ret_ns)
{
	struct rng rng = { seed };

	for (uint32_t i = 0; i < SHARD_CHUNKS; i++) {
		uint64_t begin = clock_ns();

		for (uint32_t k = 0; k < SHARD_CHUNK; k++) {
			struct region_name name =
				cxl_bench_name(first + rng_below(&rng, n));
			struct region_pin pin;

			if (region_pin(r, &name, &pin))
				return -ENOENT;
			region_unpin(r, &pin);
		}
		s->chunk[i] = (double)(clock_ns() - begin) / SHARD_CHUNK;
	}
	*ret_ns = bench_median(s->chunk, SHARD_CHUNKS);
	return bench_late(s->b) ? -ETIME : 0;
}

static int shards_runs(struct shards *s)
{
	static const struct bench_figure own = {
		.name = "lookup_own_ratio", .unit = "x", .sense = BENCH_AT_MOST,
		.wanted = 2, .reference = 1,
		.against = "a region with one shard, in the same run",
		.note = "16 shards of 250,000 blocks, the reader's own; " CXL_NOTE,
	}, others = {
		.name = "lookup_others_ratio", .unit = "x",
		.sense = BENCH_AT_MOST, .wanted = 4, .reference = 1,
		.against = "a region with one shard, in the same run",
		.note = "16 shards of 250,000 blocks, the 15 of others; " CXL_NOTE,
	};
	double a[BENCH_RUNS_MAX], o[BENCH_RUNS_MAX], ns[BENCH_RUNS_MAX];
	int err = 0;

	for (uint32_t i = 0; !err && i < s->b->runs; i++) {
		double x = 0, y = 0, z = 0;

		err = shards_pass(s, s->single, 0, SHARD_BLOCKS, i + 1, &x);
		if (!err)
			err = shards_pass(s, s->own, 0, SHARD_BLOCKS, i + 1,
					  &y);
		if (!err)
			err = shards_pass(s, s->own, SHARD_BLOCKS,
					  (SHARDS - 1) * SHARD_BLOCKS, i + 1,
					  &z);
		ns[i] = x;
		a[i] = x > 0 ? y / x : 0;
		o[i] = x > 0 ? z / x : 0;
	}
	if (err)
		return err;
	bench_report(s->b, &own, a, s->b->runs);
	bench_report(s->b, &others, o, s->b->runs);
	bench_inform(s->b, "lookup_single_ns", "ns", ns, s->b->runs);
	return 0;
}

static int shards_fill(struct shards *s)
{
	int err;

	s->single = cxl_bench_join(&s->one, 1, false);
	s->own = cxl_bench_join(&s->many, 1, false);
	s->others = cxl_bench_join(&s->many, SHARDS - 1, false);
	if (!s->single || !s->own || !s->others)
		return -EIO;
	err = cxl_bench_fill(s->single, 0, SHARD_BLOCKS);
	if (!err)
		err = cxl_bench_fill(s->own, 0, SHARD_BLOCKS);
	if (!err)
		err = cxl_bench_fill(s->others, SHARD_BLOCKS,
				     (SHARDS - 1) * SHARD_BLOCKS);
	return err;
}

int cxl_bench_shards(struct bench *b)
{
	struct region_geometry g = { .members = 2,
				     .shards = 1,
				     .frames = SHARD_BLOCKS,
				     .frame_bytes = PAGE_BYTES,
				     .lease_ms = 1000 };
	struct shards s = { .b = b };
	int err = cxl_bench_make(b, g, true, &s.one);

	if (err)
		return err;
	g.shards = SHARDS;
	err = cxl_bench_make(b, g, true, &s.many);
	if (err) {
		cxl_bench_end(&s.one);
		return err;
	}
	s.chunk = calloc(SHARD_CHUNKS, sizeof(*s.chunk));
	err = s.chunk ? shards_fill(&s) : -ENOMEM;
	if (!err)
		err = shards_runs(&s);
	free(s.chunk);
	region_close(s.single);
	region_close(s.own);
	region_close(s.others);
	cxl_bench_end(&s.one);
	cxl_bench_end(&s.many);
	return err;
}

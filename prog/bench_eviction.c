/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the eviction order "onecopy" costs beyond "lru": both play the same trace,
 * by turns, as the simulator of one cache drives them; the processor time of one
 * less that of the other, for each block of the trace. Describing requests to
 * the policy is a part of it. And what each needs of memory for an item.
 *
 * The trace is --trace, or a generated one of short conversations.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "bench.h"
#include "policy/policy.h"
#include "sim/cache.h"
#include "trace/agents.h"

#define EVICTION_ITEMS 1000000u
#define EVICTION_EACH  5u /* plays of each policy in a run, by turns */
#define EVICTION_SMALL 3000u
#define EVICTION_LARGE 10000u

static int eviction_open(const struct bench *b, struct trace_source **ret,
			 char error[TRACE_ERROR])
{
	struct agents_options o;

	if (b->trace)
		return trace_open(b->trace, ret, error);
	agents_defaults(&o);
	o.requests = 20000;
	o.agents = 2000;
	o.teams = 2000;
	o.team_blocks = 4;
	o.own_blocks = 8;
	o.turn_blocks = 4;
	o.turns = 6;
	o.fork_percent = 0;
	o.pause_percent = 30;
	o.block_tokens = 512;
	return agents_open(&o, ret, error);
}

static int eviction_load(const struct bench *b, struct sim_trace *t)
{
	struct trace_source *source;
	char error[TRACE_ERROR];
	int r = eviction_open(b, &source, error);

	if (r) {
		fprintf(stderr, "onecopy: bench: eviction: %s\n", error);
		return r;
	}
	r = sim_trace_load(t, source);
	trace_close(source);
	return r;
}

/* Processor time of one play, ns for each block. */
static int eviction_play(const struct sim_trace *t, const char *policy,
			 uint32_t dram, double *ret_ns)
{
	struct sim_cache_options o = { .policy = policy, .dram = dram };
	struct sim_cache_result result;
	uint64_t begin = clock_thread_ns();
	int r = sim_cache_run(t, &o, &result);

	if (r == 0)
		*ret_ns = (double)(clock_thread_ns() - begin) /
			  (double)MAX(t->blocks, 1ull);
	return r;
}

/* The least of a few plays of each: what disturbs only adds. */
static int eviction_once(const struct sim_trace *t, uint32_t dram,
			 double *ret_lru, double *ret_onecopy)
{
	double least[2] = { 1e9, 1e9 }, ns = 0;
	static const char *const policy[2] = { "lru", "onecopy" };

	for (uint32_t i = 0; i < 2 * EVICTION_EACH; i++) {
		int r = eviction_play(t, policy[i % 2], dram, &ns);

		if (r)
			return r;
		least[i % 2] = MIN(least[i % 2], ns);
	}
	*ret_lru = least[0];
	*ret_onecopy = least[1];
	return 0;
}

static int eviction_cost(struct bench *b, const struct sim_trace *t,
			 uint32_t dram, const char *name)
{
	struct bench_figure f = {
		.name = name,
		.unit = "ns",
		.sense = BENCH_AT_MOST,
		.wanted = 100,
		.reference = 100,
		.against = "a limit: 100 ns a block beyond least recently used",
	};
	double beyond[BENCH_RUNS_MAX], lru[BENCH_RUNS_MAX];

	for (uint32_t i = 0; i < b->runs; i++) {
		int r = bench_late(b)
				? -ETIME
				: eviction_once(t, dram, &lru[i], &beyond[i]);

		if (r)
			return r;
		beyond[i] -= lru[i];
	}
	bench_report(b, &f, beyond, b->runs);
	return 0;
}

/* Bytes that an order takes for n items; < 0: there is no memory. */
static double eviction_bytes(const struct policy_ops *ops, uint32_t n)
{
	struct mallinfo2 before = mallinfo2(), after;
	struct policy *p;
	double bytes = -1;

	if (ops->create(&p))
		return -1;
	if (ops->reserve(p, n, 1) == 0) {
		after = mallinfo2();
		bytes = (double)(after.uordblks + after.hblkhd) -
			(double)(before.uordblks + before.hblkhd);
	}
	ops->destroy(p);
	return bytes;
}

/* Bytes beyond LRU's: for each block more, and besides, however many there are
 * (as it is with few: tables grow by doubling). */
static int eviction_beyond(double *ret_each, double *ret_fixed)
{
	static const uint32_t n[3] = { EVICTION_ITEMS, 2 * EVICTION_ITEMS,
				       EVICTION_SMALL };
	double beyond[3];

	for (unsigned i = 0; i < 3; i++) {
		double lru = eviction_bytes(&policy_lru, n[i]);
		double own = eviction_bytes(&policy_onecopy, n[i]);

		if (lru < 0 || own < 0)
			return -ENOMEM;
		beyond[i] = own - lru;
	}
	*ret_each = (beyond[1] - beyond[0]) / EVICTION_ITEMS;
	*ret_fixed = beyond[2] - *ret_each * EVICTION_SMALL;
	return 0;
}

static int eviction_memory(struct bench *b)
{
	static const struct bench_figure each_figure = {
		.name = "eviction_bytes",
		.unit = "B",
		.sense = BENCH_AT_MOST,
		.wanted = 16,
		.reference = 16,
		.against =
			"a limit: 16 bytes a block more beyond least recently used",
	};
	static const struct bench_figure fixed_figure = {
		.name = "eviction_fixed_bytes",
		.unit = "B",
		.sense = BENCH_AT_MOST,
		.wanted = 2 << 20,
		.reference = 2 << 20,
		.against = "a limit: 2 MiB besides, for 3,000 blocks",
	};
	double each, fixed;
	int r = eviction_beyond(&each, &fixed);

	if (r)
		return r;
	bench_report(b, &each_figure, &each, 1);
	bench_report(b, &fixed_figure, &fixed, 1);
	return 0;
}

int bench_eviction(struct bench *b)
{
	struct sim_trace t;
	int r;

	sim_trace_init(&t);
	r = eviction_load(b, &t);
	if (r == 0)
		r = eviction_cost(b, &t, EVICTION_SMALL, "eviction_ns_3000");
	if (r == 0)
		r = eviction_cost(b, &t, EVICTION_LARGE, "eviction_ns_10000");
	if (r == 0)
		r = eviction_memory(b);
	sim_trace_fini(&t);
	return r;
}

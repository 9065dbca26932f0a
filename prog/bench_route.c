/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a routing decision costs of a processor's time: 64 engines, a prompt of
 * 8,192 blocks, resident prefixes given. Each decision has other numbers, so
 * that nothing is learned by heart by the processor; the inputs are made
 * beforehand.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "bench.h"
#include "policy/route.h"

#define ROUTE_CASES  256u
#define ROUTE_BLOCKS 8192u
#define ROUTE_ROUNDS 40u

static struct route_engine route_engines[ROUTE_CASES][ROUTE_ENGINES_MAX];

static double route_draw(struct rng *g, double most)
{
	return most * (double)rng_below(g, 1 << 20) / (1 << 20);
}

static void route_make(struct rng *g, struct route_engine *e)
{
	uint32_t run = 0;

	*e = (struct route_engine){
		.token_s = 1 / 39065.0,
		.depth = 42640,
		.step_s = 0.006,
		.running_s = 0.00035,
		.chunk = 8192,
		.load_s = { 0, 3e-5, 6e-5, 2e-4 }, /* 40, 20, 6 GB/s */
		.link = 12.5e9,
		.latency_s = 0.0001,
		.wait_s = route_draw(g, 3),
		.trust = 1,
		.memory = 20000,
		.held = route_draw(g, 30000),
		.returns = route_draw(g, 2),
		.decode_s = route_draw(g, 10),
		.copy_s = 0.001,
		.running = (uint32_t)rng_below(g, 64),
		.waiting = (uint32_t)rng_below(g, 8),
		.flows_out = (uint32_t)rng_below(g, 3),
		.flows_in = (uint32_t)rng_below(g, 3),
		.served = route_draw(g, 1e9),
	};
	for (uint32_t t = 0; t < ROUTE_TIERS; t++) {
		run += (uint32_t)rng_below(g, ROUTE_BLOCKS / 3);
		e->run[t] = MIN(run, ROUTE_BLOCKS);
	}
	e->coming = e->run[ROUTE_NVME];
}

static double route_once(uint64_t seed)
{
	struct rng g = { seed };
	struct route_request q = { .blocks = ROUTE_BLOCKS,
				   .tokens = ROUTE_BLOCKS * 16,
				   .block_tokens = 16,
				   .block_bytes = 16 * 73728.0 };
	struct route_fleet f = { .n = ROUTE_ENGINES_MAX,
				 .arrivals = 1,
				 .busy = 0.6 };
	struct route_choice choice;
	uint64_t start, sum = 0;

	for (uint32_t i = 0; i < ROUTE_CASES; i++)
		for (uint32_t k = 0; k < ROUTE_ENGINES_MAX; k++)
			route_make(&g, &route_engines[i][k]);
	start = clock_thread_ns();
	for (uint32_t n = 0; n < ROUTE_ROUNDS; n++)
		for (uint32_t i = 0; i < ROUTE_CASES; i++) {
			f.engine = route_engines[i];
			q.draw = rng_next(&g);
			route_onecopy.decide(&f, &q, &choice, NULL);
			sum += choice.engine;
		}
	start = clock_thread_ns() - start;
	return sum ? (double)start / (ROUTE_ROUNDS * ROUTE_CASES * NS_PER_US)
		   : 0;
}

int bench_route(struct bench *b)
{
	static const struct bench_figure us = {
		.name = "route_us",
		.unit = "us",
		.sense = BENCH_AT_MOST,
		.wanted = 5,
		.reference = 5,
		.against = "a limit: 5 us for 64 engines and 8,192 blocks, "
			   "resident prefixes given",
	};
	double value[BENCH_RUNS_MAX];

	for (uint32_t i = 0; i < b->runs; i++) {
		if (bench_late(b))
			return -ETIME;
		value[i] = route_once(i + 1);
	}
	bench_report(b, &us, value, b->runs);
	return 0;
}

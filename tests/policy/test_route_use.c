/* SPDX-License-Identifier: Apache-2.0 */
/* Baselines of routing where their rules have a second condition, a tie, a draw
 * or a threshold; and the oracle. */
#include "base/rng.h"
#include "tests/policy/route_rig.h"
#include <math.h>

#define N 4u

static struct route_request prompt(uint32_t blocks, uint64_t draw)
{
	return (struct route_request){
		.blocks = blocks,
		.tokens = (uint64_t)blocks * 512,
		.block_tokens = 512,
		.block_bytes = 37e6,
		.draw = draw,
	};
}

/* Of pairs of four engines the most loaded wins none, the next one of six, then
 * two, and the least three. */
TEST(two_choices_as_often_as_pairs_say)
{
	static const double share[N] = { 1 / 2.0, 1 / 3.0, 1 / 6.0, 0 };
	uint32_t count[N] = { 0 }, draws = 24000;
	struct route_engine e[N];
	struct rng g = { 3 };

	idle(e, N);
	for (uint32_t i = 0; i < N; i++)
		e[i].in_flight = 7 * i;
	for (uint32_t k = 0; k < draws; k++) {
		struct route_request r = prompt(4, rng_next(&g));

		count[decide("power-of-two", e, N, &r).engine]++;
	}
	for (uint32_t i = 0; i < N; i++)
		CHECK(fabs(count[i] / (double)draws - share[i]) < 0.01);
}

/* "max > 1.5 min" is asked where the loads are more than 64 apart. */
TEST(sglang_keeps_affinity_until_one_and_a_half)
{
	struct route_request r = prompt(10, 0);
	struct route_engine e[N];

	idle(e, N);
	for (uint32_t i = 0; i < N; i++)
		e[i].in_flight = 200;
	holds(&e[1], 9);
	e[1].in_flight = 300; /* 100 apart, 1.5 times */
	CHECK_INT(decide("sglang", e, N, &r).engine, ==, 1);
	e[1].in_flight = 301;
	CHECK_INT(decide("sglang", e, N, &r).engine, !=, 1);
}

/* Likewise "load > 1.5 average", where it is more than 64 above it. */
TEST(smg_leaves_at_one_and_a_half)
{
	struct route_request r = prompt(10, 0);
	struct route_engine e[N];

	idle(e, N);
	for (uint32_t i = 0; i < N; i++)
		e[i].in_flight = 200;
	holds(&e[2], 1);
	e[2].in_flight = 360; /* average 240, 120 above, 1.5 times */
	CHECK_INT(decide("smg", e, N, &r).engine, ==, 2);
	e[2].in_flight = 361;
	CHECK_INT(decide("smg", e, N, &r).engine, !=, 2);
}

/* The most overlap; of equal overlaps the lower load; of equal loads any. */
TEST(smg_ties)
{
	struct route_engine e[N];
	struct rng g = { 5 };
	bool seen[N] = { false };

	idle(e, N);
	for (uint32_t i = 0; i < N; i++) {
		holds(&e[i], i == 0 ? 3 : 5);
		e[i].in_flight = i == 3 ? 9 : 4;
	}
	e[0].in_flight = 0;
	for (uint32_t k = 0; k < 200; k++) {
		struct route_request r = prompt(10, rng_next(&g));

		seen[decide("smg", e, N, &r).engine] = true;
	}
	CHECK(!seen[0] && seen[1] && seen[2] && !seen[3]);
}

/* A transfer is considered from one block more on, and taken where it is
 * sooner; the source is who has the longest run, not who chooses. */
TEST(mooncake_threshold)
{
	struct route_request r = prompt(20, 0);
	struct route_engine e[3];
	struct route_choice c;

	idle(e, 3);
	holds(&e[0], 10);
	holds(&e[1], 11);
	e[1].wait_s = 9;
	e[2].wait_s = 9;
	c = decide("mooncake", e, 3, &r);
	CHECK_INT(c.engine, ==, 0);
	CHECK_INT(c.price.pull_from, ==, 1);
	CHECK_INT(c.price.load_blocks, ==, 10);
	CHECK_INT(c.price.pull_blocks, ==, 11);
	holds(&e[1], 10);
	c = decide("mooncake", e, 3, &r);
	CHECK_INT(c.engine, ==, 0);
	CHECK_INT(c.price.pull_from, ==, ROUTE_NONE);
}

/* It refuses by what it expects, and only past the objective. */
TEST(mooncake_refuses_past_the_objective_alone)
{
	struct route_request r = prompt(20, 0);
	struct route_engine e[2];
	struct route_fleet f = { .engine = e, .n = 2 };
	struct route_choice c;
	double ttft;

	idle(e, 2);
	e[0].wait_s = e[1].wait_s = 1;
	route_find("mooncake")->decide(&f, &r, &c, NULL);
	CHECK(!c.refused);
	ttft = c.price.ttft_s;
	f.objective_s = ttft * 1.001;
	route_find("mooncake")->decide(&f, &r, &c, NULL);
	CHECK(!c.refused);
	f.objective_s = ttft * 0.999;
	route_find("mooncake")->decide(&f, &r, &c, NULL);
	CHECK(c.refused);
}

/* The oracle is shown the truth, and looks at every source: nothing it could
 * have had is cheaper by its own prices than what onecopy takes. */
TEST(oracle_is_never_dearer)
{
	struct rng g = { 17 };
	struct route_engine e[8];
	uint32_t better = 0;

	CHECK(route_find("oracle")->exact);
	for (size_t i = 0; route_at(i); i++)
		CHECK(route_at(i)->exact ==
		      !strcmp(route_at(i)->name, "oracle"));
	for (uint32_t k = 0; k < 500; k++) {
		struct route_request r =
			prompt(1 + (uint32_t)rng_below(&g, 90), rng_next(&g));
		struct route_choice own, oracle;

		idle(e, 8);
		for (uint32_t i = 0; i < 8; i++) {
			holds(&e[i], (uint32_t)rng_below(&g, r.blocks + 1));
			e[i].wait_s = (double)rng_below(&g, 3000) / 1000;
			e[i].flows_out = (uint32_t)rng_below(&g, 4);
			e[i].link = 1e9 * (double)(1 + rng_below(&g, 20));
		}
		own = decide("onecopy", e, 8, &r);
		oracle = decide("oracle", e, 8, &r);
		CHECK(oracle.price.total_s <= own.price.total_s * (1 + 1e-9));
		better += oracle.price.total_s < own.price.total_s * 0.999;
	}
	/* two sources of the seven are mostly enough */
	CHECK_INT(better, <, 100);
}

/* One engine far behind is no reason for others' sessions to leave theirs: a
 * branch for imbalance, as gateways have it, drops affinity for the whole
 * fleet. */
TEST(imbalance_elsewhere_moves_nobody)
{
	static const char *const leaves[] = { "sglang", "aibrix" };
	struct route_engine e[N];
	struct rng g = { 29 };

	for (uint32_t k = 0; k < 200; k++) {
		struct route_request r = prompt(100, rng_next(&g));

		idle(e, N);
		holds(&e[1], 95);
		e[1].in_flight = e[1].waiting = 2;
		e[1].wait_s = 0.1;
		e[0].in_flight = 80 + (uint32_t)rng_below(&g, 100);
		e[0].waiting = e[0].in_flight;
		e[0].wait_s = 30;
		CHECK_INT(decide("onecopy", e, N, &r).engine, ==, 1);
		CHECK_INT(decide("oracle", e, N, &r).engine, ==, 1);
		for (size_t i = 0; i < ARRAY_LEN(leaves); i++)
			CHECK_INT(decide(leaves[i], e, N, &r).engine, !=, 1);
	}
}

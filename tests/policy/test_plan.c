/* SPDX-License-Identifier: Apache-2.0 */
/* Load or recompute, against what adding up token by token says. */
#include "policy/plan.h"
#include <errno.h>
#include "base/rng.h"
#include "tests/test.h"

#define BLOCKS 24

typedef unsigned __int128 wide;

/* Every token by itself, every k by itself. */
static wide slow_time(const struct plan_costs *c, const struct plan_block *b,
		      size_t n, size_t k)
{
	wide wait = 0, move = 0, compute = 0, load;

	for (size_t i = 0; i < k; i++) {
		wait = MAX(wait, (wide)b[i].wait_ns);
		move += b[i].move_ns;
	}
	for (uint64_t t = k * c->block_tokens;
	     t < n * c->block_tokens + c->rest; t++)
		compute += c->token_fs + (wide)c->depth_fs * (c->first + t);
	load = (wait + move) * 1000000;
	return c->overlap ? MAX(load, compute) : load + compute;
}

static size_t slow_best(const struct plan_costs *c, const struct plan_block *b,
			size_t n)
{
	size_t best = 0;

	for (size_t k = 1; k <= n; k++)
		if (slow_time(c, b, n, k) <= slow_time(c, b, n, best))
			best = k;
	return best;
}

static uint64_t up(wide fs)
{
	return (uint64_t)((fs + 999999) / 1000000);
}

static struct plan_costs some_costs(struct rng *g)
{
	return (struct plan_costs){
		.token_fs = rng_below(g, 200) * 1000000,
		.depth_fs = rng_below(g, 3) ? rng_below(g, 400000) : 0,
		.first = rng_below(g, 2) ? rng_below(g, 5000) : 0,
		.rest = rng_below(g, 2) ? rng_below(g, 300) : 0,
		.block_tokens = 1 + (uint32_t)rng_below(g, 40),
		.overlap = rng_below(g, 2),
	};
}

TEST(the_best_is_what_adding_up_says)
{
	struct rng g = { 6 };

	for (int round = 0; round < 3000; round++) {
		struct plan_costs c = some_costs(&g);
		size_t n = rng_below(&g, BLOCKS + 1);
		struct plan_block b[BLOCKS];
		struct plan_answer a;
		size_t k;

		for (size_t i = 0; i < n; i++) {
			b[i].wait_ns = rng_below(&g, 4) ? rng_below(&g, 30000)
							: 0;
			b[i].move_ns = rng_below(&g, 8000);
		}
		CHECK_OK(plan_find(&c, b, n, &a));
		k = slow_best(&c, b, n);
		CHECK_INT(a.best.blocks, ==, k);
		CHECK_INT(a.best.ns, ==, up(slow_time(&c, b, n, k)));
		CHECK_INT(a.none.blocks, ==, 0);
		CHECK_INT(a.none.load_ns, ==, 0);
		CHECK_INT(a.none.ns, ==, up(slow_time(&c, b, n, 0)));
		CHECK_INT(a.all.blocks, ==, n);
		CHECK_INT(a.all.ns, ==, up(slow_time(&c, b, n, n)));
		CHECK_INT(a.best.ns, <=, a.none.ns);
		CHECK_INT(a.best.ns, <=, a.all.ns);
	}
}

/* 100 blocks of 16 tokens, 10 us a token: 160 us a block. */
static size_t turned(uint64_t wait_ns, uint64_t move_ns, uint64_t depth_fs)
{
	struct plan_costs c = { .token_fs = 10 * 1000000000ull,
				.depth_fs = depth_fs,
				.block_tokens = 16 };
	struct plan_block b[100];
	struct plan_answer a;

	for (int i = 0; i < 100; i++)
		b[i] = (struct plan_block){ wait_ns, move_ns };
	CHECK_OK(plan_find(&c, b, 100, &a));
	return a.best.blocks;
}

TEST(a_slow_drive_turns_the_answer)
{
	CHECK_INT(turned(100000, 50000, 0), ==, 100);
	/* as dear as computing: loaded, for the processor is free then, but not
	 * when there is a wait before it */
	CHECK_INT(turned(0, 160000, 0), ==, 100);
	CHECK_INT(turned(1, 160000, 0), ==, 0);
	CHECK_INT(turned(100000, 161000, 0), ==, 0);
	/* a wait longer than everything takes to compute */
	CHECK_INT(turned(16000001, 0, 0), ==, 0);
	CHECK_INT(turned(16000000, 0, 0), ==, 100);
	/* deep blocks are dearer to compute: all of it is worth the load, or
	 * nothing, for a prefix begins at its beginning */
	CHECK_INT(turned(0, 161000, 2000000), ==, 100);
}

/* A prefix may end where the faster place ends. */
TEST(the_answer_may_lie_between)
{
	struct plan_costs c = { .token_fs = 10 * 1000000000ull,
				.block_tokens = 16 };
	struct plan_block b[10];
	struct plan_answer a;

	for (int i = 0; i < 10; i++)
		b[i] = i < 4 ? (struct plan_block){ 100, 1000 }
			     : (struct plan_block){ 5000000, 200000 };
	CHECK_OK(plan_find(&c, b, 10, &a));
	CHECK_INT(a.best.blocks, ==, 4);
	CHECK_INT(a.best.load_ns, ==, 4100);
	CHECK_INT(a.best.compute_ns, ==, 6 * 160000);
	CHECK_INT(a.best.ns, ==, 4100 + 6 * 160000);
	CHECK_INT(a.all.load_ns, ==, 5000000 + 4000 + 1200000);
}

TEST(beside_each_other_the_longer_one_counts)
{
	struct plan_costs c = { .token_fs = 10 * 1000000000ull,
				.block_tokens = 16,
				.rest = 160,
				.overlap = true };
	struct plan_block b[10];
	struct plan_answer a;

	for (int i = 0; i < 10; i++)
		b[i] = (struct plan_block){ 0, 240000 };
	/* k loaded take 240 k us, the others 160 (20 - k) us: k = 8 */
	CHECK_OK(plan_find(&c, b, 10, &a));
	CHECK_INT(a.best.blocks, ==, 8);
	CHECK_INT(a.best.ns, ==, 1920000);
}

TEST(numbers_that_cannot_be)
{
	struct plan_costs c = { .token_fs = 1, .block_tokens = 0 };
	struct plan_block b = { UINT64_MAX, UINT64_MAX };
	struct plan_answer a = { .best.blocks = 7 };

	CHECK_INT(plan_find(&c, &b, 1, &a), ==, -EINVAL);
	c.block_tokens = UINT32_MAX;
	CHECK_INT(plan_find(&c, &b, 100, &a), ==, -EINVAL);
	c.block_tokens = 16;
	c.token_fs = PLAN_COST_MOST + 1;
	CHECK_INT(plan_find(&c, &b, 1, &a), ==, -EINVAL);
	c.token_fs = 1;
	c.first = PLAN_TOKENS_MOST + 1;
	CHECK_INT(plan_find(&c, &b, 1, &a), ==, -EINVAL);
	CHECK_INT(a.best.blocks, ==, 7);
	/* a load that takes for ever, and a prompt that nearly does */
	c.first = c.rest = PLAN_TOKENS_MOST;
	c.token_fs = c.depth_fs = PLAN_COST_MOST;
	CHECK_OK(plan_find(&c, &b, 1, &a));
	CHECK_INT(a.all.load_ns, ==, UINT64_MAX);
	CHECK_INT(a.all.ns, ==, UINT64_MAX);
	CHECK_OK(plan_find(&c, NULL, 0, &a));
	CHECK_INT(a.best.blocks, ==, 0);
}

TEST(costs_are_rounded_and_bounded)
{
	CHECK_INT(plan_cost(0), ==, 0);
	CHECK_INT(plan_cost(0.0000014), ==, 1);
	CHECK_INT(plan_cost(1.5), ==, 1500000);
	CHECK_INT(plan_cost(1e300), ==, PLAN_COST_MOST);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Routing: baselines against their published rules, the joint decision against
 * the search over all mixes and against what it promises. */
#include "base/rng.h"
#include "tests/policy/route_rig.h"
#include <math.h>

#define N 4u

static struct route_request prompt(uint32_t blocks)
{
	return (struct route_request){
		.blocks = blocks,
		.tokens = (uint64_t)blocks * 512,
		.block_tokens = 512,
		.block_bytes = 37e6,
	};
}

/* ---- baselines ------------------------------------------------------------- */

TEST(dynamo_as_in_its_documents)
{
	struct route_engine e[3];
	struct route_request r = prompt(1);

	CHECK(fabs(route_dynamo_cost(10, 2, 10) - 18) < 1e-9);
	CHECK(fabs(route_dynamo_cost(10, 5, 5) - 10) < 1e-9);
	CHECK(fabs(route_dynamo_cost(10, 8, 9) - 11) < 1e-9);
	/* the same through the policy: 10 blocks of prefill each */
	idle(e, 3);
	r = prompt(10);
	for (uint32_t i = 0; i < 3; i++) {
		static const uint32_t overlap[] = { 2, 5, 8 };
		static const double decode[] = { 10, 5, 9 };

		holds(&e[i], overlap[i]);
		e[i].decode_blocks = decode[i];
	}
	CHECK_INT(decide("dynamo", e, 3, &r).engine, ==, 1);
	/* host counts three quarters, disk one: 8 on a disk are less than 3 on
	 * the device */
	idle(e, 2);
	e[0].run[ROUTE_NVME] = e[0].coming = 8;
	holds(&e[1], 3);
	CHECK_INT(decide("dynamo", e, 2, &r).engine, ==, 1);
	e[0].run[ROUTE_DRAM] = e[0].run[ROUTE_CXL] = 8;
	CHECK_INT(decide("dynamo", e, 2, &r).engine, ==, 0);
}

TEST(round_robin_takes_turns)
{
	struct route_engine e[N];
	struct route_request r = prompt(4);

	idle(e, N);
	for (r.serial = 0; r.serial < 20; r.serial++)
		CHECK_INT(decide("round-robin", e, N, &r).engine, ==,
			  r.serial % N);
}

TEST(least_requests_and_two_choices)
{
	struct route_engine e[N];
	struct route_request r = prompt(4);
	struct rng rng = { 1 };
	uint32_t worst = 0;

	idle(e, N);
	for (uint32_t i = 0; i < N; i++)
		e[i].in_flight = 10 + (i ^ 2);
	for (uint32_t i = 0; i < 1000; i++) {
		r.draw = rng_next(&rng);
		CHECK_INT(decide("least-requests", e, N, &r).engine, ==, 2);
		worst += decide("power-of-two", e, N, &r).engine == 1;
	}
	CHECK_INT(worst, ==, 0); /* never the most loaded of two */
}

TEST(sglang_keeps_affinity_until_loads_part)
{
	struct route_engine e[N];
	struct route_request r = prompt(10);

	idle(e, N);
	holds(&e[1], 4); /* 0.4 > 0.3 */
	e[1].in_flight = 64;
	CHECK_INT(decide("sglang", e, N, &r).engine, ==, 1);
	e[1].in_flight = 65; /* max - min > 64, max > 1.5 min */
	CHECK_INT(decide("sglang", e, N, &r).engine, !=, 1);
	e[1].in_flight = 1;
	holds(&e[1], 3); /* 0.3 is not above 0.3 */
	CHECK_INT(decide("sglang", e, N, &r).engine, !=, 1);
}

TEST(smg_leaves_only_who_is_far_above_average)
{
	struct route_engine e[N];
	struct route_request r = prompt(10);

	idle(e, N);
	holds(&e[2], 1);
	e[2].in_flight = 85; /* average 21.25: 64 above would be 85.25 */
	CHECK_INT(decide("smg", e, N, &r).engine, ==, 2);
	e[2].in_flight = 86;
	CHECK_INT(decide("smg", e, N, &r).engine, !=, 2);
}

TEST(llmd_blend_adds_three_scores)
{
	struct route_engine e[2];
	struct route_request r = prompt(10);

	idle(e, 2);
	holds(&e[0], 10); /* 3 * 1 + 2 * 0 + 2 * 0.5 = 4 */
	e[0].waiting = 5;
	e[0].kv_usage = 0.5;
	e[1].kv_usage = 0.05; /* 0 + 2 + 1.9 = 3.9 */
	CHECK_INT(decide("llmd-blend", e, 2, &r).engine, ==, 0);
	e[0].kv_usage = 0.6; /* 3.8 */
	CHECK_INT(decide("llmd-blend", e, 2, &r).engine, ==, 1);
}

TEST(llmd_sticky_stays_for_eighteen_seconds)
{
	struct route_engine e[2];
	struct route_request r = prompt(10);

	idle(e, 2);
	holds(&e[0], 8); /* 0.8 is enough */
	e[0].uncached = 17.9 * 15928;
	CHECK_INT(decide("llmd-sticky", e, 2, &r).engine, ==, 0);
	e[0].uncached = 18.1 * 15928;
	CHECK_INT(decide("llmd-sticky", e, 2, &r).engine, ==, 1);
	e[0].uncached = 0;
	holds(&e[0], 7); /* not kept: least uncached tokens of all */
	e[0].uncached = 10 * 512;
	CHECK_INT(decide("llmd-sticky", e, 2, &r).engine, ==, 1);
}

TEST(aibrix_drops_affinity_for_all_at_eight)
{
	struct route_engine e[N];
	struct route_request r = prompt(10);

	idle(e, N);
	holds(&e[3], 10);
	for (uint32_t i = 0; i < N; i++)
		e[i].in_flight = 5;
	CHECK_INT(decide("aibrix", e, N, &r).engine, ==, 3);
	e[3].in_flight = 9; /* above mean + 1 standard deviation */
	CHECK_INT(decide("aibrix", e, N, &r).engine, !=, 3);
	e[3].in_flight = 5;
	e[0].in_flight = 0;
	e[1].in_flight = 9; /* differ by 9: only the least loaded */
	CHECK_INT(decide("aibrix", e, N, &r).engine, ==, 0);
}

TEST(tensorrt_takes_a_block_for_six_requests)
{
	struct route_engine e[2];
	struct route_request r = prompt(10);

	idle(e, 2);
	holds(&e[0], 1); /* 0.1 - 6/64 > 0 - 0 */
	e[0].in_flight = 6;
	CHECK_INT(decide("tensorrt", e, 2, &r).engine, ==, 0);
	e[0].in_flight = 7;
	CHECK_INT(decide("tensorrt", e, 2, &r).engine, ==, 1);
}

TEST(mooncake_moves_where_that_is_sooner)
{
	struct route_engine e[2];
	struct route_request r = prompt(100);
	struct route_fleet f = { .engine = e, .n = 2 };
	struct route_choice c;

	idle(e, 2);
	holds(&e[0], 99);
	c = decide("mooncake", e, 2, &r);
	CHECK_INT(c.engine, ==, 0);
	CHECK(!c.move_first);
	e[0].wait_s = 5; /* transfer: 0.3 s */
	c = decide("mooncake", e, 2, &r);
	CHECK_INT(c.engine, ==, 1);
	CHECK_INT(c.price.pull_from, ==, 0);
	CHECK_INT(c.price.pull_blocks, ==, 99);
	e[1].link = 1e6; /* no link to speak of: recompute */
	c = decide("mooncake", e, 2, &r);
	CHECK_INT(c.engine, ==, 1);
	CHECK_INT(c.price.pull_from, ==, ROUTE_NONE);
	f.objective_s = 0.1;
	route_find("mooncake")->decide(&f, &r, &c, NULL);
	CHECK(c.refused);
}

TEST(independent_pulls_know_of_no_sibling)
{
	struct route_engine e[N];
	struct route_request r = prompt(100);
	struct route_choice c;

	idle(e, N);
	holds(&e[2], 99);
	for (uint32_t i = 0; i < N; i++)
		e[i].in_flight = i != 1;
	e[3].coming = 99; /* would serve it sooner */
	e[3].coming_s = 0.01;
	e[3].coming_moves = true;
	e[2].flows_out = 2;
	c = decide("independent-pulls", e, N, &r);
	CHECK_INT(c.engine, ==, 1);
	CHECK_INT(c.price.pull_from, ==, 2);
	CHECK(!c.share);
	e[2].flows_out = 40; /* sooner computed */
	CHECK_INT(decide("independent-pulls", e, N, &r).price.pull_from, ==,
		  ROUTE_NONE);
}

/* ---- the joint decision ------------------------------------------------------ */

static void anything(struct rng *g, struct route_engine *e, uint32_t n,
		     uint32_t blocks)
{
	idle(e, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t run = 0;

		for (uint32_t t = 0; t < ROUTE_TIERS; t++) {
			if (rng_below(g, 3) == 0)
				run += (uint32_t)rng_below(g, blocks);
			e[i].run[t] = MIN(run, blocks);
			e[i].load_wait_s[t] = (double)rng_below(g, 100) / 500;
		}
		e[i].coming = e[i].run[ROUTE_NVME];
		e[i].wait_s = (double)rng_below(g, 2000) / 1000;
		e[i].flows_in = (uint32_t)rng_below(g, 3);
		e[i].flows_out = (uint32_t)rng_below(g, 3);
		e[i].running = (uint32_t)rng_below(g, 20);
	}
}

/* The whole search: every end of the load and of the pull. */
static double best_of_all(const struct route_fleet *f, uint32_t to,
			  uint32_t from, const struct route_request *r)
{
	const struct route_engine *e = &f->engine[to];
	double best = INFINITY;
	struct route_case c;

	route_case_init(&c, f, r, true);
	for (uint32_t i = e->run[0]; i <= e->run[ROUTE_NVME]; i++) {
		double load = 0;
		uint32_t at = e->run[0];

		for (uint32_t t = 1; t < ROUTE_TIERS; t++) {
			uint32_t end = MIN(e->run[t], i);

			if (end > at)
				load = fmax(load,
					    e->load_wait_s[t] +
						    e->load_s[t] * (end - at));
			at = MAX(at, end);
		}
		for (uint32_t j = i; j <= MAX(i, f->engine[from].run[3]); j++) {
			double pull = route_pull_s(&c, to, from, i, j);
			double tokens = (double)r->tokens;
			double hit = fmin(j * 512.0, tokens - 1);
			double steps = fmax(1, (tokens - hit) / e->chunk);
			double work =
				route_prefill_s(e, hit, tokens) +
				steps * (e->step_s + e->running_s * e->running);

			best = fmin(best,
				    fmax(e->wait_s, fmax(load, pull)) + work);
		}
	}
	return best;
}

/* The few places that are looked at are as good as all, but for the whole
 * blocks at which a load and a pull are parted. */
TEST(best_mix_is_the_best_of_all_mixes)
{
	struct rng g = { 7 };
	struct route_engine e[2];
	struct route_fleet f = { .engine = e, .n = 2 };

	for (uint32_t k = 0; k < 400; k++) {
		struct route_request r =
			prompt(1 + (uint32_t)rng_below(&g, 120));
		struct route_price p;
		double all;

		anything(&g, e, 2, r.blocks);
		route_price_pull(&f, 0, 1, &r, &p);
		all = best_of_all(&f, 0, 1, &r);
		CHECK(p.ttft_s <= all * 1.02 + 0.02);
		CHECK(p.ttft_s >= all - 1e-9);
		CHECK(p.use_blocks <= p.load_blocks);
		CHECK(p.load_blocks <= p.pull_blocks);
		CHECK(p.pull_blocks <= r.blocks);
	}
}

/* Passing over engines that cannot win changes nothing. */
TEST(reasons_do_not_change_the_decision)
{
	struct rng g = { 11 };
	struct route_engine e[16];
	struct route_fleet f = {
		.engine = e, .n = 16, .arrivals = 0.5, .busy = 0.5
	};

	for (uint32_t k = 0; k < 300; k++) {
		struct route_request r =
			prompt(1 + (uint32_t)rng_below(&g, 200));
		struct route_price p[16];
		struct route_choice a, b;

		anything(&g, e, 16, r.blocks);
		r.draw = rng_next(&g);
		route_onecopy.decide(&f, &r, &a, NULL);
		route_onecopy.decide(&f, &r, &b, p);
		CHECK_INT(a.engine, ==, b.engine);
		for (uint32_t i = 0; i < 16; i++)
			CHECK(p[b.engine].total_s <= p[i].total_s);
		CHECK(fabs(p[b.engine].total_s - b.price.total_s) < 1e-12);
	}
}

TEST(three_questions)
{
	struct route_engine e[N];
	struct route_request r = prompt(100);
	struct route_choice c;

	idle(e, N);
	holds(&e[1], 99);
	c = decide("onecopy", e, N, &r);
	CHECK_INT(c.engine, ==, 1);
	CHECK(c.keeps && !c.move_first && !c.share);
	/* its engine is busy: the KV moves */
	e[1].wait_s = 5;
	c = decide("onecopy", e, N, &r);
	CHECK_INT(c.engine, !=, 1);
	CHECK(c.move_first && !c.share && !c.keeps);
	CHECK_INT(c.price.pull_from, ==, 1);
	/* the first copy is sending it, a second one is arriving: follow that */
	e[1].flows_out = 1;
	e[1].served = 3.7e9;
	e[2].coming = 99;
	e[2].coming_s = 0.25;
	e[2].wait_s = 5;
	c = decide("onecopy", e, N, &r);
	CHECK(c.move_first && c.share);
	CHECK_INT(c.price.pull_from, ==, 2);
}

/* Blocks go to another engine only where the prompt is served sooner there,
 * however much the others would like it. */
TEST(a_move_must_pay)
{
	struct route_engine e[2];
	struct route_request r = prompt(100);
	struct route_fleet f = {
		.engine = e, .n = 2, .arrivals = 100, .busy = 0.1
	};
	struct route_choice c;

	idle(e, 2);
	holds(&e[0], 99);
	e[0].wait_s = 0.2; /* a transfer takes 0.3 s */
	e[0].returns = 200;
	route_onecopy.decide(&f, &r, &c, NULL);
	CHECK_INT(c.engine, ==, 0);
	e[0].wait_s = 0.5;
	route_onecopy.decide(&f, &r, &c, NULL);
	CHECK_INT(c.engine, ==, 1);
	CHECK_INT(c.price.pull_from, ==, 0);
}

/* What another engine computes is computed once more only where that is sooner,
 * whoever else may come to that engine's queue. */
TEST(what_is_being_computed_is_not_computed_again)
{
	struct route_engine e[2];
	struct route_request r = prompt(100);
	struct route_fleet f = {
		.engine = e, .n = 2, .arrivals = 100, .busy = 0.1
	};
	struct route_choice c;
	struct route_price p[2];

	idle(e, 2);
	e[0].coming = 99;
	e[0].wait_s = e[0].coming_s = 1.8;
	e[0].link = e[1].link = 1e6;
	route_onecopy.decide(&f, &r, &c, p);
	CHECK(p[1].again && p[1].ttft_s > p[0].ttft_s);
	CHECK_INT(c.engine, ==, 0);
	/* sooner */
	e[0].wait_s = e[0].coming_s = 2.5;
	route_onecopy.decide(&f, &r, &c, p);
	CHECK(!p[1].again);
	CHECK_INT(c.engine, ==, 1);
	/* later by less than it would delay who ends there in its first step */
	e[0].wait_s = e[0].coming_s = 2.01;
	e[0].waiting = 1;
	r.tokens += 4096;
	r.blocks += 8;
	route_onecopy.decide(&f, &r, &c, p);
	CHECK(p[0].ttft_s < p[1].ttft_s);
	CHECK_INT(c.engine, ==, 1);
	/* what is there, or moves, may be computed elsewhere */
	e[0].waiting = 0;
	e[0].coming_moves = true;
	e[0].coming_s = 0.1;
	route_onecopy.decide(&f, &r, &c, p);
	CHECK(!p[1].again);
}

/* A long prompt does not pass one whose blocks are on their way where it can do
 * without; one that is ready no sooner does not pass it. */
TEST(who_waits_for_blocks_is_not_passed)
{
	struct route_engine e[2];
	struct route_request r = prompt(100);

	idle(e, 2);
	e[0].moving = 1;
	e[0].moving_s = e[0].wait_s = 0.01;
	e[1].wait_s = 1;
	for (r.draw = 0; r.draw < 2; r.draw++)
		CHECK_INT(decide("onecopy", e, 2, &r).engine, ==, 1);
	holds(&e[0], 99);
	for (uint32_t t = ROUTE_VRAM; t < ROUTE_NVME; t++)
		e[0].run[t] = 0;
	for (r.draw = 0; r.draw < 2; r.draw++)
		CHECK_INT(decide("onecopy", e, 2, &r).engine, ==, 0);
}

/* What a sibling computes before it in the same queue needs no wait but that
 * queue; what a transfer brings does. */
TEST(coming_by_work_or_by_link)
{
	struct route_engine e[2];
	struct route_fleet f = { .engine = e, .n = 2 };
	struct route_request r = prompt(100);
	struct route_choice c;
	struct route_price p;

	idle(e, 2);
	e[0].coming = 99;
	e[0].coming_s = 2;
	e[0].wait_s = 0.5;
	route_price_local(&f, 0, &r, &p);
	CHECK_INT(p.pull_blocks, ==, 99);
	CHECK(p.ttft_s > 0.5 && p.ttft_s < 0.6);
	e[0].coming_moves = true;
	route_price_local(&f, 0, &r, &p);
	CHECK_INT(p.pull_blocks, ==, 99);
	CHECK(p.ttft_s > 2 && p.ttft_s < 2.1);
	/* it follows the sibling's transfer */
	c = decide("onecopy", e, 1, &r);
	CHECK(c.share && c.price.pull_from == ROUTE_NONE);
	e[0].coming_moves = false;
	CHECK(!decide("onecopy", e, 1, &r).share);
}

/* The source's older blocks are of use before the newest are computed. */
TEST(what_is_there_is_pulled_and_the_rest_computed)
{
	struct route_engine e[2];
	struct route_request r = prompt(100);
	struct route_choice c;

	idle(e, 2);
	holds(&e[0], 95);
	e[0].coming = 99;
	e[0].coming_s = e[0].wait_s = 50;
	c = decide("onecopy", e, 2, &r);
	CHECK_INT(c.engine, ==, 1);
	CHECK_INT(c.price.pull_from, ==, 0);
	CHECK_INT(c.price.pull_blocks, ==, 95);
}

/* Long queues beside idle engines make no crowd; a long prompt does not go
 * where sessions come often; a fuller memory is worth something. */
TEST(what_it_takes_from_others)
{
	struct route_engine e[2];
	struct route_fleet f = {
		.engine = e, .n = 2, .arrivals = 1, .busy = 0.2
	};
	struct route_request r = prompt(100);
	struct route_choice c;

	idle(e, 2);
	e[0].returns = 5;
	for (r.draw = 0; r.draw < 4; r.draw++) {
		route_onecopy.decide(&f, &r, &c, NULL);
		CHECK_INT(c.engine, ==, 1);
	}
	e[1].returns = 5;
	for (uint32_t i = 0; i < 2; i++) {
		e[i].memory = 2000;
		e[i].held = i ? 1000 : 1700;
		e[i].decode_s = 10;
	}
	for (r.draw = 0; r.draw < 4; r.draw++) {
		route_onecopy.decide(&f, &r, &c, NULL);
		CHECK_INT(c.engine, ==, 1);
	}
}

/* Those in its queue whose last step it would share are delayed by it. */
TEST(a_step_is_shared)
{
	struct route_engine e[2];
	struct route_request r = prompt(4);

	idle(e, 2);
	e[0].chunk = e[1].chunk = 8192;
	e[0].wait_s = e[1].wait_s = 1;
	e[0].waiting = 4;
	for (r.draw = 0; r.draw < 4; r.draw++)
		CHECK_INT(decide("onecopy", e, 2, &r).engine, ==, 1);
	e[1].waiting = 4;
	e[0].wait_s = 0.9;
	for (r.draw = 0; r.draw < 4; r.draw++)
		CHECK_INT(decide("onecopy", e, 2, &r).engine, ==, 0);
}

/* ... and it by those behind it, unless that is so everywhere. */
TEST(a_step_is_shared_with_who_comes_behind)
{
	struct route_engine e[2];
	struct route_fleet f = { .engine = e, .n = 2 };
	struct route_request r = prompt(4);
	struct route_price p[2];
	struct route_choice c;

	idle(e, 2);
	e[0].wait_s = 1;
	e[0].waiting = 4;
	route_onecopy.decide(&f, &r, &c, p);
	CHECK(p[0].shared_s > 0);
	CHECK(fabs(p[0].others_s - 2 * p[0].shared_s) < 1e-9);
	f.busy = 1;
	route_onecopy.decide(&f, &r, &c, p);
	CHECK(fabs(p[0].others_s - p[0].shared_s) < 1e-9);
}

/* What is held beyond the memory is a queue, and no more pressing than full. */
TEST(long_prompts_are_not_parted_from_short_ones)
{
	struct route_engine e[2];
	struct route_fleet f = {
		.engine = e, .n = 2, .arrivals = 5, .busy = 1.2
	};
	struct route_request r = prompt(100);
	struct route_choice c;

	idle(e, 2);
	for (uint32_t i = 0; i < 2; i++) {
		e[i].memory = 2000;
		e[i].held = i ? 2100 : 2200;
		e[i].decode_s = 20;
		e[i].wait_s = i ? 12 : 10;
	}
	route_onecopy.decide(&f, &r, &c, NULL);
	CHECK_INT(c.engine, ==, 0);
}

/* An engine that is believed to be a little faster does not draw all the work of
 * a crowd. */
TEST(speed_is_not_worth_a_queue)
{
	struct route_engine e[2];
	struct route_fleet f = {
		.engine = e, .n = 2, .arrivals = 5, .busy = 1.2
	};
	struct route_request r = prompt(100);
	struct route_choice c;

	idle(e, 2);
	e[0].token_s *= 0.85;
	e[0].wait_s = 12;
	e[1].wait_s = 10;
	route_onecopy.decide(&f, &r, &c, NULL);
	CHECK_INT(c.engine, ==, 1);
}

/* While it would wait anyway, blocks come for nothing. */
TEST(a_slow_link_is_used_while_waiting)
{
	struct route_engine e[2];
	struct route_fleet f = { .engine = e, .n = 2 };
	struct route_request r = prompt(100);
	struct route_price p;

	idle(e, 2);
	holds(&e[1], 99);
	e[0].link = e[1].link = 1.25e9; /* slower than to compute it */
	route_price_pull(&f, 0, 1, &r, &p);
	CHECK_INT(p.pull_blocks, <, 99);
	e[0].wait_s = 1;
	route_price_pull(&f, 0, 1, &r, &p);
	CHECK_INT(p.pull_blocks, >=, 30);
	CHECK_INT(p.pull_blocks, <=, 34);
}

TEST(distrust_is_a_price)
{
	struct route_engine e[2];
	struct route_request r = prompt(100);

	idle(e, 2);
	holds(&e[0], 90);
	e[0].trust = 0.1;
	holds(&e[1], 60);
	CHECK_INT(decide("onecopy", e, 2, &r).engine, ==, 1);
	e[0].trust = 1;
	CHECK_INT(decide("onecopy", e, 2, &r).engine, ==, 0);
}

TEST(full_memory_is_a_queue)
{
	struct route_engine e[2];
	struct route_request r = prompt(100);

	idle(e, 2);
	holds(&e[0], 10);
	for (uint32_t i = 0; i < 2; i++) {
		e[i].memory = 2000;
		e[i].held = 500;
		e[i].decode_s = 20;
	}
	CHECK_INT(decide("onecopy", e, 2, &r).engine, ==, 0);
	e[0].held = 2500; /* 6 seconds until there is room */
	CHECK_INT(decide("onecopy", e, 2, &r).engine, ==, 1);
}

/* Whatever comes in, an engine comes out, with numbers that are numbers. */
TEST(nonsense_in_a_choice_out)
{
	static const double odd[] = { 0, -1, 1e300, -1e300, NAN, INFINITY };
	struct rng g = { 3 };
	struct route_engine e[N];

	for (uint32_t k = 0; k < 3000; k++) {
		double *field = (double *)&e[rng_below(&g, N)];
		struct route_request r = prompt((uint32_t)rng_below(&g, 50));

		anything(&g, e, N, 50);
		r.draw = rng_next(&g);
		e[0].run[rng_below(&g, ROUTE_TIERS)] = UINT32_MAX;
		e[1].coming = UINT32_MAX;
		/* the first five fields are doubles */
		field[rng_below(&g, 5)] = odd[rng_below(&g, ARRAY_LEN(odd))];
		e[2].link = odd[rng_below(&g, ARRAY_LEN(odd))];
		e[3].wait_s = odd[rng_below(&g, ARRAY_LEN(odd))];
		for (size_t i = 0; route_at(i); i++) {
			struct route_choice c =
				decide(route_at(i)->name, e, N, &r);

			CHECK_INT(c.price.pull_blocks, <=, r.blocks);
			CHECK_INT(c.price.load_blocks, <=, c.price.pull_blocks);
		}
	}
}

TEST(names)
{
	CHECK(route_find("onecopy") == &route_onecopy);
	CHECK(!route_find("nobody"));
	CHECK(!route_find(NULL));
	for (size_t i = 0; route_at(i); i++)
		CHECK(route_find(route_at(i)->name) == route_at(i));
	CHECK_STR(route_tier_name(ROUTE_NVME), "nvme");
}

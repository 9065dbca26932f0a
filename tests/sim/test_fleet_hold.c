/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated fleet: what the router holds, and what it tells of it. */
#include "tests/sim/fleet_rig.h"
#include "tests/test.h"
#include <math.h>

/* Everything to engine 0, until one is asked about again. */
static void as_told_twice(const struct route_fleet *f,
			  const struct route_request *r,
			  struct route_choice *ret_choice,
			  struct route_price *ret_prices)
{
	uint32_t to = f->engine[0].wait_s > 1e6;

	(void)r;
	(void)ret_prices;
	*ret_choice = (struct route_choice){
		.engine = to,
		.price = { .work_s = 2.2,
			   .ttft_s = f->engine[to].wait_s + 2.2,
			   .total_s = f->engine[to].wait_s + 2.2,
			   .pull_from = ROUTE_NONE },
	};
}

/* ... and what each costs. */
static void as_told_priced(const struct route_fleet *f,
			   const struct route_request *r,
			   struct route_choice *ret_choice,
			   struct route_price *ret_prices)
{
	as_told_twice(f, r, ret_choice, ret_prices);
	for (uint32_t i = 0; ret_prices && i < f->n; i++)
		ret_prices[i] = ret_choice->price;
}

/* Who would only wait stays with the router, and goes to an engine that is free;
 * who has been sent cannot. */
TEST(who_is_held_finds_a_free_engine)
{
	struct route_policy told = { .name = "told", .decide = as_told_twice };
	struct fleet_arrival a[40];
	uint32_t parent[4001] = { 0 };
	struct fleet_work w = {
		.arrival = a, .n = 40, .parent = parent, .nodes = 4001
	};
	struct fleet_options o = fleet_options_of("onecopy", 2);
	struct fleet_result sent, held;

	for (uint32_t i = 1; i < 4001; i++)
		parent[i] = i % 100 == 1 ? 0 : i - 1;
	for (uint32_t i = 0; i < 40; i++)
		a[i] = (struct fleet_arrival){ .at = 0.01 * i,
					       .serial = i,
					       .leaf = 100 * (i + 1),
					       .blocks = 100,
					       .in = 51200,
					       .out = 2 };
	w.blocks = 4000;
	w.longest = 100;
	o.policy = &told;
	o.rate_error = 0;
	sent = fleet_result_of(&o, &w);
	told.holds = true;
	held = fleet_result_of(&o, &w);
	CHECK_INT(held.requests, ==, 40);
	CHECK(sent.phase_ms[FLEET_IN_HOLD] <= 0);
	CHECK(held.phase_ms[FLEET_IN_HOLD] > 0);
	CHECK(held.ttft.max < 0.65 * sent.ttft.max);
	/* and none waits at the router for an engine that is idle */
	CHECK(held.balance > 0.9);
	/* who gives up there is gone */
	o.cancelled = 1;
	o.patience = 5;
	held = fleet_result_of(&o, &w);
	CHECK_INT(held.requests + held.cancelled, ==, 40);
	CHECK_INT(held.cancelled, >, 10);
}

/* What a run tells of one request. */
struct told {
	uint32_t first, anew, over;
	uint32_t engine; /* by the last decision */
	double at;	 /* ... and when */
};

static void told_decided(void *ctx, double at, const struct route_fleet *f,
			 const struct route_request *r,
			 const struct route_choice *choice,
			 const struct route_price *prices,
			 const struct fleet_stay *stay)
{
	struct told *t = (struct told *)ctx + r->serial;

	CHECK_INT(t->over, ==, 0);
	CHECK(!stay == !t->first);
	CHECK(!stay || stay->engine == t->engine);
	CHECK(!stay || stay->engine != choice->engine);
	CHECK(!stay || prices[stay->engine].ttft_s == stay->ttft_s);
	CHECK(!stay || choice->price.ttft_s < stay->ttft_s);
	t->first += !stay;
	t->anew += stay != NULL;
	t->engine = choice->engine;
	t->at = at;
	CHECK_INT(f->n, ==, 2);
}

static void told_over(void *ctx, const struct fleet_fate *fate)
{
	struct told *t = (struct told *)ctx + fate->serial;
	double sum = 0;

	CHECK_INT(t->first, ==, 1);
	CHECK_INT(fate->left, ==, t->anew);
	CHECK_INT(fate->asked, >=, fate->left);
	CHECK_INT(fate->engine, ==, t->engine);
	CHECK(fate->decided == t->at);
	for (uint32_t i = 0; i < FLEET_PHASES; i++)
		sum += fate->spent_s[i];
	CHECK(fabs(sum - (fate->over - fate->arrived)) < 1e-9);
	t->over++;
}

/* Of each request its decision is told, each later one that took it elsewhere,
 * and what became of it; who asks changes nothing. */
TEST(decisions_are_told_to_the_end)
{
	struct route_policy holds = { .name = "told",
				      .decide = as_told_priced,
				      .holds = true };
	struct fleet_work w = fleet_made(FLEET_WAVES, 64, 400, false);
	struct fleet_options o = fleet_options_of("onecopy", 2);
	struct fleet_result plain, r;

	o.policy = &holds;
	o.load = 8;
	for (uint32_t round = 0; round < 2; round++) {
		struct told told[1000] = { 0 };
		uint32_t anew = 0;

		CHECK_INT(w.n, <, 1000);
		o.cancelled = round ? 0.5 : 0;
		o.decided = NULL;
		o.over = NULL;
		plain = fleet_result_of(&o, &w);
		o.decided = told_decided;
		o.over = told_over;
		o.ctx = told;
		r = fleet_result_of(&o, &w);
		CHECK(fleet_same(&plain, &r));
		for (size_t i = 0; i < w.n; i++) {
			CHECK_INT(told[i].first, ==, 1);
			CHECK_INT(told[i].over, ==, 1);
			anew += told[i].anew;
		}
		CHECK_INT(anew, >, 0);
		CHECK(!round == !r.cancelled);
	}
	fleet_work_fini(&w);
}

/* Looks at what is held end, on a clock without tenths of a second as well. */
TEST(looks_end_at_any_time)
{
	struct fleet_work w = fleet_made(FLEET_BURSTS, 32, 200, false);
	struct fleet_options o = fleet_options_of("onecopy", 2);

	for (size_t i = 0; i < w.n; i++)
		w.arrival[i].at += 1e17;
	o.blocks[ROUTE_VRAM] = 300;
	CHECK_INT(fleet_result_of(&o, &w).requests, ==, w.n);
	for (size_t i = 0; i < w.n; i++)
		w.arrival[i].at -= 1e17;
	o.laggards = 2;
	o.lag_s = 100000;
	CHECK_INT(fleet_result_of(&o, &w).requests, ==, w.n);
	fleet_work_fini(&w);
}

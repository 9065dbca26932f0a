/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated fleet: when blocks that move or are computed are there. */
#include "tests/sim/fleet_rig.h"
#include "tests/test.h"

/* Sends each request as told. */
static void as_told(const struct route_fleet *f, const struct route_request *r,
		    struct route_choice *ret_choice,
		    struct route_price *ret_prices)
{
	static const uint32_t to[] = { 0, 1, 1, 1 };

	(void)f;
	(void)ret_prices;
	*ret_choice = (struct route_choice){ .engine = to[r->serial] };
	ret_choice->price.pull_from = ROUTE_NONE;
	if (r->serial == 1) { /* the others follow it */
		ret_choice->price.pull_from = 0;
		ret_choice->price.pull_blocks = 100;
	}
}

/* Blocks that are being fetched are waited for by who follows, and by who
 * follows that one: nobody computes them again. */
TEST(who_follows_a_follower_waits_too)
{
	static const struct route_policy told = { .name = "told",
						  .decide = as_told };
	struct fleet_arrival a[4];
	uint32_t parent[104] = { 0 };
	struct fleet_work w = {
		.arrival = a, .n = 4, .parent = parent, .nodes = 104
	};
	struct fleet_options o = fleet_options_of("onecopy", 2);
	struct fleet_result r;

	for (uint32_t i = 1; i < 104; i++)
		parent[i] = i - 1;
	for (uint32_t i = 0; i < 4; i++) {
		a[i] = (struct fleet_arrival){
			.at = i ? 20 + 0.01 * i : 0,
			.serial = i,
			.leaf = 100 + i,
			.blocks = 100 + i,
			.in = 512 * (100 + i),
			.out = 2,
		};
		w.blocks += a[i].blocks;
	}
	a[0].leaf = a[0].blocks = 100;
	w.longest = 103;
	o.policy = &told;
	r = fleet_result_of(&o, &w);
	CHECK_INT(r.moves, ==, 1);
	CHECK_INT(r.hit_blocks, >=, 100 + 101 + 102);
	CHECK_INT(r.blocks - r.hit_blocks, <=, 103);
}

/* Blocks are of use to another engine when the step that computes them has ended,
 * no sooner; whoever is in the same step finds them, as in engines. */
TEST(blocks_are_there_when_their_step_ends)
{
	static const struct route_policy told = { .name = "told",
						  .decide = as_told };
	struct fleet_arrival a[2];
	uint32_t parent[18] = { 0 };
	struct fleet_work w = {
		.arrival = a, .n = 2, .parent = parent, .nodes = 18
	};
	struct fleet_options o = fleet_options_of("onecopy", 2);
	struct fleet_result r;
	double step;

	for (uint32_t i = 1; i < 18; i++)
		parent[i] = i - 1;
	for (uint32_t i = 0; i < 2; i++)
		a[i] = (struct fleet_arrival){ .at = 0.01 * i,
					       .serial = i,
					       .leaf = 16 + i,
					       .blocks = 16 + i,
					       .in = 512 * (16 + i),
					       .out = 2 };
	w.blocks = 33;
	w.longest = 17;
	o.policy = &told;
	o.chunk = 8192;
	o.link = 1e12;
	r = fleet_result_of(&o, &w);
	step = o.token_s * 8192 * (1 + 4096 / o.depth_tokens) + o.step_s;
	CHECK_INT(r.pulled, ==, 16);
	CHECK(r.ttft.max > 1000 * step);
	CHECK(r.ttft.max < 1000 * (step + 0.03));
}

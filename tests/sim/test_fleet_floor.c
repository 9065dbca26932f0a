/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated fleet: no policy is below the floor, and it is within reach. */
#include "tests/sim/fleet_rig.h"
#include "tests/test.h"
#include <math.h>

static bool not_below(double v, double floor)
{
	return v >= floor * (1 - 1e-6);
}

/* No policy, the oracle included, is ever below the floor: mean or quantile,
 * any load, any work, any link, whether the router knows much or little. */
TEST(nobody_is_below_the_floor)
{
	static const double load[] = { 0.1, 1, 8 };

	for (uint32_t shape = 0; shape < FLEET_SHAPES; shape++) {
		struct fleet_work w = fleet_made((enum fleet_shape)(int)shape,
						 24, 400, shape == 0);

		for (size_t i = 0; route_at(i); i++) {
			struct fleet_options o =
				fleet_options_of(route_at(i)->name, 4);
			struct fleet_result r;

			o.load = load[(i + shape) % ARRAY_LEN(load)];
			o.link = i % 2 ? 1e9 : 50e9;
			o.blocks[ROUTE_VRAM] = i % 3 ? 2000 : 250;
			r = fleet_result_of(&o, &w);
			CHECK(r.floor.mean > 0);
			CHECK(not_below(r.ttft.mean, r.floor.mean));
			CHECK(not_below(r.ttft.p50, r.floor.p50));
			CHECK(not_below(r.ttft.p90, r.floor.p90));
			CHECK(not_below(r.ttft.p99, r.floor.p99));
			CHECK(not_below(r.ttft.max, r.floor.max));
		}
		fleet_work_fini(&w);
	}
}

/* ... and it is reached where nothing is in the way: one engine with room for
 * all, requests that never meet. */
TEST(the_floor_is_reached_by_who_is_alone)
{
	struct fleet_work w = fleet_made(FLEET_WAVES, 4, 100, false);
	struct fleet_options o = fleet_options_of("onecopy", 1);
	struct fleet_result r;

	for (size_t i = 0; i < w.n; i++)
		w.arrival[i].at = 1000 * (double)i;
	o.blocks[ROUTE_VRAM] = 1u << 20;
	r = fleet_result_of(&o, &w);
	CHECK(fabs(r.ttft.mean - r.floor.mean) < 1e-4 * r.floor.mean);
	CHECK(fabs(r.ttft.p99 - r.floor.p99) < 1e-4 * r.floor.p99);
	CHECK_INT(r.peak[ROUTE_VRAM], ==, w.nodes - 1);
	fleet_work_fini(&w);
}

/* Prompts whose tokens do not reach their last block are counted, and the floor
 * holds for them too: one step, one token. */
TEST(prompts_that_are_too_short)
{
	struct fleet_arrival a[2] = {
		{ .at = 0, .leaf = 9, .blocks = 9, .in = 100, .out = 2 },
		{ .at = 9, .leaf = 9, .blocks = 9, .in = 9 * 512, .out = 2 },
	};
	uint32_t parent[10] = { 0 };
	struct fleet_work w = { .arrival = a,
				.n = 2,
				.parent = parent,
				.nodes = 10,
				.longest = 9 };
	struct fleet_options o = fleet_options_of("onecopy", 2);
	struct fleet_result r;

	for (uint32_t i = 1; i < 10; i++)
		parent[i] = i - 1;
	r = fleet_result_of(&o, &w);
	CHECK_INT(r.short_prompts, ==, 1);
	CHECK(not_below(r.ttft.mean, r.floor.mean));
	CHECK(r.floor.mean > 1000 * o.step_s);
	a[0].in = 9 * 512;
	r = fleet_result_of(&o, &w);
	CHECK_INT(r.short_prompts, ==, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The server dies after any store of a move between DRAM and the rung below. */
#include "tests/store/cut.h"

#ifndef ONECOPY_RECORD

TEST(survives_a_cut_after_any_store)
{
	SKIP("stores are not recorded in this build");
}

#else

/* One slab in DRAM, two below. */
static const struct world_config rungs = { .limit = CUT_SLAB,
					   .slab_bytes = CUT_SLAB,
					   .low = 2 * CUT_SLAB };

static void put(struct world *w, uint64_t n)
{
	struct sim *a = &w->sim[0];
	int64_t r = sim_grant(a, n, PART, WORLD_SEC);
	uint32_t slot = a->slot;

	for (unsigned i = 0; i < 20 && r == SIM_LATER; i++) {
		world_ready(w);
		world_tick(w, WORLD_SEC / 100);
		r = sim_answer(a, slot);
	}
	CHECK_OK(r);
	CHECK_OK(sim_seal(a, n, PART, &w->last));
}

static void prepare_low(struct world *w)
{
	sim_add(w, 0);
	sim_add(w, 1);
	for (uint64_t n = 1; n <= 20; n++)
		put(w, n);
	CHECK(sim_pin(&w->sim[1], 2, 6, PART)); /* in DRAM, and it stays */
}

static void act_down(struct world *w)
{
	sim_grant(&w->sim[0], 60, PART, WORLD_SEC);
}

TEST(grant_that_demotes)
{
	cut_everywhere(&(struct cut_case){ &rungs, prepare_low, act_down, 0 });
}

static void prepare_slab(struct world *w)
{
	sim_add(w, 0);
	sim_add(w, 1);
	for (uint64_t n = 1; n <= 16; n++)
		put(w, n);
}

static void act_slab(struct world *w)
{
	sim_grant(&w->sim[0], 60, PART, WORLD_SEC);
	world_ready(w);
}

TEST(grant_that_makes_the_first_slab_below)
{
	cut_everywhere(&(struct cut_case){ &rungs, prepare_slab, act_slab, 0 });
}

/* Room in DRAM for the server's own slab. */
static const struct world_config roomy = { .limit = 2 * CUT_SLAB,
					   .slab_bytes = CUT_SLAB,
					   .low = 2 * CUT_SLAB };

static void touch_twice(struct world *w, uint64_t n)
{
	for (unsigned i = 0; i < 2; i++) {
		sim_touch(&w->sim[1], n, PART);
		store_touches(w->sim[1].c);
	}
}

/* Blocks 1 to 16 are low, and DRAM has room. */
static void prepare_up(struct world *w)
{
	struct sim *a = sim_add(w, 0);

	sim_add(w, 1);
	for (uint64_t n = 1; n <= 48; n++)
		put(w, n);
	for (uint64_t n = 17; n <= 48; n++)
		CHECK_OK(sim_call(a, call_of(RING_REMOVE, n, PART)));
	for (unsigned i = 0; i < 10; i++) {
		sim_let_go(a);
		world_tick(w, WORLD_SEC / 50);
		world_ready(w);
	}
	CHECK(world_has(w, 1, PART));
}

/* Promoted: 3 has a twin. */
static void prepare_twin(struct world *w)
{
	prepare_up(w);
	touch_twice(w, 3);
	for (unsigned i = 0; i < 20; i++) {
		sim_let_go(&w->sim[0]);
		world_tick(w, WORLD_SEC / 50);
		world_ready(w);
	}
	CHECK_INT(pool_counter(w->p, POOL_C_cxl_replicas), ==, 1);
	touch_twice(w, 4);
}

static void act_up(struct world *w)
{
	world_tick(w, WORLD_SEC / 50);
}

TEST(use_that_promotes)
{
	cut_everywhere(&(struct cut_case){ &roomy, prepare_twin, act_up, 0 });
}

static void act_remove(struct world *w)
{
	sim_call(&w->sim[0], call_of(RING_REMOVE, 3, PART));
}

static void after_remove(struct world *w)
{
	CHECK(!world_has(w, 3, PART));
}

TEST(remove_of_both_replicas)
{
	cut_everywhere(&(struct cut_case){ &roomy, prepare_twin, act_remove,
					   after_remove });
}

/* What has a twin falls, and nothing is written. */
static void act_fall(struct world *w)
{
	uint64_t key[4];
	uint32_t frame;
	struct pool_slab *s;

	key_of(3, key);
	s = pool_find(w->p, key, PART, &frame);
	evict_begin(w->s);
	CHECK(s && evict_add(w->s, w->p, s, frame));
	evict_finish(w->s, w->p, false);
}

TEST(fall_to_a_twin)
{
	cut_everywhere(&(struct cut_case){ &roomy, prepare_twin, act_fall, 0 });
}

static void act_drop(struct world *w)
{
	uint64_t key[4];
	uint32_t frame, lf;
	struct pool_slab *s, *low;

	key_of(3, key);
	s = pool_find(w->p, key, PART, &frame);
	CHECK(s != NULL);
	low = pool_item(w->p, pool_twin_of(w->p, s, frame), &lf);
	evict_begin(w->s);
	CHECK(evict_add_twin(w->s, w->p, low, lf));
	evict_finish(w->s, w->p, false);
}

TEST(drop_of_a_twin)
{
	cut_everywhere(&(struct cut_case){ &roomy, prepare_twin, act_drop, 0 });
}

/* A whole block leaves from where it is found and from below. */
static const struct world_config full = { .limit = CUT_SLAB,
					  .slab_bytes = CUT_SLAB,
					  .low = CUT_SLAB };

static void prepare_full(struct world *w)
{
	sim_add(w, 0);
	sim_add(w, 1);
	for (uint64_t n = 1; n <= 32; n++)
		put(w, n);
}

TEST(grant_that_evicts_below)
{
	cut_everywhere(&(struct cut_case){ &full, prepare_full, act_down, 0 });
}

/* The recovery of a promotion is cut as well. */
TEST(recovery_of_a_promotion)
{
	for (uint64_t at = 8; at <= 24; at += 4)
		cut_recovery(&(struct cut_case){ &roomy, prepare_twin, act_up,
						 0 },
			     at);
}

#endif

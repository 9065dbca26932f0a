/* SPDX-License-Identifier: Apache-2.0 */
/* Who leaves: the least recently used, never what is pinned, blocks whole. */
#include "base/rng.h"
#include "tests/store/world.h"

static const struct world_config small = { .limit = 131072,
					   .slab_bytes = 65536 };

TEST(the_least_recently_used_leaves_first)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);

	for (uint64_t n = 0; n < 32; n++)
		sim_put(a, n, PART);
	/* from the tail: 31 is the coldest now, 0 the hottest */
	for (uint64_t n = 32; n-- > 0;)
		sim_touch(a, n, PART);
	store_touches(a->c);
	CHECK_INT(pool_counter(w->p, POOL_C_touches), ==, 32);
	for (uint64_t i = 0; i < 32; i++) {
		sim_put(a, 100 + i, PART);
		CHECK(!world_has(w, 31 - i, PART));
		for (uint64_t n = 0; n < 31 - i; n++)
			CHECK(world_has(w, n, PART));
		world_check(w);
	}
	world_destroy(w);
}

TEST(a_grant_that_finds_a_block_touches_it)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);

	for (uint64_t n = 0; n < 32; n++)
		sim_put(a, n, PART);
	CHECK_INT(sim_grant(a, 0, PART, 0), ==, OC_EXISTS);
	sim_put(a, 100, PART);
	CHECK(world_has(w, 0, PART));
	CHECK(!world_has(w, 1, PART));
	world_destroy(w);
}

TEST(what_is_pinned_stays)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	struct rng r = { 3 };
	uint64_t pinned[SIM_PINS] = { 0 };

	for (uint64_t n = 1; n < 2000; n++) {
		uint32_t slot = (uint32_t)rng_below(&r, 20);

		sim_put(rng_below(&r, 2) ? a : b, n, PART);
		/* far away slots too: the high mark follows */
		slot = slot < 10 ? slot : SIM_PINS - 20 + slot;
		sim_unpin(b, slot);
		pinned[slot] =
			sim_pin(b, slot, n - rng_below(&r, MIN(n, 30)), PART)
				? n
				: 0;
		for (slot = 0; slot < SIM_PINS; slot++) {
			uint64_t pin = shared_load64(&b->cs->slots[slot]);
			struct pool_slab *s;
			uint32_t frame;

			if (!pin || !pinned[slot])
				continue;
			s = pool_locate(w->p, pin_word_loc(pin), &frame);
			CHECK(s);
			CHECK_INT(pool_frame_state(s, frame), ==, FRAME_SEALED);
			CHECK(pin_word_names(pin, pin_word_loc(pin),
					     pool_frame_gen(s, frame)));
		}
		if (n % 100 == 0)
			world_check(w);
	}
	world_destroy(w);
}

/* The server's own pins, for clients out of slots, protect as well. */
TEST(overflow_pins_protect)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);

	for (uint64_t n = 0; n < 32; n++)
		sim_put(a, n, PART);
	CHECK_OK(sim_call(a, call_of(RING_PIN, 0, PART)));
	for (uint64_t n = 100; n < 200; n++)
		sim_put(a, n, PART);
	CHECK(world_has(w, 0, PART));
	world_restart(w);
	for (uint64_t n = 200; n < 300; n++)
		sim_put(a, n, PART);
	CHECK(world_has(w, 0, PART));
	world_check(w);
	world_destroy(w);
}

/* Nonsense in a slot protects nothing that exists, and breaks nothing. */
TEST(nonsense_in_slots)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);
	struct rng r = { 5 };

	shared_store64(&a->cs->header.pin_high, UINT64_MAX);
	for (uint64_t n = 0; n < 500; n++) {
		shared_store64(&a->cs->slots[rng_below(&r, SIM_PINS)],
			       rng_next(&r));
		sim_put(a, n, PART);
	}
	world_check(w);
	world_destroy(w);
}

#define GROUPS 2
#define RANKS  2

static uint64_t part_of(uint32_t ns, unsigned i)
{
	return frame_part(ns, (uint16_t)(i / RANKS), (uint16_t)(i % RANKS));
}

TEST(parts_leave_together)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t ns = world_ns(w, GROUPS, RANKS, 4096, 1);

	for (uint64_t n = 0; n < 8; n++)
		for (unsigned i = 0; i < 4; i++)
			sim_put(a, n, part_of(ns, i));
	CHECK(sim_pin(b, 0, 0, part_of(ns, 3))); /* one part of the coldest */
	sim_put(a, 100, part_of(ns, 0));
	for (unsigned i = 0; i < 4; i++) {
		CHECK(world_has(w, 0, part_of(ns, i)));
		CHECK(!world_has(w, 1, part_of(ns, i)));
		CHECK(world_has(w, 2, part_of(ns, i)));
	}
	CHECK_INT(pool_counter(w->p, POOL_C_evicted), ==, 4);
	world_check(w);
	world_destroy(w);
}

TEST(removal_takes_all_parts_and_waits_for_pins)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t ns = world_ns(w, GROUPS, RANKS, 4096, 1);

	for (unsigned i = 0; i < 4; i++)
		sim_put(a, 1, part_of(ns, i));
	CHECK(sim_pin(b, 0, 1, part_of(ns, 2)));
	CHECK_OK(sim_call(b, call_of(RING_REMOVE, 1, part_of(ns, 0))));
	CHECK_INT(w->last.arg, ==, 4);
	for (unsigned i = 0; i < 4; i++)
		CHECK(!world_has(w, 1, part_of(ns, i)));
	CHECK_INT(world_check(w).doomed, ==, 1);
	CHECK_INT(sim_call(b, call_of(RING_REMOVE, 1, part_of(ns, 0))), ==,
		  OC_MISS);
	/* written anew meanwhile */
	sim_put(a, 1, part_of(ns, 2));
	world_restart(w);
	CHECK_INT(world_check(w).doomed, ==, 1);
	sim_unpin(b, 0);
	world_tick(w, WORLD_SEC);
	CHECK_INT(world_check(w).doomed, ==, 0);
	CHECK(world_has(w, 1, part_of(ns, 2)));
	world_destroy(w);
}

/* ---- touches -------------------------------------------------------------- */

TEST(touches_that_were_overwritten_are_counted)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);

	sim_put(a, 1, PART);
	for (unsigned i = 0; i < TOUCH_RING + 5; i++)
		sim_touch(a, 1, PART);
	store_touches(a->c);
	CHECK_INT(pool_counter(w->p, POOL_C_touches), ==, TOUCH_RING);
	CHECK_INT(pool_counter(w->p, POOL_C_touches_lost), ==, 5);
	store_touches(a->c);
	CHECK_INT(pool_counter(w->p, POOL_C_touches), ==, TOUCH_RING);
	world_destroy(w);
}

TEST(touch_tails_that_jump)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);
	struct rng r = { 9 };

	for (uint64_t n = 0; n < 32; n++)
		sim_put(a, n, PART);
	for (unsigned i = 0; i < TOUCH_RING; i++)
		shared_store64(&a->cs->touch[i],
			       rng_below(&r, 2)
				       ? rng_next(&r)
				       : pin_word(frame_loc(1, i % 99), 0));
	for (unsigned i = 0; i < 200; i++) {
		shared_store64(&a->cs->header.touch_tail,
			       rng_next(&r) >> rng_below(&r, 64));
		store_touches(a->c);
	}
	shared_store64(&a->cs->header.touch_tail, a->c->touch_head - 7);
	store_touches(a->c);
	world_check(w);
	world_destroy(w);
}

/* ---- bad bytes ------------------------------------------------------------ */

static void corrupt(struct world *w, uint64_t n)
{
	uint64_t key[4];
	uint32_t frame;
	struct pool_slab *s;

	key_of(n, key);
	s = pool_find(w->p, key, PART, &frame);
	CHECK(s);
	CHECK_INT(pwrite(s->payload.fd, "xyz", 3,
			 (off_t)(frame * s->frame_bytes + 1000)),
		  ==, 3);
}

TEST(the_scrubber_finds_planted_corruption)
{
	struct world_config config = small;
	struct world *w;
	struct sim *a;

	config.scrub = 1ull << 30;
	w = world_create(&config);
	a = sim_add(w, 0);
	for (uint64_t n = 0; n < 20; n++)
		sim_put(a, n, PART);
	for (unsigned i = 0; i < 20; i++)
		world_tick(w, WORLD_SEC / 50);
	CHECK_INT(pool_counter(w->p, POOL_C_bad), ==, 0);
	CHECK_INT(pool_counter(w->p, POOL_C_scrubbed_bytes), >, 20 * 4096);
	corrupt(w, 3);
	corrupt(w, 17);
	for (unsigned i = 0; i < 20; i++)
		world_tick(w, WORLD_SEC / 50);
	CHECK_INT(pool_counter(w->p, POOL_C_bad), ==, 2);
	for (uint64_t n = 0; n < 20; n++)
		CHECK_INT(world_has(w, n, PART), ==, n != 3 && n != 17);
	world_check(w);
	world_destroy(w);
}

TEST(a_report_of_bad_bytes_is_looked_into)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	struct ring_call call = call_of(RING_BAD, 0, 0);

	sim_put(a, 1, PART);
	CHECK(sim_pin(b, 0, 1, PART));
	call.loc = pin_word_loc(shared_load64(&b->cs->slots[0]));
	call.gen = 5;
	CHECK_INT(sim_call(b, call), ==, OC_STALE);
	call.gen = 0;
	CHECK_OK(sim_call(b, call)); /* a lie */
	CHECK_INT(w->last.arg, ==, 0);
	CHECK(world_has(w, 1, PART));
	corrupt(w, 1);
	CHECK_OK(sim_call(b, call)); /* too soon: not looked into */
	CHECK_INT(w->last.arg, ==, 0);
	world_tick(w, WORLD_SEC);
	CHECK_OK(sim_call(b, call));
	CHECK_INT(w->last.arg, ==, 1);
	CHECK(!world_has(w, 1, PART));
	CHECK_INT(pool_counter(w->p, POOL_C_bad), ==, 1);
	world_check(w);
	world_destroy(w);
}

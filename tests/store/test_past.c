/* SPDX-License-Identifier: Apache-2.0 */
/* The rings of what happened to blocks, and what the store writes into them. */
#include "base/fault.h"
#include "base/rng.h"
#include "tests/store/world.h"

static struct past_note note(uint64_t n, uint64_t at_ms, unsigned event)
{
	return (struct past_note){ .key = { n, ~n },
				   .at_ms = at_ms,
				   .ns = 1,
				   .event = (uint8_t)event };
}

static unsigned find(const struct past *h, uint64_t n, uint32_t ns,
		     struct past_note *ret)
{
	const uint64_t key[4] = { n, ~n, 0, 0 };

	return past_find(h, key, ns, 4, ret);
}

TEST(the_newest_first)
{
	struct past_note n, got[4];
	struct past *h;

	CHECK_OK(past_create(1 << 16, 5, &h));
	for (uint64_t i = 0; i < 6; i++) {
		n = note(7, 10 + i, PAST_EVICTED);
		n.ns = 1 + (uint32_t)(i & 1);
		past_add(h, &n);
		n = note(8 + i, 10 + i, PAST_EVICTED);
		past_add(h, &n);
	}
	n = note(7, 12, PAST_REFUSED); /* the other ring, in between */
	past_add(h, &n);
	CHECK_INT(find(h, 7, 0, got), ==, 4);
	CHECK_INT(got[0].at_ms, ==, 15);
	CHECK_INT(got[3].at_ms, ==, 12);
	CHECK_INT(find(h, 7, 2, got), ==, 3);
	CHECK_INT(got[0].at_ms, ==, 15);
	CHECK_INT(find(h, 99, 0, got), ==, 0);
	past_destroy(h);
}

/* Against a plain list of all that was added. */
TEST(the_last_so_many)
{
	enum { N = 20000 };
	static uint64_t last[512];
	struct past_extent x;
	struct rng r = { 3 };
	struct past *h;
	uint64_t cap;

	CHECK_OK(past_create(4096 * PAST_NOTE_BYTES, 0, &h));
	past_extent(h, &x);
	cap = x.capacity - x.capacity / 4;
	CHECK_INT(x.bytes, <=, 4096 * PAST_NOTE_BYTES);
	CHECK(x.whole);
	for (uint64_t i = 1; i <= N; i++) {
		uint64_t key = rng_below(&r, 512);
		struct past_note n = note(key, i, PAST_EVICTED), got[4];

		past_add(h, &n);
		last[key] = i;
		key = rng_below(&r, 512);
		if (last[key] && last[key] + cap > i) {
			CHECK_INT(find(h, key, 0, got), >=, 1);
			CHECK_INT(got[0].at_ms, ==, last[key]);
		} else {
			CHECK_INT(find(h, key, 0, got), ==, 0);
		}
	}
	past_extent(h, &x);
	CHECK(!x.whole);
	CHECK_INT(x.notes, ==, cap);
	CHECK_INT(x.since_ms, ==, N - cap + 1);
	past_destroy(h);
}

/* Requests that are refused again and again displace no evictions. */
TEST(refusals_have_a_ring_of_their_own)
{
	struct past_note n = note(1, 1, PAST_EVICTED), got[4];
	struct past *h;

	CHECK_OK(past_create(1 << 12, 0, &h));
	past_add(h, &n);
	for (uint64_t i = 0; i < 10000; i++) {
		n = note(1000 + i, 2 + i, PAST_REFUSED);
		past_add(h, &n);
	}
	CHECK_INT(find(h, 1, 0, got), ==, 1);
	past_destroy(h);
}

TEST(too_little_memory_is_no_history)
{
	struct past_note n = note(1, 1, PAST_EVICTED), got[4];
	struct past_extent x;
	struct past *h;

	CHECK_OK(past_create(100, 0, &h));
	past_add(h, &n);
	CHECK_INT(find(h, 1, 0, got), ==, 0);
	past_extent(h, &x);
	CHECK_INT(x.capacity, ==, 0);
	CHECK(!x.whole);
	past_destroy(h);
	past_add(NULL, &n);
	CHECK_INT(find(NULL, 1, 0, got), ==, 0);
	past_destroy(NULL);
	for (uint64_t k = 1;; k++) {
		int r;

		fault_arm(FAULT_ALLOC, k, false);
		r = past_create(1 << 16, 0, &h);
		if (!fault_fired())
			break;
		CHECK_INT(r, ==, -ENOMEM);
	}
	fault_arm(0, 0, false);
	past_destroy(h);
}

/* ---- what the store notes ---------------------------------------------------- */

static struct past_note last_note(struct world *w, uint64_t n)
{
	struct past_note got = { .event = 0 };
	uint64_t key[4];

	key_of(n, key);
	past_find(store_past(w->s, w->p), key, 1, 1, &got);
	return got;
}

static const struct world_config four = { .limit = 4 * 65536ull,
					  .slab_bytes = 65536 };

TEST(evictions_say_why)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	struct past_note n;

	for (uint64_t i = 0; i < 64; i++)
		sim_put(a, i, PART);
	sim_touch(a, 0, PART);
	store_touches(a->c);
	world_tick(w, 3 * WORLD_SEC);
	for (uint64_t i = 100; i < 103; i++)
		sim_put(a, i, PART);
	n = last_note(w, 1);
	CHECK_INT(n.event, ==, PAST_EVICTED);
	CHECK_INT(n.pressure, ==, PRESSURE_ARENA);
	CHECK_INT(n.limit, ==, LIMIT_NODE);
	CHECK_INT(n.client, ==, a->id);
	CHECK_INT(n.owner, ==, a->id);
	CHECK_INT(n.idle, >=, 63);
	CHECK_INT(n.life_ms, ==, 3000);
	CHECK_INT(n.frame_bytes, ==, 4096);
	CHECK_INT(n.parts, ==, 1);
	CHECK_INT(last_note(w, 0).event, ==, 0);
	/* another writer takes a slab */
	CHECK_INT(sim_grant(b, 200, PART, WORLD_SEC), ==, SIM_LATER);
	n = last_note(w, 5);
	CHECK_INT(n.event, ==, PAST_EVICTED);
	CHECK_INT(n.pressure, ==, PRESSURE_SLAB);
	CHECK_INT(n.client, ==, b->id);
	world_destroy(w);
}

TEST(the_limit_that_was_reached)
{
	struct world_config config = { .limit = 16 * 65536ull,
				       .slab_bytes = 65536,
				       .quota = 65536 };
	struct world *w = world_create(&config);
	struct sim *a = sim_add(w, 0);

	for (uint64_t i = 0; i < 20; i++)
		sim_put(a, i, PART);
	CHECK_INT(last_note(w, 0).limit, ==, LIMIT_QUOTA);
	world_destroy(w);
	config.quota = 0;
	config.percent = 10;
	w = world_create(&config);
	a = sim_add(w, 0);
	for (uint64_t i = 0; i < 40; i++)
		sim_put(a, i, PART);
	CHECK_INT(last_note(w, 0).limit, ==, LIMIT_CLIENT);
	world_destroy(w);
}

TEST(parts_of_a_block_are_one_note)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);
	uint32_t ns = world_ns(w, 2, 2, PART_BYTES, 1);
	struct past_note n;
	uint64_t key[4];

	for (uint64_t i = 0; i < 20; i++)
		for (uint16_t k = 0; k < 4; k++)
			sim_put(a, i, frame_part(ns, k / 2, k % 2));
	key_of(0, key);
	CHECK_INT(past_find(store_past(w->s, w->p), key, ns, 1, &n), ==, 1);
	CHECK_INT(n.parts, ==, 4);
	world_destroy(w);
}

TEST(what_is_never_sealed)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	struct ring_answer grant;

	CHECK_OK(sim_grant_wait(a, 1, PART));
	grant = w->last;
	CHECK_OK(sim_abandon(a, &grant));
	CHECK_INT(last_note(w, 1).event, ==, PAST_ABANDONED);
	CHECK_INT(last_note(w, 1).owner, ==, a->id);
	CHECK_OK(sim_grant_wait(b, 2, PART));
	sim_die(b);
	CHECK_INT(last_note(w, 2).event, ==, PAST_ORPHANED);
	for (uint64_t i = 10; i < 74; i++)
		CHECK_OK(sim_grant_wait(a, i, PART));
	CHECK_INT(sim_grant(a, 99, PART, 0), ==, -ENOBUFS);
	CHECK_INT(last_note(w, 99).event, ==, PAST_REFUSED);
	CHECK_INT(last_note(w, 99).limit, ==, LIMIT_NODE);
	world_destroy(w);
}

TEST(what_is_taken_away)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);
	struct pool_slab *s;
	uint64_t key[4];
	uint32_t frame;

	for (uint64_t i = 0; i < 4; i++)
		sim_put(a, i, PART);
	CHECK_OK(sim_call(a, call_of(RING_REMOVE, 1, PART)));
	CHECK_INT(last_note(w, 1).event, ==, PAST_REMOVED);
	CHECK_INT(last_note(w, 1).client, ==, a->id);
	key_of(2, key);
	s = pool_find(w->p, key, PART, &frame);
	CHECK(s);
	CHECK_INT(pwrite(s->payload.fd, "!", 1,
			 (off_t)(frame * s->frame_bytes)),
		  ==, 1);
	w->s->options.scrub_bytes_per_s = 1 << 30;
	for (unsigned i = 0; i < 100; i++)
		world_tick(w, WORLD_SEC / 10);
	CHECK_INT(last_note(w, 2).event, ==, PAST_WRONG);
	CHECK_INT(last_note(w, 3).event, ==, 0);
	world_destroy(w);
}

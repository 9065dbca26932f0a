/* SPDX-License-Identifier: Apache-2.0 */
/* The rung below DRAM: ordinary memory stands in for CXL. */
#include "base/fault.h"
#include "base/hash.h"
#include "base/rng.h"
#include "tests/store/deep.h"
#include "tests/store/low.h"

static bool is_low(struct world *w, uint64_t n)
{
	uint32_t frame;
	struct pool_slab *s = slab_of(w, n, PART, &frame);

	CHECK(s != NULL);
	return s->low;
}

TEST(dram_and_the_rung_below_hold_as_much_as_both)
{
	struct world *w = begin(&both);

	put_all(w, 1, 96);
	for (uint64_t n = 1; n <= 96; n++) {
		CHECK(world_has(w, n, PART));
		CHECK_INT(is_low(w, n), ==, n <= 64); /* the coldest */
	}
	CHECK_INT(COUNT(w, evicted), ==, 0);
	CHECK_INT(COUNT(w, cxl_parts), ==, 64);
	CHECK_INT(COUNT(w, cxl_demoted), ==, 64);
	CHECK_INT(COUNT(w, cxl_written), ==, 64);
	CHECK_INT(w->s->low.budget.used, ==, 4 * SLAB);
	CHECK_INT(w->s->budget.used, ==, 2 * SLAB);
	/* one more: what is coldest of all is gone */
	put(w, 97, PART);
	CHECK(!world_has(w, 1, PART));
	CHECK_INT(COUNT(w, cxl_evicted), >=, 1);
	end(w);
}

/* For measuring: pieces of all slabs, each once. */
TEST(samples_are_of_all_that_lies_below)
{
	struct world *w = begin(&both);
	const void *at[16];

	CHECK_INT(store_low_samples(w->s, SLAB / 2, 16, at), ==, 0);
	put_all(w, 1, 96);
	CHECK_INT(store_low_samples(w->s, SLAB / 2, 16, at), ==, 8);
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < i; k++)
			CHECK(at[i] != at[k]);
	CHECK_INT(store_low_samples(w->s, SLAB / 2, 4, at), ==, 4);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < i; k++)
			CHECK(labs((const char *)at[i] - (const char *)at[k]) >=
			      (long)SLAB); /* of four slabs */
	CHECK_INT(store_low_samples(w->s, 2 * SLAB, 4, at), ==, 0);
	end(w);
}

/* Blocks below are pinned where they are, and what is pinned stays. */
TEST(pins_hold_below)
{
	struct world *w = begin(&both);

	put_all(w, 1, 96);
	CHECK(is_low(w, 1));
	CHECK(sim_pin(&w->sim[1], 3, 1, PART));
	put_all(w, 97, 200);
	CHECK(world_has(w, 1, PART));
	sim_unpin(&w->sim[1], 3);
	/* having been looked at it was made recent: in time it leaves */
	put_all(w, 400, 200);
	CHECK(!world_has(w, 1, PART));
	end(w);
}

TEST(one_use_brings_nothing_up)
{
	struct world *w = begin(&both);

	put_all(w, 1, 96);
	for (uint64_t n = 1; n <= 64; n++)
		touch(w, n);
	rest(w);
	CHECK_INT(COUNT(w, cxl_promoted), ==, 0);
	end(w);
}

/* Used twice since, and there is less used in DRAM. */
TEST(a_second_use_brings_it_up)
{
	struct world *w = begin(&both);

	put_all(w, 1, 80); /* there is room below */
	touch(w, 5);
	touch(w, 5);
	rest(w);
	CHECK(!is_low(w, 5));
	CHECK(world_has(w, 5, PART));
	CHECK_INT(COUNT(w, cxl_promoted), ==, 1);
	CHECK_INT(COUNT(w, cxl_replicas), ==, 1);
	CHECK_INT(COUNT(w, evicted), ==, 0);
	for (uint64_t n = 1; n <= 80; n++)
		CHECK(world_has(w, n, PART));
	end(w);
}

/* Who pins the lower frame reads on while the part is found in DRAM. */
TEST(a_pin_outlives_the_way_up)
{
	struct world *w = begin(&both);
	struct pool_slab *low, *up;
	uint32_t lf, uf;
	uint64_t gen;

	put_all(w, 1, 80);
	CHECK(sim_pin(&w->sim[1], 3, 5, PART));
	low = slab_of(w, 5, PART, &lf);
	gen = pool_frame_gen(low, lf);
	touch(w, 5);
	touch(w, 5);
	rest(w);
	up = slab_of(w, 5, PART, &uf);
	CHECK(low->low && !up->low);
	put_all(w, 200, 300); /* all else leaves, twins first */
	CHECK_INT(pool_frame_gen(low, lf), ==, gen);
	CHECK_INT(pool_frame_state(low, lf), ==, FRAME_SEALED);
	sim_unpin(&w->sim[1], 3);
	put_all(w, 600, 300);
	CHECK(pool_frame_gen(low, lf) != gen);
	end(w);
}

/* What came up and was not dropped below goes down without a write. */
TEST(the_way_down_is_free_where_there_is_a_twin)
{
	static const struct world_config roomy = { .limit = 2 * SLAB,
						   .slab_bytes = SLAB,
						   .low = 16 * SLAB };
	struct world *w = begin(&roomy);
	uint64_t written;

	put_all(w, 1, 64);
	touch(w, 5);
	touch(w, 5);
	rest(w);
	CHECK(!is_low(w, 5));
	CHECK_INT(COUNT(w, cxl_replicas), ==, 1);
	written = COUNT(w, cxl_written);
	put_all(w, 100, 64);
	CHECK(is_low(w, 5));
	CHECK(world_has(w, 5, PART));
	CHECK_INT(COUNT(w, cxl_replicas), ==, 0);
	CHECK_INT(COUNT(w, cxl_demoted), ==, COUNT(w, cxl_written) + 1);
	CHECK_INT(COUNT(w, cxl_written), >, written);
	end(w);
}

static void check_gone(struct world *w, uint64_t n)
{
	for (uint32_t id = 1; id < w->p->slab_end; id++) {
		struct pool_slab *s = w->p->slab[id];
		uint64_t key[4];

		key_of(n, key);
		for (uint32_t f = 0; s && f < s->frames; f++)
			CHECK(pool_frame_state(s, f) != FRAME_SEALED ||
			      !frame_is(&s->desc[f], key, PART));
	}
}

TEST(removed_is_removed_everywhere)
{
	struct world *w = begin(&both);

	put_all(w, 1, 80);
	touch(w, 5);
	touch(w, 5);
	rest(w);
	CHECK_INT(COUNT(w, cxl_replicas), ==, 1);
	CHECK_OK(sim_call(&w->sim[0], call_of(RING_REMOVE, 5, PART)));
	CHECK_OK(sim_call(&w->sim[0], call_of(RING_REMOVE, 6, PART)));
	check_gone(w, 5);
	check_gone(w, 6);
	world_check(w);
	world_restart(w);
	check_gone(w, 5);
	CHECK(!world_has(w, 5, PART) && !world_has(w, 6, PART));
	rest(w);
	CHECK_INT(COUNT(w, leaving), ==, 0);
	put(w, 5, PART);
	CHECK(world_has(w, 5, PART));
	end(w);
}

/* A successor finds both replicas, and which of them is the twin. */
TEST(a_new_server_knows_twins)
{
	struct world *w = begin(&both);

	put_all(w, 1, 80);
	for (uint64_t n = 5; n < 9; n++) {
		touch(w, n);
		touch(w, n);
	}
	rest(w);
	CHECK_INT(COUNT(w, cxl_replicas), ==, 4);
	for (unsigned i = 0; i < 3; i++) {
		world_restart(w);
		world_check(w);
		CHECK_INT(COUNT(w, cxl_replicas), ==, 4);
		CHECK_INT(w->s->low.budget.used, >=, COUNT(w, cxl_slab_bytes));
		for (uint64_t n = 1; n <= 80; n++)
			CHECK(world_has(w, n, PART));
		CHECK(!is_low(w, 5) && is_low(w, 1));
	}
	end(w);
}

/* A set that just fits both, used at random: blocks change places, and none is
 * lost for that. */
TEST(what_fits_both_stays)
{
	struct world *w = begin(&both);
	struct rng r = { 7 };

	put_all(w, 1, 96);
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t n = 1 + rng_below(&r, rng_below(&r, 96) + 1);

		touch(w, n);
		if (i % 16 == 0)
			world_tick(w, WORLD_SEC / 100);
	}
	rest(w);
	for (uint64_t n = 1; n <= 96; n++)
		CHECK(world_has(w, n, PART));
	CHECK_INT(COUNT(w, evicted), ==, 0);
	end(w);
}

/* Under more than both hold, what is used often ends up in DRAM. */
TEST(the_hot_come_up_and_the_warm_stay_below)
{
	struct world *w = begin(&both);
	uint64_t cold = 1000;
	unsigned up = 0;

	put_all(w, 1, 96);
	for (unsigned round = 0; round < 60; round++) {
		for (uint64_t n = 1; n <= 6; n++)
			touch(w, n);
		put_all(w, cold, 4);
		cold += 4;
		sim_let_go(&w->sim[0]);
		world_tick(w, WORLD_SEC / 50);
		world_ready(w);
	}
	for (uint64_t n = 1; n <= 6; n++) {
		CHECK(world_has(w, n, PART));
		up += !is_low(w, n);
	}
	CHECK_INT(up, >=, 4); /* one of the six may have just gone down */
	CHECK_INT(COUNT(w, cxl_promoted), >, 0);
	CHECK_INT(COUNT(w, cxl_promoted), <, 120); /* and stays there */
	end(w);
}

static void price(struct world *w, enum oc_tier tier, uint64_t latency_ns,
		  uint64_t bytes_per_s)
{
	const struct tier_price p = { latency_ns, bytes_per_s };

	shared_store64(&w->p->m->tier[tier].latency_ns, 0);
	shared_store64(&w->p->m->tier[tier].bytes_per_s, 0);
	tier_publish_price(tier, &p, w->p->m, 1);
}

/* It is the price that decides: what is below is faster than this memory. */
TEST(a_rung_that_is_too_slow_is_passed)
{
	struct world *w = begin(&both);

	price(w, OC_TIER_DRAM, 100, 10ull << 30);
	price(w, OC_TIER_CXL, 400, 4ull << 30);
	price(w, OC_TIER_NVME, 100000, 1ull << 30);
	put_all(w, 1, 48);
	CHECK_INT(COUNT(w, cxl_demoted), ==, 16);
	price(w, OC_TIER_CXL, 400000, 1ull << 20);
	put_all(w, 49, 16);
	CHECK_INT(COUNT(w, cxl_demoted), ==, 16);
	CHECK_INT(COUNT(w, cxl_missed), ==, 16);
	end(w);
}

/* ---- parts, shapes, limits ------------------------------------------------------ */

static unsigned parts_found(struct world *w, uint32_t ns, uint64_t n)
{
	unsigned found = 0;
	uint32_t frame;

	for (unsigned i = 0; i < 4; i++)
		found += slab_of(w, n,
				 frame_part(ns, (uint16_t)(i / 2),
					    (uint16_t)(i % 2)),
				 &frame) != NULL;
	return found;
}

TEST(parts_leave_together)
{
	struct world *w = begin(&both);
	uint32_t ns = world_ns(w, 2, 2, PART_BYTES, 1);
	unsigned whole = 0;

	for (uint64_t n = 1; n <= 40; n++) {
		for (unsigned i = 0; i < 4; i++)
			put(w, n,
			    frame_part(ns, (uint16_t)(i / 2),
				       (uint16_t)(i % 2)));
		if (n % 8 == 0)
			world_check(w);
	}
	for (uint64_t n = 1; n <= 40; n++) {
		unsigned found = parts_found(w, ns, n);

		CHECK(found == 0 || found == 4);
		whole += found == 4;
	}
	CHECK_INT(whole, >=, 23); /* of 24 that fit */
	end(w);
}

/* Slabs below take other shapes when another is wanted more. */
TEST(shapes_change_below)
{
	struct world *w = begin(&both);
	uint32_t ns = world_ns(w, 1, 1, 2 * PART_BYTES, 3);
	uint64_t wide = frame_part(ns, 0, 0);
	unsigned found = 0;
	uint32_t frame;

	put_all(w, 1, 96);
	for (uint64_t n = 200; n < 280; n++) {
		struct sim *a = &w->sim[0];
		int64_t r = sim_grant(a, n, wide, WORLD_SEC);
		struct ring_call seal = call_of(RING_SEAL, n, wide);
		uint32_t slot = a->slot;

		for (unsigned i = 0; i < 100 && r == SIM_LATER; i++) {
			sim_let_go(a);
			world_ready(w);
			world_tick(w, WORLD_SEC / 500);
			r = sim_answer(a, slot);
		}
		CHECK_OK(r);
		seal.loc = w->last.loc;
		seal.gen = w->last.gen;
		seal.extent = frame_extent(2 * PART_BYTES, 0);
		{ /* zeros: as the slab was made */
			struct pool_slab *s =
				pool_locate(w->p, seal.loc, &frame);
			uint8_t zeros[2 * PART_BYTES] = { 0 }, bytes[32];

			CHECK_INT(pwrite(s->payload.fd, zeros, sizeof(zeros),
					 (off_t)(frame * s->frame_bytes)),
				  ==, sizeof(zeros));
			memcpy(bytes, seal.key, sizeof(bytes));
			seal.checksum =
				hash_payload(zeros, sizeof(zeros),
					     hash_part_seed(bytes, 0, 0));
		}
		CHECK_OK(sim_call(a, seal));
		world_check(w);
	}
	for (uint64_t n = 200; n < 280; n++)
		found += slab_of(w, n, wide, &frame) != NULL;
	CHECK_INT(found, >=, 40); /* of 48 that fit both */
	CHECK_INT(COUNT(w, slabs_moved), >, 0);
	end(w);
}

/* ---- what is wrong ------------------------------------------------------------- */

/* Bytes that a client spoiled are found on their way down. */
TEST(wrong_bytes_do_not_go_down)
{
	struct world *w = begin(&both);
	struct pool_slab *s;
	uint32_t frame;
	uint8_t bad = 0x5a;

	put_all(w, 1, 32);
	s = slab_of(w, 1, PART, &frame);
	CHECK_INT(pwrite(s->payload.fd, &bad, 1,
			 (off_t)(frame * s->frame_bytes + 9)),
		  ==, 1);
	put_all(w, 33, 8);
	CHECK(!slab_of(w, 1, PART, &frame));
	CHECK_INT(COUNT(w, bad), ==, 1);
	for (uint64_t n = 2; n <= 40; n++)
		CHECK(world_has(w, n, PART));
	end(w);
}

/* Memory for what goes on is refused at every point in turn. */
TEST(refusals_lose_nothing_but_blocks)
{
	for (uint64_t nth = 1; nth < 60; nth++) {
		struct world *w = begin(&both);
		struct sim *a = &w->sim[0];
		int64_t r;

		put_all(w, 1, 32);
		fault_arm(FAULT_ALL, nth, false);
		r = sim_grant(a, 50, PART, WORLD_SEC / 10);
		for (unsigned i = 0; i < 20 && r == SIM_LATER; i++) {
			world_ready(w);
			world_tick(w, WORLD_SEC / 50);
			r = sim_answer(a, a->slot);
		}
		fault_arm(0, 0, false);
		if (r == 0)
			CHECK_OK(sim_seal(a, 50, PART, &w->last));
		rest(w);
		put_all(w, 60, 40);
		for (uint64_t n = 60; n < 100; n++)
			CHECK(world_has(w, n, PART));
		end(w);
	}
}

/* Block 5 lies below alone and is to come up: its memory fails. */
TEST(memory_that_fails_costs_its_block)
{
	struct world *w = begin(&both);
	struct pool_slab *s;
	uint32_t frame;

	put_all(w, 1, 80);
	s = slab_of(w, 5, PART, &frame);
	CHECK(s->low);
	spoil_page(s, frame);
	touch(w, 5);
	touch(w, 5);
	rest(w);
	CHECK(!slab_of(w, 5, PART, &frame));
	CHECK_INT(COUNT(w, memory_errors), ==, 1);
	CHECK_INT(COUNT(w, quarantined), ==, 1);
	world_check(w);
	/* and never again */
	put_all(w, 100, 300);
	CHECK_INT(COUNT(w, memory_errors), ==, 1);
	CHECK_INT(COUNT(w, quarantined), ==, 1);
	end(w);
}

/* A free frame fails when something comes down into it: what came is written
 * elsewhere, or is still in DRAM. */
TEST(memory_that_fails_when_it_is_written)
{
	struct world *w = begin(&both);
	struct pool_slab *low;
	uint32_t frame;

	put_all(w, 1, 40);
	low = slab_of(w, 1, PART, &frame);
	CHECK(low->low);
	frame = pool_arena_free(w->p, low->arena);
	CHECK(frame != POOL_NO_ITEM);
	low = pool_item(w->p, frame, &frame);
	spoil_page(low, frame);
	put_all(w, 41, 20);
	CHECK_INT(COUNT(w, memory_errors), ==, 1);
	CHECK_INT(COUNT(w, quarantined), ==, 1);
	world_check(w);
	put_all(w, 100, 200);
	CHECK_INT(COUNT(w, quarantined), ==, 1);
	world_restart(w);
	world_check(w);
	CHECK_INT(COUNT(w, quarantined), ==, 1);
	end(w);
}

/* A twin's memory fails under the scrubber: the part is in DRAM as it was. */
TEST(memory_of_a_twin_that_fails)
{
	struct world_config config = both;
	struct pool_slab *s, *low;
	uint32_t frame, lf;
	struct world *w;

	config.scrub = 1 << 30;
	w = begin(&config);
	put_all(w, 1, 80);
	touch(w, 5);
	touch(w, 5);
	rest(w);
	s = slab_of(w, 5, PART, &frame);
	CHECK(!s->low);
	low = pool_item(w->p, pool_twin_of(w->p, s, frame), &lf);
	spoil_page(low, lf);
	for (unsigned i = 0; i < 50; i++)
		rest(w);
	CHECK_INT(COUNT(w, memory_errors), ==, 1);
	CHECK_INT(COUNT(w, cxl_replicas), ==, 0);
	CHECK(world_has(w, 5, PART));
	end(w);
}

/* ---- random --------------------------------------------------------------------- */

#define KEYS 160u

struct model {
	bool there[KEYS]; /* put and not removed since: it may be there */
	bool pinned;
	uint64_t pin;
};

static void step(struct world *w, struct model *m, struct rng *r)
{
	uint64_t n = 1 + rng_below(r, KEYS - 1);

	switch (rng_below(r, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		if (!world_has(w, n, PART)) {
			put(w, n, PART);
			m->there[n] = true;
		}
		break;
	case 4:
		sim_call(&w->sim[0], call_of(RING_REMOVE, n, PART));
		m->there[n] = false;
		break;
	case 5:
		if (m->pinned)
			sim_unpin(&w->sim[1], 2);
		m->pinned = sim_pin(&w->sim[1], 2, n, PART);
		m->pin = n;
		break;
	case 6:
		world_tick(w, WORLD_SEC / 50);
		world_ready(w);
		break;
	case 7:
		if (rng_below(r, 20) == 0)
			world_restart(w);
		break;
	default:
		touch(w, 1 + rng_below(r, n));
	}
}

TEST(random_moves_with_deaths)
{
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct world *w = begin(&both);
		struct model m = { 0 };
		struct rng r = { seed };

		for (unsigned i = 0; i < 1500; i++) {
			step(w, &m, &r);
			if (i % 50)
				continue;
			world_check(w);
			for (uint64_t n = 1; n < KEYS; n++)
				CHECK(!world_has(w, n, PART) || m.there[n]);
		}
		CHECK_INT(COUNT(w, cxl_demoted) + COUNT(w, cxl_promoted), >, 0);
		if (m.pinned)
			sim_unpin(&w->sim[1], 2);
		end(w);
	}
}

/* ---- three rungs ---------------------------------------------------------------- */

/* DRAM, the rung below, and a tier below that: what leaves the one goes to the
 * next. */
TEST(low_memory_leaves_to_the_tier_below)
{
	struct deep d;

	deep_begin_as(&d, &both, NULL);
	deep_put(&d, 1, 300);
	deep_rest(&d);
	for (uint64_t n = 1; n <= 300; n++)
		CHECK(deep_below(&d, n) || world_has(d.w, n, PART));
	CHECK_INT(COUNT(d.w, demote_missed), ==, 0);
	CHECK_INT(COUNT(d.w, cxl_missed), ==, 0);
	CHECK_INT(COUNT(d.w, cxl_parts), >, 40);
	/* and comes back */
	CHECK_INT(deep_fetch(&d, 1), ==, 0);
	CHECK(world_has(d.w, 1, PART));
	deep_end(&d);
}

/* What is read ahead and finds DRAM full of what is worth more is read into low
 * memory. */
TEST(reads_ahead_go_below)
{
	struct deep d;

	deep_begin_as(&d, &both, NULL);
	sim_add(d.w, 1);
	deep_put(&d, 1, 200);
	deep_rest(&d);
	CHECK(deep_below(&d, 1) && !world_has(d.w, 1, PART));
	/* some room below, and all of DRAM was used since */
	for (uint64_t n = 120; n < 130; n++)
		sim_call(d.a, call_of(RING_REMOVE, n, PART));
	deep_rest(&d);
	CHECK_INT(deep_up(&d, 1, TIER_AHEAD, NULL), ==, 0);
	for (uint64_t n = 169; n <= 200; n++)
		touch(d.w, n);
	deep_rest(&d);
	CHECK(world_has(d.w, 1, PART));
	CHECK(is_low(d.w, 1));
	for (uint64_t n = 169; n <= 200; n++)
		CHECK(world_has(d.w, n, PART) && !is_low(d.w, n));
	deep_end(&d);
}

TEST(one_policy_or_another)
{
	const struct policy_ops *policies[] = { &policy_lru, &policy_onecopy };

	for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
		struct deep d;

		deep_begin_as(&d, &both, policies[i]);
		sim_add(d.w, 1);
		for (uint64_t n = 1; n <= 400; n++) {
			deep_put(&d, n, 1);
			touch(d.w, n);
			if (n % 3 == 0 && world_has(d.w, n / 3, PART))
				touch(d.w, n / 3);
			if (n % 40 == 0)
				world_check(d.w);
		}
		deep_rest(&d);
		for (uint64_t n = 1; n <= 400; n++)
			CHECK(deep_below(&d, n) || world_has(d.w, n, PART));
		deep_end(&d);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that are larger than the slabs which fill the rung below: small cold
 * slabs are retired until there is room for a large one. */
#include "base/hash.h"
#include "tests/store/deep.h"
#include "tests/store/low.h"

#define LARGE_BYTES (2 * SLAB)
#define WAIT	    200u

/* 64 small blocks in DRAM and 128 below, or two large ones and four. */
static const struct world_config wide = { .limit = 4 * SLAB,
					  .slab_bytes = SLAB,
					  .low = 8 * SLAB };

/* Clients let go of what retires, or (stuck) do not. */
static bool put_large(struct world *w, uint64_t n, uint64_t part, bool stuck)
{
	struct sim *a = &w->sim[0];
	int64_t r = sim_grant(a, n, part, WORLD_SEC);
	uint32_t slot = a->slot;

	for (unsigned i = 0; i < WAIT && r == SIM_LATER; i++) {
		for (unsigned c = 0; c < SIMS; c++)
			if (w->sim[c].c && !(stuck && c == 1))
				sim_let_go(&w->sim[c]);
		world_ready(w);
		world_tick(w, WORLD_SEC / 100);
		r = sim_answer(a, slot);
	}
	if (r != 0)
		return false;
	seal_zeros(w, n, part, LARGE_BYTES);
	return true;
}

static unsigned there(struct world *w, uint64_t first, uint64_t n,
		      uint64_t part, unsigned *ret_low)
{
	unsigned found = 0, low = 0;

	for (uint64_t i = first; i < first + n; i++) {
		uint32_t frame;
		const struct pool_slab *s = slab_of(w, i, part, &frame);

		found += s != NULL;
		low += s && s->low;
	}
	*ret_low = low;
	return found;
}

/* The rung is full of slabs of small frames, and nobody uses those blocks. */
TEST(large_blocks_go_below_where_small_ones_were)
{
	struct world *w = begin(&wide);
	uint32_t ns = world_ns(w, 1, 1, LARGE_BYTES, 3);
	uint64_t part = frame_part(ns, 0, 0);
	unsigned low;

	put_all(w, 1, 192);
	CHECK_INT(w->s->low.budget.used, ==, 8 * SLAB);
	for (uint64_t n = 1000; n < 1012; n++) {
		CHECK(put_large(w, n, part, false));
		world_check(w);
	}
	/* two in DRAM, four below */
	CHECK_INT(there(w, 1006, 6, part, &low), ==, 6);
	CHECK_INT(low, ==, 4);
	CHECK_INT(w->s->low.budget.used, ==, 8 * SLAB);
	world_restart(w);
	CHECK_INT(there(w, 1006, 6, part, &low), ==, 6);
	/* and small ones again where large ones were */
	put_all(w, 2000, 200);
	CHECK_INT(there(w, 2008, 192, PART, &low), >=, 176);
	end(w);
}

/* What is used meanwhile is not what goes. */
TEST(small_blocks_that_are_used_stay)
{
	struct world *w = begin(&wide);
	uint32_t ns = world_ns(w, 1, 1, LARGE_BYTES, 3);
	uint64_t part = frame_part(ns, 0, 0);
	unsigned low;

	put_all(w, 1, 192);
	for (uint64_t n = 1000; n < 1012; n++) {
		CHECK(put_large(w, n, part, false));
		for (uint64_t hot = 97; hot <= 192; hot++)
			touch(w, hot);
	}
	CHECK_INT(there(w, 97, 96, PART, &low), ==, 96);
	CHECK_INT(there(w, 1009, 3, part, &low), >=, 2);
	end(w);
}

/* One that is pinned keeps its slab; the next ones make room. */
TEST(a_pinned_small_block_keeps_its_slab_alone)
{
	struct world *w = begin(&wide);
	uint32_t ns = world_ns(w, 1, 1, LARGE_BYTES, 3);
	uint64_t part = frame_part(ns, 0, 0);
	unsigned low;

	put_all(w, 1, 192);
	CHECK(sim_pin(&w->sim[1], 3, 1, PART));
	for (uint64_t n = 1000; n < 1012; n++)
		CHECK(put_large(w, n, part, false));
	CHECK(world_has(w, 1, PART));
	CHECK_INT(there(w, 1007, 5, part, &low), ==, 5);
	CHECK_INT(low, ==, 3);
	sim_unpin(&w->sim[1], 3);
	end(w);
}

/* A client that stands still has all slabs of the rung mapped: large blocks go past
 * it, one retirement is lost, and when the client is back its room serves. */
TEST(who_does_not_let_go_costs_one_retirement)
{
	struct world *w = begin(&wide);
	uint32_t ns = world_ns(w, 1, 1, LARGE_BYTES, 3);
	uint64_t part = frame_part(ns, 0, 0);
	unsigned low;

	put_all(w, 1, 192);
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		if (w->p->slab[id] && w->p->slab[id]->low)
			store_region_given(w->sim[1].c, id);
	for (uint64_t n = 1000; n < 1008; n++)
		CHECK(put_large(w, n, part, true));
	CHECK_INT(there(w, 1000, 8, part, &low), >=, 1);
	CHECK_INT(low, ==, 0);
	CHECK_INT(there(w, 1, 192, PART, &low), >=, 96);
	world_check(w);
	rest(w); /* it is back */
	for (uint64_t n = 1008; n < 1020; n++)
		CHECK(put_large(w, n, part, false));
	CHECK_INT(there(w, 1014, 6, part, &low), ==, 6);
	end(w);
}

/* Where a tier lies below, what makes room for large blocks is written there. */
TEST(small_blocks_that_go_are_kept_below)
{
	struct deep d;
	uint32_t ns;
	unsigned low;

	deep_begin_as(&d, &wide, NULL);
	sim_add(d.w, 1);
	d.f->by_itself = true;
	ns = world_ns(d.w, 1, 1, LARGE_BYTES, 3);
	deep_put(&d, 1, 192);
	for (uint64_t n = 1000; n < 1012; n++)
		CHECK(put_large(d.w, n, frame_part(ns, 0, 0), false));
	deep_rest(&d);
	CHECK_INT(there(d.w, 1007, 5, frame_part(ns, 0, 0), &low), ==, 5);
	for (uint64_t n = 1; n <= 192; n++)
		CHECK(deep_below(&d, n) || world_has(d.w, n, PART));
	deep_end(&d);
}

/* ---- on a device ------------------------------------------------------------------ */

/* As if the slabs below lay on a device, each of `units`, from unit `at` on. */
static void place(struct world *w, uint32_t id, uint32_t at, uint32_t units)
{
	struct pool_slab *s = w->p->slab[id];

	CHECK(s && s->low);
	s->payload.offset = at * SEGMENT_DAX_UNIT;
	s->payload.bytes = units * SEGMENT_DAX_UNIT;
	CHECK_OK(range_take_at(&w->s->low.units, at, units));
}

/* The slab that was filled k-th, from 0. */
static struct pool_slab *kth(struct world *w, unsigned k)
{
	uint32_t frame;

	return slab_of(w, 1 + 16 * k, PART, &frame);
}

/* Those that are chosen lie side by side, and the warmest of them is colder than
 * that of any other such run. */
TEST(on_a_device_slabs_go_side_by_side)
{
	struct world *w = begin(&wide);
	struct rung_small want = { .bytes = 4 * SEGMENT_DAX_UNIT,
				   .frame_bytes = 4 * SEGMENT_DAX_UNIT,
				   .stamp = UINT64_MAX };
	const uint32_t lies[8] = { 0, 7, 1, 2, 6, 3, 4, 5 };
	const unsigned aside[] = { 0, 2, 3, 4 };
	struct segment was[8];
	struct pool_low low;

	put_all(w, 1, 192);
	low = w->s->low;
	w->s->low.source.kind = SEGMENT_DAX;
	w->s->low.source.fd = 0;
	w->s->low.budget.limit = 16 * SEGMENT_DAX_UNIT;
	w->s->low.budget.used = 16 * SEGMENT_DAX_UNIT;
	for (unsigned k = 0; k < 8; k++) {
		was[k] = kth(w, k)->payload;
		place(w, kth(w, k)->id, 2 * lies[k], 2);
	}
	CHECK(rung_small_plan(w->s, w->p, &want));
	CHECK_INT(want.n_slabs, ==, 2);
	CHECK(want.slab[0] == kth(w, 0) && want.slab[1] == kth(w, 2));
	/* one that could not be emptied */
	want.tried[want.n_tried++] = kth(w, 0)->id;
	CHECK(rung_small_plan(w->s, w->p, &want));
	CHECK(want.slab[0] == kth(w, 2) && want.slab[1] == kth(w, 3));
	/* what is free counts */
	range_give(&w->s->low.units, 2 * lies[6], 2);
	w->s->low.budget.used -= 2 * SEGMENT_DAX_UNIT;
	kth(w, 6)->payload.bytes = 64 * SEGMENT_DAX_UNIT; /* no small one */
	want.n_tried = 0;
	for (unsigned i = 0; i < ARRAY_LEN(aside); i++)
		want.tried[want.n_tried++] = kth(w, aside[i])->id;
	CHECK(rung_small_plan(w->s, w->p, &want));
	CHECK_INT(want.n_slabs, ==, 1);
	CHECK(want.slab[0] == kth(w, 5));
	/* all of it is too warm; there is not so much */
	want.stamp = want.warmest;
	CHECK(!rung_small_plan(w->s, w->p, &want));
	want.stamp = UINT64_MAX;
	want.bytes = 32 * SEGMENT_DAX_UNIT;
	CHECK(!rung_small_plan(w->s, w->p, &want));
	/* as it was */
	for (unsigned k = 0; k < 8; k++)
		kth(w, k)->payload = was[k];
	range_fini(&w->s->low.units);
	w->s->low = low;
	end(w);
}

/* A half of the device is free, and not this tenant's: its own slabs have to go. */
TEST(on_a_device_a_tenant_makes_room_of_its_own)
{
	struct world *w = begin(&wide);
	struct rung_small want = { .bytes = 4 * SEGMENT_DAX_UNIT,
				   .frame_bytes = 4 * SEGMENT_DAX_UNIT,
				   .stamp = UINT64_MAX };
	const uint64_t has = 16 * SEGMENT_DAX_UNIT;
	uint64_t quota = w->p->quota, counted;
	struct segment was[8];
	struct pool_low low;

	put_all(w, 1, 192);
	low = w->s->low;
	counted = COUNT(w, cxl_slab_bytes);
	w->s->low.source.kind = SEGMENT_DAX;
	w->s->low.source.fd = 0;
	w->s->low.budget.limit = 2 * has;
	w->s->low.budget.used = has;
	pool_set(w->p, POOL_C_cxl_slab_bytes, has);
	for (unsigned k = 0; k < 8; k++) {
		was[k] = kth(w, k)->payload;
		place(w, kth(w, k)->id, 2 * k, 2);
	}
	w->p->quota = w->s->budget.limit / 2;
	CHECK_INT(rung_room(w->s, w->p), ==, 0);
	CHECK(rung_small_plan(w->s, w->p, &want));
	CHECK_INT(want.n_slabs, ==, 2);
	CHECK(want.slab[0] == kth(w, 0) && want.slab[1] == kth(w, 1));
	/* what is free beside them serves where they are not enough by themselves */
	w->p->quota = w->s->budget.limit * 9 / 16;
	want.n_tried = 0;
	for (unsigned k = 0; k < 7; k++)
		want.tried[want.n_tried++] = kth(w, k)->id;
	CHECK_INT(rung_room(w->s, w->p), ==, 2 * SEGMENT_DAX_UNIT);
	CHECK(rung_small_plan(w->s, w->p, &want));
	CHECK_INT(want.n_slabs, ==, 1);
	CHECK(want.slab[0] == kth(w, 7));
	/* none can go: there is no plan, for all that is free */
	want.tried[want.n_tried++] = kth(w, 7)->id;
	CHECK(!rung_small_plan(w->s, w->p, &want));
	for (unsigned k = 0; k < 8; k++)
		kth(w, k)->payload = was[k];
	range_fini(&w->s->low.units);
	w->s->low = low;
	w->p->quota = quota;
	pool_set(w->p, POOL_C_cxl_slab_bytes, counted);
	end(w);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Pools, slabs and frames through their whole life, recounted at each step. */
#include "base/rng.h"
#include "tests/pool/rig.h"

TEST(one_frame_through_its_states)
{
	struct rig g;
	struct pool_slab *s;
	struct pool_filling f;
	uint32_t id, frame, at;

	rig_create(&g);
	CHECK_OK(rig_add(&g, 5, 4096, 4, &id));
	s = rig_grant(&g, 5, 4096, 1, &frame);
	CHECK_INT(pool_frame_state(s, frame), ==, FRAME_GRANTED);
	CHECK_INT(rig_check(&g).granted, ==, 1);
	rig_filling(&f, 1, 5);
	CHECK(!pool_find(g.p, f.key, f.part, &at));
	CHECK_OK(pool_frame_seal(g.p, s, frame, 9, frame_extent(7, 3), 1));
	CHECK(pool_find(g.p, f.key, f.part, &at) == s);
	CHECK_INT(at, ==, frame);
	CHECK_INT(pool_counter(g.p, POOL_C_sealed_bytes), ==, 7);
	pool_frame_leave(s, frame);
	CHECK(!pool_find(g.p, f.key, f.part, &at));
	pool_frame_spare(g.p, s, frame);
	CHECK(pool_find(g.p, f.key, f.part, &at));
	rig_check(&g);
	pool_frame_leave(s, frame);
	pool_frame_release(g.p, s, frame);
	CHECK_INT(pool_frame_gen(s, frame), ==, 1);
	CHECK_INT(rig_check(&g).free, ==, 4);
	s = rig_put(&g, 5, 4096, 1, &frame);
	pool_frame_doom(g.p, s, frame);
	CHECK(!pool_find(g.p, f.key, f.part, &at));
	CHECK_INT(rig_check(&g).doomed, ==, 1);
	CHECK(!pool_slab_empty(s));
	pool_frame_release(g.p, s, frame);
	CHECK(pool_slab_empty(s));
	CHECK_INT(rig_check(&g).index_entries, ==, 0);
	rig_fini(&g);
}

#define OWNERS 4
static const uint64_t sizes[] = { 4096, 8192, 12288, 65536 };

struct walk {
	struct rig g;
	struct rng r;
	uint64_t next_key, owner[OWNERS], next_owner;
};

static struct pool_slab *some_slab(struct walk *w)
{
	uint32_t id = (uint32_t)rng_below(&w->r, w->g.p->slab_end);

	return w->g.p->slab[id];
}

static uint64_t some_owner(struct walk *w)
{
	return w->owner[rng_below(&w->r, OWNERS)];
}

static void step_slab(struct walk *w)
{
	struct pool *p = w->g.p;
	struct pool_slab *s = some_slab(w);
	uint64_t size = sizes[rng_below(&w->r, ARRAY_LEN(sizes))], owner;
	struct pool_shape shape = { size, 0 };
	uint32_t id;

	if (pool_counter(p, POOL_C_slabs) < 12) {
		(void)rig_add(&w->g, some_owner(w), size,
			      1 + (uint32_t)rng_below(&w->r, 700), &id);
		return;
	}
	if (!s)
		return;
	if (s->retiring) {
		pool_slab_finish(p, s->id);
		return;
	}
	if (!pool_slab_empty(s))
		return;
	owner = s->owner ? s->owner : some_owner(w);
	if (rng_below(&w->r, 2)) {
		pool_slab_retire(p, s->id);
	} else if (s->payload.bytes < size) {
		CHECK_INT(pool_slab_reshape(p, s->id, owner, shape, &id), ==,
			  -E2BIG);
	} else {
		uint64_t bytes = s->payload.bytes;

		CHECK_OK(pool_slab_reshape(p, s->id, owner, shape, &id));
		CHECK_INT(p->slab[id]->payload.bytes, ==, bytes);
		CHECK_INT(p->slab[id]->frames, ==, bytes / size);
	}
}

static void step_orphan(struct walk *w)
{
	uint64_t *owner = &w->owner[rng_below(&w->r, OWNERS)];
	struct pool *p = w->g.p;

	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];

		for (uint32_t f = 0; s && s->owner == *owner && f < s->frames;
		     f++)
			if (pool_frame_state(s, f) == FRAME_GRANTED)
				pool_frame_abandon(p, s, f);
	}
	pool_slabs_orphan(p, *owner);
	*owner = w->next_owner++;
}

/* One event that the frame's state allows. */
static void step_frame(struct walk *w, struct pool_slab *s, uint32_t f)
{
	struct pool *p = w->g.p;
	uint64_t dice = rng_below(&w->r, 10);

	switch (pool_frame_state(s, f)) {
	case FRAME_GRANTED:
		if (dice < 7)
			CHECK_OK(pool_frame_seal(
				p, s, f, dice,
				frame_extent((uint32_t)dice * 100, 0), 1));
		else
			pool_frame_abandon(p, s, f);
		break;
	case FRAME_SEALED:
		if (dice < 3) {
			pool_frame_touch(p, s, f);
		} else if (dice < 5) {
			pool_frame_doom(p, s, f);
		} else {
			pool_frame_leave(s, f);
			if (dice < 6)
				pool_frame_spare(p, s, f);
			else
				pool_frame_release(p, s, f);
		}
		break;
	case FRAME_DOOMED:
		pool_frame_release(p, s, f);
		break;
	default:
		break;
	}
}

static void step(struct walk *w)
{
	struct pool_slab *s = some_slab(w);
	uint64_t dice = rng_below(&w->r, 200);
	uint32_t frame;

	if (dice < 20)
		step_slab(w);
	else if (dice == 20)
		step_orphan(w);
	else if (dice == 21)
		CHECK_OK(rig_attach(&w->g));
	else if (dice < 90)
		for (unsigned i = 0; i < 8; i++)
			rig_grant(&w->g, some_owner(w),
				  sizes[rng_below(&w->r, ARRAY_LEN(sizes))],
				  w->next_key++, &frame);
	else if (s && !s->retiring && dice < 100) /* empty it */
		for (frame = 0; frame < s->frames; frame++)
			step_frame(w, s, frame);
	else if (s && !s->retiring)
		step_frame(w, s, (uint32_t)rng_below(&w->r, s->frames));
}

TEST(a_long_random_life)
{
	struct walk w = { .r = { 11 }, .next_key = 1, .next_owner = 1 };
	size_t fds = count_fds();

	rig_create(&w.g);
	for (unsigned i = 0; i < OWNERS; i++)
		w.owner[i] = w.next_owner++;
	for (unsigned i = 0; i < 3000; i++) {
		step(&w);
		rig_check(&w.g);
	}
	CHECK_INT(pool_counter(w.g.p, POOL_C_slabs_moved), >, 0);
	CHECK_INT(pool_counter(w.g.p, POOL_C_slabs_retired), >, 0);
	CHECK_INT(shared_load64(&w.g.p->m->header.index_epoch), >, 1);
	rig_fini(&w.g);
	CHECK_INT(count_fds(), ==, fds);
}

/* Arenas of owners that have gone are used again. */
TEST(arenas_do_not_pile_up)
{
	struct rig g;
	uint32_t id;

	rig_create(&g);
	for (uint64_t owner = 1; owner < 200; owner++) {
		CHECK_OK(rig_add(&g, owner, 4096, 2, &id));
		pool_slabs_orphan(g.p, owner);
		pool_slab_retire(g.p, id);
		pool_slab_finish(g.p, id);
	}
	CHECK_INT(g.p->n_arenas, <=, 16);
	rig_check(&g);
	rig_fini(&g);
}

TEST(an_index_grows_under_what_it_holds)
{
	struct rig g;
	struct pool_filling f;
	uint32_t id, frame;

	rig_create(&g);
	for (uint64_t n = 1, slab = 0; slab < 8; slab++) {
		CHECK_OK(rig_add(&g, 1, 4096, 1500, &id));
		for (unsigned i = 0; i < 1500; i++)
			CHECK(rig_put(&g, 1, 4096, n++, &frame));
	}
	CHECK_INT(rig_check(&g).index_entries, ==, 12000);
	CHECK_INT(shared_load64(&g.p->m->header.index_epoch), >, 1);
	CHECK_OK(rig_attach(&g));
	CHECK_INT(rig_check(&g).sealed, ==, 12000);
	for (uint64_t n = 1; n <= 12000; n++) {
		rig_filling(&f, n, 1);
		CHECK(pool_find(g.p, f.key, f.part, &frame));
	}
	rig_fini(&g);
}

/* A new server throws out in the order of its predecessor. */
TEST(recency_outlives_the_server)
{
	struct rig g;
	uint32_t id, frame, item, arena;

	rig_create(&g);
	CHECK_OK(rig_add(&g, 1, 4096, 16, &id));
	for (uint64_t n = 0; n < 16; n++)
		CHECK(rig_put(&g, 1, 4096, n, &frame));
	for (uint32_t f = 16; f-- > 0;)
		pool_frame_touch(g.p, g.p->slab[id], f);
	CHECK_OK(rig_attach(&g));
	CHECK_OK(
		pool_arena_get(g.p, 1, (struct pool_shape){ 4096, 0 }, &arena));
	item = POLICY_NONE;
	for (uint32_t f = 16; f-- > 0;) {
		item = g.p->policy_ops->victim(g.p->policy, arena, item);
		CHECK_INT(item, !=, POLICY_NONE);
		pool_item(g.p, item, &frame);
		CHECK_INT(frame, ==, f);
	}
	rig_fini(&g);
}

TEST(pools_share_a_budget)
{
	struct rig g;
	struct pool *first, *second;
	uint32_t id;

	rig_create(&g);
	CHECK_OK(rig_add(&g, 1, 4096, 10, &id));
	first = g.p;
	g.options.number = 1;
	CHECK_OK(pool_create(&g.options, &second));
	g.p = second;
	CHECK_OK(rig_add(&g, 1, 8192, 10, &id));
	CHECK_INT(g.budget.used, ==, 10 * 4096 + 10 * 8192);
	pool_slab_retire(g.p, id);
	CHECK_INT(g.budget.used, ==, 10 * 4096 + 10 * 8192);
	pool_slab_finish(g.p, id);
	CHECK_INT(g.budget.used, ==, 10 * 4096);
	pool_destroy(second);
	g.p = first;
	rig_fini(&g);
}

static unsigned asked;

static bool alive_once(void *ctx, uint64_t client)
{
	(void)ctx;
	(void)client;
	return asked++ == 0;
}

/* A client that dies while a new server looks: what it was lent and the slab that
 * it was lent it in have one owner, or its funeral finds only one of them. */
TEST(who_dies_meanwhile_dies_later)
{
	struct pool_slab *s;
	struct rig g;
	uint32_t frame, id;

	rig_create(&g);
	CHECK_OK(rig_add(&g, 1, 4096, 10, &id));
	s = rig_grant(&g, 1, 4096, 7, &frame);
	CHECK(s != NULL);
	g.alive = alive_once;
	CHECK_OK(rig_attach(&g));
	CHECK_INT(asked, >, 0);
	s = pool_slab_at(g.p, id);
	CHECK_INT(pool_frame_state(s, frame), ==, FRAME_GRANTED);
	CHECK_INT(s->owner, ==, 1);
	rig_fini(&g);
}

TEST(refuses_what_it_cannot_take_over)
{
	struct rig g;
	struct hold_set none = { 0 };
	struct pool *p;

	rig_create(&g);
	CHECK_INT(pool_attach(&g.options, &none, rig_alive, NULL, &p), ==,
		  -ENOENT);
	shared_store64(&g.p->m->header.stamp, 1);
	CHECK_INT(rig_attach(&g), ==, -EPROTO);
	rig_fini(&g);
}

/* The index is no truth of its own. */
TEST(a_lost_index_is_rebuilt)
{
	struct rig g;
	struct hold_tag tag = { HOLD_INDEX, 0, 1 };
	uint32_t id, frame;

	rig_create(&g);
	CHECK_OK(rig_add(&g, 1, 4096, 100, &id));
	for (uint64_t n = 0; n < 100; n++)
		rig_put(&g, 1, 4096, n, &frame);
	fake_hold_drop(&g.k, &tag);
	CHECK_OK(rig_attach(&g));
	CHECK_INT(rig_check(&g).sealed, ==, 100);
	rig_fini(&g);
}

/* Ranges of a device: whole units, never more than there are. */
TEST(ranges_of_a_device)
{
	const uint64_t unit = SEGMENT_DAX_UNIT;
	struct pool_low low = { .budget.limit = 10 * unit,
				.source.kind = SEGMENT_DAX };
	struct segment_source a, b, c;
	struct segment gone = { .kind = SEGMENT_DAX, .bytes = 4 * unit };

	CHECK_OK(pool_low_take(&low, 4 * unit, &a));
	CHECK_OK(pool_low_take(&low, 4 * unit, &b));
	CHECK_INT(a.offset, ==, 0);
	CHECK_INT(b.offset, ==, 4 * unit);
	CHECK_INT(pool_low_take(&low, 4 * unit, &c), ==, -ENOSPC);
	gone.offset = a.offset;
	pool_low_give(&low, &gone);
	low.budget.used -= gone.bytes;
	/* enough in all, and not in one piece */
	CHECK_INT(pool_low_take(&low, 5 * unit, &c), ==, -ENOSPC);
	CHECK_INT(low.budget.used, ==, 4 * unit);
	CHECK_OK(pool_low_take(&low, 4 * unit, &c));
	CHECK_INT(c.offset, ==, 0);
	pool_low_fini(&low);
}

/* Units of a device that have lost memory are given to nobody any more, and the
 * others are. */
TEST(bad_units_of_a_device_are_set_aside)
{
	const uint64_t unit = SEGMENT_DAX_UNIT;
	struct pool_low low = { .budget.limit = 10 * unit,
				.source.kind = SEGMENT_DAX };
	struct segment_source a, b;
	struct segment gone = { .kind = SEGMENT_DAX, .bytes = 8 * unit };

	CHECK_OK(pool_low_take(&low, 8 * unit, &a));
	/* a page, and one that reaches into the next unit, twice */
	pool_low_fails(&low, 2 * unit + 4096, 4096);
	for (unsigned i = 0; i < 2; i++)
		pool_low_fails(&low, 6 * unit - 4096, 2 * 4096);
	CHECK_INT(low.aside, ==, 0);
	gone.offset = a.offset;
	low.budget.used -= gone.bytes;
	pool_low_give(&low, &gone);
	CHECK_INT(low.aside, ==, 3 * unit);
	CHECK_INT(low.budget.used, ==, 3 * unit);
	CHECK_OK(pool_low_take(&low, 2 * unit, &a));
	CHECK_INT(a.offset, ==, 0);
	CHECK_OK(pool_low_take(&low, 2 * unit, &a));
	CHECK_INT(a.offset, ==, 3 * unit);
	CHECK_OK(pool_low_take(&low, 3 * unit, &b));
	CHECK_INT(b.offset, ==, 7 * unit);
	CHECK_INT(pool_low_take(&low, unit, &b), ==, -ENOSPC);
	/* the end of what was ever given */
	gone.offset = 3 * unit;
	gone.bytes = 2 * unit;
	low.budget.used -= gone.bytes;
	pool_low_give(&low, &gone);
	CHECK_OK(pool_low_take(&low, 2 * unit, &b));
	CHECK_INT(b.offset, ==, 3 * unit);
	pool_low_fini(&low);
}

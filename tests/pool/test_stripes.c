/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs striped slice by slice, and which frame is next. */
#include "tests/pool/rig.h"

#define SLICES 4u
#define SLICE  4096u
#define PART   (SLICES * SLICE)
#define FRAMES 10u

static const struct pool_shape striped = { PART, SLICES };

static uint32_t add_striped(struct rig *g, uint64_t owner)
{
	struct segment payload;
	uint32_t id;

	CHECK_OK(segment_create("test", FRAMES * PART, 0, &payload));
	g->budget.used += FRAMES * PART;
	CHECK_OK(pool_slab_add(g->p, &payload, owner, striped, FRAMES, &id));
	return id;
}

static uint32_t put_striped(struct rig *g, uint64_t owner, uint64_t n)
{
	struct pool_filling f;
	struct pool_slab *s;
	uint32_t arena, frame, item;

	CHECK_OK(pool_arena_get(g->p, owner, striped, &arena));
	item = pool_arena_free(g->p, arena);
	CHECK_INT(item, !=, POOL_NO_ITEM);
	s = pool_item(g->p, item, &frame);
	rig_filling(&f, n, owner);
	f.extent = frame_extent(PART, 0);
	pool_frame_grant(g->p, s, frame, &f);
	CHECK_OK(pool_frame_seal(g->p, s, frame, n, f.extent, 1));
	return frame;
}

TEST(slices_of_neighbours_are_neighbours)
{
	struct slices a, b;
	struct pool_slab *s;
	struct rig g;
	uint32_t id, arena, other;

	rig_create(&g);
	id = add_striped(&g, CLIENT_SERVER);
	s = g.p->slab[id];
	a = pool_payload(s, 3);
	b = pool_payload(s, 4);
	CHECK_INT(a.bytes, ==, SLICE);
	CHECK_INT(a.stride, ==, FRAMES * SLICE);
	CHECK(b.base == a.base + SLICE);
	CHECK_INT(pool_frame_offset(s, 3), ==, 3 * SLICE);
	/* the last slice of the last frame is the slab's end */
	b = pool_payload(s, FRAMES - 1);
	CHECK(b.base + (SLICES - 1) * b.stride + SLICE ==
	      (uint8_t *)s->payload.base + FRAMES * PART);
	CHECK(pool_frame_meets(s, 3, (FRAMES + 3) * SLICE + 5,
			       (FRAMES + 3) * SLICE + 6));
	CHECK(!pool_frame_meets(s, 3, (FRAMES + 4) * SLICE,
				(FRAMES * 2 + 3) * SLICE));
	/* of the same size, and no place for the others' parts */
	CHECK_OK(pool_arena_get(g.p, CLIENT_SERVER, striped, &arena));
	CHECK_OK(pool_arena_get(g.p, CLIENT_SERVER,
				(struct pool_shape){ PART, 0 }, &other));
	CHECK_INT(arena, !=, other);
	CHECK_INT(pool_arena_free(g.p, other), ==, POOL_NO_ITEM);
	rig_check(&g);
	rig_fini(&g);
}

TEST(a_successor_finds_the_stripes)
{
	struct rig g;
	uint32_t id;

	rig_create(&g);
	id = add_striped(&g, 5);
	for (uint64_t n = 0; n < FRAMES; n++)
		CHECK_INT(put_striped(&g, 5, n), ==, n);
	CHECK_OK(rig_attach(&g));
	CHECK_INT(g.p->slab[id]->stripes, ==, SLICES);
	CHECK_INT(rig_check(&g).sealed, ==, FRAMES);
	rig_fini(&g);
}

/* An empty slab serves the other shape, as it serves other sizes. */
TEST(memory_changes_its_shape)
{
	struct rig g;
	uint32_t id;

	rig_create(&g);
	id = add_striped(&g, 5);
	CHECK_OK(pool_slab_reshape(g.p, id, 5, (struct pool_shape){ PART, 0 },
				   &id));
	CHECK_INT(g.p->slab[id]->stripes, ==, 0);
	CHECK_INT(slab_stripes(&g.p->m->slab[id]), ==, 0);
	rig_check(&g);
	CHECK_OK(pool_slab_reshape(g.p, id, 5, striped, &id));
	CHECK_INT(slab_stripes(&g.p->m->slab[id]), ==, SLICES);
	CHECK_INT(slab_frames(&g.p->m->slab[id]), ==, FRAMES);
	rig_check(&g);
	rig_fini(&g);
}

static uint32_t put_behind(struct rig *g, uint64_t owner, uint64_t n,
			   uint64_t *loc)
{
	struct pool_filling f;
	struct pool_slab *s;
	uint32_t arena, frame;

	CHECK_OK(pool_arena_get(g->p, owner, (struct pool_shape){ 4096, 0 },
				&arena));
	s = pool_item(g->p, pool_arena_beside(g->p, arena, *loc), &frame);
	rig_filling(&f, n, owner);
	f.beside = true;
	pool_frame_grant(g->p, s, frame, &f);
	CHECK_OK(pool_frame_seal(g->p, s, frame, n, frame_extent(100, 0), 1));
	*loc = frame_loc(s->id, frame);
	return frame;
}

/* Sessions that grow at the same time, block by block in turns. */
TEST(what_grows_in_turns_lies_in_rows)
{
	uint64_t loc[4] = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };
	uint32_t last[4], runs = 0, id, frame;
	struct rig g;

	rig_create(&g);
	CHECK_OK(rig_add(&g, 5, 4096, 300, &id));
	/* somebody else writes in between */
	for (uint64_t n = 0; n < 50 * 4; n++) {
		frame = put_behind(&g, 5, n, &loc[n % 4]);
		runs += n < 4 || frame != last[n % 4] + 1;
		last[n % 4] = frame;
		if (n % 4 == 3)
			CHECK(rig_put(&g, 5, 4096, 1000 + n, &frame));
	}
	/* 50 blocks each: four rows of 16, and one for what is left of them */
	CHECK_INT(runs, <=, 4 * 6);
	rig_check(&g);
	/* where there is no row left, any frame will do, to the last */
	for (uint64_t n = 0; n < 50; n++)
		put_behind(&g, 5, 2000 + n, &loc[n % 4]);
	CHECK_INT(rig_check(&g).free, ==, 0);
	rig_fini(&g);
}

static void give_back(struct rig *g, uint32_t id, uint32_t frame)
{
	pool_frame_leave(g->p->slab[id], frame);
	pool_frame_release(g->p, g->p->slab[id], frame);
}

/* Whatever the order is in which frames come free: who writes one block after the
 * other gets rows. */
TEST(what_is_written_in_a_row_lies_in_a_row)
{
	struct rig g;
	uint32_t id;

	rig_create(&g);
	id = add_striped(&g, 5);
	for (uint64_t n = 0; n < FRAMES; n++)
		put_striped(&g, 5, n);
	/* two rows, 2 to 5 and 7 to 8, freed from both ends */
	give_back(&g, id, 5);
	give_back(&g, id, 2);
	give_back(&g, id, 8);
	give_back(&g, id, 4);
	give_back(&g, id, 3);
	give_back(&g, id, 7);
	rig_check(&g);
	CHECK_INT(put_striped(&g, 5, 100), ==, 7);
	CHECK_INT(put_striped(&g, 5, 101), ==, 8);
	for (uint32_t f = 2; f <= 5; f++)
		CHECK_INT(put_striped(&g, 5, 100 + f), ==, f);
	rig_check(&g);
	/* the one behind the last is in use: elsewhere */
	give_back(&g, id, 0);
	CHECK_INT(put_striped(&g, 5, 200), ==, 0);
	/* what is being emptied is nobody's neighbour */
	give_back(&g, id, 1);
	pool_slab_drain(g.p, id);
	rig_check(&g);
	CHECK_INT(pool_arena_free(g.p, g.p->slab[id]->arena), ==, POOL_NO_ITEM);
	pool_slab_undrain(g.p, id);
	rig_check(&g);
	CHECK_INT(put_striped(&g, 5, 201), ==, 1);
	rig_fini(&g);
}

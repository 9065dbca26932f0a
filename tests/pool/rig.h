/* SPDX-License-Identifier: Apache-2.0 */
/* A pool over the fake keeper, for the tests of pool/. */
#ifndef ONECOPY_TESTS_POOL_RIG_H
#define ONECOPY_TESTS_POOL_RIG_H

#include "pool/pool.h"
#include "tests/pool/fake_hold.h"
#include "tests/test.h"

struct rig {
	bool (*alive)(void *ctx, uint64_t client); /* NULL: rig_alive() */
	struct fake_hold k;
	struct hold_ops hold;
	struct pool_budget budget;
	struct pool_options options;
	struct pool *p;
};

TEST_STATIC void rig_problem(void *ctx, const char *text)
{
	(void)ctx;
	FAIL("%s", text);
}

/* Options; no pool yet. */
TEST_STATIC void rig_init(struct rig *g)
{
	*g = (struct rig){ .budget.limit = 64ull << 20 };
	g->hold = fake_hold_ops(&g->k);
	g->options = (struct pool_options){
		.tenant = "test",
		.budget = &g->budget,
		.quota = g->budget.limit,
		.hold = &g->hold,
		.random = 1,
	};
}

TEST_STATIC void rig_create(struct rig *g)
{
	rig_init(g);
	CHECK_OK(pool_create(&g->options, &g->p));
}

TEST_STATIC void rig_fini(struct rig *g)
{
	pool_destroy(g->p);
	fake_hold_fini(&g->k);
}

/* Recounts everything, bytes and held descriptors included. */
TEST_STATIC struct pool_checked rig_check(struct rig *g)
{
	struct pool *p = g->p;
	struct pool_checked seen;
	uint64_t meta = p->meta_segment.bytes + p->index_segment.bytes;
	uint64_t payload = 0;
	size_t slabs = 0;

	CHECK_INT(pool_check(p, rig_problem, NULL, &seen), ==, 0);
	for (uint32_t id = 1; id < p->slab_end; id++) {
		const struct pool_slab *s = p->slab[id];

		if (!s)
			continue;
		slabs++;
		meta += s->desc_segment.bytes;
		payload += s->payload.bytes;
		CHECK(fake_hold_find(&g->k, HOLD_DESC, p->number,
				     hold_slab_id(id, s->gen)) >= 0);
		CHECK(fake_hold_find(&g->k, HOLD_PAYLOAD, p->number,
				     hold_slab_id(id, s->gen)) >= 0);
	}
	CHECK_INT(p->meta_bytes, ==, meta);
	CHECK_INT(pool_counter(p, POOL_C_meta_bytes), ==, meta);
	CHECK_INT(g->budget.used, ==, payload);
	CHECK_INT(fake_hold_count(&g->k, HOLD_DESC), ==, slabs);
	CHECK_INT(fake_hold_count(&g->k, HOLD_PAYLOAD), ==, slabs);
	CHECK_INT(fake_hold_count(&g->k, HOLD_INDEX), ==, 1);
	CHECK_INT(fake_hold_count(&g->k, HOLD_META), ==, 1);
	return seen;
}

/* As store/ does: the budget first, then the memory, then the slab. */
TEST_STATIC int rig_add(struct rig *g, uint64_t owner, uint64_t frame_bytes,
			uint32_t frames, uint32_t *ret_id)
{
	uint64_t bytes = frames * frame_bytes;
	struct segment payload;
	int r;

	if (g->budget.used + bytes > g->budget.limit)
		return -ENOSPC;
	r = segment_create("test", bytes, 0, &payload);
	if (r < 0)
		return r;
	g->budget.used += bytes;
	r = pool_slab_add(g->p, &payload, owner,
			  (struct pool_shape){ frame_bytes, 0 }, frames,
			  ret_id);
	CHECK_INT(payload.fd, ==, -1);
	if (r < 0)
		g->budget.used -= bytes;
	return r;
}

TEST_STATIC void rig_filling(struct pool_filling *f, uint64_t n, uint64_t owner)
{
	*f = (struct pool_filling){
		.key = { n * 0x9e3779b97f4a7c15ull, n, ~n, 7 },
		.part = frame_part(1, 0, 0),
		.extent = frame_extent(100, 0),
		.owner = owner,
		.seq = n,
	};
}

/* Grants the next free frame of an arena. */
TEST_STATIC struct pool_slab *rig_grant(struct rig *g, uint64_t owner,
					uint64_t frame_bytes, uint64_t n,
					uint32_t *ret_frame)
{
	struct pool_filling f;
	struct pool_slab *s;
	uint32_t arena, item;

	CHECK_OK(pool_arena_get(g->p, owner,
				(struct pool_shape){ frame_bytes, 0 }, &arena));
	item = pool_arena_free(g->p, arena);
	if (item == POOL_NO_ITEM)
		return NULL;
	s = pool_item(g->p, item, ret_frame);
	rig_filling(&f, n, owner);
	pool_frame_grant(g->p, s, *ret_frame, &f);
	return s;
}

/* Grants and seals block n. */
TEST_STATIC struct pool_slab *rig_put(struct rig *g, uint64_t owner,
				      uint64_t frame_bytes, uint64_t n,
				      uint32_t *ret_frame)
{
	struct pool_slab *s = rig_grant(g, owner, frame_bytes, n, ret_frame);

	if (s)
		CHECK_OK(pool_frame_seal(g->p, s, *ret_frame, n,
					 frame_extent(100, 0), 1));
	return s;
}

TEST_STATIC bool rig_alive(void *ctx, uint64_t client)
{
	(void)ctx;
	return client < 1000;
}

/* The server dies (its memory is dropped) and another one attaches, the nth
 * point of which fails (0: none). */
TEST_STATIC int rig_attach_fault(struct rig *g, uint64_t nth)
{
	struct hold_set given = fake_hold_give(&g->k);
	int r;

	pool_destroy(g->p);
	g->p = NULL;
	g->budget.used = 0;
	fault_arm(FAULT_ALL, nth, false);
	r = pool_attach(&g->options, &given, g->alive ? g->alive : rig_alive, g,
			&g->p);
	fault_arm(0, 0, false);
	if (r == 0)
		hold_set_fini(&given, &g->hold);
	for (size_t i = 0; i < given.n; i++)
		fd_close(given.given[i].fd);
	free(given.given);
	return r;
}

TEST_STATIC int rig_attach(struct rig *g)
{
	return rig_attach_fault(g, 0);
}

#endif

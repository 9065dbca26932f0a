/* SPDX-License-Identifier: Apache-2.0 */
/* A client dies after any of its own stores, alone or with the server. */
#include "tests/store/cut.h"

#ifndef ONECOPY_RECORD

TEST(survives_a_cut_after_any_store)
{
	SKIP("stores are not recorded in this build");
}

#else

static const struct world_config two = { .limit = 2 * CUT_SLAB,
					 .slab_bytes = CUT_SLAB };

static void prepare(struct world *w)
{
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);

	for (uint64_t n = 1; n <= 8; n++)
		sim_put(a, n, PART);
	CHECK(sim_pin(b, 2, 3, PART));
	CHECK_OK(sim_grant_wait(a, 50, PART));
}

/* What it pinned can leave, what it was lent is back, its slabs are nobody's. */
static void after_death(struct world *w, unsigned who)
{
	uint64_t id = w->sim[who].id;

	CHECK(!w->sim[who].c);
	for (uint32_t slab = 1; slab < w->p->slab_end; slab++) {
		struct pool_slab *s = w->p->slab[slab];

		if (!s)
			continue;
		CHECK_INT(s->owner, !=, id);
		for (uint32_t f = 0; f < s->frames; f++)
			CHECK(pool_frame_state(s, f) != FRAME_GRANTED ||
			      shared_load64(&s->desc[f].owner) != id);
	}
}

static void after_b(struct world *w)
{
	uint64_t key[4];
	uint32_t frame;
	struct pool_slab *s;

	after_death(w, 1);
	/* nobody else pinned: each of these leaves */
	for (uint64_t n = 1; n <= 8; n++) {
		key_of(n, key);
		s = pool_find(w->p, key, PART, &frame);
		CHECK(s);
		evict_begin(w->s);
		CHECK(evict_add(w->s, w->p, s, frame));
		CHECK_INT(evict_finish(w->s, w->p, true), ==, 1);
	}
}

static void after_a(struct world *w)
{
	after_death(w, 0);
	for (uint64_t n = 1; n <= 8; n++)
		CHECK(world_has(w, n, PART));
	CHECK(pool_frame_state(w->p->slab[1], 0) == FRAME_SEALED);
}

static void act_pin(struct world *w)
{
	sim_pin(&w->sim[1], 0, 1, PART);
	sim_pin(&w->sim[1], 40, 4, PART); /* raises pin_high */
	sim_pin(&w->sim[1], 41, 1, PART);
}

TEST(pin)
{
	cut_client(&(struct cut_case){ &two, prepare, act_pin, after_b }, 1);
}

static void prepare_pinned(struct world *w)
{
	prepare(w);
	act_pin(w);
}

static void act_unpin(struct world *w)
{
	struct sim *b = &w->sim[1];

	sim_touch(b, 1, PART);
	sim_unpin(b, 0);
	sim_unpin(b, 40);
	sim_touch(b, 4, PART);
	sim_unpin(b, 2);
	sim_unpin(b, 41);
}

TEST(unpin)
{
	cut_client(&(struct cut_case){ &two, prepare_pinned, act_unpin,
				       after_b },
		   1);
}

static void act_ask(struct world *w)
{
	struct sim *a = &w->sim[0];
	struct ring_call call = seal_of(a, 50, PART, &a->grant[0]);

	sim_push(a, &call);
	call = call_of(RING_GRANT, 51, PART);
	sim_push(a, &call);
}

/* A request that is whole may be served before the death is seen. */
TEST(seal_and_grant_asked_for)
{
	cut_client(&(struct cut_case){ &two, prepare, act_ask, after_a }, 0);
}

static void prepare_retiring(struct world *w)
{
	uint32_t id;

	prepare(w);
	for (id = 1; id < w->p->slab_end; id++)
		store_region_given(w->sim[1].c, id);
	CHECK_OK(sim_abandon(&w->sim[0], &w->sim[0].grant[0]));
	for (id = 1; id < w->p->slab_end; id++) {
		if (!w->p->slab[id])
			continue;
		sim_unpin(&w->sim[1], 2);
		CHECK(evict_slab(w->s, w->p, w->p->slab[id], false));
		pool_slab_retire(w->p, id);
		w->s->retiring++;
	}
	sim_let_go(&w->sim[0]);
}

static void act_let_go(struct world *w)
{
	sim_let_go(&w->sim[1]);
}

static void after_let_go(struct world *w)
{
	world_tick(w, WORLD_SEC / 100);
	CHECK_INT(pool_counter(w->p, POOL_C_retiring_bytes), ==, 0);
}

TEST(let_go_of_a_retiring_slab)
{
	cut_client(&(struct cut_case){ &two, prepare_retiring, act_let_go,
				       after_let_go },
		   1);
}
#endif

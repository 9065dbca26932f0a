/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs: who may have how many, and how they move between shapes and owners. */
#include "tests/store/world.h"

#define SLAB 65536ull

static uint32_t slabs_of(struct world *w, uint64_t owner, bool retiring)
{
	uint32_t n = 0;

	for (uint32_t id = 1; id < w->p->slab_end; id++) {
		const struct pool_slab *s = w->p->slab[id];

		n += s && s->owner == owner && s->retiring == retiring;
	}
	return n;
}

static void put_many(struct sim *c, uint64_t from, uint64_t n, uint64_t part)
{
	while (n--)
		sim_put(c, from++, part);
}

TEST(a_client_has_its_share_at_most)
{
	struct world_config config = { .limit = 8 * SLAB,
				       .slab_bytes = SLAB,
				       .percent = 51 };
	struct world *w = world_create(&config);
	struct sim *a = sim_add(w, 0);

	put_many(a, 0, 500, PART);
	CHECK_INT(slabs_of(w, a->id, false), >=, 4);
	CHECK_INT(w->s->budget.used, <=, 8 * SLAB * 51 / 100);
	world_check(w);
	world_destroy(w);
}

TEST(a_pool_has_its_quota_at_most)
{
	struct world_config config = { .limit = 16 * SLAB,
				       .slab_bytes = SLAB,
				       .quota = 3 * SLAB };
	struct world *w = world_create(&config);
	struct sim *a = sim_add(w, 0);

	put_many(a, 0, 500, PART);
	CHECK_INT(pool_counter(w->p, POOL_C_slab_bytes), ==, 3 * SLAB);
	world_destroy(w);
}

/* Slabs that are being made count before they are there. */
TEST(the_quota_holds_while_slabs_are_made)
{
	struct world_config config = { .limit = 16 * SLAB,
				       .slab_bytes = SLAB,
				       .quota = 2 * SLAB };
	struct world *w = world_create(&config);

	for (unsigned i = 0; i < SIMS; i++)
		CHECK_INT(sim_grant(sim_add(w, i), i, PART, WORLD_SEC), ==,
			  SIM_LATER);
	world_ready(w);
	CHECK_INT(pool_counter(w->p, POOL_C_slab_bytes), <=, 2 * SLAB);
	world_check(w);
	world_destroy(w);
}

TEST(the_share_holds_while_slabs_are_made)
{
	struct world_config config = { .limit = 16 * SLAB,
				       .slab_bytes = SLAB,
				       .percent = 26 };
	struct world *w = world_create(&config);
	struct sim *a = sim_add(w, 0);

	for (unsigned i = 1; i < 12; i++) {
		uint32_t ns = world_ns(w, 1, 1, i * 4096ull, i);

		sim_grant(a, i, frame_part(ns, 0, 0), WORLD_SEC);
	}
	world_ready(w);
	CHECK_INT(pool_counter(w->p, POOL_C_slab_bytes), <=,
		  16 * SLAB * 26 / 100);
	world_check(w);
	world_destroy(w);
}

TEST(the_quota_outlives_the_server)
{
	struct world_config config = { .limit = 16 * SLAB,
				       .slab_bytes = SLAB,
				       .quota = 2 * SLAB };
	struct world *w = world_create(&config);
	struct sim *a = sim_add(w, 0);

	put_many(a, 0, 100, PART);
	world_restart(w);
	store_pool_quota(w->p, config.quota);
	put_many(a, 200, 100, PART);
	CHECK_INT(pool_counter(w->p, POOL_C_slab_bytes), ==, 2 * SLAB);
	world_destroy(w);
}

TEST(a_small_limit_is_never_passed)
{
	struct world_config config = { .limit = 5 * SLAB + 12345 };
	struct world *w = world_create(&config);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t ns = world_ns(w, 1, 1, 5 * 4096, 1);

	for (uint64_t n = 0; n < 600; n++) {
		struct sim *c = n % 3 ? a : b;

		sim_grant_wait(c, n, n % 5 ? PART : frame_part(ns, 0, 0));
		while (c->n_grants)
			CHECK_OK(sim_abandon(c, &c->grant[0]));
		world_tick(w, WORLD_SEC / 1000);
		sim_let_go(a);
		sim_let_go(b);
		world_check(w);
	}
	world_destroy(w);
}

/* ---- moves ---------------------------------------------------------------- */

static const struct world_config four = { .limit = 4 * SLAB,
					  .slab_bytes = SLAB };

TEST(what_a_dead_client_wrote_is_taken_over_last_used_last)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b;

	put_many(a, 0, 64, PART);
	sim_die(a);
	CHECK_INT(world_check(w).sealed, ==, 64);
	b = sim_add(w, 1);
	put_many(b, 100, 16, PART);
	/* one slab was reshaped, at once: nobody had to let go */
	CHECK_INT(slabs_of(w, b->id, false), ==, 1);
	CHECK_INT(pool_counter(w->p, POOL_C_slabs_moved), ==, 1);
	CHECK_INT(pool_counter(w->p, POOL_C_slabs_retired), ==, 0);
	for (uint64_t n = 0; n < 64; n++)
		CHECK_INT(world_has(w, n, PART), ==, n >= 16);
	world_check(w);
	world_destroy(w);
}

TEST(a_client_changes_the_shape_of_its_own)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);
	uint32_t ns = world_ns(w, 1, 1, 3 * 4096, 1);
	struct ring_call call;

	put_many(a, 0, 64, PART);
	CHECK_OK(sim_grant_wait(a, 1000, frame_part(ns, 0, 0)));
	CHECK_INT(pool_counter(w->p, POOL_C_slabs_moved), ==, 1);
	call = seal_of(a, 1000, frame_part(ns, 0, 0), &w->last);
	CHECK_OK(sim_call(a, call));
	CHECK(world_has(w, 1000, frame_part(ns, 0, 0)));
	world_check(w);
	world_destroy(w);
}

/* A slab of a living writer goes when all who were given it have let go. */
TEST(a_retired_slab_waits_for_those_who_have_it)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1), *c = sim_add(w, 2);
	uint32_t slot;

	put_many(a, 0, 64, PART);
	for (uint32_t id = 1; id < w->p->slab_end; id++) {
		store_region_given(a->c, id);
		store_region_given(c->c, id);
	}
	CHECK_INT(sim_grant(b, 100, PART, 100 * WORLD_SEC), ==, SIM_LATER);
	slot = b->slot;
	CHECK_INT(slabs_of(w, a->id, true), ==, 1);
	CHECK_INT(a->announced, ==, 1);
	CHECK_INT(c->announced, ==, 1);
	CHECK_INT(b->announced, ==, 0);
	world_tick(w, WORLD_SEC / 100);
	CHECK_INT(slabs_of(w, a->id, true), >=, 1);
	sim_let_go(c);
	world_tick(w, WORLD_SEC / 100);
	CHECK_INT(pool_counter(w->p, POOL_C_slabs_retired), ==, 0);
	sim_let_go(a);
	world_tick(w, WORLD_SEC / 100);
	CHECK_INT(pool_counter(w->p, POOL_C_slabs_retired), >=, 1);
	world_ready(w);
	CHECK_OK(sim_answer(b, slot));
	world_check(w);
	world_destroy(w);
}

/* Who was given a slab before it got another shape may have it mapped still, so
 * its memory waits for that client as well when it goes. */
TEST(a_reshaped_slab_waits_for_those_who_had_it)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t ns = world_ns(w, 1, 1, 3 * 4096, 1), id, frame;
	uint64_t part = frame_part(ns, 0, 0);
	struct ring_answer grant;

	put_many(a, 0, 64, PART);
	for (id = 1; id < w->p->slab_end; id++)
		store_region_given(b->c, id);
	CHECK_OK(sim_grant_wait(a, 1000, part));
	CHECK_INT(pool_counter(w->p, POOL_C_slabs_moved), ==, 1);
	grant = w->last;
	CHECK_OK(sim_abandon(a, &grant));
	CHECK(pool_locate(w->p, grant.loc, &frame));
	pool_slab_retire(w->p, frame_loc_slab(grant.loc));
	w->s->retiring++;
	sim_let_go(a);
	world_tick(w, WORLD_SEC / 100);
	CHECK_INT(pool_counter(w->p, POOL_C_slabs_retired), ==, 0);
	sim_let_go(b);
	world_tick(w, WORLD_SEC / 100);
	CHECK_INT(pool_counter(w->p, POOL_C_slabs_retired), ==, 1);
	world_check(w);
	world_destroy(w);
}

/* While one slab is on its way, a grant that waits for it takes no second. */
TEST(one_grant_retires_one_slab)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);

	put_many(a, 0, 64, PART);
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		store_region_given(a->c, id);
	for (uint64_t n = 0; n < 5; n++)
		CHECK_INT(sim_grant(b, 100 + n, PART, 100 * WORLD_SEC), ==,
			  SIM_LATER);
	for (unsigned i = 0; i < 10; i++)
		world_tick(w, WORLD_SEC / 500);
	CHECK_INT(slabs_of(w, a->id, true), ==, 1);
	CHECK_INT(world_check(w).sealed, ==, 48);
	world_destroy(w);
}

/* And one who never lets go does not keep others from other slabs for ever. */
TEST(a_slab_that_is_not_let_go_is_given_up)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1), *c = sim_add(w, 2);
	uint32_t slot;

	put_many(a, 0, 32, PART);
	put_many(b, 100, 32, PART);
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		store_region_given(id < 3 ? a->c : b->c, id);
	CHECK_INT(sim_grant(c, 200, PART, 1000 * WORLD_SEC), ==, SIM_LATER);
	slot = c->slot;
	for (unsigned i = 0; i < 1000; i++) {
		world_tick(w, WORLD_SEC / 500);
		sim_let_go(b);
		world_ready(w);
	}
	CHECK_OK(sim_answer(c, slot));
	world_check(w);
	world_destroy(w);
}

/* The index of a client that ended is used again; what its predecessor was
 * given is nothing to it. */
TEST(a_new_client_was_given_nothing)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1), *c;
	uint32_t slot;

	put_many(a, 0, 64, PART);
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		store_region_given(b->c, id);
	sim_die(b);
	c = sim_add(w, 2); /* with b's index */
	CHECK_INT(c->c->index, ==, 1);
	CHECK_INT(sim_grant(c, 100, PART, WORLD_SEC), ==, SIM_LATER);
	slot = c->slot;
	CHECK_INT(c->announced, ==, 0);
	world_tick(w, WORLD_SEC / 100);
	world_ready(w);
	CHECK_OK(sim_answer(c, slot));
	world_destroy(w);
}

/* Slabs too small for a frame are given back, and one that fits is made. */
TEST(small_slabs_make_room_for_a_large_frame)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b;
	uint32_t ns = world_ns(w, 1, 1, 2 * SLAB, 1), slot;

	put_many(a, 0, 64, PART);
	sim_die(a);
	b = sim_add(w, 1);
	CHECK_INT(sim_grant(b, 100, frame_part(ns, 0, 0), 100 * WORLD_SEC), ==,
		  SIM_LATER);
	slot = b->slot;
	for (unsigned i = 0; i < 1000; i++) {
		world_tick(w, WORLD_SEC / 500);
		world_ready(w);
	}
	CHECK_OK(sim_answer(b, slot));
	world_check(w);
	world_destroy(w);
}

/* What was being made for a client that has gone is dropped whole. */
TEST(slabs_for_the_dead_are_dropped)
{
	struct world *w = world_create(&four);

	for (unsigned i = 0; i < 100; i++) {
		struct sim *a = sim_add(w, 0);

		CHECK_INT(sim_grant(a, 1, PART, WORLD_SEC), ==, SIM_LATER);
		if (i % 2)
			sim_die(a);
		else
			CHECK(sim_close(a));
		world_ready(w);
		world_check(w);
		CHECK_INT(w->s->budget.used, ==, 0);
		CHECK_INT(w->s->n_pending, ==, 0);
	}
	CHECK_INT(w->p->n_arenas, <=, 16);
	world_destroy(w);
}

TEST(refused_memory_is_given_back_to_the_budget)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);
	uint32_t slot;

	for (uint64_t nth = 1; nth < 40; nth++) {
		CHECK(w->s->budget.used == 0);
		fault_arm(FAULT_ALL, nth, true);
		sim_grant(a, 1, PART, 100 * WORLD_SEC);
		world_ready(w);
		fault_arm(0, 0, false);
		slot = a->slot;
		if (a->n_grants || sim_answer(a, slot) == 0)
			break;
		world_check(w);
		if (sim_answer(a, slot) == SIM_LATER) {
			struct ring_call cancel = call_of(RING_CANCEL, 0, 0);

			cancel.arg = slot;
			cancel.arg2 = shared_load64(&a->cs->req[slot].seq);
			CHECK_OK(sim_call(a, cancel));
		}
		w->now += WORLD_SEC;
		world_ready(w);
	}
	world_check(w);
	world_destroy(w);
}

/* Every frame is pinned, and many grants wait: the slots are not read over and
 * over. A reader that unpins is noticed soon all the same. */
TEST(many_grants_that_wait_look_seldom)
{
	struct world_config config = { .limit = 2 * SLAB, .slab_bytes = SLAB };
	struct world *w = world_create(&config);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint64_t before;

	for (uint64_t n = 0; n < 32; n++)
		sim_put(a, n, PART);
	for (uint32_t n = 0; n < 32; n++)
		CHECK(sim_pin(b, n, n, PART));
	for (uint64_t n = 0; n < 24; n++)
		CHECK_INT(sim_grant(a, 100 + n, PART, 100 * WORLD_SEC), ==,
			  SIM_LATER);
	before = pool_counter(w->p, POOL_C_pin_scans);
	for (unsigned i = 0; i < 500; i++)
		world_tick(w, WORLD_SEC / 500);
	CHECK_INT(pool_counter(w->p, POOL_C_pin_scans) - before, <, 2500);
	sim_unpin(b, 3);
	for (unsigned i = 0; i < 10; i++)
		world_tick(w, WORLD_SEC / 500);
	CHECK_INT(a->c->granted, ==, 1);
	world_check(w);
	world_destroy(w);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that close, die, come back, and what a server tells its successor. */
#include "tests/store/world.h"

#define SLAB 65536ull
static const struct world_config four = { .limit = 4 * SLAB,
					  .slab_bytes = SLAB };

TEST(who_dies_gives_its_grants_back)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);

	sim_put(a, 1, PART);
	CHECK_OK(sim_grant_wait(a, 2, PART));
	CHECK_INT(sim_grant(b, 3, PART, WORLD_SEC), ==, SIM_LATER);
	sim_die(b);
	sim_die(a);
	CHECK_INT(world_check(w).granted, ==, 0);
	CHECK(world_has(w, 1, PART));
	CHECK_INT(pool_counter(w->p, POOL_C_client_deaths), ==, 2);
	CHECK_INT(pool_counter(w->p, POOL_C_clients), ==, 0);
	world_destroy(w);
}

/* It closed its socket; its process may still write to its slabs. */
TEST(who_closes_keeps_its_slabs_until_it_ends)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint64_t id = a->id;

	sim_put(a, 1, PART);
	CHECK(sim_pin(a, 0, 1, PART));
	CHECK_OK(sim_grant_wait(a, 2, PART));
	CHECK(!sim_close(a));
	CHECK(a->c->closed);
	CHECK_INT(world_check(w).granted, ==, 0);
	CHECK_INT(pool_counter(w->p, POOL_C_clients), ==, 1);
	CHECK_INT(w->p->slab[1]->owner, ==, id);
	for (uint64_t n = 0; n < 40; n++)
		sim_put(b, 100 + n, PART);
	CHECK(world_has(w, 1, PART));
	world_restart(w);
	CHECK(a->c && a->c->closed);
	CHECK_INT(pool_counter(w->p, POOL_C_clients), ==, 1);
	CHECK(world_has(w, 1, PART));
	sim_die(a);
	CHECK_INT(w->p->slab[1]->owner, ==, 0);
	CHECK_INT(shared_load64(&w->p->m->client[0].id), ==, 0);
	world_check(w);
	world_destroy(w);
}

TEST(who_closes_without_slabs_is_gone)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);
	uint64_t id = a->id;

	CHECK(sim_close(a));
	CHECK(sim_add(w, 0)->id != id); /* never the same again */
	world_restart(w);
	CHECK(w->sim[0].c);
	world_destroy(w);
}

/* A killed process loses its sockets before its pidfd tells. */
TEST(who_closes_without_a_word_has_died)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);

	sim_put(a, 1, PART); /* has a slab: its record waits for the pidfd */
	CHECK(!sim_close(a));
	CHECK_INT(pool_counter(w->p, POOL_C_client_deaths), ==, 1);
	sim_die(a);
	CHECK_INT(pool_counter(w->p, POOL_C_client_deaths), ==, 1);
	CHECK(sim_close(b));
	CHECK_INT(pool_counter(w->p, POOL_C_client_deaths), ==, 2);
	b = sim_add(w, 2);
	shared_store64_release(&b->cs->header.let_go_epoch, UINT64_MAX);
	CHECK(sim_close(b));
	CHECK_INT(pool_counter(w->p, POOL_C_client_deaths), ==, 2);
	world_destroy(w);
}

static void retire_of_closed(bool let_go)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t slot;

	for (uint64_t n = 0; n < 64; n++)
		sim_put(a, n, PART);
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		store_region_given(a->c, id);
	if (let_go)
		shared_store64_release(&a->cs->header.let_go_epoch, UINT64_MAX);
	CHECK(!sim_close(a));
	CHECK_INT(sim_grant(b, 100, PART, 100 * WORLD_SEC), ==, SIM_LATER);
	slot = b->slot;
	world_tick(w, WORLD_SEC / 100);
	world_ready(w);
	CHECK_INT(sim_answer(b, slot), ==, let_go ? 0 : SIM_LATER);
	world_restart(w); /* the flag outlives the server */
	world_tick(w, WORLD_SEC / 100);
	world_ready(w);
	CHECK_INT(sim_answer(b, slot), ==, let_go ? 0 : SIM_LATER);
	if (!let_go) {
		sim_die(a);
		world_tick(w, WORLD_SEC / 100);
		world_ready(w);
		CHECK_OK(sim_answer(b, slot));
	}
	world_check(w);
	world_destroy(w);
}

TEST(a_closed_client_that_let_go)
{
	retire_of_closed(true);
}

TEST(a_closed_client_that_did_not_let_go)
{
	retire_of_closed(false);
}

/* A closed client ends when its last slab has gone. */
TEST(a_closed_client_ends_with_its_last_slab)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);

	sim_put(a, 1, PART);
	shared_store64_release(&a->cs->header.let_go_epoch, UINT64_MAX);
	CHECK(!sim_close(a));
	for (uint64_t n = 0; n < 48; n++)
		sim_put(b, 100 + n, PART);
	for (unsigned i = 0; i < 100 && !w->ended; i++) {
		sim_grant(b, 1000 + i, PART, WORLD_SEC);
		for (uint32_t j = 0; j < b->n_grants; j++)
			sim_abandon(b, &b->grant[j]);
		for (uint64_t n = 0; n < 48; n++)
			if (world_has(w, 100 + n, PART))
				sim_touch(b, 100 + n, PART);
		store_touches(b->c);
		world_tick(w, WORLD_SEC / 10);
		world_ready(w);
	}
	world_check(w);
	world_destroy(w);
}

/* No slab arrives for somebody who has closed meanwhile. */
TEST(nothing_is_made_for_the_closed)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);
	uint32_t ns = world_ns(w, 1, 1, 3 * 4096, 1);

	sim_put(a, 1, PART);
	CHECK_INT(sim_grant(a, 2, frame_part(ns, 0, 0), WORLD_SEC), ==,
		  SIM_LATER);
	CHECK(!sim_close(a));
	world_ready(w);
	CHECK_INT(pool_counter(w->p, POOL_C_slabs), ==, 1);
	world_check(w);
	world_destroy(w);
}

TEST(all_places_taken)
{
	struct world *w = world_create(&four);
	struct store_client_info info = { .pid = 1, .name = "x" };
	struct store_client *c[LAYOUT_CLIENTS_MAX], *more;
	struct segment seg;

	CHECK_OK(segment_create("x", client_segment_bytes(0, 0), 0, &seg));
	for (unsigned i = 0; i < LAYOUT_CLIENTS_MAX; i++) {
		CHECK_OK(store_client_add(w->s, w->p, &info, seg.base, &c[i]));
		store_client_publish(c[i]);
	}
	CHECK_INT(store_client_add(w->s, w->p, &info, seg.base, &more), ==,
		  -EUSERS);
	for (unsigned i = 0; i < LAYOUT_CLIENTS_MAX; i++)
		CHECK(store_client_close(c[i]));
	CHECK_OK(store_client_add(w->s, w->p, &info, seg.base, &more));
	store_client_died(more);
	segment_close(&seg);
	world_check(w);
	world_destroy(w);
}

/* Nobody can take this client over: its grants come back all the same. */
TEST(a_forgotten_client_leaves_no_grants)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);
	struct hold_tag tag = { HOLD_CLIENT_SEG, 0, a->id };

	sim_put(a, 1, PART);
	CHECK_OK(sim_grant_wait(a, 2, PART));
	fake_hold_drop(&w->k, &tag);
	world_restart(w);
	CHECK(!a->c);
	CHECK_INT(world_check(w).granted, ==, 0);
	CHECK(world_has(w, 1, PART));
	world_destroy(w);
}

TEST(all_is_there_after_a_restart)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);

	for (uint64_t n = 0; n < 40; n++)
		sim_put(n % 2 ? a : b, n, PART);
	CHECK_OK(sim_grant_wait(a, 100, PART));
	CHECK(sim_pin(b, 0, 3, PART));
	for (unsigned i = 0; i < 5; i++) {
		struct pool_checked seen;

		world_restart(w);
		seen = world_check(w);
		CHECK_INT(seen.sealed, ==, 40);
		CHECK_INT(seen.granted, ==, 1);
		for (uint64_t n = 0; n < 40; n++)
			CHECK(world_has(w, n, PART));
		sim_grant_wait(b, 200 + i, PART);
		CHECK_OK(sim_abandon(b, &b->grant[0]));
	}
	world_destroy(w);
}

/* Slabs that were going when the server died: those who have them are told
 * again, and hear of a number that has grown. */
TEST(retiring_goes_on_after_a_restart)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t slot;

	for (uint64_t n = 0; n < 64; n++)
		sim_put(a, n, PART);
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		store_region_given(a->c, id);
	CHECK_INT(sim_grant(b, 100, PART, 100 * WORLD_SEC), ==, SIM_LATER);
	slot = b->slot;
	/* died before the number was stored and anybody told */
	shared_store64(&w->p->m->header.region_epoch,
		       shared_load64(&w->p->m->header.region_epoch) - 1);
	a->announced = 0;
	world_restart(w);
	world_tick(w, WORLD_SEC / 100);
	CHECK_INT(a->announced, >, 0);
	sim_let_go(a);
	world_tick(w, WORLD_SEC / 100);
	world_ready(w);
	CHECK_OK(sim_answer(b, slot));
	world_check(w);
	world_destroy(w);
}

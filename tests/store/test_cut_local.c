/* SPDX-License-Identifier: Apache-2.0 */
/* The same for what the server does as a client of its own. */
#include "store/local.h"
#include "tests/store/cut.h"

#ifndef ONECOPY_RECORD

TEST(survives_a_cut_after_any_store)
{
	SKIP("stores are not recorded in this build");
}

#else

static struct local_part hand; /* a grant */

static struct store_client *client(struct world *w)
{
	struct store_client *c;

	CHECK_OK(local_client(w->s, w->p, &c));
	return c;
}

static int64_t grant_for(struct world *w, uint64_t n, uint64_t flags,
			 struct local_part *ret)
{
	uint64_t key[4];
	int64_t r = -ENOBUFS;

	key_of(n, key);
	for (unsigned i = 0; i < 3 && r == -ENOBUFS; i++) {
		CHECK_INT(local_grant(client(w), key, PART, PART_BYTES, flags,
				      0, 0, &r, ret),
			  ==, STORE_ANSWERED);
		if (r == -ENOBUFS)
			world_ready(w);
	}
	return r;
}

static int64_t grant(struct world *w, uint64_t n, struct local_part *ret)
{
	return grant_for(w, n, 0, ret);
}

static void seal(struct world *w, uint64_t n, const struct local_part *part)
{
	world_fill(n, PART, part->data);
	CHECK_OK(local_seal(client(w), part, PART_BYTES,
			    world_sum(n, PART, part->data)));
}

static void put(struct world *w, uint64_t n)
{
	struct local_part part;

	CHECK_OK(grant(w, n, &part));
	seal(w, n, &part);
}

static void prepare(struct world *w)
{
	sim_add(w, 0);
	sim_add(w, 1);
	for (uint64_t n = 1; n <= 8; n++)
		put(w, n);
	CHECK_OK(grant(w, 50, &hand));
}

/* A client was given the server's slabs and pins one of its parts. */
static void prepare_given(struct world *w)
{
	prepare(w);
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		store_region_given(w->sim[1].c, id);
	CHECK(sim_pin(&w->sim[1], 2, 3, PART));
}

static void prepare_full(struct world *w)
{
	prepare_given(w);
	for (uint64_t n = 100; n < 123; n++)
		put(w, n);
	CHECK_INT(pool_counter(w->p, POOL_C_free_frames), ==, 0);
	CHECK_INT(pool_counter(w->p, POOL_C_evicted), ==, 0);
}

static void act_grant(struct world *w)
{
	struct local_part part;

	grant(w, 60, &part);
}

TEST(grant_of_a_free_frame)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare, act_grant, 0 });
}

TEST(grant_that_evicts)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_full, act_grant, 0 });
}

static void prepare_nothing(struct world *w)
{
	sim_put(sim_add(w, 0), 1, PART);
	client(w);
}

TEST(grant_that_adds_a_slab)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_nothing, act_grant, 0 });
}

static void prepare_clients(struct world *w)
{
	struct sim *a = sim_add(w, 0);

	for (uint64_t n = 1; n <= 32; n++)
		sim_put(a, n, PART);
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		store_region_given(a->c, id);
	client(w);
}

static void act_take(struct world *w)
{
	struct local_part part;

	grant(w, 60, &part);
	sim_let_go(&w->sim[0]);
	world_tick(w, WORLD_SEC / 100);
	if (grant(w, 60, &part) == 0)
		seal(w, 60, &part);
}

TEST(grant_that_takes_a_clients_slab)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_clients, act_take, 0 });
}

static void act_seal(struct world *w)
{
	seal(w, 50, &hand);
}

static void after_seal(struct world *w)
{
	CHECK_INT(world_check(w).granted, ==, 0);
	world_has(w, 50, PART); /* whole and right, or not at all */
	for (uint64_t n = 1; n <= 8; n++)
		CHECK(world_has(w, n, PART));
}

TEST(seal)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare, act_seal, after_seal });
}

static void prepare_replace(struct world *w)
{
	prepare_given(w);
	put(w, 50);
	CHECK_OK(grant(w, 50, &hand));
	CHECK(sim_pin(&w->sim[1], 3, 50, PART));
}

static void prepare_replace_unpinned(struct world *w)
{
	prepare(w);
	put(w, 50);
	CHECK_OK(grant(w, 50, &hand));
}

TEST(seal_that_replaces)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_replace_unpinned,
					   act_seal, after_seal });
}

TEST(seal_that_replaces_what_is_pinned)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_replace, act_seal,
					   after_seal });
}

static void prepare_received(struct world *w)
{
	prepare(w);
	CHECK_OK(grant_for(w, 51, FRAME_GRANT_DEVICE, &hand));
}

static void act_restart(struct world *w)
{
	struct local_part part;

	/* any store: the server dies over it, and a frame is received into */
	CHECK_OK(grant(w, 60, &part));
	seal(w, 60, &part);
}

static void after_received(struct world *w)
{
	CHECK_INT(world_check(w).quarantined, ==, 1);
	for (uint64_t n = 1; n <= 8; n++)
		CHECK(world_has(w, n, PART));
}

/* The taking over is cut as well. */
TEST(takeover_of_a_frame_that_is_received_into)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_received,
					   act_restart, after_received });
}

static void act_abandon(struct world *w)
{
	local_abandon(client(w), &hand);
}

static void after_abandon(struct world *w)
{
	CHECK_INT(world_check(w).granted, ==, 0);
	CHECK(!world_has(w, 50, PART));
}

TEST(abandon)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare, act_abandon,
					   after_abandon });
}

static void act_remove(struct world *w)
{
	uint64_t key[4];

	key_of(2, key);
	CHECK(local_remove(client(w), key, PART));
	key_of(3, key);
	CHECK(local_remove(client(w), key, PART)); /* pinned, where given */
}

TEST(remove)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare, act_remove, 0 });
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_given, act_remove, 0 });
}

static void act_bad(struct world *w)
{
	struct local_part part;
	uint64_t key[4];

	key_of(2, key);
	CHECK(local_find(client(w), key, PART, &part));
	local_bad(client(w), &part);
}

TEST(wrong_bytes)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare, act_bad, 0 });
}
#endif

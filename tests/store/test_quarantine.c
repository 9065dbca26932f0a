/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that a device may still write when their owner is gone: granted to
 * nobody, memory never handed on, and back once its slab is let go.
 */
#include "tests/store/own.h"

#define SLAB 65536ull
static const struct world_config four = { .limit = 4 * SLAB,
					  .slab_bytes = SLAB };

static int64_t grant_device(struct sim *c, uint64_t n)
{
	struct ring_call call = call_of(RING_GRANT, n, PART);

	call.extent = frame_extent(PART_BYTES, 0);
	call.arg = FRAME_GRANT_DEVICE;
	return sim_call(c, call);
}

/* The slab of the only quarantined frame; 0: there is none. */
static uint32_t quarantined_slab(const struct world *w)
{
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		if (w->p->slab[id] && w->p->slab[id]->n_quarantined)
			return id;
	return 0;
}

static uint64_t memory_of(const struct world *w, uint32_t id)
{
	uint64_t identity;

	CHECK_OK(segment_identity(w->p->slab[id]->payload.fd, &identity));
	return identity;
}

static bool in_service(const struct world *w, uint64_t memory)
{
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		if (w->p->slab[id] && memory_of(w, id) == memory)
			return true;
	return false;
}

static void put_many(struct sim *c, uint64_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		sim_put(c, first + i, PART);
}

/* A client with 14 blocks, one plain grant, and one for a device. */
static struct sim *writer(struct world *w)
{
	struct sim *a = sim_add(w, 0);

	put_many(a, 1, 14);
	CHECK_OK(sim_grant(a, 50, PART, 0));
	CHECK_OK(grant_device(a, 51));
	return a;
}

static void expect_one(struct world *w)
{
	struct pool_checked seen = world_check(w);

	CHECK_INT(seen.quarantined, ==, 1);
	CHECK_INT(seen.granted, ==, 0);
	CHECK_INT(pool_counter(w->p, POOL_C_quarantined), ==, 1);
	CHECK_INT(pool_counter(w->p, POOL_C_quarantines), ==, 1);
	for (uint64_t n = 1; n <= 14; n++)
		CHECK(world_has(w, n, PART));
}

TEST(a_dead_clients_device_frame_is_quarantined)
{
	struct world *w = world_create(&four);

	sim_die(writer(w));
	expect_one(w);
	world_tick(w, WORLD_SEC);
	expect_one(w); /* in a slab that is read, and so is not retired */
	world_destroy(w);
}

TEST(so_is_a_closed_clients)
{
	struct world *w = world_create(&four);
	struct sim *a = writer(w);

	a->closed = true;
	sim_close(a);
	expect_one(w);
	world_destroy(w);
}

TEST(so_is_one_whose_server_died_first)
{
	struct world *w = world_create(&four);

	writer(w)->alive = false;
	world_restart(w);
	expect_one(w);
	world_restart(w);
	expect_one(w);
	world_destroy(w);
}

/* A slab may have to be retired before there is room. */
static void put_patiently(struct sim *c, uint64_t n)
{
	struct world *w = c->w;
	int64_t r = sim_grant(c, n, PART, WORLD_SEC);
	uint32_t slot = c->slot;

	for (unsigned i = 0; i < 8 && r == SIM_LATER; i++) {
		world_tick(w, WORLD_SEC / 100);
		world_ready(w);
		r = sim_answer(c, slot);
	}
	CHECK_OK(r);
	CHECK_INT(frame_loc_slab(w->last.loc), !=, quarantined_slab(w));
	CHECK_OK(sim_seal(c, n, PART, &w->last));
}

TEST(the_memory_goes_to_nobody)
{
	struct world *w = world_create(&four);
	struct sim *a = writer(w), *b;
	uint64_t memory;

	put_many(a, 20, 48); /* three more slabs: the node is full */
	sim_die(a);
	CHECK_INT(pool_counter(w->p, POOL_C_slab_bytes), ==, four.limit);
	memory = memory_of(w, quarantined_slab(w));
	b = sim_add(w, 1);
	for (uint64_t n = 100; n < 300; n++) {
		put_patiently(b, n);
		world_check(w);
	}
	/* all four slabs serve again, and none of them is the same memory */
	CHECK_INT(pool_counter(w->p, POOL_C_slab_bytes), ==, four.limit);
	CHECK_INT(world_check(w).quarantined, ==, 0);
	CHECK_INT(pool_counter(w->p, POOL_C_slabs_retired), >=, 1);
	CHECK(!in_service(w, memory));
	world_destroy(w);
}

TEST(a_slab_with_nothing_else_goes_at_once)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);
	uint64_t memory;

	CHECK_OK(sim_grant_wait(a, 50, PART));
	CHECK_OK(sim_abandon(a, &w->last));
	CHECK_OK(grant_device(a, 51));
	memory = memory_of(w, frame_loc_slab(w->last.loc));
	sim_die(a);
	CHECK(in_service(w, memory));
	world_tick(w, WORLD_SEC / 100);
	CHECK_INT(world_check(w).quarantined, ==, 0);
	CHECK_INT(pool_counter(w->p, POOL_C_slab_bytes), ==, 0);
	CHECK_INT(w->s->budget.used, ==, 0);
	CHECK(!in_service(w, memory));
	world_destroy(w);
}

TEST(who_seals_or_gives_back_says_that_the_device_is_done)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);

	put_many(a, 1, 1);
	CHECK_OK(grant_device(a, 51));
	CHECK_OK(sim_abandon(a, &w->last));
	CHECK_OK(grant_device(a, 52));
	CHECK_OK(sim_seal(a, 52, PART, &w->last));
	/* the next filling of the first frame is no device's */
	CHECK_OK(sim_grant(a, 53, PART, 0));
	sim_die(a);
	CHECK_INT(world_check(w).quarantined, ==, 0);
	CHECK_INT(world_check(w).sealed, ==, 2);
	world_destroy(w);
}

TEST(unknown_flags_are_refused)
{
	struct world *w = world_create(&four);
	struct sim *a = sim_add(w, 0);
	struct ring_call call = call_of(RING_GRANT, 1, PART);

	put_many(a, 1, 1);
	for (unsigned bit = 1; bit < 64; bit++) {
		call = call_of(RING_GRANT, 2, PART);
		call.arg = 1ull << bit;
		CHECK_INT(sim_call(a, call), ==, -EINVAL);
	}
	CHECK_INT(world_check(w).granted, ==, 0);
	world_destroy(w);
}

/* ---- the server's own ------------------------------------------------------ */

TEST(a_dead_servers_frame_is_quarantined)
{
	struct world *w = world_create(&four);
	struct own o = { 0 };
	struct local_part part;
	uint64_t memory;
	uint32_t slab;

	own_open(&o, w);
	own_put(&o, 1, 0, 1, 4096);
	o.flags = FRAME_GRANT_DEVICE;
	CHECK_OK(own_grant(&o, 2, 0, 4096, &part));
	slab = frame_loc_slab(part.loc);
	memory = memory_of(w, slab);
	for (unsigned i = 0; i < 2; i++) {
		world_restart(w);
		own_open(&o, w);
		CHECK_INT(world_check(w).quarantined, ==, 1);
		CHECK_INT(quarantined_slab(w), ==, slab);
		CHECK_INT(w->p->slab[slab]->owner, ==, 0);
		/* its blocks are read, replaced and removed as before */
		CHECK(own_has(&o, 1, 0, i + 1, 4096));
		own_put(&o, 1, 0, i + 2, 4096);
		CHECK(own_has(&o, 1, 0, i + 2, 4096));
		CHECK_OK(own_grant(&o, 3, 0, 4096, &part));
		CHECK_INT(frame_loc_slab(part.loc), !=, slab);
		local_abandon(o.c, &part);
	}
	for (uint64_t n = 100; n < 300; n++)
		own_put(&o, n, 0, 1, 4096);
	world_tick(w, WORLD_SEC / 100);
	CHECK_INT(world_check(w).quarantined, ==, 0);
	CHECK(!in_service(w, memory));
	world_destroy(w);
}

/* Servers die one after the other in the middle of a value: the node goes on,
 * and what is there is served. */
TEST(many_deaths_do_not_use_up_the_node)
{
	struct world *w = world_create(&four);
	struct own o = { 0 };
	struct local_part part;
	uint64_t seen = 0;

	for (uint64_t i = 1; i <= 40; i++) {
		own_open(&o, w);
		o.flags = 0;
		own_put(&o, i, 0, 1, 4096);
		o.flags = FRAME_GRANT_DEVICE;
		CHECK_OK(own_grant(&o, 1000, 0, 4096, &part));
		world_restart(w);
		seen = MAX(seen, world_check(w).quarantined);
		own_open(&o, w);
		CHECK(own_has(&o, i, 0, 1, 4096));
		world_tick(w, WORLD_SEC / 100);
	}
	CHECK_INT(seen, >=, 1);
	CHECK_INT(pool_counter(w->p, POOL_C_quarantines), ==, 40);
	CHECK_INT(pool_counter(w->p, POOL_C_slab_bytes), <=, four.limit);
	world_destroy(w);
}

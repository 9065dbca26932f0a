/* SPDX-License-Identifier: Apache-2.0 */
/* The server dies after any of its stores, and another takes over. */
#include "tests/store/cut.h"

#ifndef ONECOPY_RECORD

TEST(survives_a_cut_after_any_store)
{
	SKIP("stores are not recorded in this build");
}

#else

/* ---- operations ----------------------------------------------------------- */

static void prepare_some(struct world *w)
{
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);

	for (uint64_t n = 1; n <= 8; n++)
		sim_put(a, n, PART);
	CHECK(sim_pin(b, 2, 3, PART));
	CHECK_OK(sim_grant_wait(a, 50, PART));
}

static void prepare_full(struct world *w)
{
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t id;

	for (uint64_t n = 1; n <= 32; n++)
		sim_put(a, n, PART);
	CHECK(sim_pin(b, 2, 1, PART));
	for (id = 1; id < w->p->slab_end; id++)
		store_region_given(a->c, id);
}

static void act_grant(struct world *w)
{
	sim_grant(&w->sim[0], 60, PART, 10 * WORLD_SEC);
}

TEST(grant_of_a_free_frame)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_some, act_grant, 0 });
}

TEST(grant_that_evicts)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_full, act_grant, 0 });
}

static void act_grant_slab(struct world *w)
{
	sim_grant(&w->sim[1], 60, PART, 10 * WORLD_SEC);
	world_ready(w);
}

TEST(grant_that_adds_a_slab)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_some,
					   act_grant_slab, 0 });
}

static void prepare_shapes(struct world *w)
{
	prepare_full(w);
	CHECK_INT(world_ns(w, 1, 1, 3 * 4096, 9), ==, 2);
}

static void act_reshape(struct world *w)
{
	sim_grant(&w->sim[0], 60, frame_part(2, 0, 0), 10 * WORLD_SEC);
}

TEST(grant_that_reshapes)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_shapes, act_reshape, 0 });
}

static void act_retire(struct world *w)
{
	sim_grant(&w->sim[1], 60, PART, 10 * WORLD_SEC);
	sim_let_go(&w->sim[0]);
	world_tick(w, WORLD_SEC / 100);
	world_ready(w);
}

/* The memory moves in spite of it, well before the deadline. */
static void after_retire(struct world *w)
{
	for (unsigned i = 0; i < 8; i++) {
		sim_let_go(&w->sim[0]);
		world_tick(w, WORLD_SEC / 10);
		world_ready(w);
	}
	CHECK_OK(sim_answer(&w->sim[1], w->sim[1].slot));
}

TEST(grant_that_retires)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_full, act_retire,
					   after_retire });
}

/* Three blocks are marked in one batch. Somebody reads one of them. */
static void act_evict(struct world *w)
{
	uint64_t key[4];
	uint32_t frame;

	evict_begin(w->s);
	for (uint64_t n = 1; n <= 3; n++) {
		struct pool_slab *s;

		key_of(n, key);
		s = pool_find(w->p, key, PART, &frame);
		CHECK(s && evict_add(w->s, w->p, s, frame));
	}
	evict_finish(w->s, w->p, false);
}

static void after_evict(struct world *w)
{
	CHECK(world_has(w, 3, PART));
}

TEST(eviction)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_some, act_evict,
					   after_evict });
}

/* Removed while it was pinned. */
static void prepare_doomed(struct world *w)
{
	prepare_some(w);
	CHECK_OK(sim_call(&w->sim[0], call_of(RING_REMOVE, 3, PART)));
	CHECK_INT(pool_counter(w->p, POOL_C_leaving), ==, 1);
	sim_unpin(&w->sim[1], 2);
}

static void act_drain(struct world *w)
{
	evict_drain(w->s, w->p);
}

static void after_drain(struct world *w)
{
	evict_drain(w->s, w->p);
	CHECK(!world_has(w, 3, PART));
	CHECK_INT(pool_counter(w->p, POOL_C_leaving), ==, 0);
}

TEST(removed_block_that_drains)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_doomed, act_drain,
					   after_drain });
}

/* Until the other client has let go of a slab it waits. */
static void act_cancel(struct world *w)
{
	struct sim *b = &w->sim[1];
	struct ring_call call = { .op = RING_CANCEL };

	CHECK_INT(sim_grant(b, 60, PART, 10 * WORLD_SEC), ==, SIM_LATER);
	call.arg = b->slot;
	call.arg2 = shared_load64(&b->cs->req[b->slot].seq);
	sim_call(b, call);
}

TEST(grant_that_is_cancelled)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_full, act_cancel, 0 });
}

static void act_seal(struct world *w)
{
	struct sim *a = &w->sim[0];

	sim_seal(a, 50, PART, &a->grant[0]);
}

static void after_seal(struct world *w)
{
	CHECK(!w->sim[0].n_grants);
	CHECK(world_has(w, 50, PART));
}

/* The request is in the ring before the server dies: its answer comes. */
TEST(seal)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_some, act_seal,
					   after_seal });
}

static void prepare_loser(struct world *w)
{
	prepare_some(w);
	sim_put(&w->sim[1], 50, PART);
}

TEST(seal_of_a_loser)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_loser, act_seal,
					   after_seal });
}

static void act_abandon(struct world *w)
{
	sim_abandon(&w->sim[0], &w->sim[0].grant[0]);
}

TEST(abandon)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_some, act_abandon, 0 });
}

static void act_remove(struct world *w)
{
	sim_call(&w->sim[0], call_of(RING_REMOVE, 2, PART));
	sim_call(&w->sim[0], call_of(RING_REMOVE, 3, PART)); /* pinned */
}

static void after_remove(struct world *w)
{
	/* the second call may not have been made */
	if (shared_load64(&w->sim[0].cs->req[w->sim[0].slot].key[1]) == 3)
		CHECK(!world_has(w, 3, PART));
	CHECK(!world_has(w, 2, PART));
}

TEST(remove)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_some, act_remove,
					   after_remove });
}

static void act_pin(struct world *w)
{
	sim_call(&w->sim[1], call_of(RING_PIN, 4, PART));
}

static void after_pin(struct world *w)
{
	struct sim *b = &w->sim[1];
	unsigned used = 0;

	CHECK_OK(sim_answer(b, b->slot));
	for (unsigned i = 0; i < SIM_OVER; i++)
		used += shared_load64(&b->cs->slots[SIM_PINS + i]) != 0;
	CHECK_INT(used, ==, 1);
}

TEST(pin_through_the_ring)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_some, act_pin,
					   after_pin });
}

static void act_die(struct world *w)
{
	w->sim[0].alive = false;
	sim_die(&w->sim[0]);
}

static void after_die(struct world *w)
{
	for (uint64_t n = 1; n <= 8; n++)
		CHECK(world_has(w, n, PART));
	for (uint32_t id = 1; id < w->p->slab_end; id++)
		CHECK(!w->p->slab[id] || w->p->slab[id]->owner != w->sim[0].id);
}

TEST(client_that_died)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_some, act_die,
					   after_die });
}

static void prepare_device(struct world *w)
{
	struct ring_call call = call_of(RING_GRANT, 51, PART);

	prepare_some(w);
	call.arg = FRAME_GRANT_DEVICE;
	CHECK_OK(sim_call(&w->sim[0], call));
}

static void after_die_under_device(struct world *w)
{
	after_die(w);
	CHECK_INT(world_check(w).quarantined, ==, 1);
	CHECK_INT(pool_counter(w->p, POOL_C_granted), ==, 0);
}

TEST(client_that_died_while_a_device_wrote)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_device, act_die,
					   after_die_under_device });
}

static void act_close(struct world *w)
{
	w->sim[0].closed = true;
	w->sim[1].closed = true;
	sim_close(&w->sim[0]);
	sim_close(&w->sim[1]);
}

static void prepare_close(struct world *w)
{
	prepare_some(w);
	sim_unpin(&w->sim[1], 2);
}

TEST(clients_that_close)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_close, act_close, 0 });
}

static void act_add(struct world *w)
{
	sim_add(w, 2);
}

/* A client whose record was not published is nobody. */
static void after_add(struct world *w)
{
	if (!w->sim[2].c)
		w->sim[2].alive = false;
}

TEST(client_that_comes)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_some, act_add,
					   after_add });
}

static void act_ns(struct world *w)
{
	world_ns(w, 2, 2, 8192, 3);
}

static void after_ns(struct world *w)
{
	CHECK_INT(world_ns(w, 2, 2, 8192, 3), ==, 2);
}

TEST(namespace)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_some, act_ns, after_ns });
}

static void act_index(struct world *w)
{
	CHECK_OK(pool_index_reserve(w->p, 6000));
}

TEST(index_growth)
{
	cut_everywhere(
		&(struct cut_case){ &cut_two, prepare_some, act_index, 0 });
}

static void act_create(struct world *w)
{
	CHECK_OK(store_pool_add(w->s, "test", 0, &w->p));
}

static int create_cut(uint64_t stores)
{
	struct world *w = calloc(1, sizeof(*w));
	struct store_options *o = &w->options;
	bool was_cut;

	o->limit_bytes = 2 * CUT_SLAB;
	o->slab_percent = 100;
	o->grants_per_client = 100;
	world_options(w);
	w->now = WORLD_SEC;
	CHECK_OK(store_create(o, &w->s));
	was_cut = cut_after(stores, act_create, w);
	cut_forget(w);
	/* all or nothing */
	if (world_attach(w) == 0) {
		world_adopt(w);
	} else {
		CHECK_OK(store_pool_add(w->s, "test", 0, &w->p));
		hold_set_fini(&w->given, &w->hold);
	}
	world_check(w);
	world_ns(w, 1, 1, 4096, 0);
	sim_put(sim_add(w, 0), 1, PART);
	world_restart(w);
	CHECK(world_has(w, 1, PART));
	return was_cut ? 0 : 3;
}

TEST(pool_that_is_made)
{
	int status = 0;
	uint64_t n;

	for (n = 0; !status; n++) {
		pid_t pid = fork();

		if (!pid)
			_exit(create_cut(n));
		CHECK_INT(waitpid(pid, &status, 0), ==, pid);
		CHECK(WIFEXITED(status));
	}
	CHECK_INT(WEXITSTATUS(status), ==, 3);
	NOTE("%llu cuts", (unsigned long long)n - 1);
}

/* A slot that the server wrote for its client. */
static void prepare_unpin(struct world *w)
{
	prepare_some(w);
	CHECK_OK(sim_call(&w->sim[1], call_of(RING_PIN, 4, PART)));
}

static void act_unpin(struct world *w)
{
	struct ring_call call = { .op = RING_UNPIN, .arg = w->last.arg };

	sim_call(&w->sim[1], call);
}

static void after_unpin(struct world *w)
{
	struct sim *b = &w->sim[1];

	CHECK_OK(sim_answer(b, b->slot));
	for (unsigned i = 0; i < SIM_OVER; i++)
		CHECK(!shared_load64(&b->cs->slots[SIM_PINS + i]));
}

TEST(unpin_through_the_ring)
{
	cut_everywhere(&(struct cut_case){ &cut_two, prepare_unpin, act_unpin,
					   after_unpin });
}

/* Everything at once, cut at the last moment, and then the recovery. */
TEST(attach)
{
	struct cut_case t = { &cut_two, prepare_full, act_retire, 0 };

	cut_recovery(&t, 50);
}

TEST(takeover)
{
	struct cut_case t = { &cut_two, prepare_full, act_retire, 0 };

	uint64_t cuts = 0, again = 0;

	for (uint64_t n = 20; n < 60; n += 7, cuts++)
		for (uint64_t m = 0; cut_forked(&t, n, m); m++)
			again++;
	NOTE("%llu cuts, 0 other orders, %llu cut recoveries",
	     (unsigned long long)cuts, (unsigned long long)again);
}

/* The index's header is damaged: it is made anew. */
static void act_damage(struct world *w)
{
	shared_store64(&w->p->table.header->magic, 1);
	shared_store64(&w->p->table.header->buckets, 1);
}

TEST(repair)
{
	struct cut_case t = { &cut_two, prepare_some, act_damage, 0 };

	cut_recovery(&t, 1);
}
#endif

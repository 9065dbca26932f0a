/* SPDX-License-Identifier: Apache-2.0 */
/* The server as a client of its own pools: each operation, and each failure. */
#include "tests/store/own.h"
#include "base/fault.h"

#define SLAB 65536ull
static const struct world_config four = { .limit = 4 * SLAB,
					  .slab_bytes = SLAB };
static const struct world_config one = { .limit = SLAB, .slab_bytes = SLAB };

static void begin(struct own *o, const struct world_config *config)
{
	memset(o, 0, sizeof(*o));
	own_open(o, world_create(config));
}

static void end(struct own *o)
{
	world_check(o->w);
	world_destroy(o->w);
}

static uint64_t free_frames(const struct own *o)
{
	return pool_counter(o->w->p, POOL_C_free_frames);
}

TEST(there_is_one_for_a_pool)
{
	struct store_client *again;
	struct own o;

	begin(&o, &four);
	CHECK_OK(local_client(o.w->s, o.w->p, &again));
	CHECK(again == o.c);
	end(&o);
}

TEST(what_is_sealed_is_found)
{
	struct local_part part;
	struct own o;

	begin(&o, &four);
	CHECK(!own_find(&o, 1, 0, &part));
	CHECK_OK(own_grant(&o, 1, 0, 5000, &part));
	CHECK(!own_has(&o, 1, 0, 1, 5000));
	CHECK_INT(world_check(o.w).granted, ==, 1);
	CHECK_OK(own_seal(&o, 1, 0, 1, 5000, &part));
	CHECK_INT(world_check(o.w).granted, ==, 0);
	CHECK(own_has(&o, 1, 0, 1, 5000));
	CHECK(!own_find(&o, 1, 1, &part)); /* another part */
	CHECK(!own_find(&o, 2, 0, &part));
	end(&o);
}

TEST(a_seal_may_be_shorter_than_its_grant)
{
	struct local_part part;
	struct own o;

	begin(&o, &four);
	CHECK_OK(own_grant(&o, 1, 0, 9000, &part));
	CHECK_OK(own_seal(&o, 1, 0, 1, 17, &part));
	CHECK(own_has(&o, 1, 0, 1, 17));
	end(&o);
}

TEST(what_is_abandoned_was_never_there)
{
	struct local_part part;
	uint64_t before;
	struct own o;

	begin(&o, &four);
	own_put(&o, 9, 0, 1, 4096);
	before = free_frames(&o);
	CHECK_OK(own_grant(&o, 1, 0, 4096, &part));
	CHECK_INT(free_frames(&o), ==, before - 1);
	local_abandon(o.c, &part);
	CHECK_INT(free_frames(&o), ==, before);
	CHECK(!own_find(&o, 1, 0, &part));
	end(&o);
}

/* The old frame is there for the next at once. */
TEST(a_second_seal_replaces)
{
	uint64_t before;
	struct own o;

	begin(&o, &four);
	own_put(&o, 1, 0, 1, 4096);
	before = free_frames(&o);
	for (uint64_t version = 2; version < 500; version++) {
		own_put(&o, 1, 0, version, 4096);
		CHECK(own_has(&o, 1, 0, version, 4096));
		CHECK_INT(free_frames(&o), ==, before);
	}
	CHECK_INT(pool_counter(o.w->p, POOL_C_sealed), ==, 1);
	CHECK_INT(pool_counter(o.w->p, POOL_C_evicted), ==, 0);
	end(&o);
}

/* Another size, another shape: still one of it. */
TEST(a_replacement_may_have_another_size)
{
	static const uint64_t sizes[] = { 1, 600, 40000, 2048, 4096, 0, 20000 };
	struct own o;

	begin(&o, &four);
	for (uint64_t i = 0; i < ARRAY_LEN(sizes); i++) {
		own_put(&o, 1, 0, i, sizes[i]);
		CHECK(own_has(&o, 1, 0, i, sizes[i]));
		CHECK_INT(world_check(o.w).sealed, ==, 1);
	}
	end(&o);
}

TEST(a_pinned_old_one_stays_until_its_pin_goes)
{
	struct local_part old;
	int64_t slot;
	struct own o;

	begin(&o, &four);
	own_put(&o, 1, 0, 1, 4096);
	CHECK(own_find(&o, 1, 0, &old));
	slot = local_pin(o.c, &old);
	CHECK_INT(slot, >=, 0);
	own_put(&o, 1, 0, 2, 4096);
	CHECK(own_has(&o, 1, 0, 2, 4096));
	for (unsigned i = 0; i < 40; i++) {
		own_put(&o, 100 + i, 0, 1, 4096);
		world_tick(o.w, WORLD_SEC);
	}
	own_compare(&o, 1, 0, 1, 4096, &old);
	CHECK_INT(world_check(o.w).doomed, ==, 1);
	local_unpin(o.c, slot);
	world_tick(o.w, WORLD_SEC / 100);
	CHECK_INT(world_check(o.w).doomed, ==, 0);
	end(&o);
}

/* A client that was given the slab may read what it pins. */
TEST(a_clients_pin_counts_as_well)
{
	struct local_part old;
	struct sim *a;
	struct own o;

	begin(&o, &four);
	a = sim_add(o.w, 0);
	own_put(&o, 1, 0, 1, 4096);
	store_region_given(a->c, 1);
	CHECK(own_find(&o, 1, 0, &old));
	CHECK(sim_pin(a, 0, 1, own_part(&o, 0)));
	own_put(&o, 1, 0, 2, 4096);
	for (unsigned i = 0; i < 200; i++)
		own_put(&o, 100 + i, 0, 1, 4096);
	own_compare(&o, 1, 0, 1, 4096, &old);
	sim_unpin(a, 0);
	world_tick(o.w, WORLD_SEC / 100);
	CHECK_INT(world_check(o.w).doomed, ==, 0);
	end(&o);
}

TEST(a_removed_part_is_gone)
{
	uint64_t before;
	struct own o;

	begin(&o, &four);
	CHECK(!own_remove(&o, 1, 0));
	own_put(&o, 1, 0, 1, 4096);
	own_put(&o, 1, 1, 1, 4096);
	before = free_frames(&o);
	CHECK(own_remove(&o, 1, 0));
	CHECK(!own_has(&o, 1, 0, 1, 4096));
	CHECK(own_has(&o, 1, 1, 1, 4096)); /* not the block's other parts */
	CHECK(!own_remove(&o, 1, 0));
	CHECK_INT(free_frames(&o), ==, before + 1);
	end(&o);
}

/* Many times as much as there is room for. */
TEST(a_pin_outlives_many_evictions)
{
	struct local_part part[3];
	int64_t slot[3];
	struct own o;

	begin(&o, &four);
	for (uint64_t n = 0; n < 3; n++) {
		own_put(&o, n, 0, 1, 4096);
		CHECK(own_find(&o, n, 0, &part[n]));
		slot[n] = local_pin(o.c, &part[n]);
		CHECK_INT(slot[n], >=, 0);
	}
	for (uint64_t n = 100; n < 2000; n++) {
		own_put(&o, n, 0, 1, n % 3 ? 4096 : 12000);
		if (n % 50 == 0)
			world_check(o.w);
	}
	CHECK_INT(pool_counter(o.w->p, POOL_C_evicted), >, 1000);
	for (uint64_t n = 0; n < 3; n++) {
		own_compare(&o, n, 0, 1, 4096, &part[n]);
		local_unpin(o.c, slot[n]);
	}
	for (uint64_t n = 3000; n < 3100; n++)
		own_put(&o, n, 0, 1, 4096);
	CHECK(!own_has(&o, 0, 0, 1, 4096));
	end(&o);
}

TEST(pins_have_a_limit)
{
	struct local_part part;
	int64_t slot;
	struct own o;

	begin(&o, &four);
	own_put(&o, 1, 0, 1, 100);
	CHECK(own_find(&o, 1, 0, &part));
	for (uint64_t i = 0; i < LOCAL_PINS; i++)
		CHECK_INT(local_pin(o.c, &part), ==, i);
	CHECK_INT(local_pin(o.c, &part), ==, -EDQUOT);
	for (uint64_t i = 0; i < LOCAL_PINS; i++)
		local_unpin(o.c, (int64_t)i);
	slot = local_pin(o.c, &part);
	CHECK_INT(slot, ==, 0);
	local_unpin(o.c, slot);
	CHECK(own_remove(&o, 1, 0));
	CHECK_INT(world_check(o.w).doomed, ==, 0);
	end(&o);
}

TEST(small_parts_have_small_frames)
{
	static const struct {
		uint64_t bytes, frame;
	} cases[] = { { 0, 512 },     { 1, 512 },     { 512, 512 },
		      { 513, 1024 },  { 1024, 1024 }, { 1025, 2048 },
		      { 2048, 2048 }, { 2049, 4096 }, { 4097, 8192 } };
	static const struct world_config config = { .limit = 64 * SLAB,
						    .slab_bytes = SLAB };
	struct own o;

	begin(&o, &config);
	for (uint64_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct local_part part;
		uint32_t frame;

		CHECK_OK(own_grant(&o, i, 0, cases[i].bytes, &part));
		CHECK_INT(part.bytes, ==, cases[i].frame);
		CHECK_INT(pool_locate(o.w->p, part.loc, &frame)->payload.bytes %
				  4096,
			  ==, 0);
		CHECK_OK(own_seal(&o, i, 0, 1, cases[i].bytes, &part));
		CHECK(own_has(&o, i, 0, 1, cases[i].bytes));
	}
	end(&o);
}

TEST(too_large_a_part_is_refused)
{
	struct local_part part;
	uint64_t max;
	struct own o;

	begin(&o, &four);
	max = shared_load64(&o.w->p->m->header.max_frame);
	CHECK_INT(own_grant(&o, 1, 0, max + 1, &part), ==, -E2BIG);
	CHECK_INT(own_grant(&o, 1, 0, UINT32_MAX, &part), ==, -E2BIG);
	CHECK_INT(own_grant(&o, 1, 0, 1ull << 32, &part), ==, -E2BIG);
	CHECK_INT(own_grant(&o, 1, 0, UINT64_MAX, &part), ==, -E2BIG);
	CHECK_INT(world_check(o.w).granted, ==, 0);
	end(&o);
}

/* ---- waiting ------------------------------------------------------------- */

static struct {
	uint64_t seq[8];
	int64_t result[8];
	struct local_part part[8];
	unsigned n;
} told;

static void on_told(struct world *w, const struct ring_call *call,
		    const struct ring_answer *answer)
{
	unsigned i = told.n++;

	CHECK_INT(i, <, ARRAY_LEN(told.seq));
	told.seq[i] = call->seq;
	told.result[i] = answer->result;
	if (answer->result == 0)
		CHECK_OK(local_granted(w->s->local[w->p->number], answer,
				       &told.part[i]));
}

static enum store_result ask(struct own *o, uint64_t n, uint64_t seq)
{
	struct local_part part;
	uint64_t key[4];
	int64_t r;

	o->w->local_answer = on_told;
	key_of(n, key);
	return local_grant(o->c, key, own_part(o, 0), 4096, 0, seq, WORLD_SEC,
			   &r, &part);
}

/* The whole node is granted away. */
static void use_up(struct own *o, struct local_part part[16])
{
	for (uint64_t n = 0; n < 16; n++)
		CHECK_OK(own_grant(o, n, 0, 4096, &part[n]));
}

TEST(a_grant_that_waits_is_answered_when_there_is_room)
{
	struct local_part part[16];
	struct own o;

	begin(&o, &one);
	use_up(&o, part);
	CHECK_INT(ask(&o, 50, 7), ==, STORE_LATER);
	CHECK_INT(ask(&o, 51, 8), ==, STORE_LATER);
	CHECK_INT(store_waiting(o.w->s), ==, 2);
	world_tick(o.w, WORLD_SEC / 100);
	CHECK_INT(told.n, ==, 0);
	local_abandon(o.c, &part[3]);
	store_settle(o.w->s, o.w->now);
	CHECK_INT(told.n, ==, 1);
	CHECK_INT(told.seq[0], ==, 7);
	CHECK_OK(told.result[0]);
	CHECK_INT(store_waiting(o.w->s), ==, 1);
	CHECK_OK(own_seal(&o, 50, 0, 1, 4096, &told.part[0]));
	CHECK(own_has(&o, 50, 0, 1, 4096));
	/* the other one takes what was just sealed */
	world_tick(o.w, WORLD_SEC / 100);
	CHECK_INT(told.n, ==, 2);
	CHECK_OK(told.result[1]);
	local_abandon(o.c, &told.part[1]);
	end(&o);
}

TEST(a_grant_that_waits_ends_at_its_time)
{
	struct local_part part[16];
	struct own o;

	begin(&o, &one);
	use_up(&o, part);
	CHECK_INT(ask(&o, 50, 7), ==, STORE_LATER);
	world_tick(o.w, WORLD_SEC / 2);
	CHECK_INT(told.n, ==, 0);
	world_tick(o.w, WORLD_SEC / 2);
	CHECK_INT(told.n, ==, 1);
	CHECK_INT(told.result[0], ==, -ENOBUFS);
	CHECK_INT(store_waiting(o.w->s), ==, 0);
	end(&o);
}

TEST(a_grant_that_waits_can_be_cancelled)
{
	struct local_part part[16];
	struct own o;

	begin(&o, &one);
	use_up(&o, part);
	CHECK_INT(ask(&o, 50, 7), ==, STORE_LATER);
	CHECK_INT(ask(&o, 51, 8), ==, STORE_LATER);
	CHECK(!local_cancel(o.c, 9));
	CHECK(local_cancel(o.c, 7));
	CHECK(!local_cancel(o.c, 7));
	CHECK_INT(told.n, ==, 1);
	CHECK_INT(told.result[0], ==, -ECANCELED);
	local_abandon(o.c, &part[0]);
	world_tick(o.w, WORLD_SEC / 100);
	CHECK_INT(told.n, ==, 2);
	CHECK_INT(told.seq[1], ==, 8);
	CHECK_OK(told.result[1]);
	CHECK_INT(world_check(o.w).granted, ==, 16);
	end(&o);
}

/* ---- other clients -------------------------------------------------------- */

/* A client may seal what it likes under a door's name: nobody believes it. */
TEST(what_a_client_wrote_is_not_found)
{
	uint64_t key[4], found[4], part;
	struct local_part got;
	struct sim *a;
	struct own o;

	begin(&o, &four);
	a = sim_add(o.w, 0);
	sim_put(a, 1, own_part(&o, 0)); /* 4096 bytes */
	key_of(1, key);
	CHECK(!local_find(o.c, key, own_part(&o, 0), &got));
	for (uint32_t id = 0; id < o.w->p->slab_end + 2; id++)
		for (uint32_t f = 0; f < 40; f++)
			CHECK(!local_at(o.c, id, f, o.ns, found, &part, &got));
	/* what the server writes replaces it all the same */
	own_put(&o, 1, 0, 5, 3000);
	CHECK(own_has(&o, 1, 0, 5, 3000));
	CHECK_INT(world_check(o.w).sealed, ==, 1);
	end(&o);
}

static void move_memory(struct own *o, struct own_memory *m, bool to_server)
{
	struct sim *a = sim_add(o->w, 0);

	for (uint64_t n = 0; n < 200; n++) {
		if (to_server)
			sim_put(a, n, PART);
		else
			own_put(o, n, 0, 1, 4096);
		own_check(o, m);
	}
	for (uint32_t id = 1; id < o->w->p->slab_end; id++)
		if (o->w->p->slab[id])
			store_region_given(a->c, id);
	for (uint64_t n = 1000; n < 1200; n++) {
		int64_t r;
		struct local_part part;

		if (to_server) {
			r = own_grant(o, n, 0, 4096, &part);
			if (r == 0)
				CHECK_OK(own_seal(o, n, 0, 1, 4096, &part));
		} else {
			r = sim_grant(a, n, PART, WORLD_SEC);
			sim_let_go(a);
			world_tick(o->w, WORLD_SEC / 10);
			world_ready(o->w);
			r = r == SIM_LATER ? sim_answer(a, a->slot) : r;
			if (r == 0)
				sim_seal(a, n, PART, &a->grant[0]);
		}
		own_check(o, m);
		world_check(o->w);
	}
}

static void moves(bool to_server)
{
	struct own_memory *m = calloc(1, sizeof(*m));
	bool servers = false;
	struct own o;

	CHECK(m);
	begin(&o, &four);
	move_memory(&o, m, to_server);
	for (uint32_t id = 1; id < o.w->p->slab_end; id++) {
		const struct pool_slab *s = o.w->p->slab[id];

		servers |= s && (s->owner == CLIENT_SERVER) == to_server;
	}
	CHECK(servers); /* some did move */
	free(m);
	end(&o);
}

TEST(a_clients_memory_is_made_anew_for_the_server)
{
	moves(true);
}

TEST(the_servers_memory_is_made_anew_for_a_client)
{
	moves(false);
}

/* Clients that have a slab may be waiting for the server's answer to just this
 * grant, and never let go meanwhile: what the server has itself does for it. */
TEST(nobody_need_answer_while_the_server_has_slabs)
{
	uint64_t key[4];
	struct local_part part;
	struct sim *a;
	struct own o;
	int64_t r;

	begin(&o, &four);
	o.w->local_answer = on_told;
	a = sim_add(o.w, 0);
	for (uint64_t n = 0; n < 48; n++)
		sim_put(a, n, PART);
	for (uint32_t id = 1; id < o.w->p->slab_end; id++)
		store_region_given(a->c, id);
	own_put(&o, 100, 0, 1, 4096); /* used last, in the fourth slab */
	key_of(101, key);
	CHECK_INT(local_grant(o.c, key, own_part(&o, 0), 20000, 0, 7,
			      5 * WORLD_SEC, &r, &part),
		  ==, STORE_LATER);
	CHECK_INT(a->announced, ==, 1);
	for (unsigned i = 0; i < 15; i++)
		world_tick(o.w, WORLD_SEC / 100);
	CHECK_INT(told.n, ==, 1);
	CHECK_OK(told.result[0]);
	CHECK_OK(own_seal(&o, 101, 0, 1, 20000, &told.part[0]));
	CHECK(own_has(&o, 101, 0, 1, 20000));
	end(&o);
}

/* Nor is what a dead client leaves behind. */
TEST(a_dead_clients_memory_is_made_anew_for_the_server)
{
	struct own_memory *m = calloc(1, sizeof(*m));
	struct sim *a;
	struct own o;

	CHECK(m);
	begin(&o, &one);
	a = sim_add(o.w, 0);
	for (uint64_t n = 0; n < 16; n++)
		sim_put(a, n, PART);
	own_check(&o, m);
	sim_die(a);
	own_put(&o, 1, 0, 1, 4096);
	own_check(&o, m);
	CHECK_INT(m->n, ==, 2);
	free(m);
	end(&o);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Moves between frames and a tier below: a fake one, which ends them as told. */
#include <errno.h>
#include "tests/store/deep.h"

/* ---- down -------------------------------------------------------------------- */

TEST(what_leaves_was_written_before)
{
	struct deep d;

	deep_begin(&d, 4);
	deep_put(&d, 1, 300);
	deep_rest(&d);
	for (uint64_t n = 1; n <= 300; n++)
		CHECK(deep_below(&d, n) || world_has(d.w, n, PART));
	CHECK_INT(pool_counter(d.w->p, POOL_C_demote_missed), ==, 0);
	CHECK_INT(pool_counter(d.w->p, POOL_C_evicted), >=, 300 - 64);
	CHECK_INT(pool_counter(d.w->p, POOL_C_demoted), ==, d.f->writes);
	CHECK_INT(pool_counter(d.w->p, POOL_C_below_parts), ==, d.f->writes);
	CHECK_INT(pool_counter(d.w->p, POOL_C_below_bytes), ==,
		  fake_tier_bytes(d.f));
	deep_end(&d);
}

/* Only what will leave soon: the rest stays where it is until then. */
TEST(what_stays_is_not_written)
{
	struct deep d;

	deep_begin(&d, 4);
	deep_put(&d, 1, 40);
	deep_rest(&d);
	CHECK_INT(d.f->writes, ==, 0);
	deep_put(&d, 41, 23);
	deep_rest(&d);
	CHECK_INT(d.f->writes, >, 0);
	CHECK_INT(d.f->writes, <=, 64 / 8);
	CHECK(deep_below(&d, 1)); /* the coldest first */
	CHECK(!deep_below(&d, 40));
	deep_end(&d);
}

/* A drive that answers late, or not at all, keeps no grant from its room. */
TEST(stuck_writes_block_nobody)
{
	struct deep d;
	uint64_t grants;
	unsigned waited = 0;

	deep_begin(&d, 4);
	for (uint64_t n = 1; n <= 300; n++) {
		int64_t r = sim_grant_wait(d.a, n, PART);

		/* a little, as long as it may still be coming */
		if (r == SIM_LATER) {
			CHECK_INT(waited++, <, 12);
			world_tick(d.w, WORLD_SEC / 9);
			r = sim_answer(d.a, d.a->slot);
		}
		CHECK_OK(r);
		CHECK_OK(sim_seal(d.a, n, PART, &d.w->last));
		world_tick(d.w, WORLD_SEC / 100);
	}
	grants = pool_counter(d.w->p, POOL_C_grants);
	CHECK_INT(grants, ==, 300);
	/* no more than a quarter of the frames is ever kept by writes */
	CHECK_INT(d.f->most_flying, >, 0);
	CHECK_INT(d.f->most_flying, <=, 16);
	CHECK_INT(pool_counter(d.w->p, POOL_C_demote_missed), >, 200);
	deep_rest(&d);
	deep_end(&d);
}

TEST(a_tier_that_takes_nothing_blocks_nobody)
{
	static const struct {
		enum tier_state state;
		int refuse;
		uint64_t limit;
	} sorts[] = {
		{ TIER_COMING, 0, 0 },	  { TIER_SLOW, 0, 0 },
		{ TIER_READONLY, 0, 0 },  { TIER_DOWN, 0, 0 },
		{ TIER_UP, -ENOSPC, 0 },  { TIER_UP, -EIO, 0 },
		{ TIER_UP, -EAGAIN, 0 },  { TIER_UP, -EROFS, 0 },
		{ TIER_UP, 0, 8 * 4096 },
	};

	for (size_t i = 0; i < ARRAY_LEN(sorts); i++) {
		struct deep d;

		deep_begin(&d, 4);
		d.f->state = sorts[i].state;
		d.f->refuse_write = sorts[i].refuse;
		d.f->limit = sorts[i].limit;
		d.f->by_itself = true;
		deep_put(&d, 1, 200);
		CHECK_INT(fake_tier_parts(d.f), <=, 8);
		deep_end(&d);
	}
}

/* A grant that may wait waits for what is being written, a little. */
TEST(a_grant_waits_for_a_write_a_little)
{
	struct deep d;
	uint32_t slot;

	deep_begin(&d, 1);
	for (uint64_t n = 1; n <= 16; n++) {
		CHECK_OK(sim_grant_wait(d.a, n, PART));
		CHECK_OK(sim_seal(d.a, n, PART, &d.w->last));
	}
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(d.f->n_moves, >, 0);
	CHECK_INT(sim_grant(d.a, 50, PART, WORLD_SEC), ==, SIM_LATER);
	slot = d.a->slot;
	world_tick(d.w, WORLD_SEC / 500);
	CHECK_INT(sim_answer(d.a, slot), ==, SIM_LATER);
	fake_tier_end_all(d.f);
	world_tick(d.w, WORLD_SEC / 500);
	CHECK_OK(sim_answer(d.a, slot));
	CHECK_INT(pool_counter(d.w->p, POOL_C_demote_missed), ==, 0);
	CHECK(!world_has(d.w, 1, PART));
	CHECK(deep_below(&d, 1));
	CHECK_OK(sim_abandon(d.a, &d.w->last));
	deep_end(&d);
}

TEST(and_not_for_long)
{
	struct deep d;
	uint32_t slot;

	deep_begin(&d, 1);
	for (uint64_t n = 1; n <= 16; n++) {
		CHECK_OK(sim_grant_wait(d.a, n, PART));
		CHECK_OK(sim_seal(d.a, n, PART, &d.w->last));
	}
	world_tick(d.w, WORLD_SEC / 500);
	CHECK_INT(sim_grant(d.a, 50, PART, WORLD_SEC), ==, SIM_LATER);
	slot = d.a->slot;
	world_tick(d.w, WORLD_SEC / 9);
	CHECK_OK(sim_answer(d.a, slot));
	CHECK_INT(pool_counter(d.w->p, POOL_C_demote_missed), ==, 1);
	CHECK_OK(sim_abandon(d.a, &d.w->last));
	/* one that may not wait does not */
	CHECK_OK(sim_grant(d.a, 51, PART, 0));
	CHECK_OK(sim_abandon(d.a, &d.w->last));
	deep_rest(&d);
	deep_end(&d);
}

/* ---- up ---------------------------------------------------------------------- */

TEST(what_is_below_comes_back)
{
	struct tier_found found;
	struct deep d;
	uint64_t key[4];

	deep_begin(&d, 4);
	deep_put(&d, 1, 300);
	key_of(1, key);
	CHECK(move_find(d.w->s, d.w->p, key, PART, &found));
	CHECK_INT(frame_extent_bytes(found.block.extent), ==, PART_BYTES);
	CHECK_INT(found.expected_ns, >, 0);
	for (uint64_t n = 1; n <= 100; n++) {
		CHECK(!world_has(d.w, n, PART));
		CHECK_INT(deep_fetch(&d, n), ==, 0);
		CHECK(world_has(d.w, n, PART));
		CHECK_INT(deep_up(&d, n, TIER_WAITED, NULL), ==, OC_EXISTS);
		world_check(d.w);
	}
	CHECK_INT(pool_counter(d.w->p, POOL_C_promoted), ==, 100);
	CHECK_INT(d.f->reads, ==, 100);
	CHECK_INT(deep_fetch(&d, 9999), ==, OC_MISS);
	deep_end(&d);
}

TEST(who_comes_second_joins_the_move)
{
	struct waiter a, b;
	struct deep d;

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	deep_rest(&d);
	CHECK_INT(deep_up(&d, 1, TIER_AHEAD, NULL), ==, 0);
	CHECK_INT(deep_up(&d, 1, TIER_WAITED, &a), ==, 0);
	CHECK_INT(deep_up(&d, 1, TIER_WAITED, &b), ==, 0);
	deep_rest(&d);
	CHECK_INT(a.told, ==, 1);
	CHECK_INT(b.told, ==, 1);
	CHECK_INT(a.result, ==, 0);
	CHECK_INT(b.result, ==, 0);
	CHECK_INT(d.f->reads, ==, 1);
	CHECK(world_has(d.w, 1, PART));
	deep_end(&d);
}

TEST(what_nobody_wants_any_more_ends)
{
	struct waiter a, b;
	struct deep d;

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	deep_rest(&d);
	CHECK_INT(deep_up(&d, 1, TIER_WAITED, &a), ==, 0);
	CHECK_INT(deep_up(&d, 1, TIER_WAITED, &b), ==, 0);
	world_tick(d.w, WORLD_SEC / 500);
	world_ready(d.w);
	sim_let_go(d.a);
	world_tick(d.w, WORLD_SEC / 500);
	world_tick(d.w, WORLD_SEC / 500);
	move_leave(&a.w);
	CHECK_INT(d.f->cancels, ==, 0); /* b waits still */
	move_leave(&b.w);
	move_leave(&b.w);
	deep_rest(&d);
	CHECK_INT(a.told + b.told, ==, 0);
	CHECK(!world_has(d.w, 1, PART));
	CHECK_INT(world_check(d.w).granted, ==, 0);
	/* and can be had again */
	CHECK_INT(deep_fetch(&d, 1), ==, 0);
	CHECK(world_has(d.w, 1, PART));
	deep_end(&d);
}

static bool read_at(const struct deep *d, unsigned *ret_at)
{
	for (unsigned i = 0; i < d->f->n_moves; i++)
		if (!d->f->move[i].write) {
			*ret_at = i;
			return true;
		}
	return false;
}

/* The one read that a waiter waits for, under way: which move it is. */
static unsigned begin_read(struct deep *d, uint64_t n, struct waiter *w)
{
	unsigned at;

	CHECK_INT(deep_up(d, n, TIER_WAITED, w), ==, 0);
	for (unsigned i = 0; i < 100 && !read_at(d, &at); i++) {
		sim_let_go(d->a);
		world_tick(d->w, WORLD_SEC / 500);
		world_ready(d->w);
	}
	CHECK(read_at(d, &at));
	return at;
}

TEST(whoever_comes_back_in_time_has_it_again)
{
	struct waiter a, b;
	struct deep d;

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	deep_rest(&d);
	begin_read(&d, 1, &a);
	move_leave(&a.w);
	CHECK_INT(d.f->cancels, ==, 1);
	CHECK_INT(deep_up(&d, 1, TIER_WAITED, &b), ==, 0);
	deep_rest(&d);
	CHECK_INT(b.told, ==, 1);
	CHECK_INT(b.result, ==, 0);
	CHECK(world_has(d.w, 1, PART));
	deep_end(&d);
}

TEST(wrong_bytes_are_a_miss)
{
	struct deep d;
	uint64_t key[4];

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	deep_rest(&d);
	key_of(1, key);
	fake_tier_spoil(d.f, key, 0);
	CHECK_INT(deep_fetch(&d, 1), ==, OC_MISS);
	CHECK(!world_has(d.w, 1, PART));
	CHECK_INT(pool_counter(d.w->p, POOL_C_promote_failed), ==, 1);
	CHECK_INT(world_check(d.w).granted, ==, 0);
	CHECK_INT(deep_fetch(&d, 1), ==, OC_MISS);
	deep_end(&d);
}

TEST(so_is_what_the_device_does_not_give)
{
	static const int errors[] = { -EIO, -ENODEV, -ETIMEDOUT, -ECANCELED,
				      OC_STALE };

	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		struct waiter w;
		struct deep d;

		deep_begin(&d, 4);
		deep_lower(&d, 1);
		deep_rest(&d);
		fake_tier_end(d.f, begin_read(&d, 1, &w), errors[i]);
		CHECK_INT(w.told, ==, 0); /* nothing happens in its call */
		world_ready(d.w);
		CHECK_INT(w.told, ==, 1);
		CHECK_INT(w.result, ==, OC_MISS);
		CHECK(!world_has(d.w, 1, PART));
		CHECK_INT(world_check(d.w).granted, ==, 0);
		deep_end(&d);
	}
}

TEST(somebody_who_makes_it_meanwhile_wins)
{
	struct waiter w;
	struct deep d;

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	deep_rest(&d);
	begin_read(&d, 1, &w);
	CHECK_OK(sim_grant_wait(d.a, 1, PART));
	CHECK_OK(sim_seal(d.a, 1, PART, &d.w->last));
	deep_rest(&d);
	CHECK_INT(w.told, ==, 1);
	CHECK_INT(w.result, ==, 0);
	CHECK(world_has(d.w, 1, PART));
	CHECK_INT(pool_counter(d.w->p, POOL_C_promoted), ==, 0);
	deep_end(&d);
}

/* ---- removal ----------------------------------------------------------------- */

TEST(what_is_removed_is_gone_below_as_well)
{
	struct deep d;

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	deep_rest(&d);
	CHECK_OK(sim_call(d.a, call_of(RING_REMOVE, 1, PART)));
	CHECK_INT(d.w->last.arg, ==, 1);
	CHECK(!deep_below(&d, 1));
	CHECK_INT(deep_fetch(&d, 1), ==, OC_MISS);
	CHECK_INT(sim_call(d.a, call_of(RING_REMOVE, 1, PART)), ==, OC_MISS);
	CHECK_INT(pool_counter(d.w->p, POOL_C_below_parts), ==,
		  fake_tier_parts(d.f));
	deep_end(&d);
}

TEST(nor_does_a_read_under_way_bring_it_back)
{
	struct waiter w;
	struct deep d;

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	deep_rest(&d);
	begin_read(&d, 1, &w);
	CHECK_OK(sim_call(d.a, call_of(RING_REMOVE, 1, PART)));
	deep_rest(&d);
	CHECK_INT(w.told, ==, 1);
	CHECK_INT(w.result, ==, OC_MISS);
	CHECK(!world_has(d.w, 1, PART));
	deep_end(&d);
}

TEST(nor_a_write)
{
	struct deep d;
	uint64_t n;

	deep_begin(&d, 1);
	for (n = 1; n <= 16; n++)
		sim_put(d.a, n, PART);
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(d.f->n_moves, >, 0);
	CHECK_INT(d.f->move[0].m->id.key[1], ==, 1);
	CHECK_OK(sim_call(d.a, call_of(RING_REMOVE, 1, PART)));
	CHECK_INT(world_check(d.w).doomed, ==, 1); /* the device reads it */
	/* also when the drive does not hear of it in time */
	d.f->move[0].cancelled = false;
	deep_rest(&d);
	CHECK(!deep_below(&d, 1));
	CHECK_INT(world_check(d.w).doomed, ==, 0);
	CHECK_INT(pool_counter(d.w->p, POOL_C_below_parts), ==,
		  fake_tier_parts(d.f));
	deep_end(&d);
}

/* A node that was killed finds a value's older bytes below and the new ones in
 * memory: those below are no replica. */
TEST(other_bytes_below_are_no_replica)
{
	struct deep d;
	uint64_t key[4];

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	CHECK_INT(deep_fetch(&d, 1), ==, 0);
	deep_rest(&d);
	key_of(1, key);
	fake_tier_replace(d.f, key, 0);
	deep_restart(&d, false);
	CHECK(world_has(d.w, 1, PART));
	deep_put(&d, 5000, 200);
	CHECK(!world_has(d.w, 1, PART));
	CHECK_INT(deep_fetch(&d, 1), ==, 0);
	CHECK(world_has(d.w, 1, PART)); /* with the right bytes */
	CHECK_INT(pool_counter(d.w->p, POOL_C_below_parts), ==,
		  fake_tier_parts(d.f));
	deep_end(&d);
}

/* Where nothing can be written the new ones are lost, and the old ones gone. */
TEST(nor_are_they_found_when_the_new_ones_leave)
{
	struct deep d;
	uint64_t key[4];

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	CHECK_INT(deep_fetch(&d, 1), ==, 0);
	deep_rest(&d);
	key_of(1, key);
	fake_tier_replace(d.f, key, 0);
	d.f->state = TIER_READONLY;
	deep_put(&d, 5000, 200);
	CHECK(!world_has(d.w, 1, PART));
	CHECK_INT(deep_fetch(&d, 1), ==, OC_MISS);
	deep_end(&d);
}

/* A server that has not opened its tier yet answers removals all the same. */
static void die(struct deep *d)
{
	world_die(d->w);
	fake_tier_reopen(d->f, true);
	CHECK_OK(world_attach(d->w));
	world_adopt(d->w);
}

TEST(a_removal_is_kept_until_the_tier_can_hear_of_it)
{
	struct deep d;

	deep_begin(&d, 4);
	for (uint64_t n = 1; n <= 3; n++)
		deep_lower(&d, n);
	deep_rest(&d);
	die(&d);
	sim_call(d.a, call_of(RING_REMOVE, 1, PART));
	CHECK_OK(store_below_attach(d.w->s, &d.f->tier));
	sim_call(d.a, call_of(RING_REMOVE, 2, PART));
	world_tick(d.w, WORLD_SEC / 10);
	d.f->state = TIER_DOWN; /* before it has found what it has */
	d.f->blank = true;
	world_tick(d.w, WORLD_SEC / 10);
	d.f->state = TIER_UP;
	d.f->blank = false;
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(pool_counter(d.w->p, POOL_C_below_parts), ==,
		  fake_tier_parts(d.f));
	CHECK(!deep_below(&d, 1));
	CHECK(!deep_below(&d, 2));
	CHECK(deep_below(&d, 3));
	CHECK_INT(deep_fetch(&d, 1), ==, OC_MISS);
	/* once: what is made again stays */
	deep_lower(&d, 1);
	CHECK_INT(deep_fetch(&d, 1), ==, 0);
	deep_end(&d);
}

TEST(so_is_that_of_a_namespace)
{
	struct store_client *c;
	struct deep d;
	uint64_t key[4];
	unsigned parts;

	for (unsigned way = 0; way < 3; way++) {
		deep_begin(&d, 4);
		deep_put(&d, 1, 200);
		deep_rest(&d);
		parts = fake_tier_parts(d.f);
		CHECK_INT(parts, >, 100);
		die(&d);
		CHECK_OK(local_client(d.w->s, d.w->p, &c));
		if (way == 0)
			move_forget_all(d.w->s, d.w->p, 1);
		/* more names than are kept */
		for (uint64_t n = 0; way == 1 && n <= 1 << 16; n++) {
			key_of(10000 + n, key);
			key[3] = n;
			local_remove(c, key, PART);
		}
		CHECK_OK(store_below_attach(d.w->s, &d.f->tier));
		d.f->state = TIER_UP;
		world_tick(d.w, WORLD_SEC / 10);
		CHECK_INT(fake_tier_parts(d.f), ==, way == 2 ? parts : 0);
		deep_end(&d);
	}
}

/* What is below may be much: it is looked through once. */
TEST(a_namespace_is_forgotten_in_one_pass)
{
	struct deep d;
	uint64_t passes;

	deep_begin(&d, 4);
	deep_put(&d, 1, 3000);
	deep_rest(&d);
	CHECK_INT(fake_tier_parts(d.f), >, 2 * 1024);
	passes = d.f->passes;
	move_forget_all(d.w->s, d.w->p, 1);
	CHECK_INT(fake_tier_parts(d.f), ==, 0);
	CHECK_INT(d.f->passes, ==, passes + 1);
	deep_end(&d);
}

/* ---- death ------------------------------------------------------------------- */

/* The dead server's device writes on: nobody else has that frame until the tier
 * says that it is done. */
TEST(a_read_of_a_dead_server_keeps_its_frame)
{
	struct waiter w;
	struct deep d;
	struct tier_move *dead;

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	deep_lower(&d, 2);
	CHECK_INT(deep_fetch(&d, 2), ==, 0); /* keeps the slab */
	deep_rest(&d);
	dead = d.f->move[begin_read(&d, 1, &w)].m;
	CHECK_INT(dead->room, ==, 4096);
	deep_restart(&d, true);
	CHECK_INT(world_check(d.w).quarantined, ==, 1);
	for (unsigned i = 0; i < 100; i++)
		world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(world_check(d.w).quarantined, ==, 1);
	CHECK_INT(deep_fetch(&d, 1), ==, OC_MISS); /* it does not know yet */
	d.f->state = TIER_UP;
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(world_check(d.w).quarantined, ==, 0);
	CHECK_INT(pool_counter(d.w->p, POOL_C_quarantined), ==, 0);
	CHECK_INT(deep_fetch(&d, 1), ==, 0);
	CHECK(world_has(d.w, 1, PART));
	CHECK_INT(pool_counter(d.w->p, POOL_C_below_parts), ==,
		  fake_tier_parts(d.f));
	deep_end(&d);
}

/* Of what other devices write, the tier knows nothing. */
TEST(a_tier_settles_its_own_frames_alone)
{
	struct ring_call call = call_of(RING_GRANT, 900, PART);
	struct ring_answer answer;
	struct store_client *c;
	struct deep d;

	deep_begin(&d, 4);
	CHECK_OK(local_client(d.w->s, d.w->p, &c));
	call.extent = frame_extent(PART_BYTES, 0);
	call.arg = FRAME_GRANT_DEVICE;
	while (store_call(c, &call, 0, false, &answer) == STORE_ANSWERED &&
	       answer.result != 0)
		world_ready(d.w);
	CHECK_OK((int)answer.result);
	/* nor may a client say that its device is that one */
	call.arg = FRAME_GRANT_DEVICE | FRAME_GRANT_TIER;
	CHECK_INT(sim_call(d.a, call), ==, -EINVAL);
	/* a block beside it keeps the slab */
	{
		struct local_part part;
		int64_t r;
		uint64_t key[4];
		uint8_t bytes[PART_BYTES];

		key_of(901, key);
		CHECK_INT(local_grant(c, key, PART, PART_BYTES, 0, 5, 0, &r,
				      &part),
			  ==, STORE_ANSWERED);
		CHECK_OK((int)r);
		world_fill(901, PART, part.data);
		world_fill(901, PART, bytes);
		CHECK_OK(local_seal(c, &part, PART_BYTES,
				    world_sum(901, PART, bytes)));
	}
	deep_restart(&d, false);
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(world_check(d.w).quarantined, ==, 1);
	CHECK(world_has(d.w, 901, PART));
	deep_end(&d);
}

/* What was being written stays where it was, and nothing is lost or twice. */
TEST(a_write_of_a_dead_server_loses_nothing)
{
	struct deep d;

	deep_begin(&d, 1);
	for (uint64_t n = 1; n <= 16; n++)
		sim_put(d.a, n, PART);
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(d.f->n_moves, >, 0);
	deep_restart(&d, false);
	for (uint64_t n = 1; n <= 16; n++)
		CHECK(world_has(d.w, n, PART));
	deep_put(&d, 17, 30);
	deep_rest(&d);
	for (uint64_t n = 1; n <= 46; n++)
		CHECK(deep_below(&d, n) || world_has(d.w, n, PART));
	deep_end(&d);
}

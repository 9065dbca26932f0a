/* SPDX-License-Identifier: Apache-2.0 */
/* Which moves come first, and what is brought ahead of need. */
#include <errno.h>
#include "store/internal.h"
#include "tests/store/deep.h"

/* ---- who is first --------------------------------------------------------------- */

/* Moves that wait are begun in this order: what is waited for, then the rest. */
TEST(waiters_come_before_what_is_ahead)
{
	struct waiter w[4];
	struct deep d;

	deep_begin(&d, 4);
	deep_put(&d, 1, 200);
	deep_rest(&d);
	d.f->most = 1; /* the tier takes one at a time */
	for (uint64_t n = 1; n <= 10; n++)
		CHECK_INT(deep_up(&d, n, TIER_AHEAD, NULL), ==, 0);
	for (uint64_t n = 11; n <= 14; n++)
		CHECK_INT(deep_up(&d, n, TIER_WAITED, &w[n - 11]), ==, 0);
	for (unsigned i = 0;
	     i < 200 && !(w[0].told && w[1].told && w[2].told && w[3].told);
	     i++) {
		sim_let_go(d.a);
		world_tick(d.w, WORLD_SEC / 500);
		world_ready(d.w);
		fake_tier_end_all(d.f);
	}
	for (unsigned i = 0; i < 4; i++)
		CHECK_INT(w[i].result, ==, 0);
	/* at most those that had begun before anybody waited */
	CHECK_INT(d.f->reads, <=, 4 + 2);
	d.f->most = 0;
	deep_rest(&d);
	deep_end(&d);
}

/* One that is wanted more urgently becomes so. */
TEST(who_waits_for_what_is_ahead_hurries_it)
{
	struct waiter w;
	struct deep d;

	deep_begin(&d, 4);
	deep_put(&d, 1, 200);
	deep_rest(&d);
	d.f->most = 1;
	for (uint64_t n = 1; n <= 20; n++)
		CHECK_INT(deep_up(&d, n, TIER_AHEAD, NULL), ==, 0);
	CHECK_INT(deep_up(&d, 20, TIER_WAITED, &w), ==, 0);
	for (unsigned i = 0; i < 200 && !w.told; i++) {
		sim_let_go(d.a);
		world_tick(d.w, WORLD_SEC / 500);
		world_ready(d.w);
		fake_tier_end_all(d.f);
	}
	CHECK_INT(w.told, ==, 1);
	CHECK_INT(w.result, ==, 0);
	CHECK_INT(d.f->reads, <=, 3);
	d.f->most = 0;
	deep_rest(&d);
	deep_end(&d);
}

TEST(too_much_ahead_is_refused)
{
	struct deep d;
	unsigned refused = 0;

	deep_begin(&d, 4);
	deep_put(&d, 1, 400);
	deep_rest(&d);
	d.f->most = 1;
	for (uint64_t n = 1; n <= 330; n++) {
		int r = deep_up(&d, n, TIER_AHEAD, NULL);

		CHECK(r == 0 || r == -EAGAIN);
		refused += r == -EAGAIN;
	}
	CHECK_INT(refused, >, 0);
	CHECK_INT(refused, <, 330 - 250);
	/* who waits is not */
	CHECK_INT(deep_up(&d, 331, TIER_WAITED, NULL), ==, 0);
	d.f->most = 0;
	deep_rest(&d);
	deep_end(&d);
}

TEST(a_move_ends_at_its_deadline)
{
	struct waiter w = { .w.done = NULL };
	uint64_t key[4];
	struct deep d;

	deep_begin(&d, 4);
	deep_put(&d, 1, 200);
	deep_rest(&d);
	d.f->most = 1;
	CHECK_INT(deep_up(&d, 1, TIER_WAITED, &w), ==, 0);
	for (unsigned i = 0; i < 100 && !d.f->n_moves; i++) {
		sim_let_go(d.a);
		world_tick(d.w, WORLD_SEC / 500);
		world_ready(d.w);
	}
	CHECK_INT(d.f->n_moves, ==, 1);
	key_of(2, key);
	{
		struct waiter late = { .w = w.w };

		late.w.move = NULL;
		CHECK_INT(move_up(d.w->s, d.w->p, key, PART, TIER_WAITED,
				  d.w->now + WORLD_SEC / 100, &late.w),
			  ==, 0);
		world_tick(d.w, WORLD_SEC / 1000);
		CHECK_INT(late.told, ==, 0);
		world_tick(d.w, WORLD_SEC / 50);
		CHECK_INT(late.told, ==, 1);
		CHECK_INT(late.result, ==, OC_MISS);
	}
	d.f->most = 0;
	deep_rest(&d);
	CHECK_INT(w.result, ==, 0);
	deep_end(&d);
}

/* ---- what is worth a write --------------------------------------------------------- */

/* A drive that has enough to do is spared what nobody has used again. */
TEST(a_busy_drive_is_spared_what_was_used_once)
{
	struct world_config config = { .limit = 16 * DEEP_SLAB,
				       .slab_bytes = DEEP_SLAB };
	struct deep d;

	deep_begin_as(&d, &config, NULL);
	for (uint64_t n = 1; n <= 256; n++) {
		CHECK_OK(sim_grant_wait(d.a, n, PART));
		CHECK_OK(sim_seal(d.a, n, PART, &d.w->last));
		if (n % 4 == 0 && n <= 128)
			sim_touch(d.a, n, PART);
	}
	store_touches(d.a->c);
	/* a burst is written as it comes */
	for (unsigned i = 0; i < 8; i++)
		world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(d.f->n_moves, ==, 32);
	CHECK_INT(pool_counter(d.w->p, POOL_C_demote_declined), ==, 0);
	/* after half a minute without a pause what nobody used again is not */
	d.f->by_itself = false;
	for (unsigned i = 0; i < 40; i++) {
		for (unsigned k = 0; k < 2; k++) {
			CHECK_OK(sim_grant(d.a, 300 + 2 * i + k, PART, 0));
			CHECK_OK(sim_seal(d.a, 300 + 2 * i + k, PART,
					  &d.w->last));
		}
		world_tick(d.w, WORLD_SEC);
		fake_tier_end(d.f, 0, 0);
		world_ready(d.w);
	}
	CHECK_INT(pool_counter(d.w->p, POOL_C_demote_declined), >, 0);
	deep_rest(&d);
	/* when it has had a pause it has time for those as well */
	CHECK_INT(d.f->writes, >, 32);
	deep_end(&d);
}

/* ---- the rest ------------------------------------------------------------------------- */

TEST(memory_is_told_of_once_the_node_serves)
{
	struct deep d;

	deep_begin(&d, 4);
	deep_lower(&d, 1);
	CHECK_INT(deep_fetch(&d, 1), ==, 0);
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(d.f->added, ==, 0);
	store_below_serving(d.w->s);
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(d.f->added, ==, DEEP_SLAB); /* the server's own, alone */
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(d.f->added, ==, DEEP_SLAB);
	/* its slab goes to the client when that writes much more */
	for (unsigned i = 0; i < 20 && !d.f->dropped; i++)
		deep_put(&d, 3000000 + 100 * i, 100);
	CHECK_INT(d.f->dropped, ==, DEEP_SLAB);
	deep_end(&d);
}

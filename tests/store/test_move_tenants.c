/* SPDX-License-Identifier: Apache-2.0 */
/* Moves of several tenants: each has his turn, his share, and what is his. */
#include <errno.h>
#include "base/hash.h"
#include "store/internal.h"
#include "tests/store/deep.h"

struct pair {
	struct deep d;
	struct pool *p[2];
	struct sim *c[2];
};

static void turn_to(struct pair *t, unsigned i)
{
	t->d.w->p = t->p[i];
	t->d.a = t->c[i];
}

static void pair_begin(struct pair *t)
{
	deep_begin(&t->d, 8);
	t->p[0] = t->d.w->p;
	t->c[0] = t->d.a;
	store_pool_quota(t->p[0], 4 * DEEP_SLAB);
	CHECK_OK(store_pool_add(t->d.w->s, "other", 4 * DEEP_SLAB, &t->p[1]));
	t->d.w->p = t->p[1];
	CHECK_INT(world_ns(t->d.w, 1, 1, PART_BYTES, 0), ==, 1);
	t->c[1] = sim_add(t->d.w, 1);
	for (unsigned i = 0; i < 2; i++) {
		turn_to(t, i);
		deep_put(&t->d, 1, 150);
	}
	deep_rest(&t->d);
}

static void pair_end(struct pair *t)
{
	turn_to(t, 0);
	world_destroy(t->d.w);
	fake_tier_destroy(t->d.f);
}

/* The same key is another block for each tenant. */
TEST(tenants_do_not_find_each_others_blocks)
{
	struct tier_found found;
	uint64_t key[4];
	struct pair t;

	pair_begin(&t);
	turn_to(&t, 0);
	deep_put(&t.d, 5000, 100); /* of the first alone */
	deep_rest(&t.d);
	key_of(5000, key);
	CHECK(move_find(t.d.w->s, t.p[0], key, PART, &found));
	CHECK(!move_find(t.d.w->s, t.p[1], key, PART, &found));
	CHECK_INT(pool_counter(t.p[0], POOL_C_below_parts) +
			  pool_counter(t.p[1], POOL_C_below_parts),
		  ==, fake_tier_parts(t.d.f));
	CHECK_INT(pool_counter(t.p[1], POOL_C_below_parts), >, 0);
	turn_to(&t, 1);
	CHECK_INT(deep_fetch(&t.d, 5000), ==, OC_MISS);
	pair_end(&t);
}

/* A tenant that asks for a hundred does not keep the other waiting for them. */
TEST(tenants_take_turns)
{
	struct waiter w[50], other[4];
	unsigned told = 0, before;
	struct pair t;

	pair_begin(&t);
	t.d.f->most = 1;
	turn_to(&t, 0);
	for (uint64_t n = 0; n < 50; n++)
		CHECK_INT(deep_up(&t.d, 1 + n, TIER_WAITED, &w[n]), ==, 0);
	turn_to(&t, 1);
	for (uint64_t n = 0; n < 4; n++)
		CHECK_INT(deep_up(&t.d, 1 + n, TIER_WAITED, &other[n]), ==, 0);
	for (unsigned i = 0; i < 400 && told < 4; i++) {
		sim_let_go(t.c[0]);
		sim_let_go(t.c[1]);
		world_tick(t.d.w, WORLD_SEC / 500);
		world_ready(t.d.w);
		fake_tier_end_all(t.d.f);
		told = other[0].told + other[1].told + other[2].told +
		       other[3].told;
	}
	CHECK_INT(told, ==, 4);
	before = 0;
	for (unsigned i = 0; i < 50; i++)
		before += w[i].told;
	CHECK_INT(before, <=, 12);
	t.d.f->most = 0;
	deep_rest(&t.d);
	pair_end(&t);
}

/* Nor does one that has no room at all. */
TEST(a_tenant_without_room_keeps_nobody)
{
	struct waiter w[80], other;
	uint32_t pins = 0, asked = 0;
	struct pair t;

	pair_begin(&t);
	turn_to(&t, 0);
	for (uint64_t n = 1; n <= 150; n++)
		if (world_has(t.d.w, n, PART))
			CHECK(sim_pin(t.c[0], pins++, n, PART));
	for (uint64_t n = 1; n <= 150 && asked < ARRAY_LEN(w); n++)
		if (!world_has(t.d.w, n, PART) &&
		    deep_up(&t.d, n, TIER_WAITED, &w[asked]) == 0)
			asked++;
	CHECK_INT(asked, >, 64);
	world_tick(t.d.w, WORLD_SEC / 500);
	turn_to(&t, 1);
	CHECK_INT(deep_up(&t.d, 1, TIER_WAITED, &other), ==, 0);
	for (unsigned i = 0; i < 20; i++) {
		sim_let_go(t.c[1]);
		world_tick(t.d.w, WORLD_SEC / 500);
		world_ready(t.d.w);
		fake_tier_end_all(t.d.f);
	}
	CHECK_INT(other.told, ==, 1);
	CHECK_INT(other.result, ==, 0);
	for (uint32_t i = 0; i < pins; i++)
		sim_unpin(t.c[0], i);
	deep_rest(&t.d);
	pair_end(&t);
}

/* Nor does what one wants ahead take the place of what the other does. */
TEST(a_tenant_that_wants_much_ahead_keeps_nobody)
{
	struct pair t;
	uint32_t asked = 0;
	int r = 0;

	pair_begin(&t);
	t.d.f->most = 1;
	turn_to(&t, 0);
	deep_put(&t.d, 1000, 400);
	deep_rest(&t.d);
	for (uint64_t n = 1000; n < 1400 && r != -EAGAIN; n++)
		asked += (r = deep_up(&t.d, n, TIER_AHEAD, NULL)) == 0;
	CHECK_INT(r, ==, -EAGAIN);
	CHECK_INT(asked, >=, 256);
	turn_to(&t, 1);
	CHECK_INT(deep_up(&t.d, 1, TIER_AHEAD, NULL), ==, 0);
	t.d.f->most = 0;
	deep_rest(&t.d);
	pair_end(&t);
}

/* What the drive will never take of one, or has no room for, stops no other. */
TEST(what_is_refused_of_a_tenant_stops_no_other)
{
	static const int errors[] = { -E2BIG, -EINVAL, -ENOSPC };

	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		struct pair t;

		pair_begin(&t);
		t.d.f->refuse_space = 1; /* the first tenant's */
		t.d.f->refuse_write = errors[i];
		for (unsigned round = 0; round < 10; round++) {
			turn_to(&t, 0);
			deep_put(&t.d, 1000 + 30 * round, 30);
			turn_to(&t, 1);
			deep_put(&t.d, 1000 + 30 * round, 30);
		}
		CHECK_INT(pool_counter(t.p[1], POOL_C_demote_missed), <, 20);
		CHECK_INT(pool_counter(t.p[1], POOL_C_demoted), >, 300);
		if (errors[i] != -ENOSPC)
			CHECK_INT(pool_counter(t.p[0], POOL_C_demote_refused),
				  >, 100);
		pair_end(&t);
	}
}

/* Nor does a save end there. */
TEST(a_save_goes_on_behind_what_is_refused)
{
	struct pair t;

	pair_begin(&t);
	t.d.f->refuse_space = 1;
	t.d.f->refuse_write = -E2BIG;
	turn_to(&t, 1);
	t.d.f->by_itself = true;
	for (unsigned i = 0; i < 1000; i++)
		if (!store_save(t.d.w->s, t.d.w->now += WORLD_SEC / 500))
			break;
	t.d.f->by_itself = false;
	for (uint64_t n = 1; n <= 150; n++)
		if (world_has(t.d.w, n, PART)) {
			struct tier_found found;
			uint64_t key[4];

			key_of(n, key);
			CHECK(move_find(t.d.w->s, t.p[1], key, PART, &found));
		}
	pair_end(&t);
}

TEST(a_tenants_share_of_the_tier_is_kept)
{
	struct deep d;

	deep_begin(&d, 4);
	d.w->p->below_share = 20 * PART_BYTES;
	deep_put(&d, 1, 300);
	deep_rest(&d);
	CHECK_INT(pool_counter(d.w->p, POOL_C_below_bytes), <=,
		  20 * PART_BYTES);
	CHECK_INT(fake_tier_parts(d.f), >, 10);
	CHECK_INT(fake_tier_parts(d.f), <, 20); /* their records as well */
	CHECK_INT(pool_counter(d.w->p, POOL_C_demote_refused), >, 100);
	/* and what was refused was no surprise */
	CHECK_INT(pool_counter(d.w->p, POOL_C_demote_missed), <, 20);
	deep_end(&d);
}

TEST(what_is_under_way_counts_for_the_share)
{
	struct deep d;

	deep_begin(&d, 4);
	d.w->p->below_share = 4 * PART_BYTES;
	for (uint64_t n = 1; n <= 64; n++)
		sim_put(d.a, n, PART);
	for (unsigned i = 0; i < 10; i++)
		world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(d.f->n_moves, ==, 3);
	d.w->p->below_share = 0;
	for (unsigned i = 0; i < 10; i++)
		world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(d.f->n_moves, ==, 8);
	deep_rest(&d);
	deep_end(&d);
}

static void put_little(struct deep *d, uint32_t ns, uint64_t n)
{
	struct store_client *c;
	struct local_part part;
	uint8_t name[32];
	uint64_t key[4];
	int64_t r;

	key_of(n, key);
	memcpy(name, key, sizeof(name));
	CHECK_OK(local_client(d->w->s, d->w->p, &c));
	while (local_grant(c, key, frame_part(ns, 0, 0), 256, 0, n, 0, &r,
			   &part) == STORE_ANSWERED &&
	       r != 0)
		world_ready(d->w);
	CHECK_OK((int)r);
	memset(part.data, (int)n, 256);
	CHECK_OK(local_seal(c, &part, 256,
			    hash_payload(part.data, 256,
					 hash_part_seed(name, 0, 0))));
}

/* A part takes whole pages of a drive, however little it holds. */
TEST(little_values_are_counted_as_what_they_take)
{
	uint32_t ns;
	struct deep d;

	deep_begin(&d, 4);
	ns = world_ns(d.w, 1, 1, 256, 7);
	d.w->p->below_share = 10 * PART_BYTES;
	for (uint64_t n = 1; n <= 1024; n++)
		put_little(&d, ns, n);
	deep_rest(&d);
	CHECK_INT(fake_tier_parts(d.f), >, 0);
	CHECK_INT(fake_tier_parts(d.f), <, 10);
	world_check(d.w);
	deep_end(&d);
}

/* The tier's numbers are for all. */
TEST(a_tenant_takes_so_many_spaces_and_asks_for_no_more)
{
	struct tier_found found;
	uint64_t key[4], asked;
	struct deep d;

	deep_begin(&d, 4);
	key_of(1, key);
	for (unsigned round = 0; round < 2; round++) {
		asked = d.f->asked;
		for (uint32_t i = 1; i < LAYOUT_NS_MAX; i++) {
			uint32_t ns = world_ns(d.w, 1, 1, 4096, i);

			CHECK(!move_find(d.w->s, d.w->p, key,
					 frame_part(ns, 0, 0), &found));
		}
		CHECK_INT(d.f->n_spaces, ==, 240);
		CHECK_INT(d.f->asked, <=, asked + (round ? 0 : 240));
	}
	deep_end(&d);
}

/* What somebody waited for stays a moment, whatever others wait for. */
TEST(what_lingers_leaves_for_its_own_tenant_alone)
{
	struct pair t;
	uint64_t key[4], kept = 0;
	struct pool_slab *slab;
	uint32_t frame;
	unsigned n = 0;

	pair_begin(&t);
	turn_to(&t, 0);
	while (!world_has(t.d.w, kept, PART))
		kept++;
	key_of(kept, key);
	linger_add(t.d.w->s, t.p[0], key, PART);
	turn_to(&t, 1);
	for (uint64_t i = 1; i <= 150; i++)
		if (world_has(t.d.w, i, PART)) {
			key_of(i, key);
			linger_add(t.d.w->s, t.p[1], key, PART);
			n++;
		}
	CHECK_INT(n, >, 32);
	turn_to(&t, 0);
	key_of(kept, key);
	slab = pool_find(t.p[0], key, PART, &frame);
	CHECK_OK(sim_call(t.c[0], call_of(RING_REMOVE, kept, PART)));
	/* it is pinned */
	CHECK_INT(pool_frame_state(slab, frame), ==, FRAME_DOOMED);
	deep_rest(&t.d);
	pair_end(&t);
}

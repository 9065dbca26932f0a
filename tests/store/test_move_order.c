/* SPDX-License-Identifier: Apache-2.0 */
/* Which moves come first, and what is brought ahead of need. */
#include <errno.h>
#include "base/hash.h"
#include "store/internal.h"
#include "tests/store/deep.h"
#include "tests/store/talk.h"

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

/* ---- tenants --------------------------------------------------------------------- */

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

/* ---- ahead of need ------------------------------------------------------------------ */

static unsigned resident(struct deep *d, uint64_t first, uint64_t n)
{
	unsigned there = 0;

	for (uint64_t i = 0; i < n; i++)
		there += world_has(d->w, first + i, PART);
	return there;
}

/* A session of n keys whose blocks are all below; paused. */
static uint64_t sleeper(struct deep *d, uint64_t first, uint32_t n,
			uint64_t expected_ms)
{
	uint64_t id;

	deep_put(d, first, n);
	CHECK_OK(talk_open(d->a, "sleeper", OC_SESSION_LEASED, &id));
	CHECK_OK(talk_append(d->a, id, 0, first, n));
	CHECK_OK(
		talk_state(d->a, id, RING_STATE_PAUSE, expected_ms, 100000000));
	deep_put(d, 2000000, 300);
	deep_rest(d);
	CHECK_INT(resident(d, first, n), ==, 0);
	return id;
}

TEST(a_session_that_resumes_has_its_blocks_brought_up)
{
	struct deep d;
	uint64_t id;

	deep_begin(&d, 8);
	id = sleeper(&d, 1, 12, 0);
	/* frames of the server's own are there for them */
	CHECK_INT(deep_fetch(&d, 2000000), ==, 0);
	CHECK_OK(talk_state(d.a, id, RING_STATE_RESUME, 0, 0));
	deep_rest(&d);
	CHECK_INT(resident(&d, 1, 12), ==, 12);
	CHECK_INT(pool_counter(d.w->p, POOL_C_promoted_ahead), >=, 12);
	CHECK_INT(talk_said(d.w, id).evict_to, ==, OC_TIER_NVME);
	deep_end(&d);
}

TEST(one_that_is_expected_finds_them_there)
{
	struct deep d;

	deep_begin(&d, 8);
	sleeper(&d, 1, 12, 60000);
	CHECK_INT(deep_fetch(&d, 2000000), ==, 0);
	d.f->by_itself = true;
	for (unsigned i = 0; i < 40; i++) {
		world_tick(d.w, WORLD_SEC);
		world_ready(d.w);
		if (d.w->now < 50 * WORLD_SEC)
			CHECK_INT(resident(&d, 1, 12), ==, 0);
	}
	for (unsigned i = 0; i < 3000 && resident(&d, 1, 12) < 12; i++) {
		world_tick(d.w, WORLD_SEC / 100);
		world_ready(d.w);
	}
	CHECK_INT(resident(&d, 1, 12), ==, 12);
	deep_end(&d);
}

static void say(struct deep *d, uint64_t in_ms)
{
	struct ring_next next = { .name = "sleeper", .in_ms = in_ms };

	shared_store_bytes(d->a->cs->blob, sizeof(next), &next, sizeof(next));
	CHECK_OK(sim_call(d->a, (struct ring_call){ .op = RING_SESSION_EXPECT,
						    .arg = 1 }));
	CHECK_INT(d->w->last.loc, ==, 1);
}

static void seconds(struct deep *d, unsigned n)
{
	for (unsigned i = 0; i < n * 100; i++) {
		world_tick(d->w, WORLD_SEC / 100);
		world_ready(d->w);
	}
}

/* It said nothing of itself; somebody else does, takes it back, and says it of a
 * later time. */
static void expected_by_others(const struct policy_ops *policy)
{
	const struct world_config config = { .limit = 8 * DEEP_SLAB,
					     .slab_bytes = DEEP_SLAB };
	struct deep d;

	deep_begin_as(&d, &config, policy);
	sleeper(&d, 1, 12, 0);
	CHECK_INT(deep_fetch(&d, 2000000), ==, 0);
	d.f->by_itself = true;
	say(&d, 20000);
	seconds(&d, 10);
	say(&d, 0);
	seconds(&d, 20);
	CHECK_INT(resident(&d, 1, 12), ==, 0);
	say(&d, 20000);
	seconds(&d, 10);
	CHECK_INT(resident(&d, 1, 12), ==, 0);
	for (unsigned i = 0; i < 12 && resident(&d, 1, 12) < 12; i++)
		seconds(&d, 1);
	CHECK_INT(resident(&d, 1, 12), ==, 12);
	CHECK_INT(pool_counter(d.w->p, POOL_C_promoted_ahead), >=, 12);
	deep_end(&d);
}

TEST(one_that_others_expect_finds_them_there)
{
	expected_by_others(&policy_lru);
	expected_by_others(&policy_onecopy);
}

/* The node stood still until long after: nothing is brought up for it. */
TEST(what_others_expected_is_over)
{
	struct deep d;

	deep_begin(&d, 8);
	sleeper(&d, 1, 12, 0);
	CHECK_INT(deep_fetch(&d, 2000000), ==, 0);
	d.f->by_itself = true;
	say(&d, 1000);
	world_tick(d.w, 10 * WORLD_SEC);
	seconds(&d, 5);
	CHECK_INT(resident(&d, 1, 12), ==, 0);
	/* a short one is not over before anybody has looked */
	say(&d, 1);
	seconds(&d, 5);
	CHECK_INT(resident(&d, 1, 12), ==, 12);
	deep_end(&d);
}

/* Whoever says it of another moment each time has it brought up once. */
TEST(words_that_change_bring_it_up_once)
{
	struct deep d;
	uint64_t id;

	deep_begin(&d, 8);
	id = sleeper(&d, 1, 12, 0);
	CHECK_INT(deep_fetch(&d, 2000000), ==, 0);
	d.f->by_itself = true;
	for (unsigned again = 0; again < 3; again++) {
		say(&d, 100 + again);
		seconds(&d, 2);
		CHECK_INT(resident(&d, 1, 12), ==, (again ? 0 : 12));
		deep_put(&d, 3000000 + again * 1000, 300);
		deep_rest(&d);
		CHECK_INT(resident(&d, 1, 12), ==, 0);
	}
	/* it has had another turn */
	CHECK_OK(talk_state(d.a, id, RING_STATE_RESUME, 0, 0));
	deep_rest(&d);
	CHECK_OK(talk_state(d.a, id, RING_STATE_PAUSE, 0, 0));
	deep_put(&d, 4000000, 300);
	deep_rest(&d);
	CHECK_INT(resident(&d, 1, 12), ==, 0);
	CHECK_INT(deep_fetch(&d, 2000000), ==, 0);
	d.f->by_itself = true;
	say(&d, 100);
	seconds(&d, 2);
	CHECK_INT(resident(&d, 1, 12), ==, 12);
	deep_end(&d);
}

TEST(what_follows_in_the_chain_comes_as_well)
{
	struct deep d;
	uint64_t id;

	deep_begin(&d, 8);
	id = sleeper(&d, 1, 12, 0);
	CHECK_INT(deep_fetch(&d, 2000000), ==, 0);
	CHECK_INT(deep_fetch(&d, 5), ==, 0);
	deep_rest(&d);
	CHECK_INT(resident(&d, 1, 4), ==, 0);
	CHECK_INT(resident(&d, 5, 8), ==, 8);
	CHECK(id != 0);
	deep_end(&d);
}

/* Nobody waits for it, so nothing that was used since leaves for it. */
TEST(what_is_ahead_pushes_nothing_warmer_out)
{
	struct deep d;
	uint64_t id;

	deep_begin(&d, 2);
	id = sleeper(&d, 1, 30, 0);
	/* all that the server has is fresh: sixteen blocks */
	for (uint64_t n = 0; n < 16; n++)
		CHECK_INT(deep_fetch(&d, 2000000 + n), ==, 0);
	CHECK_OK(talk_state(d.a, id, RING_STATE_RESUME, 0, 0));
	for (uint64_t n = 0; n < 16; n++)
		if (world_has(d.w, 2000000 + n, PART))
			sim_touch(d.a, 2000000 + n, PART);
	store_touches(d.a->c);
	deep_rest(&d);
	CHECK_INT(resident(&d, 1, 30), ==, 0);
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

TEST(everything_is_saved_before_the_end)
{
	struct deep d;
	unsigned turns = 0;

	deep_begin(&d, 4);
	deep_put(&d, 1, 50);
	CHECK_INT(d.f->writes, ==, 0);
	while (store_save(d.w->s, d.w->now)) {
		fake_tier_end_all(d.f);
		d.w->now += WORLD_SEC / 1000;
		CHECK_INT(turns++, <, 1000);
	}
	CHECK_OK(store_below_stop(d.w->s, d.w->now));
	for (uint64_t n = 1; n <= 50; n++)
		CHECK(deep_below(&d, n));
	CHECK_INT(deep_up(&d, 99, TIER_WAITED, NULL), ==, OC_MISS);
	deep_end(&d);
}

static unsigned saved_of(const struct deep *d, uint64_t first, uint64_t n)
{
	unsigned there = 0;

	for (uint64_t i = first; i < first + n; i++)
		there += deep_below(d, i);
	return there;
}

static void save_all(struct deep *d)
{
	unsigned turns = 0;

	while (store_save(d->w->s, d->w->now)) {
		fake_tier_end_all(d->f);
		d->w->now += WORLD_SEC / 1000;
		CHECK_INT(turns++, <, 1000);
	}
}

/* What is used most of late is what a drive that is too small gets. */
TEST(a_save_begins_with_the_warmest)
{
	struct deep d;

	deep_begin(&d, 4);
	d.f->limit = 20 * PART_BYTES;
	deep_put(&d, 1, 50);
	CHECK_INT(d.f->writes, ==, 0);
	for (uint64_t n = 1; n <= 50; n += 5)
		sim_touch(d.a, n, PART);
	store_touches(d.a->c);
	save_all(&d);
	for (uint64_t n = 1; n <= 50; n += 5)
		CHECK(deep_below(&d, n));
	CHECK_INT(saved_of(&d, 1, 50), >=, 18);
	CHECK_INT(saved_of(&d, 1, 30), ==, 6); /* the coldest */
	deep_end(&d);
}

/* Parts in arenas of their own, and far more of them than may fly at once. */
TEST(a_save_is_of_whole_blocks)
{
	const struct world_config config = { .limit = 16 * DEEP_SLAB,
					     .slab_bytes = DEEP_SLAB };
	unsigned whole = 0, parts = 0;
	struct deep d;
	uint32_t ns;

	deep_begin_as(&d, &config, NULL);
	d.f->limit = 85 * PART_BYTES; /* two, and some */
	ns = world_ns(d.w, 4, 10, PART_BYTES, 3);
	for (unsigned i = 0; i < 40; i++)
		for (uint64_t n = 1; n <= 4; n++)
			sim_put(d.a, n,
				frame_part(ns, (uint16_t)(i / 10),
					   (uint16_t)(i % 10)));
	CHECK_INT(d.f->writes, ==, 0);
	save_all(&d);
	for (uint64_t n = 1; n <= 4; n++) {
		unsigned of = 0;

		for (unsigned i = 0; i < 40; i++) {
			uint64_t key[4];

			key_of(n, key);
			of += fake_tier_has(
				d.f, key,
				(uint32_t)(frame_part(ns, (uint16_t)(i / 10),
						      (uint16_t)(i % 10)) &
					   UINT32_MAX));
		}
		whole += of == 40;
		parts += of;
	}
	CHECK_INT(whole, ==, 2);
	CHECK_INT(parts, <=, 85);
	deep_end(&d);
}

TEST(a_save_without_memory_for_its_order_saves_all)
{
	struct deep d;

	deep_begin(&d, 4);
	deep_put(&d, 1, 10);
	fault_arm(FAULT_ALLOC, 1, false);
	store_save(d.w->s, d.w->now);
	CHECK(fault_fired());
	fault_arm(0, 0, false);
	save_all(&d);
	CHECK_INT(saved_of(&d, 1, 10), ==, 10);
	deep_end(&d);
}

TEST(a_save_ends_when_the_drive_takes_nothing)
{
	struct deep d;

	deep_begin(&d, 4);
	deep_put(&d, 1, 50);
	d.f->state = TIER_READONLY;
	d.w->now += WORLD_SEC;
	CHECK(!store_save(d.w->s, d.w->now));
	deep_end(&d);
}

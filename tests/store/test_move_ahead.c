/* SPDX-License-Identifier: Apache-2.0 */
/* What is brought up before anybody waits for it. */
#include "store/internal.h"
#include "tests/store/deep.h"
#include "tests/store/talk.h"

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

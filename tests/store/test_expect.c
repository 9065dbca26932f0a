/* SPDX-License-Identifier: Apache-2.0 */
/* What others say of sessions that go on next: whose word stands, until when, and
 * that the policy believes it as far as it has come true. */
#include "base/rng.h"
#include "policy/policy.h"
#include "tests/store/talk.h"

struct said {
	const char *name;
	uint64_t in_ms;
};

/* What is not answered with 0 is the result, else how many are there. */
static int64_t say(struct sim *c, const struct said *said, uint32_t n)
{
	struct ring_call call = { .op = RING_SESSION_EXPECT, .arg = n };
	int64_t r;

	for (uint32_t i = 0; i < MIN(n, RING_NEXT_MOST); i++) {
		struct ring_next next = { .in_ms = said[i].in_ms };

		memcpy(next.name, said[i].name,
		       strnlen(said[i].name, sizeof(next.name)));
		shared_store_bytes(c->cs->blob + i * 9, sizeof(next), &next,
				   sizeof(next));
	}
	r = sim_call(c, call);
	return r ? r : (int64_t)c->w->last.loc;
}

static int64_t say_one(struct sim *c, const char *name, uint64_t in_ms)
{
	return say(c, &(struct said){ name, in_ms }, 1);
}

static struct world *start(struct sim **ret_a, struct sim **ret_b)
{
	struct world *w = world_create_with(&talk_world, &policy_onecopy);

	store_pool_serve(w->p);
	*ret_a = sim_add(w, 0);
	*ret_b = sim_add(w, 1);
	return w;
}

static uint64_t told(struct world *w, enum pool_counter which)
{
	return pool_counter(w->p, which);
}

TEST(the_newest_word_counts)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_append(a, id, 0, 1, 3));
	CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 5000, 0));
	CHECK_INT(say_one(b, "one", 2000), ==, 1);
	CHECK_INT(talk_said(w, id).expected_ms, ==, 2000);
	/* nobody is attached or resumed, and its lease is what it was */
	CHECK_INT(talk_said(w, id).state, ==, SESSION_PAUSED);
	CHECK_INT(talk_said(w, id).owner, ==, a->id);
	CHECK_INT(talk_said(w, id).lease_ms, ==, TALK_LEASE);
	CHECK_INT(say_one(b, "one", 3000), ==, 1);
	CHECK_INT(talk_said(w, id).expected_ms, ==, 3000);
	/* its own */
	CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 7000, 0));
	CHECK_INT(talk_said(w, id).expected_ms, ==, 7000);
	CHECK_INT(say_one(b, "one", 3000), ==, 1);
	CHECK_INT(say_one(b, "one", 0), ==, 1);
	CHECK_INT(talk_said(w, id).expected_ms, ==, 0);
	CHECK_INT(say_one(b, "one", 3000), ==, 1);
	CHECK_OK(talk_state(a, id, RING_STATE_RESUME, 0, 0));
	CHECK_INT(talk_said(w, id).expected_ms, ==, 0);
	CHECK_INT(told(w, POOL_C_session_told), ==, 4);
	CHECK_INT(told(w, POOL_C_session_told_back), ==, 1);
	world_check(w);
	world_destroy(w);
}

/* Others take back what others said, and no more than that. */
TEST(its_own_word_is_not_theirs_to_take_back)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id, own;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_append(a, id, 0, 1, 1));
	sim_put(a, 1, PART);
	CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 7000, 0));
	own = expect_rate(w->s, w->p, talk_record(w, id));
	CHECK_INT(say_one(b, "one", 0), ==, 1);
	CHECK_INT(talk_said(w, id).expected_ms, ==, 7000);
	CHECK_INT(expect_rate(w->s, w->p, talk_record(w, id)), ==, own);
	CHECK_INT(told(w, POOL_C_session_told), ==, 0);
	CHECK_OK(talk_state(a, id, RING_STATE_RESUME, 0, 0));
	CHECK_INT(told(w, POOL_C_session_told_back), ==, 0);
	world_check(w);
	world_destroy(w);
}

/* What was said while it was active stands when it pauses and says nothing. */
TEST(a_word_waits_for_the_pause)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_append(a, id, 0, 1, 3));
	CHECK_INT(say_one(b, "one", 6000), ==, 1);
	CHECK_INT(talk_said(w, id).state, ==, SESSION_ACTIVE);
	CHECK_INT(talk_said(w, id).expected_ms, ==, 6000);
	world_tick(w, WORLD_SEC);
	CHECK_OK(talk_append(a, id, 3, 4, 1));
	CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 0, 0));
	CHECK_INT(talk_said(w, id).expected_ms, ==, 5000);
	CHECK_INT(talk_said(w, id).lease_ms, ==, TALK_LEASE);
	world_tick(w, 2 * WORLD_SEC);
	CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 0, 0));
	CHECK_INT(talk_said(w, id).expected_ms, ==, 3000);
	/* when its time is over it stands no more */
	world_tick(w, 4 * WORLD_SEC);
	CHECK_INT(talk_said(w, id).expected_ms, ==, 0);
	CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 0, 0));
	CHECK_OK(talk_state(a, id, RING_STATE_RESUME, 0, 0));
	CHECK_INT(told(w, POOL_C_session_told_back), ==, 0);
	world_check(w);
	world_destroy(w);
}

/* It comes back long after: not because of the word. */
TEST(who_comes_late_does_not_come_as_told)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id;

	CHECK_OK(talk_open(a, "one", 0, &id));
	for (unsigned late = 0; late < 2; late++) {
		CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 0, 0));
		CHECK_INT(say_one(b, "one", 2000), ==, 1);
		world_tick(w, (late ? 10 : 2) * WORLD_SEC);
		CHECK_OK(talk_state(a, id, RING_STATE_RESUME, 0, 0));
		CHECK_INT(told(w, POOL_C_session_told_back), ==, 1);
	}
	world_check(w);
	world_destroy(w);
}

/* No order has seen it: a word is not why its blocks push out others'. */
TEST(one_that_nobody_knows_is_not_sure_to_come)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_append(a, id, 0, 1, 1));
	sim_put(a, 1, PART);
	CHECK_INT(say_one(b, "one", 1), ==, 1);
	CHECK_INT(expect_rate(w->s, w->p, talk_record(w, id)), ==, 1);
	world_check(w);
	world_destroy(w);
}

TEST(what_is_not_there_is_passed_over)
{
	static const struct said list[] = {
		{ "none", 1 }, { "one", UINT64_MAX }, { "", 1 }, { "two", 1000 }
	};
	static const struct said back = { "none", 0 };
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	struct said many[RING_NEXT_MOST];
	uint64_t one, two;

	CHECK_INT(say(b, list, 4), ==, 0);
	CHECK_OK(talk_open(a, "one", 0, &one));
	CHECK_OK(talk_open(a, "two", 0, &two));
	CHECK_INT(say(b, list, 4), ==, 2);
	CHECK_INT(say(b, &back, 1), ==, 0);
	CHECK_INT(talk_said(w, one).expected_ms, ==, 10 * TALK_LEASE);
	CHECK_INT(talk_said(w, two).expected_ms, ==, 1000);
	CHECK_INT(told(w, POOL_C_session_told), ==, 2);
	CHECK_INT(told(w, POOL_C_session_told_unknown), ==, 6);
	for (unsigned i = 0; i < RING_NEXT_MOST; i++)
		many[i] = (struct said){ i % 2 ? "one" : "two", i };
	CHECK_INT(say(b, many, RING_NEXT_MOST), ==, RING_NEXT_MOST);
	CHECK_INT(talk_said(w, one).expected_ms, ==, RING_NEXT_MOST - 1);
	CHECK_INT(say(b, many, RING_NEXT_MOST + 1), ==, -EINVAL);
	CHECK_INT(say(b, many, 0), ==, -EINVAL);
	CHECK_INT(sim_call(b, (struct ring_call){ .op = RING_SESSION_EXPECT,
						  .arg = UINT64_MAX }),
		  ==, -EINVAL);
	b->c->read_only = true;
	CHECK_INT(say_one(b, "one", 5), ==, -EPERM);
	CHECK_INT(talk_said(w, one).expected_ms, ==, RING_NEXT_MOST - 1);
	world_check(w);
	world_destroy(w);
}

/* Names without an end, bytes of any kind, while sessions come and go. */
TEST(any_bytes_at_all)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	struct rng r = { 7 };
	uint64_t id;

	CHECK_OK(talk_open(a, NULL, 0, &id));
	for (unsigned i = 0; i < 200; i++) {
		struct ring_call call = { .op = RING_SESSION_EXPECT,
					  .arg = 1 + rng_below(&r, 256) };

		for (unsigned k = 0; k < RING_NEXT_MOST * 9; k++)
			shared_store64(&b->cs->blob[k], rng_next(&r));
		CHECK_OK(sim_call(b, call));
		CHECK_INT(w->last.loc, ==, 0);
		world_tick(w, WORLD_SEC / 100);
	}
	CHECK_INT(talk_said(w, id).expected_ms, ==, 0);
	world_check(w);
	world_destroy(w);
}

/* The word outlives the server. */
TEST(a_new_server_knows_it)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 0, 0));
	CHECK_INT(say_one(b, "one", 4000), ==, 1);
	world_restart(w);
	CHECK_INT(talk_said(w, id).expected_ms, ==, 4000);
	CHECK_OK(talk_state(a, id, RING_STATE_RESUME, 0, 0));
	CHECK_INT(told(w, POOL_C_session_told_back), ==, 1);
	world_check(w);
	world_destroy(w);
}

/* ---- belief ----------------------------------------------------------------- */

#define EACH TALK_EACH

static const char *const names[] = { "zero", "one" };

struct scene {
	struct world *w;
	struct sim *c, *flow;
	uint64_t id[2], other;
};

static void pass(struct scene *s, uint64_t ms)
{
	world_tick(s->w, ms * (WORLD_SEC / 1000));
}

static void turn(struct scene *s, unsigned i)
{
	CHECK_OK(talk_state(s->c, s->id[i], RING_STATE_RESUME, 0, 0));
	for (unsigned n = EACH * i; n < EACH * (i + 1); n++)
		if (!world_has(s->w, n, PART))
			sim_put(s->c, n, PART);
	CHECK_OK(talk_state(s->c, s->id[i], RING_STATE_PAUSE, 0, 0));
}

/* Two agents have had their turns, and memory is full of them. */
static void both(struct scene *s)
{
	for (unsigned i = 0; i < 2 * EACH; i++)
		sim_put(s->c, s->other++, PART);
	pass(s, 600000); /* those are due no more */
	turn(s, 0);
	pass(s, 1000);
	turn(s, 1);
	pass(s, 30000);
}

/* The workflow has let one or the other go on, and said so before. */
static void begin(struct scene *s, const struct policy_ops *policy)
{
	struct rng r = { 3 };

	s->w = world_create_with(&talk_two, policy);
	store_pool_serve(s->w->p);
	s->c = sim_add(s->w, 0);
	s->flow = sim_add(s->w, 1);
	s->other = 1000;
	for (unsigned i = 0; i < 2; i++) {
		CHECK_OK(talk_open(s->c, names[i], 0, &s->id[i]));
		CHECK_OK(talk_append(s->c, s->id[i], 0, EACH * i, EACH));
	}
	for (unsigned i = 0; i < 100; i++) {
		unsigned next = (unsigned)rng_below(&r, 2);

		both(s);
		CHECK_INT(say_one(s->flow, names[next], 10000), ==, 1);
		pass(s, 10000);
		turn(s, next);
	}
	both(s);
}

static uint64_t rate(struct scene *s, unsigned i)
{
	return expect_rate(s->w->s, s->w->p, talk_record(s->w, s->id[i]));
}

/* Words that have been right so far: who is spoken of is worth more than the
 * other, and than before, whichever of the two it is. */
TEST(their_word_is_believed)
{
	for (unsigned who = 0; who < 2; who++) {
		struct scene s;
		uint64_t before;

		begin(&s, &policy_onecopy);
		before = rate(&s, who);
		CHECK_INT(say_one(s.flow, names[who], 10000), ==, 1);
		CHECK_INT(rate(&s, who), >, before * 3 / 2);
		CHECK_INT(rate(&s, who), >, rate(&s, 1 - who) * 3 / 2);
		CHECK_INT(say_one(s.flow, names[who], 0), ==, 1);
		CHECK_INT(rate(&s, who), <=, before);
		world_check(s.w);
		world_destroy(s.w);
	}
}

TEST(a_policy_without_sessions_is_told_nothing)
{
	struct scene s;

	begin(&s, &policy_lru);
	CHECK_INT(say_one(s.flow, names[0], 10000), ==, 1);
	CHECK(rate(&s, 0) == UINT64_MAX);
	world_check(s.w);
	world_destroy(s.w);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The server dies after any of its stores in a request about sessions. */
#include "tests/store/cut.h"
#include "tests/store/talk.h"

#ifndef ONECOPY_RECORD

TEST(sessions_survive_a_cut_after_any_store)
{
	SKIP("stores are not recorded in this build");
}

#else

#define ALL UINT64_MAX

static const struct world_config few = {
	.limit = 2 * CUT_SLAB,
	.slab_bytes = CUT_SLAB,
	.sessions = { .max = 12,
		      .per_client = 8,
		      .keys = 1 << 20,
		      .keys_per_client = 1 << 20,
		      .lease_ms = TALK_LEASE,
		      .lease_max_ms = 10 * TALK_LEASE },
};

static uint64_t one, two;

/* "one" has keys 100 to 229 and a fork "two" that went on after 120. */
static void prepare(struct world *w)
{
	struct sim *a = sim_add(w, 0);

	sim_add(w, 1);
	sim_put(a, 1, PART);
	CHECK_OK(talk_open(a, "one", 0, &one));
	CHECK_OK(talk_append(a, one, 0, 100, 130));
	CHECK_OK(talk_fork(a, one, 120, "two", &two));
	CHECK_OK(talk_append(a, two, 120, 9000, 3));
}

static struct session_record *find(struct world *w, const char *name)
{
	return pool_session_find(w->p, name);
}

/* What nobody touched is as it was. */
static void two_is_whole(struct world *w)
{
	uint64_t keys[123][4], key[4];
	struct session_record *r = talk_record(w, two);

	CHECK(r);
	CHECK_INT(pool_session_keys(w->p, r), ==, 123);
	history_read(&w->p->sessions->history, shared_load64(&r->head), 0, 123,
		     keys);
	for (unsigned i = 0; i < 123; i++) {
		key_of(i < 120 ? 100 + i : 9000 + i - 120, key);
		CHECK_MEM(keys[i], key, sizeof(key));
	}
}

/* The request was in the ring before the server died: it was served, once. */
static uint64_t answered(struct world *w, unsigned sim)
{
	struct sim *c = &w->sim[sim];

	CHECK_OK(sim_answer(c, c->slot));
	return w->last.loc;
}

static void act_first(struct world *w)
{
	sim_call(&w->sim[0], talk_open_call("first", 0));
}

static void prepare_none(struct world *w)
{
	sim_add(w, 0);
	sim_add(w, 1);
}

static void after_first(struct world *w)
{
	CHECK(talk_record(w, answered(w, 0)) == find(w, "first"));
	CHECK_INT(world_check(w).sessions, ==, 1);
}

TEST(the_first_session_of_a_pool)
{
	cut_everywhere(&(struct cut_case){ &few, prepare_none, act_first,
					   after_first });
}

static void act_open(struct world *w)
{
	sim_call(&w->sim[0], talk_open_call("three", OC_SESSION_LEASED));
}

static void after_open(struct world *w)
{
	CHECK(talk_record(w, answered(w, 0)) == find(w, "three"));
	CHECK_INT(world_check(w).sessions, ==, 3);
	two_is_whole(w);
}

TEST(open)
{
	cut_everywhere(
		&(struct cut_case){ &few, prepare, act_open, after_open });
}

static void act_nameless(struct world *w)
{
	sim_call(&w->sim[0], talk_open_call(NULL, 0));
}

static void after_nameless(struct world *w)
{
	CHECK(talk_record(w, answered(w, 0)));
	CHECK_INT(world_check(w).sessions, ==, 3); /* one, not two of them */
}

TEST(open_without_a_name)
{
	cut_everywhere(&(struct cut_case){ &few, prepare, act_nameless,
					   after_nameless });
}

static void act_take(struct world *w)
{
	sim_call(&w->sim[1], talk_open_call("two", OC_SESSION_TAKE));
}

static void after_take(struct world *w)
{
	answered(w, 1);
	CHECK_INT(shared_load64(&talk_record(w, two)->owner), ==, w->sim[1].id);
	two_is_whole(w);
}

TEST(taking_a_session)
{
	cut_everywhere(
		&(struct cut_case){ &few, prepare, act_take, after_take });
}

static void act_fork(struct world *w)
{
	uint64_t id;

	talk_fork(&w->sim[0], one, ALL, NULL, &id);
}

static void after_fork(struct world *w)
{
	talk_is(w, answered(w, 0), 100, 130);
	talk_is(w, one, 100, 130);
	two_is_whole(w);
	CHECK_INT(world_check(w).sessions, ==, 3);
}

TEST(forking)
{
	cut_everywhere(
		&(struct cut_case){ &few, prepare, act_fork, after_fork });
}

/* A key before the end of a node. */
static void prepare_edge(struct world *w)
{
	prepare(w);
	CHECK_OK(talk_append(&w->sim[0], one, 130, 230, 55));
}

/* Over the edge, and few: the orders of n stores are n^3 / 6. */
static void act_append(struct world *w)
{
	talk_append(&w->sim[0], one, 185, 285, 3);
}

static void after_append(struct world *w)
{
	answered(w, 0);
	talk_is(w, one, 100, 188);
	two_is_whole(w);
}

TEST(append_of_many)
{
	cut_everywhere(&(struct cut_case){ &few, prepare_edge, act_append,
					   after_append });
}

/* The node's last key is put over one that a fork left behind. */
static void prepare_left(struct world *w)
{
	prepare_edge(w);
	CHECK_OK(talk_fork(&w->sim[0], one, ALL, "left", &two));
	CHECK_OK(talk_append(&w->sim[0], two, 185, 7000, 1));
	CHECK_OK(talk_state(&w->sim[0], two, RING_STATE_CLOSE, 0, 0));
	two = pool_session_id(w->p, find(w, "two"));
}

TEST(append_over_what_was_left)
{
	cut_everywhere(&(struct cut_case){ &few, prepare_left, act_append,
					   after_append });
}

static void act_append_one(struct world *w)
{
	talk_append(&w->sim[0], two, 123, 9003, 1);
}

static void after_append_one(struct world *w)
{
	answered(w, 0);
	CHECK_INT(pool_session_keys(w->p, talk_record(w, two)), ==, 124);
	talk_is(w, one, 100, 130);
}

TEST(append_of_one)
{
	cut_everywhere(&(struct cut_case){ &few, prepare, act_append_one,
					   after_append_one });
}

static void prepare_much(struct world *w)
{
	prepare(w);
	for (uint32_t n = 130; n < 30130; n += 2000)
		CHECK_OK(talk_append(&w->sim[0], one, n, 100 + n, 2000));
}

/* The cuts between the keys are like those of the short one: only the growth
 * of the history is new, and it is at the beginning. */
static void act_grow(struct world *w)
{
	CHECK_OK(pool_session_reserve(w->p, SESSION_NODES));
}

static void after_grow(struct world *w)
{
	talk_is(w, one, 100, 30130 + 0);
	world_tick(w, WORLD_SEC);
	two_is_whole(w);
}

TEST(history_that_grows)
{
	cut_everywhere(
		&(struct cut_case){ &few, prepare_much, act_grow, after_grow });
}

static void prepare_shrink(struct world *w)
{
	uint64_t big;

	prepare(w);
	CHECK_OK(talk_open(&w->sim[1], "big", 0, &big));
	for (uint32_t n = 0; n < 66000; n += 2000)
		CHECK_OK(talk_append(&w->sim[1], big, n, 50000 + n, 2000));
	CHECK_INT(w->p->sessions->history.n_segs, ==, 3);
}

static void act_shrink(struct world *w)
{
	talk_state(&w->sim[1], pool_session_id(w->p, find(w, "big")),
		   RING_STATE_CLOSE, 0, 0);
	world_tick(w, WORLD_SEC);
}

static void after_shrink(struct world *w)
{
	answered(w, 1);
	world_tick(w, WORLD_SEC);
	CHECK_INT(w->p->sessions->history.n_segs, <=, 2);
	talk_is(w, one, 100, 130);
	two_is_whole(w);
}

TEST(history_that_shrinks)
{
	cut_everywhere(&(struct cut_case){ &few, prepare_shrink, act_shrink,
					   after_shrink });
}

static void act_pause(struct world *w)
{
	talk_state(&w->sim[0], two, RING_STATE_PAUSE, 1000, 0);
}

static void after_pause(struct world *w)
{
	struct session_said s;

	answered(w, 0);
	s = talk_said(w, two);
	CHECK_INT(s.state, ==, SESSION_PAUSED);
	CHECK_INT(s.turns, ==, 1);
	CHECK_INT(s.expected_ms, ==, 1000);
	two_is_whole(w);
}

TEST(pausing)
{
	cut_everywhere(
		&(struct cut_case){ &few, prepare, act_pause, after_pause });
}

static void act_expect(struct world *w)
{
	struct sim *b = &w->sim[1];
	struct ring_next next[2] = { { .name = "one", .in_ms = 1000 },
				     { .name = "none", .in_ms = 2000 } };

	uint64_t words[sizeof(next) / 8];

	/* the client's own stores are not cut */
	memcpy(words, next, sizeof(next));
	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		atomic_store_explicit(&b->cs->blob[i], words[i],
				      memory_order_relaxed);
	sim_call(b, (struct ring_call){ .op = RING_SESSION_EXPECT, .arg = 2 });
}

static void after_expect(struct world *w)
{
	CHECK_INT(answered(w, 1), ==, 1);
	CHECK_INT(talk_said(w, one).expected_ms, ==, 1000);
	CHECK_INT(talk_said(w, one).state, ==, SESSION_ACTIVE);
	CHECK_INT(talk_said(w, two).expected_ms, ==, 0);
	two_is_whole(w);
}

TEST(what_others_expect)
{
	cut_everywhere(
		&(struct cut_case){ &few, prepare, act_expect, after_expect });
}

static void prepare_paused(struct world *w)
{
	prepare(w);
	CHECK_OK(talk_state(&w->sim[0], two, RING_STATE_PAUSE, 1000, 0));
	w->now += 2 * WORLD_SEC;
	w->s->now_ns = w->now;
}

static void act_resume(struct world *w)
{
	talk_state(&w->sim[0], two, RING_STATE_RESUME, 0, 0);
}

static void after_resume(struct world *w)
{
	struct session_said s;

	answered(w, 0);
	s = talk_said(w, two);
	CHECK_INT(s.state, ==, SESSION_ACTIVE);
	CHECK_INT(s.turns, ==, 2);
	CHECK(s.last_gap_ms == 0 || s.last_gap_ms == 2000);
	two_is_whole(w);
}

TEST(resuming)
{
	cut_everywhere(&(struct cut_case){ &few, prepare_paused, act_resume,
					   after_resume });
}

static void act_renew(struct world *w)
{
	talk_state(&w->sim[0], two, RING_STATE_RENEW, 0, 2 * TALK_LEASE);
}

static void after_renew(struct world *w)
{
	answered(w, 0);
	CHECK_INT(talk_said(w, two).state, ==, SESSION_PAUSED);
	two_is_whole(w);
}

TEST(renewing_a_lease)
{
	cut_everywhere(&(struct cut_case){ &few, prepare_paused, act_renew,
					   after_renew });
}

static void act_close(struct world *w)
{
	talk_state(&w->sim[0], one, RING_STATE_CLOSE, 0, 0);
}

static void after_close(struct world *w)
{
	answered(w, 0);
	CHECK(!talk_record(w, one));
	CHECK(!find(w, "one"));
	CHECK_INT(world_check(w).sessions, ==, 1);
	two_is_whole(w);
}

TEST(closing)
{
	cut_everywhere(
		&(struct cut_case){ &few, prepare, act_close, after_close });
}

static void act_lapse(struct world *w)
{
	world_tick(w, WORLD_SEC * (TALK_LEASE / 1000 + 1));
}

static void after_lapse(struct world *w)
{
	world_tick(w, WORLD_SEC);
	CHECK_INT(world_check(w).sessions, ==, 0);
	CHECK_INT(world_check(w).history_nodes, ==, 0);
}

TEST(leases_that_run_out)
{
	cut_everywhere(
		&(struct cut_case){ &few, prepare, act_lapse, after_lapse });
}

static void prepare_owner(struct world *w)
{
	uint64_t other;

	prepare(w);
	CHECK_OK(talk_state(&w->sim[0], two, RING_STATE_PAUSE, 1000, 0));
	CHECK_OK(talk_open(&w->sim[1], "other", 0, &other));
	CHECK_OK(talk_append(&w->sim[1], other, 0, 100, 100));
}

static void act_die(struct world *w)
{
	w->sim[0].alive = false;
	sim_die(&w->sim[0]);
}

static void after_die(struct world *w)
{
	CHECK(!talk_record(w, one));
	two_is_whole(w);
	CHECK_INT(shared_load64(&talk_record(w, two)->owner), ==, 0);
	CHECK(find(w, "other"));
	CHECK_INT(world_check(w).sessions, ==, 2);
}

TEST(an_owner_that_dies)
{
	cut_everywhere(
		&(struct cut_case){ &few, prepare_owner, act_die, after_die });
}

/* It had asked for something when it died, which a successor may serve: on a
 * session that has lost its owner it must not. */
static void prepare_asking(struct world *w)
{
	struct ring_call call;

	prepare(w);
	CHECK_OK(talk_state(&w->sim[0], two, RING_STATE_PAUSE, 1000, 0));
	call = talk_append_call(&w->sim[0], two, 123, 9003, 1);
	sim_push(&w->sim[0], &call);
}

static void after_asking(struct world *w)
{
	const struct session_record *r = talk_record(w, two);

	if (r)
		CHECK_INT(talk_said(w, two).state, ==, SESSION_PAUSED);
	CHECK_INT(world_check(w).sessions, ==, r ? 1 : 0);
}

TEST(an_owner_that_dies_while_it_asks)
{
	cut_everywhere(&(struct cut_case){ &few, prepare_asking, act_die,
					   after_asking });
}

/* ---- the tail --------------------------------------------------------------- */

static void prepare_tail(struct world *w)
{
	prepare(w);
	CHECK_OK(sim_grant_wait(&w->sim[0], 77777, PART));
}

static void act_tail_append(struct world *w)
{
	struct sim *a = &w->sim[0];

	sim_call(a, talk_tail_call(a, one, 230, 0, 130, RING_TAIL_APPEND,
				   &a->grant[0]));
}

static void after_tail_append(struct world *w)
{
	answered(w, 0);
	w->sim[0].n_grants = 0;
	CHECK(world_has(w, 230, PART));
	CHECK(!world_has(w, 77777, PART));
	talk_is(w, one, 100, 131);
	two_is_whole(w);
}

TEST(a_tail_that_is_full)
{
	cut_everywhere(&(struct cut_case){ &few, prepare_tail, act_tail_append,
					   after_tail_append });
}

static void act_tail_note(struct world *w)
{
	struct sim *a = &w->sim[0];

	sim_call(a, talk_tail_call(a, one, 500, 9, 130, RING_TAIL_NOTE,
				   &a->grant[0]));
}

static void after_tail_note(struct world *w)
{
	struct session_said s = { 0 };
	uint64_t key[4];

	answered(w, 0);
	w->sim[0].n_grants = 0;
	CHECK(world_has(w, 500, PART));
	s = talk_said(w, one);
	key_of(500, key);
	CHECK_INT(s.tail_tokens, ==, 9);
	CHECK_MEM(s.tail_key, key, sizeof(key));
	two_is_whole(w);
}

TEST(a_tail_that_is_shared)
{
	cut_everywhere(&(struct cut_case){ &few, prepare_tail, act_tail_note,
					   after_tail_note });
}
#endif

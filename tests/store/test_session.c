/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: their life, who may what, leases, quotas, hostile requests. */
#include "tests/store/talk.h"

#define ALL UINT64_MAX

static struct world *start(struct sim **ret_a, struct sim **ret_b)
{
	struct world *w = world_create(&talk_world);

	*ret_a = sim_add(w, 0);
	*ret_b = sim_add(w, 1);
	return w;
}

TEST(opened_appended_closed)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id, again;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_INT(w->last.arg2, ==, 1); /* it was made */
	CHECK_OK(talk_append(a, id, 0, 100, 1));
	CHECK_OK(talk_append(a, id, 1, 101, 500));
	talk_is(w, id, 100, 501);
	CHECK_OK(talk_open(a, "one", 0, &again));
	CHECK_INT(again, ==, id);
	CHECK_INT(w->last.arg2, ==, 0);
	CHECK_INT(w->last.gen, ==, 501);
	world_check(w);
	CHECK_OK(talk_state(a, id, RING_STATE_CLOSE, 0, 0));
	CHECK_INT(talk_append(a, id, 501, 7, 1), ==, OC_MISS);
	CHECK_INT(talk_state(a, id, RING_STATE_CLOSE, 0, 0), ==, OC_MISS);
	CHECK_INT(world_check(w).history_nodes, ==, 0);
	/* the record is used again, the id is not */
	CHECK_OK(talk_open(a, "one", 0, &again));
	CHECK_INT((uint32_t)again, ==, (uint32_t)id);
	CHECK(again != id);
	CHECK_INT(talk_append(a, id, 0, 7, 1), ==, OC_MISS);
	world_destroy(w);
}

TEST(append_says_where)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id;

	CHECK_OK(talk_open(a, "one", OC_SESSION_LEASED, &id));
	CHECK_OK(talk_append(a, id, 0, 100, 200));
	/* the same once more, and a part of it: nothing changes */
	CHECK_OK(talk_append(a, id, 0, 100, 200));
	CHECK_OK(talk_append(b, id, 150, 250, 50));
	talk_is(w, id, 100, 200);
	/* half of it is there */
	CHECK_OK(talk_append(b, id, 190, 290, 20));
	talk_is(w, id, 100, 210);
	/* other keys, a gap, keys that others have gone on from */
	CHECK_INT(talk_append(a, id, 200, 999, 10), ==, OC_STALE);
	CHECK_INT(talk_append(a, id, 211, 311, 1), ==, OC_STALE);
	CHECK_INT(talk_append(a, id, 0, 100, 5), ==, OC_STALE);
	CHECK_INT(talk_append(a, id, 0, 100, 0), ==, -EINVAL);
	talk_is(w, id, 100, 210);
	world_check(w);
	world_destroy(w);
}

TEST(forks_share_their_history)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id, child, other;
	uint32_t nodes;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_append(a, id, 0, 100, 1000));
	nodes = w->p->sessions->history.n_used;
	CHECK_OK(talk_fork(a, id, ALL, "two", &child));
	CHECK_OK(talk_fork(b, id, 70, NULL, &other));
	CHECK_INT(w->p->sessions->history.n_used, ==, nodes);
	talk_is(w, child, 100, 1000);
	talk_is(w, other, 100, 70);
	/* each goes on by itself */
	CHECK_OK(talk_append(a, id, 1000, 5000, 10));
	CHECK_OK(talk_append(a, child, 1000, 6000, 10));
	CHECK_OK(talk_append(b, other, 70, 7000, 100));
	CHECK_INT(talk_said(w, id).shared_with, ==, 2);
	CHECK_INT(talk_said(w, id).shared_keys, ==, 1000);
	CHECK_INT(talk_said(w, other).shared_keys, ==, 70);
	world_check(w);
	/* the parent's end leaves the children what they have */
	CHECK_OK(talk_state(a, id, RING_STATE_CLOSE, 0, 0));
	CHECK_INT(talk_said(w, child).shared_keys, ==, 70);
	world_check(w);
	world_restart(w);
	world_check(w);
	CHECK_INT(pool_session_keys(w->p, talk_record(w, child)), ==, 1010);
	CHECK_INT(pool_session_keys(w->p, talk_record(w, other)), ==, 170);
	CHECK_INT(talk_fork(a, child, 5000, NULL, &other), ==, OC_STALE);
	CHECK_INT(talk_fork(a, child, ALL, "two", &other), ==, OC_EXISTS);
	CHECK_INT(talk_fork(a, id, ALL, NULL, &other), ==, OC_MISS);
	world_destroy(w);
}

/* Not forks, but the same conversation: one replica of its keys as well. */
TEST(the_same_keys_are_one_history)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t one, two, three;
	uint32_t nodes;

	CHECK_OK(talk_open(a, "one", 0, &one));
	CHECK_OK(talk_append(a, one, 0, 100, 700));
	nodes = w->p->sessions->history.n_used;
	CHECK_OK(talk_open(b, "two", 0, &two));
	for (uint32_t i = 0; i < 700; i += 7)
		CHECK_OK(talk_append(b, two, i, 100 + i, 7));
	CHECK_INT(w->p->sessions->history.n_used, ==, nodes);
	CHECK_INT(talk_said(w, two).shared_keys, ==, 700);
	/* in another namespace they are other keys */
	CHECK_INT(world_ns(w, 1, 1, 4096, 9), ==, 2);
	CHECK_INT(talk_open(b, "one", 0, &three), ==, OC_BUSY);
	{
		struct ring_call call = talk_open_call("three", 0);

		call.part = frame_part(2, 0, 0);
		CHECK_OK(sim_call(b, call));
		three = w->last.loc;
		ring_call_set_name(&call, "two");
		CHECK_INT(sim_call(b, call), ==, -EEXIST);
	}
	CHECK_OK(talk_append(b, three, 0, 100, 700));
	CHECK_INT(w->p->sessions->history.n_used, ==, 2 * nodes);
	CHECK_INT(talk_said(w, three).shared_with, ==, 0);
	world_check(w);
	world_destroy(w);
}

TEST(an_owner_keeps_others_out)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id, same;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_INT(talk_open(b, "one", 0, &same), ==, OC_BUSY);
	CHECK_INT(talk_append(b, id, 0, 1, 1), ==, OC_BUSY);
	CHECK_INT(talk_state(b, id, RING_STATE_RENEW, 0, 0), ==, OC_BUSY);
	CHECK_INT(talk_open(a, "one", OC_SESSION_NEW, &same), ==, OC_EXISTS);
	CHECK_OK(talk_open(b, "one", OC_SESSION_FIND, &same));
	CHECK_INT(same, ==, id);
	CHECK_INT(talk_open(b, "none", OC_SESSION_FIND, &same), ==, OC_MISS);
	/* taken: the former owner is told */
	CHECK_OK(talk_open(b, "one", OC_SESSION_TAKE, &same));
	CHECK_INT(talk_append(a, id, 0, 1, 1), ==, OC_BUSY);
	CHECK_OK(talk_append(b, id, 0, 1, 1));
	sim_die(a);
	CHECK(talk_record(w, id));
	world_check(w);
	world_destroy(w);
}

TEST(a_session_ends_with_its_owner)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t gone, paused, leased, others;

	CHECK_OK(talk_open(a, "gone", 0, &gone));
	CHECK_OK(talk_open(a, "paused", 0, &paused));
	CHECK_OK(talk_open(a, "leased", OC_SESSION_LEASED, &leased));
	CHECK_OK(talk_open(b, "others", 0, &others));
	CHECK_OK(talk_append(a, paused, 0, 1, 5));
	CHECK_OK(talk_state(a, paused, RING_STATE_PAUSE, 1000, 0));
	sim_die(a);
	CHECK(!talk_record(w, gone));
	CHECK(talk_record(w, paused));
	CHECK(talk_record(w, leased));
	CHECK(talk_record(w, others));
	CHECK_INT(pool_counter(w->p, POOL_C_sessions_lapsed), ==, 1);
	world_check(w);
	/* the other goes on with it */
	CHECK_OK(talk_open(b, "paused", 0, &gone));
	CHECK_INT(gone, ==, paused);
	CHECK_OK(talk_append(b, paused, 5, 6, 5));
	talk_is(w, paused, 1, 10);
	CHECK(sim_close(b));
	CHECK(!talk_record(w, paused));
	CHECK_INT(world_check(w).sessions, ==, 1);
	world_destroy(w);
}

/* The same when nobody was there to see it. */
TEST(an_owner_that_died_without_a_server)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t gone, paused, mine;

	CHECK_OK(talk_open(a, "gone", 0, &gone));
	CHECK_OK(talk_open(a, "paused", 0, &paused));
	CHECK_OK(talk_open(b, "mine", 0, &mine));
	CHECK_OK(talk_append(b, mine, 0, 1, 300));
	CHECK_OK(talk_state(a, paused, RING_STATE_PAUSE, 0, 0));
	world_die(w);
	a->alive = false;
	CHECK_OK(world_attach(w));
	world_adopt(w);
	CHECK(!talk_record(w, gone));
	CHECK(talk_record(w, paused));
	CHECK_INT(shared_load64(&talk_record(w, paused)->owner), ==, 0);
	talk_is(w, mine, 1, 300);
	CHECK_INT(world_check(w).sessions, ==, 2);
	world_destroy(w);
}

/* A request of one that died is served again before its end is seen: what it
 * takes up has an owner still, and ends with it. */
TEST(an_owner_that_died_asking)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t resumed, grown;
	struct ring_call call;

	CHECK_OK(talk_open(a, "resumed", 0, &resumed));
	CHECK_OK(talk_open(a, "grown", 0, &grown));
	CHECK_OK(talk_state(a, resumed, RING_STATE_PAUSE, 0, 0));
	CHECK_OK(talk_state(a, grown, RING_STATE_PAUSE, 0, 0));
	call = (struct ring_call){ .op = RING_SESSION_STATE,
				   .arg = resumed,
				   .arg2 = RING_STATE_RESUME };
	sim_push(a, &call);
	call = talk_append_call(a, grown, 0, 1, 1);
	sim_push(a, &call);
	world_die(w);
	a->alive = false;
	CHECK_OK(world_attach(w));
	world_adopt(w);
	CHECK(!talk_record(w, resumed));
	CHECK(!talk_record(w, grown));
	CHECK_INT(world_check(w).sessions, ==, 0);
	world_destroy(w);
}

TEST(leases)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t used, idle, paused, longer;

	CHECK_OK(talk_open(a, "used", 0, &used));
	CHECK_OK(talk_open(a, "idle", 0, &idle));
	CHECK_OK(talk_open(a, "paused", 0, &paused));
	CHECK_OK(talk_open(a, "longer", 0, &longer));
	CHECK_OK(talk_state(a, paused, RING_STATE_PAUSE, 1000, 0));
	/* twice the expected return, beyond the lease it was opened with */
	CHECK_OK(talk_state(a, longer, RING_STATE_PAUSE, TALK_LEASE, 0));
	world_tick(w, WORLD_SEC * TALK_LEASE / 1000 - WORLD_SEC);
	CHECK_OK(talk_state(a, used, RING_STATE_RENEW, 0, 0));
	CHECK(talk_record(w, idle));
	world_tick(w, 2 * WORLD_SEC);
	CHECK(!talk_record(w, idle));
	CHECK(!talk_record(w, paused));
	CHECK(talk_record(w, used));
	CHECK_INT(talk_said(w, longer).lease_ms, ==, TALK_LEASE - 1000);
	/* what a node grants is bounded */
	CHECK_OK(talk_state(a, used, RING_STATE_PAUSE, 0, UINT64_MAX));
	CHECK_INT(talk_said(w, used).lease_ms, ==, 10 * TALK_LEASE);
	world_tick(w, WORLD_SEC * TALK_LEASE / 1000);
	CHECK(!talk_record(w, longer));
	CHECK_INT(world_check(w).sessions, ==, 1);
	world_destroy(w);
}

TEST(turns_and_gaps)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	struct session_said s;
	uint64_t id;

	CHECK_OK(talk_open(a, "one", 0, &id));
	s = talk_said(w, id);
	CHECK_INT(s.turns, ==, 1);
	CHECK_INT(s.hot_ms, ==, 0);
	CHECK(s.paused_ms == UINT64_MAX);
	world_tick(w, WORLD_SEC);
	CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 5000, 0));
	world_tick(w, 2 * WORLD_SEC);
	s = talk_said(w, id);
	CHECK(s.hot_ms == UINT64_MAX);
	CHECK_INT(s.paused_ms, ==, 2000);
	CHECK_INT(s.expected_ms, ==, 3000);
	CHECK_INT(s.used_ms, ==, 2000);
	CHECK_OK(talk_state(a, id, RING_STATE_RESUME, 0, 0));
	CHECK_OK(talk_state(a, id, RING_STATE_RESUME, 0, 0));
	s = talk_said(w, id);
	CHECK_INT(s.turns, ==, 2);
	CHECK_INT(s.last_gap_ms, ==, 2000);
	CHECK_INT(s.gap_ms, ==, 2000);
	CHECK_INT(s.hot_ms, ==, 0);
	/* an append is a turn as well */
	CHECK_OK(talk_state(a, id, RING_STATE_PAUSE, 0, 0));
	world_tick(w, 10 * WORLD_SEC);
	CHECK_OK(talk_append(a, id, 0, 1, 1));
	s = talk_said(w, id);
	CHECK_INT(s.turns, ==, 3);
	CHECK_INT(s.last_gap_ms, ==, 10000);
	CHECK_INT(s.gap_ms, ==, 2000 - 2000 / 8 + 10000 / 8);
	CHECK_INT(s.state, ==, SESSION_ACTIVE);
	world_restart(w);
	CHECK_INT(talk_said(w, id).turns, ==, 3);
	world_destroy(w);
}

TEST(quotas)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id[40], more;
	const uint32_t most = SESSION_NODES * SESSION_NODE_KEYS;
	uint32_t n = 0;

	for (unsigned i = 0; i < 24; i++)
		CHECK_OK(talk_open(a, NULL, 0, &id[i]));
	CHECK_INT(talk_open(a, NULL, 0, &more), ==, -EDQUOT);
	CHECK_INT(talk_open(a, NULL, OC_SESSION_LEASED, &more), ==, -EDQUOT);
	CHECK_INT(talk_fork(a, id[0], ALL, NULL, &more), ==, -EDQUOT);
	for (unsigned i = 24; i < 40; i++)
		CHECK_OK(talk_open(b, NULL, 0, &id[i]));
	CHECK_INT(talk_open(b, NULL, 0, &more), ==, -ENFILE);
	CHECK_INT(pool_counter(w->p, POOL_C_session_refused), ==, 4);
	/* history: the client's, then the tenant's */
	while (n + 1024 <= most) {
		CHECK_OK(talk_append(a, id[0], n, n, 1024));
		n += 1024;
	}
	CHECK_INT(talk_append(a, id[0], n, n, 1024), ==, -EDQUOT);
	CHECK_INT(pool_session_keys(w->p, talk_record(w, id[0])), ==, n);
	/* the same keys need no more of it */
	CHECK_OK(talk_append(a, id[1], 0, 0, 2048));
	CHECK_INT(pool_session_account(w->p, a->id).nodes, <=, SESSION_NODES);
	for (n = 0; n + 1024 <= most - SESSION_NODE_KEYS; n += 1024)
		CHECK_OK(talk_append(b, id[30], n, 1000000 + n, 1024));
	world_check(w);
	/* what a dead client leaves is nobody's, and what it kept comes back */
	sim_die(a);
	CHECK_INT(world_check(w).sessions, ==, 16);
	world_tick(w, WORLD_SEC);
	CHECK_INT(w->p->sessions->history.n_segs, <=, 2);
	for (unsigned i = 0; i < 24; i++)
		CHECK_OK(talk_open(sim_add(w, 2 + i % 2), NULL, 0, &id[i]));
	world_check(w);
	world_destroy(w);
}

TEST(the_tenants_history)
{
	struct world_config k = talk_world;
	struct world *w;
	struct sim *a, *b;
	uint64_t one, two;

	k.sessions.keys = SESSION_NODE_KEYS * 20;
	w = world_create(&k);
	a = sim_add(w, 0);
	b = sim_add(w, 1);
	CHECK_OK(talk_open(a, "one", 0, &one));
	CHECK_OK(talk_open(b, "two", 0, &two));
	CHECK_OK(talk_append(a, one, 0, 0, SESSION_NODE_KEYS * 15));
	CHECK_INT(talk_append(b, two, 0, 9000, SESSION_NODE_KEYS * 6), ==,
		  -ENOSPC);
	talk_is(w, two, 0, 0);
	CHECK_OK(talk_append(b, two, 0, 9000, SESSION_NODE_KEYS * 5));
	world_check(w);
	world_destroy(w);
}

/* ---- the tail --------------------------------------------------------------- */

TEST(a_tail_becomes_a_block)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	struct ring_answer grant;
	uint64_t id;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_append(a, id, 0, 100, 3));
	CHECK_OK(sim_grant_wait(a, 77777, PART)); /* a key that nobody has */
	grant = w->last;
	CHECK_OK(sim_call(a, talk_tail_call(a, id, 103, 0, 3, RING_TAIL_APPEND,
					    &grant)));
	CHECK_INT(w->last.gen, ==, 4);
	CHECK(world_has(w, 103, PART));
	CHECK(!world_has(w, 77777, PART));
	talk_is(w, id, 100, 4);
	{
		uint64_t key[4];
		uint32_t f;
		struct pool_slab *s;

		key_of(103, key);
		s = pool_find(w->p, key, PART, &f);
		CHECK_INT(shared_load64(&s->desc[f].depth), ==, 4);
	}
	a->n_grants = 0;
	world_check(w);
	world_destroy(w);
}

TEST(a_fork_shares_the_tail)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	struct ring_answer grant;
	uint64_t id, child, early;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_append(a, id, 0, 100, 3));
	CHECK_OK(sim_grant_wait(a, 77777, PART));
	grant = w->last;
	CHECK_OK(sim_call(a, talk_tail_call(a, id, 500, 9, 3, RING_TAIL_NOTE,
					    &grant)));
	a->n_grants = 0;
	CHECK_OK(talk_fork(a, id, ALL, NULL, &child));
	CHECK_INT(w->last.arg, ==, session_tail(9, 3));
	CHECK_OK(talk_fork(a, id, 3, NULL, &early));
	CHECK_INT(talk_said(w, child).tail_tokens, ==, 9);
	CHECK_INT(talk_said(w, early).tail_tokens, ==, 0);
	CHECK_INT(world_check(w).sealed, ==, 1);
	/* one that has gone on has no tail any more */
	CHECK_OK(talk_append(a, id, 3, 103, 1));
	CHECK_INT(talk_said(w, id).tail_tokens, ==, 0);
	CHECK_INT(talk_said(w, child).tail_tokens, ==, 9);
	world_destroy(w);
}

/* ---- hostile requests -------------------------------------------------------- */

TEST(forged_requests_are_refused)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id, x;
	static const char *const odd[] = { "a\nb", "\x1b[31m", "\x7f", "\xff" };
	struct ring_call call;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_append(a, id, 0, 1, 10));
	for (unsigned i = 0; i < ARRAY_LEN(odd); i++) {
		CHECK_INT(talk_open(b, odd[i], 0, &x), ==, -EINVAL);
		CHECK_INT(talk_fork(b, id, ALL, odd[i], &x), ==, -EINVAL);
	}
	for (unsigned op = RING_SESSION_FORK; op <= RING_SESSION_INFO; op++) {
		static const uint64_t forged[] = { 0, 1, UINT64_MAX, 1ull << 63,
						   0xffffffff };

		for (unsigned i = 0; i < ARRAY_LEN(forged) * 2; i++) {
			call = (struct ring_call){
				.op = op,
				.part = PART,
				.arg = i < ARRAY_LEN(forged)
					       ? forged[i]
					       : id + forged[i / 2],
				.arg2 = 1,
				.loc = UINT64_MAX,
			};
			if (call.arg != id)
				CHECK_INT(sim_call(b, call), ==, OC_MISS);
		}
	}
	/* numbers that cannot be, for a session of one's own */
	CHECK_OK(talk_open(b, "two", 0, &x));
	for (unsigned i = 0; i < 64; i++) {
		call = (struct ring_call){ .op = RING_SESSION_APPEND,
					   .arg = x,
					   .arg2 = 1ull << i };
		sim_call(b, call);
		call.op = RING_SESSION_STATE;
		if (call.arg2 != RING_STATE_CLOSE)
			sim_call(b, call);
		call.op = RING_SESSION_TAIL;
		sim_call(b, call);
		call.op = RING_SESSION_KEYS;
		sim_call(b, call);
	}
	call = (struct ring_call){ .op = RING_SESSION_OPEN,
				   .part = frame_part(200, 0, 0),
				   .arg = UINT64_MAX & ~(uint64_t)0x10c };
	CHECK_INT(sim_call(b, call), ==, -EINVAL);
	talk_is(w, id, 1, 10);
	world_check(w);
	world_destroy(w);
}

TEST(ten_thousand_sessions)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id;
	unsigned made = 0;

	for (unsigned i = 0; i < 10000; i++) {
		char name[32];
		int64_t r;

		snprintf(name, sizeof(name), "flood %u", i);
		r = talk_open(a, name, i % 3 ? 0 : OC_SESSION_LEASED, &id);
		CHECK(r == 0 || r == -EDQUOT);
		made += r == 0;
	}
	CHECK_INT(made, ==, 24);
	CHECK_OK(talk_open(b, "mine", 0, &id));
	CHECK_INT(world_check(w).sessions, ==, 25);
	world_destroy(w);
}

TEST(a_read_only_client_looks)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id, x;

	CHECK_OK(talk_open(a, "one", 0, &id));
	CHECK_OK(talk_append(a, id, 0, 1, 10));
	b->c->read_only = true;
	CHECK_OK(talk_open(b, "one", OC_SESSION_FIND, &x));
	CHECK_INT(x, ==, id);
	CHECK_INT(talk_open(b, "one", 0, &x), ==, -EPERM);
	CHECK_INT(talk_open(b, "two", 0, &x), ==, -EPERM);
	CHECK_INT(talk_fork(b, id, ALL, NULL, &x), ==, -EPERM);
	CHECK_INT(talk_append(b, id, 10, 11, 1), ==, -EPERM);
	CHECK_INT(talk_state(b, id, RING_STATE_CLOSE, 0, 0), ==, -EPERM);
	CHECK_OK(sim_call(b, (struct ring_call){ .op = RING_SESSION_KEYS,
						 .arg = id,
						 .arg2 = 3 }));
	CHECK_INT(w->last.loc, ==, 7);
	CHECK_INT(w->last.gen, ==, 10);
	CHECK_OK(sim_call(b, (struct ring_call){ .op = RING_SESSION_INFO,
						 .arg = id }));
	world_destroy(w);
}

/* A block of two groups and two ranks is resident when it is whole, and each of
 * its parts knows how deep it is. */
TEST(a_block_of_many_parts_counts_when_it_is_whole)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id, key[4];
	struct ring_call call;

	CHECK_INT(world_ns(w, 2, 2, 4096, 5), ==, 2);
	for (uint16_t i = 0; i < 4; i++)
		sim_put(a, 100, frame_part(2, i / 2, i % 2));
	sim_put(a, 101, frame_part(2, 0, 0));
	call = talk_open_call("parts", 0);
	call.part = frame_part(2, 0, 0);
	CHECK_OK(sim_call(a, call));
	id = w->last.loc;
	CHECK_OK(talk_append(a, id, 0, 100, 3));
	CHECK_INT(talk_said(w, id).resident, ==, 1);
	for (uint16_t i = 0; i < 4; i++) {
		uint32_t frame;
		struct pool_slab *s;

		key_of(100, key);
		s = pool_find(w->p, key, frame_part(2, i / 2, i % 2), &frame);
		CHECK(s);
		CHECK_INT(shared_load64(&s->desc[frame].depth), ==, 1);
	}
	world_destroy(w);
}

/* What nobody owns is its maker's user's: to connect anew does not help. */
TEST(who_connects_anew_has_no_more_sessions)
{
	struct sim *a, *b;
	struct world *w = start(&a, &b);
	uint64_t id, kept = 0;

	for (unsigned i = 0; i < 24; i++) {
		CHECK_OK(talk_open(a, NULL, OC_SESSION_LEASED, &id));
		kept = kept ? kept : id;
	}
	CHECK_INT(talk_open(a, NULL, OC_SESSION_LEASED, &id), ==, -EDQUOT);
	sim_die(a);
	a = sim_add(w, 0);
	CHECK_INT(talk_open(a, NULL, OC_SESSION_LEASED, &id), ==, -EDQUOT);
	world_restart(w);
	CHECK_INT(talk_open(a, NULL, OC_SESSION_LEASED, &id), ==, -EDQUOT);
	/* another user has its own */
	shared_store64(&b->c->record->pid_uid, 77777);
	CHECK_OK(talk_open(b, NULL, OC_SESSION_LEASED, &id));
	/* so has whoever takes one up: it is the client's then */
	CHECK_OK(talk_state(a, kept, RING_STATE_CLOSE, 0, 0));
	CHECK_OK(talk_open(a, NULL, OC_SESSION_LEASED, &id));
	world_check(w);
	world_destroy(w);
}

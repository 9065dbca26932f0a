/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"
#include "base/rng.h"
#include "policy/keep.h"
#include "tests/test.h"

#define ITEMS	 96u
#define LISTS	 3u
#define SESSIONS 12u
#define CHAIN	 16u

static const struct policy_ops *const ops = &policy_onecopy;

/* Who is where, in the plainest way. */
struct naive {
	bool on[ITEMS];
	uint32_t list[ITEMS];
	uint64_t key[ITEMS];
	uint32_t parent[ITEMS]; /* resident when this was put, or POLICY_NONE */
};

static uint32_t item_of(const struct naive *v, uint32_t list, uint64_t key)
{
	for (uint32_t i = 0; i < ITEMS; i++)
		if (v->on[i] && v->list[i] == list && v->key[i] == key)
			return i;
	return POLICY_NONE;
}

static bool has_child(const struct naive *v, uint32_t item)
{
	for (uint32_t i = 0; i < ITEMS; i++)
		if (v->on[i] && v->parent[i] == item)
			return true;
	return false;
}

static void naive_remove(struct naive *v, uint32_t item)
{
	v->on[item] = false;
	for (uint32_t i = 0; i < ITEMS; i++)
		if (v->parent[i] == item)
			v->parent[i] = POLICY_NONE;
}

/* The order names each item of the list once, and nothing else. */
static void check_order(const struct policy *cp, struct policy *p,
			const struct naive *v)
{
	CHECK_OK(ops->check(cp));
	for (uint32_t list = 0; list < LISTS; list++) {
		bool seen[ITEMS] = { false };
		uint32_t n = 0, want = 0;

		for (uint32_t at = ops->victim(p, list, POLICY_NONE);
		     at != POLICY_NONE; at = ops->victim(p, list, at)) {
			CHECK_INT(at, <, ITEMS);
			CHECK(v->on[at] && v->list[at] == list && !seen[at]);
			seen[at] = true;
			n++;
		}
		for (uint32_t i = 0; i < ITEMS; i++)
			want += v->on[i] && v->list[i] == list;
		CHECK_INT(n, ==, want);
	}
}

/* The first to leave has nothing behind it, as long as there is such a one. */
static void evict_one(struct policy *p, struct naive *v, uint32_t list)
{
	uint32_t item = ops->victim(p, list, POLICY_NONE);

	if (item == POLICY_NONE)
		return;
	CHECK(!has_child(v, item));
	ops->remove(p, item);
	naive_remove(v, item);
}

static uint32_t free_item(const struct naive *v)
{
	for (uint32_t i = 0; i < ITEMS; i++)
		if (!v->on[i])
			return i;
	return POLICY_NONE;
}

/* A session's chain: the first blocks are those of its family. */
static void use(struct policy *p, struct naive *v, struct rng *r, uint64_t now)
{
	uint32_t list = (uint32_t)rng_below(r, LISTS);
	uint64_t session = rng_below(r, SESSIONS);
	uint64_t key[CHAIN];
	uint32_t item[CHAIN];
	struct policy_use u = {
		.now_ms = now,
		.session = rng_below(r, 2) ? session + 1 : 0,
		.why = (uint32_t)rng_below(r, 3),
		.output = rng_below(r, 1000),
		.back_ms = rng_below(r, 3)   ? 0
			   : rng_below(r, 4) ? rng_below(r, 100000)
					     : POLICY_CLOSED,
		.partial = rng_below(r, 2) != 0,
		.n = 1 + (uint32_t)rng_below(r, CHAIN),
		.key = key,
		.item = item,
	};
	struct policy_place place = { .parent = POLICY_NONE };
	uint64_t way = rng_below(r, 3) * 100; /* how it goes on */

	for (uint32_t i = 0; i < u.n; i++) {
		key[i] = i < 3	 ? 1000 + session % 3 * 100 + i
			 : i < 9 ? 2000 + session * 100 + i
				 : 90000 + session * 1000 + way + i;
		item[i] = item_of(v, list, key[i]);
	}
	place.ticket = ops->use(p, list, &u, now);
	for (uint32_t i = 0; i < u.n; i++) {
		if (item[i] == POLICY_NONE) {
			item[i] = free_item(v);
			if (item[i] == POLICY_NONE)
				return;
			place.last = i == u.n - 1;
			v->on[item[i]] = true;
			v->list[item[i]] = list;
			v->key[item[i]] = key[i];
			v->parent[item[i]] = place.parent;
			ops->insert_in(p, list, item[i], now, &place);
		}
		place.parent = item[i];
	}
}

static bool expect(struct policy *p, uint64_t session, uint64_t now_ms,
		   uint64_t in_ms)
{
	const struct policy_use u = { .now_ms = now_ms,
				      .session = session,
				      .back_ms = in_ms };

	return ops->expect(p, &u);
}

static void step(struct policy *p, struct naive *v, struct rng *r, uint64_t now)
{
	uint32_t item = (uint32_t)rng_below(r, ITEMS);
	uint32_t list = (uint32_t)rng_below(r, LISTS);

	switch (rng_below(r, 9)) {
	case 0: /* taken away from the middle */
		if (rng_below(r, 8))
			return;
		ops->remove(p, item);
		naive_remove(v, item);
		return;
	case 1:
		ops->touch(p, item, now);
		return;
	case 2: /* a block that nobody tells anything of */
		if (v->on[item])
			return;
		v->on[item] = true;
		v->list[item] = list;
		v->key[item] = rng_next(r);
		v->parent[item] = POLICY_NONE;
		ops->insert(p, list, item, now);
		return;
	case 3:
		ops->tick(p, now);
		return;
	case 4:
		use(p, v, r, now);
		return;
	case 5:
		expect(p, rng_below(r, SESSIONS + 2), now,
		       rng_below(r, 8) ? rng_below(r, 100000) : rng_next(r));
		return;
	default:
		evict_one(p, v, list);
	}
}

TEST(agrees_with_the_plain_one)
{
	struct naive *v = calloc(1, sizeof(*v));
	struct policy *p;

	CHECK(v);
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct rng r = { seed };
		uint64_t now = 0;

		memset(v, 0, sizeof(*v));
		memset(v->parent, 0xff, sizeof(v->parent));
		CHECK_OK(ops->create(&p));
		CHECK_OK(ops->reserve(p, ITEMS, LISTS));
		for (int i = 0; i < 1000; i++) {
			now += rng_below(&r, 2) ? 0 : rng_below(&r, 20000);
			step(p, v, &r, now);
			check_order(p, p, v);
		}
		ops->destroy(p);
	}
	free(v);
}

/* Two sessions over a common head: it leaves after what is behind it, also when
 * the one that used it last is long forgotten. */
TEST(a_trunk_leaves_last)
{
	uint64_t key[2][3] = { { 1, 2, 3 }, { 1, 2, 4 } };
	uint32_t item[2][3] = { { POLICY_NONE, POLICY_NONE, POLICY_NONE },
				{ 0, 1, POLICY_NONE } };
	struct policy *p;
	uint32_t next = 0;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 8, 1));
	for (int s = 0; s < 2; s++) {
		struct policy_use u = {
			.now_ms = 1000u * s,
			.n = 3,
			.key = key[s],
			.item = item[s],
		};
		struct policy_place place = { .parent = POLICY_NONE };

		place.ticket = ops->use(p, 0, &u, 1);
		for (uint32_t i = 0; i < 3; i++) {
			if (item[s][i] == POLICY_NONE) {
				item[s][i] = next++;
				ops->insert_in(p, 0, item[s][i], 1, &place);
			}
			place.parent = item[s][i];
		}
	}
	CHECK_OK(ops->check(p));
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 2);
	ops->remove(p, 2);
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 3);
	ops->remove(p, 3);
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 1);
	ops->remove(p, 1);
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 0);
	ops->remove(p, 0);
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, POLICY_NONE);
	ops->destroy(p);
}

/* A session uses a chain of n blocks, items 8 * session on; those that are not
 * resident come. */
static void use_chain(struct policy *p, uint64_t session, uint64_t now_ms,
		      uint32_t why, uint32_t n, bool resident)
{
	uint64_t key[2] = { 2 * session, 2 * session + 1 };
	uint32_t at = 8 * (uint32_t)(session % 8);
	uint32_t item[2] = { resident ? at : POLICY_NONE,
			     resident ? at + 1 : POLICY_NONE };
	struct policy_place place = { .parent = POLICY_NONE };
	struct policy_use u = { .now_ms = now_ms,
				.session = session,
				.why = why,
				.n = n,
				.key = key,
				.item = item };

	place.ticket = ops->use(p, 0, &u, now_ms);
	for (uint32_t i = 0; i < n && !resident; i++) {
		ops->insert_in(p, 0, at + i, now_ms, &place);
		place.parent = at + i;
	}
}

/* What a session went on without is as old as its last use, not as this one. */
TEST(what_is_left_behind_has_its_age)
{
	struct policy *p;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 64, 1));
	use_chain(p, 3, 0, 0, 1, false);
	use_chain(p, 3, 1, 0, 1, true); /* nothing is lost: age decides */
	ops->remove(p, 24);
	use_chain(p, 1, 1000, 0, 2, false);
	use_chain(p, 2, 100000, 0, 1, false);
	use_chain(p, 1, 110000, 0, 1, true); /* goes on without item 9 */
	CHECK_OK(ops->check(p));
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 9);
	CHECK_INT(ops->victim(p, 0, 9), ==, 16);
	CHECK_INT(ops->victim(p, 0, 16), ==, 8);
	ops->tick(p, 100000000);
	CHECK_OK(ops->check(p));
	ops->destroy(p);
}

/* Sessions that say 1 are back after ten seconds, those that say 2 never; of each
 * ten that come back `lost` find nothing. */
static struct policy *learned(unsigned lost)
{
	struct policy *p;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 64, 1));
	for (uint64_t i = 0; i < 400; i++) {
		uint64_t at = 1 + i * 20000, session = 1 + i * 8;

		use_chain(p, session, at, 1, 1, false);
		use_chain(p, session + 1, at, 2, 1, false);
		if (i % 10 < lost)
			ops->remove(p, 8);
		use_chain(p, session, at + 10000, 0, 1, i % 10 >= lost);
		ops->remove(p, 8);
		ops->remove(p, 16);
	}
	return p;
}

/* Where nothing is lost the least recently used leaves first; where something is,
 * who does not come back. */
TEST(the_model_decides_where_something_is_lost)
{
	for (unsigned lost = 0; lost < 10; lost += 5) {
		struct policy *p = learned(lost);

		use_chain(p, 10001, 9000000, 1, 1, false);
		use_chain(p, 10002, 9001500, 2, 1, false);
		CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, lost ? 16 : 8);
		CHECK_OK(ops->check(p));
		ops->destroy(p);
	}
}

/* A turn that is told from its beginning: what is lost is counted then, whatever
 * is there again at its end, and the gap is that between turns. */
TEST(a_turn_has_two_ends)
{
	uint64_t key[4] = { 1, 2, 3, 4 };
	uint32_t item[4] = { 0, 1, 2, 3 };
	struct policy_use u = {
		.now_ms = 1000, .session = 9, .n = 4, .key = key, .item = item
	};
	struct policy_load load;
	struct policy *p;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 8, 2));
	for (uint32_t i = 0; i < 4; i++)
		ops->insert(p, 1, i, 1);
	ops->begin(p, &u); /* nobody knows it yet */
	CHECK(ops->use(p, 1, &u, 1) != POLICY_NONE);
	ops->remove(p, 2);
	ops->remove(p, 3);
	item[2] = item[3] = POLICY_NONE;
	u.now_ms = 11000;
	ops->begin(p, &u);
	ops->begin(p, &u); /* once a turn */
	CHECK_OK(ops->check(p));
	for (uint32_t i = 2; i < 4; i++) {
		item[i] = i;
		ops->insert(p, 1, i, 2);
	}
	u.now_ms = 12000;
	ops->use(p, 1, &u, 2);
	ops->load(p, &load);
	CHECK_INT(load.uses, ==, 2);
	CHECK_INT(load.returns, ==, 1);
	CHECK_INT(load.returned, ==, 4);
	CHECK_INT(load.lost, ==, 2);
	CHECK_INT(load.fit, ==, 2);
	/* the turn is over: the next return counts again */
	u.now_ms = 13000;
	ops->use(p, 1, &u, 3);
	ops->load(p, &load);
	CHECK_INT(load.returns, ==, 2);
	CHECK_INT(load.lost, ==, 2);
	CHECK_OK(ops->check(p));
	ops->destroy(p);
}

/* Of each two sessions that were used alike others say, half a minute later, that
 * the first comes back in a second: it does, or the second does. */
static struct policy *told(bool right, uint64_t *ret_now_ms)
{
	struct policy *p;
	uint64_t at = 1;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 64, 1));
	for (uint64_t i = 0; i < 400; i++, at += 120000) {
		uint64_t session = 1 + i * 8, comes = session + !right;

		use_chain(p, session, at, 0, 1, false);
		use_chain(p, session + 1, at, 0, 1, false);
		CHECK(expect(p, session, at + 30000, 1000));
		ops->remove(p, comes % 8 * 8);
		use_chain(p, comes, at + 31000, 0, 1, false);
		ops->remove(p, 8);
		ops->remove(p, 16);
	}
	*ret_now_ms = at;
	return p;
}

/* Who is expected stays. The next word of it ends that. */
TEST(what_others_expect)
{
	uint64_t at;
	struct policy *p = told(true, &at);

	use_chain(p, 10001, at, 0, 1, false);
	use_chain(p, 10002, at, 0, 1, false);
	ops->tick(p, at + 30000);
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 8);
	CHECK(!expect(p, 10003, at + 30000, 1000));
	CHECK(!expect(p, 0, at + 30000, 1000));
	CHECK(expect(p, 10001, at + 30000, 1000));
	CHECK_OK(ops->check(p));
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 16);
	/* they take it back, and say it of the other */
	CHECK(expect(p, 10001, at + 30000, 0));
	CHECK(expect(p, 10002, at + 30000, 1000));
	CHECK_OK(ops->check(p));
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 8);
	ops->destroy(p);
}

/* What a session says itself is not taken back by others. */
TEST(what_it_said_itself_stands)
{
	uint32_t item = 0;
	uint64_t key = 5, own;
	struct policy_use u = {
		.session = 9, .n = 1, .key = &key, .item = &item
	};
	struct policy *p;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 1, 1));
	ops->insert(p, 0, 0, 1);
	/* each third turn says so, and is true */
	for (unsigned i = 0; i < 900; i++) {
		u.back_ms = i % 3 ? 0 : 1000;
		ops->use(p, 0, &u, u.now_ms);
		u.now_ms += i % 3 ? 100000 : 1000;
	}
	u.back_ms = 1000;
	ops->use(p, 0, &u, u.now_ms);
	own = ops->rate(p, 0);
	CHECK(expect(p, 9, u.now_ms, 0));
	CHECK_INT(ops->rate(p, 0), ==, own);
	/* what others said is, whoever spoke before */
	CHECK(expect(p, 9, u.now_ms, 1000));
	CHECK(expect(p, 9, u.now_ms, 0));
	CHECK_INT(ops->rate(p, 0), <, own);
	CHECK_OK(ops->check(p));
	ops->destroy(p);
}

/* Where they have been wrong their word makes it no better. */
TEST(others_that_are_wrong)
{
	uint64_t at;
	struct policy *p = told(false, &at);

	use_chain(p, 10001, at, 0, 1, false);
	use_chain(p, 10002, at, 0, 1, false);
	ops->tick(p, at + 30000);
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 8);
	CHECK(expect(p, 10002, at + 30000, 1000));
	CHECK_OK(ops->check(p));
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 16);
	ops->destroy(p);
}

/* Time runs in both lists; a use of one does not touch the other. */
TEST(time_may_stand_still_or_run_back)
{
	struct policy *p;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 4, 2));
	ops->tick(p, UINT64_MAX / 2);
	ops->insert(p, 0, 0, 1);
	ops->tick(p, 5);
	ops->insert(p, 1, 1, 2);
	ops->touch(p, 0, 3);
	CHECK_INT(ops->stamp(p, 0), ==, 3);
	CHECK_INT(ops->stamp(p, 2), ==, 0);
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 0);
	CHECK_INT(ops->victim(p, 1, POLICY_NONE), ==, 1);
	CHECK_INT(ops->victim(p, 2, POLICY_NONE), ==, POLICY_NONE);
	CHECK_INT(ops->victim(p, 0, 1), ==, POLICY_NONE);
	CHECK_OK(ops->check(p));
	ops->destroy(p);
}

/* Without anything said it is LRU, as touched; but what comes or is used in one
 * moment is a chain, and leaves from its end. */
TEST(is_lru_for_single_blocks)
{
	struct policy *p;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 8, 1));
	for (uint32_t i = 0; i < 4; i++) {
		ops->tick(p, i);
		ops->insert(p, 0, i, i + 1);
	}
	ops->tick(p, 9);
	ops->touch(p, 1, 9);
	CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 0);
	CHECK_INT(ops->victim(p, 0, 0), ==, 2);
	CHECK_INT(ops->victim(p, 0, 2), ==, 3);
	CHECK_INT(ops->victim(p, 0, 3), ==, 1);
	ops->insert(p, 0, 4, 10);
	ops->insert(p, 0, 5, 10);
	ops->touch(p, 0, 10);
	CHECK_INT(ops->victim(p, 0, 3), ==, 0);
	CHECK_INT(ops->victim(p, 0, 0), ==, 5);
	CHECK_INT(ops->victim(p, 0, 4), ==, 1);
	ops->destroy(p);
}

TEST(a_failed_reserve_changes_nothing)
{
	struct policy *p;
	uint64_t n = 0;
	int err;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 4, 1));
	ops->insert(p, 0, 3, 1);
	do {
		fault_arm(FAULT_ALLOC, ++n, false);
		err = ops->reserve(p, 1u << 20, 100);
		if (err)
			CHECK_INT(err, ==, -ENOMEM);
		CHECK_OK(ops->check(p));
		CHECK_INT(ops->victim(p, 0, POLICY_NONE), ==, 3);
	} while (fault_fired());
	CHECK_OK(err);
	CHECK_INT(n, >, 3);
	fault_arm(FAULT_ALLOC, 1, false);
	ops->destroy(p);
	p = NULL;
	CHECK_INT(ops->create(&p), ==, -ENOMEM);
	CHECK(!p);
	fault_arm(0, 0, false);
	ops->destroy(NULL);
}

TEST(refuses_more_than_numbers_reach)
{
	struct policy *p;

	CHECK_OK(ops->create(&p));
	CHECK_INT(ops->reserve(p, UINT32_MAX, 1), ==, -EINVAL);
	CHECK_INT(ops->reserve(p, 1, UINT32_MAX), ==, -EINVAL);
	CHECK_OK(ops->check(p));
	ops->destroy(p);
}

TEST(is_found_by_name)
{
	CHECK(policy_find("onecopy") == &policy_onecopy);
}

/* A turn as a node sees it: the session is back, its blocks come one by one and
 * are used, and only at the end it is said whose they are. */
static void node_turn(struct policy *p, uint64_t session, uint64_t *now,
		      const uint32_t *item, uint32_t n, uint64_t back_ms)
{
	uint64_t key[8];
	struct policy_use u = { .now_ms = *now,
				.session = session,
				.back_ms = back_ms,
				.n = n,
				.key = key,
				.item = item };

	for (uint32_t i = 0; i < n; i++)
		key[i] = session * 100 + i;
	ops->begin(p, &u);
	for (uint32_t i = 0; i < n; i++) {
		*now += 3;
		ops->tick(p, *now);
		if (!ops->stamp(p, item[i]))
			ops->insert(p, 0, item[i], *now);
		else
			ops->touch(p, item[i], *now);
	}
	u.now_ms = *now;
	ops->use(p, 0, &u, *now);
	CHECK_OK(ops->check(p));
}

/* Blocks that came before anybody said whose they are belong to the session that
 * is told of next with them: its announcement counts for them, and they leave from
 * the leaf. */
TEST(what_came_in_a_turn_is_the_sessions)
{
	uint32_t a[4] = { 0, 1, 2, 3 }, b[4] = { 4, 5, 6, 7 }, at;
	struct policy *p;
	uint64_t now = 0;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, 8, 1));
	/* what is announced is right */
	for (uint64_t round = 0; round < 200; round++) {
		node_turn(p, 1 + round, &now, a, 4, POLICY_CLOSED);
		for (uint32_t i = 0; i < 4; i++)
			ops->remove(p, a[i]);
		node_turn(p, 1000, &now, b, 4, 10000);
		now += 10000;
	}
	for (uint32_t i = 0; i < 4; i++)
		ops->remove(p, b[i]);
	/* b comes back, and a, which was used after it, never does */
	node_turn(p, 1001, &now, b, 4, 10000);
	node_turn(p, 1002, &now, a, 4, POLICY_CLOSED);
	at = POLICY_NONE;
	for (uint32_t i = 0; i < 4; i++) {
		at = ops->victim(p, 0, at);
		CHECK_INT(at, ==, a[3 - i]);
	}
	for (uint32_t i = 0; i < 4; i++) {
		at = ops->victim(p, 0, at);
		CHECK_INT(at, ==, b[3 - i]);
	}
	ops->destroy(p);
}

/* Uses within a turn are no returns: what was learned at its begin is all. */
TEST(a_long_turn_is_no_return)
{
	uint32_t item[2] = { 0, 1 };
	uint64_t key[2] = { 5, 6 };
	struct policy_use u = { .session = 9, .n = 2, .key = key, .item = item };
	uint64_t calm, busy;
	struct policy *p;

	for (unsigned used = 0; used < 2; used++) {
		CHECK_OK(ops->create(&p));
		CHECK_OK(ops->reserve(p, 2, 1));
		ops->insert(p, 0, 0, 1);
		ops->insert(p, 0, 1, 2);
		for (u.now_ms = 0; u.now_ms < 2000000; u.now_ms += 60000) {
			struct policy_use end = u;

			ops->begin(p, &u);
			end.now_ms = u.now_ms + 9000;
			for (uint64_t ms = 0; used && ms < 9000; ms += 300) {
				ops->tick(p, u.now_ms + ms);
				ops->touch(p, 0, u.now_ms + ms);
			}
			ops->use(p, 0, &end, end.now_ms);
		}
		ops->tick(p, u.now_ms);
		*(used ? &busy : &calm) = ops->rate(p, 0);
		CHECK_OK(ops->check(p));
		ops->destroy(p);
	}
	CHECK_INT(busy, <=, 2 * calm);
}

/* The first that leave, but for one. */
static void first_three(struct policy *p, uint32_t but, uint32_t ret[3])
{
	uint32_t at = POLICY_NONE;

	for (unsigned k = 0; k < 3;) {
		at = ops->victim(p, 0, at);
		if (at != but)
			ret[k++] = at;
	}
}

/* More moments than there are records: the two that leave first are joined, and
 * leave in their order; a list that was empty gets a record as well. */
TEST(moments_outnumber_records)
{
	const uint32_t items = 9000;
	uint32_t at = POLICY_NONE, before[3], after[3], n = 0;
	struct policy *p;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, items + 1, 2));
	for (uint32_t i = 0; i < items; i++) {
		ops->tick(p, i + 1);
		if (i > 3)
			first_three(p, i, before);
		ops->insert(p, 0, i, i + 1);
		if (i < 4)
			continue;
		first_three(p, i, after);
		CHECK_MEM(after, before, sizeof(after));
	}
	ops->insert(p, 1, items, items + 1);
	CHECK_OK(ops->check(p));
	while ((at = ops->victim(p, 0, at)) != POLICY_NONE)
		n++;
	CHECK_INT(n, ==, items);
	CHECK_INT(ops->victim(p, 1, POLICY_NONE), ==, items);
	ops->destroy(p);
}

#define MANY 9000u /* more than there are records for so many */

/* A record of several items of which nobody told. */
static uint32_t large_record(const struct policy *p)
{
	for (uint32_t i = 0; i < p->records; i++)
		if (p->record[i].untold && p->record[i].items > 2)
			return i;
	return POLICY_NONE;
}

/* Also where there is no record left for what is used in one moment. */
TEST(a_moment_is_one_return)
{
	struct policy *p;
	uint32_t i, n = 0, item[8];
	uint64_t singles;

	CHECK_OK(ops->create(&p));
	CHECK_OK(ops->reserve(p, MANY, 1));
	for (uint32_t k = 0; k < MANY; k++) {
		ops->tick(p, 1 + k);
		ops->insert(p, 0, k, k);
	}
	CHECK(p->unused == p->records && p->ghosts.first == POLICY_NONE);
	i = large_record(p);
	CHECK_INT(i, !=, POLICY_NONE);
	for (uint32_t at = p->record[i].head; at != POLICY_NONE && n < 8;
	     at = p->item[at].next)
		item[n++] = at;
	singles = p->singles;
	ops->tick(p, 20000);
	for (uint32_t k = 0; k < n; k++)
		ops->touch(p, item[k], MANY + k);
	CHECK_INT(p->singles, ==, singles + 1);
	CHECK_INT(p->record[i].turns, ==, 1);
	CHECK_OK(ops->check(p));
	ops->destroy(p);
}

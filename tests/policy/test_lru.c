/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"
#include "base/rng.h"
#include "policy/policy.h"
#include "tests/test.h"

#define ITEMS 64u
#define LISTS 5u

/* The naive one: each list is an array in the order of last use. */
struct naive {
	uint32_t item[LISTS][ITEMS];
	uint32_t n[LISTS];
	uint32_t on[ITEMS]; /* list + 1 */
	uint64_t stamp[ITEMS];
};

static void naive_remove(struct naive *v, uint32_t item)
{
	uint32_t list = v->on[item] - 1, to = 0;

	if (!v->on[item])
		return;
	for (uint32_t i = 0; i < v->n[list]; i++)
		if (v->item[list][i] != item)
			v->item[list][to++] = v->item[list][i];
	v->n[list] = to;
	v->on[item] = 0;
}

static void naive_insert(struct naive *v, uint32_t list, uint32_t item,
			 uint64_t stamp)
{
	v->item[list][v->n[list]++] = item;
	v->on[item] = list + 1;
	v->stamp[item] = stamp;
}

static void agree(struct policy *p, const struct naive *v)
{
	CHECK_OK(policy_lru.check(p));
	for (uint32_t list = 0; list < LISTS; list++) {
		uint32_t prev = POLICY_NONE;

		for (uint32_t i = 0; i <= v->n[list]; i++) {
			uint32_t want = i < v->n[list] ? v->item[list][i]
						       : POLICY_NONE;

			prev = policy_lru.victim(p, list, prev);
			CHECK_INT(prev, ==, want);
		}
	}
	for (uint32_t i = 0; i < ITEMS; i++)
		CHECK_INT(policy_lru.stamp(p, i), ==,
			  v->on[i] ? v->stamp[i] : 0);
}

static void step(struct policy *p, struct naive *v, struct rng *r, uint64_t now)
{
	uint32_t item = (uint32_t)rng_below(r, ITEMS);
	uint32_t list = (uint32_t)rng_below(r, LISTS);

	if (rng_below(r, 3) == 0) {
		policy_lru.remove(p, item);
		naive_remove(v, item);
	} else if (v->on[item]) {
		policy_lru.touch(p, item, now);
		list = v->on[item] - 1;
		naive_remove(v, item);
		naive_insert(v, list, item, now);
	} else if (rng_below(r, 2)) {
		policy_lru.touch(p, item, now); /* on no list: no effect */
	} else {
		policy_lru.insert(p, list, item, now);
		naive_insert(v, list, item, now);
	}
}

TEST(agrees_with_arrays)
{
	struct naive *v = calloc(1, sizeof(*v));
	struct rng r = { 1 };
	struct policy *p;

	CHECK(v);
	CHECK_OK(policy_lru.create(&p));
	CHECK_OK(policy_lru.reserve(p, ITEMS, LISTS));
	for (uint64_t now = 1; now < 20000; now++) {
		step(p, v, &r, now);
		agree(p, v);
		if (now % 1000 == 0) /* growing moves the arrays */
			CHECK_OK(policy_lru.reserve(
				p, ITEMS + (uint32_t)(now / 100),
				LISTS + (uint32_t)(now / 1000)));
	}
	policy_lru.destroy(p);
	free(v);
}

TEST(the_oldest_leaves_first_and_can_be_passed_over)
{
	struct policy *p;

	CHECK_OK(policy_lru.create(&p));
	CHECK_OK(policy_lru.reserve(p, 8, 2));
	for (uint32_t i = 0; i < 4; i++)
		policy_lru.insert(p, 1, i, i + 1);
	policy_lru.touch(p, 0, 10);
	CHECK_INT(policy_lru.victim(p, 0, POLICY_NONE), ==, POLICY_NONE);
	CHECK_INT(policy_lru.victim(p, 1, POLICY_NONE), ==, 1);
	CHECK_INT(policy_lru.victim(p, 1, 1), ==, 2);
	CHECK_INT(policy_lru.victim(p, 1, 3), ==, 0);
	CHECK_INT(policy_lru.victim(p, 1, 0), ==, POLICY_NONE);
	CHECK_INT(policy_lru.stamp(p, 0), ==, 10);
	policy_lru.touch(p, 0, 4); /* a late touch does not make it older */
	CHECK_INT(policy_lru.stamp(p, 0), ==, 10);
	CHECK_INT(policy_lru.victim(p, 1, 7), ==, POLICY_NONE);
	CHECK_INT(policy_lru.victim(p, 9, POLICY_NONE), ==, POLICY_NONE);
	policy_lru.remove(p, 1);
	policy_lru.remove(p, 1);
	policy_lru.touch(p, 1, 11);
	CHECK_INT(policy_lru.stamp(p, 1), ==, 0);
	CHECK_INT(policy_lru.victim(p, 1, POLICY_NONE), ==, 2);
	policy_lru.remove(p, 1000); /* never reserved */
	policy_lru.touch(p, 1000, 1);
	CHECK_INT(policy_lru.stamp(p, 1000), ==, 0);
	policy_lru.destroy(p);
}

/* Every allocation of reserve fails once; nothing is lost by it. */
TEST(a_failed_reserve_changes_nothing)
{
	struct policy *p;
	uint64_t n = 0;
	int err;

	CHECK_OK(policy_lru.create(&p));
	CHECK_OK(policy_lru.reserve(p, 4, 1));
	policy_lru.insert(p, 0, 3, 1);
	do {
		fault_arm(FAULT_ALLOC, ++n, false);
		err = policy_lru.reserve(p, 1000, 100);
		if (err)
			CHECK_INT(err, ==, -ENOMEM);
		CHECK_OK(policy_lru.check(p));
		CHECK_INT(policy_lru.victim(p, 0, POLICY_NONE), ==, 3);
	} while (fault_fired());
	CHECK_OK(err);
	CHECK_INT(n, ==, 5);
	policy_lru.insert(p, 99, 999, 2);
	CHECK_OK(policy_lru.check(p));
	fault_arm(FAULT_ALLOC, 1, false);
	policy_lru.destroy(p);
	p = NULL;
	CHECK_INT(policy_lru.create(&p), ==, -ENOMEM);
	CHECK(!p);
	fault_arm(0, 0, false);
	policy_lru.destroy(NULL);
}

TEST(refuses_more_than_numbers_reach)
{
	struct policy *p;

	CHECK_OK(policy_lru.create(&p));
	CHECK_INT(policy_lru.reserve(p, UINT32_MAX, 1), ==, -EINVAL);
	CHECK_INT(policy_lru.reserve(p, 1, UINT32_MAX), ==, -EINVAL);
	CHECK_OK(policy_lru.check(p));
	policy_lru.destroy(p);
}

TEST(is_found_by_name)
{
	CHECK(policy_find("lru") == &policy_lru);
	CHECK(!policy_find("lr"));
	CHECK(!policy_find(""));
	CHECK(!policy_find(NULL));
}

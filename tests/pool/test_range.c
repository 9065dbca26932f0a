/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"
#include "base/rng.h"
#include <errno.h>
#include "pool/range.h"
#include "tests/test.h"

#define NUMBERS 4096
#define TAKEN	256

struct taken {
	uint32_t at, n;
};

static uint32_t naive_fit(const uint8_t *used, uint32_t n)
{
	uint32_t run = 0;

	for (uint32_t i = 0;; i++) {
		run = i < NUMBERS && used[i] ? 0 : run + 1;
		if (run == n)
			return i + 1 - n;
	}
}

static void check_holes(const struct range_set *s, const uint8_t *used)
{
	uint32_t at = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct range_hole *h = &s->hole[i];

		CHECK_INT(h->n, >, 0);
		CHECK(i == 0 || h->at > at); /* not adjacent either */
		for (; at < h->at; at++)
			CHECK(used[at]);
		for (; at < h->at + h->n; at++)
			CHECK(!used[at]);
	}
	for (; at < s->end; at++)
		CHECK(used[at]);
	CHECK(!s->end || used[s->end - 1]);
}

/* First fit, against a walk over a byte for each number. */
TEST(agrees_with_a_naive_set)
{
	static uint8_t used[NUMBERS];
	struct taken taken[TAKEN];
	struct range_set s = { 0 };
	struct rng r = { 7 };
	unsigned n = 0;

	for (unsigned step = 0; step < 20000; step++) {
		if (n < TAKEN && rng_below(&r, 100) < 52) {
			uint32_t want = 1 + (uint32_t)rng_below(&r, 12), at;

			CHECK_OK(range_take(&s, want, &at));
			CHECK_INT(at, ==, naive_fit(used, want));
			memset(used + at, 1, want);
			taken[n++] = (struct taken){ at, want };
		} else if (n) {
			unsigned i = (unsigned)rng_below(&r, n);

			range_give(&s, taken[i].at, taken[i].n);
			memset(used + taken[i].at, 0, taken[i].n);
			taken[i] = taken[--n];
		}
		check_holes(&s, used);
	}
	while (n--)
		range_give(&s, taken[n].at, taken[n].n);
	CHECK_INT(s.end, ==, 0);
	CHECK_INT(s.n, ==, 0);
	range_fini(&s);
}

TEST(refuses_what_does_not_fit)
{
	struct range_set s = { 0 };
	uint32_t at;

	CHECK_OK(range_take(&s, UINT32_MAX - 2, &at));
	CHECK_INT(range_take(&s, 2, &at), ==, -ENOSPC);
	CHECK_OK(range_take(&s, 1, &at));
	CHECK_INT(range_take(&s, 1, &at), ==, -ENOSPC);
	range_fini(&s);
}

/* Numbers may be lost when memory is refused; never given twice. */
TEST(loses_numbers_at_most)
{
	static uint8_t used[NUMBERS];

	for (uint64_t nth = 1; nth < 8; nth++) {
		struct range_set s = { 0 };
		uint32_t at;

		memset(used, 0, sizeof(used));
		fault_arm(FAULT_ALLOC, nth, true);
		for (uint32_t i = 0; i < 300; i++) {
			if (range_take(&s, 2, &at) < 0)
				continue;
			CHECK(!used[at] && !used[at + 1]);
			used[at] = used[at + 1] = 1;
			if (i % 3)
				continue;
			used[at] = used[at + 1] = 0;
			range_give(&s, at, 2);
		}
		for (uint32_t i = 0; i < 600; i += 4)
			if (used[i] && used[i + 1])
				range_give(&s, i, 2);
		fault_arm(0, 0, false);
		range_fini(&s);
	}
}

/* Numbers that a predecessor gave, in any order. */
TEST(what_was_given_is_taken_again)
{
	struct range_set s = { 0 };
	uint32_t at;

	CHECK_OK(range_take_at(&s, 10, 5)); /* a hole before it */
	CHECK_OK(range_take_at(&s, 2, 3));  /* in its middle */
	CHECK_OK(range_take_at(&s, 15, 1)); /* at the end */
	CHECK_INT(range_take_at(&s, 4, 2), ==, -EEXIST);
	CHECK_INT(range_take_at(&s, 9, 2), ==, -EEXIST);
	CHECK_OK(range_take_at(&s, 0, 2));
	CHECK_OK(range_take(&s, 5, &at));
	CHECK_INT(at, ==, 5);
	CHECK_OK(range_take(&s, 1, &at));
	CHECK_INT(at, ==, 16);
	range_give(&s, 0, 17);
	CHECK_INT(s.end, ==, 0);
	range_fini(&s);
}

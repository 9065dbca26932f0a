/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hist.h"
#include "base/rng.h"
#include "tests/test.h"

TEST(empty)
{
	struct hist h;

	hist_init(&h);
	CHECK_INT(hist_quantile(&h, 0.5), ==, 0);
}

TEST(small_values_are_exact)
{
	struct hist h;

	hist_init(&h);
	for (uint64_t v = 0; v < 10; v++)
		hist_add(&h, v);
	CHECK_INT(hist_quantile(&h, 0), ==, 0);
	CHECK_INT(hist_quantile(&h, 0.5), ==, 4);
	CHECK_INT(hist_quantile(&h, 1), ==, 9);
	CHECK_INT(h.sum, ==, 45);
}

/* One value in a histogram with a far maximum: the edge is not below the
 * value and at most 1/16 above it. */
TEST(precision_over_the_whole_range)
{
	struct rng r = { 1 };

	for (unsigned i = 0; i < 4096; i++) {
		uint64_t v = rng_next(&r) >> (i % 64), edge;
		struct hist h;

		hist_init(&h);
		hist_add(&h, v);
		hist_add(&h, UINT64_MAX);
		edge = hist_quantile(&h, 0.5);
		CHECK_INT(edge, >=, v);
		CHECK_INT(edge - v, <=, v / 16);
	}
}

TEST(largest_value)
{
	struct hist h;

	hist_init(&h);
	hist_add(&h, UINT64_MAX);
	CHECK_INT(h.bucket[HIST_BUCKETS - 1], ==, 1);
	CHECK_INT(hist_quantile(&h, 1), ==, UINT64_MAX);
}

TEST(merge_is_adding_all)
{
	static struct hist a, b, all;
	struct rng r = { 2 };

	hist_init(&a);
	hist_init(&b);
	hist_init(&all);
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t v = rng_below(&r, 1000000);

		hist_add(i % 3 ? &a : &b, v);
		hist_add(&all, v);
	}
	hist_merge(&a, &b);
	CHECK_MEM(&a, &all, sizeof(a));
	CHECK_INT(hist_quantile(&a, 0.99), <=, a.max);
}

TEST(values_up_to)
{
	struct hist h;

	hist_init(&h);
	CHECK_INT(hist_upto(&h, UINT64_MAX), ==, 0);
	for (uint64_t v = 1; v <= 1000; v++)
		hist_add(&h, v);
	CHECK_INT(hist_upto(&h, 0), ==, 0);
	CHECK_INT(hist_upto(&h, 10), ==, 10);
	/* 512 .. 543 is one bucket: 540 cuts it */
	CHECK_INT(hist_upto(&h, 540), ==, 511);
	CHECK_INT(hist_upto(&h, 543), ==, 543);
	CHECK_INT(hist_upto(&h, UINT64_MAX), ==, 1000);
}

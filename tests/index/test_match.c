/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "index/match.h"
#include "tests/test.h"

#define N_MAX 65536

struct presence {
	const struct match_group *groups;
	bool has[MATCH_GROUPS_MAX][N_MAX];
	uint8_t asked[MATCH_GROUPS_MAX][N_MAX];
	bool missed[MATCH_GROUPS_MAX]; /* a FULL group's first miss */
	uint64_t calls;
};

static struct presence p;

static bool present(void *ctx, unsigned group, size_t block)
{
	CHECK(ctx == &p);
	CHECK_INT(p.asked[group][block]++, ==, 0);
	CHECK(!p.missed[group]);
	p.calls++;
	if (p.groups[group].rule == MATCH_FULL)
		p.missed[group] = !p.has[group][block];
	return p.has[group][block];
}

static size_t match(const struct match_group *groups, unsigned n_groups,
		    size_t n)
{
	p.groups = groups;
	p.calls = 0;
	memset(p.missed, 0, sizeof(p.missed));
	for (unsigned g = 0; g < n_groups; g++)
		memset(p.asked[g], 0, n);
	return match_prefix(groups, n_groups, n, present, &p);
}

/* The definition, word for word. */
static bool usable_at(const struct match_group *group, unsigned g, size_t n)
{
	size_t from = 0;

	if (group->rule == MATCH_WINDOW && n > group->window)
		from = n - group->window;
	if (group->rule == MATCH_STATE && n > 0)
		from = n - 1;
	for (size_t i = from; i < n; i++)
		if (!p.has[g][i])
			return false;
	for (size_t i = 0; i < n + 2; i++)
		CHECK_INT(match_needs(group, n, i), ==, i >= from && i < n);
	return true;
}

static size_t brute(const struct match_group *groups, unsigned n_groups,
		    size_t n)
{
	for (;; n--) {
		bool ok = true;

		for (unsigned g = 0; g < n_groups; g++)
			ok = ok && usable_at(&groups[g], g, n);
		if (ok)
			return n;
	}
}

static void fill(struct rng *r, unsigned n_groups, size_t n, uint64_t of_100)
{
	for (unsigned g = 0; g < n_groups; g++)
		for (size_t i = 0; i < n; i++)
			p.has[g][i] = rng_below(r, 100) < of_100;
}

static struct match_group any_group(struct rng *r)
{
	return (struct match_group){
		.rule = (enum match_rule)rng_below(r, 3),
		.window = 1 + (uint32_t)rng_below(r, 12),
	};
}

TEST(agrees_with_the_definition)
{
	static const uint64_t share[] = { 5, 30, 60, 85, 95, 99, 100 };
	struct rng r = { 1 };

	for (unsigned round = 0; round < 20000; round++) {
		unsigned n_groups = 1 + (unsigned)rng_below(&r, 4);
		size_t n = rng_below(&r, 65);
		struct match_group group[4];

		for (unsigned g = 0; g < n_groups; g++)
			group[g] = any_group(&r);
		fill(&r, n_groups, n, share[rng_below(&r, ARRAY_LEN(share))]);
		CHECK_INT(match(group, n_groups, n), ==,
			  brute(group, n_groups, n));
	}
}

TEST(full_attention_is_the_leading_run)
{
	const struct match_group full = { MATCH_FULL, 0 };

	memset(p.has[0], 1, 100);
	CHECK_INT(match(&full, 1, 100), ==, 100);
	p.has[0][40] = false;
	CHECK_INT(match(&full, 1, 100), ==, 40);
	CHECK_INT(p.calls, ==, 41);
	p.has[0][0] = false;
	CHECK_INT(match(&full, 1, 100), ==, 0);
	CHECK_INT(match(&full, 1, 0), ==, 0);
}

TEST(a_window_and_a_state_join_in)
{
	const struct match_group group[3] = { { MATCH_FULL, 0 },
					      { MATCH_WINDOW, 4 },
					      { MATCH_STATE, 0 } };

	memset(p.has, 0, sizeof(p.has));
	memset(p.has[0], 1, 32);
	memset(&p.has[1][10], 1, 6); /* lengths 14, 15, 16 */
	p.has[2][14] = true;	     /* length 15 */
	CHECK_INT(match(group, 3, 64), ==, 15);
	p.has[2][14] = false;
	CHECK_INT(match(group, 3, 64), ==, 0);
	p.has[2][15] = true;
	CHECK_INT(match(group, 3, 64), ==, 16);
}

TEST(long_lists_take_linear_time)
{
	const struct match_group group[4] = { { MATCH_FULL, 0 },
					      { MATCH_WINDOW, 32768 },
					      { MATCH_STATE, 0 },
					      { MATCH_WINDOW, 64 } };
	struct rng r = { 2 };

	memset(p.has, 1, sizeof(p.has));
	CHECK_INT(match(group, 4, N_MAX), ==, N_MAX);
	p.has[1][100] = false;
	fill(&r, 4, 0, 0);
	for (size_t i = 0; i < N_MAX; i++)
		p.has[3][i] = i % 63 != 0; /* never 64 in a row after 0 */
	/* Only a prefix within the window of what is there from the start. */
	CHECK_INT(match(group, 4, N_MAX), ==, 0);
	CHECK_INT(p.calls, <=, 4 * N_MAX);
	fill(&r, 4, N_MAX, 50);
	memset(p.has[0], 1, N_MAX);
	(void)match(group, 4, N_MAX);
	CHECK_INT(p.calls, <=, 4 * N_MAX);
}

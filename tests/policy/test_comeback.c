/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/comeback.h"
#include "base/rng.h"
#include "policy/log2.h"
#include "tests/test.h"

static struct comeback m;

/* Nothing is known, and it has lived for so long that no return has to wait. */
static void fresh(void)
{
	comeback_init(&m);
	comeback_tick(&m, 1);
	comeback_tick(&m, 1ull << 40);
}

static void begin(struct comeback_session *s, unsigned why, uint16_t hint)
{
	comeback_even(&m); /* as time passes */
	*s = (struct comeback_session){ 0 };
	s->trait[COMEBACK_WHY] = (uint8_t)why;
	s->hint = hint;
	comeback_begin(&m, s);
}

static void sleep_through(struct comeback_session *s)
{
	while (s->step < COMEBACK_STEPS - 1)
		comeback_pass(&m, s);
}

static unsigned worth(unsigned why, uint16_t hint, unsigned step)
{
	struct comeback_session s;

	begin(&s, why, hint);
	s.step = (uint8_t)step;
	return comeback_worth(&m, &s);
}

static unsigned apart(unsigned a, unsigned b)
{
	return a > b ? a - b : b - a;
}

TEST(logarithms)
{
	CHECK_INT(log2_of(0), ==, 0);
	CHECK_INT(log2_of(1), ==, 0);
	CHECK_INT(log2_of(2), ==, 256);
	CHECK_INT(log2_of(3), ==, 406);
	CHECK_INT(log2_of(UINT64_MAX), ==, 64 * 256 - 1);
	CHECK_INT(exp2_of(0), ==, 65536);
	CHECK_INT(exp2_of(-256), ==, 32768);
	CHECK_INT(exp2_of(128), ==, 92682);
	CHECK_INT(exp2_of(-100 * 256), ==, 0);
	CHECK_INT(exp2_of(100 * 256), ==, 1u << 31);
	for (int l = -16 * 256; l < 14 * 256; l++)
		CHECK_INT(exp2_of(l), <=, exp2_of(l + 1));
	for (uint64_t v = 1; v < 1u << 20; v++)
		CHECK_INT(log2_of(v), <=, log2_of(v + 1));
}

TEST(steps_are_two_an_octave)
{
	CHECK_INT(comeback_edge(0), ==, 0);
	CHECK_INT(comeback_edge(1), ==, COMEBACK_FIRST);
	CHECK_INT(comeback_edge(3), ==, 2 * COMEBACK_FIRST);
	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		CHECK_INT(comeback_edge(b), <, comeback_edge(b + 1));
	CHECK_INT(comeback_edge(COMEBACK_STEPS), >, 12 * 3600 * 1000);
}

/* The younger is worth more, from the first step to the last. */
TEST(begins_as_lru)
{
	fresh();
	for (unsigned b = 0; b + 1 < COMEBACK_STEPS; b++)
		CHECK_INT(worth(0, 0, b), >=, worth(0, 0, b + 1));
	CHECK_INT(worth(0, 0, 0), >, worth(0, 0, 8) + 16);
}

/* Those of one reason return after 20 s, those of the other never. */
TEST(learns_who_returns_and_when)
{
	struct comeback_session s;

	fresh();
	for (int i = 0; i < 50; i++) {
		begin(&s, 1, 0);
		comeback_return(&m, &s, 20000);
		begin(&s, 2, 0);
		sleep_through(&s);
	}
	CHECK_INT(worth(1, 0, 0), >, worth(2, 0, 0) + 16); /* two octaves */
	/* it is worth more just before than long before */
	CHECK_INT(worth(1, 0, 8), >, worth(1, 0, 1));
	/* and little when it did not come */
	CHECK_INT(worth(1, 0, 12) + 16, <, worth(1, 0, 8));
}

/* All at once are those one by one, of whatever was learned. */
TEST(worths_are_the_worth_of_each_step)
{
	struct rng r = { 5 };

	fresh();
	for (unsigned i = 0; i < 2000; i++) {
		struct comeback_session s;
		uint8_t all[COMEBACK_SHORT];

		begin(&s, (unsigned)rng_below(&r, 4),
		      (uint16_t)(rng_below(&r, 3) * rng_below(&r, 4000)));
		s.usual_gap = (uint16_t)(rng_below(&r, 2) * 3000);
		comeback_worths(&m, &s, all);
		for (unsigned b = 0; b < COMEBACK_SHORT; b++) {
			s.step = (uint8_t)b;
			CHECK_INT(apart(all[b], comeback_worth(&m, &s)), <=, 1);
		}
		s.step = 0;
		if (rng_below(&r, 3))
			comeback_return(&m, &s, 1ull << rng_below(&r, 24));
		else
			sleep_through(&s);
	}
}

static unsigned worth_of_kind(unsigned kind, unsigned step)
{
	struct comeback_session s;

	begin(&s, 0, 0);
	s.trait[COMEBACK_KIND] = (uint8_t)kind;
	s.step = (uint8_t)step;
	return comeback_worth(&m, &s);
}

/* Nearly all of one kind are back at once, and few of the other; of those of both
 * that are still away after ten minutes as many return. */
TEST(who_is_back_soon_says_nothing_of_those_long_away)
{
	fresh();
	for (int i = 0; i < 2000; i++) {
		struct comeback_session s;
		bool soon = i % 10 >= (i / 10 % 2 ? 1 : 9);

		begin(&s, 0, 0);
		s.trait[COMEBACK_KIND] = (uint8_t)(1 + i / 10 % 2);
		comeback_begin(&m, &s);
		comeback_return(&m, &s, soon ? 3000 : 600000 + i);
	}
	CHECK_INT(worth_of_kind(2, 4), >, worth_of_kind(1, 4) + 8);
	CHECK_INT(apart(worth_of_kind(2, 18), worth_of_kind(1, 18)), <=, 4);
}

/* Ten begin every ten seconds and one of them returns after 100; what is learned
 * until the first of the others have been away for as long: nothing. */
TEST(a_young_model_does_not_believe_that_all_return)
{
	uint64_t seen = 0;

	comeback_init(&m);
	comeback_tick(&m, 1);
	for (unsigned i = 0; i < 3; i++) {
		struct comeback_session s;

		comeback_tick(&m, 100001 + i * 10000);
		begin(&s, 0, 0);
		comeback_return(&m, &s, 100000);
	}
	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		seen += m.base.cell[b].seen;
	CHECK_INT(seen, ==, 0);
	comeback_tick(&m, 200000); /* the end of the step: 128 s */
	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		seen += m.base.cell[b].seen;
	CHECK_INT(seen, ==, 3 * 65536);
	/* more than it has room for are learned at once */
	for (unsigned i = 0; i < COMEBACK_WAITS + 5; i++) {
		struct comeback_session s;

		begin(&s, 0, 0);
		comeback_return(&m, &s, 100000);
	}
	CHECK_INT(m.waits, ==, COMEBACK_WAITS);
}

/* A reason that was never met is judged by all the others together. */
TEST(what_is_new_is_like_the_rest)
{
	struct comeback_session s;

	fresh();
	for (int i = 0; i < 200; i++) {
		begin(&s, 1, 0);
		comeback_return(&m, &s, 20000);
	}
	CHECK_INT(worth(5, 0, 8), >, worth(5, 0, 1));
}

static void announce(unsigned right_of_8)
{
	struct comeback_session s;
	struct rng r = { 1 };

	fresh();
	for (unsigned i = 0; i < 400; i++) {
		uint64_t gap = 2000ull << i % 8, said = gap;

		if (i / 8 % 8 >= right_of_8)
			said = 2000ull << rng_below(&r, 8);
		begin(&s, 0, (uint16_t)log2_of(said));
		comeback_return(&m, &s, gap);
	}
}

/* How many classes of worth lie between a near and a far announcement? */
static int told_apart(void)
{
	int near = (int)worth(0, (uint16_t)log2_of(4000), 4);
	int far = (int)worth(0, (uint16_t)log2_of(256000), 4);

	return near - far;
}

TEST(announcements_are_believed_as_far_as_they_are_right)
{
	int all, half, none;

	announce(8);
	all = told_apart();
	announce(4);
	half = told_apart();
	announce(0);
	none = told_apart();
	fprintf(stderr, "told apart: %d, %d, %d\n", all, half, none);
	CHECK_INT(all, >, 16);
	CHECK_INT(all, >, half);
	CHECK_INT(half, >, none);
	CHECK_INT(none, <, 8); /* an octave */
}

TEST(those_who_said_goodbye_are_worth_little)
{
	struct comeback_session s;

	fresh();
	for (int i = 0; i < 50; i++) {
		begin(&s, 0, 0);
		comeback_return(&m, &s, 20000);
		begin(&s, 0, UINT16_MAX);
		sleep_through(&s);
	}
	CHECK_INT(worth(0, UINT16_MAX, 5) + 16, <, worth(0, 0, 5));
}

/* The model follows: what was true is forgotten. */
TEST(follows_a_change)
{
	struct comeback_session s;

	fresh();
	for (int i = 0; i < 6000; i++) {
		begin(&s, 1, 0);
		comeback_return(&m, &s, 10000);
	}
	for (int i = 0; i < 12000; i++) {
		begin(&s, 1, 0);
		comeback_return(&m, &s, 300000);
	}
	CHECK_INT(worth(1, 0, 10), <, worth(1, 0, 20));
}

TEST(the_last_block)
{
	fresh();
	CHECK_INT(comeback_reach(&m, true), ==, 0);
	for (int i = 0; i < 100; i++) {
		comeback_reached(&m, true, false);
		comeback_reached(&m, false, true);
	}
	CHECK_INT(comeback_reach(&m, true), <, -3 * LOG2_ONE);
	CHECK_INT(comeback_reach(&m, false), ==, 0);
}

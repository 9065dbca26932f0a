/* SPDX-License-Identifier: Apache-2.0 */
/* What touches tell of the next one. */
#include "base/rng.h"
#include "space/walk.h"
#include "tests/test.h"

/* Touches n blocks from `from` on, `step` apart; the last answer. */
static int64_t touches(struct walk *w, size_t from, int64_t step, size_t n)
{
	int64_t goes = 0;

	for (size_t k = 0; k < n; k++)
		goes = walk_touch(w, from + (size_t)((int64_t)k * step));
	return goes;
}

TEST(on_is_believed_at_once)
{
	struct walk w = WALK_INIT;

	CHECK_INT(walk_touch(&w, 0), ==, 0);
	CHECK_INT(walk_touch(&w, 1), ==, 1);
	walk_mapped(&w, 1, 4);
	CHECK_INT(walk_touch(&w, 5), ==, 1);
	/* elsewhere nothing is known, and on is believed again */
	CHECK_INT(walk_touch(&w, 900), ==, 0);
	CHECK_INT(walk_touch(&w, 901), ==, 1);
}

TEST(back_and_strides_are_believed_the_second_time)
{
	static const int64_t step[] = { -1, 2, -2, 7, -64 };

	for (size_t i = 0; i < ARRAY_LEN(step); i++) {
		struct walk w = WALK_INIT;

		CHECK_INT(touches(&w, 1000, step[i], 2), ==, 0);
		CHECK_INT(walk_touch(&w, 1000 + (size_t)(2 * step[i])), ==,
			  step[i]);
		CHECK_INT(walk_touch(&w, 1000 + (size_t)(3 * step[i])), ==,
			  step[i]);
	}
}

TEST(what_was_mapped_with_a_touch_is_not_in_the_way)
{
	struct walk w = WALK_INIT;

	CHECK_INT(walk_touch(&w, 100), ==, 0);
	walk_mapped(&w, 100, 103);
	CHECK_INT(walk_touch(&w, 99), ==, 0);
	walk_mapped(&w, 99, 99);
	CHECK_INT(walk_touch(&w, 98), ==, -1);
	walk_mapped(&w, 95, 98);
	CHECK_INT(walk_touch(&w, 94), ==, -1);
}

TEST(the_next_row_goes_on_like_this_one)
{
	struct walk w = WALK_INIT;

	for (size_t row = 0; row < 4; row++) {
		CHECK_INT(walk_touch(&w, row + 3), ==, 0);
		/* the first row has to be learned */
		if (row == 0)
			CHECK_INT(walk_touch(&w, 11), ==, 0);
		else
			CHECK_INT(walk_touch(&w, row + 11), ==, 8);
		CHECK_INT(touches(&w, row + 19, 8, 20), ==, 8);
	}
}

TEST(a_touch_of_the_same_block_is_no_step)
{
	struct walk w = WALK_INIT;

	CHECK_INT(touches(&w, 50, -1, 3), ==, -1);
	CHECK_INT(walk_touch(&w, 48), ==, -1);
	CHECK_INT(walk_touch(&w, 47), ==, -1);
}

TEST(any_order_tells_nothing)
{
	struct walk w = WALK_INIT;
	struct rng rng = { 7 };
	uint32_t told = 0;

	for (uint32_t i = 0; i < 100000; i++)
		told += walk_touch(&w, rng_below(&rng, 1000)) != 0;
	/* one in a thousand is the next by chance, one in as many makes the same
	 * step twice, at most */
	CHECK_INT(told, <, 300);
}

/* As tests/prog/test_space_below.c touches them. */
TEST(no_two_steps_alike_tell_nothing)
{
	struct walk w = WALK_INIT;

	for (size_t i = 0; i < 192; i++)
		CHECK_INT(walk_touch(&w, (i * i * 7 + i * 3) % 384), ==, 0);
}

TEST(ways_and_their_ends)
{
	CHECK_INT(walk_steps(10, 10, 3), ==, 0);
	CHECK_INT(walk_steps(10, 16, 3), ==, 2);
	CHECK_INT(walk_steps(10, 15, 3), ==, -1);
	CHECK_INT(walk_steps(10, 4, 3), ==, -1);
	CHECK_INT(walk_steps(10, 4, -3), ==, 2);
	CHECK_INT(walk_steps(0, SIZE_MAX, -1), ==, 1); /* past the start */
	CHECK_INT(walk_room(0, 10, 1), ==, 10);
	CHECK_INT(walk_room(9, 10, 1), ==, 1);
	CHECK_INT(walk_room(10, 10, 1), ==, 0);
	CHECK_INT(walk_room(1, 10, 4), ==, 3);
	CHECK_INT(walk_room(9, 10, -1), ==, 10);
	CHECK_INT(walk_room(9, 10, -4), ==, 3);
	CHECK_INT(walk_room(SIZE_MAX, 10, -1), ==, 0);
}

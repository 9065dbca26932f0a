/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "coherence/frame.h"
#include "pool/shape.h"
#include "tests/test.h"

static void check_size(uint64_t bytes)
{
	uint64_t exact = shape_exact(bytes), frame = shape_class(bytes);

	CHECK_INT(exact % PAGE_BYTES, ==, 0);
	CHECK_INT(exact, >=, bytes);
	CHECK_INT(exact, >=, PAGE_BYTES);
	CHECK_INT(exact, <, MAX(bytes, 1ull) + PAGE_BYTES);
	CHECK_INT(frame, >=, exact);
	CHECK_INT(frame % PAGE_BYTES, ==, 0);
	if (frame < 8 * PAGE_BYTES)
		CHECK_INT(frame, ==, exact);
	else /* beyond the rounding to pages, an eighth */
		CHECK_INT((frame - exact) * 8, <=, frame);
	CHECK_INT(shape_class(frame), ==, frame);
}

TEST(wastes_an_eighth_at_most)
{
	struct rng r = { 1 };

	for (uint64_t bytes = 0; bytes < 40 * PAGE_BYTES; bytes += 97)
		check_size(bytes);
	for (unsigned shift = 12; shift < 32; shift++)
		for (int d = -1; d <= 1; d++)
			check_size((1ull << shift) + d);
	for (unsigned i = 0; i < 100000; i++)
		check_size(rng_next(&r) >> (32 + rng_below(&r, 32)));
}

TEST(classes_are_few)
{
	uint64_t last = 0;
	unsigned classes = 0;

	for (uint64_t pages = 1; pages <= 1 << 18; pages++) {
		uint64_t frame = shape_class(pages * PAGE_BYTES);

		CHECK_INT(frame, >=, last);
		classes += frame != last;
		last = frame;
	}
	CHECK_INT(classes, <=, 16 * 8);
}

TEST(sizes_slabs)
{
	for (unsigned shift = 20; shift < 42; shift++) {
		uint64_t limit = 1ull << shift;

		for (uint64_t frame = PAGE_BYTES; frame <= limit; frame *= 2) {
			uint64_t bytes = shape_slab_bytes(limit, frame);

			CHECK_INT(round_down_pow2(bytes), ==, bytes);
			CHECK_INT(bytes, >=, 64ull << 10);
			CHECK_INT(bytes, <=, 256ull << 20);
			if (bytes > 64ull << 10)
				CHECK_INT(bytes, <=, limit / 64);
			if (bytes < 256ull << 20)
				CHECK_INT(bytes * 2, >, limit / 256);
		}
	}
}

TEST(counts_frames)
{
	CHECK_INT(shape_frames(4096, 65536, 1 << 20), ==, 16);
	CHECK_INT(shape_frames(4096, 65536, 8192), ==, 2);
	CHECK_INT(shape_frames(4096, 65536, 4095), ==, 0);
	CHECK_INT(shape_frames(1 << 20, 65536, 1 << 20), ==, 1);
	CHECK_INT(shape_frames(1 << 20, 65536, 1 << 19), ==, 0);
	CHECK_INT(shape_frames(4096, 1ull << 40, 1ull << 40), ==,
		  FRAME_IN_SLAB_MAX);
}

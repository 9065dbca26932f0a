/* SPDX-License-Identifier: Apache-2.0 */
/* Where pieces of blocks lie. */
#include "space/space.h"
#include "tests/test.h"

static struct ns_spec spec_of(uint64_t slices, uint64_t bytes, uint64_t stride)
{
	struct ns_spec spec = { .block_tokens = 16, .ranks = 1, .groups = 1 };

	spec.group[0].slices = slices;
	spec.group[0].slice_bytes = bytes;
	spec.group[0].stride = stride;
	CHECK_OK(ns_spec_check(&spec));
	return spec;
}

static struct shape shape(struct ns_spec spec, enum oc_layout layout,
			  size_t capacity)
{
	struct shape sh;

	CHECK_OK(shape_of(&spec, 0, layout, capacity, &sh));
	return sh;
}

TEST(blocks_are_whole_pages)
{
	struct shape sh = shape(spec_of(3, 2000, 0), OC_LAYOUT_BLOCKS, 10);

	CHECK_INT(sh.part_bytes, ==, 6000);
	CHECK_INT(sh.piece_bytes, ==, 8192);
	CHECK_INT(sh.bytes, ==, 81920);
	CHECK_INT(sh.slices, ==, 1);
	CHECK(!sh.gather);
	CHECK_INT(shape_at(&sh, 0, 3), ==, 3 * 8192);
}

TEST(slices_of_whole_pages_are_mapped)
{
	struct shape sh = shape(spec_of(4, 8192, 12288), OC_LAYOUT_SLICES, 10);
	struct spot spot = { 1, 0, 3 * 12288 + 8192, 0 };

	CHECK(!sh.gather);
	CHECK_INT(sh.piece_bytes, ==, 8192);
	CHECK_INT(sh.bytes, ==, 4 * 10 * 8192);
	CHECK_INT(shape_at(&sh, 2, 1), ==, (2 * 10 + 1) * 8192);
	for (uint32_t s = 0; s < 4; s++)
		CHECK_INT(shape_pages(&sh, &spot, s), ==, 8192);
	spot.bytes = 12288 + 100; /* a short part */
	CHECK_INT(shape_pages(&sh, &spot, 0), ==, 8192);
	CHECK_INT(shape_pages(&sh, &spot, 1), ==, 4096);
	CHECK_INT(shape_pages(&sh, &spot, 2), ==, 0);
}

TEST(other_slices_are_gathered)
{
	struct ns_spec any = spec_of(0, 4096, 0);
	struct shape sh = shape(spec_of(4, 1000, 0), OC_LAYOUT_SLICES, 10);

	CHECK(sh.gather);
	CHECK_INT(sh.piece_bytes, ==, 1000);
	CHECK_INT(sh.bytes, ==, 40960); /* 4 * 10 * 1000, to the page */
	CHECK_INT(shape_of(&any, 0, OC_LAYOUT_SLICES, 10, &sh), ==, -EINVAL);
	CHECK_INT(shape_of(&any, 0, OC_LAYOUT_BLOCKS, SIZE_MAX, &sh), ==,
		  -ENOSPC);
}

TEST(neighbours_join)
{
	struct shape sh = shape(spec_of(1, 8192, 0), OC_LAYOUT_BLOCKS, 10);
	struct spot spots[] = {
		{ 1, 0, 8192, 0 },     { 1, 8192, 8192, 0 },
		{ 1, 16384, 8192, 0 }, { 2, 24576, 8192, 0 }, /* another slab */
		{ 2, 32768, 100, 0 }, /* a short part: the last of its run */
		{ 2, 40960, 8192, 0 }, { 0 },
	};

	CHECK(shape_joins(&sh, &spots[0], &spots[1], 0));
	CHECK(!shape_joins(&sh, &spots[1], &spots[0], 0));
	CHECK(!shape_joins(&sh, &spots[2], &spots[3], 0));
	CHECK(shape_joins(&sh, &spots[3], &spots[4], 0));
	CHECK(!shape_joins(&sh, &spots[4], &spots[5], 0));
	CHECK_INT(shape_runs(&sh, spots, ARRAY_LEN(spots)), ==, 3);
}

#define RUNS   256u
#define BLOCKS 8192u
#define SLICES 128u

/* A long session in slabs that are striped: 8,192 blocks of 128 slices one by one
 * would be a million mappings. */
TEST(a_run_of_striped_frames_is_one_mapping_a_slice)
{
	struct shape sh = shape(spec_of(SLICES, 4096, NS_STRIDE_SLAB),
				OC_LAYOUT_SLICES, BLOCKS);
	static struct spot spots[BLOCKS];
	uint64_t stride = 10000 * 4096;

	CHECK(!sh.gather);
	CHECK(sh.striped);
	CHECK_INT(sh.part_bytes, ==, SLICES * 4096);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint64_t gap = i / (BLOCKS / RUNS); /* a frame between runs */

		spots[i] = (struct spot){ 1, (i + gap) * 4096, SLICES * 4096,
					  stride };
	}
	CHECK_INT(shape_runs(&sh, spots, BLOCKS), ==, RUNS * SLICES);
	CHECK_INT(shape_from(&sh, &spots[1], 0), ==, 4096);
	CHECK_INT(shape_from(&sh, &spots[1], 7), ==, 7 * stride + 4096);
	for (uint32_t s = 0; s < SLICES; s++)
		CHECK_INT(shape_pages(&sh, &spots[0], s), ==, 4096);
	/* of another slab: its neighbour by number alone */
	spots[1].region = 2;
	CHECK(!shape_joins(&sh, &spots[0], &spots[1], 3));
}

TEST(striped_blocks_one_after_the_other_are_gathered)
{
	struct shape sh =
		shape(spec_of(4, 4096, NS_STRIDE_SLAB), OC_LAYOUT_BLOCKS, 10);

	CHECK(sh.gather && strstr(sh.gather, "striped"));
	CHECK_INT(sh.piece_bytes, ==, 16384);
	/* one slice is as it was */
	sh = shape(spec_of(1, 4096, NS_STRIDE_SLAB), OC_LAYOUT_BLOCKS, 10);
	CHECK(!sh.gather);
}

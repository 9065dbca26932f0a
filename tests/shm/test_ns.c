/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include "shm/layout.h"

/* A model with full attention and a window: 80 slices of 32 KiB, 40 of 16. */
static struct ns_spec example(void)
{
	struct ns_spec s;

	memset(&s, 0, sizeof(s));
	memset(s.weights, 0x11, sizeof(s.weights));
	memset(s.layout, 0x22, sizeof(s.layout));
	s.block_tokens = 16;
	s.ranks = 2;
	s.groups = 2;
	s.group[0].rule = MATCH_FULL;
	s.group[0].slices = 80;
	s.group[0].slice_bytes = 32768;
	s.group[1].rule = MATCH_WINDOW;
	s.group[1].window_tokens = 100;
	s.group[1].slices = 40;
	s.group[1].slice_bytes = 16384;
	s.group[1].stride = 20480;
	snprintf(s.label, sizeof(s.label), "a model");
	return s;
}

TEST(example_is_valid)
{
	struct ns_spec s = example();

	CHECK_OK(ns_spec_check(&s));
	CHECK_INT(ns_spec_part_bytes(&s, 0), ==, 80 * 32768);
	CHECK_INT(ns_spec_part_bytes(&s, 1), ==, 39 * 20480 + 16384);
	CHECK_INT(ns_spec_rule(&s, 0).rule, ==, MATCH_FULL);
	CHECK_INT(ns_spec_rule(&s, 0).window, ==, 0);
	CHECK_INT(ns_spec_rule(&s, 1).rule, ==, MATCH_WINDOW);
	CHECK_INT(ns_spec_rule(&s, 1).window, ==, 7);
	s.group[1].window_tokens = UINT32_MAX;
	s.block_tokens = 1;
	CHECK_INT(ns_spec_rule(&s, 1).window, ==, UINT32_MAX);
}

TEST(any_size_parts)
{
	struct ns_spec s = example();

	s.group[0].slices = 0;
	CHECK_OK(ns_spec_check(&s));
	CHECK_INT(ns_spec_part_bytes(&s, 0), ==, 32768);
	s.group[0].stride = 32768;
	CHECK_INT(ns_spec_check(&s), ==, -EINVAL);
}

#define BAD(change_)                                    \
	do {                                            \
		struct ns_spec s = example();           \
		change_;                                \
		if (ns_spec_check(&s) != -EINVAL)       \
			FAIL("accepted: %s", #change_); \
	} while (0)

TEST(impossible_geometry_is_refused)
{
	BAD(s.block_tokens = 0);
	BAD(s.block_tokens = LAYOUT_BLOCK_TOKENS_MAX + 1);
	BAD(s.ranks = 0);
	BAD(s.ranks = 33); /* x 2 groups */
	BAD(s.ranks = UINT16_MAX);
	BAD(s.groups = 0);
	BAD(s.groups = MATCH_GROUPS_MAX + 1);
	BAD(s.groups = 3); /* an empty group */
	BAD(s.groups = 1); /* something in an unused group */
	BAD(s.group[0].rule = 3);
	BAD(s.group[0].window_tokens = 1);
	BAD(s.group[1].window_tokens = 0);
	BAD(s.group[0].slice_bytes = 0);
	BAD(s.group[0].slice_bytes = UINT64_MAX);
	BAD(s.group[0].slices = UINT64_MAX);
	BAD(s.group[0].stride = 32767);
	BAD(s.group[0].stride = UINT64_MAX - 1);
	BAD(s.group[0].slices = 131072); /* 4 GiB */
	BAD(memset(s.label, 'a', sizeof(s.label)));
	BAD(s.label[1] = '\n');
	BAD(s.label[1] = (char)0x9b);
}

TEST(largest_part)
{
	struct ns_spec s = example();

	s.group[0].slices = 1;
	s.group[0].slice_bytes = LAYOUT_PART_MAX;
	CHECK_OK(ns_spec_check(&s));
	s.group[0].slice_bytes++;
	CHECK_INT(ns_spec_check(&s), ==, -EINVAL);
}

static bool same_digest(const struct ns_spec *a, const struct ns_spec *b)
{
	uint8_t da[32], db[32];

	CHECK_OK(ns_spec_digest(a, da));
	CHECK_OK(ns_spec_digest(b, db));
	return memcmp(da, db, 32) == 0;
}

#define DIFFERS(change_)                            \
	do {                                        \
		struct ns_spec s = example();       \
		change_;                            \
		if (same_digest(&s, &base))         \
			FAIL("same: %s", #change_); \
	} while (0)

TEST(identity_is_everything_but_the_label)
{
	struct ns_spec base = example(), other = example();

	memset(other.label, 0, sizeof(other.label));
	CHECK(same_digest(&base, &other));
	other.group[0].stride = other.group[0].slice_bytes;
	CHECK(same_digest(&base, &other));
	DIFFERS(s.weights[31] = 0);
	DIFFERS(s.layout[0] = 0);
	DIFFERS(s.block_tokens = 32);
	DIFFERS(s.ranks = 1);
	DIFFERS(s.group[1].window_tokens = 101);
	DIFFERS(s.group[1].rule = MATCH_STATE);
	DIFFERS(s.group[0].slices = 81);
	DIFFERS(s.group[0].slice_bytes = 32767);
	DIFFERS(s.group[1].stride = 0);
}

TEST(record_round_trip)
{
	struct ns_spec s = example(), back;
	struct ns_record r;
	uint8_t digest[32], copy[32];

	memset((void *)&r, 0, sizeof(r));
	CHECK(!ns_record_load(&r, &back));
	CHECK_OK(ns_spec_digest(&s, digest));
	ns_record_store(&r, 3, &s, digest);
	CHECK(ns_record_load(&r, &back));
	CHECK_MEM(&s, &back, sizeof(s));
	CHECK_INT(shared_load64(&r.id), ==, 3);
	shared_load_bytes(copy, 32, r.digest);
	CHECK_MEM(copy, digest, 32);
	shared_store64(&r.ranks_groups, UINT64_MAX);
	CHECK(!ns_record_load(&r, &back));
	ns_record_store(&r, 3, &s, digest);
	shared_store64(&r.block_tokens, 1ull << 32 | 16);
	CHECK(!ns_record_load(&r, &back));
}

TEST(parts_of_a_record)
{
	struct ns_spec s = example();
	struct ns_parts parts = ns_record_parts(NULL);
	uint8_t digest[32];
	struct ns_record r;

	CHECK_INT(parts.n, ==, 0);
	memset((void *)&r, 0, sizeof(r));
	CHECK_INT(ns_record_parts(&r).n, ==, 0);
	CHECK_OK(ns_spec_digest(&s, digest));
	ns_record_store(&r, 3, &s, digest);
	parts = ns_record_parts(&r);
	CHECK_INT(parts.ranks, ==, s.ranks);
	CHECK_INT(parts.groups, ==, s.groups);
	CHECK_INT(parts.n, ==, s.ranks * s.groups);
	/* each once, group by group */
	for (uint32_t g = 0, i = 0; g < s.groups; g++)
		for (uint32_t rank = 0; rank < s.ranks; rank++, i++)
			CHECK_INT(ns_parts_at(&parts, i), ==,
				  frame_part(3, (uint16_t)g, (uint16_t)rank));
}

TEST(striped_parts)
{
	struct ns_spec s = example(), packed = example(), back;
	uint8_t digest[2][32];
	struct ns_record r;

	s.group[0].stride = NS_STRIDE_SLAB;
	CHECK_OK(ns_spec_check(&s));
	CHECK_INT(ns_spec_stripes(&s, 0), ==, 80);
	CHECK_INT(ns_spec_stripes(&s, 1), ==, 0);
	CHECK_INT(ns_spec_part_bytes(&s, 0), ==, 80 * 32768);
	/* another namespace: who does not know never meets its parts */
	CHECK_OK(ns_spec_digest(&s, digest[0]));
	CHECK_OK(ns_spec_digest(&packed, digest[1]));
	CHECK(memcmp(digest[0], digest[1], 32) != 0);
	memset(&r, 0, sizeof(r));
	ns_record_store(&r, 3, &s, digest[0]);
	CHECK(ns_record_load(&r, &back));
	CHECK_INT(ns_spec_stripes(&back, 0), ==, 80);
	s.group[0].slice_bytes = 32768 + 512; /* each is mapped */
	CHECK_INT(ns_spec_check(&s), ==, -EINVAL);
	s.group[0].slice_bytes = 32768;
	s.group[0].slices = 0;
	CHECK_INT(ns_spec_check(&s), ==, -EINVAL);
	s.group[0].slices = LAYOUT_STRIPES_MAX;
	CHECK_OK(ns_spec_check(&s));
	s.group[0].slices++;
	CHECK_INT(ns_spec_check(&s), ==, -EINVAL);
	s.group[0].slices = 2;
	s.group[0].slice_bytes = LAYOUT_PART_MAX / 2 & ~(PAGE_BYTES - 1);
	CHECK_OK(ns_spec_check(&s));
	s.group[0].slices = 3;
	CHECK_INT(ns_spec_check(&s), ==, -EINVAL);
}

TEST(slab_records_of_stripes)
{
	struct slab_record r = { 0 };

	shared_store64(&r.frames_kind, slab_frames_kind(FRAME_IN_SLAB_MAX,
							LAYOUT_STRIPES_MAX, 4));
	CHECK_INT(slab_frames(&r), ==, FRAME_IN_SLAB_MAX);
	CHECK_INT(slab_stripes(&r), ==, LAYOUT_STRIPES_MAX);
	CHECK_INT(slab_kind(&r), ==, 4);
}

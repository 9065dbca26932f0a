/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of several parts and the rung below DRAM: all of a block goes there, or
 * nothing of it, and what does not is written to the tier below. */
#include <string.h>
#include "tests/store/deep.h"
#include "tests/store/low.h"

#define GROUPS 3u
#define BLOCKS 150u

static uint32_t ns_of(struct world *w, const bool stripes[GROUPS])
{
	struct ns_spec spec;
	int64_t id;

	memset(&spec, 0, sizeof(spec));
	spec.block_tokens = 16;
	spec.ranks = 1;
	spec.groups = GROUPS;
	spec.weights[0] = 9;
	for (unsigned g = 0; g < GROUPS; g++) {
		spec.group[g].slices = 1;
		spec.group[g].slice_bytes = PART_BYTES;
		spec.group[g].stride = stripes[g] ? NS_STRIDE_SLAB : 0;
	}
	id = store_ns_open(w->p, &spec);
	CHECK_INT(id, >, 0);
	return (uint32_t)id;
}

/* More than fit DRAM and the rung: none is lost. *ret_low: parts on the rung. */
static void keep_all(const struct world_config *c, const bool stripes[GROUPS],
		     unsigned *ret_low)
{
	struct deep d;
	uint32_t ns, frame;

	*ret_low = 0;
	deep_begin_as(&d, c, NULL);
	ns = ns_of(d.w, stripes);
	d.f->by_itself = true;
	for (uint64_t n = 1; n <= BLOCKS; n++)
		for (uint16_t g = 0; g < GROUPS; g++)
			put(d.w, n, frame_part(ns, g, 0));
	deep_rest(&d);
	for (uint64_t n = 1; n <= BLOCKS; n++)
		for (uint16_t g = 0; g < GROUPS; g++) {
			const struct pool_slab *s =
				slab_of(d.w, n, frame_part(ns, g, 0), &frame);
			uint32_t part = (uint32_t)frame_part(0, g, 0);
			uint64_t key[4];

			key_of(n, key);
			*ret_low += s && s->low;
			CHECK(s || fake_tier_has(d.f, key, part));
		}
	world_check(d.w);
	deep_end(&d);
}

static const struct world_config even = { .limit = 4 * SLAB,
					  .slab_bytes = SLAB,
					  .low = 4 * SLAB };

/* A slab ends in the middle of a block. */
TEST(plain_parts_fall_together)
{
	unsigned low;

	keep_all(&even, (bool[GROUPS]){ false }, &low);
	CHECK_INT(low, >=, 2 * 16);
}

/* Parts in stripes do not fall, so nor do their plain siblings. */
TEST(mixed_blocks_go_past_the_rung)
{
	unsigned low;

	keep_all(&even, (bool[GROUPS]){ false, true, false }, &low);
	CHECK_INT(low, ==, 0);
	keep_all(&even, (bool[GROUPS]){ true, false, false }, &low);
	CHECK_INT(low, ==, 0);
}

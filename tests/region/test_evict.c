/* SPDX-License-Identifier: Apache-2.0 */
/* What leaves a shard, in which order, and at what cost. */
#include "region/internal.h"
#include "coherence/pin.h"
#include "tests/region/rig.h"

#define FRAMES 8u

/* Every frame has had so many fillings. */
static void age(const struct rig *g, struct region *a, uint64_t gen)
{
	char *all = rig_map(g);
	struct region_desc *d =
		(void *)(all + a->places.shards + a->places.desc);

	for (unsigned i = 0; i < a->g.frames; i++)
		d[i].word = frame_word(gen, FRAME_FREE);
	rig_unmap(g, all);
}

/* A pin word has some low bits of the generation only, so frames that were filled
 * often are those whose touches could be taken for another filling's. */
TEST(touches_count_after_any_number_of_fillings)
{
	for (unsigned bits = PIN_GEN_BITS; bits <= 40; bits++) {
		struct rig g = rig_create(2, 1, FRAMES);
		struct region *a = rig_join(&g, "a", 1, false);
		struct region *b = rig_join(&g, "b", 0, false);

		age(&g, a, (1ull << bits) + 5);
		for (uint64_t id = 1; id <= FRAMES; id++)
			CHECK_OK(rig_put(a, id, 1));
		for (uint64_t id = FRAMES + 1; id <= 60; id++) {
			CHECK(rig_has(b, 1)); /* and with that touched */
			CHECK_OK(rig_put(a, id, 1));
		}
		region_close(a);
		region_close(b);
		rig_destroy(&g);
	}
}

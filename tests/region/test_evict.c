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

/* ---- pins --------------------------------------------------------------------- */

/* What making room costs is how often the pins of all are looked at. */
static void all_pinned(uint32_t frames)
{
	struct rig g = rig_create(2, 1, frames);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, false);
	struct region_pin last = { .bytes = 0 };
	uint64_t before;

	for (uint64_t id = 1; id <= frames; id++) {
		CHECK_OK(rig_put(a, id, 1));
		CHECK_OK(rig_pin(b, id, &last));
	}
	for (unsigned i = 0; i < 3; i++) {
		before = a->scans;
		CHECK_INT(rig_put(a, frames + 1, 1), ==, REGION_FULL);
		CHECK_INT(a->scans - before, <=, 2);
	}
	/* and the only one that may leave is found, wherever it lies */
	region_unpin(b, &last);
	before = a->scans;
	CHECK_OK(rig_put(a, frames + 1, 1));
	CHECK_INT(a->scans - before, <=, 3);
	CHECK(!rig_has(a, frames));
	rig_check(a, true);
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

TEST(pins_are_looked_at_twice_where_all_is_pinned)
{
	all_pinned(64);
	all_pinned(4096);
}

TEST(much_room_takes_few_looks_at_the_pins)
{
	const uint32_t frames = 4096;
	struct rig g = rig_create(2, 1, frames);
	struct region *a = rig_join(&g, "a", 1, false);
	uint64_t before;

	for (uint64_t id = 1; id <= frames; id++)
		CHECK_OK(rig_put(a, id, 1));
	before = a->scans;
	CHECK_INT(region_evict(a, frames), ==, frames);
	CHECK_INT(a->scans - before, <=, 9);
	CHECK_INT(rig_check(a, true).free, ==, frames);
	region_close(a);
	rig_destroy(&g);
}

/* Blocks that nobody has pinned leave in the order of the hand, and no more of
 * them than are wanted, however many pinned ones lie between. */
TEST(pinned_blocks_between_do_not_change_the_order)
{
	const uint32_t frames = 64; /* two are made free at a time */
	struct rig g = rig_create(2, 1, frames);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, false);
	struct region_found f;
	struct region_pin pin;

	for (uint64_t id = 1; id <= frames; id++) {
		CHECK_OK(rig_put(a, id, 1));
		if (id % 8)
			CHECK_OK(rig_pin(b, id, &pin));
	}
	for (uint64_t id = 8; id <= frames; id += 16) {
		CHECK_OK(rig_put(a, 100 + id, 1));
		for (uint64_t i = 8; i <= frames; i += 8) {
			struct region_name name = rig_name(i);

			CHECK_INT(region_find(a, &name, &f), ==,
				  i <= id + 8 ? REGION_MISS : 0);
		}
		CHECK_OK(rig_put(a, 101 + id, 1));
	}
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

/* ---- replicas ------------------------------------------------------------------ */

/* Seals block 1 in `in` as well, as if it and the owner of the replica that is
 * there had both looked before either had sealed. */
static void put_replica(const struct rig *g, struct region *in)
{
	char *all = rig_map(g);
	struct region_name name = rig_name(1);
	struct region_found f;
	struct region_desc *d;
	uint64_t word;

	CHECK_OK(region_find(in, &name, &f));
	d = (void *)(all + in->places.shards +
		     f.shard * in->places.shard_bytes + in->places.desc);
	word = d[f.frame].word;
	d[f.frame].word = frame_word(frame_word_gen(word), FRAME_GRANTED);
	CHECK_OK(rig_put(in, 1, 2));
	d[f.frame].word = word;
	rig_unmap(g, all);
}

TEST(an_owner_removes_its_own_replica)
{
	/* with few shards of its own it looks there first, with many not */
	for (uint32_t own = 1; own <= 3; own++) {
		struct rig g = rig_create(2, 4, FRAMES);
		struct region *b = rig_join(&g, "b", 1, false);
		struct region *a = rig_join(&g, "a", own, false);
		struct region_name name = rig_name(1);

		CHECK_OK(rig_put(b, 1, 1));
		put_replica(&g, a);
		CHECK_OK(region_remove(a, &name));
		CHECK_INT(region_remove(a, &name), ==, REGION_MISS);
		CHECK(rig_has(a, 1)); /* b's */
		CHECK_INT(rig_check(a, true).sealed, ==, 1);
		CHECK_OK(region_remove(b, &name));
		CHECK(!rig_has(a, 1));
		region_close(a);
		region_close(b);
		rig_destroy(&g);
	}
}

TEST(both_replicas_of_one_owner_are_removed)
{
	struct rig g = rig_create(2, 2, FRAMES);
	struct region *b = rig_join(&g, "b", 1, false);
	struct region *a = rig_join(&g, "a", 1, true);
	struct region_name name = rig_name(1);

	CHECK_OK(rig_put(b, 1, 1));
	put_replica(&g, a);
	rig_kill(b, a);
	CHECK_OK(region_tick(a));
	CHECK_INT(rig_check(a, true).sealed, ==, 2);
	CHECK_OK(region_remove(a, &name));
	CHECK_INT(rig_check(a, true).sealed, ==, 0);
	CHECK(!rig_has(a, 1));
	region_close(a);
	rig_destroy(&g);
}

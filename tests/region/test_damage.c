/* SPDX-License-Identifier: Apache-2.0 */
/* Who takes a shard over finds there what no owner stores: memory failed, or its
 * last owner ran wild. What is damaged is lost, and nothing else. */
#include "region/internal.h"
#include "tests/region/rig.h"
#include <errno.h>

#define FRAMES 8u

struct damaged {
	struct rig g;
	struct region *a, *b, *c; /* owns; adopts; reads */
	char *all;
};

static struct damaged begin(void)
{
	struct damaged d = { .g = rig_create(3, 1, FRAMES) };

	d.a = rig_join(&d.g, "a", 1, false);
	d.b = rig_join(&d.g, "b", 1, true);
	d.c = rig_join(&d.g, "c", 0, false);
	d.all = rig_map(&d.g);
	for (uint64_t id = 1; id <= 4; id++)
		CHECK_OK(rig_put(d.a, id, 1));
	return d;
}

static struct region_desc *desc_of(const struct damaged *d, uint64_t id)
{
	struct region_desc *desc =
		(void *)(d->all + d->a->places.shards + d->a->places.desc);
	struct region_name name = rig_name(id);
	struct region_found f = { .frame = 0 };

	CHECK_OK(region_find(d->a, &name, &f));
	return &desc[f.frame];
}

static void adopt(struct damaged *d)
{
	rig_kill(d->a, d->b);
	CHECK_OK(region_tick(d->b));
	CHECK_INT(region_owned(d->b), ==, 1);
}

static void end(struct damaged *d)
{
	rig_unmap(&d->g, d->all);
	region_close(d->b);
	region_close(d->c);
	rig_destroy(&d->g);
}

TEST(a_damaged_word_costs_its_frame)
{
	struct damaged d = begin();
	struct region_shard_status s;
	struct region_checked done;
	struct region_desc *bad = desc_of(&d, 2);

	bad->word = bad->word | 0xff; /* no such state */
	adopt(&d);
	region_shard_status(d.b, 0, &s);
	CHECK(s.ready);
	CHECK_INT(s.held, ==, 1);
	CHECK_INT(s.sealed, ==, 3);
	CHECK_INT(s.free, ==, FRAMES - 4);
	CHECK(!rig_has(d.c, 2));
	CHECK(rig_has(d.c, 1) && rig_has(d.c, 3) && rig_has(d.c, 4));
	/* the rest goes on as ever, also through other hands */
	for (uint64_t id = 10; id < 40; id++)
		CHECK_OK(rig_put(d.b, id, 1));
	CHECK_OK(region_give(d.b, 0));
	CHECK_OK(region_take(d.c, 0));
	for (uint64_t id = 40; id < 80; id++)
		CHECK_OK(rig_put(d.c, id, 1));
	region_shard_status(d.b, 0, &s);
	CHECK_INT(s.held, ==, 1);
	/* a check of the region says which it is, and has no other complaint */
	CHECK_INT(region_check(d.b, true, true, NULL, NULL, &done), ==, 1);
	CHECK_INT(done.sealed + done.free, ==, FRAMES - 1);
	end(&d);
}

/* A file that was cut holds a region still, of which some is missing. */
TEST(a_file_that_was_cut_is_damaged)
{
	struct rig g = rig_create_small(1, 1, FRAMES);
	struct region *r = NULL;

	CHECK_OK(ftruncate(g.fd, (off_t)g.format.bytes - REGION_UNIT));
	CHECK_INT(region_open(g.path, &r), ==, -EPROTO);
	CHECK_OK(ftruncate(g.fd, REGION_UNIT));
	CHECK_INT(region_open(g.path, &r), ==, -EPROTO);
	CHECK_OK(ftruncate(g.fd, 0));
	CHECK_INT(region_open(g.path, &r), ==, -ENODATA);
	rig_destroy(&g);
}

/* Bytes of a block that its frame cannot hold: no part of it is right. */
TEST(an_extent_beyond_its_frame_is_a_block_that_is_lost)
{
	const uint64_t extents[] = { frame_extent(UINT32_MAX, 16),
				     frame_extent(RIG_FRAME + 1, 16),
				     frame_extent(0, 16) };

	for (unsigned i = 0; i < ARRAY_LEN(extents); i++) {
		struct damaged d = begin();
		struct region_pin held;

		CHECK_OK(rig_pin(d.c, 2, &held));
		desc_of(&d, 2)->extent = extents[i];
		desc_of(&d, 3)->extent = extents[i];
		adopt(&d);
		CHECK(!rig_has(d.c, 2) && !rig_has(d.c, 3));
		CHECK(rig_has(d.c, 1) && rig_has(d.c, 4));
		/* a frame that is pinned stays what it is until then */
		CHECK_OK(region_tick(d.b));
		CHECK_INT(rig_check(d.b, true).other, ==, 1);
		CHECK(rig_right(2, held.data, held.bytes));
		region_unpin(d.c, &held);
		CHECK_OK(region_tick(d.b));
		CHECK_INT(rig_check(d.b, true).free, ==, FRAMES - 2);
		end(&d);
	}
}

/* Its owner meets it: in what it evicts, removes, has lent, or is about to lend. */
TEST(a_damaged_word_does_not_stop_its_owner)
{
	struct damaged d = begin();
	struct region_shard_status s;
	struct region_grant grant;
	struct region_name name = rig_name(7);
	struct region_desc *all =
		(void *)(d.all + d.a->places.shards + d.a->places.desc);
	struct region_own *own = d.a->own[0];

	CHECK_OK(region_grant(d.a, &name, RIG_BYTES, 16, 0, &grant));
	all[grant.frame].word = 0xff;
	/* the block is not there, and its owner is a member as before */
	CHECK_INT(region_seal(d.a, &grant, RIG_BYTES, 16, 0), ==, -EIO);
	CHECK_OK(region_may_write(d.a));
	region_abandon(d.a, &grant);
	CHECK_INT(own->n_quarantined, ==, 1);
	/* one that is free, and will be lent */
	all[own->free[own->n_free - 1]].word = frame_word(9, FRAME_SEALED);
	CHECK_OK(rig_put(d.a, 8, 1));
	CHECK_INT(own->n_quarantined, ==, 2);
	/* one that is sealed, by the time it leaves */
	desc_of(&d, 2)->word |= 0xff;
	for (uint64_t id = 10; id < 40; id++)
		CHECK_OK(rig_put(d.a, id, 1));
	CHECK_OK(region_tick(d.a));
	region_shard_status(d.c, 0, &s);
	CHECK_INT(s.held, ==, 2);
	CHECK_INT(s.sealed + s.free, <=, FRAMES - 2);
	for (uint64_t id = 38; id < 40; id++)
		CHECK(rig_has(d.c, id));
	adopt(&d);
	CHECK_OK(rig_put(d.b, 50, 1));
	end(&d);
}

/* The index of one shard is none any more: all open the region and find what other
 * shards have, and its next owner makes it anew, of the descriptors. */
TEST(a_damaged_index_costs_nobody_the_region)
{
	struct rig g = rig_create(3, 2, FRAMES);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 1, true), *c;
	char *all = rig_map(&g);
	struct table_header *index =
		(void *)(all + a->places.shards +
			 a->own[0]->shard * a->places.shard_bytes +
			 a->places.table);
	struct region_checked done;

	for (uint64_t id = 1; id <= 4; id++) {
		CHECK_OK(rig_put(a, id, 1));
		CHECK_OK(rig_put(b, 100 + id, 1));
	}
	index->magic = 0;
	memset(index + 1, 0xee, 64);
	c = rig_join(&g, "c", 0, false);
	CHECK_INT(region_check(c, true, true, NULL, NULL, &done), ==, 1);
	CHECK_INT(done.sealed, ==, 8);
	for (uint64_t id = 1; id <= 4; id++) {
		CHECK(!rig_has(c, id));
		CHECK(rig_has(c, 100 + id));
	}
	rig_kill(a, c);
	CHECK_OK(region_tick(b));
	CHECK_INT(region_owned(b), ==, 2);
	CHECK_OK(region_tick(c));
	for (uint64_t id = 1; id <= 4; id++)
		CHECK(rig_has(c, id) && rig_has(c, 100 + id));
	rig_check(c, false);
	rig_unmap(&g, all);
	region_close(b);
	region_close(c);
	rig_destroy(&g);
}

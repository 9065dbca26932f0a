/* SPDX-License-Identifier: Apache-2.0 */
/* What members of a region do for each other. */
#include "tests/region/rig.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static const struct region_join_options joins = { .size = sizeof(joins) };

TEST(a_block_of_one_is_read_by_another_in_place)
{
	struct rig g = rig_create(3, 2, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 1, false);
	struct region *c = rig_join(&g, "c", 0, false);
	struct region_pin pin = { .bytes = 0 };

	CHECK_OK(rig_put(a, 1, 10));
	CHECK_OK(rig_put(b, 2, 20));
	for (uint64_t id = 1; id <= 2; id++) {
		CHECK(rig_has(a, id));
		CHECK(rig_has(b, id));
		CHECK(rig_has(c, id));
	}
	CHECK_INT(rig_put(b, 1, 20), ==, REGION_EXISTS);
	CHECK_OK(rig_pin(c, 1, &pin));
	CHECK_INT(((const uint64_t *)pin.data)[0], ==, 10);
	region_unpin(c, &pin);
	CHECK(!rig_has(c, 3));
	CHECK_INT(rig_put(c, 3, 30), ==, REGION_FULL); /* has no shard */
	CHECK_OK(region_leave(a));
	CHECK_OK(region_leave(b));
	CHECK(rig_has(c, 1));
	CHECK(rig_has(c, 2));
	CHECK_OK(region_leave(c));
	CHECK_INT(rig_check(a, true).sealed, ==, 2);
	region_close(a);
	region_close(b);
	region_close(c);
	rig_destroy(&g);
}

/* The same key of another namespace, group or rank is another block, also where
 * the 32 bits that the part has of the namespace are the same. */
TEST(names_are_compared_whole)
{
	struct rig g = rig_create(1, 1, 8);
	struct region *a = rig_join(&g, NULL, 1, false);
	struct region_name name = rig_name(5), other = name;
	struct region_found found;

	CHECK_OK(rig_put(a, 5, 1));
	CHECK_OK(region_find(a, &name, &found));
	other.ns[3] ^= 1;
	CHECK_INT(region_part(&other), ==, region_part(&name));
	CHECK_INT(region_find(a, &other, &found), ==, REGION_MISS);
	other = name;
	other.group ^= 1;
	CHECK_INT(region_find(a, &other, &found), ==, REGION_MISS);
	other = name;
	other.key[3] ^= 1;
	CHECK_INT(region_find(a, &other, &found), ==, REGION_MISS);
	region_close(a);
	rig_destroy(&g);
}

TEST(a_full_shard_evicts_what_nobody_uses)
{
	struct rig g = rig_create(2, 1, 32);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, false);
	struct region_pin held;
	struct region_checked done;

	for (uint64_t id = 1; id <= 32; id++)
		CHECK_OK(rig_put(a, id, 1));
	CHECK_OK(rig_pin(b, 1, &held));
	CHECK(rig_has(b, 2)); /* a touch, by another node */
	CHECK_OK(rig_put(a, 33, 1));
	CHECK(rig_has(b, 1));
	CHECK(rig_has(b, 2));
	CHECK(!rig_has(b, 3));
	for (uint64_t id = 34; id <= 500; id++)
		CHECK_OK(rig_put(a, id, 1));
	CHECK(rig_right(1, held.data, held.bytes));
	CHECK(rig_has(b, 1));
	region_unpin(b, &held);
	for (uint64_t id = 501; id <= 600; id++)
		CHECK_OK(rig_put(a, id, 1));
	CHECK(!rig_has(b, 1));
	done = rig_check(b, true);
	CHECK_INT(done.sealed + done.free, ==, 32);
	CHECK_INT(done.entries, ==, done.sealed);
	CHECK_INT(done.pins, ==, 0);
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

TEST(where_all_is_pinned_there_is_no_room)
{
	struct rig g = rig_create(2, 1, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, false);
	struct region_pin held[8];

	for (uint64_t id = 0; id < 8; id++) {
		CHECK_OK(rig_put(a, id, 1));
		CHECK_OK(rig_pin(b, id, &held[id]));
	}
	CHECK_INT(rig_put(a, 9, 1), ==, REGION_FULL);
	CHECK_INT(region_leave(b), ==, -EBUSY);
	region_unpin(b, &held[3]);
	CHECK_OK(rig_put(a, 9, 1));
	CHECK(!rig_has(b, 3));
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

TEST(a_removed_block_goes_when_its_pins_have)
{
	struct rig g = rig_create(2, 1, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, false);
	struct region_name name = rig_name(1);
	struct region_pin held;

	CHECK_OK(rig_put(a, 1, 1));
	CHECK_OK(rig_pin(b, 1, &held));
	CHECK_INT(region_remove(b, &name), ==, REGION_MISS); /* not its own */
	CHECK_OK(region_remove(a, &name));
	CHECK_INT(region_remove(a, &name), ==, REGION_MISS);
	CHECK(!rig_has(b, 1));
	CHECK_OK(region_tick(a));
	CHECK_INT(rig_check(a, true).other, ==, 1); /* doomed */
	CHECK(rig_right(1, held.data, held.bytes));
	region_unpin(b, &held);
	CHECK_OK(region_tick(a));
	CHECK_INT(rig_check(a, true).free, ==, 8);
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

TEST(a_dead_nodes_blocks_stay_and_its_pins_return)
{
	struct rig g = rig_create(3, 2, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 1, true);
	struct region_pin held;

	CHECK_OK(rig_put(a, 1, 1));
	CHECK_OK(rig_put(b, 2, 1));
	CHECK_OK(rig_pin(a, 2, &held));
	for (uint64_t id = 10; id < 30; id++)
		CHECK_OK(rig_put(b, id, 1));
	CHECK(rig_has(b, 2));
	rig_kill(a, b);
	CHECK(rig_has(b, 1));
	CHECK_INT(region_owned(b), ==, 1);
	CHECK_OK(region_tick(b));
	CHECK_INT(region_owned(b), ==, 2);
	CHECK(rig_has(b, 1));
	for (uint64_t id = 30; id < 90; id++)
		CHECK_OK(rig_put(b, id, 1));
	CHECK(!rig_has(b, 2));
	CHECK_INT(rig_check(b, true).sealed, >, 8);
	region_close(b);
	rig_destroy(&g);
}

/* Its lease has run out: nothing is taken from it, and it goes on. */
TEST(a_late_member_loses_nothing)
{
	struct rig g = rig_create(3, 2, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 1, true);
	struct region_member_status s;
	struct region_shard_status shard;
	struct region_pin held;
	uint32_t member = 9, mine = 9;
	uint64_t inc;

	CHECK_OK(rig_put(a, 1, 1));
	CHECK_OK(rig_put(b, 2, 1));
	CHECK_OK(rig_pin(a, 2, &held));
	CHECK_OK(region_self(a, &member, &inc));
	do {
		CHECK_OK(region_tick(b));
		region_member_status(b, member, &s);
	} while (!s.late);
	for (mine = 0; region_owns(b, mine); mine++)
		;
	region_shard_status(b, mine, &shard);
	CHECK_INT(shard.owner, ==, member);
	CHECK(shard.quarantined && !shard.gone);
	CHECK_INT(region_take(b, mine), ==, REGION_ALIVE);
	CHECK_INT(region_owned(b), ==, 1);
	CHECK(rig_has(b, 1));
	for (uint64_t id = 10; id < 60; id++)
		CHECK_OK(rig_put(b, id, 1));
	/* it comes back: its pin held, its shard is its own */
	CHECK(rig_right(2, held.data, held.bytes));
	region_unpin(a, &held);
	CHECK_OK(region_tick(a));
	CHECK_OK(rig_put(a, 3, 1));
	CHECK_OK(region_leave(a));
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

TEST(who_was_declared_dead_writes_no_more)
{
	struct rig g = rig_create(2, 2, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 1, true);
	struct region_name name = rig_name(1);
	struct region_grant grant;
	uint32_t member = 9;
	uint64_t inc;

	CHECK_OK(region_grant(a, &name, 100, 0, 0, &grant));
	CHECK_OK(region_self(a, &member, &inc));
	CHECK_OK(region_fence(b, member, 0, true));
	CHECK_INT(region_seal(a, &grant, 100, 0, 1), ==, REGION_STALE);
	CHECK_INT(rig_put(a, 2, 1), ==, REGION_STALE);
	CHECK_INT(region_tick(a), ==, REGION_STALE);
	CHECK_INT(region_give(a, 0), ==, REGION_STALE);
	CHECK_INT(region_leave(a), ==, REGION_STALE);
	CHECK_OK(region_tick(b));
	CHECK_INT(region_owned(b), ==, 2);
	/* what was being filled is free */
	CHECK_INT(rig_check(b, true).free, ==, 16);
	/* and the slot is another's */
	CHECK_OK(region_join(a, &joins));
	CHECK_OK(region_self(a, &member, &inc));
	CHECK_INT(inc, ==, 2);
	/* who means the one before does not hit it */
	CHECK_INT(region_fence(b, member, 1, true), ==, REGION_MISS);
	CHECK_OK(rig_put(b, 3, 1));
	CHECK(rig_has(a, 3));
	CHECK_OK(region_fence(b, member, 2, true));
	CHECK_INT(region_tick(a), ==, REGION_STALE);
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

/* The new node gets its share from who had adopted it. */
TEST(an_adopted_shard_is_given_to_who_has_none)
{
	struct rig g = rig_create(2, 2, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 1, true);

	CHECK_OK(rig_put(a, 1, 1));
	rig_kill(a, b);
	CHECK_OK(region_tick(b));
	CHECK_INT(region_owned(b), ==, 2);
	a = rig_join(&g, "a", 1, true);
	CHECK_INT(region_owned(a), ==, 0);
	CHECK_OK(region_tick(b));
	CHECK_OK(region_tick(a));
	CHECK_INT(region_owned(a), ==, 1);
	CHECK_INT(region_owned(b), ==, 1);
	CHECK_OK(region_tick(b)); /* and it stays so */
	CHECK_OK(region_tick(a));
	CHECK_INT(region_owned(b), ==, 1);
	CHECK(rig_has(b, 1));
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

/* A frame that a device may write is nobody's, whoever takes the shard. */
TEST(a_dead_nodes_device_frames_are_held_back)
{
	struct rig g = rig_create(2, 1, 4);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, true);
	struct region_name name = rig_name(1);
	struct region_shard_status s;
	struct region_grant grant;

	CHECK_OK(region_grant(a, &name, 100, 0, FRAME_GRANT_DEVICE, &grant));
	rig_kill(a, b);
	CHECK_OK(region_tick(b));
	CHECK(region_owns(b, 0));
	for (uint64_t id = 10; id < 40; id++)
		CHECK_OK(rig_put(b, id, 1));
	region_shard_status(b, 0, &s);
	CHECK_OK(region_tick(b));
	region_shard_status(b, 0, &s);
	CHECK_INT(s.held, ==, 1);
	CHECK_INT(s.sealed + s.free, ==, 3);
	region_close(b);
	rig_destroy(&g);
}

/* A byte changes where nobody may write. The reader is told, tells the owner,
 * and the owner, who looks for itself, lets the block go. */
TEST(a_bad_block_is_a_miss_for_all)
{
	struct rig g = rig_create(2, 1, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, false);
	struct region_name name = rig_name(1);
	struct region_grant grant;
	struct region_pin pin;
	uint64_t checksum;
	char data[100] = "a block";

	CHECK_OK(region_grant(a, &name, 100, 0, 0, &grant));
	CHECK_OK(region_fill(a, &grant, data, 100, &checksum));
	CHECK_OK(region_seal(a, &grant, 100, 0, checksum));
	CHECK_OK(region_pin(b, &name, &pin));
	CHECK_OK(region_verify(b, &name, &pin));
	((char *)grant.data)[50] ^= 1;
	CHECK_INT(region_verify(b, &name, &pin), ==, REGION_BAD);
	region_unpin(b, &pin);
	CHECK_OK(region_tick(a));
	CHECK_INT(region_pin(b, &name, &pin), ==, REGION_MISS);
	CHECK_OK(region_tick(a));
	CHECK_INT(rig_check(a, true).free, ==, 8);
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

TEST(slots_are_as_many_as_members)
{
	struct rig g = rig_create(2, 1, 4);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 1, false), *c = rig_open(&g);
	struct region_pin pin;
	struct region_name name = rig_name(1);

	CHECK_INT(region_join(c, &joins), ==, -EBUSY);
	CHECK_INT(region_pin(c, &name, &pin), ==, -ENOTCONN);
	CHECK_INT(rig_put(c, 1, 1), ==, -ENOTCONN);
	CHECK_INT(region_tick(c), ==, -ENOTCONN);
	CHECK_INT(region_join(a, &joins), ==, -EALREADY);
	CHECK_INT(region_fence(c, 2, 0, true), ==, -EINVAL);
	CHECK_OK(region_leave(b));
	CHECK_INT(region_fence(c, 1, 0, true), ==, REGION_MISS);
	CHECK_OK(region_join(c, &joins));
	CHECK_OK(region_leave(c));
	region_close(a);
	region_close(b);
	region_close(c);
	rig_destroy(&g);
}

/* ---- names ----------------------------------------------------------------------- */

TEST(a_name_is_text_that_is_no_number)
{
	char longest[REGION_NAME + 2];

	memset(longest, 'a', sizeof(longest));
	longest[REGION_NAME + 1] = '\0';
	CHECK(!region_name_is_good(longest));
	longest[REGION_NAME] = '\0';
	CHECK(region_name_is_good(longest));
	CHECK(region_name_is_good(""));
	CHECK(region_name_is_good("node 7 ~"));
	CHECK(region_name_is_good("10.0.0.1:80"));
	CHECK(!region_name_is_good("12"));
	CHECK(!region_name_is_good("1.7"));
	CHECK(!region_name_is_good("a\nb"));
	CHECK(!region_name_is_good("\x1b[2J"));
	CHECK(!region_name_is_good("caf\xc3\xa9"));
	CHECK(!region_name_is_good("\x7f"));
}

TEST(a_name_of_another_node_is_shown_as_text)
{
	struct rig g = rig_create(2, 1, 4);
	struct region *a = rig_open(&g);
	struct region_join_options o = { .size = sizeof(o), .name = "7" };
	struct region_member_status s;
	struct region_control *control;

	CHECK_INT(region_join(a, &o), ==, -EINVAL);
	o.name = "a\xff";
	CHECK_INT(region_join(a, &o), ==, -EINVAL);
	o.name = "good";
	CHECK_OK(region_join(a, &o));
	control = mmap(NULL, REGION_UNIT, PROT_READ | PROT_WRITE, MAP_SHARED,
		       g.fd, 0);
	CHECK(control != MAP_FAILED);
	memcpy(control->member[0].name, "\xff\x1b[2J\nx", 8);
	region_member_status(a, 0, &s);
	CHECK_STR(s.name, "??[2J?x");
	memset(control->member[0].name, 0xff, REGION_NAME);
	region_member_status(a, 0, &s);
	CHECK_INT(strlen(s.name), ==, REGION_NAME);
	CHECK_INT(strspn(s.name, "?"), ==, REGION_NAME);
	munmap(control, REGION_UNIT);
	CHECK_OK(region_leave(a));
	region_close(a);
	rig_destroy(&g);
}

TEST(room_of_who_has_ended_is_not_quarantined)
{
	struct rig g = rig_create(2, 1, 4);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region_shard_status s;
	struct region_control *control = mmap(
		NULL, REGION_UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, g.fd, 0);

	CHECK(control != MAP_FAILED);
	region_shard_status(a, 0, &s);
	CHECK(!s.ended && !s.quarantined && !s.gone);
	control->member[0].beat_ms = 1; /* long ago */
	region_shard_status(a, 0, &s);
	CHECK(!s.ended && s.quarantined && !s.gone);
	control->member[0].pid = 0x3fffff; /* nobody's */
	region_shard_status(a, 0, &s);
	CHECK(s.ended && !s.quarantined && !s.gone);
	CHECK_OK(region_fence(a, 0, 0, false));
	region_shard_status(a, 0, &s);
	CHECK(!s.ended && !s.quarantined && s.gone);
	munmap(control, REGION_UNIT);
	region_close(a);
	rig_destroy(&g);
}

/* ---- the format ----------------------------------------------------------------- */

static void expect_open(const struct rig *g, int err)
{
	struct region *r = NULL;

	CHECK_INT(region_open(g->path, &r), ==, err);
	CHECK(!r);
}

TEST(what_is_no_region_is_refused)
{
	struct rig g = rig_create(2, 1, 4);
	struct region_format_options again = g.format;
	struct region_header *h = mmap(
		NULL, REGION_UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, g.fd, 0);
	struct region *r = NULL;

	CHECK(h != MAP_FAILED);
	again.force = false;
	CHECK_INT(region_format(g.path, &again), ==, -EEXIST);
	h->incompat = 1;
	expect_open(&g, -EPROTONOSUPPORT);
	rig_format(&g);
	h->version += 1ull << 32;
	expect_open(&g, -EPROTONOSUPPORT);
	rig_format(&g);
	h->version += 1; /* minor */
	h->compat = 8;
	region_close(rig_open(&g));
	h->stamp ^= 1;
	expect_open(&g, -EPROTONOSUPPORT);
	rig_format(&g);
	h->mode = 2;
	expect_open(&g, -EPROTONOSUPPORT);
	rig_format(&g);
	h->frames += 1000000;
	expect_open(&g, -EPROTO);
	rig_format(&g);
	h->members = 1ull << 32 | 2;
	expect_open(&g, -EPROTO);
	h->magic = 0;
	expect_open(&g, -ENODATA);
	CHECK_INT(region_open("/dev/null", &r), ==, -EMEDIUMTYPE);
	CHECK_INT(region_open("/no such file", &r), ==, -ENOENT);
	munmap(h, REGION_UNIT);
	rig_destroy(&g);
}

TEST(what_cannot_be_formatted_is_refused)
{
	struct rig g = rig_create(2, 1, 4);
	struct region_format_options o = g.format;
	struct region_geometry least = { 0 };
	char dir[] = "/tmp/onecopy-region-XXXXXX", path[64];

	o.frame_bytes = 5000;
	CHECK_INT(region_format(g.path, &o), ==, -EINVAL);
	o = g.format;
	o.members = REGION_MEMBERS_MAX + 1;
	CHECK_INT(region_format(g.path, &o), ==, -EINVAL);
	o = g.format;
	o.frame_bytes = 1 << 30;
	CHECK_INT(region_format(g.path, &o), ==, -ENOSPC);
	CHECK_OK(region_format_least(&o, &least));
	CHECK_INT(least.bytes, >, 1 << 30);
	o = g.format;
	o.members = 3;
	o.shards = 2;
	o.frames = 0;
	CHECK_OK(region_format_least(&o, &least));
	o.bytes = least.bytes - REGION_UNIT;
	CHECK_OK(ftruncate(g.fd, 0));
	CHECK_INT(region_format(g.path, &o), ==, -ENOSPC);
	o.bytes = least.bytes;
	CHECK_OK(region_format(g.path, &o));
	o = g.format;
	o.size = 1;
	CHECK_INT(region_format(g.path, &o), ==, -EINVAL);
	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
	o = g.format;
	o.bytes = 0;
	CHECK_INT(region_format(path, &o), ==, -ENOENT);
	rmdir(dir);
	rig_destroy(&g);
}

static uint64_t size_of(const struct rig *g)
{
	struct stat st;

	CHECK_OK(fstat(g->fd, &st));
	return (uint64_t)st.st_size;
}

TEST(a_format_that_fails_leaves_the_file_as_it_was)
{
	struct rig g = rig_create(2, 1, 4);
	struct region_format_options o = g.format;
	uint64_t was = size_of(&g);

	o.bytes *= 2;
	o.force = false;
	CHECK_INT(region_format(g.path, &o), ==, -EEXIST);
	CHECK_INT(size_of(&g), ==, was);
	o.force = true;
	o.frames = 1 << 20;
	CHECK_INT(region_format(g.path, &o), ==, -ENOSPC);
	CHECK_INT(size_of(&g), ==, was);
	region_close(rig_open(&g));
	CHECK_OK(region_is_there(g.fd));
	CHECK_OK(ftruncate(g.fd, 0));
	CHECK_INT(region_is_there(g.fd), ==, -ENODATA);
	rig_destroy(&g);
}

TEST(what_is_no_region_is_not_overwritten)
{
	struct rig g = rig_create(2, 1, 4);
	struct region_format_options o = g.format;
	struct stat st;
	uint64_t was = size_of(&g);
	uint64_t *h = mmap(NULL, REGION_UNIT, PROT_READ | PROT_WRITE,
			   MAP_SHARED, g.fd, 0);

	CHECK(h != MAP_FAILED);
	*h = 1;
	o.force = o.even_if_live = false;
	o.bytes *= 2;
	CHECK_INT(region_format(g.path, &o), ==, -ENOTEMPTY);
	CHECK_INT(size_of(&g), ==, was);
	CHECK_INT(*h, ==, 1);
	munmap(h, REGION_UNIT);
	/* without a page there is nothing to be lost */
	CHECK_OK(ftruncate(g.fd, 0));
	CHECK_OK(ftruncate(g.fd, (off_t)was));
	expect_open(&g, -ENODATA); /* which makes none */
	CHECK_OK(fstat(g.fd, &st));
	CHECK_INT(st.st_blocks, ==, 0);
	o.bytes = 0;
	CHECK_OK(region_format(g.path, &o));
	rig_destroy(&g);
}

TEST(a_region_with_living_members_is_not_formatted)
{
	struct rig g = rig_create(3, 1, 4);
	struct region_format_options o = g.format;
	struct region *a, *eye = rig_open(&g);
	struct region_control *control;

	o.even_if_live = false;
	CHECK_OK(region_format(g.path, &o));
	a = rig_join(&g, "a", 1, false);
	CHECK_OK(rig_put(a, 1, 1));
	CHECK_INT(region_format(g.path, &o), ==, -EBUSY);
	CHECK(rig_has(a, 1));
	CHECK_OK(region_tick(a));
	CHECK_OK(region_fence(eye, 0, 0, true));
	CHECK_OK(region_format(g.path, &o));
	region_close(a);
	a = rig_join(&g, "a", 1, false);
	CHECK_INT(region_format(g.path, &o), ==, -EBUSY);
	control = mmap(NULL, REGION_UNIT, PROT_READ | PROT_WRITE, MAP_SHARED,
		       g.fd, 0);
	CHECK(control != MAP_FAILED);
	control->member[0].pid = 0x3fffff; /* nobody's: proved dead */
	CHECK_OK(region_format(g.path, &o));
	region_close(a);
	a = rig_join(&g, "a", 1, false);
	control->member[0].host[1] ^= 1; /* of another host */
	control->member[0].pid = 0x3fffff;
	CHECK_INT(region_format(g.path, &o), ==, -EBUSY);
	o.even_if_live = true;
	CHECK_OK(region_format(g.path, &o));
	munmap(control, REGION_UNIT);
	region_close(a);
	region_close(eye);
	rig_destroy(&g);
}

/* Twice the file system, which the kernel refuses at once. */
TEST(a_file_system_that_is_too_small_is_no_small_region)
{
	struct region_format_options o = { .size = sizeof(o) };
	char path[] = "/dev/shm/onecopy-XXXXXX";
	struct statvfs fs;
	int fd = mkostemp(path, O_CLOEXEC);

	if (fd < 0)
		SKIP("no /dev/shm");
	unlink(path);
	CHECK_OK(fstatvfs(fd, &fs));
	close(fd);
	if (!fs.f_blocks)
		SKIP("/dev/shm has no limit");
	o.bytes = 2 * fs.f_blocks * fs.f_frsize;
	CHECK_INT(region_format(path, &o), ==, -ENOMEM);
	CHECK_INT(access(path, F_OK), ==, -1);
}

/* A node that has the memory as its rung holds its lock for as long as it lives. */
TEST(who_holds_the_lock_is_left_alone)
{
	struct rig g = rig_create(2, 1, 4);
	struct region *r = rig_open(&g);
	int fd = open(g.path, O_RDWR | O_CLOEXEC);

	CHECK_OK(flock(fd, LOCK_EX | LOCK_NB));
	CHECK_INT(region_format(g.path, &g.format), ==, -EAGAIN);
	CHECK_INT(region_join(r, &joins), ==, -EAGAIN);
	close(fd);
	CHECK_OK(region_join(r, &joins));
	region_close(r);
	rig_format(&g); /* joined, and no more at it */
	rig_destroy(&g);
}

TEST(everything_mapped_apart_is_whole_units)
{
	for (uint32_t frames = 1; frames < 100000; frames = frames * 3 + 1) {
		struct region_geometry g = { .members = 5,
					     .shards = 3,
					     .frames = frames,
					     .frame_bytes = 12288 };
		struct region_places p;

		CHECK_OK(region_places(&g, &p));
		CHECK_INT(p.units % REGION_UNIT, ==, 0);
		CHECK_INT(p.shards % REGION_UNIT, ==, 0);
		CHECK_INT(p.shard_bytes % REGION_UNIT, ==, 0);
		CHECK_INT(p.payload % PAGE_BYTES, ==, 0);
		CHECK_OK(region_fit(&g, p.shards + 3 * p.shard_bytes));
		CHECK_INT(g.frames, >=, frames);
		CHECK_INT(g.bytes, ==, p.shards + 3 * p.shard_bytes);
		CHECK_INT(region_fit(&g, p.shards), ==, -ENOSPC);
	}
}

/* Lies in a shard's metadata, which another node writes, lead nowhere. */
TEST(lies_of_another_member_stay_inside)
{
	struct rig g = rig_create(2, 1, 8);
	struct region *a = rig_join(&g, "a", 1, false);
	struct region *b = rig_join(&g, "b", 0, false);
	struct region_geometry geometry = *region_geometry_of(a);
	struct region_places p;
	struct region_name name = rig_name(1);
	struct region_pin pin;
	struct region_desc *d;
	uint64_t *bucket;
	char *all;

	CHECK_OK(rig_put(a, 1, 1));
	CHECK_OK(region_places(&geometry, &p));
	all = mmap(NULL, geometry.bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		   g.fd, 0);
	CHECK(all != MAP_FAILED);
	d = (void *)(all + p.shards + p.desc);
	d->extent = frame_extent(UINT32_MAX, 16);
	CHECK_OK(region_pin(b, &name, &pin));
	CHECK_INT(pin.bytes, <=, RIG_FRAME);
	/* who read it complains; the owner reads no further than the frame */
	CHECK_INT(region_verify(b, &name, &pin), ==, REGION_BAD);
	region_unpin(b, &pin);
	CHECK_OK(region_tick(a));
	CHECK_INT(region_pin(b, &name, &pin), ==, REGION_MISS);
	CHECK_OK(rig_put(a, 1, 1));
	/* every entry with its tag, and a location outside */
	bucket = (void *)(all + p.shards + p.table +
			  sizeof(struct table_header));
	for (unsigned i = 0; i < 16; i++)
		if (bucket[i])
			bucket[i] |= 0xfffffff;
	CHECK_INT(region_pin(b, &name, &pin), ==, REGION_MISS);
	munmap(all, geometry.bytes);
	region_close(a);
	region_close(b);
	rig_destroy(&g);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A client's handle of a region, beside an owner in the same process. */
#include "client/member.h"
#include "region/host.h"
#include "tests/region/rig.h"

#define BLOCKS 8u

struct scene {
	struct rig g;
	struct region *owner;
	struct member *m;
};

static struct scene begin(void)
{
	struct scene s = { .g = rig_create_small(4, 1, 2 * BLOCKS) };
	int fd;

	s.owner = rig_join(&s.g, "owner", 1, false);
	for (uint64_t id = 1; id <= BLOCKS; id++)
		CHECK_OK(rig_put(s.owner, id, 1));
	CHECK_OK(region_reopen(s.owner, &fd));
	CHECK_OK(member_join(fd, region_host_of(s.owner)->id, "client", &s.m));
	return s;
}

static void end(struct scene *s)
{
	member_leave(s->m);
	region_close(s->owner);
	rig_destroy(&s->g);
}

static void read_once(struct scene *s, uint64_t id, unsigned flags)
{
	struct region_name name = rig_name(id);
	struct member_pin pin;

	CHECK_OK(member_pin(s->m, &name, flags, &pin));
	CHECK(rig_right(id, pin.data, pin.bytes));
	member_unpin(s->m, pin.slot);
}

/* Of blocks that are read alike, the one that was used stays. */
TEST(a_read_that_is_no_use_keeps_nothing)
{
	const uint64_t used = BLOCKS / 2;
	struct scene s = begin();

	for (uint64_t id = 1; id <= BLOCKS; id++)
		read_once(&s, id, id == used ? 0 : MEMBER_NO_TOUCH);
	CHECK_INT(region_evict(s.owner, BLOCKS - 1), ==, BLOCKS - 1);
	for (uint64_t id = 1; id <= BLOCKS; id++)
		CHECK_INT(rig_has(s.owner, id), ==, id == used);
	end(&s);
}

/* Its owner is told, and looks for itself. */
TEST(wrong_bytes_are_told)
{
	struct scene s = begin();
	struct region_name name = rig_name(1);
	struct member_pin pin;
	struct region_member_status st;
	char *all = rig_map(&s.g);
	struct region_seen seen;

	CHECK_OK(member_look(s.m, &name, &seen));
	all[seen.offset] ^= 1;
	CHECK_INT(member_pin(s.m, &name, MEMBER_VERIFY, &pin), ==, MEMBER_BAD);
	region_member_status(s.owner, member_slot(s.m), &st);
	CHECK_INT(st.count[REGION_C_bad], ==, 1);
	CHECK_INT(st.pins, ==, 0);
	CHECK_OK(region_tick(s.owner));
	CHECK_INT(member_pin(s.m, &name, MEMBER_VERIFY, &pin), ==, MEMBER_MISS);
	rig_unmap(&s.g, all);
	end(&s);
}

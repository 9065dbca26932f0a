/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation, map and I/O of the public calls fails once; then it works, and
 * nothing is left behind. */
#include "tests/region/rig.h"

#include "base/fault.h"
#include <dirent.h>

static unsigned open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* A whole life: the first error, or 0. */
static int life(const struct rig *g, struct region **ret_region)
{
	struct region_join_options o = { .size = sizeof(o), .shards = 1 };
	struct region *r = NULL;
	int err = region_format(g->path, &g->format);

	if (!err)
		err = region_open(g->path, &r);
	*ret_region = r;
	if (!err)
		err = region_join(r, &o);
	/* a tick in which memory was refused has no shard yet */
	if (!err && !region_owned(r))
		err = region_take(r, 0);
	if (!err)
		err = rig_put(r, 1, 1);
	if (!err)
		err = region_leave(r);
	return err;
}

static void walk(unsigned mask)
{
	struct rig g = rig_create(2, 1, 8);
	unsigned files = open_files();
	uint64_t n = 0;
	bool fired;
	int err;

	do {
		struct region *r;
		struct region_member_status s;

		fault_arm(mask, ++n, false);
		err = life(&g, &r);
		fired = fault_fired();
		CHECK(err == 0 || fired);
		fault_arm(0, 0, false);
		region_close(r);
		r = NULL;
		CHECK_INT(open_files(), ==, files);
		if (region_open(g.path, &r))
			continue;
		region_member_status(r, 0, &s);
		/* what failed before it was a member claims nothing */
		CHECK(s.state == MEMBER_FREE || s.state == MEMBER_LIVE);
		rig_check(r, false);
		region_close(r);
	} while (fired);
	CHECK_INT(n, >, 3);
	rig_destroy(&g);
}

TEST(memory_is_refused)
{
	walk(FAULT_ALLOC);
}

TEST(maps_are_refused)
{
	walk(FAULT_MAP);
}

TEST(files_fail)
{
	walk(FAULT_IO);
}

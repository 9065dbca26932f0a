/* The tier as the store uses it: parts come and go, and are there after a restart. */
#include "tests/tier/nvme/rig.h"

static void both(void (*test)(struct rig *g))
{
	for (int io = TIER_IO_URING; io <= TIER_IO_THREADS; io++) {
		struct rig g;

		rig_init_on_disk(&g, 0, 0);
		g.options.io = io;
		test(&g);
		rig_fini(&g);
	}
}

static void write_read(struct rig *g)
{
	struct tier_stat s;

	rig_open(g);
	CHECK(!rig_has(g, 1));
	CHECK_INT(rig_read(g, 1), ==, OC_MISS);
	CHECK_OK(rig_write(g, 1, 0));
	CHECK_OK(rig_write(g, 2, 1));
	CHECK_OK(rig_write(g, 3, 4097));
	CHECK_INT(rig_write(g, 1, 0), ==, OC_EXISTS);
	for (uint64_t n = 1; n <= 3; n++)
		CHECK_OK(rig_read(g, n));
	rig_check(g);
	s = rig_stat(g);
	CHECK_INT(s.parts, ==, 3);
	CHECK_INT(s.live_bytes, ==, RIG_PART + 1 + 4097);
	CHECK_INT(s.reads, ==, 3);
	CHECK_STR(s.io,
		  g->options.io == TIER_IO_URING ? "io_uring" : "threads");
}

TEST(write_read)
{
	both(write_read);
}

static void after_stop(struct rig *g)
{
	rig_open(g);
	for (uint64_t n = 0; n < 30; n++)
		CHECK_OK(rig_write(g, n, 0));
	CHECK_OK(rig_remove(g, 7));
	CHECK_INT(rig_remove(g, 7), ==, OC_MISS);
	rig_stop(g);
	rig_open(g);
	CHECK_INT(rig_stat(g).recovered, ==, 29);
	for (uint64_t n = 0; n < 30; n++)
		CHECK_INT(rig_read(g, n), ==, n == 7 ? OC_MISS : 0);
	rig_check(g);
}

TEST(after_stop)
{
	both(after_stop);
}

static void after_death(struct rig *g)
{
	rig_open(g);
	for (uint64_t n = 0; n < 30; n++)
		CHECK_OK(rig_write(g, n, 0));
	rig_close(g);
	rig_open(g);
	CHECK_INT(rig_stat(g).recovered, ==, 30);
	for (uint64_t n = 0; n < 30; n++)
		CHECK_OK(rig_read(g, n));
	rig_check(g);
}

TEST(after_death)
{
	both(after_death);
}

/* Ten times what it holds; the file never passes its limit. */
static void full(struct rig *g)
{
	struct tier_stat s;
	uint32_t there = 0;

	rig_open(g);
	for (uint64_t n = 0; n < 600; n++) {
		CHECK_OK(rig_write(g, n, 0));
		CHECK_OK(rig_read(g, n));
		rig_check(g);
	}
	for (uint64_t n = 0; n < 600; n++)
		there += rig_read(g, n) == 0;
	s = rig_stat(g);
	CHECK_INT(there, ==, s.parts);
	CHECK_INT(there, >, 15);
	CHECK_INT(s.dropped, ==, 600 - there);
	CHECK_INT(g->gone, ==, s.dropped);
	CHECK_INT(s.used_bytes, <=, g->options.size);
	CHECK_INT(s.device_write_bytes * 10, <, s.write_bytes * 13);
	rig_stop(g);
	rig_open(g);
	CHECK_INT(rig_stat(g).recovered, ==, there);
	for (uint64_t n = 0; n < 600; n++)
		there -= rig_read(g, n) == 0;
	CHECK_INT(there, ==, 0);
}

TEST(full)
{
	both(full);
}

/* A device that fails, fills up, takes no writes, is late, or goes and comes back;
 * by the table of I/O functions, with both back ends. */
#include <sys/file.h>
#include "tests/tier/nvme/rig.h"

static void both(void (*test)(struct rig *g))
{
	for (int io = TIER_IO_URING; io <= TIER_IO_THREADS; io++) {
		struct rig g;

		rig_init(&g, 0, 0);
		g.options.io = io;
		rig_open(&g);
		for (uint64_t n = 0; n < 8; n++)
			CHECK_OK(rig_write(&g, n, 0));
		test(&g);
		rig_check(&g);
		rig_fini(&g);
	}
}

#define BOTH(name)                       \
	static void name(struct rig *g); \
	TEST(name)                       \
	{                                \
		both(name);              \
	}                                \
	static void name(struct rig *g)

static uint64_t place_of(struct rig *g, uint64_t n)
{
	struct tier_place p;
	struct tier_id id;

	rig_id(g, n, &id);
	CHECK_OK(tier_nvme.hold(g->t, &id, &p));
	tier_nvme.release(g->t, &p, false);
	return p.offset;
}

/* ---- places --------------------------------------------------------------------- */

static struct nvme_fate not_again(struct rig *g, enum nvme_op op,
				  uint64_t offset, uint64_t bytes)
{
	const uint64_t *bad = g->user;

	if (op == NVME_WRITE)
		CHECK(offset + bytes <= *bad || offset >= *bad + RIG_PART);
	return (struct nvme_fate){ 0 };
}

/* All is written over several times, but for this place. */
static void not_now(struct rig *g, uint64_t bad)
{
	CHECK_INT(rig_stat(g).lost_bytes, ==, RIG_PART);
	g->user = &bad;
	g->fate = not_again;
	for (uint64_t n = 1000; n < 1150; n++)
		CHECK_OK(rig_write(g, n, 0));
	g->fate = NULL;
}

/* A client can bring it about, and a power failure: no capacity is lost for good,
 * and the record is not found again. */
static void aside(struct rig *g)
{
	for (unsigned i = 0; i < 50; i++)
		rig_turn(g); /* the tombstone */
	rig_close(g);
	rig_open(g);
	CHECK_INT(rig_stat(g).lost_bytes, ==, 0);
	CHECK(!rig_has(g, 3));
	rig_stop(g);
	rig_open(g);
}

static void never_again(struct rig *g, uint64_t bad)
{
	not_now(g, bad);
	g->user = &bad;
	g->fate = not_again;
	rig_stop(g);
	rig_open(g);
	CHECK_INT(rig_stat(g).lost_bytes, ==, RIG_PART);
	for (uint64_t n = 2000; n < 2150; n++)
		CHECK_OK(rig_write(g, n, 0));
	g->fate = NULL;
}

BOTH(read_fails)
{
	uint64_t bad = place_of(g, 3);

	g->fail_next = 1;
	CHECK_INT(rig_read(g, 3), ==, -EIO);
	CHECK_INT(rig_read(g, 3), ==, OC_MISS);
	CHECK_INT(g->gone_wrong, ==, 1);
	CHECK_INT(rig_stat(g).errors, ==, 1);
	CHECK_INT(rig_stat(g).state, ==, TIER_UP);
	CHECK_OK(rig_read(g, 4));
	never_again(g, bad);
}

BOTH(wrong_bytes)
{
	uint64_t bad = place_of(g, 3);
	int fd = open(rig_file(g), O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(pwrite(fd, "x", 1, (off_t)bad + 5000), ==, 1);
	CHECK_OK(fsync(fd));
	close(fd);
	CHECK_INT(rig_read(g, 3), ==, -EBADMSG);
	CHECK_INT(rig_read(g, 3), ==, OC_MISS);
	CHECK_INT(rig_stat(g).bad, ==, 1);
	CHECK_INT(g->gone_wrong, ==, 1);
	not_now(g, bad);
	CHECK_OK(rig_write(g, 3, 0)); /* the removed one does not come back */
	CHECK_OK(rig_remove(g, 3));
	aside(g);
}

BOTH(wrong_by_a_gpu)
{
	struct tier_place p;
	struct tier_id id;

	rig_id(g, 3, &id);
	CHECK_OK(tier_nvme.hold(g->t, &id, &p));
	tier_nvme.release(g->t, &p, true);
	CHECK_INT(rig_read(g, 3), ==, OC_MISS);
	CHECK_INT(rig_stat(g).bad, ==, 1);
	aside(g);
}

/* The memory changes while it is written: nothing is committed, no place lost. */
static struct nvme_fate change(struct rig *g, enum nvme_op op, uint64_t offset,
			       uint64_t bytes)
{
	const struct nvme_io *io = nvme_of(g->t)->engine.device.first;

	for (; op == NVME_WRITE && io; io = io->next)
		if (io->offset == offset && io->bytes == bytes && io->payload)
			((uint8_t *)io->data)[5000] ^= 1;
	return (struct nvme_fate){ 0 };
}

BOTH(memory_changes_under_a_write)
{
	uint64_t used = rig_stat(g).used_bytes;
	struct rig_move m;

	for (unsigned i = 0; i < 100; i++) {
		g->fate = change;
		CHECK_OK(rig_write_begin(g, &m, 100, 0));
		CHECK_INT(rig_wait(g, &m), ==, -EBADMSG);
		g->fate = NULL;
	}
	CHECK(!rig_has(g, 100));
	CHECK_INT(rig_stat(g).used_bytes, ==, used);
	CHECK_INT(rig_stat(g).lost_bytes, ==, 0);
	CHECK_INT(rig_stat(g).state, ==, TIER_UP);
	CHECK_OK(rig_write(g, 100, 0));
	CHECK_OK(rig_read(g, 100));
	rig_close(g);
	rig_open(g);
	CHECK_OK(rig_read(g, 100));
}

BOTH(write_fails)
{
	g->fail_next = 1; /* the payload */
	CHECK_INT(rig_write(g, 100, 0), ==, -EIO);
	CHECK(!rig_has(g, 100));
	CHECK_INT(rig_stat(g).state, ==, TIER_UP);
	CHECK_INT(rig_stat(g).lost_bytes, ==, RIG_PART);
	CHECK_OK(rig_write(g, 100, 0));
	CHECK_OK(rig_read(g, 100));
}

static struct nvme_fate fail_pages(struct rig *g, enum nvme_op op,
				   uint64_t offset, uint64_t bytes)
{
	unsigned *left = g->user;
	struct nvme_fate f = { 0 };

	(void)offset;
	if (op == NVME_WRITE && bytes == LOG_UNIT && *left > 0) {
		--*left;
		f.result = -EIO;
	}
	return f;
}

/* A commit page goes elsewhere, and is found there. */
BOTH(commit_fails)
{
	unsigned left = 2;

	g->user = &left;
	g->fate = fail_pages;
	CHECK_OK(rig_write(g, 100, 0));
	CHECK_INT(left, ==, 0);
	CHECK_OK(rig_write(g, 101, 0));
	rig_close(g); /* so that the pages are what is read */
	rig_open(g);
	CHECK_OK(rig_read(g, 100));
	CHECK_OK(rig_read(g, 101));
}

/* ---- the device ------------------------------------------------------------------- */

static void heals(struct rig *g)
{
	g->fail_reads = g->fail_writes = 0;
	rig_wait_state(g, TIER_UP);
	CHECK_STR(rig_stat(g).why, "");
	for (uint64_t n = 0; n < 8; n++)
		CHECK_OK(rig_read(g, n));
	CHECK_OK(rig_write(g, 200, 0));
	CHECK_OK(rig_read(g, 200));
}

BOTH(gone)
{
	g->fail_reads = g->fail_writes = -ENODEV;
	CHECK_INT(rig_read(g, 1), ==, -ENODEV);
	CHECK_INT(rig_stat(g).state, ==, TIER_DOWN);
	CHECK(!rig_has(g, 2));
	CHECK_INT(rig_read(g, 2), ==, OC_MISS);
	CHECK_INT(rig_write(g, 100, 0), ==, -EIO);
	for (unsigned i = 0; i < 4000; i++) /* trials that fail */
		rig_turn(g);
	CHECK_INT(rig_stat(g).state, ==, TIER_DOWN);
	CHECK_INT(rig_stat(g).parts, ==, 8);
	heals(g);
}

/* One after another: it is the device, and few places are given up for it. */
BOTH(fails_all)
{
	g->fail_reads = g->fail_writes = -EIO;
	for (uint64_t n = 0; n < 8; n++)
		rig_read(g, n);
	CHECK_INT(rig_stat(g).state, ==, TIER_DOWN);
	g->fail_reads = g->fail_writes = 0;
	rig_wait_state(g, TIER_UP);
	CHECK_INT(rig_stat(g).parts, >=, 8 - HEALTH_IN_A_ROW);
	CHECK_OK(rig_read(g, 7));
}

BOTH(read_only)
{
	g->fail_writes = -EROFS;
	CHECK_INT(rig_write(g, 100, 0), ==, -EROFS);
	CHECK_INT(rig_stat(g).state, ==, TIER_READONLY);
	CHECK_INT(rig_write(g, 101, 0), ==, -EROFS);
	for (uint64_t n = 0; n < 8; n++)
		CHECK_OK(rig_read(g, n));
	CHECK_OK(rig_remove(g, 7)); /* on disk when it can be */
	for (unsigned i = 0; i < 4000; i++)
		rig_turn(g);
	CHECK_INT(rig_stat(g).state, ==, TIER_READONLY);
	CHECK_INT(rig_stat(g).lost_bytes, ==, 0);
	g->fail_writes = 0;
	rig_wait_state(g, TIER_UP);
	CHECK_OK(rig_write(g, 100, 0));
	rig_stop(g);
	rig_open(g);
	CHECK_INT(rig_read(g, 7), ==, OC_MISS);
	CHECK_OK(rig_read(g, 100));
}

/* What was refused comes back; what was in the segment then is still found. */
BOTH(no_space_on_write)
{
	g->fail_writes = -ENOSPC;
	CHECK_INT(rig_write(g, 100, 0), ==, -ENOSPC);
	CHECK_INT(rig_stat(g).state, ==, TIER_READONLY);
	heals(g);
}

static struct nvme_fate no_growth(struct rig *g, enum nvme_op op,
				  uint64_t offset, uint64_t bytes)
{
	struct nvme_fate f = { 0 };

	(void)offset;
	(void)bytes;
	if (op == NVME_ALLOCATE && g->held)
		f.result = -ENOSPC;
	return f;
}

/* The file system is full: it lives in what it has, and grows when it can. */
BOTH(no_space_to_grow)
{
	uint64_t limit = rig_stat(g).limit_bytes;

	g->held = true;
	g->fate = no_growth;
	for (uint64_t n = 100; n < 200; n++) {
		CHECK_OK(rig_write(g, n, 0));
		CHECK_OK(rig_read(g, n));
	}
	CHECK_INT(rig_stat(g).state, ==, TIER_UP);
	CHECK_INT(rig_stat(g).limit_bytes, <, limit);
	CHECK(strstr(rig_stat(g).why, "full"));
	CHECK_INT(rig_stat(g).dropped, >, 80);
	g->held = false;
	g->now += 20 * NS_PER_S;
	for (uint64_t n = 200; n < 300; n++)
		CHECK_OK(rig_write(g, n, 0));
	CHECK_INT(rig_stat(g).limit_bytes, ==, limit);
	CHECK_STR(rig_stat(g).why, "");
	CHECK_INT(rig_stat(g).parts, >, 20);
}

/* ---- time ------------------------------------------------------------------------- */

static struct nvme_fate hold_reads(struct rig *g, enum nvme_op op,
				   uint64_t offset, uint64_t bytes)
{
	struct nvme_fate f = { .hold = op == NVME_READ && g->held };

	(void)offset;
	(void)bytes;
	return f;
}

/* Half a minute without an answer: nothing new is written, who has a deadline is
 * told, nothing is forgotten, and then it goes on. */
BOTH(slow)
{
	struct rig_move m[8];
	unsigned told = 0;

	g->options.depth = 0;
	g->held = true;
	g->fate = hold_reads;
	CHECK_OK(rig_read_begin(g, &m[0], 0));
	/* its time begins when it is sent, and what else flies ends before */
	while (rig_stat(g).state != TIER_SLOW) {
		g->now += 2 * NS_PER_S;
		rig_turn(g);
	}
	CHECK_INT(rig_write(g, 100, 0), ==, -EAGAIN);
	CHECK(rig_has(g, 1));
	tier_nvme.cancel(g->t, &m[0].m);
	for (unsigned i = 0; i < 30; i++) {
		g->now += NS_PER_S;
		rig_turn(g);
	}
	CHECK(!m[0].over); /* the device still has its memory */
	CHECK_INT(rig_stat(g).flying, >=, 1);
	for (unsigned i = 1; i < 8; i++)
		CHECK_OK(rig_read_begin(g, &m[i], i));
	g->held = false;
	nvme_io_kick(&nvme_of(g->t)->engine);
	for (unsigned i = 0; i < 8; i++)
		told += rig_wait(g, &m[i]) == 0;
	CHECK_INT(told, >=, 7);
	rig_wait_state(g, TIER_UP);
	CHECK_INT(rig_stat(g).late, >=, 1);
	CHECK_OK(rig_write(g, 100, 0));
}

BOTH(deadline)
{
	struct rig_move flying[4], waits;

	/* four fill what may be with the device */
	rig_close(g);
	g->options.depth = 4;
	rig_open(g);
	while (rig_stat(g).flying || rig_stat(g).queued)
		rig_turn(g);
	g->held = true;
	g->fate = hold_reads;
	for (unsigned i = 0; i < 4; i++)
		CHECK_OK(rig_read_begin(g, &flying[i], i));
	while (rig_stat(g).flying < 4)
		rig_turn(g);
	memset(&waits, 0, sizeof(waits));
	CHECK_OK(rig_read_begin(g, &waits, 5));
	/* as if it had been given with the deadline */
	((struct nvme_read *)(void *)waits.m.private_)->io.deadline_ns =
		g->now + NS_PER_S;
	rig_turn(g);
	CHECK(!waits.over);
	g->now += 2 * NS_PER_S;
	CHECK_INT(rig_wait(g, &waits), ==, -ETIMEDOUT);
	CHECK_OK(rig_read_begin(g, &waits, 6));
	tier_nvme.cancel(g->t, &waits.m);
	CHECK(!waits.over);
	CHECK_INT(rig_wait(g, &waits), ==, -ECANCELED);
	g->held = false;
	nvme_io_kick(&nvme_of(g->t)->engine);
	for (unsigned i = 0; i < 4; i++)
		CHECK_OK(rig_wait(g, &flying[i]));
}

/* ---- short answers ------------------------------------------------------------------ */

static struct nvme_fate cut(struct rig *g, enum nvme_op op, uint64_t offset,
			    uint64_t bytes)
{
	struct nvme_fate f = { 0 };

	(void)g;
	(void)offset;
	if (op <= NVME_WRITE && bytes > 2 * LOG_UNIT)
		f.bytes = bytes / 2 & ~(uint64_t)(LOG_UNIT - 1);
	return f;
}

BOTH(answers_in_pieces)
{
	g->fate = cut;
	for (uint64_t n = 0; n < 8; n++)
		CHECK_OK(rig_read(g, n));
	for (uint64_t n = 100; n < 108; n++) {
		CHECK_OK(rig_write(g, n, 50001));
		CHECK_OK(rig_read(g, n));
	}
	CHECK_INT(rig_stat(g).errors, ==, 0);
}

/* The file is cut under its feet. */
BOTH(file_ends)
{
	uint64_t at = place_of(g, 7);

	CHECK_OK(truncate(rig_file(g), (off_t)at + 4096));
	CHECK_INT(rig_read(g, 7), ==, -ENODATA);
	CHECK_INT(rig_read(g, 7), ==, OC_MISS);
	CHECK_OK(rig_read(g, 0));
}

/* ---- two nodes ----------------------------------------------------------------------- */

BOTH(two_nodes)
{
	struct rig other = *g;

	CHECK_INT(rig_open_try(&other), ==, -EBUSY);
	/* a successor waits */
	other.options.busy_ns = NS_PER_S;
	CHECK_OK(rig_open_try(&other));
	CHECK_INT(rig_stat(&other).state, ==, TIER_COMING);
	CHECK(!rig_has(&other, 1));
	CHECK_INT(rig_write(&other, 1, 0), ==, -EAGAIN);
	for (unsigned i = 0; i < 60; i++) {
		other.now += 20 * NS_PER_MS;
		rig_turn(&other);
	}
	CHECK_INT(rig_stat(&other).state, ==, TIER_DOWN);
	CHECK_STR(rig_stat(&other).why, "another process has it");
	rig_close(g);
	rig_wait_state(&other, TIER_UP);
	CHECK_INT(rig_stat(&other).recovered, ==, 8);
	rig_close(&other);
	rig_open(g);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Spaces over a node with a drive: more blocks than memory holds. */
#include <onecopy/space.h>
#include <signal.h>
#include "prog/payload.h"
#include "tests/prog/live.h"

#define PART   (64 * KIB)
#define FRAMES 128u /* what memory holds */
#define BLOCKS (3 * FRAMES)

struct rig {
	struct live n;
	char place[LIVE_PLACE];
	oc_client *c;
	oc_ns *ns;
	oc_space *s;
	oc_span *sp;
	char *base;
};

/* Who writes goes away, and its frames with it: they are others' to have. */
static void rig_write(struct rig *r)
{
	oc_client *c = live_connect(&r->n);
	oc_ns *ns = live_ns(c, PART);

	/* the node writes down what it must evict; the rest is still in memory. Where
	 * it waits too long for the drive it evicts all the same, and counts that. */
	for (uint64_t i = 0; i < BLOCKS; i++) {
		if (i >= FRAMES)
			LIVE_WAIT(&r->n,
				  live_counter(c, "demoted") +
						  live_counter(
							  c, "demote_missed") >
					  i - FRAMES);
		live_write_some(ns, i, 1, PART);
	}
	LIVE_WAIT(&r->n, live_counter(c, "demoted") > 0);
	oc_ns_close(ns);
	oc_client_close(c);
}

static void rig_start(struct rig *r, enum oc_lost lost)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_FAULTS };
	struct oc_span_options o = OC_SPAN_INIT;
	static struct oc_key keys[BLOCKS];
	struct oc_span_info info;
	char nvme[LIVE_DRIVE];
	int e;

	live_drive_begin("64M", r->place, nvme);
	live_start(&r->n, "--dram=8M", "--slab=512K", "--nvme", nvme);
	LIVE_WAIT(&r->n, live_said(&r->n, "the nvme tier is up"));
	rig_write(r);
	r->c = live_connect(&r->n);
	r->ns = live_ns(r->c, PART);
	e = oc_space_create(r->ns, &so, &r->s);
	if (e)
		SKIP("userfaultfd is refused: %s", strerror(-e));
	for (uint64_t i = 0; i < BLOCKS; i++)
		keys[i] = live_key(i);
	o.flags = OC_SPAN_LAZY;
	o.lost = lost;
	CHECK_OK(oc_span_map(r->s, keys, BLOCKS, &o, &r->sp));
	CHECK_OK(oc_span_info(r->sp, &info));
	r->base = info.base;
}

static void rig_end(struct rig *r)
{
	oc_space_destroy(r->s);
	live_check(r->c);
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	live_stop(&r->n);
	live_drive_end(r->place);
}

/* 0 right, 1 lost (zeros, and flagged). */
static unsigned look(struct rig *r, uint64_t i)
{
	struct oc_key key = live_key(i);
	struct oc_span_block b;

	if (!live_wrong(&key, r->base + i * PART, PART))
		return 0;
	CHECK_OK(oc_span_block(r->sp, i, &b));
	if (b.state != OC_BLOCK_ZERO)
		FAIL("block %llu is wrong", (unsigned long long)i);
	return 1;
}

static struct oc_space_report report_of(struct rig *r)
{
	struct oc_space_report report = { .size = sizeof(report) };

	CHECK_OK(oc_space_report(r->s, &report));
	return report;
}

/* Gives what was asked for ahead a moment, until some of it has come. */
static void be_patient(struct rig *r)
{
	struct oc_space_report now = report_of(r);
	struct live_wait w = { 0 };

	for (int k = 0; k < 50 && now.ahead_asked && !now.ahead; k++) {
		live_pause(&r->n, &w, "what was asked for ahead");
		now = report_of(r);
	}
}

/* Reads n blocks from `from` on, `step` apart. Those that are lost. */
static unsigned look_on(struct rig *r, uint64_t from, int64_t step, uint64_t n)
{
	unsigned lost = 0;

	for (uint64_t k = 0; k < n; k++) {
		lost += look(r, from + (uint64_t)((int64_t)k * step));
		be_patient(r);
	}
	return lost;
}

/* Much is asked for ahead in a pass through all. How much comes before it is
 * touched is the drive's to say: what does is used, or let go of before. */
static void check_ahead(struct rig *r, const struct oc_space_report *before,
			unsigned lost)
{
	struct oc_space_report now = report_of(r);
	uint64_t asked = now.ahead_asked - before->ahead_asked;
	uint64_t ahead = now.ahead - before->ahead;
	uint64_t used = now.ahead_used - before->ahead_used;
	uint64_t waited = now.faults_bring - before->faults_bring;

	NOTE("%u lost; %llu asked for ahead, %llu came, %llu used, %llu waited; "
	     "%llu came back",
	     lost, (unsigned long long)asked, (unsigned long long)ahead,
	     (unsigned long long)used, (unsigned long long)waited,
	     (unsigned long long)(now.returned - before->returned));
	/* a third at most was resident */
	CHECK_INT(asked + lost, >=, BLOCKS / 4);
	CHECK_INT(ahead + lost, >, 0);
	CHECK_INT(ahead, >=, used);
	CHECK_INT(ahead - used, <=, now.let_go - before->let_go);
}

TEST(a_session_of_three_times_memory_is_read_through)
{
	struct oc_space_report report;
	struct rig r;
	unsigned lost;

	rig_start(&r, OC_LOST_ZERO);
	lost = look_on(&r, 0, 1, BLOCKS);
	/* what the drive was not in time for when it was written is gone */
	CHECK_INT(lost, <=, live_counter(r.c, "demote_missed"));
	report = report_of(&r);
	CHECK_INT(report.moved_bytes + lost * PART, >=, BLOCKS / 3 * PART);
	CHECK_INT(report.let_go + lost, >=, BLOCKS - FRAMES);
	check_ahead(&r, &(struct oc_space_report){ 0 }, lost);
	/* and from the end: each comes back at its address */
	for (uint64_t i = BLOCKS; i-- > 0;)
		look(&r, i);
	rig_end(&r);
}

TEST(a_session_is_read_backwards)
{
	struct oc_space_report before;
	struct rig r;

	rig_start(&r, OC_LOST_ZERO);
	before = report_of(&r);
	check_ahead(&r, &before, look_on(&r, BLOCKS - 1, -1, BLOCKS));
	rig_end(&r);
}

TEST(a_session_is_read_in_strides)
{
	struct oc_space_report before;
	unsigned lost = 0;
	struct rig r;

	rig_start(&r, OC_LOST_ZERO);
	before = report_of(&r);
	for (uint64_t row = 0; row < 4; row++)
		lost += look_on(&r, row, 4, BLOCKS / 4);
	check_ahead(&r, &before, lost);
	rig_end(&r);
}

/* Without advice; no two steps in a row are the same. But what is mapped already is
 * touched unseen, which may look like a way for once: tests/space/test_walk.c has all
 * of these touches seen. */
TEST(touches_in_any_order_bring_hardly_anything_ahead)
{
	struct oc_space_report report;
	unsigned lost = 0;
	struct rig r;

	rig_start(&r, OC_LOST_ZERO);
	for (uint64_t i = 0; i < BLOCKS / 2; i++)
		lost += look(&r, (i * i * 7 + i * 3) % BLOCKS);
	report = report_of(&r);
	/* two starts; who took it for a way would ask with each touch */
	CHECK_INT(report.ahead_asked, <=, 2 * MIB / PART);
	CHECK_INT(report.faults_bring + lost, >, 0);
	rig_end(&r);
}

TEST(random_touches_bring_one_block_each)
{
	struct oc_space_report report;
	unsigned lost = 0;
	struct rig r;

	rig_start(&r, OC_LOST_ZERO);
	CHECK_OK(oc_span_advise(r.sp, 0, 0, OC_ADVISE_RANDOM, 0));
	for (uint64_t i = 0; i < BLOCKS / 2; i++)
		lost += look(&r, i * 157 % BLOCKS);
	report = report_of(&r);
	CHECK_INT(report.ahead_asked, ==, 0);
	CHECK_INT(report.ahead, ==, 0);
	CHECK_INT(report.faults_bring, <=, BLOCKS / 2);
	CHECK_INT(report.faults_bring + lost, >, 0);
	rig_end(&r);
}

TEST(prefetches_and_holds_bring_up)
{
	struct rig r;

	rig_start(&r, OC_LOST_ZERO);
	CHECK_INT(oc_span_hold(r.sp, 0, 32, 0, 0), >=, 0);
	CHECK_INT(oc_span_prefetch(r.sp, 100, 32, OC_PREFETCH_WAIT, 0), >=, 0);
	for (uint64_t i = 100; i < 132; i++)
		look(&r, i);
	for (uint64_t i = 0; i < 32; i++)
		look(&r, i);
	CHECK_INT(report_of(&r).faults, ==, 0);
	rig_end(&r);
}

TEST(the_server_dies_while_a_touch_waits)
{
	struct rig r;
	pid_t server;

	rig_start(&r, OC_LOST_ZERO);
	server = live_server(r.c);
	look(&r, 0);
	CHECK_OK(kill(server, SIGKILL));
	/* these wait for its successor, which finds the drive's blocks again */
	for (uint64_t i = 1; i < BLOCKS; i++)
		look(&r, i);
	CHECK(live_server(r.c) != server);
	rig_end(&r);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "front/report/health.h"
#include "tests/front/told.h"

#define S 1000000000ull

static struct health judge(struct health_facts f)
{
	struct health h;

	health_judge(&f, &h);
	CHECK(h.live);
	for (unsigned i = 0; i < h.n_degraded; i++) {
		size_t n = strlen(h.degraded[i]);

		CHECK(n > 10 && h.degraded[i][n - 1] == '.');
	}
	return h;
}

static bool says(const struct health *h, const char *text)
{
	for (unsigned i = 0; i < h->n_degraded; i++)
		if (strstr(h->degraded[i], text))
			return true;
	return false;
}

static const struct health_facts fine = {
	.serving = true,
	.starts = 1,
	.up_s = 5,
	.age_s = 5,
};

TEST(a_node_that_is_well)
{
	struct health h = judge(fine);

	CHECK(h.ready);
	CHECK_INT(h.n_degraded, ==, 0);
	CHECK_INT(h.n_notes, ==, 0);
}

TEST(not_serving_is_not_ready)
{
	struct health_facts f = fine;
	struct health h;

	f.serving = false;
	h = judge(f);
	CHECK(!h.ready);
	CHECK(says(&h, "does not take requests"));
}

/* A region that waits for somebody wants a person; one that is only late does
 * not. */
TEST(a_region_of_several_nodes)
{
	struct health_facts f = fine;
	struct health h;

	f.region_state = "declared dead";
	f.region_why = "it goes on without";
	h = judge(f);
	CHECK(h.ready && says(&h, "this node is declared dead: it goes on"));
	f = fine;
	f.region_late = 1;
	h = judge(f);
	CHECK_INT(h.n_degraded, ==, 0);
	CHECK_INT(h.n_notes, ==, 1);
	f.region_quarantined = 2;
	h = judge(f);
	CHECK(says(&h, "2 shards wait for 1 members"));
	f = fine;
	f.region_outside = 3;
	h = judge(f);
	CHECK(says(&h, "3 clients found no slot"));
}

/* A shard that is out of use stays news until the next server; errors that cost none
 * are news for a while. */
TEST(memory_of_a_region_that_fails)
{
	struct health_facts f = fine;
	struct health h;

	f.ever.region_errors = 3;
	h = judge(f);
	CHECK_INT(h.n_degraded, ==, 0);
	CHECK_INT(h.n_notes, ==, 1);
	f.lately.region_errors = 2;
	h = judge(f);
	CHECK(h.ready && says(&h, "failed 2 times in the last 5 minutes"));
	f.lately.region_errors = 0;
	f.region_out = 1;
	h = judge(f);
	CHECK(says(&h, "failed, and 1 of this"));
}

/* What to do about it stands at the end. */
TEST(a_long_reason_is_told_whole)
{
	struct health_facts f = fine;
	char why[420];
	struct health h;

	memset(why, 'x', sizeof(why));
	strcpy(why + sizeof(why) - 9, "--shards");
	f.region_state = "not a member";
	f.region_why = why;
	h = judge(f);
	CHECK(says(&h, "x--shards."));
}

/* Room that the region was made with, and that nobody uses. */
TEST(a_region_of_the_wrong_shape)
{
	struct health_facts f = fine;
	struct health h;

	f.region_shards = 16;
	f.region_frame = 2 << 20;
	f.region_parts = 10;
	f.region_bytes = 10ull << 20;
	h = judge(f);
	CHECK_INT(h.n_notes, ==, 0);
	f.region_nobodys = 14;
	f.region_bytes = 640ull << 10;
	h = judge(f);
	CHECK_INT(h.n_degraded, ==, 0);
	CHECK_INT(h.n_notes, ==, 2);
	CHECK(strstr(h.note[0], "14 of 16 shards are nobody's"));
	CHECK(strstr(h.note[1], "64 KiB, and each takes a frame of 2048 KiB"));
}

TEST(a_node_without_a_shard)
{
	struct health_facts f = fine;
	struct health h;

	f.region_idle = true;
	h = judge(f);
	CHECK(h.ready && says(&h, "this node has no shard"));
}

TEST(restarts)
{
	struct health_facts f = fine;
	struct health h;

	f.starts = 2;
	f.up_s = 59;
	f.age_s = 100000;
	h = judge(f);
	CHECK(h.ready);
	CHECK(says(&h, "59 seconds ago"));
	f.up_s = 60;
	h = judge(f);
	CHECK_INT(h.n_degraded, ==, 0);
	CHECK_INT(h.n_notes, ==, 1);
	/* four servers in 39 minutes, the last of them ten minutes old */
	f.starts = 4;
	f.up_s = 600;
	f.age_s = 39 * 60;
	h = judge(f);
	CHECK(says(&h, "3 times in 39 minutes"));
	f.age_s = 41 * 60;
	h = judge(f);
	CHECK_INT(h.n_degraded, ==, 0);
}

TEST(wrong_bytes)
{
	struct health_facts f = fine;
	struct health h;

	f.ever.wrong_parts = 3;
	h = judge(f);
	CHECK_INT(h.n_degraded, ==, 0);
	CHECK_INT(h.n_notes, ==, 1);
	f.lately.wrong_parts = 2;
	h = judge(f);
	CHECK(says(&h, "2 parts with wrong bytes"));
	CHECK_INT(h.n_notes, ==, 0);
}

TEST(no_room)
{
	struct health_facts f = fine;
	struct health h;

	f.lately.grants_refused = 9;
	f.lately.slabs_refused = 4;
	h = judge(f);
	CHECK(h.ready);
	CHECK_INT(h.n_degraded, ==, 2);
	CHECK(says(&h, "9 grants were refused"));
	CHECK(says(&h, "no memory for 4 slabs"));
}

TEST(quarantine_is_worth_knowing)
{
	struct health_facts f = fine;
	struct health h;

	f.quarantined = 7;
	h = judge(f);
	CHECK_INT(h.n_degraded, ==, 0);
	CHECK_INT(h.n_notes, ==, 1);
	CHECK(strstr(h.note[0], "7 frames are in quarantine"));
}

TEST(what_silent_clients_map_is_missed)
{
	struct health_facts f = fine;
	struct health h;

	f.silent_bytes = 5 * 1024 * 1024 + 1;
	h = judge(f);
	CHECK(h.ready);
	CHECK_INT(h.n_degraded, ==, 1);
	CHECK(strstr(h.degraded[0], "6 MiB are mapped by clients that do not "
				    "answer"));
}

TEST(doors_and_the_loop)
{
	const char *const failures[] = { "resp: Address already in use" };
	struct health_facts f = fine;
	struct health h;

	f.failure = failures;
	f.n_failures = 1;
	f.uring_refused = true;
	h = judge(f);
	/* somebody would be sent to a door that is not there */
	CHECK(!h.ready);
	CHECK(h.live);
	CHECK_INT(h.n_degraded, ==, 1);
	CHECK(says(&h, "resp: Address already in use."));
	CHECK_INT(h.n_notes, ==, 1);
}

/* A drive that is not up is for a person; what it did wrong is a note. */
TEST(the_tier_below)
{
	struct health_facts f = fine;
	struct health h;

	f.below_why = "";
	CHECK_INT(judge(f).n_degraded, ==, 0);
	f.below_state = "down";
	f.below_why = "the device is gone";
	f.below_bad = 3;
	f.below_errors = 4;
	h = judge(f);
	CHECK(h.ready); /* the node goes on */
	CHECK_INT(h.n_degraded, ==, 1);
	CHECK(says(&h, "The nvme tier is down: the device is gone."));
	CHECK_INT(h.n_notes, ==, 2);
	CHECK(strstr(h.note[0], "3 parts on nvme were wrong"));
	CHECK(strstr(h.note[1], "failed 4 times"));
	f.below_state = "coming";
	f.below_why = "";
	h = judge(f);
	CHECK(says(&h, "The nvme tier is coming."));
	f.below_state = NULL;
	f.below_short = "its file system is full, before its limit";
	h = judge(f);
	CHECK_INT(h.n_degraded, ==, 1);
	CHECK(says(&h, "The nvme tier: its file system is full, before its "
		       "limit."));
}

/* More reasons than there is room for, and texts too long for it. */
/* A working set that does not fit is no fault of the node. */
TEST(what_sessions_lose_is_worth_knowing)
{
	struct health_facts f = fine;
	struct health h;

	f.returned = 2000;
	f.lost = 900;
	h = judge(f);
	CHECK_INT(h.n_notes, ==, 0);
	f.lost = 1500;
	f.sessions_fit = 12;
	h = judge(f);
	CHECK(h.ready);
	CHECK_INT(h.n_degraded, ==, 0);
	CHECK_INT(h.n_notes, ==, 1);
	CHECK(strstr(h.note[0], "12 sessions fit"));
	f.returned = 200; /* too few to tell */
	f.lost = 200;
	h = judge(f);
	CHECK_INT(h.n_notes, ==, 0);
}

TEST(texts_are_bounded)
{
	const char *failures[20];
	struct health_facts f = fine;
	char text[4 * HEALTH_TEXT];
	struct health h;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (unsigned i = 0; i < 20; i++)
		failures[i] = text;
	f.failure = failures;
	f.n_failures = 20;
	health_judge(&f, &h);
	CHECK_INT(h.n_degraded, ==, HEALTH_TEXTS);
	CHECK_INT(strlen(h.degraded[0]), ==, HEALTH_TEXT - 1);
}

/* ---- lately */

static uint64_t refused_lately(const struct health_trend *t, uint64_t now,
			       uint64_t refused)
{
	const struct health_counts c = { .grants_refused = refused };

	return health_lately(t, now, &c).grants_refused;
}

TEST(lately_is_five_minutes)
{
	struct health_trend t = { 0 };
	struct health_counts c = { .grants_refused = 100 };
	uint64_t now = 7 * S;

	CHECK_INT(refused_lately(&t, now, 100), ==, 0);
	CHECK_INT(health_due(&t), ==, 0);
	health_sample(&t, now, &c);
	CHECK_INT(health_due(&t), ==, 17 * S);
	/* what was before the first sample is not lately */
	CHECK_INT(refused_lately(&t, now, 100), ==, 0);
	CHECK_INT(refused_lately(&t, now, 105), ==, 5);
	for (c.grants_refused = 105; now < 290 * S;) {
		now = health_due(&t);
		health_sample(&t, now, &c);
	}
	CHECK_INT(refused_lately(&t, now, 105), ==, 5);
	for (; now < 400 * S;) {
		now = health_due(&t);
		health_sample(&t, now, &c);
	}
	CHECK_INT(refused_lately(&t, now, 105), ==, 0);
	/* a pool that began anew */
	CHECK_INT(refused_lately(&t, now, 4), ==, 4);
}

/* Of a store: what it counts arrives. */
TEST(of_a_store)
{
	struct told *t = told_create();
	uint64_t now = t->report.start_ns;
	struct health h;

	report_health(&t->report, now, &h);
	CHECK(h.ready);
	CHECK_INT(h.n_degraded, ==, 0);
	pool_count(t->w->p, POOL_C_refused, 3);
	pool_count(t->w->p, POOL_C_bad, 1);
	report_health(&t->report, now, &h);
	CHECK_INT(h.n_degraded, ==, 2);
	for (unsigned i = 0; i < 40; i++)
		now = report_tick(&t->report, now);
	report_health(&t->report, now, &h);
	CHECK_INT(h.n_degraded, ==, 0);
	shared_store64(&t->w->p->m->header.state, POOL_STOPPED);
	report_health(&t->report, now, &h);
	CHECK(!h.ready);
	told_destroy(t);
}

/* What a predecessor's pools counted is not news to the next server. */
TEST(of_a_successor)
{
	struct told *t = told_create();
	struct report next;
	struct health h;

	pool_count(t->w->p, POOL_C_bad, 5);
	report_init(&next, t->w->s, NULL, "1.2.3");
	report_health(&next, next.start_ns, &h);
	CHECK_INT(h.n_degraded, ==, 0);
	report_tick(&next, next.start_ns);
	report_health(&next, next.start_ns, &h);
	CHECK_INT(h.n_degraded, ==, 0);
	CHECK_INT(h.n_notes, ==, 1);
	told_destroy(t);
}

TEST(memory_below_dram_that_is_gone)
{
	struct health_facts f = fine;
	struct health h;

	f.low_missing = "/dev/dax0.0: No such device";
	f.low_aside = 4 << 20;
	h = judge(f);
	CHECK(h.ready); /* DRAM serves */
	CHECK(says(&h, "below DRAM is not there: /dev/dax0.0: No such"));
	CHECK_INT(h.n_notes, ==, 1);
	CHECK(strstr(h.note[0], "4 MiB") != NULL);
}

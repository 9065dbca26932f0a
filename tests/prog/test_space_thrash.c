/* SPDX-License-Identifier: Apache-2.0 */
/* What thrashes, over a real node: blocks that come and go, and writers that take
 * turns. */
#include <stdlib.h>
#include "prog/payload.h"
#include "tests/prog/space_rig.h"

#define BLOCKS 120 /* half as many again as there are pins */
#define ROUNDS 20
#define TURNS  12

static uint64_t read_all(oc_space *s, oc_span *sp)
{
	uint64_t before = sp_report(s).faults;

	for (size_t i = 0; i < BLOCKS; i++)
		sp_right(sp, i, i);
	return sp_report(s).faults - before;
}

static oc_space *space_with(oc_ns *ns, uint64_t move_bytes)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_FAULTS,
				       .move_bytes = move_bytes };
	oc_space *s;

	CHECK_OK(oc_space_create(ns, &so, &s));
	return s;
}

TEST(blocks_that_come_and_go_are_copied_at_last)
{
	struct oc_space_report report;
	struct space_rig r;
	bool told = false;
	uint64_t faults = 1;
	char *json;
	oc_span *sp;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	live_write_some(r.ns, 0, BLOCKS, SP_PART);
	sp = sp_map(r.s, 0, BLOCKS, OC_SPAN_LAZY);
	for (int k = 0; k < ROUNDS && faults; k++) {
		faults = read_all(r.s, sp);
		report = sp_report(r.s);
		told |= report.thrashing &&
			strstr(report.advice, "come and go");
	}
	CHECK(told);
	CHECK_INT(faults, ==, 0); /* all have their place */
	CHECK_INT(report.moves, >, 0);
	CHECK_INT(report.move_bytes, ==, report.moves * SP_PART);
	CHECK_INT(sp_info(sp).copied, ==, report.moves);
	CHECK_INT(report.gathered_bytes, ==, 0);
	CHECK_OK(oc_space_report_json(r.s, &json));
	CHECK(strstr(json, "\"worst\":[{\"span\":"));
	free(json);
	sp_end(&r);
}

TEST(copies_of_what_thrashes_have_a_limit)
{
	struct space_rig r;
	oc_span *sp;
	oc_space *s;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	live_write_some(r.ns, 0, BLOCKS, SP_PART);
	for (int none = 0; none < 2; none++) {
		s = space_with(r.ns, none ? UINT64_MAX : 5 * SP_PART);
		sp = sp_map(s, 0, BLOCKS, OC_SPAN_LAZY);
		for (int k = 0; k < ROUNDS; k++)
			CHECK_INT(read_all(s, sp), >, 0);
		CHECK_INT(sp_report(s).moves, ==, none ? 0 : 5);
		/* what is let go gives its room to the next */
		CHECK_OK(oc_span_advise(sp, 0, 0, OC_ADVISE_DO_NOT_NEED, 0));
		for (int k = 0; k < 3; k++)
			read_all(s, sp);
		CHECK_INT(sp_report(s).moves, ==, none ? 0 : 10);
		oc_space_destroy(s);
	}
	sp_end(&r);
}

/* A version of the block: its number in each byte. */
static void is_version(oc_span *sp, int n)
{
	for (size_t k = 0; k < SP_PART; k += 101)
		CHECK_INT((uint8_t)sp_at(sp, 0)[k], ==, n);
}

static uint32_t turns_of(oc_span *sp)
{
	struct oc_span_block b;

	CHECK_OK(oc_span_block(sp, 0, &b));
	return b.turns;
}

static void put_version(struct space_rig *r, int n)
{
	struct oc_key key = live_key((uint64_t)n);
	uint8_t data[SP_PART];

	memset(data, n, sizeof(data));
	CHECK_OK(oc_put(r->ns, &key, SP_P0, data, sizeof(data), 0));
}

/* Two spaces: each takes what the other sealed, changes it and seals it. */
TEST(writers_that_take_turns)
{
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key key = live_key(0);
	struct space_rig r;
	uint64_t faults;
	oc_space *s[2];
	oc_span *sp[2];

	sp_start(&r, OC_SPACE_FAULTS);
	put_version(&r, 0);
	o.flags = OC_SPAN_LAZY;
	for (int w = 0; w < 2; w++) {
		s[w] = sp_make(r.ns, OC_SPACE_FAULTS);
		CHECK_OK(oc_span_map(s[w], &key, 1, &o, &sp[w]));
	}
	for (int n = 1; n <= TURNS; n++) {
		int w = n % 2;

		CHECK_OK(oc_span_replace(sp[w], 0, &key));
		faults = sp_report(s[w]).faults;
		is_version(sp[w], n - 1);
		memset(sp_at(sp[w], 0), n, SP_PART);
		if (n > 8) /* one touch, one copy; the write finds it there */
			CHECK_INT(sp_report(s[w]).faults - faults, ==, 1);
		key = live_key((uint64_t)n);
		CHECK_OK(oc_span_seal(sp[w], 0, &key, 0));
		is_version(sp[w], n);
	}
	for (int w = 0; w < 2; w++) {
		CHECK_INT(turns_of(sp[w]), >=, 3);
		CHECK_INT(sp_report(s[w]).thrashing_writers, ==, 1);
		CHECK(strstr(sp_report(s[w]).advice, "take turns"));
		oc_space_destroy(s[w]);
	}
	LIVE_WAIT(&r.n, live_stat(r.c).granted == 0);
	sp_end(&r);
}

/* One space that writes and seals the same block: at last without a fault. */
TEST(a_block_that_is_sealed_again_and_again)
{
	struct space_rig r;
	uint64_t faults = 0;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 1, SP_PART);
	sp = sp_map(r.s, 0, 1, 0);
	for (int n = 1; n <= TURNS; n++) {
		struct oc_key key = live_key(100 + (uint64_t)n);

		if (n > 6)
			faults = sp_report(r.s).faults;
		payload_make(&key, sp_at(sp, 0), SP_PART);
		if (n > 6)
			CHECK_INT(sp_report(r.s).faults, ==, faults);
		CHECK_OK(oc_span_seal(sp, 0, &key, 0));
		sp_right(sp, 0, 100 + (uint64_t)n);
		CHECK_OK(live_read(r.ns, 100 + (uint64_t)n, SP_PART));
	}
	CHECK_INT(sp_state(sp, 0), ==, OC_BLOCK_OWN);
	/* let go, it is the last that was sealed */
	CHECK_OK(oc_span_advise(sp, 0, 1, OC_ADVISE_DO_NOT_NEED, 0));
	sp_right(sp, 0, 100 + TURNS);
	CHECK_INT(sp_state(sp, 0), ==, OC_BLOCK_OWN);
	sp_end(&r);
}

TEST(a_block_is_replaced)
{
	struct oc_key key = live_key(7);
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 8, SP_PART);
	sp = sp_map(r.s, 0, 4, 0);
	sp_at(sp, 1)[5] ^= 1;
	CHECK_OK(oc_span_hold(sp, 2, 1, 0, 0));
	CHECK_INT(oc_span_replace(sp, 2, &key), ==, -EBUSY);
	oc_span_release(sp, 2, 1);
	CHECK_INT(oc_span_replace(sp, 4, &key), ==, -EINVAL);
	CHECK_OK(oc_span_replace(sp, 1, &key));
	sp_right(sp, 1, 7);
	sp_right(sp, 2, 2);
	CHECK_OK(live_read(r.ns, 1, SP_PART));
	sp_end(&r);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a space over a real node writes: its own until it is sealed. */
#include "prog/payload.h"
#include "tests/prog/space_rig.h"

TEST(a_first_write_gets_a_frame_of_its_own)
{
	struct space_rig r;
	oc_span *a, *b;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 8, SP_PART);
	a = sp_map(r.s, 0, 8, 0);
	b = sp_map(r.s, 0, 8, 0);
	sp_at(a, 3)[100] ^= 1;
	CHECK_INT(sp_state(a, 3), ==, OC_BLOCK_OWN);
	CHECK_INT(sp_state(a, 2), ==, OC_BLOCK_MAPPED);
	sp_right(b, 3, 3);
	sp_at(a, 3)[100] ^= 1;
	sp_right(a, 3, 3);
	CHECK_INT(live_read(r.ns, 3, SP_PART), ==, 0);
	CHECK_INT(sp_report(r.s).faults_write, ==, 1);
	CHECK_INT(sp_report(r.s).own_bytes, ==, SP_PART);
	CHECK_INT(live_stat(r.c).granted, ==, 1);
	oc_span_unmap(a);
	LIVE_WAIT(&r.n, live_stat(r.c).granted == 0);
	sp_end(&r);
}

TEST(what_was_written_is_sealed)
{
	struct oc_key key = live_key(1000);
	struct space_rig r;
	oc_span *sp;
	char *p;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, SP_PART);
	sp = sp_map(r.s, 0, 4, 0);
	CHECK_INT(oc_span_seal(sp, 2, &key, 0), ==, -EINVAL);
	payload_make(&key, sp_at(sp, 2), SP_PART);
	p = sp_at(sp, 2);
	CHECK_OK(oc_span_seal(sp, 2, &key, 0));
	CHECK(p == sp_at(sp, 2));
	CHECK_INT(sp_state(sp, 2), ==, OC_BLOCK_MAPPED);
	CHECK_OK(live_read(r.ns, 1000, SP_PART));
	sp_right(sp, 2, 1000);
	sp_end(&r);
}

TEST(a_frame_is_lent_for_its_key)
{
	struct oc_key key = live_key(1000), there = live_key(2);
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, SP_PART);
	sp = sp_map(r.s, 0, 4, OC_SPAN_LAZY);
	CHECK_INT(oc_span_write_as(sp, 1, &there, 0), ==, OC_EXISTS);
	CHECK_OK(oc_span_write_as(sp, 1, &key, 0));
	sp_right(sp, 1, 1);
	CHECK_INT(oc_span_write_as(sp, 1, &key, 0), ==, -EBUSY);
	payload_make(&key, sp_at(sp, 1), SP_PART);
	CHECK_OK(oc_span_seal(sp, 1, &key, 0));
	CHECK_OK(live_read(r.ns, 1000, SP_PART));
	CHECK_OK(live_read(r.ns, 1, SP_PART));
	sp_right(sp, 1, 1000);
	CHECK_INT(live_stat(r.c).granted, ==, 0);
	CHECK_INT(sp_report(r.s).own_bytes, ==, SP_PART);
	sp_end(&r);
}

static void kernel_copies(enum oc_space_how how)
{
	struct oc_key key = live_key(1000);
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, how);
	live_write_some(r.ns, 0, 4, SP_PART);
	sp = sp_map(r.s, 0, 4, OC_SPAN_PAGES);
	sp_at(sp, 1)[5000] ^= 1;
	CHECK_OK(live_read(r.ns, 1, SP_PART));
	CHECK_INT(sp_report(r.s).faults_write, ==, 0);
	CHECK_INT(sp_state(sp, 1), ==, OC_BLOCK_MAPPED);
	CHECK_INT(oc_span_seal(sp, 2, &key, 0), ==, -EINVAL);
	payload_make(&key, sp_at(sp, 1), SP_PART);
	CHECK_OK(oc_span_seal(sp, 1, &key, 0));
	CHECK_OK(live_read(r.ns, 1000, SP_PART));
	sp_right(sp, 1, 1000);
	sp_end(&r);
}

TEST(the_kernel_copies_pages)
{
	kernel_copies(OC_SPACE_FAULTS);
	kernel_copies(OC_SPACE_EXPLICIT);
}

TEST(what_the_kernel_copied_is_not_let_go)
{
	struct space_rig r;
	oc_span *sp;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	live_write_some(r.ns, 0, 500, SP_PART);
	sp = sp_map(r.s, 0, 500, OC_SPAN_LAZY | OC_SPAN_PAGES);
	for (size_t i = 0; i < 500; i += 5)
		sp_at(sp, i)[9] ^= 0x55;
	for (size_t i = 0; i < 500; i++)
		if (i % 5)
			sp_right(sp, i, i);
	for (size_t i = 0; i < 500; i += 5) {
		sp_at(sp, i)[9] ^= 0x55;
		sp_right(sp, i, i);
	}
	CHECK_INT(sp_info(sp).own, >, 0);
	sp_end(&r);
}

TEST(explicit_writes_are_asked_for)
{
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_EXPLICIT);
	live_write_some(r.ns, 0, 4, SP_PART);
	sp = sp_map(r.s, 0, 4, 0);
	CHECK_OK(oc_span_prefetch(sp, 1, 1,
				  OC_PREFETCH_WAIT | OC_PREFETCH_WRITE, 0));
	CHECK_INT(sp_state(sp, 1), ==, OC_BLOCK_OWN);
	sp_right(sp, 1, 1);
	sp_at(sp, 1)[0] ^= 1;
	CHECK_OK(live_read(r.ns, 1, SP_PART));
	CHECK_OK(oc_span_advise(sp, 1, 1, OC_ADVISE_DO_NOT_NEED, 0));
	CHECK_INT(sp_state(sp, 1), ==, OC_BLOCK_ABSENT);
	CHECK_OK(oc_span_hold(sp, 0, 0, 0, 0));
	sp_right(sp, 1, 1);
	oc_span_release(sp, 0, 0);
	sp_end(&r);
}

/* ---- the tail ---- */

TEST(the_tail_grows_behind_the_blocks)
{
	struct oc_session_options so = OC_SESSION_INIT;
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key *keys = sp_keys(0, 4), next = live_key(4);
	struct oc_tail tail;
	oc_session *session;
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 4, SP_PART);
	CHECK_OK(oc_session_open(r.ns, &so, 0, &session));
	CHECK_OK(oc_session_append(session, keys, 4, 0));
	o.capacity = 6;
	CHECK_OK(oc_span_map_session(r.s, session, &o, 0, &sp));
	CHECK_OK(oc_span_tail(sp, session, 0, &tail));
	CHECK(tail.data == sp_at(sp, 4));
	CHECK_INT(sp_state(sp, 4), ==, OC_BLOCK_TAIL);
	payload_make(&next, tail.data, SP_PART);
	/* asked for again: the same frame, at the same address */
	CHECK_OK(oc_span_tail(sp, session, 0, &tail));
	CHECK(tail.data == sp_at(sp, 4));
	CHECK_OK(oc_span_tail_seal(sp, session, &next, 0));
	CHECK_INT(sp_info(sp).blocks, ==, 5);
	CHECK_INT(oc_session_blocks(session), ==, 5);
	sp_right(sp, 4, 4);
	CHECK_OK(live_read(r.ns, 4, SP_PART));
	/* sealed: a write is this space's own again */
	sp_at(sp, 4)[0] ^= 1;
	CHECK_OK(live_read(r.ns, 4, SP_PART));
	CHECK_OK(oc_session_close(session, 0));
	free(keys);
	sp_end(&r);
}

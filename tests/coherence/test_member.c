/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "coherence/member.h"
#include "tests/test.h"

/* The documented transitions, written again; all others are illegal. */
static const struct {
	enum member_state from;
	enum member_event event;
	enum member_state to;
} legal[] = {
	{ MEMBER_FREE, MEMBER_EV_CLAIM, MEMBER_JOINING },
	{ MEMBER_EXITED, MEMBER_EV_CLAIM, MEMBER_JOINING },
	{ MEMBER_TOLD, MEMBER_EV_CLAIM, MEMBER_JOINING },
	{ MEMBER_JOINING, MEMBER_EV_ENTER, MEMBER_LIVE },
	{ MEMBER_JOINING, MEMBER_EV_LEAVE, MEMBER_FREE },
	{ MEMBER_JOINING, MEMBER_EV_EXITED, MEMBER_EXITED },
	{ MEMBER_JOINING, MEMBER_EV_TOLD, MEMBER_TOLD },
	{ MEMBER_LIVE, MEMBER_EV_LEAVE, MEMBER_FREE },
	{ MEMBER_LIVE, MEMBER_EV_EXITED, MEMBER_EXITED },
	{ MEMBER_LIVE, MEMBER_EV_TOLD, MEMBER_TOLD },
};

static enum member_state want(enum member_state from, enum member_event event)
{
	for (size_t i = 0; i < ARRAY_LEN(legal); i++)
		if (legal[i].from == from && legal[i].event == event)
			return legal[i].to;
	return MEMBER_STATES;
}

static void check_cell(enum member_state from, enum member_event event)
{
	enum member_state to = want(from, event);
	uint64_t next = 77;
	int err = member_step(member_word(41, 0x123456789a, from), event,
			      0xabcdef0123, &next);

	if (to == MEMBER_STATES) {
		CHECK_INT(err, ==, -EPROTO);
		CHECK_INT(next, ==, 77);
		return;
	}
	CHECK_OK(err);
	CHECK_INT(member_word_state(next), ==, to);
	/* a claim is another process, perhaps of another host */
	CHECK_INT(member_word_inc(next), ==, 41 + (to == MEMBER_JOINING));
	CHECK_INT(member_word_host(next), ==,
		  to == MEMBER_JOINING ? 0xabcdef0123 : 0x123456789a);
}

TEST(each_cell_is_as_documented)
{
	for (unsigned s = 0; s < MEMBER_STATES; s++)
		for (unsigned ev = 0; ev < MEMBER_EVENTS; ev++)
			check_cell((enum member_state)s, (enum member_event)ev);
}

TEST(unknown_states_and_events_are_refused)
{
	uint64_t next;

	CHECK_INT(member_step(member_word(1, 1, (enum member_state)9),
			      MEMBER_EV_TOLD, 0, &next),
		  ==, -EPROTO);
	CHECK_INT(member_step(0, MEMBER_EVENTS, 0, &next), ==, -EPROTO);
}

TEST(a_slot_wears_out_and_does_not_wrap)
{
	uint64_t next;

	CHECK_INT(member_step(member_word(MEMBER_INC_MAX, 1, MEMBER_FREE),
			      MEMBER_EV_CLAIM, 1, &next),
		  ==, -EOVERFLOW);
	CHECK_OK(member_step(member_word(MEMBER_INC_MAX, 1, MEMBER_LIVE),
			     MEMBER_EV_TOLD, 1, &next));
}

TEST(gone_is_for_ever)
{
	CHECK(!member_gone(member_word(4, 1, MEMBER_LIVE), 4));
	CHECK(!member_gone(member_word(4, 1, MEMBER_JOINING), 4));
	CHECK(member_gone(member_word(4, 1, MEMBER_FREE), 4));
	CHECK(member_gone(member_word(4, 1, MEMBER_EXITED), 4));
	CHECK(member_gone(member_word(4, 1, MEMBER_TOLD), 4));
	CHECK(member_gone(member_word(5, 1, MEMBER_LIVE), 4));
}

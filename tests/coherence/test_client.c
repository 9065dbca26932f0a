/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "coherence/client.h"
#include "tests/test.h"

#define IN   CLIENT_HANDS_IN
#define OUT  CLIENT_ORPHANS
#define BOTH (CLIENT_HANDS_IN | CLIENT_ORPHANS)

/* The documented transitions, written again; all others are illegal. */
static const struct {
	enum client_state from;
	enum client_event event;
	enum client_state to;
	unsigned takes;
} legal[] = {
	{ CLIENT_IS_NONE, CLIENT_EV_PUBLISH, CLIENT_IS_OPEN, 0 },
	{ CLIENT_IS_NONE, CLIENT_EV_DIED, CLIENT_IS_NONE, BOTH },
	{ CLIENT_IS_NONE, CLIENT_EV_RECOVER, CLIENT_IS_NONE, 0 },
	{ CLIENT_IS_OPEN, CLIENT_EV_CLOSE, CLIENT_IS_CLOSED, IN },
	{ CLIENT_IS_OPEN, CLIENT_EV_UNMAPPED, CLIENT_IS_CLEAR, IN },
	{ CLIENT_IS_OPEN, CLIENT_EV_LEAVE, CLIENT_IS_NONE, BOTH },
	{ CLIENT_IS_OPEN, CLIENT_EV_DIED, CLIENT_IS_NONE, BOTH },
	{ CLIENT_IS_OPEN, CLIENT_EV_FORGET, CLIENT_IS_NONE, BOTH },
	{ CLIENT_IS_OPEN, CLIENT_EV_RECOVER, CLIENT_IS_OPEN, 0 },
	{ CLIENT_IS_CLOSED, CLIENT_EV_DIED, CLIENT_IS_NONE, OUT },
	{ CLIENT_IS_CLOSED, CLIENT_EV_EMPTY, CLIENT_IS_NONE, OUT },
	{ CLIENT_IS_CLOSED, CLIENT_EV_FORGET, CLIENT_IS_NONE, OUT },
	{ CLIENT_IS_CLOSED, CLIENT_EV_RECOVER, CLIENT_IS_CLOSED, 0 },
	{ CLIENT_IS_CLEAR, CLIENT_EV_DIED, CLIENT_IS_NONE, OUT },
	{ CLIENT_IS_CLEAR, CLIENT_EV_EMPTY, CLIENT_IS_NONE, OUT },
	{ CLIENT_IS_CLEAR, CLIENT_EV_FORGET, CLIENT_IS_NONE, OUT },
	{ CLIENT_IS_CLEAR, CLIENT_EV_RECOVER, CLIENT_IS_CLEAR, 0 },
};

static void check_cell(enum client_state from, enum client_event event)
{
	struct client_step step = { 77, 77 };
	int err = client_step(from, event, &step);

	for (size_t i = 0; i < ARRAY_LEN(legal); i++) {
		if (legal[i].from != from || legal[i].event != event)
			continue;
		CHECK_OK(err);
		CHECK_INT(step.to, ==, legal[i].to);
		CHECK_INT(step.takes, ==, legal[i].takes);
		return;
	}
	CHECK_INT(err, ==, -EPROTO);
	CHECK_INT(step.to, ==, 77);
}

TEST(each_cell_is_as_documented)
{
	for (unsigned s = 0; s < CLIENT_STATES; s++)
		for (unsigned ev = 0; ev < CLIENT_EVENTS; ev++)
			check_cell((enum client_state)s, (enum client_event)ev);
}

TEST(unknown_states_and_events_are_refused)
{
	struct client_step step;

	CHECK_INT(client_step(CLIENT_STATES, CLIENT_EV_DIED, &step), ==,
		  -EPROTO);
	CHECK_INT(client_step(CLIENT_IS_OPEN, CLIENT_EVENTS, &step), ==,
		  -EPROTO);
}

TEST(flags_say_the_state_and_keep_what_else_they_say)
{
	for (unsigned s = 0; s < CLIENT_STATES; s++) {
		enum client_state state = (enum client_state)s;
		uint64_t flags = client_state_flags(
			CLIENT_READ_ONLY | CLIENT_CLOSED, state);

		CHECK(flags & CLIENT_READ_ONLY);
		CHECK_INT(client_state_of(state != CLIENT_IS_NONE, flags), ==,
			  state);
	}
}

TEST(memory_goes_when_nobody_has_it)
{
	CHECK(!client_let_go(CLIENT_IS_OPEN, true, 6, 7));
	CHECK(client_let_go(CLIENT_IS_OPEN, true, 7, 7));
	CHECK(client_let_go(CLIENT_IS_OPEN, false, 0, 7));
	/* who has closed answers no more: its process's end, or its last word */
	CHECK(!client_let_go(CLIENT_IS_CLOSED, true, 9, 7));
	CHECK(client_let_go(CLIENT_IS_CLEAR, true, 0, 7));
	CHECK(client_let_go(CLIENT_IS_NONE, true, 0, 7));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/session.h"
#include <errno.h>
#include "tests/test.h"

/* The documented transitions, written again; all others are illegal. */
static const struct {
	enum session_state from;
	enum session_event event;
	enum session_state to;
} legal[] = {
	{ SESSION_FREE, SESSION_EV_MAKE, SESSION_ACTIVE },
	{ SESSION_FREE, SESSION_EV_OWNER_DIED, SESSION_FREE },
	{ SESSION_FREE, SESSION_EV_RECOVER, SESSION_FREE },
	{ SESSION_ACTIVE, SESSION_EV_PAUSE, SESSION_PAUSED },
	{ SESSION_ACTIVE, SESSION_EV_RESUME, SESSION_ACTIVE },
	{ SESSION_ACTIVE, SESSION_EV_TAKE, SESSION_ACTIVE },
	{ SESSION_ACTIVE, SESSION_EV_CLOSE, SESSION_FREE },
	{ SESSION_ACTIVE, SESSION_EV_LAPSE, SESSION_FREE },
	{ SESSION_ACTIVE, SESSION_EV_OWNER_DIED, SESSION_FREE },
	{ SESSION_ACTIVE, SESSION_EV_LOST, SESSION_FREE },
	{ SESSION_ACTIVE, SESSION_EV_RECOVER, SESSION_ACTIVE },
	{ SESSION_PAUSED, SESSION_EV_PAUSE, SESSION_PAUSED },
	{ SESSION_PAUSED, SESSION_EV_RESUME, SESSION_ACTIVE },
	{ SESSION_PAUSED, SESSION_EV_TAKE, SESSION_PAUSED },
	{ SESSION_PAUSED, SESSION_EV_CLOSE, SESSION_FREE },
	{ SESSION_PAUSED, SESSION_EV_LAPSE, SESSION_FREE },
	{ SESSION_PAUSED, SESSION_EV_OWNER_DIED, SESSION_PAUSED },
	{ SESSION_PAUSED, SESSION_EV_LOST, SESSION_FREE },
	{ SESSION_PAUSED, SESSION_EV_RECOVER, SESSION_PAUSED },
};

static enum session_state want(enum session_state from,
			       enum session_event event)
{
	for (size_t i = 0; i < ARRAY_LEN(legal); i++)
		if (legal[i].from == from && legal[i].event == event)
			return legal[i].to;
	return SESSION_STATES;
}

/* A session has as many turns as it was taken up again, and one. */
static uint32_t want_turns(enum session_state from, enum session_event event,
			   uint32_t turns)
{
	if (want(from, event) == SESSION_FREE)
		return 0;
	if (event == SESSION_EV_MAKE)
		return 1;
	return turns + (from == SESSION_PAUSED && event == SESSION_EV_RESUME);
}

TEST(each_cell_is_as_documented)
{
	const uint32_t gen = 0xabcdef01, turns = 0x1234;

	for (unsigned s = 0; s < SESSION_STATES; s++) {
		for (unsigned ev = 0; ev < SESSION_EVENTS; ev++) {
			enum session_state from = (enum session_state)s;
			enum session_event event = (enum session_event)ev;
			enum session_state to = want(from, event);
			uint64_t next = 77;
			int err = session_step(session_word(gen, turns, from),
					       event, &next);

			if (to == SESSION_STATES) {
				CHECK_INT(err, ==, -EPROTO);
				CHECK_INT(next, ==, 77);
				continue;
			}
			CHECK_OK(err);
			CHECK_INT(session_word_state(next), ==, to);
			CHECK_INT(session_word_gen(next), ==,
				  gen + (event == SESSION_EV_MAKE));
			CHECK_INT(session_word_turns(next), ==,
				  want_turns(from, event, turns));
		}
	}
}

TEST(only_an_owners_death_disowns_and_only_what_is_paused)
{
	for (unsigned s = 0; s < 256; s++)
		for (unsigned ev = 0; ev <= SESSION_EVENTS; ev++)
			CHECK_INT(session_disowns(
					  session_word(1, 1,
						       (enum session_state)s),
					  (enum session_event)ev),
				  ==,
				  s == SESSION_PAUSED &&
					  ev == SESSION_EV_OWNER_DIED);
}

/* Generation 0 is no session's: no id is 0. Turns wrap where they end. */
TEST(generations_skip_0)
{
	uint64_t next;

	CHECK_OK(session_step(0, SESSION_EV_MAKE, &next));
	CHECK_INT(next, ==, session_word(1, 1, SESSION_ACTIVE));
	CHECK_OK(session_step(session_word(UINT32_MAX, 0, SESSION_FREE),
			      SESSION_EV_MAKE, &next));
	CHECK_INT(next, ==, session_word(1, 1, SESSION_ACTIVE));
	CHECK_OK(session_step(session_word(7, 0xffffff, SESSION_PAUSED),
			      SESSION_EV_RESUME, &next));
	CHECK_INT(next, ==, session_word(7, 0, SESSION_ACTIVE));
}

/* A damaged word can be dropped, and its record used again. */
TEST(what_is_no_state_can_be_lost_alone)
{
	uint64_t next = 77;

	for (unsigned s = SESSION_STATES; s < 256; s++) {
		uint64_t word = session_word(9, 5, (enum session_state)s);

		for (unsigned ev = 0; ev < SESSION_EVENTS; ev++) {
			if (ev == SESSION_EV_LOST)
				continue;
			CHECK_INT(session_step(word, (enum session_event)ev,
					       &next),
				  ==, -EPROTO);
			CHECK_INT(next, ==, 77);
		}
		CHECK_OK(session_step(word, SESSION_EV_LOST, &next));
		CHECK_INT(next, ==, session_word(9, 0, SESSION_FREE));
		next = 77;
	}
	CHECK_INT(session_step(0, SESSION_EVENTS, &next), ==, -EPROTO);
	CHECK_INT(next, ==, 77);
}

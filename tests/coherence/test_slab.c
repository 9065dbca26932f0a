/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include "coherence/slab.h"
#include "tests/test.h"

/* The documented transitions, written again; all others are illegal. */
static const struct {
	enum slab_state from;
	enum slab_event event;
	enum slab_state to;
} legal[] = {
	{ SLAB_NONE, SLAB_EV_ADD, SLAB_LIVE },
	{ SLAB_NONE, SLAB_EV_RECOVER, SLAB_NONE },
	{ SLAB_LIVE, SLAB_EV_MOVE, SLAB_NONE },
	{ SLAB_LIVE, SLAB_EV_RETIRE, SLAB_RETIRING },
	{ SLAB_LIVE, SLAB_EV_ORPHAN, SLAB_LIVE },
	{ SLAB_LIVE, SLAB_EV_LOST, SLAB_NONE },
	{ SLAB_LIVE, SLAB_EV_RECOVER, SLAB_LIVE },
	{ SLAB_RETIRING, SLAB_EV_FINISH, SLAB_NONE },
	{ SLAB_RETIRING, SLAB_EV_ORPHAN, SLAB_RETIRING },
	{ SLAB_RETIRING, SLAB_EV_LOST, SLAB_NONE },
	{ SLAB_RETIRING, SLAB_EV_RECOVER, SLAB_RETIRING },
};

static enum slab_state want(enum slab_state from, enum slab_event event)
{
	for (size_t i = 0; i < ARRAY_LEN(legal); i++)
		if (legal[i].from == from && legal[i].event == event)
			return legal[i].to;
	return SLAB_STATES;
}

TEST(each_cell_is_as_documented)
{
	const uint64_t gen = 0xabcdef0123ull;

	for (unsigned s = 0; s < SLAB_STATES; s++) {
		for (unsigned ev = 0; ev < SLAB_EVENTS; ev++) {
			enum slab_state from = (enum slab_state)s;
			enum slab_state to = want(from, (enum slab_event)ev);
			uint64_t next = 77;
			int err = slab_step(slab_word(gen, from),
					    (enum slab_event)ev, &next);

			if (to == SLAB_STATES) {
				CHECK_INT(err, ==, -EPROTO);
				CHECK_INT(next, ==, 77);
				continue;
			}
			CHECK_OK(err);
			CHECK_INT(slab_word_state(next), ==, to);
			/* exactly when the id comes into use */
			CHECK_INT(slab_word_gen(next), ==,
				  gen + (from == SLAB_NONE && to == SLAB_LIVE));
		}
	}
}

TEST(unknown_states_and_events_are_refused)
{
	uint64_t next = 77;

	for (unsigned s = SLAB_STATES; s < 256; s++)
		for (unsigned ev = 0; ev < SLAB_EVENTS; ev++)
			CHECK_INT(slab_step(slab_word(1, (enum slab_state)s),
					    (enum slab_event)ev, &next),
				  ==, -EPROTO);
	CHECK_INT(slab_step(0, SLAB_EVENTS, &next), ==, -EPROTO);
	CHECK_INT(next, ==, 77);
}

/* Only memory that nobody but the asker's user could write is moved. */
TEST(what_others_may_write_is_retired)
{
	for (unsigned whose = 0; whose < SLAB_WHOSE; whose++) {
		CHECK_INT(slab_ways[whose][0], ==, SLAB_EV_RETIRE);
		CHECK_INT(slab_ways[whose][1], ==,
			  whose == SLAB_ANOTHERS ? SLAB_EV_RETIRE
						 : SLAB_EV_MOVE);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/session.h"
#include <errno.h>

#define NO                        \
	{                         \
		SESSION_STATES, 0 \
	}
#define TO(s)                  \
	{                      \
		SESSION_##s, 0 \
	}
#define BUMP(s)                            \
	{                                  \
		SESSION_##s, SESSION_BUMPS \
	}
#define TURN(s)                            \
	{                                  \
		SESSION_##s, SESSION_TURNS \
	}
#define DISOWN(s)                            \
	{                                    \
		SESSION_##s, SESSION_DISOWNS \
	}

/* clang-format off */
const struct session_step session_table[SESSION_STATES][SESSION_EVENTS] = {
	/*                   MAKE          PAUSE       RESUME        TAKE        CLOSE     LAPSE     OWNER_DIED      LOST      RECOVER */
	[SESSION_FREE]   = { BUMP(ACTIVE), NO,         NO,           NO,         NO,       NO,       TO(FREE),       NO,       TO(FREE) },
	[SESSION_ACTIVE] = { NO,           TO(PAUSED), TO(ACTIVE),   TO(ACTIVE), TO(FREE), TO(FREE), TO(FREE),       TO(FREE), TO(ACTIVE) },
	[SESSION_PAUSED] = { NO,           TO(PAUSED), TURN(ACTIVE), TO(PAUSED), TO(FREE), TO(FREE), DISOWN(PAUSED), TO(FREE), TO(PAUSED) },
};
/* clang-format on */

/* What is no state can be LOST, nothing else. */
static struct session_step cell(uint64_t word, enum session_event event)
{
	const struct session_step no = NO, lost = TO(FREE);
	enum session_state state = session_word_state(word);

	if (event >= SESSION_EVENTS)
		return no;
	if (state >= SESSION_STATES)
		return event == SESSION_EV_LOST ? lost : no;
	return session_table[state][event];
}

int session_step(uint64_t word, enum session_event event, uint64_t *ret_word)
{
	struct session_step step = cell(word, event);
	uint32_t gen = session_word_gen(word), turns = session_word_turns(word);

	if (step.to == SESSION_STATES)
		return -EPROTO;
	if (step.does & SESSION_BUMPS) {
		gen = gen == UINT32_MAX ? 1 : gen + 1; /* no id is 0 */
		turns = 1;
	}
	if (step.does & SESSION_TURNS)
		turns++;
	if (step.to == SESSION_FREE)
		turns = 0;
	*ret_word = session_word(gen, turns, (enum session_state)step.to);
	return 0;
}

bool session_disowns(uint64_t word, enum session_event event)
{
	return cell(word, event).does & SESSION_DISOWNS;
}

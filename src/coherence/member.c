/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/member.h"
#include <errno.h>

#define NO                       \
	{                        \
		MEMBER_STATES, 0 \
	}
#define TO(s)                 \
	{                     \
		MEMBER_##s, 0 \
	}
#define BUMP(s)               \
	{                     \
		MEMBER_##s, 1 \
	}

/* clang-format off */
const struct member_step member_table[MEMBER_STATES][MEMBER_EVENTS] = {
	/*                   CLAIM          ENTER     LEAVE     EXITED      TOLD */
	[MEMBER_FREE]    = { BUMP(JOINING), NO,       NO,       NO,         NO },
	[MEMBER_JOINING] = { NO,            TO(LIVE), TO(FREE), TO(EXITED), TO(TOLD) },
	[MEMBER_LIVE]    = { NO,            NO,       TO(FREE), TO(EXITED), TO(TOLD) },
	[MEMBER_EXITED]  = { BUMP(JOINING), NO,       NO,       NO,         NO },
	[MEMBER_TOLD]    = { BUMP(JOINING), NO,       NO,       NO,         NO },
};
/* clang-format on */

int member_step(uint64_t word, enum member_event event, uint64_t host,
		uint64_t *ret_word)
{
	enum member_state state = member_word_state(word);
	uint64_t inc = member_word_inc(word);
	struct member_step step;

	if (state >= MEMBER_STATES || event >= MEMBER_EVENTS)
		return -EPROTO;
	step = member_table[state][event];
	if (step.to == MEMBER_STATES)
		return -EPROTO;
	if (step.bump && inc == MEMBER_INC_MAX)
		return -EOVERFLOW;
	if (event != MEMBER_EV_CLAIM)
		host = member_word_host(word);
	*ret_word =
		member_word(inc + step.bump, host, (enum member_state)step.to);
	return 0;
}

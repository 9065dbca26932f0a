/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/client.h"
#include <errno.h>

#define NO                       \
	{                        \
		CLIENT_STATES, 0 \
	}
#define TO(s)                    \
	{                        \
		CLIENT_IS_##s, 0 \
	}
#define SHUT(s)                                \
	{                                      \
		CLIENT_IS_##s, CLIENT_HANDS_IN \
	}
#define GONE                                                     \
	{                                                        \
		CLIENT_IS_NONE, CLIENT_HANDS_IN | CLIENT_ORPHANS \
	}
#define OVER                                   \
	{                                      \
		CLIENT_IS_NONE, CLIENT_ORPHANS \
	}

/* clang-format off */
const struct client_step client_table[CLIENT_STATES][CLIENT_EVENTS] = {
	/*                     PUBLISH   CLOSE         UNMAPPED     LEAVE DIED  EMPTY FORGET RECOVER */
	[CLIENT_IS_NONE]   = { TO(OPEN), NO,           NO,          NO,   GONE, NO,   NO,    TO(NONE) },
	[CLIENT_IS_OPEN]   = { NO,       SHUT(CLOSED), SHUT(CLEAR), GONE, GONE, NO,   GONE,  TO(OPEN) },
	[CLIENT_IS_CLOSED] = { NO,       NO,           NO,          NO,   OVER, OVER, OVER,  TO(CLOSED) },
	[CLIENT_IS_CLEAR]  = { NO,       NO,           NO,          NO,   OVER, OVER, OVER,  TO(CLEAR) },
};
/* clang-format on */

int client_step(enum client_state state, enum client_event event,
		struct client_step *ret_step)
{
	struct client_step step;

	if (state >= CLIENT_STATES || event >= CLIENT_EVENTS)
		return -EPROTO;
	step = client_table[state][event];
	if (step.to == CLIENT_STATES)
		return -EPROTO;
	*ret_step = step;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/frame.h"
#include <errno.h>

#define NO                      \
	{                       \
		FRAME_STATES, 0 \
	}
#define TO(s)                \
	{                    \
		FRAME_##s, 0 \
	}
#define BUMP(s)              \
	{                    \
		FRAME_##s, 1 \
	}

/* clang-format off */
const struct frame_step frame_table[FRAME_STATES][FRAME_EVENTS] = {
	/*                GRANT        SEAL        ABANDON     OWNER_DIED       LEAVE        SPARE       RELEASE     DOOM        RECOVER          QUARANTINE       SETTLE */
	[FRAME_FREE]        = { TO(GRANTED), NO,         NO,         TO(FREE),        NO,          NO,         NO,         NO,         TO(FREE),        NO, NO },
	[FRAME_GRANTED]     = { NO,          TO(SEALED), BUMP(FREE), BUMP(FREE),      NO,          NO,         NO,         NO,         TO(GRANTED),     TO(QUARANTINED), NO },
	[FRAME_SEALED]      = { NO,          NO,         NO,         TO(SEALED),      TO(LEAVING), NO,         NO,         TO(DOOMED), TO(SEALED),      NO, NO },
	[FRAME_LEAVING]     = { NO,          NO,         NO,         TO(LEAVING),     NO,          TO(SEALED), BUMP(FREE), NO,         TO(SEALED),      NO, NO },
	[FRAME_DOOMED]      = { NO,          NO,         NO,         TO(DOOMED),      NO,          NO,         BUMP(FREE), NO,         TO(DOOMED),      NO, NO },
	[FRAME_QUARANTINED] = { NO,          NO,         NO,         TO(QUARANTINED), NO,          NO,         NO,         NO,         TO(QUARANTINED), NO, BUMP(FREE) },
};
/* clang-format on */

int frame_step(uint64_t word, enum frame_event event, uint64_t *ret_word)
{
	enum frame_state state = frame_word_state(word);
	struct frame_step step;

	if (state >= FRAME_STATES || event >= FRAME_EVENTS)
		return -EPROTO;
	step = frame_table[state][event];
	if (step.to == FRAME_STATES)
		return -EPROTO;
	*ret_word = frame_word(frame_word_gen(word) + step.bump,
			       (enum frame_state)step.to);
	return 0;
}

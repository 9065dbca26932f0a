/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/slab.h"
#include <errno.h>

#define NO                     \
	{                      \
		SLAB_STATES, 0 \
	}
#define TO(s)               \
	{                   \
		SLAB_##s, 0 \
	}
#define BUMP(s)             \
	{                   \
		SLAB_##s, 1 \
	}

/* clang-format off */
const struct slab_step slab_table[SLAB_STATES][SLAB_EVENTS] = {
	/*                  ADD         MOVE      RETIRE        FINISH    ORPHAN        LOST      RECOVER */
	[SLAB_NONE]     = { BUMP(LIVE), NO,       NO,           NO,       NO,           NO,       TO(NONE) },
	[SLAB_LIVE]     = { NO,         TO(NONE), TO(RETIRING), NO,       TO(LIVE),     TO(NONE), TO(LIVE) },
	[SLAB_RETIRING] = { NO,         NO,       NO,           TO(NONE), TO(RETIRING), TO(NONE), TO(RETIRING) },
};

const uint8_t slab_ways[SLAB_WHOSE][2] = {
	/*                  another user's  the same user's */
	[SLAB_OWN]      = { SLAB_EV_RETIRE, SLAB_EV_MOVE },
	[SLAB_ORPHAN]   = { SLAB_EV_RETIRE, SLAB_EV_MOVE },
	[SLAB_ANOTHERS] = { SLAB_EV_RETIRE, SLAB_EV_RETIRE },
};
/* clang-format on */

int slab_step(uint64_t word, enum slab_event event, uint64_t *ret_word)
{
	enum slab_state state = slab_word_state(word);
	struct slab_step step;

	if (state >= SLAB_STATES || event >= SLAB_EVENTS)
		return -EPROTO;
	step = slab_table[state][event];
	if (step.to == SLAB_STATES)
		return -EPROTO;
	*ret_word = slab_word(slab_word_gen(word) + step.bump,
			      (enum slab_state)step.to);
	return 0;
}

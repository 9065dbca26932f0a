/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a session: states of its record's word, transitions, and what
 * else a transition does.
 *
 * A record lies in a pool's table of sessions (shm/session.h), which the server
 * alone writes and maps. The word is `gen << 32 | turns << 8 | state`. (record,
 * gen) names one session for ever: the generation grows when a record comes into
 * use, so an id that is older than its record's session finds nothing.
 *
 * Order. All fields are stored before the word says ACTIVE out of FREE, and the
 * times before it changes later; the owner before the word, when a session
 * changes hands. What is kept when a server dies in between is said in
 * docs/design/sessions.md.
 *
 * What dies with whom: an ACTIVE session with its owner, or with its lease; a
 * PAUSED one with its lease alone. Both outlive the server.
 */
#ifndef ONECOPY_COHERENCE_SESSION_H
#define ONECOPY_COHERENCE_SESSION_H

#include "base/shared.h"

enum session_state {
	SESSION_FREE = 0,
	SESSION_ACTIVE = 1, /* ends with its owner, or with its lease */
	SESSION_PAUSED = 2, /* ends with its lease alone */
	SESSION_STATES
};

enum session_event {
	SESSION_EV_MAKE,       /* FREE -> ACTIVE: opened or forked */
	SESSION_EV_PAUSE,      /* -> PAUSED */
	SESSION_EV_RESUME,     /* PAUSED -> ACTIVE: a turn begins */
	SESSION_EV_TAKE,       /* another owner: the word stays */
	SESSION_EV_CLOSE,      /* -> FREE */
	SESSION_EV_LAPSE,      /* its lease has run out: -> FREE */
	SESSION_EV_OWNER_DIED, /* ACTIVE -> FREE; PAUSED: nobody's */
	SESSION_EV_LOST,    /* a new server: no such state, or keys: -> FREE */
	SESSION_EV_RECOVER, /* a new server: the word stays */
	SESSION_EVENTS
};

/* What a transition does beside. */
enum session_does {
	SESSION_BUMPS = 1,   /* the generation grows; the first turn begins */
	SESSION_TURNS = 2,   /* a turn more */
	SESSION_DISOWNS = 4, /* `owner` becomes 0 */
};

/* One cell of the table that server, model and tests share. `to` is
 * SESSION_STATES where the event is illegal in that state. */
struct session_step {
	uint8_t to;
	uint8_t does; /* enum session_does, ored */
};
extern const struct session_step session_table[SESSION_STATES][SESSION_EVENTS];

static inline uint64_t session_word(uint32_t gen, uint32_t turns,
				    enum session_state state)
{
	return (uint64_t)gen << 32 | (uint64_t)(turns & 0xffffff) << 8 |
	       (uint64_t)state;
}
static inline uint32_t session_word_gen(uint64_t word)
{
	return (uint32_t)(word >> 32);
}
static inline uint32_t session_word_turns(uint64_t word)
{
	return (uint32_t)word >> 8;
}
static inline enum session_state session_word_state(uint64_t word)
{
	return (enum session_state)(word & 0xff);
}

/* Pure. 0 and the next word, or -EPROTO when the event is illegal there. A word
 * that says no state can be LOST. */
int session_step(uint64_t word, enum session_event event, uint64_t *ret_word);

/* Does the event in that state let go of the owner? */
bool session_disowns(uint64_t word, enum session_event event);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a client, as its record tells it.
 *
 * The record lies in the pool's metadata, which the server alone writes. Its
 * state is its id and its flags: an id of 0 is nobody. The id is stored last
 * when a client comes (release: the rest of the record is there, and the keeper
 * holds its descriptors) and cleared first when it goes; the keeper drops the
 * descriptors after. Incarnations make ids unique for ever.
 *
 * What each transition takes back is in the table: grants and pins are handed
 * in when the client stops being OPEN, its slabs become orphans when it is
 * gone. All of that can be done twice, so a server that dies in a funeral is
 * followed by one that starts over.
 */
#ifndef ONECOPY_COHERENCE_CLIENT_H
#define ONECOPY_COHERENCE_CLIENT_H

#include "base/shared.h"

enum client_flags {
	CLIENT_READ_ONLY = 1,
	CLIENT_CLOSED = 2, /* closed its socket; its process still lives */
	CLIENT_LET_GO = 4, /* and had unmapped everything before */
};

enum client_state {
	CLIENT_IS_NONE,	  /* nobody: id 0 */
	CLIENT_IS_OPEN,	  /* asks, pins, writes */
	CLIENT_IS_CLOSED, /* said good bye; its process may write its slabs */
	CLIENT_IS_CLEAR,  /* the same, with nothing mapped */
	CLIENT_STATES
};

enum client_event {
	CLIENT_EV_PUBLISH,  /* HELLO: all is held, the id is stored */
	CLIENT_EV_CLOSE,    /* it closed its socket, and owns slabs */
	CLIENT_EV_UNMAPPED, /* the same, after it unmapped everything */
	CLIENT_EV_LEAVE,    /* it closed its socket, and owns none */
	CLIENT_EV_DIED,	    /* its pidfd says so; NONE: not yet published */
	CLIENT_EV_EMPTY,    /* its last slab went after it had closed */
	CLIENT_EV_FORGET,   /* a new server: what it needs is not held */
	CLIENT_EV_RECOVER,  /* a new server: it lives on */
	CLIENT_EVENTS
};

#define CLIENT_HANDS_IN 1 /* its grants and pins come back */
#define CLIENT_ORPHANS	2 /* its slabs are nobody's */

/* One cell. `to` is CLIENT_STATES where the event is illegal. */
struct client_step {
	uint8_t to;
	uint8_t takes; /* CLIENT_HANDS_IN | CLIENT_ORPHANS */
};
extern const struct client_step client_table[CLIENT_STATES][CLIENT_EVENTS];

static inline enum client_state client_state_of(uint64_t id, uint64_t flags)
{
	if (!id)
		return CLIENT_IS_NONE;
	if (!(flags & CLIENT_CLOSED))
		return CLIENT_IS_OPEN;
	return flags & CLIENT_LET_GO ? CLIENT_IS_CLEAR : CLIENT_IS_CLOSED;
}

/* The flags that say so; CLIENT_READ_ONLY stays what it was. */
static inline uint64_t client_state_flags(uint64_t flags,
					  enum client_state state)
{
	flags &= CLIENT_READ_ONLY;
	if (state == CLIENT_IS_CLOSED)
		flags |= CLIENT_CLOSED;
	if (state == CLIENT_IS_CLEAR)
		flags |= CLIENT_CLOSED | CLIENT_LET_GO;
	return flags;
}

/* Pure. 0 and the cell, or -EPROTO when the event is illegal there. */
int client_step(enum client_state state, enum client_event event,
		struct client_step *ret_step);

/* Has this client let go of a slab that retires since retire_epoch? given: it
 * was given the slab's descriptors. Every client of the pool must have, and
 * only then may the memory go. */
static inline bool client_let_go(enum client_state state, bool given,
				 uint64_t let_go_epoch, uint64_t retire_epoch)
{
	if (!given || state == CLIENT_IS_NONE || state == CLIENT_IS_CLEAR)
		return true;
	return state == CLIENT_IS_OPEN && let_go_epoch >= retire_epoch;
}

#endif

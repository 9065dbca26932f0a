/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a member of a CXL region: a process of a node that has a slot of
 * the region's member table (region/format.h).
 *
 * The word. `inc << 44 | host << 4 | state`. An incarnation lasts from one CLAIM
 * to the next, so (slot, inc) names one process for ever. `host` is 40 bits of
 * the name of the host that claimed (0 before the first), so that a claim and
 * who made it are one store.
 *
 * Who steps. CLAIM, ENTER and LEAVE are the member's own. EXITED and TOLD are
 * anybody's who knows that the process is dead: its end was seen by the kernel
 * of its host, or an operator or a fencing hook says so. Nothing else leads out
 * of LIVE: a member whose lease has run out may only be paused, and software
 * cannot keep it from writing when it goes on. All steps are compare-and-swaps
 * of the whole word, so a late one finds another incarnation and fails.
 */
#ifndef ONECOPY_COHERENCE_MEMBER_H
#define ONECOPY_COHERENCE_MEMBER_H

#include "base/compiler.h"

enum member_state {
	MEMBER_FREE = 0,    /* nobody's, or left in order */
	MEMBER_JOINING = 1, /* claimed; pins nothing, owns nothing */
	MEMBER_LIVE = 2,    /* or paused, or dead and not proved dead */
	MEMBER_EXITED = 3,  /* dead: its process was seen to end */
	MEMBER_TOLD = 4,    /* dead: an operator or a hook said so */
	MEMBER_STATES
};

enum member_event {
	MEMBER_EV_CLAIM,  /* -> JOINING */
	MEMBER_EV_ENTER,  /* JOINING -> LIVE */
	MEMBER_EV_LEAVE,  /* -> FREE: it let go of all pins and shards */
	MEMBER_EV_EXITED, /* -> EXITED */
	MEMBER_EV_TOLD,	  /* -> TOLD */
	MEMBER_EVENTS
};

struct member_step {
	uint8_t to;   /* MEMBER_STATES: illegal there */
	uint8_t bump; /* 1: the incarnation grows */
};
extern const struct member_step member_table[MEMBER_STATES][MEMBER_EVENTS];

#define MEMBER_HOST_BITS 40
#define MEMBER_INC_MAX	 ((1ull << 20) - 1)

static inline uint64_t member_word(uint64_t inc, uint64_t host,
				   enum member_state state)
{
	return inc << 44 | (host & ((1ull << MEMBER_HOST_BITS) - 1)) << 4 |
	       (uint64_t)state;
}
static inline enum member_state member_word_state(uint64_t word)
{
	return (enum member_state)(word & 15);
}
static inline uint64_t member_word_host(uint64_t word)
{
	return word >> 4 & ((1ull << MEMBER_HOST_BITS) - 1);
}
static inline uint64_t member_word_inc(uint64_t word)
{
	return word >> 44;
}

/* Pure. `host` is taken by CLAIM alone. 0 and the next word; -EPROTO when the
 * event is illegal there, -EOVERFLOW when the slot has no incarnation left. */
int member_step(uint64_t word, enum member_event event, uint64_t host,
		uint64_t *ret_word);

/* May pins of this member count? (FREE has none, JOINING none yet; of the dead
 * nobody reads.) */
static inline bool member_pins(uint64_t word)
{
	return member_word_state(word) == MEMBER_LIVE;
}

/* Is incarnation `inc` of this slot gone for ever: left, proved dead, or
 * followed by another? */
static inline bool member_gone(uint64_t word, uint64_t inc)
{
	return member_word_inc(word) != inc ||
	       (member_word_state(word) != MEMBER_LIVE &&
		member_word_state(word) != MEMBER_JOINING);
}

#endif

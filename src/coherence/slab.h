/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a slab: states of its record, transitions, and who may have its
 * memory next.
 *
 * A slab's record lies in the pool's metadata, which the server alone writes.
 * The word is `gen << 8 | state`. (slab, gen) names one use of an id for ever:
 * the generation grows when an id comes into use, so a client that mapped an
 * earlier use sees that its mapping is another slab's.
 *
 * Order. All other fields are stored before the word says LIVE (release), and
 * retire_epoch before it says RETIRING; owner alone may become 0 at any time
 * after. The keeper holds the descriptors before LIVE is stored, and drops them
 * after NONE was. So two LIVE records never name the same memory, and a record
 * that is not NONE names memory that is held.
 *
 * What dies with whom: a slab outlives its owner (ORPHAN) and the server. It
 * ends by MOVE or FINISH; by LOST when the keeper does not have it.
 */
#ifndef ONECOPY_COHERENCE_SLAB_H
#define ONECOPY_COHERENCE_SLAB_H

#include "base/shared.h"

enum slab_state {
	SLAB_NONE = 0,
	SLAB_LIVE = 1,
	SLAB_RETIRING = 2, /* announced: goes when every client has let go */
	SLAB_STATES
};

enum slab_event {
	SLAB_EV_ADD,	 /* NONE -> LIVE: held, then published */
	SLAB_EV_MOVE,	 /* LIVE -> NONE: its memory serves under another id */
	SLAB_EV_RETIRE,	 /* LIVE -> RETIRING: empty, somebody may write it */
	SLAB_EV_FINISH,	 /* RETIRING -> NONE: everybody has let go */
	SLAB_EV_ORPHAN,	 /* its owner has ended: the word stays */
	SLAB_EV_LOST,	 /* a new server: the keeper does not have it -> NONE */
	SLAB_EV_RECOVER, /* a new server: the word stays */
	SLAB_EVENTS
};

/* One cell of the table that server, model and tests share. `to` is
 * SLAB_STATES where the event is illegal in that state. */
struct slab_step {
	uint8_t to;
	uint8_t bump; /* 1: the generation grows */
};
extern const struct slab_step slab_table[SLAB_STATES][SLAB_EVENTS];

static inline uint64_t slab_word(uint64_t gen, enum slab_state state)
{
	return gen << 8 | (uint64_t)state;
}
static inline enum slab_state slab_word_state(uint64_t word)
{
	return (enum slab_state)(word & 0xff);
}
static inline uint64_t slab_word_gen(uint64_t word)
{
	return word >> 8;
}

/* Pure. 0 and the next word, or -EPROTO when the event is illegal there. */
int slab_step(uint64_t word, enum slab_event event, uint64_t *ret_word);

/* Whose an empty slab is, as the one sees it who wants its memory. */
enum slab_whose {
	SLAB_OWN,      /* of the same client, in another shape */
	SLAB_ORPHAN,   /* nobody's: its owner's process has ended */
	SLAB_ANOTHERS, /* of a living client */
	SLAB_WHOSE
};
/* How it comes free: SLAB_EV_MOVE where nobody else can write it, otherwise
 * SLAB_EV_RETIRE. same_user: its last writer was of the asker's user (another
 * process of a foreign one may hold a writable descriptor still). */
extern const uint8_t slab_ways[SLAB_WHOSE][2]; /* [whose][same_user] */

#endif

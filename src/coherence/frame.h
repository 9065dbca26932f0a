/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a frame: descriptor, states, transitions.
 *
 * A frame is a place for one part of one block. Its descriptor lies in a
 * segment that the server alone writes and every client of the pool maps
 * read-only. The descriptors are the truth; the index can be rebuilt from
 * them.
 *
 * The word. `gen << 8 | state`. A generation lasts from one grant to the
 * release: it grows by one whenever a frame becomes FREE, and never otherwise,
 * so (frame, gen) names one filling of the frame for ever.
 *
 * Stability. All other fields are written while the word says FREE (before
 * GRANTED is published), except checksum, bytes, tokens and the key of a tail
 * (which gets the key of what it has become), which are final before SEALED is
 * published with release order. They never change while the
 * word says SEALED. So a reader that holds a validated pin (coherence/pin.h)
 * reads them without a race; a reader without a pin may see a mix of two
 * fillings, and must re-read the word afterwards.
 *
 * A request lies in a slot (wire/ring.h), and it is over with one store, its
 * answer's sequence, after all that it changed. So a new server may serve one
 * again: a grant finds its frame by owner and grant_seq; a seal of a generation
 * that is sealed already is a success and not a duplicate of itself. The second
 * answer may differ from the first: a client gives back a grant that it does
 * not wait for.
 *
 * What dies with whom: a GRANTED frame dies with its owner (the client that
 * was granted it). SEALED frames outlive everyone but the keeper.
 *
 * A device writes on when its process has died, so a frame that was granted for
 * a device (FRAME_GRANT_DEVICE) is QUARANTINED then, and stays so: nobody is
 * granted it again. Its slab is retired when nothing else is in use there; the
 * kernel gives no page to anybody that a device still writes. Of one device the
 * server can know that it is done, that of the tier below (FRAME_GRANT_TIER):
 * what was granted to a dead server for it is SETTLEd then.
 */
#ifndef ONECOPY_COHERENCE_FRAME_H
#define ONECOPY_COHERENCE_FRAME_H

#include "base/shared.h"

enum frame_state {
	FRAME_FREE = 0,	   /* nobody's; may be granted */
	FRAME_GRANTED = 1, /* lent to a client for writing */
	FRAME_SEALED = 2,  /* immutable; may be pinned */
	FRAME_LEAVING = 3, /* marked; pins are being looked at; new pins fail */
	FRAME_DOOMED =
		4, /* removed or found bad; released when no pin holds it */
	FRAME_QUARANTINED = 5, /* a device may still write it; ends with its
				  slab, or when that is known to be over */
	FRAME_STATES
};

enum frame_event {
	FRAME_EV_GRANT,	  /* FREE -> GRANTED */
	FRAME_EV_SEAL,	  /* GRANTED -> SEALED */
	FRAME_EV_ABANDON, /* GRANTED -> FREE: given back, or a loser's seal */
	FRAME_EV_OWNER_DIED, /* GRANTED -> FREE; no effect elsewhere */
	FRAME_EV_LEAVE,	     /* SEALED -> LEAVING */
	FRAME_EV_SPARE,	     /* LEAVING -> SEALED: a pin was found */
	FRAME_EV_RELEASE,    /* LEAVING or DOOMED -> FREE: no pin was found */
	FRAME_EV_DOOM,	     /* SEALED -> DOOMED */
	FRAME_EV_RECOVER,    /* a new server attaches: LEAVING -> SEALED */
	FRAME_EV_QUARANTINE, /* GRANTED -> QUARANTINED: the owner died, and a
				device may write on */
	FRAME_EV_SETTLE,     /* QUARANTINED -> FREE: that device is done */
	FRAME_EVENTS
};

/* One cell of the table that server, model and tests share. `to` is
 * FRAME_STATES where the event is illegal in that state. */
struct frame_step {
	uint8_t to;
	uint8_t bump; /* 1: the generation grows */
};
extern const struct frame_step frame_table[FRAME_STATES][FRAME_EVENTS];

static inline uint64_t frame_word(uint64_t gen, enum frame_state state)
{
	return gen << 8 | (uint64_t)state;
}

static inline enum frame_state frame_word_state(uint64_t word)
{
	return (enum frame_state)(word & 0xff);
}

static inline uint64_t frame_word_gen(uint64_t word)
{
	return word >> 8;
}

/* Pure. 0 and the next word, or -EPROTO when the event is illegal there. */
int frame_step(uint64_t word, enum frame_event event, uint64_t *ret_word);

/* As asked for with the grant: what the owner will do with the frame. */
enum frame_grant_flags {
	FRAME_GRANT_DEVICE = 1, /* a device may write it, until the seal */
	FRAME_GRANT_KNOWN = 1,	/* all that clients may ask for */
	/* the server alone: the device is that of the tier below, and done when
	 * a successor has opened it again and found it up */
	FRAME_GRANT_TIER = 2,
	FRAME_GRANT_SERVER = 3, /* all of them */
	/* The memory of the frame has failed: it is QUARANTINED when it would
	 * become free, and granted to nobody again. Set in any state. */
	FRAME_GRANT_BROKEN = 4,
};

/* Line 0 is all that a reader needs; line 1 is the server's. All fields are
 * written by the server only. */
struct frame_desc {
	shared_u64 word;
	shared_u64 key[4];   /* 32 bytes, memory order */
	shared_u64 checksum; /* base/hash.h; valid when SEALED */
	shared_u64 part;     /* namespace id << 32 | group << 16 | rank */
	shared_u64
		extent; /* payload bytes << 32 | tokens; tokens 0 = full block */
	/* line 1 */
	shared_u64 owner; /* client id that was granted it; kept when sealed */
	shared_u64 grant_seq; /* sequence of the owner's request that got it */
	shared_u64 touched; /* recency: node-wide touch counter at last touch */
	shared_u64 sealed_ms;	/* CLOCK_MONOTONIC ms at seal */
	shared_u64 grant_flags; /* enum frame_grant_flags, of this filling */
	shared_u64 depth; /* blocks of its chain up to its end, as a session
			     said (a hint for policies, any time); 0: unknown */
	shared_u64 granted_ms; /* as sealed_ms, of its grant */
	shared_u64 sealed_at;  /* as touched, of its seal: it was not used since
				  when they are equal */
};
_Static_assert(sizeof(struct frame_desc) == 128, "two cache lines");
_Static_assert(offsetof(struct frame_desc, owner) == 64, "line 1");

static inline uint64_t frame_part(uint32_t ns, uint16_t group, uint16_t rank)
{
	return (uint64_t)ns << 32 | (uint64_t)group << 16 | rank;
}
static inline uint32_t frame_part_ns(uint64_t part)
{
	return (uint32_t)(part >> 32);
}
static inline uint16_t frame_part_group(uint64_t part)
{
	return (uint16_t)(part >> 16);
}
static inline uint16_t frame_part_rank(uint64_t part)
{
	return (uint16_t)part;
}
static inline uint64_t frame_extent(uint32_t bytes, uint32_t tokens)
{
	return (uint64_t)bytes << 32 | tokens;
}
static inline uint32_t frame_extent_bytes(uint64_t extent)
{
	return (uint32_t)(extent >> 32);
}
static inline uint32_t frame_extent_tokens(uint64_t extent)
{
	return (uint32_t)extent;
}

/*
 * Location of a frame inside its pool: slab << 20 | frame-in-slab. 40 bits.
 * Slab 0 is never used, so 0 is "nowhere".
 */
#define FRAME_LOC_BITS	   40
#define FRAME_IN_SLAB_BITS 20
#define FRAME_SLABS_MAX	   (1u << 20)
#define FRAME_IN_SLAB_MAX  (1u << FRAME_IN_SLAB_BITS)

static inline uint64_t frame_loc(uint32_t slab, uint32_t frame)
{
	return (uint64_t)slab << FRAME_IN_SLAB_BITS | frame;
}
static inline uint32_t frame_loc_slab(uint64_t loc)
{
	return (uint32_t)(loc >> FRAME_IN_SLAB_BITS);
}
static inline uint32_t frame_loc_frame(uint64_t loc)
{
	return (uint32_t)loc & (FRAME_IN_SLAB_MAX - 1);
}

/* True when the descriptor's key and part are the given ones. Relaxed loads. */
static inline bool frame_is(const struct frame_desc *d, const uint64_t key[4],
			    uint64_t part)
{
	return shared_load64(&d->part) == part &&
	       shared_load64(&d->key[0]) == key[0] &&
	       shared_load64(&d->key[1]) == key[1] &&
	       shared_load64(&d->key[2]) == key[2] &&
	       shared_load64(&d->key[3]) == key[3];
}

#endif

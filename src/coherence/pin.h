/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pin is a published intention (a hazard pointer).
 *
 *   reader                             server
 *   R1 slot = pin_word(loc, gen)       S1 desc.word = LEAVING   (each of a batch)
 *   R2 full fence (one for a batch)    S2 full fence (one for the batch)
 *   R3 load desc.word                  S3 load every slot of every client
 *      == (gen, SEALED): pinned           slot names (loc, gen): spare
 *      else: slot = 0, a miss             else: release, gen + 1
 *
 * R1-R2-R3 against S1-S2-S3 is store buffering with both fences: at least one
 * side sees the other's store. Either the reader sees LEAVING (or later) and
 * does not use the frame, or the server sees the slot and does not reuse it.
 *
 * R3 is an acquire load: pairs with the release store in pool_frame_step(), so
 * that payload and descriptor fields written before the seal are visible. It may
 * read the SEALED of a SPARE or RECOVER instead, so every store of the word is
 * a release, and a new server loads words with acquire before it stores one.
 * Unpin stores 0 with release order: pairs with the acquire load of S3 in
 * pin_read(), so that the reader's last loads of the payload come before the frame's reuse.
 *
 * A pin that a mapping holds says so (PIN_MAPPED): the server may ask for it
 * (coherence/revoke.h). What an engine holds for direct use does not, and is
 * never asked for. The word may be stored again with other flags while the pin
 * is held: it names the same filling all the time.
 *
 * A slot page is written by its client alone. A client that writes nonsense
 * there protects frames that it does not use (bounded by its quota of slots)
 * or fails to protect what it uses (its own harm).
 */
#ifndef ONECOPY_COHERENCE_PIN_H
#define ONECOPY_COHERENCE_PIN_H

#include "coherence/frame.h"

/* Two flags, the low 22 bits of the generation, 40 bits of location. 0 is an
 * empty slot (slab 0 does not exist). A slot that was left over and names a
 * filling 2^22 later keeps that from leaving, no more. */
#define PIN_GEN_BITS 22
#define PIN_GEN_MASK ((1ull << PIN_GEN_BITS) - 1)
/* A mapping's: to be asked for when the block comes back from elsewhere ... */
#define PIN_MAPPED (1ull << 63)
/* ... and also when it is gone then: its reader has an answer to that. */
#define PIN_LOSABLE (1ull << 62)
#define PIN_FLAGS   (PIN_MAPPED | PIN_LOSABLE)
_Static_assert(FRAME_LOC_BITS + PIN_GEN_BITS + 2 == 64, "a word");

static inline uint64_t pin_word(uint64_t loc, uint64_t gen)
{
	return (gen & PIN_GEN_MASK) << FRAME_LOC_BITS | loc;
}
static inline uint64_t pin_word_loc(uint64_t pin)
{
	return pin & ((1ull << FRAME_LOC_BITS) - 1);
}
static inline uint64_t pin_word_gen(uint64_t pin)
{
	return pin >> FRAME_LOC_BITS & PIN_GEN_MASK;
}

/* Is it a pin of this filling? */
static inline bool pin_word_names(uint64_t pin, uint64_t loc, uint64_t gen)
{
	return (pin & ~PIN_FLAGS) == pin_word(loc, gen);
}

/* R1. The caller fences (R2) before pin_holds(). */
static inline void pin_publish(shared_u64 *slot, uint64_t loc, uint64_t gen)
{
	shared_store64(slot, pin_word(loc, gen));
}

/* R3: true when the pin is valid. */
static inline bool pin_holds(const struct frame_desc *d, uint64_t gen)
{
	return shared_load64_acquire(&d->word) == frame_word(gen, FRAME_SEALED);
}

static inline void pin_clear(shared_u64 *slot)
{
	shared_store64_release(slot, 0);
}

/* S3: does this slot hold (loc, gen)? */
static inline uint64_t pin_read(const shared_u64 *slot)
{
	return shared_load64_acquire(slot);
}

#endif

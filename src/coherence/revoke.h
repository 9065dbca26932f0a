/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking a client for pins that its mappings hold.
 *
 *   server                              client (its own thread for this)
 *   A1 wanted[slot] = the word that was B1 load asked (acquire); if it is what
 *      seen there, for each such slot      was answered: sleep on it, again
 *   A2 asked + 1 (release)              B2 for each slot that still has the
 *   A3 futex wake on asked                 wanted word: unmap, then slot = 0
 *                                          (release); or keep it
 *   C1 load answered (acquire) == asked B3 answered = asked as of B1 (release)
 *   C2 load each slot that was asked    B4 ring the bell
 *      for; wanted[slot] = 0
 *   C3 evict as always: LEAVING, fence,
 *      all slots, release
 *
 * What a frame's reuse rests on is C3, which looks at the slots of every client
 * as ever (coherence/pin.h); B2's order, unmapped before the slot is empty, makes
 * "no slot names it" mean "nobody of an honest client can read it". The answer
 * itself frees nothing: a client that answers and keeps its pins keeps its
 * frames, and one that empties slots and keeps its mapping sees what comes next
 * in frames that it may read anyway.
 *
 * A question is for a word, not for a slot: between the server's look at the slots
 * and B2 the client may have given the pin back and taken another one there, which
 * is in direct use, or of a mapping that has no answer to a loss. That is another
 * word, and stays.
 *
 * A1 before A2: a client that sees the number sees the words. It may see words of
 * the next question early; then it answers more than it was asked.
 *
 * One question at a time: no word is stored while a question is open. `asked` also
 * grows, without words, when a slab goes: then B2 is to unmap that, as any call
 * of the client does (client/region.c). It never goes back, also over servers;
 * where it was not answered, an answer to what it is later is one to all.
 */
#ifndef ONECOPY_COHERENCE_REVOKE_H
#define ONECOPY_COHERENCE_REVOKE_H

#include "coherence/pin.h"

/* A1: the pin as it was seen. And its end: 0. Server. */
static inline void revoke_want(shared_u64 *wanted, uint64_t slot, uint64_t pin)
{
	shared_store64(&wanted[slot], pin);
}

/* The pin of this slot that is asked for; 0: none. */
static inline uint64_t revoke_wanted(const shared_u64 *wanted, uint64_t slot)
{
	return shared_load64(&wanted[slot]);
}

/* B2: is what the slot has now what is asked for? Client, who owns the slot. */
static inline bool revoke_meant(const shared_u64 *wanted, uint64_t slot,
				uint64_t pin)
{
	return pin && revoke_wanted(wanted, slot) == pin;
}

#endif

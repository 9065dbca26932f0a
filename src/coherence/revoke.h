/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking a client for pins that its mappings hold.
 *
 *   server                              client (its own thread for this)
 *   A1 a bit of `wanted` for each slot  B1 load asked (acquire); if it is what
 *   A2 asked + 1 (release)                 was answered: sleep on it, again
 *   A3 futex wake on asked              B2 for each bit: unmap, then slot = 0
 *                                          (release); or keep it
 *   C1 load answered (acquire) == asked B3 answered = asked as of B1 (release)
 *   C2 load each slot that was asked    B4 ring the bell
 *      for; clear its bit
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
 * A1 before A2: a client that sees the number sees the bits. It may see bits of
 * the next question early; then it answers more than it was asked.
 *
 * One question at a time: no bit is set while a question is open. `asked` also
 * grows, without bits, when a slab goes: then B2 is to unmap that, as any call
 * of the client does (client/region.c). It never goes back, also over servers;
 * where it was not answered, an answer to what it is later is one to all.
 */
#ifndef ONECOPY_COHERENCE_REVOKE_H
#define ONECOPY_COHERENCE_REVOKE_H

#include "coherence/pin.h"

/* A1 and its end. Server. */
static inline void revoke_want(shared_u64 *wanted, uint64_t slot, bool want)
{
	uint64_t bit = 1ull << slot % 64,
		 word = shared_load64(&wanted[slot / 64]);

	shared_store64(&wanted[slot / 64], want ? word | bit : word & ~bit);
}

/* B2. Client. */
static inline bool revoke_wanted(const shared_u64 *wanted, uint64_t slot)
{
	return shared_load64(&wanted[slot / 64]) >> slot % 64 & 1;
}

#endif

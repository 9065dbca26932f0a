/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of n numbered places are taken: a bitmap of atomic words in this
 * process's heap, used by any number of threads without a lock.
 *
 * Each thread begins at a word of its own (slots_thread()), so that threads do not
 * meet in a cache line while there is room. Claiming is acquire and giving
 * back is release, so what the last owner of a place stored there comes before
 * what the next one stores.
 */
#ifndef ONECOPY_CLIENT_SLOTS_H
#define ONECOPY_CLIENT_SLOTS_H

#include <stdatomic.h>
#include "base/compiler.h"

#define SLOTS_NONE UINT32_MAX

struct slots {
	_Atomic(uint64_t) *taken; /* 1: taken, or beyond n */
	uint32_t words;
	uint32_t n;
};

/* -ENOMEM. */
int slots_init(struct slots *s, uint32_t n);
void slots_fini(struct slots *s);

/* A number of this thread, small and dense. */
uint32_t slots_thread(void);

/* SLOTS_NONE when all are taken. */
uint32_t slots_claim_slow(struct slots *s, uint32_t word);

static inline uint32_t slots_claim(struct slots *s, uint32_t word)
{
	_Atomic(uint64_t) *w = &s->taken[word % s->words];
	uint64_t seen = atomic_load_explicit(w, memory_order_relaxed);

	if (likely(seen != UINT64_MAX)) {
		unsigned bit = (unsigned)__builtin_ctzll(~seen);

		if (likely(atomic_compare_exchange_strong_explicit(
			    w, &seen, seen | 1ull << bit, memory_order_acquire,
			    memory_order_relaxed)))
			return word % s->words * 64 + bit;
	}
	return slots_claim_slow(s, word);
}

/* Takes up to `want` places of one word at or after *word, which moves on.
 * Returns their bits and the word in *ret_word; 0 when all are taken. */
uint64_t slots_claim_some(struct slots *s, uint32_t *word, uint32_t want,
			  uint32_t *ret_word);

static inline void slots_release_bits(struct slots *s, uint32_t word,
				      uint64_t bits)
{
	atomic_fetch_and_explicit(&s->taken[word], ~bits, memory_order_release);
}

static inline void slots_release(struct slots *s, uint32_t slot)
{
	slots_release_bits(s, slot / 64, 1ull << slot % 64);
}

static inline bool slots_is_taken(const struct slots *s, uint32_t slot)
{
	return atomic_load_explicit(&s->taken[slot / 64],
				    memory_order_relaxed) >>
		       slot % 64 &
	       1;
}

#endif

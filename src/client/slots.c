/* SPDX-License-Identifier: Apache-2.0 */
/* Claiming places when the near ones are taken. */
#include "client/slots.h"
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"

int slots_init(struct slots *s, uint32_t n)
{
	uint32_t words = DIV_UP(n, 64);

	s->taken = mem_array(MAX(words, 1u), sizeof(*s->taken));
	if (!s->taken)
		return -ENOMEM;
	s->words = MAX(words, 1u);
	s->n = n;
	if (n % 64 || n == 0)
		atomic_store_explicit(&s->taken[s->words - 1], ~0ull << n % 64,
				      memory_order_relaxed);
	return 0;
}

void slots_fini(struct slots *s)
{
	free(s->taken);
	s->taken = NULL;
}

uint32_t slots_thread(void)
{
	static _Atomic(uint32_t) next;
	static _Thread_local uint32_t mine;

	if (unlikely(mine == 0))
		mine = 1 + atomic_fetch_add_explicit(&next, 1,
						     memory_order_relaxed);
	return mine - 1;
}

/* The lowest bits of `free`, at most `want` of them. */
static uint64_t lowest(uint64_t free, uint32_t want)
{
	uint64_t bits = 0;

	if (want >= 64)
		return free;
	for (; free && want; want--, free &= free - 1)
		bits |= free & -free;
	return bits;
}

uint64_t slots_claim_some(struct slots *s, uint32_t *word, uint32_t want,
			  uint32_t *ret_word)
{
	for (uint32_t tried = 0; tried < s->words; tried++) {
		uint32_t at = *word % s->words;
		_Atomic(uint64_t) *w = &s->taken[at];
		uint64_t seen = atomic_load_explicit(w, memory_order_relaxed);

		while (seen != UINT64_MAX) {
			uint64_t bits = lowest(~seen, want);

			if (atomic_compare_exchange_weak_explicit(
				    w, &seen, seen | bits, memory_order_acquire,
				    memory_order_relaxed)) {
				*ret_word = at;
				return bits;
			}
		}
		*word = at + 1;
	}
	return 0;
}

uint32_t slots_claim_slow(struct slots *s, uint32_t word)
{
	uint32_t at;
	uint64_t bits = slots_claim_some(s, &word, 1, &at);

	return bits ? at * 64 + (uint32_t)__builtin_ctzll(bits) : SLOTS_NONE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mutex with a deadline, for the slow paths of the library.
 *
 * Not pthread's: its timed lock waits on the wall clock, which can jump, and
 * no call of the library may wait for ever behind a thread that waits for the
 * server. The word: 0 free, 1 held, 2 held and somebody sleeps.
 */
#ifndef ONECOPY_CLIENT_LOCK_H
#define ONECOPY_CLIENT_LOCK_H

#include <stdatomic.h>
#include "base/compiler.h"

typedef _Atomic(uint32_t) futex_word;

struct lock {
	futex_word word;
};

/* Sleeps while *word == value, at most ns. May return early. `shared`: other
 * processes wake it. */
void futex_sleep(const futex_word *word, uint32_t value, uint64_t ns,
		 bool shared);
void futex_wake_one(futex_word *word);

/* 0 or -ETIMEDOUT. `deadline` in clock_ns() time. */
int lock_take_slow(struct lock *l, uint64_t deadline);
void lock_drop_slow(struct lock *l);

static inline bool lock_try(struct lock *l)
{
	uint32_t expected = 0;

	return atomic_compare_exchange_strong_explicit(&l->word, &expected, 1,
						       memory_order_acquire,
						       memory_order_relaxed);
}

static inline int lock_take(struct lock *l, uint64_t deadline)
{
	return likely(lock_try(l)) ? 0 : lock_take_slow(l, deadline);
}

/* For sections of a few stores, which nobody holds while waiting. */
static inline void lock_take_short(struct lock *l)
{
	while (unlikely(!lock_try(l)))
		if (lock_take_slow(l, UINT64_MAX) == 0)
			return;
}

static inline void lock_drop(struct lock *l)
{
	if (unlikely(atomic_exchange_explicit(&l->word, 0,
					      memory_order_release) == 2))
		lock_drop_slow(l);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Sleeping and waking of client/lock.h. */
#include "client/lock.h"
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/clock.h"

#define SPINS 64

void futex_sleep(const futex_word *word, uint32_t value, uint64_t ns,
		 bool shared)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};

	syscall(SYS_futex, word, FUTEX_WAIT | (shared ? 0 : FUTEX_PRIVATE_FLAG),
		value, &ts, NULL, 0);
}

void futex_wake_one(futex_word *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

int lock_take_slow(struct lock *l, uint64_t deadline)
{
	for (int i = 0; i < SPINS; i++) {
		cpu_relax();
		if (lock_try(l))
			return 0;
	}
	/* Taken as 2 from here on: another sleeper may be there. */
	while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire)) {
		uint64_t now = clock_ns();

		if (now >= deadline)
			return -ETIMEDOUT;
		futex_sleep(&l->word, 2, MIN(deadline - now, NS_PER_S), false);
	}
	return 0;
}

void lock_drop_slow(struct lock *l)
{
	futex_wake_one(&l->word);
}

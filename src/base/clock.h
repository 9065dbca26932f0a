/* SPDX-License-Identifier: Apache-2.0 */
/* Monotonic time in nanoseconds, and the calendar's. The pure layers are given times, they never
 * ask for them. */
#ifndef ONECOPY_BASE_CLOCK_H
#define ONECOPY_BASE_CLOCK_H

#include <time.h>
#include "base/compiler.h"

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* What the host's calendar says, ms since 1970: for people, and for what outlives
 * the machine's start. It may be set back. */
static inline uint64_t clock_realtime_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / NS_PER_MS;
}

/* The same as it was at the last tick of the kernel's, some ms ago: in a few ns. */
static inline uint64_t clock_realtime_coarse_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / NS_PER_MS;
}

/* Processor time of this thread alone: what else the machine does does not count. */
static inline uint64_t clock_thread_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

#endif

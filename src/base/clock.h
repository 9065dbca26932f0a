/* SPDX-License-Identifier: Apache-2.0 */
/* Monotonic time in nanoseconds. The pure layers are given times, they never
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

/* Processor time of this thread alone: what else the machine does does not count. */
static inline uint64_t clock_thread_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast memory is read by one thread: dependent loads, and a stream. Memory
 * is read and never written, so whatever lies in it may go on lying there. Time
 * is that which the thread had a processor for: other work on the machine is not
 * counted, waiting for memory is.
 *
 * What is smaller than the last cache is flattered by it.
 */
#ifndef ONECOPY_TIER_SPEED_H
#define ONECOPY_TIER_SPEED_H

#include "base/compiler.h"

/* A stream goes through memory in such pieces. */
#define SPEED_CHUNK (1ull << 20)

/* Nanoseconds of a load that waits for the one before it: over all lines of
 * `bytes` (the power of two below it counts) at `base`, in an order that no
 * prefetcher guesses, for about window_ns. */
double speed_latency(const void *base, uint64_t bytes, uint64_t window_ns);

struct speed_stream {
	uint64_t bytes; /* read */
	uint64_t ns;	/* time that the thread had a processor for; not 0 */
	uint64_t sum;	/* of what was read, so that the loads stay */
};
/* Reads at least one chunk; `bytes` at least SPEED_CHUNK. */
void speed_stream(const void *base, uint64_t bytes, uint64_t window_ns,
		  struct speed_stream *ret_stream);

/* Private zeroed memory, not there yet, on huge pages where they can be had; on
 * a NUMA node alone when `node` is not negative. Ended by munmap(). 0; -ENOMEM;
 * -EINVAL no such node; -EPERM node may not be chosen here. */
int speed_map(uint64_t bytes, int node, void **ret_base);
/* Makes its pages, from the start on, until window_ns is over (but 32 MiB at
 * least): memory that a virtual machine has not had before comes slowly. The
 * bytes that are there, a power of two; or -errno. */
int64_t speed_fill(void *base, uint64_t bytes, uint64_t window_ns);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a workload would have cost with a private cache in each process, by
 * replaying it through LRU caches (the server's own policy code). Pure.
 *
 * Writers recompute what their own cache does not have. A reader needs a copy
 * of every block that it reads. Order within a cache is that of one copy: hits
 * of the leading run, and touches from the last block to the first.
 */
#ifndef ONECOPY_PROG_AGAINST_H
#define ONECOPY_PROG_AGAINST_H

#include <stdint.h>

#include "deck.h"

struct against {
	uint32_t caches;	 /* writers + readers */
	uint64_t split_blocks;	 /* capacity of each: the same DRAM, divided */
	uint64_t prefill_blocks; /* recomputed with the DRAM divided */
	uint64_t held_blocks;	 /* DRAM for caches as large as one copy's, as
				   far as they would be filled */
	uint64_t moved_blocks; /* written: recomputed, and copied to readers */
};

/* capacity: of the one copy, in blocks. 0 or -ENOMEM. */
int against_private(const struct deck *d, uint32_t readers, uint64_t capacity,
		    struct against *ret_against);

/* Recomputed blocks of one LRU cache of this capacity which sees all requests
 * in order; *ret_held: the most blocks it held. */
int against_lru(const struct deck *d, uint64_t capacity, uint64_t *ret_prefill,
		uint64_t *ret_held);

#endif

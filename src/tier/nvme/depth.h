/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many moves are with the device at once: as many as make it faster. Pure.
 *
 * After each interval (as many moves as are allowed at once, twice): while moves are
 * quick, more. Else the rate is compared with the one before the last change.
 * Faster: go on in that direction. Slower: turn round. Neither: less, when the moves take long (what waits in the
 * device cannot be overtaken by what is more urgent), else stay.
 */
#ifndef ONECOPY_TIER_NVME_DEPTH_H
#define ONECOPY_TIER_NVME_DEPTH_H

#include "base/compiler.h"

struct nvme_depth {
	uint32_t now, least, most;
	bool fewer;	  /* the direction of the last change */
	uint64_t rate;	  /* bytes a second before it */
	uint64_t long_ns; /* moves that take so long are too many at once */
	/* this interval */
	uint64_t begin_ns, bytes, took_ns, moves;
	bool waited; /* something always waited for its turn */
};

void nvme_depth_init(struct nvme_depth *d, uint32_t least, uint32_t most,
		     uint64_t long_ns);
/* A move ended. waiting: more would have been started, had it been allowed. */
void nvme_depth_ended(struct nvme_depth *d, uint64_t bytes, uint64_t took_ns,
		      bool waiting, uint64_t now_ns);

#endif

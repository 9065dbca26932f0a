/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tier that keeps parts on a drive, driven by a bench as a store drives it:
 * `depth` moves with it at once, from and into memory of this process. One thread.
 */
#ifndef ONECOPY_PROG_BENCH_TIER_H
#define ONECOPY_PROG_BENCH_TIER_H

#include "tier/tier.h"

struct bench_tier {
	const struct tier_ops *ops;
	struct tier *tier;
	uint32_t space, depth, parts;
	uint64_t part_bytes;
	uint8_t *area; /* depth pieces of part_bytes */
	uint64_t *sum; /* checksum of each part that was written */
	struct bench_slot *slot;
	uint32_t begun, ended, flying; /* of the pass */
	uint32_t *order;	       /* of reading; NULL: as written */
	bool writes;
	int error; /* the first */
};

struct bench_pass {
	double seconds, cpu_s;
};

/* Processor time of this process, all threads. */
double bench_cpu_s(void);

/* The tier in `dir` with a limit that holds `parts` parts. -ENOENT: this onecopy
 * has no such tier. */
int bench_tier_open(const char *dir, uint64_t part_bytes, uint32_t parts,
		    uint32_t depth, struct bench_tier **ret_tier);
/* Takes NULL. clean: it is stopped first. */
void bench_tier_close(struct bench_tier *b, bool clean);
/* Open again, from the same folder; ns until it has found what it has. */
int bench_tier_again(const char *dir, uint64_t part_bytes, uint32_t parts,
		     uint64_t *ret_ns, uint64_t *ret_parts);

/* All parts once. Each must come back right. */
int bench_tier_write(struct bench_tier *b, struct bench_pass *ret_pass);
int bench_tier_read(struct bench_tier *b, bool shuffled,
		    struct bench_pass *ret_pass);

#endif

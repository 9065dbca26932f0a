/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader from the inside: the path of a prompt through stretches
 * (fleet_look.c) and what is judged along it (fleet_judge.c).
 */
#ifndef ONECOPY_INDEX_FLEET_READER_H
#define ONECOPY_INDEX_FLEET_READER_H

#include "index/fleet_internal.h"

/* A stretch on the path: blocks 0 .. n - 1 of it are the prompt's from `base`. */
struct fleet_step {
	uint32_t line;
	uint32_t version;
	uint32_t base;
	uint32_t n;
};

/* A member word that has not all blocks of a step. */
struct fleet_some {
	uint32_t engine, group, tier;
	uint64_t bits;
};

struct fleet_reader {
	const struct fleet *f;
	uint32_t blocks;
	/* Path of the look-up, deepest first; the prompt's hashes as far as
	 * they were needed are not kept. */
	uint32_t n_steps;
	struct fleet_step *step;
	/* Of the step at hand: who has it whole, by holder, and who some. */
	uint64_t *whole;
	uint32_t n_some;
	struct fleet_some *some;
	/* Set of engines for each tier: whose prefix goes on. And all with one. */
	uint64_t *alive;
	uint64_t *seen;
	uint32_t *length; /* [engine][FLEET_TIERS_MAX] */
	struct fleet_hit *hits;
	/* joint rules only: of (tier, engine, group), blocks in a row up to
	 * the end of the last step; and bits of the step at hand by holder */
	uint32_t *row;
	uint64_t *bits;
	uint64_t *dead; /* as alive: a FULL group's row is broken */
};

/* Reads who holds a step. False: it changed meanwhile. */
bool fleet_read_step(struct fleet_reader *r, const struct fleet_step *step);
/* Judge the path root first; both fill seen and length. False: a step changed
 * meanwhile; with `last` the answer ends before that step instead. */
bool fleet_judge_plain(struct fleet_reader *r, bool last);
bool fleet_judge_joint(struct fleet_reader *r, bool last);

static inline uint32_t *fleet_length(const struct fleet_reader *r,
				     uint32_t engine)
{
	return r->length + (size_t)engine * FLEET_TIERS_MAX;
}

#endif

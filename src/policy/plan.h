/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load or recompute: up to which block of a known prefix loading is quicker than
 * computing it again. Pure, and exact: costs are whole femtoseconds and
 * nanoseconds, summed in 128 bits.
 *
 * A prefix of n blocks is known, and a prompt goes on behind it. Of the n the
 * first k are loaded and the others computed, each with what lies before it, so
 * a token costs more the deeper it lies:
 *
 *	load(k)    = the longest wait among the first k + all their moves
 *	compute(k) = sum over the tokens from k * block_tokens to the end of
 *	             token_fs + depth_fs * (first + token)
 *	time(k)    = load(k) + compute(k), or the larger of the two where the
 *	             engine computes one layer while the next one is loaded
 *
 * `wait` is what passes before a block's first byte (the device, and what is
 * queued there); blocks that are asked for together wait together. `move` is
 * what a block then takes of the way that they all share. The k of the least
 * time is the answer; of several, the largest: the processor has other work.
 */
#ifndef ONECOPY_POLICY_PLAN_H
#define ONECOPY_POLICY_PLAN_H

#include "base/compiler.h"

#define PLAN_FS_PER_NS	 1000000u
#define PLAN_COST_MOST	 1000000000000000ull /* 1 s a token, in fs */
#define PLAN_TOKENS_MOST (1ull << 36)
#define PLAN_BLOCKS_MOST (1ull << 32)

struct plan_costs {
	uint64_t token_fs; /* of a token with nothing before it; at most
			      PLAN_COST_MOST, as the next */
	uint64_t depth_fs; /* more, for each token before it */
	uint64_t first;	   /* tokens before the first block */
	uint64_t rest;	   /* tokens behind the last, computed in any case */
	uint32_t block_tokens;
	bool overlap;
};

struct plan_block {
	uint64_t wait_ns, move_ns;
};

/* One way to do it. */
struct plan_way {
	uint64_t blocks; /* that are loaded */
	uint64_t load_ns, compute_ns, ns;
};

struct plan_answer {
	struct plan_way best, all, none; /* all n loaded; nothing loaded */
};

/* 0; -EINVAL: no block_tokens, or numbers beyond the limits above. */
int plan_find(const struct plan_costs *costs, const struct plan_block *blocks,
	      size_t n, struct plan_answer *ret_answer);

/* The same block by block, for callers that have them in another form: begin
 * says 0 or -EINVAL, then n times next, then the answer. */
struct plan_walk {
	struct plan_costs costs;
	size_t n, k;
	unsigned __int128 wait_ns, move_ns; /* of the first k */
	unsigned __int128 compute_fs;	    /* of what lies behind them */
	unsigned __int128 least_fs;
	struct plan_answer answer;
};
int plan_begin(struct plan_walk *w, const struct plan_costs *costs, size_t n);
void plan_next(struct plan_walk *w, const struct plan_block *block);
void plan_end(struct plan_walk *w, struct plan_answer *ret_answer);

/* A token's cost in fs; saturates at PLAN_COST_MOST. ns must be >= 0. */
uint64_t plan_cost(double ns);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cache under a trace: which blocks would a node have kept?
 *
 * A request finds the leading run of its blocks that are resident; then all of
 * its blocks are used, from the last to the first, and the policy admits and
 * evicts. The cache begins empty.
 *
 * The cache keeps the one set of resident blocks; a policy changes it through
 * sim_cache_admit() and sim_cache_evict() alone, which count, log and hold the
 * limit. Nothing here knows the future, except the bound.
 *
 * Deterministic: equal traces and options give equal decisions. One thread for
 * each run.
 */
#ifndef ONECOPY_SIM_CACHE_H
#define ONECOPY_SIM_CACHE_H

#include "policy/ladder.h"
#include "sim/cache_trace.h"

/* Seconds that computing tokens [from, to) of a prompt takes:
 * (to - from) / rate, times 1 + depth / twice at each depth. */
struct sim_prefill {
	double rate;  /* tokens a second at depth 0 */
	double twice; /* depth at which a token costs two */
};
double sim_prefill_s(const struct sim_prefill *p, uint64_t from, uint64_t to);

struct sim_cache_options {
	const char *policy;
	uint32_t dram; /* blocks */
	/* Blocks of a second rung below it; 0: there is none. Of the policies
	 * lru (all is written down and copied up), onecopy, onecopy-hints. */
	uint32_t nvme;
	struct ladder_rung rung[2]; /* their prices */
	uint64_t block_bytes;	    /* asked for with nvme */
	bool no_prefetch; /* nothing is loaded ahead of an announced return */
	uint32_t block_tokens; /* 0: 512 */
	uint64_t seed;
	/* onecopy-hints: a return is announced wrong by up to that part of it
	 * (in 1/1000; 0: 500, the half), by all but that part of the sessions */
	uint32_t hint_error_pm, hint_missing_pm;
	bool hint_exact; /* wrong by nothing: hint_error_pm does not count */
	uint64_t limit;	 /* only so many requests; 0: all */
	struct sim_prefill prefill; /* zeros: 10,000 and 32,768 */
	/* Each decision; NULL: nobody asks. what: '+' admitted, '-' evicted;
	 * '>' and '<' the same of the second rung. */
	void (*decided)(void *ctx, uint64_t request, char what, uint64_t id);
	/* Each request and how many of its blocks were found; NULL likewise. */
	void (*found)(void *ctx, uint64_t request, uint32_t hits);
	/* Now and then; not 0 ends the run with -EINTR. */
	int (*tick)(void *ctx, double done);
	void *ctx;
};

struct sim_cache_result {
	uint64_t requests, blocks, hit_blocks;
	uint64_t admitted, evicted;
	uint32_t resident, peak; /* blocks at the end, and at most */
	double prefill_s, saved_prefill_s;
	/* Of policies that know sessions: blocks that returning sessions had
	 * used before, those of them that had left, and how many sessions of
	 * the latest size the cache holds. */
	uint64_t returned, lost;
	uint32_t fit;
	/* With two rungs: hits in the second; blocks written to it, copied up,
	 * that left the upper without being written and that passed by both;
	 * seconds that loading the hits took (or making them again, where that
	 * is faster). */
	uint64_t nvme_hit_blocks, written, promoted, dropped;
	uint32_t nvme_resident;
	double load_s;
	/* Blocks that were copied up before the return that was announced
	 * (they are promoted too), those of them that it then found above, and
	 * what of their loading was over by then. */
	uint64_t prefetched, prefetched_used;
	double prefetch_saved_s;
};

/* 0, -ENOMEM, -EINVAL (no such policy, or dram 0), -EINTR. */
int sim_cache_run(const struct sim_trace *t, const struct sim_cache_options *o,
		  struct sim_cache_result *ret_result);

/* The names, in the order of a table; NULL after the last. */
const char *sim_cache_policy_name(size_t i);

/* ---- for policies -------------------------------------------------------- */

struct sim_cache {
	const struct sim_trace *t;
	const struct sim_cache_options *o;
	const struct sim_request *q; /* in hand */
	const uint32_t *blocks;	     /* its blocks */
	uint32_t n;	   /* how many of them can be resident at once */
	uint32_t hits;	   /* found */
	uint64_t number;   /* of the request in hand */
	uint64_t after;	   /* decisions are told as of this request */
	uint64_t *in_use;  /* of a block: 1 + the request that uses it */
	uint8_t *resident; /* of a block */
	uint8_t *below;	   /* on the second rung; NULL: there is none */
	/* of a block that is copied up ahead: 1 + the time (ns) at which it is
	 * there; 0: it was not, or was used since */
	uint64_t *ahead_ns;
	struct sim_cache_result result;
	void *state; /* the policy's */
};

struct sim_policy {
	const char *name;
	int (*create)(struct sim_cache *c); /* -ENOMEM; sets c->state */
	void (*destroy)(struct sim_cache *c);
	void (*request)(struct sim_cache *c);
	/* Time passes, up to the request in hand, which is not looked at yet;
	 * or NULL. */
	void (*pass)(struct sim_cache *c);
};

extern const struct sim_policy sim_policy_lru, sim_policy_bound;
extern const struct sim_policy sim_policy_onecopy, sim_policy_hints;
extern const struct sim_policy sim_policy_s3fifo, sim_policy_sieve,
	sim_policy_arc, sim_policy_lfuda, sim_policy_gdsf;
/* with two rungs */
extern const struct sim_policy sim_policy_lru_two, sim_policy_onecopy_two,
	sim_policy_hints_two;

/* A block that is not resident comes; there must be room. */
void sim_cache_admit(struct sim_cache *c, uint32_t block);
/* A resident block leaves. The published policies know no use that lasts: theirs
 * may be one of the request in hand. */
void sim_cache_evict(struct sim_cache *c, uint32_t block);

/* The same on the second rung. */
void sim_cache_write(struct sim_cache *c, uint32_t block);
void sim_cache_forget(struct sim_cache *c, uint32_t block);

static inline bool sim_cache_full(const struct sim_cache *c)
{
	return c->result.resident >= c->o->dram;
}

static inline bool sim_cache_uses(const struct sim_cache *c, uint32_t block)
{
	return c->in_use[block] == c->number + 1;
}

#endif

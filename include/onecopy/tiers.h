/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiers below DRAM: blocks that are not resident but that the node still has on
 * its drive (`onecopy serve --nvme`), how to have them back, and whether that is
 * worth it.
 *
 * oc_match() with OC_MATCH_BELOW says where each block of a prefix is and when
 * it could be here; oc_plan() says how much of it to load; oc_match_pin() with
 * fetch_ns brings that up, waits and pins it:
 *
 *	o.flags = OC_MATCH_BELOW;
 *	oc_match(ns, keys, n, &o, info, &resident);
 *	oc_plan(&costs, info, n, &plan);
 *	o.fetch_ns = 200000000;
 *	oc_match_pin(ns, keys, plan.load.blocks, &o, pins, &usable);
 *	...compute from block `usable` on...
 *
 * What is brought up is read by one move from the drive to its frame, verified,
 * and sealed; then it is a block like others, and may be evicted like others:
 * only a pin holds it. Bytes that are not what was written are a miss.
 *
 * A node without such a tier answers all of this from shared memory, at once.
 * Results, timeouts and threads are those of onecopy.h.
 */
#ifndef ONECOPY_TIERS_H
#define ONECOPY_TIERS_H

#include <onecopy/onecopy.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* ---- bringing up ---------------------------------------------------------- */

enum oc_fetch_flags {
	OC_FETCH_AHEAD = 1, /* nobody waits yet: it is begun behind what others
			       wait for, as far as the node has room for it, and
			       the call returns at once */
	OC_FETCH_PART = 2, /* OC_OP_FETCH: op.part alone, not the whole block */
};

struct oc_fetch_options {
	size_t size;
	int32_t rank;	/* -1 (default through OC_FETCH_INIT): all ranks */
	unsigned flags; /* OC_FETCH_AHEAD */
};
#define OC_FETCH_INIT                                  \
	{                                              \
		sizeof(struct oc_fetch_options), -1, 0 \
	}

/*
 * Brings up what of keys[0..n) is on a tier below: the parts that using the
 * longest prefix which the node can give needs (the joint hit rule of
 * oc_match()). Waits until they are resident or known to be not to be had, no
 * longer than timeout_ns. *ret_resident (may be NULL) is the usable prefix that
 * is resident then, as oc_match() says; what it holds may be evicted again,
 * see oc_match_options.fetch_ns for fetching and pinning in one.
 * 0 also when nothing was below or the time was over; -EINVAL no such rank or
 * flag; -ETIMEDOUT the server did not answer; -ENOMEM.
 *
 * Submit form: OC_OP_FETCH, of one block (all its groups and ranks; with
 * OC_FETCH_PART one part). Its completion says 0 it is resident, OC_MISS it is not
 * to be had, -ETIMEDOUT it did not come within op.timeout_ns, -ECANCELED. With
 * OC_FETCH_AHEAD: 0, it was begun or is resident; OC_MISS.
 */
int oc_fetch(oc_ns *ns, const struct oc_key *keys, size_t n,
	     const struct oc_fetch_options *options, uint64_t timeout_ns,
	     size_t *ret_resident);

/* oc_pin(), of a part on a tier below too: it is brought up and waited for.
 * OC_MISS it is not to be had; -ETIMEDOUT not within the time; else as oc_pin(). */
int oc_pin_fetch(oc_ns *ns, const struct oc_key *key, struct oc_part part,
		 unsigned flags, uint64_t timeout_ns, struct oc_pin *ret_pin);

/* ---- load or recompute ------------------------------------------------------ */

/*
 * Of n known blocks the first k are loaded, the others computed behind them. A
 * token costs the more the deeper it lies, because it attends to all before it:
 *
 *	load(k)    = max over i < k of wait(i)  +  sum over i < k of stream_ns(i)
 *	wait(i)    = expected_ns(i) - stream_ns(i)
 *	compute(k) = sum over tokens t from k * block_tokens to the end of
 *		     1e9 / tokens_per_s + depth_ns * (held + t)
 *	time(k)    = load(k) + compute(k);  with `overlap` the larger of the two
 *
 * where the end is n * block_tokens + rest. Blocks that are asked for together
 * wait together for the device and what it has queued; then one comes after the
 * other. The answer is the k with the least time, of several the largest, not
 * beyond the first block with OC_TIER_NONE. Measured in blocks, it is never
 * worth loading one in the middle without those before it.
 *
 * What an engine itself takes to get a block out of its frame (a copy to a
 * device) is not known here: add it to the info's stream_ns and expected_ns.
 */
struct oc_plan_options {
	size_t size;
	double tokens_per_s;   /* of prefill with nothing before it; required */
	double depth_ns;       /* more for each token that lies before; >= 0 */
	uint32_t block_tokens; /* required */
	uint64_t held; /* tokens before the first block, computed or loaded */
	uint64_t rest; /* tokens behind the last block, computed in any case */
	bool overlap; /* the engine computes one layer while the next is loaded */
};

struct oc_plan_way {
	size_t blocks; /* loaded; the others are computed */
	uint64_t load_ns, compute_ns, ns;
};

struct oc_plan {
	struct oc_plan_way load;      /* the best */
	struct oc_plan_way all;	      /* everything that is there is loaded */
	struct oc_plan_way recompute; /* nothing is */
};

/* Reads its arguments and nothing else; any thread, no client. info[0..n) as
 * oc_match() wrote it. 0; -EINVAL a size, rate or growth that cannot be, no
 * block_tokens, more than 2^36 tokens. */
int oc_plan(const struct oc_plan_options *options,
	    const struct oc_block_info *info, size_t n,
	    struct oc_plan *ret_plan);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif

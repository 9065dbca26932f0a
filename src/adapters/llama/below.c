/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that are not resident but on the node's drive: loaded, or computed
 * anew, whichever brings the prompt's first token sooner (oc_plan()). What a
 * token costs to compute is measured here; while it is not known, blocks are
 * loaded.
 */
#include <errno.h>
#include <stdlib.h>
#include <onecopy/tiers.h>
#include "adapters/llama/internal.h"
#include "base/clock.h"
#include "base/fault.h"

/* Nothing is known of what computing costs: so long, for each block, and as
 * long as for any other answer of the node. */
#define UNKNOWN_NS (5 * NS_PER_MS)

/* Blocks from the first on that can be had, and how many of them are below. */
static size_t reachable(const struct oc_block_info *info, size_t n,
			size_t *ret_below)
{
	size_t i = 0;

	*ret_below = 0;
	for (; i < n && info[i].tier != OC_TIER_NONE; i++)
		*ret_below += info[i].tier != OC_TIER_DRAM;
	return i;
}

/* The engine takes each block from its frame afterwards. */
static void add_import(const oc_llama *l, struct oc_block_info *info, size_t n)
{
	double ns = l->plan.import_ns * l->block_tokens;

	for (size_t i = 0; i < n; i++) {
		uint64_t more = (uint64_t)MIN(ns, 1e9);

		info[i].expected_ns += more;
		info[i].stream_ns = (uint32_t)MIN(info[i].stream_ns + more,
						  (uint64_t)UINT32_MAX);
	}
}

/* What is taken over ends where exact logits allow it. */
static size_t cut(const oc_llama *l, size_t held, size_t blocks, size_t prompt)
{
	size_t take = MIN(held + blocks * l->block_tokens, prompt - 1);

	if (l->exact)
		take = oc_llama_exact(take, prompt, l->n_batch, l->n_ubatch);
	return take > held ? DIV_UP(take - held, l->block_tokens) : 0;
}

/* A prompt of which n blocks behind `held` tokens are known. */
struct question {
	const struct oc_block_info *info;
	size_t n, resident, held, prompt;
};

static int ask(oc_llama *l, const struct question *q, size_t n, double base,
	       double growth, struct oc_plan *ret_plan)
{
	size_t known = MIN(q->held + n * l->block_tokens, q->prompt);
	struct oc_plan_options o = { .size = sizeof(o),
				     .tokens_per_s = 1e9 / base,
				     .depth_ns = growth,
				     .block_tokens = l->block_tokens,
				     .held = q->held,
				     .rest = q->prompt - known };

	return oc_plan(&o, q->info, n, ret_plan);
}

static int decide(oc_llama *l, const struct question *q, size_t *ret_blocks,
		  uint64_t *ret_wait_ns)
{
	struct oc_plan p, without;
	double base, growth;
	int r;

	if (!prefill_fit(&l->prefill, &base, &growth)) {
		*ret_blocks = q->n;
		*ret_wait_ns = MAX(q->n * UNKNOWN_NS, l->timeout_ns);
		return 0;
	}
	r = ask(l, q, q->n, base, growth, &p);
	if (r == 0)
		r = ask(l, q, q->resident, base, growth, &without);
	if (r)
		return r;
	*ret_blocks = p.load.blocks;
	/* later than that, computing what is not resident were sooner */
	*ret_wait_ns = without.all.ns - MIN(p.load.compute_ns, without.all.ns);
	return 0;
}

int llama_below(oc_llama *l, const struct oc_key *keys, size_t n, size_t held,
		size_t prompt, size_t *ret_blocks, uint64_t *ret_wait_ns)
{
	struct oc_match_options o = OC_MATCH_INIT;
	struct oc_block_info *info = mem_array(n, sizeof(*info));
	struct question q = { .info = info, .held = held, .prompt = prompt };
	size_t below = 0, blocks = 0;
	int r;

	if (!info)
		return -ENOMEM;
	o.flags = OC_MATCH_BELOW;
	r = oc_match(l->ns, keys, n, &o, info, &q.resident);
	if (r == 0)
		q.n = reachable(info, n, &below);
	if (below) {
		add_import(l, info, q.n);
		r = decide(l, &q, &blocks, ret_wait_ns);
		l->stat.below_blocks += below;
	}
	free(info);
	if (r == 0)
		*ret_blocks = cut(l, held, blocks, prompt);
	return r;
}

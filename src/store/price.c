/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rungs of the ladder (policy/ladder.h) cost, as it was measured, and what
 * making a block again takes, as the node was told (prefill_rate, prefill_growth
 * of onecopy.yaml(5)).
 *
 * Where nobody has told it, or the block is not made so (a value of the RESP door),
 * making it again counts as so many loads from the last rung: dearer than any of
 * them, and not for ever.
 */
#include <onecopy/onecopy.h>
#include "base/clock.h"
#include "policy/log2.h"
#include "store/price.h"

#define AGAIN_LOADS 4u
#define PS_PER_S    1000000000000ull
#define PS_PER_NS   1000u

__extension__ typedef unsigned __int128 wide;

static bool measured(const struct pool *p, unsigned tier,
		     struct ladder_rung *ret)
{
	const struct tier_record *t = &p->m->tier[tier];

	*ret = (struct ladder_rung){
		.latency_ns = shared_load64(&t->latency_ns),
		.bytes_per_s = shared_load64(&t->bytes_per_s),
	};
	return shared_load64(&t->measured_ms) && ret->latency_ns;
}

bool price_rungs(const struct store *s, const struct pool *p,
		 struct price *ret_price)
{
	struct price r = { .n = 1 };

	if (!measured(p, OC_TIER_DRAM, &r.rung[0]))
		return false;
	if (rung_there(s, p) && measured(p, OC_TIER_CXL, &r.rung[r.n]))
		r.cxl = r.n++;
	if (measured(p, OC_TIER_NVME, &r.rung[r.n]))
		r.nvme = r.n++;
	*ret_price = r;
	return true;
}

/* How blocks of a namespace are made: so many tokens, in so many parts. tokens 0:
 * not by prefill (a value of a door has one "token"), or nobody told. */
struct made {
	uint64_t tokens, parts;
};

static struct made made_of(const struct store *s, const struct pool *p,
			   uint32_t ns)
{
	const struct ns_record *rec = ns_find(p, ns);
	struct made made = { .parts = MAX(ns_record_parts(rec).n, 1u) };

	if (rec && s->options.prefill_rate)
		made.tokens = shared_load64(&rec->block_tokens);
	if (made.tokens == 1)
		made.tokens = 0;
	return made;
}

/* For each of `blocks` blocks of a chain on average, so many tokens each. */
static uint64_t chain_ns(const struct store *s, uint64_t blocks,
			 uint64_t tokens)
{
	const struct store_options *o = &s->options;
	/* half of the chain lies before a token on average */
	wide deeper = (wide)o->prefill_growth_ps * (blocks * tokens / 2);
	wide ps = tokens * (PS_PER_S / o->prefill_rate + deeper);

	return (uint64_t)MIN(ps / PS_PER_NS, (wide)UINT64_MAX / 2);
}

uint64_t price_again_ns(const struct store *s, const struct pool *p,
			const struct frame_desc *d, uint64_t load_ns)
{
	struct made made =
		made_of(s, p, frame_part_ns(shared_load64(&d->part)));
	uint64_t partial = frame_extent_tokens(shared_load64(&d->extent));

	if (!made.tokens)
		return AGAIN_LOADS * MIN(load_ns, UINT64_MAX / AGAIN_LOADS);
	/* a part's share of what the block takes: all of them are loaded */
	return chain_ns(s, shared_load64(&d->depth),
			partial ? partial : made.tokens) /
	       made.parts;
}

/* What loading a block from the last rung takes; its parts are as large as the
 * pool's are on average. */
static uint64_t load_ns(const struct store *s, const struct pool *p,
			uint64_t parts)
{
	uint64_t n = pool_counter(p, POOL_C_sealed);
	struct price at;

	if (!n || !price_rungs(s, p, &at) || at.n == 1)
		return LADDER_NEVER;
	return ladder_load_ns(&at.rung[at.n - 1],
			      pool_counter(p, POOL_C_sealed_bytes) / n) *
	       parts;
}

int32_t price_saves(const struct store *s, const struct pool *p, uint32_t ns,
		    uint32_t n)
{
	struct made made = made_of(s, p, ns);
	uint64_t load;

	if (!made.tokens)
		return 0;
	/* below a rung that takes what leaves nothing is made again that is
	 * loaded in less */
	load = load_ns(s, p, made.parts);
	return log2_of(MIN(chain_ns(s, n, made.tokens), load) + 1) -
	       log2_of(MIN(chain_ns(s, 0, made.tokens), load) + 1);
}

/* ---- what a part is worth where it lies ---------------------------------------- */

static struct ladder_block block_of(const struct store *s, const struct pool *p,
				    const struct price *at,
				    const struct pool_slab *slab,
				    uint32_t frame)
{
	const struct frame_desc *d = &slab->desc[frame];
	uint32_t item = slab->base + frame;
	struct ladder_block b = {
		.bytes = frame_extent_bytes(shared_load64(&d->extent)),
		.rate = p->policy_ops->rate(p->policy, item),
		.on = slab->low ? 1u << at->cxl : 1,
	};

	if (!slab->low && at->cxl &&
	    pool_twin_of(p, slab, frame) != POOL_NO_ITEM)
		b.on |= 1u << at->cxl;
	if (at->nvme && move_holds(s, p, d))
		b.on |= 1u << at->nvme;
	b.again_ns = price_again_ns(
		s, p, d, ladder_load_ns(&at->rung[at->n - 1], b.bytes));
	return b;
}

/* Worth of what would leave an arena of DRAM for another frame, but for `item`; 0:
 * there is room. */
static uint64_t pressure_of(const struct store *s, const struct pool *p,
			    const struct price *at, uint32_t arena,
			    uint32_t item)
{
	const struct policy_ops *ops = p->policy_ops;
	uint64_t frame_bytes = p->arena[arena].frame_bytes;
	const struct pool_slab *slab;
	struct ladder_block b;
	uint32_t victim, frame;

	if (pool_arena_free(p, arena) != POOL_NO_ITEM ||
	    MIN(quota_room(s, p), quota_left(p)) >= frame_bytes)
		return 0;
	victim = ops->victim(p->policy, arena, POLICY_NONE);
	if (victim == item && item != POLICY_NONE)
		victim = ops->victim(p->policy, arena, item);
	if (victim == POLICY_NONE)
		return 0;
	slab = pool_item(p, victim, &frame);
	b = block_of(s, p, at, slab, frame);
	return ladder_worth_on(at->rung, at->n, 0, &b);
}

bool price_passes_by(const struct store *s, const struct pool *p,
		     const struct pool_slab *slab, uint32_t frame,
		     bool from_below)
{
	struct ladder_block b;
	struct price at;

	if (!p->policy_ops->rate || slab->low || !price_rungs(s, p, &at))
		return false;
	b = block_of(s, p, &at, slab, frame);
	if (!b.rate || (from_below && !at.nvme))
		return false;
	at.rung[0].pressure =
		pressure_of(s, p, &at, slab->arena, slab->base + frame);
	b.on = 0;
	if (!from_below)
		return ladder_admit(at.rung, at.n, &b).rung != 0;
	return ladder_promote(at.rung, at.n, at.nvme, &b).what == LADDER_KEEP;
}

bool price_stays_low(const struct store *s, const struct pool *p,
		     const struct pool_slab *slab, uint32_t frame,
		     uint32_t arena)
{
	struct ladder_block b;
	struct price at;

	if (!p->policy_ops->rate || !price_rungs(s, p, &at) || !at.cxl)
		return false;
	b = block_of(s, p, &at, slab, frame);
	at.rung[0].pressure = pressure_of(s, p, &at, arena, POLICY_NONE);
	return b.rate &&
	       ladder_promote(at.rung, at.n, at.cxl, &b).what == LADDER_KEEP;
}

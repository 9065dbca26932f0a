/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Down: what is worth a write (docs/design/movement.md). With rates of the policy,
 * ladder_leave() decides; without, a block that nobody has used since it was sealed
 * is passed over while the drive has had enough to do for long. What was declined
 * is remembered for as long as the frame holds it.
 */
#include <onecopy/onecopy.h>
#include "base/clock.h"
#include "base/fault.h"
#include "store/move_internal.h"
#include "store/price.h"

/* ---- is the drive busy? ----------------------------------------------------------- */

/* Half of what may be under way was, without a pause, for so long: this is no
 * burst that waiting a little absorbs. */
#define BUSY_NS (30 * NS_PER_S)

static bool has_enough(const struct mover *mv)
{
	return mv->flying[TIER_BEHIND] >= DOWN_MOST / 2 ||
	       mv->down_bytes >= DOWN_BYTES / 2;
}

static bool busy(const struct mover *mv)
{
	return mv->busy_ns && has_enough(mv) &&
	       mv->s->now_ns - mv->busy_ns >= BUSY_NS;
}

/* A pause is when only a quarter is left. */
void down_see_busy(struct mover *mv)
{
	if (has_enough(mv)) {
		if (!mv->busy_ns)
			mv->busy_ns = mv->s->now_ns;
	} else if (mv->flying[TIER_BEHIND] < DOWN_MOST / 4 &&
		   mv->down_bytes < DOWN_BYTES / 4) {
		mv->busy_ns = 0;
	}
}

/* ---- what was declined -------------------------------------------------------------- */

static uint32_t *declined_at(struct mover *mv, const struct pool *p,
			     uint32_t item)
{
	uint32_t n = mv->n_declined[p->number], *grown;

	if (item < n)
		return &mv->declined[p->number][item];
	grown = mem_grow(mv->declined[p->number], p->items_cap, sizeof(*grown));
	if (!grown)
		return NULL;
	memset(grown + n, 0, (p->items_cap - n) * sizeof(*grown));
	mv->declined[p->number] = grown;
	mv->n_declined[p->number] = p->items_cap;
	return &grown[item];
}

/* Never 0. */
static uint32_t filling_of(const struct pool_slab *slab, uint32_t frame)
{
	return (uint32_t)pool_frame_gen(slab, frame) | 1u << 31;
}

bool down_is_declined(const struct mover *mv, const struct pool *p,
		      const struct pool_slab *slab, uint32_t frame)
{
	uint32_t item = slab->base + frame;

	return item < mv->n_declined[p->number] &&
	       mv->declined[p->number][item] == filling_of(slab, frame);
}

bool down_decline_part(struct mover *mv, struct pool *p,
		       const struct pool_slab *slab, uint32_t frame)
{
	uint32_t *at = declined_at(mv, p, slab->base + frame);

	if (!at || *at == filling_of(slab, frame))
		return false;
	*at = filling_of(slab, frame);
	return true;
}

/* As long as what is written now would stay, at the pace of writing so far. */
static uint64_t stays_ms(const struct mover *mv)
{
	const struct tier_stat *st = &mv->stat;
	double ms = (double)(mv->s->now_ns - mv->since_ns) / NS_PER_MS;

	if (!st->write_bytes)
		return 0;
	return (uint64_t)((double)st->limit_bytes / (double)st->write_bytes *
			  MAX(ms, 1.0));
}

static bool ladder_says(const struct mover *mv, const struct pool *p,
			const struct frame_desc *d, uint64_t rate)
{
	const struct tier_record *dram = &p->m->tier[OC_TIER_DRAM];
	const struct tier_price r = move_read_price(mv), *w = &mv->stat.write;
	struct ladder_rung rungs[2] = {
		{ .latency_ns = shared_load64(&dram->latency_ns),
		  .bytes_per_s = shared_load64(&dram->bytes_per_s),
		  .pressure = UINT64_MAX },
		{ .latency_ns = r.latency_ns,
		  .bytes_per_s = r.bytes_per_s,
		  .stays_ms = stays_ms(mv) },
	};
	struct ladder_block b = {
		.bytes = frame_extent_bytes(shared_load64(&d->extent)),
		.rate = rate,
		.on = 1,
	};

	b.again_ns =
		price_again_ns(mv->s, p, d, ladder_load_ns(&rungs[1], b.bytes));
	/* a write takes the drive's time only from others who want it */
	if (busy(mv) && w->bytes_per_s)
		rungs[1].wear = 1024 * NS_PER_S / w->bytes_per_s;
	return ladder_leave(rungs, 2, 0, &b).what == LADDER_DEMOTE;
}

bool down_used_since(const struct frame_desc *d)
{
	return shared_load64(&d->touched) != shared_load64(&d->sealed_at);
}

bool down_worth_it(const struct mover *mv, const struct pool *p,
		   const struct pool_slab *slab, uint32_t frame)
{
	const struct frame_desc *d = &slab->desc[frame];
	uint64_t rate =
		p->policy_ops->rate
			? p->policy_ops->rate(p->policy, slab->base + frame)
			: 0;

	if (rate)
		return ladder_says(mv, p, d, rate);
	return !busy(mv) || down_used_since(d);
}

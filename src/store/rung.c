/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rung below DRAM (docs/design/cxl.md): what leaves DRAM is copied into a
 * frame of low memory, in a slab that the server alone can write, and is found
 * there from then on; what is used again there is copied up behind the reads
 * (rung_rise.c).
 *
 * Down. Twins first, then the leaving: a victim's parts are copied and hashed in
 * one pass, which verifies them, and only blocks all of whose parts in DRAM have
 * twins fall (store/evict.c). A block that came up keeps its twin while there is
 * room, so that its way down is free. Whose room: rung_room.c.
 *
 * All of it in the server's thread, a bounded piece at a time: COPY_BYTES.
 */
#include <errno.h>
#include <onecopy/onecopy.h>
#include "store/local.h"
#include "store/price.h"
#include "store/rung_internal.h"

/* Copied in one turn, but for the first block. */
#define COPY_BYTES (8ull << 20)
/* Victims of one turn. */
#define BATCH 64u

bool rung_work_init(struct rung_work *w, struct store *s, struct pool *p)
{
	*w = (struct rung_work){ .s = s, .p = p };
	return rung_there(s, p) && local_client(s, p, &w->c) == 0;
}

void rung_comes(struct rung_work *w, const struct pool_slab *slab,
		uint32_t frame)
{
	const struct policy_ops *ops = w->p->policy_ops;

	w->stamp = shared_load64(&slab->desc[frame].touched);
	w->rate = ops->rate ? ops->rate(w->p->policy, slab->base + frame) : 0;
}

/* The i-th part of a block as it is found; NULL. False: there are no more. */
bool rung_part_at(const struct rung_work *w, const uint64_t key[4], uint32_t ns,
		  unsigned i, struct pool_slab **ret_slab, uint32_t *ret_frame)
{
	struct ns_parts parts = ns_parts_of(w->p, ns);

	if (i >= parts.n)
		return false;
	*ret_slab = pool_find(w->p, key, ns_parts_at(&parts, i), ret_frame);
	return true;
}

/* ---- twins of a block ------------------------------------------------------------ */

/* By the measured prices: is far memory a better place for it than what is below
 * that? */
static bool pays(const struct store *s, const struct pool *p,
		 const struct frame_desc *d)
{
	struct ladder_block b = {
		.bytes = frame_extent_bytes(shared_load64(&d->extent)),
		.rate = LADDER_RATE_ONE,
		.on = 1,
	};
	struct ladder_answer a;
	struct price at;

	if (!price_rungs(s, p, &at) || !at.cxl)
		return true; /* nothing is known against it */
	at.rung[0].pressure = UINT64_MAX;
	b.again_ns = price_again_ns(
		s, p, d, ladder_load_ns(&at.rung[at.n - 1], b.bytes));
	a = ladder_leave(at.rung, at.n, 0, &b);
	return a.what == LADDER_DEMOTE && a.rung == at.cxl;
}

/* A twin below for a part in DRAM. */
static enum rung_how part_below(struct rung_work *w, struct pool_slab *up,
				uint32_t uf)
{
	uint64_t gen = pool_frame_gen(up, uf);
	struct pool_slab *low;
	uint32_t item, lf;
	enum rung_how how = up->stripes ? RUNG_NONE
					: rung_frame(w, up->frame_bytes, &item);
	int r;

	if (how != RUNG_READY)
		return how;
	/* what made room may have taken this very block */
	if (pool_frame_gen(up, uf) != gen ||
	    pool_frame_state(up, uf) != FRAME_SEALED)
		return RUNG_NONE;
	rung_grant(w, item, &up->desc[uf]);
	low = pool_item(w->p, item, &lf);
	r = rung_copy(w, up, uf, low, lf);
	if (r < 0) {
		rung_give_up(w, low, lf, r);
		if (r == -EIO)
			return RUNG_READY; /* it is gone */
		if (r != -EBADMSG)
			return RUNG_NONE;
		block_drop_wrong(w->s, w->p, up,
				 uf); /* it needs no room any more */
		return RUNG_READY;
	}
	pool_twin_seal(w->p, low, lf, up, uf);
	w->made++;
	return RUNG_READY;
}

/* Twins for all that the block has in DRAM. */
static enum rung_how block_below(struct rung_work *w,
				 const struct frame_desc *d)
{
	uint32_t ns = frame_part_ns(shared_load64(&d->part)), frame;
	enum rung_how r = RUNG_READY;
	struct pool_slab *slab;
	uint64_t key[4];

	if (!pays(w->s, w->p, d))
		return RUNG_NONE;
	shared_load_words(key, d->key, 4);
	/* all of it, or nothing: a part in stripes stays what it is */
	for (unsigned i = 0; rung_part_at(w, key, ns, i, &slab, &frame); i++)
		if (slab && slab->stripes)
			return RUNG_NONE;
	for (unsigned i = 0;
	     r == RUNG_READY && rung_part_at(w, key, ns, i, &slab, &frame); i++)
		if (slab && !slab->low &&
		    pool_twin_of(w->p, slab, frame) == POOL_NO_ITEM)
			r = part_below(w, slab, frame);
	return r;
}

/* ---- down ---------------------------------------------------------------------- */

static uint32_t cold_end(const struct pool *p, uint32_t arena, uint32_t want,
			 uint32_t items[BATCH])
{
	uint32_t item = POLICY_NONE, n = 0;

	while (n < MIN(want, BATCH)) {
		item = p->policy_ops->victim(p->policy, arena, item);
		if (item == POLICY_NONE)
			break;
		items[n++] = item;
	}
	return n;
}

/* The items of the first `n` for which there are twins, now. */
static enum rung_how prepare(struct rung_work *w, uint32_t arena,
			     uint32_t items[BATCH], uint32_t n)
{
	enum rung_how r = RUNG_READY;

	for (uint32_t i = 0; i < n && r == RUNG_READY; i++) {
		uint32_t frame;
		struct pool_slab *slab = pool_item(w->p, items[i], &frame);

		if (w->copied >= COPY_BYTES)
			break;
		/* it may have left with what made room for another */
		if (slab->arena != arena ||
		    pool_frame_state(slab, frame) != FRAME_SEALED)
			continue;
		rung_comes(w, slab, frame);
		r = block_below(w, &slab->desc[frame]);
	}
	return r;
}

static uint32_t fall(struct rung_work *w, uint32_t arena, const uint32_t *items,
		     uint32_t n)
{
	evict_begin(w->s);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t frame;
		struct pool_slab *slab = pool_item(w->p, items[i], &frame);

		/* a sibling of an earlier one is LEAVING already */
		if (slab->arena == arena &&
		    pool_frame_state(slab, frame) == FRAME_SEALED &&
		    evict_falls(w->p, slab, frame) &&
		    !evict_add(w->s, w->p, slab, frame))
			break;
	}
	return evict_finish(w->s, w->p, false);
}

static uint32_t down(struct rung_work *w, uint32_t arena, uint32_t want,
		     enum rung_how *ret_how)
{
	uint32_t items[BATCH], done = 0, n, mark = want;

	/* at the cold end all may be pinned: then further on */
	for (; mark < 4 * BATCH; mark *= 4) {
		n = cold_end(w->p, arena, mark, items);
		*ret_how = prepare(w, arena, items, n);
		done = fall(w, arena, items, n);
		if (done || *ret_how != RUNG_READY || n < mark)
			break;
	}
	return done;
}

uint32_t rung_evict(struct store_client *c, uint32_t arena, uint32_t want,
		    bool *ret_awaits)
{
	enum rung_how how = RUNG_NONE;
	struct rung_work w;
	uint32_t n;

	if (!rung_work_init(&w, c->store, c->pool))
		return 0;
	w.patient = c->patient;
	n = down(&w, arena, MIN(want, BATCH), &how);
	*ret_awaits = how == RUNG_LATER;
	return n;
}

uint32_t rung_exchange(struct store_client *c, uint32_t arena)
{
	enum rung_how how = RUNG_NONE;
	struct rung_work w;

	if (!rung_work_init(&w, c->store, c->pool))
		return 0;
	w.exchange = true;
	return down(&w, arena, 1, &how);
}

static bool falls_whole(const struct pool *p, const struct pool_slab *slab)
{
	for (uint32_t f = 0; f < slab->frames; f++)
		if (pool_frame_state(slab, f) == FRAME_SEALED &&
		    !evict_falls(p, slab, f))
			return false;
	return true;
}

int rung_press_slab(struct store_client *c, struct pool *p,
		    struct pool_slab *slab, bool exchange)
{
	enum rung_how r = RUNG_READY;
	struct rung_work w;

	if (slab->low || slab->n_granted || slab->n_doomed ||
	    !rung_work_init(&w, c->store, p))
		return -ENOSPC;
	w.patient = c->patient;
	w.exchange = exchange;
	for (uint32_t f = 0; f < slab->frames && r == RUNG_READY; f++) {
		if (pool_frame_state(slab, f) != FRAME_SEALED ||
		    pool_twin_of(p, slab, f) != POOL_NO_ITEM)
			continue;
		if (w.copied >= COPY_BYTES)
			r = RUNG_LATER;
		rung_comes(&w, slab, f);
		if (r == RUNG_READY)
			r = block_below(&w, &slab->desc[f]);
	}
	if (r == RUNG_LATER)
		c->store->retry = true;
	/* room for the last was made of the first one's twins */
	if (r == RUNG_READY && !falls_whole(p, slab))
		r = RUNG_NONE;
	return r == RUNG_READY ? 0 : r == RUNG_LATER ? 1 : -ENOSPC;
}

bool rung_spare(struct store_client *c, uint64_t frame_bytes,
		uint32_t *ret_item)
{
	struct rung_work w;

	/* nothing is worth less than nothing: stamp and rate are 0 */
	return rung_work_init(&w, c->store, c->pool) &&
	       rung_frame(&w, frame_bytes, ret_item) == RUNG_READY;
}

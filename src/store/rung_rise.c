/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Up from low memory (docs/design/cxl.md). Where the policy knows rates, a use asks
 * for it if the ladder says that uses to come pay for a place in DRAM; else the
 * second use since the block came down does. It takes free room in DRAM, or the
 * place of what was used less, and never makes anything leave low memory but twins,
 * unless blocks left it for want of room anyway: a working set that just fits both
 * loses nothing by being moved about.
 *
 * Behind the reads and in the server's thread, a bounded piece at a time: RISE_BYTES.
 * What asked is kept in store.rise until it is up, or has left, or was tried TRIES
 * times; a next server has forgotten it, and the next use asks again.
 */
#include <errno.h>
#include "store/price.h"
#include "store/rung_internal.h"

#define RISE_BYTES (2ull << 20)
/* How often a copy upwards is tried while a slab for it is made. */
#define TRIES 8u

/* With rates the ladder says, without them a second use. */
static bool wants_up(struct store *s, struct pool *p,
		     const struct pool_slab *slab, uint32_t frame,
		     uint64_t before)
{
	struct pool_shape shape = { .frame_bytes = slab->frame_bytes };
	bool known, stays;
	uint32_t arena;

	if (!p->policy_ops->rate ||
	    !p->policy_ops->rate(p->policy, slab->base + frame) ||
	    pool_arena_get(p, CLIENT_SERVER, shape, &arena) < 0)
		return before != 0;
	/* else a slab of others has to go for it, and those have no rate */
	known = p->arena[arena].slabs != 0;
	stays = known && price_stays_low(s, p, slab, frame, arena);
	pool_arena_put(p, arena);
	pool_count(p, POOL_C_cxl_in_place, stays);
	return known ? !stays : before != 0;
}

void rung_touch(struct store *s, struct pool *p, struct pool_slab *slab,
		uint32_t frame)
{
	struct pool_twin *t;
	uint64_t before;

	pool_frame_touch(p, slab, frame);
	if (!slab->low || !p->twin || pool_is_twin(p, slab, frame))
		return;
	t = &p->twin[slab->base + frame];
	before = t->before;
	t->before = p->touch_clock;
	if (!wants_up(s, p, slab, frame, before) || s->rises == RISES)
		return;
	s->rise[s->rises++] = (struct rise){
		.pool = p->number,
		.loc = frame_loc(slab->id, frame),
		.gen = pool_frame_gen(slab, frame),
		.before = before,
	};
}

/* A part in low memory is copied up. */
static enum rung_how part_up(struct rung_work *w, struct pool_slab *low,
			     uint32_t lf, uint64_t before)
{
	uint64_t gen = pool_frame_gen(low, lf);
	struct pool_slab *up;
	uint32_t item, uf;
	int r = room_rise(w->c, low->frame_bytes, before, w->rate, &item);

	if (r != 0)
		return r == 1 ? RUNG_LATER : RUNG_NONE;
	if (pool_frame_gen(low, lf) != gen ||
	    pool_frame_state(low, lf) != FRAME_SEALED)
		return RUNG_NONE;
	rung_grant(w, item, &low->desc[lf]);
	up = pool_item(w->p, item, &uf);
	r = rung_copy(w, low, lf, up, uf);
	if (r < 0) {
		rung_give_up(w, up, uf, r);
		if (r == -EBADMSG)
			block_drop_wrong(w->s, w->p, low, lf);
		return RUNG_NONE;
	}
	pool_twin_rise(w->p, up, uf, low, lf);
	return RUNG_READY;
}

/* All that the block has in low memory alone. */
static enum rung_how block_up(struct rung_work *w, const struct frame_desc *d,
			      uint64_t before)
{
	uint32_t ns = frame_part_ns(shared_load64(&d->part)), frame;
	enum rung_how r = RUNG_READY;
	struct pool_slab *slab;
	uint64_t key[4];

	shared_load_words(key, d->key, 4);
	for (unsigned i = 0;
	     r == RUNG_READY && rung_part_at(w, key, ns, i, &slab, &frame); i++)
		if (slab && slab->low)
			r = part_up(w, slab, frame, before);
	return r;
}

static enum rung_how rise_one(struct store *s, const struct rise *rise,
			      uint64_t *copied)
{
	struct pool *p = s->pool[rise->pool];
	uint32_t frame;
	struct pool_slab *slab = p ? pool_locate(p, rise->loc, &frame) : NULL;
	struct rung_work w;
	enum rung_how r;

	if (!slab || !slab->low || pool_is_twin(p, slab, frame) ||
	    shared_load64(&slab->desc[frame].word) !=
		    frame_word(rise->gen, FRAME_SEALED) ||
	    !rung_work_init(&w, s, p))
		return RUNG_NONE;
	rung_comes(&w, slab, frame);
	r = block_up(&w, &slab->desc[frame], rise->before);
	*copied += w.copied;
	return r;
}

/* Behind the reads, and behind those who wait for room, but for what has begun. */
void rung_rise(struct store *s)
{
	uint32_t kept = 0, n = s->rises;
	uint64_t copied = 0;

	if (!n)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct rise rise = s->rise[i];

		if (copied < RISE_BYTES && (rise.tries || !s->n_pending) &&
		    (rise_one(s, &rise, &copied) != RUNG_LATER ||
		     ++rise.tries == TRIES))
			continue;
		s->rise[kept++] = rise;
	}
	s->rises = kept;
}

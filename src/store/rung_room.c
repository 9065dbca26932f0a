/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A free frame below for what comes down, in this order: a free frame, a new slab
 * (rung_slab.c), the oldest twin, and, if it is worth less than what comes, the first
 * to leave of the same shape, or the coldest slab of another, or as many small ones as
 * it takes (rung_small.c). Otherwise what comes goes past this rung.
 *
 * In the server's thread alone. What makes room may take the very block that comes:
 * who asked looks at it once more.
 */
#include "store/rung_internal.h"

/* Twins, or blocks, that make room at a time. */
#define ROOM	  16u
#define ROOM_PART 8u
#define CREDITS	  64u

static bool was_tried(const struct rung_work *w, uint32_t id)
{
	for (uint32_t i = 0; i < w->n_tried; i++)
		if (w->tried[i] == id)
			return true;
	return false;
}

/* It serves other frames, or nobody's, and its memory could serve these. One with
 * quarantined frames retires when it is empty (room_quarantine_tick()). */
static bool could_serve(const struct pool_slab *s, uint64_t frame_bytes)
{
	if (!s->low || s->retiring || s->n_granted || s->n_doomed ||
	    s->payload.bytes < frame_bytes)
		return false;
	if (s->n_quarantined && pool_slab_empty(s))
		return false;
	return s->owner != CLIENT_SERVER || s->frame_bytes != frame_bytes;
}

/* The coldest slab of low memory that could; NULL. */
static struct pool_slab *coldest_other(const struct rung_work *w,
				       uint64_t frame_bytes)
{
	struct pool_slab *best = NULL;

	for (uint32_t id = 1; id < w->p->slab_end; id++) {
		struct pool_slab *s = w->p->slab[id];

		if (s && could_serve(s, frame_bytes) && !was_tried(w, id) &&
		    (!best || pool_slab_mean(s) < pool_slab_mean(best)))
			best = s;
	}
	return best;
}

static bool take_other(struct rung_work *w, uint64_t frame_bytes)
{
	struct pool_slab *slab = coldest_other(w, frame_bytes);
	uint8_t pressure = w->s->cause.pressure;
	uint32_t id;

	if (!slab || w->n_tried == RUNG_TRIED ||
	    (!pool_slab_empty(slab) &&
	     (w->exchange || pool_slab_mean(slab) >= w->stamp)))
		return false;
	w->s->cause.pressure = PRESSURE_SLAB;
	if (!pool_slab_empty(slab))
		evict_slab(w->s, w->p, slab, false);
	w->s->cause.pressure = pressure;
	if (!pool_slab_empty(slab) || slab->n_quarantined) {
		w->tried[w->n_tried++] = slab->id;
		return false;
	}
	return pool_slab_reshape(w->p, slab->id, CLIENT_SERVER,
				 (struct pool_shape){ frame_bytes, 0 },
				 &id) == 0;
}

static bool has_free(const struct pool *p, uint32_t arena)
{
	return pool_arena_free(p, arena) != POOL_NO_ITEM;
}

/* The oldest twins, but not those of this turn. Those that are pinned are behind
 * the others from now on. False: there are none to look at. */
static bool drop_twins(struct rung_work *w, uint32_t arena)
{
	struct pool *p = w->p;
	uint32_t item = p->arena[arena].twin_first, items[ROOM], n = 0;
	uint32_t most = p->arena[arena].twins;

	most = MIN(most - MIN(most, w->made), ROOM);
	evict_begin(w->s);
	for (; n < most && item != POOL_NO_ITEM; item = p->twin[item].next) {
		uint32_t frame;
		struct pool_slab *slab = pool_item(p, item, &frame);

		if (!evict_add_twin(w->s, p, slab, frame))
			break;
		items[n++] = item;
	}
	evict_finish(w->s, p, false);
	for (uint32_t i = 0; i < n; i++)
		if (p->twin[items[i]].item != POOL_NO_ITEM) {
			pool_twin_last(p, arena, items[i]);
			w->made++;
		}
	return n != 0;
}

/* Is the first to leave worth less than what comes? */
static bool gives_way(const struct rung_work *w, uint32_t arena)
{
	const struct policy_ops *ops = w->p->policy_ops;
	uint32_t item = ops->victim(w->p->policy, arena, POLICY_NONE);

	if (item == POLICY_NONE)
		return false;
	if (w->rate && ops->rate)
		return ops->rate(w->p->policy, item) <= w->rate;
	return ops->stamp(w->p->policy, item) <= w->stamp;
}

/* That leave at a time: an eighth where there are few; large ones would all leave
 * at once. */
static uint32_t some_of(const struct pool *p, uint32_t arena)
{
	uint32_t frames = 0;

	for (uint32_t id = 1; id < p->slab_end; id++)
		if (p->slab[id] && p->slab[id]->arena == arena)
			frames += p->slab[id]->frames;
	return frames < 4 * ROOM ? MAX(frames / ROOM_PART, 1u) : ROOM;
}

static enum rung_how evict_low(struct rung_work *w, uint32_t arena)
{
	struct pool_arena *a = &w->p->arena[arena];
	bool awaits = false, patient = w->c->patient;
	uint8_t pressure = w->s->cause.pressure;
	uint32_t n;

	if (!gives_way(w, arena) || (w->exchange && !a->credit))
		return RUNG_NONE;
	w->c->patient = w->patient;
	n = room_evict_some(w->c, arena, w->exchange ? 1 : some_of(w->p, arena),
			    &awaits);
	w->c->patient = patient;
	w->s->cause.pressure = pressure; /* what is under way up there */
	a = &w->p->arena[arena];
	if (w->exchange)
		a->credit -= MIN(n, a->credit);
	else
		a->credit = MIN(a->credit + n, CREDITS);
	return awaits ? RUNG_LATER : RUNG_NONE;
}

/* The coldest slab of another shape is colder than what would leave of this. */
static bool other_first(const struct rung_work *w, uint32_t arena,
			uint64_t frame_bytes)
{
	const struct policy_ops *ops = w->p->policy_ops;
	uint32_t item = ops->victim(w->p->policy, arena, POLICY_NONE);
	const struct pool_slab *slab = coldest_other(w, frame_bytes);

	return slab && (item == POLICY_NONE || pool_slab_empty(slab) ||
			pool_slab_mean(slab) < ops->stamp(w->p->policy, item));
}

/* Slabs too small for such a frame are retired, where that costs less than what
 * would leave of this shape. */
static enum rung_how retire_small(struct rung_work *w, uint32_t arena,
				  uint64_t frame_bytes)
{
	const struct policy_ops *ops = w->p->policy_ops;
	uint32_t item = ops->victim(w->p->policy, arena, POLICY_NONE);
	struct rung_small want = { .frame_bytes = frame_bytes,
				   .bytes = frame_bytes,
				   .stamp = w->stamp,
				   .empty_only = w->exchange,
				   .patient = w->patient };

	if (w->s->low.source.kind == SEGMENT_DAX)
		want.bytes = ALIGN_UP(frame_bytes, SEGMENT_DAX_UNIT);
	if (!rung_small_plan(w->s, w->p, &want) ||
	    (item != POLICY_NONE &&
	     want.warmest >= ops->stamp(w->p->policy, item)))
		return RUNG_NONE;
	return rung_small_go(w->s, w->p, &want) ? RUNG_LATER : RUNG_NONE;
}

/* A free frame of low memory. */
enum rung_how rung_frame(struct rung_work *w, uint64_t frame_bytes,
			 uint32_t *ret_item)
{
	struct pool *p = w->p;
	enum rung_how r = RUNG_NONE;
	uint32_t arena;

	if (pool_arena_low(p, frame_bytes, &arena) < 0)
		return RUNG_NONE;
	if (!has_free(p, arena)) {
		if (p->arena[arena].making || rung_slab_ask(w->s, p, arena))
			return RUNG_LATER;
		for (unsigned i = 0; i < RUNG_TRIED && !has_free(p, arena) &&
				     drop_twins(w, arena);
		     i++)
			;
	}
	while (!has_free(p, arena) && w->n_tried < RUNG_TRIED &&
	       other_first(w, arena, frame_bytes)) {
		uint32_t tried = w->n_tried;

		if (take_other(w, frame_bytes))
			pool_arena_low(p, frame_bytes, &arena);
		else if (w->n_tried == tried)
			break;
	}
	if (!has_free(p, arena))
		r = retire_small(w, arena, frame_bytes);
	if (!has_free(p, arena) && r == RUNG_NONE)
		r = evict_low(w, arena);
	if (!has_free(p, arena)) {
		pool_arena_put(p, arena);
		return r;
	}
	*ret_item = pool_arena_free(p, arena);
	return RUNG_READY;
}

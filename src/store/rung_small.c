/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for a frame of low memory that is larger than the slabs which fill it: the
 * coldest of those are emptied and retired, as many as it takes, if all of them are
 * colder than what comes. Which ones is planned first, so that nothing is lost where
 * it would not be enough; all are emptied before the first is retired, so one that is
 * pinned costs the others what they hold at most, and the memory stays theirs.
 *
 * On a device the slabs have to lie side by side, with what is free between them: of
 * all such runs the one is taken whose warmest slab is the coldest.
 *
 * Retirement is waited for while those who have the slabs mapped answer as living
 * clients do; behind one that is overdue no other slab is retired. What comes free
 * is kept for the frame for a while: smaller ones get no new slab meanwhile.
 */
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "store/internal.h"
#include "store/revoke.h"

/* Living clients let go in less, and the dead are buried by then. */
#define AWAIT_NS (100 * NS_PER_MS)
#define KEPT_NS	 (2 * AWAIT_NS)

/* A piece of low memory that could be part of the room. */
struct piece {
	struct pool_slab *slab; /* NULL: it is free, or will be */
	uint64_t at, bytes, mean;
};

struct pieces {
	struct piece *piece;
	uint32_t n;
};

static bool was_tried(const struct rung_small *want, uint32_t id)
{
	for (uint32_t i = 0; i < want->n_tried; i++)
		if (want->tried[i] == id)
			return true;
	return false;
}

static bool is_small(const struct pool_slab *slab,
		     const struct rung_small *want)
{
	return slab->low && slab->payload.bytes < want->bytes;
}

/* May it go for what is wanted? *ret_mean: 0 when it is empty. */
static bool may_go(const struct store *s, const struct pool *p,
		   const struct pool_slab *slab, const struct rung_small *want,
		   uint64_t *ret_mean)
{
	bool empty = pool_slab_empty(slab);
	uint64_t mean = pool_slab_mean(slab);

	/* of a device bad units stay: no room side by side */
	if (slab->n_quarantined && s->low.source.kind == SEGMENT_DAX)
		return false;
	if (!is_small(slab, want) || slab->retiring || slab->n_granted ||
	    slab->n_doomed || was_tried(want, slab->id) ||
	    (!empty && (want->empty_only || mean >= want->stamp)) ||
	    revoke_holds(s, p, slab))
		return false;
	*ret_mean = empty ? 0 : mean;
	return true;
}

/* ---- any slabs ----------------------------------------------------------------- */

static int by_mean(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->mean < y->mean ? -1 : x->mean > y->mean;
}

/* The coldest, until `bytes` of them come together. 0: they do not. */
static uint32_t coldest_run(struct pieces *all, uint64_t bytes)
{
	uint64_t sum = 0;

	qsort(all->piece, all->n, sizeof(*all->piece), by_mean);
	for (uint32_t i = 0; i < all->n; i++) {
		sum += all->piece[i].bytes;
		if (sum >= bytes)
			return i + 1;
	}
	return 0;
}

/* ---- side by side --------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

/* From piece `i` on: the last one of a run of `bytes`, `less` of them in slabs that
 * go, and its warmest mean. False: the run ends before. */
static bool run_from(const struct pieces *all, uint32_t i, uint64_t bytes,
		     uint64_t less, uint32_t *ret_end, uint64_t *ret_mean)
{
	uint64_t sum = 0, go = 0, mean = 0, at = all->piece[i].at;

	for (; i < all->n && all->piece[i].at == at; i++) {
		sum += all->piece[i].bytes;
		go += all->piece[i].slab ? all->piece[i].bytes : 0;
		at += all->piece[i].bytes;
		mean = MAX(mean, all->piece[i].mean);
		if (sum < bytes || go < less)
			continue;
		*ret_end = i + 1;
		*ret_mean = mean;
		return true;
	}
	return false;
}

/* The coldest run moves to the front. */
static uint32_t coldest_side_by_side(struct pieces *all, uint64_t bytes,
				     uint64_t less)
{
	uint64_t best = UINT64_MAX, mean;
	uint32_t first = 0, n = 0, end;

	qsort(all->piece, all->n, sizeof(*all->piece), by_place);
	for (uint32_t i = 0; i < all->n; i++)
		if (run_from(all, i, bytes, less, &end, &mean) && mean < best) {
			best = mean;
			first = i;
			n = end - i;
		}
	memmove(all->piece, all->piece + first, n * sizeof(*all->piece));
	return n;
}

static void add_free(struct pieces *all, uint64_t at, uint64_t n)
{
	if (n)
		all->piece[all->n++] =
			(struct piece){ .at = at * SEGMENT_DAX_UNIT,
					.bytes = n * SEGMENT_DAX_UNIT };
}

static void add_holes(const struct store *s, struct pieces *all)
{
	const struct range_set *units = &s->low.units;
	uint64_t limit = s->low.budget.limit / SEGMENT_DAX_UNIT;

	for (size_t i = 0; i < units->n; i++)
		add_free(all, units->hole[i].at, units->hole[i].n);
	if (units->end < limit)
		add_free(all, units->end, limit - units->end);
}

/* ---- the plan -------------------------------------------------------------------- */

/* What of the pool's low memory is on its way out, and in time. False: some of it
 * is overdue. */
static bool on_its_way(const struct store *s, const struct pool *p,
		       uint64_t *ret_bytes)
{
	uint64_t bytes = 0;

	for (uint32_t id = 1; id < p->slab_end; id++)
		if (p->slab[id] && p->slab[id]->low && p->slab[id]->retiring)
			bytes += p->slab[id]->payload.bytes;
	*ret_bytes = bytes;
	return !bytes || s->now_ns - s->low_retired_ns < AWAIT_NS;
}

static int collect(const struct store *s, const struct pool *p,
		   const struct rung_small *want, bool side_by_side,
		   struct pieces *ret_all)
{
	size_t most = p->slab_end + s->low.units.n + 1;
	struct pieces all = { .piece = mem_array(most, sizeof(*all.piece)) };

	if (!all.piece)
		return -1;
	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *slab = p->slab[id];
		struct piece one = { .slab = slab };

		if (!slab || !slab->low)
			continue;
		one.at = slab->payload.offset;
		one.bytes = slab->payload.bytes;
		if (slab->retiring && side_by_side)
			one.slab = NULL;
		else if (!may_go(s, p, slab, want, &one.mean))
			continue;
		all.piece[all.n++] = one;
	}
	if (side_by_side)
		add_holes(s, &all);
	*ret_all = all;
	return 0;
}

/* Keeps the slabs of the plan; at most SMALL_MOST, or there is none. */
static bool plan_keep(const struct pieces *all, uint32_t n,
		      struct rung_small *want)
{
	want->n_slabs = 0;
	want->warmest = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (!all->piece[i].slab)
			continue;
		if (want->n_slabs == SMALL_MOST)
			return false;
		want->slab[want->n_slabs++] = all->piece[i].slab;
		want->warmest = MAX(want->warmest, all->piece[i].mean);
	}
	return true;
}

bool rung_small_kept(const struct store *s, uint64_t frame_bytes)
{
	return s->low_kept_for > frame_bytes && s->now_ns < s->low_kept_ns;
}

void rung_small_given(struct store *s, uint64_t frame_bytes)
{
	if (frame_bytes >= s->low_kept_for)
		s->low_kept_for = 0;
}

/* As for nearly every frame: no slab is too small for it. */
static bool any_small(const struct pool *p, const struct rung_small *want)
{
	for (uint32_t id = 1; id < p->slab_end; id++)
		if (p->slab[id] && is_small(p->slab[id], want))
			return true;
	return false;
}

bool rung_small_plan(const struct store *s, const struct pool *p,
		     struct rung_small *want)
{
	bool side_by_side = s->low.source.kind == SEGMENT_DAX, found;
	uint64_t coming, room, less;
	struct pieces all;

	if (!any_small(p, want) || !rung_gives(s) ||
	    !on_its_way(s, p, &coming) ||
	    collect(s, p, want, side_by_side, &all) < 0)
		return false;
	/* so much more of it the tenant may not have; of a device the units that
	 * are free may be beyond its part */
	room = rung_room(s, p) + coming;
	less = want->bytes - MIN(room, want->bytes);
	if (side_by_side) {
		uint32_t n = coldest_side_by_side(&all, want->bytes, less);

		found = n && plan_keep(&all, n, want);
	} else if (!less) {
		found = plan_keep(&all, 0, want);
	} else {
		uint32_t n = coldest_run(&all, less);

		found = n && plan_keep(&all, n, want);
	}
	free(all.piece);
	return found;
}

/* ---- carrying it out --------------------------------------------------------------- */

static bool empty_all(struct store *s, struct pool *p, struct rung_small *want)
{
	for (uint32_t i = 0; i < want->n_slabs; i++) {
		struct pool_slab *slab = want->slab[i];

		if (pool_slab_empty(slab) || evict_slab(s, p, slab, false))
			continue;
		if (want->n_tried < SMALL_TRIED)
			want->tried[want->n_tried++] = slab->id;
		return false;
	}
	return true;
}

/* What is worth it goes to the tier below first. */
static bool being_written(struct store *s, struct pool *p,
			  const struct rung_small *want)
{
	bool any = false;

	for (uint32_t i = 0; i < want->n_slabs; i++)
		any |= !pool_slab_empty(want->slab[i]) &&
		       move_press_slab(s, p, want->slab[i]);
	return any;
}

bool rung_small_go(struct store *s, struct pool *p, struct rung_small *want)
{
	uint8_t pressure = s->cause.pressure;
	bool emptied;

	if (want->patient && being_written(s, p, want))
		return true;
	s->cause.pressure = PRESSURE_SLAB;
	do
		emptied = empty_all(s, p, want);
	while (!emptied && want->n_tried < SMALL_TRIED &&
	       rung_small_plan(s, p, want));
	s->cause.pressure = pressure;
	if (!emptied)
		return false;
	for (uint32_t i = 0; i < want->n_slabs; i++)
		room_retire(s, p, want->slab[i]->id);
	if (want->n_slabs) {
		s->low_retired_ns = s->now_ns;
		s->low_kept_for = want->frame_bytes;
		s->low_kept_ns = s->now_ns + KEPT_NS;
	}
	return true;
}

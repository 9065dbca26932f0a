/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Down: which arenas want blocks at their cold end to be free to leave, and the walk
 * of the policy's order that finds them, a bounded piece at a time. Before room is
 * needed (down_pump()), and when it is needed now (move_press()).
 */
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "store/move_internal.h"

/* Items looked at in one turn. */
#define LOOK_ITEMS 512u
/* How often arenas are counted, and their order is walked anew. */
#define RECOUNT_NS (50 * NS_PER_MS)
#define AGAIN_NS   (250 * NS_PER_MS)
/* A tier that has finished no write for so long makes no progress: then no grant
 * waits for one any more. Devices pause for a tenth of it and go on. */
#define PROGRESS_NS NS_PER_S
#define WINDOW_PART 8u

/* ---- counting ------------------------------------------------------------------------ */

static bool behind_room(struct mover *mv, const struct pool *p)
{
	uint32_t n = mv->n_behind[p->number];
	struct behind *grown;

	if (n >= p->n_arenas)
		return true;
	grown = mem_grow(mv->behind[p->number], p->n_arenas, sizeof(*grown));
	if (!grown)
		return false;
	memset(grown + n, 0, (p->n_arenas - n) * sizeof(*grown));
	for (uint32_t i = n; i < p->n_arenas; i++)
		grown[i].at = POLICY_NONE;
	mv->behind[p->number] = grown;
	mv->n_behind[p->number] = p->n_arenas;
	return true;
}

static uint64_t low_room(const struct store *s)
{
	const struct pool_budget *b = &s->low.budget;

	return b->limit - MIN(b->used, b->limit);
}

/* What leaves this arena next is written to low memory when it does. */
static bool falls_first(const struct mover *mv, const struct pool *p,
			uint32_t arena)
{
	return rung_takes(&p->arena[arena]) && rung_there(mv->s, p);
}

static void count_arenas(struct mover *mv, const struct pool *p)
{
	uint64_t room = quota_room(mv->s, p);

	if (!behind_room(mv, p))
		return;
	room = MIN(room, quota_left(p));
	for (uint32_t i = 0; i < p->n_arenas; i++) {
		struct behind *b = &mv->behind[p->number][i];
		uint64_t bytes = p->arena[i].low ? low_room(mv->s) : room;

		b->frames = 0;
		b->free = p->arena[i].used && p->arena[i].owner
				  ? (uint32_t)(bytes / p->arena[i].frame_bytes)
				  : 0;
	}
	for (uint32_t id = 1; id < p->slab_end; id++) {
		const struct pool_slab *s = p->slab[id];

		if (!s || s->retiring)
			continue;
		mv->behind[p->number][s->arena].frames += s->frames;
		/* a twin goes for nothing */
		mv->behind[p->number][s->arena].free += s->n_free;
	}
	for (uint32_t i = 0; i < p->n_arenas; i++) {
		if (p->arena[i].used && p->arena[i].low)
			mv->behind[p->number][i].free += p->arena[i].twins;
	}
}

static void begin_again(struct behind *b)
{
	b->at = POLICY_NONE;
	b->clean = 0;
}

/* The last item that was looked at is where it was? */
static bool still_there(const struct pool *p, const struct behind *b)
{
	uint32_t frame;
	const struct pool_slab *s;

	if (b->at == POLICY_NONE)
		return true;
	if (b->at >= p->items.end || !p->slab[p->item_slab[b->at]])
		return false;
	s = pool_item(p, b->at, &frame);
	return frame < s->frames &&
	       shared_load64(&s->desc[frame].word) == b->word &&
	       p->policy_ops->stamp(p->policy, b->at) == b->stamp;
}

static void looked_at(const struct pool *p, struct behind *b, uint32_t item,
		      const struct pool_slab *slab, uint32_t frame)
{
	b->at = item;
	b->word = shared_load64(&slab->desc[frame].word);
	b->stamp = p->policy_ops->stamp(p->policy, item);
	b->clean++;
}

/* False: no more can be done now. */
static bool walk(struct mover *mv, struct pool *p, uint32_t arena,
		 uint32_t want, uint32_t *looks)
{
	struct behind *b = &mv->behind[p->number][arena];

	if (!still_there(p, b))
		begin_again(b);
	while (b->clean < want && *looks) {
		uint32_t item = p->policy_ops->victim(p->policy, arena, b->at);
		struct pool_slab *slab;
		uint32_t frame;

		if (item == POLICY_NONE)
			return true;
		--*looks;
		slab = pool_item(p, item, &frame);
		switch (down_block(mv, p, slab, frame, false)) {
		case DOWN_STOP:
			return false;
		case DOWN_LATER:
			begin_again(b);
			return true;
		default:
			looked_at(p, b, item, slab, frame);
		}
	}
	return true;
}

static uint32_t wanted(const struct behind *b)
{
	uint32_t window = MAX(b->frames / WINDOW_PART, 1u);

	return window - MIN(b->free, window);
}

static void recount(struct mover *mv)
{
	bool anew = mv->s->now_ns >= mv->again_ns;

	if (mv->s->now_ns >= mv->recount_ns) {
		mv->recount_ns = mv->s->now_ns + RECOUNT_NS;
		for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
			if (mv->s->pool[n])
				count_arenas(mv, mv->s->pool[n]);
	}
	if (!anew)
		return;
	mv->again_ns = mv->s->now_ns + AGAIN_NS;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		for (uint32_t i = 0; i < mv->n_behind[n]; i++)
			begin_again(&mv->behind[n][i]);
}

void down_pump(struct mover *mv)
{
	uint32_t looks = LOOK_ITEMS;

	down_see_busy(mv);
	/* a save begins at the other end */
	if (mv->saving || !down_may_write(mv) || down_full(mv))
		return;
	recount(mv);
	mv->verified_bytes = 0;
	for (uint32_t i = 0; i < STORE_POOLS_MAX; i++) {
		uint32_t n = (mv->turn[TIER_BEHIND] + i) % STORE_POOLS_MAX;

		for (uint32_t a = 0; a < mv->n_behind[n]; a++) {
			uint32_t want = wanted(&mv->behind[n][a]);

			if (want && mv->s->pool[n]->arena[a].used &&
			    !falls_first(mv, mv->s->pool[n], a))
				walk(mv, mv->s->pool[n], a, want, &looks);
		}
	}
	mv->turn[TIER_BEHIND] = (mv->turn[TIER_BEHIND] + 1) % STORE_POOLS_MAX;
}

void down_fini(struct mover *mv)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		free(mv->behind[n]);
		free(mv->declined[n]);
	}
}

/* ---- when room is needed now ------------------------------------------------------ */

static bool progresses(const struct mover *mv)
{
	return !mv->flying[TIER_BEHIND] ||
	       mv->s->now_ns - mv->wrote_ns < PROGRESS_NS;
}

bool move_press(struct store *s, struct pool *p, uint32_t arena, uint32_t want)
{
	struct mover *mv = s->mover;
	uint32_t looks = LOOK_ITEMS;
	struct behind *b;

	if (!mv || !down_may_write(mv) || !progresses(mv))
		return mv && down_passing(mv, p);
	/* slabs may have come since they were counted */
	if (arena >= mv->n_behind[p->number] ||
	    !mv->behind[p->number][arena].flying)
		count_arenas(mv, p);
	if (arena >= mv->n_behind[p->number])
		return false;
	mv->verified_bytes = 0;
	b = &mv->behind[p->number][arena];
	walk(mv, p, arena, MAX(want, wanted(b)), &looks);
	/* what flies for others makes way as well */
	return b->flying != 0 || down_full(mv) || down_passing(mv, p);
}

bool move_press_slab(struct store *s, struct pool *p, struct pool_slab *slab)
{
	struct mover *mv = s->mover;
	bool goes = false;

	if (!mv || !down_may_write(mv) || !progresses(mv))
		return mv && down_passing(mv, p);
	if (slab->arena >= mv->n_behind[p->number] ||
	    !mv->behind[p->number][slab->arena].flying)
		count_arenas(mv, p);
	mv->verified_bytes = 0;
	for (uint32_t f = 0; f < slab->frames; f++) {
		enum down d;

		if (pool_frame_state(slab, f) != FRAME_SEALED)
			continue;
		d = down_block(mv, p, slab, f, false);
		goes = goes || d == DOWN_GOES;
		if (d == DOWN_STOP)
			break;
	}
	return goes;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before the node ends: what is in memory alone is written below, the warmest
 * first, so that a drive that is too small, or a time that is too short, loses
 * what would have left first anyway.
 *
 * The order is the policy's within an arena, by last use between arenas, and by
 * the place in that order between tenants: each loses its coldest. The first part
 * of a block stands for it and takes the others along.
 *
 * A log makes room for what is written by dropping what lies there: without an
 * end the coldest would push out the warmest. So the order is cut where what lies
 * below or was sent there is as much as the tier can hold. What of the part before
 * the cut was dropped meanwhile, because its replica was old, is written again:
 * PASSES.
 */
#include <stdlib.h>
#include "base/fault.h"
#include "store/move_internal.h"

#define PASSES 4u

struct save_item {
	uint64_t rank; /* larger: warmer */
	uint32_t pool, item;
	uint32_t order; /* among those of one rank; larger: warmer */
};

void save_fini(struct mover *mv)
{
	free(mv->save.item);
	mv->save.item = NULL;
}

/* ---- the order ------------------------------------------------------------------ */

static int warmer(const void *a, const void *b)
{
	const struct save_item *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank > y->rank ? -1 : 1;
	if (x->order != y->order)
		return x->order > y->order ? -1 : 1;
	return (x->pool > y->pool) - (x->pool < y->pool);
}

/* One arena, from its cold end. An item that is older than one that leaves before
 * it has that one's rank: the policy knows better. */
static uint32_t add_arena(const struct pool *p, uint32_t arena,
			  struct save_item *to, uint32_t room)
{
	uint32_t n = 0, item = POLICY_NONE;
	uint64_t rank = 0;

	while (n < room) {
		item = p->policy_ops->victim(p->policy, arena, item);
		if (item == POLICY_NONE)
			break;
		rank = MAX(rank, p->policy_ops->stamp(p->policy, item));
		to[n] = (struct save_item){ rank, p->number, item, n };
		n++;
	}
	return n;
}

static uint32_t add_pool(const struct pool *p, struct save_item *to,
			 uint32_t room)
{
	uint32_t n = 0;

	for (uint32_t a = 0; a < p->n_arenas; a++)
		if (p->arena[a].used)
			n += add_arena(p, a, to + n, room - n);
	qsort(to, n, sizeof(*to), warmer);
	/* from here on its place, of 2^32, is what counts */
	for (uint32_t i = 0; i < n; i++) {
		to[i].rank = ((uint64_t)(n - i) << 32) / n;
		to[i].order = 0;
	}
	return n;
}

/* Without memory for it all is saved in no order: item_at(). */
static void make_order(struct mover *mv)
{
	struct save *v = &mv->save;
	uint64_t most = 0;

	v->made = true;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		most += mv->s->pool[n] ? mv->s->pool[n]->items.end : 0;
	most = MIN(most, (uint64_t)UINT32_MAX);
	v->item = mem_array(most, sizeof(*v->item));
	if (!v->item) {
		v->n = (uint32_t)most;
		return;
	}
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		if (mv->s->pool[n])
			v->n += add_pool(mv->s->pool[n], v->item + v->n,
					 (uint32_t)most - v->n);
	qsort(v->item, v->n, sizeof(*v->item), warmer);
}

static struct save_item item_at(const struct mover *mv, uint32_t at)
{
	uint32_t n = 0;

	if (mv->save.item)
		return mv->save.item[at];
	for (; n + 1 < STORE_POOLS_MAX; n++) {
		uint32_t end = mv->s->pool[n] ? mv->s->pool[n]->items.end : 0;

		if (at < end)
			break;
		at -= end;
	}
	return (struct save_item){ .pool = n, .item = at };
}

/* ---- in that order --------------------------------------------------------------- */

static struct pool_slab *slab_at(const struct mover *mv,
				 const struct save_item *i, uint32_t *ret_frame)
{
	const struct pool *p = mv->s->pool[i->pool];
	struct pool_slab *slab;

	if (!p || i->item >= p->items.end ||
	    !pool_slab_at(p, p->item_slab[i->item]))
		return NULL;
	slab = pool_item(p, i->item, ret_frame);
	if (slab->retiring || *ret_frame >= slab->frames ||
	    pool_frame_state(slab, *ret_frame) != FRAME_SEALED)
		return NULL;
	return slab;
}

/* Bytes below of all of a block's parts in memory; 0: another part than this one
 * stands for the block. */
static uint64_t block_spent(const struct pool *p, const struct pool_slab *slab,
			    uint32_t frame)
{
	uint64_t part = shared_load64(&slab->desc[frame].part), key[4], sum = 0;
	struct ns_parts parts = ns_parts_of(p, frame_part_ns(part));

	shared_load_words(key, slab->desc[frame].key, 4);
	for (uint32_t i = 0; i < parts.n; i++) {
		uint64_t at = ns_parts_at(&parts, i);
		uint32_t f;
		const struct pool_slab *s = pool_find(p, key, at, &f);

		if (!s)
			continue;
		if (!sum && at != part)
			return 0;
		sum += below_spent(s->frame_bytes);
	}
	return sum;
}

enum saved { SAVED, SAVE_STOP, SAVE_FULL };

/* STOP: no more can be done now. FULL: the tier cannot hold it as well. */
static enum saved save_one(struct mover *mv, const struct save_item *i)
{
	struct pool *p = mv->s->pool[i->pool];
	struct save *v = &mv->save;
	uint32_t frame;
	struct pool_slab *slab = slab_at(mv, i, &frame);
	uint64_t bytes = slab ? block_spent(p, slab, frame) : 0;

	if (!bytes)
		return SAVED;
	if (!v->passes && mv->stat.room_bytes &&
	    v->spent + bytes > mv->stat.room_bytes)
		return SAVE_FULL;
	switch (down_block(mv, p, slab, frame, true)) {
	case DOWN_STOP:
		return SAVE_STOP;
	case DOWN_GOES:
		v->wrote = true;
		break;
	case DOWN_LATER: /* wrong bytes: gone */
		return SAVED;
	case DOWN_CLEAN:
		if (down_is_declined(mv, p, slab, frame))
			return SAVED;
	}
	if (!v->passes)
		v->spent += bytes;
	return SAVED;
}

static void save_some(struct mover *mv)
{
	struct save *v = &mv->save;

	while (v->at < v->n) {
		struct save_item i = item_at(mv, v->at);
		enum saved r = save_one(mv, &i);

		if (r == SAVE_STOP)
			return;
		if (r == SAVE_FULL)
			v->n = v->at;
		else
			v->at++;
	}
}

/* True: once more, when all has ended that is under way. */
static bool again(struct mover *mv)
{
	struct save *v = &mv->save;

	if (v->at < v->n)
		return true;
	if (!v->wrote || v->passes + 1 >= PASSES)
		return false;
	if (mv->flying[TIER_BEHIND])
		return true;
	v->passes++;
	v->at = 0;
	v->wrote = false;
	return true;
}

bool store_save(struct store *s, uint64_t now_ns)
{
	struct mover *mv = s->mover;

	s->now_ns = now_ns;
	if (!mv || mv->stopped)
		return false;
	if (!mv->saving)
		mv->stat_ns = 0; /* what the tier can hold is read afresh */
	mv->saving = true;
	mv->verified_bytes = 0;
	move_tick(s);
	if (mv->stat.state != TIER_UP)
		return mv->stat.state == TIER_COMING;
	if (!mv->save.made)
		make_order(mv);
	if (down_may_write(mv))
		save_some(mv);
	return again(mv) || mv->flying[TIER_BEHIND];
}

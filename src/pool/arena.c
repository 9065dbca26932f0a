/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arenas and items: which frames can replace each other, and their numbers.
 * Private to the server; rebuilt by attach.
 */
#include <errno.h>
#include "base/fault.h"
#include "pool/internal.h"

#define ARENAS_MAX 65536u

static uint32_t arena_unused(const struct pool *p)
{
	uint32_t i = 0;

	while (i < p->n_arenas && p->arena[i].used)
		i++;
	return i;
}

int pool_arena_get(struct pool *p, uint64_t owner, struct pool_shape shape,
		   uint32_t *ret_arena)
{
	return pool_arena_of(p, owner, shape, false, ret_arena);
}

int pool_arena_low(struct pool *p, uint64_t frame_bytes, uint32_t *ret_arena)
{
	struct pool_shape shape = { .frame_bytes = frame_bytes };

	return pool_arena_of(p, CLIENT_SERVER, shape, true, ret_arena);
}

int pool_arena_of(struct pool *p, uint64_t owner, struct pool_shape shape,
		  bool low, uint32_t *ret_arena)
{
	struct pool_arena *grown;
	uint32_t i;
	int r;

	for (i = 0; i < p->n_arenas; i++) {
		const struct pool_arena *a = &p->arena[i];

		if (a->used && a->owner == owner &&
		    shape_same(a->shape, shape) && a->low == low) {
			*ret_arena = i;
			return 0;
		}
	}
	i = arena_unused(p);
	if (i == ARENAS_MAX)
		return -ENOSPC;
	if (i == p->n_arenas) {
		uint32_t cap = p->n_arenas ? 2 * p->n_arenas : 16;

		r = p->policy_ops->reserve(p->policy, p->items_cap, cap);
		if (r < 0)
			return r;
		grown = mem_grow(p->arena, cap, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + p->n_arenas, 0,
		       (cap - p->n_arenas) * sizeof(*grown));
		p->arena = grown;
		p->n_arenas = cap;
	}
	p->arena[i] = (struct pool_arena){ .used = true,
					   .low = low,
					   .owner = owner,
					   .shape = shape,
					   .free_head = POOL_NO_ITEM,
					   .last = POOL_NO_ITEM,
					   .row = POOL_NO_ITEM,
					   .twin_first = POOL_NO_ITEM,
					   .twin_last = POOL_NO_ITEM };
	*ret_arena = i;
	return 0;
}

void pool_arena_put(struct pool *p, uint32_t arena)
{
	struct pool_arena *a = &p->arena[arena];

	if (!a->slabs && !a->making)
		a->used = false;
}

/* ---- which frame is next */

/* How far back the begin of a row is looked for. */
#define ROW_BACK 64u

/* Is it on the arena's list? */
static bool is_listed(const struct pool_slab *s, uint32_t arena, uint32_t frame)
{
	return frame < s->frames && s->arena == arena && !s->draining &&
	       pool_frame_state(s, frame) == FRAME_FREE;
}

/* Behind the last one that was granted, if it is still what it was. */
static uint32_t neighbour(const struct pool *p, uint32_t arena)
{
	uint32_t last = p->arena[arena].last, frame;
	const struct pool_slab *s;

	if (last >= p->items.end || !p->slab[p->item_slab[last]])
		return POOL_NO_ITEM;
	s = pool_item(p, last, &frame);
	return is_listed(s, arena, frame + 1) ? last + 1 : POOL_NO_ITEM;
}

uint32_t pool_arena_free(const struct pool *p, uint32_t arena)
{
	uint32_t item = p->arena[arena].free_head, next, frame;
	const struct pool_slab *s;

	if (item == POOL_NO_ITEM)
		return item;
	next = neighbour(p, arena);
	if (next != POOL_NO_ITEM)
		return next;
	s = pool_item(p, item, &frame);
	for (unsigned i = 0;
	     i < ROW_BACK && frame && is_listed(s, arena, frame - 1); i++)
		frame--;
	return s->base + frame;
}

/* Frames that who grows finds behind the first, as long as there is room. */
#define ROW	  16u
#define ROW_TRIES 8u

static bool row_is_free(const struct pool_slab *s, uint32_t arena,
			uint32_t frame)
{
	for (uint32_t i = 0; i < ROW; i++)
		if (!is_listed(s, arena, frame + i))
			return false;
	return true;
}

/* Behind where the last row began. */
static uint32_t next_row(const struct pool *p, uint32_t arena)
{
	uint32_t row = p->arena[arena].row, frame;
	const struct pool_slab *s;

	if (row >= p->items.end || !p->slab[p->item_slab[row]])
		return POOL_NO_ITEM;
	s = pool_item(p, row, &frame);
	for (unsigned i = 1; i <= ROW_TRIES; i++)
		if (row_is_free(s, arena, frame + i * ROW))
			return row + i * ROW;
	return POOL_NO_ITEM;
}

uint32_t pool_arena_beside(struct pool *p, uint32_t arena, uint64_t loc)
{
	uint32_t frame, row;
	const struct pool_slab *s = pool_locate(p, loc, &frame);

	if (s && is_listed(s, arena, frame + 1))
		return s->base + frame + 1;
	row = next_row(p, arena);
	if (row == POOL_NO_ITEM)
		row = pool_arena_free(p, arena);
	p->arena[arena].row = row;
	return row;
}

/* ---- items */

static int items_reserve(struct pool *p, uint32_t end)
{
	uint32_t cap = MAX(p->items_cap, 1024u), *grown;
	int r;

	if (end <= p->items_cap)
		return 0;
	while (cap < end)
		cap = cap > UINT32_MAX / 2 ? UINT32_MAX - 1 : cap * 2;
	grown = mem_grow(p->item_slab, cap, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->item_slab = grown;
	grown = mem_grow(p->item_next, cap, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->item_next = grown;
	grown = mem_grow(p->item_prev, cap, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->item_prev = grown;
	if (p->low) {
		struct pool_twin *twin = mem_grow(p->twin, cap, sizeof(*twin));

		if (!twin)
			return -ENOMEM;
		p->twin = twin;
	}
	r = p->policy_ops->reserve(p->policy, cap, p->n_arenas);
	if (r < 0)
		return r;
	p->items_cap = cap;
	return 0;
}

int pool_items_take(struct pool *p, struct pool_slab *s)
{
	int r = range_take(&p->items, s->frames, &s->base);

	if (r < 0)
		return r;
	r = items_reserve(p, s->base + s->frames);
	if (r < 0) {
		range_give(&p->items, s->base, s->frames);
		return r;
	}
	for (uint32_t i = 0; i < s->frames; i++)
		p->item_slab[s->base + i] = s->id;
	for (uint32_t i = 0; p->twin && i < s->frames; i++)
		p->twin[s->base + i] =
			(struct pool_twin){ .item = POOL_NO_ITEM };
	return 0;
}

void pool_items_give(struct pool *p, struct pool_slab *s)
{
	range_give(&p->items, s->base, s->frames);
}

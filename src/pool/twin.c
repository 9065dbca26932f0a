/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One part, two replicas: in DRAM, and on the rung below (docs/design/cxl.md).
 *
 * What another process relies on is three words: those of the two frames, and the
 * index entry, which is one store as well. So each change has an order in which
 * the part is found at any moment:
 *
 *   down	low SEALED (nobody looks for it) | index: up -> low | up FREE
 *   up		up SEALED | index: low -> up; low stays SEALED
 *
 * A successor that finds both sealed makes the one in DRAM the one that is found
 * and the other its twin, whatever the index said.
 */
#include "base/log.h"
#include "pool/internal.h"

static struct pool_arena *list_of(struct pool *p, const struct pool_slab *low)
{
	return &p->arena[low->arena];
}

void pool_twin_link(struct pool *p, struct pool_slab *up, uint32_t uf,
		    struct pool_slab *low, uint32_t lf)
{
	uint32_t item = low->base + lf, other = up->base + uf;
	struct pool_arena *a = list_of(p, low);
	struct pool_twin *t = &p->twin[item];

	must(low->low && !up->low && t->item == POOL_NO_ITEM &&
	     p->twin[other].item == POOL_NO_ITEM);
	p->twin[other].item = item;
	*t = (struct pool_twin){ .item = other,
				 .prev = a->twin_last,
				 .next = POOL_NO_ITEM };
	if (a->twin_last == POOL_NO_ITEM)
		a->twin_first = item;
	else
		p->twin[a->twin_last].next = item;
	a->twin_last = item;
	a->twins++;
	pool_count(p, POOL_C_cxl_replicas, 1);
}

/* The low one is of none any more; it is in no list. */
static void unlink_low(struct pool *p, struct pool_slab *low, uint32_t lf)
{
	struct pool_twin *t = &p->twin[low->base + lf];
	struct pool_arena *a = list_of(p, low);

	if (t->prev == POOL_NO_ITEM)
		a->twin_first = t->next;
	else
		p->twin[t->prev].next = t->next;
	if (t->next == POOL_NO_ITEM)
		a->twin_last = t->prev;
	else
		p->twin[t->next].prev = t->prev;
	a->twins--;
	p->twin[t->item].item = POOL_NO_ITEM;
	*t = (struct pool_twin){ .item = POOL_NO_ITEM };
	pool_count(p, POOL_C_cxl_replicas, -1ull);
}

void pool_twin_unlink(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	unlink_low(p, s, frame);
	s->touched_sum -= shared_load64(&s->desc[frame].touched);
	s->n_sealed--;
}

/* All that one replica's descriptor says of the part, for the other's. Before
 * SEALED is stored. */
static void describe(struct frame_desc *to, const struct frame_desc *from)
{
	shared_store64(&to->checksum, shared_load64(&from->checksum));
	shared_store64(&to->extent, shared_load64(&from->extent));
	shared_store64(&to->depth, shared_load64(&from->depth));
	shared_store64(&to->sealed_ms, shared_load64(&from->sealed_ms));
	shared_store64(&to->touched, shared_load64(&from->touched));
	shared_store64(&to->sealed_at, shared_load64(&from->sealed_at));
}

static void seal(struct pool *p, struct pool_slab *s, uint32_t frame,
		 const struct frame_desc *from)
{
	describe(&s->desc[frame], from);
	pool_frame_step(s, frame, FRAME_EV_SEAL);
	s->touched_sum += shared_load64(&s->desc[frame].touched);
	s->n_granted--;
	s->n_sealed++;
	pool_count(p, POOL_C_granted, -1ull);
}

void pool_twin_seal(struct pool *p, struct pool_slab *low, uint32_t lf,
		    struct pool_slab *up, uint32_t uf)
{
	seal(p, low, lf, &up->desc[uf]);
	pool_twin_link(p, up, uf, low, lf);
	pool_count(p, POOL_C_cxl_written, 1);
	pool_count(p, POOL_C_cxl_written_bytes,
		   frame_extent_bytes(shared_load64(&low->desc[lf].extent)));
}

/* The part is found in its twin; what is in DRAM is counted no more. */
static void switch_down(struct pool *p, struct pool_slab *up, uint32_t uf)
{
	uint32_t item = pool_twin_of(p, up, uf), lf;
	struct pool_slab *low = pool_item(p, item, &lf);
	struct frame_desc *d = &low->desc[lf];
	uint64_t stamp = shared_load64(&up->desc[uf].touched);

	unlink_low(p, low, lf);
	low->touched_sum += stamp - shared_load64(&d->touched);
	shared_store64(&d->touched, stamp);
	pool_index_switch(p, up, uf, low, lf);
	p->policy_ops->remove(p->policy, up->base + uf);
	p->policy_ops->insert(p->policy, low->arena, item, stamp);
	pool_sealed_count(p, up, uf, -1);
	pool_sealed_count(p, low, lf, 1);
	up->touched_sum -= stamp;
	up->n_sealed--;
}

void pool_twin_fall(struct pool *p, struct pool_slab *up, uint32_t uf)
{
	must(!up->low && pool_frame_state(up, uf) == FRAME_LEAVING);
	switch_down(p, up, uf);
	pool_frame_step(up, uf, FRAME_EV_RELEASE);
	pool_free_push(p, up, uf);
	pool_count(p, POOL_C_cxl_demoted, 1);
}

void pool_twin_doom(struct pool *p, struct pool_slab *up, uint32_t uf)
{
	must(!up->low && pool_frame_state(up, uf) == FRAME_SEALED);
	switch_down(p, up, uf);
	pool_frame_step(up, uf, FRAME_EV_DOOM);
	up->n_doomed++;
	pool_count(p, POOL_C_leaving, 1);
}

void pool_twin_rise(struct pool *p, struct pool_slab *up, uint32_t uf,
		    struct pool_slab *low, uint32_t lf)
{
	uint64_t bytes =
		frame_extent_bytes(shared_load64(&low->desc[lf].extent));

	must(low->low && !up->low && pool_frame_state(low, lf) == FRAME_SEALED);
	seal(p, up, uf, &low->desc[lf]);
	pool_index_switch(p, low, lf, up, uf);
	p->policy_ops->remove(p->policy, low->base + lf);
	p->policy_ops->insert(p->policy, up->arena, up->base + uf,
			      shared_load64(&up->desc[uf].touched));
	pool_sealed_count(p, low, lf, -1);
	pool_sealed_count(p, up, uf, 1);
	pool_twin_link(p, up, uf, low, lf);
	pool_count(p, POOL_C_cxl_promoted, 1);
	pool_count(p, POOL_C_cxl_promoted_bytes, bytes);
}

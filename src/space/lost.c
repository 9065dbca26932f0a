/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is gone for good gets what the caller chose: SIGBUS, zeros that say so, or
 * his function, whose result everybody has again.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include "space/space.h"

/* A mapping of an empty file. Where there are no mappings left the pages are
 * marked instead; not always, because the kernel logs each touch of such a page. */
int space_bus_at(oc_space *s, char *at, uint64_t bytes)
{
	int r = space_map_at(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			     s->hole, 0);

	if (r == 0)
		space_not_in_child(at, bytes);
	else if (r == -ENOMEM && s->how == OC_SPACE_FAULTS &&
		 uffd_poison(s->uffd, at, bytes) == 0)
		r = 0;
	return r;
}

int block_bus(oc_span *sp, size_t i)
{
	int r = 0;

	for (uint32_t s = 0; s < sp->shape.slices && r == 0; s++) {
		r = space_bus_at(sp->s, block_at(sp, s, i),
				 sp->shape.piece_bytes);
	}
	/* SIGBUS in a part of it: lost, and the rest follows with a touch */
	sp->block[i].state = OC_BLOCK_BUS;
	block_unflag(&sp->block[i], BLOCK_HALF);
	if (r)
		sp->block[i].flags |= BLOCK_HALF;
	sp->s->maps += 2 * sp->shape.slices;
	return 0;
}

static int lose_zero(oc_span *sp, size_t i)
{
	return block_fill(sp, i, NULL, 0, OC_BLOCK_ZERO);
}

/* The caller's function fills a part as it is in one piece. */
static int recompute_into(oc_span *sp, size_t i, const struct oc_key *key,
			  const struct oc_grant *g)
{
	struct slices to = grant_slices(g), from;
	void *data;
	int r;

	if (!to.bytes)
		return sp->recompute(sp->ctx, key, i, g->data, g->bytes);
	data = mem_alloc(g->bytes);
	if (!data)
		return -ENOMEM;
	r = sp->recompute(sp->ctx, key, i, data, g->bytes);
	from = slices_whole(data);
	if (r == 0)
		slices_copy(&to, &from, g->bytes);
	free(data);
	return r;
}

/* Into a frame, sealed: everybody has it again. Without the lock. */
static int compute_frame(oc_span *sp, size_t i, const struct oc_key *key)
{
	oc_space *s = sp->s;
	struct oc_grant g;
	int r = oc_grant(s->ns, key, sp->part, 0, 0, s->timeout_ns, &g);

	if (r)
		return r;
	r = recompute_into(sp, i, key, &g);
	if (r) {
		space_give_back(s, &g);
		return r < 0 ? r : -EIO;
	}
	r = oc_seal(s->ns, &g, NULL, s->timeout_ns);
	space_give_back(s, &g); /* when the seal was not answered */
	return r == OC_STALE ? -EAGAIN : r;
}

/* Into memory of the process: the node lends no frame. */
static int compute_memory(oc_span *sp, size_t i, const struct oc_key *key,
			  void **ret_data)
{
	uint64_t bytes = sp->shape.part_bytes;
	void *data = mem_alloc(bytes);
	int r;

	if (!data)
		return -ENOMEM;
	r = sp->recompute(sp->ctx, key, i, data, bytes);
	if (r) {
		free(data);
		return r < 0 ? r : -EIO;
	}
	*ret_data = data;
	return 0;
}

/* Runs the caller's function, without the lock. */
static int compute(oc_span *sp, size_t i, void **ret_data)
{
	oc_space *s = sp->s;
	struct oc_key key = sp->key[i];
	int r;

	s->computing = true;
	space_unlock(s);
	r = compute_frame(sp, i, &key);
	if (r < 0 && r != -EIO)
		r = compute_memory(sp, i, &key, ret_data);
	space_lock(s);
	s->computing = false;
	pthread_cond_broadcast(&s->done);
	return r;
}

static int lose_call(oc_span *sp, size_t i)
{
	oc_space *s = sp->s;
	struct block *b = &sp->block[i];
	void *data = NULL;
	int r;

	while (s->computing)
		must(pthread_cond_wait(&s->done, &s->lock) == 0);
	if (b->state != OC_BLOCK_ABSENT || b->pin.data)
		return 0;
	r = compute(sp, i, &data);
	if (r >= 0 && !data && b->state == OC_BLOCK_ABSENT) {
		r = blocks_pin(sp, i, 1, 0);
		if (r == 0)
			r = blocks_map(sp, i, 1);
	} else if (r >= 0 && b->state == OC_BLOCK_ABSENT) {
		struct slices all = slices_whole(data);

		r = block_fill(sp, i, &all, sp->shape.part_bytes,
			       OC_BLOCK_COPIED);
	}
	free(data);
	if (r >= 0 && b->state == OC_BLOCK_ABSENT)
		r = -EAGAIN; /* it was there, and left at once */
	s->n.recomputed += r >= 0;
	if (r >= 0)
		b->flags |= BLOCK_BROUGHT;
	return MIN(r, 0);
}

int block_lose(oc_span *sp, size_t i)
{
	int r;

	if (sp->lost == OC_LOST_CALL) {
		r = lose_call(sp, i);
		if (r == 0)
			return 0;
	}
	if (sp->block[i].state != OC_BLOCK_ABSENT)
		return 0;
	r = sp->lost == OC_LOST_ZERO ? lose_zero(sp, i) : block_bus(sp, i);
	return r ? r : OC_MISS;
}

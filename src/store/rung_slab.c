/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs of low memory: whose they may be, how much of it a tenant may have, how large
 * they are, and asking for one. Like those of DRAM they are made by another thread,
 * and enter in room_slab_ready(); each is the server's own. A device gives whole
 * units, and its room may be in pieces: then a smaller slab does.
 *
 * In the server's thread alone.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "pool/shape.h"
#include "store/rung_internal.h"

static bool has_tenant(const struct store *s, const struct pool *p)
{
	char tenant[LAYOUT_NAME + 8] = "";

	if (!s->options.low_tenant)
		return true;
	shared_load_bytes(tenant, LAYOUT_NAME, p->m->header.tenant);
	return strcmp(tenant, s->options.low_tenant) == 0;
}

bool rung_there(const struct store *s, const struct pool *p)
{
	return p->low && has_tenant(s, p);
}

bool rung_gives(const struct store *s)
{
	if (s->low_gone ||
	    (s->low.source.kind == SEGMENT_DAX && s->low.source.fd < 0))
		return false; /* it was taken away */
	return s->now_ns >= s->low_refused_ns;
}

/* Of low memory a tenant may have the part that it may have of DRAM. */
uint64_t rung_room(const struct store *s, const struct pool *p)
{
	uint64_t limit = s->low.budget.limit, most = limit;
	uint64_t mine = pool_counter(p, POOL_C_cxl_slab_bytes);

	if (p->quota < s->budget.limit)
		most = (uint64_t)((double)limit * (double)p->quota /
				  (double)s->budget.limit);
	limit -= MIN(s->low.budget.used, limit);
	return rung_gives(s) ? MIN(limit, most - MIN(mine, most)) : 0;
}

static uint64_t slab_bytes(const struct store *s, const struct pool *p,
			   uint64_t frame_bytes)
{
	return p->slab_bytes
		       ? p->slab_bytes
		       : shape_slab_bytes(s->low.budget.limit, frame_bytes);
}

/* A device gives whole units. `room`: for the slab at most. */
static uint32_t frames_for(const struct store *s, const struct pool *p,
			   uint64_t frame_bytes, uint64_t room,
			   uint64_t *ret_bytes)
{
	uint64_t bytes = slab_bytes(s, p, frame_bytes);
	uint64_t unit = SEGMENT_DAX_UNIT;
	uint32_t frames;

	if (s->low.source.kind == SEGMENT_DAX) {
		room &= ~(unit - 1);
		bytes = ALIGN_UP(MAX(bytes, frame_bytes), unit);
	}
	frames = shape_frames(frame_bytes, bytes, room);
	*ret_bytes = frames * frame_bytes;
	if (frames && s->low.source.kind == SEGMENT_DAX) {
		*ret_bytes = ALIGN_UP(*ret_bytes, unit);
		frames = (uint32_t)MIN(*ret_bytes / frame_bytes,
				       (uint64_t)FRAME_IN_SLAB_MAX);
	}
	return frames;
}

/* The room of a device may be in pieces: then a smaller slab does. */
static int take_room(const struct store *s, struct pool *p,
		     uint64_t frame_bytes, struct maker_job *job)
{
	uint64_t room = rung_room(s, p);

	for (;; room = job->bytes / 2) {
		job->frames = frames_for(s, p, frame_bytes, room, &job->bytes);
		if (!job->frames)
			return -ENOSPC;
		if (pool_low_take(p->low, job->bytes, &job->source) == 0)
			return 0;
	}
}

/* True: one is on its way. */
bool rung_slab_ask(struct store *s, struct pool *p, uint32_t arena)
{
	struct pool_arena *a = &p->arena[arena];
	struct maker_job *job;

	if (rung_room(s, p) < a->frame_bytes ||
	    rung_small_kept(s, a->frame_bytes))
		return false;
	job = mem_alloc(sizeof(*job));
	if (!job)
		return false;
	if (take_room(s, p, a->frame_bytes, job) < 0) {
		free(job);
		return false;
	}
	rung_small_given(s, a->frame_bytes);
	job->flags = p->segment_flags;
	job->pool = p->number;
	job->owner = CLIENT_SERVER;
	job->shape = a->shape;
	a->making++;
	maker_ask(s->maker, job);
	return true;
}

/* Where less than half a slab is free the next one is asked for. */
void rung_tick(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *p = s->pool[n];

		for (uint32_t i = 0; p && p->low && i < p->n_arenas; i++) {
			const struct pool_arena *a = &p->arena[i];
			uint64_t left = 0;

			/* in those of nobody's nothing is filled */
			if (!a->used || !a->low || !a->slabs || a->making ||
			    a->owner != CLIENT_SERVER || !s->local[n])
				continue;
			for (uint32_t id = 1; id < p->slab_end; id++)
				if (p->slab[id] && p->slab[id]->arena == i)
					left += p->slab[id]->n_free;
			left *= a->frame_bytes;
			if (left < slab_bytes(s, p, a->frame_bytes) / 2)
				rung_slab_ask(s, p, i);
		}
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs that are not there yet: how many bytes a client may still have, what keeps
 * it from more, asking for a slab, and what becomes of one that was made.
 *
 * A slab is made by another thread (pool/maker.h). Its bytes count from the asking
 * on: in the node's budget, the pool's and the client's `making_bytes`, and with the
 * arena, which waits for one slab at a time. When it comes, whoever asked may have
 * ended: then its memory goes back. A refusal of the kernel's is believed for
 * REFUSED_NS, and no grant asks again before.
 *
 * In the server's thread alone.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "pool/shape.h"
#include "store/room_internal.h"

/* After memory for a slab was refused: how long to do with what there is. */
#define REFUSED_NS (200 * NS_PER_MS)

/* Bytes of slabs that the client may have beside those it has. */
uint64_t room_share_left(const struct store_client *c)
{
	const struct store_options *o = &c->store->options;
	uint64_t share = o->limit_bytes / 100 * o->slab_percent;
	uint64_t mine = pool_owned_bytes(c->pool, c->id) + c->making_bytes;

	if (o->slab_percent >= 100 || c->local)
		share = o->limit_bytes;
	return share - MIN(mine, share);
}

/* Bytes that a new slab of this client may have at most. */
uint64_t room_for_slab(const struct store_client *c)
{
	const struct store *s = c->store;
	uint64_t room = quota_room(s, c->pool);

	if (s->now_ns < s->refused_ns)
		return 0;
	room = MIN(room, room_share_left(c));
	return MIN(room, quota_left(c->pool));
}

enum past_limit room_limit_of(const struct store_client *c, uint64_t share,
			      uint64_t frame_bytes)
{
	const struct store *s = c->store;

	/* one that is no less than the node's limit is none */
	if (quota_left(c->pool) < frame_bytes &&
	    c->pool->quota < s->budget.limit)
		return LIMIT_QUOTA;
	if (share < frame_bytes && s->options.slab_percent < 100)
		return LIMIT_CLIENT;
	if (s->now_ns < s->refused_ns)
		return LIMIT_KERNEL;
	if (s->budget.limit - MIN(s->budget.used, s->budget.limit) >=
	    frame_bytes)
		return LIMIT_LENT;
	return LIMIT_NODE;
}

enum past_limit room_limit(const struct store_client *c, uint64_t frame_bytes)
{
	return room_limit_of(c, room_share_left(c), frame_bytes);
}

int room_ask(struct store_client *c, uint32_t arena)
{
	struct pool *p = c->pool;
	struct pool_arena *a = &p->arena[arena];
	struct maker_job *job;
	uint64_t bytes =
		p->slab_bytes ? p->slab_bytes
			      : shape_slab_bytes(c->store->options.limit_bytes,
						 a->frame_bytes);
	uint32_t frames = shape_frames(a->frame_bytes, bytes, room_for_slab(c));

	if (!frames)
		return -ENOSPC;
	job = mem_alloc(sizeof(*job));
	if (!job)
		return -ENOMEM;
	job->bytes = frames * a->frame_bytes;
	job->flags = p->segment_flags;
	job->pool = p->number;
	job->frames = frames;
	job->owner = c->id;
	job->shape = a->shape;
	c->store->budget.used += job->bytes;
	a->making++;
	p->making_bytes += job->bytes;
	c->making_bytes += job->bytes;
	maker_ask(c->store->maker, job);
	return 0;
}

/* Who asked for a slab; NULL: it has closed or ended. */
static struct store_client *asker(const struct store *s,
				  const struct maker_job *job)
{
	struct store_client *c =
		job->owner == CLIENT_SERVER
			? s->local[job->pool]
			: s->client[job->pool][client_id_index(job->owner)];

	return c && c->id == job->owner && !c->closed ? c : NULL;
}

static int slab_enter(struct store *s, struct maker_job *job, bool low)
{
	struct pool *p = s->pool[job->pool];
	struct store_client *c = asker(s, job);
	uint32_t arena, id;
	int r;

	if (!c)
		return -ESTALE;
	if (!low)
		c->making_bytes -= job->bytes;
	r = pool_arena_of(p, job->owner, job->shape, low, &arena);
	if (r < 0)
		return r;
	p->arena[arena].making -= p->arena[arena].making != 0;
	r = job->result;
	if (r == 0)
		r = pool_slab_add(p, &job->segment, job->owner, job->shape,
				  job->frames, &id);
	if (r < 0)
		pool_arena_put(p, arena);
	return r;
}

static void low_not_taken(struct store *s, const struct maker_job *job)
{
	const struct segment range = { .kind = job->source.kind,
				       .offset = job->source.offset,
				       .bytes = job->bytes };

	/* the next slab is not made of the same bytes */
	if (job->result == -EIO && range.kind == SEGMENT_DAX)
		pool_low_fails(&s->low,
			       job->lost == MAKER_LOST_ANY ? range.offset
							   : job->lost,
			       job->lost == MAKER_LOST_ANY ? range.bytes
							   : SEGMENT_DAX_UNIT);
	s->low.budget.used -= job->bytes;
	pool_low_give(&s->low, &range);
}

void room_slab_ready(struct store *s, struct maker_job *job)
{
	bool low = segment_is_low(job->source.kind);
	int r = slab_enter(s, job, low);

	s->retry = true;
	if (!low)
		s->pool[job->pool]->making_bytes -= job->bytes;
	if (r == 0)
		return;
	if (r != -ESTALE) {
		log_warn("a slab of %llu bytes%s was refused: %s",
			 (unsigned long long)job->bytes,
			 low ? " of CXL memory" : "", strerror(-r));
		*(low ? &s->low_refused_ns : &s->refused_ns) =
			s->now_ns + REFUSED_NS;
		s->slabs_refused++;
	}
	segment_close(&job->segment);
	if (low)
		low_not_taken(s, job);
	else
		s->budget.used -= job->bytes;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Granting frames, now or when there is room.
 *
 * A grant that finds none waits here, not in the door: it is tried again when
 * something changed (a slab is ready, frames were freed) and on every tick
 * (pins go away without a word), and answered -ENOBUFS at its deadline.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include <onecopy/onecopy.h>
#include "pool/shape.h"
#include "store/internal.h"

static bool repeated(struct store_client *c, const struct ring_call *call,
		     struct ring_answer *answer)
{
	for (uint32_t i = 0; i < c->n_repeat; i++) {
		uint32_t frame;
		struct pool_slab *slab;

		if (c->repeat[i].seq != call->seq)
			continue;
		slab = pool_locate(c->pool, c->repeat[i].loc, &frame);
		if (!slab || pool_frame_state(slab, frame) != FRAME_GRANTED ||
		    shared_load64(&slab->desc[frame].owner) != c->id)
			continue;
		answer_set(answer, 0);
		answer->loc = c->repeat[i].loc;
		answer->gen = pool_frame_gen(slab, frame);
		return true;
	}
	return false;
}

/* Somebody has it, or the client has too much. The server's own client writes
 * what replaces the old, and its doors have limits of their own. */
static bool grant_refused(struct store_client *c, const struct ring_call *call,
			  struct ring_answer *answer)
{
	struct pool *p = c->pool;
	uint32_t frame;
	struct pool_slab *slab = pool_find(p, call->key, call->part, &frame);

	if (slab) {
		rung_touch(c->store, p, slab, frame);
		pool_count(p, POOL_C_exists, 1);
		answer_set(answer, OC_EXISTS);
		return true;
	}
	if (c->granted < c->store->options.grants_per_client)
		return false;
	note_refused(c, call, LIMIT_GRANTS);
	answer_set(answer, -EDQUOT);
	return true;
}

/* Rounding up to a class must not take what little room a pool has beside. */
static uint64_t local_frame(const struct pool *p, uint64_t bytes)
{
	return bytes > p->quota / 8 ? shape_exact(bytes) : shape_small(bytes);
}

/* A grant that may wait may wait for a part of it, and not for long, until what
 * would leave for it is written. */
#define PATIENCE_PART 4u
#define PATIENCE_NS   (100 * NS_PER_MS)

static bool patient(const struct ring_call *call, uint64_t waited_ns)
{
	return waited_ns < MIN(call->timeout_ns / PATIENCE_PART, PATIENCE_NS);
}

/* What a move brings is as large as its frame was. */
static void local_shape(const struct pool *p, const struct ring_call *call,
			struct pool_shape *shape)
{
	if (!(call->seq & MOVE_SEQ) && !shape->stripes)
		shape->frame_bytes =
			local_frame(p, frame_extent_bytes(call->extent));
}

static uint64_t known_flags(const struct store_client *c)
{
	return c->local ? FRAME_GRANT_SERVER : FRAME_GRANT_KNOWN;
}

/* 0: answered, 1: no room now */
static int grant_try(struct store_client *c, const struct ring_call *call,
		     uint32_t want, uint64_t waited_ns,
		     struct ring_answer *answer)
{
	struct pool *p = c->pool;
	struct pool_filling filling = { .part = call->part,
					.owner = c->id,
					.seq = call->seq,
					.flags = call->arg,
					.now_ms =
						c->store->now_ns / NS_PER_MS };
	struct pool_shape shape;
	struct pool_slab *slab;
	uint32_t frame, item;
	int r = ns_part_check(p, call->part, call->extent, &filling.extent,
			      &shape);

	if (call->arg & ~known_flags(c))
		r = -EINVAL;
	answer_set(answer, r);
	if (r < 0)
		return 0;
	if (c->local)
		local_shape(p, call, &shape);
	else if (grant_refused(c, call, answer))
		return 0;
	c->may_wait = call->timeout_ns != 0;
	c->patient = patient(call, waited_ns);
	c->moves = c->local && call->seq & MOVE_SEQ ? call->seq : 0;
	r = room_find(c, shape, want, &item);
	answer_set(answer, r);
	if (r != 0)
		return r > 0;
	memcpy(filling.key, call->key, sizeof(filling.key));
	slab = pool_item(p, item, &frame);
	if (call->loc && !slab->low) {
		item = pool_arena_beside(p, slab->arena, call->loc);
		slab = pool_item(p, item, &frame);
		filling.beside = true;
	}
	pool_frame_grant(p, slab, frame, &filling);
	c->granted++;
	answer->loc = frame_loc(slab->id, frame);
	answer->gen = pool_frame_gen(slab, frame);
	return 0;
}

/* There was no room in time. */
static void refuse_room(struct store_client *c, const struct ring_call *call)
{
	enum past_limit limit = LIMIT_NODE;
	struct pool_shape shape;
	uint64_t extent;

	if (ns_part_check(c->pool, call->part, call->extent, &extent, &shape) ==
	    0)
		limit = room_limit(c, shape.frame_bytes);
	if (pool_counter(c->pool, POOL_C_revoke_held_bytes) &&
	    limit != LIMIT_CLIENT && limit != LIMIT_KERNEL)
		limit = LIMIT_SILENT;
	pool_count(c->pool, POOL_C_refused, 1);
	if (limit == LIMIT_QUOTA)
		pool_count(c->pool, POOL_C_quota_refused, 1);
	note_refused(c, call, limit);
}

static bool pending_push(struct store_client *c, const struct ring_call *call)
{
	struct store *s = c->store;

	/* an honest client has no more slots to wait in */
	if (c->waiting >= RING_SLOTS && !c->local)
		return false;
	if (s->n_pending == s->pending_cap) {
		size_t cap = MAX(2 * s->pending_cap, (size_t)64);
		struct pending_grant *grown =
			mem_grow(s->pending, cap, sizeof(*grown));

		if (!grown)
			return false;
		s->pending = grown;
		s->pending_cap = cap;
	}
	s->pending[s->n_pending++] = (struct pending_grant){
		.client = c,
		.call = *call,
		.deadline_ns = call->timeout_ns > UINT64_MAX - s->now_ns
				       ? UINT64_MAX
				       : s->now_ns + call->timeout_ns,
	};
	c->waiting++;
	return true;
}

/* A new server looks at every slot, and may find one again in the ring whose
 * push its client had not finished: one grant for one request. */
static bool is_waiting(const struct store_client *c,
		       const struct ring_call *call)
{
	const struct store *s = c->store;

	for (size_t i = 0; c->waiting && i < s->n_pending; i++) {
		const struct pending_grant *p = &s->pending[i];

		if (p->client == c && p->call.slot == call->slot &&
		    p->call.seq == call->seq)
			return true;
	}
	return false;
}

enum store_result grant_call(struct store_client *c,
			     const struct ring_call *call, uint32_t backlog,
			     bool repeat, struct ring_answer *ret_answer)
{
	if (c->read_only) {
		answer_set(ret_answer, -EPERM);
		return STORE_ANSWERED;
	}
	if (repeat && repeated(c, call, ret_answer))
		return STORE_ANSWERED;
	if (is_waiting(c, call))
		return STORE_LATER;
	if (grant_try(c, call, MIN(backlog, 255u) + 1, 0, ret_answer) == 0)
		return STORE_ANSWERED;
	/* waiting takes a timeout, and memory to remember it */
	if (call->timeout_ns && pending_push(c, call))
		return STORE_LATER;
	refuse_room(c, call);
	answer_set(ret_answer, -ENOBUFS);
	return STORE_ANSWERED;
}

static void pending_drop(struct store *s, size_t i)
{
	s->pending[i].client->waiting--;
	memmove(&s->pending[i], &s->pending[i + 1],
		(s->n_pending - i - 1) * sizeof(s->pending[0]));
	s->n_pending--;
}

static void pending_answer(struct store *s, size_t i,
			   const struct ring_answer *answer)
{
	struct pending_grant p = s->pending[i];

	pending_drop(s, i);
	if (p.client->local && p.call.seq & MOVE_SEQ)
		move_granted(p.client, &p.call, answer);
	else
		s->options.answer(s->options.ctx, p.client, &p.call, answer);
}

/* Tries of one client's waiting grants in one pass: when this many found no
 * room, its rest waits for the next pass; other clients' grants do not. */
#define FRUITLESS_MAX 16

static uint64_t waited(const struct store *s, const struct pending_grant *p)
{
	uint64_t left = p->deadline_ns - MIN(s->now_ns, p->deadline_ns);

	return p->call.timeout_ns - MIN(left, p->call.timeout_ns);
}

void grant_retry(struct store *s, bool force)
{
	if (!s->retry && !force)
		return;
	s->changed = s->retry;
	s->retry = false;
	s->passing = true;
	s->pass++;
	for (size_t i = 0; i < s->n_pending;) {
		struct pending_grant *p = &s->pending[i];
		uint32_t want = MIN(p->client->waiting, 256u);
		struct ring_answer answer;

		if (p->client->pass != s->pass) {
			p->client->pass = s->pass;
			p->client->fruitless = 0;
		}
		s->last_try = p->deadline_ns <= s->now_ns;
		if (p->client->fruitless < FRUITLESS_MAX &&
		    grant_try(p->client, &p->call, want, waited(s, p),
			      &answer) == 0) {
			pending_answer(s, i, &answer);
			continue;
		}
		p->client->fruitless++;
		if (s->last_try) {
			refuse_room(p->client, &p->call);
			answer_set(&answer, -ENOBUFS);
			pending_answer(s, i, &answer);
			continue;
		}
		i++;
	}
	s->passing = false;
}

bool grant_cancel(struct store_client *c, uint32_t slot, uint64_t seq)
{
	struct store *s = c->store;

	for (size_t i = 0; i < s->n_pending; i++) {
		const struct pending_grant *p = &s->pending[i];
		struct ring_answer answer;

		if (p->client != c || p->call.slot != slot ||
		    p->call.seq != seq)
			continue;
		answer_set(&answer, -ECANCELED);
		pending_answer(s, i, &answer);
		return true;
	}
	return false;
}

void grant_forget_client(struct store_client *c)
{
	struct store *s = c->store;

	size_t kept = 0;

	for (size_t i = 0; i < s->n_pending; i++)
		if (s->pending[i].client != c)
			s->pending[kept++] = s->pending[i];
	s->n_pending = kept;
	c->waiting = 0;
}

size_t store_waiting(const struct store *s)
{
	return s->n_pending;
}

bool store_waiting_at(const struct store *s, const struct pool *p, size_t i,
		      uint64_t ret_key[4], uint64_t *ret_part,
		      uint64_t *ret_client)
{
	const struct pending_grant *g = &s->pending[i];

	if (g->client->pool != p)
		return false;
	memcpy(ret_key, g->call.key, sizeof(g->call.key));
	*ret_part = g->call.part;
	*ret_client = g->client->id;
	return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs that are there and hold something else: which one goes for an arena that
 * has no room, and how it goes.
 *
 * Slabs are compared by the mean stamp of what they hold (the touch clock
 * grows with every use, so a lower mean is colder):
 *   - a slab that nobody owns, or of another shape of the same client, is
 *     taken when it is colder than the next victim here: only a new shape on
 *     the same memory;
 *   - a slab of another living client must be clearly colder (its age a
 *     quarter more), because it costs a retirement that others take part in.
 * A client without any slab of the shape takes the coldest there is.
 * Where a retirement was waited for in vain, what needs nobody's answer is taken
 * first, however warm.
 *
 * One slab is awaited for an arena at a time; a slab of which a frame is in use
 * can be drained: closed to new grants, and emptied as its frames come back. What
 * others borrow is taken back in the same ways, from the tenant that borrows most.
 *
 * In the server's thread alone. Everything here can be begun again after a death:
 * a retiring slab says so in its record, a draining one is only closed to grants.
 */
#include <errno.h>
#include "base/clock.h"
#include "store/revoke.h"
#include "store/room_internal.h"

/* Would it help this arena, if it were empty? */
static bool slab_helps(const struct pool_slab *s, const struct pool_arena *a,
		       const struct store_client *c)
{
	if (!s || s->retiring || s->low)
		return false;
	if (s->owner == c->id && shape_same(s->shape, a->shape))
		return false;
	/* more than its share is none the nearer for others' slabs */
	return s->owner == c->id ||
	       c->share_left >= (s->owner ? a->frame_bytes : s->payload.bytes);
}

static bool slab_takeable(const struct store *st, const struct pool *p,
			  const struct pool_slab *s, const struct pool_arena *a,
			  const struct store_client *c)
{
	if (c ? !slab_helps(s, a, c) : !s || s->retiring || s->low)
		return false;
	return !s->n_granted && !s->n_doomed && !revoke_holds(st, p, s);
}

/* Is this slab cold enough beside the next victim's stamp? */
static bool colder(const struct pool *p, const struct store_client *c,
		   const struct pool_slab *s, uint64_t victim)
{
	uint64_t age = p->touch_clock - MIN(pool_slab_mean(s), p->touch_clock);
	uint64_t own = p->touch_clock - MIN(victim, p->touch_clock);

	if (pool_slab_empty(s))
		return true;
	if (s->owner && s->owner != c->id)
		return age / 5 * 4 > own;
	return age > own;
}

static uint32_t client_uid(const struct store_client *c)
{
	return (uint32_t)shared_load64(&c->record->pid_uid);
}

/* Once it is empty: does its memory serve the arena without anybody's answer? Not
 * if it belongs to somebody alive, is too small, a device may still write there,
 * or a process of another user may still hold a writable descriptor of it. */
static bool is_at_hand(const struct store_client *c, const struct pool_arena *a,
		       const struct pool_slab *slab)
{
	enum slab_whose whose = slab->owner == c->id ? SLAB_OWN
				: slab->owner	     ? SLAB_ANOTHERS
						     : SLAB_ORPHAN;
	bool same_user = slab->writer_uid == client_uid(c);

	return slab->payload.bytes >= a->frame_bytes && !slab->n_quarantined &&
	       slab_ways[whose][same_user] != SLAB_EV_RETIRE;
}

/* c and a NULL: any slab that could leave. None larger than `most`. */
static struct pool_slab *coldest(const struct store *st, const struct pool *p,
				 const struct store_client *c,
				 const struct pool_arena *a,
				 const struct pool_slab *not_before,
				 uint64_t most, enum room_reach reach)
{
	struct pool_slab *best = NULL;

	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];

		if (!slab_takeable(st, p, s, a, c) || s->payload.bytes > most)
			continue;
		if (reach == ROOM_AT_HAND && !is_at_hand(c, a, s))
			continue;
		if (not_before &&
		    (pool_slab_mean(s) < pool_slab_mean(not_before) ||
		     (pool_slab_mean(s) == pool_slab_mean(not_before) &&
		      s->id <= not_before->id)))
			continue;
		if (!best || pool_slab_mean(s) < pool_slab_mean(best))
			best = s;
	}
	return best;
}

/* A slab of pool p, empty, makes room for this arena. */
static void retire_for(struct store_client *c, struct pool_arena *a,
		       struct pool *p, struct pool_slab *slab)
{
	a->awaited = slab->id;
	a->awaited_pool = p->number;
	a->awaited_gen = slab->gen;
	a->awaited_ns = c->store->now_ns;
	room_retire(c->store, p, slab->id);
}

/* 0: its memory serves this arena now; 1: it is on its way out. */
static int slab_take(struct store_client *c, struct pool_arena *a,
		     struct pool_slab *slab)
{
	struct pool *p = c->pool;
	uint32_t fresh;

	if (!is_at_hand(c, a, slab)) {
		retire_for(c, a, p, slab);
		return 1;
	}
	return pool_slab_reshape(p, slab->id, c->id, a->shape, &fresh);
}

/* The slab that is retiring for this arena; NULL: none (any more). */
const struct pool_slab *room_awaited(const struct store_client *c,
				     const struct pool_arena *a)
{
	const struct pool *p = c->store->pool[a->awaited_pool];
	const struct pool_slab *s = p ? pool_slab_at(p, a->awaited) : NULL;

	return s && s->gen == a->awaited_gen && s->retiring ? s : NULL;
}

/* There is hope that those who have it let go: no second one meanwhile. */
bool room_awaits(const struct store_client *c, uint32_t arena)
{
	const struct pool_arena *a = &c->pool->arena[arena];

	return room_awaited(c, a) &&
	       c->store->now_ns - a->awaited_ns < ROOM_AWAIT_NS;
}

/* Takes the coldest slab that is cold enough and not in use. victim:
 * UINT64_MAX takes any. 0, 1 as slab_take(), -ENOSPC. */
int room_take_coldest(struct store_client *c, uint32_t arena, uint64_t victim,
		      enum room_reach reach, bool ask)
{
	struct pool *p = c->pool;
	struct pool_arena *a = &p->arena[arena];
	struct pool_slab *slab = NULL;
	bool asked = !ask; /* for one slab at a time */
	int below;

	for (unsigned tries = 0; tries < 8; tries++) {
		slab = coldest(c->store, p, c, a, slab, UINT64_MAX, reach);
		if (!slab ||
		    (victim != UINT64_MAX && !colder(p, c, slab, victim)))
			break;
		below = pool_slab_empty(slab)
				? 0
				: rung_press_slab(c, p, slab, c->rises);
		if (c->rises && below != 0)
			return below;
		if ((below == 1 && c->may_wait) ||
		    (c->patient && move_press_slab(c->store, p, slab)))
			return 1;
		if (pool_slab_empty(slab) ||
		    evict_slab(c->store, p, slab, !asked))
			return slab_take(c, a, slab);
		if (!ask)
			continue;
		asked = asked || c->store->batch.asked;
		c->asked = c->asked || asked;
		if (asked && c->patient)
			return 1;
	}
	return -ENOSPC;
}

/* Where those who have a slab did not let it go in time, they may be waiting for
 * this very grant: what needs no answer of theirs goes first, however warm. */
int room_take(struct store_client *c, uint32_t arena, uint64_t victim)
{
	int r = -ENOSPC;

	c->store->cause.pressure = PRESSURE_SLAB;
	if (room_awaited(c, &c->pool->arena[arena]))
		r = room_take_coldest(c, arena, victim, ROOM_AT_HAND, true);
	if (r == 0 || c->asked)
		return r;
	return room_take_coldest(c, arena, victim, ROOM_ANY, true);
}

static bool drains_better(const struct pool_slab *s,
			  const struct pool_slab *best)
{
	if (!best || s->n_granted != best->n_granted)
		return !best || s->n_granted < best->n_granted;
	return pool_slab_mean(s) < pool_slab_mean(best);
}

/* Somebody without any slab, and each slab has a frame in use: one of them is
 * closed to new grants and emptied, pins or not. One at a time. */
void room_drain(struct store_client *c, uint32_t arena)
{
	struct pool *p = c->pool;
	struct pool_slab *best = NULL;

	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];

		if (s && s->draining)
			return;
		if (slab_helps(s, &p->arena[arena], c) &&
		    !revoke_holds(c->store, p, s) && drains_better(s, best))
			best = s;
	}
	if (!best)
		return;
	pool_slab_drain(p, best->id);
	c->store->cause.pressure = PRESSURE_DRAIN;
	evict_slab_hard(c->store, p, best);
}

/* The coldest slab of this tenant's that can be emptied and leaves it its share
 * goes. 1: it is on its way out, or asked for; 0: there is none. */
static int take_from_lender(struct store_client *c, struct pool_arena *a,
			    struct pool *q)
{
	struct pool_slab *slab = NULL;
	bool asked = false;

	for (unsigned tries = 0; tries < 8; tries++) {
		slab = coldest(c->store, q, NULL, NULL, slab,
			       store_pool_borrowed(q), ROOM_ANY);
		if (!slab)
			break;
		if (!pool_slab_empty(slab) &&
		    rung_press_slab(c, q, slab, false) == 1 && c->may_wait)
			return 1;
		if (pool_slab_empty(slab) ||
		    evict_slab(c->store, q, slab, !asked)) {
			pool_count(q, POOL_C_reclaimed_bytes,
				   slab->payload.bytes);
			retire_for(c, a, q, slab);
			return 1;
		}
		asked = asked || c->store->batch.asked;
	}
	return asked && c->patient;
}

/* A slab of another tenant's, which borrows more than `more_than`, goes: of the
 * one that borrows most, or, where mappings that nobody answers for hold all of
 * that, of the next. 1: it is on its way out. */
int room_take_lent(struct store_client *c, uint32_t arena, uint64_t more_than)
{
	struct pool_arena *a = &c->pool->arena[arena];
	struct store *s = c->store;
	struct pool *q = quota_lender(s, c->pool, more_than, UINT64_MAX);

	if (!q || c->share_left < a->frame_bytes ||
	    quota_left(c->pool) < a->frame_bytes)
		return -ENOSPC;
	s->cause.pressure = PRESSURE_TENANT;
	while (q) {
		if (take_from_lender(c, a, q))
			return 1;
		if (!pool_counter(q, POOL_C_revoke_held_bytes))
			break;
		q = quota_lender(s, c->pool, more_than, store_pool_borrowed(q));
	}
	return -ENOSPC;
}

/* Each slab that a lender could give is in use somewhere: one of them is closed
 * to new grants and emptied, as room_drain() does within a pool. */
void room_drain_lent(struct store_client *c, struct pool *q)
{
	struct pool_slab *best = NULL;

	for (uint32_t id = 1; id < q->slab_end; id++) {
		struct pool_slab *s = q->slab[id];

		if (s && s->draining)
			return;
		if (s && !s->retiring && !s->low &&
		    !revoke_holds(c->store, q, s) &&
		    s->payload.bytes <= store_pool_borrowed(q) &&
		    drains_better(s, best))
			best = s;
	}
	if (!best)
		return;
	pool_slab_drain(q, best->id);
	evict_slab_hard(c->store, q, best);
}

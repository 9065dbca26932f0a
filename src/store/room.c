/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding room: a free frame of the client's own, a new slab while the limits
 * allow it (room_new.c), the least recently used frames of its own arena, or a slab
 * that somebody else uses less (room_take.c). A slab too small for one frame is
 * retired, one after the other, until a new one fits (room_retire.c).
 *
 * Nothing here waits: a grant that finds no room now is tried again when something
 * has changed, and at every tick. In the server's thread alone.
 */
#include <errno.h>
#include "base/clock.h"
#include "pool/shape.h"
#include "store/room_internal.h"

/* Evictions in an arena between two looks at the other slabs. */
#define LOOK_AROUND 64
/* After a tenant waited in vain for what others borrow: how long its grants
 * evict what is its own at once. */
#define VAIN_NS NS_PER_S
/* Between two looks for room in an arena where none was found. */
#define VAIN_LEAST_NS (2 * NS_PER_MS)
#define VAIN_MOST_NS  (16 * NS_PER_MS)
/* Part of the tenant's memory that may be the server's own before what is copied
 * up from low memory takes no slab of others. */
#define RISE_PART 8u
/* Slabs asked for at once by one arena. */
#define MAKING_MAX 1

static uint32_t first_victim(const struct pool *p, uint32_t arena)
{
	return p->policy_ops->victim(p->policy, arena, POLICY_NONE);
}

static uint64_t next_victim(const struct pool *p, uint32_t arena)
{
	uint32_t item = first_victim(p, arena);

	return item == POLICY_NONE ? UINT64_MAX
				   : p->policy_ops->stamp(p->policy, item);
}

/* Growing batches until something leaves: frames at the cold end may all be
 * pinned. *ret_awaits: what would leave is being written, or unmapped, and there
 * is time for that. */
uint32_t room_evict_some(struct store_client *c, uint32_t arena, uint32_t want,
			 bool *ret_awaits)
{
	struct pool *p = c->pool;

	c->store->cause.pressure = PRESSURE_ARENA;
	if (rung_there(c->store, p) && rung_takes(&p->arena[arena])) {
		bool awaits = false;
		uint32_t n = rung_evict(c, arena, want, &awaits);

		if (pool_arena_free(p, arena) != POOL_NO_ITEM)
			return MAX(n, 1u);
		if (awaits && c->may_wait) {
			*ret_awaits = true;
			return 0;
		}
	}
	if (move_could_clean(c->store)) {
		evict_from_arena(c->store, p, arena, want, want, true, true);
		if (pool_arena_free(p, arena) != POOL_NO_ITEM)
			return want;
		if (c->patient && c->store->batch.asked) {
			*ret_awaits = true;
			return 0;
		}
		if (c->patient && move_press(c->store, p, arena, want)) {
			*ret_awaits = true;
			return 0;
		}
		want = 1; /* what is lost is lost one by one */
	}
	for (uint32_t n = want; n < 4 * FRAME_IN_SLAB_MAX; n *= 8) {
		evict_from_arena(c->store, p, arena, n, want, false, true);
		if (pool_arena_free(p, arena) != POOL_NO_ITEM)
			return n;
		if (c->patient && c->store->batch.asked) {
			*ret_awaits = true;
			return 0;
		}
		if (next_victim(p, arena) == UINT64_MAX)
			break;
	}
	return 0;
}

/* What leaves an arena without a question, or else, where mappings keep its next
 * victims, a slab of others that is colder: nobody is asked for what is in use while
 * there is such a one. 0, 1 as slab_take(), also while that is awaited; -ENOSPC. */
static int take_unasked(struct store_client *c, uint32_t arena, uint64_t victim,
			uint32_t want, bool awaits)
{
	struct store *s = c->store;
	struct pool_arena *a = &c->pool->arena[arena];

	if (rung_there(s, c->pool))
		return -ENOSPC;
	s->cause.pressure = PRESSURE_ARENA;
	evict_from_arena(s, c->pool, arena, want, want, move_could_clean(s),
			 false);
	if (pool_arena_free(c->pool, arena) != POOL_NO_ITEM) {
		a->evictions += want;
		return 0;
	}
	if (!s->batch.n_notes)
		return -ENOSPC;
	if (awaits)
		return 1;
	s->cause.pressure = PRESSURE_SLAB;
	return room_take_coldest(c, arena, victim, ROOM_ANY, false);
}

/* Evictions in an arena after which the other slabs are worth a look: a round
 * of its own frames, where it has few. */
static uint32_t look_after(const struct store_client *c,
			   const struct pool_arena *a)
{
	uint64_t bytes =
		shape_slab_bytes(c->store->options.limit_bytes, a->frame_bytes);
	uint64_t frames = a->slabs * MAX(bytes / a->frame_bytes, 1ull);

	return (uint32_t)MIN(frames, (uint64_t)LOOK_AROUND);
}

/* Below its share: what others borrow comes back. True: a slab is on its way
 * out, and waiting for it loses nothing of the tenant's own. Where lenders did
 * not let go in time, nobody waits for the next ones for a while. */
static bool reclaim(struct store_client *c, uint32_t arena, bool awaits)
{
	struct pool *p = c->pool;
	struct pool_arena *a = &p->arena[arena];
	struct store *s = c->store;
	const struct pool_slab *late = awaits ? NULL : room_awaited(c, a);

	if (quota_owed(p) < a->frame_bytes || quota_left(p) < a->frame_bytes ||
	    c->share_left < a->frame_bytes)
		return false;
	quota_claim(s, p);
	if (late && a->awaited_pool != p->number)
		p->vain_ns = s->now_ns + VAIN_NS;
	if (!awaits && room_take_lent(c, arena, 0) != 1) {
		struct pool *q = quota_lender(s, p, 0, UINT64_MAX);

		if (q && c->may_wait)
			room_drain_lent(c, q);
		return false;
	}
	return c->may_wait && s->now_ns >= p->vain_ns;
}

/* For what nobody waits for: the coldest slab, while the server has few. */
static int make_room_ahead(struct store_client *c, uint32_t arena)
{
	if (!move_may_take(c) || room_awaits(c, arena))
		return 1;
	c->share_left = room_share_left(c);
	note_cause(c, PRESSURE_NONE,
		   room_limit_of(c, c->share_left,
				 c->pool->arena[arena].frame_bytes));
	return room_take(c, arena, UINT64_MAX) == 0 ? 0 : 1;
}

/* The limits are reached: somebody must leave. */
static int make_room(struct store_client *c, uint32_t arena, uint32_t want)
{
	struct pool *p = c->pool;
	uint64_t victim = next_victim(p, arena);
	bool awaits = room_awaits(c, arena), writes = false;
	int r = -ENOSPC;

	c->asked = false;
	if (c->moves && !move_may_evict(c, c->moves, first_victim(p, arena)))
		return make_room_ahead(c, arena);

	c->share_left = room_share_left(c);
	note_cause(c, PRESSURE_NONE,
		   room_limit_of(c, c->share_left,
				 p->arena[arena].frame_bytes));
	if (reclaim(c, arena, awaits))
		return 1;
	awaits = room_awaits(c, arena);
	if (!awaits &&
	    (victim == UINT64_MAX ||
	     p->arena[arena].evictions >= look_after(c, &p->arena[arena]))) {
		p->arena[arena].evictions = 0;
		r = room_take(c, arena, victim);
		if (r == 0)
			return 0;
	}
	if (victim != UINT64_MAX) {
		int u = take_unasked(c, arena, victim, want, awaits || r == 1);

		if (u == 0 || (u == 1 && c->may_wait))
			return u;
		r = u == 1 ? 1 : r;
	}
	if (victim != UINT64_MAX && room_evict_some(c, arena, want, &writes)) {
		p->arena[arena].evictions += want;
		return 0;
	}
	if (awaits || writes)
		return 1;
	if (r < 0 && victim != UINT64_MAX)
		r = room_take(c, arena, UINT64_MAX);
	/* nothing of its own goes: there is none, or all of it is in use */
	if (r < 0)
		r = room_take_lent(c, arena,
				   store_pool_borrowed(p) +
					   p->arena[arena].frame_bytes);
	if (r < 0 && !p->arena[arena].slabs && !c->store->retiring && !c->asked)
		room_drain(c, arena);
	return r == 0 ? 0 : 1;
}

/* A look for room reads every client's pin slots, many times over. Grants that
 * wait in one arena share what one of them found in a pass; and while nothing
 * that the server does changes, only readers who unpin can help, and those are
 * looked for after longer and longer times. */
static bool looked_in_vain(const struct store *s, const struct pool_arena *a)
{
	return s->passing &&
	       (a->vain_pass == s->pass ||
		(!s->changed && !s->last_try && s->now_ns < a->vain_until_ns));
}

static void note_vain(const struct store_client *c, struct pool_arena *a)
{
	const struct store *s = c->store;

	if (!s->passing)
		return;
	a->vain_pass = s->pass;
	a->vain_wait_ns =
		MIN(MAX(2 * a->vain_wait_ns, VAIN_LEAST_NS), VAIN_MOST_NS);
	a->vain_until_ns = s->now_ns + a->vain_wait_ns;
	/* then it tries for another slab */
	if (room_awaited(c, a) && a->awaited_ns + ROOM_AWAIT_NS > s->now_ns)
		a->vain_until_ns =
			MIN(a->vain_until_ns, a->awaited_ns + ROOM_AWAIT_NS);
}

int room_find(struct store_client *c, struct pool_shape shape, uint32_t want,
	      uint32_t *ret_item)
{
	struct pool *p = c->pool;
	uint32_t arena, item;
	int r = pool_arena_get(p, c->id, shape, &arena);

	if (r < 0)
		return r;
	item = pool_arena_free(p, arena);
	if (item == POOL_NO_ITEM) {
		if (p->arena[arena].making >= MAKING_MAX)
			return 1;
		if (room_for_slab(c) >= MAX(shape.frame_bytes, PAGE_BYTES))
			return room_ask(c, arena) == 0 ? 1 : -ENOMEM;
		if (looked_in_vain(c->store, &p->arena[arena]))
			return 1;
		if (c->moves && rung_takes(&p->arena[arena]) &&
		    !move_may_evict(c, c->moves, first_victim(p, arena)) &&
		    rung_spare(c, shape.frame_bytes, ret_item))
			return 0;
		r = make_room(c, arena, want);
		if (r == 1)
			note_vain(c, &p->arena[arena]);
		/* a reshaped slab may have brought a new arena number */
		if (r == 0)
			r = pool_arena_get(p, c->id, shape, &arena);
		if (r != 0)
			return r;
		item = pool_arena_free(p, arena);
	}
	if (item == POOL_NO_ITEM)
		return 1;
	p->arena[arena].vain_wait_ns = 0;
	*ret_item = item;
	return 0;
}

/* What of an arena may leave for a block that was used twice since `before`. */
static bool worth_less(const struct pool *p, uint32_t victim, uint64_t before,
		       uint64_t rate)
{
	if (victim == POLICY_NONE)
		return false;
	if (rate && p->policy_ops->rate)
		return p->policy_ops->rate(p->policy, victim) < rate;
	return p->policy_ops->stamp(p->policy, victim) < before;
}

int room_rise(struct store_client *c, uint64_t frame_bytes, uint64_t before,
	      uint64_t rate, uint32_t *ret_item)
{
	struct pool *p = c->pool;
	struct pool_shape shape = { .frame_bytes = frame_bytes };
	uint32_t arena;
	int r = pool_arena_get(p, c->id, shape, &arena);

	if (r < 0)
		return r;
	c->may_wait = c->patient = false;
	c->moves = 0;
	if (pool_arena_free(p, arena) == POOL_NO_ITEM) {
		if (p->arena[arena].making)
			return 1;
		if (room_for_slab(c) >= MAX(frame_bytes, PAGE_BYTES))
			return room_ask(c, arena) == 0 ? 1 : -ENOSPC;
		if (worth_less(p, first_victim(p, arena), before, rate))
			rung_exchange(c, arena);
		else if (pool_owned_bytes(p, c->id) <
			 MIN(p->quota, c->store->budget.limit) / RISE_PART) {
			if (room_awaits(c, arena))
				return 1;
			c->share_left = room_share_left(c);
			note_cause(c, PRESSURE_NONE, LIMIT_NODE);
			c->rises = true;
			r = room_take(c, arena, before);
			c->rises = false;
			if (r == 0)
				r = pool_arena_get(p, c->id, shape, &arena);
			if (r != 0)
				return r;
		}
	}
	if (pool_arena_free(p, arena) == POOL_NO_ITEM) {
		pool_arena_put(p, arena);
		return -ENOSPC;
	}
	*ret_item = pool_arena_free(p, arena);
	return 0;
}

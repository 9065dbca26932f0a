/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Up: a frame of the server's own, one read into it, one seal.
 *
 * Who waits is served before what is brought up ahead, and within one tenants
 * take turns. The frame is granted for a device (FRAME_GRANT_TIER), so that a
 * successor keeps it aside until the tier says that the device is done.
 *
 * Room. For somebody who waits, eviction makes it as for any grant, for as long
 * as he waits. Ahead of need a move takes what is free, slabs while the limits
 * allow, and of the server's own blocks those that are worth less: not used
 * since the move was wished for, and, where the policy knows it, not likelier to
 * be used in the next moment than the session that it is for. While the server
 * has less than an eighth of the tenant's memory it takes the coldest slab.
 */
#include <errno.h>
#include <onecopy/onecopy.h>
#include "base/clock.h"
#include "base/guard.h"
#include "base/hash.h"
#include "base/log.h"
#include "store/move_internal.h"
#include "store/price.h"

/* How long a move waits for room when nobody has said. */
#define ROOM_NS	      NS_PER_S
#define ROOM_AHEAD_NS NS_PER_S
/* And at most, whatever a client says. */
#define ROOM_MOST_NS (5 * NS_PER_S)

static uint64_t bytes_of(const struct move *m)
{
	return frame_extent_bytes(m->tm.block.extent);
}

static void unqueue(struct mover *mv, struct move *m)
{
	move_list_take(&mv->queue[m->urgency][m->pool], m);
	mv->queued[m->urgency]--;
	mv->queued_bytes -= MIN(bytes_of(m), mv->queued_bytes);
}

static void requeue(struct mover *mv, struct move *m)
{
	m->state = MOVE_QUEUED;
	move_list_add(&mv->queue[m->urgency][m->pool], m);
	mv->queued[m->urgency]++;
	mv->queued_bytes += bytes_of(m);
}

static struct store_client *client_of(const struct mover *mv,
				      const struct move *m)
{
	return mv->s->local[m->pool];
}

/* ---- reading ------------------------------------------------------------------ */

static void give_back(struct mover *mv, struct move *m)
{
	if (!m->frame.data)
		return;
	local_abandon(client_of(mv, m), &m->frame);
	m->frame.data = NULL;
}

static void begin_read(struct mover *mv, struct move *m)
{
	struct pool *p = mv->s->pool[m->pool];
	int r = OC_MISS;

	m->tm.slices = m->frame.slices;
	m->tm.room = m->frame.bytes;
	m->tm.urgency = m->urgency;
	m->tm.deadline_ns = m->deadline_ns;
	if (below_id(mv, p, m->key, m->part, &m->tm.id))
		r = mv->t->ops->read(mv->t, &m->tm);
	if (r == 0) {
		m->state = MOVE_FLYING;
		mv->flying[m->tm.urgency]++;
		mv->flying_of[m->tm.urgency][m->pool]++;
		return;
	}
	give_back(mv, m);
	if (r == -EAGAIN) { /* when one of those under way has ended */
		mv->full = true;
		requeue(mv, m);
		return;
	}
	move_over(mv, m, r);
}

static void room_granted(struct mover *mv, struct move *m,
			 const struct ring_answer *answer)
{
	int r = (int)answer->result;

	if (r == 0)
		r = local_granted(client_of(mv, m), answer, &m->frame);
	if (r == 0)
		begin_read(mv, m);
	else
		move_over(mv, m, r);
}

static struct move *roomless_of(const struct mover *mv, uint32_t pool,
				uint64_t seq)
{
	struct move *m = mv->roomless[pool].head;

	while (m && m->seq != seq)
		m = m->next;
	return m;
}

/* The answer to a grant that waited. */
void move_granted(const struct store_client *c, const struct ring_call *call,
		  const struct ring_answer *answer)
{
	struct mover *mv = c->store->mover;
	struct move *m = roomless_of(mv, c->pool->number, call->seq);

	must(m != NULL);
	move_list_take(&mv->roomless[m->pool], m);
	room_granted(mv, m, answer);
}

static uint64_t room_ns(const struct mover *mv, const struct move *m)
{
	uint64_t now = mv->s->now_ns;

	if (m->urgency != TIER_WAITED)
		return ROOM_AHEAD_NS;
	if (!m->deadline_ns)
		return ROOM_NS;
	return MIN(m->deadline_ns - MIN(now, m->deadline_ns), ROOM_MOST_NS);
}

static void begin(struct mover *mv, struct move *m)
{
	struct pool *p = mv->s->pool[m->pool];
	struct store_client *c;
	struct ring_answer answer;
	uint32_t backlog = 0;
	struct ring_call call = {
		.op = RING_GRANT,
		.seq = MOVE_SEQ | ++mv->seq,
		.part = m->part,
		.arg = FRAME_GRANT_DEVICE | FRAME_GRANT_TIER,
		.extent = m->tm.block.extent,
		.timeout_ns = room_ns(mv, m),
	};

	unqueue(mv, m);
	if (local_client(mv->s, p, &c) < 0) {
		move_over(mv, m, -ENOMEM);
		return;
	}
	memcpy(call.key, m->key, sizeof(call.key));
	m->seq = call.seq;
	m->state = MOVE_ROOM;
	move_list_add(&mv->roomless[m->pool], m);
	m->asked = m->urgency;
	/* ahead of need one at a time: each victim is judged */
	if (m->urgency == TIER_WAITED)
		backlog = mv->queued[TIER_WAITED];
	if (grant_call(c, &call, backlog, false, &answer) == STORE_LATER)
		return;
	move_list_take(&mv->roomless[m->pool], m);
	room_granted(mv, m, &answer);
}

/* A tenant that has no room, or has much under way, keeps no other from his. */
static bool may_begin(const struct mover *mv, enum tier_urgency urgency,
		      uint32_t n)
{
	uint32_t under_way = mv->flying_of[urgency][n] + mv->roomless[n].n;

	if (urgency == TIER_WAITED)
		return under_way < UP_TENANT;
	return !mv->queue[TIER_WAITED][n].head && under_way < UP_AHEAD;
}

/* The next of an urgency: tenants in turn. */
static struct move *next_of(struct mover *mv, enum tier_urgency urgency)
{
	for (uint32_t i = 0; i < STORE_POOLS_MAX; i++) {
		uint32_t n = (mv->turn[urgency] + i) % STORE_POOLS_MAX;
		struct move *m = mv->queue[urgency][n].head;

		if (!m || !may_begin(mv, urgency, n))
			continue;
		mv->turn[urgency] = (n + 1) % STORE_POOLS_MAX;
		return m;
	}
	return NULL;
}

void up_pump(struct mover *mv)
{
	struct move *m;

	/* what a grant evicts may set more in motion */
	if (mv->pumping || mv->stopped)
		return;
	mv->pumping = true;
	mv->full = false;
	while (!mv->full && mv->flying[TIER_WAITED] < UP_WAITED &&
	       (m = next_of(mv, TIER_WAITED)))
		begin(mv, m);
	while (!mv->full && mv->flying[TIER_WAITED] < UP_WAITED &&
	       mv->flying[TIER_AHEAD] < UP_AHEAD &&
	       (m = next_of(mv, TIER_AHEAD)))
		begin(mv, m);
	mv->pumping = false;
}

/* May this block leave for what nobody waits for? */
bool move_may_evict(const struct store_client *c, uint64_t seq, uint32_t item)
{
	const struct pool *p = c->pool;
	const struct move *m = roomless_of(c->store->mover, p->number, seq);

	if (!m || m->urgency == TIER_WAITED)
		return true;
	if (item == POLICY_NONE)
		return false;
	if (p->policy_ops->stamp(p->policy, item) > m->stamp)
		return false;
	return !p->policy_ops->rate ||
	       p->policy_ops->rate(p->policy, item) <= m->rate;
}

/* Part of the tenant's memory that is the server's before what is ahead of need
 * takes no slab more. */
#define AHEAD_PART 8u

bool move_may_take(const struct store_client *c)
{
	const struct pool *p = c->pool;
	uint64_t all = MIN(p->quota, c->store->budget.limit);

	return pool_owned_bytes(p, CLIENT_SERVER) < all / AHEAD_PART;
}

/* ---- the end -------------------------------------------------------------------- */

static void note_failed(struct mover *mv, const struct move *m)
{
	struct pool *p = mv->s->pool[m->pool];

	pool_count(p, POOL_C_promote_failed, 1);
	if (m->result == -EBADMSG) /* told of by the tier: store_below_gone() */
		return;
	note_below(mv->s, p, frame_part_ns(m->part), m->key, PAST_LOST_BELOW);
}

static int seal(struct mover *mv, struct move *m)
{
	struct pool *p = mv->s->pool[m->pool];
	struct store_client *c = client_of(mv, m);
	uint64_t extent = m->tm.block.extent;
	uint32_t frame;
	struct pool_slab *slab;
	int r;

	if (pool_find(p, m->key, m->part, &frame)) {
		give_back(mv, m); /* somebody made it meanwhile */
		return 0;
	}
	slab = local_lent(c, &m->frame, &frame);
	c->granted--;
	m->frame.data = NULL;
	shared_store64(&slab->desc[frame].depth, m->tm.block.depth);
	r = pool_frame_seal(p, slab, frame, m->tm.block.checksum, extent,
			    mv->s->now_ns / NS_PER_MS);
	if (r < 0)
		return r;
	pool_count(p, POOL_C_promoted, 1);
	pool_count(p, POOL_C_promoted_bytes, frame_extent_bytes(extent));
	pool_count(p, POOL_C_promoted_ahead, !m->waiters);
	pool_count(p, POOL_C_promoted_passing,
		   price_passes_by(mv->s, p, slab, frame, true));
	return 0;
}

/* It was given up when nobody wanted it, or found no room when nobody waited,
 * and that has changed. */
static bool wanted_again(const struct mover *mv, const struct move *m)
{
	if (m->stale || mv->stopped)
		return false;
	if (m->cancelled && m->result == -ECANCELED)
		return m->waiters || m->ahead;
	return m->result == -ENOBUFS && m->asked > m->urgency;
}

struct summing {
	const struct local_part *part;
	uint64_t sum;
};

static void sum_run(void *ctx)
{
	struct summing *s = ctx;

	s->sum = hash_slices(&s->part->slices, s->part->bytes, 0);
}

/* Did the drive's bytes not come since the frame's memory fails? Then they shall
 * have another one. */
static bool frame_fails(struct mover *mv, const struct move *m)
{
	struct summing s = { .part = &m->frame };
	struct guard_fault fault;

	if (m->result != -EFAULT || !m->frame.data ||
	    guard_run(sum_run, &s, &fault) == 0)
		return false;
	local_broken(client_of(mv, m), &m->frame, &fault);
	return !m->stale && !mv->stopped && (m->waiters || m->ahead);
}

void up_finish(struct mover *mv, struct move *m)
{
	bool another = frame_fails(mv, m);
	int r = m->result;

	mv->full = false;
	if (r == 0 && m->stale)
		r = OC_STALE;
	if (r == 0 && m->frame.data)
		r = seal(mv, m);
	give_back(mv, m);
	if (another || wanted_again(mv, m)) {
		m->cancelled = false;
		requeue(mv, m);
		return;
	}
	if (r == -ENOBUFS && m->asked != TIER_WAITED)
		ahead_stop(mv, m->pool);
	if (r < 0 && r != -ECANCELED && r != -ENOBUFS && r != -ETIMEDOUT)
		note_failed(mv, m);
	move_end(mv, m, r == 0 ? 0 : OC_MISS);
}

void up_unwanted(struct mover *mv, struct move *m)
{
	if (m->cancelled || m->state == MOVE_OVER)
		return;
	m->cancelled = true;
	if (m->state == MOVE_QUEUED) {
		unqueue(mv, m);
		move_over(mv, m, -ECANCELED);
	} else if (m->state == MOVE_ROOM) {
		local_cancel(client_of(mv, m), m->seq);
	} else {
		mv->t->ops->cancel(mv->t, &m->tm);
	}
}

/* Those that wait for room end with their grant, those that fly with the tier. */
void up_deadlines(struct mover *mv)
{
	for (unsigned u = 0; u < TIER_BEHIND; u++)
		for (uint32_t n = 0; mv->queued[u] && n < STORE_POOLS_MAX; n++)
			for (struct move *m = mv->queue[u][n].head, *next; m;
			     m = next) {
				next = m->next;
				if (!m->deadline_ns ||
				    m->deadline_ns > mv->s->now_ns)
					continue;
				unqueue(mv, m);
				move_over(mv, m, -ETIMEDOUT);
			}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves under way: the table that keeps a part from being moved twice at once,
 * who waits for what, and when what has ended is dealt with.
 *
 *   QUEUED -> ROOM -> FLYING -> OVER	up; ROOM only when there was none
 *	       FLYING -> OVER		down
 *
 * The tier's done() and a grant's answer only put a move on the list `over`.
 * Frames are sealed or given back, and waiters told, by move_settle(): so no
 * callback of ours runs inside a call of theirs.
 */
#include "store/move_internal.h"
#include <errno.h>
#include <onecopy/onecopy.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "index/table.h"

/* How old the figures of the tier may be. */
#define STAT_NS (5 * NS_PER_MS)
/* A common drive. */
#define GUESS_LATENCY_NS  (100 * NS_PER_US)
#define GUESS_BYTES_PER_S (1ull << 30)
/* How often what is below is counted anew, where counting along was not exact. */
#define COUNT_NS (60 * NS_PER_S)

/* ---- lists ------------------------------------------------------------------ */

void move_list_add(struct move_list *l, struct move *m)
{
	m->next = NULL;
	m->prev = l->tail;
	if (l->tail)
		l->tail->next = m;
	else
		l->head = m;
	l->tail = m;
	l->n++;
}

void move_list_take(struct move_list *l, struct move *m)
{
	if (m->prev)
		m->prev->next = m->next;
	else
		l->head = m->next;
	if (m->next)
		m->next->prev = m->prev;
	else
		l->tail = m->prev;
	l->n--;
}

/* ---- the table -------------------------------------------------------------- */

static uint32_t bucket_of(uint32_t pool, const uint64_t key[4], uint64_t part)
{
	return (uint32_t)(table_hash(key, part ^ pool).h % MOVE_BUCKETS);
}

struct move *move_of(const struct mover *mv, uint32_t pool,
		     const uint64_t key[4], uint64_t part)
{
	struct move *m = mv->bucket[bucket_of(pool, key, part)];

	while (m && (m->pool != pool || m->part != part ||
		     memcmp(m->key, key, sizeof(m->key))))
		m = m->same;
	return m;
}

struct move *move_make(struct mover *mv, uint32_t pool, const uint64_t key[4],
		       uint64_t part)
{
	struct move *m = mem_alloc(sizeof(*m)), **bucket;

	if (!m)
		return NULL;
	m->mv = mv;
	m->pool = pool;
	m->part = part;
	memcpy(m->key, key, sizeof(m->key));
	m->tm.done = move_flown;
	bucket = &mv->bucket[bucket_of(pool, key, part)];
	m->same = *bucket;
	*bucket = m;
	return m;
}

static void unlist(struct mover *mv, struct move *m)
{
	struct move **link = &mv->bucket[bucket_of(m->pool, m->key, m->part)];

	while (*link != m)
		link = &(*link)->same;
	*link = m->same;
}

void move_over(struct mover *mv, struct move *m, int result)
{
	m->state = MOVE_OVER;
	m->result = result;
	move_list_add(&mv->over, m);
}

void move_flown(struct tier_move *tm, int result)
{
	struct move *m = container_of(tm, struct move, tm);

	m->mv->flying[tm->urgency]--;
	m->mv->flying_of[tm->urgency][m->pool]--;
	move_over(m->mv, m, result);
}

/* ---- who waits --------------------------------------------------------------- */

static void join(struct move *m, struct move_waiter *w)
{
	w->move = m;
	w->prev = NULL;
	w->next = m->waiters;
	if (w->next)
		w->next->prev = w;
	m->waiters = w;
}

static void leave(struct move_waiter *w)
{
	struct move *m = w->move;

	if (w->prev)
		w->prev->next = w->next;
	else
		m->waiters = w->next;
	if (w->next)
		w->next->prev = w->prev;
	w->move = NULL;
}

/* Nobody can join it any more when its waiters are told: one that asks again from
 * there begins another move. */
void move_end(struct mover *mv, struct move *m, int result)
{
	unlist(mv, m);
	while (m->waiters) {
		struct move_waiter *w = m->waiters;

		leave(w);
		w->done(w, result);
	}
	free(m->bounce);
	free(m);
}

/* Who waits for a part that was pushed out while it was written down waits for its
 * way back from now on. */
void move_turn(struct mover *mv, struct move *m)
{
	struct pool *p = mv->s->pool[m->pool];
	struct move_wish wish = { .urgency = TIER_WAITED,
				  .deadline_ns = m->deadline_ns };

	unlist(mv, m);
	while (m->waiters) {
		struct move_waiter *w = m->waiters;
		int r;

		leave(w);
		r = move_up_as(mv->s, p, m->key, m->part, &wish, w);
		if (r)
			w->done(w, r == OC_EXISTS ? 0 : OC_MISS);
	}
	free(m->bounce);
	free(m);
}

/* ---- asking ------------------------------------------------------------------ */

static struct mover *mover_of(const struct store *s)
{
	return s->mover;
}

bool move_find(const struct store *s, const struct pool *p,
	       const uint64_t key[4], uint64_t part,
	       struct tier_found *ret_found)
{
	struct mover *mv = mover_of(s);
	struct tier_found found;
	const struct move *m;

	if (!mv || !below_find(mv, p, key, part, &found))
		return false;
	m = move_of(mv, p->number, key, part);
	/* what waits here is not in the tier's queue yet */
	if ((!m || m->state == MOVE_QUEUED) && mv->stat.read.bytes_per_s)
		found.expected_ns +=
			(uint64_t)((double)mv->queued_bytes * 1e9 /
				   (double)mv->stat.read.bytes_per_s);
	*ret_found = found;
	return true;
}

static void hurry(struct mover *mv, struct move *m, enum tier_urgency urgency)
{
	if (urgency >= m->urgency)
		return;
	if (m->state == MOVE_QUEUED) {
		move_list_take(&mv->queue[m->urgency][m->pool], m);
		mv->queued[m->urgency]--;
		move_list_add(&mv->queue[urgency][m->pool], m);
		mv->queued[urgency]++;
	}
	m->urgency = urgency;
}

static uint64_t latest(uint64_t a, uint64_t b)
{
	return a && b ? MAX(a, b) : 0;
}

static void also(struct mover *mv, struct move *m, enum tier_urgency urgency,
		 uint64_t deadline_ns, struct move_waiter *w)
{
	hurry(mv, m, urgency);
	m->deadline_ns = latest(m->deadline_ns, deadline_ns);
	if (w)
		join(m, w);
	else
		m->ahead = true;
}

static struct move *begin_up(struct mover *mv, struct pool *p,
			     const uint64_t key[4], uint64_t part,
			     enum tier_urgency urgency, uint64_t deadline_ns,
			     const struct tier_found *found)
{
	struct move *m = move_make(mv, p->number, key, part);

	if (!m)
		return NULL;
	m->urgency = urgency;
	m->deadline_ns = deadline_ns;
	m->stamp = p->touch_clock;
	m->rate = UINT64_MAX;
	m->tm.block = found->block;
	m->state = MOVE_QUEUED;
	move_list_add(&mv->queue[urgency][p->number], m);
	mv->queued[urgency]++;
	mv->queued_bytes += frame_extent_bytes(found->block.extent);
	return m;
}

int move_up_as(struct store *s, struct pool *p, const uint64_t key[4],
	       uint64_t part, const struct move_wish *wish,
	       struct move_waiter *w)
{
	struct mover *mv = mover_of(s);
	struct tier_found found;
	struct move *m;
	uint32_t frame;

	if (pool_find(p, key, part, &frame))
		return OC_EXISTS;
	if (!mv || mv->stopped)
		return OC_MISS;
	m = move_of(mv, p->number, key, part);
	if (m && m->stale)
		return OC_MISS;
	if (m) {
		also(mv, m, wish->urgency, wish->deadline_ns, w);
		return 0;
	}
	if (!below_find(mv, p, key, part, &found))
		return OC_MISS;
	if (wish->urgency != TIER_WAITED &&
	    mv->queue[TIER_AHEAD][p->number].n >= AHEAD_MOST)
		return -EAGAIN;
	m = begin_up(mv, p, key, part, wish->urgency, wish->deadline_ns,
		     &found);
	if (!m)
		return OC_MISS;
	if (wish->rate) {
		m->rate = wish->rate;
		m->stamp = wish->stamp;
	}
	if (w)
		join(m, w);
	else
		m->ahead = true;
	up_pump(mv);
	return 0;
}

int move_up(struct store *s, struct pool *p, const uint64_t key[4],
	    uint64_t part, enum tier_urgency urgency, uint64_t deadline_ns,
	    struct move_waiter *w)
{
	struct move_wish wish = {
		.urgency = MIN(urgency, TIER_AHEAD),
		.deadline_ns = deadline_ns,
	};
	int r = move_up_as(s, p, key, part, &wish, w);

	if (r == 0 && urgency == TIER_WAITED)
		move_follow(s, p, key, part);
	return r;
}

void move_leave(struct move_waiter *w)
{
	struct move *m = w->move;

	if (!m)
		return;
	leave(w);
	if (!m->waiters && !m->ahead && !m->down)
		up_unwanted(m->mv, m);
}

/* ---- what has ended ----------------------------------------------------------- */

void move_settle(struct store *s)
{
	struct mover *mv = mover_of(s);
	struct move *m;

	if (!mv)
		return;
	while ((m = mv->over.head)) {
		move_list_take(&mv->over, m);
		if (m->down)
			down_finish(mv, m);
		else
			up_finish(mv, m);
	}
	up_pump(mv);
}

/* ---- the tier ------------------------------------------------------------------ */

/* What a dead server's device was writing is done with when the tier is up. */
static void settle_quarantine(struct mover *mv)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		if (mv->s->pool[n])
			pool_quarantine_settle(mv->s->pool[n]);
	mv->s->retry = true;
}

struct tier_price move_read_price(const struct mover *mv)
{
	if (mv->stat.read.bytes_per_s)
		return mv->stat.read;
	return (struct tier_price){ .latency_ns = GUESS_LATENCY_NS,
				    .bytes_per_s = GUESS_BYTES_PER_S };
}

/* Clients ask for what is below only where there is a price. */
static void publish(struct mover *mv)
{
	uint64_t now_ms = mv->s->now_ns / NS_PER_MS;
	const struct tier_price price = move_read_price(mv);

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		if (mv->s->pool[n])
			tier_publish_price(mv->t->ops->kind, &price,
					   mv->s->pool[n]->m, now_ms);
}

void move_pool(struct store *s, struct pool *p)
{
	if (s->mover)
		publish(s->mover);
	if (s->mover && s->mover->settled)
		pool_quarantine_settle(p);
}

static void look(struct mover *mv)
{
	enum tier_state was = mv->stat.state;

	mv->t->ops->stat(mv->t, &mv->stat);
	mv->stat_ns = mv->s->now_ns;
	if (mv->stat.state == TIER_COMING)
		return;
	if (!mv->hears && mv->stat.state != TIER_DOWN) {
		mv->hears = true;
		owed_pay(mv->s);
		/* one that was DOWN before it had found anything had nothing */
		mv->counted = false;
	}
	if (!mv->counted || (mv->inexact && mv->s->now_ns >= mv->count_ns)) {
		mv->count_ns = mv->s->now_ns + COUNT_NS;
		below_recount(mv);
	}
	if (!mv->settled && mv->stat.state == TIER_UP) {
		mv->settled = true;
		settle_quarantine(mv);
	}
	if (was != mv->stat.state)
		log_line(mv->stat.state == TIER_UP ? LOG_INFO : LOG_WARN,
			 "the %s tier is %s%s%s", mv->t->ops->name,
			 tier_state_name(mv->stat.state),
			 mv->stat.why[0] ? ": " : "", mv->stat.why);
}

#define PRICE_NS NS_PER_S

uint64_t move_tick(struct store *s)
{
	struct mover *mv = mover_of(s);
	uint64_t again;

	if (!mv)
		return UINT64_MAX;
	if (!mv->since_ns)
		mv->since_ns = s->now_ns;
	again = mv->t->ops->tick(mv->t, s->now_ns);
	/* what has just come to be there is counted before all is */
	move_settle(s);
	if (s->now_ns - mv->stat_ns >= STAT_NS || !mv->stat_ns)
		look(mv);
	if (s->now_ns - mv->price_ns >= PRICE_NS) {
		mv->price_ns = s->now_ns;
		publish(mv);
	}
	up_deadlines(mv);
	ahead_pump(mv);
	memory_tick(mv);
	move_settle(s);
	down_pump(mv);
	return again;
}

void store_below_ready(struct store *s, uint64_t now_ns)
{
	struct mover *mv = mover_of(s);

	s->now_ns = now_ns;
	if (!mv)
		return;
	mv->t->ops->ready(mv->t, now_ns);
	move_settle(s);
	down_pump(mv);
	grant_retry(s, false);
	move_settle(s);
	fetch_settle(s);
}

int store_below_attach(struct store *s, struct tier *t)
{
	struct mover *mv = mem_alloc(sizeof(*mv));

	if (!mv)
		return -ENOMEM;
	mv->s = s;
	mv->t = t;
	mv->stat.why = mv->stat.io = "";
	s->mover = mv;
	look(mv);
	publish(mv);
	return 0;
}

void store_below_serving(struct store *s)
{
	if (s->mover)
		s->mover->serving = true;
}

int store_below_stop(struct store *s, uint64_t deadline_ns)
{
	struct mover *mv = mover_of(s);
	int r;

	if (!mv)
		return 0;
	mv->stopped = true;
	r = mv->t->ops->stop(mv->t, deadline_ns);
	move_settle(s);
	return r;
}

/* Without a word to the tier, which is closed already, or never will be. */
void mover_destroy(struct mover *mv)
{
	if (!mv)
		return;
	for (uint32_t b = 0; b < MOVE_BUCKETS; b++)
		while (mv->bucket[b]) {
			struct move *m = mv->bucket[b];

			mv->bucket[b] = m->same;
			free(m->bounce);
			free(m);
		}
	down_fini(mv);
	save_fini(mv);
	free(mv->of_space);
	free(mv);
}

const struct tier_stat *store_below_stat(const struct store *s)
{
	return s->mover ? &s->mover->stat : NULL;
}

unsigned store_below_kind(const struct store *s)
{
	return s->mover ? s->mover->t->ops->kind : OC_TIER_NONE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ahead of need: blocks that somebody will want, brought up in the order of their
 * chain.
 *
 *   a session resumes		all that it has below
 *   a session is expected back	the same, so early that it is there in time;
 *				by others, as far as they are believed
 *				(policy/ladder.h: ladder_prefetch())
 *   somebody waits for a block	what follows it in the chain of a session
 *
 * A wish is a session and a range of its keys. It ends when its last key was
 * looked at, when its session ends, or when there is no room for what nobody
 * waits for (move_up.c). The table of wishes is small: a session's newer wish
 * takes the place of its older one, and one that finds no place is dropped.
 */
#include <errno.h>
#include <onecopy/onecopy.h>
#include "base/clock.h"
#include "pool/session.h"
#include "store/move_internal.h"
#include "store/session.h"

/* Keys that are looked at in one turn, for all wishes. */
#define LOOK_KEYS 512u
#define KEYS_ONCE 64u
/* Blocks behind one that is waited for. */
#define FOLLOW_KEYS 64u
/* Sessions that are looked at to find a chain. */
#define FOLLOW_SESSIONS 256u
/* Loading begins so much earlier than it would have to, in 1/1000 of it. */
#define EARLY_PM 500u

static struct ahead *wish_of(struct mover *mv, uint32_t pool, uint64_t session)
{
	for (uint32_t i = 0; i < mv->n_aheads; i++)
		if (mv->ahead[i].pool == pool &&
		    mv->ahead[i].session == session)
			return &mv->ahead[i];
	return NULL;
}

static uint32_t wishes_of(const struct mover *mv, uint32_t pool)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < mv->n_aheads; i++)
		n += mv->ahead[i].pool == pool;
	return n;
}

static void wish(struct mover *mv, struct pool *p,
		 const struct session_record *r, uint32_t at, uint32_t end,
		 uint64_t rate)
{
	uint64_t id = pool_session_id(p, r);
	struct ahead *a = wish_of(mv, p->number, id);

	if (at >= end)
		return;
	if (!a && wishes_of(mv, p->number) == AHEADS_TENANT)
		return;
	if (!a)
		a = &mv->ahead[mv->n_aheads++];
	*a = (struct ahead){
		.pool = p->number,
		.session = id,
		.at = at,
		.end = end,
		.rate = rate,
		.stamp = p->touch_clock,
	};
}

void move_session(struct store *s, struct pool *p,
		  const struct session_record *r)
{
	if (s->mover && pool_counter(p, POOL_C_below_parts))
		wish(s->mover, p, r, 0, pool_session_keys(p, r),
		     LADDER_RATE_ONE);
}

/* ---- a wish, piece by piece ------------------------------------------------------- */

/* All parts of a block. -EAGAIN: as much is under way as may be. */
static int bring(struct mover *mv, struct pool *p, const struct ahead *a,
		 const uint64_t key[4], uint32_t ns)
{
	const struct move_wish w = { .urgency = TIER_AHEAD,
				     .rate = a->rate,
				     .stamp = a->stamp };
	struct ns_parts parts = ns_parts_of(p, ns);

	for (uint32_t i = 0; i < parts.n; i++)
		if (move_up_as(mv->s, p, key, ns_parts_at(&parts, i), &w,
			       NULL) == -EAGAIN)
			return -EAGAIN;
	return 0;
}

/* True: there is nothing more to do for it. */
static bool step(struct mover *mv, struct ahead *a, uint32_t *looks)
{
	struct pool *p = mv->s->pool[a->pool];
	const struct session_record *r = pool_session_at(p, a->session);
	uint64_t key[KEYS_ONCE][4];
	uint32_t end, n, ns;

	if (!r)
		return true;
	end = MIN(a->end, pool_session_keys(p, r));
	ns = (uint32_t)shared_load64(&r->ns);
	while (a->at < end && *looks) {
		n = MIN(MIN(end - a->at, KEYS_ONCE), *looks);
		history_read(&p->sessions->history, shared_load64(&r->head),
			     a->at, n, key);
		*looks -= n;
		for (uint32_t i = 0; i < n; i++, a->at++)
			if (bring(mv, p, a, key[i], ns) < 0)
				return false;
	}
	return a->at >= end;
}

/* ---- returns that are expected ---------------------------------------------------- */

/* Bytes that a session has below, at most: its keys, each as large as the
 * tenant's parts there are on average. */
static uint64_t session_bytes(const struct pool *p,
			      const struct session_record *r)
{
	uint64_t parts = pool_counter(p, POOL_C_below_parts);
	struct ns_parts of = ns_parts_of(p, (uint32_t)shared_load64(&r->ns));

	if (!parts)
		return 0;
	return pool_counter(p, POOL_C_below_bytes) / parts * of.n *
	       pool_session_keys(p, r);
}

static bool is_due(const struct mover *mv, const struct pool *p,
		   const struct session_record *r, uint64_t in_ms)
{
	const struct tier_record *dram = &p->m->tier[OC_TIER_DRAM];
	const struct tier_price below = move_read_price(mv);
	struct ladder_rung rungs[2] = {
		{ .latency_ns = shared_load64(&dram->latency_ns),
		  .bytes_per_s = shared_load64(&dram->bytes_per_s) },
		{ .latency_ns = below.latency_ns,
		  .bytes_per_s = below.bytes_per_s },
	};
	struct ladder_return ret = { .in_ms = in_ms,
				     .bytes = session_bytes(p, r),
				     .early_pm = EARLY_PM };
	struct ladder_block b = {
		.bytes = ret.bytes / MAX(pool_session_keys(p, r), 1u),
		.again_ns = LADDER_NEVER,
		.rate = LADDER_RATE_ONE / MAX(in_ms, 1ull),
		.on = 1u << 1,
	};

	return ret.bytes &&
	       ladder_prefetch(rungs, 2, 1, &b, &ret).what == LADDER_PROMOTE;
}

/* Others who say it of another moment each time: once in a lease is enough, until
 * it has had a turn. */
static bool was_fetched(const struct store *s, const struct session_record *r,
			uint64_t word)
{
	uint64_t now = s->now_ns / NS_PER_MS;
	uint64_t fetched = shared_load64(&r->fetched_for);

	if (!(word & SESSION_TOLD) || !fetched)
		return word == fetched;
	fetched = session_expected(fetched);
	return now - MIN(now, fetched) < store_session_limits(s)->lease_ms;
}

void move_expected(struct store *s, struct pool *p, struct session_record *r)
{
	struct mover *mv = s->mover;
	uint64_t now = s->now_ns / NS_PER_MS, word, at, in_ms, rate;

	if (!mv)
		return;
	word = shared_load64(&r->expected_ms);
	if (!word || was_fetched(s, r, word) || expect_over(s, word))
		return;
	at = session_expected(word);
	in_ms = at - MIN(now, at);
	if (!is_due(mv, p, r, in_ms))
		return;
	/* once for each return; who dies in between does it again */
	shared_store64(&r->fetched_for, word);
	rate = LADDER_RATE_ONE / MAX(in_ms, 1ull);
	if (word & SESSION_TOLD)
		rate = MIN(rate, expect_rate(s, p, r));
	wish(mv, p, r, 0, pool_session_keys(p, r), rate);
}

/* ---- what follows ------------------------------------------------------------------- */

static bool has_at(const struct pool *p, const struct session_record *r,
		   uint32_t ns, uint32_t depth, const uint64_t key[4])
{
	uint64_t have[1][4];

	if (pool_session_state(r) == SESSION_FREE ||
	    shared_load64(&r->ns) != ns || pool_session_keys(p, r) <= depth)
		return false;
	history_read(&p->sessions->history, shared_load64(&r->head), depth - 1,
		     1, have);
	return !memcmp(have[0], key, sizeof(have[0]));
}

void move_follow(struct store *s, struct pool *p, const uint64_t key[4],
		 uint64_t part)
{
	struct mover *mv = s->mover;
	const struct pool_sessions *all = p->sessions;
	const struct move *m = move_of(mv, p->number, key, part);
	uint32_t depth = m && !m->down ? m->tm.block.depth : 0;
	uint32_t ns = frame_part_ns(part);

	for (uint32_t i = 0; depth && all && i < all->end; i++) {
		const struct session_record *r = pool_session_record(all, i);
		const struct ahead *a;
		uint32_t end;

		if (i == FOLLOW_SESSIONS)
			return;
		if (!has_at(p, r, ns, depth, key))
			continue;
		a = wish_of(mv, p->number, pool_session_id(p, r));
		end = MIN(depth + FOLLOW_KEYS, pool_session_keys(p, r));
		/* one that is wished for whole has it already */
		if (!a || a->end < end)
			wish(mv, p, r, a ? MIN(a->at, depth) : depth, end,
			     LADDER_RATE_ONE);
		return;
	}
}

void ahead_stop(struct mover *mv, uint32_t pool)
{
	for (uint32_t i = 0; i < mv->n_aheads;)
		if (mv->ahead[i].pool == pool)
			mv->ahead[i] = mv->ahead[--mv->n_aheads];
		else
			i++;
}

void ahead_pump(struct mover *mv)
{
	uint32_t looks = LOOK_KEYS;

	if (mv->stopped)
		return;
	for (uint32_t i = 0; i < mv->n_aheads && looks;) {
		if (mv->queue[TIER_AHEAD][mv->ahead[i].pool].n >= AHEAD_MOST)
			i++;
		else if (step(mv, &mv->ahead[i], &looks))
			mv->ahead[i] = mv->ahead[--mv->n_aheads];
		else
			i++;
	}
}

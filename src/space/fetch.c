/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks from tiers below, and what is likely to be wanted next.
 *
 * A row of blocks is asked for at once and comes in order; each is pinned when
 * it has come, and mapped at once where somebody waits. The lock is not held
 * while the row is waited for.
 *
 * What is brought ahead is pinned and not mapped (BLOCK_KEPT): its first touch is
 * a fault that costs microseconds, and tells that the reader is there, so that
 * more is brought. Whoever reads on gets twice as much ahead each time.
 *
 * A space lets go before it brings up, as far as it would hold more than half of
 * what the node has: the node could not make room where everything is pinned.
 */
#include <stdlib.h>
#include "client/reach.h"
#include "space/space.h"

#define AHEAD_FIRST (1ull << 20)
#define AHEAD_MOST  (32ull << 20)
/* How long the node may look for room before the space makes some. */
#define TRY_NS (200 * NS_PER_MS)

struct row {
	oc_span *sp;
	size_t first, n;
	int64_t step;
	bool map;    /* and not only those that somebody waits for */
	size_t came; /* and are here */
};

/* The kth block of a row. */
static size_t row_at(const struct row *row, size_t k)
{
	return row->first + (size_t)((int64_t)k * row->step);
}

/* ---- room ---- */

/* Bytes that a space with blocks from below holds at most. */
static uint64_t share_of(const oc_space *s)
{
	return shared_load64(&s->c->meta->header.limit_bytes) / 2;
}

static void keep_within(oc_span *sp, size_t n)
{
	oc_space *s = sp->s;
	uint64_t most = share_of(s) / MAX(sp->shape.part_bytes, 1ull);

	if (s->n.pins + n > most)
		space_make_room(s, (size_t)(s->n.pins + n - most));
}

/* ---- a row ---- */

/* A touch was there before this answer, and found it resident. */
static void came_before(oc_span *sp, size_t i, bool map)
{
	struct block *b = &sp->block[i];
	struct oc_space_report *n = &sp->s->n;

	if (b->flags & BLOCK_COUNTED)
		return;
	b->flags |= BLOCK_COUNTED;
	n->moved_bytes += b->pin.data ? b->pin.bytes : sp->shape.part_bytes;
	if (map || b->state == OC_BLOCK_ABSENT)
		return;
	n->ahead++;
	n->ahead_used++;
}

/* False: it has left again, before it could be pinned. */
static bool came(oc_span *sp, size_t i, bool map)
{
	struct block *b = &sp->block[i];
	bool wanted = b->flags & BLOCK_WANTED;

	if (b->state != OC_BLOCK_ABSENT || b->pin.data) {
		came_before(sp, i, map);
		return true;
	}
	if (blocks_pin(sp, i, 1, 0) || !b->pin.data)
		return false;
	b->flags |= BLOCK_COUNTED;
	sp->s->n.moved_bytes += b->pin.bytes;
	if (wanted)
		b->flags |= BLOCK_BROUGHT;
	if (!wanted && !map) {
		b->flags |= BLOCK_KEPT;
		sp->s->n.ahead++;
		return true;
	}
	blocks_move(sp, i, 1);
	if (blocks_map(sp, i, 1) == 0 && wanted)
		blocks_wake(sp, i, 1);
	return true;
}

static void arrived(void *ctx, const struct reach_job *job, int result)
{
	struct row *row = ctx;
	oc_span *sp = row->sp;

	if (result)
		return;
	space_lock(sp->s);
	if (!sp->going)
		row->came += came(sp, row_at(row, job->block), row->map);
	space_unlock(sp->s);
}

/* Those of the blocks that are not here. */
static size_t jobs_of(const struct row *row, struct reach_job *jobs)
{
	const oc_span *sp = row->sp;
	size_t found = 0;

	for (size_t k = 0; k < row->n; k++) {
		const struct block *b = &sp->block[row_at(row, k)];

		if (b->state == OC_BLOCK_ABSENT && !b->pin.data)
			jobs[found++] =
				(struct reach_job){ k, 1u << sp->part.group };
	}
	return found;
}

/* One try; 0, -errno. The keys are a copy: a block may get another meanwhile. */
static int fetch_row(struct row *row, struct reach_job *jobs, size_t n_jobs,
		     uint64_t deadline)
{
	struct oc_key *keys = mem_array(row->n, sizeof(*keys));
	oc_span *sp = row->sp;
	oc_space *s = sp->s;
	struct reach r;
	int e = -ENOMEM;

	for (size_t k = 0; k < row->n && keys; k++)
		keys[k] = sp->key[row_at(row, k)];
	if (keys)
		e = reach_init(&r, s->ns, keys, row->n, sp->part.rank,
			       deadline);
	if (e == 0) {
		row->came = 0;
		space_unlock(s);
		reach_fetch(&r, jobs, n_jobs, arrived, row);
		space_lock(s);
		reach_fini(&r);
	}
	free(keys);
	return e;
}

/* Is one of them somewhere, so that only room was missing, or a moment in which
 * eviction had it in hand? The lock is not held meanwhile. */
static bool still_there(const struct row *row, const struct reach_job *jobs,
			size_t n_jobs, uint64_t deadline)
{
	oc_span *sp = row->sp;
	oc_space *s = sp->s;
	bool there = false;
	int r = 0;

	for (size_t i = 0; i < n_jobs && r == 0 && !there; i++) {
		struct oc_key key = sp->key[row_at(row, jobs[i].block)];
		struct ring_place place = { 0 };

		space_unlock(s);
		r = reach_one(s->ns, &key, ns_part(s->ns, sp->part), deadline,
			      &place);
		there = r == 0 && place.tier;
		space_lock(s);
	}
	return there;
}

/* Those that are resident. False: pins have run out. */
static bool pin_those_here(oc_span *sp, size_t first, size_t n)
{
	int r = blocks_pin(sp, first, n, 0);

	while (r == -EDQUOT && space_make_room(sp->s, n))
		r = blocks_pin(sp, first, n, 0);
	return r != -EDQUOT;
}

static int fetch(struct row *row, struct reach_job *jobs, uint64_t deadline)
{
	oc_span *sp = row->sp;
	size_t n_jobs;
	int r = 0;

	while (r == 0 && !sp->going && clock_ns() < deadline) {
		n_jobs = jobs_of(row, jobs);
		if (!n_jobs)
			break;
		keep_within(sp, n_jobs);
		r = fetch_row(row, jobs, n_jobs,
			      MIN(deadline, clock_ns() + TRY_NS));
		/* ahead of time is not worth a fight */
		if (r || (!row->map && (!row->came || row->came == n_jobs)))
			break;
		if (row->map && !pin_those_here(sp, row->first, row->n))
			break;
		/* Gone, or the node had no room. */
		n_jobs = jobs_of(row, jobs);
		if (!n_jobs ||
		    (!row->came && !still_there(row, jobs, n_jobs, deadline)))
			break;
		space_make_room(sp->s, n_jobs);
	}
	return r;
}

static int fetch_anyhow(struct row *row, uint64_t deadline)
{
	struct reach_job *jobs;
	int r;

	if (!row->n || !reach_exists(row->sp->s->c))
		return 0;
	jobs = mem_array(row->n, sizeof(*jobs));
	if (!jobs)
		return -ENOMEM;
	r = fetch(row, jobs, deadline);
	free(jobs);
	return r;
}

int blocks_fetch(oc_span *sp, size_t first, size_t n, uint64_t deadline)
{
	struct row row = {
		.sp = sp, .first = first, .n = n, .step = 1, .map = true
	};

	return fetch_anyhow(&row, deadline);
}

int blocks_fetch_ahead(oc_span *sp, size_t first, size_t n, int64_t step,
		       uint64_t deadline)
{
	struct row row = { .sp = sp, .first = first, .n = n, .step = step };

	return fetch_anyhow(&row, deadline);
}

/* ---- what comes next ---- */

static size_t blocks_in(const oc_span *sp, uint64_t bytes)
{
	return MAX((size_t)(bytes / MAX(sp->shape.part_bytes, 1ull)),
		   (size_t)1);
}

/* What was asked for ahead is on this way, and not far behind. */
static bool is_ahead(const oc_span *sp, size_t next, int64_t step)
{
	return step == sp->ahead_step &&
	       walk_steps(sp->ahead_from, next, step) >= 0 &&
	       walk_steps(next, sp->ahead_end + (size_t)step, step) >= 0;
}

void span_read_on(oc_span *sp, size_t last)
{
	/* what is ahead must not push out what is being read */
	size_t most = blocks_in(sp, MIN(AHEAD_MOST, share_of(sp->s) / 4));
	int64_t step = sp->walk.goes, left;
	size_t next = last + (size_t)step, from, n;

	if (!sp->below || sp->pattern == OC_ADVISE_RANDOM || !step ||
	    next >= sp->n)
		return;
	if (!is_ahead(sp, next, step)) {
		sp->ahead_step = step;
		sp->ahead_from = sp->ahead_end = next;
		sp->ahead_n = 0;
	}
	left = walk_steps(next, sp->ahead_end, step);
	if (sp->ahead_n && left > (int64_t)sp->ahead_n / 2)
		return;
	from = left > 0 ? sp->ahead_end : next;
	if (from >= sp->n)
		return;
	n = sp->ahead_n ? MIN(2 * sp->ahead_n, most)
			: MIN(blocks_in(sp, AHEAD_FIRST), most);
	sp->ahead_n = n;
	n = MIN(n, walk_room(from, sp->n, step));
	if (space_hand_ahead(sp, from, n, step))
		return;
	sp->s->n.ahead_asked += n;
	sp->ahead_from = next;
	sp->ahead_end = from + (size_t)((int64_t)n * step);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that are asked for: at once by a fault where they are resident, else by
 * the worker or by the caller of a prefetch, who may wait.
 */
#include "client/reach.h"
#include "space/space.h"

/* What a fault maps with the block that was touched. */
#define AROUND_FIRST (64ull << 10)
#define AROUND_MOST  (4ull << 20)
#define BRING_CHUNK  64u /* blocks between two moments without the lock */
#define ROOM_CHUNK   64u

void span_idle(oc_span *sp)
{
	if (--sp->busy == 0)
		pthread_cond_broadcast(&sp->s->done);
}

/* ---- a fault's ---- */

static size_t blocks_in(const oc_span *sp, uint64_t bytes)
{
	uint64_t each = sp->shape.piece_bytes * sp->shape.slices;

	return MAX((size_t)(bytes / each), (size_t)1);
}

/* Does a fault go on where the last one's blocks ended, at either end? */
static bool goes_on(int64_t step)
{
	return step == 1 || step == -1;
}

/* How many blocks from i on, i with them, or backwards. Who goes on where the
 * last fault ended gets twice as much. */
static size_t window(oc_span *sp, size_t i, int64_t step)
{
	size_t most = blocks_in(sp, AROUND_MOST);

	if (sp->pattern == OC_ADVISE_RANDOM)
		return 1;
	if (sp->pattern == OC_ADVISE_READ_MOSTLY)
		sp->window = 4 * most;
	else if (goes_on(step))
		sp->window = MIN(MAX(2 * sp->window, (size_t)1), most);
	else
		sp->window = blocks_in(sp, AROUND_FIRST);
	return MIN(sp->window, walk_room(i, sp->n, step == -1 ? -1 : 1));
}

/* The blocks that follow i and share a mapping with it. */
static size_t joined(const oc_span *sp, size_t i, size_t most)
{
	size_t n = 1;

	while (n < most) {
		struct spot a = block_spot(&sp->block[i + n - 1]);
		struct spot b = block_spot(&sp->block[i + n]);

		if (sp->block[i + n].state != OC_BLOCK_ABSENT ||
		    !shape_joins(&sp->shape, &a, &b, 0))
			break;
		n++;
	}
	return n;
}

static bool is_ready(const oc_span *sp, size_t i)
{
	const struct block *b = &sp->block[i];

	return b->state != OC_BLOCK_ABSENT || !b->pin.data ||
	       slab_is_open(sp->s, b->pin.region);
}

/* Of n blocks from i on, or backwards, those that can be mapped without asking
 * the node. */
static size_t ready(const oc_span *sp, size_t i, size_t n, bool back)
{
	size_t k = 0;

	while (k < n && is_ready(sp, back ? i - k : i + k))
		k++;
	return k;
}

/* Block i is pinned, its slab's descriptor open. */
static int map_from(oc_span *sp, size_t i, size_t n, int64_t step)
{
	bool back = step == -1;
	size_t k = ready(sp, i, n, back), a;
	int r;

	/* What is only guessed costs one mapping at most. */
	if (!goes_on(step) && sp->pattern != OC_ADVISE_READ_MOSTLY)
		k = joined(sp, i, k);
	a = back ? i + 1 - k : i;
	r = blocks_map(sp, a, k);
	for (size_t x = a; x < a + k && r == 0; x++)
		sp->s->n.mapped_around += x != i &&
					  sp->block[x].state == OC_BLOCK_MAPPED;
	walk_mapped(&sp->walk, a, a + k - 1);
	if (r == 0)
		span_read_on(sp, step == 1 ? a + k - 1 : back ? a : i);
	return r;
}

int block_map_quickly(oc_span *sp, size_t i)
{
	int64_t step = walk_touch(&sp->walk, i);
	size_t n = window(sp, i, step), a = step == -1 ? i + 1 - n : i;
	const struct block *b = &sp->block[i];
	uint32_t region;
	int r = block_wants_move(sp, i) ? OC_BUSY
					: blocks_pin(sp, a, n, PIN_QUICK);

	region = b->pin.region;
	if (r == 0 && b->pin.data && slab_get_kept(sp->s, region) == 0) {
		r = map_from(sp, i, n, step);
		slab_put(sp->s, region);
	} else {
		r = OC_BUSY;
	}
	blocks_unpin(sp, a, n);
	return r ? OC_BUSY : 0;
}

/* ---- who may wait ---- */

/* Pins, with room made for them. */
static int pin_some(oc_span *sp, size_t first, size_t n)
{
	int r = blocks_pin(sp, first, n, 0);

	while (r == -EDQUOT && space_make_room(sp->s, ROOM_CHUNK))
		r = blocks_pin(sp, first, n, 0);
	return r;
}

static int mend(oc_span *sp, size_t i)
{
	struct block *b = &sp->block[i];

	if (!(b->flags & BLOCK_HALF))
		return 0;
	/* What was written is in its frame; all else comes again. */
	return b->grant || b->state == OC_BLOCK_BUS ? block_map_again(sp, i)
						    : blocks_let_go(sp, i, 1);
}

static int map_one(oc_span *sp, size_t i)
{
	struct block *b = &sp->block[i];
	bool there;
	int r = 0;

	if (b->state == OC_BLOCK_ABSENT)
		r = pin_some(sp, i, 1);
	there = b->pin.data != NULL;
	if (r == 0 && b->state == OC_BLOCK_ABSENT && there)
		r = blocks_map(sp, i, 1);
	/* it is not lost: there are no mappings for it, and its pin was given back */
	if (r == 0 && b->state == OC_BLOCK_ABSENT && there &&
	    sp->s->how == OC_SPACE_EXPLICIT)
		return -ENOSPC;
	/* Room for mappings is short: others' are given up for this one. */
	if (r == -ENOMEM && space_make_room(sp->s, ROOM_CHUNK) &&
	    mend(sp, i) == 0 && pin_some(sp, i, 1) == 0)
		r = blocks_map(sp, i, 1);
	return r;
}

static int bring_one(oc_span *sp, size_t i, unsigned flags)
{
	struct block *b = &sp->block[i];
	int r;

	block_wait(sp, i);
	r = mend(sp, i);
	if (r == 0 && flags & OC_PREFETCH_WRITE) {
		/* from where it is pinned: no need to show it before */
		r = b->state == OC_BLOCK_ABSENT ? pin_some(sp, i, 1) : 0;
		if (r == 0)
			r = block_own(sp, i);
	}
	if (r == 0)
		r = map_one(sp, i);
	if (r == 0 && b->state == OC_BLOCK_ABSENT)
		r = block_lose(sp, i);
	if (r == 0 && flags & OC_PREFETCH_WRITE)
		r = block_own(sp, i); /* what has been computed */
	if (b->state == OC_BLOCK_BUS || b->state == OC_BLOCK_ZERO)
		r = r ? r : OC_MISS;
	return r;
}

static int bring_chunk(oc_span *sp, size_t first, size_t n, unsigned flags,
		       uint64_t deadline)
{
	bool lost = false, write = flags & OC_PREFETCH_WRITE;
	int r = pin_some(sp, first, n);

	if (r == 0)
		r = write ? blocks_fetch_ahead(sp, first, n, 1, deadline)
			  : blocks_fetch(sp, first, n, deadline);
	if (r == 0 && !write) {
		blocks_move(sp, first, n);
		blocks_map_patiently(sp, first, n); /* then one by one */
	}
	r = 0;
	for (size_t i = first; i < first + n && r >= 0; i++) {
		r = bring_one(sp, i, flags);
		lost |= r == OC_MISS;
	}
	return r < 0 ? r : lost ? OC_MISS : 0;
}

int block_bring_as(oc_span *sp, size_t i, const struct oc_key *as,
		   uint64_t deadline)
{
	struct block *b = &sp->block[i];
	int r;

	block_wait(sp, i);
	r = mend(sp, i);
	if (r == 0 && b->state == OC_BLOCK_ABSENT)
		r = pin_some(sp, i, 1);
	if (r == 0)
		r = blocks_fetch_ahead(sp, i, 1, 1, deadline);
	if (r == 0 && b->state == OC_BLOCK_ABSENT && !b->pin.data)
		r = block_lose(sp, i);
	if (r == 0 && b->state == OC_BLOCK_MAPPED && block_written(sp, i))
		r = -EBUSY;
	return r ? r : block_own_as(sp, i, as);
}

int blocks_bring(oc_span *sp, size_t first, size_t n, unsigned flags,
		 uint64_t deadline)
{
	bool lost = false;
	int r = 0;

	for (size_t at = first; at < first + n && r >= 0; at += BRING_CHUNK) {
		r = bring_chunk(sp, at,
				MIN(first + n - at, (size_t)BRING_CHUNK), flags,
				deadline);
		lost |= r == OC_MISS;
		if (r >= 0 && at + BRING_CHUNK < first + n) {
			if (clock_ns() >= deadline)
				return -ETIMEDOUT;
			space_unlock(sp->s);
			space_lock(sp->s);
		}
	}
	return r < 0 ? r : lost ? OC_MISS : 0;
}

/* ---- the workers ---- */

/* One more where all have something in hand; without it they take turns. */
static void more_workers(oc_space *s)
{
	if (s->idle >= s->jobs_tail - s->jobs_head || s->workers == WORKERS ||
	    atomic_load_explicit(&s->stop, memory_order_relaxed))
		return;
	if (space_start_thread(s, worker_main, &s->worker[s->workers]) == 0)
		s->workers++;
}

static int hand(oc_space *s, const struct job *j)
{
	if (s->jobs_tail - s->jobs_head >= JOBS)
		return -EAGAIN;
	s->job[s->jobs_tail++ % JOBS] = *j;
	more_workers(s);
	pthread_cond_signal(&s->work);
	return 0;
}

int space_hand(oc_span *sp, size_t first, size_t n, unsigned flags)
{
	return hand(sp->s, &(struct job){ sp, first, n, 1, flags });
}

int space_hand_ahead(oc_span *sp, size_t first, size_t n, int64_t step)
{
	return hand(sp->s, &(struct job){ sp, first, n, step, JOB_AHEAD });
}

void blocks_wake(oc_span *sp, size_t first, size_t n)
{
	if (sp->s->how != OC_SPACE_FAULTS)
		return;
	for (uint32_t s = 0; s < sp->shape.slices; s++)
		uffd_wake(sp->s->uffd, block_at(sp, s, first),
			  n * sp->shape.piece_bytes);
}

/* A thread waits for it, and gets something: what cannot be had in time is
 * lost. */
static void settle(oc_span *sp, size_t i, unsigned flags)
{
	struct oc_space_report *n = &sp->s->n;
	struct block *b = &sp->block[i];

	if (b->state == OC_BLOCK_ABSENT)
		block_lose(sp, i);
	if (b->state == OC_BLOCK_BUS || b->state == OC_BLOCK_ZERO)
		n->faults_lost++;
	else if (flags & OC_PREFETCH_WRITE)
		n->faults_write++;
	else if (b->flags & BLOCK_BROUGHT)
		n->faults_bring++;
	else
		n->faults_map++;
	space_stalled(sp->s, b->wanted_ns);
}

/* A block that had to come from below, as the next one will. */
static void note_below(oc_span *sp, const struct job *j)
{
	const struct block *b = &sp->block[j->first];

	if (j->n != 1 || !(b->flags & BLOCK_BROUGHT) || !reach_exists(sp->s->c))
		return;
	sp->below = true;
	span_read_on(sp, j->first);
}

static void work_ahead(oc_span *sp, const struct job *j)
{
	span_busy(sp);
	blocks_fetch_ahead(sp, j->first, j->n, j->step, space_deadline(sp->s));
	span_idle(sp);
}

static void work_on(oc_span *sp, const struct job *j)
{
	span_busy(sp);
	blocks_bring(sp, j->first, j->n, j->flags, space_deadline(sp->s));
	note_below(sp, j);
	for (size_t i = j->first; i < j->first + j->n; i++) {
		if (sp->block[i].flags & BLOCK_WANTED)
			settle(sp, i, j->flags);
		else
			sp->s->n.prefetched++;
		block_unflag(&sp->block[i],
			     BLOCK_WANTED | BLOCK_AHEAD | BLOCK_BROUGHT);
	}
	blocks_wake(sp, j->first, j->n);
	span_idle(sp);
}

void *worker_main(void *space)
{
	oc_space *s = space;

	space_lock(s);
	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		struct job j;

		if (s->jobs_head == s->jobs_tail) {
			s->idle++;
			must(pthread_cond_wait(&s->work, &s->lock) == 0);
			s->idle--;
			continue;
		}
		j = s->job[s->jobs_head++ % JOBS];
		if (!j.span || j.span->going)
			continue;
		if (j.flags & JOB_AHEAD)
			work_ahead(j.span, &j);
		else
			work_on(j.span, &j);
	}
	space_unlock(s);
	return NULL;
}

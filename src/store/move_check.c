/* SPDX-License-Identifier: Apache-2.0 */
/* Recounts the moves under way and what is below. For tests and `onecopy check`. */
#include <stdio.h>
#include "store/move_internal.h"

struct recount {
	struct mover *mv;
	void (*problem)(void *ctx, const char *text);
	void *ctx;
	uint32_t queued[TIER_BEHIND], flying[TIER_URGENCIES];
	uint32_t roomless, over;
	uint64_t queued_bytes, down_bytes;
	uint64_t parts, bytes; /* below */
};

static void say(const struct recount *r, const char *what, uint64_t have,
		uint64_t want)
{
	char text[160];

	if (have == want)
		return;
	snprintf(text, sizeof(text), "moves: %s is %llu, counted are %llu",
		 what, (unsigned long long)have, (unsigned long long)want);
	r->problem(r->ctx, text);
}

/* A frame of a move is what the move says it is. */
static void check_frame(const struct recount *r, const struct move *m)
{
	const struct pool *p = r->mv->s->pool[m->pool];
	enum frame_state state;
	uint32_t frame;
	struct pool_slab *slab;

	if (m->state == MOVE_QUEUED || m->state == MOVE_ROOM || !m->frame.data)
		return;
	slab = pool_locate(p, m->frame.loc, &frame);
	if (!slab || pool_frame_gen(slab, frame) != m->frame.gen) {
		r->problem(r->ctx, "a move's frame is another's");
		return;
	}
	state = pool_frame_state(slab, frame);
	if (!m->down &&
	    (state != FRAME_GRANTED ||
	     shared_load64(&slab->desc[frame].owner) != CLIENT_SERVER))
		r->problem(r->ctx, "a move up has a frame that is not lent");
	if (m->down && state != FRAME_SEALED && state != FRAME_DOOMED)
		r->problem(r->ctx, "a move down has a frame that left");
}

static void count_move(struct recount *r, const struct move *m)
{
	if (m->state == MOVE_QUEUED) {
		r->queued[m->urgency]++;
		r->queued_bytes += frame_extent_bytes(m->tm.block.extent);
	}
	r->roomless += m->state == MOVE_ROOM;
	r->over += m->state == MOVE_OVER;
	if (m->state == MOVE_FLYING)
		r->flying[m->tm.urgency]++;
	if (m->down)
		r->down_bytes += m->frame.bytes;
	for (const struct move_waiter *w = m->waiters; w; w = w->next)
		if (w->move != m || (w->next && w->next->prev != w))
			r->problem(r->ctx, "a waiter waits for another move");
	check_frame(r, m);
}

static void count_below(void *ctx, const struct tier_id *id,
			const struct tier_block *block)
{
	struct recount *r = ctx;
	const struct mover *mv = r->mv;

	if (id->space >= mv->n_spaces || !mv->of_space[id->space].ns)
		return;
	r->parts++;
	r->bytes += frame_extent_bytes(block->extent);
}

static void check_below(struct recount *r)
{
	uint64_t parts = 0, bytes = 0;

	if (!r->mv->counted || r->mv->inexact || r->mv->over.n)
		return;
	r->mv->t->ops->each(r->mv->t, count_below, r);
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *p = r->mv->s->pool[n];

		parts += p ? pool_counter(p, POOL_C_below_parts) : 0;
		bytes += p ? pool_counter(p, POOL_C_below_bytes) : 0;
	}
	say(r, "the number of parts below", parts, r->parts);
	say(r, "the bytes below", bytes, r->bytes);
}

void move_check(struct store *s, void (*problem)(void *ctx, const char *text),
		void *ctx)
{
	struct recount r = { .mv = s->mover, .problem = problem, .ctx = ctx };
	const struct mover *mv = s->mover;
	uint32_t roomless = 0;

	if (!mv)
		return;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		roomless += mv->roomless[n].n;
	for (uint32_t b = 0; b < MOVE_BUCKETS; b++)
		for (const struct move *m = mv->bucket[b]; m; m = m->same)
			count_move(&r, m);
	say(&r, "what is waited for", mv->queued[TIER_WAITED],
	    r.queued[TIER_WAITED]);
	say(&r, "what is ahead", mv->queued[TIER_AHEAD], r.queued[TIER_AHEAD]);
	say(&r, "the bytes that wait", mv->queued_bytes, r.queued_bytes);
	say(&r, "those that wait for room", roomless, r.roomless);
	say(&r, "those that are over", mv->over.n, r.over);
	say(&r, "the bytes on their way down", mv->down_bytes, r.down_bytes);
	for (unsigned u = 0; u < TIER_URGENCIES; u++)
		say(&r, "those with the tier", mv->flying[u], r.flying[u]);
	check_below(&r);
}

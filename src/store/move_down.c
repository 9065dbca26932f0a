/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Down: what will leave soon is written before room is needed, so that leaving
 * is free.
 *
 * Each arena has a window: an eighth of its frames. What of it is not free room
 * shall be blocks at the cold end of the policy's order that have a replica below
 * or need none (move_cold.c walks there; move_worth.c says which need none). Here is
 * how they go: the parts of a block are written together; a part is pinned in the
 * server's own slots while it is written, and never more than a quarter of an arena
 * at once: a drive that does not answer keeps no grant from its room.
 */
#include <errno.h>
#include <onecopy/onecopy.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/guard.h"
#include "store/move_internal.h"

/* After the tier refused a write; after one that had no room just then. */
#define REFUSED_NS (100 * NS_PER_MS)
#define CROWDED_NS (5 * NS_PER_MS)
/* For so long "no room now" is one that ends: a log makes room as it goes. */
#define PASSING_NS  NS_PER_S
#define FLYING_PART 4u
/* Frames hashed in one turn before they are written; theirs could be wrong. */
#define VERIFY_BYTES (8ull << 20)

/* ---- one part ------------------------------------------------------------------ */

bool down_full(const struct mover *mv)
{
	return mv->flying[TIER_BEHIND] >= DOWN_MOST ||
	       mv->down_bytes >= DOWN_BYTES;
}

bool down_may_write(const struct mover *mv)
{
	return !mv->stopped && mv->counted && mv->stat.state == TIER_UP &&
	       mv->s->now_ns >= mv->write_after_ns;
}

/* Over its tenant's share of the tier, what is under way included. */
static bool over_share(const struct mover *mv, const struct pool *p,
		       uint64_t spent)
{
	uint64_t share = p->below_share;

	return share &&
	       mv->spent_of[p->number] + mv->down_of[p->number] + spent > share;
}

static void part_of(struct pool_slab *slab, uint32_t frame,
		    struct local_part *ret_part)
{
	const struct frame_desc *d = &slab->desc[frame];

	*ret_part = (struct local_part){
		.loc = frame_loc(slab->id, frame),
		.gen = pool_frame_gen(slab, frame),
		.slices = pool_payload(slab, frame), /* the tier reads there */
		.bytes = slab->frame_bytes,
		.checksum = shared_load64(&d->checksum),
	};
}

struct bouncing {
	void *to;
	const void *from;
	uint64_t bytes;
};

static void bounce_run(void *ctx)
{
	struct bouncing *b = ctx;

	memcpy(b->to, b->from, b->bytes);
}

/* A frame that is less than a page is no place for a device. OC_BUSY: its memory
 * fails, which the scrubber or a reader finds. */
static int bounce(struct move *m, uint64_t bytes)
{
	struct bouncing b;

	if (m->frame.bytes >= PAGE_BYTES)
		return 0;
	if (fault_point(FAULT_ALLOC) ||
	    posix_memalign(&m->bounce, PAGE_BYTES, PAGE_BYTES))
		return -ENOMEM;
	memset(m->bounce, 0, PAGE_BYTES);
	b = (struct bouncing){ m->bounce, m->frame.data, bytes };
	return guard_run(bounce_run, &b, NULL) < 0 ? OC_BUSY : 0;
}

static int fly(struct mover *mv, struct move *m, const struct frame_desc *d)
{
	struct pool *p = mv->s->pool[m->pool];
	uint64_t extent = shared_load64(&d->extent);
	int r;

	r = bounce(m, frame_extent_bytes(extent));
	if (r != 0)
		return r;
	m->tm.block = (struct tier_block){
		.checksum = m->frame.checksum,
		.extent = extent,
		.depth = (uint32_t)shared_load64(&d->depth),
	};
	m->tm.slices = m->bounce ? slices_whole(m->bounce) : m->frame.slices;
	m->tm.room = ALIGN_UP(m->frame.bytes, PAGE_BYTES);
	m->tm.urgency = TIER_BEHIND;
	if (!below_id(mv, p, m->key, m->part, &m->tm.id))
		return -EINVAL;
	return mv->t->ops->write(mv->t, &m->tm);
}

/* 0: it flies; OC_EXISTS: nothing to do; OC_BUSY: not this one now; -errno: no
 * more for now. */
static int write_part(struct mover *mv, struct pool *p, struct pool_slab *slab,
		      uint32_t frame)
{
	const struct frame_desc *d = &slab->desc[frame];
	uint64_t key[4], part = shared_load64(&d->part);
	struct store_client *c;
	struct move *m;
	int r = local_client(mv->s, p, &c);

	if (r < 0)
		return r;
	shared_load_words(key, d->key, 4);
	if (move_of(mv, p->number, key, part))
		return OC_BUSY;
	m = move_make(mv, p->number, key, part);
	if (!m)
		return -ENOMEM;
	m->down = true;
	m->urgency = TIER_BEHIND;
	m->arena = slab->arena;
	part_of(slab, frame, &m->frame);
	m->pin = m->frame.data ? local_pin(c, &m->frame) : -ENOMEM;
	r = m->pin < 0 ? (int)m->pin : fly(mv, m, d);
	if (r != 0) {
		if (m->pin >= 0)
			local_unpin(c, m->pin);
		move_end(mv, m, r);
		return r;
	}
	m->state = MOVE_FLYING;
	if (!mv->flying[TIER_BEHIND]++)
		mv->wrote_ns = mv->s->now_ns;
	mv->flying_of[TIER_BEHIND][m->pool]++;
	mv->down_bytes += m->frame.bytes;
	mv->down_of[m->pool] += below_spent(m->frame.bytes);
	if (m->arena < mv->n_behind[m->pool])
		mv->behind[m->pool][m->arena].flying++;
	return 0;
}

void down_finish(struct mover *mv, struct move *m)
{
	struct pool *p = mv->s->pool[m->pool];
	uint64_t bytes = frame_extent_bytes(m->tm.block.extent);

	local_unpin(mv->s->local[m->pool], m->pin);
	mv->down_bytes -= m->frame.bytes;
	mv->down_of[m->pool] -= below_spent(m->frame.bytes);
	if (m->arena < mv->n_behind[m->pool])
		mv->behind[m->pool][m->arena].flying--;
	mv->s->retry = true; /* somebody may have waited for just this */
	if (m->result == 0) {
		mv->wrote_ns = mv->s->now_ns;
		pool_count(p, POOL_C_demoted, 1);
		pool_count(p, POOL_C_demoted_bytes, bytes);
		below_count(mv, m->tm.id.space, m->tm.block.extent, 1);
	} else if (m->result > 0) {
		mv->inexact = true; /* removed; perhaps counted as such */
	} else if (m->result == -EBADMSG) {
		/* it changed under the write: its writer's doing, no drive's */
		uint32_t frame;
		struct pool_slab *slab = pool_locate(p, m->frame.loc, &frame);

		if (slab)
			(void)down_decline_part(mv, p, slab, frame);
		pool_count(p, POOL_C_demote_failed, 1);
	} else if (m->result != -ECANCELED) {
		pool_count(p, POOL_C_demote_failed, 1);
		mv->write_after_ns = mv->s->now_ns + REFUSED_NS;
	}
	if (m->result == 0 && m->stale &&
	    mv->t->ops->remove(mv->t, &m->tm.id) == 0)
		below_count(mv, m->tm.id.space, m->tm.block.extent, -1);
	move_turn(mv, m);
}

/* ---- blocks ------------------------------------------------------------------------ */

struct block {
	struct pool_slab *slab[LAYOUT_RANKS_MAX];
	uint32_t frame[LAYOUT_RANKS_MAX];
	uint32_t n;	/* its parts that are resident and not below, */
	uint32_t first; /* and of them those that fly, first */
	uint64_t spent; /* below_spent() of them */
};

/* What of a sealed frame's block is not below. */
static void block_of(struct mover *mv, const struct pool *p,
		     const struct pool_slab *slab, uint32_t frame,
		     struct block *ret)
{
	const struct frame_desc *d = &slab->desc[frame];
	struct ns_parts parts =
		ns_parts_of(p, frame_part_ns(shared_load64(&d->part)));
	uint64_t key[4];

	ret->n = ret->first = 0;
	ret->spent = 0;
	shared_load_words(key, d->key, 4);
	for (uint32_t i = 0; i < parts.n && i < LAYOUT_RANKS_MAX; i++) {
		uint64_t part = ns_parts_at(&parts, i);
		struct move *m;
		uint32_t f;
		struct pool_slab *s = pool_find(p, key, part, &f);

		if (!s || below_holds(mv, p, &s->desc[f]))
			continue;
		m = move_of(mv, p->number, key, part);
		ret->first += m && m->down;
		ret->slab[ret->n] = s;
		ret->frame[ret->n++] = f;
		ret->spent += below_spent(s->frame_bytes);
	}
}

/* All of the block, counted once. */
static void decline(struct mover *mv, struct pool *p, const struct block *b,
		    enum pool_counter why)
{
	bool news = false;

	for (uint32_t i = 0; i < b->n; i++)
		news |= down_decline_part(mv, p, b->slab[i], b->frame[i]);
	pool_count(p, why, news);
}

enum victim move_victim(struct store *s, const struct pool *p,
			const struct pool_slab *slab, uint32_t frame)
{
	struct mover *mv = s->mover;
	struct block b;

	if (!mv)
		return VICTIM_FREE;
	block_of(mv, p, slab, frame, &b);
	if (b.first)
		return VICTIM_MOVING;
	if (!b.n || down_is_declined(mv, p, slab, frame))
		return VICTIM_FREE;
	return VICTIM_DIRTY;
}

bool move_holds(const struct store *s, const struct pool *p,
		const struct frame_desc *d)
{
	return s->mover && below_holds(s->mover, p, d);
}

bool move_could_clean(const struct store *s)
{
	const struct mover *mv = s->mover;

	return mv && mv->stat.state != TIER_COMING &&
	       mv->stat.state != TIER_DOWN;
}

bool move_is_written(const struct store *s, const struct pool *p,
		     const struct pool_slab *slab, uint32_t frame)
{
	const struct frame_desc *d = &slab->desc[frame];
	const struct move *m;
	uint64_t key[4];

	if (!s->mover)
		return false;
	shared_load_words(key, d->key, 4);
	m = move_of(s->mover, p->number, key, shared_load64(&d->part));
	return m && m->down;
}

void move_leaves(struct store *s, struct pool *p, const struct pool_slab *slab,
		 uint32_t frame)
{
	struct mover *mv = s->mover;
	const struct frame_desc *d = &slab->desc[frame];
	uint64_t key[4], part = shared_load64(&d->part);
	struct tier_id id;

	if (!mv)
		return;
	if (slab->arena < mv->n_behind[p->number]) {
		struct behind *b = &mv->behind[p->number][slab->arena];

		b->clean -= b->clean != 0;
	}
	shared_load_words(key, d->key, 4);
	if (!below_holds(mv, p, d)) {
		pool_count(p, POOL_C_demote_missed,
			   !down_is_declined(mv, p, slab, frame));
		return;
	}
	if (down_used_since(d) && below_id(mv, p, key, part, &id))
		mv->t->ops->use(mv->t, &id);
}

/* Bytes that others could have spoiled are looked at before they are kept for
 * good. False: they were wrong, and the block is gone. */
static bool looks_right(struct mover *mv, struct pool *p,
			struct pool_slab *slab, uint32_t frame)
{
	/* memory below DRAM may have failed: the tier is not to meet that */
	if (slab->writer_uid == UID_SERVER && !slab->low)
		return true;
	mv->verified_bytes += slab->frame_bytes;
	if (scrub_verify(mv->s, p, slab, frame))
		return true;
	if (pool_frame_state(slab, frame) != FRAME_SEALED)
		return false; /* its memory has failed, and that was said */
	block_drop_wrong(mv->s, p, slab, frame);
	return false;
}

static bool room_in_arena(const struct mover *mv, const struct pool *p,
			  const struct pool_slab *slab, uint32_t n)
{
	const struct behind *b;

	if (slab->arena >= mv->n_behind[p->number])
		return false;
	b = &mv->behind[p->number][slab->arena];
	if (!b->flying && n <= b->frames / 2)
		return true;
	return b->flying + n <= b->frames / FLYING_PART;
}

bool down_passing(const struct mover *mv, const struct pool *p)
{
	uint64_t since_ns = mv->crowded_ns[p->number];

	return since_ns && mv->stat.state == TIER_UP && !mv->stopped &&
	       mv->s->now_ns - since_ns < PASSING_NS;
}

/* It is the block's own fault, and stays so. */
static bool is_unfit(int error)
{
	return error == -E2BIG || error == -EINVAL;
}

/* No room is a tenant's matter, all else the drive's. */
static void refused(struct mover *mv, struct pool *p, int error)
{
	uint32_t n = p->number;

	if (error != -ENOSPC) {
		mv->write_after_ns = mv->s->now_ns + REFUSED_NS;
		pool_count(p, POOL_C_demote_failed, 1);
		return;
	}
	if (!mv->crowded_ns[n])
		mv->crowded_ns[n] = mv->s->now_ns;
	mv->after_ns[n] = mv->s->now_ns + CROWDED_NS;
	if (!down_passing(mv, p))
		pool_count(p, POOL_C_demote_failed, 1);
}

enum down down_block(struct mover *mv, struct pool *p, struct pool_slab *slab,
		     uint32_t frame, bool hard)
{
	struct block b;

	block_of(mv, p, slab, frame, &b);
	if (!b.n)
		return DOWN_CLEAN;
	/* of a block that was too much at once the rest follows */
	if (b.first == b.n || (b.first && !hard))
		return DOWN_GOES;
	if (down_full(mv) || mv->verified_bytes >= VERIFY_BYTES ||
	    mv->s->now_ns < mv->after_ns[p->number])
		return DOWN_STOP;
	if (over_share(mv, p, b.spent)) {
		decline(mv, p, &b, POOL_C_demote_refused);
		return DOWN_CLEAN;
	}
	if (!hard && !down_worth_it(mv, p, slab, frame)) {
		decline(mv, p, &b, POOL_C_demote_declined);
		return DOWN_CLEAN;
	}
	if (!hard && !room_in_arena(mv, p, slab, b.n))
		return DOWN_STOP;
	for (uint32_t i = 0; i < b.n; i++) {
		int r;

		if (!looks_right(mv, p, b.slab[i], b.frame[i]))
			return DOWN_LATER;
		r = write_part(mv, p, b.slab[i], b.frame[i]);
		if (r == -EDQUOT || r == -EAGAIN || r == -ENOMEM)
			return DOWN_STOP;
		if (is_unfit(r)) {
			decline(mv, p, &b, POOL_C_demote_refused);
			return DOWN_CLEAN;
		}
		if (r < 0) {
			refused(mv, p, r);
			return DOWN_STOP;
		}
		mv->crowded_ns[p->number] = 0;
	}
	return DOWN_GOES;
}

bool move_save(struct store *s, struct pool *p, struct pool_slab *slab,
	       uint32_t frame)
{
	struct mover *mv = s->mover;

	if (!mv || !down_may_write(mv) ||
	    pool_frame_state(slab, frame) != FRAME_SEALED)
		return false;
	mv->verified_bytes = 0;
	return down_block(mv, p, slab, frame, true) == DOWN_GOES;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Down: what will leave soon is written before room is needed, so that leaving
 * is free.
 *
 * Each arena has a window: an eighth of its frames. What of it is not free room
 * shall be blocks at the cold end of the policy's order that have a replica below
 * or need none. The order is walked from its cold end, a bounded piece at a time;
 * the parts of a block are written together. A part is pinned in the server's own
 * slots while it is written, and never more than a quarter of an arena at once:
 * a drive that does not answer keeps no grant from its room.
 *
 * What is not worth a write (docs/design/movement.md): with rates of the policy,
 * ladder_leave() decides; without, a block that nobody has used since it was
 * sealed is passed over while the drive has had enough to do for long.
 */
#include <errno.h>
#include <onecopy/onecopy.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/guard.h"
#include "store/move_internal.h"
#include "store/price.h"

/* Items looked at in one turn. */
#define LOOK_ITEMS 512u
/* How often arenas are counted, and their order is walked anew. */
#define RECOUNT_NS (50 * NS_PER_MS)
#define AGAIN_NS   (250 * NS_PER_MS)
/* After the tier refused a write; after one that had no room just then. */
#define REFUSED_NS (100 * NS_PER_MS)
#define CROWDED_NS (5 * NS_PER_MS)
/* For so long "no room now" is one that ends: a log makes room as it goes. */
#define PASSING_NS NS_PER_S
/* A tier that has finished no write for so long makes no progress: then no grant
 * waits for one any more. Devices pause for a tenth of it and go on. */
#define PROGRESS_NS NS_PER_S
#define WINDOW_PART 8u
#define FLYING_PART 4u
/* Frames hashed in one turn before they are written; theirs could be wrong. */
#define VERIFY_BYTES (8ull << 20)

/* ---- one part ------------------------------------------------------------------ */

/* Half of what may be under way was, without a pause, for so long: this is no
 * burst that waiting a little absorbs. */
#define BUSY_NS (30 * NS_PER_S)

static bool has_enough(const struct mover *mv)
{
	return mv->flying[TIER_BEHIND] >= DOWN_MOST / 2 ||
	       mv->down_bytes >= DOWN_BYTES / 2;
}

static bool busy(const struct mover *mv)
{
	return mv->busy_ns && has_enough(mv) &&
	       mv->s->now_ns - mv->busy_ns >= BUSY_NS;
}

/* A pause is when only a quarter is left. */
static void see_busy(struct mover *mv)
{
	if (has_enough(mv)) {
		if (!mv->busy_ns)
			mv->busy_ns = mv->s->now_ns;
	} else if (mv->flying[TIER_BEHIND] < DOWN_MOST / 4 &&
		   mv->down_bytes < DOWN_BYTES / 4) {
		mv->busy_ns = 0;
	}
}

static bool full(const struct mover *mv)
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

static bool decline_part(struct mover *mv, struct pool *p,
			 const struct pool_slab *slab, uint32_t frame);

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
			(void)decline_part(mv, p, slab, frame);
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

/* ---- what is worth it ------------------------------------------------------------ */

static uint32_t *declined_at(struct mover *mv, const struct pool *p,
			     uint32_t item)
{
	uint32_t n = mv->n_declined[p->number], *grown;

	if (item < n)
		return &mv->declined[p->number][item];
	grown = mem_grow(mv->declined[p->number], p->items_cap, sizeof(*grown));
	if (!grown)
		return NULL;
	memset(grown + n, 0, (p->items_cap - n) * sizeof(*grown));
	mv->declined[p->number] = grown;
	mv->n_declined[p->number] = p->items_cap;
	return &grown[item];
}

/* Never 0. */
static uint32_t filling_of(const struct pool_slab *slab, uint32_t frame)
{
	return (uint32_t)pool_frame_gen(slab, frame) | 1u << 31;
}

bool down_is_declined(const struct mover *mv, const struct pool *p,
		      const struct pool_slab *slab, uint32_t frame)
{
	uint32_t item = slab->base + frame;

	return item < mv->n_declined[p->number] &&
	       mv->declined[p->number][item] == filling_of(slab, frame);
}

static bool decline_part(struct mover *mv, struct pool *p,
			 const struct pool_slab *slab, uint32_t frame)
{
	uint32_t *at = declined_at(mv, p, slab->base + frame);

	if (!at || *at == filling_of(slab, frame))
		return false;
	*at = filling_of(slab, frame);
	return true;
}

/* As long as what is written now would stay, at the pace of writing so far. */
static uint64_t stays_ms(const struct mover *mv)
{
	const struct tier_stat *st = &mv->stat;
	double ms = (double)(mv->s->now_ns - mv->since_ns) / NS_PER_MS;

	if (!st->write_bytes)
		return 0;
	return (uint64_t)((double)st->limit_bytes / (double)st->write_bytes *
			  MAX(ms, 1.0));
}

static bool ladder_says(const struct mover *mv, const struct pool *p,
			const struct frame_desc *d, uint64_t rate)
{
	const struct tier_record *dram = &p->m->tier[OC_TIER_DRAM];
	const struct tier_price r = move_read_price(mv), *w = &mv->stat.write;
	struct ladder_rung rungs[2] = {
		{ .latency_ns = shared_load64(&dram->latency_ns),
		  .bytes_per_s = shared_load64(&dram->bytes_per_s),
		  .pressure = UINT64_MAX },
		{ .latency_ns = r.latency_ns,
		  .bytes_per_s = r.bytes_per_s,
		  .stays_ms = stays_ms(mv) },
	};
	struct ladder_block b = {
		.bytes = frame_extent_bytes(shared_load64(&d->extent)),
		.rate = rate,
		.on = 1,
	};

	b.again_ns =
		price_again_ns(mv->s, p, d, ladder_load_ns(&rungs[1], b.bytes));
	/* a write takes the drive's time only from others who want it */
	if (busy(mv) && w->bytes_per_s)
		rungs[1].wear = 1024 * NS_PER_S / w->bytes_per_s;
	return ladder_leave(rungs, 2, 0, &b).what == LADDER_DEMOTE;
}

static bool used_since(const struct frame_desc *d)
{
	return shared_load64(&d->touched) != shared_load64(&d->sealed_at);
}

static bool worth_it(const struct mover *mv, const struct pool *p,
		     const struct pool_slab *slab, uint32_t frame)
{
	const struct frame_desc *d = &slab->desc[frame];
	uint64_t rate =
		p->policy_ops->rate
			? p->policy_ops->rate(p->policy, slab->base + frame)
			: 0;

	if (rate)
		return ladder_says(mv, p, d, rate);
	return !busy(mv) || used_since(d);
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
		news |= decline_part(mv, p, b->slab[i], b->frame[i]);
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
	if (used_since(d) && below_id(mv, p, key, part, &id))
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

/* There is no room just now, and soon there may be. */
static bool is_passing(const struct mover *mv, const struct pool *p)
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
	if (!is_passing(mv, p))
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
	if (full(mv) || mv->verified_bytes >= VERIFY_BYTES ||
	    mv->s->now_ns < mv->after_ns[p->number])
		return DOWN_STOP;
	if (over_share(mv, p, b.spent)) {
		decline(mv, p, &b, POOL_C_demote_refused);
		return DOWN_CLEAN;
	}
	if (!hard && !worth_it(mv, p, slab, frame)) {
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

/* ---- the cold end --------------------------------------------------------------- */

static bool behind_room(struct mover *mv, const struct pool *p)
{
	uint32_t n = mv->n_behind[p->number];
	struct behind *grown;

	if (n >= p->n_arenas)
		return true;
	grown = mem_grow(mv->behind[p->number], p->n_arenas, sizeof(*grown));
	if (!grown)
		return false;
	memset(grown + n, 0, (p->n_arenas - n) * sizeof(*grown));
	for (uint32_t i = n; i < p->n_arenas; i++)
		grown[i].at = POLICY_NONE;
	mv->behind[p->number] = grown;
	mv->n_behind[p->number] = p->n_arenas;
	return true;
}

static uint64_t low_room(const struct store *s)
{
	const struct pool_budget *b = &s->low.budget;

	return b->limit - MIN(b->used, b->limit);
}

/* What leaves this arena next is written to low memory when it does. */
static bool falls_first(const struct mover *mv, const struct pool *p,
			uint32_t arena)
{
	return rung_takes(&p->arena[arena]) && rung_there(mv->s, p);
}

static void count_arenas(struct mover *mv, const struct pool *p)
{
	uint64_t room = quota_room(mv->s, p);

	if (!behind_room(mv, p))
		return;
	room = MIN(room, quota_left(p));
	for (uint32_t i = 0; i < p->n_arenas; i++) {
		struct behind *b = &mv->behind[p->number][i];
		uint64_t bytes = p->arena[i].low ? low_room(mv->s) : room;

		b->frames = 0;
		b->free = p->arena[i].used && p->arena[i].owner
				  ? (uint32_t)(bytes / p->arena[i].frame_bytes)
				  : 0;
	}
	for (uint32_t id = 1; id < p->slab_end; id++) {
		const struct pool_slab *s = p->slab[id];

		if (!s || s->retiring)
			continue;
		mv->behind[p->number][s->arena].frames += s->frames;
		/* a twin goes for nothing */
		mv->behind[p->number][s->arena].free += s->n_free;
	}
	for (uint32_t i = 0; i < p->n_arenas; i++) {
		if (p->arena[i].used && p->arena[i].low)
			mv->behind[p->number][i].free += p->arena[i].twins;
	}
}

static void begin_again(struct behind *b)
{
	b->at = POLICY_NONE;
	b->clean = 0;
}

/* The last item that was looked at is where it was? */
static bool still_there(const struct pool *p, const struct behind *b)
{
	uint32_t frame;
	const struct pool_slab *s;

	if (b->at == POLICY_NONE)
		return true;
	if (b->at >= p->items.end || !p->slab[p->item_slab[b->at]])
		return false;
	s = pool_item(p, b->at, &frame);
	return frame < s->frames &&
	       shared_load64(&s->desc[frame].word) == b->word &&
	       p->policy_ops->stamp(p->policy, b->at) == b->stamp;
}

static void looked_at(const struct pool *p, struct behind *b, uint32_t item,
		      const struct pool_slab *slab, uint32_t frame)
{
	b->at = item;
	b->word = shared_load64(&slab->desc[frame].word);
	b->stamp = p->policy_ops->stamp(p->policy, item);
	b->clean++;
}

/* False: no more can be done now. */
static bool walk(struct mover *mv, struct pool *p, uint32_t arena,
		 uint32_t want, uint32_t *looks)
{
	struct behind *b = &mv->behind[p->number][arena];

	if (!still_there(p, b))
		begin_again(b);
	while (b->clean < want && *looks) {
		uint32_t item = p->policy_ops->victim(p->policy, arena, b->at);
		struct pool_slab *slab;
		uint32_t frame;

		if (item == POLICY_NONE)
			return true;
		--*looks;
		slab = pool_item(p, item, &frame);
		switch (down_block(mv, p, slab, frame, false)) {
		case DOWN_STOP:
			return false;
		case DOWN_LATER:
			begin_again(b);
			return true;
		default:
			looked_at(p, b, item, slab, frame);
		}
	}
	return true;
}

static uint32_t wanted(const struct behind *b)
{
	uint32_t window = MAX(b->frames / WINDOW_PART, 1u);

	return window - MIN(b->free, window);
}

static void recount(struct mover *mv)
{
	bool anew = mv->s->now_ns >= mv->again_ns;

	if (mv->s->now_ns >= mv->recount_ns) {
		mv->recount_ns = mv->s->now_ns + RECOUNT_NS;
		for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
			if (mv->s->pool[n])
				count_arenas(mv, mv->s->pool[n]);
	}
	if (!anew)
		return;
	mv->again_ns = mv->s->now_ns + AGAIN_NS;
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		for (uint32_t i = 0; i < mv->n_behind[n]; i++)
			begin_again(&mv->behind[n][i]);
}

void down_pump(struct mover *mv)
{
	uint32_t looks = LOOK_ITEMS;

	see_busy(mv);
	/* a save begins at the other end */
	if (mv->saving || !down_may_write(mv) || full(mv))
		return;
	recount(mv);
	mv->verified_bytes = 0;
	for (uint32_t i = 0; i < STORE_POOLS_MAX; i++) {
		uint32_t n = (mv->turn[TIER_BEHIND] + i) % STORE_POOLS_MAX;

		for (uint32_t a = 0; a < mv->n_behind[n]; a++) {
			uint32_t want = wanted(&mv->behind[n][a]);

			if (want && mv->s->pool[n]->arena[a].used &&
			    !falls_first(mv, mv->s->pool[n], a))
				walk(mv, mv->s->pool[n], a, want, &looks);
		}
	}
	mv->turn[TIER_BEHIND] = (mv->turn[TIER_BEHIND] + 1) % STORE_POOLS_MAX;
}

void down_fini(struct mover *mv)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		free(mv->behind[n]);
		free(mv->declined[n]);
	}
}

/* ---- when room is needed now ------------------------------------------------------ */

static bool progresses(const struct mover *mv)
{
	return !mv->flying[TIER_BEHIND] ||
	       mv->s->now_ns - mv->wrote_ns < PROGRESS_NS;
}

bool move_press(struct store *s, struct pool *p, uint32_t arena, uint32_t want)
{
	struct mover *mv = s->mover;
	uint32_t looks = LOOK_ITEMS;
	struct behind *b;

	if (!mv || !down_may_write(mv) || !progresses(mv))
		return mv && is_passing(mv, p);
	/* slabs may have come since they were counted */
	if (arena >= mv->n_behind[p->number] ||
	    !mv->behind[p->number][arena].flying)
		count_arenas(mv, p);
	if (arena >= mv->n_behind[p->number])
		return false;
	mv->verified_bytes = 0;
	b = &mv->behind[p->number][arena];
	walk(mv, p, arena, MAX(want, wanted(b)), &looks);
	/* what flies for others makes way as well */
	return b->flying != 0 || full(mv) || is_passing(mv, p);
}

bool move_press_slab(struct store *s, struct pool *p, struct pool_slab *slab)
{
	struct mover *mv = s->mover;
	bool goes = false;

	if (!mv || !down_may_write(mv) || !progresses(mv))
		return mv && is_passing(mv, p);
	if (slab->arena >= mv->n_behind[p->number] ||
	    !mv->behind[p->number][slab->arena].flying)
		count_arenas(mv, p);
	mv->verified_bytes = 0;
	for (uint32_t f = 0; f < slab->frames; f++) {
		enum down d;

		if (pool_frame_state(slab, f) != FRAME_SEALED)
			continue;
		d = down_block(mv, p, slab, f, false);
		goes = goes || d == DOWN_GOES;
		if (d == DOWN_STOP)
			break;
	}
	return goes;
}

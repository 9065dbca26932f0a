/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rung below DRAM (docs/design/cxl.md): what leaves DRAM is copied into a
 * frame of low memory, in a slab that the server alone can write, and is found
 * there from then on; what is used again there is copied up behind the reads.
 *
 * Down. Twins first, then the leaving: a victim's parts are copied and hashed in
 * one pass, which verifies them, and only blocks all of whose parts in DRAM have
 * twins fall (store/evict.c). A block that came up keeps its twin while there is
 * room, so that its way down is free.
 *
 * Room below, in this order: a free frame, a new slab, the oldest twin, and, if
 * it is worth less than what comes, the first to leave of the same shape, or the
 * coldest slab of another, or as many small ones as it takes (store/rung_small.c).
 * Otherwise what comes goes past this rung.
 *
 * Up. Where the policy knows rates, a use asks for it if the ladder says that uses
 * to come pay for a place in DRAM; else the second use since it came down does. It
 * takes free room in DRAM, or the place of what was used less, and never makes
 * anything leave low memory but twins, unless blocks left it for want of room
 * anyway: a working set that just fits both loses nothing by being moved about.
 *
 * All of it in the server's thread, a bounded piece at a time: COPY_BYTES.
 */
#include <errno.h>
#include <onecopy/onecopy.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/guard.h"
#include "base/hash.h"
#include "base/log.h"
#include "pool/shape.h"
#include "store/internal.h"
#include "store/local.h"
#include "store/price.h"

/* Copied in one turn, but for the first block. */
#define COPY_BYTES (8ull << 20)
#define RISE_BYTES (2ull << 20)
/* Victims of one turn. */
#define BATCH 64u
/* Twins, or blocks, that make room at a time. */
#define ROOM	  16u
#define ROOM_PART 8u
/* How often a copy upwards is tried while a slab for it is made. */
#define TRIES	8u
#define CREDITS 64u
/* Slabs of other shapes that are tried in one turn. */
#define TRIED 8u

enum rung { RUNG_READY, RUNG_LATER, RUNG_NONE };

/* One turn. */
struct work {
	struct store *s;
	struct pool *p;
	struct store_client *c; /* the server's own, which low slabs are of */
	uint64_t stamp, rate;	/* of what comes down */
	uint32_t made; /* at the list's end: twins of this turn, pinned ones */
	uint32_t tried[TRIED]; /* slabs that could not be emptied */
	uint32_t n_tried;
	uint64_t copied;
	bool exchange; /* for what goes up */
	bool patient;  /* writes to the tier below may be waited for */
};

static bool has_tenant(const struct store *s, const struct pool *p)
{
	char tenant[LAYOUT_NAME + 8] = "";

	if (!s->options.low_tenant)
		return true;
	shared_load_bytes(tenant, LAYOUT_NAME, p->m->header.tenant);
	return strcmp(tenant, s->options.low_tenant) == 0;
}

bool rung_there(const struct store *s, const struct pool *p)
{
	return p->low && has_tenant(s, p);
}

bool rung_gives(const struct store *s)
{
	if (s->low_gone ||
	    (s->low.source.kind == SEGMENT_DAX && s->low.source.fd < 0))
		return false; /* it was taken away */
	return s->now_ns >= s->low_refused_ns;
}

/* Of low memory a tenant may have the part that it may have of DRAM. */
uint64_t rung_room(const struct store *s, const struct pool *p)
{
	uint64_t limit = s->low.budget.limit, most = limit;
	uint64_t mine = pool_counter(p, POOL_C_cxl_slab_bytes);

	if (p->quota < s->budget.limit)
		most = (uint64_t)((double)limit * (double)p->quota /
				  (double)s->budget.limit);
	limit -= MIN(s->low.budget.used, limit);
	return rung_gives(s) ? MIN(limit, most - MIN(mine, most)) : 0;
}

/* ---- slabs ------------------------------------------------------------------- */

static uint64_t slab_bytes(const struct store *s, const struct pool *p,
			   uint64_t frame_bytes)
{
	return p->slab_bytes
		       ? p->slab_bytes
		       : shape_slab_bytes(s->low.budget.limit, frame_bytes);
}

/* A device gives whole units. `room`: for the slab at most. */
static uint32_t frames_for(const struct store *s, const struct pool *p,
			   uint64_t frame_bytes, uint64_t room,
			   uint64_t *ret_bytes)
{
	uint64_t bytes = slab_bytes(s, p, frame_bytes);
	uint64_t unit = SEGMENT_DAX_UNIT;
	uint32_t frames;

	if (s->low.source.kind == SEGMENT_DAX) {
		room &= ~(unit - 1);
		bytes = ALIGN_UP(MAX(bytes, frame_bytes), unit);
	}
	frames = shape_frames(frame_bytes, bytes, room);
	*ret_bytes = frames * frame_bytes;
	if (frames && s->low.source.kind == SEGMENT_DAX) {
		*ret_bytes = ALIGN_UP(*ret_bytes, unit);
		frames = (uint32_t)MIN(*ret_bytes / frame_bytes,
				       (uint64_t)FRAME_IN_SLAB_MAX);
	}
	return frames;
}

/* The room of a device may be in pieces: then a smaller slab does. */
static int take_room(const struct store *s, struct pool *p,
		     uint64_t frame_bytes, struct maker_job *job)
{
	uint64_t room = rung_room(s, p);

	for (;; room = job->bytes / 2) {
		job->frames = frames_for(s, p, frame_bytes, room, &job->bytes);
		if (!job->frames)
			return -ENOSPC;
		if (pool_low_take(p->low, job->bytes, &job->source) == 0)
			return 0;
	}
}

/* True: one is on its way. */
static bool ask_for_slab(struct store *s, struct pool *p, uint32_t arena)
{
	struct pool_arena *a = &p->arena[arena];
	struct maker_job *job;

	if (rung_room(s, p) < a->frame_bytes ||
	    rung_small_kept(s, a->frame_bytes))
		return false;
	job = mem_alloc(sizeof(*job));
	if (!job)
		return false;
	if (take_room(s, p, a->frame_bytes, job) < 0) {
		free(job);
		return false;
	}
	rung_small_given(s, a->frame_bytes);
	job->flags = p->segment_flags;
	job->pool = p->number;
	job->owner = CLIENT_SERVER;
	job->shape = a->shape;
	a->making++;
	maker_ask(s->maker, job);
	return true;
}

static uint64_t mean(const struct pool_slab *s)
{
	return s->n_sealed ? s->touched_sum / s->n_sealed : 0;
}

static bool was_tried(const struct work *w, uint32_t id)
{
	for (uint32_t i = 0; i < w->n_tried; i++)
		if (w->tried[i] == id)
			return true;
	return false;
}

/* It serves other frames, or nobody's, and its memory could serve these. One with
 * quarantined frames retires when it is empty (room_quarantine_tick()). */
static bool could_serve(const struct pool_slab *s, uint64_t frame_bytes)
{
	if (!s->low || s->retiring || s->n_granted || s->n_doomed ||
	    s->payload.bytes < frame_bytes)
		return false;
	if (s->n_quarantined && pool_slab_empty(s))
		return false;
	return s->owner != CLIENT_SERVER || s->frame_bytes != frame_bytes;
}

/* The coldest slab of low memory that could; NULL. */
static struct pool_slab *coldest_other(const struct work *w,
				       uint64_t frame_bytes)
{
	struct pool_slab *best = NULL;

	for (uint32_t id = 1; id < w->p->slab_end; id++) {
		struct pool_slab *s = w->p->slab[id];

		if (s && could_serve(s, frame_bytes) && !was_tried(w, id) &&
		    (!best || mean(s) < mean(best)))
			best = s;
	}
	return best;
}

static bool take_other(struct work *w, uint64_t frame_bytes)
{
	struct pool_slab *slab = coldest_other(w, frame_bytes);
	uint8_t pressure = w->s->cause.pressure;
	uint32_t id;

	if (!slab || w->n_tried == TRIED ||
	    (!pool_slab_empty(slab) && (w->exchange || mean(slab) >= w->stamp)))
		return false;
	w->s->cause.pressure = PRESSURE_SLAB;
	if (!pool_slab_empty(slab))
		evict_slab(w->s, w->p, slab, false);
	w->s->cause.pressure = pressure;
	if (!pool_slab_empty(slab) || slab->n_quarantined) {
		w->tried[w->n_tried++] = slab->id;
		return false;
	}
	return pool_slab_reshape(w->p, slab->id, CLIENT_SERVER,
				 (struct pool_shape){ frame_bytes, 0 },
				 &id) == 0;
}

/* ---- room below ---------------------------------------------------------------- */

static bool has_free(const struct pool *p, uint32_t arena)
{
	return pool_arena_free(p, arena) != POOL_NO_ITEM;
}

/* The oldest twins, but not those of this turn. Those that are pinned are behind
 * the others from now on. False: there are none to look at. */
static bool drop_twins(struct work *w, uint32_t arena)
{
	struct pool *p = w->p;
	uint32_t item = p->arena[arena].twin_first, items[ROOM], n = 0;
	uint32_t most = p->arena[arena].twins;

	most = MIN(most - MIN(most, w->made), ROOM);
	evict_begin(w->s);
	for (; n < most && item != POOL_NO_ITEM; item = p->twin[item].next) {
		uint32_t frame;
		struct pool_slab *slab = pool_item(p, item, &frame);

		if (!evict_add_twin(w->s, p, slab, frame))
			break;
		items[n++] = item;
	}
	evict_finish(w->s, p, false);
	for (uint32_t i = 0; i < n; i++)
		if (p->twin[items[i]].item != POOL_NO_ITEM) {
			pool_twin_last(p, arena, items[i]);
			w->made++;
		}
	return n != 0;
}

/* Is the first to leave worth less than what comes? */
static bool gives_way(const struct work *w, uint32_t arena)
{
	const struct policy_ops *ops = w->p->policy_ops;
	uint32_t item = ops->victim(w->p->policy, arena, POLICY_NONE);

	if (item == POLICY_NONE)
		return false;
	if (w->rate && ops->rate)
		return ops->rate(w->p->policy, item) <= w->rate;
	return ops->stamp(w->p->policy, item) <= w->stamp;
}

/* That leave at a time: an eighth where there are few; large ones would all leave
 * at once. */
static uint32_t some_of(const struct pool *p, uint32_t arena)
{
	uint32_t frames = 0;

	for (uint32_t id = 1; id < p->slab_end; id++)
		if (p->slab[id] && p->slab[id]->arena == arena)
			frames += p->slab[id]->frames;
	return frames < 4 * ROOM ? MAX(frames / ROOM_PART, 1u) : ROOM;
}

static enum rung evict_low(struct work *w, uint32_t arena)
{
	struct pool_arena *a = &w->p->arena[arena];
	bool awaits = false, patient = w->c->patient;
	uint8_t pressure = w->s->cause.pressure;
	uint32_t n;

	if (!gives_way(w, arena) || (w->exchange && !a->credit))
		return RUNG_NONE;
	w->c->patient = w->patient;
	n = room_evict_some(w->c, arena, w->exchange ? 1 : some_of(w->p, arena),
			    &awaits);
	w->c->patient = patient;
	w->s->cause.pressure = pressure; /* what is under way up there */
	a = &w->p->arena[arena];
	if (w->exchange)
		a->credit -= MIN(n, a->credit);
	else
		a->credit = MIN(a->credit + n, CREDITS);
	return awaits ? RUNG_LATER : RUNG_NONE;
}

/* The coldest slab of another shape is colder than what would leave of this. */
static bool other_first(const struct work *w, uint32_t arena,
			uint64_t frame_bytes)
{
	const struct policy_ops *ops = w->p->policy_ops;
	uint32_t item = ops->victim(w->p->policy, arena, POLICY_NONE);
	const struct pool_slab *slab = coldest_other(w, frame_bytes);

	return slab && (item == POLICY_NONE || pool_slab_empty(slab) ||
			mean(slab) < ops->stamp(w->p->policy, item));
}

/* Slabs too small for such a frame are retired, where that costs less than what
 * would leave of this shape. */
static enum rung retire_small(struct work *w, uint32_t arena,
			      uint64_t frame_bytes)
{
	const struct policy_ops *ops = w->p->policy_ops;
	uint32_t item = ops->victim(w->p->policy, arena, POLICY_NONE);
	struct rung_small want = { .frame_bytes = frame_bytes,
				   .bytes = frame_bytes,
				   .stamp = w->stamp,
				   .empty_only = w->exchange,
				   .patient = w->patient };

	if (w->s->low.source.kind == SEGMENT_DAX)
		want.bytes = ALIGN_UP(frame_bytes, SEGMENT_DAX_UNIT);
	if (!rung_small_plan(w->s, w->p, &want) ||
	    (item != POLICY_NONE &&
	     want.warmest >= ops->stamp(w->p->policy, item)))
		return RUNG_NONE;
	return rung_small_go(w->s, w->p, &want) ? RUNG_LATER : RUNG_NONE;
}

/* A free frame of low memory. */
static enum rung frame_for(struct work *w, uint64_t frame_bytes,
			   uint32_t *ret_item)
{
	struct pool *p = w->p;
	enum rung r = RUNG_NONE;
	uint32_t arena;

	if (pool_arena_low(p, frame_bytes, &arena) < 0)
		return RUNG_NONE;
	if (!has_free(p, arena)) {
		if (p->arena[arena].making || ask_for_slab(w->s, p, arena))
			return RUNG_LATER;
		for (unsigned i = 0;
		     i < TRIED && !has_free(p, arena) && drop_twins(w, arena);
		     i++)
			;
	}
	while (!has_free(p, arena) && w->n_tried < TRIED &&
	       other_first(w, arena, frame_bytes)) {
		uint32_t tried = w->n_tried;

		if (take_other(w, frame_bytes))
			pool_arena_low(p, frame_bytes, &arena);
		else if (w->n_tried == tried)
			break;
	}
	if (!has_free(p, arena))
		r = retire_small(w, arena, frame_bytes);
	if (!has_free(p, arena) && r == RUNG_NONE)
		r = evict_low(w, arena);
	if (!has_free(p, arena)) {
		pool_arena_put(p, arena);
		return r;
	}
	*ret_item = pool_arena_free(p, arena);
	return RUNG_READY;
}

/* ---- copies -------------------------------------------------------------------- */

struct copy {
	struct slices to, from;
	uint64_t bytes, seed, sum;
};

static void copy_run(void *ctx)
{
	struct copy *c = ctx;

	c->sum = hash_slices_copy(&c->to, &c->from, c->bytes, c->seed);
}

static void grant_own(struct work *w, uint32_t item,
		      const struct frame_desc *like)
{
	struct pool_filling filling = { .part = shared_load64(&like->part),
					.extent = shared_load64(&like->extent),
					.owner = CLIENT_SERVER,
					.now_ms = w->s->now_ns / NS_PER_MS };
	uint32_t frame;
	struct pool_slab *slab = pool_item(w->p, item, &frame);

	shared_load_words(filling.key, like->key, 4);
	pool_frame_grant(w->p, slab, frame, &filling);
}

/* What a part says of itself is not so: the block goes. */
static void drop_wrong(struct work *w, struct pool_slab *slab, uint32_t frame)
{
	log_error("wrong bytes in slab %u frame %u (offset %llu): dropped",
		  slab->id, frame,
		  (unsigned long long)pool_frame_offset(slab, frame));
	note_gone(w->s, w->p, slab, frame, PAST_WRONG, 0);
	pool_count(w->p, POOL_C_bad,
		   block_forget_of(w->s, w->p, slab, frame).parts);
}

/* From one frame into another that is GRANTED: 0; -EBADMSG the bytes were wrong;
 * -EIO, -EFAULT the memory of the first, of the other has failed; -ENOMEM. */
static int copy_part(struct work *w, struct pool_slab *from, uint32_t ff,
		     struct pool_slab *to, uint32_t tf)
{
	const struct frame_desc *d = &from->desc[ff];
	struct copy c = {
		.to = pool_payload(to, tf),
		.from = pool_payload(from, ff),
		.bytes = frame_extent_bytes(shared_load64(&d->extent)),
		.seed = scrub_seed(d),
	};
	struct guard_fault fault;

	must(to->owner == CLIENT_SERVER);
	if (!c.to.base || !c.from.base)
		return -ENOMEM;
	w->copied += c.bytes;
	if (guard_run(copy_run, &c, &fault) < 0) {
		uintptr_t at = fault.at - (uintptr_t)to->payload.base;
		bool here = pool_frame_meets(to, tf, at, at + 1);

		broken_at(w->s, w->p, from, &fault);
		broken_at(w->s, w->p, to, &fault);
		return here ? -EFAULT : -EIO;
	}
	return c.sum == shared_load64(&d->checksum) ? 0 : -EBADMSG;
}

/* A frame that could not be filled: it is free, or its memory has failed. */
static void give_up(struct work *w, struct pool_slab *slab, uint32_t frame,
		    int error)
{
	if (error == -EFAULT)
		pool_frame_broken(w->p, slab, frame);
	else
		pool_frame_abandon(w->p, slab, frame);
}

/* A twin below for a part in DRAM. */
static enum rung part_below(struct work *w, struct pool_slab *up, uint32_t uf)
{
	uint64_t gen = pool_frame_gen(up, uf);
	struct pool_slab *low;
	uint32_t item, lf;
	enum rung how = up->stripes ? RUNG_NONE
				    : frame_for(w, up->frame_bytes, &item);
	int r;

	if (how != RUNG_READY)
		return how;
	/* what made room may have taken this very block */
	if (pool_frame_gen(up, uf) != gen ||
	    pool_frame_state(up, uf) != FRAME_SEALED)
		return RUNG_NONE;
	grant_own(w, item, &up->desc[uf]);
	low = pool_item(w->p, item, &lf);
	r = copy_part(w, up, uf, low, lf);
	if (r < 0) {
		give_up(w, low, lf, r);
		if (r == -EIO)
			return RUNG_READY; /* it is gone */
		if (r != -EBADMSG)
			return RUNG_NONE;
		drop_wrong(w, up, uf); /* it needs no room any more */
		return RUNG_READY;
	}
	pool_twin_seal(w->p, low, lf, up, uf);
	w->made++;
	return RUNG_READY;
}

/* ---- blocks -------------------------------------------------------------------- */

/* The i-th part of a block as it is found; NULL. False: there are no more. */
static bool part_at(const struct work *w, const uint64_t key[4], uint32_t ns,
		    unsigned i, struct pool_slab **ret_slab,
		    uint32_t *ret_frame)
{
	const struct ns_record *rec = ns_find(w->p, ns);
	uint64_t shape = rec ? shared_load64(&rec->ranks_groups) : 0;
	unsigned ranks = MAX((unsigned)(shape >> 32), 1u);

	if (i >= ranks * MAX((unsigned)shape, 1u))
		return false;
	*ret_slab = pool_find(w->p, key,
			      frame_part(ns, (uint16_t)(i / ranks),
					 (uint16_t)(i % ranks)),
			      ret_frame);
	return true;
}

/* By the measured prices: is far memory a better place for it than what is below
 * that? */
static bool pays(const struct store *s, const struct pool *p,
		 const struct frame_desc *d)
{
	struct ladder_block b = {
		.bytes = frame_extent_bytes(shared_load64(&d->extent)),
		.rate = LADDER_RATE_ONE,
		.on = 1,
	};
	struct ladder_answer a;
	struct price at;

	if (!price_rungs(s, p, &at) || !at.cxl)
		return true; /* nothing is known against it */
	at.rung[0].pressure = UINT64_MAX;
	b.again_ns = price_again_ns(
		s, p, d, ladder_load_ns(&at.rung[at.n - 1], b.bytes));
	a = ladder_leave(at.rung, at.n, 0, &b);
	return a.what == LADDER_DEMOTE && a.rung == at.cxl;
}

/* Twins for all that the block has in DRAM. */
static enum rung block_below(struct work *w, const struct frame_desc *d)
{
	uint32_t ns = frame_part_ns(shared_load64(&d->part)), frame;
	enum rung r = RUNG_READY;
	struct pool_slab *slab;
	uint64_t key[4];

	if (!pays(w->s, w->p, d))
		return RUNG_NONE;
	shared_load_words(key, d->key, 4);
	/* all of it, or nothing: a part in stripes stays what it is */
	for (unsigned i = 0; part_at(w, key, ns, i, &slab, &frame); i++)
		if (slab && slab->stripes)
			return RUNG_NONE;
	for (unsigned i = 0;
	     r == RUNG_READY && part_at(w, key, ns, i, &slab, &frame); i++)
		if (slab && !slab->low &&
		    pool_twin_of(w->p, slab, frame) == POOL_NO_ITEM)
			r = part_below(w, slab, frame);
	return r;
}

static bool work_init(struct work *w, struct store *s, struct pool *p)
{
	*w = (struct work){ .s = s, .p = p };
	return rung_there(s, p) && local_client(s, p, &w->c) == 0;
}

static void comes(struct work *w, const struct pool_slab *slab, uint32_t frame)
{
	const struct policy_ops *ops = w->p->policy_ops;

	w->stamp = shared_load64(&slab->desc[frame].touched);
	w->rate = ops->rate ? ops->rate(w->p->policy, slab->base + frame) : 0;
}

/* ---- down ---------------------------------------------------------------------- */

static uint32_t cold_end(const struct pool *p, uint32_t arena, uint32_t want,
			 uint32_t items[BATCH])
{
	uint32_t item = POLICY_NONE, n = 0;

	while (n < MIN(want, BATCH)) {
		item = p->policy_ops->victim(p->policy, arena, item);
		if (item == POLICY_NONE)
			break;
		items[n++] = item;
	}
	return n;
}

/* The items of the first `n` for which there are twins, now. */
static enum rung prepare(struct work *w, uint32_t arena, uint32_t items[BATCH],
			 uint32_t n)
{
	enum rung r = RUNG_READY;

	for (uint32_t i = 0; i < n && r == RUNG_READY; i++) {
		uint32_t frame;
		struct pool_slab *slab = pool_item(w->p, items[i], &frame);

		if (w->copied >= COPY_BYTES)
			break;
		/* it may have left with what made room for another */
		if (slab->arena != arena ||
		    pool_frame_state(slab, frame) != FRAME_SEALED)
			continue;
		comes(w, slab, frame);
		r = block_below(w, &slab->desc[frame]);
	}
	return r;
}

static uint32_t fall(struct work *w, uint32_t arena, const uint32_t *items,
		     uint32_t n)
{
	evict_begin(w->s);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t frame;
		struct pool_slab *slab = pool_item(w->p, items[i], &frame);

		/* a sibling of an earlier one is LEAVING already */
		if (slab->arena == arena &&
		    pool_frame_state(slab, frame) == FRAME_SEALED &&
		    evict_falls(w->p, slab, frame) &&
		    !evict_add(w->s, w->p, slab, frame))
			break;
	}
	return evict_finish(w->s, w->p, false);
}

static uint32_t down(struct work *w, uint32_t arena, uint32_t want,
		     enum rung *ret_how)
{
	uint32_t items[BATCH], done = 0, n, mark = want;

	/* at the cold end all may be pinned: then further on */
	for (; mark < 4 * BATCH; mark *= 4) {
		n = cold_end(w->p, arena, mark, items);
		*ret_how = prepare(w, arena, items, n);
		done = fall(w, arena, items, n);
		if (done || *ret_how != RUNG_READY || n < mark)
			break;
	}
	return done;
}

uint32_t rung_evict(struct store_client *c, uint32_t arena, uint32_t want,
		    bool *ret_awaits)
{
	enum rung how = RUNG_NONE;
	struct work w;
	uint32_t n;

	if (!work_init(&w, c->store, c->pool))
		return 0;
	w.patient = c->patient;
	n = down(&w, arena, MIN(want, BATCH), &how);
	*ret_awaits = how == RUNG_LATER;
	return n;
}

uint32_t rung_exchange(struct store_client *c, uint32_t arena)
{
	enum rung how = RUNG_NONE;
	struct work w;

	if (!work_init(&w, c->store, c->pool))
		return 0;
	w.exchange = true;
	return down(&w, arena, 1, &how);
}

static bool falls_whole(const struct pool *p, const struct pool_slab *slab)
{
	for (uint32_t f = 0; f < slab->frames; f++)
		if (pool_frame_state(slab, f) == FRAME_SEALED &&
		    !evict_falls(p, slab, f))
			return false;
	return true;
}

int rung_press_slab(struct store_client *c, struct pool *p,
		    struct pool_slab *slab, bool exchange)
{
	enum rung r = RUNG_READY;
	struct work w;

	if (slab->low || slab->n_granted || slab->n_doomed ||
	    !work_init(&w, c->store, p))
		return -ENOSPC;
	w.patient = c->patient;
	w.exchange = exchange;
	for (uint32_t f = 0; f < slab->frames && r == RUNG_READY; f++) {
		if (pool_frame_state(slab, f) != FRAME_SEALED ||
		    pool_twin_of(p, slab, f) != POOL_NO_ITEM)
			continue;
		if (w.copied >= COPY_BYTES)
			r = RUNG_LATER;
		comes(&w, slab, f);
		if (r == RUNG_READY)
			r = block_below(&w, &slab->desc[f]);
	}
	if (r == RUNG_LATER)
		c->store->retry = true;
	/* room for the last was made of the first one's twins */
	if (r == RUNG_READY && !falls_whole(p, slab))
		r = RUNG_NONE;
	return r == RUNG_READY ? 0 : r == RUNG_LATER ? 1 : -ENOSPC;
}

bool rung_spare(struct store_client *c, uint64_t frame_bytes,
		uint32_t *ret_item)
{
	struct work w;

	/* nothing is worth less than nothing: stamp and rate are 0 */
	return work_init(&w, c->store, c->pool) &&
	       frame_for(&w, frame_bytes, ret_item) == RUNG_READY;
}

/* ---- up ------------------------------------------------------------------------ */

/* With rates the ladder says, without them a second use. */
static bool wants_up(struct store *s, struct pool *p,
		     const struct pool_slab *slab, uint32_t frame,
		     uint64_t before)
{
	struct pool_shape shape = { .frame_bytes = slab->frame_bytes };
	bool known, stays;
	uint32_t arena;

	if (!p->policy_ops->rate ||
	    !p->policy_ops->rate(p->policy, slab->base + frame) ||
	    pool_arena_get(p, CLIENT_SERVER, shape, &arena) < 0)
		return before != 0;
	/* else a slab of others has to go for it, and those have no rate */
	known = p->arena[arena].slabs != 0;
	stays = known && price_stays_low(s, p, slab, frame, arena);
	pool_arena_put(p, arena);
	pool_count(p, POOL_C_cxl_in_place, stays);
	return known ? !stays : before != 0;
}

void rung_touch(struct store *s, struct pool *p, struct pool_slab *slab,
		uint32_t frame)
{
	struct pool_twin *t;
	uint64_t before;

	pool_frame_touch(p, slab, frame);
	if (!slab->low || !p->twin || pool_is_twin(p, slab, frame))
		return;
	t = &p->twin[slab->base + frame];
	before = t->before;
	t->before = p->touch_clock;
	if (!wants_up(s, p, slab, frame, before) || s->rises == RISES)
		return;
	s->rise[s->rises++] = (struct rise){
		.pool = p->number,
		.loc = frame_loc(slab->id, frame),
		.gen = pool_frame_gen(slab, frame),
		.before = before,
	};
}

/* A part in low memory is copied up. */
static enum rung part_up(struct work *w, struct pool_slab *low, uint32_t lf,
			 uint64_t before)
{
	uint64_t gen = pool_frame_gen(low, lf);
	struct pool_slab *up;
	uint32_t item, uf;
	int r = room_rise(w->c, low->frame_bytes, before, w->rate, &item);

	if (r != 0)
		return r == 1 ? RUNG_LATER : RUNG_NONE;
	if (pool_frame_gen(low, lf) != gen ||
	    pool_frame_state(low, lf) != FRAME_SEALED)
		return RUNG_NONE;
	grant_own(w, item, &low->desc[lf]);
	up = pool_item(w->p, item, &uf);
	r = copy_part(w, low, lf, up, uf);
	if (r < 0) {
		give_up(w, up, uf, r);
		if (r == -EBADMSG)
			drop_wrong(w, low, lf);
		return RUNG_NONE;
	}
	pool_twin_rise(w->p, up, uf, low, lf);
	return RUNG_READY;
}

/* All that the block has in low memory alone. */
static enum rung block_up(struct work *w, const struct frame_desc *d,
			  uint64_t before)
{
	uint32_t ns = frame_part_ns(shared_load64(&d->part)), frame;
	enum rung r = RUNG_READY;
	struct pool_slab *slab;
	uint64_t key[4];

	shared_load_words(key, d->key, 4);
	for (unsigned i = 0;
	     r == RUNG_READY && part_at(w, key, ns, i, &slab, &frame); i++)
		if (slab && slab->low)
			r = part_up(w, slab, frame, before);
	return r;
}

static enum rung rise_one(struct store *s, const struct rise *rise,
			  uint64_t *copied)
{
	struct pool *p = s->pool[rise->pool];
	uint32_t frame;
	struct pool_slab *slab = p ? pool_locate(p, rise->loc, &frame) : NULL;
	struct work w;
	enum rung r;

	if (!slab || !slab->low || pool_is_twin(p, slab, frame) ||
	    shared_load64(&slab->desc[frame].word) !=
		    frame_word(rise->gen, FRAME_SEALED) ||
	    !work_init(&w, s, p))
		return RUNG_NONE;
	comes(&w, slab, frame);
	r = block_up(&w, &slab->desc[frame], rise->before);
	*copied += w.copied;
	return r;
}

/* Behind the reads, and behind those who wait for room, but for what has begun. */
void rung_rise(struct store *s)
{
	uint32_t kept = 0, n = s->rises;
	uint64_t copied = 0;

	if (!n)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct rise rise = s->rise[i];

		if (copied < RISE_BYTES && (rise.tries || !s->n_pending) &&
		    (rise_one(s, &rise, &copied) != RUNG_LATER ||
		     ++rise.tries == TRIES))
			continue;
		s->rise[kept++] = rise;
	}
	s->rises = kept;
}

/* Where less than half a slab is free the next one is asked for. */
void rung_tick(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *p = s->pool[n];

		for (uint32_t i = 0; p && p->low && i < p->n_arenas; i++) {
			const struct pool_arena *a = &p->arena[i];
			uint64_t left = 0;

			/* in those of nobody's nothing is filled */
			if (!a->used || !a->low || !a->slabs || a->making ||
			    a->owner != CLIENT_SERVER || !s->local[n])
				continue;
			for (uint32_t id = 1; id < p->slab_end; id++)
				if (p->slab[id] && p->slab[id]->arena == i)
					left += p->slab[id]->n_free;
			left *= a->frame_bytes;
			if (left < slab_bytes(s, p, a->frame_bytes) / 2)
				ask_for_slab(s, p, i);
		}
	}
}

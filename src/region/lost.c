/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of a region that fails (base/guard.h): what is lost, and what that costs.
 *
 *   a frame's bytes     its block; the owner keeps the frame from use (BROKEN until
 *                       it is free, then QUARANTINED)
 *   a shard's own data  to readers, look-ups that meet it; to the owner, the shard:
 *                       it is out of use, and stays the owner's, because grants may
 *                       be out in it. The next owner judges anew.
 *   a pin unit          to its member, all it could pin by it; to owners, evictions:
 *                       what it pins is not known, so it pins everything
 *   the control area    the region
 *
 * A guarded function is left in the middle. It may hold no lock and no memory, and
 * what it leaves half done in an own shard does not matter, because that is out of
 * use then: like the death of an owner, for one shard.
 */
#include "base/log.h"
#include "region/internal.h"
#include <errno.h>

/* The offset in the region; false: the address is none of it. */
static bool offset_of(const struct region *r, uintptr_t at,
		      uint64_t *ret_offset)
{
	const struct {
		const void *base;
		uint64_t bytes, offset;
	} maps[] = {
		{ r->all, r->g.bytes, 0 },
		{ r->control, REGION_UNIT, 0 },
		{ r->unit, REGION_UNIT,
		  r->places.units + r->self * REGION_UNIT },
	};

	for (size_t i = 0; i < ARRAY_LEN(maps); i++)
		if (maps[i].base &&
		    at - (uintptr_t)maps[i].base < maps[i].bytes) {
			*ret_offset =
				at - (uintptr_t)maps[i].base + maps[i].offset;
			return true;
		}
	for (uint32_t i = 0; i <= r->n_own + r->n_out; i++) {
		const struct region_own *own = i < r->n_own ? r->own[i]
					       : i < r->n_own + r->n_out
						       ? r->out[i - r->n_own]
						       : r->taking;
		uintptr_t base = own ? (uintptr_t)own->base : 0;

		if (!own || at - base >= r->places.shard_bytes)
			continue;
		*ret_offset = at - base + r->places.shards +
			      own->shard * r->places.shard_bytes;
		return true;
	}
	return false;
}

static struct region_where where_is(const struct region *r, uint64_t offset)
{
	struct region_where w = { .at = offset };
	uint64_t in;

	if (offset < r->places.units)
		return w;
	if (offset < r->places.shards) {
		w.part = LOST_UNIT;
		w.n = (uint32_t)((offset - r->places.units) / REGION_UNIT);
		return w;
	}
	offset -= r->places.shards;
	w.n = (uint32_t)(offset / r->places.shard_bytes);
	in = offset % r->places.shard_bytes;
	w.part = in < r->places.payload ? LOST_META : LOST_FRAME;
	if (w.part == LOST_FRAME)
		w.frame =
			(uint32_t)((in - r->places.payload) / r->g.frame_bytes);
	return w;
}

bool region_is_desc(const struct region *r, const struct region_where *w,
		    uint64_t *ret_first, uint64_t *ret_end)
{
	uint64_t desc = r->places.shards + w->n * r->places.shard_bytes +
			r->places.desc;
	uint64_t low = w->at & ~(w->bytes - 1);

	if (w->part != LOST_META || w->at < desc)
		return false;
	*ret_first = low < desc ? 0 : (low - desc) / sizeof(struct region_desc);
	*ret_end = (low + w->bytes - desc) / sizeof(struct region_desc);
	return low >= desc; /* else the index has lost some, too */
}

static void say(struct region *r, const struct region_where *w)
{
	static const char *const what[] = { [LOST_CONTROL] = "control area",
					    [LOST_UNIT] = "pin unit of member",
					    [LOST_META] = "shard",
					    [LOST_FRAME] = "a frame of shard" };
	uint64_t page = w->at / PAGE_BYTES + 1;

	for (size_t i = 0; i < ARRAY_LEN(r->said); i++)
		if (r->said[i] == page)
			return;
	r->said[r->n_said++ % ARRAY_LEN(r->said)] = page;
	log_error("a region's memory fails at byte %llu: %s %u",
		  (unsigned long long)w->at, what[w->part], w->n);
}

void region_out_of_use(struct region *r, struct region_own *own)
{
	uint32_t i = 0;

	while (i < r->n_own && r->own[i] != own)
		i++;
	if (i < r->n_own)
		memmove(&r->own[i], &r->own[i + 1],
			(--r->n_own - i) * sizeof(struct region_own *));
	r->out[r->n_out++] = own;
	log_error("shard %u of the region is out of use: its index or its "
		  "descriptors fail",
		  own->shard);
}

struct region_failed region_failed(const struct region *r)
{
	return (struct region_failed){ .times = r->faults, .shards = r->n_out };
}

bool region_is_out(const struct region *r, uint32_t shard)
{
	for (uint32_t i = 0; i < r->n_out; i++)
		if (r->out[i]->shard == shard)
			return true;
	return false;
}

/* ---- frames ------------------------------------------------------------------------ */

void region_hold(struct region_own *own, uint32_t frame)
{
	if (own->mark[frame] & (MARK_HELD | MARK_LISTED))
		return;
	if (own->mark[frame] & MARK_SEALED)
		own->n_sealed--;
	own->mark[frame] = MARK_HELD;
	own->n_quarantined++;
	log_warn("shard %u: the word of frame %u is damaged; the frame is held "
		 "back",
		 own->shard, frame);
}

/* Lent to nobody who gives it back: a successor finds it GRANTED to a device, or
 * QUARANTINED, which is the same to it. */
void region_keep(struct region *r, struct region_own *own, uint32_t frame)
{
	shared_fence_stores(); /* as grant_frame() */
	shared_store64(&own->desc[frame].grant_flags, FRAME_GRANT_DEVICE);
	if (region_step(r, own, frame, FRAME_EV_GRANT) ||
	    region_step(r, own, frame, FRAME_EV_QUARANTINE))
		return;
	own->mark[frame] |= MARK_HELD;
	own->n_quarantined++;
}

static void break_frame(struct region *r, struct region_own *own,
			uint32_t frame)
{
	uint64_t word = shared_load64(&own->desc[frame].word);

	if (own->mark[frame] & (MARK_BROKEN | MARK_HELD))
		return;
	own->mark[frame] |= MARK_BROKEN;
	if (frame_word_state(word) == FRAME_SEALED &&
	    region_doom(r, own, frame))
		return;
	for (uint32_t i = 0; i < own->n_free; i++) {
		if (own->free[i] != frame)
			continue;
		own->free[i] = own->free[--own->n_free];
		own->mark[frame] &= (uint8_t)~MARK_LISTED;
		region_keep(r, own, frame);
		return;
	}
}

struct broken {
	struct region *r;
	struct region_own *own;
	uint32_t first, end;
};

static void break_run(void *ctx)
{
	struct broken *b = ctx;

	for (uint32_t f = b->first; f < b->end && f < b->own->frames; f++)
		break_frame(b->r, b->own, f);
}

/* As wide as the kernel says. */
static void break_frames(struct region *r, struct region_own *own,
			 const struct region_where *w)
{
	uint64_t shard = r->places.shards + own->shard * r->places.shard_bytes;
	uint64_t payload = shard + r->places.payload;
	uint64_t low = MAX(w->at & ~(w->bytes - 1), payload);
	uint64_t high = (w->at & ~(w->bytes - 1)) + w->bytes;
	struct broken b = {
		.r = r,
		.own = own,
		.first = (uint32_t)((low - payload) / r->g.frame_bytes),
		.end = (uint32_t)DIV_UP(high - payload, r->g.frame_bytes),
	};

	(void)region_guard(r, break_run, &b, NULL);
}

/* ---- guards ------------------------------------------------------------------------ */

static void count_one(void *ctx)
{
	region_tally(ctx, REGION_C_memory_errors, 1);
}

int region_guard(struct region *r, void (*fn)(void *ctx), void *ctx,
		 struct region_where *ret_where)
{
	struct region_where w = { .part = LOST_CONTROL };
	struct guard_fault fault;
	struct region_own *own;
	uint64_t offset;

	if (likely(guard_run(fn, ctx, &fault) == 0))
		return 0;
	if (offset_of(r, fault.at, &offset))
		w = where_is(r, offset);
	w.bytes = fault.bytes;
	say(r, &w);
	r->faults++;
	if (r->unit)
		(void)guard_run(count_one, r, NULL);
	own = w.part >= LOST_META ? region_own_of(r, w.n) : NULL;
	if (own && w.part == LOST_META)
		region_out_of_use(r, own);
	else if (own)
		break_frames(r, own, &w);
	if (ret_where)
		*ret_where = w;
	return -EIO;
}

struct counting {
	struct region *r;
	enum region_count what;
	uint64_t n;
};

static void counting_run(void *ctx)
{
	const struct counting *c = ctx;

	region_tally(c->r, c->what, c->n);
}

void region_count(struct region *r, enum region_count what, uint64_t n)
{
	struct counting c = { r, what, n };

	(void)region_guard(r, counting_run, &c, NULL);
}

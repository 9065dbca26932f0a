/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One frame's life, as stores in an order that another server can recover.
 *
 * Every change ends in one store of the word; what the new state promises is
 * stored before it, what the old state promised is withdrawn after it. The
 * index entry is made after SEALED and removed before FREE, so at any moment
 * a sealed frame without an entry can only be the one in hand: recovery
 * enters it.
 */
#include <errno.h>
#include "base/log.h"
#include "pool/internal.h"

uint64_t pool_frame_gen(const struct pool_slab *s, uint32_t frame)
{
	return frame_word_gen(shared_load64(&s->desc[frame].word));
}

enum frame_state pool_frame_state(const struct pool_slab *s, uint32_t frame)
{
	/* acquire: a new server republishes what it reads (coherence/pin.h) */
	return frame_word_state(shared_load64_acquire(&s->desc[frame].word));
}

/* Release: pairs with the readers' acquire of the word (pin_holds()). */
void pool_frame_step(struct pool_slab *s, uint32_t frame,
		     enum frame_event event)
{
	shared_u64 *word = &s->desc[frame].word;
	uint64_t next = 0;
	int r = frame_step(shared_load64(word), event, &next);

	must(r == 0);
	shared_store64_release(word, next);
}

struct pool_slab *pool_locate(const struct pool *p, uint64_t loc,
			      uint32_t *ret_frame)
{
	struct pool_slab *s;

	if (loc >> FRAME_LOC_BITS)
		return NULL;
	s = pool_slab_at(p, frame_loc_slab(loc));
	if (!s || frame_loc_frame(loc) >= s->frames)
		return NULL;
	*ret_frame = frame_loc_frame(loc);
	return s;
}

struct pool_slab *pool_find(const struct pool *p, const uint64_t key[4],
			    uint64_t part, uint32_t *ret_frame)
{
	struct table_hash h = table_hash(key, part);
	unsigned cursor = 0;
	uint64_t word;

	while ((word = table_probe(&p->table, h, &cursor))) {
		struct pool_slab *s =
			pool_locate(p, table_word_loc(word), ret_frame);

		if (s && pool_frame_state(s, *ret_frame) == FRAME_SEALED &&
		    frame_is(&s->desc[*ret_frame], key, part))
			return s;
	}
	return NULL;
}

void pool_free_link(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	struct pool_arena *a = &p->arena[s->arena];
	uint32_t item = s->base + frame;

	p->item_next[item] = a->free_head;
	p->item_prev[item] = POOL_NO_ITEM;
	if (a->free_head != POOL_NO_ITEM)
		p->item_prev[a->free_head] = item;
	a->free_head = item;
}

void pool_free_unlink(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	uint32_t item = s->base + frame;
	uint32_t next = p->item_next[item], prev = p->item_prev[item];

	if (prev == POOL_NO_ITEM)
		p->arena[s->arena].free_head = next;
	else
		p->item_next[prev] = next;
	if (next != POOL_NO_ITEM)
		p->item_prev[next] = prev;
}

void pool_free_push(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	s->n_free++;
	pool_count(p, POOL_C_free_frames, 1);
	if (!s->draining)
		pool_free_link(p, s, frame);
}

void pool_frame_grant(struct pool *p, struct pool_slab *s, uint32_t frame,
		      const struct pool_filling *filling)
{
	struct frame_desc *d = &s->desc[frame];

	must(!s->draining && pool_frame_state(s, frame) == FRAME_FREE);
	pool_free_unlink(p, s, frame);
	if (!filling->beside)
		p->arena[s->arena].last = s->base + frame;
	s->n_free--;
	pool_count(p, POOL_C_free_frames, -1ull);

	/* not before FREE is there: a successor that finds LEAVING puts it back
	 * to SEALED, and must find the key that was sealed */
	shared_fence_stores();
	shared_store_words(d->key, filling->key, 4);
	shared_store64(&d->part, filling->part);
	shared_store64(&d->extent, filling->extent);
	shared_store64(&d->owner, filling->owner);
	shared_store64(&d->grant_seq, filling->seq);
	shared_store64(&d->grant_flags, filling->flags);
	shared_store64(&d->depth, 0);
	shared_store64(&d->granted_ms, filling->now_ms);
	pool_frame_step(s, frame, FRAME_EV_GRANT);
	s->n_granted++;
	pool_count(p, POOL_C_granted, 1);
	pool_count(p, POOL_C_grants, 1);
}

/* Recency: stamp in the descriptor for the next server, order for this one. */
static void stamp(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	s->touched_sum -= shared_load64(&s->desc[frame].touched);
	shared_store64(&s->desc[frame].touched, ++p->touch_clock);
	s->touched_sum += p->touch_clock;
}

static uint64_t payload_bytes(const struct pool_slab *s, uint32_t frame)
{
	return frame_extent_bytes(shared_load64(&s->desc[frame].extent));
}

void pool_parts_count(struct pool *p, const struct frame_desc *d, int n)
{
	uint64_t part = shared_load64(&d->part);
	uint32_t ns = frame_part_ns(part) - 1;
	uint16_t group = frame_part_group(part);

	if (ns < LAYOUT_NS_MAX && group < MATCH_GROUPS_MAX)
		p->parts[ns][group] += (uint64_t)(int64_t)n;
}

void pool_sealed_count(struct pool *p, struct pool_slab *s, uint32_t frame,
		       int n)
{
	uint64_t one = (uint64_t)(int64_t)n;
	uint64_t bytes = one * payload_bytes(s, frame);

	pool_parts_count(p, &s->desc[frame], n);
	pool_count(p, POOL_C_sealed, one);
	pool_count(p, POOL_C_sealed_bytes, bytes);
	if (!s->low)
		return;
	pool_count(p, POOL_C_cxl_parts, one);
	pool_count(p, POOL_C_cxl_bytes, bytes);
}

/* A frame stops being resident: order and gauges. */
static void not_resident(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	p->policy_ops->remove(p->policy, s->base + frame);
	s->touched_sum -= shared_load64(&s->desc[frame].touched);
	s->n_sealed--;
	pool_sealed_count(p, s, frame, -1);
}

int pool_frame_seal(struct pool *p, struct pool_slab *s, uint32_t frame,
		    uint64_t checksum, uint64_t extent, uint64_t now_ms)
{
	struct frame_desc *d = &s->desc[frame];
	int r;

	shared_store64(&d->checksum, checksum);
	shared_store64(&d->extent, extent);
	shared_store64(&d->sealed_ms, now_ms);
	shared_store64(&d->touched, ++p->touch_clock);
	shared_store64(&d->sealed_at, p->touch_clock);
	pool_frame_step(s, frame, FRAME_EV_SEAL);
	s->touched_sum += p->touch_clock;
	if (p->twin)
		p->twin[s->base + frame].before = 0;
	s->n_granted--;
	s->n_sealed++;
	pool_count(p, POOL_C_granted, -1ull);
	pool_sealed_count(p, s, frame, 1);
	pool_count(p, POOL_C_seals, 1);
	pool_count(p, POOL_C_seal_bytes, frame_extent_bytes(extent));
	p->policy_ops->insert(p->policy, s->arena, s->base + frame,
			      p->touch_clock);
	r = pool_index_insert(p, s, frame);
	if (r == 0 && unlikely(pool_frame_is_broken(s, frame)))
		r = -EIO;
	if (r < 0)
		pool_frame_doom(p, s, frame);
	return r;
}

void pool_frame_rekey(struct pool_slab *s, uint32_t frame,
		      const uint64_t key[4])
{
	must(pool_frame_state(s, frame) == FRAME_GRANTED);
	shared_store_words(s->desc[frame].key, key, 4);
}

static void quarantine(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	pool_frame_step(s, frame, FRAME_EV_QUARANTINE);
	s->n_quarantined++;
	pool_count(p, POOL_C_quarantined, 1);
}

void pool_frame_abandon(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	s->n_granted--;
	pool_count(p, POOL_C_granted, -1ull);
	pool_count(p, POOL_C_abandons, 1);
	if (unlikely(pool_frame_is_broken(s, frame))) {
		quarantine(p, s, frame);
		return;
	}
	pool_frame_step(s, frame, FRAME_EV_ABANDON);
	pool_free_push(p, s, frame);
}

void pool_frame_owner_died(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	const struct frame_desc *d = &s->desc[frame];

	s->n_granted--;
	pool_count(p, POOL_C_granted, -1ull);
	pool_count(p, POOL_C_abandons, 1);
	if (!(shared_load64(&d->grant_flags) & FRAME_GRANT_DEVICE)) {
		pool_frame_step(s, frame, FRAME_EV_OWNER_DIED);
		pool_free_push(p, s, frame);
		return;
	}
	pool_frame_step(s, frame, FRAME_EV_QUARANTINE);
	s->n_quarantined++;
	pool_count(p, POOL_C_quarantined, 1);
	pool_count(p, POOL_C_quarantines, 1);
}

static bool is_settled(const struct frame_desc *d)
{
	return shared_load64(&d->owner) == CLIENT_SERVER &&
	       (shared_load64(&d->grant_flags) &
		(FRAME_GRANT_TIER | FRAME_GRANT_BROKEN)) == FRAME_GRANT_TIER;
}

static void slab_settle(struct pool *p, struct pool_slab *s)
{
	for (uint32_t f = 0; f < s->frames && s->n_quarantined; f++) {
		if (pool_frame_state(s, f) != FRAME_QUARANTINED ||
		    !is_settled(&s->desc[f]))
			continue;
		pool_frame_step(s, f, FRAME_EV_SETTLE);
		s->n_quarantined--;
		pool_count(p, POOL_C_quarantined, -1ull);
		pool_free_push(p, s, f);
	}
}

/* One that retires has given up its frames, and ends as it is. */
void pool_quarantine_settle(struct pool *p)
{
	for (uint32_t id = 1; id < p->slab_end; id++)
		if (p->slab[id] && !p->slab[id]->retiring)
			slab_settle(p, p->slab[id]);
}

void pool_frame_leave(struct pool_slab *s, uint32_t frame)
{
	pool_frame_step(s, frame, FRAME_EV_LEAVE);
}

void pool_frame_spare(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	pool_frame_step(s, frame, FRAME_EV_SPARE);
	pool_count(p, POOL_C_spared, 1);
}

void pool_frame_breaks(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	struct frame_desc *d = &s->desc[frame];

	if (pool_frame_is_broken(s, frame))
		return;
	shared_store64(&d->grant_flags, shared_load64(&d->grant_flags) |
						FRAME_GRANT_BROKEN |
						FRAME_GRANT_DEVICE);
	pool_count(p, POOL_C_memory_errors, 1);
}

void pool_frame_broken(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	pool_frame_breaks(p, s, frame);
	s->n_granted--;
	pool_count(p, POOL_C_granted, -1ull);
	quarantine(p, s, frame);
}

/* By the table, as if it were lent to a device for ever: a successor that finds
 * it FREE does this again, and quarantines it when it finds it lent. */
void pool_frame_keep(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	shared_store64(&s->desc[frame].owner, CLIENT_SERVER);
	pool_frame_step(s, frame, FRAME_EV_GRANT);
	quarantine(p, s, frame);
}

void pool_frame_lost(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	pool_frame_breaks(p, s, frame);
	if (!s->draining)
		pool_free_unlink(p, s, frame);
	s->n_free--;
	pool_count(p, POOL_C_free_frames, -1ull);
	pool_frame_keep(p, s, frame);
}

void pool_frame_release(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	if (pool_frame_state(s, frame) == FRAME_DOOMED) {
		s->n_doomed--;
		pool_count(p, POOL_C_leaving, -1ull);
	} else if (pool_is_twin(p, s, frame)) {
		pool_twin_unlink(p, s, frame);
	} else {
		/* the twin left before: alone it would be found again */
		must(pool_twin_of(p, s, frame) == POOL_NO_ITEM);
		pool_index_remove(p, s, frame);
		not_resident(p, s, frame);
	}
	pool_frame_step(s, frame, FRAME_EV_RELEASE);
	if (unlikely(pool_frame_is_broken(s, frame)))
		pool_frame_keep(p, s, frame);
	else
		pool_free_push(p, s, frame);
}

/* Both replicas, the twin first: a successor would find it alone again. */
void pool_frame_doom(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	uint32_t twin = pool_twin_of(p, s, frame);

	if (pool_is_twin(p, s, frame)) {
		pool_twin_unlink(p, s, frame);
		pool_frame_step(s, frame, FRAME_EV_DOOM);
		s->n_doomed++;
		pool_count(p, POOL_C_leaving, 1);
		return;
	}
	if (twin != POOL_NO_ITEM) {
		uint32_t low;
		struct pool_slab *other = pool_item(p, twin, &low);

		pool_frame_doom(p, other, low);
	}
	not_resident(p, s, frame);
	/* the word first: a crash here leaves a stale entry, not a block that
	 * comes back */
	pool_frame_step(s, frame, FRAME_EV_DOOM);
	pool_index_remove(p, s, frame);
	s->n_doomed++;
	pool_count(p, POOL_C_leaving, 1);
}

void pool_frame_touch(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	if (pool_is_twin(p, s, frame)) /* pinned before it was one */
		s = pool_item(p, pool_twin_of(p, s, frame), &frame);
	stamp(p, s, frame);
	p->policy_ops->touch(p->policy, s->base + frame, p->touch_clock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaving: the server's half of coherence/pin.h, in batches.
 *
 * mark all LEAVING, one fence, read every pin slot of every client of the
 * pool once, then release what nobody named and spare the rest. A block whose
 * parts lie in several frames leaves whole: a pin on one part spares all. Where
 * mappings alone pin it, their clients are asked for it (store/revoke.h), and it
 * leaves when they have answered.
 *
 * While a frame is in a batch, its item_next (meaningful only for FREE frames)
 * holds its place in the batch.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "coherence/pin.h"
#include <onecopy/onecopy.h>
#include "store/revoke.h"

void evict_begin(struct store *s)
{
	s->batch.n = 0;
	s->batch.blocks = 0;
	s->batch.most = UINT32_MAX;
	s->batch.n_notes = 0;
	s->batch.ask_most = 0;
	s->batch.asked = 0;
}

static bool batch_room(struct evict_batch *b, uint32_t more)
{
	if (b->n + more > b->cap) {
		uint32_t cap = MAX(2 * b->cap, b->n + more + 64);
		struct evict_entry *grown =
			mem_grow(b->entry, cap, sizeof(*grown));

		if (!grown)
			return false;
		b->entry = grown;
		b->cap = cap;
	}
	if (b->blocks == b->blocks_cap) {
		uint32_t cap = MAX(2 * b->blocks_cap, 64u);
		uint8_t *grown = mem_grow(b->pinned, cap, 1);

		if (!grown)
			return false;
		b->pinned = grown;
		b->blocks_cap = cap;
	}
	return true;
}

static void batch_push(struct evict_batch *b, struct pool *p,
		       struct pool_slab *slab, uint32_t frame)
{
	p->item_next[slab->base + frame] = b->n;
	b->entry[b->n++] = (struct evict_entry){ slab, frame, b->blocks };
}

static void mark(struct evict_batch *b, struct pool *p, struct pool_slab *slab,
		 uint32_t frame)
{
	pool_frame_leave(slab, frame);
	batch_push(b, p, slab, frame);
}

/* Replicas of a part: the twin before what is found, so that it goes first. */
static void mark_part(struct evict_batch *b, struct pool *p,
		      struct pool_slab *slab, uint32_t frame)
{
	uint32_t twin = pool_twin_of(p, slab, frame), at;
	struct pool_slab *other;

	if (twin != POOL_NO_ITEM) {
		other = pool_item(p, twin, &at);
		mark(b, p, other, at);
	}
	mark(b, p, slab, frame);
}

/* The frames of a frame's block that are found: block[]. Their number. */
static uint32_t parts_of(const struct pool *p, const struct frame_desc *d,
			 struct evict_entry block[LAYOUT_RANKS_MAX])
{
	struct ns_parts parts =
		ns_parts_of(p, frame_part_ns(shared_load64(&d->part)));
	uint64_t key[4];
	uint32_t n = 0;

	shared_load_words(key, d->key, 4);
	for (uint32_t i = 0; i < parts.n && i < LAYOUT_RANKS_MAX; i++) {
		struct evict_entry *e = &block[n];

		e->slab = pool_find(p, key, ns_parts_at(&parts, i), &e->frame);
		n += e->slab != NULL;
	}
	return n;
}

/* All that it has in DRAM lies below as well, and there is something. */
static bool may_fall(const struct pool *p, const struct evict_entry *block,
		     uint32_t n)
{
	bool any = false;

	for (uint32_t i = 0; i < n; i++) {
		if (block[i].slab->low)
			continue;
		any = true;
		if (pool_twin_of(p, block[i].slab, block[i].frame) ==
		    POOL_NO_ITEM)
			return false;
	}
	return any;
}

bool evict_falls(const struct pool *p, const struct pool_slab *slab,
		 uint32_t frame)
{
	struct evict_entry block[LAYOUT_RANKS_MAX];

	return pool_twin_of(p, slab, frame) != POOL_NO_ITEM &&
	       may_fall(p, block, parts_of(p, &slab->desc[frame], block));
}

bool evict_add(struct store *s, struct pool *p, struct pool_slab *slab,
	       uint32_t frame)
{
	struct evict_batch *b = &s->batch;
	struct evict_entry block[LAYOUT_RANKS_MAX];
	uint32_t n;
	bool falls;

	if (!batch_room(b, 2 * LAYOUT_RANKS_MAX))
		return false;
	n = parts_of(p, &slab->desc[frame], block);
	falls = !slab->low && may_fall(p, block, n);
	for (uint32_t i = 0; i < n; i++)
		if (!falls)
			mark_part(b, p, block[i].slab, block[i].frame);
		else if (!block[i].slab->low)
			mark(b, p, block[i].slab, block[i].frame);
	if (pool_frame_state(slab, frame) == FRAME_SEALED)
		mark(b, p, slab, frame); /* whatever the index says */
	b->pinned[b->blocks++] = 0;
	return true;
}

bool evict_add_twin(struct store *s, struct pool *p, struct pool_slab *slab,
		    uint32_t frame)
{
	if (!batch_room(&s->batch, 1))
		return false;
	mark(&s->batch, p, slab, frame);
	s->batch.pinned[s->batch.blocks++] = 0;
	return true;
}

static void judge_slot(struct evict_batch *b, const struct pool *p,
		       struct store_client *c, uint32_t slot)
{
	uint64_t pin = pin_read(&c->segment->slots[slot]);
	struct pool_slab *slab;
	uint32_t frame, at;
	uint8_t what = EVICT_PINNED, *is;

	if (!pin)
		return;
	slab = pool_locate(p, pin_word_loc(pin), &frame);
	if (!slab || slab->retiring)
		return;
	at = p->item_next[slab->base + frame];
	if (at >= b->n || b->entry[at].slab != slab ||
	    b->entry[at].frame != frame ||
	    !pin_word_names(pin, pin_word_loc(pin),
			    pool_frame_gen(slab, frame)))
		return;
	if (pin & PIN_MAPPED &&
	    revoke_note(b, c, slot, b->entry[at].block, pin))
		what = EVICT_MAPPED;
	is = &b->pinned[b->entry[at].block];
	*is = MAX(*is, what);
}

static void judge_client(struct evict_batch *b, const struct pool *p,
			 struct store_client *c)
{
	const struct client_segment *seg = c->segment;
	/* pin_high is raised before the slot: the fence orders both */
	uint64_t high = shared_load64_acquire(&seg->header.pin_high);
	uint64_t over = shared_load64(&seg->header.overflow_high);

	high = MIN(high, (uint64_t)c->n_pins);
	over = MIN(over, (uint64_t)c->n_overflow);
	for (uint64_t i = 0; i < high; i++)
		judge_slot(b, p, c, (uint32_t)i);
	for (uint64_t i = 0; i < over; i++)
		judge_slot(b, p, c, c->n_pins + (uint32_t)i);
}

/* A predecessor's client whose slots cannot be read yet may pin anything. */
static bool pins_unknown(struct store *s, const struct pool *p)
{
	for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++)
		if (shared_load64(&p->m->client[i].id) &&
		    !s->client[p->number][i])
			return true;
	s->pins_unknown[p->number] = false;
	return false;
}

static void judge(struct store *s, struct pool *p)
{
	if (s->pins_unknown[p->number] && pins_unknown(s, p)) {
		memset(s->batch.pinned, EVICT_PINNED, s->batch.blocks);
		return;
	}
	pool_count(p, POOL_C_pin_scans, 1);
	shared_fence(); /* S2 of coherence/pin.h */
	for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++) {
		struct store_client *c = s->client[p->number][i];

		if (c && !c->closed)
			judge_client(&s->batch, p, c);
	}
	if (s->local[p->number])
		judge_client(&s->batch, p, s->local[p->number]);
}

static bool any_pinned(const struct evict_batch *b)
{
	for (uint32_t i = 0; i < b->blocks; i++)
		if (b->pinned[i])
			return true;
	return false;
}

/* Keeps all but the first `most` of the blocks that nobody pins: their marks
 * were for finding these. */
static void spare_surplus(struct evict_batch *b)
{
	uint32_t leaving = 0;

	for (uint32_t i = 0; i < b->blocks; i++)
		if (!b->pinned[i] && leaving++ >= b->most)
			b->pinned[i] = EVICT_SURPLUS;
}

/* Parts of the block that entry i is of, from there on. */
static uint32_t parts_from(const struct evict_batch *b, const struct pool *p,
			   uint32_t i)
{
	uint32_t block = b->entry[i].block, n = 0;

	for (; i < b->n && b->entry[i].block == block; i++)
		n += !pool_is_twin(p, b->entry[i].slab, b->entry[i].frame);
	return n;
}

/* One that leaves for good. */
static void leaves(struct store *s, struct pool *p, struct pool_slab *slab,
		   uint32_t frame)
{
	uint64_t extent = shared_load64(&slab->desc[frame].extent);

	move_leaves(s, p, slab, frame);
	shard_leaves(s, p, slab, frame);
	pool_frame_release(p, slab, frame);
	pool_count(p, POOL_C_evicted, 1);
	pool_count(p, POOL_C_evicted_bytes, frame_extent_bytes(extent));
	pool_count(p, POOL_C_cxl_evicted, slab->low);
	pool_count(p, POOL_C_cxl_missed, !slab->low && rung_there(s, p));
}

bool evict_loses(const struct pool *p, const struct pool_slab *slab,
		 uint32_t frame)
{
	uint32_t twin = pool_twin_of(p, slab, frame), lf;
	const struct pool_slab *low;

	if (twin == POOL_NO_ITEM || slab->low)
		return twin == POOL_NO_ITEM;
	low = pool_item(p, twin, &lf);
	return pool_frame_state(low, lf) == FRAME_LEAVING;
}

/* In use, as far as can be known: no victim for a while. */
static void spare(struct store *s, struct pool *p, const struct evict_entry *e,
		  enum evict_what what)
{
	pool_frame_spare(p, e->slab, e->frame);
	if (what != EVICT_LEAVES && what != EVICT_SURPLUS &&
	    what != EVICT_DEAR && !move_is_written(s, p, e->slab, e->frame))
		pool_frame_touch(p, e->slab, e->frame);
}

/* Blocks that their mappings would lose are written below, and asked for when
 * they are there. Those that cannot be are in use. */
static void save_dear(struct store *s, struct pool *p)
{
	struct evict_batch *b = &s->batch;
	uint32_t saved = UINT32_MAX;
	bool goes = false;

	for (uint32_t i = 0; i < b->n; i++) {
		const struct evict_entry *e = &b->entry[i];

		if (b->pinned[e->block] != EVICT_DEAR)
			continue;
		if (e->block != saved) {
			saved = e->block;
			goes = move_save(s, p, e->slab, e->frame);
		}
		if (!goes &&
		    pool_frame_state(e->slab, e->frame) == FRAME_SEALED)
			pool_frame_touch(p, e->slab, e->frame);
	}
}

uint32_t evict_finish(struct store *s, struct pool *p, bool all)
{
	struct evict_batch *b = &s->batch;
	uint32_t released = 0, noted = UINT32_MAX;
	bool none;

	if (!b->n)
		return 0;
	judge(s, p);
	revoke_choose(s, p, all);
	none = all && any_pinned(b);
	spare_surplus(b);
	for (uint32_t i = 0; i < b->n; i++) {
		struct evict_entry *e = &b->entry[i];

		if (none || b->pinned[e->block]) {
			spare(s, p, e, b->pinned[e->block]);
			continue;
		}
		released++;
		if (pool_is_twin(p, e->slab, e->frame)) {
			pool_frame_release(p, e->slab, e->frame);
			continue;
		}
		if (pool_twin_of(p, e->slab, e->frame) != POOL_NO_ITEM) {
			pool_twin_fall(p, e->slab, e->frame);
			continue;
		}
		if (e->block != noted) {
			noted = e->block;
			note_evicted(s, p, e->slab, e->frame,
				     parts_from(b, p, i));
		}
		leaves(s, p, e->slab, e->frame);
	}
	if (b->n_notes)
		save_dear(s, p);
	b->n = 0;
	if (released)
		s->retry = true;
	return released;
}

/* Of a block that leaves for nothing while there are others: how far to look. */
#define LOOK_FREE  64u
#define LOOK_TIMES 4u
/* Blocks that are asked for at a time, where one would do: an answer takes as
 * long for all. */
#define ASK_LEAST 8u
/* Between two questions for removed blocks that mappings hold. */
#define DOOMED_NS (100 * NS_PER_MS)

static bool may_leave(struct store *s, struct pool *p, struct pool_slab *slab,
		      uint32_t frame, bool for_nothing)
{
	enum victim v = move_victim(s, p, slab, frame);

	return v == VICTIM_FREE || (v == VICTIM_DIRTY && !for_nothing);
}

uint32_t evict_from_arena(struct store *s, struct pool *p, uint32_t arena,
			  uint32_t mark, uint32_t want, bool for_nothing,
			  bool ask)
{
	uint32_t looks = for_nothing ? LOOK_TIMES * mark + LOOK_FREE
				     : UINT32_MAX;
	uint32_t item = p->policy_ops->victim(p->policy, arena, POLICY_NONE);

	evict_begin(s);
	s->batch.most = want;
	s->batch.ask_most = ask ? MAX(want, ASK_LEAST) : 0;
	while (item != POLICY_NONE && s->batch.blocks < mark && looks--) {
		uint32_t next = p->policy_ops->victim(p->policy, arena, item);
		uint32_t frame;
		struct pool_slab *slab = pool_item(p, item, &frame);

		/* a sibling of an earlier victim is LEAVING already */
		if (pool_frame_state(slab, frame) == FRAME_SEALED &&
		    may_leave(s, p, slab, frame, for_nothing) &&
		    !evict_add(s, p, slab, frame))
			break;
		item = next;
	}
	return evict_finish(s, p, false);
}

/* All of a slab that is emptied. Twins after the blocks of which others lie here:
 * those bring their twins along, and what is LEAVING cannot leave again. */
static void add_slab(struct store *s, struct pool *p, struct pool_slab *slab)
{
	for (unsigned twins = 0; twins < 2; twins++)
		for (uint32_t f = 0; f < slab->frames; f++) {
			if (pool_frame_state(slab, f) != FRAME_SEALED ||
			    pool_is_twin(p, slab, f) != (twins == 1))
				continue;
			if (!(twins ? evict_add_twin(s, p, slab, f)
				    : evict_add(s, p, slab, f)))
				return;
		}
}

bool evict_slab(struct store *s, struct pool *p, struct pool_slab *slab,
		bool ask)
{
	evict_begin(s);
	if (slab->n_granted || slab->n_doomed || slab->retiring)
		return false;
	s->batch.ask_most = ask ? UINT32_MAX : 0;
	add_slab(s, p, slab);
	evict_finish(s, p, true);
	return pool_slab_empty(slab);
}

void evict_slab_hard(struct store *s, struct pool *p, struct pool_slab *slab)
{
	evict_begin(s);
	add_slab(s, p, slab);
	evict_finish(s, p, false);
	for (uint32_t f = 0; f < slab->frames; f++) {
		struct doomed n;

		if (pool_frame_state(slab, f) != FRAME_SEALED)
			continue;
		note_evicted(s, p, slab, f, 1);
		move_leaves(s, p, slab, f);
		n = block_doom_of(p, slab, f);
		pool_count(p, POOL_C_evicted, n.parts);
		pool_count(p, POOL_C_evicted_bytes, n.bytes);
	}
}

static void collect_doomed(struct store *s, struct pool *p,
			   struct pool_slab *slab)
{
	for (uint32_t f = 0; f < slab->frames; f++) {
		if (pool_frame_state(slab, f) != FRAME_DOOMED)
			continue;
		if (!batch_room(&s->batch, 1))
			return;
		batch_push(&s->batch, p, slab, f);
		s->batch.pinned[s->batch.blocks++] = 0;
	}
}

void evict_drain(struct store *s, struct pool *p)
{
	struct evict_batch *b = &s->batch;

	if (!pool_counter(p, POOL_C_leaving))
		return;
	evict_begin(s);
	for (uint32_t id = 1; id < p->slab_end; id++)
		if (p->slab[id] && p->slab[id]->n_doomed)
			collect_doomed(s, p, p->slab[id]);
	judge(s, p);
	if (s->now_ns >= s->revoke.doomed_ns) {
		b->ask_most = UINT32_MAX;
		revoke_choose(s, p, false);
		s->revoke.doomed_ns = s->now_ns + DOOMED_NS;
	}
	for (uint32_t i = 0; i < b->n; i++) {
		if (b->pinned[b->entry[i].block])
			continue;
		pool_frame_release(p, b->entry[i].slab, b->entry[i].frame);
		s->retry = true;
	}
	b->n = 0;
}

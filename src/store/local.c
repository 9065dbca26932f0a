/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's own client. Its record and its pin slots are like a client's, in
 * private memory: eviction looks at them with the same code.
 */
#include "store/local.h"
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "coherence/pin.h"
#include "store/internal.h"

static uint64_t segment_bytes(void)
{
	return client_segment_bytes(0, LOCAL_PINS);
}

int local_client(struct store *s, struct pool *p,
		 struct store_client **ret_client)
{
	struct store_client *c = s->local[p->number];

	*ret_client = c;
	if (c)
		return 0;
	c = mem_alloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	/* large and zeroed: pages come as slots are used */
	c->segment = mem_alloc(segment_bytes());
	c->record = mem_alloc(sizeof(*c->record));
	if (!c->segment || !c->record) {
		local_free(c);
		return -ENOMEM;
	}
	c->store = s;
	c->pool = p;
	c->id = CLIENT_SERVER;
	c->index = LAYOUT_CLIENTS_MAX;
	c->n_overflow = LOCAL_PINS;
	c->local = true;
	shared_store64(&c->record->pid_uid, UID_SERVER);
	s->local[p->number] = c;
	*ret_client = c;
	return 0;
}

void local_free(struct store_client *c)
{
	if (!c)
		return;
	free(c->segment);
	free(c->record);
	client_free(c);
}

/* ---- writing --------------------------------------------------------------- */

/* Frames that leave at a time when there is no room: many small ones are
 * cheaper together. */
static uint32_t batch_of(uint64_t bytes)
{
	return bytes <= 65536 ? 32 : 2;
}

int local_granted(struct store_client *c, const struct ring_answer *answer,
		  struct local_part *ret_part)
{
	uint32_t frame;
	struct pool_slab *s = pool_locate(c->pool, answer->loc, &frame);

	must(s != NULL);
	*ret_part = (struct local_part){
		.loc = answer->loc,
		.gen = answer->gen,
		.slices = pool_payload(s, frame),
		.bytes = s->frame_bytes,
	};
	if (ret_part->data)
		return 0;
	local_abandon(c, ret_part);
	return -ENOMEM;
}

enum store_result local_grant(struct store_client *c, const uint64_t key[4],
			      uint64_t part, uint64_t bytes, uint64_t flags,
			      uint64_t seq, uint64_t timeout_ns,
			      int64_t *ret_result, struct local_part *ret_part)
{
	struct ring_call call = { .op = RING_GRANT,
				  .seq = seq,
				  .part = part,
				  .arg = flags,
				  .timeout_ns = timeout_ns };
	struct ring_answer answer;

	*ret_result = -E2BIG;
	if (bytes > LAYOUT_PART_MAX)
		return STORE_ANSWERED;
	call.extent = frame_extent((uint32_t)bytes, 0);
	memcpy(call.key, key, sizeof(call.key));
	if (grant_call(c, &call, batch_of(bytes), false, &answer) ==
	    STORE_LATER)
		return STORE_LATER;
	*ret_result = answer.result;
	if (answer.result == 0)
		*ret_result = local_granted(c, &answer, ret_part);
	return STORE_ANSWERED;
}

bool local_cancel(struct store_client *c, uint64_t seq)
{
	return grant_cancel(c, 0, seq);
}

struct pool_slab *local_lent(struct store_client *c,
			     const struct local_part *part, uint32_t *ret_frame)
{
	struct pool_slab *s = pool_locate(c->pool, part->loc, ret_frame);

	must(s && s->owner == CLIENT_SERVER &&
	     shared_load64(&s->desc[*ret_frame].word) ==
		     frame_word(part->gen, FRAME_GRANTED));
	return s;
}

/* Nobody but this client was ever given the slab, and none of its slots names
 * the frame: no need to wait for the next look at all pins. */
static bool unpinned(const struct store_client *c, const struct pool_slab *s,
		     uint32_t frame)
{
	const struct slab_record *rec = &c->pool->m->slab[s->id];
	uint64_t high = shared_load64(&c->segment->header.overflow_high);
	uint64_t pin =
		pin_word(frame_loc(s->id, frame), pool_frame_gen(s, frame));

	for (size_t i = 0; i < ARRAY_LEN(rec->given); i++)
		if (shared_load64(&rec->given[i]))
			return false;
	for (uint64_t i = 0; i < high; i++)
		if (shared_load64(&c->segment->slots[i]) == pin)
			return false;
	return !c->store->pins_unknown[c->pool->number];
}

static bool take_away(struct store_client *c, const uint64_t key[4],
		      uint64_t part, enum past_event event)
{
	uint32_t frame;
	struct pool_slab *s = pool_find(c->pool, key, part, &frame);
	bool below = move_forget(c->store, c->pool, key, part);

	if (!s)
		return below;
	note_gone(c->store, c->pool, s, frame, event, c->id);
	pool_frame_doom(c->pool, s, frame);
	if (unpinned(c, s, frame)) {
		pool_frame_release(c->pool, s, frame);
		c->store->retry = true;
	}
	return true;
}

bool local_remove(struct store_client *c, const uint64_t key[4], uint64_t part)
{
	return take_away(c, key, part, PAST_REMOVED);
}

int local_seal(struct store_client *c, const struct local_part *part,
	       uint64_t bytes, uint64_t checksum)
{
	uint32_t frame;
	struct pool_slab *s = local_lent(c, part, &frame);
	const struct frame_desc *d = &s->desc[frame];
	uint64_t key[4];

	must(bytes <= s->frame_bytes);
	shared_load_words(key, d->key, 4);
	take_away(c, key, shared_load64(&d->part), PAST_REPLACED);
	c->granted--;
	return pool_frame_seal(c->pool, s, frame, checksum,
			       frame_extent((uint32_t)bytes, 0),
			       c->store->now_ns / NS_PER_MS);
}

void local_abandon(struct store_client *c, const struct local_part *part)
{
	uint32_t frame;
	struct pool_slab *s = local_lent(c, part, &frame);

	pool_frame_abandon(c->pool, s, frame);
	c->granted--;
	c->store->retry = true;
}

/* ---- reading --------------------------------------------------------------- */

static bool part_of(struct pool_slab *s, uint32_t frame,
		    struct local_part *ret_part)
{
	const struct frame_desc *d = &s->desc[frame];

	/* also one whose server has ended (pool/attach.c) */
	if (s->writer_uid != UID_SERVER)
		return false;
	*ret_part = (struct local_part){
		.loc = frame_loc(s->id, frame),
		.gen = pool_frame_gen(s, frame),
		.slices = pool_payload(s, frame),
		.bytes = frame_extent_bytes(shared_load64(&d->extent)),
		.checksum = shared_load64(&d->checksum),
		.sealed_ms = shared_load64(&d->sealed_ms),
	};
	return ret_part->data != NULL;
}

bool local_find(struct store_client *c, const uint64_t key[4], uint64_t part,
		struct local_part *ret_part)
{
	uint32_t frame;
	struct pool_slab *s = pool_find(c->pool, key, part, &frame);

	return s && part_of(s, frame, ret_part);
}

bool local_at(struct store_client *c, uint32_t slab, uint32_t frame,
	      uint32_t ns, uint64_t ret_key[4], uint64_t *ret_part,
	      struct local_part *ret_found)
{
	struct pool_slab *s = pool_slab_at(c->pool, slab);
	const struct frame_desc *d;

	if (!s || frame >= s->frames || s->retiring ||
	    pool_frame_state(s, frame) != FRAME_SEALED)
		return false;
	d = &s->desc[frame];
	*ret_part = shared_load64(&d->part);
	if (frame_part_ns(*ret_part) != ns)
		return false;
	shared_load_words(ret_key, d->key, 4);
	return part_of(s, frame, ret_found);
}

/* The frame of a part that was found and may have changed since. */
static struct pool_slab *still(struct store_client *c,
			       const struct local_part *part,
			       uint32_t *ret_frame)
{
	struct pool_slab *s = pool_locate(c->pool, part->loc, ret_frame);

	if (!s || shared_load64(&s->desc[*ret_frame].word) !=
			  frame_word(part->gen, FRAME_SEALED))
		return NULL;
	return s;
}

void local_touch(struct store_client *c, const struct local_part *part)
{
	uint32_t frame;
	struct pool_slab *s = still(c, part, &frame);

	if (s)
		rung_touch(c->store, c->pool, s, frame);
}

void local_bad(struct store_client *c, const struct local_part *part)
{
	uint32_t frame;
	struct pool_slab *s = still(c, part, &frame);

	if (s)
		block_drop_wrong(c->store, c->pool, s, frame);
}

void local_broken(struct store_client *c, const struct local_part *part,
		  const struct guard_fault *fault)
{
	uint32_t frame;
	struct pool_slab *s = pool_locate(c->pool, part->loc, &frame);

	if (s)
		broken_at(c->store, c->pool, s, fault);
}

/* The server evicts itself, in this thread: no fence between publishing and
 * using. */
int64_t local_pin(struct store_client *c, const struct local_part *part)
{
	shared_u64 *high = &c->segment->header.overflow_high;

	for (uint32_t i = 0; i < c->n_overflow; i++) {
		uint32_t slot = (c->overflow_hint + i) % c->n_overflow;

		if (shared_load64(&c->segment->slots[slot]))
			continue;
		c->overflow_hint = slot;
		if (shared_load64(high) <= slot)
			shared_store64(high, slot + 1);
		pin_publish(&c->segment->slots[slot], part->loc, part->gen);
		return slot;
	}
	return -EDQUOT;
}

void local_unpin(struct store_client *c, int64_t slot)
{
	shared_u64 *high = &c->segment->header.overflow_high;
	uint64_t top = shared_load64(high);

	pin_clear(&c->segment->slots[slot]);
	/* who looks at pins looks at all below this */
	while (top && !shared_load64(&c->segment->slots[top - 1]))
		top--;
	shared_store64(high, top);
	c->overflow_hint = MIN(c->overflow_hint, (uint32_t)slot);
	c->store->retry = true;
}

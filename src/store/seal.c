/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing and taking away. The first seal of a key wins; who comes second gets
 * OC_EXISTS and its frame goes back. All of it can be asked again after a
 * restart: a seal that was made is recognised by its generation.
 */
#include <errno.h>
#include <onecopy/onecopy.h>
#include "base/clock.h"
#include "base/log.h"
#include "store/price.h"

/* The frame that this client may still write: GRANTED, its own, this
 * generation. */
static struct pool_slab *granted_frame(struct store_client *c,
				       const struct ring_call *call,
				       uint32_t *ret_frame)
{
	struct pool_slab *s = pool_locate(c->pool, call->loc, ret_frame);
	const struct frame_desc *d;

	if (!s)
		return NULL;
	d = &s->desc[*ret_frame];
	if (shared_load64(&d->word) != frame_word(call->gen, FRAME_GRANTED) ||
	    shared_load64(&d->owner) != c->id)
		return NULL;
	return s;
}

/* Was this very seal made already (asked again after a restart)? */
static bool sealed_before(struct store_client *c, const struct ring_call *call)
{
	uint32_t frame;
	struct pool_slab *s = pool_locate(c->pool, call->loc, &frame);

	return s &&
	       shared_load64(&s->desc[frame].word) ==
		       frame_word(call->gen, FRAME_SEALED) &&
	       shared_load64(&s->desc[frame].owner) == c->id;
}

static void give_back(struct store_client *c, struct pool_slab *s,
		      uint32_t frame)
{
	pool_frame_abandon(c->pool, s, frame);
	c->granted--;
	c->store->retry = true;
}

/* Granted, but asked for with another key, or a size that cannot be. */
static int seal_mismatch(struct pool *p, const struct pool_slab *s,
			 uint32_t frame, const struct ring_call *call)
{
	const struct frame_desc *d = &s->desc[frame];
	struct pool_shape shape;
	uint64_t extent;
	int r;

	if (!frame_is(d, call->key, call->part))
		return -EINVAL;
	if (frame_extent_bytes(call->extent) > s->frame_bytes)
		return -E2BIG;
	r = ns_part_check(p, call->part, call->extent, &extent, &shape);
	if (r < 0)
		return r;
	/* the checksum is of no bytes, which are not the whole here, as they are
	 * in a grant */
	return shape.stripes && extent != call->extent ? -EINVAL : 0;
}

static int64_t seal_frame(struct store_client *c, const struct ring_call *call,
			  struct pool_slab *s, uint32_t frame)
{
	uint32_t other;
	int r = seal_mismatch(c->pool, s, frame, call);

	if (r < 0) { /* a grant is used up by its seal, right or wrong */
		note_unsealed(c->store, c->pool, s, frame, PAST_ABANDONED);
		give_back(c, s, frame);
		return r;
	}
	if (pool_find(c->pool, call->key, call->part, &other)) {
		pool_count(c->pool, POOL_C_exists, 1);
		give_back(c, s, frame);
		return OC_EXISTS;
	}
	c->granted--;
	r = pool_frame_seal(c->pool, s, frame, call->checksum, call->extent,
			    c->store->now_ns / NS_PER_MS);
	if (r < 0)
		return OC_STALE;
	pool_count(c->pool, POOL_C_passed_by,
		   price_passes_by(c->store, c->pool, s, frame, false));
	shard_sealed(c->store, c->pool, s, frame);
	shared_store64(&c->record->seals, shared_load64(&c->record->seals) + 1);
	shared_store64(&c->record->seal_bytes,
		       shared_load64(&c->record->seal_bytes) +
			       frame_extent_bytes(call->extent));
	return 0;
}

void seal_call(struct store_client *c, const struct ring_call *call,
	       struct ring_answer *ret_answer)
{
	uint32_t frame;
	struct pool_slab *s = granted_frame(c, call, &frame);

	if (c->read_only)
		answer_set(ret_answer, -EPERM);
	else if (s)
		answer_set(ret_answer, seal_frame(c, call, s, frame));
	else if (sealed_before(c, call))
		answer_set(ret_answer, 0);
	else
		answer_set(ret_answer,
			   pool_find(c->pool, call->key, call->part, &frame)
				   ? OC_EXISTS
				   : OC_STALE);
	ret_answer->loc = call->loc;
	ret_answer->gen = call->gen;
}

void abandon_call(struct store_client *c, const struct ring_call *call,
		  struct ring_answer *ret_answer)
{
	uint32_t frame;
	struct pool_slab *s = granted_frame(c, call, &frame);

	if (s) {
		note_unsealed(c->store, c->pool, s, frame, PAST_ABANDONED);
		give_back(c, s, frame);
	}
	answer_set(ret_answer, s ? 0 : OC_STALE);
}

/* The first part of a block that is there. */
static struct pool_slab *block_find(const struct pool *p, const uint64_t key[4],
				    uint32_t ns, uint32_t *ret_frame)
{
	struct ns_parts parts = ns_parts_of(p, ns);
	struct pool_slab *s = NULL;

	for (uint32_t i = 0; !s && i < parts.n; i++)
		s = pool_find(p, key, ns_parts_at(&parts, i), ret_frame);
	return s;
}

struct doomed block_doom(struct pool *p, const uint64_t key[4], uint32_t ns)
{
	struct ns_parts parts = ns_parts_of(p, ns);
	struct doomed n = { 0 };

	for (uint32_t i = 0; i < parts.n; i++) {
		uint32_t frame;
		struct pool_slab *s =
			pool_find(p, key, ns_parts_at(&parts, i), &frame);

		if (!s)
			continue;
		n.parts++;
		n.bytes += frame_extent_bytes(
			shared_load64(&s->desc[frame].extent));
		pool_frame_doom(p, s, frame);
	}
	return n;
}

struct doomed block_doom_of(struct pool *p, const struct pool_slab *s,
			    uint32_t frame)
{
	const struct frame_desc *d = &s->desc[frame];
	uint64_t key[4];

	shared_load_words(key, d->key, 4);
	return block_doom(p, key, frame_part_ns(shared_load64(&d->part)));
}

struct doomed block_forget_of(struct store *st, struct pool *p,
			      const struct pool_slab *s, uint32_t frame)
{
	const struct frame_desc *d = &s->desc[frame];
	uint32_t ns = frame_part_ns(shared_load64(&d->part));
	uint64_t key[4];

	shared_load_words(key, d->key, 4);
	move_forget_block(st, p, key, ns);
	shard_forget_block(st, p, key, ns);
	return block_doom(p, key, ns);
}

void block_drop_wrong(struct store *s, struct pool *p, struct pool_slab *slab,
		      uint32_t frame)
{
	log_error("wrong bytes in slab %u frame %u (offset %llu): dropped",
		  slab->id, frame,
		  (unsigned long long)pool_frame_offset(slab, frame));
	note_gone(s, p, slab, frame, PAST_WRONG, 0);
	pool_count(p, POOL_C_bad, block_forget_of(s, p, slab, frame).parts);
}

void remove_call(struct store_client *c, const struct ring_call *call,
		 struct ring_answer *ret_answer)
{
	uint32_t ns = frame_part_ns(call->part), frame;
	struct pool_slab *s;
	uint64_t n, moved, shared;

	answer_set(ret_answer, -EPERM);
	if (c->read_only)
		return;
	s = block_find(c->pool, call->key, ns, &frame);
	if (s)
		note_gone(c->store, c->pool, s, frame, PAST_REMOVED, c->id);
	n = block_doom(c->pool, call->key, ns).parts;
	moved = move_forget_block(c->store, c->pool, call->key, ns);
	shared = shard_forget_block(c->store, c->pool, call->key, ns);
	n = MAX(n, MAX(moved, shared));
	pool_count(c->pool, POOL_C_removed, n);
	if (n)
		evict_drain(c->store, c->pool);
	answer_set(ret_answer, n ? 0 : OC_MISS);
	ret_answer->arg = n;
}

/* Looking takes at most this part of the server's time. A report that comes
 * too early changes nothing: its client has not used the bytes. */
#define BAD_BYTES_PER_NS 4 /* hashing, about; a constant keeps it repeatable */
#define BAD_SHARE	 10

static bool bad_looks_right(struct store *st, struct pool *p,
			    struct pool_slab *s, uint32_t frame)
{
	uint64_t bytes =
		frame_extent_bytes(shared_load64(&s->desc[frame].extent));

	if (st->now_ns < st->bad_after_ns)
		return true;
	st->bad_after_ns = st->now_ns + BAD_SHARE * bytes / BAD_BYTES_PER_NS;
	return scrub_verify(st, p, s, frame);
}

/* A client says that the bytes of a frame are wrong. It may lie, so look. */
void bad_call(struct store_client *c, const struct ring_call *call,
	      struct ring_answer *ret_answer)
{
	struct pool *p = c->pool;
	uint32_t frame;
	struct pool_slab *s = pool_locate(p, call->loc, &frame);

	answer_set(ret_answer, OC_STALE);
	if (!s || shared_load64(&s->desc[frame].word) !=
			  frame_word(call->gen, FRAME_SEALED))
		return;
	answer_set(ret_answer, 0);
	if (bad_looks_right(c->store, p, s, frame) ||
	    pool_frame_state(s, frame) != FRAME_SEALED)
		return;
	note_gone(c->store, p, s, frame, PAST_WRONG, c->id);
	pool_count(p, POOL_C_bad, block_forget_of(c->store, p, s, frame).parts);
	ret_answer->arg = 1;
}

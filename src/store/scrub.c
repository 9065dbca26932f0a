/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scrubber: hashes all of DRAM in the background, a little at a time, and
 * drops blocks whose bytes are not what was sealed. A frame that changes
 * hands meanwhile is simply left.
 */
#include <errno.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "store/internal.h"

#define SCRUB_STEP (256u << 10) /* bytes hashed without looking up */
#define SCRUB_TURN (2u << 20)	/* bytes hashed in one tick at most */

uint64_t scrub_seed(const struct frame_desc *d)
{
	uint64_t key[4], part = shared_load64(&d->part);
	uint8_t bytes[32];

	shared_load_words(key, d->key, 4);
	memcpy(bytes, key, sizeof(bytes));
	return hash_part_seed(bytes, frame_part_group(part),
			      frame_part_rank(part));
}

struct look {
	struct slices data;
	uint64_t from, bytes, seed, value;
	struct hash_stream *stream; /* scrub_piece()'s */
};

static void look_whole(void *ctx)
{
	struct look *l = ctx;

	l->value = hash_slices(&l->data, l->bytes, l->seed);
}

static void look_piece(void *ctx)
{
	struct look *l = ctx;
	uint64_t end = l->from + l->bytes, run;

	for (uint64_t at = l->from; at < end; at += run) {
		const uint8_t *p = slices_at(&l->data, at, end - at, &run);

		hash_stream_add(l->stream, p, run);
	}
}

bool scrub_verify(struct store *s, struct pool *p, struct pool_slab *slab,
		  uint32_t frame)
{
	const struct frame_desc *d = &slab->desc[frame];
	struct look l = {
		.data = pool_payload(slab, frame),
		.bytes = frame_extent_bytes(shared_load64(&d->extent)),
		.seed = scrub_seed(d),
	};
	struct guard_fault fault;

	if (!l.data.base) /* cannot look: nothing is known against it */
		return true;
	if (guard_run(look_whole, &l, &fault) < 0) {
		broken_at(s, p, slab, &fault);
		return false;
	}
	return l.value == shared_load64(&d->checksum);
}

int scrub_init(struct store *s)
{
	return hash_stream_create(0, &s->scrub.stream);
}

void scrub_fini(struct store *s)
{
	hash_stream_destroy(s->scrub.stream);
}

/* Moves on to the next sealed frame of all pools. False: there was none in a
 * whole slab (the next step goes on behind it). */
static bool next_frame(struct store *s, struct pool **ret_pool,
		       struct pool_slab **ret_slab)
{
	struct scrub *at = &s->scrub;
	struct pool *p = s->pool[at->pool];
	struct pool_slab *slab = p ? pool_slab_at(p, at->slab) : NULL;

	for (; slab && !slab->retiring && at->frame < slab->frames;
	     at->frame++, at->done = 0) {
		uint64_t gen = pool_frame_gen(slab, at->frame);

		if (pool_frame_state(slab, at->frame) != FRAME_SEALED)
			continue;
		if (at->done && (at->gen != gen || at->slab_gen != slab->gen))
			continue;
		at->gen = gen;
		at->slab_gen = slab->gen;
		*ret_pool = p;
		*ret_slab = slab;
		return true;
	}
	at->frame = 0;
	at->done = 0;
	at->slab++;
	if (!p || at->slab >= p->slab_end) {
		at->slab = 1;
		at->pool = (at->pool + 1) % STORE_POOLS_MAX;
	}
	return false;
}

static void verdict(struct store *s, struct pool *p, struct pool_slab *slab,
		    uint32_t frame, uint64_t value)
{
	if (value == shared_load64(&slab->desc[frame].checksum))
		return;
	if (!pool_is_twin(p, slab, frame)) {
		block_drop_wrong(s, p, slab, frame);
		return;
	}
	/* the other one is looked at too */
	log_error("wrong bytes in slab %u frame %u (offset %llu): dropped",
		  slab->id, frame,
		  (unsigned long long)pool_frame_offset(slab, frame));
	pool_count(p, POOL_C_bad, 1);
	pool_frame_doom(p, slab, frame);
}

/* Hashes a piece of the frame in hand; 0 when nothing could be hashed. */
static uint64_t scrub_piece(struct store *s, struct pool *p,
			    struct pool_slab *slab)
{
	struct scrub *at = &s->scrub;
	const struct frame_desc *d = &slab->desc[at->frame];
	uint64_t bytes = frame_extent_bytes(shared_load64(&d->extent));
	uint64_t n = MIN(bytes - at->done, (uint64_t)SCRUB_STEP);
	struct look l = { .data = pool_payload(slab, at->frame),
			  .from = at->done,
			  .bytes = n,
			  .stream = at->stream };
	struct guard_fault fault;

	if (!l.data.base)
		return 0;
	if (!at->done)
		hash_stream_reset(at->stream, scrub_seed(d));
	if (guard_run(look_piece, &l, &fault) < 0) {
		broken_at(s, p, slab, &fault);
		at->frame++;
		at->done = 0;
		return PAGE_BYTES;
	}
	at->done += n;
	pool_count(p, POOL_C_scrubbed_bytes, n);
	if (at->done == bytes) {
		verdict(s, p, slab, at->frame, hash_stream_value(at->stream));
		at->frame++;
		at->done = 0;
	}
	return MAX(n, PAGE_BYTES); /* looking costs too */
}

void scrub_step(struct store *s)
{
	struct scrub *at = &s->scrub;
	uint64_t rate = s->options.scrub_bytes_per_s;
	uint64_t passed = MIN(s->now_ns - at->last_ns, NS_PER_S), spent = 0;

	at->last_ns = s->now_ns;
	at->credit = MIN(at->credit + rate / 1000 * (passed / NS_PER_MS),
			 (uint64_t)SCRUB_TURN);
	for (unsigned idle = 0; rate && spent < at->credit && idle < 64;) {
		struct pool *p;
		struct pool_slab *slab;
		uint64_t n;

		if (!next_frame(s, &p, &slab)) {
			idle++;
			continue;
		}
		n = scrub_piece(s, p, slab);
		if (!n)
			break;
		spent += n;
	}
	at->credit -= MIN(spent, at->credit);
}

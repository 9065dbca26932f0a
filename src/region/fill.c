/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling frames of own shards: granted, filled, sealed, or abandoned.
 *
 * A frame is GRANTED before anything is stored into it, and its name and bytes are there
 * before it is SEALED: whoever follows an owner that died between finds a grant that
 * nobody was told of, or a block that is right. It looks for the block before the grant
 * and before the seal, because another owner may have sealed it meanwhile.
 */
#include "base/clock.h"
#include "region/internal.h"
#include <errno.h>

static struct region_own *with_room(struct region *r)
{
	for (uint32_t i = 0; i < r->n_own; i++) {
		struct region_own *own = r->own[(r->next_own + i) % r->n_own];

		if (!own->n_free)
			continue;
		r->next_own = (r->next_own + i) % r->n_own;
		return own;
	}
	return NULL;
}

static int grant_frame(struct region *r, struct region_own *own, uint32_t frame,
		       const struct region_name *name, uint64_t extent,
		       unsigned flags)
{
	struct region_desc *d = &own->desc[frame];

	/* FREE is there before the fields, or a successor could put the last
	 * filling back under this name. */
	shared_fence_stores();
	shared_store_words(d->key, name->key, 4);
	shared_store_words(d->ns, name->ns, 4);
	shared_store64(&d->part, region_part(name));
	shared_store64(&d->extent, extent);
	shared_store64(&d->grant_flags, flags);
	return region_step(r, own, frame, FRAME_EV_GRANT);
}

/* What is done in a guard, for a block. */
struct with_block {
	struct region *r;
	const struct region_name *name;
	const struct region_grant *grant;
	const void *data;
	uint64_t bytes, checksum;
	uint32_t tokens;
	unsigned flags;
	struct region_grant *ret_grant;
	int result;
};

static int grant(struct region *r, const struct region_name *name,
		 uint64_t bytes, uint32_t tokens, unsigned flags,
		 struct region_grant *ret_grant)
{
	struct region_found found;
	struct region_own *own;
	uint32_t frame;
	int err = region_says_live(r);

	if (err)
		return err;
	if (!bytes || bytes > r->g.frame_bytes)
		return -EFBIG;
	if (region_find(r, name, &found) == 0) {
		region_count(r, REGION_C_exists, 1);
		return REGION_EXISTS;
	}
	do {
		own = with_room(r);
		if (!own && region_evict(r, 1))
			own = with_room(r);
		if (!own) {
			region_count(r, REGION_C_refused, 1);
			return REGION_FULL;
		}
		frame = own->free[--own->n_free];
		own->mark[frame] &= (uint8_t)~MARK_LISTED;
	} while (grant_frame(r, own, frame, name,
			     frame_extent((uint32_t)bytes, tokens),
			     flags & FRAME_GRANT_KNOWN));
	own->mark[frame] |= MARK_GRANTED;
	*ret_grant = (struct region_grant){
		.shard = own->shard,
		.frame = frame,
		.gen = frame_word_gen(shared_load64(&own->desc[frame].word)),
		.data = own->payload + frame * r->g.frame_bytes,
		.name = *name,
	};
	return 0;
}

static void grant_run(void *ctx)
{
	struct with_block *b = ctx;

	b->result = grant(b->r, b->name, b->bytes, b->tokens, b->flags,
			  b->ret_grant);
}

int region_grant(struct region *r, const struct region_name *name,
		 uint64_t bytes, uint32_t tokens, unsigned flags,
		 struct region_grant *ret_grant)
{
	struct with_block b = { .r = r,
				.name = name,
				.bytes = bytes,
				.tokens = tokens,
				.flags = flags,
				.ret_grant = ret_grant };

	return region_guard(r, grant_run, &b, NULL) ? -EIO : b.result;
}

/* ---- bytes ------------------------------------------------------------------------- */

static void fill_run(void *ctx)
{
	struct with_block *b = ctx;

	b->checksum = b->r->mem->fill(b->grant->data, b->data, b->bytes,
				      region_seed(&b->grant->name));
}

int region_fill(struct region *r, const struct region_grant *g,
		const void *data, uint64_t bytes, uint64_t *ret_checksum)
{
	struct with_block b = {
		.r = r, .grant = g, .data = data, .bytes = bytes
	};

	/* where the frame's memory has failed it is marked, and is not free then */
	if (unlikely(region_guard(r, fill_run, &b, NULL))) {
		region_abandon(r, g);
		return -EIO;
	}
	*ret_checksum = b.checksum;
	return 0;
}

/* ---- sealing ----------------------------------------------------------------------- */

/* The own shard of a grant that is still out, or NULL. */
static struct region_own *granted(const struct region *r,
				  const struct region_grant *g)
{
	struct region_own *own = region_own_of(r, g->shard);
	uint64_t word;

	if (!own || g->frame >= r->g.frames ||
	    !(own->mark[g->frame] & MARK_GRANTED))
		return NULL;
	word = shared_load64(&own->desc[g->frame].word);
	if (word == frame_word(g->gen, FRAME_GRANTED))
		return own;
	/* lent, and it does not say so: damaged */
	if (frame_word_state(word) != FRAME_GRANTED)
		region_hold(own, g->frame);
	return NULL;
}

/* By granted(): the member goes on, and the frame does not. */
static bool is_held(const struct region *r, const struct region_grant *g)
{
	const struct region_own *own = region_own_of(r, g->shard);

	return own && g->frame < r->g.frames && own->mark[g->frame] & MARK_HELD;
}

static void abandon_run(void *ctx)
{
	struct with_block *b = ctx;
	struct region_own *own = granted(b->r, b->grant);
	uint32_t frame = b->grant->frame;

	if (!own || !region_is_live(b->r))
		return;
	own->mark[frame] &= (uint8_t)~MARK_GRANTED;
	if (region_step(b->r, own, frame, FRAME_EV_ABANDON) == 0)
		region_freed(b->r, own, frame);
}

void region_abandon(struct region *r, const struct region_grant *g)
{
	struct with_block b = { .r = r, .grant = g };

	(void)region_guard(r, abandon_run, &b, NULL);
}

static int seal_frame(struct region *r, struct region_own *own,
		      const struct region_grant *g, uint64_t extent,
		      uint64_t checksum)
{
	struct region_desc *d = &own->desc[g->frame];

	shared_store64(&d->extent, extent);
	shared_store64(&d->checksum, checksum);
	shared_store64(&d->sealed_ms, clock_realtime_coarse_ms());
	if (r->mem->flush)
		r->mem->flush(g->data, frame_extent_bytes(extent));
	own->mark[g->frame] &= (uint8_t)~MARK_GRANTED;
	if (region_step(r, own, g->frame, FRAME_EV_SEAL))
		return -EIO;
	own->mark[g->frame] |= MARK_SEALED;
	own->n_sealed++;
	if (region_enlist(own, g->frame) == 0)
		return 0;
	(void)region_doom(r, own, g->frame);
	region_judge_doomed(r, own);
	region_count(r, REGION_C_refused, 1);
	return REGION_FULL;
}

static int seal(struct region *r, const struct region_grant *g, uint64_t bytes,
		uint32_t tokens, uint64_t checksum)
{
	struct region_own *own = granted(r, g);
	struct region_found found;
	int err = region_says_live(r);

	if (err)
		return err;
	if (!own)
		return is_held(r, g) ? -EIO : REGION_STALE;
	if (!bytes || bytes > r->g.frame_bytes)
		return -EFBIG;
	if (own->mark[g->frame] & MARK_BROKEN) {
		region_abandon(r, g);
		return -EIO;
	}
	if (region_find(r, &g->name, &found) == 0) {
		region_count(r, REGION_C_exists, 1);
		region_abandon(r, g);
		return REGION_EXISTS;
	}
	err = seal_frame(r, own, g, frame_extent((uint32_t)bytes, tokens),
			 checksum);
	if (err)
		return err;
	region_count(r, REGION_C_seals, 1);
	region_count(r, REGION_C_seal_bytes, bytes);
	return 0;
}

static void seal_run(void *ctx)
{
	struct with_block *b = ctx;

	b->result = seal(b->r, b->grant, b->bytes, b->tokens, b->checksum);
}

int region_seal(struct region *r, const struct region_grant *g, uint64_t bytes,
		uint32_t tokens, uint64_t checksum)
{
	struct with_block b = { .r = r,
				.grant = g,
				.bytes = bytes,
				.tokens = tokens,
				.checksum = checksum };

	if (likely(region_guard(r, seal_run, &b, NULL) == 0))
		return b.result;
	region_abandon(r, g); /* if it is lent yet */
	return -EIO;
}

int region_put(struct region *r, const struct region_name *name,
	       const void *data, uint64_t bytes, uint32_t tokens)
{
	struct region_grant g;
	uint64_t checksum;
	int err = region_grant(r, name, bytes, tokens, 0, &g);

	if (!err)
		err = region_fill(r, &g, data, bytes, &checksum);
	return err ? err : region_seal(r, &g, bytes, tokens, checksum);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shard's owner: taking it, filling frames, giving it back.
 *
 * The descriptors are the truth. An owner that dies at any store leaves: a frame
 * GRANTED, which nobody was told of; a block SEALED and not in the index, or
 * LEAVING, or DOOMED. The next owner makes the first free again (unless a device
 * may write there), enters the second, puts the third back, and judges the
 * fourth again: the last owner may have looked at the pins, but this one does
 * not know that. It begins when the last one is proved dead, so nobody else
 * writes here.
 *
 * An entry is removed before its frame becomes FREE, so no entry names a filling
 * that is over.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "region/internal.h"
#include <errno.h>
#include <stdlib.h>

uint64_t region_seed(const struct region_name *n)
{
	uint8_t key[HASH_KEY_BYTES];

	memcpy(key, n->key, sizeof(key));
	return hash_part_seed(key, n->group, n->rank);
}

struct region_own *region_own_of(const struct region *r, uint32_t shard)
{
	for (uint32_t i = 0; i < r->n_own; i++)
		if (r->own[i]->shard == shard)
			return r->own[i];
	return NULL;
}

bool region_owns(const struct region *r, uint32_t shard)
{
	return region_own_of(r, shard) != NULL;
}

uint32_t region_owned(const struct region *r)
{
	return r->n_own;
}

uint32_t region_free(const struct region *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n_own; i++)
		n += r->own[i]->n_free;
	return n;
}

void region_own_destroy(struct region *r, struct region_own *own)
{
	if (!own)
		return;
	region_unmap(own->base, r->places.shard_bytes);
	free(own->mark);
	free(own->free);
	free(own->doomed);
	free(own);
}

/* ---- frames ---------------------------------------------------------------------- */

int region_step(struct region *r, struct region_own *own, uint32_t frame,
		enum frame_event event)
{
	shared_u64 *word = &own->desc[frame].word;
	uint64_t next;

	if (unlikely(frame_step(shared_load64(word), event, &next))) {
		region_hold(own, frame);
		return -EIO;
	}
	if (r->mem->flush)
		r->mem->flush(&own->desc[frame], sizeof(own->desc[frame]));
	r->mem->publish(word, next);
	return 0;
}

/* Once, on one of the two: each has room for all frames. */
static void list(struct region_own *own, uint32_t frame, uint32_t *frames,
		 uint32_t *n)
{
	if (own->mark[frame] & MARK_LISTED)
		return;
	own->mark[frame] |= MARK_LISTED;
	frames[(*n)++] = frame;
}

void region_freed(struct region *r, struct region_own *own, uint32_t frame)
{
	bool broken = own->mark[frame] & MARK_BROKEN;

	own->mark[frame] = 0;
	if (unlikely(broken))
		region_keep(r, own, frame);
	else
		list(own, frame, own->free, &own->n_free);
}

bool region_doom(struct region *r, struct region_own *own, uint32_t frame)
{
	if (unlikely(!(own->mark[frame] & MARK_SEALED)))
		return false;
	if (region_step(r, own, frame, FRAME_EV_DOOM))
		return true;
	own->mark[frame] &= (uint8_t)~MARK_SEALED;
	own->n_sealed--;
	region_unlist(own, frame);
	list(own, frame, own->doomed, &own->n_doomed);
	return true;
}

static uint64_t entry_of(const struct region_own *own, uint32_t frame,
			 struct table_hash *ret_hash)
{
	const struct region_desc *d = &own->desc[frame];
	uint64_t key[4];

	shared_load_words(key, d->key, 4);
	*ret_hash = table_hash(key, shared_load64(&d->part));
	return table_word(*ret_hash, frame_word_gen(shared_load64(&d->word)),
			  region_loc(own->shard, frame));
}

void region_unlist(struct region_own *own, uint32_t frame)
{
	struct table_hash h;
	uint64_t word = entry_of(own, frame, &h);

	table_remove(&own->table, h, word);
}

/* For table_insert(): the hash of an entry, by its descriptor. */
static bool entry_home(void *ctx, uint64_t word, struct table_hash *ret_h)
{
	const struct region_own *own = ctx;
	uint64_t loc = table_word_loc(word);
	uint32_t frame = frame_loc_frame(loc);
	uint64_t state;

	/* of what is held back nothing is found, and its descriptor may be lost */
	if (loc != region_loc(own->shard, frame) || frame >= own->frames ||
	    own->mark[frame] & MARK_HELD)
		return false;
	state = frame_word_state(shared_load64(&own->desc[frame].word));
	return (state == FRAME_SEALED || state == FRAME_LEAVING ||
		state == FRAME_DOOMED) &&
	       entry_of(own, frame, ret_h) == word;
}

static int enlist(struct region_own *own, uint32_t frame)
{
	struct table_hash h;
	uint64_t word = entry_of(own, frame, &h), seen;
	unsigned cursor = 0;

	while ((seen = table_probe(&own->table, h, &cursor)))
		if (seen == word)
			return 0;
	return table_insert(&own->table, h, word, entry_home, own);
}

void region_gauge(struct region_own *own)
{
	shared_store64(&own->head->free, own->n_free);
	shared_store64(&own->head->sealed, own->n_sealed);
	shared_store64(&own->head->quarantined, own->n_quarantined);
}

/* ---- taking over -------------------------------------------------------------------- */

static void recover_frame(struct region *r, struct region_own *own,
			  uint32_t frame)
{
	const struct region_desc *d = &own->desc[frame];
	/* Acquire before a store of the word: pairs with coherent_publish() of
	 * the last owner, whose seal our own store must carry on. */
	uint64_t word = shared_load64_acquire(&d->word);

	switch (frame_word_state(word)) {
	case FRAME_GRANTED:
		(void)region_step(r, own, frame,
				  shared_load64(&d->grant_flags) &
						  FRAME_GRANT_DEVICE
					  ? FRAME_EV_QUARANTINE
					  : FRAME_EV_OWNER_DIED);
		break;
	case FRAME_LEAVING:
		(void)region_step(r, own, frame, FRAME_EV_RECOVER);
		break;
	default:
		break;
	}
}

/* Can the frame hold what its descriptor says? */
static bool fits(const struct region *r, const struct region_own *own,
		 uint32_t frame)
{
	uint64_t bytes =
		frame_extent_bytes(shared_load64(&own->desc[frame].extent));

	return bytes && bytes <= r->g.frame_bytes;
}

static void recover_count(struct region *r, struct region_own *own,
			  uint32_t frame)
{
	if (own->mark[frame] & MARK_HELD)
		return;
	switch (frame_word_state(shared_load64(&own->desc[frame].word))) {
	case FRAME_FREE:
		region_freed(r, own, frame);
		break;
	case FRAME_SEALED:
		/* it may have been left in the middle */
		own->n_sealed += !(own->mark[frame] & MARK_SEALED);
		own->mark[frame] |= MARK_SEALED;
		if (!fits(r, own, frame) || enlist(own, frame))
			(void)region_doom(r, own, frame);
		break;
	case FRAME_DOOMED:
		list(own, frame, own->doomed, &own->n_doomed);
		break;
	case FRAME_QUARANTINED:
		own->mark[frame] |= MARK_HELD;
		own->n_quarantined++;
		break;
	default:
		/* No owner stores that: its memory is not what it was. No reader
		 * believes it, and it says nothing that could be relied on; so
		 * the frame is held back, and the rest of the shard is of use. */
		region_hold(own, frame);
		break;
	}
}

/* What is done in a guard, for an own shard. */
struct with_own {
	struct region *r;
	struct region_own *own;
	uint32_t left; /* frames [0, left) are to be done */
};

/* From the end, so that frames are handed out from the beginning. */
static void recover_run(void *ctx)
{
	struct with_own *w = ctx;

	while (w->left) {
		if (!(w->own->mark[w->left - 1] & MARK_HELD)) {
			recover_frame(w->r, w->own, w->left - 1);
			recover_count(w->r, w->own, w->left - 1);
		}
		w->left--;
	}
}

/* The index is made of the descriptors anew when it is none any more. */
static void recover_index(void *ctx)
{
	struct with_own *w = ctx;
	unsigned char *at = w->own->base + w->r->places.table;
	uint64_t bytes = w->r->places.table_bytes;

	if (table_attach(&w->own->table, at, bytes) == 0)
		return;
	log_warn("shard %u: the index is damaged, and made anew",
		 w->own->shard);
	for (uint64_t i = 0; i < bytes / sizeof(uint64_t); i++)
		shared_store64((shared_u64 *)(void *)at + i, 0);
	must(table_init(&w->own->table, at, bytes) == 0);
}

/* Those whose descriptors are lost. False: that gets nobody on. One is on a list
 * already, and would be lent; or all were held before. */
static bool hold_lost(struct region_own *own, uint64_t first, uint64_t end)
{
	bool more = false;

	for (uint64_t f = first; f < end && f < own->frames; f++) {
		if (own->mark[f] & MARK_LISTED)
			return false;
		more |= !(own->mark[f] & MARK_HELD);
		region_hold(own, (uint32_t)f);
	}
	return more;
}

/* Frames whose descriptors are lost are held back, whichever frame it was that met
 * them: to enter one in a full bucket is to look at others. Where the index is lost, the
 * shard is of no use. */
static int recover_frames(struct region *r, struct region_own *own)
{
	struct with_own w = { .r = r, .own = own, .left = r->g.frames };
	struct region_where where;
	uint64_t first, end;

	while (region_guard(r, recover_run, &w, &where))
		if (!region_is_desc(r, &where, &first, &end) ||
		    !hold_lost(own, first, end))
			return -EIO;
	return 0;
}

static void recover_end(void *ctx)
{
	struct with_own *w = ctx;
	struct region *r = w->r;
	struct region_own *own = w->own;

	region_gauge(own);
	shared_store64(&own->head->node[0], r->node[0]);
	shared_store64(&own->head->node[1], r->node[1]);
	r->mem->publish(&own->head->ready, own->owner);
}

/* -EIO: it is out of use. */
static int recover(struct region *r, struct region_own *own)
{
	struct with_own w = { .r = r, .own = own };
	int err;

	r->taking = own;
	err = region_guard(r, recover_index, &w, NULL);
	if (!err)
		err = recover_frames(r, own);
	if (!err)
		err = region_guard(r, recover_end, &w, NULL);
	r->taking = NULL;
	if (err)
		region_out_of_use(r, own);
	else
		r->own[r->n_own++] = own;
	return err;
}

static int own_create(struct region *r, uint32_t shard,
		      struct region_own **ret_own)
{
	struct region_own *own = mem_alloc(sizeof(*own));
	void *base = NULL;
	int err = -ENOMEM;

	if (!own)
		return -ENOMEM;
	own->shard = shard;
	own->frames = r->g.frames;
	own->owner = region_owner_word(r->self, member_word_inc(r->word));
	own->mark = mem_array(r->g.frames, 1);
	own->free = mem_array(r->g.frames, sizeof(*own->free));
	own->doomed = mem_array(r->g.frames, sizeof(*own->doomed));
	if (own->mark && own->free && own->doomed)
		err = region_map(
			r, r->places.shards + shard * r->places.shard_bytes,
			r->places.shard_bytes, r->places.payload, &base);
	if (!err) {
		own->base = base;
		own->head = base;
		own->desc = (void *)(own->base + r->places.desc);
		own->payload = own->base + r->places.payload;
	}
	if (err) {
		region_own_destroy(r, own);
		return err;
	}
	*ret_own = own;
	return 0;
}

/* May this member take the shard? */
static int takeable(const struct region *r, uint64_t owner, uint64_t mine)
{
	uint32_t member;

	if (!owner || owner == mine)
		return 0;
	member = region_owner_member(owner);
	if (member >= r->g.members)
		return -EPROTO;
	return member_gone(
		       shared_load64_acquire(&region_record(r, member)->word),
		       region_owner_inc(owner))
		       ? 0
		       : REGION_ALIVE;
}

/* What is done in a guard, to a shard. */
struct with_shard {
	struct region *r;
	uint32_t shard;
	struct region_own *own; /* made, and not taken yet */
	int result;
};

static int take(struct region *r, uint32_t shard, struct region_own **making)
{
	struct region_own *own = NULL;
	shared_u64 *word;
	uint64_t owner;
	int err = region_says_live(r);

	if (err)
		return err;
	if (region_own_of(r, shard))
		return 0;
	if (region_is_out(r, shard))
		return -EIO;
	word = &r->control->owner[shard].word;
	owner = shared_load64_acquire(word);
	err = takeable(r, owner,
		       region_owner_word(r->self, member_word_inc(r->word)));
	if (!err)
		err = own_create(r, shard, &own);
	if (err)
		return err;
	*making = own;
	if (owner != own->owner && !r->mem->swap(word, owner, own->owner)) {
		*making = NULL;
		region_own_destroy(r, own);
		return REGION_ALIVE;
	}
	if (owner)
		region_count(r, REGION_C_taken, 1);
	*making = NULL;
	return recover(r, own); /* it is ours from here on */
}

static void take_run(void *ctx)
{
	struct with_shard *w = ctx;

	w->result = take(w->r, w->shard, &w->own);
}

int region_take(struct region *r, uint32_t shard)
{
	struct with_shard w = { .r = r, .shard = shard };

	if (shard >= r->g.shards)
		return -EINVAL;
	if (region_guard(r, take_run, &w, NULL) == 0)
		return w.result;
	region_own_destroy(r, w.own);
	return -EIO;
}

static void give_run(void *ctx)
{
	struct with_own *w = ctx;

	region_gauge(w->own);
	w->r->mem->publish(&w->own->head->ready, 0);
}

static int give(struct region *r, uint32_t shard)
{
	struct region_own *own = region_own_of(r, shard);
	struct with_own w = { .r = r, .own = own };
	int err = region_says_live(r);
	uint32_t i = 0;

	if (err)
		return err;
	if (!own)
		return -EINVAL;
	if (own->n_free + own->n_sealed + own->n_doomed + own->n_quarantined !=
	    r->g.frames)
		return -EBUSY; /* a grant is out */
	if (region_guard(r, give_run, &w, NULL))
		return -EIO; /* it is out of use */
	if (!r->mem->swap(&r->control->owner[shard].word, own->owner, 0))
		err = REGION_STALE;
	while (r->own[i] != own)
		i++;
	memmove(&r->own[i], &r->own[i + 1],
		(--r->n_own - i) * sizeof(struct region_own *));
	region_own_destroy(r, own);
	return err;
}

static void give_shard_run(void *ctx)
{
	struct with_shard *w = ctx;

	w->result = give(w->r, w->shard);
}

int region_give(struct region *r, uint32_t shard)
{
	struct with_shard w = { .r = r, .shard = shard };

	return region_guard(r, give_shard_run, &w, NULL) ? -EIO : w.result;
}

/* ---- filling ---------------------------------------------------------------------- */

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
	if (enlist(own, g->frame) == 0)
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

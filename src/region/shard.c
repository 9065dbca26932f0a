/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shard as its owner has it: its frames, their words, lists and counts, and its
 * index. Taking one is in take.c, filling frames in fill.c, evicting in evict.c.
 *
 * What this process knows of a frame is its own (`mark`), so that lists and counts hold
 * whatever a word says. An entry is removed before its frame becomes FREE, so no entry
 * names a filling that is over.
 */
#include "base/hash.h"
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

/* ---- frames ------------------------------------------------------------------------ */

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
void region_list(struct region_own *own, uint32_t frame, uint32_t *frames,
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
		region_list(own, frame, own->free, &own->n_free);
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
	region_list(own, frame, own->doomed, &own->n_doomed);
	return true;
}

/* ---- the index --------------------------------------------------------------------- */

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

int region_enlist(struct region_own *own, uint32_t frame)
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's index segment: made, filled, replaced by a larger one.
 *
 * The descriptors are the truth. An entry that is missing here makes a block
 * unfindable (a miss), an entry too many is refused by its descriptor.
 */
#include <errno.h>
#include "base/log.h"
#include "pool/internal.h"

static struct table_hash desc_hash(const struct frame_desc *d)
{
	uint64_t key[4];

	shared_load_words(key, d->key, 4);
	return table_hash(key, shared_load64(&d->part));
}

static uint64_t desc_entry(const struct pool_slab *s, uint32_t frame,
			   struct table_hash h)
{
	return table_word(h, pool_frame_gen(s, frame), frame_loc(s->id, frame));
}

/* For moving an entry: the hash behind a word, unless it is stale. */
static bool entry_home(void *ctx, uint64_t word, struct table_hash *ret_h)
{
	const struct pool *p = ctx;
	uint32_t frame;
	struct pool_slab *s = pool_locate(p, table_word_loc(word), &frame);
	enum frame_state state;

	if (!s)
		return false;
	state = pool_frame_state(s, frame);
	if (state != FRAME_SEALED && state != FRAME_LEAVING)
		return false;
	*ret_h = desc_hash(&s->desc[frame]);
	return desc_entry(s, frame, *ret_h) == word;
}

int pool_index_insert(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	struct table_hash h = desc_hash(&s->desc[frame]);

	return table_insert(&p->table, h, desc_entry(s, frame, h), entry_home,
			    p);
}

void pool_index_remove(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	struct table_hash h = desc_hash(&s->desc[frame]);

	table_remove(&p->table, h, desc_entry(s, frame, h));
}

void pool_index_switch(struct pool *p, struct pool_slab *from, uint32_t from_f,
		       struct pool_slab *to, uint32_t to_f)
{
	struct table_hash h = desc_hash(&to->desc[to_f]);

	table_replace(&p->table, h, desc_entry(from, from_f, h),
		      desc_entry(to, to_f, h));
}

static bool entered(const struct pool *p, const struct frame_desc *d)
{
	uint64_t key[4];
	uint32_t f;

	shared_load_words(key, d->key, 4);
	return pool_find(p, key, shared_load64(&d->part), &f) != NULL;
}

/* What lies low is entered after all in DRAM, and only where that has it not. */
static int fill_of(struct pool *p, bool low)
{
	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];

		for (uint32_t f = 0; s && s->low == low && f < s->frames; f++) {
			enum frame_state state = pool_frame_state(s, f);
			int r;

			if (state != FRAME_SEALED && state != FRAME_LEAVING)
				continue;
			if (low && entered(p, &s->desc[f]))
				continue;
			r = pool_index_insert(p, s, f);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int fill(struct pool *p)
{
	int r = fill_of(p, false);

	return r < 0 || !p->low ? r : fill_of(p, true);
}

/* A new segment takes the place of the old one: filled first, then held, then
 * announced. Readers go on with the old one's last content until they see the
 * epoch; the keeper drops it. */
int pool_index_create(struct pool *p, uint64_t entries)
{
	struct segment fresh, old = p->index_segment;
	struct table old_table = p->table;
	uint64_t epoch = shared_load64(&p->m->header.index_epoch);
	int r = segment_create("onecopy-index",
			       ALIGN_UP(table_bytes(entries), PAGE_BYTES),
			       p->segment_flags, &fresh);

	if (r < 0)
		return r;
	r = table_init(&p->table, fresh.base, fresh.bytes);
	if (r == 0)
		r = fill(p);
	if (r == 0)
		r = pool_hold(p, HOLD_INDEX, epoch + 1, fresh.fd);
	if (r < 0) {
		p->table = old_table;
		segment_close(&fresh);
		return r;
	}
	p->index_segment = fresh;
	shared_store64_release(&p->m->header.index_epoch, epoch + 1);
	pool_meta_account(p, fresh.bytes, old.base ? old.bytes : 0);
	if (old.base) {
		pool_drop(p, HOLD_INDEX, epoch);
		segment_close(&old);
	}
	return 0;
}

int pool_index_reserve(struct pool *p, uint64_t entries)
{
	if (entries <= table_room(&p->table))
		return 0;
	log_debug("index of pool %u grows to %llu entries", p->number,
		  (unsigned long long)entries);
	return pool_index_create(p, entries);
}

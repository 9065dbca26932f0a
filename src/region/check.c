/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recounts a region: owners, descriptors, indexes, pins against each other. While
 * others work in it, what is half changed is left out; when nobody does, all must
 * agree.
 */
#include "base/hash.h"
#include "coherence/pin.h"
#include "region/internal.h"
#include <stdarg.h>
#include <stdio.h>

struct checker {
	struct region *r;
	bool quiet, bytes;
	bool failed; /* memory of descriptors, so that counts are not all */
	void (*tell)(void *ctx, const char *problem);
	void *ctx;
	uint64_t problems;
	struct region_checked done;
	uint32_t shard, frame, member;
	uint64_t listed; /* sealed frames of the shard that its index has */
};

PRINTF_LIKE(2, 3)
static void problem(struct checker *c, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	c->problems++;
	if (c->tell)
		c->tell(c->ctx, text);
}

static const struct region_desc *desc_of(const struct checker *c,
					 uint32_t frame)
{
	return &c->r->view[c->shard].desc[frame];
}

/* ---- descriptors ----------------------------------------------------------------------- */

static void check_bytes(struct checker *c, uint32_t frame, uint64_t word)
{
	const struct region_desc *d = desc_of(c, frame);
	const struct region_view *v = &c->r->view[c->shard];
	struct region_name name = { .group = 0 };
	uint64_t part = shared_load64(&d->part);
	uint64_t bytes = frame_extent_bytes(shared_load64(&d->extent));
	uint64_t sum = shared_load64(&d->checksum), seen;

	if (!bytes || bytes > c->r->g.frame_bytes) {
		if (shared_load64_acquire(&d->word) == word)
			problem(c,
				"shard %u frame %u: %llu bytes in a frame of "
				"%llu",
				c->shard, frame, (unsigned long long)bytes,
				(unsigned long long)c->r->g.frame_bytes);
		return;
	}
	if (!c->bytes)
		return;
	shared_load_words(name.key, d->key, 4);
	name.group = frame_part_group(part);
	name.rank = frame_part_rank(part);
	seen = hash_payload(v->payload + frame * c->r->g.frame_bytes, bytes,
			    region_seed(&name));
	/* it may have left while it was read: not pinned */
	if (shared_load64_acquire(&d->word) != word)
		return;
	c->done.verified_bytes += bytes;
	if (seen != sum)
		problem(c,
			"shard %u frame %u: its bytes do not have its "
			"checksum",
			c->shard, frame);
}

static bool is_listed(const struct checker *c, uint32_t frame, uint64_t word)
{
	const struct region_desc *d = desc_of(c, frame);
	uint64_t key[4], entry, seen;
	struct table_hash h;
	unsigned cursor = 0;

	shared_load_words(key, d->key, 4);
	h = table_hash(key, shared_load64(&d->part));
	entry = table_word(h, frame_word_gen(word),
			   region_loc(c->shard, frame));
	if (!c->r->view[c->shard].whole)
		return true; /* it was told once */
	while ((seen = table_probe(&c->r->view[c->shard].table, h, &cursor)))
		if (seen == entry)
			return true;
	return false;
}

static void check_frame(struct checker *c, uint32_t frame)
{
	const struct region_desc *d = desc_of(c, frame);
	uint64_t word = shared_load64_acquire(&d->word);

	c->done.frames++;
	switch (frame_word_state(word)) {
	case FRAME_FREE:
		c->done.free++;
		break;
	case FRAME_SEALED:
		c->done.sealed++;
		check_bytes(c, frame, word);
		if (is_listed(c, frame, word))
			c->listed++;
		else if (c->quiet)
			problem(c,
				"shard %u frame %u: sealed, and not in the "
				"index",
				c->shard, frame);
		break;
	case FRAME_GRANTED:
		c->done.granted++;
		break;
	case FRAME_LEAVING:
	case FRAME_DOOMED:
	case FRAME_QUARANTINED:
		c->done.other++;
		break;
	default:
		problem(c, "shard %u frame %u: word %llx", c->shard, frame,
			(unsigned long long)word);
	}
}

/* ---- indexes ---------------------------------------------------------------------------- */

static void check_entry(void *ctx, uint64_t bucket, uint64_t entry)
{
	struct checker *c = ctx;
	uint64_t loc = table_word_loc(entry), word;
	uint32_t frame = frame_loc_frame(loc);

	(void)bucket;
	c->done.entries++;
	if (frame_loc_slab(loc) != c->shard + 1 || frame >= c->r->g.frames) {
		problem(c, "shard %u: an entry leads outside it", c->shard);
		return;
	}
	word = shared_load64_acquire(&desc_of(c, frame)->word);
	if (c->quiet &&
	    (frame_word_state(word) == FRAME_FREE ||
	     (uint8_t)frame_word_gen(word) != table_word_gen(entry)))
		problem(c,
			"shard %u frame %u: an entry names a filling that is "
			"over",
			c->shard, frame);
}

static void index_run(void *ctx)
{
	struct checker *c = ctx;

	table_each(&c->r->view[c->shard].table, check_entry, c);
}

/* From c->frame on. */
static void frames_run(void *ctx)
{
	struct checker *c = ctx;

	for (; c->frame < c->r->g.frames; c->frame++)
		check_frame(c, c->frame);
}

static void check_frames(struct checker *c)
{
	struct region_where where;
	uint64_t first, end;

	c->frame = 0;
	while (region_guard(c->r, frames_run, c, &where)) {
		c->failed = true;
		if (region_is_desc(c->r, &where, &first, &end)) {
			end = MIN(end, (uint64_t)c->r->g.frames);
			problem(c,
				"shard %u: memory of the descriptors of frames "
				"%u to %llu fails",
				c->shard, c->frame,
				(unsigned long long)end - 1);
			c->frame = MAX((uint32_t)end, c->frame + 1);
			continue;
		}
		problem(c,
			"shard %u frame %u: memory fails at byte %llu of the "
			"region",
			c->shard, c->frame, (unsigned long long)where.at);
		c->frame++;
	}
}

static void check_owner(struct checker *c, uint64_t owner, uint64_t sealed,
			uint64_t free)
{
	const struct region_shard_head *head = region_head_of(c->r, c->shard);

	if (!c->quiet || owner || !c->done.frames)
		return;
	/* given back in order: what it says of itself is so */
	if (shared_load64(&head->sealed) != sealed ||
	    shared_load64(&head->free) != free)
		problem(c, "shard %u: says %llu sealed and %llu free", c->shard,
			(unsigned long long)shared_load64(&head->sealed),
			(unsigned long long)shared_load64(&head->free));
}

static void check_shard(struct checker *c)
{
	uint64_t owner =
		shared_load64_acquire(&c->r->control->owner[c->shard].word);
	uint64_t sealed = c->done.sealed, free = c->done.free;
	struct region_where where;
	uint64_t first, end;

	c->failed = false;
	if (owner && region_owner_member(owner) >= c->r->g.members)
		problem(c, "shard %u: no member %u", c->shard,
			region_owner_member(owner));
	check_frames(c);
	if (!c->r->view[c->shard].whole)
		problem(c, "shard %u: its index is damaged", c->shard);
	else if (region_guard(c->r, index_run, c, &where) &&
		 !region_is_desc(c->r, &where, &first, &end)) /* was told */
		problem(c,
			"shard %u: memory of its index fails at byte %llu of "
			"the region",
			c->shard, (unsigned long long)where.at);
	if (!c->failed)
		check_owner(c, owner, c->done.sealed - sealed,
			    c->done.free - free);
}

/* ---- members ------------------------------------------------------------------------------ */

static void check_member(struct checker *c, uint32_t member)
{
	const struct region_unit *unit = region_unit_of(c->r, member);
	uint64_t word =
		shared_load64_acquire(&region_record(c->r, member)->word);
	uint64_t high = shared_load64_acquire(&unit->head.high);

	if (member_word_state(word) >= MEMBER_STATES) {
		problem(c, "member %u: word %llx", member,
			(unsigned long long)word);
		return;
	}
	if (high > REGION_SLOTS)
		problem(c, "member %u: slots in use beyond its last", member);
	high = MIN(high, REGION_SLOTS);
	for (uint64_t i = 0; member_pins(word) && i < high; i++) {
		uint64_t pin = pin_read(&unit->slot[i]);
		uint32_t slab = frame_loc_slab(pin_word_loc(pin));

		if (!pin)
			continue;
		c->done.pins++;
		if (!slab || slab > c->r->g.shards ||
		    frame_loc_frame(pin_word_loc(pin)) >= c->r->g.frames)
			problem(c, "member %u: a pin of no frame", member);
	}
}

static void members_run(void *ctx)
{
	struct checker *c = ctx;

	for (; c->member < c->r->g.members; c->member++)
		check_member(c, c->member);
}

static void shards_run(void *ctx)
{
	struct checker *c = ctx;

	for (; c->shard < c->r->g.shards; c->shard++)
		check_shard(c);
}

uint64_t region_check(struct region *r, bool quiet, bool bytes,
		      void (*tell)(void *ctx, const char *problem), void *ctx,
		      struct region_checked *ret_checked)
{
	struct checker c = {
		.r = r, .quiet = quiet, .bytes = bytes, .tell = tell, .ctx = ctx
	};

	while (region_guard(r, members_run, &c, NULL)) {
		problem(&c,
			"member %u: memory of its record or of its pins "
			"fails",
			c.member);
		c.member++;
	}
	while (region_guard(r, shards_run, &c, NULL)) {
		problem(&c,
			"shard %u: memory of its head or of its owner's "
			"record fails",
			c.shard);
		c.shard++;
	}
	*ret_checked = c.done;
	return c.problems;
}

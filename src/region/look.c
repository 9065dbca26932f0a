/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding, pinning and reading blocks of any shard.
 *
 * A block of an own shard is looked for there first. Else all other shards are
 * asked at once: a block is in nearly every case in the first of the two buckets
 * that its hash names (index/table.h), and that bucket has the same number in
 * every shard; so the first buckets of all are fetched together, then looked
 * at; the second ones only when none had it. One miss of the cache, not one for
 * each shard.
 */
#include "base/hash.h"
#include "coherence/pin.h"
#include "region/internal.h"
#include <errno.h>

/* ---- finding ------------------------------------------------------------------------- */

/* Is the entry true? Nothing of it is believed before. */
static bool believe(struct region *r, uint32_t shard, uint64_t entry,
		    const struct region_name *name,
		    struct region_found *ret_found)
{
	uint64_t loc = table_word_loc(entry), word;
	uint32_t frame = frame_loc_frame(loc);
	const struct region_desc *d = &r->view[shard].desc[frame];

	if (frame_loc_slab(loc) != shard + 1 || frame >= r->g.frames)
		return false;
	if (r->mem->refresh)
		r->mem->refresh(d, sizeof(*d));
	/* Pairs with coherent_publish(), by region_step(). */
	word = shared_load64_acquire(&d->word);
	if (frame_word_state(word) != FRAME_SEALED ||
	    (uint8_t)frame_word_gen(word) != table_word_gen(entry) ||
	    !region_desc_is(d, name))
		return false;
	ret_found->shard = shard;
	ret_found->frame = frame;
	ret_found->word = word;
	return true;
}

static bool look_in_bucket(struct region *r, uint32_t shard, uint64_t bucket,
			   struct table_hash h, const struct region_name *name,
			   struct region_found *ret_found)
{
	const struct table_bucket *b = &r->view[shard].table.bucket[bucket];
	unsigned fits;

	if (unlikely(!r->view[shard].whole || shard == r->skip))
		return false;
	if (r->mem->refresh)
		r->mem->refresh(b, sizeof(*b));
	fits = table_fits(b, h);
	while (unlikely(fits)) {
		unsigned way = (unsigned)__builtin_ctz(fits);
		/* Pairs with put(). */
		uint64_t entry = shared_load64_acquire(&b->entry[way]);

		fits &= fits - 1;
		if (entry && believe(r, shard, entry, name, ret_found))
			return true;
	}
	return false;
}

/* Many own shards one after the other would cost more than all at once. */
#define OWN_FIRST 2u

static bool look_in_own(struct region *r, uint64_t bucket, struct table_hash h,
			const struct region_name *name,
			struct region_found *ret_found)
{
	for (uint32_t i = 0; i < r->n_own && r->n_own <= OWN_FIRST; i++)
		if (look_in_bucket(r, r->own[i]->shard, bucket, h, name,
				   ret_found))
			return true;
	return false;
}

static bool look_in_all(struct region *r, uint64_t bucket, struct table_hash h,
			const struct region_name *name,
			struct region_found *ret_found)
{
	for (uint32_t i = 0; i < r->g.shards; i++)
		if (look_in_bucket(r, i, bucket, h, name, ret_found))
			return true;
	return false;
}

/* Starts to fetch these buckets, those of own shards apart. */
static void fetch_own(const struct region *r, uint64_t bucket)
{
	for (uint32_t i = 0; i < r->n_own && r->n_own <= OWN_FIRST; i++)
		__builtin_prefetch(
			&r->view[r->own[i]->shard].table.bucket[bucket]);
}

static void fetch_all(const struct region *r, uint64_t bucket)
{
	for (uint32_t i = 0; i < r->g.shards; i++)
		__builtin_prefetch(&r->view[i].table.bucket[bucket]);
}

static int look(struct region *r, const struct region_name *name,
		struct region_found *ret_found)
{
	struct table_hash h = region_hash(name);
	const struct table *t = &r->view[0].table; /* all are of one size */
	uint64_t a = table_bucket_a(t, h), b = table_bucket_b(t, h);

	if (look_in_own(r, a, h, name, ret_found))
		return 0;
	/* what is looked at next comes while the own second one is waited for */
	fetch_own(r, b);
	fetch_all(r, a);
	if (look_in_own(r, b, h, name, ret_found) ||
	    look_in_all(r, a, h, name, ret_found))
		return 0;
	fetch_all(r, b);
	return look_in_all(r, b, h, name, ret_found) ? 0 : REGION_MISS;
}

/* What is done in a guard. */
struct looking {
	struct region *r;
	const struct region_name *name;
	struct region_found found;
	int result;
};

static void look_run(void *ctx)
{
	struct looking *l = ctx;

	l->result = look(l->r, l->name, &l->found);
}

/* Shards whose index fails in this very place, of which one is passed over at a
 * time. */
#define LOOK_TRIES 3u

int region_find(struct region *r, const struct region_name *name,
		struct region_found *ret_found)
{
	struct looking l = { .r = r, .name = name, .result = REGION_MISS };
	struct region_where where;
	unsigned tries = 0;

	while (unlikely(region_guard(r, look_run, &l, &where))) {
		l.result = REGION_MISS;
		if (where.part != LOST_META || ++tries == LOOK_TRIES)
			break;
		r->skip = where.n;
	}
	/* else nothing of the handle changes: a reader's threads may look at once
	 * (region.h) */
	if (unlikely(tries))
		r->skip = r->g.shards;
	if (!l.result)
		*ret_found = l.found;
	return l.result;
}

/* All own shards, however many: others' replicas are no answer here. */
bool region_find_own(struct region *r, const struct region_name *name,
		     struct region_found *ret_found)
{
	struct table_hash h = region_hash(name);
	const struct table *t = &r->view[0].table; /* all are of one size */
	uint64_t a = table_bucket_a(t, h), b = table_bucket_b(t, h);

	for (uint32_t i = 0; i < r->n_own; i++) {
		uint32_t shard = r->own[i]->shard;

		if (look_in_bucket(r, shard, a, h, name, ret_found) ||
		    look_in_bucket(r, shard, b, h, name, ret_found))
			return true;
	}
	return false;
}

struct seeing {
	struct region *r;
	struct region_found found;
	struct region_seen seen;
	bool holds;
};

static void see_run(void *ctx)
{
	struct seeing *s = ctx;
	const struct region *r = s->r;
	const struct region_view *v = &r->view[s->found.shard];
	const struct region_desc *d = &v->desc[s->found.frame];
	uint64_t extent = shared_load64(&d->extent);

	s->seen = (struct region_seen){
		.shard = s->found.shard,
		.frame = s->found.frame,
		.gen = frame_word_gen(s->found.word),
		.bytes = MIN(frame_extent_bytes(extent), r->g.frame_bytes),
		.tokens = frame_extent_tokens(extent),
		.checksum = shared_load64(&d->checksum),
		.sealed_ms = shared_load64(&d->sealed_ms),
		.offset = (uint64_t)(v->payload - r->all) +
			  s->found.frame * r->g.frame_bytes,
	};
	/* the loads before are before this one */
	r->mem->fence();
	s->holds = r->mem->validate(&d->word, s->found.word);
}

int region_look(struct region *r, const struct region_name *name,
		struct region_seen *ret_seen)
{
	struct seeing s = { .r = r };

	if (region_find(r, name, &s.found) ||
	    region_guard(r, see_run, &s, NULL) || !s.holds)
		return REGION_MISS;
	*ret_seen = s.seen;
	return 0;
}

/* ---- pinning --------------------------------------------------------------------------- */

#define HIGH_STEP 64u

static int slot_claim(struct region *r, uint32_t *ret_slot)
{
	shared_u64 *high = &r->unit->head.high;

	if (r->n_slot) {
		*ret_slot = r->slot[--r->n_slot];
		return 0;
	}
	if (r->made == REGION_SLOTS)
		return REGION_FULL;
	/* before the slot: who misses it has missed the slot */
	if (r->made >= shared_load64(high))
		r->mem->publish(high, MIN(r->made + HIGH_STEP, REGION_SLOTS));
	*ret_slot = r->made++;
	return 0;
}

static void slot_release(struct region *r, uint32_t slot)
{
	/* release: pairs with pin_read(); our last loads are before it */
	r->mem->publish(&r->unit->slot[slot], 0);
	r->slot[r->n_slot++] = slot;
}

static void touch(struct region *r, uint64_t pin)
{
	struct region_unit *unit = r->unit;

	shared_store64(&unit->touch[r->touches++ % REGION_TOUCHES], pin);
	/* Pairs with take_touches(). */
	r->mem->publish(&unit->head.touch_tail, r->touches);
}

/* 0, or REGION_MISS: it has left, and the slot stays claimed in either case.
 * REGION_STALE: this member was declared dead, and its slots are perhaps the next
 * one's by now: nothing more is stored there. */
static int pin_found(struct region *r, const struct region_found *found,
		     uint32_t slot, struct region_pin *ret_pin)
{
	const struct region_view *v = &r->view[found->shard];
	const struct region_desc *d = &v->desc[found->frame];
	uint64_t gen = frame_word_gen(found->word), extent, bytes;
	uint64_t loc = region_loc(found->shard, found->frame);
	const unsigned char *data;
	bool holds;

	pin_publish(&r->unit->slot[slot], loc, gen);	 /* R1 */
	r->mem->fence();				 /* R2 */
	holds = r->mem->validate(&d->word, found->word); /* R3, acquire */
	/* After R3: who looked at the pins before, saw a member, and its slot. */
	if (unlikely(!region_is_live(r))) /* R4 */
		return REGION_STALE;
	if (!holds)
		return REGION_MISS;
	extent = shared_load64(&d->extent);
	data = v->payload + found->frame * r->g.frame_bytes;
	bytes = MIN(frame_extent_bytes(extent), r->g.frame_bytes);
	if (r->mem->refresh)
		r->mem->refresh(data, bytes);
	*ret_pin = (struct region_pin){
		.data = data,
		.bytes = bytes,
		.tokens = frame_extent_tokens(extent),
		.shard = found->shard,
		.frame = found->frame,
		.gen = gen,
		.checksum = shared_load64(&d->checksum),
		.slot = slot,
	};
	return 0;
}

struct pinning {
	struct region *r;
	const struct region_found *found;
	uint32_t slot;
	struct region_pin pin;
	int result;
};

static void pin_run(void *ctx)
{
	struct pinning *p = ctx;

	p->result = slot_claim(p->r, &p->slot);
	if (p->result == 0)
		p->result = pin_found(p->r, p->found, p->slot, &p->pin);
}

/* As pin_found(). Where the descriptor's memory fails, it is a miss; where that of
 * the own slots does, nothing can be pinned. */
static int pin_guarded(struct region *r, const struct region_found *found,
		       uint32_t *ret_slot, struct region_pin *ret_pin)
{
	struct pinning p = { .r = r, .found = found };
	struct region_where where;

	if (unlikely(region_guard(r, pin_run, &p, &where)))
		p.result = where.part >= LOST_META ? REGION_MISS : -EIO;
	*ret_slot = p.slot;
	if (!p.result)
		*ret_pin = p.pin;
	return p.result;
}

static int pin(struct region *r, const struct region_name *name, bool quiet,
	       struct region_pin *ret_pin)
{
	struct region_found found;
	uint32_t slot;
	int err;

	if (unlikely(!region_is_live(r)))
		return r->word ? REGION_STALE : -ENOTCONN;
	/* one that moved or was put back meanwhile is looked for once more */
	for (unsigned tries = 0; tries < 2; tries++) {
		if (region_find(r, name, &found))
			break;
		err = pin_guarded(r, &found, &slot, ret_pin);
		if (!err) {
			if (!quiet)
				touch(r, pin_word(region_loc(found.shard,
							     found.frame),
						  ret_pin->gen));
			r->pinned++;
			region_tally(r, REGION_C_pins, 1);
			if (!region_owns(r, found.shard))
				region_tally(r, REGION_C_pins_remote, 1);
			return 0;
		}
		if (err != REGION_MISS)
			return err;
		slot_release(r, slot);
		region_tally(r, REGION_C_stale, 1);
	}
	region_tally(r, REGION_C_misses, 1);
	return REGION_MISS;
}

struct pin_call {
	struct region *r;
	const struct region_name *name;
	bool quiet;
	struct region_pin *ret_pin;
	const struct region_pin *pin;
	int result;
};

static void pin_call_run(void *ctx)
{
	struct pin_call *c = ctx;

	c->result = pin(c->r, c->name, c->quiet, c->ret_pin);
}

static int pin_call(struct pin_call *c)
{
	return unlikely(region_guard(c->r, pin_call_run, c, NULL)) ? -EIO
								   : c->result;
}

int region_pin(struct region *r, const struct region_name *name,
	       struct region_pin *ret_pin)
{
	struct pin_call c = { .r = r, .name = name, .ret_pin = ret_pin };

	return pin_call(&c);
}

int region_pin_quietly(struct region *r, const struct region_name *name,
		       struct region_pin *ret_pin)
{
	struct pin_call c = {
		.r = r, .name = name, .quiet = true, .ret_pin = ret_pin
	};

	return pin_call(&c);
}

static void unpin_run(void *ctx)
{
	struct pin_call *c = ctx;

	/* else it is perhaps the next one's: who claims it clears it */
	if (likely(region_is_live(c->r)))
		slot_release(c->r, c->pin->slot);
}

void region_unpin(struct region *r, const struct region_pin *pin)
{
	struct pin_call c = { .r = r, .pin = pin };

	r->pinned--;
	(void)region_guard(r, unpin_run, &c, NULL);
}

static void unpin_all_run(void *ctx)
{
	struct region *r = ctx;

	for (uint32_t i = 0; region_is_live(r) && i < r->made; i++)
		r->mem->publish(&r->unit->slot[i], 0);
}

void region_unpin_all(struct region *r)
{
	(void)region_guard(r, unpin_all_run, r, NULL);
	r->pinned = 0;
	r->n_slot = 0;
	for (uint32_t i = r->made; i-- > 0;)
		r->slot[r->n_slot++] = i;
}

/* ---- reading ----------------------------------------------------------------------------- */

static void report(struct region *r, const struct region_pin *pin)
{
	struct region_unit_head *head = &r->unit->head;
	uint64_t tail = shared_load64(&head->report_tail);

	region_count(r, REGION_C_bad, 1);
	shared_store64(&head->report[tail % REGION_REPORTS],
		       pin_word(region_loc(pin->shard, pin->frame), pin->gen));
	/* Pairs with region_take_reports(). */
	r->mem->publish(&head->report_tail, tail + 1);
}

bool region_sound(const struct region_name *name, const struct region_pin *pin)
{
	return hash_payload(pin->data, pin->bytes, region_seed(name)) ==
	       pin->checksum;
}

static void report_run(void *ctx)
{
	struct pin_call *c = ctx;

	c->result = region_is_live(c->r) ? REGION_BAD : REGION_STALE;
	if (c->result == REGION_BAD)
		report(c->r, c->pin);
}

int region_report(struct region *r, const struct region_pin *pin)
{
	struct pin_call c = { .r = r, .pin = pin };

	return region_guard(r, report_run, &c, NULL) ? REGION_BAD : c.result;
}

struct verifying {
	const struct region_name *name;
	const struct region_pin *pin;
	bool right;
};

static void verify_run(void *ctx)
{
	struct verifying *v = ctx;

	v->right = region_sound(v->name, v->pin);
}

int region_verify(struct region *r, const struct region_name *name,
		  const struct region_pin *pin)
{
	struct verifying v = { .name = name, .pin = pin };

	if (region_guard(r, verify_run, &v, NULL) == 0 && v.right)
		return 0;
	return region_report(r, pin);
}

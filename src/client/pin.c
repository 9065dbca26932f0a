/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding, pinning and unpinning parts (coherence/pin.h, the reader's side).
 *
 * A candidate of the index is a hint. It is checked three times: its
 * descriptor must say SEALED with the generation's low bits before a slot is
 * spent on it, the word must be unchanged after the slot was published, and
 * then, under the pin, key and part must be the ones asked for.
 */
#include "client/pin_inline.h"
#include "client/shards.h"
#include "base/hash.h"

#define HIGH_STEP   64
#define TOUCH_CHUNK 64
#define COUNT_EVERY 1024 /* touches between two publications of counters */

/* The server looks at slots below pin_high; it is raised before the slot is
 * stored, and the fence of the pin covers both. */
NOINLINE void pin_raise_high(oc_client *c, uint32_t slot)
{
	uint32_t high = MIN((slot / HIGH_STEP + 1) * HIGH_STEP, c->n_pins);

	lock_take_short(&c->high);
	if (atomic_load_explicit(&c->pin_high, memory_order_relaxed) < high) {
		shared_store64(&c->seg->header.pin_high, high);
		/* Release: who reads this number has the store above before
		 * its own fence. */
		atomic_store_explicit(&c->pin_high, high, memory_order_release);
	}
	lock_drop(&c->high);
}

bool footing_moved(oc_client *c, const struct footing *f)
{
	struct footing now;

	if (client_behind(c))
		region_resync(c, client_deadline(c, 0));
	now = footing_get(c);
	return now.view != f->view || now.region != f->region;
}

/* The descriptor of a candidate, mapping its slab where needed. OC_MISS. */
static inline int candidate(oc_client *c, uint64_t entry,
			    const struct frame_desc **ret_desc)
{
	uint64_t loc = table_word_loc(entry);
	int r;

	*ret_desc = region_desc(c, loc);
	if (likely(*ret_desc != NULL))
		return 0;
	r = region_need(c, frame_loc_slab(loc), client_deadline(c, 0));
	if (r)
		return r;
	*ret_desc = region_desc(c, loc);
	return *ret_desc ? 0 : OC_MISS;
}

/* 0, OC_MISS, -errno; -EDQUOT: no slot of our own. *ret_moved: a candidate was
 * not what its entry said. It has left, or it has moved to another tier, and then
 * the same entry says where to. */
static int pin_try(oc_client *c, const struct view *v, const uint64_t key[4],
		   uint64_t part, bool *ret_moved, struct oc_pin *ret_pin)
{
	struct table_hash h = table_hash(key, part);
	uint32_t slot = SLOTS_NONE;
	unsigned cursor = 0;
	uint64_t entry;
	int r = OC_MISS;

	*ret_moved = false;
	table_prefetch(&v->table, h);
	while (r == OC_MISS && (entry = table_probe(&v->table, h, &cursor))) {
		const struct frame_desc *d;
		uint64_t loc = table_word_loc(entry), word;
		int known = candidate(c, entry, &d);

		if (unlikely(known < 0))
			r = known;
		if (unlikely(known))
			continue;
		word = shared_load64_acquire(&d->word);
		if (!pin_word_fits(word, entry)) {
			*ret_moved = true;
			continue;
		}
		if (slot == SLOTS_NONE)
			slot = slots_claim(&c->pins, slots_thread());
		if (unlikely(slot == SLOTS_NONE))
			return -EDQUOT;
		pin_show(c, slot, loc, frame_word_gen(word));
		shared_fence();
		if (likely(pin_holds(d, frame_word_gen(word)) &&
			   frame_is(d, key, part) &&
			   pin_fill(c, d, loc, frame_word_gen(word),
				    SLOT_OWN | slot, ret_pin)))
			return 0;
		*ret_moved = true;
		pin_clear(&c->seg->slots[slot]);
	}
	if (slot != SLOTS_NONE)
		slots_release(&c->pins, slot);
	return r;
}

/* ---- through the server ---- */

static int unpin_by_ring(oc_client *c, uint32_t slot)
{
	struct ring_call q = { .op = RING_UNPIN, .arg = slot };

	/* When no request could be made, the slot stays the client's until
	 * it ends; its quota bounds that. */
	return call_forget(c, &q, client_deadline(c, 0));
}

static NOINLINE int pin_by_ring(oc_client *c, const uint64_t key[4],
				uint64_t part, unsigned flags,
				struct oc_pin *ret_pin)
{
	struct ring_call q = { .op = RING_PIN,
			       .part = part,
			       .arg = flags & PIN_BY_MAPPING ? RING_PIN_MAPPED
							     : 0 };
	const struct frame_desc *d = NULL;
	struct ring_answer a;
	int r;

	memcpy(q.key, key, sizeof(q.key));
	if (flags & PIN_BY_LOSER)
		q.arg |= RING_PIN_LOSABLE;
	r = call_round(c, &q, 0, &a);
	if (r == 0)
		r = (int)a.result;
	if (r == -EDQUOT)
		return client_fail(c, r,
				   "all %u pins and the server's %u are "
				   "in use",
				   c->n_pins, c->n_overflow);
	if (r)
		return r;
	if (a.arg >= c->n_overflow)
		return client_fail(c, -EPROTO, "a pin slot that is not there");
	r = candidate(c, a.loc, &d);
	if (r == 0 &&
	    !(pin_holds(d, a.gen) &&
	      pin_fill(c, d, a.loc, a.gen, SLOT_OVERFLOW | a.arg, ret_pin)))
		r = OC_MISS;
	if (r)
		unpin_by_ring(c, (uint32_t)a.arg);
	return r;
}

/* ---- unpinning ---- */

/* Writes what was used into the touch ring. Threads may finish in another
 * order than they began; the server takes what it finds: recency is a hint. */
static void touch(oc_client *c, const uint64_t *words, size_t n)
{
	struct client_segment *seg = c->seg;
	uint64_t at = atomic_fetch_add_explicit(&c->touch_next, n,
						memory_order_relaxed);

	for (size_t i = 0; i < n; i++)
		shared_store64(&seg->touch[(at + i) % TOUCH_RING], words[i]);
	/* Release: pairs with the server's acquire in store_touches(). */
	if ((int64_t)(at + n - shared_load64(&seg->header.touch_tail)) > 0)
		shared_store64_release(&seg->header.touch_tail, at + n);
	if (unlikely(at / COUNT_EVERY != (at + n) / COUNT_EVERY)) {
		uint64_t sums[CLIENT_COUNTS];

		client_count(c, sums);
	}
}

struct dropping {
	uint64_t touched[TOUCH_CHUNK];
	size_t n_touched;
	uint64_t bits; /* of own slots to give back ... */
	uint32_t word; /* ... in this word */
};

static inline void drop_one(oc_client *c, struct dropping *d,
			    struct oc_pin *pin, bool count_use)
{
	uint32_t slot = (uint32_t)pin->slot;
	bool own = pin->slot & SLOT_OWN;
	shared_u64 *s;

	if (unlikely(pin->slot & SLOT_SHARDS)) {
		shards_unpin(c, pin->slot);
		pin->data = NULL;
		pin->slot = 0;
		return;
	}
	s = &c->seg->slots[own ? slot : c->n_pins + slot];
	if (count_use && !(pin->slot & SLOT_NO_TOUCH))
		d->touched[d->n_touched++] = shared_load64(s);
	if (own) {
		pin_clear(s);
		if (slot / 64 != d->word && d->bits) {
			slots_release_bits(&c->pins, d->word, d->bits);
			d->bits = 0;
		}
		d->word = slot / 64;
		d->bits |= 1ull << slot % 64;
	} else {
		unpin_by_ring(c, slot);
	}
	pin->data = NULL;
	pin->slot = 0;
}

void pin_drop(oc_client *c, struct oc_pin *pins, size_t n, bool count_use)
{
	struct dropping d;

	d.n_touched = 0;
	d.bits = 0;
	d.word = 0;
	for (size_t i = n; i-- > 0;) {
		if (!pins[i].data)
			continue;
		drop_one(c, &d, &pins[i], count_use);
		if (d.n_touched == TOUCH_CHUNK) {
			touch(c, d.touched, d.n_touched);
			d.n_touched = 0;
		}
	}
	if (d.bits)
		slots_release_bits(&c->pins, d.word, d.bits);
	if (d.n_touched)
		touch(c, d.touched, d.n_touched);
}

/* ---- one pin ---- */

/* OC_BAD: the pin is given back and the server told. */
int pin_verify(oc_client *c, const struct oc_key *key, uint64_t part,
	       struct oc_pin *pin)
{
	uint64_t seed = hash_part_seed(key->bytes, frame_part_group(part),
				       frame_part_rank(part));
	struct ring_call q = { .op = RING_BAD };
	uint32_t slot = (uint32_t)pin->slot;

	struct slices data = pin_slices(c, pin);

	if (hash_slices(&data, pin->bytes, seed) == pin->checksum)
		return 0;
	if (!(pin->slot & SLOT_OWN))
		slot += c->n_pins;
	q.loc = pin_word_loc(shared_load64(&c->seg->slots[slot]));
	q.gen = pin->generation;
	pin_drop(c, pin, 1, false);
	call_forget(c, &q, 0);
	return client_fail(c, OC_BAD, "a part's bytes are not what was sealed");
}

int pin_one(oc_client *c, const struct oc_key *key, uint64_t part,
	    unsigned flags, struct oc_pin *ret_pin)
{
	struct footing f;
	struct oc_pin pin;
	uint64_t words[4];
	bool moved = false;
	int r;

	key_words(key, words);
	if (client_behind(c))
		region_follow(c);
	f = footing_get(c);
	if (unlikely(flags & OC_PIN_BY_RING))
		r = -EDQUOT;
	else
		r = pin_try(c, f.view, words, part, &moved, &pin);
	for (int i = 0; unlikely(r == OC_MISS) && i < FOOTING_TRIES; i++) {
		if (!footing_moved(c, &f) && !moved)
			break;
		f = footing_get(c);
		r = pin_try(c, f.view, words, part, &moved, &pin);
	}
	if (unlikely(r == -EDQUOT))
		r = pin_by_ring(c, words, part, flags, &pin);
	if (r == 0)
		r = pin_finish(c, key, part, flags, &pin);
	if (r == 0)
		*ret_pin = pin;
	return r;
}

int oc_pin(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	   unsigned flags, struct oc_pin *ret_pin)
{
	oc_client *c = ns->c;
	int r;

	if (client_is_child(c))
		return client_child(c);
	if (unlikely(!ns_has(ns, part)))
		return client_fail(c, -EINVAL, "no part (%u, %u) here",
				   part.group, part.rank);
	r = ns_usable(ns);
	if (unlikely(r != 0))
		return r;
	r = pin_one(c, key, ns_part(ns, part), flags, ret_pin);
	if (r == OC_MISS && shards_there(c) && !(flags & PIN_HERE))
		r = shards_pin(ns, key, part, flags, ret_pin);
	if (likely(r == 0)) {
		client_add(c, CLIENT_PINS, 1);
		client_add(c, CLIENT_READ_BYTES, ret_pin->bytes);
	} else if (r > 0) {
		client_add(c, CLIENT_MISSES, 1);
	}
	return r;
}

void oc_unpin(oc_ns *ns, struct oc_pin *pin)
{
	if (!client_is_child(ns->c))
		pin_drop(ns->c, pin, 1, true);
}

void oc_unpin_batch(oc_ns *ns, struct oc_pin *pins, size_t n)
{
	if (!client_is_child(ns->c))
		pin_drop(ns->c, pins, n, true);
}

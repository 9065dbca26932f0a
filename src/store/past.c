/* SPDX-License-Identifier: Apache-2.0 */
#include "store/past.h"
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"

#define NOTES_LEAST 16u
#define NOTES_MOST  (1u << 30)
#define CHUNK	    1024u /* marks compared without looking up */

struct ring {
	struct past_note *note;
	uint32_t *mark; /* the low half of a note's first key word */
	uint32_t cap, at;
	uint64_t added;
};

struct past {
	struct ring left, unsealed;
	uint64_t begin_ms;
};

static int ring_init(struct ring *r, uint64_t notes)
{
	if (!notes)
		return 0;
	r->note = mem_array(notes, sizeof(*r->note));
	r->mark = mem_array(notes, sizeof(*r->mark));
	if (!r->note || !r->mark)
		return -ENOMEM;
	r->cap = (uint32_t)notes;
	return 0;
}

static void ring_fini(struct ring *r)
{
	free(r->note);
	free(r->mark);
}

int past_create(uint64_t bytes, uint64_t now_ms, struct past **ret_past)
{
	uint64_t notes = MIN(bytes / PAST_NOTE_BYTES, NOTES_MOST);
	struct past *h = mem_alloc(sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	if (notes < NOTES_LEAST)
		notes = 0;
	h->begin_ms = now_ms;
	r = ring_init(&h->left, notes - notes / 4);
	if (r == 0)
		r = ring_init(&h->unsealed, notes / 4);
	if (r < 0) {
		past_destroy(h);
		return r;
	}
	*ret_past = h;
	return 0;
}

void past_destroy(struct past *h)
{
	if (!h)
		return;
	ring_fini(&h->left);
	ring_fini(&h->unsealed);
	free(h);
}

void past_add(struct past *h, const struct past_note *note)
{
	struct ring *r;

	if (!h)
		return;
	r = note->event >= PAST_ABANDONED ? &h->unsealed : &h->left;
	if (!r->cap)
		return;
	r->note[r->at] = *note;
	r->mark[r->at] = (uint32_t)note->key[0];
	r->at = r->at + 1 == r->cap ? 0 : r->at + 1;
	r->added++;
}

/* Kept sorted, the newest first; the oldest falls off. */
static void insert(struct past_note *notes, unsigned *n, unsigned most,
		   const struct past_note *note)
{
	unsigned at = *n;

	while (at > 0 && notes[at - 1].at_ms <= note->at_ms)
		at--;
	if (at >= most)
		return;
	*n = MIN(*n + 1, most);
	memmove(&notes[at + 1], &notes[at], (*n - 1 - at) * sizeof(*notes));
	notes[at] = *note;
}

/* No branch in the loop: the compiler compares many at once. */
static bool any_mark(const uint32_t *mark, uint32_t n, uint32_t want)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < n; i++)
		found |= mark[i] == want;
	return found;
}

static void look_at(const struct ring *r, uint32_t from, uint32_t to,
		    const uint64_t key[4], uint32_t ns, unsigned most,
		    struct past_note *notes, unsigned *n)
{
	for (uint32_t i = from; i < to; i++) {
		const struct past_note *note = &r->note[i];

		if (r->mark[i] == (uint32_t)key[0] && note->key[0] == key[0] &&
		    note->key[1] == key[1] && (!ns || note->ns == ns))
			insert(notes, n, most, note);
	}
}

/* Oldest first, so that of two notes of one millisecond the later wins. */
static void find_in(const struct ring *r, const uint64_t key[4], uint32_t ns,
		    unsigned most, struct past_note *notes, unsigned *n)
{
	uint32_t used = (uint32_t)MIN(r->added, (uint64_t)r->cap);
	uint32_t first = r->added > r->cap ? r->at : 0;

	for (uint32_t done = 0; done < used;) {
		uint32_t at = first + done;
		uint32_t k;

		at = at >= r->cap ? at - r->cap : at;
		k = MIN(MIN(used - done, r->cap - at), CHUNK);
		if (any_mark(&r->mark[at], k, (uint32_t)key[0]))
			look_at(r, at, at + k, key, ns, most, notes, n);
		done += k;
	}
}

unsigned past_find(const struct past *h, const uint64_t key[4], uint32_t ns,
		   unsigned most, struct past_note *ret_notes)
{
	unsigned n = 0;

	if (!h || !most)
		return 0;
	find_in(&h->left, key, ns, most, ret_notes, &n);
	find_in(&h->unsealed, key, ns, most, ret_notes, &n);
	return n;
}

/* When its oldest note was made, where older ones were displaced. */
static uint64_t ring_since(const struct ring *r, uint64_t begin_ms)
{
	return r->added > r->cap && r->cap ? r->note[r->at].at_ms : begin_ms;
}

void past_extent(const struct past *h, struct past_extent *ret_extent)
{
	const struct ring *a, *b;

	*ret_extent = (struct past_extent){ 0 };
	if (!h)
		return;
	a = &h->left;
	b = &h->unsealed;
	ret_extent->notes = MIN(a->added, (uint64_t)a->cap) +
			    MIN(b->added, (uint64_t)b->cap);
	ret_extent->capacity = (uint64_t)a->cap + b->cap;
	ret_extent->bytes = ret_extent->capacity * PAST_NOTE_BYTES;
	ret_extent->since_ms =
		MAX(ring_since(a, h->begin_ms), ring_since(b, h->begin_ms));
	ret_extent->whole = a->cap && a->added <= a->cap && b->added <= b->cap;
}

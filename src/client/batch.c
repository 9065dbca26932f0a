/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pinning many parts: a pipeline over a window. The buckets of all are asked
 * for, then their descriptors, then all slots are published, one fence, and
 * all are validated; so the misses of the cache overlap.
 */
#include "client/pin_inline.h"
#include "client/shards.h"

/* A window under way. What fails the short way is done again one by one. */
struct window {
	const struct pin_job *jobs;
	size_t n, pinned;
	const struct table_hash *hash;
	const struct frame_desc *desc[PIN_WINDOW]; /* NULL: no candidate */
	uint64_t entry[PIN_WINDOW];
	uint64_t word[PIN_WINDOW];
	uint32_t slot[PIN_WINDOW];
	bool again[PIN_WINDOW];
};

/* Jobs whose buckets are asked for before their turn comes. */
struct ahead {
	const struct view *view;
	const struct pin_job *jobs;
	size_t n;
	struct table_hash *hash;
};

static inline void ahead_one(const struct ahead *a, size_t i)
{
	uint64_t key[4];

	if (i >= a->n)
		return;
	key_words(a->jobs[i].key, key);
	a->hash[i] = table_hash(key, a->jobs[i].part);
	table_prefetch(&a->view->table, a->hash[i]);
}

static void window_probe(oc_client *c, const struct view *v, struct window *w)
{
	for (size_t i = 0; i < w->n; i++) {
		unsigned cursor = 0;

		w->entry[i] = table_probe(&v->table, w->hash[i], &cursor);
		w->desc[i] = NULL;
		w->again[i] = false;
		w->slot[i] = SLOTS_NONE;
		if (!w->entry[i])
			continue;
		w->desc[i] = region_desc(c, table_word_loc(w->entry[i]));
		w->again[i] = !w->desc[i];
		__builtin_prefetch(w->desc[i]);
	}
}

/* Slots for all that look sealed, a word of the bitmap at a time. */
static void window_publish(oc_client *c, struct window *w)
{
	uint32_t hint = slots_thread(), at = 0, want = 0;
	uint64_t bits = 0;

	for (size_t i = 0; i < w->n; i++) {
		if (!w->desc[i])
			continue;
		w->word[i] = shared_load64_acquire(&w->desc[i]->word);
		w->again[i] = !pin_word_fits(w->word[i], w->entry[i]);
		want += !w->again[i];
	}
	for (size_t i = 0; i < w->n; i++) {
		if (!w->desc[i] || w->again[i])
			continue;
		if (!bits)
			bits = slots_claim_some(&c->pins, &hint, want, &at);
		if (!bits) {
			w->again[i] = true;
			continue;
		}
		w->slot[i] = at * 64 + (uint32_t)__builtin_ctzll(bits);
		bits &= bits - 1;
		want--;
		pin_show(c, w->slot[i], table_word_loc(w->entry[i]),
			 frame_word_gen(w->word[i]));
	}
}

/* Beside it the next window's buckets are asked for: the walks of its pages
 * take as long as this loop. */
static void window_check(oc_client *c, struct window *w,
			 const struct ahead *next)
{
	uint64_t key[4];

	for (size_t i = 0; i < w->n; i++) {
		const struct pin_job *job = &w->jobs[i];
		uint64_t gen;

		ahead_one(next, i);
		job->pin->data = NULL;
		if (w->slot[i] == SLOTS_NONE)
			continue;
		key_words(job->key, key);
		gen = frame_word_gen(w->word[i]);
		if (likely(pin_holds(w->desc[i], gen) &&
			   frame_is(w->desc[i], key, job->part) &&
			   pin_fill(c, w->desc[i], table_word_loc(w->entry[i]),
				    gen, SLOT_OWN | w->slot[i], job->pin))) {
			w->pinned++;
			continue;
		}
		pin_clear(&c->seg->slots[w->slot[i]]);
		slots_release(&c->pins, w->slot[i]);
		w->again[i] = true;
	}
}

/* The rare ones: slabs not met yet, tags that fit by chance, misses where the
 * node has announced something since. */
static int window_repair(oc_client *c, struct window *w, unsigned flags,
			 const struct footing *f)
{
	bool quick = flags & PIN_QUICK;
	bool moved = !quick && w->pinned < w->n && footing_moved(c, f);

	for (size_t i = 0; i < w->n; i++) {
		const struct pin_job *job = &w->jobs[i];
		int r;

		if (job->pin->data) {
			if (pin_finish(c, job->key, job->part, flags, job->pin))
				w->pinned--;
			continue;
		}
		if (quick || (!w->again[i] && !moved))
			continue;
		r = pin_one(c, job->key, job->part, flags, job->pin);
		if (r < 0)
			return r;
		w->pinned += r == 0;
	}
	return 0;
}

static int window_run(oc_client *c, struct window *w, unsigned flags,
		      struct ahead *next, size_t *ret_pinned)
{
	struct footing f;
	int r = 0;

	w->pinned = 0;
	if (client_behind(c))
		region_follow(c);
	f = footing_get(c);
	next->view = f.view;
	window_probe(c, f.view, w);
	if (unlikely(flags & OC_PIN_BY_RING))
		memset(w->desc, 0, sizeof(w->desc));
	window_publish(c, w);
	shared_fence();
	window_check(c, w, next);
	if (unlikely(flags & OC_PIN_BY_RING))
		memset(w->again, 1, sizeof(w->again));
	if (w->pinned < w->n || flags & (OC_PIN_VERIFY | OC_PIN_NO_TOUCH))
		r = window_repair(c, w, flags, &f);
	if (r) {
		for (size_t i = 0; i < w->n; i++)
			pin_drop(c, w->jobs[i].pin, 1, false);
		return r;
	}
	*ret_pinned = w->pinned;
	return 0;
}

static void ahead_all(oc_client *c, struct ahead *a)
{
	a->view = footing_get(c).view;
	for (size_t i = 0; i < a->n; i++)
		ahead_one(a, i);
}

int pin_window(oc_client *c, const struct pin_job *jobs, size_t n,
	       unsigned flags, size_t *ret_pinned)
{
	struct table_hash hash[PIN_WINDOW];
	struct ahead first = { .jobs = jobs, .n = n, .hash = hash };
	struct ahead none = { .n = 0 };
	struct window w;

	ahead_all(c, &first);
	w.jobs = jobs;
	w.hash = hash;
	w.n = n;
	return window_run(c, &w, flags, &none, ret_pinned);
}

static void count_batch(oc_client *c, const struct oc_pin *pins, size_t n,
			size_t pinned)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += pins[i].data ? pins[i].bytes : 0;
	client_add(c, CLIENT_PINS, pinned);
	client_add(c, CLIENT_MISSES, n - pinned);
	client_add(c, CLIENT_READ_BYTES, bytes);
}

/* A batch under way: the jobs of two windows, this one and the next. */
struct batch {
	oc_ns *ns;
	const struct oc_key *keys;
	struct oc_pin *pins;
	size_t n;
	uint64_t part;
	struct pin_job jobs[2][PIN_WINDOW];
	struct table_hash hash[2][PIN_WINDOW];
};

static struct ahead batch_jobs(struct batch *b, size_t at)
{
	size_t side = at / PIN_WINDOW % 2;
	size_t n = at < b->n ? MIN(b->n - at, (size_t)PIN_WINDOW) : 0;

	for (size_t i = 0; i < n; i++)
		b->jobs[side][i] = (struct pin_job){ &b->keys[at + i], b->part,
						     &b->pins[at + i] };
	return (struct ahead){ .jobs = b->jobs[side],
			       .n = n,
			       .hash = b->hash[side] };
}

static int batch_pin(oc_client *c, struct batch *b, unsigned flags,
		     size_t *ret_pinned)
{
	struct ahead now = batch_jobs(b, 0), next;
	struct window w;

	ahead_all(c, &now);
	for (size_t at = 0; at < b->n; at += w.n, now = next) {
		size_t got = 0;
		int r;

		next = batch_jobs(b, at + PIN_WINDOW);
		w.jobs = now.jobs;
		w.hash = now.hash;
		w.n = now.n;
		r = window_run(c, &w, flags, &next, &got);
		if (r) {
			pin_drop(c, b->pins, at, false);
			return r;
		}
		if (got < w.n && shards_there(c) && !(flags & PIN_HERE))
			got += shards_pin_missed(b->ns, w.jobs, w.n, flags);
		count_batch(c, b->pins + at, w.n, got);
		*ret_pinned += got;
	}
	return 0;
}

int oc_pin_batch(oc_ns *ns, const struct oc_key *keys, size_t n,
		 struct oc_part part, unsigned flags, struct oc_pin *ret_pins,
		 size_t *ret_pinned)
{
	oc_client *c = ns->c;
	struct batch b;
	size_t pinned = 0;
	int r;

	if (client_is_child(c))
		return client_child(c);
	if (!ns_has(ns, part))
		return client_fail(c, -EINVAL, "no part (%u, %u) here",
				   part.group, part.rank);
	r = ns_usable(ns);
	if (r)
		return r;
	b.ns = ns;
	b.keys = keys;
	b.pins = ret_pins;
	b.n = n;
	b.part = ns_part(ns, part);
	r = batch_pin(c, &b, flags, &pinned);
	if (r == 0)
		*ret_pinned = pinned;
	return r;
}

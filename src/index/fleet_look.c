/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-up of a prompt. The names of a chain are known from the root up to some
 * depth and unknown from there on, so the deepest known block is found by
 * probes at the ends of stretches (depths of 48 k + 47), all at once, and then
 * by the names in the stretch that comes next. Probes look at tags alone; the
 * block found is proved by its name, and everything above it by the parents of
 * its stretch, which no probe is needed for: the probes' heads were asked for
 * meanwhile.
 *
 * Trust: a probe's entry is a hint until the name was read under an unchanged
 * version. A step's version is read while its child is known to live (the
 * child's version is checked afterwards), so it is the version of the right
 * stretch; its members are read under that version.
 */
#include "index/fleet_reader.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

#define LOOK_TRIES 8u
#define LOOK_SPIN  64u /* loads of a version while it is odd */
#define LOOK_BATCH 32u /* probes at once, at the ends of stretches */

struct search {
	struct fleet_reader *r;
	const uint64_t *keys;
	uint32_t n;
	bool proved; /* probes read names: a tag lied once */
	bool broken; /* the writer came between */
};

struct hit {
	struct fleet_at at; /* line 0: not known */
	uint32_t version;
};

/* ---- one name -------------------------------------------------------------------- */

/* Pairs with fleet_shut(). False: it stays odd. */
static bool load_version(const struct fleet_head *head, uint32_t *ret_version)
{
	for (unsigned i = 0; i < LOOK_SPIN; i++) {
		*ret_version = shared_load32_acquire(&head->version);
		if (likely(!(*ret_version & 1)))
			return true;
		cpu_relax();
	}
	return false;
}

/* Pairs with fleet_open(): what was loaded before is of this version. */
static bool same_version(const struct fleet_head *head, uint32_t version)
{
	atomic_thread_fence(memory_order_acquire);
	return shared_load32(&head->version) == version;
}

/* An entry whose tag fits, without proof; 0: none. The third look is for an
 * entry that moved from b to a between the first two. */
static uint64_t probe_tag(const struct fleet *f, uint64_t h)
{
	uint64_t tag = fleet_tag(h), a = fleet_bucket_a(f, h), bucket = a;

	for (unsigned turn = 0; turn < 3; turn++) {
		const struct fleet_bucket *b = &f->bucket[bucket];
		unsigned fits = fleet_fits(b, tag);

		for (; fits; fits &= fits - 1) {
			/* pairs with put() */
			uint64_t e = shared_load64_acquire(
				&b->entry[__builtin_ctz(fits)]);

			if (likely(e && fleet_entry_tag(e) == tag))
				return e;
		}
		bucket = turn ? a : fleet_bucket_other(f, a, tag);
	}
	return 0;
}

/* Is this the block of that name? Everything that it reads may have become
 * something else; what it took for numbers of lines is bounded first. */
static bool prove(const struct fleet *f, struct fleet_at at, uint64_t key,
		  struct hit *ret_hit)
{
	const struct fleet_head *head;
	uint32_t names, version;

	if (at.line >= f->lines || at.off >= FLEET_SPAN)
		return false;
	head = fleet_head(f, at.line);
	for (unsigned i = 0; i < LOOK_TRIES; i++) {
		bool fits;

		if (!load_version(head, &version))
			return false;
		names = shared_load32(&head->names[at.off / 8]);
		fits = at.off < fleet_shape_len(
					shared_load32_acquire(&head->shape)) &&
		       names < f->lines &&
		       shared_load64(&f->line[names].word[at.off % 8]) == key;
		if (likely(same_version(head, version))) {
			*ret_hit = (struct hit){ .at = at, .version = version };
			return fits;
		}
	}
	return false;
}

static bool probe_proved(const struct fleet *f, uint64_t h, uint64_t key,
			 struct hit *ret_hit)
{
	uint64_t tag = fleet_tag(h), a = fleet_bucket_a(f, h), bucket = a;

	for (unsigned turn = 0; turn < 3; turn++) {
		const struct fleet_bucket *b = &f->bucket[bucket];
		unsigned fits = fleet_fits(b, tag);

		for (; fits; fits &= fits - 1) {
			uint64_t e = shared_load64_acquire(
				&b->entry[__builtin_ctz(fits)]);

			if (e && prove(f, fleet_entry_at(e), key, ret_hit))
				return true;
		}
		bucket = turn ? a : fleet_bucket_other(f, a, tag);
	}
	return false;
}

/* ---- how deep ---------------------------------------------------------------------- */

/* The line of the block's head when it seems to be known, else 0. */
static uint32_t probe(const struct search *s, uint64_t h, uint32_t at)
{
	const struct fleet *f = s->r->f;
	struct hit hit;

	if (likely(!s->proved))
		return fleet_entry_at(probe_tag(f, h)).line;
	return probe_proved(f, h, s->keys[at], &hit) ? hit.at.line : 0;
}

/* Asks for the other bucket where the first was no help; of those that are not
 * known, only what is wanted to tell where they begin. */
static void ask_others(const struct fleet *f, const uint64_t *h, uint32_t n)
{
	for (uint32_t i = 0, missing = 0; i < n && missing < 3; i++) {
		if (fleet_fits(&f->bucket[fleet_bucket_a(f, h[i])],
			       fleet_tag(h[i])))
			continue;
		fleet_prefetch_other(f, h[i]);
		missing++;
	}
}

/* Probes the ends of stretches from depth `from` to `last`, at once. Returns how
 * many of them are known in a row, and asks for their heads. */
static uint32_t probe_row(const struct search *s, uint32_t from, uint32_t last)
{
	const struct fleet *f = s->r->f;
	uint64_t h[LOOK_BATCH];
	uint32_t n = 0, i;

	for (uint32_t at = from; at <= last && n < LOOK_BATCH;
	     at += FLEET_SPAN, n++) {
		h[n] = fleet_hash(f, s->keys[at]);
		fleet_prefetch(f, h[n]);
	}
	ask_others(f, h, n);
	for (i = 0; i < n; i++) {
		uint32_t line = probe(s, h[i], from + i * FLEET_SPAN);

		if (!line)
			return i;
		if (likely(line < f->lines))
			__builtin_prefetch(&f->line[line]);
	}
	return i;
}

/* How many names from `off` on are the prompt's from `at` on: of a chain, all up
 * to some depth and none beyond it. The first one is; under a version. */
static uint32_t same_names(const struct search *s,
			   const struct fleet_head *head, uint32_t off,
			   uint32_t at, uint32_t max)
{
	const struct fleet *f = s->r->f;
	uint32_t lo = 1, hi = max, look = max; /* lo are the same, hi at most */

	while (lo < hi) {
		uint32_t o = off + look - 1;
		uint32_t names = shared_load32(&head->names[o / 8]);

		if (names < f->lines &&
		    shared_load64(&f->line[names].word[o % 8]) ==
			    s->keys[at + look - 1])
			lo = look;
		else
			hi = look - 1;
		look = lo + DIV_UP(hi - lo, 2);
	}
	return lo;
}

/* From a known depth on, stretch by stretch: the deepest block known in
 * [lo, hi), and where it is. Returns the blocks known; *hit is left alone when
 * lo is the answer. */
static uint32_t follow(struct search *s, uint32_t lo, uint32_t hi,
		       struct hit *hit)
{
	const struct fleet *f = s->r->f;

	while (lo < hi) {
		uint64_t h = fleet_hash(f, s->keys[lo]);
		const struct fleet_head *head;
		uint32_t len, got;
		struct hit next;

		fleet_prefetch(f, h);
		fleet_prefetch_other(f, h);
		if (!probe_proved(f, h, s->keys[lo], &next))
			break;
		head = fleet_head(f, next.at.line);
		len = fleet_shape_len(shared_load32_acquire(&head->shape));
		got = len > next.at.off ? MIN(len - next.at.off, hi - lo) : 1;
		got = same_names(s, head, next.at.off, lo, got);
		if (!same_version(head, next.version)) {
			s->broken = true;
			break;
		}
		lo += got;
		next.at.off += got - 1;
		*hit = next;
	}
	return lo;
}

/* Leading known blocks of n, as far as probes tell: at the ends of stretches,
 * all at once, and then within the one that the prompt leaves. */
static uint32_t search(struct search *s, uint32_t n, struct hit *hit)
{
	uint32_t lo = 0, hi = n, got;

	hit->at.line = 0;
	/* [0, lo) is known, [hi, ...) is not */
	do {
		uint32_t from = lo + FLEET_SPAN - 1;

		if (from >= n)
			break;
		got = probe_row(s, from, n - 1);
		lo += got * FLEET_SPAN;
		if (got < LOOK_BATCH)
			hi = MIN(n, lo + FLEET_SPAN - 1);
	} while (got == LOOK_BATCH);
	return follow(s, lo, hi, hit);
}

/* ---- the path ------------------------------------------------------------------------ */

enum walked {
	WALKED,	 /* up to the root */
	BROKEN,	 /* the writer came between */
	FLOATING /* its parent is not known, or it is no chain: see *ret_known */
};

/* From the deepest block up. */
static enum walked walk(struct fleet_reader *r, struct hit hit, uint32_t known,
			uint32_t *ret_known)
{
	const struct fleet *f = r->f;
	uint32_t line = hit.at.line, off = hit.at.off, end = known;
	uint32_t version = hit.version, parent, shape, more;

	r->n_steps = 0;
	for (;;) {
		const struct fleet_head *head = fleet_head(f, line);

		*ret_known = 0;
		if (off + 1 > end)
			return FLOATING;
		end -= off + 1;
		r->step[r->n_steps++] = (struct fleet_step){ .line = line,
							     .version = version,
							     .base = end,
							     .n = off + 1 };
		shape = shared_load32(&head->shape);
		parent = shared_load32(&head->parent);
		more = shared_load32(&head->more);
		if (more && more < f->lines)
			__builtin_prefetch(&f->line[more]);
		if (!same_version(head, version))
			return BROKEN;
		if (!parent) {
			*ret_known = end;
			return fleet_shape_rooted(shape) && !end ? WALKED
								 : FLOATING;
		}
		/* The parent outlives this stretch, which lives if its version
		 * is still the same afterwards. */
		if (!load_version(fleet_head(f, parent), &version) ||
		    !same_version(head, r->step[r->n_steps - 1].version))
			return BROKEN;
		off = fleet_shape_from(shape);
		line = parent;
	}
}

/* Finds the path of the longest known beginning. False: the writer came
 * between. Without a path n_steps is 0. */
static bool find_path(struct search *s, uint32_t *ret_known)
{
	struct fleet_reader *r = s->r;
	uint32_t n = s->n, known;
	struct hit hit;

	r->n_steps = 0;
	*ret_known = 0;
	s->broken = false;
	while ((known = search(s, n, &hit))) {
		enum walked w;

		if (s->broken)
			return false;
		if (!hit.at.line &&
		    !probe_proved(r->f, fleet_hash(r->f, s->keys[known - 1]),
				  s->keys[known - 1], &hit)) {
			/* a tag lied, or it left meanwhile */
			s->proved = true;
			n = known - 1;
			continue;
		}
		w = walk(r, hit, known, &n);
		if (w == WALKED)
			*ret_known = known;
		if (w == BROKEN)
			return false;
		if (w == WALKED)
			return true;
		/* what floats does not count: look above it */
	}
	r->n_steps = 0;
	return !s->broken;
}

/* ---- the answer ------------------------------------------------------------------------- */

static void begin(struct fleet_reader *r)
{
	const struct fleet *f = r->f;
	uint32_t words = f->stride / 64;

	memset(r->seen, 0, words * sizeof(*r->seen));
	memset(r->alive, 0, (size_t)words * f->tiers * sizeof(*r->alive));
	memset(r->dead, 0, (size_t)words * f->tiers * sizeof(*r->dead));
}

static uint32_t collect(struct fleet_reader *r)
{
	const struct fleet *f = r->f;
	uint32_t n = 0;

	for (uint32_t w = 0; w < f->stride / 64; w++) {
		for (uint64_t set = r->seen[w]; set; set &= set - 1) {
			uint32_t e = w * 64 + (uint32_t)__builtin_ctzll(set);
			const uint32_t *length = fleet_length(r, e);
			struct fleet_hit *hit = &r->hits[n];

			if (!length[f->tiers - 1])
				continue;
			hit->engine = e;
			for (uint32_t t = 0; t < FLEET_TIERS_MAX; t++)
				hit->blocks[t] = length[MIN(t, f->tiers - 1)];
			n++;
		}
	}
	return n;
}

void fleet_look(struct fleet_reader *r, const uint64_t *keys, uint32_t n,
		struct fleet_found *ret_found)
{
	struct search s = { .r = r, .keys = keys, .n = MIN(n, r->blocks) };
	uint32_t tries = 0;
	bool done = false, last = false;

	*ret_found = (struct fleet_found){ .hits = r->hits };
	while (!done && !last) {
		last = ++tries == LOOK_TRIES;
		s.proved = false;
		begin(r);
		done = find_path(&s, &ret_found->known);
		if (!done)
			continue;
		done = r->f->plain ? fleet_judge_plain(r, last)
				   : fleet_judge_joint(r, last);
	}
	ret_found->tries = tries;
	ret_found->cut = !done;
	ret_found->n_hits = collect(r);
}

/* ---- life --------------------------------------------------------------------------------- */

void fleet_reader_destroy(struct fleet_reader *r)
{
	if (!r)
		return;
	free(r->step);
	free(r->whole);
	free(r->some);
	free(r->alive);
	free(r->seen);
	free(r->length);
	free(r->hits);
	free(r->row);
	free(r->bits);
	free(r->dead);
	free(r);
}

int fleet_reader_create(const struct fleet *f, uint32_t blocks,
			struct fleet_reader **ret_reader)
{
	struct fleet_reader *r = mem_alloc(sizeof(*r));
	uint32_t sets = f->stride / 64;

	if (!r)
		return -ENOMEM;
	r->f = f;
	r->blocks = blocks;
	r->step = mem_array(blocks, sizeof(*r->step));
	r->whole = mem_array(f->words, sizeof(*r->whole));
	r->some = mem_array(f->holders, sizeof(*r->some));
	r->alive = mem_array((size_t)sets * f->tiers, sizeof(*r->alive));
	r->dead = mem_array((size_t)sets * f->tiers, sizeof(*r->dead));
	r->seen = mem_array(sets, sizeof(*r->seen));
	r->length = mem_array(f->stride, FLEET_TIERS_MAX * sizeof(*r->length));
	r->hits = mem_array(f->stride, sizeof(*r->hits));
	if (!f->plain) {
		r->row = mem_array(f->holders, sizeof(*r->row));
		r->bits = mem_array(f->holders, sizeof(*r->bits));
	}
	if (!r->step || !r->whole || !r->some || !r->alive || !r->dead ||
	    !r->seen || !r->length || !r->hits ||
	    (!f->plain && (!r->row || !r->bits))) {
		fleet_reader_destroy(r);
		return -ENOMEM;
	}
	*ret_reader = r;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "torture_trial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/fault.h"

/* A version of the key in hand. "There" is what is certain: from the earliest
 * end of a look that saw it to the latest begin of one. */
struct filling {
	const struct trial_record *seal;
	uint64_t version;
	uint64_t begin, end; /* of its seal */
	uint64_t there_from, there_to;
	bool acked, refused, seen, kept;
};

struct trial {
	struct trial_record *record;
	size_t n, cap;
	uint64_t wrong[TRIAL_WRONGS];
	void (*told)(void *ctx, enum trial_wrong what,
		     const struct trial_record *record);
	void *ctx;
	/* of the key in hand */
	struct filling *filling;
	size_t n_fillings, fillings_cap;
	const struct trial_record **removal; /* by begin */
	uint64_t *ends_after;  /* least end of removals from i on */
	uint64_t *ends_before; /* greatest end of removals up to i */
	size_t n_removals, removals_cap;
};

const char *const trial_wrong_names[TRIAL_WRONGS] = {
	[TRIAL_ORIGIN] = "a version that nobody had sealed",
	[TRIAL_REMOVED] = "a version that had been removed",
	[TRIAL_TWICE] = "two versions at the same time",
	[TRIAL_LOST] = "a sealed block is gone",
};

int trial_create(void (*told)(void *ctx, enum trial_wrong what,
			      const struct trial_record *record),
		 void *ctx, struct trial **ret_trial)
{
	struct trial *h = mem_alloc(sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->told = told;
	h->ctx = ctx;
	*ret_trial = h;
	return 0;
}

void trial_destroy(struct trial *h)
{
	if (!h)
		return;
	free(h->record);
	free(h->filling);
	free(h->removal);
	free(h->ends_after);
	free(h->ends_before);
	free(h);
}

int trial_add(struct trial *h, const struct trial_record *r, size_t n)
{
	if (h->n + n > h->cap) {
		size_t cap = MAX(2 * h->cap, h->n + n + 1024);
		struct trial_record *grown =
			mem_grow(h->record, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		h->record = grown;
		h->cap = cap;
	}
	if (n)
		memcpy(&h->record[h->n], r, n * sizeof(*r));
	h->n += n;
	return 0;
}

size_t trial_kept(const struct trial *h)
{
	return h->n;
}

static void wrong(struct trial *h, enum trial_wrong what,
		  const struct trial_record *r)
{
	h->wrong[what]++;
	if (h->told)
		h->told(h->ctx, what, r);
}

/* ---- order ------------------------------------------------------------------- */

static int by_key(const void *x, const void *y)
{
	const struct trial_record *a = x, *b = y;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return (a->begin_ns > b->begin_ns) - (a->begin_ns < b->begin_ns);
}

static int by_version(const void *x, const void *y)
{
	const struct filling *a = x, *b = y;

	return (a->version > b->version) - (a->version < b->version);
}

static int by_there(const void *x, const void *y)
{
	const struct filling *a = *(struct filling *const *)x;
	const struct filling *b = *(struct filling *const *)y;

	return (a->there_from > b->there_from) -
	       (a->there_from < b->there_from);
}

static struct filling *find(const struct trial *h, uint64_t version)
{
	const struct filling key = { .version = version };

	return h->n_fillings ? bsearch(&key, h->filling, h->n_fillings,
				       sizeof(key), by_version)
			     : NULL;
}

/* ---- one key's fillings and removals --------------------------------------------- */

static int room(struct trial *h, size_t n)
{
	struct filling *f;
	const struct trial_record **r;
	uint64_t *after, *before;

	if (n <= h->fillings_cap)
		return 0;
	n *= 2;
	f = mem_grow(h->filling, n, sizeof(*f));
	h->filling = f ? f : h->filling;
	r = mem_grow(h->removal, n, sizeof(*r));
	h->removal = r ? r : h->removal;
	after = mem_grow(h->ends_after, n, sizeof(*after));
	h->ends_after = after ? after : h->ends_after;
	before = mem_grow(h->ends_before, n, sizeof(*before));
	h->ends_before = before ? before : h->ends_before;
	if (!f || !r || !after || !before)
		return -ENOMEM;
	h->fillings_cap = n;
	return 0;
}

static void take_seal(struct trial *h, const struct trial_record *r)
{
	h->filling[h->n_fillings++] = (struct filling){
		.seal = r,
		.version = r->version,
		.begin = r->begin_ns,
		.end = r->end_ns,
		.acked = r->result == TRIAL_DONE,
		.refused = r->result == TRIAL_REFUSED,
		.there_from = UINT64_MAX,
	};
}

/* Removals that did not happen are none. */
static void take_removals(struct trial *h)
{
	uint64_t least = UINT64_MAX, most = 0;

	for (size_t i = h->n_removals; i-- > 0;) {
		if (h->removal[i]->result == TRIAL_DONE)
			least = MIN(least, h->removal[i]->end_ns);
		h->ends_after[i] = least;
	}
	for (size_t i = 0; i < h->n_removals; i++) {
		most = MAX(most, h->removal[i]->end_ns);
		h->ends_before[i] = most;
	}
}

static int gather(struct trial *h, const struct trial_record *r, size_t n)
{
	if (room(h, n) < 0)
		return -ENOMEM;
	h->n_fillings = 0;
	h->n_removals = 0;
	for (size_t i = 0; i < n; i++) {
		if (r[i].op == TRIAL_SEAL || r[i].op == TRIAL_REPLACE)
			take_seal(h, &r[i]);
		if (r[i].op == TRIAL_REMOVE ||
		    (r[i].op == TRIAL_REPLACE && r[i].result != TRIAL_REFUSED))
			h->removal[h->n_removals++] = &r[i];
	}
	take_removals(h);
	if (h->n_fillings)
		qsort(h->filling, h->n_fillings, sizeof(*h->filling),
		      by_version);
	return 0;
}

/* The first removal that began after t. */
static size_t removals_after(const struct trial *h, uint64_t t)
{
	size_t low = 0, high = h->n_removals;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (h->removal[mid]->begin_ns > t)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* When it was certainly gone by a removal: UINT64_MAX: never. */
static uint64_t removed_by(const struct trial *h, const struct filling *f)
{
	size_t i = removals_after(h, f->end);

	return i < h->n_removals ? h->ends_after[i] : UINT64_MAX;
}

/* Can a removal have taken what was sealed by f, before t? */
static bool removal_between(const struct trial *h, const struct filling *f,
			    uint64_t t)
{
	size_t i = removals_after(h, t);

	if (f->seal->op != TRIAL_REPLACE)
		return i > 0 && h->ends_before[i - 1] > f->begin;
	/* what it replaced is not itself */
	while (i-- > 0)
		if (h->removal[i] != f->seal &&
		    h->removal[i]->end_ns > f->begin)
			return true;
	return false;
}

/* ---- judgement --------------------------------------------------------------------- */

static void judge_read(struct trial *h, const struct trial_record *r)
{
	struct filling *f = find(h, r->version);

	if (!f || f->refused || f->begin > r->end_ns) {
		wrong(h, TRIAL_ORIGIN, r);
		return;
	}
	if (removed_by(h, f) < r->begin_ns)
		wrong(h, TRIAL_REMOVED, r);
	f->seen = true;
	f->there_from = MIN(f->there_from, r->end_ns);
	f->there_to = MAX(f->there_to, r->begin_ns);
}

/* Something is there: of whom? */
static void judge_presence(struct trial *h, const struct trial_record *r)
{
	enum trial_wrong what = TRIAL_ORIGIN;

	for (size_t i = h->n_fillings; i-- > 0;) {
		const struct filling *f = &h->filling[i];

		if (f->refused || f->begin > r->end_ns)
			continue;
		what = TRIAL_REMOVED;
		if (removed_by(h, f) >= r->begin_ns)
			return;
	}
	wrong(h, what, r);
}

/* Any of those that were acknowledged before must have been removed. */
static void judge_miss(struct trial *h, const struct trial_record *r)
{
	const struct filling *last = NULL;

	for (size_t i = 0; i < h->n_fillings; i++) {
		const struct filling *f = &h->filling[i];

		if (f->acked && f->end < r->begin_ns &&
		    (!last || f->begin > last->begin))
			last = f;
	}
	if (last && !removal_between(h, last, r->end_ns))
		wrong(h, TRIAL_LOST, r);
}

static void judge_record(struct trial *h, const struct trial_record *r)
{
	if (r->op != TRIAL_READ && r->op != TRIAL_LOOK)
		return;
	if (r->result == TRIAL_MISSED && r->calm)
		judge_miss(h, r);
	else if (r->result == TRIAL_DONE && r->op == TRIAL_READ)
		judge_read(h, r);
	else if (r->result == TRIAL_DONE)
		judge_presence(h, r);
}

/* A seal of another while this one was there; two that were there at once. */
static int judge_pairs(struct trial *h)
{
	struct filling **seen = mem_array(h->n_fillings + 1, sizeof(*seen));
	size_t n = 0;

	if (!seen)
		return -ENOMEM;
	for (size_t i = 0; i < h->n_fillings; i++) {
		struct filling *f = &h->filling[i];

		if (f->seen && f->there_from < f->there_to)
			seen[n++] = f;
	}
	qsort(seen, n, sizeof(struct filling *), by_there);
	for (size_t i = 1; i < n; i++)
		if (seen[i]->there_from < seen[i - 1]->there_to)
			wrong(h, TRIAL_TWICE, seen[i]->seal);
	for (size_t i = 0; i < h->n_fillings; i++) {
		const struct filling *f = &h->filling[i];

		for (size_t j = 0; f->acked && j < n; j++)
			if (seen[j] != f && seen[j]->there_from < f->begin &&
			    f->end < seen[j]->there_to)
				wrong(h, TRIAL_TWICE, f->seal);
	}
	free(seen);
	return 0;
}

/* ---- what the next round can still see -------------------------------------------- */

/* The last one that was certainly sealed: what had been sealed before it began
 * is gone, because the first seal wins. */
static uint64_t last_begin(const struct trial *h)
{
	uint64_t begin = 0;

	for (size_t i = 0; i < h->n_fillings; i++)
		if (h->filling[i].acked || h->filling[i].seen)
			begin = MAX(begin, h->filling[i].begin);
	return begin;
}

/* Keeps the seals that may still be seen, and removals that may explain why
 * they are not. Moves them to `to`; returns how many. */
static bool is_kept(const struct trial *h, const struct trial_record *removal)
{
	const struct filling *f =
		removal->op == TRIAL_REPLACE ? find(h, removal->version) : NULL;

	return f && f->kept;
}

static size_t keep(struct trial *h, struct trial_record *to)
{
	uint64_t last = last_begin(h), first = UINT64_MAX;
	size_t n = 0;

	for (size_t i = 0; i < h->n_fillings; i++) {
		struct filling *f = &h->filling[i];

		if (f->refused || f->end < last ||
		    removed_by(h, f) != UINT64_MAX)
			continue;
		first = MIN(first, f->begin);
		f->kept = true;
		to[n++] = *f->seal;
	}
	for (size_t i = 0; i < h->n_removals; i++) {
		if (!n || h->removal[i]->end_ns <= first ||
		    is_kept(h, h->removal[i]))
			continue;
		to[n] = *h->removal[i];
		to[n++].op = TRIAL_REMOVE; /* what it sealed is gone */
	}
	return n;
}

static int judge_key(struct trial *h, const struct trial_record *r, size_t n,
		     struct trial_record *to, size_t *ret_kept)
{
	int e = gather(h, r, n);

	for (size_t i = 0; i < n && e == 0; i++)
		judge_record(h, &r[i]);
	if (e == 0)
		e = judge_pairs(h);
	if (e == 0)
		*ret_kept = keep(h, to);
	return e;
}

int trial_round(struct trial *h, uint64_t end_ns,
		uint64_t ret_wrong[TRIAL_WRONGS])
{
	struct trial_record *kept = mem_array(h->n + 1, sizeof(*kept));
	size_t n_kept = 0, some;
	int e = kept ? 0 : -ENOMEM;

	for (size_t i = 0; i < h->n; i++)
		if (h->record[i].end_ns > end_ns)
			h->record[i].end_ns = end_ns;
	if (h->n)
		qsort(h->record, h->n, sizeof(*h->record), by_key);
	for (size_t at = 0, next; at < h->n && e == 0; at = next) {
		for (next = at;
		     next < h->n && h->record[next].key == h->record[at].key;)
			next++;
		e = judge_key(h, &h->record[at], next - at, &kept[n_kept],
			      &some);
		n_kept += e == 0 ? some : 0;
	}
	if (e == 0 && n_kept)
		memcpy(h->record, kept, n_kept * sizeof(*kept));
	if (e == 0)
		h->n = n_kept;
	free(kept);
	memcpy(ret_wrong, h->wrong, sizeof(h->wrong));
	return e;
}

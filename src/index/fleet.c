/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer: events become blocks, chains and holders.
 *
 * Events are taken in windows of some 128 names. Every line of memory that a
 * window will touch is asked for first: buckets, then the heads that they name,
 * then the names in those; the window's events then find them in the cache.
 */
#include "index/fleet_internal.h"
#include <errno.h>

#define WINDOW_KEYS   128u
#define WINDOW_SLICES 128u
#define WINDOW_ALL    (WINDOW_KEYS + WINDOW_SLICES)
#define TRIES_ROOM    64u /* stretches that may leave for one block */

/* Of the arena for lines and table together; measured: names and heads take as
 * much as the table at a load of 0.9 where branches have some 60 blocks. */
#define TABLE_PERCENT 50u

uint64_t fleet_key(uint64_t low, uint64_t ns)
{
	return fleet_mix(low ^ fleet_mix(ns + 0x9e3779b97f4a7c15ull));
}

/* ---- making ---------------------------------------------------------------------- */

static int check_options(const struct fleet_options *o, struct fleet *f)
{
	uint64_t holders;

	if (o->size != sizeof(*o) || !o->engines ||
	    o->engines > FLEET_HOLDERS_MAX || o->tiers > FLEET_TIERS_MAX ||
	    o->n_groups > MATCH_GROUPS_MAX)
		return -EINVAL;
	f->engines = o->engines;
	f->stride = (uint32_t)ALIGN_UP(o->engines, 64);
	f->tiers = MAX(o->tiers, 1u);
	f->n_groups = MAX(o->n_groups, 1u);
	f->seed = fleet_mix(o->seed);
	memcpy(f->groups, o->groups, sizeof(f->groups));
	if (!o->n_groups)
		f->groups[0] = (struct match_group){ .rule = MATCH_FULL };
	for (uint32_t g = 0; g < f->n_groups; g++)
		if (f->groups[g].rule > MATCH_STATE ||
		    (f->groups[g].rule == MATCH_WINDOW && !f->groups[g].window))
			return -EINVAL;
	holders = (uint64_t)f->stride * f->tiers * f->n_groups;
	if (holders > FLEET_HOLDERS_MAX)
		return -EINVAL;
	f->holders = (uint32_t)holders;
	f->words = f->holders / 64;
	f->plain = f->n_groups == 1 && f->groups[0].rule == MATCH_FULL;
	return 0;
}

/* Cuts the memory into its parts. */
static int lay_out(struct fleet *f, uint64_t bytes)
{
	char *base = (char *)f;
	uint64_t at = ALIGN_UP(sizeof(*f), 64), left, table;

	f->bytes = bytes;
	f->pairs = (uint64_t *)(void *)(base + at);
	at += ALIGN_UP(f->holders * sizeof(*f->pairs), 64);
	f->head_map = (uint64_t *)(void *)(base + at);
	at += ALIGN_UP(bytes / 64 / 8 + 8, 64);
	if (bytes < at + FLEET_BYTES_MIN / 2)
		return -EINVAL;
	left = bytes - at;
	table = left / 100 * TABLE_PERCENT / 65;
	f->bucket = (struct fleet_bucket *)(void *)(base + at);
	f->buckets = table;
	f->room = table * FLEET_WAYS / 100 * 95;
	f->line = (struct fleet_line *)(void *)(base + at + table * 64);
	f->lines = (uint32_t)MIN((left - table * 65) / 64, FLEET_LINES_MAX);
	f->strays = (uint8_t *)(f->line + f->lines);
	f->used = 1; /* line 0 is nowhere */
	return 0;
}

int fleet_init(void *mem, uint64_t bytes, const struct fleet_options *options,
	       struct fleet **ret_fleet)
{
	struct fleet *f = mem;
	int err;

	if (bytes < FLEET_BYTES_MIN || (uintptr_t)mem % 64)
		return -EINVAL;
	err = check_options(options, f);
	if (!err)
		err = lay_out(f, bytes);
	if (err)
		return err;
	*ret_fleet = f;
	return 0;
}

/* ---- room -------------------------------------------------------------------------- */

/* Others leave until there is room. */
static int append(struct fleet *f, uint32_t line, uint64_t h, uint64_t key)
{
	int err = fleet_stretch_append(f, line, h, key);

	for (unsigned i = 0; err && i < TRIES_ROOM && !fleet_forget(f); i++)
		err = fleet_stretch_append(f, line, h, key);
	return err;
}

static int create(struct fleet *f, struct fleet_at parent, bool rooted,
		  uint32_t *ret_line)
{
	int err = fleet_stretch_create(f, parent, rooted, ret_line);

	for (unsigned i = 0; err && i < TRIES_ROOM && !fleet_forget(f); i++)
		err = fleet_stretch_create(f, parent, rooted, ret_line);
	return err;
}

static void add(struct fleet *f, uint32_t line, uint32_t holder, uint64_t bits)
{
	int err = fleet_member_add(f, line, holder, bits);
	uint64_t n = (uint64_t)__builtin_popcountll(bits);

	for (unsigned i = 0; err && i < TRIES_ROOM && !fleet_forget(f); i++)
		err = fleet_member_add(f, line, holder, bits);
	if (!err)
		return;
	f->stat.refused += n;
	f->stat.forgotten += n;
}

/* ---- storing -------------------------------------------------------------------------- */

/* A store under way: blocks of one stretch are added to its holder at once. */
struct storing {
	struct fleet_at at; /* the block before; line 0: none */
	uint64_t bits;	    /* of at.line, not added yet */
	uint32_t holder;
	bool rooted; /* at nowhere: the next block is the first of all */
};

static void flush(struct fleet *f, struct storing *s)
{
	if (s->bits)
		add(f, s->at.line, s->holder, s->bits);
	s->bits = 0;
}

/* The stretch at hand: one that is left is trimmed of what it got in vain. */
static void go_to(struct fleet *f, struct storing *s, struct fleet_at at)
{
	uint32_t before = s->at.line;

	if (at.line != before) {
		f->next_pin = at.line;
		flush(f, s);
		f->pin = at.line;
		f->next_pin = 0;
		if (before)
			fleet_stretch_trim(f, before);
	}
	s->at = at;
}

static bool same(struct fleet_at a, struct fleet_at b)
{
	return a.line == b.line && a.off == b.off;
}

/* The root stretch above this one. */
static uint32_t top(const struct fleet *f, uint32_t line)
{
	uint32_t up;

	while ((up = shared_load32(&fleet_head(f, line)->parent)))
		line = up;
	return line;
}

/* May a known block stand after `s->at`? One whose parent was not known learns
 * it here. */
static bool follows(struct fleet *f, const struct storing *s,
		    struct fleet_at next)
{
	const struct fleet_head *head = fleet_head(f, next.line);
	uint32_t shape = shared_load32(&head->shape);
	uint32_t parent = shared_load32(&head->parent);

	if (next.off)
		return s->at.line == next.line && s->at.off + 1 == next.off;
	if (parent)
		return same(s->at, (struct fleet_at){
					   .line = parent,
					   .off = fleet_shape_from(shape) });
	if (fleet_shape_rooted(shape))
		return !s->at.line && s->rooted;
	/* of unknown parent */
	if (s->at.line &&
	    (top(f, s->at.line) == next.line ||
	     fleet_head(f, s->at.line)->children == FLEET_CHILDREN_MAX))
		return false;
	fleet_stretch_adopt(f, next.line, s->at, s->rooted && !s->at.line);
	return true;
}

/* A block that is not known comes after s->at: in its stretch when that ends
 * there and has room, else in a new one. */
static int extend(struct fleet *f, struct storing *s, uint64_t h, uint64_t key)
{
	struct fleet_at at = s->at;
	int err;

	if (at.line) {
		uint32_t shape = shared_load32(&fleet_head(f, at.line)->shape);

		if (at.off + 1 == fleet_shape_len(shape) &&
		    at.off + 1 < fleet_shape_cap(shape)) {
			err = append(f, at.line, h, key);
			s->at.off += !err;
			return err;
		}
	}
	flush(f, s);
	err = create(f, at, s->rooted && !at.line, &at.line);
	if (err)
		return err;
	at.off = 0;
	/* the parent has a child now and needs no pin */
	f->pin = at.line;
	s->at = at;
	err = append(f, at.line, h, key);
	if (!err)
		return 0;
	f->pin = 0;
	fleet_stretch_trim(f, at.line);
	s->at.line = 0;
	return err;
}

/* The block before the first: `at` a block that is known, or one that is made
 * known without a holder, of unknown parent. */
static int find_parent(struct fleet *f, struct storing *s, uint64_t key)
{
	uint64_t h = fleet_hash(f, key);
	struct fleet_at at;

	if (fleet_find(f, h, key, &at)) {
		go_to(f, s, at);
		return 0;
	}
	f->stat.waiting++;
	return extend(f, s, h, key);
}

/* Is it the next one of the stretch? Then the table need not be asked. */
static bool is_next(const struct fleet *f, const struct storing *s,
		    uint64_t key)
{
	const struct fleet_head *head;

	if (!s->at.line)
		return false;
	head = fleet_head(f, s->at.line);
	return s->at.off + 1 < fleet_shape_len(shared_load32(&head->shape)) &&
	       fleet_name(f, head, s->at.off + 1) == key;
}

static int store_one(struct fleet *f, struct storing *s, uint64_t h,
		     uint64_t key)
{
	struct fleet_at next;
	int err;

	if (is_next(f, s, key)) {
		s->at.off++;
	} else if (fleet_find(f, h, key, &next)) {
		if (!follows(f, s, next))
			return -EEXIST;
		go_to(f, s, next);
	} else {
		err = extend(f, s, h, key);
		if (err)
			return err;
	}
	s->rooted = false;
	s->bits |= 1ull << s->at.off;
	return 0;
}

/* Names [from, to) of an event; the hashes of those. */
static int store(struct fleet *f, const struct fleet_event *e, uint32_t from,
		 uint32_t to, const uint64_t *h)
{
	struct storing s = {
		.holder = fleet_holder(f, e->engine, e->group, e->tier),
		.rooted = e->root && !from,
	};
	uint32_t i = from;
	int err = 0;

	if (!s.rooted)
		err = find_parent(f, &s, from ? e->keys[from - 1] : e->parent);
	for (; !err && i < to; i++)
		err = store_one(f, &s, h[i - from], e->keys[i]);
	flush(f, &s);
	f->pin = 0;
	if (s.at.line)
		fleet_stretch_trim(f, s.at.line);
	if (err == -EEXIST)
		f->stat.conflicts++;
	if (err == -ENOSPC) {
		uint32_t rest = e->n - (i > from ? i - 1 : from);

		f->stat.refused += rest;
		f->stat.forgotten += rest;
	}
	return err;
}

/* ---- removing ------------------------------------------------------------------------ */

static void remove_some(struct fleet *f, const struct fleet_event *e,
			uint32_t from, uint32_t to, const uint64_t *h)
{
	uint32_t holder = fleet_holder(f, e->engine, e->group, e->tier);

	for (uint32_t i = from; i < to; i++) {
		uint64_t forgotten = f->stat.forgotten;
		struct fleet_at at;

		if (!fleet_find(f, h[i - from], e->keys[i], &at) ||
		    !fleet_member_cut(f, at.line, holder, 1ull << at.off)) {
			f->stat.unknown++;
			continue;
		}
		f->stat.removed++;
		if (at.off + 1 == fleet_shape_len(shared_load32(
					  &fleet_head(f, at.line)->shape)) ||
		    f->stat.forgotten != forgotten)
			fleet_stretch_trim(f, at.line);
	}
}

void fleet_clear(struct fleet *f, uint32_t engine)
{
	if (engine >= f->engines) {
		f->stat.invalid++;
		return;
	}
	for (uint32_t line = 1; line < f->used; line++) {
		uint64_t gone;

		if (!(f->head_map[line / 64] >> line % 64)) {
			line |= 63;
			continue;
		}
		if (!(f->head_map[line / 64] >> line % 64 & 1) ||
		    !fleet_head(f, line)->live)
			continue;
		gone = fleet_member_clear(f, line, engine);
		f->stat.removed += gone;
		if (gone)
			fleet_stretch_trim(f, line);
	}
}

/* ---- windows -------------------------------------------------------------------------- */

struct slice {
	const struct fleet_event *e;
	uint32_t from, to;
	uint32_t h; /* its first hash */
};

struct window {
	uint32_t n_slices, n_keys;
	struct slice slice[WINDOW_SLICES];
	uint64_t hash[WINDOW_ALL];
};

static bool valid(const struct fleet *f, const struct fleet_event *e)
{
	return e->engine < f->engines && e->group < f->n_groups &&
	       e->tier < f->tiers &&
	       (e->kind == FLEET_STORE || e->kind == FLEET_REMOVE);
}

static void window_key(const struct fleet *f, struct window *w, uint64_t key)
{
	uint64_t h = fleet_hash(f, key);

	w->hash[w->n_keys++] = h;
	fleet_prefetch(f, h);
	__builtin_prefetch(&f->strays[fleet_bucket_a(f, h)]);
}

/* Adds names of the event from `from` on; returns where the slice ends. */
static uint32_t window_add(struct fleet *f, struct window *w,
			   const struct fleet_event *e, uint32_t from)
{
	uint32_t to = from + MIN(e->n - from, WINDOW_KEYS - w->n_keys);
	struct slice *s = &w->slice[w->n_slices++];

	*s = (struct slice){ .e = e, .from = from, .to = to, .h = w->n_keys };
	for (uint32_t i = from; i < to; i++)
		window_key(f, w, e->keys[i]);
	if (e->kind == FLEET_STORE && !e->root && !from)
		window_key(f, w, e->parent);
	return to;
}

/* The first block in a bucket that the tag fits, unproved. */
static struct fleet_at guess(const struct fleet_bucket *b, uint64_t h)
{
	unsigned fits = fleet_fits(b, fleet_tag(h));

	return fits ? fleet_entry_at(
			      shared_load64(&b->entry[__builtin_ctz(fits)]))
		    : (struct fleet_at){ 0 };
}

static void window_fetch(const struct fleet *f, const struct window *w)
{
	struct fleet_at at[WINDOW_ALL];

	for (uint32_t i = 0; i < w->n_keys; i++) {
		uint64_t a = fleet_bucket_a(f, w->hash[i]);
		const struct fleet_bucket *b = &f->bucket[a];

		at[i] = guess(b, w->hash[i]);
		if (at[i].line)
			__builtin_prefetch(&f->line[at[i].line]);
		else if (f->strays[a] ||
			 shared_load64(&b->entry[FLEET_WAYS - 1]))
			fleet_prefetch_other(f, w->hash[i]);
	}
	for (uint32_t i = 0; i < w->n_keys; i++) {
		uint64_t a = fleet_bucket_a(f, w->hash[i]);

		if (at[i].line || !f->strays[a])
			continue;
		at[i] = guess(&f->bucket[fleet_bucket_other(
				      f, a, fleet_tag(w->hash[i]))],
			      w->hash[i]);
		__builtin_prefetch(&f->line[at[i].line]);
	}
	for (uint32_t i = 0; i < w->n_keys; i++) {
		uint32_t names;

		if (!at[i].line)
			continue;
		names = shared_load32(
			&fleet_head(f, at[i].line)->names[at[i].off / 8]);
		__builtin_prefetch(&f->line[names]);
	}
}

/* An event that is given up takes the rest of its slices with it. */
static void window_run(struct fleet *f, struct window *w,
		       const struct fleet_event **failed)
{
	window_fetch(f, w);
	for (uint32_t i = 0; i < w->n_slices; i++) {
		const struct slice *s = &w->slice[i];

		if (s->e == *failed)
			continue;
		if (s->e->kind == FLEET_REMOVE)
			remove_some(f, s->e, s->from, s->to, w->hash + s->h);
		else if (store(f, s->e, s->from, s->to, w->hash + s->h))
			*failed = s->e;
	}
	w->n_slices = 0;
	w->n_keys = 0;
}

void fleet_apply(struct fleet *f, const struct fleet_event *events, size_t n)
{
	const struct fleet_event *failed = NULL;
	struct window w = { .n_slices = 0 };

	for (size_t i = 0; i < n; i++) {
		uint32_t from = 0;

		if (!valid(f, &events[i])) {
			f->stat.invalid++;
			continue;
		}
		while (from < events[i].n) {
			from = window_add(f, &w, &events[i], from);
			if (w.n_keys >= WINDOW_KEYS ||
			    w.n_slices == WINDOW_SLICES)
				window_run(f, &w, &failed);
			if (failed == &events[i])
				break;
		}
	}
	window_run(f, &w, &failed);
}

/* ---- telling ---------------------------------------------------------------------------- */

void fleet_stat(const struct fleet *f, struct fleet_stat *ret_stat)
{
	*ret_stat = f->stat;
	ret_stat->bytes = f->bytes;
	ret_stat->bytes_used =
		(uint64_t)((const char *)&f->line[f->used] - (const char *)f);
}

uint64_t fleet_pairs(const struct fleet *f, uint32_t engine, uint32_t tier)
{
	uint64_t n = 0;

	for (uint32_t g = 0;
	     engine < f->engines && tier < f->tiers && g < f->n_groups; g++)
		n += f->pairs[fleet_holder(f, engine, g, tier)];
	return n;
}

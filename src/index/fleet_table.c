/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name -> where the block lies. Two buckets of eight ways for each name; the
 * first one is used while it has room, so that most look-ups end in one line.
 *
 * `strays` counts what lies in second buckets, for the writer alone: a block that
 * is new, the common case of a store, then costs one line.
 *
 * Every change is one store, or a row of moves, each of which writes the new
 * place before it clears the old one. A reader looks in a, b, and a again: an
 * entry that was moved from b to a between the first two is found by the third.
 */
#include "index/fleet_internal.h"
#include <errno.h>

#define MOVES_MAX 192
#define MOVE_ROOT UINT16_MAX

struct move {
	uint64_t from, to; /* buckets */
	uint16_t parent;   /* the move that makes its place in `from` */
	uint8_t way;	   /* in `from` */
};

struct search {
	struct fleet *f;
	unsigned n;
	struct move move[MOVES_MAX];
};

static shared_u64 *place(const struct fleet *f, uint64_t bucket, unsigned way)
{
	return &f->bucket[bucket].entry[way];
}

/* The way that holds this entry (0: a free one), or FLEET_WAYS. */
static unsigned find_way(const struct fleet *f, uint64_t bucket, uint64_t entry)
{
	unsigned way = 0;

	while (way < FLEET_WAYS &&
	       shared_load64(place(f, bucket, way)) != entry)
		way++;
	return way;
}

/* Release: what the entry names is there. Pairs with probe_tag(). */
static void put(struct fleet *f, uint64_t bucket, unsigned way, uint64_t entry)
{
	shared_store64_release(place(f, bucket, way), entry);
}

/* By one more or less; `a` is the entry's first bucket. */
static void stray(struct fleet *f, uint64_t a, int more)
{
	if (f->strays[a] < UINT8_MAX)
		f->strays[a] = (uint8_t)(f->strays[a] + more);
}

bool fleet_find(const struct fleet *f, uint64_t h, uint64_t key,
		struct fleet_at *ret_at)
{
	uint64_t tag = fleet_tag(h), bucket = fleet_bucket_a(f, h);

	bool strays = f->strays[bucket];

	for (unsigned turn = 0; turn < 1u + strays; turn++) {
		unsigned fits = fleet_fits(&f->bucket[bucket], tag);

		for (; fits; fits &= fits - 1) {
			unsigned way = (unsigned)__builtin_ctz(fits);
			uint64_t e = shared_load64(place(f, bucket, way));
			struct fleet_at at = fleet_entry_at(e);

			if (!e || fleet_name(f, fleet_head(f, at.line),
					     at.off) != key)
				continue;
			*ret_at = at;
			return true;
		}
		bucket = fleet_bucket_other(f, bucket, tag);
	}
	return false;
}

static void put_first_or_second(struct fleet *f, uint64_t a, uint64_t bucket,
				unsigned way, uint64_t entry)
{
	if (bucket != a)
		stray(f, a, 1);
	put(f, bucket, way, bucket != a ? entry | FLEET_SECOND : entry);
}

/* Queues the entries of a full bucket for a move into their other buckets. */
static void expand(struct search *s, uint64_t bucket, unsigned parent)
{
	for (unsigned way = 0; way < FLEET_WAYS && s->n < MOVES_MAX; way++) {
		uint64_t e = shared_load64(place(s->f, bucket, way));
		uint64_t to =
			fleet_bucket_other(s->f, bucket, fleet_entry_tag(e));

		if (to == bucket)
			continue;
		__builtin_prefetch(&s->f->bucket[to]);
		s->move[s->n++] = (struct move){
			.from = bucket,
			.to = to,
			.parent = (uint16_t)parent,
			.way = (uint8_t)way,
		};
	}
}

/* Would a path through this bucket enter it twice? */
static bool on_path(const struct search *s, unsigned at, uint64_t bucket)
{
	for (; at != MOVE_ROOT; at = s->move[at].parent)
		if (s->move[at].from == bucket)
			return true;
	return false;
}

/* Moves along the path, its end first; the root's place is free afterwards. */
static void move_path(struct search *s, unsigned at, unsigned free_way,
		      uint64_t *ret_bucket, unsigned *ret_way)
{
	for (;;) {
		const struct move *m = &s->move[at];
		uint64_t e = shared_load64(place(s->f, m->from, m->way));

		stray(s->f, e & FLEET_SECOND ? m->to : m->from,
		      e & FLEET_SECOND ? -1 : 1);
		put(s->f, m->to, free_way, e ^ FLEET_SECOND);
		put(s->f, m->from, m->way, 0);
		free_way = m->way;
		if (m->parent == MOVE_ROOT) {
			*ret_bucket = m->from;
			*ret_way = m->way;
			return;
		}
		at = m->parent;
	}
}

/* Out of line for its stack. */
static NOINLINE int insert_full(struct fleet *f, uint64_t a, uint64_t b,
				uint64_t entry)
{
	struct search s;
	uint64_t bucket;
	unsigned way;

	s.f = f;
	s.n = 0;
	expand(&s, a, MOVE_ROOT);
	if (b != a)
		expand(&s, b, MOVE_ROOT);
	for (unsigned at = 0; at < s.n; at++) {
		uint64_t to = s.move[at].to;

		way = find_way(f, to, 0);
		if (way < FLEET_WAYS) {
			move_path(&s, at, way, &bucket, &way);
			put_first_or_second(f, a, bucket, way, entry);
			return 0;
		}
		if (!on_path(&s, at, to))
			expand(&s, to, at);
	}
	return -ENOSPC;
}

int fleet_table_insert(struct fleet *f, uint64_t h, struct fleet_at at)
{
	uint64_t tag = fleet_tag(h), a = fleet_bucket_a(f, h), bucket = a;
	uint64_t entry = fleet_entry(tag, at);
	unsigned way = find_way(f, a, 0);

	if (f->stat.blocks >= f->room)
		return -ENOSPC;
	if (way == FLEET_WAYS) {
		bucket = fleet_bucket_other(f, a, tag);
		way = find_way(f, bucket, 0);
		if (way == FLEET_WAYS)
			return insert_full(f, a, bucket, entry);
	}
	put_first_or_second(f, a, bucket, way, entry);
	return 0;
}

void fleet_table_remove(struct fleet *f, uint64_t h, struct fleet_at at)
{
	uint64_t tag = fleet_tag(h), a = fleet_bucket_a(f, h), b;
	uint64_t entry = fleet_entry(tag, at);
	unsigned way = find_way(f, a, entry);

	if (way < FLEET_WAYS) {
		put(f, a, way, 0);
		return;
	}
	b = fleet_bucket_other(f, a, tag);
	way = find_way(f, b, entry | FLEET_SECOND);
	if (way == FLEET_WAYS)
		return;
	put(f, b, way, 0);
	stray(f, a, -1);
}

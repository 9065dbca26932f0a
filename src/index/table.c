/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writer's side of the index; readers are inline in the header.
 *
 * Every change is one atomic store of a whole word, or a row of them in an
 * order that leaves after each a table in which every other entry is found:
 *   insert   (moves, each: new place, then old place) then the new word
 *   remove   the word becomes 0
 *   replace  the word becomes the other
 * A writer that dies between the two stores of a move leaves the entry in both
 * of its buckets. That is harmless to readers; table_remove() clears both.
 *
 * The search for room is breadth-first, so that the path of moves is the
 * shortest, over a fixed number of nodes on the stack: bounded time, no
 * allocation. Moves are made from the free end of the path backwards.
 */
#include "index/table.h"
#include "base/hash.h"
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <errno.h>

#define SEARCH_NODES 512
#define SEARCH_ROOT  UINT16_MAX

/* One entry that could be moved into its other bucket, `to`. */
struct search_node {
	uint64_t to;
	uint64_t from;
	uint16_t parent; /* the node whose `to` is our `from` */
	uint8_t way;	 /* in `from` */
};

struct search {
	struct table *t;
	table_home home;
	void *ctx;
	unsigned n;
	struct search_node node[SEARCH_NODES];
};

struct table_hash table_hash(const uint64_t key[4], uint64_t part)
{
	/* hash_bytes() without two calls: this is on the path of every hit */
	return (struct table_hash){ XXH3_64bits_withSeed(key, HASH_KEY_BYTES,
							 part) };
}

uint64_t table_bytes(uint64_t entries)
{
	uint64_t slots = entries + entries / 7 * 3 + 3; /* over 0.7 */

	return sizeof(struct table_header) +
	       round_up_pow2(DIV_UP(slots, TABLE_WAYS)) *
		       sizeof(struct table_bucket);
}

uint64_t table_room(const struct table *t)
{
	return (t->mask + 1) * TABLE_WAYS / 10 * 7;
}

/* Buckets of a segment of this size; 0 when it is not a table's size: exact,
 * or filled up to whole pages, as segments are. */
static uint64_t buckets_of(uint64_t bytes)
{
	uint64_t n, exact;

	if (bytes < sizeof(struct table_header))
		return 0;
	n = round_down_pow2((bytes - sizeof(struct table_header)) /
			    sizeof(struct table_bucket));
	exact = sizeof(struct table_header) + n * sizeof(struct table_bucket);
	return bytes == exact || bytes == ALIGN_UP(exact, PAGE_BYTES) ? n : 0;
}

static struct table view(void *mem, uint64_t buckets)
{
	struct table_header *header = mem;

	return (struct table){
		.header = header,
		.bucket = (struct table_bucket *)(void *)(header + 1),
		.mask = buckets - 1,
	};
}

int table_init(struct table *ret_table, void *mem, uint64_t bytes)
{
	uint64_t n = buckets_of(bytes);

	if (!n)
		return -EINVAL;
	*ret_table = view(mem, n);
	shared_store64(&ret_table->header->buckets, n);
	/* Last: pairs with the acquire load in table_attach(). */
	shared_store64_release(&ret_table->header->magic, TABLE_MAGIC);
	return 0;
}

int table_attach(struct table *ret_table, void *mem, uint64_t bytes)
{
	const struct table_header *header = mem;
	uint64_t n = buckets_of(bytes);

	if (!n)
		return -EPROTO;
	/* Pairs with table_init(). */
	if (shared_load64_acquire(&header->magic) != TABLE_MAGIC)
		return -EPROTO;
	/* Read once: the size that was mapped counts, not what it says. */
	if (shared_load64(&header->buckets) != n)
		return -EPROTO;
	*ret_table = view(mem, n);
	return 0;
}

int table_place(struct table *ret_table, void *mem, uint64_t bytes)
{
	uint64_t n = buckets_of(bytes);

	if (!n)
		return -EPROTO;
	*ret_table = view(mem, n);
	return 0;
}

static shared_u64 *place(const struct table *t, uint64_t bucket, unsigned way)
{
	return &t->bucket[bucket].entry[way];
}

/* The writer's own loads: nobody else stores here. */
static uint64_t peek(const struct table *t, uint64_t bucket, unsigned way)
{
	return shared_load64(place(t, bucket, way));
}

/* Pairs with the acquire load in table_probe(). */
static void put(struct table *t, uint64_t bucket, unsigned way, uint64_t word)
{
	shared_store64_release(place(t, bucket, way), word);
}

static unsigned count_free(const struct table *t, uint64_t bucket)
{
	unsigned n = 0;

	for (unsigned way = 0; way < TABLE_WAYS; way++)
		n += !peek(t, bucket, way);
	return n;
}

/* The way that holds exactly this word (0: a free one), or TABLE_WAYS. */
static unsigned find_way(const struct table *t, uint64_t bucket, uint64_t word)
{
	unsigned way = 0;

	while (way < TABLE_WAYS && peek(t, bucket, way) != word)
		way++;
	return way;
}

/* Makes the place of a node free by moving entries along the path, the last
 * one first: each entry is in its new place before it leaves the old one. */
static void move_path(struct search *s, unsigned at, unsigned free_way)
{
	for (;;) {
		const struct search_node *node = &s->node[at];
		uint64_t word = peek(s->t, node->from, node->way);

		put(s->t, node->to, free_way, word);
		put(s->t, node->from, node->way, 0);
		if (node->parent == SEARCH_ROOT)
			return;
		free_way = node->way;
		at = node->parent;
	}
}

/*
 * Looks at the entries of a full bucket. Positive: this way of the bucket can be
 * overwritten, plus 1 (its entry is stale). Otherwise the entries are queued
 * for a move into their other bucket, and 0 is returned.
 */
static unsigned expand(struct search *s, uint64_t bucket, unsigned parent)
{
	for (unsigned way = 0; way < TABLE_WAYS; way++) {
		uint64_t word = peek(s->t, bucket, way);
		struct table_hash h;
		uint64_t a, b;

		if (!s->home(s->ctx, word, &h))
			return way + 1;
		if (s->n == SEARCH_NODES)
			continue;
		a = table_bucket_a(s->t, h);
		b = table_bucket_b(s->t, h);
		/* Not this entry's: its frame was filled anew since. */
		if ((word ^ h.h) >> 48 || (a != bucket && b != bucket))
			return way + 1;
		if (a == b)
			continue;
		s->node[s->n++] = (struct search_node){
			.to = a == bucket ? b : a,
			.from = bucket,
			.parent = (uint16_t)parent,
			.way = (uint8_t)way,
		};
	}
	return 0;
}

/* Is this bucket the source of a node on the path to `at`? A path that enters
 * a bucket twice would move an entry that is no longer there. */
static bool on_path(const struct search *s, unsigned at, uint64_t bucket)
{
	for (; at != SEARCH_ROOT; at = s->node[at].parent)
		if (s->node[at].from == bucket)
			return true;
	return false;
}

/* One step of the search: true when the path through this node ended in a
 * free place and was moved. */
static bool try_node(struct search *s, unsigned at)
{
	uint64_t to = s->node[at].to;
	unsigned way = find_way(s->t, to, 0);

	if (way == TABLE_WAYS && !on_path(s, at, to)) {
		way = expand(s, to, at);
		if (!way)
			return false;
		way--;
	}
	if (way >= TABLE_WAYS)
		return false;
	move_path(s, at, way);
	return true;
}

/* Makes room in one of two full buckets. */
static int make_room(struct search *s, uint64_t a, uint64_t b,
		     uint64_t *ret_bucket, unsigned *ret_way)
{
	const uint64_t root[2] = { a, b };

	for (unsigned i = 0; i < (a == b ? 1u : 2u); i++) {
		unsigned stale = expand(s, root[i], SEARCH_ROOT);

		if (!stale)
			continue;
		*ret_bucket = root[i];
		*ret_way = stale - 1;
		return 0;
	}
	for (unsigned at = 0; at < s->n; at++) {
		unsigned top = at;

		if (!try_node(s, at))
			continue;
		while (s->node[top].parent != SEARCH_ROOT)
			top = s->node[top].parent;
		*ret_bucket = s->node[top].from;
		*ret_way = s->node[top].way;
		return 0;
	}
	return -ENOSPC;
}

/* Out of line for its stack. */
static NOINLINE int insert_full(struct table *t, struct table_hash h,
				uint64_t word, table_home home, void *ctx)
{
	struct search s;
	uint64_t bucket;
	unsigned way;
	int err;

	s.t = t;
	s.home = home;
	s.ctx = ctx;
	s.n = 0;
	err = make_room(&s, table_bucket_a(t, h), table_bucket_b(t, h), &bucket,
			&way);
	if (!err)
		put(t, bucket, way, word);
	return err;
}

int table_insert(struct table *t, struct table_hash h, uint64_t word,
		 table_home home, void *ctx)
{
	uint64_t bucket = table_bucket_a(t, h);

	/* the first bucket while it has room: a reader then finds all but a
	 * few entries with one miss of its cache; the emptier of both would
	 * balance better and cost every second reader another */
	if (!count_free(t, bucket))
		bucket = table_bucket_b(t, h);
	if (unlikely(!count_free(t, bucket)))
		return insert_full(t, h, word, home, ctx);
	put(t, bucket, find_way(t, bucket, 0), word);
	return 0;
}

/* Every copy: a writer that died in the middle of a move leaves two, and a
 * later move may bring them into one bucket. */
static bool swap_in(struct table *t, uint64_t bucket, uint64_t from,
		    uint64_t to)
{
	bool found = false;

	for (unsigned way = 0; way < TABLE_WAYS; way++) {
		if (peek(t, bucket, way) != from)
			continue;
		put(t, bucket, way, found ? 0 : to);
		found = true;
	}
	return found;
}

static bool swap_word(struct table *t, struct table_hash h, uint64_t from,
		      uint64_t to)
{
	uint64_t a = table_bucket_a(t, h), b = table_bucket_b(t, h);
	bool in_a = swap_in(t, a, from, to);
	bool in_b = b != a && swap_in(t, b, from, in_a ? 0 : to);

	return in_a || in_b;
}

bool table_remove(struct table *t, struct table_hash h, uint64_t word)
{
	return word && swap_word(t, h, word, 0);
}

bool table_replace(struct table *t, struct table_hash h, uint64_t from,
		   uint64_t to)
{
	return from && swap_word(t, h, from, to);
}

void table_each(const struct table *t,
		void (*fn)(void *ctx, uint64_t bucket, uint64_t word),
		void *ctx)
{
	for (uint64_t bucket = 0; bucket <= t->mask; bucket++) {
		for (unsigned way = 0; way < TABLE_WAYS; way++) {
			uint64_t word = peek(t, bucket, way);

			if (word)
				fn(ctx, bucket, word);
		}
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: part of a block -> location of its frame. One writer (the
 * server), any number of readers in other processes, no locks.
 *
 * Layout of a table segment (version in shm/layout.h):
 *
 *   struct table_header (one line), then `buckets` buckets of 64 bytes:
 *   +-------+-------+-- 8 entries, one atomic word each --+-------+
 *   | e0    | e1    | ...                                 | e7    |
 *   +-------+-------+--------------------------------------+------+
 *   entry: tag:16 | gen:8 | slab:20 | frame:20      0 = empty
 *
 * Two-choice, eight ways: an entry lies in one of the two buckets that its
 * hash names. An entry is a hint: readers check it against the frame's
 * descriptor (key, generation, state), so a torn, late or stale entry reads as
 * a miss, never as wrong data. Moving an entry between its two buckets writes
 * the new place first; a reader between may miss it once.
 *
 * Growth makes a new, larger segment; the old one keeps its last content and
 * is no longer written. Readers notice by the pool's epoch.
 */
#ifndef ONECOPY_INDEX_TABLE_H
#define ONECOPY_INDEX_TABLE_H

#include "base/shared.h"

#define TABLE_WAYS  8
#define TABLE_MAGIC 0x3158444e49434f31ull

struct table_bucket {
	shared_u64 entry[TABLE_WAYS];
};
_Static_assert(sizeof(struct table_bucket) == 64, "one line");

struct table_header {
	shared_u64 magic;
	shared_u64 buckets; /* a power of two */
	shared_u64 reserved[6];
};
_Static_assert(sizeof(struct table_header) == 64, "one line");

/* A view of a mapped segment; pointers are this process's. Copied freely. */
struct table {
	struct table_header *header;
	struct table_bucket *bucket;
	uint64_t mask; /* buckets - 1 */
};

struct table_hash {
	uint64_t h;
};

/* Hash of (key, part); part as in coherence/frame.h (namespace id included).
 * A namespace may not choose its place: the hash is seeded with `part`. */
struct table_hash table_hash(const uint64_t key[4], uint64_t part);

/* Bytes of a segment with room for `entries` at 70 % load. */
uint64_t table_bytes(uint64_t entries);
/* Entries at which the segment should be replaced by a larger one. */
uint64_t table_room(const struct table *t);

/* Writer: format zeroed memory. -EINVAL when bytes is not a table's size,
 * exact or rounded up to whole pages. */
int table_init(struct table *ret_table, void *mem, uint64_t bytes);
/* Reader or new writer: check the header against the mapped size. -EPROTO. */
int table_attach(struct table *ret_table, void *mem, uint64_t bytes);
/* The same of what may be no table (yet): nothing is read. -EPROTO: no table's size. */
int table_place(struct table *ret_table, void *mem, uint64_t bytes);

static inline uint64_t table_word(struct table_hash h, uint64_t gen,
				  uint64_t loc)
{
	return (h.h >> 48) << 48 | (gen & 0xff) << 40 | loc;
}
static inline uint64_t table_word_loc(uint64_t word)
{
	return word & ((1ull << 40) - 1);
}
static inline uint8_t table_word_gen(uint64_t word)
{
	return (uint8_t)(word >> 40);
}

/* The two buckets of a hash (they differ when there are two or more): a from
 * the low bits, b by an odd step from the bits above, so never a itself. The
 * tag (top 16 bits) takes no part while there are fewer than 2^24 buckets. */
static inline uint64_t table_bucket_a(const struct table *t,
				      struct table_hash h)
{
	return h.h & t->mask;
}
static inline uint64_t table_bucket_b(const struct table *t,
				      struct table_hash h)
{
	return (h.h ^ (h.h >> 24 | 1)) & t->mask;
}

static inline void table_prefetch(const struct table *t, struct table_hash h)
{
	__builtin_prefetch(&t->bucket[table_bucket_a(t, h)]);
}

/* One bit for each way of the bucket whose tag fits. Without branches: where an
 * entry lies cannot be foretold, and a wrong guess costs more than eight
 * compares. Empty ways fit a tag of 0; table_probe() passes over them. */
static inline unsigned table_fits(const struct table_bucket *bucket,
				  struct table_hash h)
{
	unsigned fits = 0;

#pragma GCC unroll 8
	for (unsigned way = 0; way < TABLE_WAYS; way++) {
		uint64_t word = shared_load64(&bucket->entry[way]);

		fits |= (unsigned)((word ^ h.h) >> 48 == 0) << way;
	}
	return fits;
}

/*
 * Reader: candidate words whose tag fits, one at a time. Start with
 * cursor = 0; returns 0 when there are no more. Acquire load: pairs with the
 * writer's release store in put(). While a writer moves entries the
 * same word may come twice or not at all.
 */
static inline uint64_t table_probe(const struct table *t, struct table_hash h,
				   unsigned *cursor)
{
	unsigned at = *cursor;

	while (at < 2 * TABLE_WAYS) {
		const struct table_bucket *bucket =
			&t->bucket[at < TABLE_WAYS ? table_bucket_a(t, h)
						   : table_bucket_b(t, h)];
		unsigned fits = table_fits(bucket, h) >> at % TABLE_WAYS;
		uint64_t word;

		if (!fits) {
			at = (at / TABLE_WAYS + 1) * TABLE_WAYS;
			continue;
		}
		at += (unsigned)__builtin_ctz(fits);
		word = shared_load64_acquire(&bucket->entry[at++ % TABLE_WAYS]);
		/* It may have changed since it fitted. */
		if ((word ^ h.h) >> 48 == 0 && word) {
			*cursor = at;
			return word;
		}
	}
	*cursor = at;
	return 0;
}

/* Writer. 0; -ENOSPC when both buckets are full and moving entries for some
 * steps made no room (the caller grows). `home` gives the hash of the entry
 * behind a location, for moving it (from its descriptor); entries for which it
 * returns false are stale and are overwritten. */
typedef bool (*table_home)(void *ctx, uint64_t word, struct table_hash *ret_h);
int table_insert(struct table *t, struct table_hash h, uint64_t word,
		 table_home home, void *ctx);
/* Writer: clear exactly this word. False when it is not there. (A word that a
 * crash in the middle of a move left in both buckets goes from both.) */
bool table_remove(struct table *t, struct table_hash h, uint64_t word);
/* Writer: replace `from` by `to` in place (one store). */
bool table_replace(struct table *t, struct table_hash h, uint64_t from,
		   uint64_t to);

/* All words, for checks and rebuilds. */
void table_each(const struct table *t,
		void (*fn)(void *ctx, uint64_t bucket, uint64_t word),
		void *ctx);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fleet index from the inside. Memory, in this order:
 *
 *   struct fleet | pairs of each holder | kind of each line, 1 bit | table | lines
 *   | entries of each bucket that lie in their other one, 1 byte
 *
 * table   buckets of 8 words; entry = tag:26 | second:1 | line:31 | offset:6,
 *         0 = empty; second: it lies in its bucket b.
 *         Cuckoo, two buckets: a from the hash, b from a and the tag alone, so
 *         that entries move without a look at their names.
 * lines   of 64 bytes. A head is one stretch: up to 48 blocks of one chain, so
 *         that depths 48 k .. 48 k + 47 of a chain end in one stretch. A line
 *         that was a head once is never anything else, so that its version word
 *         counts on for ever; others are names (8 blocks), members or rows.
 *
 * A holder's part of a stretch is either a member word, bits:48 | holder:16,
 * in the head or in a member line, or one bit in a row, which stands for all
 * blocks of a full stretch. Never both, while the version is even.
 *
 * Invariants: a parent outlives its children; the last block of a stretch has a
 * holder or a child or is pinned by the writer; no member word has 0 bits.
 *
 * Concurrency: all words that readers read are atomic. The writer makes the
 * head's version odd around what is not one store (see fleet_open/shut).
 * Fields marked W are the writer's alone.
 */
#ifndef ONECOPY_INDEX_FLEET_INTERNAL_H
#define ONECOPY_INDEX_FLEET_INTERNAL_H

#include "base/shared.h"
#include "index/fleet.h"

#define FLEET_SPAN	   48u /* blocks of a stretch */
#define FLEET_WAYS	   8u
#define FLEET_TAGBITS	   26u
#define FLEET_INLINE	   2u
#define FLEET_MORE	   7u		     /* words of a member line or row */
#define FLEET_ROW	   (FLEET_MORE * 64) /* holders of a row */
#define FLEET_CHILDREN_MAX 0xffffffu

struct fleet_head {
	shared_u32 version; /* odd: being rebuilt */
	shared_u32 parent;  /* its head's line; 0: none (see rooted) */
	shared_u32 shape;   /* fleet_shape() */
	shared_u32 more;    /* first line of members or rows; 0: none */
	shared_u32 names[FLEET_SPAN / 8];
	/* A reader that is late may read these as a word of what the line was
	 * before: they are stored by fleet_set(). */
	_Atomic uint32_t children; /* W */
	/* W 1 + highest offset that a child had; 0: none */
	_Atomic uint8_t forks;
	_Atomic uint8_t recent; /* W written to since the clock passed */
	/* W 0: in the list of free heads, next in `parent` */
	_Atomic uint8_t live;
	uint8_t spare;
	shared_u64 word[FLEET_INLINE];
};
_Static_assert(sizeof(struct fleet_head) == 64, "one line");

#define fleet_set(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)

struct fleet_more {
	shared_u32 next;
	shared_u32 row; /* 0: member words; else a row's number plus 1 */
	shared_u64 word[FLEET_MORE];
};
_Static_assert(sizeof(struct fleet_more) == 64, "one line");

struct fleet_line {
	shared_u64 word[8];
};
_Static_assert(sizeof(struct fleet_line) == 64, "one line");

struct fleet_bucket {
	shared_u64 entry[FLEET_WAYS];
};

struct fleet {
	/* constant */
	uint64_t bytes;
	uint64_t seed;
	uint64_t buckets;
	uint64_t room; /* entries: 0.95 of the ways, where moves are still few */
	struct fleet_bucket *bucket;
	struct fleet_line *line;
	/* W of each bucket: entries whose bucket a it is and that lie in b, so
	 * that b need not be looked at where there are none; at 255 for good */
	uint8_t *strays;
	uint64_t *head_map; /* W 1: the line is a head */
	uint64_t *pairs;    /* W of each holder */
	uint32_t lines;
	uint32_t engines, stride; /* stride: engines of one (tier, group) */
	uint32_t tiers, n_groups;
	uint32_t holders, words; /* words: of a set of holders */
	bool plain;		 /* one FULL group */
	struct match_group groups[MATCH_GROUPS_MAX];
	/* the writer's */
	uint32_t used;	     /* lines that were ever taken */
	uint32_t free_lines; /* first free line; next in its first word */
	uint32_t free_heads;
	uint32_t hand; /* of the clock */
	/* the stretches at hand: neither trimmed nor forgotten */
	uint32_t pin, next_pin;
	struct fleet_stat stat;
};

/* Where a block lies. line 0: nowhere. */
struct fleet_at {
	uint32_t line;
	uint32_t off;
};

/* ---- hashes ---------------------------------------------------------------- */

/* MurmurHash3's finaliser (public domain): one to one. */
static inline uint64_t fleet_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

static inline uint64_t fleet_scale(uint64_t x, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)x * n) >> 64);
}

static inline uint64_t fleet_hash(const struct fleet *f, uint64_t key)
{
	return fleet_mix(key ^ f->seed);
}

static inline uint64_t fleet_tag(uint64_t h)
{
	return h & ((1u << FLEET_TAGBITS) - 1);
}

static inline uint64_t fleet_bucket_a(const struct fleet *f, uint64_t h)
{
	return fleet_scale(h, f->buckets);
}

/* The other bucket of an entry: an involution for each tag. */
static inline uint64_t fleet_bucket_other(const struct fleet *f, uint64_t b,
					  uint64_t tag)
{
	uint64_t sum = fleet_scale(tag * 0x9e3779b97f4a7c15ull, f->buckets);

	return sum >= b ? sum - b : sum + f->buckets - b;
}

static inline uint64_t fleet_entry(uint64_t tag, struct fleet_at at)
{
	return tag << 38 | (uint64_t)at.line << 6 | at.off;
}

static inline uint64_t fleet_entry_tag(uint64_t entry)
{
	return entry >> 38;
}

#define FLEET_SECOND	(1ull << 37)
#define FLEET_LINES_MAX 0x7fffffffu

static inline struct fleet_at fleet_entry_at(uint64_t entry)
{
	return (struct fleet_at){ .line = (uint32_t)(entry >> 6) &
					  FLEET_LINES_MAX,
				  .off = (uint32_t)entry & 63 };
}

/* One bit for each way whose tag fits; empty ways fit a tag of 0. */
static inline unsigned fleet_fits(const struct fleet_bucket *b, uint64_t tag)
{
	unsigned fits = 0;

#pragma GCC unroll 8
	for (unsigned way = 0; way < FLEET_WAYS; way++)
		fits |= (unsigned)(shared_load64(&b->entry[way]) >> 38 == tag)
			<< way;
	return fits;
}

/* The first bucket alone: the other one is asked for where that was no help. */
static inline void fleet_prefetch(const struct fleet *f, uint64_t h)
{
	__builtin_prefetch(&f->bucket[fleet_bucket_a(f, h)]);
}
static inline void fleet_prefetch_other(const struct fleet *f, uint64_t h)
{
	__builtin_prefetch(&f->bucket[fleet_bucket_other(
		f, fleet_bucket_a(f, h), fleet_tag(h))]);
}

/* ---- stretches --------------------------------------------------------------- */

static inline struct fleet_head *fleet_head(const struct fleet *f,
					    uint32_t line)
{
	return (struct fleet_head *)(void *)&f->line[line];
}

static inline struct fleet_more *fleet_more(const struct fleet *f,
					    uint32_t line)
{
	return (struct fleet_more *)(void *)&f->line[line];
}

/* len: blocks; cap: the most there can be; from: the parent block's offset. */
static inline uint32_t fleet_shape(uint32_t len, uint32_t cap, uint32_t from,
				   bool rooted)
{
	return len | cap << 8 | from << 16 | (uint32_t)rooted << 24;
}
static inline uint32_t fleet_shape_len(uint32_t shape)
{
	return shape & 63;
}
static inline uint32_t fleet_shape_cap(uint32_t shape)
{
	return shape >> 8 & 63;
}
static inline uint32_t fleet_shape_from(uint32_t shape)
{
	return shape >> 16 & 63;
}
static inline bool fleet_shape_rooted(uint32_t shape)
{
	return shape >> 24 & 1;
}

static inline uint64_t fleet_mask(uint32_t n)
{
	return (1ull << n) - 1;
}

static inline uint64_t fleet_word_bits(uint64_t word)
{
	return word & fleet_mask(FLEET_SPAN);
}
static inline uint32_t fleet_word_holder(uint64_t word)
{
	return (uint32_t)(word >> FLEET_SPAN);
}
static inline uint64_t fleet_word(uint32_t holder, uint64_t bits)
{
	return (uint64_t)holder << FLEET_SPAN | bits;
}

static inline uint32_t fleet_holder(const struct fleet *f, uint32_t engine,
				    uint32_t group, uint32_t tier)
{
	return (tier * f->n_groups + group) * f->stride + engine;
}

/* The writer's own loads: nobody else stores. */
static inline uint64_t fleet_name(const struct fleet *f,
				  const struct fleet_head *head, uint32_t off)
{
	uint32_t line = shared_load32(&head->names[off / 8]);

	return shared_load64(&f->line[line].word[off % 8]);
}

/*
 * Around what is not one store. A reader that loads an even version (acquire),
 * then words, then after an acquire fence the same version, has loaded words of
 * one state: the odd version is stored before the release fence, and so before
 * any word of the change; the even one with release after them.
 */
static inline void fleet_open(struct fleet_head *head)
{
	shared_store32(&head->version, shared_load32(&head->version) + 1);
	atomic_thread_fence(memory_order_release);
}
static inline void fleet_shut(struct fleet_head *head)
{
	shared_store32_release(&head->version,
			       shared_load32(&head->version) + 1);
}

/* ---- fleet_table.c ----------------------------------------------------------- */

/* Writer. False when the name is not known. */
bool fleet_find(const struct fleet *f, uint64_t h, uint64_t key,
		struct fleet_at *ret_at);
/* -ENOSPC: full. */
int fleet_table_insert(struct fleet *f, uint64_t h, struct fleet_at at);
void fleet_table_remove(struct fleet *f, uint64_t h, struct fleet_at at);

/* ---- fleet_stretch.c ---------------------------------------------------------- */

/* A new stretch after `parent` (line 0: after nothing known). -ENOSPC. */
int fleet_stretch_create(struct fleet *f, struct fleet_at parent, bool rooted,
			 uint32_t *ret_line);
/* Appends a block to a stretch that is not full. -ENOSPC. */
int fleet_stretch_append(struct fleet *f, uint32_t line, uint64_t h,
			 uint64_t key);
/* Drops blocks at the end that nobody needs, and the stretch when it is empty,
 * and then its parent's. */
void fleet_stretch_trim(struct fleet *f, uint32_t line);
/* Lets the stretch that was written to least recently leave, of those without
 * children. -ENOSPC: there is none. */
int fleet_forget(struct fleet *f);
/* A stretch of unknown parent turns out to be after `parent`, or the first. */
void fleet_stretch_adopt(struct fleet *f, uint32_t line, struct fleet_at parent,
			 bool rooted);

/* Any line but a head, zeroed. -ENOSPC. */
int fleet_line_take(struct fleet *f, uint32_t *ret_line);
void fleet_line_give(struct fleet *f, uint32_t line);

/* ---- fleet_member.c ----------------------------------------------------------- */

/* Adds bits; counts. -ENOSPC: nothing was added. */
int fleet_member_add(struct fleet *f, uint32_t line, uint32_t holder,
		     uint64_t bits);
/* Takes bits away; returns those that were there. */
uint64_t fleet_member_cut(struct fleet *f, uint32_t line, uint32_t holder,
			  uint64_t bits);
/* Bits that any holder has. */
uint64_t fleet_member_any(const struct fleet *f, uint32_t line);
/* Every holder's bits go; returns the number of pairs. */
uint64_t fleet_member_drop(struct fleet *f, uint32_t line);
/* The bits of one engine go, in all groups and tiers; number of pairs. */
uint64_t fleet_member_clear(struct fleet *f, uint32_t line, uint32_t engine);
/* Calls fn for each holder of the stretch. */
void fleet_member_each(const struct fleet *f, uint32_t line,
		       void (*fn)(void *ctx, uint32_t holder, uint64_t bits),
		       void *ctx);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fleet index: which engine holds which block in which tier, for chains of
 * blocks; what a router asks before it places a request. Pure: it lives in
 * memory that the caller gives, and asks for no more.
 *
 * Words. A holder is (engine, group, tier). A block is named by 64 bits: what
 * engines send, or the low 64 bits of a key, mixed with the namespace where one
 * index serves several (fleet_key). A block's name determines its ancestors, as
 * a chained hash does; a store names the block before its first. The depth of a
 * block is the number of its ancestors.
 *
 * What exact means. An answer is what a table of (block, holder) pairs would
 * give, with these bounds:
 *   - names are 64 bits: the probability that any two of N different blocks
 *     have one name is below N^2 / 2^65 (10 million: 3 in a million); that an
 *     absent block is taken for one of N, below N / 2^64 for each look-up of it;
 *   - a block counts when the chain from the root to it is known. A block stored
 *     after an unknown one is kept, and counts once the gap is told;
 *   - what was forgotten for want of memory (below) is not there;
 *   - while the writer works, a pair is reported only if it was stored at some
 *     moment during the look-up: one removed before that began is never
 *     reported. One that is there throughout may be missed while its entry or
 *     its stretch is rebuilt, which shortens an answer and never lengthens it.
 *
 * Memory is a hard budget. When a block finds no room, stretches (up to 48
 * blocks of one chain) that nothing follows and that were not written to for
 * longest leave, by a clock. Each pair lost is counted in `forgotten`: at any
 * moment at most that many pairs are missing from answers, nothing is ever
 * added. A block costs 8 bytes of name, 64/48 of its stretch's head, 8 / 0.9 of
 * the table, and less than 8 lines of 64 bytes at the end of a branch; a holder
 * 8 bytes for each stretch, or a bit where there are many.
 *
 * Time. A store or removal touches three or four lines of memory for a block,
 * which fleet_apply() asks for ahead; a look-up of n blocks 2 n / 48 + 30
 * lines, in five rounds; fleet_clear() every stretch.
 *
 * One writer thread; any number of readers beside it, each with a reader of its
 * own, without locks (docs/design/fleet-index.md). Nothing is written by
 * readers into the index.
 */
#ifndef ONECOPY_INDEX_FLEET_H
#define ONECOPY_INDEX_FLEET_H

#include "base/compiler.h"
#include "index/match.h"

struct fleet;
struct fleet_reader;

#define FLEET_TIERS_MAX	  4
#define FLEET_HOLDERS_MAX 65536u
#define FLEET_BYTES_MIN	  (1ull << 14)

struct fleet_options {
	size_t size;	  /* of this struct */
	uint32_t engines; /* 1 .. ; ids are 0 .. engines - 1 */
	uint32_t tiers;	  /* fastest first; 0: 1 */
	/* KV groups and their hit rules; 0: one FULL group. engines, rounded up
	 * to 64, times groups times tiers is at most FLEET_HOLDERS_MAX. */
	uint32_t n_groups;
	struct match_group groups[MATCH_GROUPS_MAX];
	/* A secret number where names may come from somebody who would crowd
	 * one bucket. */
	uint64_t seed;
};

/* A name for a key inside a namespace. One to one for each namespace. */
uint64_t fleet_key(uint64_t low, uint64_t ns);

/* Formats zeroed memory, aligned to 64 (better to 2 MiB, in huge pages); `mem`
 * is the index's until the caller gives up using it. There is nothing to undo.
 * -EINVAL: the options, or fewer than FLEET_BYTES_MIN bytes, or too few for
 * the holders. */
int fleet_init(void *mem, uint64_t bytes, const struct fleet_options *options,
	       struct fleet **ret_fleet);

/* ---- the writer -------------------------------------------------------------- */

enum fleet_kind { FLEET_STORE, FLEET_REMOVE };

/* One request of an engine, as its events tell it. `keys` is borrowed for the
 * call. STORE: keys are consecutive blocks, the first after `parent` or, with
 * `root`, the first of all. REMOVE: in any order; parent and root are ignored.
 * A holder may store a block in several tiers: each is removed apart. */
struct fleet_event {
	const uint64_t *keys;
	uint64_t parent;
	uint32_t n;
	uint32_t engine;
	uint8_t kind;
	uint8_t group;
	uint8_t tier;
	bool root;
};

/*
 * Applies events in order; when it returns, readers see them. What cannot be
 * applied is counted and passed over (struct fleet_stat): a block said to be
 * after another one than it was before (the rest of its event with it), an
 * engine, group, tier or kind that there is not.
 */
void fleet_apply(struct fleet *f, const struct fleet_event *events, size_t n);
/* Removes every block of an engine: it restarted, or lost its cache. */
void fleet_clear(struct fleet *f, uint32_t engine);

/* Read by the writer's thread. Pairs are (block, holder). */
struct fleet_stat {
	uint64_t bytes;	     /* the budget */
	uint64_t bytes_used; /* of it, in use or once in use; pages touched
				  are at most these and the table's */
	uint64_t blocks;     /* known, those without a holder included */
	uint64_t pairs;	     /* stored now */
	uint64_t stretches;
	uint64_t stored;    /* pairs that came, ever */
	uint64_t removed;   /* pairs that went on request or by a clear, ever */
	uint64_t again;	    /* stores of pairs that were there */
	uint64_t unknown;   /* removals of pairs that were not */
	uint64_t waiting;   /* stores after a block that was not known */
	uint64_t conflicts; /* events given up: the block has another parent */
	uint64_t invalid;   /* events given up: no such engine, tier, group */
	uint64_t forgotten; /* pairs that left for want of memory, ever */
	uint64_t refused;   /* pairs that found no room at all; in `forgotten`
				  as well */
};
void fleet_stat(const struct fleet *f, struct fleet_stat *ret_stat);
/* Pairs of an engine in a tier, all groups together. */
uint64_t fleet_pairs(const struct fleet *f, uint32_t engine, uint32_t tier);

/* Recounts everything. NULL, or what is wrong. For tests; no writer beside it. */
const char *fleet_check(const struct fleet *f);

/* ---- readers ----------------------------------------------------------------- */

/* Scratch for one thread's look-ups of up to `blocks` blocks. -ENOMEM. */
int fleet_reader_create(const struct fleet *f, uint32_t blocks,
			struct fleet_reader **ret_reader);
/* Takes NULL. */
void fleet_reader_destroy(struct fleet_reader *r);

/* blocks[t]: length of the longest usable prefix of the prompt on this engine,
 * when blocks of tiers 0 .. t count; by the joint hit rule of the groups
 * (match.h), with one FULL group the leading run. blocks[t] is at most
 * blocks[t + 1]; those of tiers that there are not equal the last. */
struct fleet_hit {
	uint32_t engine;
	uint32_t blocks[FLEET_TIERS_MAX];
};

struct fleet_found {
	const struct fleet_hit *hits; /* until the reader's next look-up */
	uint32_t n_hits;	      /* engines with a prefix, by id */
	uint32_t known;		      /* leading blocks that the index knows */
	uint32_t tries; /* 1, and more when the writer came between */
	bool cut;	/* the writer came between to the last: may be short */
};

/*
 * The resident prefix of every engine. `keys` is the prompt: a chain from its
 * first block; of a prompt longer than the reader the beginning is looked up.
 * Does not wait and does not fail.
 */
void fleet_look(struct fleet_reader *r, const uint64_t *keys, uint32_t n,
		struct fleet_found *ret_found);

#endif

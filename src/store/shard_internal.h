/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the node's share of a CXL region (store/shard*.c). */
#ifndef ONECOPY_STORE_SHARD_INTERNAL_H
#define ONECOPY_STORE_SHARD_INTERNAL_H

#include "store/internal.h"
#include "store/shard.h"

#define SHARD_FRESH 4096u /* parts sealed and not copied yet; a power of two */

struct shard_fresh {
	uint64_t loc, gen;
};

/* Another node, as it was seen last. */
struct shard_seen {
	uint64_t inc; /* 0: none has the slot */
	bool late;
	char name[REGION_NAME + 1];
};

struct shard {
	struct region *region; /* NULL: not, or no more */
	enum store_region_state state;
	char tenant[LAYOUT_NAME + 1];
	bool publish;
	uint32_t wanted;
	uint64_t word; /* pool_meta.cxl of the tenant's pool */
	uint64_t beat_ns, step_ns;
	uint64_t watch_ns;
	struct shard_seen *seen; /* [members]; shard_watch.c */
	bool watched;		 /* once */
	struct shard_fresh fresh[SHARD_FRESH];
	uint32_t first, n;
	uint64_t leaving; /* bytes copied in this turn of what leaves */
	/* All frames were pinned: to find that out again costs a look at all pins,
	 * so nothing is put there before the next beat. */
	bool full;
	/* over all frames, for what was not in `fresh` */
	bool sweeping, missed;
	uint32_t slab, frame;
};

/* ---- store/shard.c ---- */

/* The pool of the region's tenant; NULL: there is none, or no region (any more). */
struct pool *shard_pool(struct store *s);
/* REGION_STALE: this member was declared dead, or the region was made anew. Its part
 * there is over. */
void shard_fenced(struct store *s);

/* ---- store/shard_watch.c ---- */

/* Once a lease: what has become of the other nodes is logged, and clients that found no
 * slot are counted. */
void shard_watch(struct store *s);

#endif

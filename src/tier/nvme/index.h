/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the log has, in memory: one node for each part, found by its id through
 * linear hashing (a bucket is split whenever the load passes one node a bucket,
 * so no insertion ever moves more than one bucket). Nodes and buckets lie in
 * chunks that never move; about 100 bytes a part.
 *
 * A part that was removed keeps its node while its record is still on disk: DEAD
 * nodes are out of the hash and become the tombstone, so removing needs no
 * memory. One thread; find through `const` changes nothing.
 */
#ifndef ONECOPY_TIER_NVME_INDEX_H
#define ONECOPY_TIER_NVME_INDEX_H

#include "tier/tier.h"

#define NODE_NONE 0u

enum node_state {
	NODE_FREE,
	NODE_WRITING, /* its bytes or its commit page are on their way */
	NODE_LIVE,    /* can be read */
	NODE_DEAD,    /* removed; out of the hash */
};

enum node_flags {
	NODE_DOOMED = 1, /* removed while it was written */
	NODE_CARRY = 2,	 /* being written again elsewhere */
};

struct nvme_node {
	uint64_t key[4];
	uint64_t checksum; /* dead: sequence number of the killed entry's life */
	uint64_t extent;   /* dead: nothing */
	uint64_t gen;	   /* of this writing of the part; never used again */
	uint32_t space, part;
	uint32_t segment, unit; /* where it lies; dead: whose entry is killed */
	uint32_t depth;
	uint32_t chain;	     /* next in its bucket, or free node */
	uint32_t next, prev; /* in its segment's list */
	uint8_t state, flags;
	uint8_t uses; /* since it was written; stays at 255 */
	uint8_t reserved;
	uint32_t readers; /* reads and holds that stop its place's reuse */
};
_Static_assert(sizeof(struct nvme_node) == 96, "bytes of a part");

#define NVME_CHUNK	 4096u /* nodes, or buckets */
#define NVME_CHUNK_SHIFT 12

struct nvme_index {
	struct nvme_node **nodes;	 /* chunks */
	uint32_t **buckets;		 /* chunks */
	uint32_t node_chunks, node_room; /* made; pointers there is room for */
	uint32_t bucket_chunks, bucket_room;
	uint32_t made; /* nodes handed out so far, the first one unused */
	uint32_t free; /* chain of free nodes */
	uint32_t most; /* nodes at most */
	uint32_t level, split; /* linear hashing: 2^level + split buckets */
	uint32_t hashed;       /* nodes in the hash */
	uint64_t seed;
};

/* most: parts that the tier can ever have. -ENOMEM. */
int nvme_index_init(struct nvme_index *x, uint64_t most, uint64_t seed);
void nvme_index_fini(struct nvme_index *x); /* takes one that is all zero */

static inline struct nvme_node *nvme_node(const struct nvme_index *x,
					  uint32_t n)
{
	return &x->nodes[n >> NVME_CHUNK_SHIFT][n & (NVME_CHUNK - 1)];
}

static inline bool nvme_node_is(const struct nvme_node *d,
				const struct tier_id *id)
{
	return d->key[0] == id->key[0] && d->key[1] == id->key[1] &&
	       d->key[2] == id->key[2] && d->key[3] == id->key[3] &&
	       d->space == id->space && d->part == id->part;
}

static inline struct tier_id nvme_node_id(const struct nvme_node *d)
{
	return (struct tier_id){
		.key = { d->key[0], d->key[1], d->key[2], d->key[3] },
		.space = d->space,
		.part = d->part,
	};
}

/* The first node of this id, or the next one behind `after`; NODE_NONE. */
uint32_t nvme_index_find(const struct nvme_index *x, const struct tier_id *id);
uint32_t nvme_index_next(const struct nvme_index *x, const struct tier_id *id,
			 uint32_t after);
/* For many in a row, so that their cache misses overlap: the id's bucket first, a
 * few ids later its node. Changes nothing. */
void nvme_index_fetch_bucket(const struct nvme_index *x,
			     const struct tier_id *id);
void nvme_index_fetch_node(const struct nvme_index *x,
			   const struct tier_id *id);
/* An empty one: buckets for n nodes at once, as far as there is memory. */
void nvme_index_expect(struct nvme_index *x, uint64_t n);
/* A new node in the hash with this id, all else zero. -ENOMEM, -ENOSPC. */
int nvme_index_add(struct nvme_index *x, const struct tier_id *id,
		   uint32_t *ret_node);
/* Out of the hash; the node stays. */
void nvme_index_hide(struct nvme_index *x, uint32_t n);
/* Hidden already. */
void nvme_index_free(struct nvme_index *x, uint32_t n);

#endif

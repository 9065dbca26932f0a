/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool: one tenant's slabs and the metadata that describes them, as its one
 * writer, the server, sees them.
 *
 * What is true for ever (the segments, coherence/frame.h, shm/layout.h) lies in
 * shared memory that the keeper holds; what this process needs to work quickly
 * (free lists, arenas, recency order) is rebuilt from it by pool_attach().
 *
 *   item    a frame as a dense number, for arrays: slab.base + frame
 *   arena   frames that can replace each other: of one owner and one shape.
 *           Owner 0: slabs whose writer has ended; nothing is granted there.
 *           Owner CLIENT_SERVER: slabs that the server alone can write.
 *
 * pool/ knows how things change; when they should is store/'s business. One
 * thread. Nothing here waits.
 */
#ifndef ONECOPY_POOL_POOL_H
#define ONECOPY_POOL_POOL_H

#include "base/slices.h"
#include "coherence/frame.h"
#include "index/table.h"
#include "policy/policy.h"
#include "pool/hold.h"
#include "pool/range.h"
#include "pool/shape.h"
#include "shm/layout.h"
#include "shm/segment.h"

#define POOL_NO_ARENA UINT32_MAX
#define POOL_NO_ITEM  UINT32_MAX

/* The node's limit, shared by its pools. */
struct pool_budget {
	uint64_t limit; /* bytes of payload segments */
	uint64_t used;	/* made, being made, or retiring */
};

/* The rung below DRAM: memory that is further away (docs/design/cxl.md), the
 * node's, shared by its pools. All slabs there are the server's own. */
struct pool_low {
	struct pool_budget budget;
	struct segment_source source; /* its offset: a slab's own */
	struct range_set units;	      /* of a device: those that slabs have */
	/* of a device: units that have lost memory. They are given to no slab
	 * any more; those that no slab has count as used, and are `aside`. */
	uint32_t *bad;
	size_t n_bad, bad_cap;
	uint64_t aside; /* bytes */
};

struct pool_slab {
	uint32_t id, frames, base, arena;
	uint32_t writer_uid; /* shm/layout.h */
	uint64_t gen, owner;
	union { /* the same, under both names */
		struct pool_shape shape;
		struct {
			uint64_t frame_bytes;
			uint32_t stripes;
		};
	};
	struct segment payload; /* mapped lazily: base may be NULL */
	struct segment desc_segment;
	struct frame_desc *desc;
	uint32_t n_free, n_granted, n_sealed, n_doomed, n_quarantined;
	uint64_t touched_sum; /* of the sealed frames' stamps */
	bool retiring;
	bool registered; /* store/'s: unmapping() is told of its end */
	bool draining;	 /* nothing is granted here: it is being emptied */
	bool low;	 /* its memory is that of the rung below */
};

struct pool_arena {
	bool used;
	bool low; /* its slabs' memory */
	uint64_t owner;
	union {
		struct pool_shape shape;
		struct {
			uint64_t frame_bytes;
			uint32_t stripes;
		};
	};
	uint32_t free_head; /* item, POOL_NO_ITEM: none; linked by item_next */
	uint32_t last;	    /* item that was granted last, and not beside
			       another */
	uint32_t row;	    /* item at which the last row of its own began */
	uint32_t slabs;
	uint32_t making;    /* slabs asked for and not yet here */
	uint32_t evictions; /* since the last look at other arenas */
	/* store/'s: the slab that is retiring for it, and since when */
	uint32_t awaited, awaited_pool;
	uint64_t awaited_gen, awaited_ns;
	/* store/'s: no room was found in this pass over waiting grants; when
	 * and after how long to look again, if nothing changes */
	uint64_t vain_pass, vain_until_ns, vain_wait_ns;
	/* low: its frames whose parts are in DRAM as well, the oldest first */
	uint32_t twin_first, twin_last, twins;
	uint32_t credit; /* store/rung.c's */
};

/* A part may have two replicas in a pool: one in DRAM, which the index names and
 * which is in the order of eviction, and one on the rung below, its twin, which is
 * neither. Both are SEALED: who still pins the twin reads on. Rebuilt by attach:
 * of two sealed frames of one part the one in DRAM is the one that is found. */
struct pool_twin {
	uint32_t item;	     /* the other one; POOL_NO_ITEM: there is none */
	uint32_t prev, next; /* of the low one: among its arena's */
	uint64_t before;     /* stamp of the use before the last since it lies
				low; 0: it was not used there. store/rung.c's */
};

#define POOL_NS_KEPT 8u

struct pool {
	uint32_t number;
	struct pool_meta *m;
	struct segment meta_segment, index_segment;
	struct table table;
	struct pool_budget *budget;
	struct pool_low *low; /* NULL: there is none */
	uint64_t quota;	      /* bytes of slabs this pool may have */
	uint64_t share;	      /* of these guaranteed; the rest is borrowed */
	uint64_t claim_ns;    /* store/'s: it wants its share until then */
	uint64_t vain_ns;     /* store/'s: no waiting for lenders before */
	uint64_t slab_bytes;  /* 0: by pool/shape.h */
	unsigned segment_flags;
	struct pool_slab *slab[LAYOUT_SLABS_MAX];
	uint32_t slab_end; /* ids >= this are unused */
	struct range_set items;
	uint32_t items_cap;
	uint32_t *item_slab, *item_next, *item_prev;
	struct pool_twin *twin; /* by item; NULL: there is no rung below */
	struct pool_arena *arena;
	uint32_t n_arenas;
	const struct policy_ops *policy_ops;
	struct policy *policy;
	uint64_t touch_clock;
	uint64_t meta_bytes;
	uint64_t making_bytes; /* store/'s: of slabs on their way */
	uint64_t below_share;  /* store/'s: bytes in the tier below; 0: all */
	/* Payload that was registered is about to be unmapped. NULL: nobody
	 * wants to know. */
	void (*unmapping)(void *ctx, void *base, uint64_t bytes);
	void *unmapping_ctx;
	/* store/'s: namespaces that were looked at last, by id; a record never
	 * changes once it has one */
	struct pool_ns {
		uint32_t id; /* 0: none */
		struct ns_spec spec;
	} ns[POOL_NS_KEPT];
	/* sealed parts, by namespace - 1 and group */
	uint64_t parts[LAYOUT_NS_MAX][MATCH_GROUPS_MAX];
	const struct hold_ops *hold;
	struct pool_sessions *sessions; /* pool/session.h; NULL: none yet */
};

struct pool_options {
	uint32_t number;
	const char *tenant;
	struct pool_budget *budget;
	struct pool_low *low;
	uint64_t quota;
	uint64_t slab_bytes; /* 0: from the limit */
	unsigned segment_flags;
	const struct policy_ops *policy; /* NULL: LRU */
	const struct hold_ops *hold;
	uint64_t random; /* for the pool's id */
	uint64_t realtime_ms;
};

/* A new, empty pool. */
int pool_create(const struct pool_options *options, struct pool **ret_pool);
/* The pool that a predecessor left: takes its descriptors out of `given`,
 * checks and repairs. `alive(ctx, id)` says whether a client still lives.
 * -ENOENT: no such pool was given; -EPROTO: it is damaged or another build's. */
int pool_attach(const struct pool_options *options, struct hold_set *given,
		bool (*alive)(void *ctx, uint64_t client), void *ctx,
		struct pool **ret_pool);
/* Forgets this process's view; the keeper's descriptors stay. */
void pool_destroy(struct pool *p);

/* ---- counters (pool/pool.c) */
static inline uint64_t pool_counter(const struct pool *p, enum pool_counter c)
{
	return shared_load64(&p->m->counter[c]);
}
static inline void pool_count(struct pool *p, enum pool_counter c, uint64_t n)
{
	shared_store64(&p->m->counter[c], pool_counter(p, c) + n);
}
static inline void pool_set(struct pool *p, enum pool_counter c, uint64_t v)
{
	shared_store64(&p->m->counter[c], v);
}
void pool_region_changed(struct pool *p); /* region_epoch + 1 */

/* ---- items and frames (pool/frame.c) */
static inline struct pool_slab *pool_slab_at(const struct pool *p, uint32_t id)
{
	return id < p->slab_end ? p->slab[id] : NULL;
}
static inline struct pool_slab *pool_item(const struct pool *p, uint32_t item,
					  uint32_t *ret_frame)
{
	struct pool_slab *s = p->slab[p->item_slab[item]];

	*ret_frame = item - s->base;
	return s;
}
/* The frame behind a location that somebody else named; NULL: there is none. */
struct pool_slab *pool_locate(const struct pool *p, uint64_t loc,
			      uint32_t *ret_frame);
/* The sealed frame of a part, through the index. */
struct pool_slab *pool_find(const struct pool *p, const uint64_t key[4],
			    uint64_t part, uint32_t *ret_frame);
uint64_t pool_frame_gen(const struct pool_slab *s, uint32_t frame);
enum frame_state pool_frame_state(const struct pool_slab *s, uint32_t frame);

struct pool_filling { /* what a grant is for */
	uint64_t key[4], part, extent, owner, seq, now_ms;
	uint64_t flags; /* enum frame_grant_flags */
	bool beside;	/* chosen by pool_arena_beside(): what others write does
			   not go on behind it */
};
/* FREE -> GRANTED. The frame must be on its arena's free list. */
void pool_frame_grant(struct pool *p, struct pool_slab *s, uint32_t frame,
		      const struct pool_filling *filling);
/* GRANTED -> SEALED, into index and order. -ENOSPC when the index refused, -EIO
 * when its memory has failed meanwhile; the frame is DOOMED then. */
int pool_frame_seal(struct pool *p, struct pool_slab *s, uint32_t frame,
		    uint64_t checksum, uint64_t extent, uint64_t now_ms);
/* GRANTED -> FREE, or QUARANTINED when its memory has failed. */
void pool_frame_abandon(struct pool *p, struct pool_slab *s, uint32_t frame);
/* GRANTED -> FREE, or QUARANTINED when a device may still write there: the
 * owner has ended, or is not heard any more. Nothing is granted in its slabs
 * from now on. */
void pool_frame_owner_died(struct pool *p, struct pool_slab *s, uint32_t frame);
/* GRANTED -> QUARANTINED: its memory has failed. */
void pool_frame_broken(struct pool *p, struct pool_slab *s, uint32_t frame);
/* The same of one in another state: when it would become free. */
void pool_frame_breaks(struct pool *p, struct pool_slab *s, uint32_t frame);
/* The same of one that is FREE: now. */
void pool_frame_lost(struct pool *p, struct pool_slab *s, uint32_t frame);
static inline bool pool_frame_is_broken(const struct pool_slab *s,
					uint32_t frame)
{
	return shared_load64(&s->desc[frame].grant_flags) & FRAME_GRANT_BROKEN;
}
/* The device of the tier below is done with what dead servers let it write: those
 * frames are FREE. */
void pool_quarantine_settle(struct pool *p);
/* SEALED -> LEAVING -> FREE or back. Release takes it out of the index. */
void pool_frame_leave(struct pool_slab *s, uint32_t frame);
void pool_frame_spare(struct pool *p, struct pool_slab *s, uint32_t frame);
void pool_frame_release(struct pool *p, struct pool_slab *s, uint32_t frame);
/* SEALED -> DOOMED: nobody new finds it. */
void pool_frame_doom(struct pool *p, struct pool_slab *s, uint32_t frame);
void pool_frame_touch(struct pool *p, struct pool_slab *s, uint32_t frame);
/* A GRANTED frame is to be sealed under another key than it was lent for. */
void pool_frame_rekey(struct pool_slab *s, uint32_t frame,
		      const uint64_t key[4]);

/* ---- two replicas (pool/twin.c) */
/* The other replica's item, or POOL_NO_ITEM. */
static inline uint32_t pool_twin_of(const struct pool *p,
				    const struct pool_slab *s, uint32_t frame)
{
	return p->twin ? p->twin[s->base + frame].item : POOL_NO_ITEM;
}
/* Sealed, and not what the index names. */
static inline bool pool_is_twin(const struct pool *p, const struct pool_slab *s,
				uint32_t frame)
{
	return s->low && pool_twin_of(p, s, frame) != POOL_NO_ITEM;
}
/* Behind the arena's other twins in the order in which they are dropped. */
void pool_twin_last(struct pool *p, uint32_t arena, uint32_t item);
/* SEALED -> DOOMED of a frame in DRAM: its twin is found from now on. */
void pool_twin_doom(struct pool *p, struct pool_slab *up, uint32_t uf);
/* GRANTED -> SEALED in low memory, as the twin of a sealed frame in DRAM that has
 * none. It has the other's recency, and its checksum. */
void pool_twin_seal(struct pool *p, struct pool_slab *low, uint32_t lf,
		    struct pool_slab *up, uint32_t uf);
/* LEAVING -> FREE of a frame in DRAM: its twin is found from now on. */
void pool_twin_fall(struct pool *p, struct pool_slab *up, uint32_t uf);
/* GRANTED -> SEALED in DRAM, of a part that is found in low memory: the new one is
 * found from now on, the other stays as its twin. */
void pool_twin_rise(struct pool *p, struct pool_slab *up, uint32_t uf,
		    struct pool_slab *low, uint32_t lf);

/* ---- slabs and arenas (pool/slab.c, pool/arena.c) */
/* The arena of (owner, shape), made when new. -ENOMEM, -ENOSPC. */
int pool_arena_get(struct pool *p, uint64_t owner, struct pool_shape shape,
		   uint32_t *ret_arena);
/* The same of slabs in low memory, which are never striped. */
int pool_arena_low(struct pool *p, uint64_t frame_bytes, uint32_t *ret_arena);
/* The one that slabs of this owner, shape and kind of memory are of. */
int pool_arena_of(struct pool *p, uint64_t owner, struct pool_shape shape,
		  bool low, uint32_t *ret_arena);
void pool_arena_put(struct pool *p, uint32_t arena); /* when it has no slab */
/* A free item, or POOL_NO_ITEM; stays on the list until granted. The neighbour of
 * the one that was granted last, or where a row of free ones begins: what is written
 * one after the other lies side by side, and is mapped as one. */
uint32_t pool_arena_free(const struct pool *p, uint32_t arena);

/* The same for what goes on behind the frame at `loc` while others are written, too:
 * its neighbour, or a frame with free ones behind it, where its own next ones will be. */
uint32_t pool_arena_beside(struct pool *p, uint32_t arena, uint64_t loc);

/* Room for a slab in low memory, and where it is; counted as used. -ENOSPC. */
int pool_low_take(struct pool_low *low, uint64_t bytes,
		  struct segment_source *ret_source);
/* A range of a device is free again (budget.used is the caller's business), but for
 * units that have lost memory: those stay as they are, and are counted as used. */
void pool_low_give(struct pool_low *low, const struct segment *memory);
/* Bytes of a device are lost. When memory for the note is refused it is forgotten:
 * who makes the next slab there finds out again. */
void pool_low_fails(struct pool_low *low, uint64_t offset, uint64_t bytes);
void pool_low_fini(struct pool_low *low);
/* Puts a payload segment (consumed, also on failure) into service. Room in the
 * budget was taken by the caller and stays taken only on success. */
int pool_slab_add(struct pool *p, struct segment *payload, uint64_t owner,
		  struct pool_shape shape, uint32_t frames, uint32_t *ret_id);
/* An empty slab's memory under another owner or shape, with a new id; the old
 * id ends at once. Only when nobody but the server and (for the same owner)
 * its owner can write it: -EBUSY where a device may, or memory has failed
 * (n_quarantined). */
int pool_slab_reshape(struct pool *p, uint32_t id, uint64_t owner,
		      struct pool_shape shape, uint32_t *ret_id);
/* An empty slab of a living writer: announced as going. */
void pool_slab_retire(struct pool *p, uint32_t id);
/* Keeps its free frames, and those that become free, from being granted; or
 * gives them out again. */
void pool_slab_drain(struct pool *p, uint32_t id);
void pool_slab_undrain(struct pool *p, uint32_t id);
/* Its memory and id are free again (all have let go). */
void pool_slab_finish(struct pool *p, uint32_t id);
/* Bytes of the slabs in DRAM that a client owns; 0: it owns none. */
uint64_t pool_owned_bytes(const struct pool *p, uint64_t owner);
/* The writer has ended: its slabs belong to nobody. */
void pool_slabs_orphan(struct pool *p, uint64_t owner);
/* Nothing there is in use; what is quarantined goes with the slab. */
static inline bool pool_slab_empty(const struct pool_slab *s)
{
	return s->n_free + s->n_quarantined == s->frames;
}
/* Mean stamp of what it holds: a lower one is colder. */
static inline uint64_t pool_slab_mean(const struct pool_slab *s)
{
	return s->n_sealed ? s->touched_sum / s->n_sealed : 0;
}
/* From a frame to the next, of what lies at its begin. */
static inline uint64_t pool_slab_step_bytes(const struct pool_slab *s)
{
	return s->stripes ? s->frame_bytes / s->stripes : s->frame_bytes;
}
/* Where a frame begins in its slab. */
static inline uint64_t pool_frame_offset(const struct pool_slab *s,
					 uint32_t frame)
{
	return frame * pool_slab_step_bytes(s);
}
/* Payload as the server sees it (mapped at first use), for reading alone but in a
 * slab of CLIENT_SERVER; base NULL when refused. */
struct slices pool_payload(struct pool_slab *s, uint32_t frame);
/* Has a frame a byte of [from, end) of its slab? */
bool pool_frame_meets(const struct pool_slab *s, uint32_t frame, uint64_t from,
		      uint64_t end);

/* ---- the index (pool/index.c) */
int pool_index_reserve(struct pool *p, uint64_t entries); /* grows */
int pool_index_insert(struct pool *p, struct pool_slab *s, uint32_t frame);
void pool_index_remove(struct pool *p, struct pool_slab *s, uint32_t frame);

/* ---- recount (pool/check.c): calls problem() for each broken invariant,
 * returns their number; counts what was looked at. */
struct pool_checked {
	uint64_t slabs, frames, sealed, granted, free, doomed, quarantined;
	uint64_t index_entries, sessions, history_nodes;
	uint64_t twins; /* not among those sealed */
};
uint64_t pool_check(struct pool *p,
		    void (*problem)(void *ctx, const char *text), void *ctx,
		    struct pool_checked *ret_checked);

#endif

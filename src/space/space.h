/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A space: addresses of one client's namespace, and what is behind them.
 *
 *	reserve (one mapping)
 *	|---- span ----|-------------- span --------------|---- free ----|
 *	  piece (slice 0, block 0) (0, 1) ... (slice 1, block 0) ...
 *
 * A *piece* is what one slice of one block takes: whole pages. Block after
 * block is a span of one slice. With faults the reserve is anonymous memory
 * registered for them, so that the first touch of a page is told; explicit, it
 * is PROT_NONE.
 *
 * A block is ABSENT until it is mapped: pinned, and its frame's pages put at its
 * pieces by mmap(MAP_FIXED) of the slab's descriptor, MAP_PRIVATE. What may be
 * written is armed (write protection of userfaultfd): the write is told, and
 * served by a frame of this client with a copy. Who lost a race with the arming
 * has written into a private page of the kernel's: so a copy is always made
 * from the addresses, not from the frame, and a block is looked at for such
 * pages before it is let go (space_written()).
 *
 * A block is let go by moving fresh registered memory over it (mremap), which is
 * one step for those who touch there: mapping it and registering it afterwards
 * was seen to give readers zeros in between. The mremap waits until the fault
 * thread has read its event, so the fault thread never waits for the lock: it
 * tries, and is told when the lock is free (space_unlock()).
 *
 * Threads. `lock` guards all. The fault thread serves what needs nobody else: it
 * never waits for the node. Workers do the rest, and drop the lock while they
 * wait; a block that must stay as it is meanwhile is TAKEN. More workers are
 * started when all that there are have something in hand. The library never reads
 * or writes addresses of the space while it holds the lock, but for blocks that
 * are there.
 *
 * Order of locks: the client's revoke_lock, under which the node's questions are
 * passed on (revoke.c), before a space's, and that before all others of the client
 * (client/client.h). So nobody who has a space's lock joins or leaves the client's
 * thread for questions.
 *
 * What dies with whom: everything with the process. Pins and lent frames are
 * the client's, which the server takes back.
 */
#ifndef ONECOPY_SPACE_SPACE_H
#define ONECOPY_SPACE_SPACE_H

#include <onecopy/space.h>
#include <pthread.h>
#include "base/log.h"
#include "client/client.h"
#include "client/revoke.h"
#include "space/uffd.h"
#include "space/walk.h"

/* Where the pieces of blocks lie, in the span and in a frame. Pure: shape.c */
struct shape {
	uint64_t part_bytes;
	uint32_t slices;      /* pieces of a block */
	uint64_t piece_bytes; /* whole pages when mapped */
	uint64_t from_stride; /* from slice to slice in a payload */
	bool striped;	      /* ... and in a frame as its spot says */
	size_t capacity;
	uint64_t bytes;	    /* of the span, whole pages */
	const char *gather; /* why it cannot be mapped; NULL: it can */
};

/* A payload in its slab, as a pin tells it. */
struct spot {
	uint32_t region; /* 0: none */
	uint64_t offset, bytes;
	uint64_t stride; /* of a striped slab; else 0 */
};

/* 0, or -EINVAL, -ENOSPC (numbers that cannot be). */
int shape_of(const struct ns_spec *spec, unsigned group, enum oc_layout layout,
	     size_t capacity, struct shape *ret_shape);
/* Offset of a piece in its span. */
static inline uint64_t shape_at(const struct shape *sh, uint32_t slice,
				size_t block)
{
	return ((uint64_t)slice * sh->capacity + block) * sh->piece_bytes;
}
/* The pages of a slice that a spot has: less than a piece where the part is
 * shorter, 0 where it has none. */
uint64_t shape_pages(const struct shape *sh, const struct spot *spot,
		     uint32_t slice);
/* Where a slice of it begins in its slab. */
static inline uint64_t shape_from(const struct shape *sh,
				  const struct spot *spot, uint32_t slice)
{
	return spot->offset +
	       slice * (spot->stride ? spot->stride : sh->from_stride);
}
/* Can b's piece share a mapping with a's, which stands before it? */
bool shape_joins(const struct shape *sh, const struct spot *a,
		 const struct spot *b, uint32_t slice);
/* The first so many slices say what all do: parts of striped slabs are whole. */
static inline uint32_t shape_unlike(const struct shape *sh)
{
	return sh->striped ? 1 : sh->slices;
}
/* Of n blocks: how many mappings they take. */
uint64_t shape_runs(const struct shape *sh, const struct spot *spots, size_t n);

/* A counter that halves while nothing happens. */
struct decay {
	uint32_t ms; /* of CLOCK_MONOTONIC, when n was right */
	uint32_t n;
};
#define DECAY_MS 10000u
static inline uint32_t decay_now(struct decay d, uint32_t now_ms)
{
	uint32_t halves = (now_ms - d.ms) / DECAY_MS;

	return halves < 32 ? d.n >> halves : 0;
}
static inline void decay_add(struct decay *d, uint32_t now_ms)
{
	uint32_t n = decay_now(*d, now_ms);

	d->n = n + (n < UINT32_MAX);
	d->ms = now_ms;
}
static inline uint32_t space_ms(void)
{
	return (uint32_t)(clock_ns() / NS_PER_MS);
}
/* So many and it thrashes. */
#define BOUNCES_MANY 3u

enum block_flags {
	BLOCK_WANTED = 1, /* a fault waits for the worker */
	BLOCK_AHEAD = 2,  /* asked for ahead, not there yet */
	BLOCK_WAS = 4,	  /* was mapped before */
	BLOCK_KEPT = 16, /* brought ahead: pinned, ABSENT until it is touched */
	BLOCK_HALF = 8,	 /* a failure left some of its pieces as they were
			    before, whatever the state says */
	BLOCK_SEALING = 32, /* OWN, TAIL: a seal of its frame was not answered,
			       and may yet be made: the frame is shown, and not
			       written any more */
	BLOCK_TAKEN = 64,   /* somebody makes a copy of it and does not hold the
			       lock: it stays as it is, faults of it wait */
	BLOCK_BROUGHT = 128, /* it came from below, or was computed, for a fault
				that waits */
	BLOCK_GIVEN = 256,   /* was sealed here, or is another writer's version:
			      the next first write is a turn of writers */
	BLOCK_MOVED = 512, /* COPIED because it thrashes: counted in `moved` */
	BLOCK_COUNTED = 1024, /* brought up, and in the report as that */
};

struct block {
	/* data NULL: none, but COPIED keeps what bytes and tokens it was of */
	struct oc_pin pin;
	struct oc_grant *grant; /* OWN, TAIL; NULL: none */
	uint32_t held;
	uint8_t state;	    /* enum oc_block_state */
	uint16_t flags;	    /* enum block_flags */
	uint32_t let_go;    /* WAS: how many blocks had been let go before */
	uint32_t came;	    /* MAPPED: how many had been mapped before */
	uint64_t wanted_ns; /* WANTED: since */
	/* Let go and touched again soon; written again after it was given. */
	struct decay bounces, turns;
};

struct oc_span {
	oc_space *s;
	struct oc_span *next;
	struct oc_part part;
	enum oc_lost lost;
	unsigned flags;
	oc_recompute_fn recompute;
	void *ctx;
	struct shape shape;
	char *base;
	bool gathered;
	size_t n; /* blocks, the tail not counted */
	struct oc_key *key;
	struct block *block; /* capacity */
	uint32_t busy; /* somebody has it in hand, perhaps without the lock */
	bool going;    /* is being unmapped: the worker leaves it */
	size_t hand;   /* where letting go looks next */
	/* where faults go, and how much one maps */
	struct walk walk;
	size_t window;
	/* of what comes from below: brought or asked for in these steps, up to
	 * ahead_end, for a reader who was at ahead_from then; so much the last
	 * time */
	bool below;
	int64_t ahead_step; /* 0: nothing yet */
	size_t ahead_from, ahead_end, ahead_n;
	enum oc_advice pattern; /* NORMAL, READ_MOSTLY, RANDOM */
	int rank;		/* when room is wanted: -1 first, 0, 1 last */
};

/* A slab whose descriptor is open because blocks of it are mapped. */
struct slab_ref {
	int fd;
	uint32_t uses;
};

struct job {
	oc_span *span;
	size_t first, n;
	int64_t step; /* from block to block; 1 but with JOB_AHEAD */
	unsigned flags;
};
#define JOBS 256u
/* A job's flag beside enum oc_prefetch_flags: bring up and pin, do not map. */
#define JOB_AHEAD 0x100u
/* Waits for the node at once; more than one so that what one waits for stops
 * nobody else. */
#define WORKERS 4u

/* The fault thread goes last: who moves mappings waits for it. */
enum stop { GO_ON, STOP_WORKERS, STOP_ALL };

struct oc_space {
	oc_ns *ns;
	oc_client *c;
	enum oc_space_how how;
	const char *why;
	uint64_t timeout_ns;
	char *base;
	uint64_t bytes;
	int uffd, kick, hole; /* hole: an empty file, whose pages are SIGBUS */
	bool in_fault;	      /* the fault thread has the lock */
	int pagemap;
	pthread_t faults, worker[WORKERS];
	bool has_faults;

	pthread_mutex_t lock;
	pthread_cond_t work, done; /* for the worker; for who waits on it */
	/* The fault thread wants the lock. Pairs: space_unlock(). */
	_Atomic(bool) wanted;
	_Atomic(uint32_t) stop; /* enum stop */
	oc_span *span;		/* by address */
	struct slab_ref *slab;	/* LAYOUT_SLABS_MAX */
	struct job job[JOBS];
	uint32_t jobs_head, jobs_tail;
	uint32_t workers, idle; /* threads; those that wait for a job */
	bool computing;		/* a caller's function runs: one at a time */
	uint64_t maps; /* at most so many mappings; space_room() counts anew */
	bool stray;    /* addresses outside of spans have been touched */
	_Atomic(uint64_t) lent;	    /* keys that nobody has, so far; no lock */
	uint64_t moved, moved_most; /* bytes of blocks that are MOVED */
	struct oc_space_report n;
	struct revoke_user user; /* revoke.c */
};

static inline void space_lock(oc_space *s)
{
	must(pthread_mutex_lock(&s->lock) == 0);
}
void space_unlock(oc_space *s);
static inline uint64_t space_deadline(const oc_space *s)
{
	return client_deadline(s->c, s->timeout_ns);
}
/* -ECHILD in a child of fork(), with its text. */
static inline int space_usable(const oc_space *s)
{
	return client_is_child(s->c) ? client_child(s->c) : 0;
}

static inline char *block_at(const oc_span *sp, uint32_t slice, size_t i)
{
	return sp->base + shape_at(&sp->shape, slice, i);
}
/* Writes are told, and the space gives the writer a frame. */
static inline bool span_armed(const oc_span *sp)
{
	return sp->s->how == OC_SPACE_FAULTS &&
	       !(sp->flags & (OC_SPAN_READ_ONLY | OC_SPAN_PAGES));
}
/* Writes are made, by whoever makes the copy. */
static inline bool span_writable(const oc_span *sp)
{
	return span_armed(sp) || sp->flags & OC_SPAN_PAGES;
}
static inline void block_unflag(struct block *b, unsigned flags)
{
	b->flags = (uint16_t)(b->flags & ~flags);
}
static inline struct spot block_spot(const struct block *b)
{
	if (unlikely(b->grant != NULL))
		return (struct spot){ b->grant->region, b->grant->offset,
				      b->grant->bytes, b->grant->stride };
	return (struct spot){ b->pin.data ? b->pin.region : 0, b->pin.offset,
			      b->pin.bytes, b->pin.stride };
}

/* ---- all below: the lock is held ---- */

/* ---- slab.c */

/* A descriptor of a region, open until slab_put(). Waits for the node when it is
 * not open; _patiently: and drops the lock meanwhile (the caller has a pin or a
 * grant there); _kept: does not wait, -EAGAIN. */
int slab_get(oc_space *s, uint32_t region);
int slab_get_kept(oc_space *s, uint32_t region);
int slab_get_patiently(oc_space *s, uint32_t region);
void slab_put(oc_space *s, uint32_t region);
static inline bool slab_is_open(const oc_space *s, uint32_t region)
{
	return s->slab[region].uses > 0;
}

/* ---- map.c */

/* Pins those of blocks [first, first + n) that are ABSENT and not pinned, as far
 * as they are resident. flags: PIN_QUICK. 0; -EDQUOT: pins have run out; -errno. */
int blocks_pin(oc_span *sp, size_t first, size_t n, unsigned flags);
/* Gives back the pins of those that are still ABSENT. */
void blocks_unpin(oc_span *sp, size_t first, size_t n);
/* Maps those of blocks [first, first + n) that are ABSENT and pinned; gathers
 * them when there is no room for mappings. -errno: some may be HALF. */
int blocks_map(oc_span *sp, size_t first, size_t n);
/* The same, with the lock dropped while the node is asked for descriptors; blocks
 * whose descriptor cannot be had are copied. */
int blocks_map_patiently(oc_span *sp, size_t first, size_t n);
/* Maps the pieces of a block that is HALF once more, if what they showed is still
 * known; else -EAGAIN: it has to leave (blocks_let_go()) and come again. */
int block_map_again(oc_span *sp, size_t i);

/* ---- copy.c */

/* Fills an ABSENT, pinned block with a copy, and gives the pin back. HALF on a
 * failure. */
int block_gather(oc_span *sp, size_t i);
/* Fills an ABSENT block with memory of the process; data NULL: zeros. On a failure
 * the block is HALF. */
int block_fill(oc_span *sp, size_t i, const struct slices *data, uint64_t bytes,
	       enum oc_block_state state);
/* Has it come and gone so often that a copy is better, and is there room for
 * that? */
bool block_wants_move(const oc_span *sp, size_t i);
/* Copies those of the blocks that are ABSENT, pinned and want it. */
void blocks_move(oc_span *sp, size_t first, size_t n);
/* Do writers take turns at it? */
bool block_has_turns(const oc_span *sp, size_t i);

/* ---- leave.c: not from the fault thread, which mremap() waits for */

/* Makes blocks ABSENT in all of their pieces, whatever they are but TAIL. -errno:
 * some may be HALF. */
int blocks_let_go(oc_span *sp, size_t first, size_t n);
/* Lets go of up to n blocks that nobody holds and that are as the node has
 * them; how many. Nothing in an explicit space, where a touch would be the end. */
size_t space_make_room(oc_space *s, size_t n);
/* The whole span becomes as it was before it was mapped. */
int span_clear(oc_span *sp);
/* Addresses without pages, as they were reserved. */
int space_make_absent(oc_space *s, char *at, uint64_t bytes);
/* Takes what a block has of the node: pin, frame, descriptor. */
void block_drop(oc_span *sp, size_t i);
/* Have pages of a MAPPED block been copied by the kernel, because they were
 * written without anybody being told? */
bool block_written(const oc_span *sp, size_t i);
/* Room for so many more mappings? */
bool space_room(oc_space *s, uint64_t runs);
/* At most so many more, when blocks [a, z), all pinned, are mapped. */
uint64_t blocks_maps(const oc_span *sp, size_t a, size_t z);
uint64_t space_count_maps(const oc_space *s);
uint64_t span_count_maps(const oc_span *sp);

/* ---- revoke.c */

/* From now on the node may ask for what it maps. 0, -errno. No lock is held. */
int space_revocable(oc_space *s);
/* What the pins of its blocks are held for: flags of coherence/pin.h. Where no
 * touch brings a block back, it is in direct use. */
static inline uint64_t span_revocable(const oc_span *sp)
{
	if (sp->s->how != OC_SPACE_FAULTS)
		return 0;
	return PIN_MAPPED | (sp->lost == OC_LOST_BUS ? 0 : PIN_LOSABLE);
}
/* A block's pin, or whether it is held, is new. */
void block_say(oc_span *sp, size_t i);

/* ---- own.c */

/* Others wait until a block is not TAKEN any more. */
void block_wait(oc_span *sp, size_t i);
/* Gives a block that is there, or pinned, a frame of its own with a copy, or
 * memory of the process when the node has none. Drops the lock; the caller has
 * marked the span busy. 0, -errno. */
int block_own(oc_span *sp, size_t i);
/* The same without dropping the lock, for which the node gets little time. */
int block_own_now(oc_span *sp, size_t i);
/* Memory of the process for a block that is MAPPED, as its addresses show it. The
 * node is not asked. */
int block_own_memory(oc_span *sp, size_t i);
/* block_own() with a frame that will be sealed as this key, or not at all. -EBUSY:
 * it is not as the node has it; OC_EXISTS; as oc_grant(). */
int block_own_as(oc_span *sp, size_t i, const struct oc_key *as);
/* Puts the frame that a block has at its pieces. */
int block_map_frame(oc_span *sp, size_t i);
/* The block's bytes as they are seen at its addresses. */
void block_copy_out(const oc_span *sp, size_t i, uint64_t bytes,
		    const struct slices *to);
/* The pin and the descriptor behind what was shown until now. */
void space_leave_shared(oc_space *s, struct oc_pin *pin);
/* A lent frame goes back, whatever the node says and whenever. Used up. */
void space_give_back(oc_space *s, struct oc_grant *g);

/* ---- lost.c */

/* Touches there are SIGBUS from now on. 0, -errno. */
int space_bus_at(oc_space *s, char *at, uint64_t bytes);
/* A touch of it is SIGBUS from now on. 0. */
int block_bus(oc_span *sp, size_t i);
/* What a block gets that is gone, and which the caller has marked busy. The
 * callback runs without the lock. 0: it was computed; OC_MISS: lost; -errno:
 * nothing has changed. */
int block_lose(oc_span *sp, size_t i);

/* ---- bring.c */

/* An ABSENT block and what is likely to follow. OC_BUSY: it has to be brought
 * up, or room has to be made: the worker's. 0, -errno. Any thread. */
int block_map_quickly(oc_span *sp, size_t i);
/* Blocks [first, first + n) are there afterwards, or lost. Drops the lock now
 * and then; the caller has marked the span busy. 0; OC_MISS: some are lost;
 * -errno. Not the fault thread. flags: OC_PREFETCH_WRITE. */
int blocks_bring(oc_span *sp, size_t first, size_t n, unsigned flags,
		 uint64_t deadline);
/* The block gets a frame that will be sealed as this key. As blocks_bring() and
 * block_own_as(). */
int block_bring_as(oc_span *sp, size_t i, const struct oc_key *as,
		   uint64_t deadline);
/* A thread of the space. -EAGAIN. */
int space_start_thread(oc_space *s, void *(*run)(void *),
		       pthread_t *ret_thread);
/* Hands blocks to the workers; _ahead: n blocks, `step` apart, that nobody waits
 * for. -EAGAIN. */
int space_hand(oc_span *sp, size_t first, size_t n, unsigned flags);
int space_hand_ahead(oc_span *sp, size_t first, size_t n, int64_t step);
void *worker_main(void *space);
/* Who waits for these blocks looks again. */
void blocks_wake(oc_span *sp, size_t first, size_t n);

/* ---- fetch.c */

/* Brings up those of the blocks that are ABSENT, not pinned, and on a tier below;
 * pins them, maps them, and wakes who waits for them. Drops the lock; the caller
 * has marked the span busy. 0 whatever came; -errno. */
int blocks_fetch(oc_span *sp, size_t first, size_t n, uint64_t deadline);
/* The same of n blocks, `step` apart; only what somebody waits for is mapped. */
int blocks_fetch_ahead(oc_span *sp, size_t first, size_t n, int64_t step,
		       uint64_t deadline);
/* A reader who goes on as the span's walk tells has got to `last`: more is handed
 * to the worker. */
void span_read_on(oc_span *sp, size_t last);
static inline void span_busy(oc_span *sp)
{
	sp->busy++;
}
void span_idle(oc_span *sp);

/* ---- fault.c */

void *fault_main(void *space);
/* A fault that was taken at `since` has been served. */
void space_stalled(oc_space *s, uint64_t since);
/* The span that has this address; NULL: none. */
oc_span *space_find(const oc_space *s, uintptr_t address);
/* The block of an address in a span. */
size_t span_block_of(const oc_span *sp, uintptr_t address);

/* ---- span.c */

void span_free(oc_span *sp);

#endif

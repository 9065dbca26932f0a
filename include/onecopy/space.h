/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One address space: sessions as contiguous memory, wherever their blocks lie.
 *
 * A *space* is a reserved range of addresses of one namespace. A *span* is a
 * list of keys (a session's, an object's) in it: one array, block i at a
 * computed address, although the blocks are scattered over frames and shared
 * with other sessions and processes. Resident blocks are mapped, not copied:
 * the pages are the pool's own. The address of a block never changes; what is
 * behind it may come and go.
 *
 *   create -> map ... touch, prefetch, hold, append ... -> unmap -> destroy
 *
 * What a touch does. In a space with faults (enum oc_space_how) the first touch
 * of a block that is not mapped stops the thread; a thread of the library pins
 * the block, brings it up when it lies on a lower tier, maps it with those of
 * its neighbours that lie side by side, and lets the thread go on. The first
 * *write* to a block gives this space a frame of its own with a copy; nobody
 * else sees the change. Where the kernel refuses faults the space is *explicit*
 * and says so: the same calls, but a block must be mapped by oc_span_map(),
 * oc_span_prefetch() or oc_span_hold() before it is touched, and asked for
 * with OC_PREFETCH_WRITE before it is written; else the touch is SIGSEGV.
 *
 * What is gone for good (evicted, or its bytes were wrong) is not a crash
 * unless it was asked for: enum oc_lost.
 *
 * System calls. The kernel does not serve faults of its own in a space that
 * was made without privilege: read(), write() and the like give EFAULT where a
 * page is missing or protected. Hold the range (oc_span_hold()) around them.
 *
 * Memory kinds. A space is of ordinary memory (oc_region.kind 1) today; another
 * kind is refused, not imitated.
 *
 * Pins. Each mapped block holds one of the client's pins. When they run out, or
 * the pool has no room to bring a block up, the space lets go of what it mapped
 * longest ago and nobody holds; a later touch brings that back. The node may ask
 * for mapped blocks as well, when others need the room: of those that nobody
 * holds, what it has on its drive, or (OC_LOST_ZERO, OC_LOST_CALL) nowhere else
 * in the end. Memory below DRAM (serve --cxl) does not count for that today: on a
 * node without a drive a span without an answer to a loss is asked for nothing.
 * A thread of the client answers, started with its first space that
 * has faults; a process that stands still is no longer waited for.
 *
 * Thrash. A block that is let go and touched again before the space has let go of
 * as many others as it holds, three times, thrashes: it leaves last, and its next
 * touch is served by a copy in memory of the process (COPIED), within
 * oc_space_options.move_bytes. A block that is written again and again after it
 * was sealed or replaced has writers that take turns: a touch gives it a frame of
 * the space's own at once, and a seal copies from that frame and leaves it there,
 * so that a turn costs what oc_get() and oc_put() cost. oc_span_block() and the
 * report tell of both.
 *
 * Ownership. A space belongs to its client and namespace: destroy it before
 * either is closed. A span belongs to its space. Pages of other spaces and
 * clients are never reached through it. What a space has written lies in frames
 * lent to this client, and ends with the span unless it was sealed.
 *
 * Threads. All calls from any thread; calls on one space take turns. Memory of a
 * space may be read and written by any thread, also while calls run. It may be
 * the payload given to oc_put() and oc_fill(), but not keys, options or results
 * of a call: the library would wait for itself.
 *
 * Fork. A space is not there in a child: its addresses are unmapped (SIGSEGV),
 * calls give -ECHILD, oc_space_destroy() frees the handle. Exit with a space
 * open gives back everything. When the server dies while a fault waits, the
 * fault goes on with its successor, at the latest after the space's timeout:
 * then the block counts as lost.
 *
 * Results and waiting are those of onecopy.h.
 */
#ifndef ONECOPY_SPACE_H
#define ONECOPY_SPACE_H

#include <onecopy/onecopy.h>
#include <onecopy/session.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

typedef struct oc_space oc_space;
typedef struct oc_span oc_span;

enum oc_space_how {
	OC_SPACE_FAULTS = 1,   /* touches are served (userfaultfd) */
	OC_SPACE_EXPLICIT = 2, /* blocks are mapped by calls alone */
};

struct oc_space_options {
	size_t size;
	uint64_t bytes;	       /* addresses to reserve; 0: 1 TiB, or what is to
				be had above 1 GiB. Costs no memory */
	enum oc_space_how how; /* 0: faults where they are allowed */
	uint32_t kind;	       /* of memory, as oc_region.kind; 0: 1 */
	uint32_t mappings;     /* most mappings of the process that it takes up;
				0: half of what vm.max_map_count leaves */
	uint64_t timeout_ns;   /* how long a fault may wait for the node; 0: the
				client's default */
	uint64_t move_bytes;   /* most bytes of blocks that thrash which are
				copied into memory of the process instead of
				being mapped; 0: a sixteenth of the node's
				memory; UINT64_MAX: none */
};

/* options NULL: all defaults. -ENOMEM no addresses or memory; -EOPNOTSUPP a kind
 * of memory that there is not; -EPERM, -ENOSYS or what the kernel says when
 * OC_SPACE_FAULTS was asked for and is refused; -EINVAL. Starts two threads, and
 * up to three more while as many touches wait for the node; all signals blocked
 * in them. */
int oc_space_create(oc_ns *ns, const struct oc_space_options *options,
		    oc_space **ret_space);
/* Unmaps all spans. No thread may be touching the space. Takes NULL. */
void oc_space_destroy(oc_space *s);
enum oc_space_how oc_space_how(const oc_space *s);
/* Why a space is explicit, one line; "" when it has faults or was asked to be
 * explicit. Static for the life of the space. */
const char *oc_space_why(const oc_space *s);

/* ---- spans ------------------------------------------------------------------ */

enum oc_layout {
	OC_LAYOUT_BLOCKS = 0, /* block after block: block i at base + i *
				 block_stride, in it the part as it lies in a
				 frame; of a striped one (OC_STRIPED) its slices
				 one after the other */
	OC_LAYOUT_SLICES = 1, /* slice after slice: slice s of block i at base +
				 s * slice_stride + i * block_stride */
};

/* What the first touch of a block that is gone for good gets. */
enum oc_lost {
	OC_LOST_BUS = 0,  /* SIGBUS, as a file that became shorter */
	OC_LOST_ZERO = 1, /* zeros; oc_span_block() says so */
	OC_LOST_CALL = 2, /* `recompute` makes the bytes; they are sealed, so
			     that everybody has them again. When it fails:
			     SIGBUS */
};

/* Computes block `block` anew: writes `bytes` bytes. 0, or -errno when it cannot.
 * A part with slices lies there as in a frame, a striped one packed.
 * From a thread of the space or of a caller of it, one at a time: it must neither
 * touch the space nor call it. The client may be called. */
typedef int (*oc_recompute_fn)(void *ctx, const struct oc_key *key,
			       size_t block, void *data, uint64_t bytes);

enum oc_span_flags {
	OC_SPAN_LAZY = 1, /* maps nothing now: touches and calls do */
	OC_SPAN_READ_ONLY =
		2,	    /* is never written (a write is SIGSEGV): needs no
				  write protection of pages, and 2 MiB pages stay
				  what they are */
	OC_SPAN_VERIFY = 4, /* the bytes are hashed before they are mapped */
	OC_SPAN_PAGES = 8,  /* a first write is copied by the kernel, page by
				  page, into memory of the process: also in an
				  explicit space. Nothing is protected, 2 MiB
				  pages stay what they are until they are
				  written, and a write of few bytes costs a
				  page. But the copies count against nobody's
				  quota, and a written block says MAPPED until
				  it is sealed or its room is wanted */
};

struct oc_span_options {
	size_t size;
	struct oc_part part;
	enum oc_layout layout;
	enum oc_lost lost;
	unsigned flags;	 /* enum oc_span_flags */
	size_t capacity; /* blocks that the span may grow to; 0: as many as it
			    begins with, and one more for a tail */
	oc_recompute_fn recompute; /* OC_LOST_CALL */
	void *ctx;
};
#define OC_SPAN_INIT                                   \
	{                                              \
		.size = sizeof(struct oc_span_options) \
	}

/* Maps the part of n blocks. options NULL: the defaults, part {0, 0}. Resident
 * blocks are mapped now unless OC_SPAN_LAZY; what is not resident comes with a
 * touch or a call. Runs of neighbouring frames become one mapping each; slice after
 * slice, one for each slice where the group is striped (OC_STRIPED, onecopy.h), and
 * else one for each slice of each block. Block after block, a striped part of
 * several slices is gathered.
 *
 * When the mappings would pass the space's limit, blocks are copied into memory
 * of the process instead (gathered; oc_span_info says how many); in an explicit
 * space the rest is left unmapped. Slice after slice needs slices of
 * whole pages; where they are not, or would take too many mappings, the whole
 * span is gathered now, and oc_span_info.gathered says so. With OC_SPAN_LAZY it
 * is gathered block by block instead, as it is touched (oc_span_info.why), where
 * touches are served and slices are whole pages.
 *
 * 0; -ENOSPC no addresses left in the space; -EINVAL; -EDQUOT no pin left;
 * -ENOMEM; -ECHILD. OC_MISS: a span that must be gathered now has a block that
 * is gone (OC_LOST_BUS). */
int oc_span_map(oc_space *s, const struct oc_key *keys, size_t n,
		const struct oc_span_options *options, oc_span **ret_span);
/* The same for the blocks that a session has now (oc_session_keys()). */
int oc_span_map_session(oc_space *s, oc_session *session,
			const struct oc_span_options *options,
			uint64_t timeout_ns, oc_span **ret_span);
/* No thread may touch it any more. Takes NULL. */
void oc_span_unmap(oc_span *span);

/* Blocks after those that are there. -ENOSPC past the capacity; as
 * oc_span_map(). */
int oc_span_append(oc_span *span, const struct oc_key *keys, size_t n);
/* Appends what the session has more than the span. OC_STALE: it has fewer. */
int oc_span_refresh(oc_span *span, oc_session *session, uint64_t timeout_ns);

struct oc_span_info {
	void *base;
	uint64_t bytes; /* of addresses, for `capacity` blocks */
	size_t blocks, capacity;
	uint64_t block_bytes;  /* of a part, at most */
	uint64_t block_stride; /* from block to block */
	uint64_t slice_stride; /* OC_LAYOUT_SLICES: from slice to slice */
	uint32_t slices;
	bool gathered;	 /* the whole span is a copy */
	const char *why; /* it is gathered, as a whole or as it is touched; "" */
	size_t mapped, own, copied, lost, absent; /* blocks, by how they are */
	uint64_t mappings; /* of the process, as counted from its blocks */
};
int oc_span_info(oc_span *span, struct oc_span_info *ret_info);

enum oc_block_state {
	OC_BLOCK_ABSENT = 0, /* comes with a touch or a call */
	OC_BLOCK_MAPPED = 1, /* the pool's own page */
	OC_BLOCK_OWN = 2,    /* written: a frame lent to this client */
	OC_BLOCK_COPIED = 3, /* gathered, or computed without a frame */
	OC_BLOCK_ZERO = 4,   /* lost: zeros */
	OC_BLOCK_BUS = 5,    /* lost: a touch is SIGBUS */
	OC_BLOCK_TAIL = 6,   /* the session's private tail */
};
struct oc_span_block {
	void *address; /* of its first slice */
	enum oc_block_state state;
	uint64_t bytes;	 /* of the part; 0 while ABSENT */
	uint32_t held;	 /* oc_span_hold() */
	uint32_t region; /* MAPPED: of oc_region; 0 else */
	uint64_t offset; /* in it */
	/* How much it thrashes; both halve in 10 s. From 3 on it does. */
	uint32_t bounces; /* let go, and soon touched again */
	uint32_t turns;	  /* written again after it was sealed or replaced */
};
/* -EINVAL no such block. */
int oc_span_block(oc_span *span, size_t block, struct oc_span_block *ret_block);

/* ---- bringing and holding ----------------------------------------------------- */

enum oc_prefetch_flags {
	OC_PREFETCH_WAIT = 1,  /* returns when it is done, or at the timeout */
	OC_PREFETCH_WRITE = 2, /* will be written: gets frames of its own */
};
/* Brings blocks [first, first + n) up and maps them; n 0: to the end. Without
 * WAIT it is handed to the space's own thread, and this returns. 0; OC_MISS: at
 * least one is lost (WAIT); -ENOSPC it is there, and an explicit space has no
 * mappings left for it (WAIT): others are let go of first (oc_span_advise());
 * -ETIMEDOUT; -EAGAIN too many prefetches wait;
 * -EROFS to be written, in a read-only span; -EINVAL. */
int oc_span_prefetch(oc_span *span, size_t first, size_t n, unsigned flags,
		     uint64_t timeout_ns);
/* The same, waiting; and until oc_span_release() the blocks stay mapped and no
 * touch of them faults: for system calls and devices. A write to a held block
 * that is not the space's own still faults: hold it for writing. Holds nest. On
 * failure nothing is held. flags: OC_PREFETCH_WRITE. */
int oc_span_hold(oc_span *span, size_t first, size_t n, unsigned flags,
		 uint64_t timeout_ns);
void oc_span_release(oc_span *span, size_t first, size_t n);

enum oc_advice {
	OC_ADVISE_NORMAL = 0,
	OC_ADVISE_WILL_NEED = 1,   /* oc_span_prefetch() without waiting */
	OC_ADVISE_DO_NOT_NEED = 2, /* lets go: pins are given back, a later
				      touch maps again. What is the space's own
				      and not sealed is lost; held blocks and
				      the tail stay */
	OC_ADVISE_READ_MOSTLY = 3, /* a fault maps as much as lies side by side,
				      not a window of it */
	OC_ADVISE_RANDOM = 4,	   /* a fault brings one block */
	OC_ADVISE_PREFERRED_TIER = 5, /* arg: enum oc_tier. A lower one than
					 DRAM: this span is let go first; DRAM:
					 last. VRAM: -EOPNOTSUPP */
	OC_ADVISE_ACCESSED_BY = 6, /* arg: 0, the host: mapped now, and let go
				      last. A device: -EOPNOTSUPP */
};
/* Of the whole span, whatever first and n are, but for WILL_NEED, DO_NOT_NEED
 * and the mapping of ACCESSED_BY. n 0: to the end. arg: 0 where none is named.
 * -EINVAL. */
int oc_span_advise(oc_span *span, size_t first, size_t n, enum oc_advice advice,
		   uint64_t arg);

/* ---- writing --------------------------------------------------------------- */

/* Before a block is written that will be sealed as `key`: its frame is lent under
 * that key, so that oc_span_seal() only publishes it. One copy in all, where a
 * first write and a seal make two. The block is brought up. 0; OC_EXISTS: it is
 * sealed already, nothing is done; OC_MISS: the block is lost; -EBUSY: it was
 * written before; as oc_grant(). */
int oc_span_write_as(oc_span *span, size_t block, const struct oc_key *key,
		     uint64_t timeout_ns);
/* Seals a block that this space has written as `key`; the span has that key there
 * from now on, mapped and shared as any other (or still OWN: Thrash, above). 0;
 * OC_EXISTS: somebody had sealed the key, and theirs is mapped now; -EINVAL: it was
 * not written; -EBUSY: it is held; else as oc_grant() and oc_seal(). On a failure what was written stays, but
 * for OC_STALE. After -ETIMEDOUT it may be sealed yet: ask again; what is written
 * to the block before that reaches nobody's frame, and is sealed by asking again
 * unless somebody (that seal, too) was first. No thread may write to the block
 * meanwhile. */
int oc_span_seal(oc_span *span, size_t block, const struct oc_key *key,
		 uint64_t timeout_ns);
/* Block `block` shows `key` from now on, which another writer has sealed: what was
 * there is let go, own writes that are not sealed are lost, and the new bytes come
 * with a touch or a call. -EINVAL no such block, or the span is gathered; -EBUSY
 * it is held. No thread may touch the block meanwhile. */
int oc_span_replace(oc_span *span, size_t block, const struct oc_key *key);
/* Maps the session's tail after the last block, writable and private, as
 * oc_session_tail() gives it: with a copy of what a fork shared. The session
 * must be the one the span is of. Slice after slice its slices are where the next
 * block's are: ret_tail->stride is the span's slice_stride. -ENOSPC past the
 * capacity, or no mappings left; -EINVAL the span is gathered, or read-only; else as
 * oc_session_tail(). */
int oc_span_tail(oc_span *span, oc_session *session, uint64_t timeout_ns,
		 struct oc_tail *ret_tail);
/* oc_session_tail_seal() of a tail that is mapped: it becomes the span's next
 * block, at the address that it has. -ETIMEDOUT: ask again; what is written to it
 * before that is not sealed. */
int oc_span_tail_seal(oc_span *span, oc_session *session,
		      const struct oc_key *key, uint64_t timeout_ns);

/* ---- the price ---------------------------------------------------------------- */

/* All since the space was made. */
#define OC_SPACE_COUNTS(X)                                                 \
	X(faults, "touches that the library served")                       \
	X(faults_map, "... of a resident block")                           \
	X(faults_bring, "... of a block that had to be brought up")        \
	X(faults_write, "... first writes")                                \
	X(faults_lost, "... of a block that is gone")                      \
	X(faults_again, "... of what another fault had just mapped")       \
	X(stalled_ns, "time from taking a fault to letting the thread go") \
	X(stalled_most_ns, "the longest of them")                          \
	X(mapped_blocks, "blocks mapped")                                  \
	X(mapped_around, "... because a neighbour was touched")            \
	X(mmaps, "mappings made")                                          \
	X(ahead_asked, "blocks asked for because of the order of touches") \
	X(ahead, "... of which were brought up before they were touched")  \
	X(ahead_used, "... of which were touched then")                    \
	X(moved_bytes, "payload bytes brought up for this space")          \
	X(own_bytes, "payload bytes copied for first writes")              \
	X(gathered_bytes, "payload bytes copied instead of being mapped")  \
	X(maps_full, "times that mappings had run out")                    \
	X(maps_refused, "... in spite of the limit, for the kernel")       \
	X(recomputed, "lost blocks that the caller computed")              \
	X(let_go, "blocks let go for pins, room or advice")                \
	X(prefetched, "blocks brought or mapped ahead, as asked")          \
	X(prefetch_late, "... of which a touch came first")                \
	X(returned, "blocks mapped again after they were let go")          \
	X(revoke_asks, "times that the node asked for blocks back")        \
	X(revoked, "blocks given back for that")                           \
	X(revoke_kept, "... and kept: held, or in hand just then")         \
	X(thrashing, "blocks that come and go all the time, now")          \
	X(thrashing_writers, "blocks at which writers take turns, now")    \
	X(moves, "blocks that thrash, copied instead of mapped")           \
	X(move_bytes, "... and their bytes")                               \
	X(pins, "pins held now")                                           \
	X(mappings, "mappings of the process now, counted from blocks")    \
	X(mappings_limit, "and their limit")

struct oc_space_report {
	size_t size;
#define X(name, text) uint64_t name;
	OC_SPACE_COUNTS(X)
#undef X
	char advice[256]; /* what would have helped; "" */
};
/* ret_report->size says how much of it the caller has. */
int oc_space_report(oc_space *s, struct oc_space_report *ret_report);
/* The same as JSON text (malloc; free() it). */
int oc_space_report_json(oc_space *s, char **ret_json);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif

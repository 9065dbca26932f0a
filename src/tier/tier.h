/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiers: places for blocks, with a measured price. Everything that decides
 * (placement, eviction, load or recompute) reads the price and nothing else.
 *
 * A backend is one static table of operations; tier_find() gives it by kind.
 * The numbers of `kind` are those of enum oc_tier in the public header.
 *
 * Two sorts of tiers. Memory that slabs lie in (dram) has a price and nothing
 * more: the pool does the rest. A place with an index of its own (nvme) is
 * opened, and parts move between it and frames:
 *
 *	open -> space ... find, read, write, remove ... -> stop -> close
 *
 * All calls come from the store's thread and none waits for a device (open and
 * stop excepted). A move belongs to the tier from its start until its done(),
 * which comes from ready() or tick(), exactly once, never from the call that
 * starts or cancels it. The tier never sees frames or pools: who moves keeps the
 * memory from being reused until done() has come, whatever happens.
 *
 * Death: what write() has told to be done is found again by the next open();
 * what it had not told may be found or not. Devices that a dead process left
 * writing into memory are done when the next open() gives TIER_UP.
 */
#ifndef ONECOPY_TIER_TIER_H
#define ONECOPY_TIER_TIER_H

#include "base/slices.h"
#include "shm/layout.h"

struct tier_price {
	uint64_t latency_ns;  /* to the first byte */
	uint64_t bytes_per_s; /* one reader, streaming */
};

/* Whose blocks. The same bytes name the same space after every restart. */
struct tier_space {
	uint8_t digest[32]; /* of the namespace: ns_spec_digest() */
	char tenant[LAYOUT_NAME];
};

/* One part of one block. */
struct tier_id {
	uint64_t key[4];
	uint32_t space; /* of tier_ops.space() */
	uint32_t part;	/* group << 16 | rank */
};

/* What must come back with the bytes. */
struct tier_block {
	uint64_t checksum; /* base/hash.h, seeded by key and part */
	uint64_t extent;   /* coherence/frame.h: bytes << 32 | tokens */
	uint32_t depth;	   /* as frame_desc.depth; 0: unknown */
};

/* Who is served first. Within one: in order. */
enum tier_urgency {
	TIER_WAITED, /* somebody waits for it */
	TIER_AHEAD,  /* somebody will, it is thought */
	TIER_BEHIND, /* room will be needed */
	TIER_URGENCIES
};

struct tier_move;
/* result: 0; -EBADMSG the bytes are not those that were written (read: the entry is
 * gone, the place is set aside until the next open(); write: what lay at data was
 * not of that checksum when it was written, and no entry was made); -EIO and other
 * errors of the device; -ECANCELED; -ETIMEDOUT it was not begun before its deadline;
 * OC_STALE it was removed meanwhile. */
typedef void (*tier_move_fn)(struct tier_move *m, int result);

struct tier_move {
	/* the caller's */
	tier_move_fn done;
	struct tier_id id;
	struct tier_block block; /* write: given; read: filled by read() */
	/* Page aligned; whole pages where it is in slices. Read: room bytes are
	 * written at most, the payload first. Write: read until done(). */
	union {
		struct slices slices;
		void *data; /* of what is in no slices: its begin */
	};
	uint64_t room; /* bytes there, whole pages, at least the payload */
	enum tier_urgency urgency;
	uint64_t deadline_ns; /* to begin; 0: none */
	/* the tier's */
	struct tier_move *next, *prev;
	uint64_t private_[24];
};

/* A part that a tier has. */
struct tier_found {
	struct tier_block block;
	uint64_t expected_ns; /* until a read that is waited for would be done,
				 what is queued now included */
};

enum tier_state {
	TIER_COMING, /* finding what it has; misses until then */
	TIER_UP,
	TIER_SLOW,     /* the device answers late: nothing new is written */
	TIER_READONLY, /* the device takes no writes */
	TIER_DOWN,     /* the device is gone; it is tried again now and then */
	TIER_STATES
};
const char *tier_state_name(enum tier_state state);

/* Where the bytes of a part lie, for a device that reads them by itself (a GPU's
 * storage driver). Who reads verifies. */
struct tier_place {
	int fd;		 /* the tier's; opened past the page cache */
	uint64_t offset; /* multiple of 4096 */
	uint64_t bytes;	 /* payload; the place goes on to a multiple of 4096 */
	struct tier_block block;
	uint64_t private_[2];
};

/* All since open(), but for what is "now". */
#define TIER_STATS(X)                                                    \
	X(limit_bytes, "bytes that it may use")                          \
	X(used_bytes, "bytes in use now")                                \
	X(live_bytes, "payload bytes that can be read now")              \
	X(parts, "parts that can be read now")                           \
	X(queued, "moves waiting now")                                   \
	X(flying, "moves with the device now")                           \
	X(reads, "parts read")                                           \
	X(read_bytes, "payload bytes read")                              \
	X(writes, "parts written")                                       \
	X(write_bytes, "payload bytes written")                          \
	X(device_read_bytes, "bytes read from the device")               \
	X(device_write_bytes, "bytes written to the device")             \
	X(carried_bytes, "payload bytes written again to free segments") \
	X(dropped, "parts dropped to free segments")                     \
	X(removed, "parts removed on request")                           \
	X(bad, "parts whose bytes were wrong when they were read")       \
	X(errors, "reads and writes that the device failed")             \
	X(late, "moves that the device took too long for")               \
	X(lost_bytes, "bytes of places that are not used again, now")    \
	X(recovered, "parts found at the start")                         \
	X(recover_us, "microseconds that finding them took")

struct tier_stat {
	enum tier_state state;
	const char *why; /* of a state that is not UP, or what it lacks: static
			    text; "" */
	const char *io;	 /* how it moves: "io_uring", "threads", ... static */
	bool direct;	 /* past the page cache */
	/* What it can hold at once; what is written beyond makes it drop
	 * others. 0: not known yet. */
	uint64_t room_bytes;
#define X(name, text) uint64_t name;
	TIER_STATS(X)
#undef X
	struct tier_price read, write; /* as measured by moves */
};

struct tier_options {
	const char *path;	/* directory, file or block device */
	uint64_t size;		/* hard limit in bytes */
	uint64_t segment_bytes; /* 0: chosen from size; else a power of two */
	uint32_t depth;		/* moves with the device at most; 0: default */
	enum { TIER_IO_AUTO, TIER_IO_URING, TIER_IO_THREADS } io;
	/* Is a part worth being carried over when its place is freed? NULL: what
	 * was read since it was written is. From ready() and tick(). */
	bool (*wanted)(void *ctx, const struct tier_id *id,
		       const struct tier_block *block);
	/* A part left without being asked to (dropped, wrong). May be NULL. */
	void (*gone)(void *ctx, const struct tier_id *id, bool wrong);
	void *ctx;
	uint64_t now_ns;
	/* Another process has it: 0: -EBUSY at once, for a node that starts. Else
	 * open() gives 0, and it is tried again for so long as TIER_COMING, then
	 * more seldom as TIER_DOWN: for a server whose predecessor has died, and
	 * whose device may not be done yet. */
	uint64_t busy_ns;
};

/* An opened tier; a backend's own struct begins with it. */
struct tier {
	const struct tier_ops *ops;
};

struct tier_ops {
	const char *name;
	unsigned kind;
	/* Memory: measures now; bounded to a few milliseconds. 0 or -errno. */
	int (*measure)(struct tier_price *ret_price);

	/* ---- places with an index of their own; NULL for memory */

	/* -EBUSY another node has it; -EPROTONOSUPPORT another version's;
	 * -EPROTO something else lies there; -EINVAL, -ENOSPC, -errno of open.
	 * Not one byte of what is not a tier's is overwritten. Finding what it
	 * has goes on behind: TIER_COMING until then. */
	int (*open)(const struct tier_options *options, struct tier **ret_tier);
	/* Ends it well: begins nothing new (moves that wait: -ECANCELED), waits
	 * until deadline_ns for the rest, writes what makes the next open()
	 * quick. Calls done(). 0, or -ETIMEDOUT: the next open() looks closer. */
	int (*stop)(struct tier *t, uint64_t deadline_ns);
	/* Takes NULL. Without stop(): as if the process had died, but for the
	 * memory. Waits for what the device has in hand. */
	void (*close)(struct tier *t);
	int (*fd)(const struct tier *t); /* readable: ready() has work */
	void (*ready)(struct tier *t, uint64_t now_ns);
	/* ns until it wants to be called again. */
	uint64_t (*tick)(struct tier *t, uint64_t now_ns);
	/* The number of a space, for this open() alone. -ENOSPC, -ENOMEM. */
	int (*space)(struct tier *t, const struct tier_space *space,
		     uint32_t *ret_space);
	bool (*find)(const struct tier *t, const struct tier_id *id,
		     struct tier_found *ret_found);
	/* 0 it began; OC_MISS; -E2BIG no room for it at data; -EAGAIN too many. */
	int (*read)(struct tier *t, struct tier_move *m);
	/* 0 it began; OC_EXISTS it is there; OC_BUSY it is being written; -EAGAIN
	 * too many; -ENOSPC no room for it now; -EROFS, -EIO the state does not
	 * take it. done(0): it is found from now on, and after a crash. */
	int (*write)(struct tier *t, struct tier_move *m);
	/* Asks that it ends soon; done() comes. */
	void (*cancel)(struct tier *t, struct tier_move *m);
	/* 0, OC_MISS. It is not found from now on, also not after a crash that
	 * comes later than tier_stat's next commit (10 ms). While it is not known
	 * yet what the tier has: 0, and the 10 ms begin when that is known. */
	int (*remove)(struct tier *t, const struct tier_id *id);
	/* It was used above, so it is worth carrying over. */
	void (*use)(struct tier *t, const struct tier_id *id);
	/* Memory that moves will use, to be registered with the device as time
	 * allows; before drop() returns it is not. No effect on what moves do. */
	void (*memory_add)(struct tier *t, void *base, uint64_t bytes);
	void (*memory_drop)(struct tier *t, void *base, uint64_t bytes);
	/* The place is not written again before release(). OC_MISS, -EAGAIN. */
	int (*hold)(struct tier *t, const struct tier_id *id,
		    struct tier_place *ret_place);
	/* wrong: what lay there was not what was written; as -EBADMSG. */
	void (*release)(struct tier *t, struct tier_place *place, bool wrong);
	void (*stat)(const struct tier *t, struct tier_stat *ret_stat);
	/* Calls fn for every part that can be read. */
	void (*each)(const struct tier *t,
		     void (*fn)(void *ctx, const struct tier_id *id,
				const struct tier_block *block),
		     void *ctx);
	/* Recounts everything; problem() for what is not right. */
	void (*check)(const struct tier *t,
		      void (*problem)(void *ctx, const char *text), void *ctx);
};

extern const struct tier_ops tier_dram, tier_nvme;

const struct tier_ops *tier_find(unsigned kind); /* NULL */
/* Measures and publishes a tier's price in a pool's record. */
int tier_publish(const struct tier_ops *ops, struct pool_meta *m,
		 uint64_t now_ms);
/* Publishes a price that is known. */
void tier_publish_price(unsigned kind, const struct tier_price *price,
			struct pool_meta *m, uint64_t now_ms);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's thread. All reads and writes of the log are done in one thread of
 * their own, by io_uring or, where that is refused, by a small pool of threads.
 * What is read is hashed there, and the memory of what was written once that is
 * done, so that the store's thread never touches payload.
 *
 *	store's thread: submit -> [queues by urgency] ............ reap -> done()
 *	device's thread:           schedule -> pieces -> kernel -> verify -> [done]
 *
 * Who goes first: the log's own pages; then, class by class of urgency, reads,
 * then writes. While somebody waits for a read, all that is less urgent has few
 * bytes with the device and in small pieces, but never none: room has to be made.
 *
 * One lock guards the queues and what both threads know of an operation. Nothing
 * that was handed to the kernel is forgotten: done() comes when the kernel, or the
 * table that stands for it in tests, has answered.
 *
 * A job is a function that runs in the device's thread (recovery, trying a device
 * again). It may wait for reads and writes of its own by nvme_io_wait().
 */
#ifndef ONECOPY_TIER_NVME_IO_H
#define ONECOPY_TIER_NVME_IO_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include "base/compiler.h"
#include "tier/nvme/depth.h"
#include "tier/tier.h"

enum nvme_op {
	NVME_READ,
	NVME_WRITE,
	NVME_ALLOCATE, /* bytes at offset, by fallocate() */
	NVME_SYNC,     /* fdatasync() */
	NVME_JOB,
};

/* What becomes of an operation before the kernel sees it. */
struct nvme_fate {
	int result;	/* negative: that is the answer, nothing is done */
	bool hold;	/* it is done when nvme_io_table.held() says no */
	uint64_t bytes; /* not 0: it is cut to so many; multiple of 4096 */
};

/* How the tier meets its device and the clock. The real one, or a test's. fate
 * and held may be NULL; both come from the device's thread, now from all. */
struct nvme_io_table {
	int (*open)(void *ctx, const char *path, int flags, unsigned mode);
	uint64_t (*now)(void *ctx);
	struct nvme_fate (*fate)(void *ctx, enum nvme_op op, uint64_t offset,
				 uint64_t bytes);
	bool (*held)(void *ctx);
	void *ctx;
};
extern const struct nvme_io_table nvme_io_real;
/* For the open() calls from now on, in this process; NULL: the real one. */
void nvme_io_use(const struct nvme_io_table *table);
const struct nvme_io_table *nvme_io_used(void);

/* Queues: what the log itself writes, then the urgencies. */
#define NVME_LOG_ITSELF TIER_URGENCIES
#define NVME_QUEUES	(2 * (TIER_URGENCIES + 1))

enum nvme_io_at { NVME_AT_REST, NVME_AT_QUEUE, NVME_AT_DEVICE, NVME_AT_DONE };

struct nvme_io {
	/* the submitter's; stable until done() */
	void (*done)(struct nvme_io *io); /* by nvme_io_reap(); NULL: of a job */
	uint64_t offset;
	uint64_t bytes; /* multiple of 4096 */
	/* Page aligned; a job's function is in `run`. Slices are whole pages. */
	union {
		struct slices slices;
		void *data; /* of what is in no slices: its begin */
	};
	int (*run)(struct nvme_io *io);
	uint64_t deadline_ns; /* to begin; 0: none */
	uint64_t payload;     /* bytes to verify; 0: none */
	uint64_t seed, checksum;
	uint8_t op, urgency; /* enum nvme_op; enum tier_urgency or the log's */
	/* the engine's */
	uint8_t at;
	bool cancelled;
	int32_t result;	 /* 0, negative errno; -EBADMSG: other bytes */
	uint32_t pieces; /* with the kernel */
	bool alone;	 /* nothing else was with the device when it began */
	uint64_t sent, begun_ns, among; /* bytes with the device at its begin */
	struct nvme_io *next, *prev;
};

struct nvme_io_list {
	struct nvme_io *first, *last;
	uint32_t n;
};

/* What the kernel has: a stretch of an operation. */
struct nvme_piece {
	struct nvme_io *io;
	uint64_t from, bytes; /* in the operation */
	int64_t result;	      /* until it ended: what fate said, or cut off */
	int64_t from_kernel;  /* threads: as the worker saw it */
	struct nvme_piece *next;
};
#define NVME_PIECES 512
/* Slices that one call of the kernel reads or writes. */
#define NVME_VEC 64u

struct nvme_engine;

struct nvme_backend {
	const char *name;
	/* All in the device's thread, but wake() and close(). open: 0, -errno. */
	int (*open)(struct nvme_engine *e);
	void (*close)(struct nvme_engine *e);
	void (*start)(struct nvme_engine *e, struct nvme_piece *p);
	/* Lets begin what was started; waits for an end or wake(), if `wait`;
	 * calls nvme_engine_ended() for what ended. */
	void (*wait)(struct nvme_engine *e, bool wait);
	void (*wake)(struct nvme_engine *e);
	/* Registers [base, +bytes); NULL where there is nothing to register. */
	void (*memory_add)(struct nvme_engine *e, void *base, uint64_t bytes);
	void (*memory_drop)(struct nvme_engine *e, void *base, uint64_t bytes);
};
extern const struct nvme_backend nvme_backend_uring, nvme_backend_threads;

struct nvme_memory; /* to be registered, or to be given up */

struct nvme_engine_stat {
	uint32_t queued, flying;
	uint64_t oldest_ns; /* when the oldest one went to the device; 0: none */
	uint64_t queued_bytes[TIER_URGENCIES]; /* of reads */
	uint64_t flying_bytes;
	struct tier_price read, write;
};

struct nvme_engine {
	const struct nvme_io_table *table;
	const struct nvme_backend *backend;
	void *backend_state;
	int fd, event; /* the file; tells the store's thread */
	pthread_t thread;
	bool started;
	_Atomic bool nap; /* the device's thread sleeps, or is about to */

	pthread_mutex_t lock;
	/* under the lock */
	struct nvme_io_list queue[NVME_QUEUES], device, done;
	struct nvme_memory *memory;
	pthread_cond_t memory_done;
	bool stop, told; /* told: `event` was written since the last reap */
	uint64_t posted; /* grows with all that the device's thread must see */
	uint64_t queued_bytes[NVME_QUEUES];
	uint64_t read_flying, write_flying, less_flying; /* bytes */
	uint32_t waited_flying; /* reads that somebody waits for */
	struct tier_price read, write;
	/* the device's thread's */
	struct nvme_depth depth;
	struct nvme_io *partial[NVME_QUEUES]; /* not wholly sent */
	struct nvme_piece piece[NVME_PIECES], *free, *ended, *held;
	struct iovec *vec; /* NVME_VEC for each piece */
	uint32_t flying;   /* pieces */
	uint32_t most;
};

/* Starts the thread. fd stays the caller's. kind: TIER_IO_*. -ENOMEM, -errno. */
int nvme_engine_start(struct nvme_engine *e, const struct nvme_io_table *table,
		      int fd, int kind, uint32_t depth);
/* Waits for all that is with the device; what waits ends with -ECANCELED. Both
 * are reaped by the caller afterwards, then nvme_engine_fini(). */
void nvme_engine_stop(struct nvme_engine *e);
void nvme_engine_fini(struct nvme_engine *e);

/* ---- from the store's thread */

void nvme_io_submit(struct nvme_engine *e, struct nvme_io *io);
/* done() with -ECANCELED soon, or with what comes of it. */
void nvme_io_cancel(struct nvme_engine *e, struct nvme_io *io);
/* Calls done() of what is done. */
void nvme_io_reap(struct nvme_engine *e);
/* Ends what was not begun in time (-ETIMEDOUT). */
void nvme_io_expire(struct nvme_engine *e, uint64_t now_ns);
/* Ends all reads and writes that wait, but the log's own. */
void nvme_io_drop(struct nvme_engine *e, int result);
/* Makes the device's thread look again: held() may have changed. */
void nvme_io_kick(struct nvme_engine *e);
void nvme_engine_stat(struct nvme_engine *e, struct nvme_engine_stat *ret);
void nvme_engine_memory_add(struct nvme_engine *e, void *base, uint64_t bytes);
void nvme_engine_memory_drop(struct nvme_engine *e, void *base, uint64_t bytes);

/* ---- from the device's thread */

/* Of a job: does n operations at once and waits for all; results in them. */
void nvme_io_wait(struct nvme_engine *e, struct nvme_io *ios, uint32_t n);
/* Of a backend: where the bytes of a piece lie, one vector for each slice; valid
 * until it ends. Their number. */
unsigned nvme_engine_vec(struct nvme_engine *e, const struct nvme_piece *p,
			 const struct iovec **ret_vec);
/* Of a backend. */
void nvme_engine_ended(struct nvme_engine *e, struct nvme_piece *p,
		       int64_t result);

/* ---- without the thread: by the caller, one call of the kernel after another */

int nvme_io_now(const struct nvme_io_table *table, int fd, enum nvme_op op,
		uint64_t offset, void *data, uint64_t bytes);

/* Room in the file; as nvme_op ALLOCATE. */
int nvme_io_allocate(int fd, uint64_t offset, uint64_t bytes);

/* Page aligned, zeroed. Freed with free(). */
void *nvme_pages(uint64_t bytes);

#endif

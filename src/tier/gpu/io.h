/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads from a disk into memory that the caller pinned, many at once: io_uring,
 * or threads where that is refused or was not built in.
 *
 * A read is named by a slot of the caller's, 0 .. depth - 1, one at a time in
 * each. All calls come from one thread. A read that has begun ends by itself: a
 * wait that gave up leaves it under way, and its memory must stay until a later
 * wait says that it is done. destroy waits for all of them.
 */
#ifndef ONECOPY_TIER_GPU_IO_H
#define ONECOPY_TIER_GPU_IO_H

#include "base/compiler.h"

enum gpu_io_kind { GPU_IO_AUTO, GPU_IO_URING, GPU_IO_THREADS };

struct gpu_io;

/* depth: 1 .. 256. -ENOSYS, -EPERM ...: GPU_IO_URING is not to be had. */
int gpu_io_create(enum gpu_io_kind kind, uint32_t depth,
		  struct gpu_io **ret_io);
void gpu_io_destroy(struct gpu_io *io);		  /* takes NULL */
const char *gpu_io_name(const struct gpu_io *io); /* static text */

/* -EBUSY: the slot is under way. */
int gpu_io_read(struct gpu_io *io, uint32_t slot, int fd, void *data,
		uint32_t bytes, uint64_t offset);
/* Waits until deadline_ns (of clock_ns(); 0: only looks). Bytes read, or the
 * read's -errno, or -ETIME: it is still under way. */
int64_t gpu_io_wait(struct gpu_io *io, uint32_t slot, uint64_t deadline_ns);

/* ---- the two ways ------------------------------------------------------------ */

struct gpu_io_ops {
	const char *name;
	int (*create)(uint32_t depth, struct gpu_io **ret_io);
	void (*destroy)(struct gpu_io *io);
	int (*read)(struct gpu_io *io, uint32_t slot, int fd, void *data,
		    uint32_t bytes, uint64_t offset);
	int64_t (*wait)(struct gpu_io *io, uint32_t slot, uint64_t deadline_ns);
};
struct gpu_io {
	const struct gpu_io_ops *ops;
};
extern const struct gpu_io_ops gpu_io_uring, gpu_io_threads;

#endif

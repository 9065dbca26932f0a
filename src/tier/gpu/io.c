/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/gpu/io.h"

#include <errno.h>

#define IO_DEPTH_MOST 256u

int gpu_io_create(enum gpu_io_kind kind, uint32_t depth, struct gpu_io **ret_io)
{
	int r = -ENOSYS;

	if (!depth || depth > IO_DEPTH_MOST)
		return -EINVAL;
	if (kind != GPU_IO_THREADS)
		r = gpu_io_uring.create(depth, ret_io);
	if (r < 0 && r != -ENOMEM && kind != GPU_IO_URING)
		r = gpu_io_threads.create(depth, ret_io);
	return r;
}

void gpu_io_destroy(struct gpu_io *io)
{
	if (io)
		io->ops->destroy(io);
}

const char *gpu_io_name(const struct gpu_io *io)
{
	return io->ops->name;
}

int gpu_io_read(struct gpu_io *io, uint32_t slot, int fd, void *data,
		uint32_t bytes, uint64_t offset)
{
	return io->ops->read(io, slot, fd, data, bytes, offset);
}

int64_t gpu_io_wait(struct gpu_io *io, uint32_t slot, uint64_t deadline_ns)
{
	return io->ops->wait(io, slot, deadline_ns);
}

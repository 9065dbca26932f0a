/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "tier/nvme/io.h"

static int real_open(void *ctx, const char *path, int flags, unsigned mode)
{
	int fd;

	(void)ctx;
	if (fault_point(FAULT_IO))
		return -EIO;
	fd = open(path, flags | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

static uint64_t real_now(void *ctx)
{
	(void)ctx;
	return clock_ns();
}

const struct nvme_io_table nvme_io_real = { .open = real_open,
					    .now = real_now };

static const struct nvme_io_table *used = &nvme_io_real;

void nvme_io_use(const struct nvme_io_table *table)
{
	used = table ? table : &nvme_io_real;
}

const struct nvme_io_table *nvme_io_used(void)
{
	return used;
}

int nvme_io_allocate(int fd, uint64_t offset, uint64_t bytes)
{
	struct stat st;

	if (fallocate(fd, 0, (off_t)offset, (off_t)bytes) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	/* A file system that cannot: it may refuse later, when it is written. */
	if (fstat(fd, &st) < 0 || (st.st_size < (off_t)(offset + bytes) &&
				   ftruncate(fd, (off_t)(offset + bytes)) < 0))
		return -errno;
	return 0;
}

static int64_t once(int fd, enum nvme_op op, uint64_t offset, void *data,
		    uint64_t bytes)
{
	int64_t n;

	if (op == NVME_ALLOCATE)
		return nvme_io_allocate(fd, offset, bytes);
	if (op == NVME_SYNC)
		n = fdatasync(fd);
	else if (op == NVME_READ)
		n = pread(fd, data, bytes, (off_t)offset);
	else
		n = pwrite(fd, data, bytes, (off_t)offset);
	return n < 0 ? -errno : n;
}

int nvme_io_now(const struct nvme_io_table *table, int fd, enum nvme_op op,
		uint64_t offset, void *data, uint64_t bytes)
{
	struct nvme_fate fate = { 0 };
	uint64_t at = 0;
	int64_t n;

	if (table->fate)
		fate = table->fate(table->ctx, op, offset, bytes);
	if (fault_point(FAULT_IO))
		fate.result = -EIO;
	if (fate.result < 0)
		return fate.result;
	if (op == NVME_SYNC || op == NVME_ALLOCATE)
		return (int)once(fd, op, offset, data, bytes);
	while (at < bytes) {
		n = once(fd, op, offset + at, (uint8_t *)data + at, bytes - at);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? (int)n : -ENODATA;
		at += (uint64_t)n;
	}
	return 0;
}

void *nvme_pages(uint64_t bytes)
{
	void *p;

	if (fault_point(FAULT_ALLOC) ||
	    posix_memalign(&p, PAGE_BYTES, ALIGN_UP(bytes, PAGE_BYTES)))
		return NULL;
	memset(p, 0, bytes);
	return p;
}

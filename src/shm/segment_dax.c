/* SPDX-License-Identifier: Apache-2.0 */
/* Segments on a devdax device (base/dax.h). */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/dax.h"
#include "base/fault.h"
#include "base/guard.h"
#include "base/shared.h"
#include "shm/segment_internal.h"

static int dax_size(int fd, uint64_t *ret_bytes)
{
	uint64_t bytes;
	int r = dax_probe(fd, &bytes);

	if (r < 0)
		return r;
	*ret_bytes = bytes & ~(SEGMENT_DAX_UNIT - 1);
	return 0;
}

int segment_dax_open(const char *path, int *ret_fd, uint64_t *ret_bytes)
{
	int fd, r;

	if (fault_point(FAULT_IO))
		return -EIO;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = dax_size(fd, ret_bytes);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int segment_dax_check(int fd, uint64_t offset, uint64_t bytes)
{
	uint64_t size;
	int r = dax_size(fd, &size);

	if (r < 0)
		return r;
	if (!bytes || offset % SEGMENT_DAX_UNIT || bytes % SEGMENT_DAX_UNIT ||
	    offset > size || bytes > size - offset)
		return -EPROTO;
	return 0;
}

struct touching {
	const shared_u64 *at;
	uint64_t bytes;
};

static void touch(void *ctx)
{
	struct touching *t = ctx;

	for (uint64_t i = 0; i < t->bytes; i += PAGE_BYTES)
		(void)shared_load64(t->at + i / sizeof(*t->at));
}

int segment_dax_lost(const struct segment_source *source, uint64_t bytes,
		     uint64_t *ret_offset)
{
	struct guard_fault fault;
	struct touching t = { .bytes = bytes };
	void *base;
	int r;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, source->fd,
		    (off_t)source->offset);
	if (base == MAP_FAILED)
		return -errno;
	t.at = base;
	r = guard_run(touch, &t, &fault) < 0 ? 0 : -ENOENT;
	if (r == 0)
		*ret_offset = (source->offset + (fault.at - (uintptr_t)base)) &
			      ~(SEGMENT_DAX_UNIT - 1);
	munmap(base, bytes);
	return r;
}

static void zero(void *ctx)
{
	const struct segment *s = ctx;

	memset(s->base, 0, s->bytes);
}

/* Zeroed: what lies there is of another life of the device, and perhaps of
 * another tenant. */
int segment_dax_create(const struct segment_source *source, uint64_t bytes,
		       struct segment *ret_segment)
{
	struct segment s = { .bytes = bytes,
			     .offset = source->offset,
			     .kind = SEGMENT_DAX };
	int r = bytes % SEGMENT_DAX_UNIT || source->offset % SEGMENT_DAX_UNIT
			? -EINVAL
			: 0;

	if (r < 0)
		return r;
	s.fd = fault_point(FAULT_IO) ? -1
				     : fcntl(source->fd, F_DUPFD_CLOEXEC, 3);
	if (s.fd < 0)
		return -EMFILE;
	r = segment_map(&s, true);
	if (r == 0)
		r = guard_run(zero, &s, NULL);
	if (r < 0) {
		segment_close(&s);
		return r;
	}
	*ret_segment = s;
	return 0;
}

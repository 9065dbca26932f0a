/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments on a devdax device: memory that the kernel maps and otherwise leaves
 * alone. Its file has no size (sysfs has it), takes no read or write, and gives
 * EINVAL for any mapping that is not of whole units of its alignment.
 *
 * What such a device is, is asked of sysfs by the device number of the descriptor
 * itself, so a path that names something else in the meantime deceives nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/guard.h"
#include "base/text.h"
#include "shm/segment_internal.h"

#define SYS_TEXT 64

/* A number in the device's folder of sysfs. */
static int read_attribute(dev_t dev, const char *name, uint64_t *ret)
{
	char path[96], text[SYS_TEXT] = "";
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/%s", major(dev),
		 minor(dev), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	fd_close(fd);
	if (n <= 0)
		return -EIO;
	text[strcspn(text, "\n")] = '\0';
	return text_parse_u64(text, UINT64_MAX, ret);
}

static bool is_dax(dev_t dev)
{
	char path[96], link[256] = "";
	const char *last;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/subsystem",
		 major(dev), minor(dev));
	n = readlink(path, link, sizeof(link) - 1);
	if (n <= 0)
		return false;
	last = strrchr(link, '/');
	return last && strcmp(last, "/dax") == 0;
}

static int dax_size(int fd, uint64_t *ret_bytes)
{
	uint64_t bytes, align;
	struct stat info;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (fstat(fd, &info) < 0)
		return -errno;
	if (!S_ISCHR(info.st_mode) || !is_dax(info.st_rdev))
		return -EPROTO;
	if (read_attribute(info.st_rdev, "size", &bytes) < 0)
		return -EPROTO;
	/* older kernels do not say: 2 MiB is what they make */
	if (read_attribute(info.st_rdev, "align", &align) == 0 &&
	    SEGMENT_DAX_UNIT % align)
		return -EPROTO;
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

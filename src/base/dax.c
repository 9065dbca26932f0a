/* SPDX-License-Identifier: Apache-2.0 */
#include "base/dax.h"
#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "base/fault.h"
#include "base/sysfs.h"

#define FOLDER "/sys/dev/char/%u:%u/"

int dax_read(const char *root, unsigned major, unsigned minor,
	     uint64_t *ret_bytes)
{
	uint64_t bytes, align = DAX_UNIT;
	char subsystem[64];
	int r;

	/* others have a size as well, of something else */
	sysfs_link(root, subsystem, sizeof(subsystem), FOLDER "subsystem",
		   major, minor);
	if (strcmp(subsystem, "dax") != 0)
		return -EPROTO;
	r = sysfs_read_u64(root, &bytes, FOLDER "size", major, minor);
	if (r)
		return r == -EIO ? r : -EPROTO;
	r = sysfs_read_u64(root, &align, FOLDER "align", major, minor);
	/* older kernels do not say: 2 MiB is what they make */
	if (r && r != -ENOENT)
		return r == -EIO ? r : -EPROTO;
	if (!align || DAX_UNIT % align)
		return -EPROTO;
	*ret_bytes = bytes;
	return 0;
}

int dax_probe(int fd, uint64_t *ret_bytes)
{
	struct stat info;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (fstat(fd, &info) < 0)
		return -errno;
	if (!S_ISCHR(info.st_mode))
		return -EPROTO;
	return dax_read("", major(info.st_rdev), minor(info.st_rdev),
			ret_bytes);
}

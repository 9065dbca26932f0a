/* SPDX-License-Identifier: Apache-2.0 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fault.h"

int file_read(const char *path, char *buf, size_t cap, size_t *ret_len,
	      struct stat *ret_stat)
{
	CLEANUP(fd_close_at) int fd = -1;
	struct stat st;
	size_t len = 0;

	if (fault_point(FAULT_IO))
		return -EIO;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return -errno;
	while (len < cap) {
		ssize_t n = read(fd, buf + len, cap - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	*ret_stat = st;
	return 0;
}

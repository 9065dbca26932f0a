/* SPDX-License-Identifier: Apache-2.0 */
#include "pem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"

#define CAP (PEM_BYTES_MAX + 1) /* one more tells that it is too large */

static int read_whole(const char *path, char *buf, size_t *ret_len)
{
	CLEANUP(fd_close_at) int fd = -1;
	size_t len = 0;

	if (fault_point(FAULT_IO))
		return -EIO;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (len < CAP) {
		ssize_t n = read(fd, buf + len, CAP - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

static int take_text(const char *buf, size_t len, char **ret_text)
{
	char *text;

	if (len > PEM_BYTES_MAX)
		return -EFBIG;
	if (!len || memchr(buf, 0, len))
		return -EINVAL;
	text = mem_alloc(len + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, buf, len);
	*ret_text = text;
	return 0;
}

int pem_load(const char *path, char **ret_text)
{
	char *buf = mem_alloc(CAP);
	size_t len = 0;
	int r;

	if (!buf)
		return -ENOMEM;
	r = read_whole(path, buf, &len);
	if (r == 0)
		r = take_text(buf, len, ret_text);
	explicit_bzero(buf, CAP);
	free(buf);
	return r;
}

void pem_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

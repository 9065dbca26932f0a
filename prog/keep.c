/* SPDX-License-Identifier: Apache-2.0 */
#include "keep.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/text.h"
#include "shm/segment.h"

int keep_send(int sock, enum keep_op op, const struct hold_tag *tag, int fd)
{
	struct keep_msg m = { .op = (uint32_t)op };
	struct pollfd p = { .fd = sock, .events = POLLOUT };
	int r;

	if (tag)
		m.tag = *tag;
	while ((r = segment_send(sock, &m, sizeof(m), &fd, fd >= 0)) ==
	       -EAGAIN) {
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
	}
	return r == -ECONNRESET ? -EPIPE : r;
}

int keep_recv(int sock, struct keep_msg *ret_msg, int *ret_fd)
{
	int fds[SEGMENT_FDS_MAX];
	unsigned n = 0;
	size_t len = 0;
	int r = segment_recv(sock, ret_msg, sizeof(*ret_msg), fds, &n, &len);

	if (r == -ECONNRESET || (r == 0 && !len))
		return -EPIPE;
	if (r < 0)
		return r;
	*ret_fd = n ? fds[0] : -1;
	for (unsigned i = 1; i < n; i++)
		fd_close(fds[i]);
	if (len == sizeof(*ret_msg))
		return 0;
	*ret_fd = fd_close(*ret_fd);
	return -EPROTO;
}

int keep_socket_path(const struct node_config *config, char *buf, size_t cap)
{
	const char *given = getenv("ONECOPY_SOCKET");
	const char *dir = getenv("XDG_RUNTIME_DIR");
	int n;

	if (config->socket[0])
		return text_copy(buf, cap, config->socket);
	if (given && *given)
		return text_copy(buf, cap, given);
	n = snprintf(buf, cap, "%s/onecopy.sock", dir && *dir ? dir : "/run");
	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

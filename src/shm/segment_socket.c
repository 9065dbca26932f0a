/* SPDX-License-Identifier: Apache-2.0 */
/* Messages with descriptors over Unix sockets (SCM_RIGHTS, unix(7)). */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fault.h"
#include "shm/segment.h"

#define FDS_BYTES (SEGMENT_FDS_MAX * sizeof(int))

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(FDS_BYTES)];
};

static void put_fds(struct msghdr *m, union control *c, const int *fds,
		    unsigned n)
{
	struct cmsghdr *cm;

	memset(c, 0, sizeof(*c));
	m->msg_control = c->room;
	m->msg_controllen = CMSG_SPACE(n * sizeof(int));
	cm = CMSG_FIRSTHDR(m);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(cm), fds, n * sizeof(int));
}

int segment_send(int sock, const void *msg, size_t len, const int *fds,
		 unsigned n_fds)
{
	struct iovec part = { .iov_len = len };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
	union control c;
	ssize_t n;

	/* Descriptors travel with bytes; an empty message looks like an end. */
	if (n_fds > SEGMENT_FDS_MAX || len == 0)
		return -EINVAL;
	memcpy(&part.iov_base, &msg, sizeof(msg)); /* iovec has no const */
	if (n_fds)
		put_fds(&m, &c, fds, n_fds);
	if (fault_point(FAULT_IO))
		return -EIO;
	do
		n = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* Part of it went (a stream whose buffer is full): the descriptors are
	 * gone with it and the peer cannot find the next message. */
	return (size_t)n == len ? 0 : -EPROTO;
}

/* All descriptors of a message; those beyond the room are closed and told. */
static unsigned get_fds(struct msghdr *m, int *fds, bool *ret_over)
{
	unsigned n = 0;

	for (struct cmsghdr *cm = CMSG_FIRSTHDR(m); cm;
	     cm = CMSG_NXTHDR(m, cm)) {
		size_t count;

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int),
			       sizeof(fd));
			if (n < SEGMENT_FDS_MAX)
				fds[n++] = fd;
			else
				*ret_over = fd_close(fd) < 0;
		}
	}
	return n;
}

int segment_recv(int sock, void *msg, size_t cap, int *ret_fds,
		 unsigned *ret_n_fds, size_t *ret_len)
{
	struct iovec part = { .iov_base = msg, .iov_len = cap };
	union control c;
	struct msghdr m = { .msg_iov = &part,
			    .msg_iovlen = 1,
			    .msg_control = c.room,
			    .msg_controllen = sizeof(c.room) };
	int fds[SEGMENT_FDS_MAX];
	bool over = false;
	unsigned n_fds;
	ssize_t n;

	if (fault_point(FAULT_IO))
		return -EIO;
	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	n_fds = get_fds(&m, fds, &over);
	if (over || (m.msg_flags & (MSG_CTRUNC | MSG_TRUNC))) {
		while (n_fds)
			fd_close(fds[--n_fds]);
		return -EPROTO;
	}
	memcpy(ret_fds, fds, n_fds * sizeof(int));
	*ret_n_fds = n_fds;
	*ret_len = (size_t)n;
	return 0;
}

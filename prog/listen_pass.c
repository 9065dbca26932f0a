/* SPDX-License-Identifier: Apache-2.0 */
/* The other side of listen_inherit(): sockets for a node that is started here. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "listen.h"

const char *const listen_names[LISTEN_DOORS] = { "resp", "http" };

int listen_any(int *ret_fd, uint16_t *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(in);
	CLEANUP(fd_close_at) int fd = -1;

	if (fault_point(FAULT_IO))
		return -EIO;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&in, sizeof(in)) < 0 ||
	    listen(fd, LISTEN_BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&in, &len) < 0)
		return -errno;
	*ret_port = ntohs(in.sin_port);
	*ret_fd = fd_take(&fd);
	return 0;
}

static int set_number(const char *name, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	return setenv(name, text, 1) < 0 ? -errno : 0;
}

int listen_pass(const int fds[LISTEN_DOORS])
{
	char list[64] = "";
	int n = 0, high[LISTEN_DOORS], r;

	/* out of the way of where they go */
	for (unsigned i = 0; i < LISTEN_DOORS; i++)
		high[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 64);
	for (unsigned i = 0; i < LISTEN_DOORS; i++) {
		size_t at = strlen(list);

		if (fds[i] < 0)
			continue;
		if (high[i] < 0 ||
		    dup2(high[i], LISTEN_FIRST + n) < 0) /* words: passed on */
			return -errno;
		snprintf(list + at, sizeof(list) - at, "%s%s", n ? ":" : "",
			 listen_names[i]);
		n++;
	}
	r = setenv("LISTEN_FDNAMES", list, 1) < 0 ? -errno : 0;
	if (r == 0)
		r = set_number("LISTEN_FDS", n);
	if (r == 0)
		r = set_number("LISTEN_PID", (int)getpid());
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/epoll.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "loop/loop_impl.h"

_Static_assert((int)LOOP_IN == (int)EPOLLIN && (int)LOOP_OUT == (int)EPOLLOUT &&
		       (int)LOOP_HUP == (int)EPOLLHUP,
	       "interest is passed on as it is");

struct epoll_state {
	int fd;
	bool no_pwait2; /* before Linux 5.11: milliseconds */
	struct epoll_event room[LOOP_FETCH];
};

static int epoll_open(struct loop *l)
{
	struct epoll_state *e = mem_alloc(sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	errno = EIO;
	e->fd = fault_point(FAULT_IO) ? -1 : epoll_create1(EPOLL_CLOEXEC);
	if (e->fd < 0) {
		err = -errno;
		free(e);
		return err;
	}
	l->backend = e;
	return 0;
}

static void epoll_shut(struct loop *l)
{
	struct epoll_state *e = l->backend;

	fd_close(e->fd);
	free(e);
}

static int control(struct loop *l, int op, int fd)
{
	const struct epoll_state *e = l->backend;
	struct epoll_event event = { .events = l->watches[fd].events,
				     .data.u64 = loop_tag(l, fd) };

	return epoll_ctl(e->fd, op, fd, &event) < 0 ? -errno : 0;
}

static int epoll_add(struct loop *l, int fd)
{
	return control(l, EPOLL_CTL_ADD, fd);
}

static int epoll_change(struct loop *l, int fd, uint64_t old_tag)
{
	(void)old_tag;
	return control(l, EPOLL_CTL_MOD, fd);
}

static void epoll_remove(struct loop *l, int fd)
{
	control(l, EPOLL_CTL_DEL, fd);
}

static int epoll_again(struct loop *l, int fd)
{
	(void)l;
	(void)fd;
	return 0; /* stays armed */
}

static int wait_ms(struct epoll_state *e, uint64_t timeout_ns)
{
	uint64_t ms = DIV_UP(MIN(timeout_ns, INT32_MAX * NS_PER_MS), NS_PER_MS);

	return epoll_wait(e->fd, e->room, LOOP_FETCH,
			  timeout_ns == UINT64_MAX ? -1 : (int)ms);
}

static int wait_ns(struct epoll_state *e, uint64_t timeout_ns)
{
	struct timespec ts = { (time_t)(timeout_ns / NS_PER_S),
			       (long)(timeout_ns % NS_PER_S) };
	int n;

	if (e->no_pwait2)
		return wait_ms(e, timeout_ns);
	n = epoll_pwait2(e->fd, e->room, LOOP_FETCH,
			 timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
	if (n >= 0 || (errno != ENOSYS && errno != EPERM))
		return n;
	e->no_pwait2 = true;
	return wait_ms(e, timeout_ns);
}

static int epoll_fetch(struct loop *l, uint64_t timeout_ns)
{
	struct epoll_state *e = l->backend;
	int n = wait_ns(e, timeout_ns);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		unsigned events = e->room[i].events;

		if (events & EPOLLERR)
			events |= LOOP_HUP;
		l->fetched[i].tag = e->room[i].data.u64;
		l->fetched[i].events = events;
	}
	return n;
}

const struct loop_ops loop_epoll_ops = {
	.name = "epoll",
	.open = epoll_open,
	.close = epoll_shut,
	.add = epoll_add,
	.change = epoll_change,
	.remove = epoll_remove,
	.again = epoll_again,
	.wait = epoll_fetch,
};

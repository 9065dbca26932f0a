/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness by io_uring's one-shot polls: armed again after each callback,
 * which keeps the level-triggered meaning (a multishot poll tells edges only).
 * Polls that are due are submitted by the same system call that waits, so a
 * loop_run is one system call however many descriptors were ready.
 *
 * A poll holds a reference to its file. So a removal is submitted at once: the
 * caller will close the descriptor, and its peer must see that.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "loop/loop_impl.h"

_Static_assert(LOOP_IN == POLLIN && LOOP_OUT == POLLOUT && LOOP_HUP == POLLHUP,
	       "interest is passed on as it is");

#define QUEUE_ENTRIES 256
#define TAG_NONE      0ull /* user data of removals: nobody asks how they went */

static int uring_open(struct loop *l)
{
	struct io_uring *ring = mem_alloc(sizeof(*ring));
	int err;

	if (!ring)
		return -ENOMEM;
	err = fault_point(FAULT_IO)
		      ? -EIO
		      : io_uring_queue_init(QUEUE_ENTRIES, ring, 0);
	/* Without EXT_ARG (Linux 5.11) a timeout would be a request of its
	 * own; without NODROP completions could be lost. */
	if (err == 0 &&
	    (~ring->features & (IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP))) {
		io_uring_queue_exit(ring);
		err = -ENOSYS;
	}
	if (err < 0) {
		free(ring);
		return err == -ENOMEM || err == -EIO ? err : -ENOSYS;
	}
	l->backend = ring;
	return 0;
}

static void uring_close(struct loop *l)
{
	io_uring_queue_exit(l->backend);
	free(l->backend);
}

static int get_sqe(struct io_uring *ring, struct io_uring_sqe **ret_sqe)
{
	int err = 0;

	while (!(*ret_sqe = io_uring_get_sqe(ring))) {
		err = io_uring_submit(ring);
		if (err < 0 && err != -EINTR)
			return err;
	}
	return 0;
}

static int arm(struct loop *l, int fd)
{
	struct loop_watch *w = &l->watches[fd];
	struct io_uring_sqe *sqe;
	int err = get_sqe(l->backend, &sqe);

	if (err < 0)
		return err;
	io_uring_prep_poll_add(sqe, fd, w->events);
	sqe->user_data = loop_tag(l, fd);
	w->armed = true;
	return 0;
}

static int disarm(struct loop *l, uint64_t tag)
{
	struct io_uring_sqe *sqe;
	int err = get_sqe(l->backend, &sqe);

	if (err < 0)
		return err;
	io_uring_prep_poll_remove(sqe, tag);
	sqe->user_data = TAG_NONE;
	return 0;
}

static int uring_change(struct loop *l, int fd, uint64_t old_tag)
{
	int err = 0;

	/* Not armed: inside its own callback, or its event waits in `fetched`
	 * and will be dropped for its generation. */
	if (l->watches[fd].armed)
		err = disarm(l, old_tag);
	return err < 0 ? err : arm(l, fd);
}

static void uring_remove(struct loop *l, int fd)
{
	int err = 0;

	if (!l->watches[fd].armed)
		return;
	if (disarm(l, loop_tag(l, fd)) < 0)
		return; /* the poll ends unheard, at its event or the loop's end */
	while (err >= 0 && io_uring_sq_ready(l->backend))
		err = io_uring_submit(l->backend);
	l->watches[fd].armed = false;
}

/* A completion, as an event for the callback. A poll that the kernel ended
 * with an error other than by cancelling is told as a hang-up: silence would
 * be a descriptor that is never heard again. */
static bool take(struct loop *l, const struct io_uring_cqe *cqe,
		 struct loop_event *ret)
{
	struct loop_watch *w = loop_tagged(l, cqe->user_data);

	if (!w)
		return false;
	w->armed = false;
	ret->tag = cqe->user_data;
	if (cqe->res >= 0)
		ret->events = (unsigned)cqe->res;
	else
		ret->events = cqe->res == -ECANCELED ? 0 : LOOP_HUP;
	if (ret->events & POLLERR)
		ret->events |= LOOP_HUP;
	return true;
}

static int uring_wait(struct loop *l, uint64_t timeout_ns)
{
	struct io_uring *ring = l->backend;
	struct __kernel_timespec ts = {
		.tv_sec = (long long)(timeout_ns / NS_PER_S),
		.tv_nsec = (long long)(timeout_ns % NS_PER_S),
	};
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;
	int n = 0, err;

	/* A timeout of 0 would still set a timer and sleep once (about 15 us). */
	if (timeout_ns == 0)
		err = io_uring_submit_and_get_events(ring);
	else
		err = io_uring_submit_and_wait_timeout(
			ring, &cqe, 1, timeout_ns == UINT64_MAX ? NULL : &ts,
			NULL);
	/* EBUSY, EAGAIN: the completion queue is full and is emptied below. */
	if (err < 0 && err != -ETIME && err != -EINTR && err != -EBUSY &&
	    err != -EAGAIN)
		return err;
	io_uring_for_each_cqe(ring, head, cqe) {
		if (n == LOOP_FETCH)
			break;
		n += take(l, cqe, &l->fetched[n]);
		seen++;
	}
	io_uring_cq_advance(ring, seen);
	return n;
}

const struct loop_ops loop_uring_ops = {
	.name = "io_uring",
	.open = uring_open,
	.close = uring_close,
	.add = arm,
	.change = uring_change,
	.remove = uring_remove,
	.again = arm,
	.wait = uring_wait,
};

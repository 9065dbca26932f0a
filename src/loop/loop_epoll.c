/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness by epoll: level-triggered for registrations; operations try the
 * system call themselves.
 *
 * A descriptor that operations use is registered edge-triggered, when one of
 * them first has to wait, and stays so until loop_forget(): what was heard is
 * remembered, so that an operation on a ready descriptor costs its own system
 * call and no other. Each operation is tried once a pass, and a turn is two
 * passes: the second is for what the first one's callbacks started, which
 * saves a server that answers from its callbacks a turn.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "loop/loop_impl.h"

_Static_assert((int)LOOP_IN == (int)EPOLLIN && (int)LOOP_OUT == (int)EPOLLOUT &&
		       (int)LOOP_HUP == (int)EPOLLHUP,
	       "interest is passed on as it is");

/* What says that a short read has not emptied the stream. */
#define ODD (EPOLLRDHUP | EPOLLPRI | EPOLLERR | EPOLLHUP)

#define PASSES 2u

struct epoll_state {
	int fd;
	bool no_pwait2; /* before Linux 5.11: milliseconds */
	struct epoll_event room[LOOP_FETCH];
	char bytes[LOOP_ANY_BYTES]; /* of loop_receive_any() */
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

static void wake(struct loop *l, struct loop_op *op)
{
	if (op && op_state(op)->at == OP_WAITS)
		ops_move(&l->due, op, OP_DUE);
}

static int watch_for(struct loop *l, int fd, uint32_t interest)
{
	const struct epoll_state *e = l->backend;
	struct loop_watch *w = &l->watches[fd];
	struct epoll_event event = {
		.events = interest | EPOLLRDHUP | EPOLLPRI | EPOLLET,
		.data.u64 = LOOP_TAG_OP | (uint32_t)fd,
	};

	if (fault_point(FAULT_IO))
		return -EIO;
	if (epoll_ctl(e->fd, w->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd,
		      &event) < 0)
		return -errno;
	w->interest = interest;
	return 0;
}

/* What the kernel says of a descriptor that operations use. */
static void told(struct loop *l, int fd, unsigned events)
{
	struct loop_watch *w = &l->watches[fd];

	if (events & ODD)
		w->odd = true;
	if (events & (EPOLLIN | ODD)) {
		w->in_blocked = false;
		wake(l, w->in);
	}
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
		w->out_blocked = false;
		wake(l, w->out);
	}
	/* Some sockets tell of each message that their peer takes. When this
	 * fails they go on to, which costs time alone. */
	if ((events & EPOLLOUT) && !w->out)
		watch_for(l, fd, EPOLLIN);
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

static int64_t receive(struct epoll_state *e, struct loop_watch *w,
		       const struct op_state *s)
{
	size_t len = s->len - s->moved;
	char *into = s->kind == OP_ANY ? e->bytes : s->into + s->moved;
	ssize_t n = recv(s->fd, into, len, MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	/* The stream is empty, and the next byte will be told. Of memory that is
	 * the caller's this is not known: where it fails, less comes as well. */
	if (s->kind == OP_ANY && n > 0 && (size_t)n < len && !w->odd)
		w->in_blocked = true;
	return n;
}

static int64_t send_pieces(struct op_state *s)
{
	int flags = MSG_DONTWAIT | MSG_NOSIGNAL |
		    (s->flags & LOOP_MORE ? MSG_MORE : 0);
	struct iovec *v = &s->pieces[s->piece];
	ssize_t n;

	s->header.msg_iov = v;
	s->header.msg_iovlen = s->n_pieces - s->piece;
	if (s->header.msg_iovlen == 1) /* cheaper */
		n = send(s->fd, v->iov_base, v->iov_len, flags);
	else
		n = sendmsg(s->fd, &s->header, flags);
	return n < 0 ? -errno : n;
}

/* Before its first wait nothing is known of a descriptor. */
static bool blocked(const struct loop_watch *w, const struct op_state *s)
{
	if (s->kind == OP_SEND)
		return w->out_blocked;
	return w->in_blocked || (!w->interest && (s->flags & LOOP_NOT_YET));
}

static int64_t try_it(struct loop *l, struct op_state *s)
{
	struct loop_watch *w = &l->watches[s->fd];
	int64_t n;

	if (blocked(w, s))
		return -EAGAIN;
	if (fault_point(FAULT_IO))
		return -EIO;
	n = s->kind == OP_SEND ? send_pieces(s) : receive(l->backend, w, s);
	if (n == -EAGAIN && s->kind == OP_SEND)
		w->out_blocked = true;
	else if (n == -EAGAIN)
		w->in_blocked = true;
	return n;
}

/* An edge that came before the registration is told at the registration. */
static int let_wait(struct loop *l, struct loop_op *op)
{
	const struct op_state *s = op_state(op);
	uint32_t have = l->watches[s->fd].interest;
	uint32_t need = EPOLLIN | (s->kind == OP_SEND ? EPOLLOUT : 0u);

	ops_move(&l->waiting, op, OP_WAITS);
	return (have & need) == need ? 0 : watch_for(l, s->fd, have | need);
}

/* What cannot be tried must not keep the loop from sleeping. */
static void settle(struct loop *l)
{
	struct loop_op *op, *next;

	for (op = l->due.next; op != &l->due; op = next) {
		struct op_state *s = op_state(op);
		int err;

		next = op->next;
		if (!blocked(&l->watches[s->fd], s))
			continue;
		err = let_wait(l, op);
		if (err < 0)
			op_end_later(l, op, err);
	}
}

static int epoll_fetch(struct loop *l, uint64_t timeout_ns)
{
	struct epoll_state *e = l->backend;
	int n, kept = 0;

	settle(l);
	if (ops_first(&l->due) || ops_first(&l->done))
		timeout_ns = 0;
	n = wait_ns(e, timeout_ns);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		unsigned events = e->room[i].events;
		uint64_t tag = e->room[i].data.u64;

		if (tag & LOOP_TAG_OP) {
			told(l, (int)(uint32_t)tag, events);
			continue;
		}
		if (events & EPOLLERR)
			events |= LOOP_HUP;
		l->fetched[kept].tag = tag;
		l->fetched[kept++].events = events;
	}
	return kept;
}

/* One try. Whether its callback was called. */
static bool attempt(struct loop *l, struct loop_op *op)
{
	struct op_state *s = op_state(op);
	struct epoll_state *e = l->backend;
	int64_t n = try_it(l, s), result;

	if (n == -EAGAIN) {
		n = let_wait(l, op);
		if (n == 0)
			return false;
	}
	if (n == -EINTR || !op_over(op, n, &result)) {
		ops_move(&l->due, op, OP_DUE);
		return false;
	}
	op_end(l, op, s->kind == OP_ANY && result > 0 ? e->bytes : NULL,
	       result);
	return true;
}

static int epoll_work(struct loop *l)
{
	struct loop_op now, *op;
	int called = 0;

	for (unsigned i = 0; i < PASSES; i++) {
		ops_take(&now, &l->due);
		while ((op = ops_first(&now)))
			called += attempt(l, op);
	}
	return called;
}

static void epoll_cancel(struct loop *l, struct loop_op *op)
{
	op_end_later(l, op, -ECANCELED);
}

static int epoll_completed(struct loop *l, const struct loop_event *event)
{
	(void)l;
	(void)event;
	return 0; /* completions are io_uring's */
}

static void epoll_forget(struct loop *l, int fd)
{
	const struct epoll_state *e = l->backend;

	if (l->watches[fd].interest)
		epoll_ctl(e->fd, EPOLL_CTL_DEL, fd, NULL);
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
	.cancel = epoll_cancel,
	.completed = epoll_completed,
	.work = epoll_work,
	.forget = epoll_forget,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness by io_uring's one-shot polls: armed again after each callback,
 * which keeps the level-triggered meaning (a multishot poll tells edges only).
 * Polls that are due are submitted by the same system call that waits, so a
 * loop_run is one system call however many descriptors were ready.
 *
 * A poll holds a reference to its file. So a removal is submitted at once: the
 * caller will close the descriptor, and its peer must see that.
 *
 * Operations are requests of the same names, submitted likewise by the call
 * that waits. loop_receive_any() takes its memory from a ring of buffers when
 * bytes have come, and gives it back after the callback. When more descriptors
 * are ready than there are buffers, the kernel refuses (ENOBUFS); what it
 * refused is submitted before anything else the next time, when the buffers
 * are back: so the refused ones take turns.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "loop/loop_impl.h"

_Static_assert(LOOP_IN == POLLIN && LOOP_OUT == POLLOUT && LOOP_HUP == POLLHUP,
	       "interest is passed on as it is");

#define QUEUE_ENTRIES 256
#define COMPLETIONS   2048
/* A request's length has 32 bits. */
#define REQUEST_MAX ((size_t)1 << 30)
#define TAG_NONE    0ull /* user data of removals: nobody asks how they went */

#define BUFFERS	     64u
#define BUFFER_GROUP 0
/* The ring of buffers, then the buffers. */
#define RING_BYTES   PAGE_BYTES
#define BUFFER_BYTES (RING_BYTES + BUFFERS * (size_t)LOOP_ANY_BYTES)

struct uring {
	struct io_uring ring;
	struct io_uring_buf_ring *buffers;
	struct loop_op refused; /* go to the head of `due` after the turn */
};

static char *buffer_at(const struct uring *u, unsigned id)
{
	return (char *)u->buffers + RING_BYTES + (size_t)id * LOOP_ANY_BYTES;
}

static void give_buffer(struct uring *u, unsigned id)
{
	io_uring_buf_ring_add(u->buffers, buffer_at(u, id), LOOP_ANY_BYTES,
			      (unsigned short)id,
			      io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(u->buffers, 1);
}

static int make_buffers(struct uring *u)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUFFERS,
					.bgid = BUFFER_GROUP };
	void *at = MAP_FAILED;
	int err;

	if (!fault_point(FAULT_MAP))
		at = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -ENOMEM;
	reg.ring_addr = (uintptr_t)at;
	err = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (err < 0) {
		munmap(at, BUFFER_BYTES);
		return err;
	}
	u->buffers = at;
	io_uring_buf_ring_init(u->buffers);
	for (unsigned i = 0; i < BUFFERS; i++)
		give_buffer(u, i);
	return 0;
}

/* DEFER_TASKRUN (Linux 6.1): completions are worked out when the loop waits,
 * and not by interrupting it. */
static int set_up(struct io_uring *ring)
{
	unsigned base = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
			IORING_SETUP_TASKRUN_FLAG;
	struct io_uring_params p = { .cq_entries = COMPLETIONS };
	int err;

	if (fault_point(FAULT_IO))
		return -EIO;
	p.flags = base | IORING_SETUP_SINGLE_ISSUER |
		  IORING_SETUP_DEFER_TASKRUN;
	err = io_uring_queue_init_params(QUEUE_ENTRIES, ring, &p);
	if (err != -EINVAL)
		return err;
	p = (struct io_uring_params){ .cq_entries = COMPLETIONS };
	p.flags = base | IORING_SETUP_COOP_TASKRUN;
	return io_uring_queue_init_params(QUEUE_ENTRIES, ring, &p);
}

static int uring_open(struct loop *l)
{
	struct uring *u = mem_alloc(sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	err = set_up(&u->ring);
	if (err == 0) {
		/* Without EXT_ARG (Linux 5.11) a timeout would be a request of
		 * its own; without NODROP completions could be lost; without
		 * rings of buffers (5.19) idle connections would cost memory. */
		err = ~u->ring.features &
				      (IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP)
			      ? -ENOSYS
			      : make_buffers(u);
		if (err < 0)
			io_uring_queue_exit(&u->ring);
	}
	if (err < 0) {
		free(u);
		return err == -ENOMEM || err == -EIO ? err : -ENOSYS;
	}
	ops_init(&u->refused);
	l->backend = u;
	return 0;
}

static void uring_close(struct loop *l)
{
	struct uring *u = l->backend;

	io_uring_queue_exit(&u->ring);
	munmap(u->buffers, BUFFER_BYTES);
	free(u);
}

static struct io_uring *ring_of(struct loop *l)
{
	struct uring *u = l->backend;

	return &u->ring;
}

static int get_sqe(struct loop *l, struct io_uring_sqe **ret_sqe)
{
	struct io_uring *ring = ring_of(l);
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
	int err = get_sqe(l, &sqe);

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
	int err = get_sqe(l, &sqe);

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
	/* The file is let go by work that the kernel defers: ask for it too. */
	while (err >= 0 && io_uring_sq_ready(ring_of(l)))
		err = io_uring_submit_and_get_events(ring_of(l));
	l->watches[fd].armed = false;
}

/* ---- operations -------------------------------------------------------------- */

static void fill_send(struct op_state *s, struct io_uring_sqe *sqe)
{
	struct iovec *v = &s->pieces[s->piece];
	unsigned left = s->n_pieces - s->piece;
	unsigned flags = MSG_NOSIGNAL | MSG_WAITALL |
			 (s->flags & LOOP_MORE ? MSG_MORE : 0);

	if (left == 1 && v->iov_len <= REQUEST_MAX) {
		io_uring_prep_send(sqe, s->fd, v->iov_base, v->iov_len,
				   (int)flags);
		return;
	}
	s->header.msg_iov = v;
	s->header.msg_iovlen = left;
	io_uring_prep_sendmsg(sqe, s->fd, &s->header, flags);
}

static void fill(struct loop_op *op, struct io_uring_sqe *sqe)
{
	struct op_state *s = op_state(op);
	size_t len = MIN(s->len - s->moved, REQUEST_MAX);

	if (s->kind == OP_SEND)
		fill_send(s, sqe);
	else if (s->kind == OP_RECEIVE)
		io_uring_prep_recv(sqe, s->fd, s->into + s->moved, len,
				   s->flags & LOOP_WHOLE ? MSG_WAITALL : 0);
	else
		io_uring_prep_recv(sqe, s->fd, NULL, len, 0);
	if (s->kind == OP_ANY) {
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = BUFFER_GROUP;
	}
	if (s->flags & LOOP_NOT_YET)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	sqe->user_data = LOOP_TAG_OP | (uintptr_t)op;
}

static int submit_cancels(struct loop *l)
{
	struct io_uring_sqe *sqe;
	struct loop_op *op;
	int err = 0;

	while ((op = ops_first(&l->doomed))) {
		err = get_sqe(l, &sqe);
		if (err < 0)
			break;
		io_uring_prep_cancel64(sqe, LOOP_TAG_OP | (uintptr_t)op, 0);
		sqe->user_data = TAG_NONE;
		ops_move(&l->waiting, op, OP_WAITS);
	}
	return err;
}

/* Cancels come before starts: their operation may end before the kernel reads
 * them, and its memory be another operation's. */
static int submit_due(struct loop *l)
{
	struct io_uring_sqe *sqe;
	struct loop_op *op;
	int err = submit_cancels(l);

	while (err == 0 && (op = ops_first(&l->due))) {
		if (fault_point(FAULT_IO)) {
			op_end_later(l, op, -EIO);
			continue;
		}
		err = get_sqe(l, &sqe);
		if (err < 0)
			break;
		fill(op, sqe);
		ops_move(&l->waiting, op, OP_WAITS);
	}
	/* the completion queue is full: it is emptied first */
	return err == -EBUSY || err == -EAGAIN ? 0 : err;
}

static void uring_cancel(struct loop *l, struct loop_op *op)
{
	ops_move(&l->doomed, op, OP_WAITS);
}

/* Whether the kernel only asks for another try. */
static bool try_again(struct loop *l, struct loop_op *op, int res)
{
	struct uring *u = l->backend;
	struct op_state *s = op_state(op);
	bool refused = res == -ENOBUFS && s->kind == OP_ANY;

	if (!refused && res != -EAGAIN && res != -EINTR)
		return false;
	s->flags &= (uint8_t)~LOOP_NOT_YET;
	if (res == -EAGAIN)
		s->flags |= LOOP_NOT_YET;
	if (s->cancelled)
		op_end_later(l, op, -ECANCELED);
	else
		ops_move(refused ? &u->refused : &l->due, op, OP_DUE);
	return true;
}

static int uring_completed(struct loop *l, const struct loop_event *e)
{
	struct loop_op *op = (void *)(uintptr_t)(e->tag & ~LOOP_TAG_OP);
	struct uring *u = l->backend;
	unsigned id = e->flags >> IORING_CQE_BUFFER_SHIFT;
	bool has = e->flags & IORING_CQE_F_BUFFER;
	int64_t result;

	if (try_again(l, op, e->res))
		return 0;
	if (!op_over(op, e->res, &result)) {
		op_state(op)->flags &= (uint8_t)~LOOP_NOT_YET;
		ops_move(&l->due, op, OP_DUE);
		return 0;
	}
	op_end(l, op, has && result > 0 ? buffer_at(u, id) : NULL, result);
	if (has)
		give_buffer(u, id);
	return 1;
}

static int uring_work(struct loop *l)
{
	struct uring *u = l->backend;

	ops_take_first(&l->due, &u->refused);
	return 0;
}

static void uring_forget(struct loop *l, int fd)
{
	(void)l;
	(void)fd; /* no request, no reference */
}

/* ---- both -------------------------------------------------------------------- */

/* A completion, as an event for the callback. A poll that the kernel ended
 * with an error other than by cancelling is told as a hang-up: silence would
 * be a descriptor that is never heard again. */
static bool take(struct loop *l, const struct io_uring_cqe *cqe,
		 struct loop_event *ret)
{
	struct loop_watch *w = loop_tagged(l, cqe->user_data);

	ret->tag = cqe->user_data;
	ret->res = cqe->res;
	ret->flags = cqe->flags;
	if (cqe->user_data & LOOP_TAG_OP)
		return true;
	if (!w)
		return false;
	w->armed = false;
	if (cqe->res >= 0)
		ret->events = (unsigned)cqe->res;
	else
		ret->events = cqe->res == -ECANCELED ? 0 : LOOP_HUP;
	if (ret->events & POLLERR)
		ret->events |= LOOP_HUP;
	return true;
}

/* One system call submits and waits. With nothing to submit, and nothing that
 * the kernel has in store, a glance costs none. */
static int enter(struct io_uring *ring, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = {
		.tv_sec = (long long)(timeout_ns / NS_PER_S),
		.tv_nsec = (long long)(timeout_ns % NS_PER_S),
	};
	struct io_uring_cqe *cqe;

	if (timeout_ns > 0)
		return io_uring_submit_and_wait_timeout(
			ring, &cqe, 1, timeout_ns == UINT64_MAX ? NULL : &ts,
			NULL);
	if (!io_uring_sq_ready(ring) &&
	    !(IO_URING_READ_ONCE(*ring->sq.kflags) &
	      (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
		return 0;
	/* A timeout of 0 would still set a timer and sleep once (about 15 us). */
	return io_uring_submit_and_get_events(ring);
}

static int uring_wait(struct loop *l, uint64_t timeout_ns)
{
	struct io_uring *ring = ring_of(l);
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;
	int n = 0, err = submit_due(l);

	if (err < 0)
		return err;
	if (ops_first(&l->done) || ops_first(&l->due))
		timeout_ns = 0;
	err = enter(ring, timeout_ns);
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
	.cancel = uring_cancel,
	.completed = uring_completed,
	.work = uring_work,
	.forget = uring_forget,
};

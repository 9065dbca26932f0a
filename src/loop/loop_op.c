/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of operations that does not depend on the backend: what is refused,
 * the lists that operations are in, and the order of callbacks.
 *
 * An operation is in exactly one list from its start to its callback: `due`
 * (started, or to be tried again), `waiting` (io_uring: with the kernel; epoll:
 * until its descriptor is ready), `done` (only the callback is missing). Each
 * callback is one unlink, so a callback may cancel or start any other
 * operation at any time.
 */
#include <errno.h>
#include "base/fault.h"
#include "base/log.h"
#include "loop/loop_impl.h"

static struct loop_op **place(struct loop *l, const struct op_state *s)
{
	struct loop_watch *w = &l->watches[s->fd];

	return s->kind == OP_SEND ? &w->out : &w->in;
}

/* Whether an operation of this kind may start: its state is empty then. */
static int prepare(struct loop *l, struct loop_op *op, int fd,
		   enum op_kind kind, unsigned flags)
{
	struct op_state *s = op_state(op);
	int err;

	must(op->fn && s->at == OP_REST);
	if (l->closing)
		return -ECANCELED;
	if (fd < 0)
		return -EINVAL;
	if (fault_point(FAULT_IO))
		return -EIO;
	err = loop_make_room(l, fd);
	if (err < 0)
		return err;
	if (l->watches[fd].fn)
		return -EEXIST;
	*s = (struct op_state){
		.fd = fd,
		.kind = (uint8_t)kind,
		.flags = (uint8_t)flags,
	};
	return *place(l, s) ? -EBUSY : 0;
}

static int start(struct loop *l, struct loop_op *op)
{
	struct op_state *s = op_state(op);

	*place(l, s) = op;
	l->watches[s->fd].used = true;
	s->at = OP_DUE;
	ops_append(&l->due, op);
	return 0;
}

int loop_receive(struct loop *l, struct loop_op *op, int fd, void *into,
		 size_t len, unsigned flags)
{
	int err = len == 0 || len > INT64_MAX
			  ? -EINVAL
			  : prepare(l, op, fd, OP_RECEIVE, flags);

	if (err < 0)
		return err;
	op_state(op)->into = into;
	op_state(op)->len = len;
	return start(l, op);
}

int loop_receive_any(struct loop *l, struct loop_op *op, int fd, size_t most,
		     unsigned flags)
{
	int err = most == 0 || most > LOOP_ANY_BYTES
			  ? -EINVAL
			  : prepare(l, op, fd, OP_ANY, flags & ~LOOP_WHOLE);

	if (err < 0)
		return err;
	op_state(op)->len = most;
	return start(l, op);
}

int loop_send(struct loop *l, struct loop_op *op, int fd,
	      const struct iovec *pieces, unsigned n, unsigned flags)
{
	struct op_state *s = op_state(op);
	size_t len = 0;
	int err;

	for (unsigned i = 0; n <= LOOP_PIECES && i < n; i++)
		len += pieces[i].iov_len;
	if (len == 0)
		return -EINVAL;
	err = prepare(l, op, fd, OP_SEND, flags & ~LOOP_NOT_YET);
	if (err < 0)
		return err;
	for (unsigned i = 0; i < n; i++) /* empty ones only cost */
		if (pieces[i].iov_len)
			s->pieces[s->n_pieces++] = pieces[i];
	s->len = len;
	return start(l, op);
}

void loop_soon(struct loop *l, struct loop_op *op)
{
	struct op_state *s = op_state(op);

	must(op->fn && s->at == OP_REST);
	*s = (struct op_state){ .fd = -1, .kind = OP_SOON, .at = OP_DONE };
	s->result = l->closing ? -ECANCELED : 0;
	ops_append(&l->done, op);
}

void loop_cancel(struct loop *l, struct loop_op *op)
{
	struct op_state *s = op_state(op);

	if (s->at == OP_REST || s->cancelled)
		return;
	s->cancelled = true;
	if (s->at == OP_WAITS)
		l->ops->cancel(l, op);
	else if (s->at == OP_DUE)
		op_end_later(l, op, -ECANCELED);
	else if (s->kind == OP_SOON)
		s->result = -ECANCELED;
}

void loop_forget(struct loop *l, int fd)
{
	struct loop_watch *w;

	if (fd < 0 || (unsigned)fd >= l->n_watches || !l->watches[fd].used)
		return;
	w = &l->watches[fd];
	must(!w->in && !w->out);
	l->ops->forget(l, fd);
	*w = (struct loop_watch){ 0 };
}

static void skip_sent(struct op_state *s, size_t n)
{
	while (n > 0) {
		struct iovec *v = &s->pieces[s->piece];
		size_t part = MIN(n, v->iov_len);

		v->iov_base = (char *)v->iov_base + part;
		v->iov_len -= part;
		n -= part;
		if (v->iov_len == 0)
			s->piece++;
	}
}

bool op_over(struct loop_op *op, int64_t n, int64_t *ret_result)
{
	struct op_state *s = op_state(op);

	if (n > 0) {
		s->moved += (size_t)n;
		if (s->kind == OP_SEND)
			skip_sent(s, (size_t)n);
	}
	*ret_result = s->moved ? (int64_t)s->moved : n;
	return n <= 0 || s->moved == s->len || s->cancelled ||
	       (s->kind != OP_SEND && !(s->flags & LOOP_WHOLE));
}

void op_end(struct loop *l, struct loop_op *op, const char *data,
	    int64_t result)
{
	struct op_state *s = op_state(op);

	ops_unlink(op);
	s->at = OP_REST;
	if (s->kind != OP_SOON)
		*place(l, s) = NULL;
	op->data = data;
	op->fn(op, result);
}

void op_end_later(struct loop *l, struct loop_op *op, int64_t result)
{
	struct op_state *s = op_state(op);

	s->result = s->moved ? (int64_t)s->moved : result;
	ops_move(&l->done, op, OP_DONE);
}

int ops_run_done(struct loop *l)
{
	struct loop_op now, *op;
	int n = 0;

	ops_take(&now, &l->done);
	for (; (op = ops_first(&now)); n++)
		op_end(l, op, NULL, op_state(op)->result);
	return n;
}

void ops_cancel_all(struct loop *l)
{
	struct loop_op *op, *next;

	while ((op = ops_first(&l->due)))
		op_end_later(l, op, -ECANCELED);
	/* To end one may move it to another list, or leave it where it is. */
	for (op = l->waiting.next; op != &l->waiting; op = next) {
		next = op->next;
		loop_cancel(l, op);
	}
	for (op = l->done.next; op != &l->done; op = op->next)
		loop_cancel(l, op);
}

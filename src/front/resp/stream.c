/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream is two halves, each with one call under way at most. Plain: a half
 * is an operation of the loop, which has its memory until the callback. TLS:
 * tls.c keeps the halves.
 *
 * Closing takes as long as the loop has something of it: the callbacks that
 * come meanwhile end here.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "base/log.h"
#include "front/resp/stream.h"
#include "front/resp/tls.h"

struct half {
	struct loop_op op;
	struct stream *stream;
	stream_fn fn;
	void *ctx;
	bool busy;
};

struct stream {
	struct loop *loop;
	int fd;
	struct tls *tls; /* NULL: plain */
	struct half in, out;
	bool closing;
	void (*gone)(void *ctx);
	void *gone_ctx;
};

static void let_go(struct stream *s)
{
	void (*gone)(void *ctx) = s->gone;
	void *ctx = s->gone_ctx;

	loop_forget(s->loop, s->fd);
	fd_close(s->fd);
	free(s);
	if (gone)
		gone(ctx);
}

static void half_done(struct loop_op *op, int64_t result)
{
	struct half *h = container_of(op, struct half, op);
	struct stream *s = h->stream;

	h->busy = false;
	if (!s->closing)
		h->fn(h->ctx, op->data, result);
	else if (!s->in.busy && !s->out.busy)
		let_go(s);
}

int stream_open(struct loop *l, int fd, struct stream_tls *tls,
		struct stream **ret_stream)
{
	struct stream *s = mem_alloc(sizeof(*s));
	int r = s ? 0 : -ENOMEM;

	if (r == 0 && tls)
		r = tls_open(l, fd, tls, &s->tls);
	if (r < 0) {
		free(s);
		fd_close(fd);
		return r;
	}
	s->loop = l;
	s->fd = fd;
	s->in.op.fn = s->out.op.fn = half_done;
	s->in.stream = s->out.stream = s;
	*ret_stream = s;
	return 0;
}

static void tls_gone(void *ctx)
{
	let_go(ctx);
}

void stream_close(struct stream *s, void (*gone)(void *ctx), void *ctx)
{
	must(!s->closing);
	s->closing = true;
	s->gone = gone;
	s->gone_ctx = ctx;
	if (s->tls) {
		tls_close(s->tls, tls_gone, s);
		return;
	}
	shutdown(s->fd, SHUT_RDWR);
	if (s->in.busy)
		loop_cancel(s->loop, &s->in.op);
	if (s->out.busy)
		loop_cancel(s->loop, &s->out.op);
	if (!s->in.busy && !s->out.busy)
		let_go(s);
}

/* The loop refuses a second call of a half; until then the half is the first
 * one's. */
static int begin(struct half *h, int r, stream_fn fn, void *ctx)
{
	if (r < 0)
		return r;
	h->fn = fn;
	h->ctx = ctx;
	h->busy = true;
	return 0;
}

int stream_receive(struct stream *s, void *into, size_t len, unsigned flags,
		   stream_fn fn, void *ctx)
{
	struct half *h = &s->in;

	must(!s->closing);
	if (s->tls)
		return tls_receive(s->tls, into, len, flags, fn, ctx);
	if (h->busy)
		return -EBUSY;
	return begin(h, loop_receive(s->loop, &h->op, s->fd, into, len, flags),
		     fn, ctx);
}

int stream_receive_any(struct stream *s, size_t most, unsigned flags,
		       stream_fn fn, void *ctx)
{
	struct half *h = &s->in;

	must(!s->closing);
	if (s->tls)
		return most > LOOP_ANY_BYTES
			       ? -EINVAL
			       : tls_receive(s->tls, NULL, most,
					     flags & ~LOOP_WHOLE, fn, ctx);
	if (h->busy)
		return -EBUSY;
	return begin(h, loop_receive_any(s->loop, &h->op, s->fd, most, flags),
		     fn, ctx);
}

int stream_send(struct stream *s, const struct iovec *pieces, unsigned n,
		unsigned flags, stream_fn fn, void *ctx)
{
	struct half *h = &s->out;

	must(!s->closing);
	if (s->tls)
		return tls_send(s->tls, pieces, n, flags, fn, ctx);
	if (h->busy)
		return -EBUSY;
	return begin(h, loop_send(s->loop, &h->op, s->fd, pieces, n, flags), fn,
		     ctx);
}

ssize_t stream_receive_now(struct stream *s, void *into, size_t len)
{
	ssize_t n;

	must(!s->closing && !s->in.busy);
	if (s->tls)
		return -EAGAIN;
	if (fault_point(FAULT_IO))
		return -EIO;
	n = recv(s->fd, into, len, MSG_DONTWAIT);
	return n >= 0 ? n : errno == EINTR ? -EAGAIN : -errno;
}

/* TLS: a record that the socket takes half of must be given again; that is
 * stream_send()'s business. */
ssize_t stream_send_now(struct stream *s, const void *data, size_t len,
			unsigned flags)
{
	int how = MSG_DONTWAIT | MSG_NOSIGNAL;
	ssize_t n;

	must(!s->closing && !s->out.busy);
	if (s->tls)
		return 0;
	if (fault_point(FAULT_IO))
		return -EIO;
	n = send(s->fd, data, len, flags & LOOP_MORE ? how | MSG_MORE : how);
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

int stream_fd(const struct stream *s)
{
	return s->fd;
}

bool stream_shaken(const struct stream *s)
{
	return !s->tls || tls_shaken(s->tls);
}

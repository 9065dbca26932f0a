#include "front/resp/stream.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fault.h"
struct stream {
	struct loop *l;
	int fd;
	struct loop_op rx, tx;
	stream_fn rfn, sfn;
	void *rctx, *sctx;
	bool rbusy, sbusy, closing;
	void (*gone)(void *);
	void *gctx;
};
#define OF(op, f) \
	((struct stream *)(void *)((char *)(op)-offsetof(struct stream, f)))
static void maybe_free(struct stream *s)
{
	if (s->closing && !s->rbusy && !s->sbusy) {
		loop_forget(s->l, s->fd);
		close(s->fd);
		if (s->gone)
			s->gone(s->gctx);
		free(s);
	}
}
static void on_rx(struct loop_op *op, int64_t n)
{
	struct stream *s = OF(op, rx);
	s->rbusy = false;
	if (s->closing) {
		maybe_free(s);
		return;
	}
	s->rfn(s->rctx, op->data, n);
}
static void on_tx(struct loop_op *op, int64_t n)
{
	struct stream *s = OF(op, tx);
	s->sbusy = false;
	if (s->closing) {
		maybe_free(s);
		return;
	}
	s->sfn(s->sctx, NULL, n);
}
int stream_open(struct loop *l, int fd, struct stream_tls *tls,
		struct stream **ret)
{
	struct stream *s = mem_alloc(sizeof(*s));
	(void)tls;
	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	s->l = l;
	s->fd = fd;
	s->rx.fn = on_rx;
	s->tx.fn = on_tx;
	*ret = s;
	return 0;
}
void stream_close(struct stream *s, void (*gone)(void *ctx), void *ctx)
{
	s->closing = true;
	s->gone = gone;
	s->gctx = ctx;
	shutdown(s->fd, SHUT_RDWR);
	if (s->rbusy)
		loop_cancel(s->l, &s->rx);
	if (s->sbusy)
		loop_cancel(s->l, &s->tx);
	maybe_free(s);
}
int stream_receive(struct stream *s, void *into, size_t len, unsigned flags,
		   stream_fn fn, void *ctx)
{
	int r;
	s->rfn = fn;
	s->rctx = ctx;
	r = loop_receive(s->l, &s->rx, s->fd, into, len, flags);
	s->rbusy = r == 0;
	return r;
}
int stream_receive_any(struct stream *s, size_t most, unsigned flags,
		       stream_fn fn, void *ctx)
{
	int r;
	s->rfn = fn;
	s->rctx = ctx;
	r = loop_receive_any(s->l, &s->rx, s->fd, most, flags);
	s->rbusy = r == 0;
	return r;
}
int stream_send(struct stream *s, const struct iovec *p, unsigned n,
		unsigned flags, stream_fn fn, void *ctx)
{
	int r;
	s->sfn = fn;
	s->sctx = ctx;
	r = loop_send(s->l, &s->tx, s->fd, p, n, flags);
	s->sbusy = r == 0;
	return r;
}
ssize_t stream_send_now(struct stream *s, const void *b, size_t n,
			unsigned flags)
{
	ssize_t r = send(s->fd, b, n,
			 MSG_DONTWAIT | MSG_NOSIGNAL |
				 (flags & LOOP_MORE ? MSG_MORE : 0));
	if (r < 0)
		return errno == EAGAIN ? 0 : -errno;
	return r;
}
int stream_fd(const struct stream *s)
{
	return s->fd;
}

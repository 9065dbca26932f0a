/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS over readiness. A half that has a call under way either waits for the
 * socket (`want`) or is due (`want` 0). Due ones are tried by a loop_soon():
 * OpenSSL may hold bytes that the socket will not tell of again. A half does a
 * bounded amount of work and is then due again, so that one connection's
 * payload does not keep the others waiting.
 *
 * The socket is heard by loop_add() while a half waits for it. Interest that
 * nobody has any more is dropped when the next event comes, not before: a
 * connection that waits again at once costs no change.
 *
 * Handshake, reading and writing may each need both directions. A half's try
 * may end the handshake for which the other one waits, with what the other one
 * waits for already in OpenSSL's hands: see drive().
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include "base/fault.h"
#include "base/guard.h"
#include "base/log.h"
#include "front/resp/tls.h"
#include "front/resp/tls_context.h"

/* Of one half in one go. */
#define TURN_BYTES ((size_t)128 << 10)
/* A record's most. Smaller pieces are sent together. */
#define RECORD_BYTES ((size_t)16 << 10)

struct tls_half {
	bool busy;
	unsigned want, flags;
	size_t len, moved;
	stream_fn fn;
	void *ctx;
};

struct tls {
	struct loop *loop;
	int fd;
	SSL *ssl;
	struct tls_half in, out;
	char *into; /* of `in`; NULL: what there is */
	struct iovec pieces[LOOP_PIECES];
	unsigned n_pieces;
	unsigned heard; /* interest of the registration */
	bool registered;
	bool end; /* the peer has closed its side of the socket */
	int io_error;
	int failed; /* OpenSSL must not be asked again */

	struct loop_op soon;
	bool soon_busy, inside, closing;
	void (*gone)(void *ctx);
	void *gone_ctx;
};

/* ---- the socket, as OpenSSL sees it ------------------------------------------
 * Its own one writes with write(), which raises SIGPIPE. */

static int socket_write(BIO *bio, const char *p, int len)
{
	struct tls *t = BIO_get_data(bio);
	int more = t->out.busy && (t->out.flags & LOOP_MORE) ? MSG_MORE : 0;
	ssize_t n;

	BIO_clear_retry_flags(bio);
	n = send(t->fd, p, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL | more);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(bio);
	else if (n < 0)
		t->io_error = -errno;
	return (int)n;
}

static int socket_read(BIO *bio, char *p, int len)
{
	struct tls *t = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	n = recv(t->fd, p, (size_t)len, MSG_DONTWAIT);
	if (n == 0)
		t->end = true;
	else if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(bio);
	else if (n < 0)
		t->io_error = -errno;
	return (int)n;
}

static long socket_ctrl(BIO *bio, int command, long n, void *p)
{
	const struct tls *t = BIO_get_data(bio);

	(void)n;
	(void)p;
	if (command == BIO_CTRL_EOF)
		return t && t->end;
	return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_socket_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "onecopy socket");

	if (m && BIO_meth_set_write(m, socket_write) &&
	    BIO_meth_set_read(m, socket_read) &&
	    BIO_meth_set_ctrl(m, socket_ctrl))
		return m;
	BIO_meth_free(m);
	return NULL;
}

/* ---- one try ------------------------------------------------------------------ */

/* What OpenSSL's refusal means to a half: whether its call is over. */
static bool refused(struct tls *t, struct tls_half *h, int answer,
		    int64_t *ret_result)
{
	int64_t result;

	switch (SSL_get_error(t->ssl, answer)) {
	case SSL_ERROR_WANT_READ:
		h->want = LOOP_IN;
		return false;
	case SSL_ERROR_WANT_WRITE:
		h->want = LOOP_OUT;
		return false;
	case SSL_ERROR_ZERO_RETURN:
		result = h == &t->in ? 0 : -EPIPE;
		break;
	case SSL_ERROR_SYSCALL:
		t->failed = t->io_error ? t->io_error : -ECONNRESET;
		result = t->failed;
		break;
	default:
		t->failed = -EPROTO;
		result = t->failed;
	}
	ERR_clear_error();
	*ret_result = h->moved ? (int64_t)h->moved : result;
	return true;
}

static bool try_in(struct tls *t, char *room, int64_t *ret_result)
{
	struct tls_half *h = &t->in;
	size_t start = h->moved, n;
	int r;

	h->want = 0;
	while (h->moved - start < TURN_BYTES) {
		char *to = t->into ? t->into + h->moved : room;
		size_t most = MIN(h->len - h->moved, RECORD_BYTES);

		/* as the kernel says it: OpenSSL cannot be left in the middle */
		if (t->into && guard_touch(to, most, NULL)) {
			*ret_result = h->moved ? (int64_t)h->moved : -EFAULT;
			return true;
		}
		ERR_clear_error();
		r = SSL_read_ex(t->ssl, to, h->len - h->moved, &n);
		if (r != 1)
			return refused(t, h, r, ret_result);
		h->moved += n;
		*ret_result = (int64_t)h->moved;
		if (h->moved == h->len || !(h->flags & LOOP_WHOLE))
			return true;
	}
	return false;
}

/* What is to be sent next: as it lies, or, when that is little and more
 * follows, gathered in `room`. Asked again, it says the same: OpenSSL wants
 * that after a refusal. */
static size_t next_part(const struct tls *t, char *room, const char **ret_at)
{
	size_t skip = t->out.moved, got = 0;

	for (unsigned i = 0; i < t->n_pieces && got < RECORD_BYTES; i++) {
		const struct iovec *v = &t->pieces[i];
		size_t part;

		if (skip >= v->iov_len) {
			skip -= v->iov_len;
			continue;
		}
		part = v->iov_len - skip;
		*ret_at = (char *)v->iov_base + skip;
		if (got == 0 && (part >= RECORD_BYTES || i + 1 == t->n_pieces))
			return MIN(part, TURN_BYTES);
		part = MIN(part, RECORD_BYTES - got);
		memcpy(room + got, *ret_at, part);
		got += part;
		skip = 0;
	}
	*ret_at = room;
	return got;
}

static bool try_out(struct tls *t, char *room, int64_t *ret_result)
{
	struct tls_half *h = &t->out;
	size_t start = h->moved, n;
	int r;

	h->want = 0;
	while (h->moved - start < TURN_BYTES) {
		const char *at = NULL;
		size_t len = next_part(t, room, &at);

		ERR_clear_error();
		r = SSL_write_ex(t->ssl, at, len, &n);
		if (r != 1)
			return refused(t, h, r, ret_result);
		h->moved += n;
		*ret_result = (int64_t)h->moved;
		if (h->moved == h->len)
			return true;
	}
	return false;
}

/* One try of a half, and its callback when that ended its call. */
static void try_half(struct tls *t, struct tls_half *h)
{
	/* OpenSSL's record buffers are its own: this is what a callback sees,
	 * or what leaves together. */
	char room[RECORD_BYTES];
	int64_t result = h->moved ? (int64_t)h->moved : t->failed;
	const char *data;
	bool over = true;

	if (!h->busy || t->closing)
		return;
	if (!t->failed && !h->moved && fault_point(FAULT_IO))
		result = t->failed = -EIO;
	else if (!t->failed)
		over = h == &t->in ? try_in(t, room, &result)
				   : try_out(t, room, &result);
	if (!over)
		return;
	h->busy = false;
	data = h == &t->in && !t->into && result > 0 ? room : NULL;
	h->fn(h->ctx, data, result);
}

/* ---- when ---------------------------------------------------------------------- */

static void on_ready(void *ctx, int fd, unsigned events);
static void on_soon(struct loop_op *op, int64_t result);

static unsigned wanted(const struct tls *t)
{
	return (t->in.busy ? t->in.want : 0) | (t->out.busy ? t->out.want : 0);
}

static void make_due(struct tls *t, struct tls_half *h)
{
	h->want = 0;
	if (t->soon_busy)
		return;
	t->soon_busy = true;
	loop_soon(t->loop, &t->soon);
}

static void stop_hearing(struct tls *t)
{
	if (t->registered)
		loop_remove(t->loop, t->fd);
	t->registered = false;
}

/* The socket is heard for what the halves wait for. */
static int hear(struct tls *t, unsigned events)
{
	int r;

	if (!events || (t->registered && (t->heard & events) == events))
		return 0;
	if (t->registered)
		r = loop_change(t->loop, t->fd, events);
	else
		r = loop_add(t->loop, t->fd, events, on_ready, t);
	if (r < 0)
		return r;
	t->registered = true;
	t->heard = events;
	return 0;
}

/* After every change of the halves. */
static void settle(struct tls *t)
{
	int r = hear(t, wanted(t));

	if (r < 0 && !t->failed)
		t->failed = r;
	if (t->in.busy && (t->in.want == 0 || t->failed))
		make_due(t, &t->in);
	if (t->out.busy && (t->out.want == 0 || t->failed))
		make_due(t, &t->out);
}

static void let_go(struct tls *t)
{
	void (*gone)(void *ctx) = t->gone;
	void *ctx = t->gone_ctx;

	SSL_free(t->ssl);
	free(t);
	gone(ctx);
}

/* Tries what is due, or waits for these events. */
static void drive(struct tls *t, unsigned events)
{
	bool shaken = SSL_is_init_finished(t->ssl);

	t->inside = true;
	if (t->out.busy && (!t->out.want || (t->out.want & events)))
		try_half(t, &t->out);
	/* The one before may have read more than it needed. */
	if (t->in.busy && (!t->in.want || (t->in.want & events) || !shaken))
		try_half(t, &t->in);
	if (!shaken && SSL_is_init_finished(t->ssl))
		try_half(t, &t->out);
	t->inside = false;
	if (!t->closing)
		settle(t);
	else if (!t->soon_busy)
		let_go(t);
}

static void on_ready(void *ctx, int fd, unsigned events)
{
	struct tls *t = ctx;
	unsigned need = wanted(t);

	(void)fd;
	if (!need)
		stop_hearing(t);
	else if (need != t->heard && loop_change(t->loop, t->fd, need) == 0)
		t->heard = need;
	if (events & LOOP_HUP) /* whoever waits is told by the try */
		events = LOOP_IN | LOOP_OUT;
	if (need)
		drive(t, events);
}

static void on_soon(struct loop_op *op, int64_t result)
{
	struct tls *t = container_of(op, struct tls, soon);

	t->soon_busy = false;
	if (result < 0 && !t->failed) /* the loop is being destroyed */
		t->failed = (int)result;
	if (t->closing)
		let_go(t);
	else
		drive(t, 0);
}

/* ---- calls --------------------------------------------------------------------- */

static void begin(struct tls *t, struct tls_half *h, size_t len, unsigned flags,
		  stream_fn fn, void *ctx)
{
	*h = (struct tls_half){
		.busy = true, .flags = flags, .len = len, .fn = fn, .ctx = ctx
	};
	if (h == &t->in && (flags & LOOP_NOT_YET) && !SSL_has_pending(t->ssl))
		h->want = LOOP_IN;
	if (!t->inside)
		settle(t);
}

int tls_receive(struct tls *t, void *into, size_t len, unsigned flags,
		stream_fn fn, void *ctx)
{
	if (len == 0)
		return -EINVAL;
	if (t->in.busy)
		return -EBUSY;
	t->into = into;
	begin(t, &t->in, len, flags, fn, ctx);
	return 0;
}

int tls_send(struct tls *t, const struct iovec *pieces, unsigned n,
	     unsigned flags, stream_fn fn, void *ctx)
{
	size_t len = 0;

	if (n > LOOP_PIECES)
		return -EINVAL;
	if (t->out.busy)
		return -EBUSY;
	t->n_pieces = 0;
	for (unsigned i = 0; i < n; i++) {
		if (pieces[i].iov_len == 0)
			continue;
		t->pieces[t->n_pieces++] = pieces[i];
		len += pieces[i].iov_len;
	}
	if (len == 0)
		return -EINVAL;
	begin(t, &t->out, len, flags, fn, ctx);
	return 0;
}

int tls_open(struct loop *l, int fd, struct stream_tls *context,
	     struct tls **ret_tls)
{
	struct tls *t = mem_alloc(sizeof(*t));
	BIO *bio;

	if (!t)
		return -ENOMEM;
	t->loop = l;
	t->fd = fd;
	t->soon.fn = on_soon;
	bio = BIO_new(context->socket);
	t->ssl = fault_point(FAULT_ALLOC) ? NULL : SSL_new(context->ctx);
	if (!bio || !t->ssl) {
		BIO_free(bio);
		SSL_free(t->ssl);
		free(t);
		ERR_clear_error();
		return -ENOMEM;
	}
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_accept_state(t->ssl);
	*ret_tls = t;
	return 0;
}

/* The peer is told that the end is the end, when that needs no waiting. */
static void say_end(struct tls *t)
{
	bool halfway = t->out.busy && t->out.moved < t->out.len;

	if (!t->failed && !halfway && SSL_is_init_finished(t->ssl)) {
		ERR_clear_error();
		SSL_shutdown(t->ssl);
		ERR_clear_error();
	}
	shutdown(t->fd, SHUT_RDWR);
}

bool tls_shaken(const struct tls *t)
{
	return SSL_is_init_finished(t->ssl);
}

void tls_close(struct tls *t, void (*gone)(void *ctx), void *ctx)
{
	t->closing = true;
	t->gone = gone;
	t->gone_ctx = ctx;
	stop_hearing(t);
	say_end(t);
	if (t->soon_busy)
		loop_cancel(t->loop, &t->soon);
	else if (!t->inside)
		let_go(t);
}

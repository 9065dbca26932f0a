/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte stream of one connection: plain TCP by the loop's operations, or TLS
 * (OpenSSL) over readiness. The same calls and the same behaviour: callbacks
 * come from loop_run() alone, one receiving and one sending call at a time.
 *
 * TLS: the handshake happens inside the first calls. SSL_read writes into the
 * caller's memory, so a payload is decrypted into its place. Renegotiation is
 * off, TLS 1.2 at least.
 */
#ifndef ONECOPY_FRONT_RESP_STREAM_H
#define ONECOPY_FRONT_RESP_STREAM_H

#include <stdbool.h>
#include <sys/uio.h>
#include "loop/loop.h"

struct stream;
struct stream_tls; /* a certificate in use (SSL_CTX) */

/* result as loop_op_fn's. data: stream_receive_any()'s, else NULL. */
typedef void (*stream_fn)(void *ctx, const char *data, int64_t result);

/* The socket is the stream's from now on (also on failure it is closed).
 * tls NULL: plain. */
int stream_open(struct loop *l, int fd, struct stream_tls *tls,
		struct stream **ret_stream);
/* Cancels what is under way (no callback comes any more), shuts the socket, and
 * frees all once the loop has let go. Memory that a receive or a send was given
 * belongs to the loop until `gone` is called (NULL: nobody needs to know); it
 * may be called before stream_close() returns. */
void stream_close(struct stream *s, void (*gone)(void *ctx), void *ctx);

/* As loop_receive(), loop_receive_any(), loop_send(). -EFAULT: the memory that was to
 * be received into has failed; what was to go there comes with the next receive. */
int stream_receive(struct stream *s, void *into, size_t len, unsigned flags,
		   stream_fn fn, void *ctx);
int stream_receive_any(struct stream *s, size_t most, unsigned flags,
		       stream_fn fn, void *ctx);
int stream_send(struct stream *s, const struct iovec *pieces, unsigned n,
		unsigned flags, stream_fn fn, void *ctx);
/* Takes what the socket has at once, up to len bytes: their number, 0 when the
 * peer has closed its side, -EAGAIN when there is nothing now (TLS: always), or
 * another -errno. Not while a receive is under way. */
ssize_t stream_receive_now(struct stream *s, void *into, size_t len);
/* Gives the socket what it takes of `data` at once: the bytes it took (0: none
 * now), or -errno. Not while a stream_send() is under way. flags: LOOP_MORE. */
ssize_t stream_send_now(struct stream *s, const void *data, size_t len,
			unsigned flags);
int stream_fd(const struct stream *s);
/* Is the handshake over? Plain: always. */
bool stream_shaken(const struct stream *s);

/* PEM files' content. client_ca NULL: clients need no certificate. -EINVAL:
 * *ret_why (static, or OpenSSL's for this thread) says what is wrong. */
int stream_tls_create(const char *certificate, const char *key,
		      const char *client_ca, struct stream_tls **ret_tls,
		      const char **ret_why);
void stream_tls_destroy(struct stream_tls *tls);

#endif

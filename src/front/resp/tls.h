/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to stream.c and tls.c: the TLS side of a stream. The descriptor is
 * the stream's; tls only uses it.
 */
#ifndef ONECOPY_FRONT_RESP_TLS_H
#define ONECOPY_FRONT_RESP_TLS_H

#include "front/resp/stream.h"

struct tls;

int tls_open(struct loop *l, int fd, struct stream_tls *context,
	     struct tls **ret_tls);
bool tls_shaken(const struct tls *t);
/* No callback comes any more but `gone`, perhaps before this returns. */
void tls_close(struct tls *t, void (*gone)(void *ctx), void *ctx);
/* into NULL: what there is, len bytes at most (stream_receive_any). */
int tls_receive(struct tls *t, void *into, size_t len, unsigned flags,
		stream_fn fn, void *ctx);
int tls_send(struct tls *t, const struct iovec *pieces, unsigned n,
	     unsigned flags, stream_fn fn, void *ctx);

#endif

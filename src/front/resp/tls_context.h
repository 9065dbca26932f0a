/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to front/resp/: what a certificate in use is to the streams.
 */
#ifndef ONECOPY_FRONT_RESP_TLS_CONTEXT_H
#define ONECOPY_FRONT_RESP_TLS_CONTEXT_H

#include <openssl/bio.h>
#include <openssl/ssl.h>

struct stream_tls {
	SSL_CTX *ctx;
	BIO_METHOD *socket;
};

/* How OpenSSL reads and writes the socket of a struct tls. */
BIO_METHOD *tls_socket_method(void);

#endif

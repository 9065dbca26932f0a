/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of a stream, in a process of its own: blocking, plain or TLS.
 * And certificates made on the spot.
 */
#ifndef ONECOPY_TESTS_FRONT_TLS_PEER_H
#define ONECOPY_TESTS_FRONT_TLS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <openssl/ssl.h>

struct identity {
	EVP_PKEY *key;
	X509 *certificate;
	char key_pem[4096], certificate_pem[4096];
};

/* Signed by `by`; NULL: by itself. */
void identity_make(struct identity *id, const char *name,
		   const struct identity *by);
static inline void identity_end(struct identity *id)
{
	EVP_PKEY_free(id->key);
	X509_free(id->certificate);
}

struct peer {
	int fd;
	SSL *ssl; /* NULL: plain */
};

struct peer_options {
	bool tls;
	const struct identity *ca;     /* the server's; NULL: not checked */
	const struct identity *client; /* shown to the server */
	int max_version;
};

/* In the child: the handshake. False: it failed. */
bool peer_open(struct peer *p, int fd, const struct peer_options *o);
bool peer_write(struct peer *p, const void *from, size_t len);
/* Bytes, 0 at the end, -1. */
ssize_t peer_read(struct peer *p, void *into, size_t len);
bool peer_read_all(struct peer *p, void *into, size_t len);
/* No more will be written. */
void peer_end(struct peer *p);

#endif

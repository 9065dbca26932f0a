/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A certificate in use. TLS 1.2 at least, forward secrecy and authenticated
 * ciphers alone; no compression, no renegotiation. No session tickets: these
 * connections live long, and a ticket's key is one more secret to renew.
 */
#include <errno.h>
#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include "base/fault.h"
#include "front/resp/stream.h"
#include "front/resp/tls_context.h"

/* Of TLS 1.2; those of 1.3 are OpenSSL's. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

/* A key under a passphrase: nobody is there to type it. */
static int no_passphrase(char *room, int size, int writing, void *ctx)
{
	(void)room;
	(void)size;
	(void)writing;
	(void)ctx;
	return -1;
}

static BIO *reader(const char *pem)
{
	return BIO_new_mem_buf(pem, -1);
}

/* The end of the file is OpenSSL's error "no start line". */
static bool at_end(void)
{
	unsigned long e = ERR_peek_last_error();
	bool end = ERR_GET_LIB(e) == ERR_LIB_PEM &&
		   ERR_GET_REASON(e) == PEM_R_NO_START_LINE;

	if (end)
		ERR_clear_error();
	return end;
}

static const char *take_chain(SSL_CTX *ctx, BIO *in)
{
	X509 *x = PEM_read_bio_X509_AUX(in, NULL, no_passphrase, NULL);
	bool ok = x && SSL_CTX_use_certificate(ctx, x) == 1;

	X509_free(x);
	if (!ok)
		return "the certificate cannot be read";
	while ((x = PEM_read_bio_X509(in, NULL, no_passphrase, NULL))) {
		if (SSL_CTX_add0_chain_cert(ctx, x) == 1)
			continue;
		X509_free(x);
		return "the certificate's chain cannot be used";
	}
	return at_end() ? NULL : "the certificate's chain cannot be read";
}

static const char *take_key(SSL_CTX *ctx, BIO *in)
{
	EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
	bool ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;

	EVP_PKEY_free(key);
	if (!ok)
		return "the private key cannot be read, or is another "
		       "certificate's";
	return SSL_CTX_check_private_key(ctx) == 1
		       ? NULL
		       : "the private key is another certificate's";
}

static const char *take_client_ca(SSL_CTX *ctx, BIO *in)
{
	unsigned n = 0;
	X509 *x;

	while ((x = PEM_read_bio_X509(in, NULL, no_passphrase, NULL))) {
		X509_STORE *store = SSL_CTX_get_cert_store(ctx);
		bool ok = X509_STORE_add_cert(store, x) == 1 &&
			  SSL_CTX_add_client_CA(ctx, x) == 1;

		X509_free(x);
		if (!ok)
			return "the clients' authority cannot be used";
		n++;
	}
	if (!at_end() || n == 0)
		return "the clients' authority cannot be read";
	SSL_CTX_set_verify(
		ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return NULL;
}

static const char *take(SSL_CTX *ctx, const char *pem,
			const char *(*with)(SSL_CTX *ctx, BIO *in))
{
	BIO *in = reader(pem);
	const char *why = in ? with(ctx, in) : "out of memory";

	BIO_free(in);
	return why;
}

static void set_rules(SSL_CTX *ctx)
{
	SSL_CTX_set_options(
		ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
			     SSL_OP_NO_TICKET |
			     SSL_OP_CIPHER_SERVER_PREFERENCE |
			     /* What is sent says its own length: an end without
			      * TLS's farewell is an end. */
			     SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	/* Idle connections keep no buffers; one recv() may bring many records;
	 * what was gathered to be sent may lie elsewhere the next time. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS |
				      SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
}

static struct stream_tls *empty(void)
{
	struct stream_tls *tls = mem_alloc(sizeof(*tls));

	if (!tls)
		return NULL;
	tls->socket = tls_socket_method();
	tls->ctx = fault_point(FAULT_ALLOC) ? NULL
					    : SSL_CTX_new(TLS_server_method());
	if (tls->socket && tls->ctx &&
	    SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) == 1 &&
	    SSL_CTX_set_cipher_list(tls->ctx, CIPHERS) == 1)
		return tls;
	stream_tls_destroy(tls);
	return NULL;
}

int stream_tls_create(const char *certificate, const char *key,
		      const char *client_ca, struct stream_tls **ret_tls,
		      const char **ret_why)
{
	struct stream_tls *tls = empty();
	const char *why, *reason;

	if (!tls) {
		ERR_clear_error();
		*ret_why = "out of memory";
		return -ENOMEM;
	}
	set_rules(tls->ctx);
	ERR_clear_error();
	why = take(tls->ctx, certificate, take_chain);
	if (!why)
		why = take(tls->ctx, key, take_key);
	if (!why && client_ca)
		why = take(tls->ctx, client_ca, take_client_ca);
	if (!why) {
		*ret_tls = tls;
		return 0;
	}
	/* OpenSSL's is the finer one where it says more than "no start line" */
	reason = ERR_reason_error_string(ERR_peek_last_error());
	*ret_why = reason && !at_end() ? reason : why;
	ERR_clear_error();
	stream_tls_destroy(tls);
	return -EINVAL;
}

void stream_tls_destroy(struct stream_tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->ctx);
	BIO_meth_free(tls->socket);
	free(tls);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include <sys/socket.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include "tests/front/tls_peer.h"

static void to_text(BIO *b, char *room, size_t size)
{
	int n = BIO_read(b, room, (int)size - 1);

	CHECK_INT(n, >, 0);
	room[n] = 0;
	BIO_free(b);
}

static void mark_authority(X509 *x)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(
		NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");

	CHECK(e);
	CHECK_INT(X509_add_ext(x, e, -1), ==, 1);
	X509_EXTENSION_free(e);
}

void identity_make(struct identity *id, const char *name,
		   const struct identity *by)
{
	static int serial;
	X509 *x = X509_new();
	BIO *b;

	id->key = EVP_EC_gen("P-256");
	CHECK(id->key && x);
	id->certificate = x;
	CHECK(X509_set_version(x, X509_VERSION_3));
	CHECK(ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial));
	CHECK(X509_gmtime_adj(X509_getm_notBefore(x), -3600));
	CHECK(X509_gmtime_adj(X509_getm_notAfter(x), 3600));
	CHECK(X509_set_pubkey(x, id->key));
	CHECK(X509_NAME_add_entry_by_txt(
		X509_get_subject_name(x), "CN", MBSTRING_ASC,
		(const unsigned char *)name, -1, -1, 0));
	CHECK(X509_set_issuer_name(x, X509_get_subject_name(by ? by->certificate
							       : x)));
	if (!by)
		mark_authority(x);
	CHECK(X509_sign(x, by ? by->key : id->key, EVP_sha256()));
	b = BIO_new(BIO_s_mem());
	CHECK(PEM_write_bio_X509(b, x));
	to_text(b, id->certificate_pem, sizeof(id->certificate_pem));
	b = BIO_new(BIO_s_mem());
	CHECK(PEM_write_bio_PrivateKey(b, id->key, NULL, NULL, 0, NULL, NULL));
	to_text(b, id->key_pem, sizeof(id->key_pem));
}

static SSL_CTX *client_context(const struct peer_options *o)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());

	CHECK(c);
	if (o->max_version) {
		SSL_CTX_set_security_level(c, 0);
		CHECK(SSL_CTX_set_min_proto_version(c, 0));
		CHECK(SSL_CTX_set_max_proto_version(c, o->max_version));
	}
	if (o->ca) {
		X509_STORE_add_cert(SSL_CTX_get_cert_store(c),
				    o->ca->certificate);
		SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	}
	if (o->client) {
		CHECK(SSL_CTX_use_certificate(c, o->client->certificate));
		CHECK(SSL_CTX_use_PrivateKey(c, o->client->key));
	}
	return c;
}

bool peer_open(struct peer *p, int fd, const struct peer_options *o)
{
	*p = (struct peer){ .fd = fd };
	signal(SIGPIPE, SIG_IGN);
	if (!o->tls)
		return true;
	p->ssl = SSL_new(client_context(o));
	CHECK(p->ssl && SSL_set_fd(p->ssl, fd));
	return SSL_connect(p->ssl) == 1;
}

bool peer_write(struct peer *p, const void *from, size_t len)
{
	const char *at = from;

	while (len > 0) {
		int part = (int)(len < 100000 ? len : 100000);
		ssize_t n = p->ssl ? SSL_write(p->ssl, at, part)
				   : write(p->fd, at, (size_t)part);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

ssize_t peer_read(struct peer *p, void *into, size_t len)
{
	int n;

	if (!p->ssl)
		return read(p->fd, into, len);
	n = SSL_read(p->ssl, into, (int)len);
	if (n > 0)
		return n;
	return SSL_get_error(p->ssl, n) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

bool peer_read_all(struct peer *p, void *into, size_t len)
{
	char *at = into;

	while (len > 0) {
		ssize_t n = peer_read(p, at, len);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

void peer_end(struct peer *p)
{
	if (p->ssl)
		SSL_shutdown(p->ssl);
	shutdown(p->fd, SHUT_WR);
}

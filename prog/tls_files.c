/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_files.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "base/log.h"
#include "pem.h"

static int load(const struct tls_paths *paths, const char *what,
		const char *path, char **ret_text, char *error)
{
	int r;

	if (!*path)
		return 0;
	r = pem_load(path, ret_text);
	if (r < 0)
		snprintf(error, TLS_FILES_ERROR, "%s.tls.%s %.255s: %s",
			 paths->door, what, path,
			 r == -EINVAL ? "no text in it" : strerror(-r));
	return r;
}

/* Where OpenSSL says "unsupported" of what is no PEM, or is encrypted. */
static const char *plainer(const struct tls_files *f, const char *why)
{
	if (!strstr(f->certificate, "-----BEGIN "))
		return "the certificate is not PEM";
	if (!strstr(f->key, "PRIVATE KEY-----"))
		return "the key is not one in PEM";
	if (strstr(f->key, "ENCRYPTED"))
		return "the key is encrypted, and nobody is there to give its "
		       "passphrase";
	return why;
}

/* The reason comes first: /health cuts long texts. */
static int use(const struct tls_paths *paths, const struct tls_files *f,
	       struct stream_tls **ret_tls, char *error)
{
	const char *why = "";
	int r = stream_tls_create(f->certificate, f->key, f->client_ca, ret_tls,
				  &why);

	if (r < 0)
		snprintf(error, TLS_FILES_ERROR,
			 "%s.tls: %.120s (certificate %.150s, key %.150s)",
			 paths->door, r == -EINVAL ? plainer(f, why) : why,
			 paths->certificate, paths->key);
	return r;
}

int tls_files_load(const struct tls_paths *paths, struct tls_files *ret_files,
		   struct stream_tls **ret_tls, char error[TLS_FILES_ERROR])
{
	struct tls_files f = { 0 };
	struct stream_tls *tls = NULL;
	int r = load(paths, "certificate", paths->certificate, &f.certificate,
		     error);

	if (r == 0)
		r = load(paths, "key", paths->key, &f.key, error);
	if (r == 0)
		r = load(paths, "client_ca", paths->client_ca, &f.client_ca,
			 error);
	if (r == 0 && f.certificate && f.key)
		r = use(paths, &f, &tls, error);
	if (r < 0) {
		tls_files_free(&f);
		return r;
	}
	*ret_files = f;
	*ret_tls = tls;
	return 0;
}

void tls_files_free(struct tls_files *f)
{
	pem_free(f->certificate);
	pem_free(f->key);
	pem_free(f->client_ca);
	*f = (struct tls_files){ 0 };
}

void tls_files_warn(const struct tls_paths *paths, const struct tls_files *f)
{
	BIO *in = f->certificate ? BIO_new_mem_buf(f->certificate, -1) : NULL;
	X509 *x = in ? PEM_read_bio_X509_AUX(in, NULL, NULL, NULL) : NULL;
	char date[32] = "";
	struct tm tm;

	if (x && X509_cmp_current_time(X509_get0_notAfter(x)) < 0 &&
	    ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) == 1) {
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &tm);
		log_warn("%s.tls.certificate %.255s expired at %s: clients "
			 "that check it will refuse it",
			 paths->door, paths->certificate, date);
	}
	X509_free(x);
	BIO_free(in);
	ERR_clear_error();
}

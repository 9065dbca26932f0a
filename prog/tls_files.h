/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A door's files of TLS: read, and tried together. Before the node starts, so
 * that it does not start with files that are of no use; in each server, which
 * may find others than the node has started with.
 */
#ifndef ONECOPY_PROG_TLS_FILES_H
#define ONECOPY_PROG_TLS_FILES_H

#include "front/resp/stream.h"

#define TLS_FILES_ERROR 512

/* "": there is none. */
struct tls_paths {
	const char *door; /* "resp", "http": for texts */
	const char *certificate, *key, *client_ca;
};

/* Whole, as text; NULL: there is none. */
struct tls_files {
	char *certificate, *key, *client_ca;
};

/* 0; all NULL where the door has no TLS. ret_tls: the certificate in use, the
 * caller's to destroy. -errno with a text that names the file; -EINVAL: what
 * they hold is not PEM, is encrypted, or does not belong together. */
int tls_files_load(const struct tls_paths *paths, struct tls_files *ret_files,
		   struct stream_tls **ret_tls, char error[TLS_FILES_ERROR]);
/* Overwrites them first. Takes what has been freed. */
void tls_files_free(struct tls_files *f);
/* Says in the log when the certificate has expired: clients will refuse it,
 * which is theirs to decide. */
void tls_files_warn(const struct tls_paths *paths, const struct tls_files *f);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A small file whole in memory: certificates, keys, passwords. */
#ifndef ONECOPY_PROG_PEM_H
#define ONECOPY_PROG_PEM_H

#include "base/compiler.h"

#define PEM_BYTES_MAX (1u << 20)

/* Its text, which ends with a zero. -errno of reading it; -EFBIG more than
 * PEM_BYTES_MAX; -EINVAL nothing in it, or a zero byte; -ENOMEM. No copy of it
 * is left behind. */
int pem_load(const char *path, char **ret_text);
/* Overwrites it first. Takes NULL. */
void pem_free(char *text);

#endif

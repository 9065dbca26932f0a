/* SPDX-License-Identifier: Apache-2.0 */
/* The programs that are built and installed together lie in one folder. */
#ifndef ONECOPY_PROG_BESIDE_H
#define ONECOPY_PROG_BESIDE_H

#include <stddef.h>

/* The path of `name` in the folder of the running program. 0; -ENOENT it is not
 * there or cannot be run; another -errno. */
int beside_path(const char *name, char *ret_path, size_t cap);

#endif

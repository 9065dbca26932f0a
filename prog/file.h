/* SPDX-License-Identifier: Apache-2.0 */
/* A file that the program reads whole. */
#ifndef ONECOPY_PROG_FILE_H
#define ONECOPY_PROG_FILE_H

#include <stddef.h>
#include <sys/stat.h>

/* At most `cap` bytes of it; a caller that must know whether it is longer gives room
 * for one byte more than it takes. 0 or -errno; where that fails, parts of it may
 * be in `buf`. */
int file_read(const char *path, char *buf, size_t cap, size_t *ret_len,
	      struct stat *ret_stat);

#endif

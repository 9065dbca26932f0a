/* SPDX-License-Identifier: Apache-2.0 */
/* The search for libcufile: of cufile.c alone. */
#ifndef ONECOPY_TIER_GPU_CUFILE_FIND_H
#define ONECOPY_TIER_GPU_CUFILE_FIND_H

#include <stddef.h>

/* The library's handle and where it was; NULL: nowhere. */
void *cufile_find(char *ret_path, size_t cap);

#endif

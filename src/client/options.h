/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options structs as the caller's build knows them. An older caller's struct is
 * shorter: what it lacks keeps the default. A newer caller's is longer: what
 * this build does not know is left out.
 */
#ifndef ONECOPY_CLIENT_OPTIONS_H
#define ONECOPY_CLIENT_OPTIONS_H

#include <errno.h>
#include "base/compiler.h"

/* No struct of any release is larger: a forgotten size is often garbage. */
#define OPTIONS_MOST 4096

/* *ret has the defaults and its own size. 0, or -EINVAL: a size that cannot
 * be; *ret is as it was. */
static inline int options_copy(void *ret, size_t bytes, const void *from)
{
	size_t given;

	memcpy(&given, from, sizeof(given));
	if (given < sizeof(given) || given > OPTIONS_MOST)
		return -EINVAL;
	memcpy(ret, from, MIN(given, bytes));
	return 0;
}

#endif

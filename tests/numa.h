/* SPDX-License-Identifier: Apache-2.0 */
/* A NUMA node that this process may use: a set of processors may leave out node 0. */
#ifndef ONECOPY_TESTS_NUMA_H
#define ONECOPY_TESTS_NUMA_H

#include <sys/syscall.h>
#include <unistd.h>

#include "tests/test.h"

static inline int numa_allowed(void)
{
	unsigned long mask[1024 / 64] = { 0 };

	if (syscall(SYS_get_mempolicy, NULL, mask, 1024ul, NULL,
		    4ul /* MPOL_F_MEMS_ALLOWED */) < 0)
		SKIP("get_mempolicy: %s", strerror(errno));
	for (unsigned i = 0; i < 1024; i++)
		if (mask[i / 64] >> (i % 64) & 1)
			return (int)i;
	FAIL("no node");
}

#endif

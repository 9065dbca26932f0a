/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing memory that may fail: a page that the machine has lost
 * (poison), a device that was taken away. The kernel says so by SIGBUS; here it
 * becomes an error of the function that touched it.
 *
 *	r = guard_run(copy, &job, NULL);	0, or -EIO: it met such memory
 *
 * The function is left in the middle, so it holds nothing that must be given back,
 * takes no lock and allocates nothing: it copies or hashes, no more. Of guards inside
 * one another the innermost ends. Any number of threads.
 *
 * guard_install() once, before. Without it, and outside of a guard, SIGBUS is
 * what it was: the end of the process, or the handler that was there before.
 */
#ifndef ONECOPY_BASE_GUARD_H
#define ONECOPY_BASE_GUARD_H

#include "base/compiler.h"

struct guard_fault {
	uintptr_t at;	/* the address that was touched */
	uint64_t bytes; /* lost around it: a power of two, aligned */
};

void guard_install(void);
/* *ret_fault (may be NULL) is written with -EIO only. */
int guard_run(void (*fn)(void *ctx), void *ctx, struct guard_fault *ret_fault);
/* Reads a byte of each page of it, before somebody does who cannot be left in the
 * middle. As guard_run(). */
int guard_touch(const void *at, uint64_t bytes, struct guard_fault *ret_fault);

#endif

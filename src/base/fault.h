/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failing on purpose: every allocation, map and I/O of onecopy passes one of
 * these points, so that a test can walk a countdown over a public call ("fail
 * the 1st, the 2nd, ... point") until the call passes untouched.
 *
 * Off unless a test arms it; then one relaxed load. Process-wide, atomic.
 */
#ifndef ONECOPY_BASE_FAULT_H
#define ONECOPY_BASE_FAULT_H

#include "base/compiler.h"

enum fault_kind {
	FAULT_ALLOC = 1, /* heap: fails with -ENOMEM */
	FAULT_MAP = 2,	 /* mmap, memfd, populate: -ENOMEM */
	FAULT_IO = 4,	 /* sockets, files, descriptors: -EIO */
	FAULT_ALL = 7,
};

/* Fail the nth point (1 = the next) of the kinds in `mask` and, with `sticky`,
 * all later ones too. n = 0 disarms. */
void fault_arm(unsigned mask, uint64_t n, bool sticky);
/* Number of points of the armed mask that were passed since fault_arm(). */
uint64_t fault_passed(void);
/* True when a fault was injected since fault_arm(). */
bool fault_fired(void);

/* The points. True: the caller must fail. */
bool fault_point(enum fault_kind kind);

/* Heap through the point; NULL on failure. Freed with free(). */
void *mem_alloc(size_t bytes);			/* zeroed */
void *mem_array(size_t n, size_t each);		/* zeroed, overflow checked */
void *mem_grow(void *p, size_t n, size_t each); /* as realloc; new part is not
						   zeroed; p stays on failure */
/* The same of the array that the pointer at `array` points to. 0 or -ENOMEM. */
int mem_grow_at(void *array, size_t n, size_t each);
char *mem_dup(const char *text);

/* For CLEANUP(mem_free_at) on a pointer variable. */
void mem_free_at(void *pp);
/* For CLEANUP(fd_close_at) on an int; -1 is nothing. */
void fd_close_at(int *fd);
/* Close and forget: returns -1 to assign. Keeps errno. */
int fd_close(int fd);
/* Move a descriptor out of a CLEANUP variable. */
static inline int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#endif

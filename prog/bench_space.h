/* SPDX-License-Identifier: Apache-2.0 */
/* Plain system calls that the bench `space` compares spaces with: what the same
 * mapping, touch, fault or copy costs without them. Microseconds, or -errno. */
#ifndef ONECOPY_PROG_BENCH_SPACE_H
#define ONECOPY_PROG_BENCH_SPACE_H

#include <stddef.h>
#include <stdint.h>

struct bench;
/* Its figures of blocks on a drive. 0 or -errno. */
int space_from_drive(struct bench *b);

/* Where blocks lie in a descriptor, in the order in which they are mapped. */
struct plain_place {
	int fd;
	uint64_t offset;
};

/* Maps n blocks one after the other, each by a call of its own. */
double plain_map(const struct plain_place *place, size_t n, uint64_t bytes);
/* The same, and reads each page; the mapping is not counted. */
double plain_touch(const struct plain_place *place, size_t n, uint64_t bytes);
/* A touch that another thread serves with a page of zeros; mean of `n`. */
double plain_fault(size_t n);
/* A fresh populated mapping and a copy of `from` into it. */
double plain_copy(const void *from, uint64_t bytes);
/* Reads memory once: sums words. */
uint64_t plain_sum(const void *from, uint64_t bytes);
/* Reads a byte of each page. */
uint64_t plain_pages(const void *from, uint64_t bytes);

#endif

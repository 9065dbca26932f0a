/* SPDX-License-Identifier: Apache-2.0 */
/* Plain system calls that the bench `space` compares spaces with: what the same
 * mapping, touch, fault or copy costs without them. Microseconds, or -errno. */
#ifndef ONECOPY_PROG_BENCH_SPACE_H
#define ONECOPY_PROG_BENCH_SPACE_H

#include <onecopy/space.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "bench.h"

#define SPACE_SMALL (4096u)
#define SPACE_LARGE (2ull << 20)

struct bench_pool;

/* A node full of blocks of one size, and its figures as they are collected. */
struct space_bench {
	struct bench_pool *pool;
	struct oc_key *key;	   /* in the order in which they are mapped */
	struct plain_place *place; /* where they lie */
	size_t n;
	double value[BENCH_RUNS_MAX], other[BENCH_RUNS_MAX];
};

/* A space for one measurement. */
struct space_one {
	oc_space *space;
	oc_span *span;
	char *base;
	uint64_t stride;
};

/* Makes it, with a span of all blocks. *ret_us: the span's part of it. */
int space_one_open(struct space_bench *s, unsigned flags, struct space_one *ret,
		   double *ret_us);
/* Runs of `each` blocks that follow each other, in another order than they
 * were sealed in. */
void space_shuffle(struct space_bench *s, size_t each);
double space_us_since(uint64_t start);

/* bench_space_touch.c */
int space_touch_lazy(struct bench *b, struct space_bench *s);
int space_random_touch(struct bench *b, struct space_bench *s);

/* bench_space_slices.c: makes its own node */
int space_slices(struct bench *b, struct space_bench *s);

/* bench_space_turns.c */
int space_alternating(struct bench *b, struct space_bench *s);

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
/* Where threads run; a negative one: anywhere. */
struct plain_cpus {
	int touch, serve;
};
/* This thread from now on, and those that it makes. -1: as at first. */
void plain_run_on(int cpu);
/* A touch that another thread serves with a page of zeros; mean of `n`. */
double plain_fault(size_t n, struct plain_cpus cpus);
/* A fresh populated mapping and a copy of `from` into it. */
double plain_copy(const void *from, uint64_t bytes);
/* Reads memory once: sums words. */
uint64_t plain_sum(const void *from, uint64_t bytes);
/* Reads a byte of each page. */
uint64_t plain_pages(const void *from, uint64_t bytes);

/* Reads `bytes` of a file, from its start, with `depth` reads of `piece` bytes at
 * once, past the page cache where the file system lets it; into memory in pages of
 * 2 MiB, if `huge`. Bytes a second. */
double plain_read(const char *path, uint64_t bytes, uint64_t piece,
		  unsigned depth, bool huge);

#endif

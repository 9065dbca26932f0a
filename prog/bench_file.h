/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where benches of disks work: the folder of --dir (DIR or DIR:SIZE; else one of
 * $TMPDIR, else the current folder), and a file of parts in it. It keeps its name
 * until it is closed, because cuFile opens files a second time.
 */
#ifndef ONECOPY_PROG_BENCH_FILE_H
#define ONECOPY_PROG_BENCH_FILE_H

#include "bench.h"

/* The folder, and the size that was asked for (0: none). -EINVAL says it. */
int bench_dir(const struct bench *b, char ret_dir[4096], uint64_t *ret_bytes);
/* Bytes that this user may still write there. */
uint64_t bench_dir_free(const char *dir);

struct bench_file {
	int fd;
	char path[4096];
	bool direct; /* opened past the page cache */
	uint64_t part_bytes;
	uint32_t parts;
	uint64_t *sum; /* checksum of each part; the seed is its number */
};

/* Writes `bytes` of parts, at most half of what is free. -ENOSPC: less than 16
 * parts would fit. */
int bench_file_open(const char *dir, uint64_t bytes, uint64_t part_bytes,
		    struct bench_file *ret_file);
void bench_file_close(struct bench_file *f);

#endif

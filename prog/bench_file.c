/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/text.h"

#define FILE_PARTS_LEAST 16u

int bench_dir(const struct bench *b, char ret_dir[4096], uint64_t *ret_bytes)
{
	const char *colon = b->dir ? strrchr(b->dir, ':') : NULL;
	const char *tmp = getenv("TMPDIR");

	*ret_bytes = 0;
	if (!b->dir)
		return text_copy(ret_dir, 4096, tmp && tmp[0] ? tmp : ".");
	if (!colon)
		return text_copy(ret_dir, 4096, b->dir);
	if (text_parse_size(colon + 1, 0, ret_bytes) || colon == b->dir ||
	    colon - b->dir >= 4096) {
		fprintf(stderr, "onecopy: bench: %s is not DIR:SIZE\n", b->dir);
		return -EINVAL;
	}
	memcpy(ret_dir, b->dir, (size_t)(colon - b->dir));
	ret_dir[colon - b->dir] = '\0';
	return 0;
}

uint64_t bench_dir_free(const char *dir)
{
	struct statvfs s;

	return statvfs(dir, &s) ? 0 : (uint64_t)s.f_bavail * s.f_frsize;
}

static int file_fill(struct bench_file *f)
{
	struct rng rng = { 5 };
	uint64_t *data;
	int r = 0;

	if (posix_memalign((void **)&data, PAGE_BYTES, f->part_bytes))
		return -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < f->parts; i++) {
		for (uint64_t k = 0; k < f->part_bytes / sizeof(*data); k++)
			data[k] = rng_next(&rng);
		f->sum[i] = hash_payload(data, f->part_bytes, i);
		errno = EIO;
		if (pwrite(f->fd, data, f->part_bytes,
			   (off_t)(i * f->part_bytes)) !=
		    (ssize_t)f->part_bytes)
			r = -errno;
	}
	free(data);
	return r ? r : fdatasync(f->fd) ? -errno : 0;
}

static int file_open(const char *dir, struct bench_file *f)
{
	if (snprintf(f->path, sizeof(f->path), "%s/onecopy-bench-XXXXXX",
		     dir) >= (int)sizeof(f->path))
		return -ENAMETOOLONG;
	f->fd = mkostemp(f->path, O_CLOEXEC);
	if (f->fd < 0)
		return -errno;
	f->direct = fcntl(f->fd, F_SETFL, O_DIRECT) == 0;
	return 0;
}

int bench_file_open(const char *dir, uint64_t bytes, uint64_t part_bytes,
		    struct bench_file *ret_file)
{
	struct bench_file f = { .part_bytes = part_bytes };
	int r;

	bytes = MIN(bytes, bench_dir_free(dir) / 2);
	f.parts = (uint32_t)(bytes / part_bytes);
	if (f.parts < FILE_PARTS_LEAST) {
		fprintf(stderr, "onecopy: bench: too little room in %s\n", dir);
		return -ENOSPC;
	}
	r = file_open(dir, &f);
	if (r) {
		fprintf(stderr, "onecopy: bench: %s: %s\n", dir, strerror(-r));
		return r;
	}
	f.sum = mem_array(f.parts, sizeof(*f.sum));
	r = f.sum ? file_fill(&f) : -ENOMEM;
	if (r) {
		bench_file_close(&f);
		return r;
	}
	*ret_file = f;
	return 0;
}

void bench_file_close(struct bench_file *f)
{
	if (f->fd >= 0)
		unlink(f->path);
	f->fd = fd_close(f->fd);
	free(f->sum);
	f->sum = NULL;
}

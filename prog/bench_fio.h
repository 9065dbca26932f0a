/* SPDX-License-Identifier: Apache-2.0 */
/* fio beside a bench of a drive: io_uring, O_DIRECT, one job, and a file of its own
 * in the same folder. It is found at run time. */
#ifndef ONECOPY_PROG_BENCH_FIO_H
#define ONECOPY_PROG_BENCH_FIO_H

#include <stdbool.h>
#include <stdint.h>

struct fio_job {
	const char *dir;
	const char *rw; /* "read", "randread", "write" */
	uint64_t block, bytes;
	uint32_t depth;
	bool fresh; /* without the file of the job before */
};

struct fio_result {
	double bytes_per_s, ops_per_s, cpu_per_gb;
	double p99_us; /* from submission to completion */
};

/* "fio-3.33" in 64 bytes. -ENOENT: it is not installed. */
int fio_version(char ret_version[64]);
/* Says on stderr what is wrong. */
int fio_run(const struct fio_job *job, struct fio_result *ret_result);
/* The file goes. */
void fio_clean(const char *dir);

#endif

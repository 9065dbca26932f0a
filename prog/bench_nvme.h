/* SPDX-License-Identifier: Apache-2.0 */
/* The bench nvme: what its files share. */
#ifndef ONECOPY_PROG_BENCH_NVME_H
#define ONECOPY_PROG_BENCH_NVME_H

#include "bench.h"

struct nvme_bench {
	struct bench *b;
	char dir[4096]; /* a folder of its own */
	uint64_t bytes; /* of each set of parts */
	bool fio;
	char fio_version[64];
};

/* Removes every file in the folder of the tier, DIR/tier, and makes it anew. */
int nvme_bench_fresh(struct nvme_bench *n, char ret_tier[4096]);
/* Bytes of the files in a folder that are in the page cache. */
uint64_t nvme_bench_cached(const char *dir);
/* Fetches through a node (bench_nvme_node.c). */
int nvme_bench_node(struct nvme_bench *n);
/* Bytes that this process, or pid, had the kernel fetch from drives: read_bytes of
 * /proc/PID/io. 0: unknown. */
uint64_t nvme_bench_fetched(int pid);

#endif

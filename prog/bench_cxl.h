/* SPDX-License-Identifier: Apache-2.0 */
/* What the figures of the bench cxl have in common (bench_cxl.c). */
#ifndef ONECOPY_PROG_BENCH_CXL_H
#define ONECOPY_PROG_BENCH_CXL_H

#include <stdatomic.h>
#include <sys/types.h>

#include "bench.h"
#include "region/region.h"

#define CXL_NOTE "ordinary memory stands in for CXL"

/* A region on a memfd of this process. */
struct cxl_bench {
	struct bench *b;
	int fd;
	char path[64];
	struct region_geometry g;
};

/* unfilled: no payload will be touched. Says on stderr what is wrong. */
int cxl_bench_make(struct bench *b, struct region_geometry g, bool unfilled,
		   struct cxl_bench *ret_bench);
void cxl_bench_end(struct cxl_bench *c);
/* A member; NULL and it was said. */
struct region *cxl_bench_join(const struct cxl_bench *c, uint32_t shards,
			      bool adopt);
struct region_name cxl_bench_name(uint64_t id);
/* Seals `n` blocks of 64 bytes from `id` on into the own shards. */
int cxl_bench_fill(struct region *r, uint64_t id, uint64_t n);

/* A process of its own, as fork(). The parent's end ends it. */
pid_t cxl_bench_fork(void);
/* Ends it and waits for that; 0 and -1, of a fork() that failed, are nobody. */
void cxl_bench_reap(pid_t pid);

/* Groups of figures; 0 or -errno. */
int cxl_bench_shards(struct bench *b);
int cxl_bench_death(struct bench *b);

#endif

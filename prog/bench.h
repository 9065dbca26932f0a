/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Benches: each measures figures against a peer or a limit in the same run.
 *
 * A bench is a function in the registry (bench_command.c). It measures each figure
 * `runs` times and hands the values to bench_report(), which keeps the median
 * and the spread. It starts private nodes, checks that the memory it needs is
 * there, looks at bench_late() in its loops, and leaves nothing behind.
 */
#ifndef ONECOPY_PROG_BENCH_H
#define ONECOPY_PROG_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench_pool.h"
#include "onecopy/onecopy.h"

#define BENCH_RUNS_MAX 32

struct bench {
	uint32_t runs;
	uint64_t blocks;      /* asked for in the large pool */
	const char *model;    /* of the bench llama; NULL: its own choice */
	const char *trace;    /* of the bench eviction; NULL: a generated one */
	const char *dir;      /* DIR[:SIZE] of benches of disks; NULL: theirs */
	uint64_t end_ns;      /* of the bench that runs */
	uint64_t cache_bytes; /* last level */
	json_t *figures;
	json_t *machine;
	bool missed;		 /* a figure does not hold */
	struct bench_pool *pool; /* the large pool; made by who needs it first */
};

enum bench_sense { BENCH_AT_MOST, BENCH_AT_LEAST };

struct bench_figure {
	const char *name;
	const char *unit;
	const char *against; /* what it is compared with; may be NULL */
	double reference;    /* value of that, same unit; 0: no ratio */
	enum bench_sense sense;
	double wanted;
	const char *note; /* may be NULL */
};

/* Sorts `values`. */
void bench_report(struct bench *b, const struct bench_figure *f, double *values,
		  uint32_t n);
/* A value that is told and judges nothing. Sorts `values`. */
void bench_inform(struct bench *b, const char *name, const char *unit,
		  double *values, uint32_t n);
/* A figure that cannot be measured here, and why. */
void bench_unmeasured(struct bench *b, const char *name, const char *why);
double bench_median(double *values, uint32_t n);

/* True when the bench has to end: asked to, or out of time (says so once). */
bool bench_late(const struct bench *b);
/* The large pool, made at its first use. NULL: said why on stderr. */
struct bench_pool *bench_large(struct bench *b);
/* A line of progress on a terminal's stderr; NULL clears it. */
void bench_says(const char *text);

/* Fills machine and cache_bytes. */
int bench_machine(struct bench *b);
void bench_machine_print(const struct bench *b);

/* The benches, in the order of `all`: those that share the large pool follow each
 * other and the one that needs as much memory besides, and the one that kills
 * its server comes after them. */
#define BENCHES(X)   \
	X(llama)     \
	X(resp)      \
	X(index)     \
	X(route)     \
	X(eviction)  \
	X(put)       \
	X(local)     \
	X(memory)    \
	X(session)   \
	X(space)     \
	X(cxl)       \
	X(restart)   \
	X(device)    \
	X(nvme)      \
	X(coherence) \
	X(death)
#define BENCH_DECLARE(name) int bench_##name(struct bench *b);
BENCHES(BENCH_DECLARE)

#endif

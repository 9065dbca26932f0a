/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "stop.h"

#define BENCH_BLOCK 4096ull
/* Of the pool beyond the blocks: the last slab of each owner is not full. */
#define BENCH_SLACK (256ull << 20)

void bench_says(const char *text)
{
	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r\033[K%s", text ? text : "");
	fflush(stderr);
}

bool bench_late(const struct bench *b)
{
	return stop_wanted() || clock_ns() > b->end_ns;
}

/* ---- figures ------------------------------------------------------------------ */

static int bench_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *values, uint32_t n)
{
	qsort(values, n, sizeof(*values), bench_compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void figure_print(const struct bench_figure *f, double value,
			 double spread, bool holds, uint32_t runs)
{
	char number[32], wanted[32];

	snprintf(number, sizeof(number), "%.*f",
		 fabs(value) < 100 && value != floor(value) ? 2 : 0, value);
	snprintf(wanted, sizeof(wanted), "%.*f",
		 f->wanted != floor(f->wanted) && f->wanted < 100 ? 2 : 0,
		 f->wanted);
	bench_says(NULL);
	printf("%-22s %12s %-6s %s %s %s%s\n", f->name, number, f->unit,
	       f->sense == BENCH_AT_MOST ? "<=" : ">=", wanted,
	       holds ? "holds" : "DOES NOT HOLD", f->note ? " *" : "");
	if (f->against)
		printf("%22s against %s", "", f->against);
	if (f->against && f->reference > 0)
		printf(" (ratio %.2f)", value / f->reference);
	if (f->against)
		printf("\n");
	if (runs > 1)
		printf("%22s median of %u runs, spread %.1f %%\n", "", runs,
		       100 * spread);
	if (f->note)
		printf("%22s * %s\n", "", f->note);
	fflush(stdout);
}

static json_t *figure_json(const struct bench *b, const struct bench_figure *f,
			   double value, double spread, bool holds,
			   uint32_t runs)
{
	json_t *ratio = f->reference > 0 ? json_real(value / f->reference)
					 : json_null();

	return json_pack("{s:s,s:f,s:s,s:s?,s:o,s:s,s:f,s:b,s:i,s:f,s:s?,s:O}",
			 "figure", f->name, "value", value, "unit", f->unit,
			 "against", f->against, "ratio", ratio, "sense",
			 f->sense == BENCH_AT_MOST ? "<=" : ">=", "wanted",
			 f->wanted, "holds", holds, "runs", (int)runs, "spread",
			 spread, "note", f->note, "machine", b->machine);
}

void bench_report(struct bench *b, const struct bench_figure *f, double *values,
		  uint32_t n)
{
	double value = bench_median(values, n);
	double spread = value > 0 ? (values[n - 1] - values[0]) / value : 0;
	bool holds = f->sense == BENCH_AT_MOST ? value <= f->wanted
					       : value >= f->wanted;
	json_t *one;

	if (!holds)
		b->missed = true;
	if (!b->figures) {
		figure_print(f, value, spread, holds, n);
		return;
	}
	one = figure_json(b, f, value, spread, holds, n);
	if (one)
		json_array_append_new(b->figures, one);
}

void bench_inform(struct bench *b, const char *name, const char *unit,
		  double *values, uint32_t n)
{
	double value = bench_median(values, n);
	double spread = value > 0 ? (values[n - 1] - values[0]) / value : 0;
	json_t *one;

	if (!b->figures) {
		bench_says(NULL);
		printf("  %-28s %12.*f %-6s spread %.1f %%\n", name,
		       fabs(value) < 100 && value != floor(value) ? 3 : 0,
		       value, unit, 100 * spread);
		return;
	}
	one = json_pack("{s:s,s:f,s:s,s:n,s:n,s:n,s:n,s:n,s:i,s:f,s:n,s:O}",
			"figure", name, "value", value, "unit", unit, "against",
			"ratio", "sense", "wanted", "holds", "runs", (int)n,
			"spread", spread, "note", "machine", b->machine);
	if (one)
		json_array_append_new(b->figures, one);
}

void bench_unmeasured(struct bench *b, const char *name, const char *why)
{
	json_t *one;

	if (!b->figures) {
		bench_says(NULL);
		printf("%-22s %12s\n%22s * %s\n", name, "not measured", "",
		       why);
		return;
	}
	one = json_pack("{s:s,s:n,s:n,s:n,s:n,s:n,s:n,s:n,s:i,s:n,s:s,s:O}",
			"figure", name, "value", "unit", "against", "ratio",
			"sense", "wanted", "holds", "runs", 0, "spread", "note",
			why, "machine", b->machine);
	if (one)
		json_array_append_new(b->figures, one);
}

/* ---- the machine ----------------------------------------------------------------- */

static void machine_cpu(char *text, size_t cap)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];
	char *colon;

	snprintf(text, cap, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "model name", 10) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		colon = strchr(line, ':');
		if (colon && colon[1])
			snprintf(text, cap, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

static uint64_t machine_cache(void)
{
	long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
	long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);

	return l3 > 0 ? (uint64_t)l3 : l2 > 0 ? (uint64_t)l2 : 0;
}

int bench_machine(struct bench *b)
{
	struct utsname uts;
	char cpu[200];

	machine_cpu(cpu, sizeof(cpu));
	if (uname(&uts))
		return -errno;
	b->cache_bytes = machine_cache();
	b->machine = json_pack("{s:s,s:i,s:I,s:s,s:s,s:I}", "cpu", cpu, "cores",
			       (int)sysconf(_SC_NPROCESSORS_ONLN), "llc_bytes",
			       (json_int_t)b->cache_bytes, "kernel",
			       uts.release, "arch", uts.machine,
			       "memory_available_bytes",
			       (json_int_t)bench_memory_free());
	return b->machine ? 0 : -ENOMEM;
}

void bench_machine_print(const struct bench *b)
{
	char cache[32], memory[32];
	json_t *m = b->machine;

	printf("%s, %lld cores, last-level cache %s, %s available, kernel %s; "
	       "%u runs\n\n",
	       json_string_value(json_object_get(m, "cpu")),
	       (long long)json_integer_value(json_object_get(m, "cores")),
	       text_size(b->cache_bytes, cache),
	       text_size(bench_memory_free(), memory),
	       json_string_value(json_object_get(m, "kernel")), b->runs);
}

/* ---- the large pool ---------------------------------------------------------------- */

/* As many blocks as asked for, or as memory allows (and says so). */
static uint64_t large_blocks(const struct bench *b)
{
	uint64_t have = bench_memory_free();
	uint64_t each = BENCH_BLOCK + BENCH_BLOCK / 8; /* metadata, keys */
	uint64_t fit = have > 2 * BENCH_SLACK ? (have - 2 * BENCH_SLACK) / each
					      : 0;

	if (fit >= b->blocks)
		return b->blocks;
	fprintf(stderr,
		"onecopy: bench: memory for %llu blocks of 4 KiB only, not "
		"%llu: figures of a smaller pool\n",
		(unsigned long long)fit, (unsigned long long)b->blocks);
	return fit;
}

struct bench_pool *bench_large(struct bench *b)
{
	uint64_t n;
	int r;

	if (b->pool)
		return b->pool;
	n = large_blocks(b);
	if (n < 16384) {
		fprintf(stderr, "onecopy: bench: too little memory\n");
		return NULL;
	}
	bench_says("sealing the blocks of the large pool");
	r = bench_pool_open(n * BENCH_BLOCK + BENCH_SLACK, BENCH_BLOCK,
			    &b->pool);
	if (r == 0)
		r = bench_pool_fill(b->pool, n);
	bench_says(NULL);
	if (r == 0)
		return b->pool;
	bench_pool_close(b->pool);
	b->pool = NULL;
	return NULL;
}

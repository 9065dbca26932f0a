/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tier on a drive beside fio: same folder, same sizes of reads and writes, as
 * many with the drive at once, io_uring and O_DIRECT on both sides. They take
 * turns, and ratios are taken turn by turn. What the tier reads it verifies, fio
 * looks at nothing.
 */
#include "bench_nvme.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/text.h"
#include "bench_file.h"
#include "bench_fio.h"
#include "bench_tier.h"
#include "tier/gpu/io.h"

#define LARGE_BYTES  (2ull << 20)
#define LARGE_DEPTH  16u
#define SMALL_BYTES  (64ull << 10)
#define SMALL_DEPTH  64u
#define SET_BYTES    (4ull << 30)
#define SMALL_PART   4 /* of the set: parts of 64 KiB */
#define COST_WAIT_NS (30 * NS_PER_S)
#define NO_FIO	     "fio is not installed: apt-get install fio"

/* ---- from outside ------------------------------------------------------------------ */

static uint64_t file_cached(int fd, uint64_t bytes)
{
	uint64_t pages = DIV_UP(bytes, PAGE_BYTES), n = 0;
	unsigned char *in = bytes ? mem_alloc(pages) : NULL;
	void *at = in ? mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0)
		      : MAP_FAILED;

	if (at != MAP_FAILED) {
		if (mincore(at, bytes, in) == 0)
			for (uint64_t i = 0; i < pages; i++)
				n += in[i] & 1;
		munmap(at, bytes);
	}
	free(in);
	return n * PAGE_BYTES;
}

uint64_t nvme_bench_cached(const char *dir)
{
	struct dirent *e;
	uint64_t sum = 0;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)) != NULL) {
		CLEANUP(fd_close_at) int fd = -1;
		struct stat st;

		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			sum += file_cached(fd, (uint64_t)st.st_size);
	}
	if (d)
		closedir(d);
	return sum;
}

uint64_t nvme_bench_fetched(int pid)
{
	unsigned long long bytes = 0;
	char path[64], line[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/io", pid ? pid : getpid());
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "read_bytes: %llu", &bytes) == 1)
			break;
	if (f)
		fclose(f);
	return bytes;
}

/* ---- the folder ---------------------------------------------------------------------- */

static void folder_empty(const char *dir)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

int nvme_bench_fresh(struct nvme_bench *n, char ret_tier[4096])
{
	if (snprintf(ret_tier, 4096, "%.4000s/tier", n->dir) >= 4096)
		return -ENAMETOOLONG;
	folder_empty(ret_tier);
	return mkdir(ret_tier, 0700) && errno != EEXIST ? -errno : 0;
}

static void folder_end(struct nvme_bench *n)
{
	char tier[4096];

	fio_clean(n->dir);
	if (nvme_bench_fresh(n, tier) == 0)
		rmdir(tier);
	folder_empty(n->dir);
	rmdir(n->dir);
}

/* A folder of its own, and how much may lie in it: the tier's parts with what it
 * carries besides, and fio's file. */
static int folder_begin(struct nvme_bench *n)
{
	char base[4096];
	uint64_t asked, room;
	int r = bench_dir(n->b, base, &asked);

	if (r)
		return r;
	if (snprintf(n->dir, sizeof(n->dir), "%.4000s/onecopy-nvme-XXXXXX",
		     base) >= (int)sizeof(n->dir))
		return -ENAMETOOLONG;
	room = bench_dir_free(base) / 4;
	n->bytes = MIN(asked ? asked : SET_BYTES, room) & ~(LARGE_BYTES - 1);
	if (n->bytes < 64 * LARGE_BYTES) {
		fprintf(stderr, "onecopy: bench: too little room in %s\n",
			base);
		return -ENOSPC;
	}
	return mkdtemp(n->dir) ? 0 : -errno;
}

/* ---- beside fio ------------------------------------------------------------------------ */

/* One kind of I/O: what each run gave. */
struct side {
	const char *name;
	const char *rw;
	double wanted;
	bool ops; /* operations are told, not bytes */
	double ours[BENCH_RUNS_MAX], fio[BENCH_RUNS_MAX];
	double ratio[BENCH_RUNS_MAX];
	double cpu[BENCH_RUNS_MAX], fio_cpu[BENCH_RUNS_MAX];
};

static void side_set(struct side *s, uint32_t run, const struct bench_pass *p,
		     uint64_t bytes, uint64_t each)
{
	double unit = s->ops ? (double)each : 1;

	s->ours[run] = (double)bytes / unit / p->seconds;
	s->cpu[run] = p->cpu_s * 1e9 / (double)bytes;
}

static int side_fio(const struct nvme_bench *n, struct side *s, uint32_t run,
		    uint64_t bytes, uint64_t block, uint32_t depth)
{
	struct fio_job job = { .dir = n->dir,
			       .rw = s->rw,
			       .block = block,
			       .bytes = bytes,
			       .depth = depth,
			       .fresh = strcmp(s->rw, "write") == 0 };
	struct fio_result f;
	int r;

	if (!n->fio)
		return 0;
	r = fio_run(&job, &f);
	if (r)
		return r;
	s->fio[run] = s->ops ? f.ops_per_s : f.bytes_per_s;
	s->fio_cpu[run] = f.cpu_per_gb;
	s->ratio[run] = s->ours[run] / s->fio[run];
	return 0;
}

static void side_report(const struct nvme_bench *n, struct side *s)
{
	struct bench_figure f = {
		.name = s->name,
		.unit = "x",
		.sense = BENCH_AT_LEAST,
		.wanted = s->wanted,
		.reference = 1,
		.against = n->fio_version,
		.note = "turn by turn; onecopy verifies what it reads",
	};
	const char *unit = s->ops ? "1/s" : "B/s";
	char name[64];

	if (n->fio)
		bench_report(n->b, &f, s->ratio, n->b->runs);
	else
		bench_unmeasured(n->b, s->name, NO_FIO);
	snprintf(name, sizeof(name), "%s_rate", s->name);
	bench_inform(n->b, name, unit, s->ours, n->b->runs);
	if (!n->fio)
		return;
	snprintf(name, sizeof(name), "%s_fio", s->name);
	bench_inform(n->b, name, unit, s->fio, n->b->runs);
}

/* ---- what a checksum and a copy of the same bytes cost ------------------------------- */

#define COST_BYTES (512ull << 20)

enum work { WORK_NONE, WORK_HASH, WORK_COPY, WORKS };

struct costs {
	double hash[BENCH_RUNS_MAX], copy[BENCH_RUNS_MAX]; /* s/GB */
};

static void work_do(enum work work, uint8_t *to, const uint8_t *at)
{
	uint64_t sum = 0;

	if (work == WORK_COPY)
		memcpy(to, at, LARGE_BYTES);
	else if (work == WORK_HASH)
		sum = hash_payload(at, LARGE_BYTES, 1);
	/* The work is wanted, whatever the compiler thinks. */
	__asm__ volatile("" : : "r"(to), "r"(sum) : "memory");
}

/* A bare loop of the same reads, as many at once as the tier has, with or without
 * work on what has come: the work meets the bytes as the tier meets them. */
static int cost_of(const struct bench_file *f, struct gpu_io *io, uint8_t *area,
		   enum work work, double *ret_cpu_s)
{
	double cpu = bench_cpu_s();

	for (uint32_t i = 0; i < f->parts + LARGE_DEPTH; i++) {
		uint32_t slot = i % LARGE_DEPTH;
		uint8_t *at = area + slot * LARGE_BYTES;
		int64_t got = (int64_t)LARGE_BYTES;
		int r = 0;

		if (i >= LARGE_DEPTH) {
			got = gpu_io_wait(io, slot, clock_ns() + COST_WAIT_NS);
			work_do(work, area + LARGE_DEPTH * LARGE_BYTES, at);
		}
		if (got != (int64_t)LARGE_BYTES)
			return got < 0 ? (int)got : -EIO;
		if (i < f->parts)
			r = gpu_io_read(io, slot, f->fd, at, LARGE_BYTES,
					i * LARGE_BYTES);
		if (r)
			return r;
	}
	*ret_cpu_s = bench_cpu_s() - cpu;
	return 0;
}

static int costs_measure(struct nvme_bench *n, struct costs *c, uint32_t run)
{
	uint64_t bytes = (LARGE_DEPTH + 1) * LARGE_BYTES;
	uint8_t *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct bench_file f = { .fd = -1 };
	struct gpu_io *io = NULL;
	double cpu[WORKS], gb;
	int r = area == MAP_FAILED
			? -ENOMEM
			: bench_file_open(n->dir, COST_BYTES, LARGE_BYTES, &f);

	if (r == 0)
		r = gpu_io_create(GPU_IO_AUTO, LARGE_DEPTH, &io);
	for (int w = 0; r == 0 && w < WORKS; w++)
		r = cost_of(&f, io, area, (enum work)w, &cpu[w]);
	if (r == 0) {
		gb = (double)(f.parts * LARGE_BYTES) / 1e9;
		c->hash[run] = (cpu[WORK_HASH] - cpu[WORK_NONE]) / gb;
		c->copy[run] = (cpu[WORK_COPY] - cpu[WORK_NONE]) / gb;
	}
	gpu_io_destroy(io);
	bench_file_close(&f);
	if (area != MAP_FAILED)
		munmap(area, bytes);
	return r;
}

/* ---- large parts ------------------------------------------------------------------------ */

struct large {
	struct side write, read, randread;
	struct costs costs;
	double fetched[BENCH_RUNS_MAX]; /* from the drive, for each byte */
	double cached[BENCH_RUNS_MAX];	/* page cache, for each byte */
};

/* The tier's turn of reading: what the kernel fetched, and what stayed. */
static int large_read(struct nvme_bench *n, struct large *l, uint32_t run,
		      struct bench_tier *t, const char *dir)
{
	uint64_t fetched = nvme_bench_fetched(0), cached, grown;
	struct bench_pass p;
	int r;

	cached = nvme_bench_cached(dir);
	r = bench_tier_read(t, false, &p);
	if (r)
		return r;
	fetched = nvme_bench_fetched(0) - fetched;
	grown = nvme_bench_cached(dir);
	l->fetched[run] = (double)fetched / (double)n->bytes;
	l->cached[run] = grown > cached
				 ? (double)(grown - cached) / (double)n->bytes
				 : 0;
	side_set(&l->read, run, &p, n->bytes, LARGE_BYTES);
	return side_fio(n, &l->read, run, n->bytes, LARGE_BYTES, LARGE_DEPTH);
}

static int large_run(struct nvme_bench *n, struct large *l, uint32_t run)
{
	struct bench_tier *t = NULL;
	struct bench_pass p;
	char dir[4096];
	int r = nvme_bench_fresh(n, dir);

	if (r == 0)
		r = bench_tier_open(dir, LARGE_BYTES,
				    (uint32_t)(n->bytes / LARGE_BYTES),
				    LARGE_DEPTH, &t);
	if (r == 0)
		r = bench_tier_write(t, &p);
	if (r == 0) {
		side_set(&l->write, run, &p, n->bytes, LARGE_BYTES);
		r = side_fio(n, &l->write, run, n->bytes, LARGE_BYTES,
			     LARGE_DEPTH);
	}
	if (r == 0)
		r = large_read(n, l, run, t, dir);
	if (r == 0)
		r = bench_tier_read(t, true, &p);
	if (r == 0) {
		side_set(&l->randread, run, &p, n->bytes, LARGE_BYTES);
		r = side_fio(n, &l->randread, run, n->bytes, LARGE_BYTES,
			     LARGE_DEPTH);
	}
	bench_tier_close(t, true);
	return r ? r : costs_measure(n, &l->costs, run);
}

static void large_cpu(struct nvme_bench *n, struct large *l)
{
	uint32_t runs = n->b->runs;
	double fio = bench_median(l->read.fio_cpu, runs);
	double hash = bench_median(l->costs.hash, runs);
	struct bench_figure f = {
		.name = "cpu_per_gb",
		.unit = "s/GB",
		.sense = BENCH_AT_MOST,
		.wanted = fio + hash,
		.reference = fio + hash,
		.against = "fio's and a checksum's, both below",
	};

	if (n->fio)
		bench_report(n->b, &f, l->read.cpu, runs);
	else
		bench_unmeasured(n->b, f.name, NO_FIO);
	bench_inform(n->b, "cpu_per_gb_onecopy", "s/GB", l->read.cpu, runs);
	if (n->fio)
		bench_inform(n->b, "cpu_per_gb_fio", "s/GB", l->read.fio_cpu,
			     runs);
	bench_inform(n->b, "cpu_per_gb_checksum", "s/GB", l->costs.hash, runs);
	bench_inform(n->b, "cpu_per_gb_copy", "s/GB", l->costs.copy, runs);
	bench_inform(n->b, "cpu_per_gb_write", "s/GB", l->write.cpu, runs);
}

/* Every byte is written once: by the drive. The kernel says that it fetched as
 * many bytes as were delivered and kept none, and beyond what fio and a checksum
 * take there is no processor time for a copy. */
static void large_moves(struct nvme_bench *n, struct large *l)
{
	uint32_t runs = n->b->runs;
	double moves[BENCH_RUNS_MAX], spare[BENCH_RUNS_MAX];
	struct bench_figure f = {
		.name = "moves_per_byte",
		.unit = "",
		.sense = BENCH_AT_MOST,
		.wanted = 1.001,
		.reference = 1,
		.against = "one: by the drive",
		.note = "fetched by the kernel, and left in the page cache, for "
			"each byte delivered",
	}, g = {
		.name = "copies_by_cpu",
		.unit = "",
		.sense = BENCH_AT_MOST,
		.wanted = 0.5,
		.reference = 1,
		.against = "a copy of the same bytes",
		.note = "processor time beyond fio's and a checksum's, in "
			"copies",
	};

	for (uint32_t i = 0; i < runs; i++) {
		moves[i] = l->fetched[i] + l->cached[i];
		spare[i] = (l->read.cpu[i] - l->read.fio_cpu[i] -
			    l->costs.hash[i]) /
			   l->costs.copy[i];
	}
	bench_report(n->b, &f, moves, runs);
	if (n->fio)
		bench_report(n->b, &g, spare, runs);
	bench_inform(n->b, "page_cache_per_byte", "", l->cached, runs);
}

static int nvme_large(struct nvme_bench *n)
{
	struct large *l = mem_alloc(sizeof(*l));
	int r = l ? 0 : -ENOMEM;

	if (r)
		return r;
	l->write = (struct side){ .name = "write_2m",
				  .rw = "write",
				  .wanted = 0.95 };
	l->read = (struct side){ .name = "read_2m",
				 .rw = "read",
				 .wanted = 0.95 };
	l->randread = (struct side){ .name = "randread_2m",
				     .rw = "randread",
				     .wanted = 0.95 };
	for (uint32_t i = 0; r == 0 && i < n->b->runs; i++)
		r = bench_late(n->b) ? -ETIME : large_run(n, l, i);
	if (r == 0) {
		side_report(n, &l->read);
		side_report(n, &l->randread);
		side_report(n, &l->write);
		large_moves(n, l); /* takes run by run; medians sort */
		large_cpu(n, l);
	}
	free(l);
	return r;
}

/* ---- small parts -------------------------------------------------------------------------- */

static int small_fio(const struct nvme_bench *n, uint64_t bytes)
{
	struct fio_job job = { .dir = n->dir,
			       .rw = "write",
			       .block = SMALL_BYTES,
			       .bytes = bytes,
			       .depth = SMALL_DEPTH,
			       .fresh = true };
	struct fio_result f;

	return n->fio ? fio_run(&job, &f) : 0;
}

static int nvme_small(struct nvme_bench *n)
{
	struct side *s = mem_alloc(sizeof(*s));
	uint64_t bytes = n->bytes / SMALL_PART;
	struct bench_tier *t = NULL;
	struct bench_pass p;
	char dir[4096];
	int r = s ? nvme_bench_fresh(n, dir) : -ENOMEM;

	if (r == 0) {
		*s = (struct side){ .name = "randread_64k",
				    .rw = "randread",
				    .wanted = 0.9,
				    .ops = true };
		r = bench_tier_open(dir, SMALL_BYTES,
				    (uint32_t)(bytes / SMALL_BYTES),
				    SMALL_DEPTH, &t);
	}
	if (r == 0)
		r = bench_tier_write(t, &p);
	if (r == 0) /* fio's file is no older than the tier's */
		r = small_fio(n, bytes);
	for (uint32_t i = 0; r == 0 && i < n->b->runs; i++) {
		r = bench_late(n->b) ? -ETIME : bench_tier_read(t, true, &p);
		if (r)
			break;
		side_set(s, i, &p, bytes, SMALL_BYTES);
		r = side_fio(n, s, i, bytes, SMALL_BYTES, SMALL_DEPTH);
	}
	bench_tier_close(t, true);
	if (r == 0)
		side_report(n, s);
	free(s);
	return r;
}

/* ---- a start with a million parts ------------------------------------------------------------ */

static int nvme_recover(struct nvme_bench *n)
{
	uint64_t each = PAGE_BYTES, room = bench_dir_free(n->dir) / 3, found;
	uint32_t parts = (uint32_t)MIN(n->b->blocks, room / each);
	double ms[BENCH_RUNS_MAX];
	struct bench_figure f = {
		.name = "recover_ms",
		.unit = "ms",
		.sense = BENCH_AT_MOST,
		.wanted = 1000.0 * parts / 1e6,
		.reference = 1000.0 * parts / 1e6,
		.against = "a second for a million parts, after a clean stop",
	};
	struct bench_tier *t = NULL;
	struct bench_pass p;
	char dir[4096];
	int r = nvme_bench_fresh(n, dir);

	bench_says("writing the parts that are to be found again");
	if (r == 0)
		r = bench_tier_open(dir, each, parts, SMALL_DEPTH, &t);
	if (r == 0)
		r = bench_tier_write(t, &p);
	bench_tier_close(t, true);
	for (uint32_t i = 0; r == 0 && i < n->b->runs; i++) {
		uint64_t ns;

		r = bench_tier_again(dir, each, parts, &ns, &found);
		if (r == 0 && found != parts) {
			fprintf(stderr,
				"onecopy: bench: %llu of %u parts found\n",
				(unsigned long long)found, parts);
			r = -ENODATA;
		}
		ms[i] = (double)ns / NS_PER_MS;
	}
	if (r == 0)
		bench_report(n->b, &f, ms, n->b->runs);
	return r;
}

/* ---- the bench ------------------------------------------------------------------- */

static void nvme_say(struct nvme_bench *n)
{
	json_t *m = n->b->machine;
	char size[32];

	json_object_set_new(m, "fio",
			    n->fio ? json_string(n->fio_version) : json_null());
	json_object_set_new(m, "nvme_bytes",
			    json_integer((json_int_t)n->bytes));
	if (n->b->figures)
		return;
	printf("%s in %s, beside %s\n\n", text_size(n->bytes, size), n->dir,
	       n->fio ? n->fio_version : "nothing (" NO_FIO ")");
}

int bench_nvme(struct bench *b)
{
	struct nvme_bench *n = mem_alloc(sizeof(*n));
	int r = n ? 0 : -ENOMEM;

	if (r)
		return r;
	n->b = b;
	if (!tier_find(OC_TIER_NVME)) {
		bench_unmeasured(b, "read_2m", "there is no tier on drives");
		free(n);
		return 0;
	}
	n->fio = fio_version(n->fio_version) == 0;
	r = folder_begin(n);
	if (r == 0) {
		nvme_say(n);
		r = nvme_large(n);
		if (r == 0)
			r = nvme_small(n);
		if (r == 0)
			r = nvme_bench_node(n);
		if (r == 0)
			r = nvme_recover(n);
		folder_end(n);
	}
	free(n);
	return r;
}

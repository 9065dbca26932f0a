/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a disk into a GPU's memory, by each path that is to be had (tier/gpu),
 * beside the two limits of the same run: what the disk gives to this machine's
 * memory in the same pieces, and what the copy engine takes from pinned memory.
 * Every part is verified.
 *
 * Each measurement is a process of its own: a process has one session of cuFile,
 * and the vendor's libraries must not be used after a fork. They take turns.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "bench.h"
#include "bench_file.h"
#include "bench_tier.h"
#include "tier/gpu/gpu.h"

#define PART_BYTES  (2ull << 20)
#define FILE_BYTES  (2ull << 30)
#define HOST_BYTES  (4ull << 30)
#define PIECE_BYTES (1ull << 20)
#define PIECES	    16u
#define BATCH	    32u /* parts a call */
#define TRIAL_S	    60u /* a driver that hangs costs no more */
#define WANTED	    0.9 /* of the lower limit */

enum trial_kind {
	TRIAL_DISK,
	TRIAL_HOST,
	TRIAL_FALLBACK,
	TRIAL_DIRECT,
	TRIAL_COMPAT,
	TRIALS
};
static const char *const trial_name[TRIALS] = {
	[TRIAL_DISK] = "device_disk_limit",
	[TRIAL_HOST] = "device_host_limit",
	[TRIAL_FALLBACK] = "device_fallback",
	[TRIAL_DIRECT] = "device_direct",
	[TRIAL_COMPAT] = "device_compat",
};

/* What a child tells; plain data. */
struct trial {
	int error; /* 0, -errno; 1: the path is not to be had */
	char why[160];
	double rate, cpu_per_gb; /* bytes/s, seconds */
	struct gpu_about about;
};

struct device {
	struct bench *b;
	struct bench_file file;
	struct trial last[TRIALS];
	double rate[TRIALS][BENCH_RUNS_MAX], cpu[TRIALS][BENCH_RUNS_MAX];
};

/* ---- in the child ---------------------------------------------------------------- */

static void trial_set(struct trial *t, uint64_t bytes, uint64_t ns, double cpu)
{
	t->rate = (double)bytes * 1e9 / (double)MAX(ns, 1u);
	t->cpu_per_gb = cpu * 1e9 / (double)bytes;
}

/* The same pieces at the same depth, and nothing done with them. */
static int disk_read(const struct bench_file *f, struct gpu_io *io,
		     uint8_t *data, struct trial *t)
{
	uint64_t n = f->parts * f->part_bytes / PIECE_BYTES, start = clock_ns();
	double cpu = bench_cpu_s();

	for (uint64_t i = 0; i < n + PIECES; i++) {
		uint32_t slot = (uint32_t)(i % PIECES);
		int64_t got = (int64_t)PIECE_BYTES;
		int r = 0;

		if (i >= PIECES && i - PIECES < n)
			got = gpu_io_wait(io, slot, clock_ns() + 30 * NS_PER_S);
		if (got != (int64_t)PIECE_BYTES)
			return got < 0 ? (int)got : -EIO;
		if (i < n)
			r = gpu_io_read(io, slot, f->fd,
					data + slot * PIECE_BYTES, PIECE_BYTES,
					i * PIECE_BYTES);
		if (r)
			return r;
	}
	trial_set(t, n * PIECE_BYTES, clock_ns() - start, bench_cpu_s() - cpu);
	return 0;
}

static int trial_disk(const struct bench_file *f, struct trial *t)
{
	struct gpu_io *io = NULL;
	uint8_t *data;
	int r;

	if (posix_memalign((void **)&data, PAGE_BYTES, PIECES * PIECE_BYTES))
		return -ENOMEM;
	memset(data, 1, PIECES * PIECE_BYTES);
	r = gpu_io_create(GPU_IO_AUTO, PIECES, &io);
	if (r == 0)
		r = disk_read(f, io, data, t);
	gpu_io_destroy(io);
	free(data);
	return r;
}

static int trial_host(struct gpu *g, struct trial *t)
{
	struct tier_price price;
	double cpu = bench_cpu_s();
	int r = gpu_measure(g, HOST_BYTES, &price);

	if (r)
		return r;
	t->rate = (double)price.bytes_per_s;
	t->cpu_per_gb = (bench_cpu_s() - cpu) * 1e9 / (double)HOST_BYTES;
	return 0;
}

static int batch_read(struct gpu *g, const struct bench_file *f, uint32_t first,
		      cuda_address to, enum gpu_path path, struct trial *t)
{
	struct gpu_job job[BATCH];
	uint32_t n = MIN(BATCH, f->parts - first);
	int r;

	for (uint32_t i = 0; i < n; i++)
		job[i] = (struct gpu_job){
			.place = { .fd = f->fd,
				   .offset = (first + i) * f->part_bytes,
				   .bytes = f->part_bytes,
				   .block.checksum = f->sum[first + i] },
			.seed = first + i,
			.to = to + i * f->part_bytes,
			.room = f->part_bytes,
			.path = path,
		};
	r = gpu_read(g, job, n);
	for (uint32_t i = 0; r == 0 && i < n; i++)
		if (job[i].took != path)
			r = -ENOTSUP; /* it was found to go another way */
	if (r == -ENOTSUP)
		text_copy(t->why, sizeof(t->why),
			  job[0].why ? job[0].why : gpu_said(g));
	else if (r)
		text_copy(t->why, sizeof(t->why), gpu_said(g));
	return r;
}

static int trial_path(struct gpu *g, const struct bench_file *f,
		      enum gpu_path path, struct trial *t)
{
	cuda_address to = 0;
	int r = gpu_memory_create(g, BATCH * f->part_bytes, &to);
	uint64_t start;
	double cpu;

	if (r == 0 && path != GPU_FALLBACK)
		r = gpu_region_add(g, to, BATCH * f->part_bytes);
	if (r == 0 && path != GPU_FALLBACK)
		r = gpu_file_add(g, f->fd);
	if (r) {
		text_copy(t->why, sizeof(t->why), gpu_said(g));
		gpu_region_drop(g, to);
		gpu_memory_destroy(g, to);
		return r;
	}
	/* once to warm up */
	r = batch_read(g, f, 0, to, path, t);
	start = clock_ns();
	cpu = bench_cpu_s();
	for (uint32_t i = 0; r == 0 && i < f->parts; i += BATCH)
		r = batch_read(g, f, i, to, path, t);
	trial_set(t, f->parts * f->part_bytes, clock_ns() - start,
		  bench_cpu_s() - cpu);
	if (path != GPU_FALLBACK)
		gpu_region_drop(g, to);
	gpu_memory_destroy(g, to);
	return r;
}

static int trial_gpu(const struct bench_file *f, enum trial_kind kind,
		     struct trial *t)
{
	struct gpu_options o = { .size = sizeof(o),
				 .piece_bytes = PIECE_BYTES,
				 .pieces = PIECES,
				 .compat = kind == TRIAL_COMPAT,
				 .no_cufile = kind == TRIAL_FALLBACK };
	struct gpu *g = NULL;
	int r = gpu_open(&o, &g, t->why, sizeof(t->why));

	if (r)
		return r == -ENOENT || r == -ENODEV ? 1 : r;
	gpu_about(g, &t->about);
	if (kind == TRIAL_HOST)
		r = trial_host(g, t);
	else
		r = trial_path(g, f,
			       kind == TRIAL_FALLBACK ? GPU_FALLBACK
			       : kind == TRIAL_DIRECT ? GPU_DIRECT
						      : GPU_COMPAT,
			       t);
	if (r && !t->why[0])
		text_copy(t->why, sizeof(t->why), gpu_said(g));
	if (r && !t->why[0])
		text_copy(t->why, sizeof(t->why), strerror(-r));
	if (kind == TRIAL_DIRECT || kind == TRIAL_COMPAT)
		r = r ? 1 : 0; /* the vendor's way: told, not an error */
	gpu_close(g);
	return r;
}

/* ---- in the parent ------------------------------------------------------------------ */

static void trial_child(struct device *d, enum trial_kind kind, int to)
{
	struct trial t = { 0 };

	alarm(TRIAL_S);
	t.error = kind == TRIAL_DISK ? trial_disk(&d->file, &t)
				     : trial_gpu(&d->file, kind, &t);
	t.about.io = NULL; /* a pointer of this process */
	if (write(to, &t, sizeof(t)) != (ssize_t)sizeof(t))
		_exit(1);
	_exit(0);
}

static int trial_run(struct device *d, enum trial_kind kind)
{
	struct trial t = { 0 };
	int ends[2], status = 0;
	pid_t child;
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	child = fork();
	if (child == 0)
		trial_child(d, kind, ends[1]);
	close(ends[1]);
	n = child < 0 ? -1 : read(ends[0], &t, sizeof(t));
	close(ends[0]);
	if (child < 0)
		return -EAGAIN;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (n != (ssize_t)sizeof(t)) {
		t = (struct trial){ .error = 1 };
		snprintf(t.why, sizeof(t.why), "the process ended with %s %d",
			 WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status)
					     : WEXITSTATUS(status));
	}
	d->last[kind] = t;
	return t.error < 0 ? t.error : 0;
}

static int device_runs(struct device *d)
{
	for (uint32_t i = 0; i < d->b->runs; i++)
		for (int k = 0; k < TRIALS; k++) {
			int r;

			if (i && d->last[k].error)
				continue; /* it is not to be had */
			r = bench_late(d->b) ? -ETIME
					     : trial_run(d, (enum trial_kind)k);
			if (r && r != -ETIME)
				fprintf(stderr, "onecopy: bench: %s: %s\n",
					trial_name[k],
					d->last[k].why[0] ? d->last[k].why
							  : strerror(-r));
			if (r)
				return r;
			d->rate[k][i] = d->last[k].rate;
			d->cpu[k][i] = d->last[k].cpu_per_gb;
		}
	return 0;
}

static void device_cpu(struct device *d, enum trial_kind kind)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_cpu_per_gb", trial_name[kind]);
	bench_inform(d->b, name, "s/GB", d->cpu[kind], d->b->runs);
}

static void device_path(struct device *d, enum trial_kind kind)
{
	double disk = bench_median(d->rate[TRIAL_DISK], d->b->runs);
	double host = bench_median(d->rate[TRIAL_HOST], d->b->runs);
	struct bench_figure f = {
		.name = trial_name[kind],
		.unit = "B/s",
		.sense = BENCH_AT_LEAST,
		.reference = MIN(disk, host),
		.wanted = WANTED * MIN(disk, host),
		.against = disk < host ? "the disk into this machine's memory"
				       : "the copy engine from pinned memory",
		.note = kind == TRIAL_DIRECT
				? "verified: copied back and hashed"
				: "verified: hashed on the way",
	};

	if (d->last[kind].error) {
		bench_unmeasured(d->b, trial_name[kind], d->last[kind].why);
		return;
	}
	if (kind == TRIAL_COMPAT) /* told, not wanted */
		bench_inform(d->b, f.name, f.unit, d->rate[kind], d->b->runs);
	else
		bench_report(d->b, &f, d->rate[kind], d->b->runs);
	device_cpu(d, kind);
}

static void device_say(struct device *d)
{
	const struct gpu_about *a = &d->last[TRIAL_DIRECT].about;
	json_t *m = d->b->machine;

	json_object_set_new(m, "gpu", json_string(a->name));
	json_object_set_new(m, "cuda", json_integer(a->cuda_version));
	json_object_set_new(m, "cufile", json_integer(a->cufile_version));
	json_object_set_new(m, "nvidia_fs", json_boolean(a->nvidia_fs));
	json_object_set_new(m, "cufile_mode",
			    json_string(!a->cufile  ? "none"
					: a->direct ? "direct"
						    : "not direct"));
	if (d->b->figures)
		return;
	printf("%s, CUDA %d.%d; cuFile: ", a->name, a->cuda_version / 1000,
	       a->cuda_version % 1000 / 10);
	if (a->cufile)
		printf("%d.%d of %s, nvidia-fs %s, %s%s%s\n",
		       a->cufile_version / 1000, a->cufile_version % 1000 / 10,
		       a->cufile_path, a->nvidia_fs ? "loaded" : "not loaded",
		       a->direct ? "direct" : "not direct",
		       a->direct ? "" : ": ", a->why);
	else
		printf("none (%s)\n", a->why);
	printf("%u parts of %llu KiB, O_DIRECT %s\n\n", d->file.parts,
	       (unsigned long long)(d->file.part_bytes >> 10),
	       d->file.direct ? "yes" : "no: the page cache may help");
}

static void device_report(struct device *d)
{
	device_say(d);
	bench_inform(d->b, trial_name[TRIAL_DISK], "B/s", d->rate[TRIAL_DISK],
		     d->b->runs);
	device_cpu(d, TRIAL_DISK);
	bench_inform(d->b, trial_name[TRIAL_HOST], "B/s", d->rate[TRIAL_HOST],
		     d->b->runs);
	for (int k = TRIAL_FALLBACK; k < TRIALS; k++)
		device_path(d, (enum trial_kind)k);
}

int bench_device(struct bench *b)
{
	struct device *d = calloc(1, sizeof(*d));
	char dir[4096];
	uint64_t bytes;
	int r = d ? bench_dir(b, dir, &bytes) : -ENOMEM;

	if (r == 0) {
		d->b = b;
		d->file.fd = -1;
		r = trial_run(d, TRIAL_HOST);
	}
	if (r == 0 && d->last[TRIAL_HOST].error) {
		for (int k = TRIAL_FALLBACK; k < TRIALS; k++)
			bench_unmeasured(b, trial_name[k],
					 d->last[TRIAL_HOST].why);
	} else if (r == 0) {
		r = bench_file_open(dir, bytes ? bytes : FILE_BYTES, PART_BYTES,
				    &d->file);
		if (r == 0)
			r = device_runs(d);
		if (r == 0)
			device_report(d);
		bench_file_close(&d->file);
	}
	free(d);
	return r;
}

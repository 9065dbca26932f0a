/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetching through a node whose memory holds a quarter of the blocks: how long one
 * block takes to come up from the drive and be pinned, when nothing else is done and
 * while another client writes as fast as it can, so that blocks go down all the
 * time; and from outside, what the server had the kernel fetch for it.
 */
#include <errno.h>
#include <onecopy/tiers.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/rng.h"
#include "bench_fio.h"
#include "bench_nvme.h"

#define BLOCK_BYTES (2ull << 20)
#define DRAM_PART   4 /* of the set */
#define BATCH	    8u
#define FETCHES	    400u
#define FETCH_NS    (30 * NS_PER_S)
#define REACH_NS    (20 * NS_PER_S)
#define OTHER_KEYS  (1ull << 40) /* numbers of what the other client writes */

struct phase {
	double p50_us, p99_us;
	double moves;  /* bytes that the server fetched and kept, for each */
	double behind; /* bytes a second that it wrote meanwhile */
};

struct node_bench {
	struct nvme_bench *n;
	struct bench_pool *pool;
	char dir[4096];
	pid_t server, writer;
	struct rng rng;
	uint32_t fetches; /* of a phase */
	double each[FETCHES];
};

/* "read_bytes" or "write_bytes" of a process: what went to drives. */
static uint64_t moved(pid_t pid, const char *what)
{
	unsigned long long bytes = 0;
	char path[64], line[128], format[32];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/io", (int)pid);
	snprintf(format, sizeof(format), "%s: ", what);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, format, strlen(format)) == 0)
			bytes = strtoull(line + strlen(format), NULL, 10);
	if (f)
		fclose(f);
	return bytes;
}

/* ---- the other client ---------------------------------------------------------------- */

/* Writes until it is killed. */
static _Noreturn void write_on(const char *socket)
{
	struct bench_pool *p;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (bench_pool_join(socket, BLOCK_BYTES, &p))
		_exit(1);
	p->next = OTHER_KEYS + (uint64_t)getpid() * (1u << 24);
	while (bench_pool_put(p, BATCH, NULL) == 0)
		;
	_exit(1);
}

static int writer_begin(struct node_bench *b)
{
	fflush(NULL);
	b->writer = fork();
	if (b->writer == 0)
		write_on(node_socket(b->pool->node));
	return b->writer < 0 ? -errno : 0;
}

static void writer_end(struct node_bench *b)
{
	if (b->writer <= 0)
		return;
	kill(b->writer, SIGKILL);
	waitpid(b->writer, NULL, 0);
	b->writer = 0;
}

/* ---- fetching -------------------------------------------------------------------------- */

/* A block that is on the drive alone, up and pinned. 0, OC_MISS: not this one. */
static int fetch_one(struct node_bench *b, double *ret_us)
{
	const struct bench_pool *p = b->pool;
	uint64_t i = rng_below(&b->rng, p->blocks), start;
	struct oc_part part = { 0, 0 };
	struct oc_pin pin;
	int r = oc_pin(p->ns, &p->key[i], part, OC_PIN_NO_TOUCH, &pin);

	if (r == 0) {
		oc_unpin(p->ns, &pin);
		return OC_MISS; /* it is in memory */
	}
	if (r < 0)
		return r;
	start = clock_ns();
	r = oc_pin_fetch(p->ns, &p->key[i], part, OC_PIN_VERIFY, FETCH_NS,
			 &pin);
	*ret_us = (double)(clock_ns() - start) / NS_PER_US;
	if (r == 0)
		oc_unpin(p->ns, &pin);
	return r;
}

/* The node tells its clients of the drive when it has a price for it. */
static int node_reaches(struct node_bench *b)
{
	struct timespec pause = { .tv_nsec = 20 * NS_PER_MS };
	uint64_t end = clock_ns() + REACH_NS;
	double us;
	int r;

	while ((r = fetch_one(b, &us)) > 0 && clock_ns() < end)
		nanosleep(&pause, NULL);
	return r > 0 ? -ETIME : r;
}

/* Until nothing goes down any more: what was written before is with the drive. */
static void node_settles(struct node_bench *b)
{
	struct timespec pause = { .tv_nsec = 300 * NS_PER_MS };
	uint64_t end = clock_ns() + REACH_NS, was, now;

	now = moved(b->server, "write_bytes");
	do {
		was = now;
		nanosleep(&pause, NULL);
		now = moved(b->server, "write_bytes");
	} while (now != was && clock_ns() < end);
}

static int phase_run(struct node_bench *b, struct phase *ret_phase)
{
	uint64_t read = moved(b->server, "read_bytes"), bytes, start;
	uint64_t wrote = moved(b->server, "write_bytes");
	uint64_t cached = nvme_bench_cached(b->dir), grown;
	uint32_t n = 0, tries = 0;
	int r = 0;

	start = clock_ns();
	while (n < b->fetches && r >= 0) {
		if (tries++ > 100 * b->fetches || bench_late(b->n->b)) {
			fprintf(stderr, "onecopy: bench: too few of the "
					"blocks are on the drive\n");
			return -ETIME;
		}
		r = fetch_one(b, &b->each[n]);
		n += r == 0;
	}
	if (r < 0) {
		fprintf(stderr, "onecopy: bench: fetch: %s\n",
			oc_client_error(b->pool->client));
		return r;
	}
	wrote = moved(b->server, "write_bytes") - wrote;
	ret_phase->behind = (double)wrote * 1e9 / (double)(clock_ns() - start);
	bytes = b->fetches * BLOCK_BYTES;
	grown = nvme_bench_cached(b->dir);
	ret_phase->moves = (double)(moved(b->server, "read_bytes") - read +
				    (grown > cached ? grown - cached : 0)) /
			   (double)bytes;
	ret_phase->p50_us = bench_median(b->each, b->fetches); /* sorts */
	ret_phase->p99_us = b->each[b->fetches * 99 / 100];
	return 0;
}

/* Not before memory is what it will be, and blocks go down at full speed: each
 * phase has one before it that does not count. */
static int node_run(struct node_bench *b, struct phase *ret_idle,
		    struct phase *ret_loaded)
{
	int r = phase_run(b, ret_idle);

	if (r == 0) {
		node_settles(b);
		r = phase_run(b, ret_idle);
	}
	if (r == 0)
		r = writer_begin(b);
	if (r == 0)
		r = phase_run(b, ret_loaded);
	if (r == 0)
		r = phase_run(b, ret_loaded);
	writer_end(b);
	return r;
}

/* ---- the figures --------------------------------------------------------------------------- */

static void told(struct node_bench *b, const char *name, const char *unit,
		 const struct phase *p, size_t at)
{
	double values[BENCH_RUNS_MAX];

	for (uint32_t i = 0; i < b->n->b->runs; i++)
		memcpy(&values[i], (const char *)&p[i] + at, sizeof(double));
	bench_inform(b->n->b, name, unit, values, b->n->b->runs);
}

static void node_report(struct node_bench *b, const struct phase *idle,
			const struct phase *loaded)
{
	double ratio[BENCH_RUNS_MAX], moves[BENCH_RUNS_MAX];
	struct bench_figure f = {
		.name = "fetch_p99_loaded",
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 3,
		.reference = 1,
		.against = "the same when nothing goes down",
		.note = "one block of 2 MiB from the drive, pinned and "
			"verified; run by run",
	}, g = {
		.name = "fetch_moves_per_byte",
		.unit = "",
		.sense = BENCH_AT_MOST,
		.wanted = 1.001,
		.reference = 1,
		.against = "one: by the drive",
		.note = "what the kernel fetched for the server and left in "
			"the page cache, for each byte",
	};

	for (uint32_t i = 0; i < b->n->b->runs; i++) {
		ratio[i] = loaded[i].p99_us / idle[i].p99_us;
		moves[i] = idle[i].moves;
	}
	bench_report(b->n->b, &f, ratio, b->n->b->runs);
	told(b, "fetch_p50_idle", "us", idle, offsetof(struct phase, p50_us));
	told(b, "fetch_p99_idle", "us", idle, offsetof(struct phase, p99_us));
	told(b, "fetch_p50_under_load", "us", loaded,
	     offsetof(struct phase, p50_us));
	told(b, "fetch_p99_under_load", "us", loaded,
	     offsetof(struct phase, p99_us));
	told(b, "fetch_load_written", "B/s", loaded,
	     offsetof(struct phase, behind));
	bench_report(b->n->b, &g, moves, b->n->b->runs);
}

/* ---- the node -------------------------------------------------------------------- */

static int node_fill(struct node_bench *b)
{
	struct bench_pool *p = b->pool;
	uint64_t blocks = b->n->bytes / BLOCK_BYTES / BATCH * BATCH;
	int r = 0;

	p->key = mem_array(blocks, sizeof(*p->key));
	if (!p->key)
		return -ENOMEM;
	bench_says("writing blocks through a node to its drive");
	while (r == 0 && p->blocks < blocks) {
		r = bench_late(b->n->b)
			    ? -ETIME
			    : bench_pool_put(p, BATCH, &p->key[p->blocks]);
		p->blocks += BATCH;
	}
	bench_says(NULL);
	return r ? r : node_server_pid(p->client, &b->server);
}

/* The drive by itself: one read of a block at a time, by fio. */
static int drive_p99(struct node_bench *b, double *ret_us)
{
	struct fio_job job = { .dir = b->n->dir,
			       .rw = "write",
			       .block = BLOCK_BYTES,
			       .bytes = b->fetches * BLOCK_BYTES,
			       .depth = 1,
			       .fresh = true };
	struct fio_result f = { 0 };
	int r = fio_run(&job, &f);

	job.rw = "randread";
	job.fresh = false;
	if (r == 0)
		r = fio_run(&job, &f);
	*ret_us = f.p99_us;
	return r;
}

/* A node for each run: what the other client left would be in the way. */
static int node_once(struct node_bench *b, struct phase *ret_idle,
		     struct phase *ret_loaded)
{
	char drive[4200];
	int r = nvme_bench_fresh(b->n, b->dir);

	/* room for what the other client writes besides */
	snprintf(drive, sizeof(drive), "%s:%llu", b->dir,
		 (unsigned long long)(3 * b->n->bytes));
	if (r == 0)
		r = bench_pool_open_over(b->n->bytes / DRAM_PART, BLOCK_BYTES,
					 drive, &b->pool);
	if (r == 0)
		r = node_fill(b);
	if (r == 0)
		r = node_reaches(b);
	if (r == 0)
		r = node_run(b, ret_idle, ret_loaded);
	bench_pool_close(b->pool);
	b->pool = NULL;
	return r;
}

int nvme_bench_node(struct nvme_bench *n)
{
	struct phase idle[BENCH_RUNS_MAX], loaded[BENCH_RUNS_MAX];
	struct node_bench *b = mem_alloc(sizeof(*b));
	double drive[BENCH_RUNS_MAX];
	int r = b ? 0 : -ENOMEM;

	if (r)
		return r;
	b->n = n;
	b->rng = (struct rng){ 9 };
	b->fetches = (uint32_t)MIN(FETCHES, n->bytes / BLOCK_BYTES);
	for (uint32_t i = 0; r == 0 && i < n->b->runs; i++) {
		r = node_once(b, &idle[i], &loaded[i]);
		if (r == 0 && n->fio)
			r = drive_p99(b, &drive[i]);
	}
	if (r == 0)
		node_report(b, idle, loaded);
	if (r == 0 && n->fio)
		bench_inform(n->b, "fetch_p99_fio", "us", drive, n->b->runs);
	free(b);
	return r;
}

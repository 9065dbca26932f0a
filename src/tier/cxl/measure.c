/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The price of what was found. A dax device is mapped and read where it is; what
 * lies on it may be a pool's. Of a node some memory is taken for the moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <onecopy/onecopy.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/guard.h"
#include "base/sysfs.h"
#include "tier/cxl/cxl.h"
#include "tier/speed.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define READ_BYTES (64ull << 20) /* beyond most caches */
#define PRICE_NS   (2 * NS_PER_MS)

struct measured {
	void *base;
	uint64_t mapped; /* bytes to be unmapped */
	uint64_t bytes;	 /* that are there */
};

static int dax_map(const struct cxl_memory *m, struct measured *ret)
{
	uint64_t align = m->align ? m->align : 2ull << 20;
	uint64_t bytes = MIN(m->bytes, READ_BYTES) / align * align;
	CLEANUP(fd_close_at) int fd = -1;
	char path[CXL_NAME + 8];
	void *p;

	if (bytes == 0)
		bytes = align; /* with 1 GiB pages */
	if (bytes > m->bytes || bytes < SPEED_CHUNK)
		return -ENOTSUP;
	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	snprintf(path, sizeof(path), "/dev/%s", m->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
	p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return errno == ENXIO ? -ENODEV : -errno;
	/* so that faults are not measured; a wish: Linux 5.14 */
	madvise(p, bytes, MADV_POPULATE_READ);
	*ret = (struct measured){ p, bytes, MIN(bytes, READ_BYTES) };
	return 0;
}

/* Never more than an eighth of what others could use meanwhile. */
static int node_map(const struct cxl_memory *m, uint64_t window_ns,
		    struct measured *ret)
{
	uint64_t bytes = MIN(round_down_pow2(m->free_bytes / 8), READ_BYTES);
	void *p = NULL;
	int64_t there;
	int r;

	if (bytes < SPEED_CHUNK)
		return -ENOMEM;
	r = speed_map(bytes, m->node, &p);
	if (r)
		return r;
	there = speed_fill(p, bytes, window_ns);
	if (there < (int64_t)SPEED_CHUNK) {
		munmap(p, bytes);
		return there < 0 ? (int)there : -ENOMEM;
	}
	*ret = (struct measured){ p, bytes, (uint64_t)there };
	return 0;
}

/* Moves this thread; *ret_moved: `was` is where it was. */
static int near_move(const struct cxl_near *near, cpu_set_t *was,
		     bool *ret_moved)
{
	cpu_set_t set;

	*ret_moved = false;
	if (!near)
		return 0;
	if (sched_getaffinity(0, sizeof(*was), was) < 0)
		return -errno;
	sysfs_cpu_list(near->cpus, &set);
	CPU_AND(&set, &set, was);
	if (!CPU_COUNT(&set))
		return -EINVAL;
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return -errno;
	*ret_moved = true;
	return 0;
}

struct reading {
	struct measured at;
	uint64_t window_ns;
	struct speed_stream stream;
	double latency_ns;
};

/* In a guard: reads, and no more. */
static void reading_do(void *ctx)
{
	struct reading *r = ctx;

	speed_stream(r->at.base, r->at.bytes, r->window_ns, &r->stream);
	r->latency_ns = speed_latency(r->at.base, r->at.bytes, r->window_ns);
}

static int measure_map(const struct cxl_memory *m, uint64_t window_ns,
		       struct cxl_speed *ret_speed)
{
	struct reading one = { .window_ns = window_ns };
	int r = m->kind == CXL_DAX ? dax_map(m, &one.at)
				   : node_map(m, window_ns, &one.at);

	if (r)
		return r;
	r = guard_run(reading_do, &one, NULL);
	munmap(one.at.base, one.at.mapped);
	if (r)
		return r;
	*ret_speed = (struct cxl_speed){
		.latency_ns = one.latency_ns,
		.read_bytes_per_s =
			(double)one.stream.bytes * 1e9 / (double)one.stream.ns,
		.bytes = one.at.bytes,
	};
	return 0;
}

int cxl_measure(const struct cxl_memory *m, const struct cxl_near *near,
		uint64_t window_ns, struct cxl_speed *ret_speed)
{
	bool moved = false;
	cpu_set_t was;
	int r;

	if (m->state != CXL_READY ||
	    (m->kind != CXL_DAX && m->kind != CXL_NODE))
		return -ENOTSUP;
	r = near_move(near, &was, &moved);
	if (r == 0)
		r = measure_map(m, window_ns, ret_speed);
	if (moved)
		sched_setaffinity(0, sizeof(was), &was);
	return r;
}

/* ---- the tier's price --------------------------------------------------------------- */

/* Of the chunks; a chase takes a while. */
#define CHASED 8u

static struct {
	const void *chunk[CXL_PRICE_CHUNKS];
	unsigned n, turn;
} priced;

void cxl_price_of(const void *const *chunk, unsigned n)
{
	priced.n = MIN(n, CXL_PRICE_CHUNKS);
	for (unsigned i = 0; i < priced.n; i++)
		priced.chunk[i] = chunk[i];
}

/* Others than last time, and before the stream has read them. */
static double chase(void)
{
	double sum = 0;

	priced.turn++;
	for (unsigned i = 0; i < CHASED; i++) {
		unsigned at =
			(i * (priced.n / CHASED) + priced.turn) % priced.n;

		sum += speed_latency(priced.chunk[at], SPEED_CHUNK,
				     PRICE_NS / CHASED);
	}
	return sum / CHASED;
}

/* Nothing is read twice: that would be the caches' speed. */
static struct speed_stream stream(void)
{
	struct speed_stream sum = { 0 };

	for (unsigned i = 0; i < priced.n && sum.ns < PRICE_NS; i++) {
		struct speed_stream s;

		speed_stream(priced.chunk[(i + priced.turn) % priced.n],
			     SPEED_CHUNK, 0, &s);
		sum.bytes += s.bytes;
		sum.ns += s.ns;
	}
	return sum;
}

static int price_measure(struct tier_price *ret_price)
{
	struct speed_stream s;
	double latency;

	if (!priced.n)
		return -ENODEV;
	if (priced.n < CXL_PRICE_CHUNKS)
		return -EAGAIN;
	latency = chase();
	s = stream();
	ret_price->latency_ns = MAX((uint64_t)latency, 1ull);
	ret_price->bytes_per_s =
		MAX((uint64_t)((double)s.bytes * 1e9 / (double)s.ns), 1ull);
	return 0;
}

const struct tier_ops tier_cxl = {
	.name = "cxl",
	.kind = OC_TIER_CXL,
	.measure = price_measure,
};

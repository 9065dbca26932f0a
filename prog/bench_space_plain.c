/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_space.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "space/uffd.h"

static double us_since(uint64_t start)
{
	return (double)(clock_ns() - start) / 1000;
}

static char *map_all(const struct plain_place *place, size_t n, uint64_t bytes)
{
	char *base = mmap(NULL, n * bytes, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (mmap(base + i * bytes, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, place[i].fd,
			 (off_t)place[i].offset) == MAP_FAILED)
			return NULL;
	return base;
}

double plain_map(const struct plain_place *place, size_t n, uint64_t bytes)
{
	uint64_t start = clock_ns();
	char *base = map_all(place, n, bytes);
	double us = us_since(start);

	if (!base)
		return -errno;
	munmap(base, n * bytes);
	return us;
}

uint64_t plain_pages(const void *from, uint64_t bytes)
{
	const _Atomic(uint64_t) *word = from;
	uint64_t sum = 0;

	for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
		sum += atomic_load_explicit(&word[at / sizeof(*word)],
					    memory_order_relaxed);
	return sum;
}

uint64_t plain_sum(const void *from, uint64_t bytes)
{
	const uint64_t *word = from;
	uint64_t sum[8] = { 0 };

	for (uint64_t i = 0; i + 8 <= bytes / sizeof(*word); i += 8)
		for (int k = 0; k < 8; k++)
			sum[k] += word[i + k];
	return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] +
	       sum[7];
}

double plain_touch(const struct plain_place *place, size_t n, uint64_t bytes)
{
	char *base = map_all(place, n, bytes);
	uint64_t start = clock_ns();
	double us;

	if (!base)
		return -errno;
	plain_pages(base, n * bytes);
	us = us_since(start);
	munmap(base, n * bytes);
	return us;
}

/* ---- a fault and nothing else ---- */

struct touching {
	char *base;
	size_t n;
	int cpu;
	_Atomic(bool) done;
};

static void *touch_all(void *arg)
{
	struct touching *t = arg;

	if (t->cpu >= 0)
		plain_run_on(t->cpu);
	plain_pages(t->base, t->n * PAGE_BYTES);
	/* Relaxed: read in a loop. */
	atomic_store_explicit(&t->done, true, memory_order_relaxed);
	return NULL;
}

static double serve(int fd, struct touching *t)
{
	struct uffd_fault fault;
	uint64_t start = clock_ns();
	pthread_t thread;
	double us;

	if (pthread_create(&thread, NULL, touch_all, t))
		return -EAGAIN;
	while (!atomic_load_explicit(&t->done, memory_order_relaxed)) {
		uintptr_t page;

		if (!uffd_wait(fd, 1) || !uffd_read(fd, &fault, 1))
			continue;
		page = fault.address & ~(PAGE_BYTES - 1);
		uffd_zero(fd, (void *)page, PAGE_BYTES);
		uffd_wake(fd, (void *)page, PAGE_BYTES);
	}
	us = us_since(start) / (double)t->n;
	pthread_join(thread, NULL);
	return us;
}

void plain_run_on(int cpu)
{
	static cpu_set_t all;
	static bool known;
	cpu_set_t one;

	if (!known)
		sched_getaffinity(0, sizeof(all), &all);
	known = true;
	CPU_ZERO(&one);
	if (cpu >= 0)
		CPU_SET(cpu, &one);
	/* a wish: without it the threads run where they run */
	sched_setaffinity(0, sizeof(one), cpu < 0 ? &all : &one);
}

double plain_fault(size_t n, struct plain_cpus cpus)
{
	struct touching t = { .n = n, .cpu = cpus.touch };
	int fd, r = uffd_open(&fd);
	double us;

	if (r)
		return r;
	t.base = space_map_anywhere(n * PAGE_BYTES, PROT_READ | PROT_WRITE);
	if (!t.base)
		us = -ENOMEM;
	else
		us = uffd_register(fd, t.base, n * PAGE_BYTES);
	if (cpus.serve >= 0)
		plain_run_on(cpus.serve);
	if (us >= 0)
		us = serve(fd, &t);
	if (cpus.serve >= 0)
		plain_run_on(-1);
	if (t.base)
		munmap(t.base, n * PAGE_BYTES);
	fd_close(fd);
	return us;
}

double plain_copy(const void *from, uint64_t bytes)
{
	uint64_t start = clock_ns();
	void *to = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	double us;

	if (to == MAP_FAILED)
		return -errno;
	memcpy(to, from, bytes);
	us = us_since(start);
	munmap(to, bytes);
	return us;
}

/* ---- a file ---- */

#define READERS_MOST 64u

struct reading {
	int fd;
	uint64_t bytes, piece;
	char *to; /* a piece for each reader */
	_Atomic(uint32_t) readers;
	_Atomic(uint64_t) next;
	_Atomic(int) error;
};

static void *read_pieces(void *arg)
{
	struct reading *a = arg;
	/* Relaxed, as below: what is read is nobody's. */
	char *to = a->to +
		   a->piece * atomic_fetch_add_explicit(&a->readers, 1,
							memory_order_relaxed);
	int e = 0;

	while (e == 0) {
		/* Relaxed: pieces are counted, and no memory is handed over. */
		uint64_t at = atomic_fetch_add_explicit(&a->next, a->piece,
							memory_order_relaxed);

		if (at + a->piece > a->bytes)
			break;
		errno = EIO;
		if (pread(a->fd, to, a->piece, (off_t)at) != (ssize_t)a->piece)
			e = -errno;
	}
	if (e)
		atomic_store_explicit(&a->error, e, memory_order_relaxed);
	return NULL;
}

/* Aligned for pages of 2 MiB, and of those where there are any and they are wanted. */
static char *pieces(uint64_t bytes, bool huge_pages)
{
	const uint64_t huge = 2ull << 20;
	char *at = mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *from;

	if (at == MAP_FAILED)
		return NULL;
	from = (char *)ALIGN_UP((uintptr_t)at, huge);
	munmap(at, (size_t)(from - at));
	munmap(from + bytes, (size_t)(huge - (uint64_t)(from - at)));
	if (huge_pages)
		madvise(from, bytes, MADV_HUGEPAGE);
	for (uint64_t k = 0; k < bytes; k += PAGE_BYTES)
		from[k] = 1;
	return from;
}

double plain_read(const char *path, uint64_t bytes, uint64_t piece,
		  unsigned depth, bool huge)
{
	struct reading a = { .bytes = bytes, .piece = piece };
	pthread_t thread[READERS_MOST];
	uint64_t start;
	unsigned n = 0;
	double us;

	if (bytes < piece)
		return -EINVAL;
	a.to = pieces(READERS_MOST * piece, huge);
	if (!a.to)
		return -ENOMEM;
	a.fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	if (a.fd < 0)
		a.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (a.fd < 0) {
		us = -errno;
		munmap(a.to, READERS_MOST * piece);
		return us;
	}
	start = clock_ns();
	while (n < MIN(depth, READERS_MOST) &&
	       pthread_create(&thread[n], NULL, read_pieces, &a) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	us = us_since(start);
	fd_close(a.fd);
	munmap(a.to, READERS_MOST * piece);
	if (!n || a.error)
		return n ? a.error : -EAGAIN;
	return (double)(bytes / piece * piece) * 1e6 / us;
}

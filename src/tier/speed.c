/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/fault.h"
#include "shm/segment.h"
#include "tier/speed.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define FILL_BYTES (32ull << 20)
#define CHASES	   2000u

/* Constants of Knuth's MMIX generator (TAOCP 2, 3.3.4): full period. */
#define STEP_FACTOR 6364136223846793005ull
#define STEP_TERM   1442695040888963407ull

/* Time that this thread had a processor for. */
static uint64_t thread_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

double speed_latency(const void *base, uint64_t bytes, uint64_t window_ns)
{
	const uint64_t *words = base;
	uint64_t lines = round_down_pow2(bytes) / CACHE_LINE, at = 1, n = 0;
	uint64_t end = clock_ns() + window_ns, start = thread_ns(), ns;
	uint64_t nothing = 0;

	/* The compiler must not know that what was loaded does not count: the
	 * next place has to wait for it. */
	__asm__ volatile("" : "+r"(nothing));
	do {
		for (unsigned i = 0; i < CHASES; i++) {
			/* the upper bits: the lower ones have short periods */
			uint64_t line = (at >> 24) & (lines - 1);

			at = at * STEP_FACTOR + STEP_TERM +
			     (words[line * 8] & nothing);
		}
		n += CHASES;
	} while (clock_ns() < end);
	ns = thread_ns() - start;
	/* the end of the chain is used, so it stays */
	return (double)(ns + (at == 0)) / (double)n;
}

typedef uint64_t lane __attribute__((vector_size(16)));

static uint64_t chunk_sum(const char *at)
{
	const lane *v = (const void *)at;
	lane a = { 0 }, b = { 0 }, c = { 0 }, e = { 0 };

	for (uint64_t i = 0; i < SPEED_CHUNK / sizeof(lane); i += 4) {
		a += v[i];
		b += v[i + 1];
		c += v[i + 2];
		e += v[i + 3];
	}
	a += b + c + e;
	return a[0] + a[1];
}

void speed_stream(const void *base, uint64_t bytes, uint64_t window_ns,
		  struct speed_stream *ret_stream)
{
	uint64_t end = clock_ns() + window_ns, start = thread_ns(), at = 0;
	struct speed_stream s = { 0 };

	do {
		s.sum += chunk_sum((const char *)base + at);
		s.bytes += SPEED_CHUNK;
		at += SPEED_CHUNK;
		if (at + SPEED_CHUNK > bytes)
			at = 0;
	} while (clock_ns() < end);
	s.ns = MAX(thread_ns() - start, 1ull);
	*ret_stream = s;
}

/* ---- memory to read ------------------------------------------------------------- */

int speed_map(uint64_t bytes, int node, void **ret_base)
{
	uint64_t place = segment_place_bytes(bytes);
	void *p;
	int r;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	p = mmap(NULL, place, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	p = segment_place_trim(p, bytes);
	madvise(p, bytes, MADV_HUGEPAGE); /* a wish */
	r = node >= 0 ? segment_bind(p, bytes, node) : 0;
	if (r) {
		munmap(p, bytes);
		return r;
	}
	*ret_base = p;
	return 0;
}

int64_t speed_fill(void *base, uint64_t bytes, uint64_t window_ns)
{
	uint64_t end = clock_ns() + window_ns, at = 0;
	char *p = base;

	while (at < bytes && (at < FILL_BYTES || clock_ns() < end)) {
		uint64_t step = MIN(FILL_BYTES, bytes - at);

		if (madvise(p + at, step, MADV_POPULATE_WRITE) < 0) {
			if (errno != EINVAL)
				return -errno;
			memset(p + at, 0, step); /* Linux before 5.14 */
		}
		at += step;
	}
	return (int64_t)round_down_pow2(at);
}

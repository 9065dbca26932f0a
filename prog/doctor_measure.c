/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast memory is read.
 *
 * Bandwidth: each thread, on a processor of its own, adds up a share of the
 * buffer again and again until the window is over; sums are kept, so that the
 * loads stay. Latency: a chain of dependent loads over all cache lines, where
 * the next place is computed from the last place and from what was loaded. The
 * bytes of the buffer must be zero; nothing has to be prepared in it, and no
 * prefetcher guesses the order. Time is that which the threads had a processor
 * for: other work on the machine is not counted.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "doctor.h"

#define THREADS_MAX 128
#define CHUNK	    (1ull << 20)
#define CHASES	    2000u

#define LEAST_BYTES (64ull << 20)
#define MOST_BYTES  (512ull << 20)
#define QUICK_BYTES (64ull << 20)

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

double doctor_latency(const void *base, uint64_t bytes, uint64_t window_ns)
{
	const uint64_t *words = base;
	uint64_t lines = bytes / CACHE_LINE, at = 1, n = 0;
	uint64_t end = clock_ns() + window_ns, start = thread_ns(), ns;

	do {
		for (unsigned i = 0; i < CHASES; i++) {
			/* the upper bits: the lower ones have short periods */
			uint64_t line = (at >> 24) & (lines - 1);

			at = at * STEP_FACTOR + STEP_TERM + words[line * 8];
		}
		n += CHASES;
	} while (clock_ns() < end);
	ns = thread_ns() - start;
	/* the end of the chain is used, so it stays */
	return (double)(ns + (at == 0)) / (double)n;
}

struct stream {
	const char *base;
	uint64_t bytes, read, ns, sum, window_ns;
	atomic_uint *ready; /* threads that have arrived */
	unsigned threads;
	int cpu; /* -1: wherever */
	pthread_t thread;
};

typedef uint64_t lane __attribute__((vector_size(16)));

static uint64_t chunk_sum(const char *at)
{
	const lane *v = (const void *)at;
	lane a = { 0 }, b = { 0 }, c = { 0 }, e = { 0 };

	for (uint64_t i = 0; i < CHUNK / sizeof(lane); i += 4) {
		a += v[i];
		b += v[i + 1];
		c += v[i + 2];
		e += v[i + 3];
	}
	a += b + c + e;
	return a[0] + a[1];
}

static void stream_read(struct stream *s)
{
	uint64_t end = clock_ns() + s->window_ns, start = thread_ns(), at = 0;

	do {
		s->sum += chunk_sum(s->base + at);
		s->read += CHUNK;
		at += CHUNK;
		if (at + CHUNK > s->bytes)
			at = 0;
	} while (clock_ns() < end);
	s->ns = thread_ns() - start;
}

static void *stream_main(void *arg)
{
	struct stream *s = arg;
	cpu_set_t set;

	if (s->cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET((size_t)s->cpu, &set);
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	}
	/* All begin together; only the count matters, no data follows it. */
	atomic_fetch_add_explicit(s->ready, 1, memory_order_relaxed);
	while (atomic_load_explicit(s->ready, memory_order_relaxed) <
	       s->threads)
		sched_yield();
	stream_read(s);
	return NULL;
}

/* The processors that this process may use, in order. */
static unsigned processors(int *cpu, unsigned most)
{
	cpu_set_t set;
	unsigned n = 0;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		for (int i = 0; i < CPU_SETSIZE && n < most; i++)
			if (CPU_ISSET((size_t)i, &set))
				cpu[n++] = i;
	if (n == 0)
		cpu[n++] = -1;
	return n;
}

static int streams_run(struct stream *s, unsigned n, double *ret_rate)
{
	unsigned started = 0;
	double rate = 0;
	int r = 0;

	while (started < n && r == 0) {
		r = fault_point(FAULT_ALLOC)
			    ? ENOMEM
			    : pthread_create(&s[started].thread, NULL,
					     stream_main, &s[started]);
		started += r == 0;
	}
	if (r) /* let those go that wait for the others */
		atomic_fetch_add_explicit(s[0].ready, n, memory_order_relaxed);
	for (unsigned i = 0; i < started; i++) {
		pthread_join(s[i].thread, NULL);
		rate += (double)s[i].read * 1e9 / (double)MAX(s[i].ns, 1ull);
	}
	if (r)
		return -r;
	*ret_rate = rate;
	return 0;
}

static int bandwidth(const void *base, uint64_t bytes, uint64_t window_ns,
		     unsigned n, const int *cpu, double *ret_rate)
{
	CLEANUP(mem_free_at)
	struct stream *s = mem_array(n, sizeof(*s));
	uint64_t share = bytes / n / CHUNK * CHUNK;
	atomic_uint ready = 0;

	if (!s)
		return -ENOMEM;
	if (share == 0)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++)
		s[i] = (struct stream){ .base = (const char *)base + share * i,
					.bytes = share,
					.window_ns = window_ns,
					.ready = &ready,
					.threads = n,
					.cpu = cpu[i] };
	return streams_run(s, n, ret_rate);
}

int doctor_measure(const void *base, uint64_t bytes, uint64_t window_ns,
		   struct doctor_speed *ret_speed)
{
	struct doctor_speed s = { 0 };
	int cpu[THREADS_MAX], r;

	s.threads = processors(cpu, (unsigned)MIN(bytes / CHUNK,
						  (uint64_t)THREADS_MAX));
	s.latency_ns = doctor_latency(base, bytes, window_ns);
	r = bandwidth(base, bytes, window_ns, 1, cpu, &s.one_bytes_per_s);
	s.all_bytes_per_s = s.one_bytes_per_s;
	if (r == 0 && s.threads > 1)
		r = bandwidth(base, bytes, window_ns, s.threads, cpu,
			      &s.all_bytes_per_s);
	if (r == 0)
		*ret_speed = s;
	return r;
}

/* ---- how much ---------------------------------------------------------------------- */

static uint64_t last_cache(const struct doctor *d)
{
	uint64_t bytes = 0, largest = 0;
	struct sysfs_names names;
	char text[32];

	sysfs_list(d->root, "/sys/devices/system/cpu/cpu0/cache", "index",
		   &names);
	for (size_t i = 0; i < names.n; i++) {
		if (sysfs_read(d->root, text, sizeof(text),
			       "/sys/devices/system/cpu/cpu0/cache/%s/size",
			       names.name[i]) == 0) {
			bytes = strtoull(text, NULL, 10) * 1024;
			largest = MAX(largest, bytes);
		}
	}
	return largest;
}

uint64_t doctor_buffer(const struct doctor *d)
{
	uint64_t cache = last_cache(d), free = doctor_available(d);
	uint64_t bytes = round_up_pow2(MAX(2 * cache, LEAST_BYTES));

	bytes = MIN(bytes, d->quick ? QUICK_BYTES : MOST_BYTES);
	/* never more than an eighth of what others could use meanwhile */
	bytes = MIN(bytes, round_down_pow2(free / 8));
	return MAX(bytes, 4 * CHUNK);
}

bool doctor_cached(const struct doctor *d, uint64_t bytes)
{
	uint64_t cache = last_cache(d);

	return bytes < cache + cache / 2;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast memory is read, by tier/speed.h: dependent loads by one thread, and
 * streams of one and of all. For streams each thread reads a share of the buffer,
 * on a processor of its own, again and again until the window is over.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "doctor.h"
#include "tier/speed.h"

#define THREADS_MAX 128

#define LEAST_BYTES (64ull << 20)
#define MOST_BYTES  (512ull << 20)
#define QUICK_BYTES (64ull << 20)

struct stream {
	const char *base;
	uint64_t bytes, window_ns;
	struct speed_stream done;
	atomic_uint *ready; /* threads that have arrived */
	unsigned threads;
	int cpu; /* -1: wherever */
	pthread_t thread;
};

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
	speed_stream(s->base, s->bytes, s->window_ns, &s->done);
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
		rate += (double)s[i].done.bytes * 1e9 / (double)s[i].done.ns;
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
	uint64_t share = bytes / n / SPEED_CHUNK * SPEED_CHUNK;
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

	s.threads = processors(cpu, (unsigned)MIN(bytes / SPEED_CHUNK,
						  (uint64_t)THREADS_MAX));
	s.latency_ns = speed_latency(base, bytes, window_ns);
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
	return MAX(bytes, 4 * SPEED_CHUNK);
}

bool doctor_cached(const struct doctor *d, uint64_t bytes)
{
	uint64_t cache = last_cache(d);

	return bytes < cache + cache / 2;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What writing costs. Large blocks are granted, filled and sealed, against
 * memcpy() of the same blocks into a populated area: a copy that nobody else
 * can find, with no checksum. Source, pool and destination are each at least
 * four times the last-level cache, so that memory is measured. The two take
 * turns, and their ratio is taken run by run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "bench.h"
#include "payload.h"

#define PUT_BLOCK	  (2ull << 20)
#define PUT_BATCH	  32u
#define PUT_CACHES	  4
#define PUT_CACHE_UNKNOWN (64ull << 20)
#define PUT_AREA_MOST	  (4ull << 30)

#define SEAL_ROUNDS 20000u
#define SEAL_BLOCK  4096ull

struct put {
	struct bench_pool *pool;
	uint8_t *from, *to;
	uint64_t area; /* of each, a multiple of PUT_BLOCK */
	char note[128];
};

static uint8_t *put_map(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Four times the cache, or what memory allows. */
static int put_size(const struct bench *b, struct put *p)
{
	uint64_t cache = b->cache_bytes ? b->cache_bytes : PUT_CACHE_UNKNOWN;
	uint64_t wanted = ALIGN_UP(cache * PUT_CACHES, PUT_BLOCK);
	uint64_t have = bench_memory_free() / 5 & ~(PUT_BLOCK - 1);

	wanted = MIN(wanted, PUT_AREA_MOST);
	p->area = MIN(wanted, have);
	if (p->area < 4 * PUT_BATCH * PUT_BLOCK / 2) {
		fprintf(stderr, "onecopy: bench: put: too little memory\n");
		return -ENOMEM;
	}
	if (p->area < wanted)
		snprintf(p->note, sizeof(p->note),
			 "areas of %llu MiB: memory is too small for %llu MiB, "
			 "caches may help",
			 (unsigned long long)(p->area >> 20),
			 (unsigned long long)(wanted >> 20));
	return 0;
}

static int put_areas(struct put *p)
{
	struct oc_key key = { { 7 } };

	p->from = put_map(p->area);
	p->to = put_map(p->area);
	if (!p->from || !p->to)
		return -ENOMEM;
	for (uint64_t at = 0; at < p->area; at += PUT_BLOCK) {
		memcpy(key.bytes, &at, sizeof(at));
		payload_make(&key, p->from + at, PUT_BLOCK);
	}
	return 0;
}

static int put_answers(struct put *p, int r, const int *result, uint32_t n)
{
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = result[i];
	if (r)
		fprintf(stderr, "onecopy: bench: put: %s (%s)\n",
			oc_strerror(r), oc_client_error(p->pool->client));
	return r > 0 ? -EIO : r;
}

static int put_batch(struct put *p, uint64_t at, uint32_t n)
{
	static struct oc_key key[PUT_BATCH];
	static struct oc_grant grant[PUT_BATCH];
	uint64_t sum[PUT_BATCH];
	int result[PUT_BATCH];
	struct oc_part part = { 0, 0 };
	int r;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t number = p->pool->next++;

		memcpy(key[i].bytes, &number, sizeof(number));
	}
	r = oc_grant_batch(p->pool->ns, key, n, part, 0, 0, grant, result);
	r = put_answers(p, r, result, n);
	if (r)
		return r;
	for (uint32_t i = 0; i < n; i++)
		sum[i] = oc_fill(&grant[i], p->from + at + i * PUT_BLOCK,
				 PUT_BLOCK);
	r = oc_seal_batch(p->pool->ns, grant, sum, n, 0, result);
	return put_answers(p, r, result, n);
}

/* Bytes a second of one pass over the source, through the pool. */
static int put_pass(struct put *p, double *ret_rate)
{
	uint64_t start = clock_ns(), blocks = p->area / PUT_BLOCK;
	uint32_t n;

	for (uint64_t i = 0; i < blocks; i += n) {
		int r;

		n = (uint32_t)MIN(blocks - i, PUT_BATCH);
		r = put_batch(p, i * PUT_BLOCK, n);
		if (r)
			return r;
	}
	*ret_rate = (double)p->area * 1e9 / (double)(clock_ns() - start);
	return 0;
}

static double put_memcpy(struct put *p)
{
	uint64_t start = clock_ns();

	for (uint64_t at = 0; at < p->area; at += PUT_BLOCK) {
		memcpy(p->to + at, p->from + at, PUT_BLOCK);
		/* The copy is wanted, whatever the compiler thinks. */
		__asm__ volatile("" : : "r"(p->to + at) : "memory");
	}
	return (double)p->area * 1e9 / (double)(clock_ns() - start);
}

static int put_runs(struct bench *b, struct put *p)
{
	struct bench_figure ratio = {
		.name = "put_ratio", .unit = "x", .sense = BENCH_AT_LEAST,
		.wanted = 1.3, .against = "memcpy of the same 2 MiB blocks",
		.reference = 1, .note = p->note[0] ? p->note : NULL,
	}, rate = {
		.name = "put_rate", .unit = "B/s", .sense = BENCH_AT_LEAST,
		.against = "memcpy of the same 2 MiB blocks",
		.note = ratio.note,
	};
	double ratios[BENCH_RUNS_MAX], rates[BENCH_RUNS_MAX];
	double copies[BENCH_RUNS_MAX], warm;
	int r = put_pass(p, &warm); /* the server makes its slabs */

	put_memcpy(p);
	for (uint32_t i = 0; r == 0 && i < b->runs; i++) {
		r = bench_late(b) ? -ETIME : put_pass(p, &rates[i]);
		if (r)
			break;
		copies[i] = put_memcpy(p);
		ratios[i] = rates[i] / copies[i];
	}
	if (r)
		return r;
	bench_report(b, &ratio, ratios, b->runs);
	rate.reference = bench_median(copies, b->runs);
	rate.wanted = rate.reference * ratio.wanted;
	bench_report(b, &rate, rates, b->runs);
	return 0;
}

static int put_large(struct bench *b)
{
	struct put p = { 0 };
	int r = put_size(b, &p);

	if (r == 0)
		r = put_areas(&p);
	if (r == 0)
		r = bench_pool_open(p.area, PUT_BLOCK, &p.pool);
	if (r == 0)
		r = put_runs(b, &p);
	bench_pool_close(p.pool);
	if (p.from)
		munmap(p.from, p.area);
	if (p.to)
		munmap(p.to, p.area);
	return r;
}

/* ---- one round trip ---------------------------------------------------------- */

/* Median of single seals, one after the other: the server has no time to fall
 * asleep. */
static int seal_pass(struct bench_pool *p, double *each, double *ret_us)
{
	struct oc_part part = { 0, 0 };
	struct oc_grant grant;
	struct oc_key key;
	int r = 0;

	for (uint32_t i = 0; i < SEAL_ROUNDS; i++) {
		uint64_t sum, start;

		r = payload_key("seal", 0, p->next++, &key);
		if (r == 0)
			r = oc_grant(p->ns, &key, part, 0, 0, 0, &grant);
		if (r)
			break;
		sum = oc_fill(&grant, p->scratch, p->block_bytes);
		start = clock_ns();
		r = oc_seal(p->ns, &grant, &sum, 0);
		if (r)
			break;
		each[i] = (double)(clock_ns() - start) / NS_PER_US;
	}
	if (r)
		return r < 0 ? r : -EIO;
	*ret_us = bench_median(each, SEAL_ROUNDS);
	return 0;
}

static int put_seal(struct bench *b)
{
	static const struct bench_figure f = {
		.name = "seal_us",
		.unit = "us",
		.sense = BENCH_AT_MOST,
		.wanted = 20,
		.against = "a limit: 20 us a round trip",
		.reference = 20,
	};
	double *each = malloc(SEAL_ROUNDS * sizeof(*each));
	double values[BENCH_RUNS_MAX];
	struct bench_pool *p = NULL;
	int r = each ? bench_pool_open(256ull << 20, SEAL_BLOCK, &p) : -ENOMEM;

	if (r == 0) {
		memset(p->scratch, 1, SEAL_BLOCK);
		r = bench_pool_fill(p, 1024);
	}
	for (uint32_t i = 0; r == 0 && i < b->runs; i++)
		r = bench_late(b) ? -ETIME : seal_pass(p, each, &values[i]);
	bench_pool_close(p);
	free(each);
	if (r == 0)
		bench_report(b, &f, values, b->runs);
	return r;
}

int bench_put(struct bench *b)
{
	int r = put_large(b);

	return r ? r : put_seal(b);
}

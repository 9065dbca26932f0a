/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the node itself needs: shared metadata, and the private memory of
 * keeper and server, for each resident block; and whether any of it grows with
 * the number of operations rather than with what is resident.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "bench.h"

/* Of each growth round: grant, seal, pin, unpin, remove (or evict later). */
#define GROWTH_OPERATIONS 1000000u
#define GROWTH_PER_BLOCK  5u

struct usage {
	uint64_t meta, slabs, heap;
};

/* Private anonymous memory of a process, from the page tables. */
static int usage_heap(pid_t pid, uint64_t *ret_bytes)
{
	char path[64], line[256];
	unsigned long long kib = 0;
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "Anonymous: %llu kB", &kib) == 1;
	fclose(f);
	if (!found)
		return -ENODATA;
	*ret_bytes = kib * 1024;
	return 0;
}

static int usage_now(struct bench_pool *p, struct usage *ret_usage)
{
	uint64_t server = 0, keeper = 0;
	struct oc_stat stat;
	pid_t pid = 0;
	int r = node_server_pid(p->client, &pid);

	if (r == 0)
		r = oc_stat(p->client, &stat);
	if (r == 0)
		r = usage_heap(pid, &server);
	if (r == 0)
		r = usage_heap(node_keeper_pid(p->node), &keeper);
	if (r) {
		fprintf(stderr, "onecopy: bench: memory: %s\n", oc_strerror(r));
		return r < 0 ? r : -EIO;
	}
	*ret_usage = (struct usage){ .meta = stat.meta_bytes,
				     .slabs = stat.slab_bytes,
				     .heap = server + keeper };
	return 0;
}

static int memory_blocks(struct bench *b, struct bench_pool *p)
{
	static const struct bench_figure all = {
		.name = "meta_bytes_per_block",
		.unit = "B",
		.sense = BENCH_AT_MOST,
		.wanted = 256,
		.reference = 256,
		.against = "a limit: 256 B; metadata and heaps of the node",
	};
	struct usage u;
	double value;
	int r = usage_now(p, &u);

	if (r)
		return r;
	value = (double)(u.meta + u.heap) / (double)p->blocks;
	bench_report(b, &all, &value, 1);
	return 0;
}

static int growth_pins(struct bench_pool *p, const struct oc_key *key,
		       uint32_t n)
{
	struct oc_part part = { 0, 0 };
	struct oc_pin pin;

	for (uint32_t i = 0; i < n; i++) {
		int r = oc_pin(p->ns, &key[i], part, 0, &pin);

		if (r < 0)
			return r;
		if (r == 0)
			oc_unpin(p->ns, &pin);
	}
	return 0;
}

/* Every other batch is removed; the rest leaves by eviction. */
static int growth_round(struct bench *b, struct bench_pool *p)
{
	static struct oc_key key[BENCH_BATCH];
	uint32_t left = GROWTH_OPERATIONS / GROWTH_PER_BLOCK, batch = 0;

	while (left) {
		uint32_t n = MIN(left, BENCH_BATCH);
		int r = bench_late(b) ? -ETIME : bench_pool_put(p, n, key);

		if (r == 0)
			r = growth_pins(p, key, n);
		for (uint32_t i = 0; r == 0 && batch % 2 == 0 && i < n; i++) {
			r = oc_remove(p->ns, &key[i], 0);
			if (r == OC_MISS)
				r = 0;
		}
		if (r)
			return r < 0 ? r : -EIO;
		left -= n;
		batch++;
	}
	return 0;
}

static int memory_growth(struct bench *b, struct bench_pool *p)
{
	static const struct bench_figure f = {
		.name = "growth",
		.unit = "B",
		.sense = BENCH_AT_MOST,
		.wanted = PAGE_BYTES,
		.against = "after one million operations; then after another "
			   "million",
		.note = "metadata, slabs and heaps; one page is tolerated",
	};
	struct usage first, second;
	double value;
	int r = growth_round(b, p);

	if (r == 0)
		r = usage_now(p, &first);
	if (r == 0)
		r = growth_round(b, p);
	if (r == 0)
		r = usage_now(p, &second);
	if (r)
		return r;
	value = (double)(second.meta + second.slabs + second.heap) -
		(double)(first.meta + first.slabs + first.heap);
	bench_report(b, &f, &value, 1);
	return 0;
}

int bench_memory(struct bench *b)
{
	struct bench_pool *p = bench_large(b), *small = NULL;
	int r = p ? memory_blocks(b, p) : -ENODEV;

	/* A small pool for growth: it is full soon, so that blocks leave. */
	if (r == 0)
		r = bench_pool_open(128ull << 20, 4096, &small);
	if (r == 0)
		r = memory_growth(b, small);
	bench_pool_close(small);
	return r;
}

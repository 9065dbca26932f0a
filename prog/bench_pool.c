/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "payload.h"
#include "stop.h"

#define POOL_LABEL	"bench"
#define POOL_TIMEOUT_NS (30 * NS_PER_S)

uint64_t bench_memory_free(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}

static int pool_connect(struct bench_pool *p, const char *socket)
{
	struct oc_client_options client = {
		.size = sizeof(client),
		.socket = socket,
		.name = "bench",
		.timeout_ns = POOL_TIMEOUT_NS,
	};
	struct oc_ns_options ns = {
		.size = sizeof(ns),
		.block_tokens = 16,
		.ranks = 1,
		.n_groups = 1,
		.groups = { { .rule = OC_RULE_FULL,
			      .slices = 1,
			      .slice_bytes = p->block_bytes } },
		.label = POOL_LABEL,
	};
	char error[256] = "";
	int r = oc_client_connect(&client, &p->client, error);

	if (r) {
		fprintf(stderr, "onecopy: bench: %s\n", error);
		return r;
	}
	r = oc_ns_open(p->client, &ns, 0, &p->ns);
	if (r)
		fprintf(stderr, "onecopy: bench: namespace: %s\n",
			oc_client_error(p->client));
	return r;
}

static struct bench_pool *pool_new(uint64_t block_bytes)
{
	struct bench_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->block_bytes = block_bytes;
	p->scratch =
		aligned_alloc(PAGE_BYTES, ALIGN_UP(block_bytes, PAGE_BYTES));
	if (p->scratch)
		return p;
	free(p);
	return NULL;
}

int bench_pool_open(uint64_t dram, uint64_t block_bytes,
		    struct bench_pool **ret_pool)
{
	return bench_pool_open_over(dram, block_bytes, NULL, ret_pool);
}

int bench_pool_open_over(uint64_t dram, uint64_t block_bytes, const char *drive,
			 struct bench_pool **ret_pool)
{
	struct node_options options = { .dram = dram, .nvme = drive };
	struct bench_pool *p = pool_new(block_bytes);
	char error[NODE_ERROR] = "";
	int r = -ENOMEM;

	if (!p)
		return r;
	r = node_start(&options, &p->node, error);
	if (r) {
		fprintf(stderr, "onecopy: bench: no node: %s\n", error);
		goto fail;
	}
	r = pool_connect(p, node_socket(p->node));
	if (r)
		goto fail;
	*ret_pool = p;
	return 0;
fail:
	bench_pool_close(p);
	return r;
}

int bench_pool_join(const char *socket, uint64_t block_bytes,
		    struct bench_pool **ret_pool)
{
	struct bench_pool *p = pool_new(block_bytes);
	int r = p ? pool_connect(p, socket) : -ENOMEM;

	if (r) {
		bench_pool_close(p);
		return r;
	}
	*ret_pool = p;
	return 0;
}

void bench_pool_close(struct bench_pool *p)
{
	if (!p)
		return;
	if (p->ns)
		oc_ns_close(p->ns);
	oc_client_close(p->client);
	node_stop(p->node);
	free(p->scratch);
	free(p->key);
	free(p);
}

static int pool_fail(struct bench_pool *p, const char *what, int r)
{
	const char *why = oc_client_error(p->client);

	fprintf(stderr, "onecopy: bench: %s: %s\n", what,
		why && *why ? why : oc_strerror(r));
	return r < 0 ? r : -EIO;
}

/* The first answer of a batch that is not 0. */
static int pool_first_bad(const int *results, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (results[i])
			return results[i];
	return 0;
}

int bench_pool_put(struct bench_pool *p, uint32_t n, struct oc_key *ret_keys)
{
	static struct oc_key own[BENCH_BATCH];
	static struct oc_grant grant[BENCH_BATCH];
	static uint64_t sum[BENCH_BATCH];
	static int result[BENCH_BATCH];
	struct oc_key *key = ret_keys ? ret_keys : own;
	struct oc_part part = { 0, 0 };
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = payload_key(POOL_LABEL, 0, p->next++, &key[i]);
	if (r)
		return r;
	r = oc_grant_batch(p->ns, key, n, part, 0, 0, grant, result);
	if (r == 0)
		r = pool_first_bad(result, n);
	if (r)
		return pool_fail(p, "grant", r);
	for (uint32_t i = 0; i < n; i++) {
		payload_make(&key[i], p->scratch, p->block_bytes);
		sum[i] = oc_fill(&grant[i], p->scratch, p->block_bytes);
	}
	r = oc_seal_batch(p->ns, grant, sum, n, 0, result);
	if (r == 0)
		r = pool_first_bad(result, n);
	return r ? pool_fail(p, "seal", r) : 0;
}

int bench_pool_fill(struct bench_pool *p, uint64_t n)
{
	struct oc_key *grown =
		realloc(p->key, (p->blocks + n) * sizeof(*p->key));

	if (!grown)
		return -ENOMEM;
	p->key = grown;
	while (n) {
		uint32_t now = (uint32_t)MIN(n, BENCH_BATCH);
		int r = stop_wanted()
				? -EINTR
				: bench_pool_put(p, now, &p->key[p->blocks]);

		if (r)
			return r;
		p->blocks += now;
		n -= now;
	}
	return 0;
}

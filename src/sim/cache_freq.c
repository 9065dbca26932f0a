/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two that count uses and age what they have counted; the least priority leaves,
 * of equal ones the one that was used longest ago, and its priority becomes the
 * age L of the cache.
 *
 * LFU-DA: Arlitt and others, "Evaluating content management techniques for web
 * proxy caches", 1999: priority = uses + L.
 * GDSF: Cherkasova, "Improving WWW proxies performance with
 * Greedy-Dual-Size-Frequency caching policy", 1998: uses * cost / size + L, with
 * the block's prefill time as its cost; sizes are equal.
 */
#include "sim/cache.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

struct freq {
	double *priority; /* of a block */
	uint32_t *uses;	  /* since it came */
	uint64_t *used;	  /* when last */
	uint32_t *at;	  /* place in the heap */
	uint32_t *heap;	  /* least first */
	uint32_t n;
	uint64_t clock;
	double age;
};

static void freq_free(struct freq *f)
{
	if (!f)
		return;
	free(f->priority);
	free(f->uses);
	free(f->used);
	free(f->at);
	free(f->heap);
	free(f);
}

static void freq_destroy(struct sim_cache *c)
{
	freq_free(c->state);
}

static int freq_create(struct sim_cache *c)
{
	uint64_t n = c->t->distinct + 1ull;
	struct freq *f = mem_alloc(sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->priority = mem_array(n, sizeof(*f->priority));
	f->uses = mem_array(n, sizeof(*f->uses));
	f->used = mem_array(n, sizeof(*f->used));
	f->at = mem_array(n, sizeof(*f->at));
	f->heap = mem_array(n, sizeof(*f->heap));
	if (!f->priority || !f->uses || !f->used || !f->at || !f->heap) {
		freq_free(f);
		return -ENOMEM;
	}
	c->state = f;
	return 0;
}

static bool less(const struct freq *f, uint32_t a, uint32_t b)
{
	if (f->priority[a] < f->priority[b] || f->priority[b] < f->priority[a])
		return f->priority[a] < f->priority[b];
	return f->used[a] < f->used[b];
}

static void put(struct freq *f, uint32_t at, uint32_t block)
{
	f->heap[at] = block;
	f->at[block] = at;
}

static void sift(struct freq *f, uint32_t at, uint32_t block)
{
	while (at && less(f, block, f->heap[(at - 1) / 2])) {
		put(f, at, f->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (;;) {
		uint32_t k = 2 * at + 1;

		if (k + 1 < f->n && less(f, f->heap[k + 1], f->heap[k]))
			k++;
		if (k >= f->n || !less(f, f->heap[k], block))
			break;
		put(f, at, f->heap[k]);
		at = k;
	}
	put(f, at, block);
}

static void freq_evict(struct sim_cache *c, struct freq *f)
{
	uint32_t block = f->heap[0], last = f->heap[--f->n];

	f->age = f->priority[block];
	if (f->n)
		sift(f, 0, last);
	sim_cache_evict(c, block);
}

static void freq_use(struct sim_cache *c, uint32_t block, double cost)
{
	struct freq *f = c->state;
	bool here = c->resident[block];

	if (!here && sim_cache_full(c))
		freq_evict(c, f);
	f->uses[block] = here ? f->uses[block] + 1 : 1;
	f->priority[block] = f->uses[block] * cost + f->age;
	f->used[block] = ++f->clock;
	if (!here) {
		f->at[block] = f->n++;
		sim_cache_admit(c, block);
	}
	sift(f, f->at[block], block);
}

static void lfuda_request(struct sim_cache *c)
{
	for (uint32_t i = c->n; i-- > 0;)
		freq_use(c, c->blocks[i], 1);
}

static void gdsf_request(struct sim_cache *c)
{
	uint64_t tokens = c->o->block_tokens;
	double first = sim_prefill_s(&c->o->prefill, 0, tokens);

	for (uint32_t i = c->n; i-- > 0;)
		freq_use(c, c->blocks[i],
			 sim_prefill_s(&c->o->prefill, i * tokens,
				       (i + 1) * tokens) /
				 first);
}

const struct sim_policy sim_policy_lfuda = {
	.name = "lfu-da",
	.create = freq_create,
	.destroy = freq_destroy,
	.request = lfuda_request,
};

const struct sim_policy sim_policy_gdsf = {
	.name = "gdsf",
	.create = freq_create,
	.destroy = freq_destroy,
	.request = gdsf_request,
};

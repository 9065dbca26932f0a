/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/nvme/index.h"
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"

#define FIRST_LEVEL NVME_CHUNK_SHIFT /* one chunk of buckets to begin with */

static uint64_t hash_of(const struct nvme_index *x, const struct tier_id *id)
{
	return hash_bytes(id, sizeof(*id), x->seed);
}
_Static_assert(sizeof(struct tier_id) == 40, "no padding is hashed");

static uint32_t *bucket(const struct nvme_index *x, uint32_t b)
{
	return &x->buckets[b >> NVME_CHUNK_SHIFT][b & (NVME_CHUNK - 1)];
}

static uint32_t bucket_of(const struct nvme_index *x, uint64_t hash)
{
	uint32_t b = (uint32_t)hash & ((1u << x->level) - 1);

	return b >= x->split ? b : (uint32_t)hash & ((2u << x->level) - 1);
}

/* Room for one more pointer in an array of them. NULL: no memory. */
static void *grow(void *array, uint32_t *room, uint32_t used)
{
	uint32_t n = *room ? *room * 2 : 64;
	void *p;

	if (used < *room)
		return array;
	p = mem_grow(array, n, sizeof(void *));
	if (p)
		*room = n;
	return p;
}

static int more_nodes(struct nvme_index *x)
{
	void *chunk, *array = grow(x->nodes, &x->node_room, x->node_chunks);

	if (!array)
		return -ENOMEM;
	x->nodes = array;
	chunk = mem_array(NVME_CHUNK, sizeof(struct nvme_node));
	if (!chunk)
		return -ENOMEM;
	x->nodes[x->node_chunks++] = chunk;
	return 0;
}

static int more_buckets(struct nvme_index *x)
{
	void *chunk,
		*array = grow(x->buckets, &x->bucket_room, x->bucket_chunks);

	if (!array)
		return -ENOMEM;
	x->buckets = array;
	chunk = mem_array(NVME_CHUNK, sizeof(uint32_t));
	if (!chunk)
		return -ENOMEM;
	x->buckets[x->bucket_chunks++] = chunk;
	return 0;
}

int nvme_index_init(struct nvme_index *x, uint64_t most, uint64_t seed)
{
	memset(x, 0, sizeof(*x));
	x->seed = seed;
	x->most = (uint32_t)MIN(most, (uint64_t)UINT32_MAX - 1);
	x->level = FIRST_LEVEL;
	x->made = 1;
	if (more_nodes(x) || more_buckets(x)) {
		nvme_index_fini(x);
		return -ENOMEM;
	}
	return 0;
}

void nvme_index_fini(struct nvme_index *x)
{
	for (uint32_t i = 0; i < x->node_chunks; i++)
		free(x->nodes[i]);
	for (uint32_t i = 0; i < x->bucket_chunks; i++)
		free(x->buckets[i]);
	free(x->nodes);
	free(x->buckets);
	memset(x, 0, sizeof(*x));
}

void nvme_index_expect(struct nvme_index *x, uint64_t n)
{
	must(x->hashed == 0 && x->split == 0);
	n = MIN(n, (uint64_t)x->most);
	while (x->level < 30 && 1ull << x->level < n) {
		uint32_t chunks = 2u << (x->level - NVME_CHUNK_SHIFT);

		while (x->bucket_chunks < chunks)
			if (more_buckets(x))
				return;
		x->level++;
	}
}

void nvme_index_fetch_bucket(const struct nvme_index *x,
			     const struct tier_id *id)
{
	__builtin_prefetch(bucket(x, bucket_of(x, hash_of(x, id))), 1);
}

void nvme_index_fetch_node(const struct nvme_index *x, const struct tier_id *id)
{
	uint32_t n = *bucket(x, bucket_of(x, hash_of(x, id)));

	if (n != NODE_NONE)
		__builtin_prefetch(nvme_node(x, n));
}

static uint32_t match(const struct nvme_index *x, const struct tier_id *id,
		      uint32_t n)
{
	while (n != NODE_NONE && !nvme_node_is(nvme_node(x, n), id))
		n = nvme_node(x, n)->chain;
	return n;
}

uint32_t nvme_index_find(const struct nvme_index *x, const struct tier_id *id)
{
	return match(x, id, *bucket(x, bucket_of(x, hash_of(x, id))));
}

uint32_t nvme_index_next(const struct nvme_index *x, const struct tier_id *id,
			 uint32_t after)
{
	return match(x, id, nvme_node(x, after)->chain);
}

/* Splits the next bucket. Without memory for it chains only get longer. */
static void split(struct nvme_index *x)
{
	uint32_t from = x->split, to = (1u << x->level) + x->split, n, next;

	if (x->level == 31 ||
	    ((to & (NVME_CHUNK - 1)) == 0 &&
	     to >> NVME_CHUNK_SHIFT == x->bucket_chunks && more_buckets(x)))
		return;
	n = *bucket(x, from);
	*bucket(x, from) = NODE_NONE;
	if (++x->split == 1u << x->level) {
		x->split = 0;
		x->level++;
	}
	for (; n != NODE_NONE; n = next) {
		struct nvme_node *d = nvme_node(x, n);
		struct tier_id id = nvme_node_id(d);
		uint32_t *b = bucket(x, bucket_of(x, hash_of(x, &id)));

		next = d->chain;
		d->chain = *b;
		*b = n;
	}
}

static int take(struct nvme_index *x, uint32_t *ret_node)
{
	if (x->free != NODE_NONE) {
		*ret_node = x->free;
		x->free = nvme_node(x, x->free)->chain;
		return 0;
	}
	if (x->made > x->most)
		return -ENOSPC;
	if (x->made >> NVME_CHUNK_SHIFT == x->node_chunks && more_nodes(x))
		return -ENOMEM;
	*ret_node = x->made++;
	return 0;
}

int nvme_index_add(struct nvme_index *x, const struct tier_id *id,
		   uint32_t *ret_node)
{
	struct nvme_node *d;
	uint32_t n, *b;
	int r = take(x, &n);

	if (r < 0)
		return r;
	d = nvme_node(x, n);
	memset(d, 0, sizeof(*d));
	memcpy(d->key, id->key, sizeof(d->key));
	d->space = id->space;
	d->part = id->part;
	b = bucket(x, bucket_of(x, hash_of(x, id)));
	d->chain = *b;
	*b = n;
	if (++x->hashed > (1u << x->level) + x->split)
		split(x);
	*ret_node = n;
	return 0;
}

void nvme_index_hide(struct nvme_index *x, uint32_t n)
{
	struct tier_id id = nvme_node_id(nvme_node(x, n));
	uint32_t *at = bucket(x, bucket_of(x, hash_of(x, &id)));

	while (*at != n) {
		must(*at != NODE_NONE);
		at = &nvme_node(x, *at)->chain;
	}
	*at = nvme_node(x, n)->chain;
	x->hashed--;
}

void nvme_index_free(struct nvme_index *x, uint32_t n)
{
	struct nvme_node *d = nvme_node(x, n);

	d->state = NODE_FREE;
	d->chain = x->free;
	x->free = n;
}

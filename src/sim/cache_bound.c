/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Farthest next use: what can be had by who knows the future. Of the blocks that
 * the request in hand does not use, those leave first whose next use is the
 * farthest; of equal ones the deepest. A strong reference, no proven optimum: it
 * takes in what the request computed even when keeping another would be worth
 * more.
 *
 * A heap of (next use, depth, block), greatest first. An entry is stale when the
 * block has left or has been used since; each use makes one entry, so the heap
 * is bounded by the trace, not by the cache.
 */
#include "sim/cache.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

#define NEVER UINT64_MAX

struct entry {
	uint64_t next; /* request */
	uint32_t depth, block;
};

struct bound {
	uint64_t *next_at; /* next use of each block of each request */
	uint64_t *next;	   /* next use of a block, as of now */
	struct entry *heap;
	uint64_t n;
};

static void bound_free(struct bound *b)
{
	if (!b)
		return;
	free(b->next_at);
	free(b->next);
	free(b->heap);
	free(b);
}

static void bound_destroy(struct sim_cache *c)
{
	bound_free(c->state);
}

/* Backwards through the trace: when is each use's next one? */
static void look_ahead(struct bound *b, const struct sim_trace *t)
{
	for (uint32_t i = 0; i < t->distinct; i++)
		b->next[i] = NEVER;
	for (uint64_t r = t->requests; r-- > 0;) {
		const struct sim_request *q = &t->request[r];

		for (uint32_t k = 0; k < q->n; k++) {
			uint32_t block = t->block[q->first + k];

			b->next_at[q->first + k] = b->next[block];
			b->next[block] = r;
		}
	}
}

static int bound_create(struct sim_cache *c)
{
	const struct sim_trace *t = c->t;
	struct bound *b = mem_alloc(sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->next_at = mem_array(t->blocks + 1, sizeof(*b->next_at));
	b->next = mem_array(t->distinct + 1ull, sizeof(*b->next));
	b->heap = mem_array(t->blocks + 1, sizeof(*b->heap));
	if (!b->next_at || !b->next || !b->heap) {
		bound_free(b);
		return -ENOMEM;
	}
	look_ahead(b, t);
	c->state = b;
	return 0;
}

static bool before(const struct entry *a, const struct entry *b)
{
	if (a->next != b->next)
		return a->next > b->next;
	if (a->depth != b->depth)
		return a->depth > b->depth;
	return a->block > b->block;
}

static void push(struct bound *b, struct entry e)
{
	uint64_t i = b->n++;

	while (i && before(&e, &b->heap[(i - 1) / 2])) {
		b->heap[i] = b->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	b->heap[i] = e;
}

static struct entry pop(struct bound *b)
{
	struct entry top = b->heap[0], last = b->heap[--b->n];
	uint64_t i = 0;

	for (;;) {
		uint64_t k = 2 * i + 1;

		if (k >= b->n)
			break;
		if (k + 1 < b->n && before(&b->heap[k + 1], &b->heap[k]))
			k++;
		if (!before(&b->heap[k], &last))
			break;
		b->heap[i] = b->heap[k];
		i = k;
	}
	b->heap[i] = last;
	return top;
}

/* The block that leaves first; NULL when all are in use. */
static const struct entry *farthest(struct sim_cache *c, struct bound *b)
{
	while (b->n) {
		const struct entry *e = &b->heap[0];

		if (c->resident[e->block] && b->next[e->block] == e->next)
			return e;
		pop(b);
	}
	return NULL;
}

/* Takes a block in where there is room or another is used later. */
static void take_in(struct sim_cache *c, struct bound *b, uint32_t block)
{
	const struct entry *e;

	if (b->next[block] == NEVER)
		return;
	if (sim_cache_full(c)) {
		e = farthest(c, b);
		if (!e || e->next <= b->next[block])
			return;
		sim_cache_evict(c, pop(b).block);
	}
	sim_cache_admit(c, block);
}

static void bound_request(struct sim_cache *c)
{
	const struct sim_request *q = c->q;
	struct bound *b = c->state;

	/* makes the entries of what is in use stale */
	for (uint32_t k = 0; k < q->n; k++)
		b->next[c->blocks[k]] = b->next_at[q->first + k];
	for (uint32_t k = 0; k < c->n; k++)
		if (!c->resident[c->blocks[k]])
			take_in(c, b, c->blocks[k]);
	for (uint32_t k = 0; k < q->n; k++)
		if (c->resident[c->blocks[k]])
			push(b, (struct entry){ b->next_at[q->first + k], k,
						c->blocks[k] });
}

const struct sim_policy sim_policy_bound = {
	.name = "bound",
	.create = bound_create,
	.destroy = bound_destroy,
	.request = bound_request,
};

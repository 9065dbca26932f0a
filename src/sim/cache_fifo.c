/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two that are queues with marks.
 *
 * S3-FIFO: Yang and others, "FIFO queues are all you need for cache eviction",
 * SOSP 2023, algorithm 1: a small queue of a tenth, a main queue, and a ghost
 * queue of as many as the cache holds; counts up to 3, more than 1 to get from the
 * small to the main queue.
 *
 * SIEVE: Zhang and others, "SIEVE is simpler than LRU", NSDI 2024, algorithm 1:
 * one queue, a mark, a hand that goes from the oldest to the youngest.
 */
#include "sim/cache.h"
#include "sim/cache_order.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

enum { SMALL, MAIN, GHOST };

struct fifo {
	struct order o;
	uint8_t *count;
	uint32_t hand;
};

static void fifo_destroy(struct sim_cache *c)
{
	struct fifo *f = c->state;

	order_fini(&f->o);
	free(f->count);
	free(f);
}

static int fifo_create(struct sim_cache *c)
{
	struct fifo *f = mem_alloc(sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->hand = ORDER_NONE;
	f->count = mem_array(c->t->distinct + 1ull, 1);
	if (!f->count || order_init(&f->o, c->t->distinct)) {
		free(f->count);
		free(f);
		return -ENOMEM;
	}
	c->state = f;
	return 0;
}

/* ---- S3-FIFO ---------------------------------------------------------------- */

static uint32_t small_of(const struct sim_cache *c)
{
	return MAX(c->o->dram / 10, 1u);
}

static uint32_t take_first(struct fifo *f, unsigned queue)
{
	uint32_t block = order_first(&f->o, queue);

	order_drop(&f->o, block);
	return block;
}

static void evict_main(struct sim_cache *c, struct fifo *f)
{
	while (f->o.n[MAIN]) {
		uint32_t block = take_first(f, MAIN);

		if (!f->count[block]) {
			sim_cache_evict(c, block);
			return;
		}
		f->count[block]--;
		order_push(&f->o, MAIN, block);
	}
}

static void to_ghost(struct sim_cache *c, struct fifo *f, uint32_t block)
{
	sim_cache_evict(c, block);
	if (f->o.n[GHOST] >= c->o->dram)
		take_first(f, GHOST);
	order_push(&f->o, GHOST, block);
}

static void evict_small(struct sim_cache *c, struct fifo *f)
{
	while (f->o.n[SMALL]) {
		uint32_t block = take_first(f, SMALL);

		if (f->count[block] <= 1) {
			to_ghost(c, f, block);
			return;
		}
		f->count[block] = 0;
		order_push(&f->o, MAIN, block);
		if (f->o.n[MAIN] > c->o->dram - small_of(c)) {
			evict_main(c, f);
			return;
		}
	}
}

static void s3fifo_use(struct sim_cache *c, uint32_t block)
{
	struct fifo *f = c->state;
	bool ghost = f->o.in[block] == GHOST;

	if (c->resident[block]) {
		f->count[block] = (uint8_t)MIN(f->count[block] + 1, 3);
		return;
	}
	if (ghost)
		order_drop(&f->o, block);
	while (sim_cache_full(c)) {
		if (f->o.n[SMALL] >= small_of(c) || !f->o.n[MAIN])
			evict_small(c, f);
		else
			evict_main(c, f);
	}
	f->count[block] = 0;
	order_push(&f->o, ghost ? MAIN : SMALL, block);
	sim_cache_admit(c, block);
}

static void s3fifo_request(struct sim_cache *c)
{
	for (uint32_t i = c->n; i-- > 0;)
		s3fifo_use(c, c->blocks[i]);
}

/* ---- SIEVE ------------------------------------------------------------------ */

static void sieve_evict(struct sim_cache *c, struct fifo *f)
{
	uint32_t at = f->hand;

	if (at == ORDER_NONE)
		at = order_first(&f->o, MAIN);
	while (f->count[at]) {
		f->count[at] = 0;
		at = order_next(&f->o, at);
		if (at == ORDER_NONE)
			at = order_first(&f->o, MAIN);
	}
	f->hand = order_next(&f->o, at);
	order_drop(&f->o, at);
	sim_cache_evict(c, at);
}

static void sieve_request(struct sim_cache *c)
{
	struct fifo *f = c->state;

	for (uint32_t i = c->n; i-- > 0;) {
		uint32_t block = c->blocks[i];

		if (c->resident[block]) {
			f->count[block] = 1;
			continue;
		}
		if (sim_cache_full(c))
			sieve_evict(c, f);
		f->count[block] = 0;
		order_push(&f->o, MAIN, block);
		sim_cache_admit(c, block);
	}
}

const struct sim_policy sim_policy_s3fifo = {
	.name = "s3-fifo",
	.create = fifo_create,
	.destroy = fifo_destroy,
	.request = s3fifo_request,
};

const struct sim_policy sim_policy_sieve = {
	.name = "sieve",
	.create = fifo_create,
	.destroy = fifo_destroy,
	.request = sieve_request,
};

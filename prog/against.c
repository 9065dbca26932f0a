/* SPDX-License-Identifier: Apache-2.0 */
#include "against.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "policy/policy.h"

#define AGAINST_ALL UINT32_MAX

/* One cache. */
struct lru {
	const struct policy_ops *ops;
	struct policy *policy;
	uint8_t *resident;
	uint64_t capacity, count, most, stamp;
	uint64_t missed; /* blocks outside the leading run */
};

static void lru_fini(struct lru *c)
{
	if (c->policy)
		c->ops->destroy(c->policy);
	free(c->resident);
}

static int lru_init(struct lru *c, uint32_t items, uint64_t capacity)
{
	int r;

	*c = (struct lru){ .ops = &policy_lru, .capacity = capacity };
	c->resident = calloc(items + 1ull, 1);
	if (!c->resident)
		return -ENOMEM;
	r = c->ops->create(&c->policy);
	if (r == 0)
		r = c->ops->reserve(c->policy, items, 1);
	if (r)
		lru_fini(c);
	return r;
}

static void lru_insert(struct lru *c, uint32_t block)
{
	uint32_t victim;

	if (c->capacity == 0)
		return;
	if (c->count == c->capacity) {
		victim = c->ops->victim(c->policy, 0, POLICY_NONE);
		c->ops->remove(c->policy, victim);
		c->resident[victim] = 0;
		c->count--;
	}
	c->ops->insert(c->policy, 0, block, ++c->stamp);
	c->resident[block] = 1;
	c->count++;
	c->most = MAX(c->most, c->count);
}

static void lru_request(struct lru *c, const uint32_t *block, uint32_t n)
{
	uint32_t hits = 0;

	while (hits < n && c->resident[block[hits]])
		hits++;
	c->missed += n - hits;
	for (uint32_t i = n; i-- > 0;) {
		if (c->resident[block[i]])
			c->ops->touch(c->policy, block[i], ++c->stamp);
		else
			lru_insert(c, block[i]);
	}
}

/* The requests of one writer (client), of one reader (every readers-th, as the
 * load deals them), or of all, through one cache. */
static int lru_run(const struct deck *d, uint32_t client, uint32_t reader,
		   uint32_t readers, uint64_t capacity, struct lru *ret_cache)
{
	struct lru c;
	int r = lru_init(&c, d->distinct, capacity);

	if (r)
		return r;
	for (uint64_t i = 0; i < d->requests; i++) {
		const struct deck_request *q = &d->request[i];

		if (client != AGAINST_ALL && q->client != client)
			continue;
		if (reader != AGAINST_ALL && i % readers != reader)
			continue;
		lru_request(&c, &d->block[q->first], q->n);
	}
	lru_fini(&c);
	*ret_cache = c;
	return 0;
}

int against_lru(const struct deck *d, uint64_t capacity, uint64_t *ret_prefill,
		uint64_t *ret_held)
{
	struct lru c;
	int r = lru_run(d, AGAINST_ALL, AGAINST_ALL, 0, capacity, &c);

	if (r)
		return r;
	*ret_prefill = c.missed;
	*ret_held = c.most;
	return 0;
}

/* Two runs of each process: with its share of the DRAM, and with all of it. */
static int against_one(const struct deck *d, uint32_t client, uint32_t reader,
		       uint32_t readers, uint64_t capacity, struct against *a)
{
	struct lru split, whole;
	int r = lru_run(d, client, reader, readers, a->split_blocks, &split);

	if (r == 0)
		r = lru_run(d, client, reader, readers, capacity, &whole);
	if (r)
		return r;
	a->held_blocks += whole.most;
	a->moved_blocks += split.missed;
	if (client != AGAINST_ALL)
		a->prefill_blocks += split.missed;
	return 0;
}

int against_private(const struct deck *d, uint32_t readers, uint64_t capacity,
		    struct against *ret_against)
{
	struct against a = { .caches = d->clients + readers };
	int r = 0;

	a.split_blocks = capacity / a.caches;
	for (uint32_t i = 0; r == 0 && i < d->clients; i++)
		r = against_one(d, i, AGAINST_ALL, 0, capacity, &a);
	for (uint32_t i = 0; r == 0 && i < readers; i++)
		r = against_one(d, AGAINST_ALL, i, readers, capacity, &a);
	if (r == 0)
		*ret_against = a;
	return r;
}

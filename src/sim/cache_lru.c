/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies of the node, driven as a node drives them: a frame for each block of
 * the cache, an item of the order for each frame.
 */
#include "sim/cache.h"
#include "base/fault.h"
#include "policy/policy.h"
#include <errno.h>
#include <stdlib.h>

struct frames {
	const struct policy_ops *ops;
	struct policy *policy;
	uint32_t *item;	 /* of a block */
	uint32_t *block; /* of an item */
	uint32_t *free;	 /* items without a block */
	uint32_t n_free;
	uint64_t stamp;
};

static void frames_free(struct frames *f)
{
	if (!f)
		return;
	f->ops->destroy(f->policy);
	free(f->item);
	free(f->block);
	free(f->free);
	free(f);
}

static void lru_destroy(struct sim_cache *c)
{
	frames_free(c->state);
}

static int lru_create(struct sim_cache *c)
{
	uint32_t n = MIN(c->o->dram, c->t->distinct + 1);
	struct frames *f = mem_alloc(sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->ops = &policy_lru;
	f->item = mem_array(c->t->distinct + 1ull, sizeof(*f->item));
	f->block = mem_array(n, sizeof(*f->block));
	f->free = mem_array(n, sizeof(*f->free));
	if (!f->item || !f->block || !f->free || f->ops->create(&f->policy) ||
	    f->ops->reserve(f->policy, n, 1)) {
		frames_free(f);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++)
		f->free[i] = n - 1 - i;
	f->n_free = n;
	c->state = f;
	return 0;
}

/* The first in the order that is not in use leaves. */
static void make_room(struct sim_cache *c, struct frames *f)
{
	uint32_t item = f->ops->victim(f->policy, 0, POLICY_NONE);

	while (item != POLICY_NONE && sim_cache_uses(c, f->block[item]))
		item = f->ops->victim(f->policy, 0, item);
	if (item == POLICY_NONE)
		return;
	f->ops->remove(f->policy, item);
	sim_cache_evict(c, f->block[item]);
	f->free[f->n_free++] = item;
}

static void lru_request(struct sim_cache *c)
{
	struct frames *f = c->state;

	for (uint32_t i = c->n; i-- > 0;) {
		uint32_t b = c->blocks[i];

		if (c->resident[b]) {
			f->ops->touch(f->policy, f->item[b], ++f->stamp);
			continue;
		}
		if (sim_cache_full(c))
			make_room(c, f);
		if (sim_cache_full(c))
			continue;
		f->item[b] = f->free[--f->n_free];
		f->block[f->item[b]] = b;
		f->ops->insert(f->policy, 0, f->item[b], ++f->stamp);
		sim_cache_admit(c, b);
	}
}

const struct sim_policy sim_policy_lru = {
	.name = "lru",
	.create = lru_create,
	.destroy = lru_destroy,
	.request = lru_request,
};

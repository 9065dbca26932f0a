/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's tiers as one ladder. A block that leaves a tier goes one down,
 * unless a lower tier has it already; from the last one it is lost. What is
 * loaded up stays below as well. Below device memory a policy that knows sessions
 * may say that a block is worth less than what would make room for it: then it
 * passes by.
 */
#include "base/rng.h"
#include "sim/fleet_internal.h"

int fleet_tiers_init(struct fleet *f, uint32_t engine)
{
	const struct policy_ops *ops = &policy_lru;
	int r = 0;

	for (uint32_t t = 0; t < ROUTE_TIERS && !r; t++) {
		r = fleet_cache_init(
			&f->engine[engine].cache[t],
			(uint32_t)MIN(f->o->blocks[t], UINT32_MAX / 2), ops);
		if (f->o->eviction)
			ops = f->o->eviction;
	}
	return r;
}

/* ---- what a policy that knows sessions is told ------------------------------ */

static uint64_t key_of(uint32_t node)
{
	struct rng rng = { node };

	return rng_next(&rng);
}

/* The chain that ends with that block; no item is named. */
static uint32_t chain_of(struct fleet *f, uint32_t leaf)
{
	uint32_t n = 0, node;

	for (node = leaf; node != FLEET_ROOT; node = f->work->parent[node])
		n++;
	node = leaf;
	for (uint32_t i = n; i-- > 0; node = f->work->parent[node]) {
		f->chain_key[i] = key_of(node);
		f->chain_item[i] = POLICY_NONE;
	}
	return n;
}

void fleet_tiers_use(struct fleet *f, const struct fleet_request *r)
{
	uint64_t bit = 1ull << r->engine;
	struct policy_use u = {
		.now_ms = (uint64_t)MIN(1000 * f->now, 1e15),
		.output = r->out,
		.partial = r->in < (uint64_t)r->blocks * f->o->block_tokens,
		.n = r->blocks,
		.key = f->chain_key,
		.item = f->chain_item,
	};

	if (!f->o->eviction || !f->o->eviction->use || !r->blocks)
		return;
	chain_of(f, r->path[r->blocks - 1]);
	for (uint32_t i = 0; i < r->blocks; i++)
		f->node[r->path[i]].leaf = r->path[r->blocks - 1];
	for (uint32_t t = ROUTE_DRAM; t < ROUTE_TIERS; t++) {
		struct fleet_cache *c = &f->engine[r->engine].cache[t];

		for (uint32_t i = 0; i < r->blocks && c->capacity; i++)
			f->chain_item[i] =
				f->node[r->path[i]].at[t] & bit
					? fleet_cache_find(c, r->path[i])
					: POLICY_NONE;
		if (c->slots)
			c->ops->use(c->policy, 0, &u, ++c->stamp);
		c->leaf = FLEET_ROOT;
	}
}

/* Where a block belongs that comes down long after its prompt. */
static struct policy_place place_of(struct fleet *f, uint32_t engine,
				    uint32_t tier, uint32_t node)
{
	struct fleet_cache *c = &f->engine[engine].cache[tier];
	uint32_t leaf = f->node[node].leaf, parent = f->work->parent[node];
	struct policy_place place = { .ticket = POLICY_NONE,
				      .parent = POLICY_NONE,
				      .last = node == leaf };

	if (leaf != FLEET_ROOT && leaf != c->leaf && c->slots) {
		struct policy_use u = { .n = chain_of(f, leaf),
					.key = f->chain_key,
					.item = f->chain_item };

		c->ticket = c->ops->find(c->policy, 0, &u);
		c->leaf = leaf;
	}
	if (leaf != FLEET_ROOT && leaf == c->leaf)
		place.ticket = c->ticket;
	if (f->node[parent].at[tier] >> engine & 1)
		place.parent = fleet_cache_find(c, parent);
	return place;
}

static void leave(struct fleet *f, uint32_t engine, uint32_t tier,
		  uint32_t slot);

/* Who boasts says the same of itself. */
static void tell_stored(struct fleet *f, uint32_t engine, uint32_t tier,
			uint32_t node)
{
	fleet_view_tell(f, engine, FLEET_STORED, tier, node);
	for (uint32_t i = 0; i < f->o->boasters && i < f->o->engines; i++)
		if (i != engine)
			fleet_view_tell(f, i, FLEET_STORED, tier, node);
}

static void store(struct fleet *f, uint32_t engine, uint32_t tier,
		  uint32_t node, const struct policy_place *place,
		  bool computing)
{
	struct fleet_cache *c = &f->engine[engine].cache[tier];
	int r = fleet_cache_add(c, node, place);

	fleet_fail(f, r);
	if (r)
		return;
	f->node[node].at[tier] |= 1ull << engine;
	if (computing)
		f->node[node].computing |= 1ull << engine;
	else
		tell_stored(f, engine, tier, node);
}

static void take_in(struct fleet *f, uint32_t engine, uint32_t tier,
		    uint32_t node)
{
	struct fleet_cache *c = &f->engine[engine].cache[tier];
	struct policy_place place, *at = NULL;

	if (c->ops->use) {
		place = place_of(f, engine, tier, node);
		at = &place;
	}
	c->full |= c->n >= c->capacity;
	if (at && c->n >= c->capacity &&
	    !c->ops->wants(c->policy, place.ticket, place.last,
			   fleet_cache_victim(c))) {
		return;
	}
	while (c->n >= c->capacity && !f->failed)
		leave(f, engine, tier, fleet_cache_victim(c));
	store(f, engine, tier, node, at, false);
	f->result.demoted_bytes += f->o->block_bytes;
}

/* Down to the first tier below that has room by its capacity. */
static void demote(struct fleet *f, uint32_t engine, uint32_t tier,
		   uint32_t node)
{
	for (uint32_t t = tier + 1; t < ROUTE_TIERS; t++) {
		struct fleet_cache *c = &f->engine[engine].cache[t];

		if (f->node[node].at[t] >> engine & 1) {
			fleet_cache_touch(c, fleet_cache_find(c, node));
			return;
		}
	}
	for (uint32_t t = tier + 1; t < ROUTE_TIERS; t++) {
		struct fleet_cache *c = &f->engine[engine].cache[t];

		if (!c->capacity)
			continue;
		take_in(f, engine, t, node);
		return;
	}
}

static void leave(struct fleet *f, uint32_t engine, uint32_t tier,
		  uint32_t slot)
{
	struct fleet_cache *c = &f->engine[engine].cache[tier];
	uint32_t node = c->node[slot];

	fleet_cache_remove(c, slot);
	f->node[node].at[tier] &= ~(1ull << engine);
	demote(f, engine, tier, node);
	fleet_view_tell(f, engine, FLEET_REMOVED, tier, node);
}

bool fleet_tiers_room(struct fleet *f, uint32_t engine, uint64_t blocks)
{
	struct fleet_engine *e = &f->engine[engine];
	struct fleet_cache *c = &e->cache[ROUTE_VRAM];

	c->full |= c->n + e->reserved + blocks > c->capacity;
	if (c->pinned + e->reserved + blocks > c->capacity)
		return false;
	while (c->n + e->reserved + blocks > c->capacity && !f->failed)
		leave(f, engine, ROUTE_VRAM, fleet_cache_victim(c));
	return true;
}

void fleet_tiers_put(struct fleet *f, uint32_t engine, uint32_t node,
		     bool computing)
{
	struct fleet_engine *e = &f->engine[engine];
	struct fleet_cache *c = &e->cache[ROUTE_VRAM];

	if (f->node[node].at[ROUTE_VRAM] >> engine & 1) {
		fleet_cache_touch(c, fleet_cache_find(c, node));
		return;
	}
	c->full |= c->n + e->reserved >= c->capacity;
	while (c->n + e->reserved >= c->capacity && c->n > c->pinned &&
	       !f->failed)
		leave(f, engine, ROUTE_VRAM, fleet_cache_victim(c));
	store(f, engine, ROUTE_VRAM, node, NULL, computing);
}

void fleet_tiers_computed(struct fleet *f, uint32_t engine, uint32_t node)
{
	uint64_t bit = 1ull << engine;

	if (!(f->node[node].computing & bit))
		return;
	f->node[node].computing &= ~bit;
	tell_stored(f, engine, ROUTE_VRAM, node);
}

void fleet_tiers_pin(struct fleet *f, uint32_t engine, uint32_t node)
{
	struct fleet_cache *c = &f->engine[engine].cache[ROUTE_VRAM];

	if (!f->failed)
		fleet_cache_pin(c, fleet_cache_find(c, node));
}

void fleet_tiers_unpin(struct fleet *f, uint32_t engine, uint32_t node)
{
	struct fleet_cache *c = &f->engine[engine].cache[ROUTE_VRAM];

	if (!f->failed)
		fleet_cache_unpin(c, fleet_cache_find(c, node));
}

void fleet_tiers_touch(struct fleet *f, uint32_t engine, uint32_t node)
{
	struct fleet_cache *c = &f->engine[engine].cache[ROUTE_VRAM];

	if (f->node[node].at[ROUTE_VRAM] >> engine & 1)
		fleet_cache_touch(c, fleet_cache_find(c, node));
}

uint32_t fleet_tiers_run(const struct fleet *f, uint32_t engine,
			 const uint32_t *path, uint32_t from, uint32_t to,
			 enum route_tier t)
{
	uint32_t i = from;

	for (; i < to; i++) {
		const struct fleet_node *n = &f->node[path[i]];
		uint64_t at = n->at[ROUTE_VRAM];

		for (uint32_t k = 1; k <= t; k++)
			at |= n->at[k];
		if (!(at >> engine & 1))
			break;
	}
	return i - from;
}

uint32_t fleet_tiers_gives(const struct fleet *f, uint32_t engine,
			   const uint32_t *path, uint32_t from, uint32_t to)
{
	uint32_t i = from;

	for (; i < to; i++) {
		const struct fleet_node *n = &f->node[path[i]];
		uint64_t at = n->at[ROUTE_VRAM] & ~n->computing;

		for (uint32_t t = ROUTE_DRAM; t < ROUTE_TIERS; t++)
			at |= n->at[t];
		if (!(at >> engine & 1))
			break;
	}
	return i - from;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's tiers as one ladder. A block that leaves a tier goes one down,
 * unless a lower tier has it already; from the last one it is lost. What is
 * loaded up stays below as well.
 */
#include "sim/fleet_internal.h"

int fleet_tiers_init(struct fleet *f, uint32_t engine)
{
	int r = 0;

	for (uint32_t t = 0; t < ROUTE_TIERS && !r; t++)
		r = fleet_cache_init(&f->engine[engine].cache[t],
				     (uint32_t)MIN(f->o->blocks[t],
						   UINT32_MAX / 2));
	return r;
}

static void leave(struct fleet *f, uint32_t engine, uint32_t tier,
		  uint32_t slot);

static void store(struct fleet *f, uint32_t engine, uint32_t tier,
		  uint32_t node, bool computing)
{
	struct fleet_cache *c = &f->engine[engine].cache[tier];
	int r = fleet_cache_add(c, node);

	fleet_fail(f, r);
	if (r)
		return;
	f->node[node].at[tier] |= 1ull << engine;
	if (computing)
		f->node[node].computing |= 1ull << engine;
	else
		fleet_view_tell(f, engine, FLEET_STORED, tier, node);
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
		while (c->n >= c->capacity && !f->failed)
			leave(f, engine, t, fleet_cache_victim(c));
		store(f, engine, t, node, false);
		f->result.demoted_bytes += f->o->block_bytes;
		return;
	}
	f->view.evicted++;
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
	while (c->n + e->reserved >= c->capacity && c->n > c->pinned &&
	       !f->failed)
		leave(f, engine, ROUTE_VRAM, fleet_cache_victim(c));
	store(f, engine, ROUTE_VRAM, node, computing);
}

void fleet_tiers_computed(struct fleet *f, uint32_t engine, uint32_t node)
{
	uint64_t bit = 1ull << engine;

	if (!(f->node[node].computing & bit))
		return;
	f->node[node].computing &= ~bit;
	fleet_view_tell(f, engine, FLEET_STORED, ROUTE_VRAM, node);
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

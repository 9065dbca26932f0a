/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"
#include "sim/fleet_internal.h"
#include <errno.h>
#include <stdlib.h>

static uint64_t hash(uint32_t node)
{
	return (node * 0x9e3779b97f4a7c15ull) >> 20;
}

static uint64_t place_of(const struct fleet_cache *c, uint32_t node)
{
	uint64_t i = hash(node) & c->mask;

	while (c->place[i] && c->node[c->place[i] - 1] != node)
		i = (i + 1) & c->mask;
	return i;
}

uint32_t fleet_cache_find(const struct fleet_cache *c, uint32_t node)
{
	return c->slots ? c->place[place_of(c, node)] - 1 : FLEET_NONE;
}

static int more_slots(struct fleet_cache *c)
{
	uint32_t slots = c->slots ? 2 * c->slots : 256;
	uint64_t places = round_up_pow2(2ull * slots);
	uint32_t *place;

	if (mem_grow_at(&c->node, slots, sizeof(*c->node)) ||
	    mem_grow_at(&c->pins, slots, sizeof(*c->pins)) ||
	    mem_grow_at(&c->spare, slots, sizeof(*c->spare)) ||
	    c->ops->reserve(c->policy, slots, 1))
		return -ENOMEM;
	place = mem_array(places, sizeof(*place));
	if (!place)
		return -ENOMEM;
	/* only called when all slots are in use */
	free(c->place);
	c->place = place;
	c->mask = places - 1;
	for (uint32_t i = 0; i < c->slots; i++)
		place[place_of(c, c->node[i])] = i + 1;
	for (uint32_t i = slots; i > c->slots; i--)
		c->spare[c->spares++] = i - 1;
	c->slots = slots;
	return 0;
}

int fleet_cache_init(struct fleet_cache *c, uint32_t capacity,
		     const struct policy_ops *ops)
{
	*c = (struct fleet_cache){ .ops = ops, .capacity = capacity };
	return c->ops->create(&c->policy);
}

void fleet_cache_fini(struct fleet_cache *c)
{
	if (c->policy)
		c->ops->destroy(c->policy);
	free(c->node);
	free(c->pins);
	free(c->spare);
	free(c->place);
}

int fleet_cache_add(struct fleet_cache *c, uint32_t node,
		    const struct policy_place *place)
{
	uint32_t slot;

	if (!c->spares && more_slots(c))
		return -ENOMEM;
	slot = c->spare[--c->spares];
	c->place[place_of(c, node)] = slot + 1;
	c->node[slot] = node;
	c->pins[slot] = 0;
	c->n++;
	c->peak = MAX(c->peak, c->n);
	if (place)
		c->ops->insert_in(c->policy, 0, slot, ++c->stamp, place);
	else
		c->ops->insert(c->policy, 0, slot, ++c->stamp);
	return 0;
}

void fleet_cache_touch(struct fleet_cache *c, uint32_t slot)
{
	c->ops->touch(c->policy, slot, ++c->stamp);
}

/* Closes the gap: what was pushed past it by a collision moves back. */
static void close_gap(struct fleet_cache *c, uint64_t gap)
{
	for (uint64_t i = (gap + 1) & c->mask; c->place[i];
	     i = (i + 1) & c->mask) {
		uint64_t home = hash(c->node[c->place[i] - 1]) & c->mask;

		if (((i - home) & c->mask) < ((i - gap) & c->mask))
			continue;
		c->place[gap] = c->place[i];
		gap = i;
	}
	c->place[gap] = 0;
}

void fleet_cache_remove(struct fleet_cache *c, uint32_t slot)
{
	close_gap(c, place_of(c, c->node[slot]));
	c->ops->remove(c->policy, slot);
	c->spare[c->spares++] = slot;
	c->n--;
}

uint32_t fleet_cache_victim(struct fleet_cache *c)
{
	uint32_t slot = POLICY_NONE;

	do {
		slot = c->ops->victim(c->policy, 0, slot);
	} while (slot != POLICY_NONE && c->pins[slot]);
	return slot == POLICY_NONE ? FLEET_NONE : slot;
}

void fleet_cache_pin(struct fleet_cache *c, uint32_t slot)
{
	c->pinned += c->pins[slot]++ == 0;
}

void fleet_cache_unpin(struct fleet_cache *c, uint32_t slot)
{
	c->pinned -= --c->pins[slot] == 0;
}

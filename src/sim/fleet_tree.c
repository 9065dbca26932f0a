/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/fleet_tree.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

static uint64_t mix(uint64_t id, uint32_t parent)
{
	uint64_t z = id * 0x9e3779b97f4a7c15ull + parent;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t place_of(const struct fleet_tree *t, uint32_t parent,
			 uint64_t id)
{
	uint64_t i = mix(id, parent) & t->mask;

	for (;; i = (i + 1) & t->mask) {
		uint32_t node = t->at[i];

		if (!node ||
		    (t->id[node] == id && t->work->parent[node] == parent))
			return i;
	}
}

static int tree_rehash(struct fleet_tree *t, uint64_t places)
{
	uint32_t *at = mem_array(places, sizeof(*at));

	if (!at)
		return -ENOMEM;
	free(t->at);
	t->at = at;
	t->mask = places - 1;
	for (uint32_t n = 1; n < t->work->nodes; n++)
		at[place_of(t, t->work->parent[n], t->id[n])] = n;
	return 0;
}

static int grow_nodes(struct fleet_tree *t)
{
	struct fleet_work *w = t->work;
	uint64_t n = w->nodes_room ? 2ull * w->nodes_room : 4096;
	uint32_t *parent;
	uint64_t *id;

	if (n > 1ull << 31)
		return -ENOMEM;
	parent = mem_grow(w->parent, n, sizeof(*parent));
	if (!parent)
		return -ENOMEM;
	w->parent = parent;
	id = mem_grow(t->id, n, sizeof(*id));
	if (!id)
		return -ENOMEM;
	t->id = id;
	if (tree_rehash(t, 2 * n))
		return -ENOMEM;
	w->nodes_room = (uint32_t)n;
	return 0;
}

int fleet_tree_child(struct fleet_tree *t, uint32_t parent, uint64_t id,
		     uint32_t *ret_node)
{
	struct fleet_work *w = t->work;
	uint64_t i = place_of(t, parent, id);

	if (t->at[i]) {
		*ret_node = t->at[i];
		return 0;
	}
	if (w->nodes == w->nodes_room) {
		if (grow_nodes(t))
			return -ENOMEM;
		i = place_of(t, parent, id);
	}
	w->parent[w->nodes] = parent;
	t->id[w->nodes] = id;
	t->at[i] = w->nodes;
	*ret_node = w->nodes++;
	return 0;
}

int fleet_tree_init(struct fleet_tree *t, struct fleet_work *w)
{
	*t = (struct fleet_tree){ .work = w };
	*w = (struct fleet_work){ 0 };
	if (grow_nodes(t))
		return -ENOMEM;
	w->parent[0] = FLEET_ROOT;
	t->id[0] = 0;
	w->nodes = 1;
	return 0;
}

void fleet_tree_fini(struct fleet_tree *t)
{
	free(t->id);
	free(t->at);
}

int fleet_tree_add(struct fleet_tree *t, const struct fleet_arrival *a)
{
	struct fleet_work *w = t->work;

	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 1024;
		void *p = mem_grow(w->arrival, room, sizeof(*w->arrival));

		if (!p)
			return -ENOMEM;
		w->arrival = p;
		w->room = room;
	}
	w->arrival[w->n] = *a;
	w->arrival[w->n].serial = w->n;
	w->n++;
	w->blocks += a->blocks;
	w->longest = MAX(w->longest, a->blocks);
	return 0;
}

static int by_time(const void *x, const void *y)
{
	const struct fleet_arrival *a = x, *b = y;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->serial < b->serial ? -1 : a->serial > b->serial;
}

void fleet_tree_sort(struct fleet_tree *t)
{
	struct fleet_work *w = t->work;
	double latest = 0;

	for (size_t i = 0; i < w->n; i++) {
		w->reordered += i && w->arrival[i].at < latest;
		latest = MAX(latest, w->arrival[i].at);
	}
	if (w->reordered)
		qsort(w->arrival, w->n, sizeof(*w->arrival), by_time);
}

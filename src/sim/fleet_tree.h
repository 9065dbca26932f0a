/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of blocks while it grows: finds a block by its parent and id. */
#ifndef ONECOPY_SIM_FLEET_TREE_H
#define ONECOPY_SIM_FLEET_TREE_H

#include "sim/fleet.h"

/* Open addressing over (parent, id); 0 is an empty place (the root is nobody's
 * child). */
struct fleet_tree {
	struct fleet_work *work;
	uint64_t *id; /* of each node */
	uint32_t *at; /* node */
	uint64_t mask;
};

/* An empty work, with the root. -ENOMEM: both want fini all the same. */
int fleet_tree_init(struct fleet_tree *t, struct fleet_work *w);
void fleet_tree_fini(struct fleet_tree *t); /* the work stays */
/* The child of that id, made where there is none. -ENOMEM. */
int fleet_tree_child(struct fleet_tree *t, uint32_t parent, uint64_t id,
		     uint32_t *ret_node);
int fleet_tree_add(struct fleet_tree *t, const struct fleet_arrival *a);
/* By time; equal times keep their order. */
void fleet_tree_sort(struct fleet_tree *t);

#endif

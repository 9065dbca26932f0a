/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of a trace as paths in a tree of blocks. A block is known by its id
 * and its parent, so a trace that repeats an id in two places has two blocks. */
#include "base/fault.h"
#include "sim/fleet_tree.h"
#include <errno.h>
#include <stdlib.h>

static int add_request(struct fleet_tree *t, const struct trace_request *r)
{
	struct fleet_arrival a = {
		.at = (double)r->timestamp_ms / 1000,
		.leaf = FLEET_ROOT,
		.blocks = (uint32_t)r->n_ids,
		.in = r->input_length,
		.out = r->output_length,
	};

	for (size_t i = 0; i < r->n_ids; i++)
		if (fleet_tree_child(t, a.leaf, r->ids[i], &a.leaf))
			return -ENOMEM;
	return fleet_tree_add(t, &a);
}

int fleet_work_load(struct trace_source *source, uint64_t limit,
		    struct fleet_work *ret_work)
{
	const struct trace_request *r;
	struct fleet_work w;
	struct fleet_tree t;
	int e = fleet_tree_init(&t, &w);

	for (uint64_t n = 0; !e && (!limit || n < limit); n++) {
		e = trace_next(source, &r);
		if (!e)
			e = add_request(&t, r);
	}
	if (e == TRACE_END)
		e = 0;
	if (!e)
		fleet_tree_sort(&t);
	fleet_tree_fini(&t);
	if (e) {
		fleet_work_fini(&w);
		return e;
	}
	*ret_work = w;
	return 0;
}

void fleet_work_fini(struct fleet_work *work)
{
	if (!work)
		return;
	free(work->arrival);
	free(work->parent);
	*work = (struct fleet_work){ 0 };
}

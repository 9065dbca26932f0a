/* SPDX-License-Identifier: Apache-2.0 */
/* Generated work, which is made for fleets, as a trace of one cache. */
#include "base/fault.h"
#include "sim/cache_trace.h"
#include "sim/fleet.h"
#include <errno.h>
#include <stdlib.h>

int sim_trace_make(struct sim_trace *t, const struct fleet_work *w)
{
	uint64_t *ids = mem_array(MAX(w->longest, 1), sizeof(*ids));
	int r = ids ? 0 : -ENOMEM;

	for (size_t i = 0; !r && i < w->n; i++) {
		const struct fleet_arrival *a = &w->arrival[i];
		struct trace_request q = {
			.timestamp_ms = (uint64_t)MAX(0, 1000 * a->at),
			.input_length = a->in,
			.output_length = a->out,
			.session = TRACE_NO_SESSION,
			.ids = ids,
			.n_ids = a->blocks,
		};
		uint32_t node = a->leaf;

		for (uint32_t k = a->blocks; k > 0; k--) {
			ids[k - 1] = node;
			node = w->parent[node];
		}
		r = sim_trace_add(t, &q);
	}
	free(ids);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim with engines, inside: a sweep while it is read, played, told. */
#ifndef ONECOPY_PROG_SIM_SWEEP_H
#define ONECOPY_PROG_SIM_SWEEP_H

#include "sim.h"
#include "sim_fleet.h"

struct sim_list {
	double v[SIM_LIST];
	const char *text[SIM_LIST]; /* as asked for; NULL: the default */
	uint32_t n;
	char *copy; /* that `text` points into */
};

struct sweep {
	const struct sim_command *s;
	const struct sim_fleet *f;
	struct fleet_options base;
	struct fleet_shape_options shape; /* of generated work */
	struct sim_list engines, load, gbit, blocks[ROUTE_TIERS];
	const struct route_policy *policy[32];
	uint32_t policies;
	uint64_t explain;
	bool explains, terminal;
	uint32_t shown; /* of the progress, 1 + 1/1000; 0: nothing */
	struct sim_points points;
	struct sim_page page;
	size_t total;
};

/* These return an exit status. */
int sim_sweep_options(struct sweep *w);
int sim_sweep_shape(struct sweep *w, enum fleet_shape shape);
void sim_sweep_fini(struct sweep *w);

#endif

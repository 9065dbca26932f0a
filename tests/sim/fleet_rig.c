/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/fleet_rig.h"
#include "tests/test.h"

struct fleet_work fleet_made(enum fleet_shape shape, uint32_t agents,
			     uint64_t requests, bool warm)
{
	struct fleet_shape_options o;
	struct fleet_work w;

	fleet_shape_defaults(shape, &o);
	o.agents = agents;
	o.requests = requests;
	o.warm = warm;
	CHECK_OK(fleet_work_make(&o, &w));
	return w;
}

struct fleet_result fleet_result_of(const struct fleet_options *o,
				    const struct fleet_work *w)
{
	struct fleet_result r;
	char error[TRACE_ERROR];

	CHECK_OK(fleet_run(o, w, &r, error));
	CHECK_INT(r.requests + r.cancelled + r.refused, >=, w->n);
	return r;
}

struct fleet_options fleet_options_of(const char *policy, uint32_t engines)
{
	struct fleet_options o;

	fleet_defaults(&o);
	o.policy = route_find(policy);
	o.engines = engines;
	return o;
}

bool fleet_same(const struct fleet_result *a, const struct fleet_result *b)
{
	return !memcmp(a, b, sizeof(*a));
}

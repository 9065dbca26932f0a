/* SPDX-License-Identifier: Apache-2.0 */
/* Work, options and runs of a simulated fleet, as tests want them. */
#ifndef ONECOPY_TESTS_SIM_FLEET_RIG_H
#define ONECOPY_TESTS_SIM_FLEET_RIG_H

#include "sim/fleet.h"

/* Generated; fleet_work_fini() it. */
struct fleet_work fleet_made(enum fleet_shape shape, uint32_t agents,
			     uint64_t requests, bool warm);
/* The defaults, with that policy and so many engines. */
struct fleet_options fleet_options_of(const char *policy, uint32_t engines);
/* Runs it; the test fails where it does, or where requests are lost. */
struct fleet_result fleet_result_of(const struct fleet_options *o,
				    const struct fleet_work *w);
bool fleet_same(const struct fleet_result *a, const struct fleet_result *b);

#endif

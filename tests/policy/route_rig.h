/* SPDX-License-Identifier: Apache-2.0 */
/* Engines to choose from: what tests of routing have in common. */
#ifndef ONECOPY_TESTS_POLICY_ROUTE_RIG_H
#define ONECOPY_TESTS_POLICY_ROUTE_RIG_H

#include "policy/route_price.h"
#include "tests/test.h"

static inline void idle(struct route_engine *e, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		e[i] = (struct route_engine){
			.token_s = 1 / 40000.0,
			.depth = 40000,
			.step_s = 0.006,
			.running_s = 0.00035,
			.chunk = 8192,
			.load_s = { 0, 0.001, 0.002, 0.006 },
			.link = 12.5e9,
			.latency_s = 0.0001,
			.trust = 1,
		};
}

static inline void holds(struct route_engine *e, uint32_t blocks)
{
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		e->run[t] = blocks;
	e->coming = blocks;
}

static inline struct route_choice decide(const char *policy,
					 struct route_engine *e, uint32_t n,
					 const struct route_request *r)
{
	struct route_fleet f = { .engine = e, .n = n };
	struct route_choice c;

	route_find(policy)->decide(&f, r, &c, NULL);
	CHECK_INT(c.engine, <, n);
	return c;
}

#endif

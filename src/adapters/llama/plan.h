/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions of the adapter, as pure functions of measured costs.
 */
#ifndef ONECOPY_ADAPTERS_LLAMA_PLAN_H
#define ONECOPY_ADAPTERS_LLAMA_PLAN_H

#include "base/compiler.h"

/* Costs of a token, smoothed; 0: not measured yet. */
struct plan {
	double import_ns, compute_ns;
	uint32_t skipped; /* imports in a row that were not worth it */
};

void plan_imported(struct plan *p, size_t tokens, uint64_t ns);
void plan_computed(struct plan *p, size_t tokens, uint64_t ns);
/* Is taking them over cheaper than computing them? Yes while nothing is
 * known, and now and then in any case, or the measure would never change. */
bool plan_worth(struct plan *p);

/*
 * What a token of a prompt costs to compute, by how many lie before it: a line
 * through what was seen, the older the less it counts.
 *
 *	ns = base + growth * depth
 */
struct prefill {
	double n, x, y, xx, xy; /* sums, of the depth and of ns a token */
};

/* `tokens` computed in one go behind `depth` others. */
void prefill_add(struct prefill *p, size_t depth, size_t tokens, uint64_t ns);
/* False: nothing was seen yet. Neither is negative, *ret_base is above 0. */
bool prefill_fit(const struct prefill *p, double *ret_base, double *ret_growth);

/* How much time exports may take: a share of all time, saved up where none is
 * used (a long prompt pays for its own export), up to a tenth of a second. */
struct pace {
	uint32_t percent;
	int64_t credit_ns;
	uint64_t last_ns; /* 0: not begun */
};

/* At the begin of a call: may it do something? */
bool pace_allows(struct pace *p, uint64_t now_ns);
/* At its end. */
void pace_spent(struct pace *p, uint64_t begin_ns, uint64_t end_ns);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* <onecopy/tiers.h>: bringing blocks up, and whether to. */
#include <onecopy/tiers.h>
#include <math.h>
#include <stdlib.h>
#include "client/matching.h"
#include "policy/plan.h"

/* ---- oc_fetch ------------------------------------------------------------- */

/* What using the first `reach` blocks needs and is not resident. */
static size_t jobs_of(const struct matching *m, size_t reach,
		      struct reach_job *jobs)
{
	size_t n = 0;

	for (size_t i = 0; i < reach; i++) {
		struct reach_job job = { .block = i };

		for (unsigned g = 0; g < m->ns->spec.groups; g++)
			if (match_needs(&m->ns->rule[g], reach, i) &&
			    reach_peek(m->reach, g, i)->bytes)
				job.groups |= 1u << g;
		if (job.groups)
			jobs[n++] = job;
	}
	return n;
}

static int fetch(struct matching *m, size_t reach, unsigned flags)
{
	struct reach_job *jobs =
		mem_array(MAX(reach, (size_t)1), sizeof(*jobs));
	size_t n;
	int r = 0;

	if (!jobs)
		return client_fail(m->ns->c, -ENOMEM, "no memory for a fetch");
	n = jobs_of(m, reach, jobs);
	if (flags & OC_FETCH_AHEAD)
		r = reach_ahead(m->reach, jobs, n);
	else
		reach_fetch(m->reach, jobs, n, NULL, NULL);
	free(jobs);
	return r;
}

/* Brings up what is below; what is resident then is asked by the caller. */
static int fetch_below(struct matching *m, unsigned flags, uint64_t deadline)
{
	struct reach r;
	size_t reach;
	int e = matching_below(m, &r, deadline, &reach);

	if (e == 0)
		e = fetch(m, reach, flags);
	if (m->reach)
		reach_fini(&r);
	m->reach = NULL;
	return e;
}

static int fetch_options(const oc_client *c,
			 const struct oc_fetch_options *from,
			 struct oc_fetch_options *o)
{
	if (from && options_copy(o, sizeof(*o), from))
		return client_fail(c, -EINVAL, "options without their size");
	if (o->flags & ~(unsigned)OC_FETCH_AHEAD)
		return client_fail(c, -EINVAL, "unknown flags of a fetch: %#x",
				   o->flags);
	return 0;
}

int oc_fetch(oc_ns *ns, const struct oc_key *keys, size_t n,
	     const struct oc_fetch_options *options, uint64_t timeout_ns,
	     size_t *ret_resident)
{
	oc_client *c = ns->c;
	struct oc_fetch_options o = OC_FETCH_INIT;
	struct matching m;
	size_t usable;
	int r;

	if (client_is_child(c))
		return client_child(c);
	r = fetch_options(c, options, &o);
	if (r == 0)
		r = matching_init(&m, ns, keys, n, o.rank);
	if (r)
		return r;
	if (client_behind(c))
		region_follow(c);
	usable = matching_run(&m);
	if (usable < n && reach_exists(c)) {
		r = fetch_below(&m, o.flags, client_deadline(c, timeout_ns));
		usable = matching_run(&m);
	}
	if (r == 0 && ret_resident)
		*ret_resident = usable;
	return r;
}

/* ---- one part -------------------------------------------------------------- */

int oc_pin_fetch(oc_ns *ns, const struct oc_key *key, struct oc_part part,
		 unsigned flags, uint64_t timeout_ns, struct oc_pin *ret_pin)
{
	oc_client *c = ns->c;
	int r = oc_pin(ns, key, part, flags, ret_pin);

	if (r != OC_MISS || !reach_exists(c))
		return r;
	r = reach_pin(ns, key, part, flags, client_deadline(c, timeout_ns),
		      ret_pin);
	if (r == 0) {
		client_add(c, CLIENT_PINS, 1);
		client_add(c, CLIENT_READ_BYTES, ret_pin->bytes);
	}
	return r;
}

/* ---- oc_plan --------------------------------------------------------------- */

static int plan_costs_of(const struct oc_plan_options *options,
			 struct plan_costs *ret_costs)
{
	struct oc_plan_options o = { .size = sizeof(o) };

	if (options_copy(&o, sizeof(o), options))
		return -EINVAL;
	if (!isfinite(o.tokens_per_s) || o.tokens_per_s <= 0 ||
	    !isfinite(o.depth_ns) || o.depth_ns < 0)
		return -EINVAL;
	*ret_costs = (struct plan_costs){
		.token_fs = plan_cost(1e9 / o.tokens_per_s),
		.depth_fs = plan_cost(o.depth_ns),
		.first = o.held,
		.rest = o.rest,
		.block_tokens = o.block_tokens,
		.overlap = o.overlap,
	};
	return 0;
}

/* Of all n, the ones behind the first that is nowhere are computed anyhow. */
static size_t known(const struct oc_block_info *info, size_t n)
{
	size_t i = 0;

	while (i < n && info[i].tier != OC_TIER_NONE)
		i++;
	return i;
}

static struct oc_plan_way way_of(const struct plan_way *w)
{
	return (struct oc_plan_way){ w->blocks, w->load_ns, w->compute_ns,
				     w->ns };
}

int oc_plan(const struct oc_plan_options *options,
	    const struct oc_block_info *info, size_t n,
	    struct oc_plan *ret_plan)
{
	size_t there = known(info, n);
	struct plan_answer a;
	struct plan_costs c;
	struct plan_walk w;
	int r = plan_costs_of(options, &c);

	if (r)
		return r;
	if (n > PLAN_TOKENS_MOST / MAX(c.block_tokens, 1u) ||
	    c.rest > PLAN_TOKENS_MOST)
		return -EINVAL;
	c.rest += (uint64_t)(n - there) * c.block_tokens;
	r = plan_begin(&w, &c, there);
	if (r)
		return r;
	for (size_t i = 0; i < there; i++) {
		uint64_t all = info[i].expected_ns;
		uint64_t move = MIN(all, (uint64_t)info[i].stream_ns);

		plan_next(&w, &(struct plan_block){ all - move, move });
	}
	plan_end(&w, &a);
	*ret_plan = (struct oc_plan){ way_of(&a.best), way_of(&a.all),
				      way_of(&a.none) };
	return 0;
}

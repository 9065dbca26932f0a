/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/plan.h"
#include <errno.h>
#include "base/log.h"

typedef unsigned __int128 wide;

uint64_t plan_cost(double ns)
{
	double fs = ns * PLAN_FS_PER_NS;

	if (!(fs > 0))
		return 0;
	return fs < (double)PLAN_COST_MOST ? (uint64_t)(fs + 0.5)
					   : PLAN_COST_MOST;
}

/* Of `tokens` tokens, the first of which has `depth` before it. */
static wide compute(const struct plan_costs *c, uint64_t depth, uint64_t tokens)
{
	wide n = tokens;
	/* depth, depth + 1, ...: n terms */
	wide depths = n ? n * depth + n * (n - 1) / 2 : 0;

	return n * c->token_fs + depths * c->depth_fs;
}

static wide time_of(const struct plan_walk *w)
{
	wide load = (w->wait_ns + w->move_ns) * PLAN_FS_PER_NS;

	return w->costs.overlap ? MAX(load, w->compute_fs)
				: load + w->compute_fs;
}

static uint64_t narrow(wide value)
{
	return value < UINT64_MAX ? (uint64_t)value : UINT64_MAX;
}

static uint64_t ns_of(wide fs)
{
	return narrow((fs + PLAN_FS_PER_NS - 1) / PLAN_FS_PER_NS);
}

static struct plan_way way_of(const struct plan_walk *w)
{
	return (struct plan_way){
		.blocks = w->k,
		.load_ns = narrow(w->wait_ns + w->move_ns),
		.compute_ns = ns_of(w->compute_fs),
		.ns = ns_of(time_of(w)),
	};
}

static bool sound(const struct plan_costs *c, size_t n)
{
	return c->block_tokens && n <= PLAN_BLOCKS_MOST &&
	       n * (wide)c->block_tokens <= PLAN_TOKENS_MOST &&
	       c->first <= PLAN_TOKENS_MOST && c->rest <= PLAN_TOKENS_MOST &&
	       c->token_fs <= PLAN_COST_MOST && c->depth_fs <= PLAN_COST_MOST;
}

int plan_begin(struct plan_walk *w, const struct plan_costs *costs, size_t n)
{
	if (!sound(costs, n))
		return -EINVAL;
	*w = (struct plan_walk){ .costs = *costs, .n = n };
	w->compute_fs =
		compute(costs, costs->first,
			(uint64_t)n * costs->block_tokens + costs->rest);
	w->least_fs = time_of(w);
	w->answer.none = w->answer.best = way_of(w);
	return 0;
}

void plan_next(struct plan_walk *w, const struct plan_block *block)
{
	const struct plan_costs *c = &w->costs;

	w->wait_ns = MAX(w->wait_ns, (wide)block->wait_ns);
	w->move_ns += block->move_ns;
	w->compute_fs -= compute(c, c->first + (uint64_t)w->k * c->block_tokens,
				 c->block_tokens);
	w->k++;
	if (time_of(w) > w->least_fs)
		return;
	w->least_fs = time_of(w);
	w->answer.best = way_of(w);
}

void plan_end(struct plan_walk *w, struct plan_answer *ret_answer)
{
	must(w->k == w->n);
	w->answer.all = way_of(w);
	*ret_answer = w->answer;
}

int plan_find(const struct plan_costs *costs, const struct plan_block *blocks,
	      size_t n, struct plan_answer *ret_answer)
{
	struct plan_walk w;
	int r = plan_begin(&w, costs, n);

	if (r)
		return r;
	for (size_t k = 0; k < n; k++)
		plan_next(&w, &blocks[k]);
	plan_end(&w, ret_answer);
	return 0;
}

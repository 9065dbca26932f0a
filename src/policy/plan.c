/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/plan.h"
#include <errno.h>

typedef unsigned __int128 wide;

/* Where the walk over k stands. */
struct walk {
	const struct plan_costs *costs;
	size_t n;
	wide wait_ns, move_ns; /* of the first k */
	wide compute_fs;       /* of what lies behind them */
};

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

static wide time_of(const struct walk *w)
{
	wide load = (w->wait_ns + w->move_ns) * PLAN_FS_PER_NS;

	return w->costs->overlap ? MAX(load, w->compute_fs)
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

static struct plan_way way_of(const struct walk *w, size_t k)
{
	return (struct plan_way){
		.blocks = k,
		.load_ns = narrow(w->wait_ns + w->move_ns),
		.compute_ns = ns_of(w->compute_fs),
		.ns = ns_of(time_of(w)),
	};
}

static void walk_take(struct walk *w, const struct plan_block *b, size_t k)
{
	const struct plan_costs *c = w->costs;

	w->wait_ns = MAX(w->wait_ns, (wide)b->wait_ns);
	w->move_ns += b->move_ns;
	w->compute_fs -= compute(c, c->first + (uint64_t)k * c->block_tokens,
				 c->block_tokens);
}

static bool sound(const struct plan_costs *c, size_t n)
{
	return c->block_tokens && n <= PLAN_BLOCKS_MOST &&
	       n * (wide)c->block_tokens <= PLAN_TOKENS_MOST &&
	       c->first <= PLAN_TOKENS_MOST && c->rest <= PLAN_TOKENS_MOST &&
	       c->token_fs <= PLAN_COST_MOST && c->depth_fs <= PLAN_COST_MOST;
}

int plan_find(const struct plan_costs *costs, const struct plan_block *blocks,
	      size_t n, struct plan_answer *ret_answer)
{
	struct walk w = { .costs = costs, .n = n };
	struct plan_answer a;
	wide least;

	if (!sound(costs, n))
		return -EINVAL;
	w.compute_fs = compute(costs, costs->first,
			       (uint64_t)n * costs->block_tokens + costs->rest);
	a.none = a.best = way_of(&w, 0);
	least = time_of(&w);
	for (size_t k = 0; k < n; k++) {
		walk_take(&w, &blocks[k], k);
		if (time_of(&w) > least)
			continue;
		least = time_of(&w);
		a.best = way_of(&w, k + 1);
	}
	a.all = way_of(&w, n);
	*ret_answer = a;
	return 0;
}

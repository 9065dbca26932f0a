/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARC: Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache",
 * FAST 2003, figure 4. T1 and T2 hold what was used once and more often, B1 and
 * B2 remember what left them; `target` is p, the wanted size of T1.
 */
#include "sim/cache.h"
#include "sim/cache_order.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

enum { T1, T2, B1, B2 };

struct arc {
	struct order o;
	uint32_t target;
};

static void arc_destroy(struct sim_cache *c)
{
	struct arc *a = c->state;

	order_fini(&a->o);
	free(a);
}

static int arc_create(struct sim_cache *c)
{
	struct arc *a = mem_alloc(sizeof(*a));

	if (!a || order_init(&a->o, c->t->distinct)) {
		free(a);
		return -ENOMEM;
	}
	c->state = a;
	return 0;
}

static void move(struct arc *a, uint32_t block, unsigned to)
{
	if (a->o.in[block] != ORDER_NOWHERE)
		order_drop(&a->o, block);
	order_push(&a->o, to, block);
}

static void replace(struct sim_cache *c, struct arc *a, bool in_b2)
{
	uint32_t t1 = a->o.n[T1];
	unsigned from =
		t1 && (t1 > a->target || (in_b2 && t1 == a->target)) ? T1 : T2;
	uint32_t block = order_first(&a->o, from);

	if (block == ORDER_NONE)
		return;
	sim_cache_evict(c, block);
	move(a, block, from == T1 ? B1 : B2);
}

static void forget(struct arc *a, unsigned queue)
{
	order_drop(&a->o, order_first(&a->o, queue));
}

/* Case IV: it is in none of the four. */
static void arc_new(struct sim_cache *c, struct arc *a)
{
	const uint32_t *n = a->o.n;
	uint32_t cap = c->o->dram, total = n[T1] + n[T2] + n[B1] + n[B2];

	if (n[T1] + n[B1] == cap) {
		if (n[T1] < cap) {
			forget(a, B1);
			replace(c, a, false);
		} else {
			sim_cache_evict(c, order_first(&a->o, T1));
			forget(a, T1);
		}
	} else if (total >= cap) {
		if (total == 2 * cap)
			forget(a, B2);
		replace(c, a, false);
	}
}

static void arc_use(struct sim_cache *c, uint32_t block)
{
	struct arc *a = c->state;
	const uint32_t *n = a->o.n;
	unsigned in = a->o.in[block];
	uint32_t by;

	switch (in) {
	case T1:
	case T2:
		move(a, block, T2);
		return;
	case B1:
		by = MAX(n[B2] / n[B1], 1u);
		a->target = MIN(c->o->dram, a->target + by);
		break;
	case B2:
		by = MAX(n[B1] / n[B2], 1u);
		a->target -= MIN(a->target, by);
		break;
	default:
		arc_new(c, a);
		move(a, block, T1);
		sim_cache_admit(c, block);
		return;
	}
	replace(c, a, in == B2);
	move(a, block, T2);
	sim_cache_admit(c, block);
}

static void arc_request(struct sim_cache *c)
{
	for (uint32_t i = c->n; i-- > 0;)
		arc_use(c, c->blocks[i]);
}

const struct sim_policy sim_policy_arc = {
	.name = "arc",
	.create = arc_create,
	.destroy = arc_destroy,
	.request = arc_request,
};

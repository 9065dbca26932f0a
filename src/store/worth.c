/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the eviction policy is told beside single uses: the time, and, of
 * sessions, their chain when they pause or end, with the return that was
 * announced. A policy that knows no sessions is told nothing.
 *
 * A chain is told by its blocks' first parts, as far as they lie in one arena,
 * that of its first resident block; the other parts of a block leave with it. It
 * is a hint: where there is no memory for it, nothing is said.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "pool/session.h"
#include "store/internal.h"
#include <stdlib.h>

#define KEYS_MOST 65536u /* of a session that are looked at */

struct chain {
	uint64_t (*keys)[4];
	uint64_t *key;
	uint32_t *item;
	uint32_t n, arena;
	bool any; /* is resident */
};

void worth_tick(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *p = s->pool[n];

		if (p && p->policy_ops->tick)
			p->policy_ops->tick(p->policy, s->now_ns / NS_PER_MS);
	}
}

static void chain_fini(struct chain *c)
{
	free(c->keys);
	free(c->key);
	free(c->item);
}

static bool chain_init(struct chain *c, uint32_t n)
{
	*c = (struct chain){
		.keys = mem_array(n, sizeof(*c->keys)),
		.key = mem_array(n, sizeof(*c->key)),
		.item = mem_array(n, sizeof(*c->item)),
		.n = n,
	};
	return c->keys && c->key && c->item;
}

static void chain_find(struct chain *c, const struct pool *p, uint64_t part)
{
	for (uint32_t i = 0; i < c->n; i++) {
		uint32_t frame;
		const struct pool_slab *s =
			pool_find(p, c->keys[i], part, &frame);

		c->key[i] = c->keys[i][0];
		c->item[i] = s ? s->base + frame : POLICY_NONE;
		if (s && !c->any)
			c->arena = s->arena;
		c->any = c->any || s;
	}
}

void worth_of_session(struct store_client *client,
		      const struct session_record *r, uint64_t back_ms)
{
	struct pool *p = client->pool;
	uint32_t ns = (uint32_t)shared_load64(&r->ns);
	uint32_t n = MIN(pool_session_keys(p, r), KEYS_MOST);
	struct chain c;

	if (!p->policy_ops->use || !n)
		return;
	if (chain_init(&c, n)) {
		history_read(&p->sessions->history, shared_load64(&r->head), 0,
			     n, c.keys);
		chain_find(&c, p, frame_part(ns, 0, 0));
	}
	if (c.any) {
		struct policy_use use = {
			.now_ms = client->store->now_ns / NS_PER_MS,
			.session = pool_session_id(p, r),
			.kind = ns,
			.back_ms = back_ms,
			.n = n,
			.key = c.key,
			.item = c.item,
		};

		p->policy_ops->use(p->policy, c.arena, &use, p->touch_clock);
	}
	chain_fini(&c);
}

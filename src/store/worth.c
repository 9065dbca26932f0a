/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the eviction policy is told beside single uses: the time, and, of
 * sessions, when they come back, and their chain when they pause or end, with
 * the return that was announced, why the answer ended and its size. And what it
 * has seen of them. A policy that knows no sessions is told nothing.
 *
 * Each arena has an order of its own, so a chain is told to each in which some of
 * it lies, and to those which remember the session: by its blocks' first parts,
 * and, of arenas where none of those lies, by the others. Where parts share an
 * arena the first ones speak for all, since the parts of a block leave together.
 * It is a hint: where there is no memory for it, nothing is said.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "pool/session.h"
#include "store/price.h"
#include "store/session.h"
#include <stdlib.h>

#define KEYS_MOST 65536u /* of a session that are looked at, for all parts */

enum arena_told {
	ARENA_NOT,
	ARENA_HAS, /* some of it; not told yet */
	ARENA_TOLD,
};

struct chain {
	uint64_t (*keys)[4];
	uint64_t *key;
	uint32_t *item;
	uint8_t *arena; /* enum arena_told */
	uint32_t n;
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
	free(c->arena);
}

static bool chain_init(struct chain *c, uint32_t n, uint32_t arenas)
{
	*c = (struct chain){
		.keys = mem_array(n, sizeof(*c->keys)),
		.key = mem_array(n, sizeof(*c->key)),
		.item = mem_array(n, sizeof(*c->item)),
		.arena = mem_array(MAX(arenas, 1u), sizeof(*c->arena)),
		.n = n,
	};
	if (c->keys && c->key && c->item && c->arena)
		return true;
	chain_fini(c);
	return false;
}

static void chain_find(struct chain *c, const struct pool *p, uint64_t part)
{
	for (uint32_t i = 0; i < c->n; i++) {
		uint32_t frame;
		const struct pool_slab *s =
			pool_find(p, c->keys[i], part, &frame);

		c->key[i] = c->keys[i][0];
		c->item[i] = s ? s->base + frame : POLICY_NONE;
		if (s && c->arena[s->arena] == ARENA_NOT)
			c->arena[s->arena] = ARENA_HAS;
	}
}

/* False: there is no memory for it, or no policy that wants it. */
static bool chain_of(struct chain *c, const struct pool *p,
		     const struct session_record *r)
{
	uint32_t ns = (uint32_t)shared_load64(&r->ns);
	uint32_t n = MIN(pool_session_keys(p, r), KEYS_MOST);

	*c = (struct chain){ 0 };
	if (!p->policy_ops->use || !n || !chain_init(c, n, p->n_arenas))
		return false;
	history_read(&p->sessions->history, shared_load64(&r->head), 0, n,
		     c->keys);
	chain_find(c, p, frame_part(ns, 0, 0));
	return true;
}

static struct policy_use use_of(const struct store *s, const struct pool *p,
				const struct session_record *r,
				const struct chain *c)
{
	return (struct policy_use){
		.now_ms = s->now_ns / NS_PER_MS,
		.session = pool_session_id(p, r),
		.kind = (uint32_t)shared_load64(&r->ns),
		.saves = price_saves(s, p, (uint32_t)shared_load64(&r->ns),
				     c->n),
		.n = c->n,
		.key = c->key,
		.item = c->item,
	};
}

void worth_of_return(const struct store_client *client,
		     const struct session_record *r)
{
	struct pool *p = client->pool;
	struct policy_use use;
	struct chain c;

	if (p->policy_ops->begin && chain_of(&c, p, r)) {
		use = use_of(client->store, p, r, &c);
		p->policy_ops->begin(p->policy, &use);
		chain_fini(&c);
	}
}

/* Parts of a block, in the namespace with the most. */
static uint32_t parts_most(const struct pool *p)
{
	uint32_t most = 1;

	for (uint32_t i = 0; i < LAYOUT_NS_MAX; i++) {
		struct ns_parts parts = ns_record_parts(&p->m->ns[i]);

		most = MAX(most, parts.n);
	}
	return most;
}

/* Frames that it has or may have yet. */
static uint64_t frames_most(const struct store *s, const struct pool *p)
{
	uint64_t bytes = pool_counter(p, POOL_C_slab_bytes);
	uint64_t more = MIN(quota_left(p), quota_room(s, p));
	double frames = (double)pool_counter(p, POOL_C_frames);

	return bytes ? (uint64_t)(frames * ((double)bytes + (double)more) /
				  (double)bytes)
		     : 0;
}

bool store_pool_load(const struct store *s, const struct pool *p,
		     struct policy_load *ret_load)
{
	struct policy_load load;
	uint64_t fit;

	if (!p->policy_ops->load)
		return false;
	p->policy_ops->load(p->policy, &load);
	/* frames are of parts, and sessions are told by their blocks; what the
	 * policy has room for is more than there is memory */
	fit = frames_most(s, p) / parts_most(p) * load.recent_returns;
	fit /= MAX(load.recent_returned, 1);
	load.fit = (uint32_t)MIN(fit, (uint64_t)UINT32_MAX);
	*ret_load = load;
	return true;
}

/* To those that have some of it, and, if `known`, have the session in mind. */
static void tell(struct pool *p, struct chain *c, struct policy_use *use,
		 bool known)
{
	for (uint32_t a = 0; a < p->n_arenas; a++) {
		uint32_t ticket;

		if (c->arena[a] == ARENA_TOLD ||
		    (c->arena[a] == ARENA_NOT &&
		     (!known ||
		      p->policy_ops->find(p->policy, a, use) == POLICY_NONE)))
			continue;
		c->arena[a] = ARENA_TOLD;
		ticket = p->policy_ops->use(p->policy, a, use, p->touch_clock);
		if (use->again || ticket == POLICY_NONE)
			continue;
		use->again = true;
		use->like = ticket;
	}
}

void worth_of_session(struct store_client *client,
		      const struct session_record *r,
		      const struct session_turn *turn)
{
	struct pool *p = client->pool;
	struct ns_parts parts = ns_parts_of(p, (uint32_t)shared_load64(&r->ns));
	struct policy_use use;
	struct chain c;

	if (!chain_of(&c, p, r))
		return;
	use = use_of(client->store, p, r, &c);
	use.why = turn->ended;
	use.output = turn->answer_tokens;
	use.back_ms = turn->back_ms;
	use.told = turn->told;
	tell(p, &c, &use, false);
	for (uint32_t i = 1; i < parts.n && (i + 1) * c.n <= KEYS_MOST; i++) {
		chain_find(&c, p, ns_parts_at(&parts, i));
		tell(p, &c, &use, false);
	}
	/* also where not all parts were looked at: none waits for the end of a
	 * turn that is over */
	tell(p, &c, &use, true);
	chain_fini(&c);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's own policies, driven as a node drives them: a frame for each block
 * that fits, an item of the order for each frame.
 *
 * A policy that knows sessions is told of the request first. Then the blocks
 * that are missing come from the head of the chain on, until the next victim is
 * worth more than they are: the others pass by. One that does not know sessions
 * sees single blocks, from the last to the first.
 *
 * With hints each request says when the session returns: the true time, wrong by
 * up to half of it either way (or as the options say), or that it never does. A trace
 * that has hints of its own, of the sessions that come next, is taken at its word
 * instead.
 */
#include "sim/cache_node.h"
#include "base/fault.h"
#include "base/rng.h"
#include <errno.h>
#include <stdlib.h>

void frames_free(struct frames *f)
{
	if (!f)
		return;
	f->ops->destroy(f->policy);
	free(f->item);
	free(f->block);
	free(f->free);
	free(f->chain_item);
	free(f->chain_key);
	free(f->next);
	free(f->root);
	free(f);
}

static void node_destroy(struct sim_cache *c)
{
	const struct frames *f = c->state;
	struct policy_load load;

	if (f->ops->load) {
		f->ops->load(f->policy, &load);
		c->result.returned = load.returned;
		c->result.lost = load.lost;
		c->result.fit = load.fit;
	}
	frames_free(c->state);
}

static uint32_t longest(const struct sim_trace *t)
{
	uint32_t n = 0;

	for (uint64_t i = 0; i < t->requests; i++)
		n = MAX(n, t->request[i].n);
	return n;
}

static bool is_partial(const struct sim_cache *c, const struct sim_request *q)
{
	return q->input < (uint64_t)q->n * c->o->block_tokens;
}

struct frames *frames_create(const struct sim_cache *c, uint32_t n,
			     const struct policy_ops *ops)
{
	uint32_t most = longest(c->t) + 1;
	struct frames *f = mem_alloc(sizeof(*f));

	if (!f)
		return NULL;
	n = MIN(n, c->t->distinct + 1);
	f->ops = ops;
	f->item = mem_array(c->t->distinct + 1ull, sizeof(*f->item));
	f->block = mem_array(n, sizeof(*f->block));
	f->free = mem_array(n, sizeof(*f->free));
	f->chain_item = mem_array(most, sizeof(*f->chain_item));
	f->chain_key = mem_array(most, sizeof(*f->chain_key));
	if (!f->item || !f->block || !f->free || !f->chain_item ||
	    !f->chain_key || ops->create(&f->policy) ||
	    ops->reserve(f->policy, n, 1)) {
		frames_free(f);
		return NULL;
	}
	for (uint32_t i = 0; i < n; i++)
		f->free[i] = n - 1 - i;
	f->n_free = n;
	return f;
}

static int node_create(struct sim_cache *c, const struct policy_ops *ops)
{
	c->state = frames_create(c, c->o->dram, ops);
	return c->state ? 0 : -ENOMEM;
}

static int lru_create(struct sim_cache *c)
{
	return node_create(c, &policy_lru);
}

static int onecopy_create(struct sim_cache *c)
{
	return node_create(c, &policy_onecopy);
}

static void find_roots(const struct sim_trace *t, struct frames *f)
{
	for (uint64_t i = 0; i < t->requests; i++)
		f->root[i] = i;
	for (uint64_t i = 0; i < t->requests; i++)
		if (f->next[i])
			f->root[f->next[i] - 1] = f->root[i];
}

/* Backwards: who goes on from the last whole block of each request? */
int frames_foresee(const struct sim_cache *c, struct frames *f)
{
	const struct sim_trace *t = c->t;
	uint64_t *next, *user;

	f->told = t->nexts;
	if (f->told)
		return 0;
	f->next = next = mem_array(t->requests + 1, sizeof(*next));
	f->root = mem_array(t->requests + 1, sizeof(*f->root));
	user = mem_array(t->distinct + 1ull, sizeof(*user));
	if (!next || !f->root || !user) {
		free(user);
		return -ENOMEM;
	}
	for (uint64_t i = t->requests; i-- > 0;) {
		const struct sim_request *q = &t->request[i];
		const uint32_t *b = t->block + q->first;
		uint32_t whole = q->n - (q->n > 1 && is_partial(c, q));

		next[i] = whole ? user[b[whole - 1]] : 0;
		for (uint32_t k = 0; k < q->n; k++)
			user[b[k]] = i + 1;
	}
	free(user);
	find_roots(t, f);
	return 0;
}

static int hints_create(struct sim_cache *c)
{
	int r = node_create(c, &policy_onecopy);

	if (!r)
		r = frames_foresee(c, c->state);
	if (r)
		frames_free(c->state);
	return r;
}

/* The first in the order that is not in use, or POLICY_NONE. */
uint32_t frames_victim(const struct sim_cache *c, const struct frames *f)
{
	uint32_t item = f->ops->victim(f->policy, 0, POLICY_NONE);

	while (item != POLICY_NONE && sim_cache_uses(c, f->block[item]))
		item = f->ops->victim(f->policy, 0, item);
	return item;
}

void frames_give(struct frames *f, uint32_t item)
{
	f->ops->remove(f->policy, item);
	f->free[f->n_free++] = item;
}

static void evict(struct sim_cache *c, struct frames *f, uint32_t item)
{
	sim_cache_evict(c, f->block[item]);
	frames_give(f, item);
}

uint32_t frames_take(struct frames *f, uint32_t block)
{
	uint32_t item = f->free[--f->n_free];

	f->item[block] = item;
	f->block[item] = block;
	return item;
}

static void lru_request(struct sim_cache *c)
{
	struct frames *f = c->state;

	for (uint32_t i = c->n; i-- > 0;) {
		uint32_t b = c->blocks[i], victim;

		if (c->resident[b]) {
			f->ops->touch(f->policy, f->item[b], ++f->stamp);
			continue;
		}
		if (sim_cache_full(c)) {
			victim = frames_victim(c, f);
			if (victim == POLICY_NONE)
				continue;
			evict(c, f, victim);
		}
		f->ops->insert(f->policy, 0, frames_take(f, b), ++f->stamp);
		sim_cache_admit(c, b);
	}
}

/* Does the request's session say when it returns? */
static bool says(const struct sim_cache *c, const struct frames *f,
		 uint64_t number)
{
	struct rng rng = { c->o->seed * 0x20003 + f->root[number] };

	return rng_below(&rng, 1000) >= c->o->hint_missing_pm;
}

/* The true gap, times 0.5 to 1.5 or whatever was asked for. */
static uint64_t hint(const struct sim_cache *c, const struct frames *f,
		     const struct sim_request *q)
{
	uint64_t number = (uint64_t)(q - c->t->request);
	struct rng rng = { c->o->seed * 0x10001 + number };
	uint64_t next, gap, least, most, error = c->o->hint_error_pm;

	if (!f->next || !says(c, f, number))
		return 0;
	next = f->next[number];
	if (!next)
		return POLICY_CLOSED;
	gap = c->t->request[next - 1].at_ms - q->at_ms;
	least = gap * (1000 - MIN(error, 1000ull)) / 1000;
	most = gap * (1000 + error) / 1000;
	return 1 + least + rng_below(&rng, most - least + 1);
}

struct policy_use frames_describe(const struct sim_cache *c, struct frames *f,
				  const struct sim_request *q,
				  const uint8_t *resident)
{
	const uint32_t *blocks = c->t->block + q->first;
	bool named = q->session != TRACE_NO_SESSION;

	for (uint32_t i = 0; i < q->n; i++) {
		uint32_t b = blocks[i];
		struct rng rng = { b };

		f->chain_item[i] = resident[b] ? f->item[b] : POLICY_NONE;
		f->chain_key[i] = rng_next(&rng);
	}
	return (struct policy_use){
		.now_ms = q->at_ms,
		.session = named ? q->session + 1 : 0,
		.kind = q->kind,
		.why = q->stop,
		.output = q->output,
		.back_ms = hint(c, f, q),
		.partial = is_partial(c, q),
		.n = q->n,
		.key = f->chain_key,
		.item = f->chain_item,
	};
}

void frames_expect(const struct sim_cache *c, struct frames *f)
{
	for (uint32_t i = 0; f->told && i < c->q->n_next; i++) {
		const struct sim_next *next = &c->t->next[c->q->first_next + i];
		const struct policy_use u = {
			.now_ms = c->q->at_ms,
			.session = next->session + 1,
			.kind = next->kind,
			.back_ms = MAX(next->in_ms, 1ull), /* 0: takes back */
		};

		f->ops->expect(f->policy, &u);
	}
}

/* Room for a block of that use, if it is worth it. */
static bool make_room(struct sim_cache *c, struct frames *f, uint32_t ticket,
		      bool last)
{
	uint32_t victim;

	if (!sim_cache_full(c))
		return true;
	victim = frames_victim(c, f);
	if (victim == POLICY_NONE ||
	    !f->ops->wants(f->policy, ticket, last, victim))
		return false;
	evict(c, f, victim);
	return true;
}

static void onecopy_request(struct sim_cache *c)
{
	struct frames *f = c->state;
	struct policy_use use = frames_describe(c, f, c->q, c->resident);
	struct policy_place place = { .parent = POLICY_NONE };

	place.ticket = f->ops->use(f->policy, 0, &use, ++f->stamp);
	frames_expect(c, f);
	for (uint32_t i = 0; i < c->n; i++) {
		uint32_t b = c->blocks[i];

		place.last = i == c->q->n - 1;
		if (!c->resident[b]) {
			if (!make_room(c, f, place.ticket, place.last))
				return;
			f->ops->insert_in(f->policy, 0, frames_take(f, b),
					  ++f->stamp, &place);
			sim_cache_admit(c, b);
		}
		place.parent = f->item[b];
	}
}

const struct sim_policy sim_policy_lru = {
	.name = "lru",
	.create = lru_create,
	.destroy = node_destroy,
	.request = lru_request,
};

const struct sim_policy sim_policy_onecopy = {
	.name = "onecopy",
	.create = onecopy_create,
	.destroy = node_destroy,
	.request = onecopy_request,
};

const struct sim_policy sim_policy_hints = {
	.name = "onecopy-hints",
	.create = hints_create,
	.destroy = node_destroy,
	.request = onecopy_request,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two rungs under a trace, each with an order of its own; the lower one's blocks
 * stay there while they are above as well. Where a block goes is what
 * policy/ladder.h says, with the chances that the rungs' orders know.
 *
 * lru writes down all that leaves the upper rung and is not below already, and
 * copies up all that is read below.
 */
#include "base/fault.h"
#include "policy/ladder.h"
#include "policy/log2.h"
#include "sim/cache_node.h"
#include <errno.h>
#include <stdlib.h>

struct tiers {
	struct frames *f[2];
	struct ladder_rung rung[2];
	uint64_t *again_ns; /* of a block: mean of its chain, at the last use */
	uint64_t *user;	    /* of a block: the request that used it last */
	uint64_t stamp;
};

static void tiers_destroy(struct sim_cache *c)
{
	struct tiers *t = c->state;

	frames_free(t->f[0]);
	frames_free(t->f[1]);
	free(t->again_ns);
	free(t->user);
	free(t);
}

static int tiers_create(struct sim_cache *c, const struct policy_ops *ops)
{
	struct tiers *t = mem_alloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	c->state = t;
	memcpy(t->rung, c->o->rung, sizeof(t->rung));
	t->f[0] = frames_create(c, c->o->dram, ops);
	t->f[1] = frames_create(c, c->o->nvme, ops);
	t->again_ns = mem_array(c->t->distinct + 1ull, sizeof(*t->again_ns));
	t->user = mem_array(c->t->distinct + 1ull, sizeof(*t->user));
	if (t->f[0] && t->f[1] && t->again_ns && t->user)
		return 0;
	tiers_destroy(c);
	return -ENOMEM;
}

static int lru_create(struct sim_cache *c)
{
	return tiers_create(c, &policy_lru);
}

static int onecopy_create(struct sim_cache *c)
{
	return tiers_create(c, &policy_onecopy);
}

static int hints_create(struct sim_cache *c)
{
	int r = tiers_create(c, &policy_onecopy);
	struct tiers *t = c->state;

	if (r)
		return r;
	r = frames_foresee(c, t->f[0]);
	if (!r)
		r = frames_foresee(c, t->f[1]);
	if (r)
		tiers_destroy(c);
	return r;
}

static struct ladder_block block_of(const struct sim_cache *c,
				    const struct tiers *t, uint32_t b,
				    uint64_t rate)
{
	return (struct ladder_block){
		.bytes = c->o->block_bytes,
		.again_ns = t->again_ns[b],
		.rate = rate,
		.on = c->below[b] ? 2 : 0,
	};
}

/* Room below; false: all that is there is in use. */
static bool room_below(struct sim_cache *c, struct tiers *t)
{
	struct frames *f = t->f[1];
	uint32_t victim;

	if (f->n_free)
		return true;
	victim = frames_victim(c, f);
	if (victim == POLICY_NONE)
		return false;
	sim_cache_forget(c, f->block[victim]);
	frames_give(f, victim);
	return true;
}

/* ---- lru ------------------------------------------------------------------ */

static void lru_down(struct sim_cache *c, struct tiers *t, uint32_t victim)
{
	struct frames *f = t->f[1];
	uint32_t b = t->f[0]->block[victim];

	sim_cache_evict(c, b);
	frames_give(t->f[0], victim);
	if (c->below[b] || !room_below(c, t))
		return;
	f->ops->insert(f->policy, 0, frames_take(f, b), ++t->stamp);
	sim_cache_write(c, b);
}

static void lru_request(struct sim_cache *c)
{
	struct tiers *t = c->state;
	struct frames *f = t->f[0];

	for (uint32_t i = c->n; i-- > 0;) {
		uint32_t b = c->blocks[i], victim;

		if (c->below[b])
			t->f[1]->ops->touch(t->f[1]->policy, t->f[1]->item[b],
					    ++t->stamp);
		if (c->resident[b]) {
			f->ops->touch(f->policy, f->item[b], ++t->stamp);
			continue;
		}
		if (!f->n_free) {
			victim = frames_victim(c, f);
			if (victim == POLICY_NONE)
				continue;
			lru_down(c, t, victim);
		}
		f->ops->insert(f->policy, 0, frames_take(f, b), ++t->stamp);
		sim_cache_admit(c, b);
		c->result.promoted += c->below[b];
	}
}

/* ---- onecopy -------------------------------------------------------------- */

/* What room costs on a rung: the worth there of who would leave. */
static void price(const struct sim_cache *c, struct tiers *t, uint32_t k)
{
	struct frames *f = t->f[k];
	struct ladder_rung *r = &t->rung[k];
	struct ladder_block b;
	uint32_t victim;

	r->closed = false;
	r->pressure = 0;
	if (f->n_free)
		return;
	victim = frames_victim(c, f);
	r->closed = victim == POLICY_NONE;
	if (r->closed)
		return;
	b = block_of(c, t, f->block[victim], f->ops->rate(f->policy, victim));
	r->pressure = ladder_worth_on(t->rung, 2, k, &b);
}

static bool is_last(const struct sim_cache *c, const struct tiers *t,
		    uint32_t b)
{
	const struct sim_request *q = &c->t->request[t->user[b]];

	return c->t->block[q->first + q->n - 1] == b;
}

static void write_below(struct sim_cache *c, struct tiers *t, uint32_t b,
			uint32_t ticket)
{
	const struct sim_request *q = &c->t->request[t->user[b]];
	const uint32_t *chain = c->t->block + q->first;
	struct policy_place place = { ticket, POLICY_NONE, is_last(c, t, b) };
	struct frames *f = t->f[1];
	uint32_t i = 0;

	if (!room_below(c, t))
		return;
	while (chain[i] != b)
		i++;
	if (i && c->below[chain[i - 1]])
		place.parent = f->item[chain[i - 1]];
	f->ops->insert_in(f->policy, 0, frames_take(f, b), ++t->stamp, &place);
	sim_cache_write(c, b);
}

/* A block has to leave the upper rung. */
static void go_down(struct sim_cache *c, struct tiers *t, uint32_t victim)
{
	uint32_t b = t->f[0]->block[victim], ticket;
	struct frames *f = t->f[1];
	struct policy_use u =
		frames_describe(c, f, &c->t->request[t->user[b]], c->below);
	struct ladder_block block;
	struct ladder_answer a;

	sim_cache_evict(c, b);
	frames_give(t->f[0], victim);
	ticket = f->ops->find(f->policy, 0, &u);
	price(c, t, 1);
	t->rung[0].pressure = UINT64_MAX;
	block = block_of(c, t, b,
			 f->ops->rate_of(f->policy, ticket, is_last(c, t, b)));
	a = ladder_leave(t->rung, 2, 0, &block);
	if (a.what == LADDER_DEMOTE)
		write_below(c, t, b, ticket);
	else
		c->result.dropped++;
}

static void put_above(struct sim_cache *c, struct tiers *t, uint32_t b,
		      const struct policy_place *place)
{
	struct frames *f = t->f[0];

	if (!f->n_free)
		go_down(c, t, frames_victim(c, f));
	f->ops->insert_in(f->policy, 0, frames_take(f, b), ++t->stamp, place);
	sim_cache_admit(c, b);
}

/* log2 of what having the chain on a rung saves for each block, against what
 * computing a first block takes. */
static int32_t saves(const struct sim_cache *c, const struct tiers *t,
		     uint32_t k)
{
	double first = sim_prefill_s(&c->o->prefill, 0, c->o->block_tokens);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < c->q->n; i++) {
		struct ladder_block b = block_of(c, t, c->blocks[i], 0);
		uint64_t below = ladder_below_ns(t->rung, 2, k, &b);
		uint64_t load = ladder_load_ns(&t->rung[k], b.bytes);

		sum += below > load ? below - load : 0;
	}
	return log2_of(sum / c->q->n + 1) - log2_of((uint64_t)(first * 1e9));
}

static uint32_t use(struct sim_cache *c, struct tiers *t, uint32_t k)
{
	struct frames *f = t->f[k];
	struct policy_use u =
		frames_describe(c, f, c->q, k ? c->below : c->resident);

	u.saves = saves(c, t, k);
	return f->ops->use(f->policy, 0, &u, ++t->stamp);
}

static void onecopy_request(struct sim_cache *c)
{
	struct tiers *t = c->state;
	struct policy_place place = { .parent = POLICY_NONE };
	uint32_t ticket[2];
	uint64_t again, rate;

	if (!c->q->n)
		return;
	again = (uint64_t)(sim_prefill_s(&c->o->prefill, 0, c->q->input) * 1e9 /
			   c->q->n);
	for (uint32_t i = 0; i < c->q->n; i++) {
		t->again_ns[c->blocks[i]] = again;
		t->user[c->blocks[i]] = c->number;
	}
	place.ticket = ticket[0] = use(c, t, 0);
	ticket[1] = use(c, t, 1);
	frames_expect(c, t->f[0]);
	frames_expect(c, t->f[1]);
	for (uint32_t i = 0; i < c->n; i++) {
		uint32_t b = c->blocks[i];
		struct ladder_block block;
		struct ladder_answer a;

		place.last = i == c->q->n - 1;
		rate = t->f[0]->ops->rate_of(t->f[0]->policy, ticket[0],
					     place.last);
		block = block_of(c, t, b, rate);
		if (!c->resident[b]) {
			price(c, t, 0);
			price(c, t, 1);
			a = c->below[b] ? ladder_promote(t->rung, 2, 1, &block)
					: ladder_admit(t->rung, 2, &block);
			c->result.promoted += a.what == LADDER_PROMOTE;
			c->result.dropped += a.what == LADDER_DROP;
			if (a.what == LADDER_DROP)
				return;
			if (a.what == LADDER_ADMIT && a.rung == 1)
				write_below(c, t, b, ticket[1]);
			else if (a.what != LADDER_KEEP)
				put_above(c, t, b, &place);
		}
		if (c->resident[b])
			place.parent = t->f[0]->item[b];
	}
}

const struct sim_policy sim_policy_lru_two = {
	.name = "lru",
	.create = lru_create,
	.destroy = tiers_destroy,
	.request = lru_request,
};

const struct sim_policy sim_policy_onecopy_two = {
	.name = "onecopy",
	.create = onecopy_create,
	.destroy = tiers_destroy,
	.request = onecopy_request,
};

const struct sim_policy sim_policy_hints_two = {
	.name = "onecopy-hints",
	.create = hints_create,
	.destroy = tiers_destroy,
	.request = onecopy_request,
};

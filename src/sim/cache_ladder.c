/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two rungs under a trace, each with an order of its own; the lower one's blocks
 * stay there while they are above as well. Where a block goes is what
 * policy/ladder.h says, with the chances that the rungs' orders know.
 *
 * With hints a session that is expected back is copied up before that, when the
 * ladder says so (ladder_prefetch(), as the node asks it), block by block from the
 * head of its chain, one after the other on the drive.
 *
 * lru writes down all that leaves the upper rung and is not below already, and
 * copies up all that is read below.
 */
#include "base/fault.h"
#include "policy/ladder.h"
#include "policy/log2.h"
#include "sim/cache_ahead.h"
#include "sim/cache_node.h"
#include <errno.h>
#include <stdlib.h>

/* Loading begins so much earlier than it would have to, in 1/1000 of it: as on a
 * node (store/move_ahead.c). */
#define EARLY_PM  500u
#define NS_PER_MS 1000000ull

struct tiers {
	struct frames *f[2];
	struct ladder_rung rung[2];
	uint64_t *again_ns; /* of a block: mean of its chain, at the last use */
	uint64_t *user;	    /* of a block: the request that used it last */
	uint64_t stamp;
	struct ahead ahead; /* returns that are expected */
};

static void tiers_destroy(struct sim_cache *c)
{
	struct tiers *t = c->state;

	frames_free(t->f[0]);
	frames_free(t->f[1]);
	ahead_fini(&t->ahead);
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
	if (!ahead_init(&t->ahead, c->t->requests) && t->f[0] && t->f[1] &&
	    t->again_ns && t->user)
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

/* ---- ahead of a return ---------------------------------------------------- */

/* Once for each request; asked about when loading all of it would have to begin. */
static void expect_back(const struct sim_cache *c, struct tiers *t,
			uint64_t back_ms)
{
	struct ladder_return ret = { .in_ms = back_ms,
				     .bytes = c->q->n * c->o->block_bytes,
				     .early_pm = EARLY_PM };
	struct ladder_block b = { .bytes = c->o->block_bytes, .on = 2 };
	struct ahead_entry e = { .wake_ms = c->q->at_ms,
				 .back_ms = c->q->at_ms + back_ms,
				 .request = c->number };
	struct ladder_answer a;

	if (!back_ms || back_ms == POLICY_CLOSED || c->o->no_prefetch)
		return;
	a = ladder_prefetch(t->rung, 2, 1, &b, &ret);
	if (a.what == LADDER_WAIT)
		e.wake_ms += a.wait_ms;
	ahead_add(&t->ahead, &e);
}

/* Of a chain: how many of its first blocks are there, on either rung. */
static uint32_t found_of(const struct sim_cache *c, const struct sim_request *q,
			 uint32_t *ret_below)
{
	const uint32_t *b = c->t->block + q->first;
	uint32_t i = 0;

	*ret_below = 0;
	for (; i < q->n && (c->resident[b[i]] || c->below[b[i]]); i++)
		*ret_below += !c->resident[b[i]];
	return i;
}

/* One block, if it is worth that by now; it is there at `there_ns`. */
static bool bring_up(struct sim_cache *c, struct tiers *t, uint32_t b,
		     const struct policy_place *place,
		     const struct ladder_return *ret, uint64_t there_ns)
{
	struct frames *f = t->f[0];
	struct ladder_block block = block_of(
		c, t, b,
		f->ops->rate_of(f->policy, place->ticket, place->last));

	price(c, t, 0);
	if (ladder_prefetch(t->rung, 2, 1, &block, ret).what != LADDER_PROMOTE)
		return false;
	put_above(c, t, b, place);
	c->ahead_ns[b] = there_ns + 1;
	c->result.promoted++;
	c->result.prefetched++;
	return true;
}

static void bring_chain(struct sim_cache *c, struct tiers *t,
			const struct ahead_entry *e, uint32_t n,
			const struct ladder_return *ret)
{
	const struct sim_request *q = &c->t->request[e->request];
	const uint32_t *b = c->t->block + q->first;
	struct frames *f = t->f[0];
	struct policy_use u = frames_describe(c, f, q, c->resident);
	struct policy_place place = { .ticket = f->ops->find(f->policy, 0, &u),
				      .parent = POLICY_NONE };
	uint64_t there_ns = e->wake_ms * NS_PER_MS;

	for (uint32_t i = 0; i < n; i++) {
		place.last = i == q->n - 1;
		if (!c->resident[b[i]]) {
			there_ns +=
				ladder_load_ns(&t->rung[1], c->o->block_bytes);
			if (!bring_up(c, t, b[i], &place, ret, there_ns))
				return;
		}
		place.parent = f->item[b[i]];
	}
}

/* A return is near: wait on, load, or leave it. Its own blocks do not make room
 * for each other. */
static void look_ahead(struct sim_cache *c, struct tiers *t,
		       struct ahead_entry *e)
{
	const struct sim_request *q = &c->t->request[e->request];
	const uint32_t *b = c->t->block + q->first;
	uint64_t in_ms = e->back_ms - MIN(e->back_ms, e->wake_ms);
	struct ladder_return ret = { .in_ms = in_ms, .early_pm = EARLY_PM };
	uint32_t below, n = found_of(c, q, &below);
	struct ladder_block any;
	struct ladder_answer a;

	/* nothing to do, or it is back already: it goes on from the last of its
	 * blocks that are there (the first may be those of many) */
	if (!below || t->user[b[n - 1]] != e->request)
		return;
	ret.bytes = below * c->o->block_bytes;
	any = block_of(c, t, b[0], 0);
	any.on = 2;
	a = ladder_prefetch(t->rung, 2, 1, &any, &ret);
	if (a.what == LADDER_WAIT) {
		e->wake_ms += a.wait_ms;
		ahead_add(&t->ahead, e);
		return;
	}
	for (uint32_t i = 0; i < q->n; i++)
		c->in_use[b[i]] = c->number + 1;
	bring_chain(c, t, e, n, &ret);
	for (uint32_t i = 0; i < q->n; i++)
		c->in_use[b[i]] = 0;
}

static void onecopy_pass(struct sim_cache *c)
{
	struct tiers *t = c->state;
	struct ahead_entry e;

	while (ahead_take(&t->ahead, c->q->at_ms, &e)) {
		for (uint32_t k = 0; k < 2; k++)
			t->f[k]->ops->tick(t->f[k]->policy, e.wake_ms);
		look_ahead(c, t, &e);
	}
}

/* ---- requests --------------------------------------------------------------- */

static uint32_t use(struct sim_cache *c, struct tiers *t, uint32_t k)
{
	struct frames *f = t->f[k];
	struct policy_use u =
		frames_describe(c, f, c->q, k ? c->below : c->resident);

	u.saves = saves(c, t, k);
	if (!k)
		expect_back(c, t, u.back_ms);
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
	.pass = onecopy_pass,
};

const struct sim_policy sim_policy_hints_two = {
	.name = "onecopy-hints",
	.create = hints_create,
	.destroy = tiers_destroy,
	.request = onecopy_request,
	.pass = onecopy_pass,
};

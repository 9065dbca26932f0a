/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a request comes into an engine.
 *
 *   MOVING: its blocks come from another engine, into the node's memory; or a
 *     |     sibling here is fetching the same ones
 *   QUEUED: in order of arrival, for device memory: room for the whole prompt
 *     |     and its answer
 *   LOADING: from lower tiers
 *     |
 *   READY: for prefill
 *
 * No request that waits for another engine holds device memory: when it did,
 * engines waited for each other in a ring with their memory full.
 */
#include "sim/fleet_internal.h"
#include <math.h>

/* Chunks of prefill that may hold device memory and wait for their turn: enough
 * to hide loads, no more, since who waits holds what others could use. */
#define AHEAD 2.0

static void make_ready(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	fleet_request_enter(f, r, FLEET_READY);
	fleet_list_insert(f, &f->engine[r->engine].ready, request);
}

/* What an engine does by itself about its own lower tiers, by true rates. */
static uint32_t plan_loads(struct fleet *f, const struct fleet_request *r,
			   uint32_t own)
{
	const struct fleet_engine *e = &f->engine[r->engine];
	struct route_request q = {
		.blocks = r->blocks,
		.tokens = r->in,
		.block_tokens = f->o->block_tokens,
		.block_bytes = f->o->block_bytes,
	};
	struct route_engine x = {
		.token_s = f->o->token_s,
		.depth = f->o->depth_tokens,
		.chunk = f->o->chunk,
		.step_s = f->o->step_s,
		.running_s = f->o->running_s,
		.running = e->n_running,
		.trust = 1,
	};
	struct route_fleet fleet = { .engine = &x, .n = 1 };
	struct route_price price;

	for (uint32_t t = 0; t < ROUTE_TIERS; t++) {
		x.run[t] = r->pinned + fleet_tiers_run(f, r->engine, r->path,
						       r->pinned, own,
						       (enum route_tier)t);
		x.load_s[t] = f->o->block_bytes / f->o->rate[t];
		x.load_wait_s[t] =
			MAX(0, e->tier_free[t] - f->now) + f->o->wait_s[t];
	}
	for (uint32_t i = e->ready.first; i != FLEET_NONE;
	     i = f->request[i].next) {
		const struct fleet_request *o = &f->request[i];
		double hit = (double)o->pinned * q.block_tokens;

		x.wait_s += fleet_prefill_s(f, hit, (double)o->in);
	}
	route_price_local(&fleet, 0, &q, &price);
	return MAX(price.load_blocks, r->pinned);
}

/* The tiers bring [load_from, load_to), side by side. */
static void begin_loads(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	struct fleet_engine *e = &f->engine[r->engine];
	uint64_t n[ROUTE_TIERS] = { 0 };
	double last = f->now;

	for (uint32_t i = r->load_from; i < r->load_to; i++) {
		const struct fleet_node *node = &f->node[r->path[i]];
		uint32_t t = ROUTE_VRAM;

		while (t < ROUTE_NVME && !(node->at[t] >> r->engine & 1))
			t++;
		n[t]++;
	}
	for (uint32_t t = ROUTE_DRAM; t < ROUTE_TIERS; t++) {
		double bytes = (double)n[t] * f->o->block_bytes;

		if (!n[t])
			continue;
		e->tier_free[t] =
			MAX(e->tier_free[t], f->now) + bytes / f->o->rate[t];
		last = MAX(last, e->tier_free[t] + f->o->wait_s[t]);
		f->result.loaded_bytes[t] += bytes;
		f->result.hits[t] += n[t];
	}
	if (r->load_to == r->load_from)
		return;
	r->pending++;
	fleet_fail(f, fleet_queue_push(&f->queue, last, FLEET_LOADED, request,
				       r->age));
}

/* What a sibling is bringing here is not fetched again. */
static void follow_sibling(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request], *s;
	uint32_t to = r->blocks, i;

	i = fleet_sibling(f, r->engine, r, r->moved_to, &to, FLEET_MOVING);
	if (i == FLEET_NONE)
		return;
	s = &f->request[i];
	if (MIN(to, s->moved_to) <= r->moved_to)
		return;
	r->moved_to = MIN(to, s->moved_to);
	r->after_next = s->after;
	s->after = request;
	r->pending++;
}

/* What it fetches, before it asks for device memory. */
static void begin_moves(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	uint32_t own = fleet_tiers_run(f, r->engine, r->path, 0, r->blocks,
				       ROUTE_NVME);
	bool pull = r->price.pull_from != ROUTE_NONE &&
		    r->price.pull_blocks > own;

	r->pull_from = r->pull_to = own;
	if (pull)
		r->pull_from = r->pull_to = MIN(r->price.load_blocks, own);
	if (pull)
		fleet_flow_begin(f, request);
	r->moved_to = r->pull_to;
	follow_sibling(f, request);
}

/* Room for the whole prompt and its answer, or for as much as there is where
 * it is alone. */
static bool take_room(struct fleet *f, struct fleet_request *r)
{
	struct fleet_engine *e = &f->engine[r->engine];
	struct fleet_cache *c = &e->cache[ROUTE_VRAM];
	bool alone = !c->pinned && !e->reserved;
	double all =
		ceil(((double)r->in + (double)r->out) / f->o->block_tokens);
	uint64_t need = (uint64_t)MAX(all, r->blocks);
	uint32_t run;

	/* a full engine is asked again and again: the cheap answer first */
	if (!alone && c->pinned + e->reserved >= c->capacity)
		return false;
	run = fleet_tiers_run(f, r->engine, r->path, 0, r->blocks, ROUTE_VRAM);
	if (!alone && c->pinned + e->reserved + need - run > c->capacity)
		return false;
	fleet_engine_hold(f, r, run, false);
	need -= run;
	if (alone)
		need = MIN(need, c->capacity - MIN(c->capacity, c->pinned));
	if (!fleet_tiers_room(f, r->engine, need) && !alone) {
		fleet_engine_let_go(f, r);
		return false;
	}
	r->reserved = need;
	e->reserved += need;
	return true;
}

/* It has room: what was fetched is there, what lies in lower tiers is loaded. */
static void begin_loading(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	bool pulled = r->pull_to > r->pull_from;
	uint32_t most = pulled ? r->pull_from : r->blocks, own;

	own = r->pinned;
	if (own < most)
		own += fleet_tiers_run(f, r->engine, r->path, r->pinned, most,
				       ROUTE_NVME);
	r->load_from = r->load_to = r->pinned;
	if (pulled)
		r->load_to = MAX(r->pinned, own);
	else if (own > r->pinned)
		r->load_to = plan_loads(f, r, own);
	/* what was fetched is of use only behind what is there */
	if (!pulled || r->load_to < r->pull_from)
		r->pull_to = r->pull_from = r->load_to;
	r->pull_from = MAX(r->pull_from, r->load_to);
	r->pull_to = MAX(r->pull_to, r->pull_from);
	fleet_request_enter(f, r, FLEET_LOADING);
	r->ahead = (double)r->in - (double)r->pull_to * f->o->block_tokens;
	r->ahead = MAX(r->ahead, 1);
	f->engine[r->engine].ahead += r->ahead;
	begin_loads(f, request);
	if (!r->pending) {
		fleet_engine_hold(f, r, r->pull_to, false);
		make_ready(f, request);
	}
}

void fleet_engine_admit(struct fleet *f, uint32_t engine)
{
	struct fleet_engine *e = &f->engine[engine];

	while (e->queued.n && e->ahead < AHEAD * f->o->chunk && !f->failed) {
		uint32_t i = e->queued.first;

		if (!take_room(f, &f->request[i]))
			return;
		fleet_list_remove(f, &e->queued, i);
		begin_loading(f, i);
	}
}

static void go_on(struct fleet *f, uint32_t engine)
{
	fleet_engine_admit(f, engine);
	if (f->engine[engine].ready.n && !f->failed)
		fleet_engine_wake(f, engine);
}

static void enqueue(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	fleet_request_enter(f, r, FLEET_QUEUED);
	fleet_list_insert(f, &f->engine[r->engine].queued, request);
}

void fleet_engine_take(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	fleet_request_enter(f, r, FLEET_MOVING);
	begin_moves(f, request);
	if (r->pending)
		return;
	enqueue(f, request);
	if (f->engine[r->engine].queued.n == 1)
		go_on(f, r->engine);
}

void fleet_engine_loaded(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	r->pending--;
	fleet_engine_hold(f, r, r->pull_to, false);
	make_ready(f, request);
	go_on(f, r->engine);
}

/* Its blocks are here. Siblings that waited for them wait no more, nor do
 * theirs: a list, not recursion. */
void fleet_engine_moved(struct fleet *f, uint32_t request)
{
	uint32_t engine = f->request[request].engine, list = request;

	f->request[request].after_next = FLEET_NONE;
	while (list != FLEET_NONE) {
		struct fleet_request *r = &f->request[list];
		uint32_t now = list, i, next;

		list = r->after_next;
		if (--r->pending)
			continue;
		for (i = r->after; i != FLEET_NONE; i = next) {
			next = f->request[i].after_next;
			f->request[i].after_next = list;
			list = i;
		}
		r->after = FLEET_NONE;
		if (r->cancelled) {
			fleet_flow_release(f, now);
			fleet_engine_finish(f, now);
		} else {
			enqueue(f, now);
		}
	}
	go_on(f, engine);
}

void fleet_engine_cancel(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	struct fleet_engine *e = &f->engine[r->engine];

	switch (r->state) {
	case FLEET_HELD:
		fleet_hold_cancel(f, request);
		return;
	case FLEET_MOVING:
		r->cancelled = true;
		return;
	case FLEET_QUEUED:
		fleet_list_remove(f, &e->queued, request);
		break;
	case FLEET_READY:
		fleet_list_remove(f, &e->ready, request);
		e->ahead -= r->ahead;
		break;
	default:
		return;
	}
	r->cancelled = true;
	fleet_flow_release(f, request);
	fleet_engine_finish(f, request);
	fleet_engine_admit(f, r->engine);
	if (e->ready.n && !f->failed)
		fleet_engine_wake(f, r->engine);
}

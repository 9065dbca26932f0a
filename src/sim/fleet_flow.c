/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transfers from engine to engine. A flow gets the lesser of the even shares of
 * its two links; when a flow comes or goes, those beside it are given new
 * rates. A flow that follows a copy which is still arriving leaves its links
 * when its own bytes are through, and ends one block after that copy.
 */
#include "base/fault.h"
#include "sim/fleet_internal.h"
#include <errno.h>

static double block_s(const struct fleet *f)
{
	return f->o->block_bytes / f->o->link;
}

static uint32_t flow_new(struct fleet *f)
{
	uint32_t i = f->flow_spare;

	if (i != FLEET_NONE) {
		f->flow_spare = f->flow[i].next;
		return i;
	}
	if (f->flows == f->flows_room) {
		uint32_t room = f->flows_room ? 2 * f->flows_room : 64;
		void *p = mem_grow(f->flow, room, sizeof(*f->flow));

		if (!p) {
			fleet_fail(f, -ENOMEM);
			return FLEET_NONE;
		}
		f->flow = p;
		f->flows_room = room;
	}
	f->flow[f->flows].age = 0;
	return f->flows++;
}

static int flows_add(uint32_t **flows, uint32_t *n, uint32_t *room,
		     uint32_t flow)
{
	if (*n == *room) {
		uint32_t more = *room ? 2 * *room : 8;
		void *p = mem_grow(*flows, more, sizeof(**flows));

		if (!p)
			return -ENOMEM;
		*flows = p;
		*room = more;
	}
	(*flows)[(*n)++] = flow;
	return 0;
}

/* Keeps the order: rates are given in it, and equal runs are equal. */
static void flows_remove(uint32_t *flows, uint32_t *n, uint32_t flow)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < *n; i++)
		if (flows[i] != flow)
			flows[to++] = flows[i];
	*n = to;
}

static void carry(struct fleet *f, struct fleet_flow *w)
{
	w->left = MAX(0, w->left - w->rate * (f->now - w->at));
	w->at = f->now;
}

static void rerate(struct fleet *f, uint32_t flow)
{
	struct fleet_flow *w = &f->flow[flow];
	uint32_t out = f->engine[w->from].n_out, in = f->engine[w->to].n_in;
	double rate = f->o->link / MAX(out, in), end;

	if (rate >= w->rate && rate <= w->rate)
		return;
	carry(f, w);
	w->rate = rate;
	end = f->now + w->left / rate + f->o->latency_s;
	fleet_fail(f, fleet_queue_push(&f->queue, MAX(end, w->not_before),
				       FLEET_FLOWED, flow, ++w->age));
}

static void rerate_links(struct fleet *f, uint32_t from, uint32_t to)
{
	const struct fleet_engine *s = &f->engine[from], *d = &f->engine[to];

	for (uint32_t i = 0; i < s->n_out; i++)
		rerate(f, s->out[i]);
	for (uint32_t i = 0; i < d->n_in; i++)
		rerate(f, d->in[i]);
}

static void unlink_flow(struct fleet *f, uint32_t flow)
{
	struct fleet_flow *w = &f->flow[flow];
	struct fleet_engine *s = &f->engine[w->from], *d = &f->engine[w->to];

	if (!w->linked)
		return;
	w->linked = false;
	flows_remove(s->out, &s->n_out, flow);
	flows_remove(d->in, &d->n_in, flow);
	rerate_links(f, w->from, w->to);
}

/* ---- what the source has, or will have ---------------------------------------- */

/* Blocks that the paths have in common, counted from `from`. */
static uint32_t common(const struct fleet_request *a,
		       const struct fleet_request *b, uint32_t from,
		       uint32_t to)
{
	uint32_t i = from;

	to = MIN(to, b->blocks);
	while (i < to && a->path[i] == b->path[i])
		i++;
	return i;
}

uint32_t fleet_sibling(const struct fleet *f, uint32_t engine,
		       const struct fleet_request *r, uint32_t from,
		       uint32_t *to, enum fleet_state last)
{
	const struct fleet_belief *b = &f->view.engine[engine];
	uint32_t best = FLEET_NONE, far = from;

	for (uint32_t i = b->waiting.first; i != FLEET_NONE;
	     i = f->request[i].view_next) {
		const struct fleet_request *o = &f->request[i];
		uint32_t end;

		if (o->state < FLEET_MOVING || o->state > last ||
		    o->order >= r->order)
			continue;
		end = common(r, o, from, *to);
		if (end > far) {
			far = end;
			best = i;
		}
	}
	*to = far;
	return best;
}

/* When the source's own tiers have brought what lies in them. */
static double raised(struct fleet *f, const struct fleet_request *r,
		     uint32_t source, uint32_t from, uint32_t to)
{
	struct fleet_engine *s = &f->engine[source];
	uint64_t n[ROUTE_TIERS] = { 0 };
	double last = 0;

	for (uint32_t i = from; i < to; i++) {
		const struct fleet_node *node = &f->node[r->path[i]];
		uint32_t t = ROUTE_VRAM;

		while (t < ROUTE_NVME && !(node->at[t] >> source & 1))
			t++;
		n[t]++;
	}
	for (uint32_t t = ROUTE_CXL; t < ROUTE_TIERS; t++) {
		if (!n[t])
			continue;
		s->tier_free[t] =
			MAX(s->tier_free[t], f->now) +
			(double)n[t] * f->o->block_bytes / f->o->rate[t];
		last = MAX(last, s->tier_free[t]);
	}
	return last;
}

/* ---- life ----------------------------------------------------------------------- */

static void follow(struct fleet *f, uint32_t flow, uint32_t upstream)
{
	struct fleet_flow *w = &f->flow[flow];

	w->upstream = upstream;
	w->next = FLEET_NONE;
	if (upstream == FLEET_NONE)
		return;
	w->next = f->request[upstream].waiters;
	f->request[upstream].waiters = flow;
	f->result.shared_moves++;
}

static void link_flow(struct fleet *f, uint32_t flow)
{
	struct fleet_flow *w = &f->flow[flow];
	struct fleet_engine *s = &f->engine[w->from], *d = &f->engine[w->to];

	fleet_fail(f, flows_add(&s->out, &s->n_out, &s->out_room, flow));
	fleet_fail(f, flows_add(&d->in, &d->n_in, &d->in_room, flow));
	w->linked = true;
	if (!f->failed)
		rerate_links(f, w->from, w->to);
}

void fleet_flow_begin(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	uint32_t source = r->price.pull_from, from = r->pull_from;
	uint32_t to = MIN(r->price.pull_blocks, r->blocks), up = FLEET_NONE;
	uint32_t have, flow, age;

	if (from >= to || source >= f->o->engines || source == r->engine)
		return;
	have = from + fleet_tiers_gives(f, source, r->path, from, to);
	if (have < to)
		up = fleet_sibling(f, source, r, have, &to, FLEET_PREFILL);
	if (from >= to)
		return;
	flow = flow_new(f);
	if (flow == FLEET_NONE)
		return;
	age = f->flow[flow].age;
	f->flow[flow] = (struct fleet_flow){
		.request = request,
		.age = age,
		.from = source,
		.to = r->engine,
		.first = from,
		.last = to,
		.left = (to - from) * f->o->block_bytes,
		.at = f->now,
		.not_before = raised(f, r, source, from, have),
	};
	r->pull_to = to;
	r->flow = flow;
	r->pending++;
	follow(f, flow, up);
	link_flow(f, flow);
}

static void flow_free(struct fleet *f, uint32_t flow)
{
	f->flow[flow].age++;
	f->flow[flow].next = f->flow_spare;
	f->flow_spare = flow;
}

static void flow_end(struct fleet *f, uint32_t flow)
{
	struct fleet_flow *w = &f->flow[flow];
	uint32_t request = w->request;
	double bytes = (w->last - w->first) * f->o->block_bytes;

	f->engine[w->from].out_bytes += bytes;
	f->engine[w->to].in_bytes += bytes;
	f->result.pulled_bytes += bytes;
	f->result.pulled += w->last - w->first;
	f->result.moves++;
	f->request[request].flow = FLEET_NONE;
	flow_free(f, flow);
	fleet_flow_release(f, request);
	fleet_engine_moved(f, request);
}

void fleet_flow_done(struct fleet *f, uint32_t flow)
{
	struct fleet_flow *w = &f->flow[flow];

	carry(f, w);
	unlink_flow(f, flow);
	w->left = 0;
	if (w->upstream == FLEET_NONE)
		flow_end(f, flow);
}

/* What a flow waited for is there. */
static void released(struct fleet *f, uint32_t flow, bool gone)
{
	struct fleet_flow *w = &f->flow[flow];
	double end = f->now + block_s(f) + f->o->latency_s;

	w->upstream = FLEET_NONE;
	w->not_before = MAX(w->not_before, end);
	if (gone) { /* and never will be: the rest is computed */
		f->request[w->request].pull_to = w->first;
		w->last = w->first;
		w->not_before = f->now;
		w->left = 0;
	}
	if (w->linked && !gone) {
		end = f->now + (w->left - w->rate * (f->now - w->at)) / w->rate;
		end += f->o->latency_s;
	}
	fleet_fail(f, fleet_queue_push(&f->queue, MAX(end, w->not_before),
				       FLEET_FLOWED, flow, ++w->age));
}

void fleet_flow_release(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	bool all = r->state > FLEET_PREFILL || r->cancelled;
	uint32_t i = r->waiters, next, there = r->pinned;

	if (r->flow == FLEET_NONE)
		there = MAX(there, r->pull_to);
	r->waiters = FLEET_NONE;
	for (; i != FLEET_NONE; i = next) {
		struct fleet_flow *w = &f->flow[i];

		next = w->next;
		if (all || w->last <= there) {
			released(f, i, r->cancelled);
			continue;
		}
		w->next = r->waiters;
		r->waiters = i;
	}
}

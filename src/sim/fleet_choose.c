/* SPDX-License-Identifier: Apache-2.0 */
/* A request comes: the router decides with what it believes, and sends it. */
#include "base/fault.h"
#include "policy/route_hold.h"
#include "sim/fleet_internal.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define STAYS_S 1e9 /* a wait that no decision chooses */

uint32_t fleet_request_new(struct fleet *f)
{
	uint32_t i = f->request_spare, age;

	if (i != FLEET_NONE) {
		f->request_spare = f->request[i].next;
	} else {
		if (f->requests == f->requests_room) {
			uint32_t room = MAX(64, 2 * f->requests_room);
			void *p =
				mem_grow(f->request, room, sizeof(*f->request));

			if (!p) {
				fleet_fail(f, -ENOMEM);
				return FLEET_NONE;
			}
			f->request = p;
			f->requests_room = room;
		}
		i = f->requests++;
		f->request[i].age = 0;
	}
	age = f->request[i].age;
	f->request[i] = (struct fleet_request){
		.age = age,
		.flow = FLEET_NONE,
		.waiters = FLEET_NONE,
		.after = FLEET_NONE,
		.next = FLEET_NONE,
		.prev = FLEET_NONE,
	};
	return i;
}

void fleet_request_free(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	free(r->path);
	r->path = NULL;
	r->state = FLEET_FREE;
	r->age++;
	r->next = f->request_spare;
	f->request_spare = request;
}

void fleet_request_enter(struct fleet *f, struct fleet_request *r,
			 enum fleet_state state)
{
	if (r->state >= FLEET_HELD && r->state <= FLEET_PREFILL)
		r->spent[r->state - FLEET_HELD] += f->now - r->since;
	r->state = (uint8_t)state;
	r->since = f->now;
}

void fleet_list_append(struct fleet *f, struct fleet_list *l, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	r->prev = l->n ? l->last : FLEET_NONE;
	r->next = FLEET_NONE;
	if (l->n++)
		f->request[l->last].next = request;
	else
		l->first = request;
	l->last = request;
}

void fleet_list_insert(struct fleet *f, struct fleet_list *l, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	uint32_t after = l->n ? l->last : FLEET_NONE;

	while (after != FLEET_NONE && f->request[after].order > r->order)
		after = f->request[after].prev;
	if (after == FLEET_NONE && !l->n) {
		fleet_list_append(f, l, request);
		return;
	}
	r->prev = after;
	r->next = after == FLEET_NONE ? l->first : f->request[after].next;
	if (after == FLEET_NONE)
		l->first = request;
	else
		f->request[after].next = request;
	if (r->next == FLEET_NONE)
		l->last = request;
	else
		f->request[r->next].prev = request;
	l->n++;
}

void fleet_list_remove(struct fleet *f, struct fleet_list *l, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	if (r->prev == FLEET_NONE)
		l->first = r->next;
	else
		f->request[r->prev].next = r->next;
	if (r->next == FLEET_NONE)
		l->last = r->prev;
	else
		f->request[r->next].prev = r->prev;
	l->n--;
	if (!l->n)
		l->first = l->last = FLEET_NONE;
}

static void path_of(struct fleet *f, const struct fleet_arrival *a)
{
	uint32_t node = a->leaf;

	for (uint32_t i = a->blocks; i > 0; i--) {
		f->path[i - 1] = node;
		node = f->work->parent[node];
	}
}

static int send(struct fleet *f, size_t arrival, const struct route_request *q,
		const struct route_choice *c)
{
	const struct fleet_arrival *a = &f->work->arrival[arrival];
	uint32_t *path = mem_array(MAX(a->blocks, 1), sizeof(*path)), i;
	struct fleet_request *r;

	if (!path)
		return -ENOMEM;
	i = fleet_request_new(f);
	if (i == FLEET_NONE) {
		free(path);
		return -ENOMEM;
	}
	r = &f->request[i];
	memcpy(path, f->path, a->blocks * sizeof(*path));
	r->path = path;
	r->index = (uint32_t)arrival;
	r->engine = c->engine;
	r->blocks = a->blocks;
	r->in = a->in;
	r->out = a->out;
	r->arrived = r->decided = f->now;
	r->price = c->price;
	fleet_request_enter(f, r, FLEET_HELD);
	fleet_view_queued(f, i, q);
	if (f->o->cancelled > 0 && (double)rng_below(&f->rng, 1u << 20) <
					   f->o->cancelled * (1u << 20)) {
		double u =
			(double)(1 + rng_below(&f->rng, 1u << 20)) / (1u << 20);

		fleet_fail(f, fleet_queue_push(&f->queue,
					       f->now - f->o->patience * log(u),
					       FLEET_CANCEL, i, r->age));
	}
	fleet_hold(f, i);
	return 0;
}

void fleet_choose(struct fleet *f, size_t arrival)
{
	const struct fleet_arrival *a = &f->work->arrival[arrival];
	struct route_engine engine[ROUTE_ENGINES_MAX];
	struct route_price price[ROUTE_ENGINES_MAX];
	struct route_fleet fleet;
	struct route_choice choice;
	struct route_request q = {
		.blocks = a->blocks,
		.tokens = a->in,
		.block_tokens = f->o->block_tokens,
		.block_bytes = f->o->block_bytes,
		.serial = arrival,
		.draw = rng_next(&f->rng),
	};

	fleet_view_read(f);
	path_of(f, a);
	fleet_view_arrival(f);
	fleet_view_fill(f, &q, engine, &fleet);
	f->o->policy->decide(&fleet, &q, &choice, f->o->decided ? price : NULL);
	if (f->o->decided)
		f->o->decided(f->o->ctx, f->now, &fleet, &q, &choice, price,
			      NULL);
	if (choice.refused) {
		f->result.refused++;
		return;
	}
	fleet_fail(f, send(f, arrival, &q, &choice));
}

/* The same decision again, for who wants the reasons. Its own engine was no choice;
 * what it says is what staying there costs. */
static void tell_again(const struct fleet *f, const struct fleet_request *r,
		       const struct route_fleet *fleet,
		       const struct route_request *q, double turn_s)
{
	struct route_price price[ROUTE_ENGINES_MAX], *own = &price[r->engine];
	struct fleet_stay stay = { .engine = r->engine, .turn_s = turn_s };
	struct route_choice choice;

	f->o->policy->decide(fleet, q, &choice, price);
	*own = r->price;
	own->ttft_s = stay.ttft_s = turn_s + r->price.work_s;
	own->total_s = own->ttft_s + own->others_s;
	own->again = false;
	f->o->decided(f->o->ctx, f->now, fleet, q, &choice, price, &stay);
}

/* A held one that leaves its place takes one that is free: the price of its own is
 * known, and the decision is about the others. */
static bool better_place(struct fleet *f, struct fleet_request *r,
			 const struct route_request *q, double turn_s)
{
	struct route_engine engine[ROUTE_ENGINES_MAX];
	struct route_choice choice;
	struct route_fleet fleet;
	double needs;

	fleet_view_fill(f, q, engine, &fleet);
	engine[r->engine].wait_s = STAYS_S;
	f->o->policy->decide(&fleet, q, &choice, NULL);
	needs = r->blocks - MIN(r->blocks, engine[choice.engine].held_run);
	if (choice.engine == r->engine ||
	    !route_hold_leaves(turn_s, &r->price, &choice.price) ||
	    !fleet_hold_free(f, choice.engine, needs))
		return false;
	if (f->o->decided)
		tell_again(f, r, &fleet, q, turn_s);
	r->left++;
	r->engine = choice.engine;
	r->price = choice.price;
	r->decided = f->now;
	return true;
}

bool fleet_choose_again(struct fleet *f, uint32_t request, double turn_s)
{
	struct fleet_request *r = &f->request[request];
	bool leaves;
	struct route_request q = {
		.blocks = r->blocks,
		.tokens = r->in,
		.block_tokens = f->o->block_tokens,
		.block_bytes = f->o->block_bytes,
		.serial = r->index,
		.draw = rng_next(&f->rng),
	};

	memcpy(f->path, r->path, r->blocks * sizeof(*r->path));
	fleet_view_lift(f, request);
	r->asked++;
	leaves = better_place(f, r, &q, turn_s);
	fleet_view_put(f, request, &q);
	return leaves;
}

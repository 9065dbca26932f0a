/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine at work: steps of prefill and decode.
 *
 * While nothing is in prefill, steps of decode are taken in one stretch to the
 * next end of a request; a request that becomes ready cuts the stretch at the
 * end of the step under way.
 */
#include "base/fault.h"
#include "sim/fleet_internal.h"
#include <errno.h>
#include <math.h>

double fleet_prefill_s(const struct fleet *f, double from, double to)
{
	const struct route_engine e = { .token_s = f->o->token_s,
					.depth = f->o->depth_tokens };

	return route_prefill_s(&e, from, to);
}

static double tokens_in(const struct fleet_request *r)
{
	return r->in ? (double)r->in : 1;
}

/* ---- decode: a heap by the last step ------------------------------------------ */

static bool ends_before(const struct fleet *f, uint32_t a, uint32_t b)
{
	const struct fleet_request *x = &f->request[a], *y = &f->request[b];

	if (x->last_step != y->last_step)
		return x->last_step < y->last_step;
	return x->index < y->index;
}

static int run_push(struct fleet *f, struct fleet_engine *e, uint32_t request)
{
	uint32_t i = e->n_running;

	if (i == e->running_room) {
		uint32_t room = i ? 2 * i : 16;
		void *p = mem_grow(e->running, room, sizeof(*e->running));

		if (!p)
			return -ENOMEM;
		e->running = p;
		e->running_room = room;
	}
	e->n_running++;
	for (; i && ends_before(f, request, e->running[(i - 1) / 2]);
	     i = (i - 1) / 2)
		e->running[i] = e->running[(i - 1) / 2];
	e->running[i] = request;
	return 0;
}

static uint32_t run_pop(struct fleet *f, struct fleet_engine *e)
{
	uint32_t first = e->running[0], last = e->running[--e->n_running],
		 i = 0;

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= e->n_running)
			break;
		if (child + 1 < e->n_running &&
		    ends_before(f, e->running[child + 1], e->running[child]))
			child++;
		if (!ends_before(f, e->running[child], last))
			break;
		e->running[i] = e->running[child];
		i = child;
	}
	e->running[i] = last;
	return first;
}

/* ---- the blocks of a request in device memory ------------------------------------ */

void fleet_engine_hold(struct fleet *f, struct fleet_request *r, uint32_t to,
		       bool computing)
{
	struct fleet_engine *e = &f->engine[r->engine];

	for (; r->pinned < to && !f->failed; r->pinned++) {
		uint32_t node = r->path[r->pinned];

		if (r->reserved) {
			r->reserved--;
			e->reserved--;
		}
		fleet_tiers_put(f, r->engine, node, computing);
		fleet_tiers_pin(f, r->engine, node);
	}
}

void fleet_engine_let_go(struct fleet *f, struct fleet_request *r)
{
	for (uint32_t i = 0; i < r->pinned; i++)
		fleet_tiers_unpin(f, r->engine, r->path[i]);
	r->pinned = r->computed = 0;
	f->engine[r->engine].reserved -= r->reserved;
	r->reserved = 0;
}

void fleet_engine_finish(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	if (!r->cancelled)
		fleet_tiers_use(f, r);
	fleet_engine_let_go(f, r);
	fleet_count_over(f, r);
	fleet_request_enter(f, r, FLEET_ENDED);
	fleet_view_tell(f, r->engine, FLEET_OVER, 0, request);
}

/* ---- steps --------------------------------------------------------------------------- */

/* What siblings computed meanwhile is used too. */
static void begin_prefill(struct fleet *f, struct fleet_request *r)
{
	uint32_t more = fleet_tiers_run(f, r->engine, r->path, r->pinned,
					r->blocks, ROUTE_VRAM);
	double hit;

	fleet_engine_hold(f, r, r->pinned + more, false);
	r->hits = r->pinned;
	hit = (double)r->pinned * f->o->block_tokens;
	r->done = MAX(0, MIN(hit, tokens_in(r) - 1));
	r->cached = (uint64_t)r->done;
	r->begun = f->now;
	fleet_request_enter(f, r, FLEET_PREFILL);
}

static double part_of(struct fleet *f, struct fleet_request *r, double *budget)
{
	double least = tokens_in(r) / FLEET_STEPS_MOST, from = r->done;
	double take, whole;

	take = MIN(MAX(*budget, least), tokens_in(r) - r->done);
	*budget -= take;
	r->done += take;
	/* siblings in the same step find its blocks, as engines do it */
	whole = r->done / f->o->block_tokens;
	fleet_engine_hold(f, r, whole < r->blocks ? (uint32_t)whole : r->blocks,
			  true);
	return fleet_prefill_s(f, from, r->done);
}

/* Prompts that share the next step; the seconds of their parts. */
static double fill_step(struct fleet *f, struct fleet_engine *e)
{
	double budget = f->o->chunk, seconds = 0;
	uint32_t i;

	for (i = e->prefill.first; i != FLEET_NONE && budget > 0;
	     i = f->request[i].next)
		seconds += part_of(f, &f->request[i], &budget);
	while (budget > 0 && e->ready.n &&
	       e->n_running + e->prefill.n < f->o->running_most) {
		i = e->ready.first;
		fleet_list_remove(f, &e->ready, i);
		e->ahead -= f->request[i].ahead;
		begin_prefill(f, &f->request[i]);
		fleet_list_append(f, &e->prefill, i);
		seconds += part_of(f, &f->request[i], &budget);
	}
	return seconds;
}

static void begin_step(struct fleet *f, uint32_t engine)
{
	struct fleet_engine *e = &f->engine[engine];
	double prefill = fill_step(f, e);

	e->prefilling = e->prefill.n > 0;
	e->stepping = e->prefilling || e->n_running;
	if (!e->stepping)
		return;
	e->begun = f->now;
	e->each = f->o->step_s + f->o->running_s * e->n_running + prefill;
	e->steps = 1;
	if (!e->prefilling)
		e->steps = f->request[e->running[0]].last_step - e->step;
	e->prefill_s += prefill;
	fleet_fail(f, fleet_queue_push(&f->queue,
				       f->now + (double)e->steps * e->each,
				       FLEET_STEP, engine, ++e->age));
}

/* Its prompt is done and its first token is out. */
static void first_token(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	struct fleet_engine *e = &f->engine[r->engine];

	r->first = f->now;
	fleet_engine_hold(f, r, r->blocks, false);
	for (uint32_t i = r->blocks; i > 0 && !f->failed; i--)
		fleet_tiers_touch(f, r->engine, r->path[i - 1]);
	fleet_request_enter(f, r, FLEET_RUNNING);
	fleet_count_first(f, r);
	fleet_view_tell(f, r->engine, FLEET_FIRST, 0, request);
	fleet_flow_release(f, request);
	if (r->out <= 1) {
		fleet_engine_finish(f, request);
		return;
	}
	r->last_step = e->step + r->out - 1;
	fleet_fail(f, run_push(f, e, request));
}

/* The step is over: what it computed is there for everyone. */
static void computed(struct fleet *f, struct fleet_request *r)
{
	for (; r->computed < r->pinned && !f->failed; r->computed++)
		fleet_tiers_computed(f, r->engine, r->path[r->computed]);
}

void fleet_engine_step(struct fleet *f, uint32_t engine)
{
	struct fleet_engine *e = &f->engine[engine];
	uint32_t i, next;

	e->step += e->steps;
	e->busy_s += (double)e->steps * e->each;
	for (i = e->prefill.first; i != FLEET_NONE; i = f->request[i].next)
		computed(f, &f->request[i]);
	for (i = e->prefill.first; i != FLEET_NONE && !f->failed; i = next) {
		next = f->request[i].next;
		if (f->request[i].done < tokens_in(&f->request[i])) {
			fleet_flow_release(f, i);
			continue;
		}
		fleet_list_remove(f, &e->prefill, i);
		first_token(f, i);
	}
	while (e->n_running && !f->failed &&
	       f->request[e->running[0]].last_step <= e->step)
		fleet_engine_finish(f, run_pop(f, e));
	fleet_engine_admit(f, engine);
	if (!f->failed)
		begin_step(f, engine);
	if (!f->failed) /* some began: others may come ahead */
		fleet_engine_admit(f, engine);
}

/* A prompt is ready: an engine that is idle begins, one that only decodes does
 * so after the step under way. */
void fleet_engine_wake(struct fleet *f, uint32_t engine)
{
	struct fleet_engine *e = &f->engine[engine];
	double passed;
	uint64_t steps;

	if (!e->stepping) {
		begin_step(f, engine);
		return;
	}
	if (e->prefilling || e->n_running >= f->o->running_most)
		return;
	passed = ceil((f->now - e->begun) / e->each);
	steps = passed < 1 ? 1 : (uint64_t)passed;
	if (steps >= e->steps)
		return;
	e->steps = steps;
	fleet_fail(f, fleet_queue_push(&f->queue,
				       e->begun + (double)steps * e->each,
				       FLEET_STEP, engine, ++e->age));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/fleet.h"
#include "base/fault.h"
#include "sim/fleet_internal.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The caller is asked whether to go on; an arrival is priced on every engine, and
 * costs as much as many events. */
#define TICK_ARRIVALS 64u
#define TICK_EVENTS   1024u

/* Prefill as published for gpt-oss-120B: 39,065 tokens/s at best; 8,192 tokens
 * in 250 ms, 32,768 in 1,173 and 49,152 in 1,988 give the depth. A block's
 * bytes: 36 layers, 8 heads of 64, K and V, 2 bytes, 512 tokens. Decode as the
 * mock engine of another project. */
void fleet_defaults(struct fleet_options *ret_options)
{
	*ret_options = (struct fleet_options){
		.policy = &route_onecopy,
		.engines = 8,
		.seed = 1,
		.load = 1,
		.token_s = 1 / 39065.0,
		.depth_tokens = 42640,
		.step_s = 0.006,
		.running_s = 0.00035,
		.chunk = 8192,
		.running_most = 256,
		.block_tokens = 512,
		.block_bytes = 512 * 73728.0,
		.blocks = { 2000, 6000, 0, 0 },
		.rate = { 1e12, 40e9, 20e9, 6e9 },
		.link = 100e9 / 8,
		.latency_s = 0.0001,
		.rate_error = 0.3,
		.late_least = 0.05,
		.late_most = 0.5,
		.patience = 10,
	};
}

static bool positive(double v)
{
	return v > 0 && v < 1e18;
}

static const char *options_wrong(const struct fleet_options *o)
{
	if (!o->policy)
		return "no policy";
	if (!o->engines || o->engines > ROUTE_ENGINES_MAX)
		return "engines: from 1 to 64";
	if (!positive(o->load))
		return "load: above 0";
	if (!positive(o->token_s) || !positive(o->link) ||
	    !(o->depth_tokens > 0) || !positive(o->block_bytes))
		return "rates and sizes: above 0";
	if (!(o->step_s >= 0) || !(o->running_s >= 0) || !(o->latency_s >= 0) ||
	    !(o->step_s + o->running_s > 0))
		return "times: not below 0, and a step takes some";
	if (!o->chunk || !o->running_most || !o->block_tokens)
		return "chunk, running requests, block tokens: at least 1";
	if (!o->blocks[ROUTE_VRAM])
		return "device memory: at least one block";
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (!positive(o->rate[t]) || o->blocks[t] >= UINT32_MAX / 2)
			return "tiers: a rate above 0, less than 2^31 blocks";
	if (!(o->rate_error >= 0 && o->rate_error < 1))
		return "rate error: from 0 to below 1";
	if (!(o->late_least >= 0 && o->late_most >= o->late_least &&
	      o->late_most < 1e9))
		return "late: from least to most";
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (!(o->wait_s[t] >= 0 && o->wait_s[t] < 1e9))
			return "tiers: latency not below 0";
	if (!(o->lag_s >= 0 && o->lag_s < 1e9 && o->objective_s >= 0))
		return "lag, objective: not below 0";
	if (!(o->cancelled >= 0 && o->cancelled <= 1 && o->patience >= 0))
		return "cancelled: from 0 to 1; patience: not below 0";
	return NULL;
}

static const struct fleet_list empty = { FLEET_NONE, FLEET_NONE, 0 };

static int fleet_init(struct fleet *f)
{
	int r;

	f->flow_spare = FLEET_NONE;
	f->request_spare = FLEET_NONE;
	f->rng.state = f->o->seed;
	f->node = mem_array(MAX(f->work->nodes, 1), sizeof(*f->node));
	f->path = mem_array(MAX(f->work->longest, 1), sizeof(*f->path));
	f->chain_key =
		mem_array(MAX(f->work->longest, 1), sizeof(*f->chain_key));
	f->chain_item =
		mem_array(MAX(f->work->longest, 1), sizeof(*f->chain_item));
	if (!f->node || !f->path || !f->chain_key || !f->chain_item)
		return -ENOMEM;
	r = fleet_count_init(f);
	if (!r)
		r = fleet_floor_init(f);
	if (!r)
		r = fleet_view_init(f);
	for (uint32_t i = 0; i < f->o->engines && !r; i++) {
		f->engine[i].queued = empty;
		f->engine[i].ready = empty;
		f->engine[i].prefill = empty;
		r = fleet_tiers_init(f, i);
	}
	return r;
}

static void fleet_fini(struct fleet *f)
{
	for (uint32_t i = 0; i < f->o->engines; i++) {
		struct fleet_engine *e = &f->engine[i];

		for (uint32_t t = 0; t < ROUTE_TIERS; t++)
			fleet_cache_fini(&e->cache[t]);
		free(e->running);
		free(e->out);
		free(e->in);
	}
	for (uint32_t i = 0; i < f->requests; i++)
		free(f->request[i].path);
	free(f->request);
	free(f->flow);
	free(f->node);
	free(f->path);
	free(f->chain_key);
	free(f->chain_item);
	fleet_queue_fini(&f->queue);
	fleet_view_fini(f);
	fleet_count_fini(f);
	fleet_floor_fini(f);
	free(f);
}

static void happen(struct fleet *f, const struct fleet_event *e)
{
	switch ((enum fleet_kind)e->kind) {
	case FLEET_STEP:
		if (e->age == f->engine[e->what].age)
			fleet_engine_step(f, e->what);
		break;
	case FLEET_LOADED:
		fleet_engine_loaded(f, e->what);
		break;
	case FLEET_FLOWED:
		if (e->age == f->flow[e->what].age)
			fleet_flow_done(f, e->what);
		break;
	case FLEET_LOOK:
		fleet_hold_look(f);
		break;
	default:
		if (e->age == f->request[e->what].age)
			fleet_engine_cancel(f, e->what);
	}
}

static void tick(struct fleet *f, double done)
{
	if (!f->failed && f->o->tick && f->o->tick(f->o->ctx, done))
		f->failed = -EINTR;
}

/* Everything before that time; an arrival comes after what happens with it.
 * `done`: the share of the arrivals that were. */
static void run_until(struct fleet *f, double until, double done)
{
	struct fleet_event e;

	while (!f->failed && f->queue.n && f->queue.heap[0].at <= until) {
		fleet_queue_pop(&f->queue, &e);
		f->now = MAX(f->now, e.at);
		happen(f, &e);
		if (++f->result.events % TICK_EVENTS == 0)
			tick(f, done);
	}
}

static int play(struct fleet *f)
{
	const struct fleet_options *o = f->o;
	size_t n = f->work->n;

	for (size_t i = 0; i < n && !f->failed; i++) {
		double at = f->work->arrival[i].at / o->load;
		double done = (double)i / (double)n;

		run_until(f, at, done);
		f->now = MAX(f->now, at);
		if (!f->failed)
			fleet_choose(f, i);
		if (i % TICK_ARRIVALS == 0)
			tick(f, done);
	}
	run_until(f, (double)INFINITY, 1);
	if (!f->failed)
		fleet_view_drain(f);
	return f->failed;
}

int fleet_run(const struct fleet_options *o, const struct fleet_work *work,
	      struct fleet_result *ret_result, char error[TRACE_ERROR])
{
	const char *text = options_wrong(o);
	struct fleet_options exact = *o;
	struct fleet *f;
	int r;

	if (text) {
		snprintf(error, TRACE_ERROR, "%s", text);
		return -EINVAL;
	}
	f = mem_alloc(sizeof(*f));
	if (!f)
		return -ENOMEM;
	if (o->policy->exact) {
		exact.rate_error = 0;
		exact.late_least = exact.late_most = 0;
		exact.liars = exact.boasters = exact.laggards = 0;
	}
	f->o = &exact;
	f->work = work;
	r = fleet_init(f);
	if (!r)
		r = play(f);
	if (!r)
		fleet_count_end(f, ret_result);
	fleet_fini(f);
	return r;
}

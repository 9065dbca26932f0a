/* SPDX-License-Identifier: Apache-2.0 */
/* Results: exact quantiles over all requests, sums, the run's time in slots. */
#include "base/fault.h"
#include "sim/fleet_internal.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>

const char *fleet_phase_name(enum fleet_phase phase)
{
	static const char *const names[FLEET_PHASES] = { "hold",  "move",
							 "queue", "load",
							 "line",  "prefill" };

	return (unsigned)phase < FLEET_PHASES ? names[phase] : "?";
}

int fleet_count_init(struct fleet *f)
{
	size_t n = MAX(f->work->n, 1);

	f->ttft = mem_array(n, sizeof(*f->ttft));
	f->total = mem_array(n, sizeof(*f->total));
	return f->ttft && f->total ? 0 : -ENOMEM;
}

void fleet_count_fini(struct fleet *f)
{
	free(f->ttft);
	free(f->total);
}

/* Of the span of the arrivals. */
static struct fleet_slot *slot_of(struct fleet *f, double at)
{
	const struct fleet_work *w = f->work;
	double begin = w->arrival[0].at / f->o->load;
	double span = w->arrival[w->n - 1].at / f->o->load - begin;
	double part = span > 0 ? (at - begin) / span : 0;
	uint32_t i = (uint32_t)(part * FLEET_SLOTS);

	return &f->result.slot[MIN(i, FLEET_SLOTS - 1)];
}

static void tell_over(const struct fleet *f, const struct fleet_request *r)
{
	struct fleet_fate fate = {
		.serial = r->index,
		.engine = r->engine,
		.asked = r->asked,
		.left = r->left,
		.gave_up = r->cancelled,
		.arrived = r->arrived,
		.decided = r->decided,
		.over = f->now,
		.foretold_s = r->price.ttft_s,
	};

	if (!f->o->over)
		return;
	memcpy(fate.spent_s, r->spent, sizeof(fate.spent_s));
	if (r->state >= FLEET_HELD && r->state <= FLEET_PREFILL)
		fate.spent_s[r->state - FLEET_HELD] += f->now - r->since;
	f->o->over(f->o->ctx, &fate);
}

void fleet_count_first(struct fleet *f, const struct fleet_request *r)
{
	double ttft = r->first - r->arrived;
	double all = fleet_prefill_s(f, 0, (double)r->in);
	double least = fleet_prefill_s(f, (double)r->cached, (double)r->in);
	struct fleet_slot *slot = slot_of(f, r->arrived);
	uint32_t pulled = r->pull_to - r->pull_from;
	uint32_t loaded = r->load_to - r->load_from;

	for (uint32_t i = 0; i < FLEET_PHASES; i++)
		f->result.phase_ms[i] += 1000 * r->spent[i];
	f->floors[f->firsts] = f->floor[r->index];
	f->ttft[f->firsts++] = (float)(1000 * ttft);
	slot->requests++;
	slot->ttft_ms += 1000 * ttft;
	slot->blocks += r->blocks;
	slot->hits += r->hits;
	f->result.saved_s += all - least;
	f->result.blocks += r->blocks;
	f->result.hit_blocks += r->hits;
	if (r->hits > pulled + loaded)
		f->result.hits[ROUTE_VRAM] += r->hits - pulled - loaded;
	f->result.last_ttft_s = MAX(f->result.last_ttft_s, r->first);
	/* slower than an empty engine without any hit would be: above 1 */
	all = ttft / (all + f->o->step_s);
	f->slow_sum += all;
	f->slow_squares += all * all;
	tell_over(f, r);
}

void fleet_count_over(struct fleet *f, const struct fleet_request *r)
{
	f->end = MAX(f->end, f->now);
	if (r->cancelled) {
		f->result.cancelled++;
		tell_over(f, r);
		return;
	}
	f->total[f->done++] = (float)(1000 * (f->now - r->arrived));
}

static int by_value(const void *x, const void *y)
{
	float a = *(const float *)x, b = *(const float *)y;

	return (a > b) - (a < b);
}

/* The value that the share q of all is not above. */
static double quantile(const float *v, size_t n, double q)
{
	size_t i = (size_t)ceil(q * (double)n);

	return (double)v[MIN(i ? i - 1 : 0, n - 1)];
}

static struct fleet_times times_of(float *v, size_t n)
{
	double sum = 0;

	if (!n)
		return (struct fleet_times){ 0 };
	for (size_t i = 0; i < n; i++)
		sum += (double)v[i];
	qsort(v, n, sizeof(*v), by_value);
	return (struct fleet_times){
		.mean = sum / (double)n,
		.p50 = quantile(v, n, 0.5),
		.p90 = quantile(v, n, 0.9),
		.p99 = quantile(v, n, 0.99),
		.max = (double)v[n - 1],
	};
}

static double jain(double sum, double squares, double n)
{
	return squares > 0 ? sum * sum / (n * squares) : 1;
}

static void count_engines(struct fleet *f)
{
	struct fleet_result *r = &f->result;
	double sum = 0, squares = 0, n = f->o->engines;

	for (uint32_t i = 0; i < f->o->engines; i++) {
		const struct fleet_engine *e = &f->engine[i];

		for (uint32_t t = 0; t < ROUTE_TIERS; t++) {
			r->peak[t] = MAX(r->peak[t], e->cache[t].peak);
			r->full[t] |= e->cache[t].full;
		}
		sum += e->busy_s;
		squares += e->busy_s * e->busy_s;
		r->prefill_s += e->prefill_s;
		r->busiest_bytes =
			MAX(r->busiest_bytes, MAX(e->out_bytes, e->in_bytes));
	}
	r->balance = jain(sum, squares, n);
	if (r->span_s > 0) {
		r->busy = sum / (n * r->span_s);
		r->busiest_use = r->busiest_bytes / f->o->link / r->span_s;
	}
}

void fleet_count_end(struct fleet *f, struct fleet_result *ret_result)
{
	struct fleet_result *r = &f->result;
	double begin = 0;

	if (f->work->n)
		begin = f->work->arrival[0].at / f->o->load;
	r->requests = f->firsts;
	r->span_s = MAX(0, f->end - begin);
	r->fairness = jain(f->slow_sum, f->slow_squares, (double)f->firsts);
	r->ttft = times_of(f->ttft, f->firsts);
	r->floor = times_of(f->floors, f->firsts);
	r->total = times_of(f->total, f->done);
	for (uint32_t i = 0; i < FLEET_PHASES && f->firsts; i++)
		r->phase_ms[i] /= (double)f->firsts;
	if (r->blocks)
		r->prefix_hit_rate = (double)r->hit_blocks / (double)r->blocks;
	for (uint32_t i = 0; i < FLEET_SLOTS; i++) {
		struct fleet_slot *s = &r->slot[i];

		if (s->requests)
			s->ttft_ms /= (double)s->requests;
	}
	count_engines(f);
	*ret_result = *r;
}

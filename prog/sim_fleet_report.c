/* SPDX-License-Identifier: Apache-2.0 */
/* Results of onecopy sim with engines: JSON, tables, reasons. */
#include "base/compiler.h"
#include "base/text.h"
#include "sim_sweep.h"

static json_t *times_json(const struct fleet_times *t)
{
	return json_pack("{s:f, s:f, s:f, s:f, s:f}", "mean", t->mean, "p50",
			 t->p50, "p90", t->p90, "p99", t->p99, "max", t->max);
}

/* Shares of all blocks. */
static json_t *hits_json(const struct fleet_result *r)
{
	double all = r->blocks ? (double)r->blocks : 1;
	json_t *root = json_object();

	for (uint32_t t = 0; root && t < ROUTE_TIERS; t++)
		json_object_set_new(root, route_tier_name(t),
				    json_real((double)r->hits[t] / all));
	if (root)
		json_object_set_new(root, "node",
				    json_real((double)r->pulled / all));
	return root;
}

static json_t *loaded_json(const struct fleet_result *r)
{
	json_t *root = json_object();

	for (uint32_t t = ROUTE_DRAM; root && t < ROUTE_TIERS; t++)
		json_object_set_new(root, route_tier_name(t),
				    json_real(r->loaded_bytes[t]));
	return root;
}

static json_t *phases_json(const struct fleet_result *r)
{
	json_t *root = json_object();

	for (uint32_t i = 0; root && i < FLEET_PHASES; i++)
		json_object_set_new(root, fleet_phase_name(i),
				    json_real(r->phase_ms[i]));
	return root;
}

static double moved_bytes(const struct fleet_result *r)
{
	double sum = r->pulled_bytes + r->demoted_bytes;

	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		sum += r->loaded_bytes[t];
	return sum;
}

static json_t *blocks_json(const struct sim_point *p)
{
	json_t *root = json_object();

	for (uint32_t t = 0; root && t < ROUTE_TIERS; t++)
		json_object_set_new(root, route_tier_name(t),
				    json_integer((json_int_t)p->blocks[t]));
	return root;
}

/* Sizes as they were asked for, of tiers where that was done. */
static json_t *asked_json(const struct sim_point *p)
{
	json_t *root = json_object();

	for (uint32_t t = 0; root && t < ROUTE_TIERS; t++)
		if (p->asked[t])
			json_object_set_new(root, route_tier_name(t),
					    json_string(p->asked[t]));
	return root;
}

static json_t *bytes_json(const struct sim_point *p, double block_bytes)
{
	json_t *root = json_object();

	for (uint32_t t = 0; root && t < ROUTE_TIERS; t++)
		json_object_set_new(
			root, route_tier_name(t),
			json_integer((json_int_t)((double)p->blocks[t] *
						  block_bytes)));
	return root;
}

static json_t *peak_json(const struct sim_point *p)
{
	json_t *root = json_object();

	for (uint32_t t = 0; root && t < ROUTE_TIERS; t++)
		json_object_set_new(
			root, route_tier_name(t),
			json_integer((json_int_t)p->result.peak[t]));
	return root;
}

/* Tiers that were never full. */
static json_t *fits_json(const struct sim_point *p)
{
	json_t *root = json_array();

	for (uint32_t t = 0; root && t < ROUTE_TIERS; t++)
		if (sim_all_fits(p, t))
			json_array_append_new(root,
					      json_string(route_tier_name(t)));
	return root;
}

/* `rows` of the slots of a run, each the sum of as many. */
static struct fleet_slot row_of(const struct fleet_result *r, uint32_t row,
				uint32_t rows)
{
	struct fleet_slot sum = { 0 };

	for (uint32_t i = row * FLEET_SLOTS / rows;
	     i < (row + 1) * FLEET_SLOTS / rows; i++) {
		const struct fleet_slot *s = &r->slot[i];

		sum.requests += s->requests;
		sum.blocks += s->blocks;
		sum.hits += s->hits;
		sum.ttft_ms += s->ttft_ms * (double)s->requests;
	}
	if (sum.requests)
		sum.ttft_ms /= (double)sum.requests;
	return sum;
}

static json_t *rows_json(const struct fleet_result *r, uint32_t rows)
{
	json_t *root = json_array();

	for (uint32_t i = 0; root && i < rows; i++) {
		struct fleet_slot s = row_of(r, i, rows);

		json_array_append_new(
			root,
			json_pack("{s:f, s:I, s:f, s:f}", "until",
				  (double)(i + 1) / rows, "requests",
				  (json_int_t)s.requests, "ttft_ms", s.ttft_ms,
				  "prefix_hit_rate",
				  s.blocks ? (double)s.hits / (double)s.blocks
					   : 0));
	}
	return root;
}

static json_t *run_json(const struct sim_point *p)
{
	const struct fleet_result *r = &p->result;

	return json_pack(
		"{s:s, s:I, s:f, s:f, s:o, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:o, "
		"s:f, s:o, s:o, s:f, s:f, s:f, s:I, s:I, s:{s:f, s:f}, s:f, s:f, "
		"s:f, s:f, s:f, s:f, s:f}",
		"route", p->policy, "engines", (json_int_t)p->engines, "load",
		p->load, "link_gbit", p->gbit, "tier_blocks", blocks_json(p),
		"requests", (json_int_t)r->requests, "cancelled",
		(json_int_t)r->cancelled, "refused", (json_int_t)r->refused,
		"span_s", r->span_s, "ttft_ms", times_json(&r->ttft),
		"floor_ms", times_json(&r->floor), "ttft_parts_ms",
		phases_json(r), "completion_ms", times_json(&r->total),
		"prefix_hit_rate", r->prefix_hit_rate, "hit_rate", hits_json(r),
		"loaded_bytes", loaded_json(r), "pulled_bytes", r->pulled_bytes,
		"demoted_bytes", r->demoted_bytes, "moved_bytes",
		moved_bytes(r), "moves", (json_int_t)r->moves, "shared_moves",
		(json_int_t)r->shared_moves, "busiest_link", "bytes",
		r->busiest_bytes, "use", r->busiest_use, "last_first_token_s",
		r->last_ttft_s, "fairness", r->fairness, "balance", r->balance,
		"prefill_s", r->prefill_s, "engine_seconds_saved", r->saved_s,
		"saved_prefill_s", r->saved_s, "busy", r->busy);
}

static json_t *point_json(const struct sim_points *points, size_t i)
{
	struct sim_point *p = &points->point[i];
	json_t *root = run_json(p), *worth;

	if (!root)
		return NULL;
	json_object_set_new(root, "tier_asked", asked_json(p));
	json_object_set_new(root, "tier_bytes",
			    bytes_json(p, points->block_bytes));
	json_object_set_new(root, "tier_peak_blocks", peak_json(p));
	json_object_set_new(root, "all_fits", fits_json(p));
	worth = sim_worth_json(points, i);
	if (worth)
		json_object_set_new(root, "against_first", worth);
	if (points->rows)
		json_object_set_new(root, "rows",
				    rows_json(&p->result, points->rows));
	if (p->explained)
		json_object_set(root, "explain", p->explained);
	return root;
}

static json_t *rates_json(const double v[ROUTE_TIERS])
{
	json_t *root = json_object();

	for (uint32_t t = ROUTE_DRAM; root && t < ROUTE_TIERS; t++)
		json_object_set_new(root, route_tier_name(t), json_real(v[t]));
	return root;
}

json_t *sim_shape_json(const struct fleet_shape_options *o)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:b}", "shape",
			 fleet_shape_name(o->shape), "requests",
			 (json_int_t)o->requests, "agents",
			 (json_int_t)o->agents, "prefix", (json_int_t)o->prefix,
			 "own", (json_int_t)o->own, "within_s", o->within,
			 "every_s", o->every, "warm", o->warm);
}

json_t *sim_options_json(const struct sweep *w)
{
	const struct fleet_options *o = &w->base;
	json_t *root = json_pack(
		"{s:I, s:s, s:I, s:f, s:I, s:f, s:[f,f], s:I, s:I, s:I, s:f, s:f, "
		"s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o}",
		"seed", (json_int_t)o->seed, "policy", w->s->policy,
		"block_tokens", (json_int_t)o->block_tokens, "block_bytes",
		o->block_bytes, "limit", (json_int_t)w->s->limit, "rate_error",
		o->rate_error, "late_s", o->late_least, o->late_most, "liars",
		(json_int_t)o->liars, "boasters", (json_int_t)o->boasters,
		"laggards", (json_int_t)o->laggards, "lag_s", o->lag_s,
		"cancel", o->cancelled, "patience_s", o->patience,
		"objective_s", o->objective_s, "prefill_rate", 1 / o->token_s,
		"prefill_depth", o->depth_tokens, "decode_step_s", o->step_s,
		"decode_each_s", o->running_s, "tier_rate", rates_json(o->rate),
		"tier_latency_s", rates_json(o->wait_s));

	if (root && sim_fleet_makes(w->s->trace))
		json_object_set_new(root, "generated",
				    sim_shape_json(&w->shape));
	return root;
}

json_t *sim_points_json(const struct sweep *w)
{
	const struct sim_points *p = &w->points;
	json_t *root, *list;

	/* a sweep that was interrupted after one run is still one */
	if (w->total == 1) {
		root = point_json(p, 0);
	} else {
		list = json_array();
		for (size_t i = 0; list && i < p->n; i++)
			json_array_append_new(list, point_json(p, i));
		root = json_pack("{s:o}", "points", list);
	}
	if (!root)
		return NULL;
	json_object_set_new(root, "trace", json_string(w->s->trace));
	json_object_set_new(root, "late_requests", json_integer(p->late));
	json_object_set_new(
		root, "short_prompts",
		json_integer((json_int_t)p->point[0].result.short_prompts));
	json_object_set_new(root, "options", sim_options_json(w));
	return root;
}

/* ---- for people --------------------------------------------------------------------- */

static void print_times(const char *name, const struct fleet_times *t,
			FILE *out)
{
	fprintf(out,
		"%-17s mean %.0f ms, p50 %.0f, p90 %.0f, p99 %.0f, most %.0f\n",
		name, t->mean, t->p50, t->p90, t->p99, t->max);
}

/* An engine's tiers, as asked for, and what was used of them. */
static void print_sizes(const struct sim_point *p, FILE *out)
{
	char text[SIM_SIZE_TEXT];

	fputs("an engine's tiers", out);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++) {
		if (!p->blocks[t])
			continue;
		fprintf(out, "%s %s %s", t ? "," : "", route_tier_name(t),
			sim_size_text(p, t, text));
		if (p->asked[t] && text[strspn(text, "0123456789")])
			fprintf(out, " (%llu blocks)",
				(unsigned long long)p->blocks[t]);
		if (sim_all_fits(p, t))
			fprintf(out, " (all fits: %llu)",
				(unsigned long long)p->result.peak[t]);
	}
	fputc('\n', out);
}

static void print_one(const struct sim_points *points, FILE *out)
{
	const struct sim_point *p = points->point;
	const struct fleet_result *r = &p->result;
	double all = r->blocks ? (double)r->blocks : 1;

	fprintf(out, "%s, %s, %u engines, load %g, link %g Gbit/s\n",
		points->trace, p->policy, p->engines, p->load, p->gbit);
	fprintf(out,
		"requests          %llu in %.0f s; cancelled %llu, refused "
		"%llu\n",
		(unsigned long long)r->requests, r->span_s,
		(unsigned long long)r->cancelled,
		(unsigned long long)r->refused);
	print_times("first token", &r->ttft, out);
	fprintf(out, "... of that, mean");
	for (uint32_t i = 0; i < FLEET_PHASES; i++)
		fprintf(out, "%s %s %.0f", i ? "," : " ", fleet_phase_name(i),
			r->phase_ms[i]);
	fprintf(out, " ms\n");
	print_times("floor", &r->floor, out);
	print_times("completion", &r->total, out);
	fprintf(out, "prefix hit rate   %.1f %%:", 100 * r->prefix_hit_rate);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		fprintf(out, " %s %.1f,", route_tier_name(t),
			100 * (double)r->hits[t] / all);
	fprintf(out, " node %.1f\n", 100 * (double)r->pulled / all);
	fprintf(out,
		"bytes moved       %.1f GB: %.1f from other engines in "
		"%llu moves (%llu from copies still arriving), %.1f "
		"demoted\n",
		moved_bytes(r) / 1e9, r->pulled_bytes / 1e9,
		(unsigned long long)r->moves,
		(unsigned long long)r->shared_moves, r->demoted_bytes / 1e9);
	print_sizes(p, out);
	fprintf(out, "busiest link      %.1f GB one way, %.1f %% of the time\n",
		r->busiest_bytes / 1e9, 100 * r->busiest_use);
	fprintf(out, "fairness          %.2f of requests, %.2f of engines\n",
		r->fairness, r->balance);
	fprintf(out,
		"engine seconds    %.0f of prefill, %.0f saved; engines "
		"busy %.0f %%\n",
		r->prefill_s, r->saved_s, 100 * r->busy);
}

/* Tiers whose size differs between the points have a column. */
struct columns {
	bool blocks[ROUTE_TIERS];
};

static struct columns columns_of(const struct sim_points *points)
{
	const struct sim_point *first = points->point;
	struct columns c = { 0 };

	for (size_t i = 1; i < points->n; i++)
		for (uint32_t t = 0; t < ROUTE_TIERS; t++)
			c.blocks[t] |= points->point[i].blocks[t] !=
				       first->blocks[t];
	return c;
}

static void print_head(const struct columns *c, FILE *out)
{
	fprintf(out, "%7s %7s %7s", "engines", "load", "Gbit/s");
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (c->blocks[t])
			fprintf(out, "%9s", route_tier_name(t));
	fprintf(out, "  %-15s %9s %9s %9s %9s %9s %6s %9s %9s %6s\n", "route",
		"TTFT mean", "p50", "p90", "p99", "end p99", "hits", "pulled",
		"saved", "fair");
	fprintf(out, "%23s", "");
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (c->blocks[t])
			fprintf(out, "%9s", "");
	fprintf(out, "  %-15s %9s %9s %9s %9s %9s %6s %9s %9s %6s\n", "", "ms",
		"ms", "ms", "ms", "ms", "%", "GB", "s", "");
}

static void print_row(const struct columns *c, const struct sim_point *p,
		      FILE *out)
{
	const struct fleet_result *r = &p->result;
	char text[SIM_SIZE_TEXT];

	fprintf(out, "%7u %7g %7g", p->engines, p->load, p->gbit);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (c->blocks[t])
			fprintf(out, "%9s", sim_size_text(p, t, text));
	fprintf(out,
		"  %-15s %9.0f %9.0f %9.0f %9.0f %9.0f %6.1f %9.1f %9.0f "
		"%6.2f",
		p->policy, r->ttft.mean, r->ttft.p50, r->ttft.p90, r->ttft.p99,
		r->total.p99, 100 * r->prefix_hit_rate, r->pulled_bytes / 1e9,
		r->saved_s, r->fairness);
	/* whoever sends some away is quick with the others */
	if (r->refused)
		fprintf(out, "  refused %llu", (unsigned long long)r->refused);
	if (r->cancelled)
		fprintf(out, "  gave up %llu",
			(unsigned long long)r->cancelled);
	fputc('\n', out);
}

/* Of the place that begins at `first`: what none of its routes can be below. */
static void print_floor(const struct columns *c,
			const struct sim_points *points, size_t first,
			FILE *out)
{
	struct sim_point floor = points->point[first];
	size_t n = sim_place_size(points, first);
	struct fleet_result *r = &floor.result;

	/* policies that refuse have another one */
	for (size_t i = 1; i < n; i++)
		if (points->point[first + i].result.requests > r->requests)
			*r = points->point[first + i].result;
	fprintf(out, "%7u %7g %7g", floor.engines, floor.load, floor.gbit);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (c->blocks[t])
			fprintf(out, "%9s", "");
	fprintf(out, "  %-15s %9.0f %9.0f %9.0f %9.0f\n", "(floor)",
		r->floor.mean, r->floor.p50, r->floor.p90, r->floor.p99);
}

static void print_rows(const struct sim_points *points, FILE *out)
{
	for (size_t i = 0; points->rows && i < points->n; i++) {
		const struct sim_point *p = &points->point[i];

		fprintf(out,
			"\n%s, %u engines, load %g: over the time of the "
			"arrivals\n%9s %9s %9s %6s\n",
			p->policy, p->engines, p->load, "until %", "requests",
			"TTFT ms", "hits %");
		for (uint32_t k = 0; k < points->rows; k++) {
			struct fleet_slot s =
				row_of(&p->result, k, points->rows);
			double all = s.blocks ? (double)s.blocks : 1;

			fprintf(out, "%9.0f %9llu %9.0f %6.1f\n",
				100.0 * (k + 1) / points->rows,
				(unsigned long long)s.requests, s.ttft_ms,
				100 * (double)s.hits / all);
		}
	}
}

static void print_odd(const struct sim_points *points, FILE *out)
{
	uint64_t odd = points->point[0].result.short_prompts;

	if (points->late)
		fprintf(out,
			"%u requests were earlier than one before them: sorted "
			"in\n",
			points->late);
	if (odd)
		fprintf(out,
			"%llu prompts have more blocks than their tokens fill; "
			"is --block-tokens right?\n",
			(unsigned long long)odd);
}

void sim_points_print(const struct sim_points *points, FILE *out)
{
	struct columns c = columns_of(points);

	print_odd(points, out);
	if (points->n == 1) {
		print_one(points, out);
		print_rows(points, out);
		return;
	}
	fprintf(out, "%s\n", points->trace);
	print_head(&c, out);
	for (size_t i = 0; i < points->n; i += sim_place_size(points, i)) {
		for (size_t k = 0; k < sim_place_size(points, i); k++)
			print_row(&c, &points->point[i + k], out);
		print_floor(&c, points, i, out);
	}
	sim_worth_print(points, out);
	print_rows(points, out);
}

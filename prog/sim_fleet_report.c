/* SPDX-License-Identifier: Apache-2.0 */
/* Results of onecopy sim with engines: JSON, tables, reasons. */
#include "base/compiler.h"
#include "base/text.h"
#include "sim_fleet.h"

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

json_t *sim_point_json(const struct sim_point *p)
{
	const struct fleet_result *r = &p->result;

	return json_pack(
		"{s:s, s:I, s:f, s:f, s:o, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:f, "
		"s:o, s:o, s:f, s:f, s:f, s:I, s:I, s:{s:f, s:f}, s:f, s:f, s:f, "
		"s:f, s:f, s:f, s:f}",
		"route", p->policy, "engines", (json_int_t)p->engines, "load",
		p->load, "link_gbit", p->gbit, "tier_blocks", blocks_json(p),
		"requests", (json_int_t)r->requests, "cancelled",
		(json_int_t)r->cancelled, "refused", (json_int_t)r->refused,
		"span_s", r->span_s, "ttft_ms", times_json(&r->ttft),
		"ttft_parts_ms", phases_json(r), "completion_ms",
		times_json(&r->total), "prefix_hit_rate", r->prefix_hit_rate,
		"hit_rate", hits_json(r), "loaded_bytes", loaded_json(r),
		"pulled_bytes", r->pulled_bytes, "demoted_bytes",
		r->demoted_bytes, "moved_bytes", moved_bytes(r), "moves",
		(json_int_t)r->moves, "shared_moves",
		(json_int_t)r->shared_moves, "busiest_link", "bytes",
		r->busiest_bytes, "use", r->busiest_use, "last_first_token_s",
		r->last_ttft_s, "fairness", r->fairness, "balance", r->balance,
		"prefill_s", r->prefill_s, "engine_seconds_saved", r->saved_s,
		"saved_prefill_s", r->saved_s, "busy", r->busy);
}

/* ---- for people --------------------------------------------------------------------- */

static void print_times(const char *name, const struct fleet_times *t,
			FILE *out)
{
	fprintf(out,
		"%-17s mean %.0f ms, p50 %.0f, p90 %.0f, p99 %.0f, most %.0f\n",
		name, t->mean, t->p50, t->p90, t->p99, t->max);
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
			fprintf(out, "%9s", "blocks");
	fprintf(out, "  %-15s %9s %9s %9s %9s %9s %6s %9s %9s %6s\n", "", "ms",
		"ms", "ms", "ms", "ms", "%", "GB", "s", "");
}

static void print_row(const struct columns *c, const struct sim_point *p,
		      FILE *out)
{
	const struct fleet_result *r = &p->result;

	fprintf(out, "%7u %7g %7g", p->engines, p->load, p->gbit);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (c->blocks[t])
			fprintf(out, "%9llu", (unsigned long long)p->blocks[t]);
	fprintf(out,
		"  %-15s %9.0f %9.0f %9.0f %9.0f %9.0f %6.1f %9.1f %9.0f "
		"%6.2f\n",
		p->policy, r->ttft.mean, r->ttft.p50, r->ttft.p90, r->ttft.p99,
		r->total.p99, 100 * r->prefix_hit_rate, r->pulled_bytes / 1e9,
		r->saved_s, r->fairness);
}

void sim_points_print(const struct sim_points *points, FILE *out)
{
	struct columns c = columns_of(points);

	if (points->late)
		fprintf(out,
			"%u requests were earlier than the one before them: "
			"sorted in\n",
			points->late);
	if (points->n == 1) {
		print_one(points, out);
		return;
	}
	fprintf(out, "%s\n", points->trace);
	print_head(&c, out);
	for (size_t i = 0; i < points->n; i++)
		print_row(&c, &points->point[i], out);
}

/* ---- reasons ------------------------------------------------------------------------- */

static void print_price(const struct route_price *p, const char *name,
			FILE *out)
{
	fprintf(out, "%-8s %9.1f %9.1f ", name, 1000 * p->ttft_s,
		1000 * p->others_s);
	if (p->again)
		fprintf(out, "%9s", "again");
	else
		fprintf(out, "%9.1f", 1000 * p->total_s);
	fprintf(out, " %8u %8u %8u", p->use_blocks, p->load_blocks,
		p->pull_blocks);
	if (p->pull_from != ROUTE_NONE)
		fprintf(out, " %6u\n", p->pull_from);
	else
		fprintf(out, " %6s\n", "-");
}

void sim_explain(double at, const struct route_fleet *fleet,
		 const struct route_request *q,
		 const struct route_choice *choice,
		 const struct route_price *price, FILE *out)
{
	char name[16];

	fprintf(out, "request %llu at %.3f s: %llu tokens, %u blocks\n",
		(unsigned long long)q->serial, at,
		(unsigned long long)q->tokens, q->blocks);
	fprintf(out, "which engine continues it?   %u%s\n", choice->engine,
		choice->keeps ? ", which holds as much of it as any" : "");
	fprintf(out, "should its KV move first?    %s\n",
		!choice->move_first ? "no"
		: choice->price.pull_from != ROUTE_NONE
			? "yes, from another engine"
			: "yes, from a lower tier");
	fprintf(out, "does one transfer serve several? %s\n",
		choice->share ? "yes, it follows a copy that is still arriving"
			      : "no");
	fprintf(out, "%-8s %9s %9s %9s %8s %8s %8s %6s\n", "engine", "TTFT ms",
		"others", "price", "use to", "load to", "pull to", "from");
	for (uint32_t i = 0; i < fleet->n; i++) {
		snprintf(name, sizeof(name), "%s%u",
			 i == choice->engine ? "* " : "  ", i);
		print_price(&price[i], name, out);
	}
}

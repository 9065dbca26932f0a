/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What if: each place of a sweep against the first one. "What would another 4 TB
 * of SSD be worth?" is a difference, for each TB, and in engines.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "sim_fleet.h"

static bool differ(double a, double b)
{
	return fabs(a - b) > 1e-9 * MAX(fabs(a), fabs(b));
}

static bool same_memory(const struct sim_point *a, const struct sim_point *b)
{
	return !memcmp(a->blocks, b->blocks, sizeof(a->blocks));
}

bool sim_same_place(const struct sim_point *a, const struct sim_point *b)
{
	return a->engines == b->engines && !differ(a->load, b->load) &&
	       !differ(a->gbit, b->gbit) && same_memory(a, b);
}

size_t sim_place_size(const struct sim_points *p, size_t first)
{
	size_t n = 1;

	while (first + n < p->n &&
	       sim_same_place(&p->point[first], &p->point[first + n]))
		n++;
	return n;
}

const char *sim_size_text(const struct sim_point *p, uint32_t tier,
			  char text[SIM_SIZE_TEXT])
{
	if (p->asked[tier])
		snprintf(text, SIM_SIZE_TEXT, "%s", p->asked[tier]);
	else
		snprintf(text, SIM_SIZE_TEXT, "%" PRIu64, p->blocks[tier]);
	return text;
}

bool sim_all_fits(const struct sim_point *p, uint32_t tier)
{
	return p->blocks[tier] && !p->result.full[tier];
}

/* Memory of all engines, in 10^12 bytes. */
static double memory_tb(const struct sim_points *p, const struct sim_point *at)
{
	double blocks = 0;

	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		blocks += (double)at->blocks[t];
	return blocks * p->block_bytes * at->engines / 1e12;
}

/* The points of the first memory, load and link show what engines are worth: how
 * many do what this one does? Between two of them, on a straight line. */
static double like_engines(const struct sim_points *p,
			   const struct sim_point *first,
			   const struct sim_point *at)
{
	const struct sim_point *low = NULL;
	double ms = at->result.ttft.mean;

	for (size_t i = 0; i < p->n; i++) {
		const struct sim_point *x = &p->point[i];
		double a, b;

		if (strcmp(x->policy, at->policy) != 0 ||
		    !same_memory(x, first) || differ(x->load, at->load) ||
		    differ(x->gbit, at->gbit))
			continue;
		if (low && low->engines < x->engines) {
			a = low->result.ttft.mean;
			b = x->result.ttft.mean;
			if (a >= ms && ms >= b && a > b)
				return low->engines +
				       (a - ms) / (a - b) *
					       (x->engines - low->engines);
		}
		low = x;
	}
	return 0;
}

bool sim_worth_of(const struct sim_points *p, size_t i,
		  struct sim_worth *ret_worth)
{
	size_t policies = sim_place_size(p, 0);
	const struct sim_point *at = &p->point[i];
	const struct sim_point *first = &p->point[i % policies];
	const struct fleet_result *r = &at->result, *f = &first->result;
	struct sim_worth w = {
		.ttft_ms = r->ttft.mean - f->ttft.mean,
		.ttft_p99_ms = r->ttft.p99 - f->ttft.p99,
		.hit_rate = r->prefix_hit_rate - f->prefix_hit_rate,
		.saved_s = r->saved_s - f->saved_s,
		.tb = memory_tb(p, at) - memory_tb(p, first),
	};

	if (i < policies)
		return false;
	if (f->span_s > 0)
		w.engines = w.saved_s / f->span_s;
	w.memory = at->engines == first->engines &&
		   !differ(at->load, first->load) &&
		   !differ(at->gbit, first->gbit) && fabs(w.tb) > 0;
	if (w.memory) {
		w.saved_s_tb = w.saved_s / w.tb;
		w.engines_tb = w.engines / w.tb;
		w.ttft_ms_tb = w.ttft_ms / w.tb;
		w.like_engines = like_engines(p, first, at);
	}
	*ret_worth = w;
	return true;
}

/* ---- told ---------------------------------------------------------------- */

json_t *sim_worth_json(const struct sim_points *p, size_t i)
{
	struct sim_worth w;
	json_t *root;

	if (!sim_worth_of(p, i, &w))
		return NULL;
	root = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "ttft_mean_ms",
			 w.ttft_ms, "ttft_p99_ms", w.ttft_p99_ms,
			 "prefix_hit_rate", w.hit_rate, "engine_seconds_saved",
			 w.saved_s, "engines", w.engines, "memory_tb", w.tb);
	if (root && w.memory)
		json_object_set_new(
			root, "for_each_tb",
			json_pack("{s:f, s:f, s:f}", "engine_seconds_saved",
				  w.saved_s_tb, "engines", w.engines_tb,
				  "ttft_mean_ms", w.ttft_ms_tb));
	if (root && w.like_engines > 0)
		json_object_set_new(root, "like_engines",
				    json_real(w.like_engines));
	return root;
}

static void print_sizes(const struct sim_points *p, const struct sim_point *at,
			FILE *out)
{
	char text[SIM_SIZE_TEXT];

	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		for (size_t i = 1; i < p->n; i++)
			if (p->point[i].blocks[t] != p->point[0].blocks[t]) {
				fprintf(out, "%9s", sim_size_text(at, t, text));
				break;
			}
}

static void print_tiers(const struct sim_points *p, FILE *out)
{
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		for (size_t i = 1; i < p->n; i++)
			if (p->point[i].blocks[t] != p->point[0].blocks[t]) {
				fprintf(out, "%9s", route_tier_name(t));
				break;
			}
}

static void print_worth(const struct sim_points *p, const struct sim_point *at,
			const struct sim_worth *w, FILE *out)
{
	fprintf(out, "%7u %7g %7g", at->engines, at->load, at->gbit);
	print_sizes(p, at, out);
	fprintf(out, "  %-15s %+9.0f %+9.0f %+6.1f %+9.0f %+8.2f %+8.2f",
		at->policy, w->ttft_ms, w->ttft_p99_ms, 100 * w->hit_rate,
		w->saved_s, w->engines, w->tb);
	if (w->memory)
		fprintf(out, " %9.0f %8.2f %8.1f", w->saved_s_tb, w->engines_tb,
			w->ttft_ms_tb);
	if (w->like_engines > 0)
		fprintf(out, "  as %.1f engines", w->like_engines);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (sim_all_fits(at, t) &&
		    at->blocks[t] != p->point[0].blocks[t])
			fprintf(out, "  %s: all fits", route_tier_name(t));
	fputc('\n', out);
}

/* Of a tier whose sizes were asked for: from which on there is nothing more to
 * gain, at any of the places. */
static void print_fits(const struct sim_points *p, uint32_t t, FILE *out)
{
	const struct sim_point *least = NULL;
	uint64_t most = 0, full = 0;
	bool differs = false;
	char text[SIM_SIZE_TEXT];

	for (size_t i = 0; i < p->n; i++) {
		const struct sim_point *x = &p->point[i];

		most = MAX(most, x->result.peak[t]);
		differs |= x->blocks[t] != p->point[0].blocks[t];
		if (!sim_all_fits(x, t))
			full = MAX(full, x->blocks[t]);
	}
	for (size_t i = 0; i < p->n; i++) {
		const struct sim_point *x = &p->point[i];

		if (x->blocks[t] > full &&
		    (!least || x->blocks[t] < least->blocks[t]))
			least = x;
	}
	if (!differs || !least)
		return;
	fprintf(out,
		"all fits in %s of %s: no engine had more than %" PRIu64
		" blocks (%.1f GB) there; more of it changes nothing\n",
		route_tier_name(t), sim_size_text(least, t, text), most,
		(double)most * p->block_bytes / 1e9);
}

void sim_worth_print(const struct sim_points *p, FILE *out)
{
	struct sim_worth w;

	if (sim_place_size(p, 0) == p->n)
		return;
	fputs("\nagainst the first, each route with itself; memory is that of "
	      "all engines;\n\"engines\": the prefill that is saved, in engines "
	      "that do nothing else\n",
	      out);
	fprintf(out, "%7s %7s %7s", "engines", "load", "Gbit/s");
	print_tiers(p, out);
	fprintf(out, "  %-15s %9s %9s %6s %9s %8s %8s %9s %8s %8s\n", "route",
		"TTFT ms", "p99 ms", "hits %", "saved s", "engines", "TB",
		"s/TB", "eng./TB", "ms/TB");
	for (size_t i = 0; i < p->n; i++)
		if (sim_worth_of(p, i, &w))
			print_worth(p, &p->point[i], &w, out);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		print_fits(p, t, out);
}

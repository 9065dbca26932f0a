/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a request was sent where it was: each engine with its best mix, the answers
 * to the three questions, and what else the chosen engine could have done (its
 * own first token alone is priced there: the engine is the same, and so are
 * those who wait behind it). Then the same of each later decision that took it
 * elsewhere while the router held it, and what became of it.
 */
#include "base/compiler.h"
#include "base/text.h"
#include "sim_fleet.h"

/* Ways of one engine: alone in three kinds, from each of the others. */
#define WAYS (3 + ROUTE_ENGINES_MAX)

struct way {
	const char *name;
	uint32_t from; /* ROUTE_NONE */
	bool none;     /* there is no such mix that is better than alone */
	struct route_price price;
};

/* What is below device memory (everything, where `anew`) is not used. */
static void without(const struct route_fleet *fleet, uint32_t at, bool anew,
		    const struct route_request *q, struct route_price *ret)
{
	struct route_engine engine[ROUTE_ENGINES_MAX];
	struct route_fleet f = *fleet;
	struct route_engine *e = &engine[at];

	memcpy(engine, fleet->engine, fleet->n * sizeof(*engine));
	if (anew) {
		e->run[ROUTE_VRAM] = 0;
		e->coming = 0;
	}
	for (uint32_t t = ROUTE_DRAM; t < ROUTE_TIERS; t++)
		e->run[t] = e->run[ROUTE_VRAM];
	f.engine = engine;
	route_price_local(&f, at, q, ret);
}

static uint32_t holds(const struct route_engine *e)
{
	return MAX(e->run[ROUTE_NVME], e->coming);
}

static uint32_t ways_of(const struct route_fleet *fleet, uint32_t at,
			const struct route_request *q, struct way way[WAYS])
{
	uint32_t n = 0;

	way[n] = (struct way){ .name = "compute it all", .from = ROUTE_NONE };
	without(fleet, at, true, q, &way[n++].price);
	way[n] = (struct way){ .name = "move nothing", .from = ROUTE_NONE };
	without(fleet, at, false, q, &way[n++].price);
	way[n] = (struct way){ .name = "load its own", .from = ROUTE_NONE };
	route_price_local(fleet, at, q, &way[n++].price);
	for (uint32_t i = 0; i < fleet->n; i++) {
		if (i == at || holds(&fleet->engine[i]) == 0)
			continue;
		way[n] = (struct way){ .name = "pull", .from = i };
		route_price_pull(fleet, at, i, q, &way[n].price);
		way[n].none = way[n].price.pull_from == ROUTE_NONE;
		n++;
	}
	return n;
}

/* ---- for people ------------------------------------------------------------- */

static void print_mix(const struct route_price *p, FILE *out)
{
	fprintf(out, " %8u %8u %8u", p->use_blocks, p->load_blocks,
		p->pull_blocks);
	if (p->pull_from != ROUTE_NONE)
		fprintf(out, " %6u\n", p->pull_from);
	else
		fprintf(out, " %6s\n", "-");
}

static void print_price(const struct route_price *p, const char *name,
			FILE *out)
{
	fprintf(out, "%-8s %9.1f %9.1f ", name, 1000 * p->ttft_s,
		1000 * p->others_s);
	if (p->again)
		fprintf(out, "%9s", "again");
	else
		fprintf(out, "%9.1f", 1000 * p->total_s);
	print_mix(p, out);
}

static void print_ways(const struct route_fleet *fleet, uint32_t at,
		       const struct route_request *q, FILE *out)
{
	struct way way[WAYS];
	uint32_t n = ways_of(fleet, at, q, way);
	char name[32];

	fprintf(out,
		"what engine %u could do, by the own first token alone:\n"
		"%-18s %9s %18s %8s %8s %6s\n",
		at, "", "TTFT ms", "use to", "load to", "pull to", "from");
	for (uint32_t i = 0; i < n; i++) {
		if (way[i].from == ROUTE_NONE)
			snprintf(name, sizeof(name), "%s", way[i].name);
		else
			snprintf(name, sizeof(name), "pull from %u",
				 way[i].from);
		fprintf(out, "%-18s ", name);
		if (way[i].none) {
			fprintf(out, "%9s\n", "no sooner");
			continue;
		}
		fprintf(out, "%9.1f %9s", 1000 * way[i].price.ttft_s, "");
		print_mix(&way[i].price, out);
	}
}

static void print_run(const struct sim_point *p, FILE *out)
{
	char text[SIM_SIZE_TEXT];

	fprintf(out, "%s, %u engines, load %g, link %g Gbit/s,", p->policy,
		p->engines, p->load, p->gbit);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		if (p->blocks[t])
			fprintf(out, " %s %s", route_tier_name(t),
				sim_size_text(p, t, text));
	fputc('\n', out);
}

static void print_begin(const struct sim_point *p, const struct sim_decision *d,
			FILE *out)
{
	const struct fleet_stay *stay = d->stay;

	if (stay) {
		fprintf(out,
			"decided anew at %.3f s, held at the router: away from "
			"engine %u, where its turn was %.3f s away and its "
			"first token %.3f s\n",
			d->at, stay->engine, stay->turn_s, stay->ttft_s);
		return;
	}
	print_run(p, out);
	fprintf(out, "request %llu at %.3f s: %llu tokens, %u blocks\n",
		(unsigned long long)d->q->serial, d->at,
		(unsigned long long)d->q->tokens, d->q->blocks);
}

static void print_answers(const struct route_choice *choice, FILE *out)
{
	if (choice->refused)
		fputs("refused: no engine is within the objective\n", out);
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
}

void sim_explain(const struct sim_point *p, const struct sim_decision *d,
		 FILE *out)
{
	uint32_t best = d->choice->engine;
	char name[16];

	print_begin(p, d, out);
	print_answers(d->choice, out);
	fprintf(out, "%-8s %9s %9s %9s %8s %8s %8s %6s\n", "engine", "TTFT ms",
		"others", "price", "use to", "load to", "pull to", "from");
	for (uint32_t i = 0; i < d->fleet->n; i++) {
		const char *mark = i == best			     ? "* "
				   : d->stay && i == d->stay->engine ? "- "
								     : "  ";

		snprintf(name, sizeof(name), "%s%u", mark, i);
		print_price(&d->price[i], name, out);
	}
	print_ways(d->fleet, best, d->q, out);
}

void sim_explain_over(const struct fleet_fate *fate, FILE *out)
{
	const double *spent = fate->spent_s;

	if (fate->asked || spent[FLEET_IN_HOLD] > 0)
		fprintf(out,
			"held at the router for %.1f ms: asked again %u time%s, "
			"went elsewhere %u time%s\n",
			1000 * spent[FLEET_IN_HOLD], fate->asked,
			fate->asked == 1 ? "" : "s", fate->left,
			fate->left == 1 ? "" : "s");
	fprintf(out, "%s after %.1f ms on engine %u:",
		fate->gave_up ? "gave up" : "first token",
		1000 * (fate->over - fate->arrived), fate->engine);
	for (uint32_t i = 0; i < FLEET_PHASES; i++)
		fprintf(out, "%s %s %.1f", i ? "," : "", fleet_phase_name(i),
			1000 * spent[i]);
	fprintf(out,
		"\nfrom the %sdecision on %.1f ms were foretold, and %.1f %s\n",
		fate->left ? "last " : "", 1000 * fate->foretold_s,
		1000 * (fate->over - fate->decided),
		fate->gave_up ? "passed" : "came");
}

/* ---- as JSON ---------------------------------------------------------------- */

static json_t *price_json(const struct route_price *p)
{
	json_t *root = json_pack("{s:f, s:I, s:I, s:I}", "ttft_ms",
				 1000 * p->ttft_s, "use_blocks",
				 (json_int_t)p->use_blocks, "load_blocks",
				 (json_int_t)p->load_blocks, "pull_blocks",
				 (json_int_t)p->pull_blocks);

	if (root && p->pull_from != ROUTE_NONE)
		json_object_set_new(root, "pull_from",
				    json_integer(p->pull_from));
	return root;
}

static json_t *engines_json(const struct route_fleet *fleet,
			    const struct route_price *price)
{
	json_t *list = json_array();

	for (uint32_t i = 0; list && i < fleet->n; i++) {
		json_t *one = price_json(&price[i]);

		json_object_set_new(one, "engine", json_integer(i));
		json_object_set_new(one, "others_ms",
				    json_real(1000 * price[i].others_s));
		json_object_set_new(
			one, "price_ms",
			price[i].again ? json_null()
				       : json_real(1000 * price[i].total_s));
		json_object_set_new(one, "again", json_boolean(price[i].again));
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *ways_json(const struct route_fleet *fleet, uint32_t at,
			 const struct route_request *q)
{
	struct way way[WAYS];
	uint32_t n = ways_of(fleet, at, q, way);
	json_t *list = json_array();

	for (uint32_t i = 0; list && i < n; i++) {
		json_t *one = way[i].none ? json_object()
					  : price_json(&way[i].price);

		json_object_set_new(one, "way", json_string(way[i].name));
		if (way[i].from != ROUTE_NONE)
			json_object_set_new(one, "from",
					    json_integer(way[i].from));
		json_object_set_new(one, "sooner_than_alone",
				    json_boolean(way[i].from != ROUTE_NONE &&
						 !way[i].none));
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *decision_json(const struct sim_decision *d)
{
	const struct route_choice *choice = d->choice;
	json_t *root =
		json_pack("{s:f, s:I, s:b, s:b, s:b, s:b, s:o, s:o}", "at_s",
			  d->at, "engine", (json_int_t)choice->engine, "keeps",
			  choice->keeps, "move_first", choice->move_first,
			  "share", choice->share, "refused", choice->refused,
			  "engines", engines_json(d->fleet, d->price), "ways",
			  ways_json(d->fleet, choice->engine, d->q));

	if (root && d->stay)
		json_object_update_new(
			root,
			json_pack("{s:I, s:f, s:f}", "left",
				  (json_int_t)d->stay->engine, "left_turn_ms",
				  1000 * d->stay->turn_s, "left_ttft_ms",
				  1000 * d->stay->ttft_s));
	return root;
}

void sim_explain_json(const struct sim_decision *d, json_t **root)
{
	if (d->stay) {
		json_array_append_new(json_object_get(*root, "anew"),
				      decision_json(d));
		return;
	}
	json_decref(*root);
	*root = decision_json(d);
	json_object_update_new(*root,
			       json_pack("{s:I, s:I, s:I, s:[]}", "request",
					 (json_int_t)d->q->serial, "tokens",
					 (json_int_t)d->q->tokens, "blocks",
					 (json_int_t)d->q->blocks, "anew"));
}

void sim_explain_over_json(const struct fleet_fate *fate, json_t *root)
{
	json_t *parts = json_object();

	for (uint32_t i = 0; i < FLEET_PHASES; i++)
		json_object_set_new(parts, fleet_phase_name(i),
				    json_real(1000 * fate->spent_s[i]));
	json_object_set_new(
		root, "outcome",
		json_pack("{s:I, s:b, s:f, s:f, s:f, s:I, s:I, s:o}", "engine",
			  (json_int_t)fate->engine, "gave_up", fate->gave_up,
			  "after_ms", 1000 * (fate->over - fate->arrived),
			  "foretold_ms", 1000 * fate->foretold_s, "came_ms",
			  1000 * (fate->over - fate->decided), "asked_again",
			  (json_int_t)fate->asked, "went_elsewhere",
			  (json_int_t)fate->left, "parts_ms", parts));
}

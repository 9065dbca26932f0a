/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim with engines: what the command line says. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"
#include "commands.h"
#include "sim_sweep.h"

static const char *text_of(const struct sweep *w, int id)
{
	return w->f->text[id - SIM_ENGINES];
}

static int wrong(const struct sweep *w, const char *name, const char *text,
		 const char *what)
{
	return cli_fail(w->s->command, PROG_USAGE, "--%s: %s is not %s", name,
			text, what);
}

/* ---- values ---------------------------------------------------------------------- */

/* A number, with a unit that may be there. */
static int plain(const char *text, const char *unit, double least, double most,
		 double *ret)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (errno || end == text || !(v >= least && v <= most))
		return -EINVAL;
	if (*end && strcmp(end, unit) != 0)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* Blocks where it has no unit, bytes where it has one. */
static int blocks_of(const struct sweep *w, const char *text, double *ret)
{
	uint64_t v;

	if (strspn(text, "0123456789") == strlen(text)) {
		if (text_parse_u64(text, UINT32_MAX / 4, &v))
			return -EINVAL;
		*ret = (double)v;
		return 0;
	}
	if (text_parse_size(text, 0, &v))
		return -EINVAL;
	*ret = floor((double)v / w->base.block_bytes);
	if (v && *ret < 1)
		return -ERANGE; /* a tier that is meant to be there would not */
	return *ret < UINT32_MAX / 4 ? 0 : -EINVAL;
}

enum shape { WHOLE, FACTOR, GBIT, BLOCKS };

static int value_of(const struct sweep *w, const char *text, enum shape shape,
		    double *ret)
{
	switch (shape) {
	case WHOLE:
		if (strspn(text, "0123456789") != strlen(text))
			return -EINVAL;
		return plain(text, "", 1, ROUTE_ENGINES_MAX, ret);
	case FACTOR:
		return plain(text, "x", 1e-6, 1e6, ret);
	case GBIT:
		return plain(text, "G", 1e-3, 1e6, ret);
	default:
		return blocks_of(w, text, ret);
	}
}

/* What is there already would be played twice, to the same end. */
static void drop_repeat(struct sim_list *list)
{
	for (uint32_t i = 0; i + 1 < list->n; i++)
		if (!(list->v[i] < list->v[list->n - 1]) &&
		    !(list->v[i] > list->v[list->n - 1])) {
			list->n--;
			return;
		}
}

static int list_of(const struct sweep *w, const char *name, const char *text,
		   enum shape shape, struct sim_list *ret)
{
	static const char *const what[] = {
		[WHOLE] = "a number from 1 to 64",
		[FACTOR] = "a number above 0",
		[GBIT] = "a rate in Gbit/s",
		[BLOCKS] = "a number of blocks or a size",
	};
	char *rest, *word;
	int r = 0, bad;

	if (!text)
		return 0;
	ret->copy = rest = mem_dup(text);
	if (!rest)
		return cli_fail(w->s->command, PROG_SYSTEM, "out of memory");
	ret->n = 0;
	while (r == 0 && (word = strsep(&rest, ","))) {
		if (ret->n == SIM_LIST)
			return wrong(w, name, text, "a list of at most 16");
		ret->text[ret->n] = word;
		bad = value_of(w, word, shape, &ret->v[ret->n++]);
		if (bad == -ERANGE)
			r = cli_fail(w->s->command, PROG_USAGE,
				     "--%s: %s is less than a block of %.0f "
				     "bytes",
				     name, word, w->base.block_bytes);
		else if (bad)
			r = wrong(w, name, word, what[shape]);
		else
			drop_repeat(ret);
	}
	return r;
}

static int percent_of(const struct sweep *w, int id, const char *name,
		      double most, double *ret)
{
	const char *text = text_of(w, id);

	if (!text)
		return 0;
	if (plain(text, "%", 0, most, ret))
		return wrong(w, name, text, "a percentage");
	*ret /= 100;
	return 0;
}

static int seconds_of(const struct sweep *w, const char *name, const char *text,
		      double *ret)
{
	uint64_t ns;

	if (!text)
		return 0;
	if (text_parse_time(text, &ns))
		return wrong(w, name, text, "a time");
	*ret = (double)ns / 1e9;
	return 0;
}

static int number_of(const struct sweep *w, int id, const char *name,
		     uint64_t most, uint64_t *ret)
{
	const char *text = text_of(w, id);

	if (!text)
		return 0;
	if (!text_parse_u64(text, most, ret))
		return 0;
	return cli_fail(w->s->command, PROG_USAGE,
			"--%s: %s is not a number from 0 to %llu", name, text,
			(unsigned long long)most);
}

static int late_of(struct sweep *w)
{
	const char *text = text_of(w, SIM_LATE), *comma;
	char least[32];
	int r;

	if (!text)
		return 0;
	comma = strchr(text, ',');
	if (!comma || (size_t)(comma - text) >= sizeof(least))
		return wrong(w, "late", text, "two times");
	snprintf(least, sizeof(least), "%.*s", (int)(comma - text), text);
	r = seconds_of(w, "late", least, &w->base.late_least);
	if (r == 0)
		r = seconds_of(w, "late", comma + 1, &w->base.late_most);
	if (r == 0 && w->base.late_least > w->base.late_most)
		r = wrong(w, "late", text, "from less to more");
	return r;
}

/* ---- policies ---------------------------------------------------------------------- */

static int policy_add(struct sweep *w, const char *name)
{
	const char *names[32];
	const char *near;
	size_t n = 0;

	for (; route_at(n) && n < ARRAY_LEN(names); n++)
		names[n] = route_at(n)->name;
	if (w->policies == ARRAY_LEN(w->policy))
		return wrong(w, "compare", name, "one of so many");
	w->policy[w->policies] = route_find(name);
	for (uint32_t i = 0; i < w->policies; i++)
		if (w->policy[i] == w->policy[w->policies])
			return 0; /* once is enough */
	if (w->policy[w->policies]) {
		w->policies++;
		return 0;
	}
	near = text_nearest(name, names, n);
	return cli_fail(w->s->command, PROG_USAGE, "no routing policy %s; %s%s",
			name, near ? "there is " : "see onecopy-sim(1)",
			near ? near : "");
}

static int policies_of(struct sweep *w)
{
	const char *compare = text_of(w, SIM_COMPARE);
	const char *route = text_of(w, SIM_ROUTE);
	char *copy, *rest, *word;
	int r = 0;

	if (route || !compare)
		r = policy_add(w, route ? route : "onecopy");
	if (r || !compare)
		return r;
	for (size_t i = 0; !strcmp(compare, "all") && route_at(i); i++)
		r = r ? r : policy_add(w, route_at(i)->name);
	if (!strcmp(compare, "all"))
		return r;
	copy = rest = mem_dup(compare);
	if (!copy)
		return cli_fail(w->s->command, PROG_SYSTEM, "out of memory");
	while (r == 0 && (word = strsep(&rest, ",")))
		r = policy_add(w, word);
	free(copy);
	return r;
}

/* ---- the whole line ------------------------------------------------------------------ */

static int sweep_lists(struct sweep *w)
{
	struct sim_list *b = w->blocks;
	int r = list_of(w, "engines", text_of(w, SIM_ENGINES), WHOLE,
			&w->engines);

	if (!r)
		r = list_of(w, "load", text_of(w, SIM_LOAD), FACTOR, &w->load);
	if (!r)
		r = list_of(w, "link", text_of(w, SIM_LINK), GBIT, &w->gbit);
	if (!r)
		r = list_of(w, "vram", text_of(w, SIM_VRAM), BLOCKS, &b[0]);
	if (!r)
		r = list_of(w, "dram", w->f->dram, BLOCKS, &b[ROUTE_DRAM]);
	if (!r)
		r = list_of(w, "cxl", text_of(w, SIM_CXL), BLOCKS,
			    &b[ROUTE_CXL]);
	if (!r)
		r = list_of(w, "nvme", w->f->nvme, BLOCKS, &b[ROUTE_NVME]);
	for (uint32_t i = 0; !r && i < b[ROUTE_VRAM].n; i++)
		if (b[ROUTE_VRAM].v[i] < 1)
			r = wrong(w, "vram", text_of(w, SIM_VRAM),
				  "at least a block");
	return r;
}

/* ---- one number each ------------------------------------------------------------------ */

/* A double among the options, by where it is. */
struct field {
	int id;
	const char *name;
	enum { PER_TOKEN, TOKENS, SECONDS, SHARE, BELOW_ALL } kind;
	size_t at;
};
#define AT(member) offsetof(struct fleet_options, member)

static const struct field fields[] = {
	{ SIM_PREFILL_RATE, "prefill-rate", PER_TOKEN, AT(token_s) },
	{ SIM_PREFILL_DEPTH, "prefill-depth", TOKENS, AT(depth_tokens) },
	{ SIM_DECODE_STEP, "decode-step", SECONDS, AT(step_s) },
	{ SIM_DECODE_EACH, "decode-each", SECONDS, AT(running_s) },
	{ SIM_CXL_LATENCY, "cxl-latency", SECONDS, AT(wait_s[ROUTE_CXL]) },
	{ SIM_RATE_ERROR, "rate-error", BELOW_ALL, AT(rate_error) },
	{ SIM_CANCEL, "cancel", SHARE, AT(cancelled) },
	{ SIM_PATIENCE, "patience", SECONDS, AT(patience) },
	{ SIM_OBJECTIVE, "objective", SECONDS, AT(objective_s) },
	{ SIM_LAG, "lag", SECONDS, AT(lag_s) },
};

static int field_of(struct sweep *w, const struct field *f)
{
	double *v = (double *)(void *)((char *)&w->base + f->at);
	const char *text = text_of(w, f->id);

	if (!text)
		return 0;
	switch (f->kind) {
	case PER_TOKEN:
		if (plain(text, "", 1e-3, 1e12, v))
			return wrong(w, f->name, text, "tokens a second");
		*v = 1 / *v;
		return 0;
	case TOKENS:
		return plain(text, "", 1, 1e15, v)
			       ? wrong(w, f->name, text, "a number of tokens")
			       : 0;
	case SECONDS:
		return seconds_of(w, f->name, text, v);
	default:
		return percent_of(w, f->id, f->name,
				  f->kind == SHARE ? 100 : 99, v);
	}
}

static int engines_of(struct sweep *w, int id, const char *name, uint32_t *ret)
{
	uint64_t n = *ret;
	int r = number_of(w, id, name, ROUTE_ENGINES_MAX, &n);

	*ret = (uint32_t)n;
	return r;
}

static int rate_of(struct sweep *w, const char *name, const char *text,
		   double *ret)
{
	uint64_t v;

	if (!text)
		return 0;
	if (text_parse_size(text, 0, &v) || !v)
		return wrong(w, name, text, "bytes a second, above 0");
	*ret = (double)v;
	return 0;
}

/* What a cache's rungs and an engine's tiers have in common is read by sim.c. */
static int tiers_of(struct sweep *w)
{
	if (w->s->dram_rate)
		w->base.rate[ROUTE_DRAM] = (double)w->s->dram_rate;
	if (w->s->nvme_rate)
		w->base.rate[ROUTE_NVME] = (double)w->s->nvme_rate;
	if (w->s->nvme_latency)
		w->base.wait_s[ROUTE_NVME] =
			(double)w->s->nvme_latency_ns / 1e9;
	return rate_of(w, "cxl-rate", text_of(w, SIM_CXL_RATE),
		       &w->base.rate[ROUTE_CXL]);
}

static int mishaps_of(struct sweep *w)
{
	struct fleet_options *o = &w->base;
	int r = late_of(w);

	if (!r)
		r = engines_of(w, SIM_LIARS, "liars", &o->liars);
	if (!r)
		r = engines_of(w, SIM_BOASTERS, "boasters", &o->boasters);
	if (!r)
		r = engines_of(w, SIM_LAGGARDS, "laggards", &o->laggards);
	return r;
}

static void sweep_defaults(struct sweep *w)
{
	fleet_defaults(&w->base);
	w->base.lag_s = 5;
	w->base.seed = w->s->seed;
	w->base.block_tokens = (uint32_t)w->s->block_tokens;
	w->base.block_bytes = w->f->block_bytes
				      ? (double)w->s->block_bytes
				      : 73728.0 * (double)w->s->block_tokens;
	w->engines = (struct sim_list){ .v = { w->base.engines }, .n = 1 };
	w->load = (struct sim_list){ .v = { 1 }, .n = 1 };
	w->gbit = (struct sim_list){ .v = { 100 }, .n = 1 };
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		w->blocks[t] =
			(struct sim_list){ .v = { (double)w->base.blocks[t] },
					   .n = 1 };
	w->terminal = isatty(STDERR_FILENO);
}

static bool plays(const struct sweep *w, const char *policy)
{
	for (uint32_t i = 0; i < w->policies; i++)
		if (strcmp(w->policy[i]->name, policy) == 0)
			return true;
	return false;
}

static int needs(const struct sweep *w, int id, const char *name, bool there,
		 const char *what)
{
	if (!text_of(w, id) || there)
		return 0;
	return cli_fail(w->s->command, PROG_USAGE, "--%s: needs %s", name,
			what);
}

static int so_many(const struct sweep *w, const char *name, uint32_t n)
{
	double most = 0;

	for (uint32_t i = 0; i < w->engines.n; i++)
		most = MAX(most, w->engines.v[i]);
	if ((double)n <= most)
		return 0;
	return cli_fail(w->s->command, PROG_USAGE, "--%s: %u of %.0f engines",
			name, n, most);
}

/* What would change nothing, or is more than there are, is not taken. */
static int sweep_fits(const struct sweep *w)
{
	const struct fleet_options *o = &w->base;
	int r = needs(w, SIM_LAG, "lag", o->laggards > 0, "--laggards");

	if (!r)
		r = needs(w, SIM_PATIENCE, "patience", o->cancelled > 0,
			  "--cancel");
	if (!r)
		r = needs(w, SIM_OBJECTIVE, "objective", plays(w, "mooncake"),
			  "--route mooncake");
	if (!r)
		r = so_many(w, "liars", o->liars);
	if (!r)
		r = so_many(w, "boasters", o->boasters);
	return r ? r : so_many(w, "laggards", o->laggards);
}

int sim_sweep_options(struct sweep *w)
{
	int r;

	sweep_defaults(w);
	if (w->base.block_bytes < 1)
		return cli_fail(w->s->command, PROG_USAGE,
				"--block-bytes: must not be 0");
	r = sweep_lists(w);
	for (size_t i = 0; !r && i < ARRAY_LEN(fields); i++)
		r = field_of(w, &fields[i]);
	if (!r && !(w->base.step_s + w->base.running_s > 0))
		r = cli_fail(w->s->command, PROG_USAGE,
			     "--decode-step, --decode-each: one is above 0");
	if (!r)
		r = tiers_of(w);
	if (!r)
		r = mishaps_of(w);
	w->explains = text_of(w, SIM_EXPLAIN) != NULL;
	if (!r)
		r = number_of(w, SIM_EXPLAIN, "explain", UINT64_MAX,
			      &w->explain);
	w->base.eviction = policy_find(w->s->policy);
	if (!r && strcmp(w->s->policy, "lru") != 0 &&
	    strcmp(w->s->policy, "onecopy") != 0)
		r = wrong(w, "policy", w->s->policy,
			  "lru or onecopy, as a fleet's tiers have them");
	if (!r)
		r = policies_of(w);
	return r ? r : sweep_fits(w);
}

void sim_sweep_fini(struct sweep *w)
{
	struct sim_list *all[] = { &w->engines, &w->load, &w->gbit };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]->copy);
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		free(w->blocks[t].copy);
}

/* ---- generated work ------------------------------------------------------------------- */

int sim_sweep_shape(struct sweep *w, enum fleet_shape shape)
{
	struct fleet_shape_options *o = &w->shape;
	uint64_t agents;
	int r;

	fleet_shape_defaults(shape, o);
	o->seed = w->s->seed;
	o->block_tokens = (uint32_t)w->s->block_tokens;
	o->warm = text_of(w, SIM_WARM) != NULL;
	agents = o->agents;
	if (w->s->limit)
		o->requests = w->s->limit;
	r = number_of(w, SIM_AGENTS, "agents", 1 << 20, &agents);
	o->agents = (uint32_t)agents;
	if (!r && !agents)
		r = wrong(w, "agents", "0", "at least 1");
	if (!r)
		r = number_of(w, SIM_PREFIX, "prefix", 1 << 28, &o->prefix);
	if (!r)
		r = number_of(w, SIM_OWN, "own", 1 << 28, &o->own);
	if (!r)
		r = seconds_of(w, "within", text_of(w, SIM_WITHIN), &o->within);
	if (!r)
		r = seconds_of(w, "every", text_of(w, SIM_EVERY), &o->every);
	return r;
}

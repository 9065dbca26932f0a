/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim with engines: the command line, the sweep. */
#include "sim_fleet.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"
#include "commands.h"
#include "load_report.h"
#include "progress.h"
#include "sim.h"
#include "stop.h"

#define POINTS_MAX 20000u

struct list {
	double v[SIM_LIST];
	uint32_t n;
};

struct sweep {
	const struct sim_command *s;
	const struct sim_fleet *f;
	struct fleet_options base;
	struct list engines, load, gbit, blocks[ROUTE_TIERS];
	const struct route_policy *policy[32];
	uint32_t policies;
	uint64_t explain;
	bool explains, terminal;
	struct sim_points points;
	struct sim_page page;
	size_t total;
};

void sim_fleet_option(struct sim_fleet *f, const struct cli *c, int id)
{
	if (id == SIM_ENGINES || id == SIM_ROUTE || id == SIM_COMPARE)
		f->asked = true;
	else
		f->of_fleet = c->option->name;
	if (id >= SIM_AGENTS && id <= SIM_WARM)
		f->of_shape = c->option->name;
	f->text[id - SIM_ENGINES] = c->value ? c->value : "";
}

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

static int list_of(const struct sweep *w, const char *name, const char *text,
		   enum shape shape, struct list *ret)
{
	static const char *const what[] = {
		[WHOLE] = "a number from 1 to 64",
		[FACTOR] = "a number above 0",
		[GBIT] = "a rate in Gbit/s",
		[BLOCKS] = "a number of blocks or a size",
	};
	char *copy, *rest, *word;
	int r = 0;

	if (!text)
		return 0;
	copy = rest = mem_dup(text);
	if (!copy)
		return cli_fail(w->s->command, PROG_SYSTEM, "out of memory");
	ret->n = 0;
	while (r == 0 && (word = strsep(&rest, ","))) {
		if (ret->n == SIM_LIST)
			r = wrong(w, name, text, "a list of at most 16");
		else if (value_of(w, word, shape, &ret->v[ret->n++]))
			r = wrong(w, name, word, what[shape]);
	}
	free(copy);
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
	return text_parse_u64(text, most, ret)
		       ? wrong(w, name, text, "a number in its range")
		       : 0;
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
	struct list *b = w->blocks;
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

static int sweep_options(struct sweep *w)
{
	uint64_t liars = 0;
	int r = sweep_lists(w);

	if (!r)
		r = percent_of(w, SIM_RATE_ERROR, "rate-error", 99,
			       &w->base.rate_error);
	if (!r)
		r = percent_of(w, SIM_CANCEL, "cancel", 100,
			       &w->base.cancelled);
	if (!r)
		r = late_of(w);
	if (!r)
		r = number_of(w, SIM_LIARS, "liars", ROUTE_ENGINES_MAX, &liars);
	w->base.liars = (uint32_t)liars;
	w->explains = text_of(w, SIM_EXPLAIN) != NULL;
	if (!r)
		r = number_of(w, SIM_EXPLAIN, "explain", UINT64_MAX,
			      &w->explain);
	if (!r && strcmp(w->s->policy, "lru") != 0 &&
	    strcmp(w->s->policy, "onecopy") != 0)
		r = wrong(w, "policy", w->s->policy,
			  "lru or onecopy, as a fleet's tiers have them");
	w->base.eviction = policy_find(w->s->policy);
	return r ? r : policies_of(w);
}

static void sweep_defaults(struct sweep *w)
{
	fleet_defaults(&w->base);
	w->base.seed = w->s->seed;
	w->base.block_tokens = (uint32_t)w->s->block_tokens;
	w->base.block_bytes = w->f->block_bytes
				      ? (double)w->s->block_bytes
				      : 73728.0 * (double)w->s->block_tokens;
	w->engines = (struct list){ { w->base.engines }, 1 };
	w->load = (struct list){ { 1 }, 1 };
	w->gbit = (struct list){ { 100 }, 1 };
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		w->blocks[t] =
			(struct list){ { (double)w->base.blocks[t] }, 1 };
	w->terminal = isatty(STDERR_FILENO);
}

/* ---- the workload ----------------------------------------------------------------------- */

static void load_tick(void *ctx, double done)
{
	const struct sweep *w = ctx;

	progress_show(w->terminal, "load", done);
}

static int load_trace(struct sweep *w, struct fleet_work *ret)
{
	struct trace_source *source;
	char error[TRACE_ERROR];
	int r = trace_open(w->s->trace, &source, error);

	if (r)
		return cli_fail(w->s->command, PROG_BAD_INPUT, "%s", error);
	r = fleet_work_load(source, w->s->limit, load_tick, w, ret);
	progress_clear(w->terminal);
	if (r == -ENOMEM)
		r = cli_fail(w->s->command, PROG_SYSTEM, "out of memory");
	else if (r)
		r = cli_fail(w->s->command, PROG_BAD_INPUT, "%s",
			     source->error);
	trace_close(source);
	return r;
}

static int make_work(struct sweep *w, enum fleet_shape shape,
		     struct fleet_work *ret)
{
	struct fleet_shape_options o;
	uint64_t agents;
	int r;

	fleet_shape_defaults(shape, &o);
	o.seed = w->s->seed;
	o.block_tokens = (uint32_t)w->s->block_tokens;
	o.warm = text_of(w, SIM_WARM) != NULL;
	agents = o.agents;
	if (w->s->limit)
		o.requests = w->s->limit;
	r = number_of(w, SIM_AGENTS, "agents", 1 << 20, &agents);
	o.agents = (uint32_t)agents;
	if (!r && !agents)
		r = wrong(w, "agents", "0", "at least 1");
	if (!r)
		r = number_of(w, SIM_PREFIX, "prefix", 1 << 28, &o.prefix);
	if (!r)
		r = number_of(w, SIM_OWN, "own", 1 << 28, &o.own);
	if (!r)
		r = seconds_of(w, "within", text_of(w, SIM_WITHIN), &o.within);
	if (!r)
		r = seconds_of(w, "every", text_of(w, SIM_EVERY), &o.every);
	if (r)
		return r;
	r = fleet_work_make(&o, ret);
	if (r == -EINVAL)
		return cli_fail(w->s->command, PROG_USAGE,
				"no workload of such numbers");
	return r ? cli_fail(w->s->command, PROG_SYSTEM, "out of memory") : 0;
}

/* FLEET_SHAPES: a file. */
static enum fleet_shape shape_of(const char *trace)
{
	uint32_t i = 0;

	while (i < FLEET_SHAPES && strcmp(trace, fleet_shape_name(i)) != 0)
		i++;
	return i;
}

bool sim_fleet_makes(const char *trace)
{
	return shape_of(trace) != FLEET_SHAPES;
}

static int sweep_work(struct sweep *w, struct fleet_work *ret)
{
	enum fleet_shape shape = shape_of(w->s->trace);

	return shape == FLEET_SHAPES ? load_trace(w, ret)
				     : make_work(w, shape, ret);
}

/* ---- runs ----------------------------------------------------------------------------------- */

static int run_tick(void *ctx, double done)
{
	const struct sweep *w = ctx;

	progress_show(w->terminal, "sim",
		      ((double)w->points.n + done) / (double)w->total);
	return stop_wanted();
}

static void explain(void *ctx, double at, const struct route_fleet *fleet,
		    const struct route_request *q,
		    const struct route_choice *choice,
		    const struct route_price *price)
{
	const struct sweep *w = ctx;

	if (w->explains && q->serial == w->explain)
		sim_explain(at, fleet, q, choice, price, stdout);
}

static int run_one(struct sweep *w, const struct fleet_work *work,
		   const struct fleet_options *o)
{
	struct sim_point *p = &w->points.point[w->points.n];
	char error[TRACE_ERROR] = "";
	int r = fleet_run(o, work, &p->result, error);

	progress_clear(w->terminal);
	if (r == -EINTR)
		return cli_fail(w->s->command, PROG_FAILED,
				"interrupted: %zu of %zu runs are done",
				w->points.n, w->total);
	if (r)
		return cli_fail(w->s->command,
				r == -EINVAL ? PROG_USAGE : PROG_SYSTEM, "%s",
				*error ? error : strerror(-r));
	p->policy = o->policy->name;
	p->engines = o->engines;
	p->load = o->load;
	p->gbit = o->link * 8 / 1e9;
	memcpy(p->blocks, o->blocks, sizeof(p->blocks));
	w->points.n++;
	return 0;
}

/* The i-th combination; the last list changes fastest. */
static void combination(const struct sweep *w, size_t i,
			struct fleet_options *o)
{
	*o = w->base;
	o->policy = w->policy[i % w->policies];
	i /= w->policies;
	for (uint32_t t = ROUTE_TIERS; t > 0; t--) {
		o->blocks[t - 1] =
			(uint64_t)w->blocks[t - 1].v[i % w->blocks[t - 1].n];
		i /= w->blocks[t - 1].n;
	}
	o->link = w->gbit.v[i % w->gbit.n] * 1e9 / 8;
	i /= w->gbit.n;
	o->load = w->load.v[i % w->load.n];
	i /= w->load.n;
	o->engines = (uint32_t)w->engines.v[i];
}

static int sweep_run(struct sweep *w, const struct fleet_work *work)
{
	struct fleet_options o;
	int r = 0;

	w->total = (size_t)w->engines.n * w->load.n * w->gbit.n * w->policies;
	for (uint32_t t = 0; t < ROUTE_TIERS; t++)
		w->total *= w->blocks[t].n;
	if (w->total > POINTS_MAX)
		return cli_fail(w->s->command, PROG_USAGE,
				"%zu runs; at most %u", w->total, POINTS_MAX);
	w->points.point = mem_array(w->total, sizeof(*w->points.point));
	if (!w->points.point)
		return cli_fail(w->s->command, PROG_SYSTEM, "out of memory");
	for (size_t i = 0; i < w->total && r == 0; i++) {
		combination(w, i, &o);
		o.tick = run_tick;
		o.ctx = w;
		if (w->explains)
			o.decided = explain;
		r = run_one(w, work, &o);
	}
	return r;
}

/* ---- reports --------------------------------------------------------------------- */

static json_t *points_json(const struct sweep *w)
{
	json_t *root, *list;

	if (w->points.n == 1) {
		root = sim_point_json(&w->points.point[0]);
	} else {
		list = json_array();
		for (size_t i = 0; list && i < w->points.n; i++)
			json_array_append_new(
				list, sim_point_json(&w->points.point[i]));
		root = json_pack("{s:o}", "points", list);
	}
	if (root) {
		json_object_set_new(root, "trace", json_string(w->s->trace));
		json_object_set_new(root, "late_requests",
				    json_integer(w->points.late));
	}
	return root;
}

static int sweep_report(struct sweep *w)
{
	if (w->s->json) {
		if (load_json_out(points_json(w)))
			return PROG_SYSTEM;
	} else if (!w->explains) {
		sim_points_print(&w->points, stdout);
	}
	return sim_page_put(&w->page, w->s->command, &w->points);
}

/* What would change nothing is not taken for an answer. */
static int options_fit(const struct sim_command *s, const struct sim_fleet *f)
{
	if (s->one_cache)
		return cli_fail(s->command, PROG_USAGE,
				"--%s: of one cache, not of a fleet",
				s->one_cache);
	if (f->of_shape && !sim_fleet_makes(s->trace))
		return cli_fail(s->command, PROG_USAGE,
				"--%s: of generated work (shared, bursts, "
				"waves), not of %s",
				f->of_shape, s->trace);
	return 0;
}

static int explain_fits(const struct sweep *w, const struct fleet_work *work)
{
	if (!w->explains || w->explain < work->n)
		return 0;
	return cli_fail(w->s->command, PROG_USAGE,
			"--explain: there %s %llu request%s, from 0",
			work->n == 1 ? "is" : "are",
			(unsigned long long)work->n, work->n == 1 ? "" : "s");
}

static int sweep_main(struct sweep *w, const struct fleet_work *work)
{
	int r;

	if (!work->n)
		return cli_fail(w->s->command, PROG_BAD_INPUT,
				"%s: no requests", w->s->trace);
	r = explain_fits(w, work);
	if (r == 0)
		r = sweep_run(w, work);
	/* who is interrupted has what is done */
	if (r == PROG_FAILED && w->points.n)
		sweep_report(w);
	return r ? r : sweep_report(w);
}

int sim_fleet_main(const struct sim_command *s, const struct sim_fleet *f)
{
	struct sweep w = { .s = s, .f = f };
	struct fleet_work work;
	int r = options_fit(s, f);

	if (r)
		return r;
	sweep_defaults(&w);
	r = sweep_options(&w);
	if (r)
		return r;
	stop_catch();
	r = sim_page_open(&w.page, s->command, text_of(&w, SIM_HTML));
	if (r)
		return r;
	r = sweep_work(&w, &work);
	if (r) {
		sim_page_drop(&w.page);
		return r;
	}
	w.points.trace = s->trace;
	/* generated sessions are made one by one, and sorted */
	if (!sim_fleet_makes(s->trace))
		w.points.late = work.reordered;
	w.points.block_bytes = w.base.block_bytes;
	r = sweep_main(&w, &work);
	sim_page_drop(&w.page);
	free(w.points.point);
	fleet_work_fini(&work);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim with engines: the workload, the sweep. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "commands.h"
#include "load_report.h"
#include "progress.h"
#include "sim_sweep.h"
#include "stop.h"

#define POINTS_MAX 20000u

void sim_fleet_option(struct sim_fleet *f, const struct cli *c, int id)
{
	if (id == SIM_ENGINES || id == SIM_ROUTE || id == SIM_COMPARE)
		f->asked = true;
	else if (id >= SIM_AGENTS && id <= SIM_WARM)
		f->of_shape = c->option->name;
	else
		f->of_fleet = c->option->name;
	f->text[id - SIM_ENGINES] = c->value ? c->value : "";
}

static const char *text_of(const struct sweep *w, int id)
{
	return w->f->text[id - SIM_ENGINES];
}

/* ---- the workload ----------------------------------------------------------------------- */

static int load_trace(struct sweep *w, struct fleet_work *ret)
{
	struct sim_load load = { "load", w->terminal, 0 };
	struct trace_source *source;
	int r = sim_load_open(w->s, &load, &source);

	if (r)
		return r;
	r = fleet_work_load(source, w->s->limit, ret);
	r = sim_load_said(w->s, &load, source, r);
	trace_close(source);
	return r;
}

static int make_work(struct sweep *w, enum fleet_shape shape,
		     struct fleet_work *ret)
{
	struct sim_load load = { "make", isatty(STDERR_FILENO), 0 };
	int r = sim_sweep_shape(w, shape);

	if (r)
		return r;
	w->shape.tick = sim_load_tick;
	w->shape.ctx = &load;
	r = fleet_work_make(&w->shape, ret);
	w->shape.tick = NULL;
	w->shape.ctx = NULL;
	return sim_load_said(w->s, &load, NULL, r);
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

int sim_fleet_make(const struct sim_command *s, const struct sim_fleet *f,
		   struct fleet_shape_options *ret_shape,
		   struct fleet_work *ret_work)
{
	struct sweep w = { .s = s, .f = f };
	int r = make_work(&w, shape_of(s->trace), ret_work);

	*ret_shape = w.shape;
	return r;
}

/* ---- runs ----------------------------------------------------------------------------------- */

static int run_tick(void *ctx, double done)
{
	struct sweep *w = ctx;
	double all = ((double)w->points.n + done) / (double)w->total;
	uint32_t now = 1 + (uint32_t)(1000 * all);

	/* asked far more often than anything is to be seen */
	if (now != w->shown)
		progress_show(w->terminal, "sim", all);
	w->shown = now;
	return stop_wanted();
}

static void explain(void *ctx, double at, const struct route_fleet *fleet,
		    const struct route_request *q,
		    const struct route_choice *choice,
		    const struct route_price *price,
		    const struct fleet_stay *stay)
{
	struct sweep *w = ctx;
	struct sim_point *p = &w->points.point[w->points.n];
	const struct sim_decision d = { at, fleet, q, choice, price, stay };

	if (q->serial != w->explain)
		return;
	if (w->s->json)
		sim_explain_json(&d, &p->explained);
	else
		sim_explain(p, &d, stdout);
}

static void explain_over(void *ctx, const struct fleet_fate *fate)
{
	struct sweep *w = ctx;
	struct sim_point *p = &w->points.point[w->points.n];

	if (fate->serial != w->explain)
		return;
	if (w->s->json)
		sim_explain_over_json(fate, p->explained);
	else
		sim_explain_over(fate, stdout);
}

static int run_one(struct sweep *w, const struct fleet_work *work,
		   const struct fleet_options *o)
{
	struct sim_point *p = &w->points.point[w->points.n];
	char error[TRACE_ERROR] = "";
	int r = fleet_run(o, work, &p->result, error);

	progress_clear(w->terminal);
	w->shown = 0;
	w->points.n += r == 0;
	/* the last run may have ended before it was asked again */
	if (r == -EINTR || (r == 0 && stop_wanted()))
		return cli_fail(w->s->command, PROG_FAILED,
				"interrupted: %zu of %zu runs are done",
				w->points.n, w->total);
	if (r)
		return cli_fail(w->s->command,
				r == -EINVAL ? PROG_USAGE : PROG_SYSTEM, "%s",
				*error ? error : strerror(-r));
	return 0;
}

/* The i-th combination; the last list changes fastest. */
static void combination(const struct sweep *w, size_t i,
			struct fleet_options *o, struct sim_point *p)
{
	*o = w->base;
	*p = (struct sim_point){ 0 };
	o->policy = w->policy[i % w->policies];
	i /= w->policies;
	for (uint32_t t = ROUTE_TIERS; t > 0; t--) {
		const struct sim_list *l = &w->blocks[t - 1];

		o->blocks[t - 1] = (uint64_t)l->v[i % l->n];
		p->asked[t - 1] = l->text[i % l->n];
		i /= l->n;
	}
	p->gbit = w->gbit.v[i % w->gbit.n];
	o->link = p->gbit * 1e9 / 8;
	i /= w->gbit.n;
	o->load = w->load.v[i % w->load.n];
	i /= w->load.n;
	o->engines = (uint32_t)w->engines.v[i];
	p->policy = o->policy->name;
	p->engines = o->engines;
	p->load = o->load;
	memcpy(p->blocks, o->blocks, sizeof(p->blocks));
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
	/* mem_array() gives zeros */
	w->points.point = mem_array(w->total, sizeof(*w->points.point));
	if (!w->points.point)
		return cli_fail(w->s->command, PROG_SYSTEM, "out of memory");
	for (size_t i = 0; i < w->total && r == 0; i++) {
		combination(w, i, &o, &w->points.point[i]);
		o.tick = run_tick;
		o.ctx = w;
		if (w->explains) {
			o.decided = explain;
			o.over = explain_over;
		}
		r = run_one(w, work, &o);
	}
	return r;
}

/* ---- reports --------------------------------------------------------------------- */

static int sweep_page(struct sweep *w)
{
	int r;

	w->points.options = sim_options_json(w);
	r = sim_page_put(&w->page, w->s->command, &w->points);
	json_decref(w->points.options);
	w->points.options = NULL;
	return r;
}

static int sweep_report(struct sweep *w)
{
	if (w->s->json) {
		if (load_json_out(sim_points_json(w)))
			return PROG_SYSTEM;
	} else if (!w->explains) {
		sim_points_print(&w->points, stdout);
	}
	return sweep_page(w);
}

/* What would change nothing is not taken for an answer. */
static int options_fit(const struct sim_command *s, const struct sim_fleet *f)
{
	const char *html = f->text[SIM_HTML - SIM_ENGINES];

	if (s->one_cache)
		return cli_fail(s->command, PROG_USAGE,
				"--%s: of one cache, not of a fleet",
				s->one_cache);
	if (f->of_shape && !sim_fleet_makes(s->trace))
		return cli_fail(s->command, PROG_USAGE,
				"--%s: of generated work (shared, bursts, "
				"waves), not of %s",
				f->of_shape, s->trace);
	if (html && !*html)
		return cli_fail(s->command, PROG_USAGE,
				"--html: names no file");
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
		cli_fail(w->s->command, 0, "%s: no requests", w->s->trace);
	r = explain_fits(w, work);
	if (r == 0)
		r = sweep_run(w, work);
	/* who is interrupted has what is done */
	if (r == PROG_FAILED && w->points.n)
		sweep_report(w);
	return r ? r : sweep_report(w);
}

static void points_fini(struct sweep *w)
{
	for (size_t i = 0; w->points.point && i < w->total; i++)
		json_decref(w->points.point[i].explained);
	free(w->points.point);
}

static int sweep_play(struct sweep *w)
{
	struct fleet_work work;
	int r = sim_page_open(&w->page, w->s->command, text_of(w, SIM_HTML));

	if (r)
		return r;
	r = sweep_work(w, &work);
	if (r) {
		sim_page_drop(&w->page);
		return r;
	}
	w->points.trace = w->s->trace;
	/* generated sessions are made one by one, and sorted */
	if (!sim_fleet_makes(w->s->trace))
		w->points.late = work.reordered;
	w->points.rows = (uint32_t)w->s->rows;
	w->points.block_bytes = w->base.block_bytes;
	r = sweep_main(w, &work);
	sim_page_drop(&w->page);
	points_fini(w);
	fleet_work_fini(&work);
	return r;
}

int sim_fleet_main(const struct sim_command *s, const struct sim_fleet *f)
{
	struct sweep w = { .s = s, .f = f };
	int r = options_fit(s, f);

	if (r)
		return r;
	r = sim_sweep_options(&w);
	if (!r) {
		stop_catch();
		r = sweep_play(&w);
	}
	sim_sweep_fini(&w);
	return r;
}

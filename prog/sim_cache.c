/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim of one cache: hit rates of eviction policies under a trace. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "commands.h"
#include "load_report.h"
#include "progress.h"
#include "sim.h"
#include "sim/cache.h"
#include "sim_fleet.h"
#include "stop.h"

/* Of the time of the arrivals, as many parts as --rows asks for. */
struct cache_row {
	uint64_t requests, blocks, hits;
};

struct cache_run {
	const struct sim_command *s;
	const struct sim_trace *t;
	FILE *decisions;
	bool terminal;
	struct fleet_shape_options shape; /* of generated work */
	uint64_t short_prompts; /* more blocks than their tokens fill */
	struct cache_row row[FLEET_SLOTS];
};

static int cache_tick(void *ctx, double done)
{
	const struct cache_run *run = ctx;

	progress_show(run->terminal, "sim", done);
	return stop_wanted();
}

static void cache_decided(void *ctx, uint64_t request, char what, uint64_t id)
{
	struct cache_run *run = ctx;

	fprintf(run->decisions, "%" PRIu64 " %c %" PRIu64 "\n", request, what,
		id);
}

/* Requests that are played. */
static uint64_t cache_played(const struct cache_run *run)
{
	uint64_t n = run->t->requests;

	return run->s->limit ? MIN(n, run->s->limit) : n;
}

static void cache_found(void *ctx, uint64_t request, uint32_t hits)
{
	struct cache_run *run = ctx;
	const struct sim_request *q = &run->t->request[request], *last;
	uint64_t begin = run->t->request[0].at_ms, rows = run->s->rows;
	struct cache_row *row;

	last = &run->t->request[cache_played(run) - 1];
	row = &run->row[(q->at_ms - begin) * rows / (last->at_ms - begin + 1)];
	row->requests++;
	row->blocks += q->n;
	row->hits += hits;
}

static json_t *cache_rows_json(const struct cache_run *run)
{
	json_t *root = json_array();

	for (uint64_t i = 0; root && i < run->s->rows; i++) {
		const struct cache_row *row = &run->row[i];

		json_array_append_new(
			root,
			json_pack("{s:f, s:I, s:I, s:f}", "until",
				  (double)(i + 1) / (double)run->s->rows,
				  "requests", (json_int_t)row->requests,
				  "blocks", (json_int_t)row->blocks,
				  "prefix_hit_rate",
				  (double)row->hits /
					  (double)MAX(row->blocks, 1ull)));
	}
	return root;
}

static void cache_rows_print(const struct cache_run *run)
{
	if (run->s->rows)
		printf("over the time of the arrivals\n%9s %9s %9s %6s\n",
		       "until %", "requests", "blocks", "hits %");
	for (uint64_t i = 0; i < run->s->rows; i++) {
		const struct cache_row *row = &run->row[i];

		printf("%9.0f %9" PRIu64 " %9" PRIu64 " %6.1f\n",
		       100 * (double)(i + 1) / (double)run->s->rows,
		       row->requests, row->blocks,
		       100 * (double)row->hits /
			       (double)MAX(row->blocks, 1ull));
	}
}

static int cache_json_nvme(json_t *root, const struct sim_command *s,
			   const struct sim_cache_result *r)
{
	double blocks = r->blocks ? (double)r->blocks : 1;
	json_t *more = json_pack(
		"{s:I, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f}",
		"nvme_blocks", (json_int_t)s->nvme, "dram_hit_rate",
		(double)(r->hit_blocks - r->nvme_hit_blocks) / blocks,
		"nvme_hit_rate", (double)r->nvme_hit_blocks / blocks, "load_s",
		r->load_s, "saved_net_s", r->saved_prefill_s - r->load_s,
		"promoted", (json_int_t)r->promoted, "demoted",
		(json_int_t)r->written, "dropped", (json_int_t)r->dropped,
		"nvme_written_bytes", (json_int_t)(r->written * s->block_bytes),
		"prefetched", (json_int_t)r->prefetched, "prefetched_used",
		(json_int_t)r->prefetched_used, "prefetch_saved_s",
		r->prefetch_saved_s);
	int bad = json_object_update(root, more);

	json_decref(more);
	return bad;
}

#define DRAM_RATE (24ull << 30)
#define NVME_RATE (5ull << 30)

/* All that a result depends on and that it does not say elsewhere; what the
 * policy or a lone rung has no use for is left out. */
static json_t *cache_options_json(const struct cache_run *run)
{
	const struct sim_command *s = run->s;
	bool hints = strcmp(s->policy, "onecopy-hints") == 0;
	json_t *root = json_pack("{s:I, s:I, s:I, s:I}", "seed",
				 (json_int_t)s->seed, "block_tokens",
				 (json_int_t)s->block_tokens, "block_bytes",
				 (json_int_t)s->block_bytes, "limit",
				 (json_int_t)s->limit);

	if (root && hints)
		json_object_update_new(
			root, json_pack("{s:I, s:I}", "hint_error_percent",
					(json_int_t)s->hint_error,
					"hint_missing_percent",
					(json_int_t)s->hint_missing));
	if (root && hints && s->nvme)
		json_object_set_new(root, "prefetch",
				    json_boolean(!s->no_prefetch));
	if (root && s->nvme)
		json_object_update_new(
			root, json_pack("{s:I, s:I, s:f}", "dram_rate",
					(json_int_t)(s->dram_rate ?: DRAM_RATE),
					"nvme_rate",
					(json_int_t)(s->nvme_rate ?: NVME_RATE),
					"nvme_latency_s",
					(double)s->nvme_latency_ns / 1e9));
	if (root && sim_fleet_makes(s->trace))
		json_object_set_new(root, "generated",
				    sim_shape_json(&run->shape));
	return root;
}

static json_t *cache_json(const struct cache_run *run,
			  const struct sim_cache_result *r)
{
	const struct sim_command *s = run->s;
	double blocks = r->blocks ? (double)r->blocks : 1;

	json_t *root = json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:I, "
		"s:I, s:I, s:I}",
		"trace", s->trace, "policy", s->policy, "dram_blocks",
		(json_int_t)s->dram, "requests", (json_int_t)r->requests,
		"blocks", (json_int_t)r->blocks, "hit_blocks",
		(json_int_t)r->hit_blocks, "prefix_hit_rate",
		(double)r->hit_blocks / blocks, "saved_prefill_s",
		r->saved_prefill_s, "prefill_s", r->prefill_s, "admitted",
		(json_int_t)r->admitted, "evicted", (json_int_t)r->evicted,
		"peak_blocks", (json_int_t)r->peak, "late_requests",
		(json_int_t)run->t->late, "short_prompts",
		(json_int_t)run->short_prompts, "seed", (json_int_t)s->seed);

	if (root)
		json_object_set_new(root, "options", cache_options_json(run));
	if (root && s->rows)
		json_object_set_new(root, "rows", cache_rows_json(run));
	if (root && r->fit) {
		json_object_set_new(root, "returned_blocks",
				    json_integer((json_int_t)r->returned));
		json_object_set_new(root, "lost_blocks",
				    json_integer((json_int_t)r->lost));
		json_object_set_new(root, "sessions_that_fit",
				    json_integer(r->fit));
	}
	if (root && s->nvme && cache_json_nvme(root, s, r)) {
		json_decref(root);
		return NULL;
	}
	return root;
}

static int cache_print(const struct cache_run *run,
		       const struct sim_cache_result *r)
{
	const struct sim_command *s = run->s;
	double blocks = r->blocks ? (double)r->blocks : 1;

	if (s->json)
		return load_json_out(cache_json(run, r)) ? PROG_SYSTEM
							 : PROG_OK;
	if (run->short_prompts)
		printf("%" PRIu64 " prompts have more blocks than their tokens "
		       "fill; is --block-tokens right?\n",
		       run->short_prompts);
	printf("%s, %s, %" PRIu64 " blocks", s->trace, s->policy, s->dram);
	if (s->nvme)
		printf(" and %" PRIu64 " below", s->nvme);
	printf(", of %" PRIu64 " bytes\n", s->block_bytes);
	printf("requests         %" PRIu64 "\n", r->requests);
	printf("prefix hit rate  %.3f %% of %" PRIu64 " blocks\n",
	       100 * (double)r->hit_blocks / blocks, r->blocks);
	printf("saved prefill    %.0f s of %.0f s\n", r->saved_prefill_s,
	       r->prefill_s);
	if (s->nvme) {
		printf("of them in NVMe  %.3f %%\n",
		       100 * (double)r->nvme_hit_blocks / blocks);
		printf("less loading     %.0f s\n", r->load_s);
		printf("written to NVMe  %" PRIu64 " blocks, %" PRIu64
		       " bytes\n",
		       r->written, r->written * s->block_bytes);
		printf("promoted         %" PRIu64 "\n", r->promoted);
		printf("dropped          %" PRIu64 "\n", r->dropped);
		printf("loaded ahead     %" PRIu64 ", %" PRIu64
		       " used, %.1f s saved\n",
		       r->prefetched, r->prefetched_used, r->prefetch_saved_s);
	}
	printf("admitted         %" PRIu64 "\n", r->admitted);
	printf("evicted          %" PRIu64 "\n", r->evicted);
	if (r->fit)
		printf("sessions fit     %u\n", r->fit);
	cache_rows_print(run);
	return PROG_OK;
}

static int cache_make(const struct sim_command *s,
		      const struct sim_fleet *shape, struct sim_trace *t,
		      struct fleet_shape_options *ret_shape)
{
	struct fleet_work work;
	int r = sim_fleet_make(s, shape, ret_shape, &work);

	if (r)
		return r;
	r = sim_trace_make(t, &work);
	fleet_work_fini(&work);
	return r ? cli_fail(s->command, PROG_SYSTEM, "%s", strerror(-r)) : 0;
}

static int cache_load(const struct sim_command *s, struct sim_trace *t)
{
	struct sim_load load = { "load", isatty(STDERR_FILENO), 0 };
	struct trace_source *source;
	int r = sim_load_open(s, &load, &source);

	if (r)
		return r;
	r = sim_trace_load(t, source);
	r = sim_load_said(s, &load, source, r);
	trace_close(source);
	return r;
}

static bool plays_one_rung(const char *policy)
{
	const char *name;

	for (size_t i = 0; (name = sim_cache_policy_name(i)); i++)
		if (strcmp(name, policy) == 0)
			return true;
	return false;
}

static int cache_simulate(const struct sim_command *s,
			  const struct sim_trace *t, struct cache_run *run)
{
	struct sim_cache_options o = {
		.policy = s->policy,
		.dram = (uint32_t)MIN(s->dram, UINT32_MAX - 1),
		.nvme = (uint32_t)s->nvme,
		.rung = { { .bytes_per_s = s->dram_rate ?: DRAM_RATE },
			  { .bytes_per_s = s->nvme_rate ?: NVME_RATE,
			    .latency_ns = s->nvme_latency_ns } },
		.no_prefetch = s->no_prefetch,
		.hint_exact = !s->hint_error,
		.hint_error_pm = (uint32_t)s->hint_error * 10,
		.hint_missing_pm = (uint32_t)s->hint_missing * 10,
		.block_bytes = s->block_bytes,
		.seed = s->seed,
		.limit = s->limit,
		.block_tokens = (uint32_t)s->block_tokens,
		.decided = run->decisions ? cache_decided : NULL,
		.found = s->rows ? cache_found : NULL,
		.tick = cache_tick,
		.ctx = run,
	};
	struct sim_cache_result result;
	int r = sim_cache_run(t, &o, &result);

	/* it may have ended before it was asked again */
	if (!r && stop_wanted())
		r = -EINTR;
	progress_clear(run->terminal);
	if (r == -EINVAL && plays_one_rung(s->policy))
		return cli_fail(s->command, PROG_USAGE,
				"--policy: %s plays one rung only, without "
				"--nvme",
				s->policy);
	if (r == -EINVAL)
		return cli_fail(s->command, PROG_USAGE,
				"--policy: there is no '%s'; see --help",
				s->policy);
	if (r)
		return cli_fail(s->command,
				r == -EINTR ? PROG_FAILED : PROG_SYSTEM, "%s",
				r == -EINTR ? "interrupted" : strerror(-r));
	return cache_print(run, &result);
}

static int cache_finish_decisions(const struct sim_command *s, FILE *f)
{
	int bad = ferror(f);

	if (fclose(f) || bad)
		return cli_fail(s->command, PROG_SYSTEM, "cannot write %s",
				s->decisions);
	return PROG_OK;
}

static void cache_look(struct cache_run *run)
{
	const struct sim_trace *t = run->t;

	for (uint64_t i = 0; i < cache_played(run); i++) {
		const struct sim_request *q = &t->request[i];

		run->short_prompts +=
			q->n &&
			q->input <= (q->n - 1ull) * run->s->block_tokens;
	}
	if (!cache_played(run))
		cli_fail(run->s->command, 0, "%s: no requests", run->s->trace);
}

int sim_cache_main(const struct sim_command *s, const struct sim_fleet *shape)
{
	struct sim_trace t;
	struct cache_run run = { .s = s,
				 .t = &t,
				 .terminal = isatty(STDERR_FILENO) };
	int r, written = PROG_OK;

	stop_catch();
	sim_trace_init(&t);
	r = sim_fleet_makes(s->trace) ? cache_make(s, shape, &t, &run.shape)
				      : cache_load(s, &t);
	if (!r)
		cache_look(&run);
	if (!r && s->decisions) {
		run.decisions = fopen(s->decisions, "we");
		if (!run.decisions)
			r = cli_fail(s->command, PROG_SYSTEM, "%s: %s",
				     s->decisions, strerror(errno));
	}
	if (!r)
		r = cache_simulate(s, &t, &run);
	if (run.decisions)
		written = cache_finish_decisions(s, run.decisions);
	sim_trace_fini(&t);
	return r ? r : written;
}

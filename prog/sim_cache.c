/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim of one cache: hit rates of eviction policies under a trace. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/text.h"
#include "commands.h"
#include "load_report.h"
#include "progress.h"
#include "sim.h"
#include "sim/cache.h"
#include "stop.h"

struct cache_run {
	const struct sim_command *s;
	FILE *decisions;
	bool terminal;
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

static json_t *cache_json(const struct sim_command *s,
			  const struct sim_trace *t,
			  const struct sim_cache_result *r)
{
	double blocks = r->blocks ? (double)r->blocks : 1;

	json_t *root = json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:I, "
		"s:I}",
		"trace", s->trace, "policy", s->policy, "dram_blocks",
		(json_int_t)s->dram, "requests", (json_int_t)r->requests,
		"blocks", (json_int_t)r->blocks, "hit_blocks",
		(json_int_t)r->hit_blocks, "prefix_hit_rate",
		(double)r->hit_blocks / blocks, "saved_prefill_s",
		r->saved_prefill_s, "prefill_s", r->prefill_s, "admitted",
		(json_int_t)r->admitted, "evicted", (json_int_t)r->evicted,
		"peak_blocks", (json_int_t)r->peak, "late_requests",
		(json_int_t)t->late);

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

static int cache_print(const struct sim_command *s, const struct sim_trace *t,
		       const struct sim_cache_result *r)
{
	double blocks = r->blocks ? (double)r->blocks : 1;

	if (s->json)
		return load_json_out(cache_json(s, t, r)) ? PROG_SYSTEM
							  : PROG_OK;
	printf("%s, %s, %" PRIu64 " blocks\n", s->trace, s->policy, s->dram);
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
	return PROG_OK;
}

static int cache_load(const struct sim_command *s, struct sim_trace *t)
{
	struct trace_source *source;
	char error[TRACE_ERROR];
	int r = trace_open(s->trace, &source, error);

	if (r)
		return cli_fail(s->command, PROG_BAD_INPUT, "%s", error);
	r = sim_trace_load(t, source);
	if (r && source->error[0])
		cli_fail(s->command, 0, "%s", source->error);
	else if (r)
		cli_fail(s->command, 0, "%s: %s", s->trace, strerror(-r));
	trace_close(source);
	if (r)
		return r == -ENOMEM ? PROG_SYSTEM : PROG_BAD_INPUT;
	return 0;
}

static int cache_simulate(const struct sim_command *s,
			  const struct sim_trace *t, struct cache_run *run)
{
	struct sim_cache_options o = {
		.policy = s->policy,
		.dram = (uint32_t)MIN(s->dram, UINT32_MAX - 1),
		.nvme = (uint32_t)s->nvme,
		.rung = { { .bytes_per_s = s->dram_rate },
			  { .bytes_per_s = s->nvme_rate,
			    .latency_ns = s->nvme_latency_ns } },
		.no_prefetch = s->no_prefetch,
		.hint_error_pm = (uint32_t)s->hint_error * 10,
		.hint_missing_pm = (uint32_t)s->hint_missing * 10,
		.block_bytes = s->block_bytes,
		.seed = s->seed,
		.limit = s->limit,
		.block_tokens = (uint32_t)s->block_tokens,
		.decided = run->decisions ? cache_decided : NULL,
		.tick = cache_tick,
		.ctx = run,
	};
	struct sim_cache_result result;
	int r = sim_cache_run(t, &o, &result);

	progress_clear(run->terminal);
	if (r == -EINVAL)
		return cli_fail(s->command, PROG_USAGE,
				"--policy: there is no '%s'; see --help",
				s->policy);
	if (r)
		return cli_fail(s->command,
				r == -EINTR ? PROG_FAILED : PROG_SYSTEM, "%s",
				r == -EINTR ? "interrupted" : strerror(-r));
	return cache_print(s, t, &result);
}

static int cache_finish_decisions(const struct sim_command *s, FILE *f)
{
	int bad = ferror(f);

	if (fclose(f) || bad)
		return cli_fail(s->command, PROG_SYSTEM, "cannot write %s",
				s->decisions);
	return PROG_OK;
}

int sim_cache_main(const struct sim_command *s)
{
	struct cache_run run = { .s = s, .terminal = isatty(STDERR_FILENO) };
	struct sim_trace t;
	int r, written = PROG_OK;

	stop_catch();
	sim_trace_init(&t);
	r = cache_load(s, &t);
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

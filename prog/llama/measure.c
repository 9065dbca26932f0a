/* SPDX-License-Identifier: Apache-2.0 */
#include "llama/measure.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "base/text.h"
#include "bench.h"
#include "beside.h"
#include "commands.h"
#include "llama/engine_path.h"
#include "llama/worker.h"
#include "load_report.h"
#include "node.h"
#include "stop.h"

#define PROMPT	 2048u
#define MIDDLE	 1024u /* of it, that another prompt begins with */
#define REST	 200u  /* of that one, which it does not share */
#define SHORT	 256u
#define ANSWER	 48u
#define AGENTS	 3
#define OWN	 64u /* tokens that an agent adds */
#define BLOCK	 16u
#define PAIRS	 5
#define DRAM	 (1ull << 30)
#define VOCAB	 250u /* tokens that every model has */
#define FIGURES	 20
#define DRIVE	 (1ull << 30)
#define WORD_MIN 3u

enum {
	F_TTFT_VS_COLD,
	F_TTFT_VS_STATEFILE,
	F_LOGITS_EQUAL,
	F_SHARED_BYTES,
	F_MISS_OVERHEAD,
	F_EXPORT_STALL,
	F_COLD,
	F_TTFT,
	F_IMPORT,
	F_TTFT_AGAIN,
	F_STATEFILE,
	F_STATE_LOAD,
	F_IMPORT_MOVES,
	F_MISS,
	F_EXPORTS,
	F_PAUSE,
	F_BLOCKS_MEANWHILE,
	F_DRIVE_VS_COLD,
	F_DRIVE,
	F_DRIVE_FETCH,
};

static const struct {
	const char *name, *unit;
} names[FIGURES] = {
	[F_TTFT_VS_COLD] = { "ttft_vs_cold", "x" },
	[F_TTFT_VS_STATEFILE] = { "ttft_vs_statefile", "x" },
	[F_LOGITS_EQUAL] = { "logits_equal", "answers" },
	[F_SHARED_BYTES] = { "shared_bytes", "x" },
	[F_MISS_OVERHEAD] = { "miss_overhead", "%" },
	[F_EXPORT_STALL] = { "export_stall", "%" },
	[F_COLD] = { "cold_ms", "ms" },
	[F_TTFT] = { "ttft_ms", "ms" },
	[F_IMPORT] = { "ttft_import_ms", "ms" },
	[F_TTFT_AGAIN] = { "ttft_again_ms", "ms" },
	[F_STATEFILE] = { "statefile_ttft_ms", "ms" },
	[F_STATE_LOAD] = { "statefile_load_ms", "ms" },
	[F_IMPORT_MOVES] = { "import_moves", "x" },
	[F_MISS] = { "miss_lookup_ms", "ms" },
	[F_EXPORTS] = { "export_calls_ms", "ms" },
	[F_PAUSE] = { "export_pause_ms", "ms" },
	[F_BLOCKS_MEANWHILE] = { "exported_meanwhile", "blocks" },
	[F_DRIVE_VS_COLD] = { "ttft_drive_vs_cold", "x" },
	[F_DRIVE] = { "ttft_drive_ms", "ms" },
	[F_DRIVE_FETCH] = { "ttft_drive_fetch_ms", "ms" },
};

struct figure {
	double value[BENCH_RUNS_MAX];
	uint32_t n;
};

struct state {
	struct session_options session;
	uint64_t runs;
	struct node *node;
	struct worker *first, *second, *agent[AGENTS];
	struct worker_reply reply;
	char engine[32];
	uint64_t parameters;
	char dir[64], file[80]; /* of the engine's state file */
	int32_t tokens[PROMPT + 1024];
	uint64_t cold; /* logits of the last cold prompt */
	unsigned compared, unequal;
	struct figure figure[FIGURES];
	char error[NODE_ERROR];
};

static int fail(struct state *b, int r, const char *text)
{
	if (text != b->error)
		text_copy(b->error, sizeof(b->error), text);
	return r;
}

static void add(struct state *b, int figure, double value)
{
	struct figure *f = &b->figure[figure];

	if (f->n < BENCH_RUNS_MAX)
		f->value[f->n++] = value;
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static void make_tokens(int32_t *tokens, size_t n, uint64_t seed)
{
	struct rng rng = { seed };

	for (size_t i = 0; i < n; i++)
		tokens[i] = (int32_t)(WORD_MIN + rng_below(&rng, VOCAB));
	tokens[0] = 1;
}

/* ---- engines */

static int hear(struct state *b, struct worker *w)
{
	int r = worker_hear(w, NULL, NULL, &b->reply);

	if (r)
		return fail(b, r,
			    r == -EINTR ? "interrupted"
					: "an engine's process died");
	if (b->reply.result)
		return fail(b, b->reply.result, b->reply.error);
	return 0;
}

static int start(struct state *b, struct worker **ret_worker)
{
	int r = worker_start(&b->session, ret_worker);

	if (r)
		return fail(b, r, oc_strerror(r));
	r = hear(b, *ret_worker);
	if (r == 0 && !b->reply.shared)
		r = fail(b, -ENOTSUP, b->reply.error);
	return r;
}

static void end(struct worker **w)
{
	worker_kill(*w);
	*w = NULL;
}

/* Answers b->tokens[0..n). */
static int answer(struct state *b, struct worker *w, struct worker_ask how,
		  size_t n)
{
	int r;

	how.op = WORKER_ANSWER;
	r = worker_ask(w, &how, b->tokens, n);
	return r ? fail(b, r, "an engine's process died") : hear(b, w);
}

static int state_file(struct state *b, struct worker *w, enum worker_op op)
{
	struct worker_ask ask = { .op = op, .path = b->file };
	int r = worker_ask(w, &ask, b->tokens, PROMPT);

	return r ? fail(b, r, "an engine's process died") : hear(b, w);
}

static void compare(struct state *b, uint64_t right)
{
	b->compared++;
	b->unequal += b->reply.first_logits != right;
}

/* ---- one run */

/* Cold and by itself, then shared: nothing of it is in the pool before. */
static int run_cold(struct state *b, uint64_t seed)
{
	int r;

	make_tokens(b->tokens, PROMPT, seed);
	r = answer(b, b->first,
		   (struct worker_ask){ .fresh = true, .generate = 1 }, PROMPT);
	if (r)
		return r;
	b->cold = b->reply.first_logits;
	add(b, F_COLD, ms(b->reply.times.first_ns));
	r = answer(b, b->first,
		   (struct worker_ask){ .share = true, .generate = 1 }, PROMPT);
	if (r == 0)
		r = state_file(b, b->first, WORKER_SAVE);
	return r;
}

static int take_over(struct state *b)
{
	int r = answer(b, b->second,
		       (struct worker_ask){
			       .share = true, .fresh = true, .generate = 1 },
		       PROMPT);

	if (r == 0 && b->reply.times.reused != PROMPT - 1)
		r = fail(b, -ENODATA, "the prompt was not taken over whole");
	if (r == 0)
		compare(b, b->cold);
	return r;
}

/* A process that has never seen the prompt; then it and the state file by
 * turns. */
static int run_warm(struct state *b)
{
	double again[PAIRS], file[PAIRS], load[PAIRS], mine, theirs;
	const struct session_times *t = &b->reply.times;
	int r = start(b, &b->second);

	if (r == 0)
		r = take_over(b);
	if (r)
		return r;
	add(b, F_TTFT, ms(t->first_ns));
	add(b, F_IMPORT, ms(t->import_ns));
	add(b, F_IMPORT_MOVES,
	    (double)b->reply.stat.imported_moved /
		    (double)MAX(b->reply.stat.imported_bytes, 1));
	add(b, F_TTFT_VS_COLD,
	    ms(t->first_ns) / b->figure[F_COLD].value[b->figure[F_COLD].n - 1]);
	for (int i = 0; i < PAIRS && r == 0; i++) {
		r = state_file(b, b->second, WORKER_RESTORE);
		file[i] = ms(t->first_ns);
		load[i] = ms(t->import_ns);
		if (r == 0)
			r = take_over(b);
		again[i] = ms(t->first_ns);
	}
	if (r)
		return r;
	mine = bench_median(again, PAIRS);
	theirs = bench_median(file, PAIRS);
	add(b, F_TTFT_AGAIN, mine);
	add(b, F_STATEFILE, theirs);
	add(b, F_STATE_LOAD, bench_median(load, PAIRS));
	add(b, F_TTFT_VS_STATEFILE, mine / theirs);
	end(&b->second);
	return 0;
}

/* The least of several, of what was done with the node and without it. */
struct least {
	double prompt_cpu, text_cpu; /* processor time */
	double lookup, exports;	     /* in onecopy's calls */
};

static void least_take(struct least *l, const struct session_times *t)
{
	l->prompt_cpu = MIN(l->prompt_cpu, ms(t->prompt_cpu_ns));
	l->text_cpu = MIN(l->text_cpu, ms(t->generate_cpu_ns));
	l->lookup = MIN(l->lookup, ms(t->import_ns));
	l->exports = MIN(l->exports, ms(t->export_ns));
}

/* Prompts that share nothing, with the node and without it, in the order that
 * takes a drift of the machine out; of each the best. What else runs on the
 * machine changes the time that passes by more than what is looked for, so it
 * is the processor's time that is compared, and, as that does not count
 * waiting, the time in onecopy's calls: the larger of the two. */
static int run_generating(struct state *b, uint64_t seed)
{
	static const bool with[] = { false, true,  true,  false,
				     true,  false, false, true };
	struct least least[2] = { { 1e12, 1e12, 1e12, 1e12 },
				  { 1e12, 1e12, 1e12, 1e12 } };
	const struct least *on = &least[1], *off = &least[0];
	uint64_t before = 0;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(with) && r == 0; i++) {
		struct worker_ask ask = { .share = with[i],
					  .fresh = true,
					  .generate = ANSWER };

		make_tokens(b->tokens, SHORT, seed * 16 + i + 1000);
		before = b->reply.stat.exported_blocks;
		r = answer(b, b->first, ask, SHORT);
		least_take(&least[with[i]], &b->reply.times);
		if (i == 1)
			add(b, F_BLOCKS_MEANWHILE,
			    (double)(b->reply.stat.exported_blocks - before));
	}
	if (r)
		return r;
	add(b, F_MISS_OVERHEAD,
	    100 * MAX(on->prompt_cpu / off->prompt_cpu - 1,
		      on->lookup / off->prompt_cpu));
	add(b, F_EXPORT_STALL,
	    100 * MAX(on->text_cpu / off->text_cpu - 1,
		      on->exports / off->text_cpu));
	add(b, F_MISS, on->lookup);
	add(b, F_EXPORTS, on->exports);
	add(b, F_PAUSE, ms(b->reply.stat.export_ns_most));
	return 0;
}

/* ---- once */

static int connect_node(struct state *b, oc_client **ret_client)
{
	struct oc_client_options o = { .size = sizeof(o),
				       .socket = node_socket(b->node),
				       .name = "bench",
				       .read_only = true };

	return oc_client_connect(&o, ret_client, b->error);
}

/* While the pool holds the first run's prompt and nothing else. */
static int once_agents(struct state *b)
{
	uint64_t unique = PROMPT / BLOCK + AGENTS * (OWN / BLOCK);
	struct oc_stat st = { 0 };
	oc_client *c;
	int r = 0;

	for (int i = 0; i < AGENTS && r == 0; i++)
		r = start(b, &b->agent[i]);
	for (int i = 0; i < AGENTS && r == 0; i++) {
		make_tokens(b->tokens + PROMPT, OWN, 77 + (uint64_t)i);
		b->tokens[PROMPT] = 3;
		r = answer(b, b->agent[i],
			   (struct worker_ask){ .share = true, .generate = 1 },
			   PROMPT + OWN);
	}
	for (int i = 0; i < AGENTS; i++)
		end(&b->agent[i]);
	if (r == 0)
		r = connect_node(b, &c);
	if (r)
		return r;
	r = oc_stat(c, &st);
	oc_client_close(c);
	add(b, F_SHARED_BYTES,
	    (double)st.sealed_bytes /
		    (double)(unique * b->reply.stat.block_bytes));
	return r;
}

/* Another prompt that begins as the last run's: in one engine cold, in another
 * the beginning taken over and the rest computed. */
static int once_middle(struct state *b)
{
	struct worker_ask cold = { .fresh = true, .generate = 1 };
	struct worker_ask warm = { .share = true, .generate = 1 };
	uint64_t right;
	int r;

	make_tokens(b->tokens + MIDDLE, REST, 4242);
	r = answer(b, b->first, cold, MIDDLE + REST);
	right = b->reply.first_logits;
	if (r == 0)
		r = start(b, &b->second);
	if (r == 0)
		r = answer(b, b->second, warm, MIDDLE + REST);
	if (r == 0 && b->reply.times.reused != MIDDLE)
		r = fail(b, -ENODATA, "the prefix was not taken over");
	if (r == 0)
		compare(b, right);
	end(&b->second);
	return r;
}

static int kill_server(struct state *b)
{
	pid_t pid = 0;
	oc_client *c;
	int r = connect_node(b, &c);

	if (r)
		return r;
	r = node_server_pid(c, &pid);
	if (r == 0 && kill(pid, SIGKILL))
		r = -errno;
	oc_client_close(c);
	return r ? fail(b, r, "the node's server") : 0;
}

/* By an engine that knew the old server, and by one that meets the new. */
static int once_killed(struct state *b, uint64_t seed)
{
	int r = start(b, &b->second);

	make_tokens(b->tokens, PROMPT, seed);
	if (r == 0)
		r = kill_server(b);
	if (r == 0)
		r = take_over(b);
	end(&b->second);
	if (r == 0)
		r = start(b, &b->second);
	if (r == 0)
		r = take_over(b);
	end(&b->second);
	return r;
}

/* The node stopped and started again: the last run's prompt is on its drive, and
 * an engine that was started anew takes it over from there. */
static int once_restarted(struct state *b, uint64_t seed)
{
	struct load_drive drive;
	int r;

	end(&b->first);
	r = node_restart(b->node, b->error);
	if (r == 0)
		r = load_drive_await(b->session.node, &drive);
	if (r == 0)
		r = start(b, &b->second);
	make_tokens(b->tokens, PROMPT, seed);
	if (r == 0)
		r = take_over(b);
	if (r == 0 && b->reply.stat.fetched_blocks != PROMPT / BLOCK)
		r = fail(b, -ENODATA, "the prompt did not come from the drive");
	end(&b->second);
	if (r)
		return r;
	add(b, F_DRIVE, ms(b->reply.times.first_ns));
	add(b, F_DRIVE_FETCH, ms(b->reply.stat.fetch_ns));
	add(b, F_DRIVE_VS_COLD,
	    ms(b->reply.times.first_ns) /
		    b->figure[F_COLD].value[b->figure[F_COLD].n - 1]);
	return 0;
}

/* ---- all of it */

static int begin(struct state *b)
{
	struct node_options o = { .dram = DRAM, .drive = DRIVE, .save = true };
	static char program[4096];
	int r = beside_path("onecopy", program, sizeof(program));

	if (r)
		return fail(b, r, "the program onecopy is not beside this one");
	o.program = program;
	snprintf(b->dir, sizeof(b->dir), "/tmp/onecopy-bench-XXXXXX");
	if (!mkdtemp(b->dir)) {
		b->dir[0] = '\0';
		return fail(b, -errno, "no folder in /tmp");
	}
	snprintf(b->file, sizeof(b->file), "%s/state", b->dir);
	r = node_start(&o, &b->node, b->error);
	if (r)
		return r;
	b->session.node = node_socket(b->node);
	r = start(b, &b->first);
	text_copy(b->engine, sizeof(b->engine), b->reply.engine);
	b->parameters = b->reply.parameters;
	return r;
}

static int measure(struct state *b)
{
	int r = 0;

	for (uint64_t i = 0; i < b->runs && r == 0; i++) {
		r = run_cold(b, i + 1);
		if (r == 0 && i == 0)
			r = once_agents(b);
		if (r == 0)
			r = run_warm(b);
		if (r == 0 && i + 1 == b->runs)
			r = once_middle(b);
		if (r == 0)
			r = run_generating(b, i + 1);
	}
	if (r == 0)
		r = once_killed(b, b->runs);
	if (r == 0)
		r = once_restarted(b, b->runs);
	add(b, F_LOGITS_EQUAL, b->unequal);
	return r;
}

static void finish(struct state *b)
{
	end(&b->first);
	end(&b->second);
	for (int i = 0; i < AGENTS; i++)
		end(&b->agent[i]);
	node_stop(b->node);
	if (b->file[0])
		unlink(b->file);
	if (b->dir[0])
		rmdir(b->dir);
}

static int print(const struct state *b)
{
	json_t *figures = json_array(), *root;

	for (int i = 0; figures && i < FIGURES; i++) {
		json_t *values = json_array();

		for (uint32_t k = 0; values && k < b->figure[i].n; k++)
			json_array_append_new(values,
					      json_real(b->figure[i].value[k]));
		json_array_append_new(
			figures,
			json_pack("{s:s,s:s,s:o}", "figure", names[i].name,
				  "unit", names[i].unit, "values", values));
	}
	root = json_pack("{s:s,s:s,s:I,s:i,s:o}", "engine", b->engine, "model",
			 b->session.model, "parameters",
			 (json_int_t)b->parameters, "compared_answers",
			 (int)b->compared, "figures", figures);
	if (!root)
		return PROG_SYSTEM;
	json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	printf("\n");
	json_decref(root);
	return PROG_OK;
}

static const struct cli_option bench_options[] = {
	{ 'm', "model", "FILE", "random:medium",
	  "GGUF model, or random:tiny|small|base|medium[:SEED]" },
	{ 'r', "runs", "N", "3", "runs" },
	{ CLI_LONG, "engine", "PATH", "$ONECOPY_LLAMA",
	  "libllama, or its folder" },
	CLI_END
};

static const struct command bench_self = {
	.name = "llama bench",
	.summary = "what onecopy bench llama measures, as JSON",
	.usage = "[OPTIONS]",
	.options = bench_options,
	.alone = true,
};

static int bench_words(struct state *b, int argc, char **argv)
{
	struct cli c;
	int id, r = 0;

	cli_begin(&c, &bench_self, argc, argv);
	while (r == 0 && (id = cli_next(&c)) > 0) {
		if (id == 'm')
			b->session.model = c.value;
		else if (id == 'r')
			r = cli_number(&c, 1, BENCH_RUNS_MAX, &b->runs);
		else
			b->session.engine = c.value;
	}
	if (r)
		return r;
	return id < 0 ? c.status + 256 : cli_words(&c, 0, 0);
}

int measure_command(int argc, char **argv)
{
	static struct state b = {
		.session = { .model = "random:medium",
			     .exact = true,
			     .timeout_ns = SESSION_COMPARES_NS,
			     .threads = 1,
			     .block_tokens = BLOCK,
			     .context = PROMPT + 512 },
		.runs = 3,
	};
	int r = bench_words(&b, argc, argv);

	if (r)
		return r & 255;
	if (!b.session.engine)
		b.session.engine = engine_fetched();
	stop_catch();
	r = begin(&b);
	if (r == 0)
		r = measure(&b);
	finish(&b);
	if (r)
		return cli_fail(&bench_self,
				r == -EINTR ? PROG_FAILED : PROG_BAD_INPUT,
				"%s", b.error[0] ? b.error : oc_strerror(r));
	return print(&b);
}

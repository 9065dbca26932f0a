/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy replay: a recorded workload against a node. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "commands.h"
#include "load_report.h"
#include "node.h"
#include "progress.h"
#include "stop.h"
#include "trace/trace.h"

#define REPLAY_LABEL  "replay"
#define REPLAY_TOKENS 512u

struct replay {
	const struct command *command;
	const char *socket;
	bool embedded, json, terminal;
	uint64_t dram, block_bytes, clients, readers, limit, seed;
	uint64_t restart_at;
	const char *nvme;
	double speed, slow;
	struct load_tiers tiers;
	struct node *node; /* one of its own */
	const char *doing; /* for the progress */
};

/* Prefill of gpt-oss-120B on one H200, from published times for prompts of 8,192
 * and 49,152 tokens, 250 ms and 1,988 ms: 28.5 us a token, and 0.485 ns more for
 * each before it. (2,048 tokens were 78 ms, and 32,768 were 1,173 ms; the line
 * gives 60 and 1,195.) */
#define REPLAY_RATE   35050.0
#define REPLAY_GROWTH 0.485

enum {
	OPT_SEED = CLI_LONG,
	OPT_NVME,
	OPT_RESTART,
	OPT_SLOW,
	OPT_RATE,
	OPT_GROWTH,
	OPT_LOAD
};

static const struct cli_option replay_options[] = {
	{ 'n', "node", "SOCKET", NULL, "drive the node that listens there" },
	{ 'e', "embedded", NULL, NULL,
	  "start a private node (usual without --node)" },
	{ 'd', "dram", "SIZE", "1G", "limit of the private node" },
	{ 'b', "block-bytes", "SIZE", "64K", "bytes of a block" },
	{ 'c', "clients", "N", "1", "writer processes" },
	{ 'r', "readers", "N", "1", "reader processes, may be 0" },
	{ 's', "speed", "X", "max", "times real time, or max" },
	{ 'l', "limit", "N", NULL, "only the first N requests" },
	{ OPT_SEED, "seed", "N", "1", "another seed, other keys" },
	{ OPT_NVME, "nvme", "PATH:SIZE", NULL,
	  "the private node keeps blocks on a drive as well" },
	{ OPT_RESTART, "restart-at", "N", NULL,
	  "stop and start the private node before request N" },
	{ OPT_LOAD, "load", "POLICY", "plan",
	  "blocks on the drive: plan, always or never" },
	{ OPT_RATE, "prefill-rate", "X", "35050",
	  "tokens a second that computing makes" },
	{ OPT_GROWTH, "prefill-growth", "X", "0.485",
	  "ns that a token costs more for each before it" },
	{ OPT_SLOW, "slow-nvme", "X", NULL,
	  "a test: reads of the drive take X times as long" },
	{ 'j', "json", NULL, NULL, "print the report as JSON" },
	CLI_END
};

static int replay_speed(const struct cli *c, double *ret_speed)
{
	char *end;

	if (strcmp(c->value, "max") == 0) {
		*ret_speed = 0;
		return 0;
	}
	errno = 0;
	*ret_speed = strtod(c->value, &end);
	if (errno || *end || end == c->value ||
	    !(*ret_speed > 0 && *ret_speed <= 1e9))
		return cli_fail(c->command, PROG_USAGE,
				"--speed: %s is neither max nor a number above "
				"0",
				c->value);
	return 0;
}

static int replay_real(const struct cli *c, double least, double most,
		       double *ret)
{
	char *end;
	double x;

	errno = 0;
	x = strtod(c->value, &end);
	if (errno || *end || end == c->value || !(x >= least && x <= most))
		return cli_fail(c->command, PROG_USAGE,
				"--%s: %s is not a number from %g to %g",
				c->option->name, c->value, least, most);
	*ret = x;
	return 0;
}

static int replay_policy(const struct cli *c, enum load_policy *ret_policy)
{
	for (int i = 0; i < LOAD_POLICIES; i++)
		if (strcmp(c->value, load_policy_names[i]) == 0) {
			*ret_policy = (enum load_policy)i;
			return 0;
		}
	return cli_fail(c->command, PROG_USAGE,
			"--load: %s is none of plan, always and never",
			c->value);
}

static int replay_tier_option(struct replay *p, const struct cli *c, int id)
{
	switch (id) {
	case OPT_NVME:
		p->nvme = c->value;
		return 0;
	case OPT_RESTART:
		return cli_number(c, 1, UINT64_MAX, &p->restart_at);
	case OPT_LOAD:
		return replay_policy(c, &p->tiers.policy);
	case OPT_RATE:
		return replay_real(c, 1e-3, 1e12, &p->tiers.tokens_per_s);
	case OPT_GROWTH:
		return replay_real(c, 0, 1e9, &p->tiers.depth_ns);
	default:
		return replay_real(c, 1, 1e6, &p->slow);
	}
}

static int replay_option(struct replay *p, const struct cli *c, int id)
{
	switch (id) {
	case 'n':
		p->socket = c->value;
		return 0;
	case 'e':
		p->embedded = true;
		return 0;
	case 'd':
		return cli_size(c, 0, &p->dram);
	case 'b':
		return cli_size(c, 0, &p->block_bytes);
	case 'c':
		return cli_number(c, 1, LOAD_PROCESSES_MAX, &p->clients);
	case 'r':
		return cli_number(c, 0, LOAD_PROCESSES_MAX, &p->readers);
	case 's':
		return replay_speed(c, &p->speed);
	case 'l':
		return cli_number(c, 1, UINT64_MAX, &p->limit);
	case OPT_SEED:
		return cli_number(c, 0, UINT64_MAX, &p->seed);
	case 'j':
		p->json = true;
		return 0;
	default:
		return replay_tier_option(p, c, id);
	}
}

static int replay_check(const struct replay *p)
{
	if (p->block_bytes < 8 || p->block_bytes > 1ull << 30)
		return cli_fail(p->command, PROG_USAGE,
				"--block-bytes: 8 to 1G");
	if (p->socket && p->embedded)
		return cli_fail(p->command, PROG_USAGE,
				"--node and --embedded exclude each other");
	if (p->socket && (p->nvme || p->restart_at || p->slow > 0))
		return cli_fail(p->command, PROG_USAGE,
				"--nvme, --restart-at and --slow-nvme are of a "
				"private node, and --node names another");
	if (!p->nvme && (p->restart_at || p->slow > 0))
		return cli_fail(p->command, PROG_USAGE,
				"%s is of a drive: give --nvme PATH:SIZE",
				p->slow > 0 ? "--slow-nvme" : "--restart-at");
	return 0;
}

static int replay_tick(void *ctx, struct load *l, double done)
{
	const struct replay *p = ctx;

	(void)l;
	progress_show(p->terminal, p->doing, done);
	return 0;
}

static int replay_fail(struct replay *p, int r)
{
	return cli_fail(p->command, PROG_FAILED, "%s",
			r == -EINTR ? "interrupted" : strerror(-r));
}

/* Requests [first, end) on the node that runs now; adds to the report. */
static int replay_part(struct replay *p, struct load_options *o,
		       struct load_report *report, struct load_result *part)
{
	struct load_drive drive_before, drive_after;
	struct oc_stat before, after;
	int r = load_stat(p->socket, &before), bad;

	if (r == 0)
		r = load_drive_await(p->socket, &drive_before);
	if (r)
		return exit_of(r);
	o->tiers.ask = drive_before.there;
	bad = load_run(o, part);
	progress_clear(p->terminal);
	if (bad && bad != -EIO)
		return replay_fail(p, bad);
	if (load_stat(p->socket, &after) || load_drive(p->socket, &drive_after))
		return PROG_FAILED;
	load_add(&report->result, part);
	report->result.ns += part->ns;
	load_drive_add(&report->drive, &drive_before, &drive_after);
	if (load_report_fill(report, o, &before, &after))
		return cli_fail(p->command, PROG_SYSTEM, "out of memory");
	return bad ? PROG_FAILED : 0;
}

static int replay_again(struct replay *p, struct load_report *report)
{
	char error[NODE_ERROR] = "";
	uint64_t begin = clock_ns();
	int r = node_restart(p->node, error);

	report->restart_ns = clock_ns() - begin;
	return r ? cli_fail(p->command, PROG_NO_NODE,
			    "the node did not start again: %s", error)
		 : 0;
}

static int replay_drive(struct replay *p, const struct deck *d,
			struct load_report *report)
{
	struct load_options options = {
		.deck = d,
		.socket = p->socket,
		.label = REPLAY_LABEL,
		.readers = (uint32_t)p->readers,
		.block_tokens = REPLAY_TOKENS,
		.block_bytes = p->block_bytes,
		.seed = p->seed,
		.tiers = p->tiers,
		.speed = p->speed,
		.tick = replay_tick,
		.ctx = p,
	};
	int r;

	for (int t = 0; t < LOAD_TIMES; t++)
		hist_init(&report->result.time[t]);
	p->doing = "replay";
	if (p->restart_at >= d->requests && p->restart_at)
		fprintf(stderr,
			"onecopy replay: --restart-at %llu: no restart, there "
			"are %llu requests\n",
			(unsigned long long)p->restart_at,
			(unsigned long long)d->requests);
	if (!p->restart_at || p->restart_at >= d->requests)
		return replay_part(p, &options, report, &report->part[0]);
	options.end = p->restart_at;
	r = replay_part(p, &options, report, &report->part[0]);
	if (r)
		return r;
	report->restart_at = p->restart_at;
	r = replay_again(p, report);
	if (r)
		return r;
	p->doing = "replay, after the restart";
	options.first = p->restart_at;
	options.end = 0;
	return replay_part(p, &options, report, &report->part[1]);
}

/* With a node of its own where none is given. */
static int replay_with_node(struct replay *p, const struct deck *d,
			    struct load_report *report)
{
	struct node_options options = { .dram = p->dram,
					.nvme = p->nvme,
					.save = p->restart_at != 0,
					.slow_nvme = p->slow };
	char error[NODE_ERROR] = "";
	int r;

	if (p->socket)
		return replay_drive(p, d, report);
	r = node_start(&options, &p->node, error);
	if (r)
		return cli_fail(p->command, PROG_NO_NODE, "no node: %s", error);
	p->socket = node_socket(p->node);
	r = replay_drive(p, d, report);
	node_stop(p->node);
	return r;
}

static int replay_load(struct replay *p, const char *path, struct deck *d)
{
	struct trace_source *source;
	char error[TRACE_ERROR];
	int r = trace_open(path, &source, error);

	if (r)
		return cli_fail(p->command, PROG_BAD_INPUT, "%s", error);
	r = deck_load(d, source, p->limit);
	trace_close(source);
	if (r)
		return PROG_BAD_INPUT;
	if (d->requests == 0)
		return cli_fail(p->command, PROG_BAD_INPUT, "%s: no requests",
				path);
	r = deck_deal(d, (uint32_t)p->clients);
	return r ? cli_fail(p->command, PROG_SYSTEM, "out of memory") : 0;
}

static int replay_report(const struct replay *p, const char *trace,
			 const struct load_report *report)
{
	json_t *root;

	if (!p->json) {
		printf("%s\n", trace);
		load_report_print(report, stdout);
		return load_is_right(&report->result) ? PROG_OK : PROG_FAILED;
	}
	root = load_report_json(report);
	if (root)
		json_object_set_new(root, "trace", json_string(trace));
	if (load_json_out(root))
		return PROG_SYSTEM;
	return load_is_right(&report->result) ? PROG_OK : PROG_FAILED;
}

static int replay_run(const struct command *self, int argc, char **argv)
{
	struct replay p = {
		.command = self,
		.dram = 1ull << 30,
		.block_bytes = 64 << 10,
		.clients = 1,
		.readers = 1,
		.seed = 1,
		.tiers = { .tokens_per_s = REPLAY_RATE,
			   .depth_ns = REPLAY_GROWTH },
	};
	static struct load_report report; /* large */
	struct deck d;
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		r = replay_option(&p, &c, id);
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 1, 1);
	if (r == 0)
		r = replay_check(&p);
	if (r)
		return r;
	stop_catch();
	p.terminal = isatty(STDERR_FILENO);
	r = deck_init(&d) ? PROG_SYSTEM : replay_load(&p, argv[c.first], &d);
	if (r == 0)
		r = replay_with_node(&p, &d, &report);
	if (r == 0)
		r = replay_report(&p, argv[c.first], &report);
	else if (r == PROG_FAILED && report.block_bytes)
		replay_report(&p, argv[c.first], &report);
	deck_fini(&d);
	return r;
}

const struct command command_replay = {
	.name = "replay",
	.summary = "drive a node with a recorded workload, verify every byte",
	.usage = "[OPTIONS] TRACE",
	.options = replay_options,
	.run = replay_run,
};

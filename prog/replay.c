/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy replay: a recorded workload against a node. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
	double speed;
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
	{ CLI_LONG, "seed", "N", "1", "another seed, other keys" },
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
	case CLI_LONG:
		return cli_number(c, 0, UINT64_MAX, &p->seed);
	default:
		p->json = true;
		return 0;
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
	return 0;
}

static int replay_tick(void *ctx, struct load *l, double done)
{
	const struct replay *p = ctx;

	(void)l;
	progress_show(p->terminal, "replay", done);
	return 0;
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
		.speed = p->speed,
		.tick = replay_tick,
		.ctx = p,
	};
	struct oc_stat before, after;
	int r = load_stat(p->socket, &before);

	if (r)
		return exit_of(r);
	r = load_run(&options, &report->result);
	progress_clear(p->terminal);
	if (r && r != -EIO)
		return cli_fail(p->command, PROG_FAILED, "%s",
				r == -EINTR ? "interrupted" : strerror(-r));
	if (load_stat(p->socket, &after))
		return PROG_FAILED;
	if (load_report_fill(report, &options, &before, &after))
		return cli_fail(p->command, PROG_SYSTEM, "out of memory");
	return r ? PROG_FAILED : 0;
}

/* With a node of its own where none is given. */
static int replay_with_node(struct replay *p, const struct deck *d,
			    struct load_report *report)
{
	struct node_options options = { .dram = p->dram };
	char error[NODE_ERROR] = "";
	struct node *node = NULL;
	int r;

	if (p->socket)
		return replay_drive(p, d, report);
	r = node_start(&options, &node, error);
	if (r)
		return cli_fail(p->command, PROG_NO_NODE, "no node: %s", error);
	p->socket = node_socket(node);
	r = replay_drive(p, d, report);
	node_stop(node);
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
	if (r == 0 || (r == PROG_FAILED && report.block_bytes))
		r = MAX(r, replay_report(&p, argv[c.first], &report));
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

/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy demo: what one copy is worth, and that it survives its server. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "commands.h"
#include "demo.h"
#include "progress.h"
#include "stop.h"
#include "trace/agents.h"

#define DEMO_LABEL	    "demo"
#define DEMO_BLOCK_BYTES    (64ull << 10)
#define DEMO_DRAM	    (512ull << 20)
#define DEMO_TRACE_REQUESTS 4000u

struct demo_flags {
	const struct command *command;
	const char *socket, *trace;
	uint64_t dram, clients, readers;
};

static const struct cli_option demo_options[] = {
	{ CLI_LONG, "once", NULL, NULL, "end after the report" },
	{ 't', "trace", "FILE", NULL, "a recorded trace, not agents" },
	{ 'd', "dram", "SIZE", "512M", "limit of the node" },
	{ 'c', "clients", "N", "3", "writer processes" },
	{ 'r', "readers", "N", "2", "reader processes" },
	{ 's', "socket", "PATH", NULL, "where the node listens" },
	{ 'j', "json", NULL, NULL, "print the report as JSON" },
	CLI_END
};

static int demo_option(struct demo *d, struct demo_flags *f,
		       const struct cli *c, int id)
{
	switch (id) {
	case CLI_LONG:
		d->once = true;
		return 0;
	case 't':
		f->trace = c->value;
		return 0;
	case 'd':
		return cli_size(c, 0, &f->dram);
	case 'c':
		return cli_number(c, 1, LOAD_PROCESSES_MAX, &f->clients);
	case 'r':
		return cli_number(c, 1, LOAD_PROCESSES_MAX, &f->readers);
	case 's':
		f->socket = c->value;
		return 0;
	default:
		d->json = true;
		return 0;
	}
}

/* Agents whose working set is somewhat larger than the node. */
static int demo_agents(struct trace_source **ret_source, char *error)
{
	struct agents_options options;

	agents_defaults(&options);
	options.agents = 48;
	options.teams = 6;
	options.team_blocks = 96;
	options.own_blocks = 24;
	options.requests = 6000;
	options.chain_blocks = 512;
	return agents_open(&options, ret_source, error);
}

static int demo_load(const struct demo_flags *f, struct deck *deck)
{
	char error[TRACE_ERROR] = "";
	struct trace_source *source;
	int r = f->trace ? trace_open(f->trace, &source, error)
			 : demo_agents(&source, error);

	if (r)
		return cli_fail(f->command, PROG_BAD_INPUT, "%s", error);
	r = deck_load(deck, source, f->trace ? DEMO_TRACE_REQUESTS : 0);
	trace_close(source);
	if (r)
		return PROG_BAD_INPUT;
	if (deck->requests == 0)
		return cli_fail(f->command, PROG_BAD_INPUT, "no requests");
	return deck_deal(deck, (uint32_t)f->clients) ? PROG_SYSTEM : 0;
}

/* Is there a node already? */
static bool demo_answers(const char *socket)
{
	struct oc_client_options options = {
		.size = sizeof(options),
		.socket = socket,
		.name = "onecopy",
		.read_only = true,
	};
	oc_client *c;

	if (oc_client_connect(&options, &c, NULL))
		return false;
	oc_client_close(c);
	return true;
}

/* At the place that was asked for, else at the default one, else (somebody is
 * there already, or it cannot be used) in a private folder. */
static int demo_start(struct demo *d, const struct demo_flags *f)
{
	struct node_options options = { .dram = f->dram, .socket = f->socket };
	char error[NODE_ERROR] = "", usual[256] = "";
	int r;

	if (!f->socket && oc_default_socket(usual, sizeof(usual)) == 0)
		options.socket = usual;
	if (options.socket && demo_answers(options.socket)) {
		if (f->socket)
			return cli_fail(f->command, PROG_REFUSED,
					"a node runs at %s already", f->socket);
		fprintf(stderr,
			"A node runs at %s already; this one gets a "
			"private place.\n",
			usual);
		options.socket = NULL;
	}
	r = node_start(&options, &d->node, error);
	if (r && r != -EINTR && options.socket && !f->socket) {
		options.socket = NULL;
		r = node_start(&options, &d->node, error);
	}
	if (r)
		return cli_fail(f->command, PROG_NO_NODE, "no node: %s", error);
	return 0;
}

static int demo_drive(struct demo *d, const struct demo_flags *f,
		      const struct deck *deck)
{
	struct oc_stat before, after;
	int r;

	d->load = (struct load_options){
		.deck = deck,
		.socket = node_socket(d->node),
		.label = DEMO_LABEL,
		.readers = (uint32_t)f->readers,
		.block_tokens = 512,
		.block_bytes = DEMO_BLOCK_BYTES,
		.seed = 1,
		.tick = demo_tick,
		.ctx = d,
	};
	r = load_stat(d->load.socket, &before);
	if (r == 0)
		r = load_run(&d->load, &d->report.result);
	progress_clear(d->terminal);
	if (r == -EINTR)
		return cli_fail(f->command, PROG_FAILED, "interrupted");
	if (r && r != -EIO)
		return PROG_FAILED;
	if (load_stat(d->load.socket, &after))
		return PROG_FAILED;
	return load_report_fill(&d->report, &d->load, &before, &after)
		       ? PROG_SYSTEM
		       : 0;
}

static int demo_tell(struct demo *d)
{
	char usual[256] = "";

	oc_default_socket(usual, sizeof(usual));
	if (d->json)
		return load_json_out(demo_json(d)) ? PROG_SYSTEM : 0;
	demo_print(d, node_socket(d->node),
		   strcmp(usual, node_socket(d->node)) == 0);
	return 0;
}

/* Until a signal comes, or the node ends by itself. */
static int demo_serve(struct demo *d)
{
	struct timespec tick = { .tv_nsec = 200000000 };

	while (!stop_wanted() && node_alive(d->node))
		nanosleep(&tick, NULL);
	return stop_wanted() ? PROG_OK : PROG_FAILED;
}

static int demo_all(struct demo *d, const struct demo_flags *f)
{
	struct deck deck;
	int r;

	r = deck_init(&deck) ? PROG_SYSTEM : demo_load(f, &deck);
	if (r == 0)
		r = demo_start(d, f);
	if (r == 0)
		r = demo_drive(d, f, &deck);
	if (r == 0)
		r = demo_tell(d);
	if (r == 0 && !demo_is_right(d))
		r = cli_fail(f->command, PROG_FAILED,
			     "something was wrong: see above");
	if (r == 0 && !d->once)
		r = demo_serve(d);
	node_stop(d->node);
	deck_fini(&deck);
	return r;
}

static int demo_run(const struct command *self, int argc, char **argv)
{
	struct demo_flags f = {
		.command = self,
		.dram = DEMO_DRAM,
		.clients = 3,
		.readers = 2,
	};
	static struct demo d; /* large */
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		r = demo_option(&d, &f, &c, id);
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	r = cli_words(&c, 0, 0);
	if (r)
		return r;
	stop_catch();
	d.terminal = isatty(STDERR_FILENO);
	return demo_all(&d, &f);
}

const struct command command_demo = {
	.name = "demo",
	.summary = "show what one copy is worth, and kill its server",
	.usage = "[OPTIONS]",
	.options = demo_options,
	.run = demo_run,
};

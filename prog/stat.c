/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy stat: what a node holds and does. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "ask.h"
#include "base/clock.h"
#include "base/text.h"
#include "commands.h"
#include "stat_print.h"
#include "stop.h"

#define STAT_INTERVAL_S 2u

struct stat_flags {
	const struct command *command;
	const char *socket;
	bool json, watch;
	uint64_t seconds;
};

static const struct cli_option stat_options[] = {
	{ 'n', "node", "SOCKET", "$ONECOPY_SOCKET", "the node" },
	{ 'j', "json", NULL, NULL, "print the node's JSON" },
	{ 'w', "watch", NULL, NULL,
	  "again every 2 seconds, or as many as the word that follows" },
	CLI_END
};

static int stat_json(json_t *root)
{
	int bad = json_dumpf(root, stdout, JSON_INDENT(2));

	printf("\n");
	return bad || fflush(stdout) ? PROG_SYSTEM : PROG_OK;
}

/* The server does not answer: what shared memory says. */
static int stat_fallback(const struct stat_flags *f, oc_client *c, int why)
{
	struct oc_stat s;
	json_t *root;
	int r = oc_stat(c, &s);

	if (r)
		return cli_fail(f->command, exit_of(why), "%s",
				oc_client_error(c));
	cli_fail(f->command, 0,
		 "the server does not answer (%s); this is what "
		 "shared memory says",
		 oc_strerror(why));
	if (!f->json) {
		stat_print_short(&s);
		return PROG_OK;
	}
	root = stat_short_json(&s);
	r = root ? stat_json(root) : PROG_SYSTEM;
	json_decref(root);
	return r;
}

static int stat_once(const struct stat_flags *f, oc_client *c, json_t **last,
		     uint64_t *last_ns)
{
	uint64_t now_ns = clock_ns();
	json_t *now = NULL;
	int r = ask_json(c, "stat", NULL, &now);

	if (r)
		return stat_fallback(f, c, r);
	if (f->json)
		r = stat_json(now);
	else
		stat_print(now, *last, now_ns - *last_ns);
	json_decref(*last);
	*last = now;
	*last_ns = now_ns;
	return r;
}

static void stat_wait(const struct stat_flags *f)
{
	uint64_t end = clock_ns() + f->seconds * NS_PER_S, now;

	while (!stop_wanted() && (now = clock_ns()) < end) {
		struct timespec ts = {
			.tv_sec = (time_t)((end - now) / NS_PER_S),
			.tv_nsec = (long)((end - now) % NS_PER_S),
		};

		nanosleep(&ts, NULL);
	}
}

static int stat_loop(const struct stat_flags *f, oc_client *c)
{
	uint64_t last_ns = clock_ns();
	json_t *last = NULL;
	int r = stat_once(f, c, &last, &last_ns);

	while (f->watch && r == 0 && !stop_wanted()) {
		stat_wait(f);
		if (stop_wanted())
			break;
		if (!f->json)
			printf("\n");
		r = stat_once(f, c, &last, &last_ns);
	}
	json_decref(last);
	return r;
}

static int stat_words(struct stat_flags *f, const struct cli *c)
{
	int r = cli_words(c, 0, f->watch ? 1 : 0);

	if (r || c->first == c->argc)
		return r;
	if (text_parse_u64(c->argv[c->first], 86400, &f->seconds) ||
	    f->seconds == 0)
		return cli_fail(c->command, PROG_USAGE,
				"--watch: %s is not 1 to 86400 seconds",
				c->argv[c->first]);
	return 0;
}

static int stat_run(const struct command *self, int argc, char **argv)
{
	struct stat_flags f = { .command = self, .seconds = STAT_INTERVAL_S };
	oc_client *client;
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		if (id == 'n')
			f.socket = c.value;
		else if (id == 'j')
			f.json = true;
		else
			f.watch = true;
	}
	if (id < 0)
		return c.status;
	r = stat_words(&f, &c);
	if (r)
		return r;
	stop_catch();
	r = ask_connect(f.socket, &client);
	if (r)
		return exit_of(r);
	r = stat_loop(&f, client);
	oc_client_close(client);
	return r;
}

const struct command command_stat = {
	.name = "stat",
	.summary = "what a node holds and does",
	.usage = "[OPTIONS]",
	.options = stat_options,
	.run = stat_run,
};

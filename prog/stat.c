/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy stat: what a node holds and does. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "base/clock.h"
#include "base/text.h"
#include "commands.h"
#include "screen.h"
#include "stat_print.h"
#include "stop.h"

#define STAT_INTERVAL_S 2u

struct stat_flags {
	const struct command *command;
	const char *socket;
	bool json, watch;
	bool screen; /* redrawn in place */
	uint64_t seconds;
};

/* The last look, for rates. */
struct stat_last {
	json_t *root;
	uint64_t ns;
};

static const struct cli_option stat_options[] = {
	{ 'n', "node", "SOCKET", "$ONECOPY_SOCKET", "the node" },
	{ 'j', "json", NULL, NULL, "print the node's JSON" },
	{ 'w', "watch", NULL, NULL,
	  "again every 2 seconds, or as many as the word that follows; on a terminal in place" },
	CLI_END
};

static int stat_json(json_t *root)
{
	int bad = json_dumpf(root, stdout, JSON_INDENT(2));

	printf("\n");
	return bad || fflush(stdout) ? PROG_SYSTEM : PROG_OK;
}

/* The server does not answer: what shared memory says. On the screen it is said
 * there, else beside the output. */
static int stat_fallback(const struct stat_flags *f, FILE *out, oc_client *c,
			 int why)
{
	struct oc_stat s;
	json_t *root;
	int r = oc_stat(c, &s);

	if (r) {
		screen_close(); /* what is said now must stay */
		return cli_fail(f->command, exit_of(why), "%s",
				oc_client_error(c));
	}
	if (f->screen)
		fprintf(out, "the server does not answer (%s)\n",
			oc_strerror(why));
	else
		cli_fail(f->command, 0,
			 "the server does not answer (%s); this is what "
			 "shared memory says",
			 oc_strerror(why));
	if (!f->json) {
		stat_print_short(out, &s);
		return PROG_OK;
	}
	root = stat_short_json(&s);
	r = root ? stat_json(root) : PROG_SYSTEM;
	json_decref(root);
	return r;
}

static int stat_once(const struct stat_flags *f, FILE *out, oc_client *c,
		     struct stat_last *last)
{
	uint64_t now_ns = clock_ns();
	json_t *now = NULL;
	int r = ask_json(c, "stat", NULL, &now);

	if (r)
		return stat_fallback(f, out, c, r);
	if (f->json)
		r = stat_json(now);
	else
		stat_print(out, now, last->root, now_ns - last->ns);
	json_decref(last->root);
	last->root = now;
	last->ns = now_ns;
	return r;
}

static bool stat_stopped(const struct stat_flags *f)
{
	return stop_wanted() || (f->screen && screen_quit());
}

/* ---- again and again --------------------------------------------------------- */

/* The page as it is drawn now, for drawing it again. */
struct stat_page {
	char *text;
	size_t bytes;
};

static int stat_draw(const struct stat_page *page)
{
	return screen_draw(page->text, page->bytes) < 0 ? PROG_SYSTEM : PROG_OK;
}

static int stat_page_make(const struct stat_flags *f, oc_client *c,
			  struct stat_last *last, struct stat_page *page)
{
	FILE *out;
	int r;

	free(page->text);
	*page = (struct stat_page){ 0 };
	out = open_memstream(&page->text, &page->bytes);
	if (!out)
		return PROG_SYSTEM;
	r = stat_once(f, out, c, last);
	if (fclose(out) != 0)
		return PROG_SYSTEM;
	return r ? r : stat_draw(page);
}

/* Until the next look is due, or to stop. A window of another size gets its
 * page at once. */
static int stat_wait(const struct stat_flags *f, const struct stat_page *page)
{
	uint64_t end = clock_ns() + f->seconds * NS_PER_S, now;
	int r = 0;

	while (r == 0 && !stat_stopped(f) && (now = clock_ns()) < end) {
		struct timespec ts = {
			.tv_sec = (time_t)((end - now) / NS_PER_S),
			.tv_nsec = (long)((end - now) % NS_PER_S),
		};

		nanosleep(&ts, NULL);
		if (f->screen && screen_signalled())
			r = stat_draw(page);
	}
	return r;
}

static int stat_look(const struct stat_flags *f, oc_client *c,
		     struct stat_last *last, struct stat_page *page)
{
	return f->screen ? stat_page_make(f, c, last, page)
			 : stat_once(f, stdout, c, last);
}

static int stat_loop(const struct stat_flags *f, oc_client *c)
{
	struct stat_last last = { .ns = clock_ns() };
	struct stat_page page = { 0 };
	int r = stat_look(f, c, &last, &page);

	while (f->watch && r == 0 && !stat_stopped(f)) {
		r = stat_wait(f, &page);
		if (r || stat_stopped(f))
			break;
		if (!f->json && !f->screen)
			printf("\n");
		r = stat_look(f, c, &last, &page);
	}
	json_decref(last.root);
	free(page.text);
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
	f.screen = f.watch && !f.json && isatty(STDOUT_FILENO);
	if (f.screen)
		screen_open();
	r = stat_loop(&f, client);
	screen_close();
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

/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy stat: what a node holds and does. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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
/* For another node to answer, at each look: Ctrl-C waits as long. */
#define STAT_RETRY_NS (1 * NS_PER_S)

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

/* What is looked at. Nodes may follow each other on one socket. */
struct stat_node {
	char path[108];	    /* of struct sockaddr_un */
	oc_client *client;  /* NULL: it has ended, no other is there yet */
	struct stat socket; /* the file, just before the connection */
	bool said;	    /* that it has ended */
};

static const struct cli_option stat_options[] = {
	{ 'n', "node", "SOCKET", "$ONECOPY_SOCKET", "the node" },
	ASK_TOKEN_OPTION,
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

/* ---- one node after another -------------------------------------------------- */

static void stat_socket(const struct stat_node *n, struct stat *ret_socket)
{
	if (stat(n->path, ret_socket) < 0)
		*ret_socket = (struct stat){ 0 };
}

/* The change time too: numbers of files are used again. */
static bool stat_moved(const struct stat_node *n)
{
	struct stat now;

	stat_socket(n, &now);
	return now.st_ino && (now.st_ino != n->socket.st_ino ||
			      now.st_dev != n->socket.st_dev ||
			      now.st_ctim.tv_sec != n->socket.st_ctim.tv_sec ||
			      now.st_ctim.tv_nsec != n->socket.st_ctim.tv_nsec);
}

/* Lets go of the memory of a node that has ended, and of its figures: the next
 * one's are no later ones of them. Then another one, if it is there. */
static int stat_follow(struct stat_node *n, struct stat_last *last,
		       char error[ASK_ERROR])
{
	int r;

	oc_client_close(n->client);
	n->client = NULL;
	json_decref(last->root);
	last->root = NULL;
	stat_socket(n, &n->socket);
	r = ask_try(n->path, STAT_RETRY_NS, &n->client, error);
	if (r == 0)
		n->said = false;
	return r;
}

static int stat_say_ended(const struct stat_flags *f, FILE *out,
			  struct stat_node *n, const char *error)
{
	if (f->screen)
		fprintf(out, "the node has ended; waiting for one\n%s\n",
			error);
	else if (!n->said)
		cli_fail(f->command, 0, "the node has ended; waiting for one");
	n->said = true;
	return PROG_OK;
}

static int stat_once(const struct stat_flags *f, FILE *out, struct stat_node *n,
		     struct stat_last *last)
{
	uint64_t now_ns = clock_ns();
	char error[ASK_ERROR];
	json_t *now = NULL;
	int r = n->client ? ask_json(n->client, "stat", NULL, &now) : -ENOTCONN;

	if (r && f->watch && (r == -ENOTCONN || stat_moved(n))) {
		if (stat_follow(n, last, error))
			return stat_say_ended(f, out, n, error);
		r = ask_json(n->client, "stat", NULL, &now);
	}
	if (r)
		return stat_fallback(f, out, n->client, r);
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

static int stat_page_make(const struct stat_flags *f, struct stat_node *n,
			  struct stat_last *last, struct stat_page *page)
{
	FILE *out;
	int r;

	free(page->text);
	*page = (struct stat_page){ 0 };
	out = open_memstream(&page->text, &page->bytes);
	if (!out)
		return PROG_SYSTEM;
	r = stat_once(f, out, n, last);
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

static int stat_look(const struct stat_flags *f, struct stat_node *n,
		     struct stat_last *last, struct stat_page *page)
{
	return f->screen ? stat_page_make(f, n, last, page)
			 : stat_once(f, stdout, n, last);
}

static int stat_loop(const struct stat_flags *f, struct stat_node *n)
{
	struct stat_last last = { .ns = clock_ns() };
	struct stat_page page = { 0 };
	int r = stat_look(f, n, &last, &page);

	while (f->watch && r == 0 && !stat_stopped(f)) {
		r = stat_wait(f, &page);
		if (r || stat_stopped(f))
			break;
		if (!f->json && !f->screen)
			printf("\n");
		r = stat_look(f, n, &last, &page);
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

/* The default socket is chosen once: a node elsewhere is not the next one. */
static int stat_open(const struct stat_flags *f, struct stat_node *n)
{
	int r = f->socket ? text_copy(n->path, sizeof(n->path), f->socket)
			  : oc_default_socket(n->path, sizeof(n->path));

	if (r)
		n->path[0] = '\0'; /* the client says what is wrong */
	stat_socket(n, &n->socket);
	return ask_connect(r ? f->socket : n->path, &n->client);
}

static int stat_run(const struct command *self, int argc, char **argv)
{
	struct stat_flags f = { .command = self, .seconds = STAT_INTERVAL_S };
	struct stat_node node = { 0 };
	struct cli c;
	int id, r = 0;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		if (id == 'n')
			f.socket = c.value;
		else if (id == ASK_TOKEN)
			r = ask_token(&c);
		else if (id == 'j')
			f.json = true;
		else
			f.watch = true;
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	r = stat_words(&f, &c);
	if (r)
		return r;
	stop_catch();
	r = stat_open(&f, &node);
	if (r)
		return exit_of(r);
	f.screen = f.watch && !f.json && isatty(STDOUT_FILENO);
	if (f.screen)
		screen_open();
	r = stat_loop(&f, &node);
	screen_close();
	oc_client_close(node.client);
	return r;
}

const struct command command_stat = {
	.name = "stat",
	.summary = "what a node holds and does",
	.usage = "[OPTIONS]",
	.options = stat_options,
	.run = stat_run,
};

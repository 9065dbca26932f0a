/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy session: looking at a node's sessions, and an operator's hand. */
#include <errno.h>
#include <onecopy/session.h>
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "base/clock.h"
#include "commands.h"
#include "stat_print.h"

struct session {
	const struct command *command;
	const char *socket;
	bool json;
	uint64_t lease_ns, return_ns, blocks, answer_tokens;
	unsigned ended; /* enum oc_answer_end */
	oc_client *client;
	json_t *all; /* with --json */
	int status;
};

static const struct cli_option session_options[] = {
	{ 'n', "node", "SOCKET", "$ONECOPY_SOCKET", "the node" },
	ASK_TOKEN_OPTION,
	{ CLI_LONG, "lease", "TIME", "the node's",
	  "fork, pause: how long it lives from now on without use" },
	{ CLI_LONG + 1, "return", "TIME", NULL,
	  "pause, expect: when the next turn is expected" },
	{ CLI_LONG + 3, "ended", "WHY", "unknown",
	  "pause: turn, tool, length, stop, cancel, other" },
	{ CLI_LONG + 4, "answer", "TOKENS", NULL,
	  "pause: how long the answer was" },
	{ CLI_LONG + 2, "blocks", "N", "all",
	  "fork: how many of its blocks the new one begins with" },
	{ 'j', "json", NULL, NULL, "print JSON" },
	CLI_END
};

static int say(struct session *s, const char *which, int r)
{
	const char *text = oc_client_error(s->client);

	if (r == OC_MISS || r == -ENOENT)
		return cli_fail(s->command, PROG_FAILED, "%s: no such session",
				which);
	if (r == OC_EXISTS)
		return cli_fail(s->command, PROG_FAILED,
				"%s: a session of this name is there", which);
	if (r == OC_STALE)
		return cli_fail(s->command, PROG_FAILED,
				"%s: it has fewer blocks", which);
	return cli_fail(s->command,
			r == -EINVAL ? PROG_USAGE
			: r < 0	     ? (int)exit_of(r)
				     : PROG_FAILED,
			"%s: %s", which, *text ? text : oc_strerror(r));
}

/* ---- looking ---------------------------------------------------------------- */

static void print_value(const char *name, const json_t *value)
{
	char text[96];

	if (strcmp(name, "hot_since") ||
	    !stat_moment((uint64_t)json_integer_value(value), text,
			 sizeof(text)))
		ask_value(name, value, text, sizeof(text));
	printf("  %-20s %s\n", name, text);
}

static void print_places(const json_t *list)
{
	json_t *place;
	size_t i;

	printf("  %-20s", "resident_on");
	if (!json_array_size(list))
		printf(" %s", json_is_array(list) ? "nowhere" : "-");
	json_array_foreach(list, i, place)
		printf(" %s: %llu blocks",
		       json_string_value(json_object_get(place, "tier")),
		       (unsigned long long)ask_u64(place, "blocks"));
	printf("\n");
}

static void print_session(const char *which, json_t *root)
{
	json_t *value, *inner;
	const char *name, *field;

	printf("%s\n", which);
	json_object_foreach(root, name, value) {
		if (!json_is_object(value)) {
			print_value(name, value);
			continue;
		}
		json_object_foreach(value, field, inner) {
			if (strcmp(field, "resident_on") == 0)
				print_places(inner);
			else
				print_value(field, inner);
		}
	}
}

static int show(struct session *s, const char *which)
{
	json_t *root;
	int r = ask_json(s->client, "session", which, &root);

	if (r)
		return say(s, which, r);
	if (s->json)
		json_array_append_new(s->all, root);
	else
		print_session(which, root);
	if (!s->json)
		json_decref(root);
	return 0;
}

/* For the table: what fits in a line. */
static json_t *brief(const json_t *o)
{
	static const char *const own[] = { "name",   "id",	"state",
					   "owner",  "blocks",	"turns",
					   "gap_ms", "used_ms", "lease_ms" };
	json_t *row = json_object();
	const json_t *record = json_object_get(o, "record");

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		json_object_set(row, own[i], json_object_get(o, own[i]));
	json_object_set(row, "shared_with",
			json_object_get(record, "shared_with"));
	return row;
}

/* All of them, in as many questions as it takes. */
static int list_all(struct session *s, json_t *rows)
{
	char from[32] = "";

	for (;;) {
		json_t *root, *next, *o;
		size_t i;
		int r = ask_json(s->client, "sessions", from, &root);

		if (r)
			return say(s, "list", r);
		json_array_foreach(json_object_get(root, "sessions"), i, o)
			json_array_append_new(rows, s->json ? json_incref(o)
							    : brief(o));
		next = json_object_get(root, "next");
		snprintf(from, sizeof(from), "%lld",
			 (long long)json_integer_value(next));
		r = json_is_integer(next);
		json_decref(root);
		if (!r)
			return 0;
	}
}

static int list(struct session *s)
{
	json_t *rows = s->json ? s->all : json_array();
	int r = list_all(s, rows);

	if (s->json)
		return r;
	if (r == 0 && json_array_size(rows))
		ask_table(stdout, rows);
	else if (r == 0)
		printf("no sessions\n");
	json_decref(rows);
	return r;
}

/* ---- changing ---------------------------------------------------------------- */

static int fork_it(struct session *s, oc_session *parent, const char *name)
{
	struct oc_session_options o = OC_SESSION_INIT;
	oc_session *child;
	int r;

	o.name = name;
	o.flags = OC_SESSION_LEASED; /* this process ends at once */
	o.lease_ms = s->lease_ns / NS_PER_MS;
	o.blocks = s->blocks;
	r = oc_session_fork(parent, &o, 0, &child);
	if (r)
		return r;
	oc_session_leave(child);
	return 0;
}

static int pause_it(struct session *s, oc_session *one)
{
	struct oc_session_turn turn = OC_SESSION_TURN_INIT;

	turn.expected_return_ms = s->return_ns / NS_PER_MS;
	turn.lease_ms = s->lease_ns / NS_PER_MS;
	turn.ended = s->ended;
	turn.answer_tokens = s->answer_tokens;
	return oc_session_pause_after(one, &turn, 0);
}

/* By name alone: it may be anybody's. */
static int expect(struct session *s, const char *which)
{
	const struct oc_session_next next = {
		.name = which,
		.in_ms = s->return_ns / NS_PER_MS,
	};
	size_t known = 0;
	int r = oc_session_expect(s->client, &next, 1, 0, &known);

	if (r == 0 && !known)
		r = OC_MISS;
	return r ? say(s, which, r) : show(s, which);
}

static int change(struct session *s, const char *verb, const char *which,
		  const char *name)
{
	oc_session *one;
	oc_ns *ns;
	int r = ask_session(s->client, which, &ns, &one);

	if (r)
		return say(s, which, r);
	if (strcmp(verb, "fork") == 0)
		r = fork_it(s, one, name);
	else if (strcmp(verb, "pause") == 0)
		r = pause_it(s, one);
	else if (strcmp(verb, "resume") == 0)
		r = oc_session_resume(one, 0);
	else
		r = oc_session_close(one, 0);
	if (r)
		r = say(s, name ? name : which, r);
	if (strcmp(verb, "close"))
		oc_session_leave(one);
	oc_ns_close(ns);
	if (r == 0 && strcmp(verb, "close"))
		r = show(s, name ? name : which);
	return r;
}

/* ---- the command -------------------------------------------------------------- */

static bool is_one_of(const char *word, const char *const *words)
{
	while (*words && strcmp(*words, word))
		words++;
	return *words;
}

static int run_verb(struct session *s, const char *verb, int n, char **names)
{
	int r = 0;

	if (strcmp(verb, "list") == 0)
		return list(s);
	if (strcmp(verb, "fork") == 0)
		return change(s, verb, names[0], names[1]);
	for (int i = 0; i < n; i++) {
		int one = strcmp(verb, "show") == 0 ? show(s, names[i])
			  : strcmp(verb, "expect") == 0
				  ? expect(s, names[i])
				  : change(s, verb, names[i], NULL);

		r = r ? r : one;
	}
	return r;
}

static int check_words(struct session *s, const struct cli *c)
{
	static const char *const verbs[] = { "list",   "show",	"fork",
					     "close",  "pause", "resume",
					     "expect", NULL };
	const char *verb;
	int r = cli_words(c, 1, 4096), n;

	if (r)
		return r;
	verb = c->argv[c->first];
	n = c->argc - c->first - 1;
	if (!is_one_of(verb, verbs))
		return cli_fail(s->command, PROG_USAGE,
				"%s is none of list, show, fork, close, pause, "
				"resume, expect",
				verb);
	if (strcmp(verb, "list") == 0)
		return n == 0 ? 0
			      : cli_fail(s->command, PROG_USAGE,
					 "list takes no name; see show");
	if (strcmp(verb, "fork") == 0)
		return n == 2 ? 0
			      : cli_fail(s->command, PROG_USAGE,
					 "fork needs two names: of the "
					 "session, and a new one");
	return n ? 0
		 : cli_fail(s->command, PROG_USAGE, "%s needs a name", verb);
}

static int session_work(struct session *s, const struct cli *c)
{
	static const char *const looks[] = { "list", "show", NULL };
	const char *verb = c->argv[c->first];
	int r = is_one_of(verb, looks)
			? ask_connect(s->socket, &s->client)
			: ask_connect_writing(s->socket, &s->client);

	if (r)
		return exit_of(r);
	s->all = json_array();
	r = run_verb(s, verb, c->argc - c->first - 1, c->argv + c->first + 1);
	oc_client_close(s->client);
	if (s->json) {
		json_dumpf(s->all, stdout, JSON_INDENT(2));
		printf("\n");
	}
	json_decref(s->all);
	return r;
}

static int why_of(const struct cli *c, unsigned *ret_ended)
{
	const char *name;

	for (unsigned i = 0; (name = oc_answer_end_name(i)); i++) {
		if (strcmp(name, c->value) != 0)
			continue;
		*ret_ended = i;
		return 0;
	}
	return cli_fail(c->command, PROG_USAGE,
			"--ended: %s is none of turn, tool, length, stop, "
			"cancel, other",
			c->value);
}

static int session_run(const struct command *self, int argc, char **argv)
{
	struct session s = { .command = self };
	struct cli c;
	int id, r;

	cli_begin(&c, self, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		r = 0;
		if (id == 'n')
			s.socket = c.value;
		else if (id == ASK_TOKEN)
			r = ask_token(&c);
		else if (id == CLI_LONG)
			r = cli_time(&c, &s.lease_ns);
		else if (id == CLI_LONG + 1)
			r = cli_time(&c, &s.return_ns);
		else if (id == CLI_LONG + 2)
			r = cli_number(&c, 1, UINT32_MAX, &s.blocks);
		else if (id == CLI_LONG + 3)
			r = why_of(&c, &s.ended);
		else if (id == CLI_LONG + 4)
			r = cli_number(&c, 1, UINT32_MAX, &s.answer_tokens);
		else
			s.json = true;
		if (r)
			return r;
	}
	if (id < 0)
		return c.status;
	r = check_words(&s, &c);
	return r ? r : session_work(&s, &c);
}

const struct command command_session = {
	.name = "session",
	.summary = "sessions: what they are made of, where, how long",
	.usage = "[OPTIONS] list | show NAME... | fork NAME NEW | "
		 "close|pause|resume|expect NAME...",
	.options = session_options,
	.run = session_run,
};

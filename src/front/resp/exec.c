/* SPDX-License-Identifier: Apache-2.0 */
/* Commands: found, checked, counted, run. */
#include <stdio.h>
#include "wire/resp_reply.h"
#include "front/resp/internal.h"

/* ---- what several say ---------------------------------------------------------- */

/* As much of a client's words as Redis repeats. */
#define REPEAT_MAX 128

/* What a container of subcommands can do, a line each, as Redis does. */
static void put_help(struct out *o, const char *name, const char *const *known)
{
	char line[96];
	uint32_t n = 0;

	while (known[n])
		n++;
	out_array(o, n + 1);
	snprintf(line, sizeof(line),
		 "%s <subcommand> ... Subcommands are:", name);
	out_simple(o, line);
	for (; *known; known++)
		out_simple(o, *known);
}

enum exec_result exec_no_subcommand(struct call *k, const char *const *known)
{
	const char *name = resp_commands[k->id].name;
	struct name word = call_arg(k, 1);
	char large[RESP_NAME_MAX + 1] = "";

	for (unsigned i = 0; name[i]; i++)
		large[i] = (char)(name[i] - 'a' + 'A');
	if (word_is(word, "help") && k->n == 2) {
		put_help(k->out, large, known);
		return EXEC_DONE;
	}
	for (; *known; known++) {
		if (!word_is(word, *known))
			continue;
		out_errorf(k->out,
			   "ERR wrong number of arguments for '%s|%s' command",
			   name, *known);
		return EXEC_DONE;
	}
	out_errorf(k->out, "ERR unknown subcommand '%.*s'. Try %s HELP.",
		   (int)MIN(word.len, (uint32_t)REPEAT_MAX), word.text, large);
	return EXEC_DONE;
}

static void unknown_command(struct call *k)
{
	struct name word = call_arg(k, 0);
	char args[REPEAT_MAX + 8] = "";
	size_t len = 0;

	for (uint32_t i = 1; i < k->n && len < REPEAT_MAX; i++) {
		struct name a = call_arg(k, i);
		size_t n = MIN((size_t)a.len, REPEAT_MAX - len);

		args[len++] = '\'';
		memcpy(args + len, a.text, n);
		len += n;
		args[len++] = '\'';
		args[len++] = ' ';
	}
	out_errorf(k->out,
		   "ERR unknown command '%.*s', with args beginning with: %.*s",
		   (int)MIN(word.len, (uint32_t)REPEAT_MAX), word.text,
		   (int)len, args);
}

/* ---- COMMAND ------------------------------------------------------------------ */

static void put_info(struct out *o, enum resp_command_id id)
{
	char *at = out_room(o, RESP_COMMAND_ENTRY_MAX);
	int n;

	if (!at)
		return;
	n = resp_put_command(at, RESP_COMMAND_ENTRY_MAX, o->protocol, id);
	o->len += (size_t)MAX(n, 0);
}

static void put_docs(struct out *o, enum resp_command_id id)
{
	char *at = out_room(o, RESP_COMMAND_ENTRY_MAX);
	int n;

	if (!at)
		return;
	n = resp_put_command_docs(at, RESP_COMMAND_ENTRY_MAX, o->protocol, id);
	o->len += (size_t)MAX(n, 0);
}

static enum resp_command_id named(const struct call *k, uint32_t i)
{
	return resp_command_find(call_arg(k, i).text, call_arg(k, i).len);
}

static void command_list(struct out *o)
{
	out_array(o, RESP_COMMAND_COUNT);
	for (unsigned id = 1; id < RESP_CMD_END; id++)
		put_info(o, (enum resp_command_id)id);
}

static void command_docs(struct call *k)
{
	uint32_t n = 0;

	if (k->n == 2) {
		out_map(k->out, RESP_COMMAND_COUNT);
		for (unsigned id = 1; id < RESP_CMD_END; id++)
			put_docs(k->out, (enum resp_command_id)id);
		return;
	}
	for (uint32_t i = 2; i < k->n; i++)
		n += named(k, i) != RESP_CMD_NONE;
	out_map(k->out, n);
	for (uint32_t i = 2; i < k->n; i++)
		if (named(k, i) != RESP_CMD_NONE)
			put_docs(k->out, named(k, i));
}

enum exec_result exec_command_info(struct call *k)
{
	static const char *const known[] = { "info", "docs", "count", "list",
					     NULL };
	struct name what = k->n > 1 ? call_arg(k, 1) : (struct name){ "", 0 };

	if (k->n == 1 || (word_is(what, "info") && k->n == 2)) {
		command_list(k->out);
	} else if (word_is(what, "info")) {
		out_array(k->out, k->n - 2);
		for (uint32_t i = 2; i < k->n; i++)
			put_info(k->out, named(k, i));
	} else if (word_is(what, "docs")) {
		command_docs(k);
	} else if (word_is(what, "count") && k->n == 2) {
		out_int(k->out, RESP_COMMAND_COUNT);
	} else if (word_is(what, "list") && k->n == 2) {
		out_array(k->out, RESP_COMMAND_COUNT);
		for (unsigned id = 1; id < RESP_CMD_END; id++)
			out_text(k->out, resp_commands[id].name);
	} else {
		return exec_no_subcommand(k, known);
	}
	return EXEC_DONE;
}

/* ---- all of them ----------------------------------------------------------------- */

static const struct {
	exec_fn run;
	enum resp_kind kind;
	bool heavy; /* turn.c */
} commands[RESP_CMD_END] = {
	[RESP_CMD_AUTH] = { exec_auth, KIND_OTHER, false },
	[RESP_CMD_CLIENT] = { exec_client, KIND_OTHER, true },
	[RESP_CMD_COMMAND] = { exec_command_info, KIND_OTHER, true },
	[RESP_CMD_CONFIG] = { exec_config, KIND_OTHER, true },
	[RESP_CMD_DBSIZE] = { exec_dbsize, KIND_OTHER, false },
	[RESP_CMD_DEL] = { exec_del, KIND_OTHER, false },
	[RESP_CMD_ECHO] = { exec_echo, KIND_OTHER, false },
	[RESP_CMD_EXISTS] = { exec_exists, KIND_EXISTS, false },
	[RESP_CMD_EXPIRE] = { exec_expire, KIND_OTHER, false },
	[RESP_CMD_FLUSHALL] = { exec_flush, KIND_OTHER, true },
	[RESP_CMD_FLUSHDB] = { exec_flush, KIND_OTHER, true },
	[RESP_CMD_GET] = { exec_get, KIND_GET, false },
	[RESP_CMD_HELLO] = { exec_hello, KIND_OTHER, false },
	[RESP_CMD_INFO] = { exec_info, KIND_OTHER, true },
	[RESP_CMD_MEMORY] = { exec_memory, KIND_OTHER, false },
	[RESP_CMD_MGET] = { exec_mget, KIND_GET, false },
	[RESP_CMD_MSET] = { exec_mset, KIND_SET, false },
	[RESP_CMD_PERSIST] = { exec_persist, KIND_OTHER, false },
	[RESP_CMD_PEXPIRE] = { exec_expire, KIND_OTHER, false },
	[RESP_CMD_PING] = { exec_ping, KIND_OTHER, false },
	[RESP_CMD_PSETEX] = { exec_setex, KIND_SET, false },
	[RESP_CMD_PTTL] = { exec_ttl, KIND_OTHER, false },
	[RESP_CMD_QUIT] = { exec_quit, KIND_OTHER, false },
	[RESP_CMD_RESET] = { exec_reset, KIND_OTHER, true },
	[RESP_CMD_SCAN] = { exec_scan, KIND_OTHER, true },
	[RESP_CMD_SELECT] = { exec_select, KIND_OTHER, false },
	[RESP_CMD_SESSION] = { exec_session, KIND_OTHER, false },
	[RESP_CMD_SET] = { exec_set, KIND_SET, false },
	[RESP_CMD_SETEX] = { exec_setex, KIND_SET, false },
	[RESP_CMD_SETNX] = { exec_setnx, KIND_SET, false },
	[RESP_CMD_STRLEN] = { exec_strlen, KIND_OTHER, false },
	[RESP_CMD_TIME] = { exec_time, KIND_OTHER, false },
	[RESP_CMD_TTL] = { exec_ttl, KIND_OTHER, false },
	[RESP_CMD_TYPE] = { exec_type, KIND_OTHER, false },
	[RESP_CMD_UNLINK] = { exec_del, KIND_OTHER, false },
};

/* Long words of an array are told by RESP_VALUE; a line's are not. */
static bool too_long(const struct resp_parser *p)
{
	for (uint32_t i = 0; p->at > RESP_INLINE_MAX && i < p->n_args; i++)
		if (p->arg[i].at != RESP_ARG_VALUE &&
		    p->arg[i].len > RESP_INLINE_MAX)
			return true;
	return false;
}

/* What must be said instead of running it; true: it was said. */
static bool refused(struct call *k)
{
	if (k->c->wrong) {
		out_error(k->out, k->c->wrong);
	} else if (too_long(k->p)) {
		out_error(k->out, "ERR a word of the command is too long");
	} else if (k->id == RESP_CMD_NONE) {
		unknown_command(k);
	} else if (!resp_command_takes(k->id, k->n)) {
		out_errorf(k->out,
			   "ERR wrong number of arguments for '%s' command",
			   resp_commands[k->id].name);
	} else if (!k->t && !(resp_commands[k->id].flags & RESP_NO_AUTH)) {
		out_error(k->out, k->c->stranger
					  ? RESP_STRANGER
					  : "NOAUTH Authentication required.");
	} else {
		return false;
	}
	return true;
}

/* With its batch; one that had to wait, by itself. */
static void count_time(struct conn *c, enum resp_kind kind)
{
	struct resp_door *d = c->door;

	if (!c->began_ns) {
		d->batch[kind]++;
		return;
	}
	hist_add(&d->counts.time_ns[kind], clock_ns() - c->began_ns);
	resp_count(c, DOOR_C_requests, 1);
	c->began_ns = 0;
}

enum exec_result exec_command(struct conn *c, const struct resp_parser *p,
			      const char *data)
{
	struct resp_door *d = c->door;
	struct name word = conn_arg(p, data, 0);
	struct call k = {
		.c = c,
		.d = d,
		.t = c->tenant,
		.out = &d->out,
		.id = resp_command_find(word.text, word.len),
		.p = p,
		.data = data,
		.n = p->n_args,
	};

	if (!refused(&k) && ((commands[k.id].heavy && !turn_take(c)) ||
			     commands[k.id].run(&k) == EXEC_AGAIN)) {
		if (!c->began_ns)
			c->began_ns = d->now_ns;
		return EXEC_AGAIN;
	}
	c->last = resp_commands[k.id].name;
	c->commands++;
	count_time(c, commands[k.id].kind);
	return EXEC_DONE;
}

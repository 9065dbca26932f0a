/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about the connection and the server. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/glob.h"
#include "front/resp/internal.h"

enum exec_result exec_ping(struct call *k)
{
	if (k->n > 2)
		out_error(k->out, "ERR wrong number of arguments for 'ping' "
				  "command");
	else if (k->n == 2)
		out_bulk(k->out, call_arg(k, 1).text, call_arg(k, 1).len);
	else
		out_simple(k->out, "PONG");
	return EXEC_DONE;
}

enum exec_result exec_echo(struct call *k)
{
	out_bulk(k->out, call_arg(k, 1).text, call_arg(k, 1).len);
	return EXEC_DONE;
}

enum exec_result exec_select(struct call *k)
{
	struct name word = call_arg(k, 1);
	int64_t n;

	if (!resp_number(word.text, word.len, &n))
		out_error(k->out,
			  "ERR value is not an integer or out of range");
	else if (n != 0)
		out_error(k->out, "ERR DB index is out of range");
	else
		out_simple(k->out, "OK");
	return EXEC_DONE;
}

enum exec_result exec_quit(struct call *k)
{
	out_simple(k->out, "OK");
	k->c->closing = true;
	return EXEC_DONE;
}

enum exec_result exec_time(struct call *k)
{
	struct timespec ts;
	char text[24];

	clock_gettime(CLOCK_REALTIME, &ts);
	out_array(k->out, 2);
	snprintf(text, sizeof(text), "%lld", (long long)ts.tv_sec);
	out_text(k->out, text);
	snprintf(text, sizeof(text), "%ld", ts.tv_nsec / 1000);
	out_text(k->out, text);
	return EXEC_DONE;
}

/* ---- CLIENT --------------------------------------------------------------------- */

int conn_name(struct conn *c, struct name name)
{
	char *copy = NULL;

	for (uint32_t i = 0; i < name.len; i++)
		if (name.text[i] <= ' ' || name.text[i] > '~')
			return -EINVAL;
	if (name.len > 256)
		return -EINVAL;
	if (name.len) {
		copy = mem_alloc(name.len + 1);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, name.text, name.len);
	}
	free(c->name);
	c->name = copy;
	return 0;
}

static void client_line(const struct conn *c, char *line, size_t cap)
{
	struct conn_address a;

	conn_addresses(c, &a);
	snprintf(
		line, cap,
		"id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=%llu "
		"flags=N db=0 qbuf=%u omem=%zu cmd=%s user=%s resp=%u\n",
		(unsigned long long)c->id, a.peer, a.own, stream_fd(c->stream),
		c->name ? c->name : "",
		(unsigned long long)((c->door->now_ns - c->born_ns) / NS_PER_S),
		(unsigned long long)((c->door->now_ns - c->step_ns) / NS_PER_S),
		c->in ? c->in->len - c->in->at : 0, c->out_len,
		c->last ? c->last : "NULL", c->user ? c->user : "(none)",
		c->protocol);
}

/* Those of the same tenant: others are none of its business. */
#define CLIENT_LIST_MAX 1000

static void client_list(struct call *k)
{
	struct out list = { .protocol = 2 };
	uint32_t n = 0;

	for (uint32_t i = 0; i < k->d->conn_end && n < CLIENT_LIST_MAX; i++) {
		const struct conn *c = k->d->conn[i];
		char line[768];

		if (!c || c->tenant != k->t || c->state == CONN_ENDED)
			continue;
		client_line(c, line, sizeof(line));
		out_raw(&list, line, strlen(line));
		n++;
	}
	out_people(k->out, list.at, list.len);
	k->out->failed |= list.failed;
	out_fini(&list);
}

enum exec_result exec_client(struct call *k)
{
	static const char *const known[] = { "id",	"getname", "setname",
					     "setinfo", "info",	   "list",
					     NULL };
	struct name what = call_arg(k, 1);
	char line[768];

	if (word_is(what, "id") && k->n == 2) {
		out_int(k->out, (int64_t)k->c->id);
	} else if (word_is(what, "getname") && k->n == 2) {
		if (k->c->name)
			out_text(k->out, k->c->name);
		else
			out_null(k->out);
	} else if (word_is(what, "setname") && k->n == 3) {
		if (conn_name(k->c, call_arg(k, 2)) < 0)
			out_error(k->out, RESP_BAD_NAME);
		else
			out_simple(k->out, "OK");
	} else if (word_is(what, "setinfo") && k->n == 4) {
		out_simple(k->out, "OK"); /* taken and not kept */
	} else if (word_is(what, "info") && k->n == 2) {
		client_line(k->c, line, sizeof(line));
		out_people(k->out, line, strlen(line));
	} else if (word_is(what, "list") && k->n == 2) {
		client_list(k);
	} else if (word_is(what, "no-evict") || word_is(what, "no-touch")) {
		out_simple(k->out, "OK");
	} else {
		return exec_no_subcommand(k, known);
	}
	return EXEC_DONE;
}

/* ---- CONFIG, MEMORY ---------------------------------------------------------------- */

/* What tools ask for, with what is true here. */
static const char *config_value(const struct call *k, size_t i, char text[32])
{
	const uint64_t numbers[] = {
		k->t->pool->quota,
		k->d->options.max_connections,
		RESP_BULK_MAX,
		k->d->options.port,
	};

	if (i >= ARRAY_LEN(numbers))
		return "";
	snprintf(text, 32, "%llu", (unsigned long long)numbers[i]);
	return text;
}

static const struct {
	const char *name,
		*value; /* NULL: a number, in config_value()'s order */
} parameters[] = {
	{ "maxmemory", NULL },
	{ "maxclients", NULL },
	{ "proto-max-bulk-len", NULL },
	{ "port", NULL },
	{ "save", "" },
	{ "appendonly", "no" },
	{ "databases", "1" },
	{ "maxmemory-policy", "allkeys-lru" },
	{ "timeout", "0" },
};

enum exec_result exec_config(struct call *k)
{
	struct out found = { .protocol = k->out->protocol };
	uint32_t n = 0;
	char text[32];

	if (!word_is(call_arg(k, 1), "get") || k->n < 3)
		return exec_no_subcommand(k,
					  (const char *const[]){ "get", NULL });
	for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
		bool wanted = false;

		for (uint32_t a = 2; a < k->n && !wanted; a++)
			wanted = glob_match(call_arg(k, a).text,
					    call_arg(k, a).len,
					    parameters[i].name,
					    strlen(parameters[i].name));
		if (!wanted)
			continue;
		out_text(&found, parameters[i].name);
		out_text(&found, parameters[i].value
					 ? parameters[i].value
					 : config_value(k, i, text));
		n++;
	}
	out_map(k->out, n);
	out_raw(k->out, found.at, found.len);
	k->out->failed |= found.failed;
	out_fini(&found);
	return EXEC_DONE;
}

enum exec_result exec_memory(struct call *k)
{
	struct entry e;

	if (!word_is(call_arg(k, 1), "usage") || k->n < 3)
		return exec_no_subcommand(k, (const char *const[]){ "usage",
								    NULL });
	if (!entry_find(k->t, call_arg(k, 2), &e))
		out_null(k->out);
	else
		out_int(k->out, (int64_t)entry_memory(k->t, &e));
	return EXEC_DONE;
}

/* ---- INFO -------------------------------------------------------------------------- */

struct info {
	struct call *k;
	struct out text;
};

static void line(struct info *i, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void line(struct info *i, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	out_raw(&i->text, text, strlen(text));
	out_raw(&i->text, "\r\n", 2);
}

static void number(struct info *i, const char *name, uint64_t value)
{
	line(i, "%s:%llu", name, (unsigned long long)value);
}

static uint64_t counted(const struct info *i, enum door_counter c)
{
	return i->k->d->counts.count[i->k->t->pool->number][c];
}

static void info_server(struct info *i)
{
	const struct resp_door *d = i->k->d;

	line(i, "redis_version:" RESP_AS_REDIS);
	line(i, "onecopy_version:%s", d->options.version);
	line(i, "redis_mode:standalone");
	line(i, "multiplexing_api:%s", loop_backend_name(d->options.loop));
	number(i, "process_id", (uint64_t)getpid());
	number(i, "tcp_port", d->options.port);
	number(i, "uptime_in_seconds", (d->now_ns - d->born_ns) / NS_PER_S);
}

static void info_clients(struct info *i)
{
	number(i, "connected_clients", counted(i, DOOR_C_connections_now));
	number(i, "maxclients", i->k->d->options.max_connections);
	number(i, "blocked_clients", i->k->d->n_queued);
}

static void info_memory(struct info *i)
{
	const struct pool *p = i->k->t->pool;

	number(i, "used_memory", pool_counter(p, POOL_C_slab_bytes));
	number(i, "used_memory_dataset", pool_counter(p, POOL_C_sealed_bytes));
	number(i, "maxmemory", p->quota);
	line(i, "maxmemory_policy:allkeys-lru");
}

static void info_persistence(struct info *i)
{
	number(i, "loading", 0);
	number(i, "rdb_changes_since_last_save", 0);
	number(i, "aof_enabled", 0);
}

static void info_stats(struct info *i)
{
	const struct pool *p = i->k->t->pool;

	number(i, "total_connections_received", counted(i, DOOR_C_connections));
	number(i, "total_commands_processed", counted(i, DOOR_C_requests));
	number(i, "total_net_input_bytes", counted(i, DOOR_C_received_bytes));
	number(i, "total_net_output_bytes", counted(i, DOOR_C_sent_bytes));
	number(i, "rejected_connections",
	       i->k->d->counts.count[DOOR_NO_TENANT][DOOR_C_refused]);
	number(i, "keyspace_hits", counted(i, DOOR_C_hits));
	number(i, "keyspace_misses", counted(i, DOOR_C_misses));
	number(i, "evicted_keys", pool_counter(p, POOL_C_evicted));
	number(i, "total_error_replies", counted(i, DOOR_C_errors));
}

static void info_replication(struct info *i)
{
	line(i, "role:master");
	number(i, "connected_slaves", 0);
}

static void info_keyspace(struct info *i)
{
	uint64_t n = tenant_names(i->k->t);

	if (n)
		line(i, "db0:keys=%llu,expires=0,avg_ttl=0",
		     (unsigned long long)n);
}

static const struct {
	const char *name;
	void (*write)(struct info *i);
} sections[] = {
	{ "server", info_server },     { "clients", info_clients },
	{ "memory", info_memory },     { "persistence", info_persistence },
	{ "stats", info_stats },       { "replication", info_replication },
	{ "keyspace", info_keyspace },
};

static bool section_wanted(const struct call *k, const char *name)
{
	if (k->n == 1)
		return true;
	for (uint32_t i = 1; i < k->n; i++) {
		struct name word = call_arg(k, i);

		if (word_is(word, name) || word_is(word, "all") ||
		    word_is(word, "everything") || word_is(word, "default"))
			return true;
	}
	return false;
}

enum exec_result exec_info(struct call *k)
{
	struct info i = { .k = k, .text = { .protocol = 2 } };

	for (size_t s = 0; s < ARRAY_LEN(sections); s++) {
		if (!section_wanted(k, sections[s].name))
			continue;
		if (i.text.len)
			out_raw(&i.text, "\r\n", 2);
		line(&i, "# %c%s", sections[s].name[0] - 'a' + 'A',
		     sections[s].name + 1);
		sections[s].write(&i);
	}
	out_people(k->out, i.text.at, i.text.len);
	k->out->failed |= i.text.failed;
	out_fini(&i.text);
	return EXEC_DONE;
}

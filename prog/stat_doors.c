/* SPDX-License-Identifier: Apache-2.0 */
/* What the doors count, as tables with rates. */
#include <string.h>

#include "ask.h"
#include "base/compiler.h"
#include "base/text.h"
#include "stat_print.h"

/* The entry of a list whose member `name` is `value` (or as null). */
static json_t *find(json_t *list, const char *name, json_t *value)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		if (json_equal(json_object_get(o, name), value))
			return o;
	}
	return NULL;
}

struct span {
	const json_t *now, *before; /* before may be NULL: since the start */
	double seconds;		    /* 0: not known */
};

/* A door's counts begin anew with each server. */
static uint64_t grown(const struct span *s, const char *name)
{
	uint64_t now = ask_u64(s->now, name), old = ask_u64(s->before, name);

	return now >= old ? now - old : now;
}

static void set_rate(json_t *row, const struct span *s, const char *column,
		     const char *name)
{
	double rate = s->seconds > 0 ? (double)grown(s, name) / s->seconds : 0;
	char size[32];

	if (s->seconds <= 0)
		json_object_set_new(row, column, json_string("-"));
	else if (strstr(name, "bytes"))
		json_object_set_new(
			row, column,
			json_sprintf("%s/s", text_size((uint64_t)rate, size)));
	else
		json_object_set_new(row, column, json_sprintf("%.1f", rate));
}

static void set_hits(json_t *row, const struct span *s)
{
	uint64_t hits = grown(s, "hits"), all = hits + grown(s, "misses");

	json_object_set_new(row, "hits",
			    all ? json_sprintf("%.1f %%",
					       (double)hits * 100 / (double)all)
				: json_string("-"));
}

static json_t *door_row(const json_t *door, const struct span *s)
{
	json_t *tenant = json_object_get(s->now, "tenant");
	json_t *row = json_object();

	json_object_set(row, "door", json_object_get(door, "door"));
	if (json_is_string(tenant))
		json_object_set(row, "tenant", tenant);
	else
		json_object_set_new(row, "tenant", json_string("-"));
	json_object_set(row, "connections",
			json_object_get(s->now, "connections_now"));
	set_rate(row, s, "requests/s", "requests");
	set_hits(row, s);
	set_rate(row, s, "in", "received_bytes");
	set_rate(row, s, "out", "sent_bytes");
	json_object_set(row, "errors", json_object_get(s->now, "errors"));
	json_object_set(row, "refused", json_object_get(s->now, "refused"));
	return row;
}

/* Nobody came by it. */
static bool unused(const json_t *counts)
{
	return !ask_u64(counts, "connections") && !ask_u64(counts, "requests");
}

static void add_tenants(json_t *rows, const json_t *door, json_t *before,
			double seconds)
{
	json_t *tenants = json_object_get(door, "tenants"), *o;
	json_t *old = json_object_get(before, "tenants");
	size_t i;

	json_array_foreach(tenants, i, o) {
		const struct span s = {
			.now = o,
			.before = find(old, "tenant",
				       json_object_get(o, "tenant")),
			.seconds = seconds,
		};

		if (!unused(o))
			json_array_append_new(rows, door_row(door, &s));
	}
}

static void add_kinds(json_t *rows, const json_t *door)
{
	json_t *kinds = json_object_get(door, "kinds"), *o;
	char p50[32], p99[32];
	size_t i;

	json_array_foreach(kinds, i, o) {
		if (!ask_u64(o, "count"))
			continue;
		json_array_append_new(
			rows,
			json_pack("{s:O,s:O,s:O,s:s,s:s}", "door",
				  json_object_get(door, "door"), "request",
				  json_object_get(o, "kind"), "count",
				  json_object_get(o, "count"), "p50",
				  text_time(ask_u64(o, "p50_ns"), p50), "p99",
				  text_time(ask_u64(o, "p99_ns"), p99)));
	}
}

static void print_rows(FILE *out, const char *title, json_t *rows)
{
	if (json_array_size(rows)) {
		fprintf(out, "%s\n", title);
		ask_table(out, rows);
	}
	json_decref(rows);
}

void stat_print_doors(FILE *out, const json_t *now, const json_t *last,
		      double seconds)
{
	json_t *tenants = json_array(), *kinds = json_array();
	json_t *doors = json_object_get(now, "doors"), *door;
	json_t *old = json_object_get(last, "doors");
	size_t i;

	json_array_foreach(doors, i, door) {
		add_tenants(tenants, door,
			    find(old, "door", json_object_get(door, "door")),
			    seconds);
		add_kinds(kinds, door);
	}
	print_rows(out, "doors", tenants);
	print_rows(out, "times of requests, since the server's start", kinds);
}

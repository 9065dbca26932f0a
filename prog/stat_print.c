/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "stat_print.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "base/compiler.h"
#include "base/text.h"

/* Counters that only grow: they have rates. The rest are levels. */
static const char *const stat_rates[] = {
	"grants",	    "seals",	       "seal_bytes",
	"exists",	    "abandons",	       "evicted",
	"evicted_bytes",    "removed",	       "bad",
	"scrubbed_bytes",   "refused",	       "slabs_made",
	"slabs_moved",	    "slabs_retired",   "spared",
	"touches",	    "touches_lost",    "pins",
	"misses",	    "read_bytes",      "copied_bytes",
	"client_deaths",    "quarantines",     "pin_scans",
	"promoted",	    "promoted_bytes",  "promoted_ahead",
	"promote_failed",   "demoted",	       "demoted_bytes",
	"demote_missed",    "demote_declined", "demote_refused",
	"demote_failed",    "revoke_asks",     "revoked",
	"revoke_kept",	    "revoke_late",     "passed_by",
	"promoted_passing", "cxl_in_place",
};

static bool stat_has_rate(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(stat_rates); i++)
		if (strcmp(stat_rates[i], name) == 0)
			return true;
	return false;
}

static void stat_rate(const char *name, double rate, char *text, size_t cap)
{
	char size[32];

	if (strstr(name, "bytes") && rate >= 0)
		snprintf(text, cap, "%s/s", text_size((uint64_t)rate, size));
	else
		snprintf(text, cap, "%.1f/s", rate);
}

/* With a look before: levels that are not 0 and counters that have grown. */
static bool stat_counts(const char *name, const json_t *now, const json_t *last)
{
	uint64_t value = ask_u64(now, name);

	if (!last)
		return true;
	return stat_has_rate(name) ? value != ask_u64(last, name) : value != 0;
}

static void stat_print_counters(FILE *out, const json_t *now,
				const json_t *last, double seconds)
{
	json_t *counters = json_object_get(now, "counters"), *value;
	json_t *before = json_object_get(last, "counters");
	const char *name;
	char text[64], rate[64];

	json_object_foreach(counters, name, value) {
		if (!stat_counts(name, counters, before))
			continue;
		ask_value(name, value, text, sizeof(text));
		rate[0] = '\0';
		if (seconds > 0 && stat_has_rate(name)) {
			double more = (double)json_integer_value(value) -
				      (double)ask_u64(before, name);

			stat_rate(name, more / seconds, rate, sizeof(rate));
		}
		fprintf(out, "  %-18s %16s  %16s\n", name, text, rate);
	}
}

/* Writes of payload bytes by what caused them. */
static void stat_print_moves(FILE *out, const json_t *now)
{
	json_t *c = json_object_get(now, "counters");
	uint64_t up = ask_u64(c, "promoted_bytes");
	uint64_t filled = ask_u64(c, "seal_bytes") - up;
	uint64_t copied = ask_u64(c, "copied_bytes");
	uint64_t read = ask_u64(c, "read_bytes") + copied;
	char text[32];

	fprintf(out, "moves\n");
	fprintf(out, "  %-18s %16s\n", "fill", text_size(filled, text));
	if (up)
		fprintf(out, "  %-18s %16s\n", "from below",
			text_size(up, text));
	fprintf(out, "  %-18s %16s\n", "copy out", text_size(copied, text));
	fprintf(out, "  %-18s %16s\n", "delivered", text_size(read, text));
	if (read)
		fprintf(out, "  %-18s %16.3f\n", "per byte",
			(double)(filled + up + copied) / (double)read);
}

/* "3 days 4 hours", "1 hour 5 minutes", "6 seconds". cap: 64. */
static void stat_age(uint64_t seconds, char *text, size_t cap)
{
	static const struct {
		const char *unit;
		uint64_t seconds;
	} units[] = { { "day", 86400 },
		      { "hour", 3600 },
		      { "minute", 60 },
		      { "second", 1 } };
	size_t i = 0, used = 0;

	while (i + 1 < ARRAY_LEN(units) && seconds < units[i].seconds)
		i++;
	for (size_t k = i; k < MIN(i + 2, ARRAY_LEN(units)); k++) {
		uint64_t n = seconds / units[k].seconds;

		seconds %= units[k].seconds;
		used += (size_t)snprintf(text + used, cap - used, "%s%llu %s%s",
					 k > i ? " " : "",
					 (unsigned long long)n, units[k].unit,
					 n == 1 ? "" : "s");
	}
}

bool stat_moment(uint64_t ms, char *text, size_t cap)
{
	uint64_t now = clock_realtime_ms();
	time_t seconds = (time_t)(ms / 1000);
	char date[32], age[64];
	struct tm tm;

	if (ms == 0 || !localtime_r(&seconds, &tm))
		return false;
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	stat_age((now - MIN(ms, now)) / 1000, age, sizeof(age));
	snprintf(text, cap, "%s, %s ago", date, age);
	return true;
}

static bool stat_date(const char *name, const json_t *value, char *text,
		      size_t cap)
{
	if (strcmp(name, "born_ms") != 0 &&
	    strcmp(name, "server_start_ms") != 0)
		return false;
	return stat_moment((uint64_t)json_integer_value(value), text, cap);
}

/* Names without the unit that the text has now. */
static const char *stat_name(const char *name)
{
	if (strcmp(name, "born_ms") == 0)
		return "born";
	if (strcmp(name, "server_start_ms") == 0)
		return "server_start";
	return name;
}

static void stat_print_member(FILE *out, const char *name, const json_t *value)
{
	char text[128];

	if (!stat_date(name, value, text, sizeof(text)))
		ask_value(name, value, text, sizeof(text));
	if (strcmp(text, "-") != 0)
		fprintf(out, "  %-18s %s\n", stat_name(name), text);
}

static void stat_print_object(FILE *out, const char *title,
			      const json_t *object)
{
	const char *name;
	json_t *value;

	fprintf(out, "%s\n", title);
	json_object_foreach((json_t *)(uintptr_t)object, name, value)
		stat_print_member(out, name, value);
}

/* What of the node is watched; the rest of it comes after the tiers, so that a
 * window of 24 lines has room for tenants and doors. */
static const char *const stat_watched[] = { "tenant", "used_bytes",
					    "limit_bytes", "server_pid",
					    "server_start_ms" };

static bool stat_is_watched(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(stat_watched); i++)
		if (strcmp(stat_watched[i], name) == 0)
			return true;
	return false;
}

static void stat_print_node(FILE *out, const json_t *node)
{
	fprintf(out, "node\n");
	for (size_t i = 0; i < ARRAY_LEN(stat_watched); i++)
		stat_print_member(out, stat_watched[i],
				  json_object_get(node, stat_watched[i]));
}

static void stat_print_rest(FILE *out, const json_t *node)
{
	const char *name;
	json_t *value;

	fprintf(out, "about the node\n");
	json_object_foreach((json_t *)(uintptr_t)node, name, value)
		if (!stat_is_watched(name))
			stat_print_member(out, name, value);
}

/* Seconds that rates are taken over; 0: not known. */
static double stat_seconds_since(uint64_t begin_ms, const json_t *last,
				 uint64_t ns)
{
	uint64_t now_ms = clock_realtime_ms();

	if (last)
		return (double)ns / 1e9;
	return begin_ms && now_ms > begin_ms ? (double)(now_ms - begin_ms) / 1e3
					     : 0;
}

static double stat_seconds(const json_t *now, const json_t *last, uint64_t ns)
{
	const json_t *node = json_object_get(now, "node");

	return stat_seconds_since(ask_u64(node, "born_ms"), last, ns);
}

/* A pool outlives servers; what a door counts does not. */
static double stat_door_seconds(const json_t *now, const json_t *last,
				uint64_t ns)
{
	const json_t *node = json_object_get(now, "node");

	return stat_seconds_since(ask_u64(node, "server_start_ms"), last, ns);
}

static void stat_print_tables(FILE *out, const json_t *now,
			      const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		json_t *rows = json_object_get(now, names[i]);

		if (json_array_size(rows) == 0)
			continue;
		fprintf(out, "%s\n", names[i]);
		ask_table(out, rows);
	}
}

/* What is watched first comes first: windows cut the end. */
void stat_print(FILE *out, const json_t *now, const json_t *last, uint64_t ns)
{
	static const char *const tables[] = {
		"tenants", "returns", "tiers", "shapes", "namespaces", "clients"
	};
	const json_t *node = json_object_get(now, "node");
	double seconds = stat_seconds(now, last, ns);

	stat_print_node(out, node);
	stat_print_tables(out, now, tables, 2);
	stat_print_doors(out, now, last, stat_door_seconds(now, last, ns));
	stat_print_tables(out, now, tables + 2, 1);
	if (json_object_get(now, "cxl"))
		stat_print_object(out, "memory below DRAM",
				  json_object_get(now, "cxl"));
	if (json_object_get(now, "region"))
		stat_print_object(out, "CXL region",
				  json_object_get(now, "region"));
	if (json_object_get(now, "below"))
		stat_print_object(out, "below (all tenants)",
				  json_object_get(now, "below"));
	stat_print_rest(out, node);
	stat_print_tables(out, now, tables + 3, ARRAY_LEN(tables) - 3);
	stat_print_moves(out, now);
	fprintf(out, "counters%s\n",
		last	      ? " that grew since the last look, and levels"
		: seconds > 0 ? ", and since the start"
			      : "");
	stat_print_counters(out, now, last, seconds);
	fflush(out);
}

/* ---- without the server -------------------------------------------------------- */

struct stat_field {
	const char *name;
	size_t offset;
};
#define F(name)                                       \
	{                                             \
#name, offsetof(struct oc_stat, name) \
	}
static const struct stat_field stat_fields[] = {
	F(limit_bytes),	 F(slab_bytes),	  F(meta_bytes),  F(sealed_blocks),
	F(sealed_bytes), F(granted),	  F(free_frames), F(clients),
	F(evicted),	 F(server_epoch),
};
#undef F

static uint64_t stat_field(const struct oc_stat *s, const struct stat_field *f)
{
	uint64_t value;

	memcpy(&value, (const char *)s + f->offset, sizeof(value));
	return value;
}

json_t *stat_short_json(const struct oc_stat *s)
{
	json_t *root = json_pack("{s:b}", "server_answers", 0);

	for (size_t i = 0; root && i < ARRAY_LEN(stat_fields); i++)
		json_object_set_new(root, stat_fields[i].name,
				    json_integer((json_int_t)stat_field(
					    s, &stat_fields[i])));
	return root;
}

void stat_print_short(FILE *out, const struct oc_stat *s)
{
	json_t *root = stat_short_json(s);

	stat_print_object(out, "node (from shared memory)", root);
	json_decref(root);
	fflush(out);
}

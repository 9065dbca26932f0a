/* SPDX-License-Identifier: Apache-2.0 */
#include "stat_print.h"

#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "base/compiler.h"
#include "base/text.h"

/* Counters that only grow: they have rates. The rest are levels. */
static const char *const stat_rates[] = {
	"grants",	"seals",	  "seal_bytes",	   "exists",
	"abandons",	"evicted",	  "evicted_bytes", "removed",
	"bad",		"scrubbed_bytes", "refused",	   "slabs_made",
	"slabs_moved",	"slabs_retired",  "spared",	   "touches",
	"touches_lost", "pins",		  "misses",	   "read_bytes",
	"copied_bytes", "client_deaths",
};

static bool stat_has_rate(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(stat_rates); i++)
		if (strcmp(stat_rates[i], name) == 0)
			return true;
	return false;
}

static void stat_print_counters(const json_t *now, const json_t *last,
				double seconds)
{
	json_t *counters = json_object_get(now, "counters"), *value;
	json_t *before = json_object_get(last, "counters");
	const char *name;
	char text[64], rate[64];

	json_object_foreach(counters, name, value) {
		ask_value(name, value, text, sizeof(text));
		rate[0] = '\0';
		if (seconds > 0 && stat_has_rate(name)) {
			double more = (double)json_integer_value(value) -
				      (double)ask_u64(before, name);

			snprintf(rate, sizeof(rate), "%.1f/s", more / seconds);
		}
		printf("  %-18s %16s  %16s\n", name, text, rate);
	}
}

/* Writes of payload bytes by what caused them. */
static void stat_print_moves(const json_t *now)
{
	json_t *c = json_object_get(now, "counters");
	uint64_t filled = ask_u64(c, "seal_bytes");
	uint64_t copied = ask_u64(c, "copied_bytes");
	uint64_t read = ask_u64(c, "read_bytes") + copied;
	char text[32];

	printf("moves\n");
	printf("  %-18s %16s\n", "fill", text_size(filled, text));
	printf("  %-18s %16s\n", "copy out", text_size(copied, text));
	printf("  %-18s %16s\n", "delivered", text_size(read, text));
	if (read)
		printf("  %-18s %16.3f\n", "per byte",
		       (double)(filled + copied) / (double)read);
}

static void stat_print_object(const char *title, const json_t *object)
{
	const char *name;
	json_t *value;
	char text[128];

	printf("%s\n", title);
	json_object_foreach((json_t *)(uintptr_t)object, name, value) {
		ask_value(name, value, text, sizeof(text));
		if (strcmp(text, "-") != 0)
			printf("  %-18s %s\n", name, text);
	}
}

/* Seconds that rates are taken over; 0: not known. */
static double stat_seconds(const json_t *now, const json_t *last, uint64_t ns)
{
	const json_t *node = json_object_get(now, "node");
	uint64_t up = ask_u64(node, "uptime_ms");

	if (last)
		return (double)ns / 1e9;
	return (double)up / 1e3;
}

void stat_print(const json_t *now, const json_t *last, uint64_t ns)
{
	static const char *const tables[] = { "tiers", "tenants", "shapes",
					      "namespaces", "clients" };
	double seconds = stat_seconds(now, last, ns);

	stat_print_object("node", json_object_get(now, "node"));
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		json_t *rows = json_object_get(now, tables[i]);

		if (json_array_size(rows) == 0)
			continue;
		printf("%s\n", tables[i]);
		ask_table(rows);
	}
	stat_print_moves(now);
	printf("counters%s\n", last	     ? ", and since the last look"
			       : seconds > 0 ? ", and since the start"
					     : "");
	stat_print_counters(now, last, seconds);
	fflush(stdout);
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

void stat_print_short(const struct oc_stat *s)
{
	json_t *root = stat_short_json(s);

	stat_print_object("node (from shared memory)", root);
	json_decref(root);
	fflush(stdout);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contrib/'s board and alerts ask for figures that /metrics really gives: each
 * name in their expressions, and each label by which they group. And
 * docs/formats/http.md lists all of them.
 */
#include <ctype.h>
#include <jansson.h>
#include <yaml.h>
#include "front/report/metrics.h"
#include "tests/front/exposition.h"
#include "tests/front/told.h"
#include "tests/store/fake_tier.h"

/* With a drive below, whose figures they ask for as well. */
static struct fake_tier *drive;

static struct told *told_with_drive(void)
{
	struct told *t = told_create();

	drive = fake_tier_create();
	CHECK_OK(store_below_attach(t->w->s, &drive->tier));
	return t;
}

static void told_end(struct told *t)
{
	told_destroy(t);
	fake_tier_destroy(drive);
}

static struct expo metrics(struct told *t)
{
	struct expo e;
	size_t bytes;
	char *text;

	/* to have a say on it, if not a part in it */
	t->report.region_missing = "it is none";
	CHECK_OK(metrics_text(&t->report, t->report.start_ns, 1 << 20, &text,
			      &bytes));
	e = expo_read(text);
	free(text);
	return e;
}

/* job and instance are given by Prometheus. */
static bool is_label(const struct expo *e, const char *name)
{
	char with[EXPO_NAME + 2];

	if (!strcmp(name, "instance") || !strcmp(name, "job") ||
	    !strcmp(name, "le"))
		return true;
	snprintf(with, sizeof(with), "%s=\"", name);
	for (size_t i = 0; i < e->n_samples; i++) {
		const char *at = strstr(e->sample[i].labels, with);

		if (at && (at == e->sample[i].labels || at[-1] == ','))
			return true;
	}
	return false;
}

static bool is_function(const char *word)
{
	static const char *const words[] = {
		"sum",		"by",  "rate", "increase",
		"count",	"avg", "max",  "histogram_quantile",
		"label_values", "and",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(words[i], word))
			return true;
	return false;
}

/* Words outside quotes and ranges: functions, labels (within braces, after
 * "by" and as the second of label_values), and names of samples. */
static unsigned check_expr(const struct expo *e, const char *expr)
{
	unsigned names = 0, braces = 0;
	bool grouping = false;
	char word[EXPO_NAME];

	for (const char *at = expr; *at;) {
		size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyz_"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");

		if (*at == '"' || *at == '[') {
			at = strchr(at + 1, *at == '"' ? '"' : ']');
			CHECK(at);
		}
		braces += *at == '{';
		braces -= *at == '}';
		if (*at == ')' ||
		    (*at == ',' && !strncmp(expr, "label_values", 12)))
			grouping = *at == ',';
		if (n == 0 || isdigit((unsigned char)*at)) {
			at += n ? n : 1;
			continue;
		}
		CHECK_INT(n, <, sizeof(word));
		memcpy(word, at, n);
		word[n] = '\0';
		at += n;
		if (braces || grouping) {
			if (!is_label(e, word))
				FAIL("no label %s: %s", word, expr);
		} else if (is_function(word)) {
			grouping = !strcmp(word, "by");
		} else if (strcmp(word, "up") != 0) {
			if (!expo_has_name(e, word))
				FAIL("no metric %s: %s", word, expr);
			names++;
		}
	}
	return names;
}

/* All texts of these names, at any depth. */
static unsigned check_json(const struct expo *e, json_t *o)
{
	unsigned names = 0;
	const char *key;
	json_t *v;
	size_t i;

	json_array_foreach(o, i, v) {
		names += check_json(e, v);
	}
	json_object_foreach(o, key, v) {
		if (!json_is_string(v))
			names += check_json(e, v);
		else if (!strcmp(key, "expr") || !strcmp(key, "definition"))
			names += check_expr(e, json_string_value(v));
	}
	return names;
}

/* Trouble that /health knows is somebody's alert as well, and what lies below DRAM
 * is on the board. */
static void asks_for(const char *path, const char *const *names)
{
	char *text = told_source(path);

	for (; *names; names++)
		if (!strstr(text, *names))
			FAIL("%s does not ask for %s", path, *names);
	free(text);
}

TEST(both_rungs_and_who_is_silent)
{
	static const char *const alerts[] = {
		"onecopy_pool_silently_mapped_bytes",
		"onecopy_pool_memory_errors_total",
		"onecopy_pool_cxl_missed_parts_total",
		"onecopy_region_member",
		"onecopy_region_memory_errors_total",
		"onecopy_region_quarantined_shards",
		NULL
	};
	static const char *const panels[] = {
		"onecopy_cxl_limit_bytes",
		"onecopy_cxl_used_bytes",
		"onecopy_pool_cxl_bytes",
		"onecopy_pool_cxl_demoted_parts_total",
		"onecopy_pool_cxl_promoted_parts_total",
		"onecopy_pool_cxl_missed_parts_total",
		"onecopy_pool_memory_errors_total",
		"onecopy_pool_silently_mapped_bytes",
		"onecopy_region_sealed_frames",
		"onecopy_region_unowned_shards",
		"onecopy_region_memory_errors_total",
		NULL
	};

	asks_for("contrib/prometheus/onecopy.rules.yaml", alerts);
	asks_for("contrib/grafana/onecopy.json", panels);
}

TEST(the_board)
{
	char *text = told_source("contrib/grafana/onecopy.json");
	json_t *board = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	struct told *t = told_with_drive();
	struct expo e = metrics(t);

	CHECK(board);
	CHECK_INT(check_json(&e, board), >, 30);
	CHECK_INT(json_integer_value(json_object_get(board, "schemaVersion")),
		  >=, 38);
	json_decref(board);
	expo_free(&e);
	told_end(t);
	free(text);
}

/* Panels have numbers of their own and do not lie on each other. */
TEST(panels_of_the_board)
{
	char *text = told_source("contrib/grafana/onecopy.json");
	json_t *board = json_loads(text, 0, NULL), *p;
	bool used[24][256] = { 0 }, seen[256] = { 0 };
	size_t i;

	json_array_foreach(json_object_get(board, "panels"), i, p) {
		json_int_t x, y, w, h, id;

		CHECK_OK(json_unpack(p, "{s:I,s:{s:I,s:I,s:I,s:I}}", "id", &id,
				     "gridPos", "x", &x, "y", &y, "w", &w, "h",
				     &h));
		CHECK(id > 0 && id < 256 && !seen[id]);
		seen[id] = true;
		CHECK(x >= 0 && x + w <= 24 && y >= 0 && y + h <= 256);
		for (json_int_t k = 0; k < w * h; k++) {
			bool *cell = &used[x + k % w][y + k / w];

			CHECK(!*cell);
			*cell = true;
		}
	}
	CHECK_INT(i, >, 10);
	json_decref(board);
	free(text);
}

/* The scalar after each key "expr". */
static unsigned check_yaml(const struct expo *e, const char *text)
{
	yaml_parser_t parser;
	unsigned names = 0;
	bool expr = false, end = false;

	CHECK(yaml_parser_initialize(&parser));
	yaml_parser_set_input_string(&parser, (const unsigned char *)text,
				     strlen(text));
	while (!end) {
		yaml_event_t event;

		CHECK(yaml_parser_parse(&parser, &event));
		end = event.type == YAML_STREAM_END_EVENT;
		if (event.type == YAML_SCALAR_EVENT) {
			const char *value =
				(const char *)event.data.scalar.value;

			if (expr)
				names += check_expr(e, value);
			expr = !expr && !strcmp(value, "expr");
		}
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return names;
}

TEST(the_alerts)
{
	char *text = told_source("contrib/prometheus/onecopy.rules.yaml");
	struct told *t = told_with_drive();
	struct expo e = metrics(t);

	CHECK_INT(check_yaml(&e, text), >=, 8);
	expo_free(&e);
	told_end(t);
	free(text);
}

/* A row ends with what the metric says of itself. */
static void check_row(const struct expo_family *f, const char *row)
{
	char help[sizeof(f->help) + 8];
	size_t len = strcspn(row, "\n"), n;

	n = (size_t)snprintf(help, sizeof(help), " | %s |", f->help);
	if (len < n || memcmp(row + len - n, help, n))
		FAIL("docs/formats/http.md says other than HELP of %s",
		     f->name);
}

TEST(the_documents)
{
	char *text = told_source("docs/formats/http.md");
	struct told *t = told_with_drive();
	struct expo e = metrics(t);

	for (size_t i = 0; i < e.n_families; i++) {
		char row[2 * EXPO_NAME];
		const char *at;

		snprintf(row, sizeof(row), "\n| `%s` | %s | ", e.family[i].name,
			 e.family[i].type);
		at = strstr(text, row);
		if (!at)
			FAIL("docs/formats/http.md has no line of %s",
			     e.family[i].name);
		if (strncmp(e.family[i].name, "onecopy_pool_", 13) == 0)
			check_row(&e.family[i], at + 1);
	}
	expo_free(&e);
	told_end(t);
	free(text);
}

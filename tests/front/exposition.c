/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/front/exposition.h"
#include <ctype.h>
#include <math.h>
#include "tests/test.h"

#define MOST 16384

static bool is_name(const char *s, size_t n, bool colon)
{
	if (n == 0 || isdigit((unsigned char)s[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '_' &&
		    !(colon && s[i] == ':'))
			return false;
	return true;
}

static bool ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), k = strlen(end);

	return n >= k && !strcmp(text + n - k, end);
}

static void take(char *to, size_t cap, const char *from, size_t n)
{
	CHECK(n < cap);
	memcpy(to, from, n);
	to[n] = '\0';
}

/* ---- comments */

static void read_help(struct expo *e, const char *line)
{
	struct expo_family *f = &e->family[e->n_families];
	const char *space = strchr(line, ' ');

	CHECK_INT(e->n_families, <, MOST);
	CHECK(space && space[1]);
	CHECK(is_name(line, (size_t)(space - line), true));
	*f = (struct expo_family){ .first = e->n_samples };
	take(f->name, sizeof(f->name), line, (size_t)(space - line));
	take(f->help, sizeof(f->help), space + 1, strlen(space + 1));
	for (size_t i = 0; i < e->n_families; i++)
		if (!strcmp(e->family[i].name, f->name))
			FAIL("%s comes twice", f->name);
	e->n_families++;
}

static void read_type(struct expo *e, const char *line)
{
	struct expo_family *f = &e->family[e->n_families - 1];
	size_t n = strlen(f->name);

	CHECK_INT(e->n_families, >, 0);
	if (strncmp(line, f->name, n) || line[n] != ' ')
		FAIL("TYPE %s does not follow its HELP", line);
	CHECK_STR(f->type, "");
	take(f->type, sizeof(f->type), line + n + 1, strlen(line + n + 1));
	if (strcmp(f->type, "gauge") && strcmp(f->type, "counter") &&
	    strcmp(f->type, "histogram"))
		FAIL("%s: type %s", f->name, f->type);
	if (!strcmp(f->type, "counter") != ends_in(f->name, "_total"))
		FAIL("%s is a %s", f->name, f->type);
}

/* ---- samples */

/* After the opening quote; returns what follows the closing one. */
static const char *skip_value(const char *at)
{
	for (; *at && *at != '"'; at++)
		if (*at == '\\') {
			at++;
			CHECK(*at == '\\' || *at == '"' || *at == 'n');
		}
	CHECK(*at == '"');
	return at + 1;
}

static void add_label(struct expo_sample *s, const char *from, const char *eq,
		      const char *end)
{
	size_t have = strlen(s->labels);

	if (eq - from == 2 && !strncmp(from, "le", 2)) {
		take(s->le, sizeof(s->le), eq + 2, (size_t)(end - eq - 3));
		return;
	}
	snprintf(s->labels + have, sizeof(s->labels) - have, "%s%.*s",
		 have ? "," : "", (int)(end - from), from);
	CHECK_INT(strlen(s->labels), <, sizeof(s->labels) - 1);
}

static const char *read_labels(struct expo_sample *s, const char *at)
{
	do {
		const char *eq = strchr(++at, '='), *end;

		CHECK(eq && eq[1] == '"');
		CHECK(is_name(at, (size_t)(eq - at), false));
		end = skip_value(eq + 2);
		add_label(s, at, eq, end);
		at = end;
	} while (*at == ',');
	CHECK(*at == '}');
	return at + 1;
}

static void check_belongs(const struct expo_family *f,
			  const struct expo_sample *s)
{
	size_t n = strlen(f->name);
	const char *rest = s->name + n;

	if (strncmp(s->name, f->name, n))
		FAIL("%s stands under %s", s->name, f->name);
	if (strcmp(f->type, "histogram")) {
		CHECK_STR(rest, "");
		CHECK_STR(s->le, "");
		CHECK(strcmp(f->type, "counter") || s->value >= 0);
		return;
	}
	CHECK(!strcmp(rest, "_bucket") || !strcmp(rest, "_sum") ||
	      !strcmp(rest, "_count"));
	CHECK(!strcmp(rest, "_bucket") == (s->le[0] != '\0'));
}

static void read_sample(struct expo *e, const char *line)
{
	struct expo_sample *s = &e->sample[e->n_samples];
	struct expo_family *f = &e->family[e->n_families - 1];
	const char *at = line + strcspn(line, "{ ");
	char *end;

	CHECK_INT(e->n_families, >, 0);
	CHECK_INT(e->n_samples, <, MOST);
	CHECK(f->type[0]);
	*s = (struct expo_sample){ 0 };
	CHECK(is_name(line, (size_t)(at - line), true));
	take(s->name, sizeof(s->name), line, (size_t)(at - line));
	if (*at == '{')
		at = read_labels(s, at);
	CHECK(*at == ' ' && at[1] && at[1] != ' ');
	s->value = strtod(at + 1, &end);
	CHECK(*end == '\0'); /* nothing behind it, no timestamp */
	check_belongs(f, s);
	for (size_t i = f->first; i < e->n_samples; i++)
		if (!strcmp(e->sample[i].name, s->name) &&
		    !strcmp(e->sample[i].labels, s->labels) &&
		    !strcmp(e->sample[i].le, s->le))
			FAIL("twice: %s", line);
	e->n_samples++;
	f->n++;
}

/* ---- histograms */

static double edge(const struct expo_sample *s)
{
	char *end;
	double v;

	if (!strcmp(s->le, "+Inf"))
		return (double)INFINITY;
	v = strtod(s->le, &end);
	CHECK(*end == '\0');
	return v;
}

/* Buckets in order, not falling, and +Inf is the count. */
static void check_buckets(const struct expo *e, const struct expo_family *f,
			  const struct expo_sample *count)
{
	double last_edge = -1, last = 0;

	for (size_t i = f->first; i < f->first + f->n; i++) {
		const struct expo_sample *s = &e->sample[i];

		if (!s->le[0] || strcmp(s->labels, count->labels))
			continue;
		CHECK(edge(s) > last_edge);
		CHECK(s->value >= last);
		last_edge = edge(s);
		last = s->value;
	}
	CHECK(isinf(last_edge));
	CHECK(last == count->value);
}

static void check_histogram(const struct expo *e, const struct expo_family *f)
{
	char sum[EXPO_NAME + 8];

	snprintf(sum, sizeof(sum), "%s_sum", f->name);
	for (size_t i = f->first; i < f->first + f->n; i++) {
		if (!ends_in(e->sample[i].name, "_count"))
			continue;
		CHECK(expo_find(e, sum, e->sample[i].labels));
		check_buckets(e, f, &e->sample[i]);
	}
}

/* ---- the whole */

static void read_line(struct expo *e, const char *line)
{
	if (!strncmp(line, "# HELP ", 7))
		read_help(e, line + 7);
	else if (!strncmp(line, "# TYPE ", 7))
		read_type(e, line + 7);
	else if (line[0] == '#' || line[0] == '\0')
		FAIL("neither HELP, TYPE nor a sample: \"%s\"", line);
	else
		read_sample(e, line);
}

struct expo expo_read(const char *text)
{
	struct expo e = { 0 };
	char line[1024];

	e.family = calloc(MOST, sizeof(*e.family));
	e.sample = calloc(MOST, sizeof(*e.sample));
	CHECK(e.family && e.sample);
	while (*text) {
		const char *end = strchr(text, '\n');

		CHECK(end); /* the last line, too */
		take(line, sizeof(line), text, (size_t)(end - text));
		read_line(&e, line);
		text = end + 1;
	}
	for (size_t i = 0; i < e.n_families; i++) {
		CHECK(e.family[i].type[0]);
		if (!strcmp(e.family[i].type, "histogram"))
			check_histogram(&e, &e.family[i]);
	}
	return e;
}

void expo_free(struct expo *e)
{
	free(e->family);
	free(e->sample);
}

const struct expo_sample *expo_find(const struct expo *e, const char *name,
				    const char *labels)
{
	for (size_t i = 0; i < e->n_samples; i++)
		if (!strcmp(e->sample[i].name, name) &&
		    !strcmp(e->sample[i].labels, labels))
			return &e->sample[i];
	return NULL;
}

double expo_value(const struct expo *e, const char *name, const char *labels)
{
	const struct expo_sample *s = expo_find(e, name, labels);

	if (!s)
		FAIL("there is no %s{%s}", name, labels);
	return s->value;
}

bool expo_has_name(const struct expo *e, const char *name)
{
	for (size_t i = 0; i < e->n_samples; i++)
		if (!strcmp(e->sample[i].name, name))
			return true;
	return false;
}

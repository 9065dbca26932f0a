/* SPDX-License-Identifier: Apache-2.0 */
#include "front/report/lines.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/fault.h"

#define LINES_FIRST 16384u

static void grow(struct lines *l, size_t bytes)
{
	size_t cap = l->cap ? l->cap : LINES_FIRST;
	char *data;

	while (cap < bytes)
		cap *= 2;
	data = mem_grow(l->data, cap, 1);
	if (!data) {
		l->error = -ENOMEM;
		return;
	}
	l->data = data;
	l->cap = cap;
}

static void put(struct lines *l, const char *text, size_t bytes)
{
	if (!l->error && bytes > l->most - l->bytes)
		l->error = -E2BIG;
	if (!l->error && l->bytes + bytes + 1 > l->cap)
		grow(l, l->bytes + bytes + 1);
	if (l->error)
		return;
	memcpy(l->data + l->bytes, text, bytes);
	l->bytes += bytes;
	l->data[l->bytes] = '\0';
}

PRINTF_LIKE(2, 3) static void putf(struct lines *l, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		l->error = -E2BIG; /* not cut: a line would be wrong */
	else
		put(l, text, (size_t)n);
}

static void put_value(struct lines *l, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n')
			put(l, "\\n", 2);
		else if (*value == '"' || *value == '\\')
			putf(l, "\\%c", *value);
		else
			put(l, value, 1);
	}
}

void lines_family(struct lines *l, const char *name, enum lines_type type,
		  const char *help)
{
	static const char *const types[] = {
		[LINES_GAUGE] = "gauge",
		[LINES_COUNTER] = "counter",
		[LINES_HISTOGRAM] = "histogram",
	};

	l->family = name;
	putf(l, "# HELP %s %s\n", name, help);
	putf(l, "# TYPE %s %s\n", name, types[type]);
}

static void put_head(struct lines *l, const char *suffix,
		     const struct lines_label *labels)
{
	const char *between = "{";

	putf(l, "%s%s", l->family, suffix);
	for (unsigned i = 0; labels && i < LINES_LABELS; i++) {
		if (!labels[i].name)
			continue;
		putf(l, "%s%s=\"", between, labels[i].name);
		put_value(l, labels[i].value);
		put(l, "\"", 1);
		between = ",";
	}
	if (*between == ',')
		put(l, "}", 1);
}

void lines_u64(struct lines *l, const char *suffix,
	       const struct lines_label *labels, uint64_t value)
{
	put_head(l, suffix, labels);
	putf(l, " %llu\n", (unsigned long long)value);
}

void lines_real(struct lines *l, const char *suffix,
		const struct lines_label *labels, double value)
{
	put_head(l, suffix, labels);
	putf(l, " %.9g\n", value);
}

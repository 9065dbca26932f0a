/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes Prometheus' text format: families with their lines, into a buffer that
 * grows up to a bound. After the first failure nothing is added and the
 * failure stays: asked for once, at the end. Zeroed (but for `most`) to begin
 * with. All lines of a family follow its head.
 */
#ifndef ONECOPY_FRONT_REPORT_LINES_H
#define ONECOPY_FRONT_REPORT_LINES_H

#include "base/compiler.h"

#define LINES_LABELS 3

struct lines {
	char *data; /* terminated; the caller frees it */
	size_t bytes, cap, most;
	int error; /* 0, -ENOMEM, -E2BIG */
	const char *family;
};

struct lines_label {
	const char *name, *value; /* name NULL: none */
};

enum lines_type { LINES_GAUGE, LINES_COUNTER, LINES_HISTOGRAM };

/* `name` must live until the next family; help is one line. */
void lines_family(struct lines *l, const char *name, enum lines_type type,
		  const char *help);
/* A line of the family, its name with `suffix` ("" or a histogram's). labels:
 * LINES_LABELS, or NULL. Values of labels are UTF-8; escaped here. */
void lines_u64(struct lines *l, const char *suffix,
	       const struct lines_label *labels, uint64_t value);
void lines_real(struct lines *l, const char *suffix,
		const struct lines_label *labels, double value);

#endif

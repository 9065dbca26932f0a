/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict reader of Prometheus' text format 0.0.4: whatever breaks its rules,
 * or the conventions for names, fails the test.
 */
#ifndef ONECOPY_TESTS_FRONT_EXPOSITION_H
#define ONECOPY_TESTS_FRONT_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>

#define EXPO_NAME   96
#define EXPO_LABELS 320

struct expo_sample {
	char name[EXPO_NAME];
	char labels[EXPO_LABELS]; /* a="b",c="d" as written, without le */
	char le[32];
	double value;
};

struct expo_family {
	char name[EXPO_NAME], type[16], help[256];
	size_t first, n; /* its samples */
};

struct expo {
	struct expo_family *family;
	struct expo_sample *sample;
	size_t n_families, n_samples;
};

/* Of a whole answer. expo_free() it. */
struct expo expo_read(const char *text);
void expo_free(struct expo *e);
/* labels as in struct expo_sample; "" for none. NULL: not there. */
const struct expo_sample *expo_find(const struct expo *e, const char *name,
				    const char *labels);
/* The sample's value; the test fails when it is not there. */
double expo_value(const struct expo *e, const char *name, const char *labels);
/* Is this the name of samples (a histogram's with _bucket, _sum, _count)? */
bool expo_has_name(const struct expo *e, const char *name);

#endif

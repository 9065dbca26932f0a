/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over a YAML text against a libcyaml schema, for what libcyaml does
 * not say: on which line a key is wrong, and which right one is near. What
 * passes here has the schema's shape: known keys, each once, no aliases, one
 * document, no deeper than the schema. Bounded: every event is looked at once
 * and the first wrong one ends it.
 */
#ifndef ONECOPY_PROG_CONFIG_YAML_H
#define ONECOPY_PROG_CONFIG_YAML_H

#include <cyaml/cyaml.h>
#include "base/compiler.h"

#define YAML_MARKS_MAX 1024
#define YAML_PATH      64

/* Where each key and entry stands: "clients.pins", "tenants[1].uids[0]". */
struct yaml_marks {
	unsigned n;
	struct yaml_mark {
		char path[YAML_PATH];
		unsigned line;
	} mark[YAML_MARKS_MAX];
};

/* 0; 1: nothing in it (only comments); -EINVAL with "NAME:LINE: what"; -ENOMEM.
 * *ret_marks is written in every case. */
int yaml_check(const char *text, size_t len, const char *name,
	       const cyaml_schema_value_t *schema, struct yaml_marks *ret_marks,
	       char *error, size_t cap);
/* Line of a path; 1 when it is not there. */
unsigned yaml_line(const struct yaml_marks *marks, const char *path);

#endif

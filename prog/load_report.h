/* SPDX-License-Identifier: Apache-2.0 */
/* What a load has shown, as JSON and in words: replay and demo. */
#ifndef ONECOPY_PROG_LOAD_REPORT_H
#define ONECOPY_PROG_LOAD_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "against.h"
#include "load.h"

struct load_report {
	struct load_result result;
	struct against against;
	uint64_t block_bytes;
	uint64_t dram;	  /* the node's limit, or the tenant's quota */
	uint64_t evicted; /* parts, while the load ran */
	uint64_t held;	  /* bytes of slabs at the end */
	uint32_t clients, readers;
};

/* The node's numbers before and after; 0 or -errno. */
int load_stat(const char *socket, struct oc_stat *ret_stat);

/* Fills `against` and the numbers that stat has. 0 or -ENOMEM. */
int load_report_fill(struct load_report *r, const struct load_options *options,
		     const struct oc_stat *before, const struct oc_stat *after);

/* NULL without memory. The caller adds its own fields. */
json_t *load_report_json(const struct load_report *r);
void load_report_print(const struct load_report *r, FILE *to);

double load_hit_rate(const struct load_result *r);
/* True when every byte was right and no process died. */
bool load_is_right(const struct load_result *r);

/* JSON and a newline on stdout; consumes `root` (NULL: no memory). 0 or 1. */
int load_json_out(json_t *root);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What a load has shown, as JSON and in words: replay and demo. */
#ifndef ONECOPY_PROG_LOAD_REPORT_H
#define ONECOPY_PROG_LOAD_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "against.h"
#include "load.h"

/* What the node's drive did while the load ran. */
struct load_drive {
	bool there, direct;
	bool coming; /* it still looks for what it has */
	char io[32];
	uint64_t latency_ns,
		bytes_per_s; /* of a read, as measured at the end */
	uint64_t read_bytes, write_bytes; /* payload */
	uint64_t device_read_bytes, device_write_bytes, carried_bytes;
	uint64_t bad, errors;
	uint64_t demoted, demote_missed; /* evicted before they were written */
	uint64_t parts, recovered;	 /* at the end; at the last start */
	uint64_t recover_us;
};
/* What it has done so far; nothing is there where the node has none. 0, -errno. */
int load_drive(const char *socket, struct load_drive *ret_drive);
/* The same when it has found what it has, which takes a moment after a start. What
 * it has is a miss until then. -EINTR: asked to stop. */
int load_drive_await(const char *socket, struct load_drive *ret_drive);
/* Adds what it did between two looks; the rest is as of the second. */
void load_drive_add(struct load_drive *sum, const struct load_drive *before,
		    const struct load_drive *after);

struct load_report {
	struct load_result result;
	struct against against;
	uint64_t block_bytes;
	uint64_t dram;	  /* the node's limit, or the tenant's quota */
	uint64_t evicted; /* parts, while the load ran */
	uint64_t held;	  /* bytes of slabs at the end */
	uint32_t clients, readers;
	struct load_tiers tiers;
	struct load_drive drive; /* all 0 without one */
	/* of a replay whose node was restarted: up to there, and from there on */
	uint64_t restart_at;
	uint64_t restart_ns; /* from its stop until it answered */
	struct load_result part[2];
};

/* The node's numbers before and after; 0 or -errno. */
int load_stat(const char *socket, struct oc_stat *ret_stat);

/* Fills `against` and the numbers that stat has. 0 or -ENOMEM. */
int load_report_fill(struct load_report *r, const struct load_options *options,
		     const struct oc_stat *before, const struct oc_stat *after);

/* NULL without memory. The caller adds its own fields. */
json_t *load_report_json(const struct load_report *r);
void load_report_print(const struct load_report *r, FILE *to);

/* prog/load_drive.c: of a load that asked the node's drive */
void load_drive_json(json_t *root, const struct load_report *r);
void load_drive_print(const struct load_report *r, FILE *to);

double load_hit_rate(const struct load_result *r);
/* True when every byte was right and no process died. */
bool load_is_right(const struct load_result *r);

/* JSON and a newline on stdout; consumes `root` (NULL: no memory). 0 or 1. */
int load_json_out(json_t *root);

#endif

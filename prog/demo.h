/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The demonstration's run: a load, in the middle of which the node's server is
 * killed while writers hold pins and filled grants; and what was seen.
 */
#ifndef ONECOPY_PROG_DEMO_H
#define ONECOPY_PROG_DEMO_H

#include <stdbool.h>

#include "load_report.h"
#include "node.h"

struct demo {
	struct node *node;
	struct load_options load;
	struct load_report report;
	bool json, once, terminal;
	/* the kill */
	bool killed;
	bool restarted;
	uint64_t resident;     /* blocks that were there before */
	uint64_t lost;	       /* of those, not there afterwards */
	uint64_t grants, pins; /* that writers held meanwhile */
	uint64_t back_ns;      /* until the first new seal */
};

/* The load's tick (ctx is a struct demo): progress, and once the kill. */
int demo_tick(void *ctx, struct load *l, double done);
/* True when nothing was wrong or lost. */
bool demo_is_right(const struct demo *d);
void demo_print(const struct demo *d, const char *socket, bool is_default);
json_t *demo_json(const struct demo *d);

#endif

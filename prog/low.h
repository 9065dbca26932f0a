/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of the rung below DRAM, watched: a device can be taken away, a node's
 * memory made offline. Then no slab is made of it, and it is told. */
#ifndef ONECOPY_PROG_LOW_H
#define ONECOPY_PROG_LOW_H

#include "config.h"
#include "front/report/report.h"
#include "store/store.h"

struct low {
	const struct node_config *config;
	struct store *store;
	struct report *report;
	int fd;	   /* of the device; -1 */
	int error; /* why there is none: -errno */
	uint64_t next_ns;
	bool gone;
	char why[96];
};

/* Now and then; else nothing. */
void low_turn(struct low *l, uint64_t now_ns);

#endif

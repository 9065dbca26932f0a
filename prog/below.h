/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's tier below (--nvme): opened, watched, saved to and ended.
 *
 * The first server of a node opens it before it is ready, and does not start where
 * that fails: somebody has just asked for it. A later one serves first: what its
 * predecessor had asked the device for may not be over, and a drive that is gone
 * keeps nobody from memory. It tries again until the tier is there.
 */
#ifndef ONECOPY_PROG_BELOW_H
#define ONECOPY_PROG_BELOW_H

#include "config.h"
#include "front/report/report.h"
#include "loop/loop.h"
#include "store/store.h"

struct below {
	const struct node_config *config;
	struct loop *loop;
	struct store *store;
	struct report *report;
	struct tier *tier; /* NULL: none, or not yet */
	uint64_t again_ns; /* when it is tried again */
	bool told;	   /* the log has why it is not there */
	char why[CONFIG_FILE + 192];
};

/* Before anything is served. -errno; the log has it in full. */
int below_begin(struct below *b, const struct node_config *config,
		struct loop *loop, struct store *store, struct report *report,
		bool first);
/* In each turn, once the node serves. */
void below_turn(struct below *b, uint64_t now_ns);
/* A clean stop: DRAM's content is saved where that is asked for, the tier ended.
 * Bounded; what could not be saved is said. alive: told now and then that it goes
 * on; false: it shall not. */
void below_end(struct below *b, bool (*alive)(void *ctx), void *ctx);
/* As it is. Before the store is destroyed. */
void below_close(struct below *b);

#endif

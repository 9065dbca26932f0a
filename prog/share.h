/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server as a member of a CXL region (--region): joined, given to the store,
 * left (store/shard.h, docs/design/region.md).
 *
 * A node whose region cannot be joined serves without, says why, and tries again:
 * a region keeps nobody from memory. One that was declared dead there is not
 * joined again by the same server: somebody thought that it was dead. Nor is a
 * region that is at its path no more left by itself: blocks lie there that others
 * read.
 */
#ifndef ONECOPY_PROG_SHARE_H
#define ONECOPY_PROG_SHARE_H

#include "config.h"
#include "front/report/report.h"
#include "store/store.h"

struct share {
	const struct node_config *config;
	struct store *store;
	struct report *report;
	uint64_t keeper; /* whose server this is */
	bool joined;
	uint64_t again_ns;
	char why[CONFIG_FILE + 192];  /* it was not joined, as the log has it */
	char moved[CONFIG_FILE + 64]; /* the file is not at its path any more */
};

/* control: the socket that the keeper made; by that it is known, since a process whose
 * parent has ended has another one. */
void share_begin(struct share *h, const struct node_config *config, int control,
		 struct store *store, struct report *report, uint64_t now_ns);
/* In each turn. */
void share_turn(struct share *h, uint64_t now_ns);
/* A clean stop: the shards are anybody's, with what lies in them. */
void share_end(struct share *h);

#endif

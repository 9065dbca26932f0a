/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the node says of itself, whichever door asks: JSON for `onecopy stat`,
 * `where` and `check`, the same over the native door and over HTTP. (Text for
 * Prometheus: metrics.h. Fit or not: health.h.)
 *
 * The program owns one struct report and hands it to the doors that tell it;
 * doors that count are added to it. Nothing here changes what it looks at. In
 * the server's thread, so it sees the store at rest; and since everybody waits
 * meanwhile, what a report looks at is bounded (pin slots, parts), whatever
 * clients have written into their segments.
 *
 * A tenant's asker sees its own pool; of the node only sizes. `sees_all` is for
 * whoever runs the node.
 */
#ifndef ONECOPY_FRONT_REPORT_REPORT_H
#define ONECOPY_FRONT_REPORT_REPORT_H

#include <jansson.h>
#include "front/door.h"
#include "front/report/health.h"
#include "loop/loop.h"

#define REPORT_FAILURES_MAX 4

struct report {
	struct store *store;
	const struct loop *loop;
	const char *version;	/* of onecopy */
	bool loop_wanted_epoll; /* by configuration: not a thing to note */
	uint64_t start_ns;	/* of this server, CLOCK_MONOTONIC */
	uint64_t start_unix_ms;
	const struct door *door[DOORS_MAX]; /* stay their doors' */
	unsigned n_doors;
	/* Doors that were asked for and do not listen: "resp: Address already
	 * in use". The program's texts. */
	const char *failure[REPORT_FAILURES_MAX];
	unsigned n_failures;
	/* Why there is no tier below though one was asked for; the program's
	 * text. NULL: it is there, or none was asked for. */
	const char *below_missing;
	/* Why the memory of the rung below DRAM is not there (any more); the
	 * program's text. NULL: it is there, or none was asked for. */
	const char *low_missing;
	/* The same of the CXL region. */
	const char *region_missing;
	/* The node is a member, and the region's file is not at its path any more:
	 * what is. NULL: it is. */
	const char *region_moved;
	struct health_trend trend; /* report_tick()'s */
};

/* All from now; no doors. */
void report_init(struct report *r, struct store *store, const struct loop *loop,
		 const char *version);
/* -ENOSPC. Remove: before the door ends; one that was not added has no
 * effect. */
int report_door_add(struct report *r, const struct door *d);
void report_door_remove(struct report *r, const struct door *d);

/* For what happened lately: called in each turn of the server, returns when it
 * wants to be called again at the latest (as now_ns). Not before the pools of a
 * predecessor are there: what they counted would be news. */
uint64_t report_tick(struct report *r, uint64_t now_ns);
void report_health(const struct report *r, uint64_t now_ns,
		   struct health *ret_health);

/* New references; NULL: memory. pool NULL (stat alone, with sees_all): there is
 * none yet, what is of a pool is left out. */
json_t *report_stat(const struct report *r, struct pool *pool, bool sees_all);
/* Where a block's parts are, in all namespaces. hex: 64 digits. NULL also when
 * it is none (-EINVAL in *ret_error; otherwise -ENOMEM). */
json_t *report_where(const struct report *r, struct pool *pool, const char *hex,
		     uint64_t now_ns, int *ret_error);
/* Some sessions from a record's number on (as text; NULL: 0):
 * {"sessions": [...], "next": number or null, "total": n}. */
json_t *report_sessions(const struct report *r, struct pool *pool,
			const char *from, int *ret_error);
/* One, by its name or by "#" and its id: NULL and -ENOENT in *ret_error where
 * there is none. */
json_t *report_session(const struct report *r, struct pool *pool,
		       const char *which, int *ret_error);
/* Why blocks are not there (or that they are): docs/formats/why.md. words:
 * "[ns=N] KEY ...", at most REPORT_WHY_KEYS. pool NULL: the tenant has none yet.
 * -EINVAL no such words, -E2BIG too many keys, -ENOMEM. */
#define REPORT_WHY_KEYS 64u
json_t *report_why(const struct report *r, struct pool *pool, const char *words,
		   uint64_t now_ns, int *ret_error);
/* Recounts everything: long. For whoever runs the node. */
json_t *report_check(const struct report *r, struct pool *pool);

/* The tier below as it is said everywhere; NULL: there is none. */
json_t *report_below(const struct report *r);
/* This node's part in a CXL region; NULL: it has none, and none was asked for. */
json_t *report_region(const struct report *r);
/* What is wrong with it; NULL: nothing. */
struct store_region_stat;
const char *report_region_why(const struct report *r,
			      const struct store_region_stat *st);
/* A pool's tenant, terminated. */
void report_tenant(const struct pool *p, char ret_name[LAYOUT_NAME + 1]);
/* Server starts since the oldest pool began. */
uint64_t report_starts(const struct report *r);
/* A pool's counters with what living clients count themselves.
 * counts: POOL_COUNTERS_USED. */
void report_counters(const struct report *r, struct pool *p, uint64_t *counts);

#endif

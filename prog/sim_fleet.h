/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onecopy sim with engines: a fleet behind a router.
 *
 * What may be a list on the command line ("8,16,32") is a sweep: all
 * combinations are played, each with every policy that is compared.
 */
#ifndef ONECOPY_PROG_SIM_FLEET_H
#define ONECOPY_PROG_SIM_FLEET_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli.h"
#include "sim/fleet.h"

enum {
	SIM_ENGINES = CLI_LONG + 256,
	SIM_ROUTE,
	SIM_COMPARE,
	SIM_LOAD,
	SIM_VRAM,
	SIM_CXL,
	SIM_LINK,
	SIM_RATE_ERROR,
	SIM_LATE,
	SIM_CANCEL,
	SIM_LIARS,
	SIM_AGENTS,
	SIM_PREFIX,
	SIM_OWN,
	SIM_WITHIN,
	SIM_EVERY,
	SIM_WARM,
	SIM_HTML,
	SIM_EXPLAIN,
	SIM_FLEET_END,
};

#define SIM_FLEET_OPTIONS                                              \
	{ SIM_ENGINES, "engines", "N", "8",                            \
	  "a fleet of N engines, 1 to 64; a list (8,16) plays each" }, \
		{ SIM_ROUTE, "route", "P", "onecopy",                  \
		  "how requests are routed" },                         \
		{ SIM_COMPARE, "compare", "P,P,P", NULL,               \
		  "several of them in a table; all: every one" },      \
		{ SIM_LOAD, "load", "X", "1",                          \
		  "arrivals X times as fast; a list" },                \
		{ SIM_VRAM, "vram", "N", "2000",                       \
		  "an engine's device memory; a list" },               \
		{ SIM_CXL, "cxl", "N", "0",                            \
		  "an engine's CXL memory; a list" },                  \
		{ SIM_LINK, "link", "GBIT", "100",                     \
		  "an engine's link, each way; a list" },              \
		{ SIM_RATE_ERROR, "rate-error", "PERCENT", "30",       \
		  "how wrong the router's rates are" },                \
		{ SIM_LATE, "late", "TIME,TIME", "50ms,500ms",         \
		  "how late events reach the router" },                \
		{ SIM_CANCEL, "cancel", "PERCENT", "0",                \
		  "requests that give up waiting" },                   \
		{ SIM_LIARS, "liars", "N", "0",                        \
		  "engines that never report an eviction" },           \
		{ SIM_AGENTS, "agents", "N", "16",                     \
		  "of shared, bursts, waves: that share a prefix" },   \
		{ SIM_PREFIX, "prefix", "TOKENS", "50000",             \
		  "generated: the prefix" },                           \
		{ SIM_OWN, "own", "TOKENS", "2000",                    \
		  "generated: of each agent" },                        \
		{ SIM_WITHIN, "within", "TIME", "1s",                  \
		  "generated: agents come in" },                       \
		{ SIM_EVERY, "every", "TIME", "20s",                   \
		  "generated: until the next" },                       \
		{ SIM_WARM, "warm", NULL, NULL,                        \
		  "generated: one agent came before the others" },     \
		{ SIM_HTML, "html", "FILE", NULL,                      \
		  "write a page with charts" },                        \
	{                                                              \
		SIM_EXPLAIN, "explain", "N", NULL,                     \
			"why request N (from 0) was sent where it was" \
	}

#define SIM_LIST 16u /* values of a sweep */

/* The command line; texts until all of it is known. */
struct sim_fleet {
	bool asked;		 /* --engines, --route or --compare was there */
	const char *dram, *nvme; /* as given; NULL: the default */
	bool block_bytes;	 /* was given */
	/* Options that were given: of a fleet; of generated work. NULL: none */
	const char *of_fleet, *of_shape;
	const char *text[SIM_FLEET_END - SIM_ENGINES];
};

struct command;
struct sim_command;

static inline bool sim_fleet_has(int id)
{
	return id >= SIM_ENGINES && id < SIM_FLEET_END;
}
void sim_fleet_option(struct sim_fleet *f, const struct cli *c, int id);
/* Whether that is the name of a generated workload. */
bool sim_fleet_makes(const char *trace);
/* Returns an exit status. */
int sim_fleet_main(const struct sim_command *s, const struct sim_fleet *f);

/* ---- results ------------------------------------------------------------------ */

/* One run of a sweep. */
struct sim_point {
	const char *policy;
	uint32_t engines;
	double load, gbit;
	uint64_t blocks[ROUTE_TIERS];
	struct fleet_result result;
};

struct sim_points {
	const char *trace;
	struct sim_point *point;
	size_t n;
	double block_bytes;
	uint32_t late; /* requests that were sorted in */
};

json_t *sim_point_json(const struct sim_point *p); /* NULL: no memory */
/* A decision, the price of each alternative, the three questions answered. */
void sim_explain(double at, const struct route_fleet *fleet,
		 const struct route_request *q,
		 const struct route_choice *choice,
		 const struct route_price *price, FILE *out);
void sim_points_print(const struct sim_points *points, FILE *out);
/* 0, or -errno of a write. */
int sim_points_html(const struct sim_points *points, FILE *out);

/* The page that --html names. It is written beside its path, and has its name
 * when it is whole: what was there stays until then. */
struct sim_page {
	const char *path; /* NULL: none is wanted */
	char *beside;	  /* NULL: no regular file, and written in place */
	FILE *out;
};

/* Whether it can be written is known before the runs, not after. These return
 * an exit status. path NULL: no page. */
int sim_page_open(struct sim_page *page, const struct command *command,
		  const char *path);
int sim_page_put(struct sim_page *page, const struct command *command,
		 const struct sim_points *points);
/* What is not there yet will not be. */
void sim_page_drop(struct sim_page *page);

#endif

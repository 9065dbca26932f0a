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
	SIM_BOASTERS,
	SIM_LAGGARDS,
	SIM_LAG,
	SIM_PATIENCE,
	SIM_OBJECTIVE,
	SIM_PREFILL_RATE,
	SIM_PREFILL_DEPTH,
	SIM_DECODE_STEP,
	SIM_DECODE_EACH,
	SIM_CXL_RATE,
	SIM_CXL_LATENCY,
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

#define SIM_FLEET_OPTIONS                                                \
	{ SIM_ENGINES, "engines", "N", "8",                              \
	  "a fleet of N engines, 1 to 64; a list (8,16) plays each" },   \
		{ SIM_ROUTE, "route", "P", "onecopy",                    \
		  "how: onecopy, round-robin, least-requests, "          \
		  "power-of-two, sglang, smg, dynamo, llmd-blend, "      \
		  "llmd-sticky, aibrix, tensorrt, mooncake, "            \
		  "independent-pulls, oracle" },                         \
		{ SIM_COMPARE, "compare", "P,P,P", NULL,                 \
		  "several of them in a table; all: every one" },        \
		{ SIM_LOAD, "load", "X", "1",                            \
		  "arrivals X times as fast; a list" },                  \
		{ SIM_VRAM, "vram", "N", "2000",                         \
		  "an engine's device memory, as --dram; a list" },      \
		{ SIM_CXL, "cxl", "N", "0",                              \
		  "an engine's CXL memory, as --dram; a list" },         \
		{ SIM_LINK, "link", "GBIT", "100",                       \
		  "an engine's link, Gbit/s each way; a list" },         \
		{ SIM_RATE_ERROR, "rate-error", "PERCENT", "30",         \
		  "how wrong the router's rates are" },                  \
		{ SIM_LATE, "late", "TIME,TIME", "50ms,500ms",           \
		  "how late events reach the router" },                  \
		{ SIM_CANCEL, "cancel", "PERCENT", "0",                  \
		  "requests that give up waiting" },                     \
		{ SIM_LIARS, "liars", "N", "0",                          \
		  "engines that never report an eviction" },             \
		{ SIM_BOASTERS, "boasters", "N", "0",                    \
		  "engines that say they hold what others store" },      \
		{ SIM_LAGGARDS, "laggards", "N", "0",                    \
		  "engines whose events come --lag later still" },       \
		{ SIM_LAG, "lag", "TIME", "5s", "of laggards" },         \
		{ SIM_PATIENCE, "patience", "TIME", "10s",               \
		  "mean, of those that give up" },                       \
		{ SIM_OBJECTIVE, "objective", "TIME", NULL,              \
		  "TTFT past which mooncake refuses" },                  \
		{ SIM_PREFILL_RATE, "prefill-rate", "N", "39065",        \
		  "an engine's tokens a second, at depth 0" },           \
		{ SIM_PREFILL_DEPTH, "prefill-depth", "TOKENS", "42640", \
		  "at which a token costs twice that" },                 \
		{ SIM_DECODE_STEP, "decode-step", "TIME", "6ms",         \
		  "of a step" },                                         \
		{ SIM_DECODE_EACH, "decode-each", "TIME", "350us",       \
		  "that each running request adds to it" },              \
		{ SIM_CXL_RATE, "cxl-rate", "SIZE", "20000000000",       \
		  "bytes a second from CXL memory" },                    \
		{ SIM_CXL_LATENCY, "cxl-latency", "TIME", "0",           \
		  "of a load from it" },                                 \
		{ SIM_AGENTS, "agents", "N", "16",                       \
		  "of shared, bursts, waves: that share a prefix" },     \
		{ SIM_PREFIX, "prefix", "TOKENS", "50000",               \
		  "generated: the prefix" },                             \
		{ SIM_OWN, "own", "TOKENS", "2000",                      \
		  "generated: of each agent" },                          \
		{ SIM_WITHIN, "within", "TIME", "1s",                    \
		  "generated: agents come in" },                         \
		{ SIM_EVERY, "every", "TIME", "20s",                     \
		  "generated: until the next" },                         \
		{ SIM_WARM, "warm", NULL, NULL,                          \
		  "generated: one agent came before the others" },       \
		{ SIM_HTML, "html", "FILE", NULL,                        \
		  "write a page with charts" },                          \
	{                                                                \
		SIM_EXPLAIN, "explain", "N", NULL,                       \
			"why request N (from 0) was sent where it was"   \
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
/* Makes it. Returns an exit status. */
int sim_fleet_make(const struct sim_command *s, const struct sim_fleet *f,
		   struct fleet_shape_options *ret_shape,
		   struct fleet_work *ret_work);
json_t *sim_shape_json(const struct fleet_shape_options *o);
/* Returns an exit status. */
int sim_fleet_main(const struct sim_command *s, const struct sim_fleet *f);

/* ---- results ------------------------------------------------------------------ */

/* One run of a sweep. */
struct sim_point {
	const char *policy;
	uint32_t engines;
	double load, gbit;
	uint64_t blocks[ROUTE_TIERS];
	const char *asked[ROUTE_TIERS]; /* "4T"; NULL: the default */
	json_t *explained;		/* of --explain --json; NULL */
	struct fleet_result result;
};

struct sim_points {
	const char *trace;
	struct sim_point *point;
	size_t n;
	double block_bytes;
	uint32_t late;	 /* requests that were sorted in */
	uint32_t rows;	 /* asked for, over the time of each run */
	json_t *options; /* what no point says of itself; NULL */
};

/* Points that differ in nothing but the policy are of one place, and follow each
 * other. */
bool sim_same_place(const struct sim_point *a, const struct sim_point *b);
size_t sim_place_size(const struct sim_points *p, size_t first);
/* A tier's size as it was asked for, or in blocks. */
#define SIM_SIZE_TEXT 32
const char *sim_size_text(const struct sim_point *p, uint32_t tier,
			  char text[SIM_SIZE_TEXT]);
/* Whether the tier was there and never full: more of it changes nothing. */
bool sim_all_fits(const struct sim_point *p, uint32_t tier);

/* What a point is worth against the first with the same policy. */
struct sim_worth {
	double ttft_ms, ttft_p99_ms; /* less is better */
	double hit_rate;
	double saved_s; /* engine seconds of prefill, more of them saved */
	double engines; /* ... that many engines' whole time */
	double tb;	/* memory more, of all engines and tiers, 10^12 bytes */
	bool memory; /* differs in that alone: the next ones mean something */
	double saved_s_tb, engines_tb, ttft_ms_tb; /* for each TB */
	/* The number of engines with the first point's memory whose mean TTFT
	 * is the same, by the points of this sweep; 0: they do not say. */
	double like_engines;
};
/* False: it is of the first place. */
bool sim_worth_of(const struct sim_points *p, size_t i,
		  struct sim_worth *ret_worth);
void sim_worth_print(const struct sim_points *p, FILE *out);
json_t *sim_worth_json(const struct sim_points *p, size_t i); /* NULL: none */

struct sweep;
json_t *sim_points_json(const struct sweep *w); /* NULL: no memory */
/* All that a result depends on and that no point says of itself. */
json_t *sim_options_json(const struct sweep *w);
/* A decision as the simulation tells it (sim/fleet.h). */
struct sim_decision {
	double at;
	const struct route_fleet *fleet;
	const struct route_request *q;
	const struct route_choice *choice;
	const struct route_price *price;
	const struct fleet_stay *stay;
};

/* The price of each alternative, the three questions answered; of which run. */
void sim_explain(const struct sim_point *p, const struct sim_decision *d,
		 FILE *out);
/* What became of it. */
void sim_explain_over(const struct fleet_fate *fate, FILE *out);
/* The same into *root, which the first decision about a request makes. */
void sim_explain_json(const struct sim_decision *d, json_t **root);
void sim_explain_over_json(const struct fleet_fate *fate, json_t *root);
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

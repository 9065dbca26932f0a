/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy sim: what its ways share. */
#ifndef ONECOPY_PROG_SIM_H
#define ONECOPY_PROG_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct command;

/* The command line. */
struct sim_command {
	const struct command *command;
	const char *trace;
	const char *policy, *decisions;
	uint64_t dram, nvme;	       /* blocks; nvme 0: no second rung */
	uint64_t dram_rate, nvme_rate; /* bytes a second; 0: the default */
	uint64_t nvme_latency_ns;
	bool nvme_latency; /* was given */
	uint64_t rows;	   /* over time; 0: none */
	uint64_t block_tokens, block_bytes, limit, seed;
	const char *one_cache; /* an option that was given and no fleet has */
	/* Options that were given: of who is told of returns, of a second rung */
	const char *of_hints, *of_rung;
	uint64_t hint_error, hint_missing; /* percent */
	bool no_prefetch;
	bool json;
};

/* A trace file while it is read, or work while it is made: progress on a terminal,
 * ended by a signal. */
struct sim_load {
	const char *what;
	bool terminal;
	uint32_t shown; /* 1 + 1/1000; 0: nothing */
};

struct trace_source;
/* Opens the command's trace, read on behalf of `load`, which stays until the
 * source is closed. Returns an exit status. */
int sim_load_open(const struct sim_command *s, struct sim_load *load,
		  struct trace_source **ret_source);
int sim_load_tick(void *load, double done);
/* What became of it, 0 or -errno, as an exit status, told. source NULL: it was
 * made. */
int sim_load_said(const struct sim_command *s, const struct sim_load *load,
		  const struct trace_source *source, int error);

struct sim_fleet;
/* One cache: policies of eviction. Returns an exit status. `shape`: what was said
 * of generated work. */
int sim_cache_main(const struct sim_command *s, const struct sim_fleet *shape);

#endif

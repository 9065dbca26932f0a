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

struct sim_fleet;
/* One cache: policies of eviction. Returns an exit status. `shape`: what was said
 * of generated work. */
int sim_cache_main(const struct sim_command *s, const struct sim_fleet *shape);

#endif

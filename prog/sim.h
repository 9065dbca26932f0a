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
	uint64_t dram, nvme; /* blocks; nvme 0: no second rung */
	uint64_t dram_rate, nvme_rate, nvme_latency_ns; /* bytes a second */
	uint64_t block_tokens, block_bytes, limit, seed;
	const char *one_cache; /* an option that was given and no fleet has */
	uint64_t hint_error, hint_missing; /* percent; error 0: 50 */
	bool no_prefetch;
	bool json;
};

/* One cache: policies of eviction. Returns an exit status. */
int sim_cache_main(const struct sim_command *s);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Running the built program (ONECOPY_BIN) in a test, and files to run it on. */
#ifndef ONECOPY_TESTS_PROG_RUN_H
#define ONECOPY_TESTS_PROG_RUN_H

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#define RUN_OUTPUT (1u << 20)

struct run {
	int status;	 /* exit status; 128 + signal */
	char *out, *err; /* what it wrote, cut at RUN_OUTPUT */
};

/* Runs `onecopy WORD...` (ends with NULL) to its end. run_free() it. */
struct run run_program(const char *const *words);
void run_free(struct run *r);
#define RUN(...) run_program((const char *const[]){ __VA_ARGS__, NULL })

/* The same without waiting; output goes to the test's. */
pid_t run_start(const char *const *words);
/* Sends a signal (0: none) and returns the status as above. */
int run_end(pid_t pid, int signo);

/* The JSON that a run printed; the test fails when it is none. */
json_t *run_json(const struct run *r);

/* A private directory of the test, made at the first call, and its end (it
 * stays where a test fails). */
const char *run_dir(void);
void run_clean(void);
/* A node in it. */
pid_t run_node(const char *dram, char socket[108]);
pid_t run_node_with(const char *dram, const char *eviction, char socket[108]);

/* Writes a trace: `requests` lines, conversations of `turns` turns that grow
 * by `step` blocks each, taking turns. Returns its path. */
const char *run_trace(unsigned requests, unsigned sessions, unsigned turns,
		      unsigned step);

#endif

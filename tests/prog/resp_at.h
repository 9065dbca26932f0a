/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A RESP door for a test of real clients, and ways to run such clients.
 *
 * ONECOPY_RESP_ADDRESS (HOST:PORT) names a server that runs already, and no
 * node is started: the tests themselves are proved against redis-server so.
 * The server's keys are dropped first. ONECOPY_RESP_PASSWORD is then the
 * password of user "default", for those tests that authenticate; all others
 * want a server without.
 */
#ifndef ONECOPY_TESTS_PROG_RESP_AT_H
#define ONECOPY_TESTS_PROG_RESP_AT_H

#include <stdbool.h>
#include "tests/prog/live.h"
#include "tests/prog/run.h"

struct resp_at {
	struct live node;
	bool own; /* a node was started */
	char host[64], port[8];
	char password[64]; /* "": none */
};

/* With a password or without. Skips the test where there is no server of that
 * kind to be had. */
void resp_at_open(struct resp_at *s, bool password);
void resp_at_close(struct resp_at *s);

/* A blocking connection with a deadline on each call. */
int resp_at_dial(const struct resp_at *s);
/* Sends all of it. */
void resp_at_send(int fd, const void *data, size_t bytes);
/* Receives exactly so much; the test fails when it does not come. */
void resp_at_recv(int fd, void *data, size_t bytes);
/* Sends a text and expects exactly this one. */
void resp_at_ask(int fd, const char *request, const char *answer);

/* Skips the test where this program is not installed: to be asked before a node
 * is started. */
void tool_need(const char *name);

/* Runs a program to its end, `input` (NULL: none) on its stdin. One that
 * ends with 77 skips the test: its output is the reason. */
struct run tool_run(const char *const *words, const char *input, size_t bytes);
#define TOOL(...) tool_run((const char *const[]){ __VA_ARGS__, NULL }, NULL, 0)

#endif

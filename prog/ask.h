/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a node: connect, question, JSON. For stat, where and check. */
#ifndef ONECOPY_PROG_ASK_H
#define ONECOPY_PROG_ASK_H

#include <jansson.h>
#include <stdio.h>

#include "cli.h"
#include "onecopy/onecopy.h"
#include "onecopy/session.h"

#define ASK_ERROR 256

/* Of all commands that ask a node. */
#define ASK_TOKEN (CLI_LONG + 32)
#define ASK_TOKEN_OPTION                                                \
	{                                                               \
		ASK_TOKEN, "token-file", "FILE", "$ONECOPY_TOKEN",      \
			"its first line is the token of a tenant that " \
			"does not name this user"                       \
	}
/* The value of that option is used from now on, as if $ONECOPY_TOKEN said it. 0,
 * or an exit status and it was said. */
int ask_token(const struct cli *c);

/* socket NULL: the default. Says on stderr what is wrong. */
int ask_connect(const char *socket, oc_client **ret_client);
/* The same in silence: `error` gets the text. */
int ask_try(const char *socket, uint64_t timeout_ns, oc_client **ret_client,
	    char error[ASK_ERROR]);
/* ask_connect() of a client that may change things. */
int ask_connect_writing(const char *socket, oc_client **ret_client);
/* oc_inspect() and its JSON. Does not say anything: -errno or a positive
 * answer, -EPROTO for text that is no JSON. */
int ask_json(oc_client *c, const char *what, const char *args,
	     json_t **ret_root);

/* A number of an object: 0 where there is none. */
uint64_t ask_u64(const json_t *object, const char *name);

/* A handle of a session that belongs to somebody else, by its name or number, and of
 * its namespace. In silence: -errno or a positive answer. */
int ask_session(oc_client *c, const char *which, oc_ns **ret_ns,
		oc_session **ret_session);

/* Of commands that ask about keys: the words are names at the RESP door. */
#define ASK_REDIS (CLI_LONG + 33)
#define ASK_REDIS_OPTION                                                 \
	{                                                                \
		ASK_REDIS, "redis", NULL, NULL,                          \
			"the words are names of values at the RESP door" \
	}
/* A word as a key. 0, or an exit status and it was said. */
int ask_key(const struct command *command, const char *word, bool redis,
	    struct oc_key *ret_key);

/* An array of objects as a table: a line each, columns as in the first. Sizes,
 * rates and times (as their names end) are written for people. */
void ask_table(FILE *out, const json_t *rows);
/* One value as text: for tables and lists. */
void ask_value(const char *name, const json_t *value, char *text, size_t cap);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis commands that there are: what each is called and may be given, and
 * what COMMAND tells of it. Data and pure look-ups; what they do is the door's.
 * docs/formats/resp.md says how each is answered.
 */
#ifndef ONECOPY_WIRE_RESP_COMMANDS_H
#define ONECOPY_WIRE_RESP_COMMANDS_H

#include "base/compiler.h"

/* What COMMAND calls flags and categories; the names are Redis's. */
enum resp_command_flag {
	RESP_WRITE = 1 << 0,
	RESP_READONLY = 1 << 1,
	RESP_DENYOOM = 1 << 2, /* takes memory */
	RESP_NOSCRIPT = 1 << 3,
	RESP_LOADING = 1 << 4, /* needs no data: allowed before it is there */
	RESP_STALE = 1 << 5,
	RESP_FAST = 1 << 6, /* in a time that the data's size does not change */
	RESP_NO_AUTH = 1
		       << 7, /* allowed before the client has said who it is */
	RESP_FLAGS_END = 1 << 8,
	/* categories; @read, @write, @fast and @slow follow from the above */
	RESP_KEYSPACE = 1 << 8,
	RESP_STRING = 1 << 9,
	RESP_CONNECTION = 1 << 10,
	RESP_DANGEROUS = 1 << 11,
};

#define RESP_F_NEW  (RESP_NOSCRIPT | RESP_LOADING | RESP_STALE)
#define RESP_F_GET  (RESP_READONLY | RESP_FAST)
#define RESP_F_PUT  (RESP_WRITE | RESP_DENYOOM | RESP_STRING)
#define RESP_F_LIFE (RESP_WRITE | RESP_FAST | RESP_KEYSPACE)
#define RESP_F_SEE  (RESP_F_GET | RESP_KEYSPACE)
#define RESP_F_TALK (RESP_LOADING | RESP_STALE | RESP_FAST)
#define RESP_F_SELF (RESP_F_NEW | RESP_FAST | RESP_NO_AUTH | RESP_CONNECTION)
#define RESP_F_WIPE (RESP_WRITE | RESP_KEYSPACE | RESP_DANGEROUS)

/*
 * X(id, name, arity, flags, first, last, step, group, since, complexity, summary)
 * arity: arguments with the command's name; -n is at least n.
 * first, last, step: which arguments are keys; last -1 is the last one, first 0
 * is none.
 */
#define RESP_COMMANDS(X)                                                       \
	X(AUTH, "auth", -2, RESP_F_SELF, 0, 0, 0, "connection", "1.0.0",       \
	  "O(N) in the number of users", "Says who the client is")             \
	X(CLIENT, "client", -2, RESP_CONNECTION, 0, 0, 0, "connection",        \
	  "2.4.0", "O(1)", "Tells of and sets the client's own connection")    \
	X(COMMAND, "command", -1, RESP_LOADING | RESP_STALE | RESP_CONNECTION, \
	  0, 0, 0, "server", "2.8.13", "O(N) in the number of commands",       \
	  "Tells what commands there are")                                     \
	X(CONFIG, "config", -2, RESP_DANGEROUS, 0, 0, 0, "server", "2.0.0",    \
	  "O(N) in the number of parameters", "Tells parameters")              \
	X(DBSIZE, "dbsize", 1, RESP_F_SEE, 0, 0, 0, "server", "1.0.0", "O(1)", \
	  "How many keys there are")                                           \
	X(DEL, "del", -2, RESP_WRITE | RESP_KEYSPACE, 1, -1, 1, "generic",     \
	  "1.0.0", "O(N) in the number of keys", "Drops keys")                 \
	X(ECHO, "echo", 2, RESP_F_TALK | RESP_CONNECTION, 0, 0, 0,             \
	  "connection", "1.0.0", "O(1)", "Gives its argument back")            \
	X(EXISTS, "exists", -2, RESP_F_SEE, 1, -1, 1, "generic", "1.0.0",      \
	  "O(N) in the number of keys", "How many of the keys there are")      \
	X(EXPIRE, "expire", -3, RESP_F_LIFE, 1, 1, 1, "generic", "1.0.0",      \
	  "O(1)", "Sets how many seconds a key has left")                      \
	X(FLUSHALL, "flushall", -1, RESP_F_WIPE, 0, 0, 0, "server", "1.0.0",   \
	  "O(N) in the number of keys", "Drops the tenant's keys")             \
	X(FLUSHDB, "flushdb", -1, RESP_F_WIPE, 0, 0, 0, "server", "1.0.0",     \
	  "O(N) in the number of keys", "Drops the tenant's keys")             \
	X(GET, "get", 2, RESP_F_GET | RESP_STRING, 1, 1, 1, "string", "1.0.0", \
	  "O(1)", "Gives a key's value")                                       \
	X(HELLO, "hello", -1, RESP_F_SELF, 0, 0, 0, "connection", "6.0.0",     \
	  "O(1)", "Chooses the protocol's version, may say who the client is") \
	X(INFO, "info", -1, RESP_LOADING | RESP_STALE | RESP_DANGEROUS, 0, 0,  \
	  0, "server", "1.0.0", "O(1)", "Tells of the server and its counts")  \
	X(MEMORY, "memory", -2, RESP_READONLY, 0, 0, 0, "server", "4.0.0",     \
	  "O(1)", "How much memory a key takes")                               \
	X(MGET, "mget", -2, RESP_F_GET | RESP_STRING, 1, -1, 1, "string",      \
	  "1.0.0", "O(N) in the number of keys", "Gives several keys' values") \
	X(MSET, "mset", -3, RESP_F_PUT, 1, -1, 2, "string", "1.0.1",           \
	  "O(N) in the number of keys", "Sets several keys")                   \
	X(PERSIST, "persist", 2, RESP_F_LIFE, 1, 1, 1, "generic", "2.2.0",     \
	  "O(1)", "Takes the end of a key's life away")                        \
	X(PEXPIRE, "pexpire", -3, RESP_F_LIFE, 1, 1, 1, "generic", "2.6.0",    \
	  "O(1)", "Sets how many milliseconds a key has left")                 \
	X(PING, "ping", -1, RESP_FAST | RESP_CONNECTION, 0, 0, 0,              \
	  "connection", "1.0.0", "O(1)", "Is answered, with its argument")     \
	X(PSETEX, "psetex", 4, RESP_F_PUT, 1, 1, 1, "string", "2.6.0", "O(1)", \
	  "Sets a key and how many milliseconds it has")                       \
	X(PTTL, "pttl", 2, RESP_F_SEE, 1, 1, 1, "generic", "2.6.0", "O(1)",    \
	  "How many milliseconds a key has left")                              \
	X(QUIT, "quit", -1, RESP_F_SELF, 0, 0, 0, "connection", "1.0.0",       \
	  "O(1)", "Ends the connection")                                       \
	X(RESET, "reset", 1, RESP_F_SELF, 0, 0, 0, "connection", "6.2.0",      \
	  "O(1)", "Makes the connection as it was when it began")              \
	X(SCAN, "scan", -2, RESP_READONLY | RESP_KEYSPACE, 0, 0, 0, "generic", \
	  "2.8.0", "O(1) a call", "Walks over the keys, some at a call")       \
	X(SELECT, "select", 2, RESP_F_TALK | RESP_CONNECTION, 0, 0, 0,         \
	  "connection", "1.0.0", "O(1)", "Chooses the database: 0")            \
	X(SESSION, "session", -2, RESP_WRITE | RESP_KEYSPACE, 0, 0, 0,         \
	  "session", "onecopy 0.1", "O(N) in the number of keys",              \
	  "Opens, appends to, forks, pauses, resumes, closes, tells of and "   \
	  "lists sessions")                                                    \
	X(SET, "set", -3, RESP_F_PUT, 1, 1, 1, "string", "1.0.0", "O(1)",      \
	  "Sets a key")                                                        \
	X(SETEX, "setex", 4, RESP_F_PUT, 1, 1, 1, "string", "2.0.0", "O(1)",   \
	  "Sets a key and how many seconds it has")                            \
	X(SETNX, "setnx", 3, RESP_F_PUT | RESP_FAST, 1, 1, 1, "string",        \
	  "1.0.0", "O(1)", "Sets a key that there is not")                     \
	X(STRLEN, "strlen", 2, RESP_F_GET | RESP_STRING, 1, 1, 1, "string",    \
	  "2.2.0", "O(1)", "How long a key's value is")                        \
	X(TIME, "time", 1, RESP_F_TALK, 0, 0, 0, "server", "2.6.0", "O(1)",    \
	  "The server's time")                                                 \
	X(TTL, "ttl", 2, RESP_F_SEE, 1, 1, 1, "generic", "1.0.0", "O(1)",      \
	  "How many seconds a key has left")                                   \
	X(TYPE, "type", 2, RESP_F_SEE, 1, 1, 1, "generic", "1.0.0", "O(1)",    \
	  "Whether a key is a string or is none")                              \
	X(UNLINK, "unlink", -2, RESP_F_LIFE, 1, -1, 1, "generic", "4.0.0",     \
	  "O(N) in the number of keys", "Drops keys")

enum resp_command_id {
	RESP_CMD_NONE,
#define X(id, ...) RESP_CMD_##id,
	RESP_COMMANDS(X)
#undef X
		RESP_CMD_END
};

#define RESP_COMMAND_COUNT (RESP_CMD_END - 1)
#define RESP_NAME_MAX	   8 /* letters of the longest name */

struct resp_command {
	char name[RESP_NAME_MAX + 1]; /* small letters, zeros to the end */
	int8_t arity;
	int8_t first, last, step;
	uint16_t flags;
	const char *group, *since, *complexity, *summary;
};

/* By id; the first, RESP_CMD_NONE's, is empty. */
extern const struct resp_command resp_commands[RESP_CMD_END];

/* In any case of letters; RESP_CMD_NONE: there is none of that name. */
enum resp_command_id resp_command_find(const char *name, size_t len);

/* May it have so many arguments, its name among them? */
static inline bool resp_command_takes(enum resp_command_id id, uint32_t n_args)
{
	int arity = resp_commands[id].arity;

	return arity < 0 ? (int64_t)n_args >= -arity : (int64_t)n_args == arity;
}

/* Is an argument this word ("nx", in small letters), in any case of letters? */
bool resp_word(const char *text, size_t len, const char *word);

/* ---- what COMMAND answers ----------------------------------------------------- */

/* Bytes written, or -ENOSPC, as in wire/resp_reply.h; never more than
 * RESP_COMMAND_ENTRY_MAX. */
#define RESP_COMMAND_ENTRY_MAX 512

/* COMMAND's and COMMAND INFO's element, which has the ten of Redis 7 (no tips, no
 * key specifications, no subcommands); a null for RESP_CMD_NONE. */
int resp_put_command(char *at, size_t cap, unsigned version,
		     enum resp_command_id id);
/* COMMAND DOCS's: the name and a map of summary, since, group, complexity. Not
 * for RESP_CMD_NONE. */
int resp_put_command_docs(char *at, size_t cap, unsigned version,
			  enum resp_command_id id);

#endif

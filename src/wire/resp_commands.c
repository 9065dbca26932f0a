/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp_commands.h"
#include "wire/resp_reply.h"
#include <errno.h>

const struct resp_command resp_commands[RESP_CMD_END] = {
#define X(id, name_, arity_, flags_, first_, last_, step_, group_, since_, \
	  complexity_, summary_)                                           \
	[RESP_CMD_##id] = { .name = name_,                                 \
			    .arity = arity_,                               \
			    .first = first_,                               \
			    .last = last_,                                 \
			    .step = step_,                                 \
			    .flags = flags_,                               \
			    .group = group_,                               \
			    .since = since_,                               \
			    .complexity = complexity_,                     \
			    .summary = summary_ },
	RESP_COMMANDS(X)
#undef X
};

/* ---- by name ---------------------------------------------------------------- */

/* Length, first and second letter, last but one: no two names share a place. A
 * name that would makes the compiler complain of an element set twice; another
 * sum of these must be found then. */
#define PLACES 128u
#define PLACE(len, first, second, low) \
	(((len) + (first) + (second)*6u + (low)*3u) % PLACES)

static const uint8_t places[PLACES] = {
	[PLACE(4, 'a', 'u', 't')] = RESP_CMD_AUTH,
	[PLACE(6, 'c', 'l', 'n')] = RESP_CMD_CLIENT,
	[PLACE(7, 'c', 'o', 'n')] = RESP_CMD_COMMAND,
	[PLACE(6, 'c', 'o', 'i')] = RESP_CMD_CONFIG,
	[PLACE(6, 'd', 'b', 'z')] = RESP_CMD_DBSIZE,
	[PLACE(3, 'd', 'e', 'e')] = RESP_CMD_DEL,
	[PLACE(4, 'e', 'c', 'h')] = RESP_CMD_ECHO,
	[PLACE(6, 'e', 'x', 't')] = RESP_CMD_EXISTS,
	[PLACE(6, 'e', 'x', 'r')] = RESP_CMD_EXPIRE,
	[PLACE(8, 'f', 'l', 'l')] = RESP_CMD_FLUSHALL,
	[PLACE(7, 'f', 'l', 'd')] = RESP_CMD_FLUSHDB,
	[PLACE(3, 'g', 'e', 'e')] = RESP_CMD_GET,
	[PLACE(5, 'h', 'e', 'l')] = RESP_CMD_HELLO,
	[PLACE(4, 'i', 'n', 'f')] = RESP_CMD_INFO,
	[PLACE(6, 'm', 'e', 'r')] = RESP_CMD_MEMORY,
	[PLACE(4, 'm', 'g', 'e')] = RESP_CMD_MGET,
	[PLACE(4, 'm', 's', 'e')] = RESP_CMD_MSET,
	[PLACE(7, 'p', 'e', 's')] = RESP_CMD_PERSIST,
	[PLACE(7, 'p', 'e', 'r')] = RESP_CMD_PEXPIRE,
	[PLACE(4, 'p', 'i', 'n')] = RESP_CMD_PING,
	[PLACE(6, 'p', 's', 'e')] = RESP_CMD_PSETEX,
	[PLACE(4, 'p', 't', 't')] = RESP_CMD_PTTL,
	[PLACE(4, 'q', 'u', 'i')] = RESP_CMD_QUIT,
	[PLACE(5, 'r', 'e', 'e')] = RESP_CMD_RESET,
	[PLACE(4, 's', 'c', 'a')] = RESP_CMD_SCAN,
	[PLACE(6, 's', 'e', 'c')] = RESP_CMD_SELECT,
	[PLACE(7, 's', 'e', 'o')] = RESP_CMD_SESSION,
	[PLACE(3, 's', 'e', 'e')] = RESP_CMD_SET,
	[PLACE(5, 's', 'e', 'e')] = RESP_CMD_SETEX,
	[PLACE(5, 's', 'e', 'n')] = RESP_CMD_SETNX,
	[PLACE(6, 's', 't', 'e')] = RESP_CMD_STRLEN,
	[PLACE(4, 't', 'i', 'm')] = RESP_CMD_TIME,
	[PLACE(3, 't', 't', 't')] = RESP_CMD_TTL,
	[PLACE(4, 't', 'y', 'p')] = RESP_CMD_TYPE,
	[PLACE(6, 'u', 'n', 'n')] = RESP_CMD_UNLINK,
};

/* Up to 8 bytes as they stand in memory, zeros behind them; len >= 3. */
static inline uint64_t load_word(const char *text, size_t len)
{
	uint32_t low = 0, high = 0;

	if (len == 3) {
		memcpy(&low, text, 2);
		return low | (uint64_t)(unsigned char)text[2] << 16;
	}
	memcpy(&low, text, 4);
	memcpy(&high, text + len - 4, 4);
	return low | (uint64_t)high << (8 * (len - 4));
}

/* Setting bit 5 makes small letters of great ones, and small letters of nothing
 * else, so a word of other bytes equals no name. */
enum resp_command_id resp_command_find(const char *name, size_t len)
{
	const uint64_t small = 0x2020202020202020ull;
	uint64_t word, found;
	uint8_t id;

	if (len < 3 || len > RESP_NAME_MAX)
		return RESP_CMD_NONE;
	word = load_word(name, len) | small >> (8 * (8 - len));
	id = places[PLACE((unsigned)len, (unsigned)(word & 0xff),
			  (unsigned)(word >> 8 & 0xff),
			  (unsigned)(word >> (8 * (len - 2)) & 0xff))];
	memcpy(&found, resp_commands[id].name, sizeof(found));
	return found == word ? (enum resp_command_id)id : RESP_CMD_NONE;
}

bool resp_word(const char *text, size_t len, const char *word)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c | 0x20);
		if (!word[i] || c != word[i])
			return false;
	}
	return word[len] == '\0';
}

/* ---- what COMMAND answers ----------------------------------------------------- */

static const char *const flag_names[] = { "write",    "readonly", "denyoom",
					  "noscript", "loading",  "stale",
					  "fast",     "no_auth" };
static const char *const category_names[] = { "@keyspace",   "@string",
					      "@connection", "@dangerous",
					      "@read",	     "@write",
					      "@fast",	     "@slow" };
_Static_assert(1 << ARRAY_LEN(flag_names) == RESP_FLAGS_END, "a name each");

/* An answer of several pieces; after the first that did not fit, none does. */
struct out {
	char *at;
	size_t cap;
	int n; /* or -ENOSPC */
	unsigned version;
};

static void put(struct out *o, int n)
{
	o->n = n < 0 || o->n < 0 ? -ENOSPC : o->n + n;
}

#define PUT(o, call, ...)                                                     \
	do {                                                                  \
		if ((o)->n >= 0)                                              \
			put(o, call((o)->at + (o)->n,                         \
				    (o)->cap - (size_t)(o)->n, __VA_ARGS__)); \
	} while (0)

static void put_string(struct out *o, const char *text)
{
	PUT(o, resp_put_bulk, text, strlen(text));
}

/* The names of the bits that are set, as a set of simple strings. */
static void put_names(struct out *o, unsigned bits, const char *const *names)
{
	PUT(o, resp_put_set, o->version, (uint64_t)__builtin_popcount(bits));
	for (unsigned i = 0; bits >> i; i++)
		if (bits >> i & 1)
			PUT(o, resp_put_simple, names[i]);
}

static unsigned categories(unsigned flags)
{
	unsigned bits = flags / RESP_FLAGS_END;

	bits |= flags & RESP_READONLY ? 1 << 4 : 0;
	bits |= flags & RESP_WRITE ? 1 << 5 : 0;
	return bits | (flags & RESP_FAST ? 1 << 6 : 1 << 7);
}

int resp_put_command(char *at, size_t cap, unsigned version,
		     enum resp_command_id id)
{
	const struct resp_command *c = &resp_commands[id];
	struct out o = { .at = at, .cap = cap, .version = version };

	if (id == RESP_CMD_NONE)
		return resp_put_null(at, cap, version);
	PUT(&o, resp_put_array, 10);
	put_string(&o, c->name);
	PUT(&o, resp_put_integer, c->arity);
	put_names(&o, c->flags % RESP_FLAGS_END, flag_names);
	PUT(&o, resp_put_integer, c->first);
	PUT(&o, resp_put_integer, c->last);
	PUT(&o, resp_put_integer, c->step);
	put_names(&o, categories(c->flags), category_names);
	for (unsigned i = 0; i < 3; i++)
		PUT(&o, resp_put_set, version, 0);
	return o.n;
}

int resp_put_command_docs(char *at, size_t cap, unsigned version,
			  enum resp_command_id id)
{
	const struct resp_command *c = &resp_commands[id];
	const char *const pairs[] = {
		"summary", c->summary, "since",	     c->since,
		"group",   c->group,   "complexity", c->complexity,
	};
	struct out o = { .at = at, .cap = cap, .version = version };

	put_string(&o, c->name);
	PUT(&o, resp_put_map, version, ARRAY_LEN(pairs) / 2);
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		put_string(&o, pairs[i]);
	return o.n;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp_commands.h"
#include "tests/test.h"

static char buf[1024];

static enum resp_command_id find(const char *name)
{
	return resp_command_find(name, strlen(name));
}

TEST(each_is_found)
{
	char great[RESP_NAME_MAX + 1];

	for (int id = 1; id < RESP_CMD_END; id++) {
		const char *name = resp_commands[id].name;

		CHECK_INT(find(name), ==, id);
		for (size_t i = 0; i < sizeof(great); i++)
			great[i] = (char)(name[i] & ~0x20);
		CHECK_INT(find(great), ==, id);
		great[1] = name[1];
		CHECK_INT(find(great), ==, id);
	}
	CHECK_INT(find("GeT"), ==, RESP_CMD_GET);
	CHECK_INT(RESP_COMMAND_COUNT, ==, 35);
}

TEST(nothing_else_is)
{
	static const char *const none[] = {
		"",
		"g",
		"ge",
		"gets",
		"gut",
		"sett",
		"setx",
		"foo",
		"flushal",
		"flushalls",
		"flushallx",
		"a name that is long",
		"\x07\x05\x14",
		"ttl ",
		" get",
	};

	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		CHECK_INT(find(none[i]), ==, RESP_CMD_NONE);
	CHECK_INT(resp_command_find("get\0", 4), ==, RESP_CMD_NONE);
	CHECK_INT(resp_command_find("\0\0\0", 3), ==, RESP_CMD_NONE);
	CHECK_INT(resp_command_find("getx", 3), ==, RESP_CMD_GET);
}

/* One byte changed in any name: found only where that changes its case. */
TEST(no_byte_passes_for_another)
{
	for (int id = 1; id < RESP_CMD_END; id++) {
		char name[RESP_NAME_MAX + 1];
		size_t len = strlen(resp_commands[id].name);

		for (size_t i = 0; i < len; i++) {
			memcpy(name, resp_commands[id].name, sizeof(name));
			for (int c = 0; c < 256; c++) {
				int same = (c | 0x20) ==
					   resp_commands[id].name[i];

				name[i] = (char)c;
				if (same)
					CHECK_INT(resp_command_find(name, len),
						  ==, id);
				else
					CHECK_INT(resp_command_find(name, len),
						  !=, id);
			}
		}
	}
}

/* Reads its bytes alone. */
TEST(no_overread)
{
	static const char *const names[] = { "g",	"get",	  "mget",
					     "setex",	"strlen", "persist",
					     "flushall" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t len = strlen(names[i]);
		char *block = malloc(len);

		CHECK(block);
		memcpy(block, names[i], len);
		CHECK_INT(resp_command_find(block, len), ==, find(names[i]));
		free(block);
	}
}

TEST(arity)
{
	CHECK(resp_command_takes(RESP_CMD_GET, 2));
	CHECK(!resp_command_takes(RESP_CMD_GET, 1));
	CHECK(!resp_command_takes(RESP_CMD_GET, 3));
	CHECK(resp_command_takes(RESP_CMD_SET, 3));
	CHECK(resp_command_takes(RESP_CMD_SET, 1024));
	CHECK(!resp_command_takes(RESP_CMD_SET, 2));
	CHECK(resp_command_takes(RESP_CMD_PING, 1));
}

/* What holds for each entry. */
TEST(table)
{
	for (int id = 1; id < RESP_CMD_END; id++) {
		const struct resp_command *c = &resp_commands[id];
		unsigned both = RESP_WRITE | RESP_READONLY;

		CHECK(c->arity != 0);
		CHECK((c->flags & both) != both);
		CHECK((c->first == 0) == (c->step == 0));
		CHECK(c->first == 0 || (c->flags & both));
		CHECK(c->first == 0 || abs(c->arity) > c->first);
		CHECK(!(c->flags & RESP_DENYOOM) || (c->flags & RESP_WRITE));
		CHECK(c->group && c->since && c->complexity && c->summary);
	}
	CHECK_INT(resp_commands[RESP_CMD_NONE].name[0], ==, 0);
}

TEST(words)
{
	CHECK(resp_word("NX", 2, "nx"));
	CHECK(resp_word("eX", 2, "ex"));
	CHECK(!resp_word("NX", 2, "n"));
	CHECK(!resp_word("N", 1, "nx"));
	CHECK(!resp_word("", 0, "nx"));
	CHECK(!resp_word("NY", 2, "nx"));
	CHECK(!resp_word("nx\0", 3, "nx"));
	CHECK(resp_word("LIB-NAME", 8, "lib-name"));
	CHECK(!resp_word("LIB\rNAME", 8, "lib-name"));
}

#define WRITES(want, call, ...)                                                \
	do {                                                                   \
		int want_len_ = (int)sizeof(want) - 1;                         \
		memset(buf, '~', sizeof(buf));                                 \
		CHECK_INT(call(buf, sizeof(buf), __VA_ARGS__), ==, want_len_); \
		CHECK_MEM(buf, want "~", want_len_ + 1);                       \
	} while (0)

TEST(command_entries)
{
	WRITES("*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n"
	       ":1\r\n:1\r\n:1\r\n*3\r\n+@string\r\n+@read\r\n+@fast\r\n"
	       "*0\r\n*0\r\n*0\r\n",
	       resp_put_command, 2, RESP_CMD_GET);
	WRITES("*10\r\n$4\r\nmset\r\n:-3\r\n~2\r\n+write\r\n+denyoom\r\n"
	       ":1\r\n:-1\r\n:2\r\n~3\r\n+@string\r\n+@write\r\n+@slow\r\n"
	       "~0\r\n~0\r\n~0\r\n",
	       resp_put_command, 3, RESP_CMD_MSET);
	WRITES("$-1\r\n", resp_put_command, 2, RESP_CMD_NONE);
	WRITES("_\r\n", resp_put_command, 3, RESP_CMD_NONE);
}

TEST(command_docs)
{
	WRITES("$3\r\nttl\r\n*8\r\n$7\r\nsummary\r\n"
	       "$31\r\nHow many seconds a key has left\r\n"
	       "$5\r\nsince\r\n$5\r\n1.0.0\r\n$5\r\ngroup\r\n$7\r\ngeneric\r\n"
	       "$10\r\ncomplexity\r\n$4\r\nO(1)\r\n",
	       resp_put_command_docs, 2, RESP_CMD_TTL);
	CHECK_INT(resp_put_command_docs(buf, sizeof(buf), 3, RESP_CMD_TTL), >,
		  0);
	CHECK_MEM(buf, "$3\r\nttl\r\n%4\r\n", 13);
}

/* Each entry fits, and fits in nothing less. */
TEST(entries_bounded)
{
	for (int id = 1; id < RESP_CMD_END; id++) {
		for (unsigned version = 2; version <= 3; version++) {
			int n = resp_put_command(buf, RESP_COMMAND_ENTRY_MAX,
						 version, id);
			int d = resp_put_command_docs(
				buf, RESP_COMMAND_ENTRY_MAX, version, id);

			CHECK_INT(n, >, 0);
			CHECK_INT(d, >, 0);
			for (int cap = 0; cap < n; cap++)
				CHECK_INT(resp_put_command(buf, cap, version,
							   id),
					  ==, -ENOSPC);
			for (int cap = 0; cap < d; cap++)
				CHECK_INT(resp_put_command_docs(buf, cap,
								version, id),
					  ==, -ENOSPC);
		}
	}
}

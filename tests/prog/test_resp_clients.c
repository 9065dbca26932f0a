/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that people have, unchanged, against the RESP door. */
#include <fnmatch.h>
#include "tests/prog/resp_at.h"

/* ---- redis-cli */

/* What redis-cli is told line by line, and the lines that it must print; each
 * is a pattern of fnmatch(3). */
struct talk {
	const char *say, *hear;
};

/* The same in both versions of the protocol. */
static const struct talk talk_both[] = {
	{ "PING", "PONG" },
	{ "PING there", "\"there\"" },
	{ "ECHO \"a b\"", "\"a b\"" },
	{ "SELECT 0", "OK" },
	{ "GET none", "(nil)" },
	{ "SET one 1", "OK" },
	{ "GET one", "\"1\"" },
	{ "SET one uno", "OK" },
	{ "GET one", "\"uno\"" },
	{ "SET one again NX", "(nil)" },
	{ "SET two \"\" NX", "OK" },
	{ "GET two", "\"\"" },
	{ "STRLEN one", "(integer) 3" },
	{ "STRLEN two", "(integer) 0" },
	{ "STRLEN none", "(integer) 0" },
	{ "EXISTS one", "(integer) 1" },
	{ "EXISTS none", "(integer) 0" },
	{ "EXISTS one two none one", "(integer) 3" },
	{ "MSET three 3 four \"\\x00\\r\\n\\xff\" five 5", "OK" },
	{ "GET four", "\"\\\\x00\\\\r\\\\n\\\\xff\"" },
	{ "MGET three none five", "1) \"3\"\n2) (nil)\n3) \"5\"" },
	{ "DBSIZE", "(integer) 5" },
	{ "TTL one", "(integer) -1" },
	{ "PTTL one", "(integer) -1" },
	{ "TTL none", "(integer) -2" },
	{ "PTTL none", "(integer) -2" },
	{ "SET brief x EX 1000", "OK" },
	{ "TTL brief", "(integer) [0-9]*" },
	{ "PTTL brief", "(integer) [0-9]*" },
	{ "SET brief x PX 1000000", "OK" },
	{ "TTL brief", "(integer) [0-9]*" },
	{ "SET brief y", "OK" },
	{ "TTL brief", "(integer) -1" },
	{ "EXPIRE brief 1000", "(integer) 1" },
	{ "TTL brief", "(integer) [0-9]*" },
	{ "EXPIRE none 1000", "(integer) 0" },
	{ "EXPIRE brief -1", "(integer) 1" },
	{ "GET brief", "(nil)" },
	{ "SET brief x EX 0", "(error) ERR*" },
	{ "DEL one none", "(integer) 1" },
	{ "DEL one", "(integer) 0" },
	{ "UNLINK two three none", "(integer) 2" },
	{ "DBSIZE", "(integer) 2" },
	{ "SCAN 0 MATCH fiv* COUNT 1000", "1) \"[0-9]*\"\n2) *" },
	{ "MEMORY USAGE five", "(integer) [0-9]*" },
	{ "MEMORY USAGE none", "(nil)" },
	{ "CLIENT SETNAME tester", "OK" },
	{ "CLIENT GETNAME", "\"tester\"" },
	{ "CLIENT ID", "(integer) [0-9]*" },
	{ "NOSUCHCOMMAND a b", "(error) ERR unknown command*" },
	{ "GET", "(error) ERR wrong number of arguments*" },
	{ "SET one", "(error) ERR wrong number of arguments*" },
	{ "SET one 1 EX", "(error) ERR syntax error*" },
	{ "SELECT 1000", "(error) ERR*" },
	{ "PING still", "\"still\"" },
	{ "FLUSHDB", "OK" },
	{ "DBSIZE", "(integer) 0" },
	{ "EXISTS five", "(integer) 0" },
};

static const struct talk talk_second[] = {
	{ "CONFIG GET save", "1) \"save\"\n2) \"*\"" },
	{ "CONFIG GET appendonly", "1) \"appendonly\"\n2) \"no\"" },
};

static const struct talk talk_third[] = {
	{ "CONFIG GET save", "1# \"save\" => \"*\"" },
	{ "CONFIG GET appendonly", "1# \"appendonly\" => \"no\"" },
};

/* Empty lines, which redis-cli prints after errors, are nothing, and neither is
 * how long an answer took, which it prints where that was half a second. */
static bool says_nothing(const char *line)
{
	return !*line || fnmatch("([0-9]*.[0-9][0-9]s)", line, 0) == 0;
}

/* Whether `out` begins with these lines; *out then stands behind them. */
static void talk_hear(char **out, const struct talk *t)
{
	char hear[256], *want, *keep, *line;

	snprintf(hear, sizeof(hear), "%s", t->hear);
	for (want = strtok_r(hear, "\n", &keep); want;
	     want = strtok_r(NULL, "\n", &keep)) {
		do
			line = strsep(out, "\n");
		while (line && says_nothing(line));
		if (!line)
			FAIL("%s: no answer", t->say);
		line += strspn(line, " ");
		if (fnmatch(want, line, 0) != 0)
			FAIL("%s: %s instead of %s", t->say, line, want);
	}
}

static void talk_say(char *text, size_t cap, const struct talk *t, size_t n)
{
	size_t at = strlen(text);

	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, cap - at, "%s\n", t[i].say);
	CHECK_INT(at, <, cap);
}

#define N(table_) (sizeof(table_) / sizeof((table_)[0]))

static void talk_all(const char *version, const struct talk *more, size_t n)
{
	struct resp_at s;
	char text[8192] = "", *out;
	struct run r;

	tool_need("redis-cli");
	resp_at_open(&s, false);
	talk_say(text, sizeof(text), talk_both, N(talk_both));
	talk_say(text, sizeof(text), more, n);
	r = tool_run((const char *const[]){ "redis-cli", "-h", s.host, "-p",
					    s.port, version, "--no-raw", NULL },
		     text, strlen(text));
	CHECK_INT(r.status, ==, 0);
	out = r.out;
	for (size_t i = 0; i < N(talk_both); i++)
		talk_hear(&out, &talk_both[i]);
	for (size_t i = 0; i < n; i++)
		talk_hear(&out, &more[i]);
	run_free(&r);
	resp_at_close(&s);
}

TEST(redis_cli_says_each_command)
{
	talk_all("-2", talk_second, N(talk_second));
}

TEST(redis_cli_says_each_command_in_resp3)
{
	talk_all("-3", talk_third, N(talk_third));
}

/* Long answers: something that must be in them. */
static void cli_tells(const struct resp_at *s, const char *const *words,
		      const char *what)
{
	const char *all[16] = { "redis-cli", "-h", s->host, "-p", s->port };
	size_t n = 5;
	struct run r;

	for (; *words && n < 15; words++)
		all[n++] = *words;
	r = tool_run(all, NULL, 0);
	CHECK_INT(r.status, ==, 0);
	if (!strstr(r.out, what))
		FAIL("%s: no %s in %s", all[5], what, r.out);
	run_free(&r);
}

#define TELLS(s_, what_, ...) \
	cli_tells(s_, (const char *const[]){ __VA_ARGS__, NULL }, what_)

TEST(redis_cli_asks_about_the_server)
{
	struct resp_at s;

	tool_need("redis-cli");
	resp_at_open(&s, false);
	TELLS(&s, "redis_version:", "INFO");
	TELLS(&s, "# Server", "INFO", "server");
	TELLS(&s, "connected_clients:", "INFO", "clients");
	TELLS(&s, "used_memory:", "INFO", "memory");
	TELLS(&s, "get", "COMMAND");
	TELLS(&s, "readonly", "COMMAND", "INFO", "get");
	TELLS(&s, "version", "HELLO");
	TELLS(&s, "proto 3", "HELLO", "3");
	TELLS(&s, "NOPROTO", "HELLO", "4");
	TELLS(&s, "id=", "CLIENT", "LIST");
	TELLS(&s, "OK", "CLIENT", "SETNAME", "x");
	TELLS(&s, "OK", "QUIT");
	resp_at_close(&s);
}

static unsigned lines_of(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

TEST(redis_cli_scans)
{
	struct resp_at s;
	char text[1 << 16] = "";
	size_t at = 0;
	struct run r;

	tool_need("redis-cli");
	resp_at_open(&s, false);
	for (unsigned i = 0; i < 1000; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       "SET key:%u %u\n", i, i);
	r = tool_run((const char *const[]){ "redis-cli", "-h", s.host, "-p",
					    s.port, NULL },
		     text, at);
	CHECK_INT(r.status, ==, 0);
	run_free(&r);
	r = TOOL("redis-cli", "-h", s.host, "-p", s.port, "--scan");
	CHECK_INT(lines_of(r.out), ==, 1000);
	run_free(&r);
	r = TOOL("redis-cli", "-h", s.host, "-p", s.port, "--scan", "--pattern",
		 "key:99*");
	CHECK_INT(lines_of(r.out), ==, 11); /* 99, 990 to 999 */
	run_free(&r);
	resp_at_close(&s);
}

TEST(redis_cli_pipes_a_hundred_thousand_commands)
{
	const unsigned n = 100000;
	size_t cap = n * 64, at = 0;
	struct resp_at s;
	struct run r;
	char *text;

	tool_need("redis-cli");
	text = malloc(cap);
	CHECK(text != NULL);
	for (unsigned i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, cap - at,
				       "*3\r\n$3\r\nSET\r\n$7\r\nk%06u\r\n"
				       "$6\r\n%06u\r\n",
				       i % 5000, i);
	resp_at_open(&s, false);
	r = tool_run((const char *const[]){ "redis-cli", "-h", s.host, "-p",
					    s.port, "--pipe", NULL },
		     text, at);
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "errors: 0, replies: 100000") != NULL);
	run_free(&r);
	TELLS(&s, "099999", "GET", "k004999");
	TELLS(&s, "5000", "DBSIZE");
	free(text);
	resp_at_close(&s);
}

/* ---- redis-benchmark */

static void benchmark(const char *tests, const char *bytes, const char *n,
		      const char *pipeline)
{
	struct resp_at s;
	struct run r;

	tool_need("redis-benchmark");
	resp_at_open(&s, false);
	r = TOOL("redis-benchmark", "-h", s.host, "-p", s.port, "-t", tests,
		 "-n", n, "-d", bytes, "-P", pipeline, "-c", "20", "-r", "50",
		 "-q");
	CHECK_INT(r.status, ==, 0);
	if (!strstr(r.out, "requests per second") || strstr(r.out, "rror") ||
	    strstr(r.err, "rror"))
		FAIL("%s", r.out);
	run_free(&r);
	/* without -q it asks for parameters and prints them */
	r = TOOL("redis-benchmark", "-h", s.host, "-p", s.port, "-t", "get",
		 "-n", "1000", "-c", "4");
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "throughput summary") != NULL);
	run_free(&r);
	resp_at_close(&s);
}

TEST(redis_benchmark_of_small_values)
{
	benchmark("ping,set,get,mset", "64", "20000", "16");
}

TEST(redis_benchmark_of_a_mebibyte)
{
	benchmark("set,get", "1048576", "400", "4");
}

/* ---- libraries */

static const char *client_path(const char *name)
{
	static char path[512];
	const char *folder = getenv("ONECOPY_CLIENTS");

	if (!folder)
		SKIP("ONECOPY_CLIENTS does not name tests/clients");
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* Told no server, a client says only whether it has what it needs. */
static void client_passes(const char *runs, const char *script)
{
	struct resp_at s;
	struct run r;

	tool_need(runs);
	r = TOOL(runs, script);
	CHECK_INT(r.status, ==, 0);
	run_free(&r);
	resp_at_open(&s, false);
	r = TOOL(runs, script, s.host, s.port);
	if (r.status != 0)
		FAIL("%s: status %d: %s", script, r.status, r.out);
	run_free(&r);
	resp_at_close(&s);
}

TEST(hiredis)
{
	const char *path = getenv("ONECOPY_CLIENT_HIREDIS");
	struct resp_at s;
	struct run r;

	if (!path)
		SKIP("built without hiredis (libhiredis-dev)");
	resp_at_open(&s, false);
	r = TOOL(path, s.host, s.port);
	if (r.status != 0)
		FAIL("status %d: %s", r.status, r.out);
	run_free(&r);
	resp_at_close(&s);
}

/* Debian's python, which has Debian's python3-redis. */
TEST(redis_py_as_lmcache_uses_it)
{
	client_passes("/usr/bin/python3", client_path("redis_py.py"));
}

TEST(ioredis)
{
	client_passes("node", client_path("ioredis.js"));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RESP door of a real node: the exact bytes of its answers. The same
 * requests to redis-server, where there is one, have the same answers.
 */
#include "tests/prog/respc.h"

#include <fcntl.h>
#include "prog/listen.h"

struct say {
	const char *request,
		*answer; /* answer NULL: only compared with Redis */
	bool own;	 /* ours differs from Redis's on purpose */
};

#define WRONG_N(name_) \
	"-ERR wrong number of arguments for '" name_ "' command\r\n"
#define NOT_INT "-ERR value is not an integer or out of range\r\n"
#define SYNTAX	"-ERR syntax error\r\n"

/* In this order: each sees what those before it left. */
static const struct say says[] = {
	{ "PING", "+PONG\r\n", 0 },
	{ "ping hello", "$5\r\nhello\r\n", 0 },
	{ "PING a b", WRONG_N("ping"), 0 },
	{ "ECHO \"a\\x00b\"", NULL, 0 },
	{ "ECHO", WRONG_N("echo"), 0 },
	{ "GET a", "$-1\r\n", 0 },
	{ "GET", WRONG_N("get"), 0 },
	{ "GET a b", WRONG_N("get"), 0 },
	{ "SET a 1", "+OK\r\n", 0 },
	{ "SET a", WRONG_N("set"), 0 },
	{ "GET a", "$1\r\n1\r\n", 0 },
	{ "SET a \"\"", "+OK\r\n", 0 },
	{ "GET a", "$0\r\n\r\n", 0 },
	{ "STRLEN a", ":0\r\n", 0 },
	{ "STRLEN none", ":0\r\n", 0 },
	{ "EXISTS a a none", ":2\r\n", 0 },
	{ "TYPE a", "+string\r\n", 0 },
	{ "TYPE none", "+none\r\n", 0 },
	{ "SET a 2 NX", "$-1\r\n", 0 },
	{ "SET a 2 XX", "+OK\r\n", 0 },
	{ "SET none 2 XX", "$-1\r\n", 0 },
	{ "EXISTS none", ":0\r\n", 0 },
	{ "SET a 3 NX XX", SYNTAX, 0 },
	{ "SET a 3 EX", SYNTAX, 0 },
	{ "SET a 3 EX 1 PX 1", SYNTAX, 0 },
	{ "SET a 3 EX 10 KEEPTTL", SYNTAX, 0 },
	{ "SET a 3 BOGUS", SYNTAX, 0 },
	{ "SET a 3 EX x", NOT_INT, 0 },
	{ "SET a 3 EX 0", "-ERR invalid expire time in 'set' command\r\n", 0 },
	{ "SET a 3 EX -1", "-ERR invalid expire time in 'set' command\r\n", 0 },
	{ "SET a 3 EX 9223372036854775807",
	  "-ERR invalid expire time in 'set' command\r\n", 0 },
	{ "GET a", "$1\r\n2\r\n", 0 },
	{ "TTL a", ":-1\r\n", 0 },
	{ "PTTL none", ":-2\r\n", 0 },
	{ "SET a 4 EX 1000", "+OK\r\n", 0 },
	{ "TTL a", ":1000\r\n", 0 },
	{ "SET a 5 KEEPTTL", "+OK\r\n", 0 },
	{ "TTL a", ":1000\r\n", 0 },
	{ "SET a 6", "+OK\r\n", 0 },
	{ "TTL a", ":-1\r\n", 0 },
	{ "SET a 7 PX 900000", "+OK\r\n", 0 },
	{ "TTL a", ":900\r\n", 0 },
	{ "SET a 7 EXAT 99999999999", "+OK\r\n", 0 },
	{ "PERSIST a", ":1\r\n", 0 },
	{ "PERSIST a", ":0\r\n", 0 },
	{ "PERSIST none", ":0\r\n", 0 },
	{ "SETEX a 500 v", "+OK\r\n", 0 },
	{ "TTL a", ":500\r\n", 0 },
	{ "SETEX a 0 v", "-ERR invalid expire time in 'setex' command\r\n", 0 },
	{ "SETEX a x v", NOT_INT, 0 },
	{ "PSETEX a 700000 w", "+OK\r\n", 0 },
	{ "PSETEX a -5 w", "-ERR invalid expire time in 'psetex' command\r\n",
	  0 },
	{ "TTL a", ":700\r\n", 0 },
	{ "SETNX a z", ":0\r\n", 0 },
	{ "SETNX b z", ":1\r\n", 0 },
	{ "EXPIRE a 300", ":1\r\n", 0 },
	{ "TTL a", ":300\r\n", 0 },
	{ "PEXPIRE a 200000", ":1\r\n", 0 },
	{ "TTL a", ":200\r\n", 0 },
	{ "GET a", "$1\r\nw\r\n", 0 },
	{ "EXPIRE none 300", ":0\r\n", 0 },
	{ "EXPIRE a x", NOT_INT, 0 },
	{ "EXPIRE a 5 BOGUS", "-ERR Unsupported option BOGUS\r\n", 0 },
	{ "EXPIRE a 9223372036854775807",
	  "-ERR invalid expire time in 'expire' command\r\n", 0 },
	{ "EXPIRE b 0", ":1\r\n", 0 },
	{ "EXISTS b", ":0\r\n", 0 },
	{ "EXPIRE a -1", ":1\r\n", 0 },
	{ "EXPIRE a -1", ":0\r\n", 0 },
	{ "MSET x 1 y 2 x 3", "+OK\r\n", 0 },
	{ "MSET x 1 y", WRONG_N("mset"), 0 },
	{ "MGET x none y x", "*4\r\n$1\r\n3\r\n$-1\r\n$1\r\n2\r\n$1\r\n3\r\n",
	  0 },
	{ "MGET", WRONG_N("mget"), 0 },
	{ "DBSIZE", ":2\r\n", 0 },
	{ "DEL x x none", ":1\r\n", 0 },
	{ "UNLINK y", ":1\r\n", 0 },
	{ "DBSIZE", ":0\r\n", 0 },
	{ "SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n", 0 },
	{ "SCAN x", "-ERR invalid cursor\r\n", 0 },
	{ "SCAN 0 COUNT 0", SYNTAX, 0 },
	{ "SCAN 0 COUNT x", NOT_INT, 0 },
	{ "SCAN 0 COUNT", SYNTAX, 0 },
	{ "SCAN 0 BOGUS 1", SYNTAX, 0 },
	{ "SET only 1", "+OK\r\n", 0 },
	{ "SCAN 0 MATCH on* COUNT 1000",
	  "*2\r\n$1\r\n0\r\n*1\r\n$4\r\nonly\r\n", 0 },
	{ "SCAN 0 MATCH x* COUNT 1000", "*2\r\n$1\r\n0\r\n*0\r\n", 0 },
	{ "SCAN 0 TYPE string COUNT 1000",
	  "*2\r\n$1\r\n0\r\n*1\r\n$4\r\nonly\r\n", 0 },
	{ "SCAN 0 TYPE hash COUNT 1000", "*2\r\n$1\r\n0\r\n*0\r\n", 0 },
	{ "FLUSHDB BOGUS", SYNTAX, 0 },
	{ "FLUSHDB ASYNC", "+OK\r\n", 0 },
	{ "FLUSHALL SYNC", "+OK\r\n", 0 },
	{ "DBSIZE", ":0\r\n", 0 },
	{ "MEMORY USAGE none", "$-1\r\n", 0 },
	{ "SELECT 0", "+OK\r\n", 0 },
	{ "SELECT 99", "-ERR DB index is out of range\r\n", 0 },
	{ "SELECT x", NOT_INT, 0 },
	{ "CLIENT GETNAME", "$-1\r\n", 1 }, /* Redis 7.0: the same; 7.2: "" */
	{ "CLIENT SETNAME me", "+OK\r\n", 0 },
	{ "CLIENT GETNAME", "$2\r\nme\r\n", 0 },
	{ "CLIENT SETNAME \"a b\"",
	  "-ERR Client names cannot contain spaces, newlines or special "
	  "characters.\r\n",
	  0 },
	{ "CLIENT SETINFO LIB-NAME x", "+OK\r\n", 1 },
	{ "CLIENT BOGUS",
	  "-ERR unknown subcommand 'BOGUS'. Try CLIENT HELP.\r\n", 0 },
	{ "CLIENT SETNAME", WRONG_N("client|setname"), 0 },
	{ "CLIENT", WRONG_N("client"), 0 },
	{ "CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n", 1 },
	{ "CONFIG GET", WRONG_N("config|get"), 0 },
	{ "CONFIG BOGUS",
	  "-ERR unknown subcommand 'BOGUS'. Try CONFIG HELP.\r\n", 0 },
	{ "CONFIG GET bogus", "*0\r\n", 0 },
	{ "COMMAND INFO bogus", "*1\r\n$-1\r\n", 1 },
	{ "COMMAND BOGUS",
	  "-ERR unknown subcommand 'BOGUS'. Try COMMAND HELP.\r\n", 0 },
	{ "BOGUS a b",
	  "-ERR unknown command 'BOGUS', with args beginning with: 'a' 'b' "
	  "\r\n",
	  0 },
	{ "BOGUS",
	  "-ERR unknown command 'BOGUS', with args beginning with: "
	  "\r\n",
	  0 },
	{ "AUTH pw",
	  "-ERR AUTH <password> called without any password configured for "
	  "the default user. Are you sure your configuration is correct?\r\n",
	  0 },
	{ "AUTH default anything", "+OK\r\n", 0 },
	{ "AUTH other pw",
	  "-WRONGPASS invalid username-password pair or user is "
	  "disabled.\r\n",
	  0 },
	{ "AUTH", WRONG_N("auth"), 0 },
	{ "AUTH a b c", SYNTAX, 0 },
	{ "HELLO 4", "-NOPROTO unsupported protocol version\r\n", 0 },
	{ "HELLO x",
	  "-ERR Protocol version is not an integer or out of range\r\n", 0 },
	{ "HELLO 2 BOGUS", "-ERR Syntax error in HELLO option 'BOGUS'\r\n", 0 },
	{ "TIME x", WRONG_N("time"), 0 },
	{ "QUIT", "+OK\r\n", 0 },
};

/* The same in RESP3. */
static const struct say says3[] = {
	{ "GET none", "_\r\n", 0 },
	{ "MGET none none", "*2\r\n_\r\n_\r\n", 0 },
	{ "SET a 1 XX", "_\r\n", 0 },
	{ "MEMORY USAGE none", "_\r\n", 0 },
	{ "CONFIG GET bogus", "%0\r\n", 0 },
	{ "COMMAND DOCS bogus", "%0\r\n", 0 },
	{ "SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n", 0 },
	{ "RESET", "+RESET\r\n", 0 },
	{ "GET none", "$-1\r\n", 0 },
};

static void play_says(struct respc *c, const struct say *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len;
		const char *at;

		respc_say(c, s[i].request);
		respc_say(c, "\r\n");
		at = respc_answer(c, &len);
		CHECK(at != NULL);
		if (s[i].answer && (len != strlen(s[i].answer) ||
				    memcmp(at, s[i].answer, len) != 0))
			FAIL("%s: \"%.*s\" instead of \"%s\"", s[i].request,
			     (int)MIN(len, 300u), at, s[i].answer);
	}
}

static void answers(const char *backend)
{
	struct respc *c;
	struct live n;

	RESPC_NODE(&n, NULL, "--dram", "64M", "--backend", backend);
	c = respc_open(respc_port(&n));
	play_says(c, says, ARRAY_LEN(says));
	respc_await_end(c); /* QUIT */
	respc_close(c);
	c = respc_open(respc_port(&n));
	RESPC(c, "HELLO", "3");
	CHECK_INT(respc_answer(c, &(size_t){ 0 })[0], ==, '%');
	play_says(c, says3, ARRAY_LEN(says3));
	respc_close(c);
	live_stop(&n);
}

TEST(answers_are_exact_uring)
{
	answers("uring");
}

TEST(answers_are_exact_epoll)
{
	answers("epoll");
}

/* ---- beside Redis */

static pid_t start_redis(uint16_t *ret_port)
{
	char port[16];
	pid_t pid;
	int fd;

	CHECK_OK(listen_any(&fd, ret_port));
	close(fd);
	snprintf(port, sizeof(port), "%u", *ret_port);
	pid = fork();
	CHECK_INT(pid, >=, 0);
	if (pid == 0) {
		int out = open("/dev/null", O_WRONLY | O_CLOEXEC);

		dup2(out, 1); /* words: the program's own output */
		execlp("redis-server", "redis-server", "--port", port, "--bind",
		       "127.0.0.1", "--save", "", NULL);
		_exit(127);
	}
	return pid;
}

static struct respc *meet(pid_t pid, uint16_t port)
{
	struct live_wait w = { 0 };

	for (;;) {
		struct respc *c = respc_try_open(port);

		if (c)
			return c;
		if (waitpid(pid, NULL, WNOHANG) == pid)
			SKIP("there is no redis-server");
		live_pause(NULL, &w, "redis-server");
	}
}

static void compare(struct respc *redis, const struct say *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *at;
		size_t len;

		respc_say(redis, s[i].request);
		respc_say(redis, "\r\n");
		at = respc_answer(redis, &len);
		CHECK(at != NULL);
		if (s[i].own || !s[i].answer)
			continue;
		if (len != strlen(s[i].answer) ||
		    memcmp(at, s[i].answer, len) != 0)
			FAIL("%s: Redis says \"%.*s\", not \"%s\"",
			     s[i].request, (int)MIN(len, 300u), at,
			     s[i].answer);
	}
}

TEST(redis_answers_the_same)
{
	uint16_t port;
	pid_t pid = start_redis(&port);
	struct respc *c = meet(pid, port);

	compare(c, says, ARRAY_LEN(says));
	respc_await_end(c);
	respc_close(c);
	c = meet(pid, port);
	RESPC(c, "HELLO", "3");
	CHECK_INT(respc_answer(c, &(size_t){ 0 })[0], ==, '%');
	compare(c, says3, ARRAY_LEN(says3));
	respc_close(c);
	kill(pid, SIGTERM);
	CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
}

/* ---- what has no one answer */

TEST(tells_of_itself)
{
	struct respc *c;
	struct live n;
	const char *at;
	size_t len;

	RESPC_NODE(&n, NULL, "--dram", "64M");
	c = respc_open(respc_port(&n));
	RESPC(c, "COMMAND", "COUNT");
	CHECK_INT(respc_int(c), >, 30);
	RESPC(c, "CLIENT", "ID");
	CHECK_INT(respc_int(c), >, 0);
	RESPC(c, "INFO", "server");
	at = respc_answer(c, &len);
	CHECK(at && memmem(at, len, "\r\nredis_version:7.", 17));
	CHECK(!memmem(at, len, "# Keyspace", 10));
	RESPC(c, "HELLO", "3", "SETNAME", "somebody");
	at = respc_answer(c, &len);
	CHECK(at && memcmp(at, "%7\r\n$6\r\nserver\r\n", 16) == 0);
	RESPC(c, "INFO");
	at = respc_answer(c, &len);
	CHECK(at && *at == '='); /* text for people */
	CHECK(memmem(at, len, "\r\ntxt:# Server\r\n", 16));
	RESPC(c, "CLIENT", "LIST");
	at = respc_answer(c, &len);
	CHECK(at && *at == '=' && memmem(at, len, "name=somebody", 13));
	RESPC(c, "CLIENT", "INFO");
	at = respc_answer(c, &len);
	CHECK(at && *at == '=' && memmem(at, len, "resp=3", 6));
	RESPC(c, "TIME");
	at = respc_answer(c, &len);
	CHECK(at && memcmp(at, "*2\r\n$10\r\n", 9) == 0);
	RESPC(c, "COMMAND");
	at = respc_answer(c, &len);
	CHECK(at && *at == '*' && len > 1000);
	respc_close(c);
	live_stop(&n);
}

/* ---- not RESP */

static const struct say wrongs[] = {
	{ "*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n", 0 },
	{ "*99999\r\n", "-ERR Protocol error: invalid multibulk length\r\n",
	  0 },
	{ "*1\r\n:1\r\n", "-ERR Protocol error: expected '$'\r\n", 0 },
	{ "*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length\r\n", 0 },
	{ "*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n", 0 },
	{ "*1\r\n$536870913\r\n",
	  "-ERR Protocol error: invalid bulk length\r\n", 0 },
	{ "*1\r\n$4\r\nPINGxx",
	  "-ERR Protocol error: expected CRLF after a bulk\r\n", 0 },
	{ "GET \"a\r\n",
	  "-ERR Protocol error: unbalanced quotes in request\r\n", 0 },
	{ "POST / HTTP/1.1\r\n",
	  "-ERR Protocol error: this is not an HTTP server\r\n", 0 },
};

TEST(what_is_not_resp_is_told_so)
{
	struct live n;

	RESPC_NODE(&n, NULL, "--dram", "64M");
	for (size_t i = 0; i < ARRAY_LEN(wrongs); i++) {
		struct respc *c = respc_open(respc_port(&n));

		respc_say(c, "PING\r\n\r\n*0\r\n*-1\r\n");
		respc_say(c, wrongs[i].request);
		respc_expect(c, "+PONG\r\n");
		respc_expect(c, wrongs[i].answer);
		respc_await_end(c);
		respc_close(c);
	}
	live_stop(&n);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the RESP door gives at most, to whom, and what it says then. */
#include "tests/prog/respc.h"

#include <sys/resource.h>

static void set_many(struct respc *c, unsigned n, size_t name_len)
{
	char *name = malloc(name_len + 1);

	CHECK(name);
	memset(name, 'n', name_len);
	name[name_len] = '\0';
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, 16, "%015u", i);
		if (name_len > 15)
			name[15] = 'n';
		RESPC(c, "SET", name, "v");
	}
	for (unsigned i = 0; i < n; i++)
		respc_expect(c, "+OK\r\n");
	free(name);
}

/* A walk's step is bounded by bytes as well: names may be long. */
TEST(a_step_of_a_scan_is_not_too_large)
{
	struct respc *c;
	struct live n;
	size_t len;

	RESPC_NODE(&n, NULL, "--dram", "128M");
	c = respc_open(respc_port(&n));
	set_many(c, 500, 16000);
	RESPC(c, "SCAN", "0", "COUNT", "10000");
	CHECK(respc_answer(c, &len) != NULL);
	CHECK_INT(len, >, 16000);
	CHECK_INT(len, <, MIB);
	respc_close(c);
	live_stop(&n);
}

TEST(what_follows_a_long_value_must_end_its_line)
{
	struct respc *c;
	struct live n;

	RESPC_NODE(&n, NULL, "--dram", "64M");
	for (unsigned many = 0; many < 2; many++) {
		char *value = malloc(20002);

		CHECK(value);
		memset(value, 'v', 20002);
		c = respc_open(respc_port(&n));
		respc_say(c, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$20000\r\n");
		respc_send(c, value, 20002);
		respc_expect(c, "-ERR Protocol error: expected CRLF after a "
				"bulk\r\n");
		respc_await_end(c);
		respc_close(c);
		free(value);
	}
	c = respc_open(respc_port(&n));
	RESPC_IS(c, ":0\r\n", "EXISTS", "a");
	respc_close(c);
	live_stop(&n);
}

/* More than one tick's work: others are served in between, what comes behind in
 * the pipeline waits, and who goes away is not missed. */
TEST(a_flush_of_many_names)
{
	struct respc *c, *also, *gone;
	oc_client *own;
	struct live n;

	RESPC_NODE(&n, NULL, "--dram", "256M");
	own = live_connect(&n);
	c = respc_open(respc_port(&n));
	also = respc_open(respc_port(&n));
	for (unsigned round = 0; round < 2; round++) {
		set_many(c, 70000, 15);
		RESPC_IS(c, ":70000\r\n", "DBSIZE");
		gone = respc_open(respc_port(&n));
		respc_say(gone, "FLUSHDB\r\n");
		if (round)
			respc_close(gone);
		respc_say(c, "FLUSHDB\r\nDBSIZE\r\nSET a b\r\nDBSIZE\r\n");
		respc_say(also, "FLUSHDB\r\nPING\r\n");
		respc_expect(c, "+OK\r\n");
		respc_expect(c, ":0\r\n");
		respc_expect(c, "+OK\r\n");
		respc_expect(also, "+OK\r\n");
		respc_expect(also, "+PONG\r\n");
		CHECK_INT(respc_int(c), <=, 1);
		if (!round) {
			respc_expect(gone, "+OK\r\n");
			respc_close(gone);
		}
		LIVE_WAIT(&n, respc_counter(own, "connections_now") == 2);
		RESPC_IS(c, "+OK\r\n", "FLUSHDB");
	}
	live_check(own);
	respc_close(c);
	respc_close(also);
	oc_client_close(own);
	live_stop(&n);
}

/* Half a command of somebody who did not say who it is. */
TEST(nobody_gets_no_memory)
{
	char word[16000];
	struct respc *c;
	struct live n;

	RESPC_NODE(&n,
		   "dram: 64M\n"
		   "resp:\n"
		   "  stall: 1h\n"
		   "  password: the-default-password\n",
		   NULL);
	memset(word, 'w', sizeof(word));
	c = respc_open(respc_port(&n));
	respc_say(c, "*100\r\n");
	for (unsigned i = 0; i < 60 && !c->ended; i++) {
		respc_try_send(c, "$16000\r\n", 8);
		respc_try_send(c, word, sizeof(word));
		respc_try_send(c, "\r\n", 2);
	}
	respc_await_end(c);
	respc_close(c);
	/* others may */
	c = respc_open(respc_port(&n));
	RESPC_IS(c, "+OK\r\n", "AUTH", "the-default-password");
	respc_say(c, "*61\r\n$6\r\nEXISTS\r\n");
	for (unsigned i = 0; i < 60; i++) {
		respc_say(c, "$16000\r\n");
		respc_send(c, word, sizeof(word));
		respc_say(c, "\r\n");
	}
	respc_expect(c, ":0\r\n");
	respc_close(c);
	live_stop(&n);
}

/* Halves of commands take memory that others need: who stands still is ended
 * sooner then. */
TEST(halves_of_commands_are_ended_when_it_gets_crowded)
{
	struct respc *bad[40], *c;
	char word[16000];
	oc_client *own;
	struct live n;

	RESPC_NODE(&n, "dram: 64M\nresp:\n  stall: 24h\n", NULL);
	own = live_connect(&n);
	c = respc_open(respc_port(&n));
	memset(word, 'w', sizeof(word));
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		bad[i] = respc_open(respc_port(&n));
		respc_say(bad[i], "*100\r\n");
		for (unsigned j = 0; j < 60; j++) {
			respc_say(bad[i], "$16000\r\n");
			respc_send(bad[i], word, sizeof(word));
			respc_say(bad[i], "\r\n");
		}
	}
	LIVE_WAIT(&n, respc_counter(own, "stalled") > 0);
	respc_set(c, "k", 1, 300000);
	CHECK_INT(respc_get(c, "k", 1, 300000), ==, 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		respc_close(bad[i]);
	LIVE_WAIT(&n, respc_counter(own, "connections_now") == 1);
	respc_close(c);
	oc_client_close(own);
	live_stop(&n);
}

/* No descriptors for more: those who are there go on, and others come later. */
static void no_descriptors(const char *backend)
{
	struct respc *c, *more[40];
	struct rlimit limit, few;
	oc_client *own;
	struct live n;
	pid_t server;

	/* a password: looking for a peer's user takes a descriptor too */
	RESPC_NODE(&n, "dram: 64M\nresp:\n  password: the-default-password\n",
		   "--backend", backend);
	own = live_connect(&n);
	server = live_server(own);
	c = respc_open(respc_port(&n));
	RESPC_IS(c, "+OK\r\n", "AUTH", "the-default-password");
	respc_set(c, "k", 1, 100000);
	CHECK_OK(prlimit(server, RLIMIT_NOFILE, NULL, &limit));
	few = limit;
	few.rlim_cur = live_fds(server) + 10;
	CHECK_OK(prlimit(server, RLIMIT_NOFILE, &few, NULL));
	for (unsigned i = 0; i < ARRAY_LEN(more); i++)
		more[i] = respc_open(respc_port(&n));
	for (unsigned i = 0; i < 100; i++)
		CHECK_INT(respc_get(c, "k", 1, 100000), ==, 0);
	CHECK_INT(respc_counter(own, "connections_now"), <, 20);
	/* the first came in; each that ends makes room for the next */
	for (unsigned i = 0; i < ARRAY_LEN(more); i++) {
		RESPC_IS(more[i], "+OK\r\n", "AUTH", "the-default-password");
		respc_close(more[i]);
	}
	LIVE_WAIT(&n, respc_counter(own, "connections_now") == 1);
	CHECK_OK(prlimit(server, RLIMIT_NOFILE, &limit, NULL));
	respc_close(c);
	oc_client_close(own);
	live_stop(&n);
}

TEST(no_descriptors_uring)
{
	no_descriptors("uring");
}

TEST(no_descriptors_epoll)
{
	no_descriptors("epoll");
}

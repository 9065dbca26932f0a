/* SPDX-License-Identifier: Apache-2.0 */
/* Peers of the RESP door that stand still, vanish, or ask for everything. */
#include "tests/prog/respc.h"

#include <sys/socket.h>

struct scene {
	struct live n;
	oc_client *own;
	struct respc *c; /* somebody who behaves */
};

static void begin(struct scene *s, const char *backend, const char *yaml)
{
	RESPC_NODE(&s->n, yaml, "--backend", backend);
	s->own = live_connect(&s->n);
	s->c = respc_open(respc_port(&s->n));
	RESPC_IS(s->c, "+PONG\r\n", "PING");
}

static struct respc *another(struct scene *s)
{
	return respc_open(respc_port(&s->n));
}

static uint64_t counter(struct scene *s, const char *name)
{
	return respc_counter(s->own, name);
}

/* Only the one who behaves is there, and nothing of the others. */
static void alone(struct scene *s)
{
	LIVE_WAIT(&s->n, counter(s, "connections_now") == 1);
	LIVE_WAIT(&s->n, live_counter(s->own, "granted") == 0);
	RESPC_IS(s->c, "+PONG\r\n", "PING");
}

static void end(struct scene *s)
{
	alone(s);
	live_check(s->own);
	respc_close(s->c);
	oc_client_close(s->own);
	live_stop(&s->n);
}

#define BOTH(name_)             \
	TEST(name_##_uring)     \
	{                       \
		name_("uring"); \
	}                       \
	TEST(name_##_epoll)     \
	{                       \
		name_("epoll"); \
	}                       \
	_Static_assert(1, "wants a semicolon")

/* ---- who does not read */

/* As much as the kernel takes; returns the number of whole requests. */
static unsigned stuff(struct respc *c, const char *request, unsigned most)
{
	size_t len = strlen(request), at = 0;
	unsigned n = 0;

	while (n < most) {
		ssize_t r = send(c->fd, request + at, len - at,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r < 0)
			break;
		at += (size_t)r;
		n += at == len;
		at %= len;
	}
	if (at) {
		respc_send(c, request + at, len - at);
		n++;
	}
	return n;
}

static void who_does_not_read_is_not_read_from(const char *backend)
{
	unsigned count = LIVE_N(300u);
	struct respc *bad;
	uint64_t before;
	struct scene s;

	begin(&s, backend, "dram: 64M\nresp:\n  stall: 1h\n");
	respc_set(s.c, "m", 1, MIB);
	bad = another(&s);
	before = respc_rss(live_server(s.own));
	CHECK_INT(stuff(bad, "GET m\r\n", count), ==, count);
	for (unsigned i = 0; i < 200; i++) {
		respc_set(s.c, "x", i, 20000);
		CHECK_INT(respc_get(s.c, "x", i, 20000), ==, 0);
	}
	CHECK_INT(respc_rss(live_server(s.own)), <, before + 32 * MIB);
	for (unsigned i = 0; i < count; i++)
		CHECK_INT(respc_value(bad, 1, MIB), ==, 0);
	respc_close(bad);
	end(&s);
}
BOTH(who_does_not_read_is_not_read_from);

static void short_answers_that_nobody_reads(const char *backend)
{
	struct respc *bad[4];
	unsigned count[4];
	uint64_t before;
	struct scene s;

	begin(&s, backend, "dram: 64M\nresp:\n  stall: 1h\n");
	respc_set(s.c, "k", 1, 10000);
	before = respc_rss(live_server(s.own));
	for (unsigned i = 0; i < 4; i++) {
		bad[i] = another(&s);
		count[i] = stuff(bad[i], "GET k\r\n", LIVE_N(20000u));
		CHECK_INT(count[i], >, 100);
	}
	RESPC_IS(s.c, "+PONG\r\n", "PING");
	CHECK_INT(respc_rss(live_server(s.own)), <, before + 32 * MIB);
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned n = 0; n < count[i]; n++)
			CHECK_INT(respc_value(bad[i], 1, 10000), ==, 0);
		respc_close(bad[i]);
	}
	end(&s);
}
BOTH(short_answers_that_nobody_reads);

/* It is ended in time; its pin and its memory are back. */
static void who_stops_in_the_middle_of_a_value(const char *backend)
{
	size_t big = LIVE_N(64u << 20);
	struct respc *bad;
	struct scene s;
	char some[65536];

	begin(&s, backend, "dram: 128M\nresp:\n  stall: 200ms\n");
	respc_set(s.c, "big", 1, big);
	bad = another(&s);
	respc_say(bad, "GET big\r\n");
	CHECK_INT(recv(bad->fd, some, sizeof(some), MSG_WAITALL), ==,
		  sizeof(some));
	RESPC_IS(s.c, ":1\r\n", "DEL", "big");
	LIVE_WAIT(&s.n, counter(&s, "stalled") == 1);
	LIVE_WAIT(&s.n, live_counter(s.own, "leaving") == 0);
	respc_await_end(bad);
	respc_close(bad);
	/* so there is room again */
	for (unsigned i = 0; i < 4; i++)
		respc_set(s.c, "big", i, big);
	CHECK_INT(respc_get(s.c, "big", 3, big), ==, 0);
	end(&s);
}
BOTH(who_stops_in_the_middle_of_a_value);

static void half_a_command_is_not_waited_for(const char *backend)
{
	static const char *const halves[] = {
		"*",
		"*2\r\n$3\r\nGE",
		"GET ",
		"*3\r\n$3\r\nSET\r\n$1\r\na\r\n",
		"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\n",
		"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\nabc",
	};
	struct respc *bad[ARRAY_LEN(halves)];
	struct scene s;

	begin(&s, backend, "dram: 64M\nresp:\n  stall: 200ms\n");
	for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
		bad[i] = another(&s);
		respc_say(bad[i], halves[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
		respc_await_end(bad[i]);
		respc_close(bad[i]);
	}
	LIVE_WAIT(&s.n, counter(&s, "stalled") == ARRAY_LEN(halves));
	end(&s); /* who only waits was not ended */
}
BOTH(half_a_command_is_not_waited_for);

static void one_byte_at_a_time(const char *backend)
{
	static const char request[] =
		"*3\r\n$3\r\nSET\r\n$2\r\nab\r\n$5\r\nvalue\r\n";
	struct respc *slow[50];
	struct scene s;

	begin(&s, backend, "dram: 64M\n");
	for (unsigned i = 0; i < ARRAY_LEN(slow); i++)
		slow[i] = another(&s);
	for (size_t at = 0; at < sizeof(request) - 1; at++) {
		for (unsigned i = 0; i < ARRAY_LEN(slow); i++)
			respc_send(slow[i], request + at, 1);
		respc_set(s.c, "x", at, 30000);
	}
	for (unsigned i = 0; i < ARRAY_LEN(slow); i++) {
		respc_expect(slow[i], "+OK\r\n");
		respc_close(slow[i]);
	}
	RESPC_IS(s.c, "$5\r\nvalue\r\n", "GET", "ab");
	end(&s);
}
BOTH(one_byte_at_a_time);

/* ---- who vanishes */

/* `n` bytes of a SET of a long value, and of an MSET with another before it. */
static void cut_at(struct scene *s, const char *request, size_t len, size_t n)
{
	struct respc *bad = another(s);

	CHECK_INT(n, <, len);
	respc_send(bad, request, n);
	CHECK_OK(shutdown(bad->fd, SHUT_WR));
	respc_await_end(bad);
	respc_close(bad);
	LIVE_WAIT(&s->n, counter(s, "connections_now") == 1);
	LIVE_WAIT(&s->n, live_counter(s->own, "granted") == 0);
	RESPC_IS(s->c, ":0\r\n", "EXISTS", "cut", "one");
	RESPC_IS(s->c, ":1\r\n", "DBSIZE"); /* "old", see below */
}

static size_t request_of(char *at, bool many, size_t value)
{
	size_t n = (size_t)snprintf(at, 100, "%s$3\r\ncut\r\n$%zu\r\n",
				    many ? "" : "*3\r\n$3\r\nSET\r\n", value);

	if (many) { /* a long value before it */
		char *tail = at + 30000;
		size_t tail_len = n;

		memcpy(tail, at, n);
		n = (size_t)snprintf(at, 100,
				     "*5\r\n$4\r\nMSET\r\n$3\r\none\r\n"
				     "$20000\r\n");
		memset(at + n, 'o', 20000);
		memcpy(at + n + 20000, "\r\n", 2);
		memmove(at + n + 20002, tail, tail_len);
		n += 20002 + tail_len;
	}
	memset(at + n, 'v', value);
	memcpy(at + n + value, "\r\n", 2);
	return n + value + 2;
}

static void a_set_that_is_cut_off_leaves_nothing(const char *backend)
{
	static const size_t value = 1000000;
	char *request = malloc(value + 60000);
	struct scene s;

	CHECK(request);
	begin(&s, backend, "dram: 64M\n");
	respc_set(s.c, "old", 1, 100);
	for (unsigned many = 0; many < 2; many++) {
		size_t len = request_of(request, many, value);
		size_t cuts[] = { 1,
				  len - value - 3,
				  len - value - 2,
				  len - value - 1,
				  len - value / 2,
				  len - 262144 - 2,
				  len - 3,
				  len - 2,
				  len - 1 };

		for (size_t i = 0; i < ARRAY_LEN(cuts); i++)
			cut_at(&s, request, len, cuts[i]);
	}
	free(request);
	CHECK_INT(respc_get(s.c, "old", 1, 100), ==, 0);
	end(&s);
}
BOTH(a_set_that_is_cut_off_leaves_nothing);

/* Who says nothing more still gets all answers. */
static void half_closed_sockets(const char *backend)
{
	struct respc *half;
	struct scene s;

	begin(&s, backend, "dram: 64M\n");
	respc_set(s.c, "m", 1, 3 * MIB);
	half = another(&s);
	respc_say(half, "GET m\r\nPING\r\nGET m\r\nGET m\r\nSET after 1\r\n");
	CHECK_OK(shutdown(half->fd, SHUT_WR));
	CHECK_INT(respc_value(half, 1, 3 * MIB), ==, 0);
	respc_expect(half, "+PONG\r\n");
	CHECK_INT(respc_value(half, 1, 3 * MIB), ==, 0);
	CHECK_INT(respc_value(half, 1, 3 * MIB), ==, 0);
	respc_expect(half, "+OK\r\n");
	respc_await_end(half);
	respc_close(half);
	RESPC_IS(s.c, "$1\r\n1\r\n", "GET", "after");
	end(&s);
}
BOTH(half_closed_sockets);

static void many_come_and_go(const char *backend)
{
	unsigned sockets = 0, rounds = LIVE_N(10000u) / 100;
	struct respc *c[100];
	uint64_t rss = 0;
	struct scene s;
	pid_t pid;

	begin(&s, backend, "dram: 64M\n");
	pid = live_server(s.own);
	for (unsigned round = 0; round < rounds; round++) {
		if (round == 2) { /* it has what it wants by now */
			alone(&s);
			sockets = respc_sockets(pid);
			rss = respc_rss(pid);
		}
		for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
			c[i] = another(&s);
			if (i % 3 == 0)
				respc_say(c[i], "PING\r\nSET half ");
			if (i % 3 == 1)
				respc_say(c[i], "*3\r\n$3\r\nSET\r\n$1\r\na"
						"\r\n$20000\r\nx");
		}
		for (unsigned i = 0; i < ARRAY_LEN(c); i++)
			respc_close(c[i]);
	}
	/* those that ended before they were accepted are accepted all the same */
	LIVE_WAIT(&s.n, counter(&s, "connections") == 100 * rounds + 1);
	alone(&s);
	LIVE_WAIT(&s.n, respc_sockets(pid) <= sockets);
	CHECK_INT(respc_rss(pid), <, rss + 32 * MIB);
	end(&s);
}
BOTH(many_come_and_go);

/* ---- who asks for everything */

static void others_get_room_beside_hoarders(const char *backend)
{
	static const char request[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n"
				      "$67108864\r\n";
	struct respc *hoarder[100];
	struct scene s;
	uint64_t before;

	begin(&s, backend, "dram: 256M\n");
	before = counter(&s, "received_bytes");
	for (unsigned i = 0; i < ARRAY_LEN(hoarder); i++) {
		hoarder[i] = another(&s);
		respc_say(hoarder[i], request);
	}
	LIVE_WAIT(&s.n, counter(&s, "received_bytes") ==
				before + 100 * (sizeof(request) - 1));
	LIVE_WAIT(&s.n, live_counter(s.own, "granted") > 0);
	for (unsigned i = 0; i < 20; i++) {
		respc_set(s.c, "small", i, 1000);
		respc_set(s.c, "long", i, 100000);
		respc_set(s.c, "longer", i, MIB);
		CHECK_INT(respc_get(s.c, "longer", i, MIB), ==, 0);
		if (i == 0) /* and not only when those had given up */
			CHECK_INT(respc_info(s.c, "blocked_clients"), >, 50);
	}
	for (unsigned i = 0; i < ARRAY_LEN(hoarder); i++)
		respc_close(hoarder[i]);
	RESPC_IS(s.c, ":0\r\n", "EXISTS", "a");
	end(&s);
}
BOTH(others_get_room_beside_hoarders);

static void no_more_connections_than_allowed(const char *backend)
{
	struct respc *c[9], *late;
	struct scene s;

	begin(&s, backend, "dram: 64M\nresp:\n  max_connections: 10\n");
	for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
		c[i] = another(&s);
		RESPC_IS(c[i], "+PONG\r\n", "PING");
	}
	late = another(&s);
	respc_expect(late, "-ERR max number of clients reached\r\n");
	respc_await_end(late);
	respc_close(late);
	CHECK_INT(counter(&s, "refused"), ==, 1);
	respc_close(c[0]);
	LIVE_WAIT(&s.n, counter(&s, "connections_now") == 9);
	c[0] = another(&s);
	RESPC_IS(c[0], "+PONG\r\n", "PING");
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		respc_close(c[i]);
	end(&s);
}
BOTH(no_more_connections_than_allowed);

static void garbage(const char *backend)
{
	char bytes[3000];
	struct scene s;

	begin(&s, backend, "dram: 64M\n");
	for (unsigned i = 0; i < LIVE_N(500u); i++) {
		struct respc *bad = another(&s);

		respc_bytes(i, bytes, sizeof(bytes));
		if (i % 2)
			memcpy(bytes, "*3\r\n$3\r\nSET\r\n$", 15);
		respc_try_send(bad, bytes, i * 7 % sizeof(bytes));
		respc_try_send(bad, "\r\n\r\n", 4);
		shutdown(bad->fd, SHUT_WR);
		respc_await_end(bad);
		respc_close(bad);
	}
	end(&s);
}
BOTH(garbage);

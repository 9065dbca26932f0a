/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server is killed while values come and go, and bits flip: whoever is
 * answered has the right bytes, and what was acknowledged is there.
 */
#include "tests/prog/respc.h"

#include <fcntl.h>
#include <sys/socket.h>

#define NAMES 64

/* ---- killed ------------------------------------------------------------------ */

/* What a writer knows of each name: the version that was acknowledged, and one
 * that was sent and not answered. */
struct known {
	uint64_t said[NAMES], sent[NAMES];
};

static size_t size_of(uint64_t name, uint64_t version)
{
	static const size_t sizes[] = {
		10, 3000, 16384, 16385, 300000, 2000000
	};

	return sizes[(name + version) % ARRAY_LEN(sizes)] + version % 7;
}

static uint64_t id_of(uint64_t name, uint64_t version)
{
	return name << 32 | version;
}

static const char *key_of(uint64_t name)
{
	static char key[32];

	snprintf(key, sizeof(key), "death:%llu", (unsigned long long)name);
	return key;
}

struct kill_what {
	pid_t server;
	uint64_t bytes;
};

/* SETs and GETs in a pipeline until the server is gone. */
static void work(struct respc *c, struct known *k, uint64_t version)
{
	for (uint64_t i = 0; i < NAMES && !c->ended; i++) {
		char *value = malloc(size_of(i, version));
		const char *key = key_of(i), *at;
		char head[128];
		size_t len;
		int n;

		CHECK(value);
		respc_bytes(id_of(i, version), value, size_of(i, version));
		n = snprintf(head, sizeof(head),
			     "GET %s\r\n*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu"
			     "\r\n",
			     key, strlen(key), key, size_of(i, version));
		k->sent[i] = version;
		if (!respc_try_send(c, head, (size_t)n) ||
		    !respc_try_send(c, value, size_of(i, version)) ||
		    !respc_try_send(c, "\r\n", 2)) {
			free(value);
			return;
		}
		free(value);
		if (respc_value(c, id_of(i, k->said[i]),
				size_of(i, k->said[i])) != 0)
			return;
		at = respc_answer(c, &len);
		if (!at)
			return;
		CHECK(len == 5 && memcmp(at, "+OK\r\n", 5) == 0);
		k->said[i] = version;
	}
}

/* Everything that was acknowledged is there, or what was sent since. */
static void look(struct respc *c, struct known *k)
{
	for (uint64_t i = 0; i < NAMES; i++) {
		size_t len;
		bool newer;

		RESPC(c, "STRLEN", key_of(i));
		len = (size_t)respc_int(c);
		newer = k->sent[i] != k->said[i] &&
			len == size_of(i, k->sent[i]);
		/* replaced and not yet there: the old one goes first */
		if (len == 0 && k->sent[i] != k->said[i]) {
			respc_set(c, key_of(i), id_of(i, 0), size_of(i, 0));
			k->said[i] = k->sent[i] = 0;
			continue;
		}
		if (newer)
			k->said[i] = k->sent[i];
		CHECK_INT(respc_get(c, key_of(i), id_of(i, k->said[i]),
				    size_of(i, k->said[i])),
			  ==, 0);
		k->sent[i] = k->said[i];
	}
}

/* Somewhere in the middle of what is going on: after some of it was received. */
static void kill_soon(const struct live *n, int fd, void *arg)
{
	struct kill_what *what = arg;
	oc_client *own = live_connect(n);

	(void)fd;
	LIVE_WAIT(n, respc_counter(own, "received_bytes") >= what->bytes);
	CHECK_OK(kill(what->server, SIGKILL));
	_exit(0);
}

static void killed(const char *backend)
{
	struct known k = { { 0 }, { 0 } };
	oc_client *own;
	struct live n;
	struct respc *c;

	RESPC_NODE(&n, NULL, "--dram", "512M", "--backend", backend);
	own = live_connect(&n);
	c = respc_open(respc_port(&n));
	for (uint64_t i = 0; i < NAMES; i++)
		respc_set(c, key_of(i), id_of(i, 0), size_of(i, 0));
	RESPC_IS(c, "+OK\r\n", "SET", "ttl", "v", "EX", "1000");
	RESPC_IS(c, "+OK\r\n", "SET", "past", "v", "PXAT", "1");
	for (uint64_t round = 1; round <= 6; round++) {
		pid_t server = live_server(own);
		struct kill_what what = { server, round * 1234567 };
		uint64_t version = round * 100;
		struct child killer = child_start(kill_soon, &n, &what);

		while (!c->ended)
			work(c, &k, version++);
		CHECK_INT(child_end(&killer), ==, 0);
		respc_close(c);
		LIVE_WAIT(&n, live_server(own) != server);
		c = respc_open(respc_port(&n));
		look(c, &k);
		RESPC(c, "TTL", "ttl");
		CHECK_INT(respc_int(c), >, 900);
		RESPC_IS(c, ":0\r\n", "EXISTS", "past");
		RESPC(c, "DBSIZE");
		CHECK_INT(respc_int(c), ==, NAMES + 1);
		CHECK_INT(respc_info(c, "evicted_keys"), ==, 0);
	}
	live_check(own);
	respc_close(c);
	oc_client_close(own);
	live_stop(&n);
}

TEST(the_server_is_killed_uring)
{
	killed("uring");
}

TEST(the_server_is_killed_epoll)
{
	killed("epoll");
}

/* A long value on its way out: its reader sees the end, not other bytes. */
TEST(killed_in_the_middle_of_a_long_value)
{
	size_t big = LIVE_N(64u << 20);
	char some[65536];
	oc_client *own;
	struct live n;
	struct respc *c;
	pid_t server;

	RESPC_NODE(&n, NULL, "--dram", "256M");
	own = live_connect(&n);
	c = respc_open(respc_port(&n));
	respc_set(c, "big", 1, big);
	server = live_server(own);
	RESPC(c, "GET", "big");
	/* it is on its way */
	CHECK_INT(recv(c->fd, some, sizeof(some), MSG_PEEK | MSG_WAITALL), ==,
		  sizeof(some));
	CHECK_OK(kill(server, SIGKILL));
	CHECK_INT(respc_value(c, 1, big), <=, 0); /* 0: all had gone */
	respc_close(c);
	LIVE_WAIT(&n, live_server(own) != server);
	c = respc_open(respc_port(&n));
	CHECK_INT(respc_get(c, "big", 1, big), ==, 0);
	/* and its frame can leave: nobody pins it */
	RESPC_IS(c, ":1\r\n", "DEL", "big");
	LIVE_WAIT(&n, live_counter(own, "leaving") == 0);
	CHECK_INT(live_counter(own, "granted"), ==, 0);
	live_check(own);
	respc_close(c);
	oc_client_close(own);
	live_stop(&n);
}

/* ---- flipped bits ---------------------------------------------------------------- */

/* Changes one byte of the only place in the server's payload that has these
 * 32 bytes; false: not permitted. */
static bool flip(pid_t server, const char *what, size_t offset)
{
	char path[64], line[512], *buf;
	bool done = false;
	FILE *maps;
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)server);
	mem = open(path, O_RDWR | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)server);
	maps = fopen(path, "re");
	if (mem < 0 || !maps)
		return false;
	while (!done && fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		size_t len;
		char *at;

		if (sscanf(line, "%lx-%lx rw-s", &from, &to) != 2 ||
		    !strstr(line, "memfd:"))
			continue;
		len = to - from;
		buf = malloc(len);
		CHECK(buf);
		if (pread(mem, buf, len, (off_t)from) == (ssize_t)len &&
		    (at = memmem(buf, len, what, 32))) {
			char byte = (char)(at[offset] ^ 4);

			done = pwrite(mem, &byte, 1,
				      (off_t)(from + (size_t)(at - buf) +
					      offset)) == 1;
		}
		free(buf);
	}
	fclose(maps);
	close(mem);
	return done;
}

/* What is hashed at a time: only of longer values has some gone by then. */
#define PIECE (1u << 20)
static const size_t flipped[] = { 100,	  5000,	 16384,	    16385,
				  200000, PIECE, PIECE + 1, 3000000 };

/* A value whose bytes are wrong: a miss as long as nothing of it has gone. */
static void flipped_one(struct live *n, oc_client *own, size_t size,
			size_t where)
{
	struct respc *c = respc_open(respc_port(n));
	uint64_t bad = live_counter(own, "bad");
	char *value = malloc(size), key[32];
	int r;

	CHECK(value);
	snprintf(key, sizeof(key), "flip%zu:%zu", size, where);
	respc_bytes(size + where, value, size);
	respc_set(c, key, size + where, size);
	if (!flip(live_server(own), value, where))
		SKIP("the server's memory cannot be written");
	r = respc_get(c, key, size + where, size);
	CHECK_INT(r, ==, size > PIECE ? -1 : 1);
	if (r < 0) /* behind the header, less than the value */
		CHECK_INT(c->len - c->at, <,
			  size + (size_t)snprintf(NULL, 0, "$%zu\r\n", size));
	CHECK_INT(live_counter(own, "bad"), >, bad);
	respc_close(c);
	c = respc_open(respc_port(n));
	CHECK_INT(respc_get(c, key, size + where, size), ==, 1);
	respc_set(c, key, 9, size);
	CHECK_INT(respc_get(c, key, 9, size), ==, 0);
	RESPC_IS(c, ":1\r\n", "DBSIZE");
	RESPC_IS(c, ":1\r\n", "DEL", key);
	respc_close(c);
	free(value);
}

TEST(wrong_bytes_are_never_sent)
{
	oc_client *own;
	struct live n;

	RESPC_NODE(&n, "resp: {verify: 0s}\n", "--dram", "64M", "--scrub", "0");
	own = live_connect(&n);
	for (size_t i = 0; i < ARRAY_LEN(flipped); i++) {
		flipped_one(&n, own, flipped[i], 0);
		flipped_one(&n, own, flipped[i], flipped[i] / 2);
		flipped_one(&n, own, flipped[i], flipped[i] - 1);
	}
	LIVE_WAIT(&n, live_counter(own, "granted") == 0);
	live_check(own);
	oc_client_close(own);
	live_stop(&n);
}

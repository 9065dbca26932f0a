/* SPDX-License-Identifier: Apache-2.0 */
/* Values, names and lives through the RESP door, on both event loops. */
#include "tests/prog/respc.h"

#define INLINE_MAX 16384

static struct respc *start(struct live *n, const char *backend,
			   const char *dram)
{
	RESPC_NODE(n, NULL, "--dram", dram, "--backend", backend);
	return respc_open(respc_port(n));
}

static void stop(struct live *n, struct respc *c)
{
	oc_client *own = live_connect(n);

	respc_close(c);
	LIVE_WAIT(n, respc_counter(own, "connections_now") == 0);
	CHECK_INT(live_counter(own, "granted"), ==, 0);
	live_check(own);
	oc_client_close(own);
	live_stop(n);
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

/* ---- sizes */

static void values_of_all_sizes(const char *backend)
{
	static const size_t sizes[] = { 0,
					1,
					511,
					512,
					2000,
					16000,
					16383,
					16384,
					16385,
					65535,
					65536,
					262143,
					262144,
					262145,
					262146,
					524288,
					1000003,
					1048576,
					LIVE_N(8u << 20) + 1,
					LIVE_N(64u << 20) };
	struct live n;
	struct respc *c = start(&n, backend, "512M");

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		char key[32], len[32];

		snprintf(key, sizeof(key), "v%zu", i);
		snprintf(len, sizeof(len), ":%zu\r\n", sizes[i]);
		respc_set(c, key, i, sizes[i]);
		CHECK_INT(respc_get(c, key, i, sizes[i]), ==, 0);
		RESPC_IS(c, len, "STRLEN", key);
	}
	/* each replaced by one of another kind */
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t other = sizes[ARRAY_LEN(sizes) - 1 - i];
		char key[32];

		snprintf(key, sizeof(key), "v%zu", i);
		respc_set(c, key, 100 + i, other);
		CHECK_INT(respc_get(c, key, 100 + i, other), ==, 0);
	}
	CHECK_INT(respc_info(c, "evicted_keys"), ==, 0);
	stop(&n, c);
}
BOTH(values_of_all_sizes);

/* The connection goes on behind a value that is too large, or not wanted. */
static void too_large_values_are_refused(const char *backend)
{
	static const size_t sizes[] = { (32u << 20) + 1, 40u << 20 };
	struct live n;
	struct respc *c = start(&n, backend, "32M");

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		const char *at;
		size_t len;

		respc_set_send(c, "k", i, sizes[i]);
		RESPC(c, "PING");
		at = respc_answer(c, &len);
		CHECK(at && memcmp(at, "-ERR ", 5) == 0);
		respc_expect(c, "+PONG\r\n");
		CHECK_INT(respc_get(c, "k", i, 0), ==, 1);
	}
	/* long words that are no value */
	for (size_t i = 0; i < 3; i++) {
		char *word = malloc(100001);
		struct respc_word w[] = { { "GET", 3 }, { word, 100000 } };
		const char *at;
		size_t len;

		CHECK(word);
		respc_bytes(i, word, 100000);
		respc_words(c, w, 2);
		at = respc_answer(c, &len);
		CHECK(at && memcmp(at, "-ERR ", 5) == 0);
		free(word);
		RESPC_IS(c, "+PONG\r\n", "PING");
	}
	RESPC_IS(c, ":0\r\n", "DBSIZE");
	stop(&n, c);
}
BOTH(too_large_values_are_refused);

/* ---- names */

static void names_are_bytes(const char *backend)
{
	static const size_t lens[] = { 0, 1, 8, 9, 500, 16383, 16384 };
	char *key = malloc(INLINE_MAX), value[64];
	struct live n;
	struct respc *c = start(&n, backend, "64M");

	CHECK(key);
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		struct respc_word set[] = { { "SET", 3 },
					    { key, lens[i] },
					    { value, sizeof(value) } };
		struct respc_word get[] = { { "GET", 3 }, { key, lens[i] } };

		respc_bytes(lens[i], key, lens[i]);
		if (lens[i] > 8)
			memset(key + 2, 0, 3);
		respc_bytes(i, value, sizeof(value));
		respc_words(c, set, 3);
		respc_expect(c, "+OK\r\n");
		respc_words(c, get, 2);
		CHECK_INT(respc_value(c, i, sizeof(value)), ==, 0);
	}
	CHECK_INT(respc_info(c, "evicted_keys"), ==, 0);
	RESPC_IS(c, ":7\r\n", "DBSIZE");
	free(key);
	stop(&n, c);
}
BOTH(names_are_bytes);

/* ---- pipelines */

static size_t mixed(unsigned i)
{
	return i % 17 == 0 ? 16385 + i : i % 5 == 0 ? 16384 - i % 3 : i % 600;
}

static void long_pipelines(const char *backend)
{
	unsigned count = LIVE_N(4000);
	struct live n;
	struct respc *c = start(&n, backend, "256M");
	char key[32];

	for (unsigned i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "p%u", i);
		respc_set_send(c, key, i, mixed(i));
		RESPC(c, "GET", key);
	}
	for (unsigned i = 0; i < count; i++) {
		respc_expect(c, "+OK\r\n");
		CHECK_INT(respc_value(c, i, mixed(i)), ==, 0);
	}
	for (unsigned i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "p%u", i);
		RESPC(c, "MGET", key, "none", key);
		RESPC(c, "EXISTS", key);
	}
	for (unsigned i = 0; i < count; i++) {
		const char *at;
		size_t len;

		at = respc_answer(c, &len);
		CHECK(at && memcmp(at, "*3\r\n", 4) == 0);
		CHECK_INT(len, >, 2 * mixed(i));
		respc_expect(c, ":1\r\n");
	}
	stop(&n, c);
}
BOTH(long_pipelines);

/* Requests that come together, with more answers than are kept at a time. */
static void short_requests_long_answers(const char *backend)
{
	static const unsigned counts[] = { 26, 27, 28, 100, 600 };
	struct live n;
	struct respc *c = start(&n, backend, "64M");
	char requests[600 * 7 + 1] = "";

	respc_set(c, "k", 1, 10000);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		for (unsigned j = 0; j < counts[i]; j++)
			memcpy(requests + 7 * j, "GET k\r\n", 7);
		respc_send(c, requests, 7 * counts[i]);
		for (unsigned j = 0; j < counts[i]; j++)
			CHECK_INT(respc_value(c, 1, 10000), ==, 0);
	}
	stop(&n, c);
}
BOTH(short_requests_long_answers);

/* Each request in two pieces, cut at each byte; both pieces are seen apart,
 * since the first is known to have been read. */
static void requests_cut_at_each_byte(const char *backend)
{
	static const char request[] =
		"*3\r\n$3\r\nSET\r\n$3\r\na\0b\r\n$4\r\n\r\n\r\n\r\n"
		"PING\r\n*2\r\n$3\r\nGET\r\n$3\r\na\0b\r\n";
	struct live n;
	struct respc *c = start(&n, backend, "64M");
	oc_client *own = live_connect(&n);

	for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
		uint64_t before = respc_counter(own, "received_bytes");

		respc_send(c, request, cut);
		LIVE_WAIT(&n,
			  respc_counter(own, "received_bytes") == before + cut);
		respc_send(c, request + cut, sizeof(request) - 1 - cut);
		respc_expect(c, "+OK\r\n");
		respc_expect(c, "+PONG\r\n");
		respc_expect(c, "$4\r\n\r\n\r\n\r\n");
	}
	oc_client_close(own);
	stop(&n, c);
}
BOTH(requests_cut_at_each_byte);

static void many_values_at_once(const char *backend)
{
	static const size_t lens[] = { 100000, 3, 16384, 16385, 1 << 20, 0 };
	struct respc_word w[1 + 2 * ARRAY_LEN(lens)] = { { "MSET", 4 } };
	char keys[ARRAY_LEN(lens)][8];
	struct live n;
	struct respc *c = start(&n, backend, "128M");

	for (unsigned round = 0; round < 20; round++) {
		for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
			char *value = malloc(lens[i] + 1);

			CHECK(value);
			respc_bytes(round + i, value, lens[i]);
			snprintf(keys[i], sizeof(keys[i]), "m%zu", i);
			w[1 + 2 * i] = (struct respc_word){ keys[i], 2 };
			w[2 + 2 * i] = (struct respc_word){ value, lens[i] };
		}
		respc_words(c, w, ARRAY_LEN(w));
		respc_expect(c, "+OK\r\n");
		for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
			CHECK_INT(respc_get(c, keys[i], round + i, lens[i]), ==,
				  0);
			free((void *)(uintptr_t)w[2 + 2 * i].at);
		}
	}
	RESPC_IS(c, ":6\r\n", "DBSIZE");
	/* an odd number of words, the long values skipped */
	respc_say(c, "*4\r\n$4\r\nMSET\r\n$1\r\na\r\n$20000\r\n");
	for (unsigned i = 0; i < 2000; i++)
		respc_say(c, "0123456789");
	respc_say(c, "\r\n$1\r\nb\r\n");
	respc_expect(c, "-ERR wrong number of arguments for 'mset' "
			"command\r\n");
	RESPC_IS(c, ":0\r\n", "EXISTS", "a", "b");
	stop(&n, c);
}
BOTH(many_values_at_once);

/* ---- lives */

static void put_long(struct respc *c, const char *key, uint64_t id,
		     const char *unit, const char *life)
{
	static char value[50000];
	struct respc_word w[] = { { "SET", 3 },
				  { key, strlen(key) },
				  { value, sizeof(value) },
				  { unit, strlen(unit) },
				  { life, strlen(life) } };

	respc_bytes(id, value, sizeof(value));
	respc_words(c, w, 5);
	respc_expect(c, "+OK\r\n");
}

static void lives_end(const char *backend)
{
	struct live n;
	struct respc *c = start(&n, backend, "64M");

	put_long(c, "long", 1, "EX", "1000");
	RESPC_IS(c, ":1000\r\n", "TTL", "long");
	RESPC_IS(c, ":1\r\n", "PERSIST", "long");
	RESPC_IS(c, ":-1\r\n", "TTL", "long");
	CHECK_INT(respc_get(c, "long", 1, 50000), ==, 0);
	RESPC_IS(c, ":1\r\n", "EXPIRE", "long", "500");
	RESPC_IS(c, ":500\r\n", "TTL", "long");
	CHECK_INT(respc_get(c, "long", 1, 50000), ==, 0);
	RESPC_IS(c, ":1\r\n", "DBSIZE");
	RESPC_IS(c, ":1\r\n", "EXPIRE", "long", "0");
	RESPC_IS(c, ":0\r\n", "DBSIZE");
	/* in the past already when it is looked at */
	put_long(c, "long", 2, "PXAT", "1");
	CHECK_INT(respc_get(c, "long", 2, 50000), ==, 1);
	/* nobody looks at these: the sweep takes them */
	for (unsigned i = 0; i < 50; i++) {
		char key[16];

		snprintf(key, sizeof(key), "s%u", i);
		RESPC_IS(c, "+OK\r\n", "SET", key, "v", "PX", "30");
		snprintf(key, sizeof(key), "l%u", i);
		put_long(c, key, i, "PX", "30");
	}
	respc_set(c, "stays", 1, 10);
	RESPC(c, "DBSIZE");
	CHECK_INT(respc_int(c), >, 0);
	LIVE_WAIT(&n, (RESPC(c, "DBSIZE"), respc_int(c)) == 1);
	CHECK_INT(respc_get(c, "stays", 1, 10), ==, 0);
	stop(&n, c);
}
BOTH(lives_end);

/* ---- walks */

static unsigned scan(struct respc *c, const char *match, const char *count,
		     uint8_t *seen, unsigned most)
{
	char cursor[32] = "0";
	unsigned met = 0;

	do {
		const char *at, *end;
		size_t len;

		RESPC(c, "SCAN", cursor, "MATCH", match, "COUNT", count);
		at = respc_answer(c, &len);
		CHECK(at &&
		      sscanf(at, "*2\r\n$%*d\r\n%31[0-9]\r\n", cursor) == 1);
		for (end = at + len; at && at < end;) {
			unsigned i;

			at = memmem(at, (size_t)(end - at), "key:", 4);
			if (!at)
				break;
			CHECK_INT(sscanf(at, "key:%u", &i), ==, 1);
			CHECK_INT(i, <, most);
			met += !seen[i];
			seen[i] = 1;
			at += 4;
		}
	} while (strcmp(cursor, "0") != 0);
	return met;
}

static void scans_are_complete(const char *backend)
{
	static const char *const counts[] = { "1", "7", "1000", "100000000" };
	unsigned count = MAX(LIVE_N(3000u), 1000u);
	struct live n;
	struct respc *c = start(&n, backend, "256M");
	char key[32];

	for (unsigned i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "key:%u", i);
		respc_set_send(c, key, i, i % 50 ? i % 3000 : 20000);
	}
	for (unsigned i = 0; i < count; i++)
		respc_expect(c, "+OK\r\n");
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		uint8_t *seen = calloc(1, count);

		CHECK(seen);
		CHECK_INT(scan(c, "*", counts[i], seen, count), ==, count);
		memset(seen, 0, count);
		CHECK_INT(scan(c, "key:[12]?", counts[i], seen, count), ==, 20);
		memset(seen, 0, count);
		CHECK_INT(scan(c, "nokey:*", counts[i], seen, count), ==, 0);
		free(seen);
	}
	RESPC_IS(c, "+OK\r\n", "FLUSHDB");
	RESPC_IS(c, ":0\r\n", "DBSIZE");
	stop(&n, c);
}
BOTH(scans_are_complete);

/* Others write all the time: nothing breaks, and what is acknowledged after the
 * flush was answered stays. */
static void flush_during_writes(const char *backend)
{
	struct live n;
	struct respc *c = start(&n, backend, "256M");
	struct respc *w = respc_open(respc_port(&n));
	char key[32];

	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < LIVE_N(2000u); i++) {
			snprintf(key, sizeof(key), "f%u", i);
			respc_set_send(w, key, i, i % 31 ? 100 : 30000);
			if (i == LIVE_N(1000u))
				RESPC(c, "FLUSHDB");
		}
		for (unsigned i = 0; i < LIVE_N(2000u); i++)
			respc_expect(w, "+OK\r\n");
		respc_expect(c, "+OK\r\n");
		for (unsigned i = 0; i < LIVE_N(2000u); i++) {
			snprintf(key, sizeof(key), "f%u", i);
			CHECK_INT(respc_get(w, key, i, i % 31 ? 100 : 30000),
				  >=, 0);
		}
		RESPC_IS(c, "+OK\r\n", "FLUSHDB");
		RESPC_IS(c, ":0\r\n", "DBSIZE");
	}
	respc_close(w);
	stop(&n, c);
}
BOTH(flush_during_writes);

/* ---- memory */

/* Two names of one chunk leave together, whatever was used last. */
static void pairs_leave_together(const char *backend)
{
	unsigned count = 600, whole = 0;
	struct live n;
	struct respc *c = start(&n, backend, "16M");

	for (unsigned i = 0; i < count; i++) {
		char bytes[32], metadata[32];

		snprintf(bytes, sizeof(bytes), "m@%ukv_bytes", i);
		snprintf(metadata, sizeof(metadata), "m@%umetadata", i);
		respc_set(c, bytes, i, 100000);
		respc_set(c, metadata, i, 200);
		/* one of an older pair is used */
		snprintf(metadata, sizeof(metadata), "m@%umetadata", i / 2);
		respc_get(c, metadata, i / 2, 200);
	}
	for (unsigned i = 0; i < count; i++) {
		char bytes[32], metadata[32];
		int a, b;

		snprintf(bytes, sizeof(bytes), "m@%ukv_bytes", i);
		snprintf(metadata, sizeof(metadata), "m@%umetadata", i);
		a = respc_get(c, bytes, i, 100000);
		b = respc_get(c, metadata, i, 200);
		CHECK_INT(a, ==, b);
		whole += a == 0;
	}
	CHECK_INT(whole, >, 10);
	CHECK_INT(whole, <, count);
	RESPC(c, "DBSIZE");
	CHECK_INT(respc_int(c), ==, 2 * whole);
	stop(&n, c);
}
BOTH(pairs_leave_together);

TEST(small_values_take_small_frames)
{
	struct live n;
	struct respc *c = start(&n, "auto", "256M");
	uint64_t bytes = 0;
	char key[32];

	for (unsigned i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "small%u", i);
		respc_set(c, key, i, 100);
		RESPC(c, "MEMORY", "USAGE", key);
		bytes += (uint64_t)respc_int(c);
	}
	CHECK_INT(bytes, <, 2000 * 1024);
	CHECK_INT(respc_info(c, "used_memory"), <, 16 * MIB);
	stop(&n, c);
}

/* Four values of a quarter of the memory each less a bit: more than half of it
 * belongs to this one command, which must not wait for itself. */
TEST(an_mset_of_most_of_the_memory)
{
	const size_t size = 14u << 20;
	struct respc_word words[1 + 2 * 4] = { { "MSET", 4 } };
	char key[4][8];
	struct respc *c;
	struct live n;

	RESPC_NODE(&n, NULL, "--dram", "64M");
	c = respc_open(respc_port(&n));
	for (unsigned i = 0; i < 4; i++) {
		char *value = malloc(size);

		CHECK(value);
		snprintf(key[i], sizeof(key[i]), "big%u", i);
		respc_bytes(i, value, size);
		words[1 + 2 * i] = (struct respc_word){ key[i], 4 };
		words[2 + 2 * i] = (struct respc_word){ value, size };
	}
	respc_words(c, words, ARRAY_LEN(words));
	respc_expect(c, "+OK\r\n");
	for (unsigned i = 0; i < 4; i++) {
		CHECK_INT(respc_get(c, key[i], i, size), ==, 0);
		free((void *)(uintptr_t)words[2 + 2 * i].at);
	}
	respc_close(c);
	live_stop(&n);
}

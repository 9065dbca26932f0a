/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMCache's `resp` connector, as it speaks: eight connections with a thread
 * each, one command in flight on each, AUTH first where there is a password,
 * and no tolerance: "+OK", "$-1", ":0", ":1" are compared as they are.
 */
#include "tests/prog/resp_at.h"

#define CLIENTS 8

/* World 2, ranks 0 and 1; layer groups; with a salt; and of older clients,
 * which name no group. */
static const struct {
	const char *before, *after; /* the chunk's hash */
} key_forms[] = {
	{ "meta-llama/Llama-3.1-8B-Instruct@02000200@0@", "" },
	{ "meta-llama/Llama-3.1-8B-Instruct@02010201@1f@", "" },
	{ "Qwen/Qwen3-32B@01000100@0@", "@tenant-a" },
	{ "mistralai/Mistral-7B-v0.1@01000100@", "" },
};

/* Chunks of 256 tokens; not only powers of two. */
static const uint64_t value_sizes[] = { 1 * MIB, 2 * MIB,  4 * MIB, 7340032,
					8 * MIB, 16 * MIB, 28,	    0,
					1,	 MIB - 13, 36864 };

#define FORMS (sizeof(key_forms) / sizeof(key_forms[0]))
#define SIZES (sizeof(value_sizes) / sizeof(value_sizes[0]))

struct lmcache {
	int fd;
	unsigned rank;
	uint8_t *sent, *got; /* of the largest value */
};

static void lm_fill(struct lmcache *c, unsigned number, uint64_t bytes)
{
	uint64_t x = 0x9e3779b97f4a7c15ull * (c->rank * 1000 + number + 1);
	uint64_t i;

	for (i = 0; i + 8 <= bytes; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(c->sent + i, &x, 8);
	}
	memcpy(c->sent + i, &x, bytes - i);
}

static void lm_key(const struct lmcache *c, unsigned number, char key[256])
{
	char hash[65];

	for (unsigned i = 0; i < 32; i++)
		snprintf(hash + 2 * i, 3, "%02x",
			 (number * 131 + c->rank * 17 + i * 29) & 255);
	snprintf(key, 256, "%s%s%s", key_forms[number % FORMS].before, hash,
		 key_forms[number % FORMS].after);
}

static void lm_command(struct lmcache *c, const char *name, const char *key)
{
	char text[512];

	snprintf(text, sizeof(text), "*2\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
		 strlen(name), name, strlen(key), key);
	resp_at_send(c->fd, text, strlen(text));
}

static void lm_hear(struct lmcache *c, const char *answer)
{
	char got[32] = "";

	resp_at_recv(c->fd, got, strlen(answer));
	CHECK_STR(got, answer);
}

static void lm_says(struct lmcache *c, const char *name, const char *key,
		    const char *answer)
{
	lm_command(c, name, key);
	lm_hear(c, answer);
}

static void lm_set(struct lmcache *c, const char *key, uint64_t bytes)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%llu\r\n", strlen(key), key,
		 (unsigned long long)bytes);
	resp_at_send(c->fd, text, strlen(text));
	resp_at_send(c->fd, c->sent, bytes);
	resp_at_send(c->fd, "\r\n", 2);
	lm_hear(c, "+OK\r\n");
}

/* The length is known to who asks: that of a chunk. */
static void lm_get(struct lmcache *c, const char *key, uint64_t bytes)
{
	char head[32];

	lm_command(c, "GET", key);
	snprintf(head, sizeof(head), "$%llu\r\n", (unsigned long long)bytes);
	lm_hear(c, head);
	resp_at_recv(c->fd, c->got, bytes);
	lm_hear(c, "\r\n");
	CHECK_MEM(c->got, c->sent, bytes);
}

static void lm_life(struct lmcache *c, unsigned number)
{
	uint64_t bytes = value_sizes[(number + c->rank) % SIZES];
	char key[256];

	lm_key(c, number, key);
	lm_fill(c, number, bytes);
	lm_says(c, "EXISTS", key, ":0\r\n");
	lm_says(c, "GET", key, "$-1\r\n");
	lm_set(c, key, bytes);
	lm_says(c, "EXISTS", key, ":1\r\n");
	lm_get(c, key, bytes);
	lm_set(c, key, bytes); /* another worker had it too */
	lm_get(c, key, bytes);
	lm_says(c, "DEL", key, ":1\r\n");
	lm_says(c, "DEL", key, ":0\r\n");
	lm_says(c, "GET", key, "$-1\r\n");
}

_Noreturn static void lm_client(const struct resp_at *s, unsigned rank)
{
	struct lmcache c = { .fd = resp_at_dial(s), .rank = rank };

	c.sent = malloc(16 * MIB);
	c.got = malloc(16 * MIB);
	CHECK(c.sent && c.got);
	for (unsigned i = 0; i < 2 * SIZES; i++)
		lm_life(&c, i);
	close(c.fd);
	free(c.sent);
	free(c.got);
	_exit(0);
}

TEST(eight_clients_with_one_command_in_flight)
{
	struct resp_at s;
	pid_t pid[CLIENTS];

	resp_at_open(&s, false);
	for (unsigned i = 0; i < CLIENTS; i++) {
		pid[i] = fork();
		CHECK_INT(pid[i], >=, 0);
		if (pid[i] == 0)
			lm_client(&s, i);
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		CHECK_INT(run_end(pid[i], 0), ==, 0);
	resp_at_close(&s);
}

/* ---- AUTH */

static void auth(const struct resp_at *s, const char *user, const char *answer)
{
	int fd = resp_at_dial(s);
	char text[256], got[512] = "";
	size_t n = strlen(s->password), at = 0;

	if (user)
		snprintf(text, sizeof(text),
			 "*3\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
			 strlen(user), user, n, s->password);
	else
		snprintf(text, sizeof(text),
			 "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", n, s->password);
	resp_at_ask(fd, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "-NOAUTH");
	do
		resp_at_recv(fd, got + at++, 1);
	while (got[at - 1] != '\n' && at < sizeof(got) - 1);
	resp_at_ask(fd, text, answer);
	if (answer[0] == '+') {
		resp_at_ask(fd, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "$-1\r\n");
		resp_at_ask(fd, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n",
			    "+OK\r\n");
		resp_at_ask(fd, "*2\r\n$3\r\nDEL\r\n$1\r\nb\r\n", ":1\r\n");
	}
	close(fd);
}

TEST(auth_with_a_password_and_with_a_user)
{
	struct resp_at s;

	resp_at_open(&s, true);
	auth(&s, NULL, "+OK\r\n");
	auth(&s, "default", "+OK\r\n");
	auth(&s, "nobody", "-WRONGPASS ");
	snprintf(s.password, sizeof(s.password), "wrong");
	auth(&s, NULL, "-WRONGPASS ");
	auth(&s, "default", "-WRONGPASS ");
	resp_at_close(&s);
}

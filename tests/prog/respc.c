/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/prog/respc.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include "tests/prog/run.h"

#define READ_AT_LEAST (256 * KIB)

/* ---- the socket */

struct respc *respc_try_open(uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct respc *c = calloc(1, sizeof(*c));
	int one = 1;

	CHECK(c != NULL);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_INT(c->fd, >=, 0);
	CHECK_OK(
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	if (connect(c->fd, (struct sockaddr *)&in, sizeof(in)) == 0)
		return c;
	respc_close(c);
	return NULL;
}

struct respc *respc_open(uint16_t port)
{
	struct respc *c = respc_try_open(port);

	if (!c)
		FAIL("connect: %s", strerror(errno));
	return c;
}

void respc_close(struct respc *c)
{
	if (!c)
		return;
	close(c->fd);
	free(c->buf);
	free(c);
}

static void room(struct respc *c)
{
	if (c->at == c->len)
		c->at = c->len = 0;
	if (c->cap - c->len >= READ_AT_LEAST)
		return;
	if (c->at > c->cap / 2) {
		memmove(c->buf, c->buf + c->at, c->len - c->at);
		c->len -= c->at;
		c->at = 0;
		return;
	}
	c->cap = 2 * c->cap + 2 * READ_AT_LEAST;
	c->buf = realloc(c->buf, c->cap);
	CHECK(c->buf != NULL);
}

static void take(struct respc *c)
{
	ssize_t n;

	room(c);
	n = recv(c->fd, c->buf + c->len, c->cap - c->len, MSG_DONTWAIT);
	if (n > 0)
		c->len += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		c->ended = true;
}

static short await(const struct respc *c, short events)
{
	struct pollfd p = { .fd = c->fd, .events = events };

	if (poll(&p, 1, (int)(LIVE_DEADLINE / NS_PER_MS)) != 1)
		FAIL("the node does not answer");
	return p.revents;
}

bool respc_try_send(struct respc *c, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len && !c->ended) {
		ssize_t n = send(c->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN && errno != EINTR) {
			c->ended = true;
		} else if (await(c, POLLIN | POLLOUT) & POLLIN) {
			take(c);
		}
	}
	return !len;
}

void respc_send(struct respc *c, const void *bytes, size_t len)
{
	if (!respc_try_send(c, bytes, len))
		FAIL("the connection ended");
}

void respc_say(struct respc *c, const char *text)
{
	respc_send(c, text, strlen(text));
}

static void word(struct respc *c, const void *at, size_t len)
{
	char head[32];
	int n = snprintf(head, sizeof(head), "$%zu\r\n", len);

	respc_send(c, head, (size_t)n);
	respc_send(c, at, len);
	respc_send(c, "\r\n", 2);
}

void respc_words(struct respc *c, const struct respc_word *w, size_t n)
{
	char head[32];
	int len = snprintf(head, sizeof(head), "*%zu\r\n", n);

	respc_send(c, head, (size_t)len);
	for (size_t i = 0; i < n; i++)
		word(c, w[i].at, w[i].len);
}

void respc_command(struct respc *c, const char *const *words)
{
	struct respc_word w[64];
	size_t n = 0;

	for (; words[n]; n++) {
		CHECK_INT(n, <, ARRAY_LEN(w));
		w[n] = (struct respc_word){ words[n], strlen(words[n]) };
	}
	respc_words(c, w, n);
}

/* ---- answers */

/* Bytes of the answer that begins there, 0: it is not whole yet. *ret_need: how
 * many are wanted at least. */
static size_t whole(const char *at, size_t len, size_t *ret_need)
{
	const char *end = len ? memmem(at, len, "\r\n", 2) : NULL;
	size_t head, all;
	long long n;

	*ret_need = len + 1;
	if (!end)
		return 0;
	head = (size_t)(end - at) + 2;
	switch (*at) {
	case '+':
	case '-':
	case ':':
	case '_':
	case '#':
	case ',':
		return head;
	case '$':
	case '=':
		n = strtoll(at + 1, NULL, 10);
		*ret_need = head + (n < 0 ? 0 : (size_t)n + 2);
		return len >= *ret_need ? *ret_need : 0;
	case '*':
	case '~':
	case '%':
		n = strtoll(at + 1, NULL, 10) * (*at == '%' ? 2 : 1);
		for (all = head; n > 0; n--) {
			size_t one = whole(at + all, len - all, ret_need);

			*ret_need += all;
			if (!one)
				return 0;
			all += one;
		}
		return all;
	default:
		FAIL("an answer begins with byte %02x", (unsigned char)*at);
	}
}

const char *respc_answer(struct respc *c, size_t *ret_len)
{
	size_t need = 0;

	for (;;) {
		size_t have = c->len - c->at;
		size_t n = have && have >= need
				   ? whole(c->buf + c->at, have, &need)
				   : 0;

		if (n) {
			c->at += n;
			*ret_len = n;
			return c->buf + c->at - n;
		}
		if (c->ended)
			return NULL;
		await(c, POLLIN);
		take(c);
	}
}

void respc_expect(struct respc *c, const char *text)
{
	size_t len;
	const char *at = respc_answer(c, &len);

	if (!at)
		FAIL("the connection ended instead of \"%s\"", text);
	if (len != strlen(text) || memcmp(at, text, len) != 0)
		FAIL("\"%.*s\" instead of \"%s\"", (int)MIN(len, 300u), at,
		     text);
}

int64_t respc_int(struct respc *c)
{
	size_t len;
	const char *at = respc_answer(c, &len);

	if (!at || *at != ':')
		FAIL("no integer");
	return strtoll(at + 1, NULL, 10);
}

void respc_await_end(struct respc *c)
{
	while (!c->ended) {
		await(c, POLLIN);
		take(c);
		c->at = c->len;
	}
}

/* ---- values */

void respc_bytes(uint64_t id, char *buf, size_t len)
{
	uint64_t x = id * 0x9e3779b97f4a7c15ull + len;
	size_t i = 0;

	for (; i + 8 <= len; i += 8) {
		x += 0x9e3779b97f4a7c15ull;
		memcpy(buf + i, &x, 8);
	}
	memcpy(buf + i, &x, len - i);
}

static char *made(uint64_t id, size_t len)
{
	char *buf = malloc(len + 1);

	CHECK(buf != NULL);
	respc_bytes(id, buf, len);
	return buf;
}

void respc_set_send(struct respc *c, const char *key, uint64_t id, size_t len)
{
	char *value = made(id, len);
	struct respc_word w[] = { { "SET", 3 },
				  { key, strlen(key) },
				  { value, len } };

	respc_words(c, w, 3);
	free(value);
}

void respc_set(struct respc *c, const char *key, uint64_t id, size_t len)
{
	respc_set_send(c, key, id, len);
	respc_expect(c, "+OK\r\n");
}

int respc_value(struct respc *c, uint64_t id, size_t len)
{
	size_t n, head;
	const char *at = respc_answer(c, &n);
	char text[32], *want;

	if (!at)
		return -1;
	if ((n == 5 && memcmp(at, "$-1\r\n", 5) == 0) ||
	    (n == 3 && memcmp(at, "_\r\n", 3) == 0))
		return 1;
	head = (size_t)snprintf(text, sizeof(text), "$%zu\r\n", len);
	if (n != head + len + 2 || memcmp(at, text, head) != 0)
		FAIL("\"%.*s\" instead of a value of %zu bytes",
		     (int)MIN(n, 100u), at, len);
	want = made(id, len);
	CHECK_MEM(at + head, want, len);
	CHECK_MEM(at + head + len, "\r\n", 2);
	free(want);
	return 0;
}

int respc_get(struct respc *c, const char *key, uint64_t id, size_t len)
{
	RESPC(c, "GET", key);
	return respc_value(c, id, len);
}

/* ---- the node */

void respc_node(struct live *n, const char *yaml, const char *const *words)
{
	live_start_how(n, (struct live_how){ LIVE_RESP, yaml }, words);
}

uint64_t respc_counter(oc_client *c, const char *name)
{
	json_t *root, *door, *tenant;
	uint64_t sum = 0;
	size_t i, j;
	char *text;

	CHECK_OK(oc_inspect(c, "stat", NULL, 0, &text));
	root = json_loads(text, 0, NULL);
	free(text);
	CHECK(root != NULL);
	json_array_foreach(json_object_get(root, "doors"), i, door) {
		if (strcmp(json_string_value(json_object_get(door, "door")),
			   "resp") != 0)
			continue;
		json_array_foreach(json_object_get(door, "tenants"), j,
				   tenant) {
			json_t *value = json_object_get(tenant, name);

			CHECK(json_is_integer(value));
			sum += (uint64_t)json_integer_value(value);
		}
	}
	json_decref(root);
	return sum;
}

uint64_t respc_info(struct respc *c, const char *name)
{
	char line[64];
	size_t len;
	const char *at, *found;

	RESPC(c, "INFO");
	at = respc_answer(c, &len);
	CHECK(at != NULL);
	snprintf(line, sizeof(line), "\n%s:", name);
	found = memmem(at, len, line, strlen(line));
	if (!found)
		FAIL("INFO has no %s", name);
	return strtoull(found + strlen(line), NULL, 10);
}

uint64_t respc_rss(pid_t pid)
{
	unsigned long long anon = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		SKIP("cannot look into %s", path);
	/* not the shared memory: that is the pool's */
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %llu kB", &anon) == 1)
			break;
	fclose(f);
	return anon * KIB;
}

unsigned respc_sockets(pid_t pid)
{
	char path[64], target[16];
	struct dirent *entry;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		SKIP("cannot look into %s", path);
	while ((entry = readdir(dir)) != NULL)
		n += readlinkat(dirfd(dir), entry->d_name, target,
				sizeof(target)) > 7 &&
		     memcmp(target, "socket:", 7) == 0;
	closedir(dir);
	return n;
}

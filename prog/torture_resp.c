/* SPDX-License-Identifier: Apache-2.0 */
#include "torture_resp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/fault.h"
#include "onecopy/onecopy.h"

#define WAIT_S 10 /* for each piece of an answer */

void torture_resp_close(struct torture_resp *c)
{
	c->fd = fd_close(c->fd);
	c->at = c->len = 0;
}

static int lost(struct torture_resp *c, int error)
{
	torture_resp_close(c);
	return error;
}

/* ---- bytes ------------------------------------------------------------------- */

static int push(struct torture_resp *c, const void *data, size_t bytes)
{
	const char *at = data;

	while (bytes) {
		ssize_t n = send(c->fd, at, bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -ECONNRESET;
		at += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int more(struct torture_resp *c)
{
	ssize_t n;

	if (c->at == c->len)
		c->at = c->len = 0;
	if (c->len == sizeof(c->buf))
		return -EPROTO;
	do {
		n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - c->len, 0);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? -ETIMEDOUT : -ECONNRESET;
	c->len += (size_t)n;
	return 0;
}

/* A line of an answer, without its end; at most cap - 1 bytes are kept. */
static int line(struct torture_resp *c, char *text, size_t cap)
{
	size_t n = 0;
	int r = 0;

	for (;;) {
		if (c->at == c->len)
			r = more(c);
		if (r)
			return r;
		text[n] = c->buf[c->at++];
		if (text[n] == '\n')
			break;
		n += n + 1 < cap;
	}
	text[n ? n - 1 : 0] = '\0';
	return 0;
}

static int take(struct torture_resp *c, void *to, size_t bytes)
{
	char *at = to;

	while (bytes) {
		size_t n = MIN(bytes, c->len - c->at);
		int r;

		memcpy(at, c->buf + c->at, n);
		c->at += n;
		at += n;
		bytes -= n;
		r = bytes ? more(c) : 0;
		if (r)
			return r;
	}
	return 0;
}

/* ---- commands ------------------------------------------------------------------ */

/* *n words; the last one may be any bytes. */
static int command(struct torture_resp *c, const char *const *words, unsigned n,
		   const void *last, size_t bytes)
{
	char text[512];
	int len = snprintf(text, sizeof(text), "*%u\r\n", n + (last != NULL));
	int r;

	for (unsigned i = 0; i < n; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len,
				"$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
	if (last)
		len += snprintf(text + len, sizeof(text) - (size_t)len,
				"$%zu\r\n", bytes);
	r = push(c, text, (size_t)len);
	if (r == 0 && last)
		r = push(c, last, bytes);
	if (r == 0 && last)
		r = push(c, "\r\n", 2);
	return r;
}

static int dial(struct torture_resp *c)
{
	const char *const words[] = { "AUTH", c->user, TORTURE_PASSWORD };
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(c->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval wait = { .tv_sec = WAIT_S };
	char text[64];
	int r;

	if (c->fd >= 0)
		return 0;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	r = connect(c->fd, (struct sockaddr *)&in, sizeof(in)) ? -errno : 0;
	if (r == 0)
		r = command(c, words, ARRAY_LEN(words), NULL, 0);
	if (r == 0)
		r = line(c, text, sizeof(text));
	if (r == 0 && strcmp(text, "+OK"))
		r = -EACCES;
	return r ? lost(c, r) : 0;
}

static int ask(struct torture_resp *c, const char *verb, const char *name,
	       const void *last, size_t bytes, char *text, size_t cap)
{
	const char *const words[] = { verb, name };
	int r = dial(c);

	if (r)
		return r;
	r = command(c, words, ARRAY_LEN(words), last, bytes);
	if (r == 0)
		r = line(c, text, cap);
	return r ? lost(c, r) : 0;
}

int torture_resp_set(struct torture_resp *c, const char *name, const void *data,
		     size_t bytes)
{
	char text[64];
	int r = ask(c, "SET", name, data, bytes, text, sizeof(text));

	if (r)
		return r;
	return strcmp(text, "+OK") == 0 ? 0 : OC_BUSY;
}

int torture_resp_get(struct torture_resp *c, const char *name, void *data,
		     size_t cap, size_t *ret_bytes)
{
	char text[64], end[2];
	size_t bytes;
	int r = ask(c, "GET", name, NULL, 0, text, sizeof(text));

	if (r)
		return r;
	if (strcmp(text, "$-1") == 0)
		return OC_MISS;
	if (text[0] != '$')
		return OC_BUSY;
	bytes = strtoul(text + 1, NULL, 10);
	if (bytes > cap)
		return lost(c, -EMSGSIZE);
	r = take(c, data, bytes);
	if (r == 0)
		r = take(c, end, sizeof(end));
	if (r)
		return lost(c, r);
	*ret_bytes = bytes;
	return 0;
}

int torture_resp_del(struct torture_resp *c, const char *name)
{
	char text[64];
	int r = ask(c, "DEL", name, NULL, 0, text, sizeof(text));

	if (r)
		return r;
	return text[0] == ':' ? 0 : OC_BUSY;
}

int torture_resp_exists(struct torture_resp *c, const char *name)
{
	char text[64];
	int r = ask(c, "EXISTS", name, NULL, 0, text, sizeof(text));

	if (r)
		return r;
	if (text[0] != ':')
		return OC_BUSY;
	return text[1] == '0' ? OC_MISS : 0;
}

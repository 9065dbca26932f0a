/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/front/web.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <sys/socket.h>

#define TURN_NS (5 * NS_PER_MS)
#define PAGE	(4u << 20)

static void listen_somewhere(struct web *w)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t n = sizeof(at);

	w->listen_fd =
		socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK_INT(w->listen_fd, >=, 0);
	CHECK_OK(bind(w->listen_fd, (void *)&at, sizeof(at)));
	CHECK_OK(listen(w->listen_fd, 128));
	CHECK_OK(getsockname(w->listen_fd, (void *)&at, &n));
	w->port = ntohs(at.sin_port);
}

void web_open(struct web *w, struct http_options options)
{
	web_open_on(w, options, LOOP_AUTO);
}

void web_open_on(struct web *w, struct http_options options,
		 enum loop_backend backend)
{
	int r;

	*w = (struct web){ .told = told_create() };
	listen_somewhere(w);
	CHECK_OK(loop_create(backend, &w->loop));
	CHECK(EVP_Digest(WEB_TOKEN, strlen(WEB_TOKEN), w->token, NULL,
			 EVP_sha256(), NULL));
	options.loop = w->loop;
	options.report = &w->told->report;
	options.listen_fd = w->listen_fd;
	r = http_create(&options, &w->http);
	if (r == -ENOSYS)
		SKIP("built without libmicrohttpd, or it lacks what it takes");
	CHECK_OK(r);
}

void web_close(struct web *w)
{
	http_destroy(w->http);
	loop_destroy(w->loop);
	close(w->listen_fd);
	told_destroy(w->told);
}

void web_turn(struct web *w)
{
	uint64_t now = clock_ns(), next = http_tick(w->http, now);
	uint64_t wait = next > now ? next - now : 0;

	CHECK_INT(loop_run(w->loop, MIN(wait, TURN_NS)), >=, 0);
}

uint64_t web_count(const struct web *w, enum door_counter c)
{
	return http_door(w->http)->count[DOOR_NO_TENANT][c];
}

/* ---- clients */

struct browser browser_open(struct web *w)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(w->port),
	};
	struct browser b = { .web = w };

	b.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK_INT(b.fd, >=, 0);
	if (connect(b.fd, (void *)&at, sizeof(at)) < 0)
		CHECK_INT(errno, ==, EINPROGRESS);
	b.in = malloc(PAGE + 1);
	CHECK(b.in);
	return b;
}

void browser_close(struct browser *b)
{
	SSL_free(b->ssl);
	close(b->fd);
	free(b->in);
}

static ssize_t put(struct browser *b, const char *text, size_t n)
{
	if (!b->ssl)
		return send(b->fd, text, n, MSG_NOSIGNAL);
	return SSL_write(b->ssl, text, (int)n);
}

void browser_send(struct browser *b, const char *text, size_t n)
{
	while (n > 0) {
		ssize_t done = put(b, text, n);

		if (done > 0) {
			text += done;
			n -= (size_t)done;
			continue;
		}
		if (!b->ssl && errno != EAGAIN)
			return; /* refused before it had come whole */
		web_turn(b->web);
	}
}

static void receive(struct browser *b)
{
	char *to = b->in + b->n;
	size_t room = PAGE - b->n;
	ssize_t n = b->ssl ? SSL_read(b->ssl, to, (int)room)
			   : recv(b->fd, to, room, 0);

	CHECK_INT(room, >, 0);
	if (n > 0)
		b->n += (size_t)n;
	else if (b->ssl)
		b->ended = SSL_get_error(b->ssl, (int)n) != SSL_ERROR_WANT_READ;
	else
		b->ended = n == 0 || (errno != EAGAIN && errno != ENOTCONN);
	b->in[b->n] = '\0';
}

/* Bytes of the first answer, 0: not all there. */
static size_t whole(const struct browser *b, bool headless, size_t *ret_head)
{
	const char *end, *length;
	size_t body = 0;

	end = b->n ? strstr(b->in, "\r\n\r\n") : NULL;
	if (!end)
		return 0;
	*ret_head = (size_t)(end - b->in) + 4;
	length = strcasestr(b->in, "Content-Length:");
	if (length && length < end && !headless)
		body = strtoul(length + 15, NULL, 10);
	return b->n >= *ret_head + body ? *ret_head + body : 0;
}

struct page browser_page(struct browser *b, bool headless)
{
	struct page p = { 0 };
	size_t head = 0, n;

	while (!(n = whole(b, headless, &head)) && !b->ended) {
		web_turn(b->web);
		receive(b);
	}
	if (!n)
		return p;
	CHECK(!strncmp(b->in, "HTTP/1.1 ", 9));
	p.status = (int)strtol(b->in + 9, NULL, 10);
	p.head = strndup(b->in, head);
	p.body = strndup(b->in + head, n - head);
	CHECK(p.head && p.body);
	memmove(b->in, b->in + n, b->n - n + 1);
	b->n -= n;
	return p;
}

void page_free(struct page *p)
{
	free(p->head);
	free(p->body);
}

struct page web_get(struct web *w, const char *method, const char *path,
		    const char *more)
{
	struct browser b = browser_open(w);
	struct page p;
	char text[1024];
	int n = snprintf(text, sizeof(text),
			 "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path,
			 more);

	CHECK_INT(n, <, sizeof(text));
	browser_send(&b, text, (size_t)n);
	p = browser_page(&b, !strcmp(method, "HEAD"));
	browser_close(&b);
	return p;
}

int web_status(struct web *w, const char *path, const char *more)
{
	struct page p = web_get(w, "GET", path, more);
	int status = p.status;

	page_free(&p);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP door over real sockets: a small node (told.h), a loop, and clients by
 * hand in the same thread: whatever waits, turns the loop.
 */
#ifndef ONECOPY_TESTS_FRONT_WEB_H
#define ONECOPY_TESTS_FRONT_WEB_H

#include <openssl/ssl.h>
#include "base/clock.h"
#include "front/http/http.h"
#include "tests/front/told.h"

#define WEB_TOKEN "a secret word"

struct web {
	struct told *told;
	struct loop *loop;
	struct http *http;
	int listen_fd;
	uint16_t port;
	uint8_t token[32];
};

/* Skips the test where the door is not built in. options.loop, report and
 * listen_fd are filled in. */
void web_open(struct web *w, struct http_options options);
void web_open_on(struct web *w, struct http_options options,
		 enum loop_backend backend);
void web_close(struct web *w);
/* Once around. */
void web_turn(struct web *w);
uint64_t web_count(const struct web *w, enum door_counter c);
#define WEB_UNTIL(w_, cond_)          \
	do {                          \
		while (!(cond_))      \
			web_turn(w_); \
	} while (0)

struct browser {
	struct web *web;
	int fd;
	SSL *ssl; /* NULL: plain */
	char *in;
	size_t n;
	bool ended;
};

struct browser browser_open(struct web *w);
void browser_close(struct browser *b);
void browser_send(struct browser *b, const char *text, size_t n);

struct page {
	int status; /* 0: the connection ended without an answer */
	char *head, *body;
};
/* The next answer. headless: of a HEAD request. page_free() it. */
struct page browser_page(struct browser *b, bool headless);
void page_free(struct page *p);
/* A whole request on a connection of its own. `more`: header lines. */
struct page web_get(struct web *w, const char *method, const char *path,
		    const char *more);
/* Status alone. */
int web_status(struct web *w, const char *path, const char *more);

#endif

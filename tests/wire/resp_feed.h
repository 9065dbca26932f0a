/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parser of requests makes of a stream of bytes that comes in pieces,
 * as a text: for each command its arguments, at the end "more" or the error. The
 * text must be the same however the stream was cut, and whether large values
 * were told apart or not. The bytes lie in a block that ends where they end, so
 * that a sanitizer sees a look beyond them.
 */
#ifndef ONECOPY_TESTS_WIRE_RESP_FEED_H
#define ONECOPY_TESTS_WIRE_RESP_FEED_H

#include "base/log.h"
#include "wire/resp.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct feed_bytes {
	char *data;
	size_t len, cap;
};

struct feed {
	struct resp_parser p;
	struct feed_bytes command, values, told;
	uint64_t skip; /* of a value's line end */
	const char *error;
};

static inline void feed_append(struct feed_bytes *b, const void *data,
			       size_t len)
{
	if (b->len + len > b->cap) {
		b->cap = 2 * (b->len + len);
		b->data = realloc(b->data, b->cap);
		must(b->data);
	}
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
}

/* To the byte: what lies behind is not ours. */
static inline void feed_resize(struct feed_bytes *b, size_t len)
{
	char *block = malloc(len ? len : 1);

	must(block);
	if (b->len && len)
		memcpy(block, b->data, MIN(b->len, len));
	free(b->data);
	b->data = block;
	b->len = b->cap = len;
}

static inline void feed_begin(struct feed *f, uint32_t large)
{
	memset(f, 0, sizeof(*f));
	f->p.large = large;
	resp_begin(&f->p);
}

static inline void feed_end(struct feed *f)
{
	free(f->command.data);
	free(f->values.data);
	free(f->told.data);
}

static inline void feed_tell(struct feed *f)
{
	size_t value = 0;
	char head[32];

	feed_append(&f->told, head,
		    (size_t)snprintf(head, sizeof(head), "#%u\n", f->p.n_args));
	for (uint32_t i = 0; i < f->p.n_args; i++) {
		const struct resp_arg *a = &f->p.arg[i];
		const char *text = f->command.data + a->at;

		if (a->at == RESP_ARG_VALUE) {
			text = f->values.data + value;
			value += a->len;
		} else {
			must((uint64_t)a->at + a->len <= f->p.at);
		}
		feed_append(&f->told, head,
			    (size_t)snprintf(head, sizeof(head),
					     "%u:", a->len));
		feed_append(&f->told, text, a->len);
		feed_append(&f->told, "\n", 1);
	}
	must(value == f->values.len);
	f->values.len = 0;
}

static inline void feed_parse(struct feed *f)
{
	for (;;) {
		int r = resp_parse(&f->p, f->command.data, f->command.len);
		size_t rest = f->command.len - f->p.at;

		must(f->p.at <= f->command.len && f->p.n_args <= RESP_ARGS_MAX);
		if (r < 0) {
			must(r == -EPROTO && f->p.error);
			f->error = f->p.error;
			return;
		}
		must(!f->p.error);
		if (r == RESP_MORE)
			return;
		if (r == RESP_VALUE) {
			must(f->p.value_bytes > f->p.large);
			f->skip = 2;
			return;
		}
		feed_tell(f);
		memmove(f->command.data, f->command.data + f->p.at, rest);
		feed_resize(&f->command, rest);
		resp_begin(&f->p);
		if (rest == 0)
			return;
	}
}

/* As a door does: the value's bytes go elsewhere, its line end is checked.
 * Returns how many bytes were taken; 0: all is for the parser. */
static inline size_t feed_value(struct feed *f, const char *data, size_t len)
{
	uint64_t have = f->values.len, want = 0;

	if (!f->skip)
		return 0;
	for (uint32_t i = 0; i < f->p.n_args; i++)
		if (f->p.arg[i].at == RESP_ARG_VALUE)
			want += f->p.arg[i].len;
	if (have < want) {
		len = MIN(len, want - have);
		feed_append(&f->values, data, len);
		return len;
	}
	if (*data != (f->skip == 2 ? '\r' : '\n')) {
		f->error = "Protocol error: expected CRLF after a bulk";
	} else if (--f->skip == 0) {
		resp_after_value(&f->p);
		feed_parse(f);
	}
	return 1;
}

/* What lies behind a large value's length goes back: how much that is. */
static inline size_t feed_give_back(struct feed *f)
{
	size_t rest = f->command.len - f->p.at;

	if (!f->p.value_bytes || f->error)
		return 0;
	feed_resize(&f->command, f->p.at);
	return rest;
}

static inline void feed(struct feed *f, const char *data, size_t len)
{
	while (len && !f->error) {
		size_t n = feed_value(f, data, len), had = f->command.len;

		if (n == 0) {
			feed_resize(&f->command, had + len);
			memcpy(f->command.data + had, data, len);
			feed_parse(f);
			n = len - feed_give_back(f);
		}
		data += n;
		len -= n;
	}
}

static inline void feed_finish(struct feed *f)
{
	const char *end = f->error ? f->error : "more";

	feed_append(&f->told, end, strlen(end) + 1);
}

#endif

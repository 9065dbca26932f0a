/* SPDX-License-Identifier: Apache-2.0 */
#include "front/resp/out.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/log.h"
#include "wire/resp_reply.h"

#define OUT_LEAST 16384u
/* A buffer that one large reply left behind is not kept. */
#define OUT_KEPT (1u << 20)

void out_begin(struct out *o, uint8_t protocol)
{
	if (o->cap > OUT_KEPT)
		out_fini(o);
	o->len = 0;
	o->failed = false;
	o->protocol = protocol;
}

void out_fini(struct out *o)
{
	free(o->at);
	o->at = NULL;
	o->len = o->cap = 0;
}

static bool out_grow(struct out *o, size_t more)
{
	size_t cap = MAX(o->cap, (size_t)OUT_LEAST);
	char *grown;

	while (cap < o->len + more)
		cap *= 2;
	grown = mem_grow(o->at, cap, 1);
	if (!grown) {
		o->failed = true;
		return false;
	}
	o->at = grown;
	o->cap = cap;
	return true;
}

char *out_room(struct out *o, size_t more)
{
	if (o->len + more > o->cap && !out_grow(o, more))
		return NULL;
	return o->at + o->len;
}

void out_raw(struct out *o, const char *bytes, size_t len)
{
	char *at = len ? out_room(o, len) : NULL;

	if (!at)
		return;
	memcpy(at, bytes, len);
	o->len += len;
}

/* What a resp_put_...() wrote: there was room for it. */
static void put(struct out *o, int n)
{
	must(n > 0);
	o->len += (size_t)n;
}

void out_simple(struct out *o, const char *text)
{
	size_t cap = strlen(text) + RESP_HEAD_MAX;
	char *at = out_room(o, cap);

	if (at)
		put(o, resp_put_simple(at, cap, text));
}

void out_error(struct out *o, const char *text)
{
	size_t len = strlen(text), cap = len + RESP_HEAD_MAX;
	char *at = out_room(o, cap);

	o->errors++;
	if (at)
		put(o, resp_put_error(at, cap, text, len));
}

void out_errorf(struct out *o, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	out_error(o, text);
}

void out_int(struct out *o, int64_t n)
{
	char *at = out_room(o, RESP_HEAD_MAX);

	if (at)
		put(o, resp_put_integer(at, RESP_HEAD_MAX, n));
}

void out_bulk_head(struct out *o, uint64_t len)
{
	char *at = out_room(o, RESP_HEAD_MAX);

	if (at)
		put(o, resp_put_bulk_head(at, RESP_HEAD_MAX, len));
}

void out_bulk(struct out *o, const char *bytes, size_t len)
{
	char *at = out_room(o, len + 2 * RESP_HEAD_MAX);

	if (at)
		put(o, resp_put_bulk(at, len + 2 * RESP_HEAD_MAX,
				     bytes ? bytes : "", len));
}

void out_text(struct out *o, const char *text)
{
	out_bulk(o, text, strlen(text));
}

void out_people(struct out *o, const char *text, size_t len)
{
	size_t cap = len + 2 * RESP_HEAD_MAX;
	char *at = out_room(o, cap);

	if (at)
		put(o,
		    resp_put_text(at, cap, o->protocol, text ? text : "", len));
}

void out_null(struct out *o)
{
	char *at = out_room(o, RESP_HEAD_MAX);

	if (at)
		put(o, resp_put_null(at, RESP_HEAD_MAX, o->protocol));
}

void out_array(struct out *o, uint32_t n)
{
	char *at = out_room(o, RESP_HEAD_MAX);

	if (at)
		put(o, resp_put_array(at, RESP_HEAD_MAX, n));
}

void out_map(struct out *o, uint32_t n)
{
	char *at = out_room(o, RESP_HEAD_MAX);

	if (at)
		put(o, resp_put_map(at, RESP_HEAD_MAX, o->protocol, n));
}

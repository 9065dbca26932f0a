/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of a trace. jansson does the JSON; this file says what a request
 * is. jansson itself bounds the depth (2,048), and the line is bounded.
 */
#include "trace/trace.h"
#include "base/fault.h"
#include "base/hash.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const stop_names[TRACE_STOPS] = { "none", "end", "tool",
						     "length", "other" };

const char *trace_stop_name(enum trace_stop stop)
{
	return (unsigned)stop < TRACE_STOPS ? stop_names[stop] : "other";
}

static enum trace_stop stop_of(const char *text)
{
	static const struct {
		const char *text;
		enum trace_stop stop;
	} known[] = {
		{ "end_turn", TRACE_STOP_END },
		{ "stop", TRACE_STOP_END },
		{ "stop_sequence", TRACE_STOP_END },
		{ "tool_use", TRACE_STOP_TOOL },
		{ "tool_calls", TRACE_STOP_TOOL },
		{ "max_tokens", TRACE_STOP_LENGTH },
		{ "length", TRACE_STOP_LENGTH },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(text, known[i].text) == 0)
			return known[i].stop;
	}
	return *text ? TRACE_STOP_OTHER : TRACE_STOP_NONE;
}

PRINTF_LIKE(2, 3)
static int wrong(char error[TRACE_ERROR], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, TRACE_ERROR, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* A whole number within 0 .. TRACE_NUMBER_MAX, also when written as 5.0. */
static bool whole_number(const json_t *value, uint64_t *ret)
{
	double real;

	if (json_is_integer(value)) {
		json_int_t n = json_integer_value(value);

		if (n < 0 || (uint64_t)n > TRACE_NUMBER_MAX)
			return false;
		*ret = (uint64_t)n;
		return true;
	}
	if (!json_is_real(value))
		return false;
	real = json_real_value(value);
	if (!(real >= 0 && real <= (double)TRACE_NUMBER_MAX) ||
	    floor(real) != real)
		return false;
	*ret = (uint64_t)real;
	return true;
}

static int get_number(const json_t *object, const char *name, uint64_t *ret,
		      char error[TRACE_ERROR])
{
	const json_t *value = json_object_get(object, name);

	if (!value)
		return wrong(error, "no \"%s\"", name);
	if (!whole_number(value, ret))
		return wrong(error,
			     "\"%s\" is not a whole number from 0 to 2^53",
			     name);
	return 0;
}

/* A name of something: a number, a text, or not there (or null). */
static int get_name(const json_t *object, const char *name, uint64_t absent,
		    uint64_t *ret, char error[TRACE_ERROR])
{
	const json_t *value = json_object_get(object, name);

	if (!value || json_is_null(value)) {
		*ret = absent;
		return 0;
	}
	if (json_is_string(value)) {
		*ret = hash_bytes(json_string_value(value),
				  json_string_length(value), 0) |
		       1ull << 63;
		/* the one value that means something else */
		*ret -= *ret == TRACE_NO_SESSION;
		return 0;
	}
	if (!whole_number(value, ret))
		return wrong(error,
			     "\"%s\" is neither a text nor a whole number "
			     "from 0 to 2^53",
			     name);
	return 0;
}

/* A text, or "" where there is none. */
static int get_text(const json_t *object, const char *name, const char **ret,
		    char error[TRACE_ERROR])
{
	const json_t *value = json_object_get(object, name);

	*ret = "";
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value))
		return wrong(error, "\"%s\" is not a text", name);
	*ret = json_string_value(value);
	return 0;
}

/* Room for n in *array, which stays as it was on failure. */
static int reserve(void *array, size_t *room, size_t n, size_t each)
{
	void **at = array;
	void *p;

	if (n <= *room)
		return 0;
	n = round_up_pow2(n);
	p = mem_grow(*at, n, each);
	if (!p)
		return -ENOMEM;
	*at = p;
	*room = n;
	return 0;
}

static int check_ids(const json_t *array, char error[TRACE_ERROR])
{
	uint64_t id;

	if (!array)
		return wrong(error, "no \"hash_ids\"");
	if (!json_is_array(array))
		return wrong(error, "\"hash_ids\" is not an array");
	if (json_array_size(array) > TRACE_IDS_MAX)
		return wrong(error, "\"hash_ids\" has %zu ids, at most %u",
			     json_array_size(array), TRACE_IDS_MAX);
	for (size_t i = 0; i < json_array_size(array); i++) {
		if (!whole_number(json_array_get(array, i), &id))
			return wrong(error,
				     "\"hash_ids\"[%zu] is not a whole number "
				     "from 0 to 2^53",
				     i);
	}
	return 0;
}

/* Cut at a character's start, so that what is left is UTF-8 still. */
static void copy_agent(char dst[TRACE_NAME], const char *src)
{
	size_t n = strnlen(src, TRACE_NAME);

	if (n == TRACE_NAME) {
		n--;
		while (n && ((unsigned char)src[n] & 0xc0) == 0x80)
			n--;
	}
	memset(dst, 0, TRACE_NAME);
	memcpy(dst, src, n);
}

static int parse_next_one(const json_t *object, struct trace_next *ret,
			  char error[TRACE_ERROR])
{
	const char *agent = "";
	int e;

	*ret = (struct trace_next){ 0 };
	if (!json_is_object(object))
		return wrong(error, "not an object");
	e = get_name(object, "session", TRACE_NO_SESSION, &ret->session, error);
	if (!e && ret->session == TRACE_NO_SESSION)
		e = wrong(error, "no \"session\"");
	if (!e)
		e = get_name(object, "model", 0, &ret->model, error);
	if (!e)
		e = get_text(object, "agent", &agent, error);
	if (!e)
		e = get_number(object, "in_ms", &ret->in_ms, error);
	copy_agent(ret->agent, agent);
	return e;
}

static int parse_next(const json_t *array, struct trace_request *r,
		      char error[TRACE_ERROR])
{
	size_t n = json_array_size(array); /* 0 of NULL, too */
	char why[TRACE_ERROR - 32];
	int e = 0;

	r->n_next = 0;
	if (array && !json_is_array(array) && !json_is_null(array))
		return wrong(error, "\"next\" is not an array");
	if (n > TRACE_NEXT_MAX)
		return wrong(error, "\"next\" has %zu sessions, at most %u", n,
			     TRACE_NEXT_MAX);
	if (reserve(&r->next, &r->next_room, n, sizeof(*r->next))) {
		snprintf(error, TRACE_ERROR, "no memory for %zu sessions", n);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		e = parse_next_one(json_array_get(array, i), &r->next[i],
				   error);
		if (!e)
			continue;
		snprintf(why, sizeof(why), "%s", error);
		return wrong(error, "\"next\"[%zu]: %s", i, why);
	}
	r->n_next = n;
	return 0;
}

static int parse_object(const json_t *object, struct trace_request *r,
			const json_t **ret_ids, char error[TRACE_ERROR])
{
	const char *agent = "", *stop = "";
	int e;

	if (!json_is_object(object))
		return wrong(error, "not a JSON object");
	e = get_number(object, "timestamp", &r->timestamp_ms, error);
	if (!e)
		e = get_number(object, "input_length", &r->input_length, error);
	if (!e)
		e = get_number(object, "output_length", &r->output_length,
			       error);
	if (!e)
		e = get_name(object, "session", TRACE_NO_SESSION, &r->session,
			     error);
	if (!e)
		e = get_name(object, "model", 0, &r->model, error);
	if (!e)
		e = get_text(object, "agent", &agent, error);
	if (!e)
		e = get_text(object, "stop", &stop, error);
	if (e)
		return e;
	copy_agent(r->agent, agent);
	r->stop = stop_of(stop);
	*ret_ids = json_object_get(object, "hash_ids");
	return check_ids(*ret_ids, error);
}

static int take_ids(const json_t *array, struct trace_request *r,
		    char error[TRACE_ERROR])
{
	size_t n = json_array_size(array);

	if (reserve(&r->ids, &r->room, n, sizeof(*r->ids))) {
		snprintf(error, TRACE_ERROR, "no memory for %zu ids", n);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		whole_number(json_array_get(array, i), &r->ids[i]);
	r->n_ids = n;
	return 0;
}

/* jansson builds every value, ours or not, at some 50 bytes each: a line of
 * commas may not become a GiB. */
static bool too_many_values(const char *line, size_t len)
{
	size_t commas = 0;

	for (size_t i = 0; i < len; i++)
		commas += line[i] == ',';
	return commas > TRACE_IDS_MAX + 1024 + 8 * TRACE_NEXT_MAX;
}

int trace_parse_line(const char *line, size_t len, struct trace_request *ret,
		     char error[TRACE_ERROR])
{
	struct trace_request r = *ret;
	const json_t *ids = NULL;
	json_error_t why;
	json_t *object;
	int e;

	if (len > TRACE_LINE_MAX)
		return wrong(error, "the line is longer than %u MiB",
			     TRACE_LINE_MAX >> 20);
	if (too_many_values(line, len))
		return wrong(error, "the line has more than %u values",
			     TRACE_IDS_MAX);
	object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	if (!object)
		return wrong(error, "not JSON: %s (column %d)", why.text,
			     why.column);
	e = parse_object(object, &r, &ids, error);
	if (!e)
		e = parse_next(json_object_get(object, "next"), &r, error);
	if (!e)
		e = take_ids(ids, &r, error);
	if (!e) {
		*ret = r;
	} else { /* they may have moved even where the rest is not taken */
		ret->ids = r.ids;
		ret->room = r.room;
		ret->next = r.next;
		ret->next_room = r.next_room;
	}
	json_decref(object);
	return e;
}

void trace_request_fini(struct trace_request *request)
{
	if (!request)
		return;
	free(request->ids);
	free(request->next);
	*request = (struct trace_request){ 0 };
}

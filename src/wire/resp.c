/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A length's line is read digit by digit, from its start each time: it is
 * refused as soon as it can be none, so it never grows beyond LENGTH_DIGITS and
 * what is looked at again is bounded. Only an inline command is searched for
 * its end, from where the last search stopped.
 *
 * What is answered never depends on how the bytes were cut: each bound holds
 * for what lies before it, however much of data lies behind.
 */
#include "wire/resp.h"
#include <errno.h>
#include <strings.h>

#define LENGTH_DIGITS 10u /* of the longest length that is read at all */

static const char bad_array[] = "Protocol error: invalid multibulk length";
static const char bad_bulk[] = "Protocol error: invalid bulk length";
static const char bad_end[] = "Protocol error: expected CRLF after a bulk";
static const char no_bulk[] = "Protocol error: expected '$'";
static const char long_line[] = "Protocol error: too big inline request";
static const char long_command[] = "Protocol error: too big request";
static const char bad_quotes[] = "Protocol error: unbalanced quotes in request";
static const char many_words[] = "Protocol error: too many words in request";
static const char is_http[] = "Protocol error: this is not an HTTP server";

void resp_begin(struct resp_parser *p)
{
	p->at = 0;
	p->scanned = 0;
	p->wanted = 0;
	p->n_args = 0;
	p->bulk = 0;
	p->in_bulk = false;
	p->value_bytes = 0;
	p->error = NULL;
}

static NOINLINE int refuse(struct resp_parser *p, const char *error)
{
	p->error = error;
	return -EPROTO;
}

/* The digits and the line's end behind a '*' or '$': how many bytes that were,
 * 0 when more must come, -EPROTO when it is no length. */
static inline int read_length(const char *text, size_t len, uint64_t *ret)
{
	uint64_t value = 0;
	unsigned i, digit;

	for (i = 0; i < len && i <= LENGTH_DIGITS; i++) {
		digit = (unsigned)(unsigned char)text[i] - '0';
		if (digit > 9)
			break;
		value = value * 10 + digit;
	}
	if (i > LENGTH_DIGITS || (i > 1 && text[0] == '0'))
		return -EPROTO;
	if (i == len)
		return 0;
	if (i == 0 || text[i] != '\r')
		return -EPROTO;
	if (i + 1 == len)
		return 0;
	if (text[i + 1] != '\n')
		return -EPROTO;
	*ret = value;
	return (int)i + 2;
}

/* ---- arrays ---------------------------------------------------------------- */

static inline int read_bulk_length(struct resp_parser *p, const char *data,
				   uint32_t len)
{
	int n;

	if (p->at == len)
		return RESP_MORE;
	if (unlikely(data[p->at] != '$'))
		return refuse(p, no_bulk);
	n = read_length(data + p->at + 1, len - p->at - 1, &p->bulk);
	if (unlikely(n <= 0))
		return n < 0 ? refuse(p, bad_bulk) : RESP_MORE;
	if (unlikely(p->bulk > RESP_BULK_MAX))
		return refuse(p, bad_bulk);
	p->at += 1 + (uint32_t)n;
	p->in_bulk = true;
	return 1;
}

static inline int read_bulk(struct resp_parser *p, const char *data,
			    uint32_t len)
{
	uint32_t end;

	/* Refused here, not when the bytes have come. */
	if (unlikely(p->at + p->bulk + 2 > RESP_COMMAND_MAX))
		return refuse(p, long_command);
	end = p->at + (uint32_t)p->bulk;
	if (end + 2 > len) {
		if (end < len && data[end] != '\r')
			return refuse(p, bad_end);
		return RESP_MORE;
	}
	if (unlikely(data[end] != '\r' || data[end + 1] != '\n'))
		return refuse(p, bad_end);
	p->arg[p->n_args].at = p->at;
	p->arg[p->n_args].len = (uint32_t)p->bulk;
	p->n_args++;
	p->at = end + 2;
	p->in_bulk = false;
	return 1;
}

static int tell_value(struct resp_parser *p)
{
	p->arg[p->n_args].at = RESP_ARG_VALUE;
	p->arg[p->n_args].len = (uint32_t)p->bulk;
	p->n_args++;
	p->value_bytes = p->bulk;
	return RESP_VALUE;
}

void resp_after_value(struct resp_parser *p)
{
	p->value_bytes = 0;
	p->in_bulk = false;
}

static int read_args(struct resp_parser *p, const char *data, uint32_t len)
{
	int r;

	if (unlikely(p->value_bytes))
		return RESP_VALUE; /* resp_after_value() was not called */
	while (p->n_args < p->wanted) {
		if (!p->in_bulk) {
			r = read_bulk_length(p, data, len);
			if (r <= 0)
				return r;
		}
		if (p->large && p->bulk > p->large)
			return tell_value(p);
		r = read_bulk(p, data, len);
		if (r <= 0)
			return r;
	}
	return RESP_COMMAND;
}

static int read_array(struct resp_parser *p, const char *data, uint32_t len)
{
	bool negative = len > 1 && data[1] == '-';
	uint32_t skip = negative ? 2 : 1;
	uint64_t wanted = 0;
	int n = read_length(data + skip, len - skip, &wanted);

	if (n < 0 || (negative && len > 2 && data[2] == '0'))
		return refuse(p, bad_array);
	if (n == 0)
		return RESP_MORE;
	if (!negative && wanted > RESP_ARGS_MAX)
		return refuse(p, bad_array);
	p->at = skip + (uint32_t)n;
	if (negative || wanted == 0)
		return RESP_COMMAND;
	p->wanted = (uint32_t)wanted;
	return read_args(p, data, len);
}

/* ---- lines ------------------------------------------------------------------ */

/* What is still to be read of a line, and where its words are written to: never
 * beyond what was read, for no word grows when its quotes go. */
struct line {
	const char *at, *end;
	char *to;
};

static bool space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character behind a backslash in double quotes; `at` is on that. */
static char read_escape(struct line *l)
{
	static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
	char c = *l->at++;
	const char *found;

	if (c == 'x' && l->end - l->at >= 2 && hex_digit(l->at[0]) >= 0 &&
	    hex_digit(l->at[1]) >= 0) {
		c = (char)(hex_digit(l->at[0]) << 4 | hex_digit(l->at[1]));
		l->at += 2;
		return c;
	}
	found = c ? strchr(from, c) : NULL;
	return found ? to[found - from] : c;
}

/* From behind the opening quote; what closes it must end the word. */
static bool read_quoted(struct line *l, char quote)
{
	while (l->at < l->end) {
		char c = *l->at++;

		if (c == quote)
			return l->at == l->end || space(*l->at);
		if (c == '\\' && l->at < l->end) {
			if (quote == '"')
				c = read_escape(l);
			else if (*l->at == '\'')
				c = *l->at++;
		}
		*l->to++ = c;
	}
	return false;
}

static bool read_word(struct line *l)
{
	while (l->at < l->end && !space(*l->at)) {
		char c = *l->at++;

		if (c == '"' || c == '\'')
			return read_quoted(l, c);
		*l->to++ = c;
	}
	return true;
}

static int read_words(struct resp_parser *p, char *data, size_t len)
{
	struct line l = { .at = data, .end = data + len, .to = data };

	for (;;) {
		char *word = l.to;

		while (l.at < l.end && space(*l.at))
			l.at++;
		if (l.at == l.end)
			return RESP_COMMAND;
		if (p->n_args == RESP_ARGS_MAX)
			return refuse(p, many_words);
		if (!read_word(&l))
			return refuse(p, bad_quotes);
		p->arg[p->n_args].at = (uint32_t)(word - data);
		p->arg[p->n_args].len = (uint32_t)(l.to - word);
		p->n_args++;
	}
}

/* A browser can be made to send a request of HTTP anywhere, with a body that
 * the page chose. It must not get as far as that. */
static bool http(const struct resp_parser *p, const char *data)
{
	const char *word = data + p->arg[0].at;

	if (p->n_args == 0)
		return false;
	return (p->arg[0].len == 4 && strncasecmp(word, "post", 4) == 0) ||
	       (p->arg[0].len == 5 && strncasecmp(word, "host:", 5) == 0);
}

static int read_line(struct resp_parser *p, char *data, uint32_t len)
{
	uint32_t most = MIN(len, RESP_LINE_MAX);
	const char *end = memchr(data + p->scanned, '\n', most - p->scanned);
	int r;

	if (!end) {
		p->scanned = most;
		return most < RESP_LINE_MAX ? RESP_MORE : refuse(p, long_line);
	}
	r = read_words(p, data, (size_t)(end - data));
	if (r < 0)
		return r;
	if (http(p, data))
		return refuse(p, is_http);
	p->at = (uint32_t)(end - data) + 1;
	return r;
}

/* ------------------------------------------------------------------------------ */

int resp_parse(struct resp_parser *p, char *data, size_t len)
{
	uint32_t most = (uint32_t)MIN(len, (size_t)RESP_COMMAND_MAX);
	int r;

	if (unlikely(most < p->at || most == 0))
		return RESP_MORE;
	if (p->wanted)
		r = read_args(p, data, most);
	else if (likely(data[0] == '*'))
		r = read_array(p, data, most);
	else
		r = read_line(p, data, most);
	if (unlikely(r == RESP_MORE && most == RESP_COMMAND_MAX))
		return refuse(p, long_command);
	return r;
}

bool resp_number(const char *text, size_t len, int64_t *ret)
{
	bool negative = len > 1 && text[0] == '-';
	uint64_t value = 0;

	if (negative) {
		text++;
		len--;
	}
	if (len == 0 || len > 19 || (text[0] == '0' && (len > 1 || negative)))
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned digit = (unsigned)(unsigned char)text[i] - '0';

		if (digit > 9)
			return false;
		value = value * 10 + digit;
	}
	/* 19 digits fit in 64 bits without a sign */
	if (value > (uint64_t)INT64_MAX + negative)
		return false;
	*ret = negative ? (int64_t)(0 - value) : (int64_t)value;
	return true;
}

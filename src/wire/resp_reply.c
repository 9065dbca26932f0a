/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp_reply.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_MAX 20 /* digits of 64 bits */

static const char pairs[] = "00010203040506070809"
			    "10111213141516171819"
			    "20212223242526272829"
			    "30313233343536373839"
			    "40414243444546474849"
			    "50515253545556575859"
			    "60616263646566676869"
			    "70717273747576777879"
			    "80818283848586878889"
			    "90919293949596979899";

/* Backwards from `end`; returns where the first digit is. */
static inline char *write_digits(char *end, uint64_t n)
{
	while (n >= 100) {
		end -= 2;
		memcpy(end, pairs + 2 * (n % 100), 2);
		n /= 100;
	}
	if (n >= 10) {
		end -= 2;
		memcpy(end, pairs + 2 * n, 2);
		return end;
	}
	*--end = (char)('0' + n);
	return end;
}

/* A type's letter, a number, a line's end. */
static inline int put_number(char *at, size_t cap, char type, bool negative,
			     uint64_t n)
{
	char digits[NUMBER_MAX], *first = write_digits(digits + NUMBER_MAX, n);
	size_t len = (size_t)(digits + NUMBER_MAX - first);
	char *to = at;

	if (unlikely(cap < len + 3 + negative))
		return -ENOSPC;
	*to++ = type;
	if (negative)
		*to++ = '-';
	memcpy(to, first, len);
	to += len;
	*to++ = '\r';
	*to++ = '\n';
	return (int)(to - at);
}

static inline int put_fixed(char *at, size_t cap, const char *text, size_t len)
{
	if (unlikely(cap < len))
		return -ENOSPC;
	memcpy(at, text, len);
	return (int)len;
}

#define PUT_FIXED(at, cap, text) put_fixed(at, cap, text, sizeof(text) - 1)

int resp_put_simple(char *at, size_t cap, const char *text)
{
	size_t len = strlen(text);

	if (cap < len + 3)
		return -ENOSPC;
	at[0] = '+';
	memcpy(at + 1, text, len);
	memcpy(at + 1 + len, "\r\n", 2);
	return (int)len + 3;
}

int resp_put_error(char *at, size_t cap, const char *text, size_t len)
{
	if (cap < 3 || cap - 3 < len)
		return -ENOSPC;
	at[0] = '-';
	for (size_t i = 0; i < len; i++)
		at[1 + i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f
				    ? ' '
				    : text[i];
	memcpy(at + 1 + len, "\r\n", 2);
	return (int)len + 3;
}

int resp_put_integer(char *at, size_t cap, int64_t n)
{
	uint64_t size = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;

	return put_number(at, cap, ':', n < 0, size);
}

int resp_put_bulk_head(char *at, size_t cap, uint64_t len)
{
	return put_number(at, cap, '$', false, len);
}

static int put_body(char *at, size_t cap, int head, const void *data,
		    size_t len)
{
	if (head < 0 || cap - (size_t)head < 2 || cap - (size_t)head - 2 < len)
		return -ENOSPC;
	if (len)
		memcpy(at + head, data, len);
	memcpy(at + head + len, "\r\n", 2);
	return head + (int)len + 2;
}

int resp_put_bulk(char *at, size_t cap, const void *data, size_t len)
{
	return put_body(at, cap, resp_put_bulk_head(at, cap, len), data, len);
}

int resp_put_null(char *at, size_t cap, unsigned version)
{
	return version >= 3 ? PUT_FIXED(at, cap, "_\r\n")
			    : PUT_FIXED(at, cap, "$-1\r\n");
}

int resp_put_array(char *at, size_t cap, uint64_t n)
{
	return put_number(at, cap, '*', false, n);
}

int resp_put_map(char *at, size_t cap, unsigned version, uint64_t n)
{
	return version >= 3 ? put_number(at, cap, '%', false, n)
			    : put_number(at, cap, '*', false, 2 * n);
}

int resp_put_set(char *at, size_t cap, unsigned version, uint64_t n)
{
	return put_number(at, cap, version >= 3 ? '~' : '*', false, n);
}

int resp_put_bool(char *at, size_t cap, unsigned version, bool value)
{
	if (version >= 3)
		return value ? PUT_FIXED(at, cap, "#t\r\n")
			     : PUT_FIXED(at, cap, "#f\r\n");
	return put_number(at, cap, ':', false, value);
}

static size_t double_text(double value, char *buf, size_t cap)
{
	if (isnan(value))
		return (size_t)snprintf(buf, cap, "nan");
	if (isinf(value))
		return (size_t)snprintf(buf, cap, value < 0 ? "-inf" : "inf");
	for (int digits = 15; digits < 17; digits++) {
		int n = snprintf(buf, cap, "%.*g", digits, value);

		if (strtod(buf, NULL) == value)
			return (size_t)n;
	}
	return (size_t)snprintf(buf, cap, "%.17g", value);
}

int resp_put_double(char *at, size_t cap, unsigned version, double value)
{
	char text[40];
	size_t len = double_text(value, text, sizeof(text));

	if (version < 3)
		return resp_put_bulk(at, cap, text, len);
	if (cap < len + 3)
		return -ENOSPC;
	at[0] = ',';
	memcpy(at + 1, text, len);
	memcpy(at + 1 + len, "\r\n", 2);
	return (int)len + 3;
}

int resp_put_text(char *at, size_t cap, unsigned version, const char *text,
		  size_t len)
{
	int head;

	if (version < 3)
		return resp_put_bulk(at, cap, text, len);
	head = put_number(at, cap, '=', false, len + 4);
	if (head < 0 || cap - (size_t)head < 4)
		return -ENOSPC;
	memcpy(at + head, "txt:", 4);
	return put_body(at, cap, head + 4, text, len);
}

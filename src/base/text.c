/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define WORD_MOST	64 /* longer words have no near names */
#define FRACTION_DIGITS 9

/* A number with an optional fraction, kept in whole billionths so that no
 * rounding of floating point shows in a size. */
struct number {
	uint64_t whole;
	uint32_t billionths;
	bool fraction;
};

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static int scan_whole(const char **at, uint64_t *ret_value)
{
	const char *p = *at;
	uint64_t value = 0;

	if (!digit(*p))
		return -EINVAL;
	for (; digit(*p); p++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (unsigned)(*p - '0'), &value))
			return -ERANGE;
	*at = p;
	*ret_value = value;
	return 0;
}

/* Digits past the ninth are checked and dropped. */
static int scan_number(const char **at, struct number *ret)
{
	const char *p;
	uint32_t unit = 100000000;
	int err = scan_whole(at, &ret->whole);

	ret->billionths = 0;
	ret->fraction = false;
	if (err < 0 || **at != '.')
		return err;
	p = *at + 1;
	if (!digit(*p))
		return -EINVAL;
	for (; digit(*p); p++, unit /= 10)
		ret->billionths += (uint32_t)(*p - '0') * unit;
	ret->fraction = true;
	*at = p;
	return 0;
}

/* number * scale / per, rounded down */
static int number_scale(const struct number *n, uint64_t scale, uint64_t per,
			uint64_t *ret)
{
	unsigned __int128 v = (unsigned __int128)n->whole * scale;

	/* whole * scale leaves no room for another factor of 10^9: the fraction
   * is scaled by itself. */
	v += (unsigned __int128)n->billionths * scale / 1000000000u;
	v /= per;
	if (v > UINT64_MAX)
		return -ERANGE;
	*ret = (uint64_t)v;
	return 0;
}

/* "", "B", "K", "KB", "KiB", ... in any case; -1 is no unit */
static int size_shift(const char *unit)
{
	static const char letters[] = "KMGTPE";
	const char *found;
	char up;

	if (*unit == '\0' || strcasecmp(unit, "b") == 0)
		return 0;
	up = *unit >= 'a' && *unit <= 'z' ? (char)(*unit - 32) : *unit;
	found = strchr(letters, up);
	if (!found)
		return -1;
	unit++;
	if (*unit && strcasecmp(unit, "b") != 0 && strcasecmp(unit, "ib") != 0)
		return -1;
	return 10 * (int)(found - letters + 1);
}

int text_parse_size(const char *text, uint64_t whole, uint64_t *ret_bytes)
{
	struct number n;
	int shift, err = scan_number(&text, &n);

	if (err < 0)
		return err;
	if (strcmp(text, "%") == 0)
		return whole ? number_scale(&n, whole, 100, ret_bytes)
			     : -EINVAL;
	shift = size_shift(text);
	if (shift < 0 || (shift == 0 && n.fraction))
		return -EINVAL; /* half a byte is a slip */
	return number_scale(&n, 1ull << shift, 1, ret_bytes);
}

int text_parse_time(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {
		{ "", 1000000 },	{ "ns", 1 },
		{ "us", 1000 },		{ "ms", 1000000 },
		{ "s", 1000000000 },	{ "m", 60000000000 },
		{ "h", 3600000000000 },
	};
	struct number n;
	int err = scan_number(&text, &n);

	if (err < 0)
		return err;
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (strcmp(text, units[i].unit) == 0)
			return number_scale(&n, units[i].ns, 1, ret_ns);
	return -EINVAL;
}

int text_parse_u64(const char *text, uint64_t most, uint64_t *ret_value)
{
	uint64_t value;
	int err = scan_whole(&text, &value);

	if (err < 0)
		return err;
	if (*text)
		return -EINVAL;
	if (value > most)
		return -ERANGE;
	*ret_value = value;
	return 0;
}

static int hex_digit(char c)
{
	if (digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int text_parse_hex(const char *text, uint8_t *ret_bytes, size_t n)
{
	/* Twice over the text: the output is written on success only. */
	for (size_t i = 0; i < 2 * n; i++)
		if (hex_digit(text[i]) < 0)
			return -EINVAL;
	if (text[2 * n])
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		ret_bytes[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 |
					 hex_digit(text[2 * i + 1]));
	return 0;
}

void text_hex(const uint8_t *bytes, size_t n, char *ret_hex)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		ret_hex[2 * i] = digits[bytes[i] >> 4];
		ret_hex[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret_hex[2 * n] = '\0';
}

/* One decimal below 10, none above or when it would be a zero. `tenths` is
 * rounded to nearest. */
static const char *print_tenths(char buf[32], uint64_t tenths, const char *unit)
{
	if (tenths < 100 && tenths % 10)
		snprintf(buf, 32, "%u.%u %s", (unsigned)(tenths / 10),
			 (unsigned)(tenths % 10), unit);
	else
		snprintf(buf, 32, "%llu %s",
			 (unsigned long long)((tenths + 5) / 10), unit);
	return buf;
}

static uint64_t tenths_of(uint64_t value, uint64_t unit)
{
	return (uint64_t)(((unsigned __int128)value * 10 + unit / 2) / unit);
}

const char *text_size(uint64_t bytes, char buf[32])
{
	static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
					     "TiB", "PiB", "EiB" };
	unsigned i = 0;

	while (i + 1 < ARRAY_LEN(units) && bytes >> (10 * (i + 1)))
		i++;
	/* 1023.97 KiB would print as 1024 KiB */
	if (i + 1 < ARRAY_LEN(units) && i > 0 &&
	    tenths_of(bytes, 1ull << (10 * i)) + 5 >= 10240)
		i++;
	return print_tenths(buf, tenths_of(bytes, 1ull << (10 * i)), units[i]);
}

const char *text_time(uint64_t ns, char buf[32])
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = { { "ns", 1 },
		      { "us", 1000 },
		      { "ms", 1000000 },
		      { "s", 1000000000 } };
	unsigned i = 0;

	while (i + 1 < ARRAY_LEN(units) && ns >= units[i + 1].ns)
		i++;
	if (i + 1 < ARRAY_LEN(units) && i > 0 &&
	    tenths_of(ns, units[i].ns) + 5 >= 10000)
		i++;
	return print_tenths(buf, tenths_of(ns, units[i].ns), units[i].unit);
}

/* Levenshtein's distance, one row of the table at a time. */
static unsigned distance(const char *a, size_t a_len, const char *b,
			 size_t b_len)
{
	unsigned row[WORD_MOST + 1];

	for (unsigned j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned swap = corner + (a[i - 1] != b[j - 1]);
			unsigned step = MIN(row[j], row[j - 1]) + 1;

			corner = row[j];
			row[j] = MIN(swap, step);
		}
	}
	return row[b_len];
}

const char *text_nearest(const char *word, const char *const *names, size_t n)
{
	size_t len = strnlen(word, WORD_MOST + 1);
	const char *best = NULL;
	unsigned least = 0;

	if (len > WORD_MOST)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t name_len = strnlen(names[i], WORD_MOST + 1);
		unsigned d;

		if (name_len > WORD_MOST)
			continue;
		d = distance(word, len, names[i], name_len);
		if (3 * (size_t)d <= MAX(len, name_len) &&
		    (!best || d < least)) {
			best = names[i];
			least = d;
		}
	}
	return best;
}

int text_copy(char *dst, size_t cap, const char *src)
{
	size_t len = strnlen(src, cap);

	if (cap == 0)
		return -ENAMETOOLONG;
	if (len < cap) {
		memcpy(dst, src, len + 1);
		return 0;
	}
	memcpy(dst, src, cap - 1);
	dst[cap - 1] = '\0';
	return -ENAMETOOLONG;
}

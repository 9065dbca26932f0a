/* SPDX-License-Identifier: Apache-2.0 */
#include "base/glob.h"

/* One byte of a set, its '\' taken away; `p` is left behind it. */
static unsigned char set_byte(const char **p, const char *end)
{
	if (**p == '\\' && end - *p >= 2)
		++*p;
	return (unsigned char)*(*p)++;
}

/* Is c in the set that begins behind '['? *p is left behind its ']'. */
static bool set_match(const char **p, const char *end, unsigned char c)
{
	bool inverted = *p < end && **p == '^', found = false;

	*p += inverted;
	while (*p < end && **p != ']') {
		unsigned char from, to;

		/* No end of a range can be escaped, as in Redis. */
		if (**p != '\\' && end - *p >= 3 && (*p)[1] == '-') {
			from = (unsigned char)(*p)[0];
			to = (unsigned char)(*p)[2];
			*p += 3;
			found |= c >= MIN(from, to) && c <= MAX(from, to);
		} else {
			found |= set_byte(p, end) == c;
		}
	}
	*p += *p < end;
	return found != inverted;
}

/* The element at p, which is no '*', against one byte: what follows it in the
 * pattern, or NULL. */
static const char *match_one(const char *p, const char *end, char c)
{
	switch (*p) {
	case '?':
		return p + 1;
	case '[':
		p++;
		return set_match(&p, end, (unsigned char)c) ? p : NULL;
	case '\\':
		p += end - p >= 2;
		break;
	}
	return *p == c ? p + 1 : NULL;
}

/* Each element but '*' takes one byte, so only the last '*' need ever be tried
 * at another length: what the ones before it took may stay. */
bool glob_match(const char *pattern, size_t pattern_len, const char *text,
		size_t len)
{
	const char *p = pattern, *p_end = pattern + pattern_len;
	const char *t = text, *t_end = text + len;
	const char *star = NULL, *from = NULL, *next;

	for (;;) {
		if (p < p_end && *p == '*') {
			star = ++p;
			from = t;
			if (star == p_end)
				return true;
			continue;
		}
		if (t == t_end)
			return p == p_end;
		next = p < p_end ? match_one(p, p_end, *t) : NULL;
		if (next) {
			p = next;
			t++;
		} else if (star) {
			p = star;
			t = ++from;
		} else {
			return false;
		}
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/glob.h"
#include "base/rng.h"
#include "tests/test.h"

static bool match(const char *pattern, const char *text)
{
	return glob_match(pattern, strlen(pattern), text, strlen(text));
}

#define YES(pattern, text) CHECK(match(pattern, text))
#define NO(pattern, text)  CHECK(!match(pattern, text))

TEST(plain)
{
	YES("", "");
	NO("", "a");
	NO("a", "");
	YES("abc", "abc");
	NO("abc", "abd");
	NO("abc", "ab");
	NO("abc", "abcd");
	NO("abc", "ABC");
}

TEST(stars)
{
	YES("*", "");
	YES("*", "anything");
	YES("**", "x");
	YES("a*", "a");
	YES("*a", "banana");
	NO("*a", "bananas");
	YES("a*c", "abcbc");
	YES("*an*an*", "banana");
	NO("*an*an*an*", "banana");
	YES("m@*@kv_bytes", "m@8@0@kv_bytes");
	YES("a*?", "ab");
	NO("a*?", "a");
	YES("*/*", "a/b/c");
}

TEST(one_byte)
{
	YES("?", "x");
	NO("?", "");
	NO("?", "xy");
	YES("h?llo", "hallo");
	NO("h?llo", "hllo");
}

TEST(sets)
{
	YES("[abc]", "b");
	NO("[abc]", "d");
	YES("[a-c]x", "bx");
	NO("[a-c]", "d");
	YES("[c-a]", "b");
	YES("[^a-c]", "d");
	NO("[^a-c]", "b");
	NO("[^a]", "");
	YES("[a-cx-z]", "y");
	YES("[-a]", "-");
	YES("[a-", "-");
	YES("[\\]]", "]");
	YES("[\\^a]", "^");
	YES("[a^]", "^");
	YES("*[0-9]", "chunk7");
	NO("*[0-9]", "chunk");
}

TEST(odd_sets)
{
	NO("[]", "a");
	NO("[]", "]");
	YES("[^]", "a");
	NO("[]a]", "a");
	YES("[^]a]", "xa]");
	YES("[ab", "b");
	YES("[^ab", "c");
	NO("[", "[");
	NO("x[", "x");
	YES("[a-]", "^"); /* a range up to ']', not closed */
	NO("[a-]", "-");
	YES("[a-\\]]", "^]"); /* a range down to '\\', then ']' */
	YES("[\\a-c]", "-");
	NO("[\\a-c]", "b");
	YES("[\\", "\\");
}

/* Bytes that text has none of, and lengths instead of ends. */
TEST(any_bytes)
{
	CHECK(glob_match("a\0*", 3, "a\0b\0", 4));
	CHECK(!glob_match("a\0?", 3, "ab\0", 3));
	CHECK(glob_match("[\x80-\xff]", 5, "\xc3", 1));
	CHECK(!glob_match("[\x80-\xff]", 5, "a", 1));
	CHECK(glob_match("abc", 2, "abd", 2));
}

/* Where a matcher that calls itself would need 2^n steps. */
TEST(no_explosion)
{
	static char pattern[20001], text[20000];

	memset(text, 'a', sizeof(text));
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = i % 2 ? 'a' : '*';
	pattern[sizeof(pattern) - 1] = 'b';
	CHECK(!glob_match(pattern, sizeof(pattern), text, sizeof(text)));
	pattern[sizeof(pattern) - 1] = '*';
	CHECK(glob_match(pattern, sizeof(pattern), text, sizeof(text)));
}

/* The definition, one element at a time. */
static bool naive(const char *p, const char *t)
{
	if (*p == '\0')
		return *t == '\0';
	if (*p == '*')
		return naive(p + 1, t) || (*t && naive(p, t + 1));
	if (*t == '\0')
		return false;
	if (*p == '[')
		return strchr("ab", *t) && naive(p + 4, t + 1);
	return (*p == '?' || *p == *t) && naive(p + 1, t + 1);
}

TEST(random_against_the_definition)
{
	static const char *const elements[] = { "*", "?", "a", "b", "[ab]" };
	struct rng r = { 7 };
	unsigned matched = 0;

	for (unsigned round = 0; round < 100000; round++) {
		char pattern[64] = "", text[9] = "";
		size_t n = rng_below(&r, 9), at = 0;

		for (size_t i = 0; i < n; i++) {
			const char *e = elements[rng_below(&r, 5)];

			memcpy(pattern + at, e, strlen(e) + 1);
			at += strlen(e);
		}
		n = rng_below(&r, 9);
		for (size_t i = 0; i < n; i++)
			text[i] = "abc"[rng_below(&r, 3)];
		if (match(pattern, text) != naive(pattern, text))
			FAIL("\"%s\" \"%s\"", pattern, text);
		matched += match(pattern, text);
	}
	CHECK_INT(matched, >, 5000);
	CHECK_INT(matched, <, 95000);
}

TEST(escapes)
{
	YES("\\*", "*");
	NO("\\*", "a");
	YES("a\\?c", "a?c");
	NO("a\\?c", "abc");
	YES("\\[a]", "[a]");
	YES("\\\\", "\\");
	YES("a\\", "a\\");
	YES("\\a", "a");
}

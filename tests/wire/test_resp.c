/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp.h"
#include "base/rng.h"
#include "tests/test.h"
#include "tests/wire/resp_feed.h"

#define TEXT(s) (s), sizeof(s) - 1

static struct feed f;

static void begin(uint32_t large)
{
	feed_end(&f);
	feed_begin(&f, large);
}

/* What becomes of `data` in pieces of `step` bytes. */
static const char *told(const char *data, size_t len, size_t step,
			uint32_t large)
{
	begin(large);
	for (size_t at = 0; at < len; at += step)
		feed(&f, data + at, MIN(step, len - at));
	feed_finish(&f);
	return f.told.data;
}

static void is(const char *data, size_t len, const char *want)
{
	static const uint32_t larges[] = { 0, 1, 3, 100 };

	for (size_t i = 0; i < ARRAY_LEN(larges); i++) {
		CHECK_STR(told(data, len, len, larges[i]), want);
		CHECK_STR(told(data, len, 1, larges[i]), want);
		CHECK_STR(told(data, len, 2, larges[i]), want);
		CHECK_STR(told(data, len, 3, larges[i]), want);
	}
}

#define IS(data, want)	    is(TEXT(data), want)
#define REFUSED(data, want) is(TEXT(data), "Protocol error: " want)

/* ---- arrays ---------------------------------------------------------------- */

TEST(commands)
{
	IS("*1\r\n$4\r\nPING\r\n", "#1\n4:PING\nmore");
	IS("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", "#2\n3:GET\n3:key\nmore");
	IS("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n",
	   "#3\n3:SET\n1:k\n5:value\nmore");
	IS("*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "#2\n3:GET\n0:\nmore");
	IS("*2\r\n$3\r\nGET\r\n$4\r\n\r\n$1\r\n", "#2\n3:GET\n4:\r\n$1\nmore");
}

TEST(pipelined)
{
	IS("*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING x\r\n"
	   "*1\r\n$4\r\nQUIT\r\n",
	   "#1\n4:PING\n#2\n3:GET\n1:a\n#2\n4:PING\n1:x\n#1\n4:QUIT\nmore");
}

TEST(unfinished)
{
	IS("", "more");
	IS("*", "more");
	IS("*1", "more");
	IS("*-", "more");
	IS("*1\r", "more");
	IS("*1\r\n", "more");
	IS("*1\r\n$", "more");
	IS("*1\r\n$4\r\nPING", "more");
	IS("*1\r\n$4\r\nPING\r", "more");
	IS("PING\r", "more");
	IS("SET k 'x", "more");
}

TEST(empty_commands)
{
	IS("*0\r\n", "#0\nmore");
	IS("*-1\r\n*-5\r\n", "#0\n#0\nmore");
	IS("\r\n\n  \t\r\n", "#0\n#0\n#0\nmore");
	IS("*0\r\n*1\r\n$4\r\nPING\r\n", "#0\n#1\n4:PING\nmore");
}

/* Bytes are bytes: zeros and line ends in them too. */
TEST(binary_arguments)
{
	static const char data[] = "*2\r\n$4\r\n\0\r\n\xff\r\n$2\r\n\r\n\r\n";
	static const char want[] = "#2\n4:\0\r\n\xff\n2:\r\n\nmore";

	for (size_t step = 1; step < sizeof(data); step++) {
		told(TEXT(data), step, 0);
		CHECK_INT(f.told.len, ==, sizeof(want));
		CHECK_MEM(f.told.data, want, sizeof(want));
	}
}

/* A stream of all kinds, cut at each place and at each pair of places. */
TEST(every_split)
{
	static const char data[] = "*3\r\n$3\r\nSET\r\n$2\r\nkk\r\n$13\r\n"
				   "a value\r\nof12\r\nget \"a\\x41\" 'q'\r\n"
				   "*0\r\n*2\r\n$4\r\nMGET\r\n$1\r\nb\r\n*x";
	char *whole;

	for (uint32_t large = 0; large < 14; large++) {
		whole = strdup(told(TEXT(data), sizeof(data), large));
		CHECK(whole);
		CHECK_INT(strncmp(whole, "#3\n3:SET\n2:kk\n13:a va", 21), ==,
			  0);
		CHECK(strstr(whole, "#3\n3:get\n2:aA\n1:q\n#0\n#2\n"));
		CHECK(strstr(whole, "Protocol error: invalid multibulk"));
		for (size_t a = 0; a < sizeof(data); a++) {
			for (size_t b = a; b < sizeof(data); b++) {
				begin(large);
				feed(&f, data, a);
				feed(&f, data + a, b - a);
				feed(&f, data + b, sizeof(data) - 1 - b);
				feed_finish(&f);
				CHECK_STR(f.told.data, whole);
			}
		}
		free(whole);
	}
}

/* ---- large values ------------------------------------------------------------ */

TEST(value_is_told)
{
	char head[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000000\r\n";
	struct resp_parser *p = &f.p;

	begin(4096);
	CHECK_INT(resp_parse(p, head, sizeof(head) - 2), ==, RESP_MORE);
	CHECK_INT(resp_parse(p, head, sizeof(head) - 1), ==, RESP_VALUE);
	CHECK_INT(p->value_bytes, ==, 5000000);
	CHECK_INT(p->n_args, ==, 3);
	CHECK_INT(p->arg[2].at, ==, RESP_ARG_VALUE);
	CHECK_INT(p->arg[2].len, ==, 5000000);
	CHECK_INT(p->at, ==, sizeof(head) - 1);
	CHECK_MEM(head + p->arg[0].at, "SET", 3);
	CHECK_INT(resp_parse(p, head, sizeof(head) - 1), ==, RESP_VALUE);
	CHECK_INT(p->n_args, ==, 3);
	resp_after_value(p);
	CHECK_INT(resp_parse(p, head, sizeof(head) - 1), ==, RESP_COMMAND);
	CHECK_INT(p->n_args, ==, 3);
	CHECK_INT(p->at, ==, sizeof(head) - 1);
}

/* One longer than `large` is told, one of its length is not. */
TEST(value_at_the_bound)
{
	char five[] = "*1\r\n$5\r\nabcde\r\n";

	begin(5);
	CHECK_INT(resp_parse(&f.p, five, sizeof(five) - 1), ==, RESP_COMMAND);
	CHECK_INT(f.p.arg[0].at, ==, 8);
	begin(4);
	CHECK_INT(resp_parse(&f.p, five, sizeof(five) - 1), ==, RESP_VALUE);
}

TEST(value_at_each_argument)
{
	IS("*4\r\n$4\r\nMSET\r\n$8\r\nkey-long\r\n$9\r\nvalue\r\n23\r\n"
	   "$2\r\nk2\r\n*1\r\n$4\r\nPING\r\n",
	   "#4\n4:MSET\n8:key-long\n9:value\r\n23\n2:k2\n#1\n4:PING\nmore");
}

TEST(values_are_not_counted)
{
	static char value[600 << 10];
	char head[64];
	size_t n;

	begin(1024);
	feed(&f, TEXT("*5\r\n$4\r\nMSET\r\n"));
	for (unsigned i = 0; i < 4; i++) {
		n = (size_t)snprintf(head, sizeof(head), "$%zu\r\n",
				     sizeof(value));
		feed(&f, head, n);
		feed(&f, value, sizeof(value));
		CHECK(!f.error);
		feed(&f, TEXT("\r\n"));
	}
	CHECK_INT(f.told.len, >, 4 * sizeof(value));
	CHECK_INT(f.command.len, ==, 0);
	begin(0);
	feed(&f, TEXT("*2\r\n$614400\r\n"));
	feed(&f, value, sizeof(value));
	feed(&f, TEXT("\r\n$614400\r\n"));
	CHECK_STR(f.error, "Protocol error: too big request");
}

/* ---- what is refused ----------------------------------------------------------- */

TEST(array_lengths_refused)
{
	REFUSED("*x\r\n", "invalid multibulk length");
	REFUSED("*\r\n", "invalid multibulk length");
	REFUSED("*-\r\n", "invalid multibulk length");
	REFUSED("*+1\r\n", "invalid multibulk length");
	REFUSED("* 1\r\n", "invalid multibulk length");
	REFUSED("*01\r\n", "invalid multibulk length");
	REFUSED("*-0\r\n", "invalid multibulk length");
	REFUSED("*-01\r\n", "invalid multibulk length");
	REFUSED("*1 \r\n", "invalid multibulk length");
	REFUSED("*1\n", "invalid multibulk length");
	REFUSED("*1\rx", "invalid multibulk length");
	REFUSED("*1025\r\n", "invalid multibulk length");
	REFUSED("*4294967297\r\n", "invalid multibulk length");
	REFUSED("*18446744073709551617\r\n", "invalid multibulk length");
	REFUSED("*-99999999999\r\n", "invalid multibulk length");
}

TEST(bulk_lengths_refused)
{
	REFUSED("*1\r\n$x\r\n", "invalid bulk length");
	REFUSED("*1\r\n$\r\n", "invalid bulk length");
	REFUSED("*1\r\n$-1\r\n", "invalid bulk length");
	REFUSED("*1\r\n$+1\r\n", "invalid bulk length");
	REFUSED("*1\r\n$00\r\n", "invalid bulk length");
	REFUSED("*1\r\n$1\n", "invalid bulk length");
	REFUSED("*1\r\n$536870913\r\n", "invalid bulk length");
	REFUSED("*1\r\n$4294967297\r\n", "invalid bulk length");
	REFUSED("*1\r\n$18446744073709551617\r\n", "invalid bulk length");
	REFUSED("*2\r\n$1\r\na\r\n$99999999999999", "invalid bulk length");
}

TEST(bulks_refused)
{
	REFUSED("*1\r\nPING\r\n", "expected '$'");
	REFUSED("*1\r\n*1\r\n", "expected '$'");
	REFUSED("*1\r\n\r\n", "expected '$'");
	REFUSED("*1\r\n$4\r\nPINGx", "expected CRLF after a bulk");
	REFUSED("*1\r\n$4\r\nPING\n\n", "expected CRLF after a bulk");
	REFUSED("*1\r\n$4\r\nPING\rx", "expected CRLF after a bulk");
	IS("*1\r\n$4\r\nPING\r\n*1\r\n:1\r\n",
	   "#1\n4:PING\nProtocol error: expected '$'");
}

/* A length that would not fit is refused before its bytes have come. */
TEST(too_big)
{
	char data[] = "*1\r\n$1048576\r\n";
	char fits[] = "*1\r\n$1048560\r\n", not [] = "*1\r\n$1048561\r\n";

	begin(0);
	CHECK_INT(resp_parse(&f.p, fits, sizeof(fits) - 1), ==, RESP_MORE);
	begin(0);
	CHECK_INT(resp_parse(&f.p, not, sizeof(not ) - 1), ==, -EPROTO);
	begin(0);
	CHECK_INT(resp_parse(&f.p, data, sizeof(data) - 1), ==, -EPROTO);
	CHECK_STR(f.p.error, "Protocol error: too big request");
	begin(1u << 20);
	CHECK_INT(resp_parse(&f.p, data, sizeof(data) - 1), ==, -EPROTO);
	begin(1u << 19);
	CHECK_INT(resp_parse(&f.p, data, sizeof(data) - 1), ==, RESP_VALUE);
}

/* Its end may be its bound's, however much lies behind. */
TEST(as_big_as_may_be)
{
	static char data[2 * RESP_COMMAND_MAX];
	uint32_t bytes = RESP_COMMAND_MAX - 16;
	int n;

	memset(data, 'x', sizeof(data));
	n = snprintf(data, 32, "*1\r\n$%u\r\n", bytes);
	CHECK_INT(n, ==, 14);
	memcpy(data + n + bytes, "\r\n", 2);
	begin(0);
	CHECK_INT(resp_parse(&f.p, data, RESP_COMMAND_MAX - 1), ==, RESP_MORE);
	CHECK_INT(resp_parse(&f.p, data, sizeof(data)), ==, RESP_COMMAND);
	CHECK_INT(f.p.at, ==, RESP_COMMAND_MAX);
	CHECK_INT(f.p.arg[0].len, ==, bytes);
	snprintf(data, 32, "*2\r\n$%u", bytes);
	data[12] = '\r';
	data[13] = '\n';
	resp_begin(&f.p);
	CHECK_INT(resp_parse(&f.p, data, sizeof(data)), ==, -EPROTO);
	CHECK_STR(f.p.error, "Protocol error: too big request");
}

TEST(as_many_as_may_be)
{
	char head[16];

	begin(0);
	feed(&f, head,
	     (size_t)snprintf(head, sizeof(head), "*%u\r\n", RESP_ARGS_MAX));
	for (unsigned i = 0; i < RESP_ARGS_MAX; i++) {
		CHECK_INT(f.told.len, ==, 0);
		feed(&f, TEXT("$1\r\nx\r\n"));
	}
	CHECK(!f.error);
	CHECK_INT(f.told.len, ==, 6 + 4 * RESP_ARGS_MAX);
}

/* ---- lines ------------------------------------------------------------------- */

TEST(inline_words)
{
	IS("PING\r\n", "#1\n4:PING\nmore");
	IS("PING\n", "#1\n4:PING\nmore");
	IS("  SET \t k  v \r\n", "#3\n3:SET\n1:k\n1:v\nmore");
	IS("$4\r\n", "#1\n2:$4\nmore");
	IS("a*1\r\n*1\r\n$1\r\nb\r\n", "#1\n3:a*1\n#1\n1:b\nmore");
}

TEST(inline_quotes)
{
	IS("set k \"a b\"\r\n", "#3\n3:set\n1:k\n3:a b\nmore");
	IS("x \"\" ''\r\n", "#3\n1:x\n0:\n0:\nmore");
	IS("x \"\\n\\r\\t\\b\\a\\\\\\\"\\q\"\r\n",
	   "#2\n1:x\n8:\n\r\t\b\a\\\"q\nmore");
	IS("x \"\\x41\\xfF\\x4\\xzz\"\r\n", "#2\n1:x\n7:A\xffx4xzz\nmore");
	IS("x 'a\\'b' 'a\\nb' '\"'\r\n", "#4\n1:x\n3:a'b\n4:a\\nb\n1:\"\nmore");
	IS("x a\"b c\" \\x41\r\n", "#3\n1:x\n4:ab c\n4:\\x41\nmore");
}

TEST(inline_quotes_refused)
{
	REFUSED("x \"a\r\n", "unbalanced quotes in request");
	REFUSED("x 'a\r\n", "unbalanced quotes in request");
	REFUSED("x \"a\"b\r\n", "unbalanced quotes in request");
	REFUSED("x 'a'b\r\n", "unbalanced quotes in request");
	REFUSED("x \"a\\\"\r\n", "unbalanced quotes in request");
	REFUSED("x \"a\\\n", "unbalanced quotes in request");
	REFUSED("x a\"b\r\n", "unbalanced quotes in request");
	REFUSED("\"\n", "unbalanced quotes in request");
}

/* What a browser is made to send ends at its first line that tells. */
TEST(inline_http)
{
	REFUSED("POST / HTTP/1.1\r\n", "this is not an HTTP server");
	REFUSED("host: x\r\n", "this is not an HTTP server");
	IS("GET / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n",
	   "#3\n3:GET\n1:/\n8:HTTP/1.1\n"
	   "Protocol error: this is not an HTTP server");
	IS("POSTS\r\n", "#1\n5:POSTS\nmore");
	IS("GET POST\r\n", "#2\n3:GET\n4:POST\nmore");
}

TEST(inline_length)
{
	static char data[RESP_LINE_MAX + 1];
	const char *error = "Protocol error: too big inline request";

	memset(data, 'x', sizeof(data));
	told(data, RESP_LINE_MAX - 1, RESP_LINE_MAX, 0);
	CHECK_STR(f.told.data, "more");
	CHECK_STR(told(data, sizeof(data), 1000, 0), error);
	CHECK_STR(told(data, RESP_LINE_MAX, RESP_LINE_MAX, 0), error);
	data[RESP_LINE_MAX] = '\n';
	CHECK_STR(told(data, sizeof(data), sizeof(data), 0), error);
	CHECK_STR(told(data, sizeof(data), 4096, 0), error);
	data[RESP_LINE_MAX - 1] = '\n';
	CHECK_INT(strncmp(told(data, sizeof(data) - 1, 4096, 0), "#1\n65535:xx",
			  11),
		  ==, 0);
}

TEST(inline_too_many_words)
{
	char data[2 * RESP_ARGS_MAX + 3];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i % 2 ? ' ' : 'x';
	data[2 * RESP_ARGS_MAX] = '\n';
	told(data, 2 * RESP_ARGS_MAX + 1, 100, 0);
	CHECK(!f.error);
	CHECK_INT(strncmp(f.told.data, "#1024\n", 6), ==, 0);
	data[2 * RESP_ARGS_MAX] = 'x';
	data[2 * RESP_ARGS_MAX + 1] = '\n';
	CHECK_STR(told(data, 2 * RESP_ARGS_MAX + 2, 100, 0),
		  "Protocol error: too many words in request");
}

/* ---- anything ------------------------------------------------------------------ */

static const char *const morsels[] = {
	"*1\r\n", "*2\r\n", "*3\r\n",	"$1\r\n", "$3\r\n", "$12\r\n", "abc",
	"\r\n",	  "a b\n",  "\"q\" \n", "*",	  "$",	    "\r",      "0",
};

/* Morsels of the protocol in any order, cut at random. */
TEST(random_cuts)
{
	struct rng r = { 11 };

	for (unsigned round = 0; round < 20000; round++) {
		char data[256], *whole;
		uint32_t large = (uint32_t)rng_below(&r, 4);
		size_t len = 0, n = rng_below(&r, 20);

		for (size_t i = 0; i < n; i++) {
			const char *m =
				morsels[rng_below(&r, ARRAY_LEN(morsels))];

			memcpy(data + len, m, strlen(m));
			len += strlen(m);
		}
		whole = strdup(told(data, len, 256, 0));
		CHECK(whole);
		begin(large);
		for (size_t at = 0, step; at < len; at += step) {
			step = 1 + rng_below(&r, 9);
			step = MIN(step, len - at);
			feed(&f, data + at, step);
		}
		feed_finish(&f);
		if (strcmp(f.told.data, whole) != 0)
			FAIL("%.*s\nis\n%s\nand\n%s", (int)len, data, whole,
			     f.told.data);
		free(whole);
	}
}

/* ---- numbers ------------------------------------------------------------------- */

static void number_is(const char *text, int64_t want)
{
	int64_t got = 42;

	if (!resp_number(text, strlen(text), &got) || got != want)
		FAIL("\"%s\": %lld", text, (long long)got);
}

static void number_fails(const char *text, size_t len)
{
	int64_t got = 42;

	if (resp_number(text, len, &got) || got != 42)
		FAIL("\"%s\": %lld", text, (long long)got);
}

TEST(numbers)
{
	number_is("0", 0);
	number_is("7", 7);
	number_is("-1", -1);
	number_is("1000", 1000);
	number_is("-120", -120);
	number_is("9223372036854775807", INT64_MAX);
	number_is("-9223372036854775808", INT64_MIN);
	number_is("-9223372036854775807", -INT64_MAX);
}

TEST(numbers_refused)
{
	static const char *const bad[] = {
		"",
		"-",
		"+1",
		"-0",
		"00",
		"01",
		"-01",
		" 1",
		"1 ",
		"1.0",
		"1e3",
		"0x1",
		"--1",
		"1-",
		"9223372036854775808",
		"-9223372036854775809",
		"9999999999999999999",
		"18446744073709551616",
		"99999999999999999999",
		"/",
		":",
		"a",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		number_fails(bad[i], strlen(bad[i]));
	number_fails("1\0", 2);
	number_fails("12", 0);
}

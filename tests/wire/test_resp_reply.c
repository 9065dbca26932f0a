/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/resp_reply.h"
#include "base/rng.h"
#include "tests/test.h"
#include <math.h>

static char buf[256];

/* The call gives `want`, in just so much room, and refuses any less; it never
 * writes beyond its room. */
#define WRITES(want, call, ...)                                            \
	do {                                                               \
		int want_len_ = (int)sizeof(want) - 1;                     \
		memset(buf, '~', sizeof(buf));                             \
		CHECK_INT(call(buf, sizeof(buf), ##__VA_ARGS__), ==,       \
			  want_len_);                                      \
		CHECK_MEM(buf, want "~", want_len_ + 1);                   \
		CHECK_INT(call(buf, (size_t)want_len_, ##__VA_ARGS__), ==, \
			  want_len_);                                      \
		for (size_t cap_ = 0; cap_ < (size_t)want_len_; cap_++) {  \
			memset(buf, '~', sizeof(buf));                     \
			CHECK_INT(call(buf, cap_, ##__VA_ARGS__), ==,      \
				  -ENOSPC);                                \
			for (size_t i_ = cap_; i_ < sizeof(buf); i_++)     \
				CHECK(buf[i_] == '~');                     \
		}                                                          \
	} while (0)

TEST(simple)
{
	WRITES("+OK\r\n", resp_put_simple, "OK");
	WRITES("+\r\n", resp_put_simple, "");
}

TEST(errors)
{
	WRITES("-ERR no\r\n", resp_put_error, "ERR no", 6);
	WRITES("-\r\n", resp_put_error, "", 0);
}

TEST(errors_forge_nothing)
{
	WRITES("-ERR 'x  +OK   ' \xff\r\n", resp_put_error,
	       "ERR 'x\r\n+OK\0\t\x7f' \xff", 17);
}

TEST(integers)
{
	WRITES(":0\r\n", resp_put_integer, 0);
	WRITES(":9\r\n", resp_put_integer, 9);
	WRITES(":10\r\n", resp_put_integer, 10);
	WRITES(":99\r\n", resp_put_integer, 99);
	WRITES(":100\r\n", resp_put_integer, 100);
	WRITES(":12345\r\n", resp_put_integer, 12345);
	WRITES(":-1\r\n", resp_put_integer, -1);
	WRITES(":-2\r\n", resp_put_integer, -2);
	WRITES(":9223372036854775807\r\n", resp_put_integer, INT64_MAX);
	WRITES(":-9223372036854775808\r\n", resp_put_integer, INT64_MIN);
}

TEST(integers_as_printf)
{
	struct rng r = { 5 };
	char want[32];

	for (unsigned i = 0; i < 200000; i++) {
		int64_t v = (int64_t)(rng_next(&r) >> rng_below(&r, 64));
		int n = resp_put_integer(buf, RESP_HEAD_MAX, v);

		CHECK_INT(n, ==,
			  snprintf(want, sizeof(want), ":%lld\r\n",
				   (long long)v));
		CHECK_MEM(buf, want, n);
	}
}

TEST(bulks)
{
	WRITES("$0\r\n", resp_put_bulk_head, 0);
	WRITES("$4294967296\r\n", resp_put_bulk_head, 1ull << 32);
	WRITES("$18446744073709551615\r\n", resp_put_bulk_head, UINT64_MAX);
	WRITES("$0\r\n\r\n", resp_put_bulk, NULL, 0);
	WRITES("$5\r\na\r\nbc\r\n", resp_put_bulk, "a\r\nbc", 5);
	WRITES("$12\r\ntwelve bytes\r\n", resp_put_bulk, "twelve bytes", 12);
	CHECK_INT(resp_put_bulk(buf, sizeof(buf), buf, SIZE_MAX), ==, -ENOSPC);
}

TEST(nulls)
{
	WRITES("$-1\r\n", resp_put_null, 2);
	WRITES("_\r\n", resp_put_null, 3);
}

TEST(aggregates)
{
	WRITES("*0\r\n", resp_put_array, 0);
	WRITES("*17\r\n", resp_put_array, 17);
	WRITES("*14\r\n", resp_put_map, 2, 7);
	WRITES("%7\r\n", resp_put_map, 3, 7);
	WRITES("*3\r\n", resp_put_set, 2, 3);
	WRITES("~3\r\n", resp_put_set, 3, 3);
}

TEST(booleans)
{
	WRITES(":1\r\n", resp_put_bool, 2, true);
	WRITES(":0\r\n", resp_put_bool, 2, false);
	WRITES("#t\r\n", resp_put_bool, 3, true);
	WRITES("#f\r\n", resp_put_bool, 3, false);
}

TEST(doubles)
{
	WRITES(",0.5\r\n", resp_put_double, 3, 0.5);
	WRITES("$3\r\n0.5\r\n", resp_put_double, 2, 0.5);
	WRITES(",0.1\r\n", resp_put_double, 3, 0.1);
	WRITES(",3\r\n", resp_put_double, 3, 3);
	WRITES(",0.30000000000000004\r\n", resp_put_double, 3, 0.1 + 0.2);
	WRITES(",1e+300\r\n", resp_put_double, 3, 1e300);
	WRITES(",inf\r\n", resp_put_double, 3, (double)INFINITY);
	WRITES("$4\r\n-inf\r\n", resp_put_double, 2, (double)-INFINITY);
	WRITES(",nan\r\n", resp_put_double, 3, (double)NAN);
	CHECK_INT(resp_put_double(buf, RESP_DOUBLE_MAX, 2,
				  -2.2250738585072014e-308),
		  >, 0);
}

TEST(texts)
{
	WRITES("=9\r\ntxt:a\r\nbc\r\n", resp_put_text, 3, "a\r\nbc", 5);
	WRITES("$5\r\na\r\nbc\r\n", resp_put_text, 2, "a\r\nbc", 5);
	WRITES("=4\r\ntxt:\r\n", resp_put_text, 3, "", 0);
}

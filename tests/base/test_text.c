/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "tests/test.h"

static void size_is(const char *text, uint64_t whole, uint64_t want)
{
	uint64_t got = 1;
	int err = text_parse_size(text, whole, &got);

	if (err || got != want)
		FAIL("\"%s\": %d, %llu", text, err, (unsigned long long)got);
}

static void size_fails(const char *text, int want)
{
	uint64_t got = 77;
	int err = text_parse_size(text, 0, &got);

	if (err != want || got != 77)
		FAIL("\"%s\": %d", text, err);
}

TEST(sizes)
{
	size_is("0", 0, 0);
	size_is("4096", 0, 4096);
	size_is("64K", 0, 65536);
	size_is("64kb", 0, 65536);
	size_is("1.5G", 0, 3ull << 29);
	size_is("2MiB", 0, 2 << 20);
	size_is("7B", 0, 7);
	size_is("10%", 1000, 100);
	size_is("12.5%", 800, 100);
	size_is("0.1K", 0, 102);
	size_is("15E", 0, 15ull << 60);
	size_is("18446744073709551615", 0, UINT64_MAX);
	size_is("100%", UINT64_MAX, UINT64_MAX);
}

TEST(sizes_refused)
{
	size_fails("", -EINVAL);
	size_fails("K", -EINVAL);
	size_fails("-1", -EINVAL);
	size_fails("+1", -EINVAL);
	size_fails(" 1", -EINVAL);
	size_fails("1 K", -EINVAL);
	size_fails("1.K", -EINVAL);
	size_fails("1.5", -EINVAL);
	size_fails("1.5.5K", -EINVAL);
	size_fails("1KK", -EINVAL);
	size_fails("1Ki", -EINVAL);
	size_fails("0x10", -EINVAL);
	size_fails("10%", -EINVAL);
	size_fails("16E", -ERANGE);
	size_fails("18446744073709551616", -ERANGE);
	size_fails("99999999999999999999999999", -ERANGE);
}

TEST(times)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = { { "250ms", 250000000 }, { "2s", 2000000000 },
		     { "10us", 10000 },	     { "1m", 60000000000 },
		     { "5", 5000000 },	     { "0", 0 },
		     { "1.5s", 1500000000 }, { "3ns", 3 },
		     { "1h", 3600000000000 } };
	uint64_t ns;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CHECK_OK(text_parse_time(good[i].text, &ns));
		CHECK_INT(ns, ==, good[i].ns);
	}
	CHECK_INT(text_parse_time("", &ns), ==, -EINVAL);
	CHECK_INT(text_parse_time("s", &ns), ==, -EINVAL);
	CHECK_INT(text_parse_time("1 s", &ns), ==, -EINVAL);
	CHECK_INT(text_parse_time("1S", &ns), ==, -EINVAL);
	CHECK_INT(text_parse_time("18446744073709551615s", &ns), ==, -ERANGE);
}

TEST(whole_numbers)
{
	uint64_t v = 0;

	CHECK_OK(text_parse_u64("65535", 65535, &v));
	CHECK_INT(v, ==, 65535);
	CHECK_INT(text_parse_u64("65536", 65535, &v), ==, -ERANGE);
	CHECK_INT(text_parse_u64("1x", 65535, &v), ==, -EINVAL);
	CHECK_INT(text_parse_u64("", 65535, &v), ==, -EINVAL);
	CHECK_INT(v, ==, 65535);
}

TEST(hex)
{
	uint8_t bytes[3] = { 9, 9, 9 };
	char out[7];

	CHECK_OK(text_parse_hex("00fFa5", bytes, 3));
	CHECK_MEM(bytes, "\x00\xff\xa5", 3);
	text_hex(bytes, 3, out);
	CHECK_STR(out, "00ffa5");
	CHECK_INT(text_parse_hex("00ff", bytes, 3), ==, -EINVAL);
	CHECK_INT(text_parse_hex("00ff001", bytes, 3), ==, -EINVAL);
	CHECK_INT(text_parse_hex("00ff0g", bytes, 3), ==, -EINVAL);
	CHECK_MEM(bytes, "\x00\xff\xa5", 3);
}

TEST(printing)
{
	char buf[32];

	CHECK_STR(text_size(0, buf), "0 B");
	CHECK_STR(text_size(1023, buf), "1023 B");
	CHECK_STR(text_size(1024, buf), "1 KiB");
	CHECK_STR(text_size(3ull << 29, buf), "1.5 GiB");
	CHECK_STR(text_size((1 << 20) - 1, buf), "1 MiB");
	CHECK_STR(text_size(UINT64_MAX, buf), "16 EiB");
	CHECK_STR(text_time(318000, buf), "318 us");
	CHECK_STR(text_time(1500, buf), "1.5 us");
	CHECK_STR(text_time(999999, buf), "1 ms");
	CHECK_STR(text_time(999, buf), "999 ns");
	CHECK_STR(text_time(90000000000, buf), "90 s");
}

TEST(nearest)
{
	static const char *const names[] = { "serve", "replay", "torture",
					     "stat" };
	char longest[200];

	CHECK_STR(text_nearest("serv", names, 4), "serve");
	CHECK_STR(text_nearest("tortue", names, 4), "torture");
	CHECK(!text_nearest("xyz", names, 4));
	CHECK(!text_nearest("", names, 4));
	CHECK(!text_nearest("serve", names, 0));
	memset(longest, 's', sizeof(longest));
	longest[199] = '\0';
	CHECK(!text_nearest(longest, names, 4));
}

TEST(copying)
{
	char buf[4];

	CHECK_OK(text_copy(buf, 4, "abc"));
	CHECK_STR(buf, "abc");
	CHECK_INT(text_copy(buf, 4, "abcd"), ==, -ENAMETOOLONG);
	CHECK_STR(buf, "abc");
	CHECK_INT(text_copy(buf, 0, "x"), ==, -ENAMETOOLONG);
}

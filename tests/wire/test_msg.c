/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include "wire/msg.h"

static void hello(union msg *m)
{
	msg_init(m, MSG_HELLO, 7);
	msg_text(m->hello.tenant, MSG_NAME, "default");
	msg_text(m->hello.name, MSG_NAME, "engine 1");
}

TEST(every_type_passes_its_own_check)
{
	for (unsigned type = 1; type < MSG_TYPES; type++) {
		union msg m, back;

		msg_init(&m, (enum msg_type)type, 1000 + type);
		if (type == MSG_ERROR)
			msg_error(&m, 1000 + type, -EACCES, "no");
		CHECK_INT(msg_bytes(type), ==, m.head.bytes);
		CHECK_OK(msg_check(&m, m.head.bytes, &back));
		CHECK_MEM(&m, &back, sizeof(m));
		CHECK_INT(back.head.seq, ==, 1000 + type);
	}
	CHECK_INT(msg_bytes(0), ==, 0);
	CHECK_INT(msg_bytes(MSG_TYPES), ==, 0);
}

/* The head as it lies in the socket. */
TEST(head_golden)
{
	static const uint8_t want[24] = { 'N', 'C', 'O', 'P', 2, 0, 0, 0,
					  1,   0,   168, 1,   0, 0, 0, 0,
					  7,   0,   0,	 0,   0, 0, 0, 0 };
	union msg m;

	hello(&m);
	CHECK_MEM(&m, want, sizeof(want));
}

TEST(another_length_is_refused)
{
	union msg m, back;

	hello(&m);
	for (size_t len = 0; len <= sizeof(m); len++) {
		int r = msg_check(&m, len, &back);

		CHECK_INT(r, ==, len == m.head.bytes ? 0 : -EPROTO);
	}
	/* Never beyond len, at any alignment. */
	for (size_t len = 0; len < sizeof(m); len++) {
		char *copy = malloc(len + 1);

		CHECK(copy);
		memcpy(copy + 1, &m, len);
		msg_check(copy + 1, len, &back);
		free(copy);
	}
}

struct change {
	size_t at;
	uint8_t to;
	int result;
};

TEST(bad_bytes_are_refused)
{
	const size_t tenant = offsetof(struct msg_hello, tenant);
	const struct change changes[] = {
		{ 0, 'X', -EPROTO },
		{ offsetof(struct msg_head, major), 1, -EPROTONOSUPPORT },
		{ offsetof(struct msg_head, minor), 9, 0 },
		{ offsetof(struct msg_head, type), 0, -EPROTO },
		{ offsetof(struct msg_head, type), MSG_WELCOME, -EPROTO },
		{ offsetof(struct msg_head, type), MSG_TYPES, -EPROTO },
		{ offsetof(struct msg_head, type) + 1, 0xff, -EPROTO },
		{ offsetof(struct msg_head, bytes), 1, -EPROTO },
		{ offsetof(struct msg_head, zero), 1, -EPROTO },
		{ tenant, '\n', -EPROTO },
		{ tenant + 2, 0x7f, -EPROTO },
		{ tenant + 2, 0xc3, -EPROTO },
		{ tenant + 2, 0, -EPROTO }, /* something after the end */
		{ tenant + MSG_NAME - 1, 'x', -EPROTO },
		{ offsetof(struct msg_hello, token), 0x7f, -EPROTO },
		{ offsetof(struct msg_hello, token) + 1, 'x', -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		union msg m, back;

		hello(&m);
		memset(&back, 0x5a, sizeof(back));
		m.raw[changes[i].at] = changes[i].to;
		fprintf(stderr, "change %zu\n", i);
		CHECK_INT(msg_check(&m, msg_bytes(MSG_HELLO), &back), ==,
			  changes[i].result);
		if (changes[i].result)
			CHECK_INT(back.raw[0], ==, 0x5a);
	}
}

TEST(unterminated_name_is_refused)
{
	union msg m, back;

	hello(&m);
	memset(m.hello.name, 'a', MSG_NAME);
	CHECK_INT(msg_check(&m, m.head.bytes, &back), ==, -EPROTO);
}

/* An error answer that says "no error" would be taken for success. */
TEST(error_carries_an_error)
{
	const int bad[] = { 0, 1, -4096, INT32_MIN };
	union msg m, back;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		msg_error(&m, 1, bad[i], "x");
		CHECK_INT(m.error.error, ==, -EIO);
		m.error.error = bad[i];
		CHECK_INT(msg_check(&m, m.head.bytes, &back), ==, -EPROTO);
	}
	msg_error(&m, 1, -ENOSPC, "x");
	CHECK_INT(m.error.error, ==, -ENOSPC);
	m.error.zero = 1;
	CHECK_INT(msg_check(&m, m.head.bytes, &back), ==, -EPROTO);
}

TEST(texts_are_made_acceptable)
{
	char buf[8];

	msg_text(buf, sizeof(buf), "a\tb\xc3\xa9");
	CHECK_STR(buf, "a?b??");
	msg_text(buf, sizeof(buf), "longer than that");
	CHECK_STR(buf, "longer ");
	CHECK(msg_text_ok(buf, sizeof(buf)));
	msg_text(buf, sizeof(buf), NULL);
	CHECK_MEM(buf, "\0\0\0\0\0\0\0\0", 8);
	CHECK(msg_text_ok(buf, sizeof(buf)));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/msg.h"
#include <errno.h>

/* Sizes are part of the wire format: a compiler that pads must not pass. */
_Static_assert(sizeof(struct msg_head) == 24, "wire size");
_Static_assert(sizeof(struct msg_hello) == 40 + 2 * MSG_NAME + MSG_TOKEN,
	       "wire size");
_Static_assert(sizeof(struct msg_welcome) == 72, "wire size");
_Static_assert(sizeof(struct msg_region) == 56, "wire size");
_Static_assert(sizeof(struct msg_index) == 40, "wire size");
_Static_assert(sizeof(struct msg_cxl) == 40, "wire size");
_Static_assert(sizeof(struct msg_error) == 232, "wire size");
_Static_assert(sizeof(union msg) == MSG_MAX, "wire size");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "structs go over the socket as they are");

#define ERRNO_MAX 4095

static const uint16_t type_bytes[MSG_TYPES] = {
	[MSG_HELLO] = sizeof(struct msg_hello),
	[MSG_WELCOME] = sizeof(struct msg_welcome),
	[MSG_REGION] = sizeof(struct msg_region),
	[MSG_INDEX] = sizeof(struct msg_index),
	[MSG_ERROR] = sizeof(struct msg_error),
	[MSG_CXL] = sizeof(struct msg_cxl),
};

size_t msg_bytes(unsigned type)
{
	return type < MSG_TYPES ? type_bytes[type] : 0;
}

void msg_init(union msg *m, enum msg_type type, uint64_t seq)
{
	memset(m, 0, sizeof(*m));
	m->head.magic = MSG_MAGIC;
	m->head.major = MSG_VERSION_MAJOR;
	m->head.minor = MSG_VERSION_MINOR;
	m->head.type = (uint16_t)type;
	m->head.bytes = (uint16_t)msg_bytes(type);
	m->head.seq = seq;
}

static bool printable(char c)
{
	return c >= 0x20 && c < 0x7f;
}

void msg_text(char *dst, size_t cap, const char *src)
{
	size_t n = 0;

	for (; src && src[n] && n + 1 < cap; n++)
		dst[n] = printable(src[n]) ? src[n] : '?';
	memset(dst + n, 0, cap - n);
}

bool msg_text_ok(const char *text, size_t cap)
{
	size_t n = 0;

	while (n < cap && printable(text[n]))
		n++;
	if (n == cap)
		return false;
	while (n < cap && !text[n])
		n++;
	return n == cap;
}

void msg_error(union msg *m, uint64_t seq, int error, const char *text)
{
	msg_init(m, MSG_ERROR, seq);
	m->error.error = error < 0 && error >= -ERRNO_MAX ? error : -EIO;
	msg_text(m->error.text, sizeof(m->error.text), text);
}

static int check_head(const struct msg_head *h, size_t len)
{
	if (h->magic != MSG_MAGIC)
		return -EPROTO;
	if (h->major != MSG_VERSION_MAJOR)
		return -EPROTONOSUPPORT;
	if (h->zero || h->bytes != len || msg_bytes(h->type) != len)
		return -EPROTO;
	return 0;
}

static bool check_body(const union msg *m)
{
	const struct msg_error *e = &m->error;

	switch (m->head.type) {
	case MSG_HELLO:
		return msg_text_ok(m->hello.tenant, MSG_NAME) &&
		       msg_text_ok(m->hello.name, MSG_NAME) &&
		       msg_text_ok(m->hello.token, MSG_TOKEN);
	case MSG_ERROR:
		return !e->zero && e->error < 0 && e->error >= -ERRNO_MAX &&
		       msg_text_ok(e->text, sizeof(e->text));
	default:
		return true;
	}
}

int msg_check(const void *raw, size_t len, union msg *ret_msg)
{
	union msg m;
	int r;

	if (len < sizeof(m.head) || len > sizeof(m))
		return -EPROTO;
	/* A copy: the bytes may lie anywhere, at any alignment. */
	memset(&m, 0, sizeof(m));
	memcpy(&m, raw, len);
	r = check_head(&m.head, len);
	if (r)
		return r;
	if (!check_body(&m))
		return -EPROTO;
	*ret_msg = m;
	return 0;
}

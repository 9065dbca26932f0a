/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on a pair of sockets, and what their callbacks were told. */
#ifndef ONECOPY_TESTS_LOOP_OPS_H
#define ONECOPY_TESTS_LOOP_OPS_H

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "loop/loop.h"
#include "tests/loop/both.h"
#include "tests/test.h"

/* One operation, and what its callback was told. */
struct seen {
	struct loop_op op; /* first: the callback's argument is this one */
	unsigned calls;
	int64_t result;
	char bytes[64]; /* the first of loop_receive_any() */
	struct loop *l;
	struct seen *other;
	int fd;
};

static inline void note(struct loop_op *op, int64_t result)
{
	struct seen *s = (struct seen *)op;

	s->calls++;
	s->result = result;
	if (result > 0 && op->data)
		memcpy(s->bytes, op->data,
		       MIN((size_t)result, sizeof(s->bytes)));
}

static inline void until(struct loop *l, const struct seen *s, unsigned calls)
{
	uint64_t end = clock_ns() + 20 * NS_PER_S;

	while (s->calls < calls) {
		CHECK(clock_ns() < end);
		CHECK_INT(loop_run(l, NS_PER_S), >=, 0);
	}
	CHECK_INT(s->calls, ==, calls);
}

/* Everything that is ready has been worked off. */
static inline void settle(struct loop *l)
{
	for (unsigned quiet = 0; quiet < 3;) {
		int n = loop_run(l, 0);

		CHECK_INT(n, >=, 0);
		quiet = n == 0 ? quiet + 1 : 0;
	}
}

static inline void sockets(int pair[2])
{
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
}

/* A TCP connection over the loopback interface. */
static inline void tcp(int pair[2], int kind)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(listener >= 0);
	CHECK_OK(bind(listener, (struct sockaddr *)&at, len));
	CHECK_OK(listen(listener, 1));
	CHECK_OK(getsockname(listener, (struct sockaddr *)&at, &len));
	pair[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_OK(connect(pair[1], (struct sockaddr *)&at, len));
	pair[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | kind);
	CHECK(pair[0] >= 0);
	close(listener);
}

static inline void finish(struct loop *l, int pair[2])
{
	loop_forget(l, pair[0]);
	close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
}

static inline void say(int fd, const char *text)
{
	CHECK_INT(send(fd, text, strlen(text), MSG_NOSIGNAL), ==, strlen(text));
}

static inline int start_send(struct loop *l, struct seen *s, int fd,
			     const void *p, size_t len)
{
	struct iovec v = { (void *)(uintptr_t)p, len };

	return loop_send(l, &s->op, fd, &v, 1, 0);
}

#define LARGE ((size_t)24 << 20)

static inline char *large(void)
{
	char *p = malloc(LARGE);

	CHECK(p);
	for (size_t i = 0; i < LARGE; i++)
		p[i] = (char)(i % 251);
	return p;
}

#endif

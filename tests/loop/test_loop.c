/* SPDX-License-Identifier: Apache-2.0 */
/* The same cases over both backends. */
#include "tests/test.h"
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/fault.h"
#include "loop/loop.h"
#include "tests/loop/both.h"

struct seen {
	struct loop *loop;
	unsigned calls, events;
	int other; /* removed by the callback */
	bool again;
};

static void note(void *ctx, int fd, unsigned events)
{
	struct seen *s = ctx;

	(void)fd;
	s->calls++;
	s->events = events;
}

static int ready_fd(void)
{
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

	CHECK(fd >= 0);
	return fd;
}

static void set_unready(int fd)
{
	uint64_t v;

	CHECK_INT(read(fd, &v, 8), ==, 8);
}

static void set_ready(int fd)
{
	uint64_t v = 1;

	CHECK_INT(write(fd, &v, 8), ==, 8);
}

BOTH(level_trigger)
{
	struct seen s = { 0 };
	int fd = ready_fd();

	CHECK_OK(loop_add(l, fd, LOOP_IN, note, &s));
	for (unsigned i = 1; i <= 5; i++) {
		CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
		CHECK_INT(s.calls, ==, i);
		CHECK_INT(s.events, ==, LOOP_IN);
	}
	loop_remove(l, fd);
	CHECK_INT(loop_run(l, 0), ==, 0);
	close(fd);
}

static void drain(void *ctx, int fd, unsigned events)
{
	note(ctx, fd, events);
	set_unready(fd);
}

BOTH(quiet_when_drained)
{
	struct seen s = { 0 };
	int fd = ready_fd();

	CHECK_OK(loop_add(l, fd, LOOP_IN, drain, &s));
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(loop_run(l, 0), ==, 0);
	set_ready(fd);
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(s.calls, ==, 2);
	loop_remove(l, fd);
	close(fd);
}

static void remove_self(void *ctx, int fd, unsigned events)
{
	struct seen *s = ctx;

	note(ctx, fd, events);
	loop_remove(s->loop, fd);
	if (s->again)
		CHECK_OK(loop_add(s->loop, fd, LOOP_IN, note, ctx));
}

BOTH(remove_inside_the_callback)
{
	struct seen s = { .loop = l };
	int fd = ready_fd();

	CHECK_OK(loop_add(l, fd, LOOP_IN, remove_self, &s));
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(loop_run(l, 0), ==, 0);
	CHECK_INT(s.calls, ==, 1);
	s.again = true;
	CHECK_OK(loop_add(l, fd, LOOP_IN, remove_self, &s));
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(s.calls, ==, 4);
	loop_remove(l, fd);
	close(fd);
}

static void remove_other(void *ctx, int fd, unsigned events)
{
	struct seen *s = ctx;

	note(ctx, fd, events);
	loop_remove(s->loop, s->other);
}

BOTH(remove_of_a_fetched_one)
{
	int a = ready_fd(), b = ready_fd();
	struct seen sa = { .loop = l, .other = b };
	struct seen sb = { .loop = l, .other = a };

	CHECK_OK(loop_add(l, a, LOOP_IN, remove_other, &sa));
	CHECK_OK(loop_add(l, b, LOOP_IN, remove_other, &sb));
	/* Whichever is first removes the other. */
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(sa.calls + sb.calls, ==, 3);
	CHECK(sa.calls == 0 || sb.calls == 0);
	loop_remove(l, a);
	loop_remove(l, b);
	close(a);
	close(b);
}

static void replace_other(void *ctx, int fd, unsigned events)
{
	struct seen *s = ctx;
	int fresh;

	note(ctx, fd, events);
	if (s->again)
		return;
	s->again = true;
	loop_remove(s->loop, s->other);
	close(s->other);
	fresh = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK_INT(fresh, ==, s->other);
	CHECK_OK(loop_add(s->loop, fresh, LOOP_IN, note, s + 2));
}

/* The number comes back as another descriptor, which is not ready: the event
 * that was fetched for the old one must reach nobody. */
BOTH(same_number_again)
{
	int a = ready_fd(), b = ready_fd();
	/* s[0], s[1]: the callbacks of a and b; s[2], s[3]: what comes after */
	struct seen s[4] = { { .loop = l, .other = b },
			     { .loop = l, .other = a } };

	CHECK_OK(loop_add(l, a, LOOP_IN, replace_other, &s[0]));
	CHECK_OK(loop_add(l, b, LOOP_IN, replace_other, &s[1]));
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(s[0].calls + s[1].calls, ==, 2);
	CHECK_INT(s[2].calls + s[3].calls, ==, 0);
	set_ready(s[0].calls ? b : a);
	CHECK_INT(loop_run(l, NS_PER_S), >=, 1);
	CHECK_INT(loop_run(l, NS_PER_S), ==, 2);
	CHECK_INT(s[2].calls + s[3].calls, >=, 1);
	loop_remove(l, a);
	loop_remove(l, b);
	close(a);
	close(b);
}

BOTH(timeouts)
{
	uint64_t start = clock_ns();

	CHECK_INT(loop_run(l, 0), ==, 0);
	CHECK_INT(loop_run(l, 20 * NS_PER_MS), ==, 0);
	CHECK_INT(clock_ns() - start, >=, 20 * NS_PER_MS);
	CHECK_INT(clock_ns() - start, <, 10 * NS_PER_S);
}

BOTH(wait_for_ever_ends_with_an_event)
{
	struct seen s = { 0 };
	int fd = ready_fd();

	CHECK_OK(loop_add(l, fd, LOOP_IN, note, &s));
	CHECK_INT(loop_run(l, UINT64_MAX), ==, 1);
	loop_remove(l, fd);
	close(fd);
}

BOTH(hang_up)
{
	struct seen s = { 0 };
	int pair[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CHECK_OK(loop_add(l, pair[0], 0, note, &s));
	CHECK_INT(loop_run(l, 0), ==, 0);
	close(pair[1]);
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(s.events, ==, LOOP_HUP);
	loop_remove(l, pair[0]);
	close(pair[0]);
}

/* A poll in the kernel must not keep the file alive. */
BOTH(closing_after_removal_is_seen_by_the_peer)
{
	struct seen s = { 0 };
	int pair[2];
	char c;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CHECK_OK(loop_add(l, pair[0], LOOP_IN, note, &s));
	CHECK_INT(loop_run(l, 0), ==, 0);
	loop_remove(l, pair[0]);
	close(pair[0]);
	CHECK_INT(recv(pair[1], &c, 1, MSG_DONTWAIT), ==, 0);
	close(pair[1]);
}

BOTH(change_of_interest)
{
	struct seen s = { 0 };
	int pair[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CHECK_OK(loop_add(l, pair[0], LOOP_IN, note, &s));
	CHECK_INT(loop_run(l, 0), ==, 0);
	CHECK_OK(loop_change(l, pair[0], LOOP_IN | LOOP_OUT));
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(s.events, ==, LOOP_OUT);
	CHECK_INT(write(pair[1], "x", 1), ==, 1);
	CHECK_OK(loop_change(l, pair[0], LOOP_IN));
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(s.events, ==, LOOP_IN);
	CHECK_OK(loop_change(l, pair[0], 0));
	CHECK_INT(loop_run(l, 0), ==, 0);
	CHECK_OK(loop_change(l, pair[0], LOOP_IN));
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	loop_remove(l, pair[0]);
	close(pair[0]);
	close(pair[1]);
}

#define MANY 1000

BOTH(thousand_descriptors)
{
	static struct seen s[MANY];
	static int fds[MANY];
	struct rlimit limit = { 4096, 4096 };
	unsigned handled = 0;

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
		CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
		if (limit.rlim_cur < MANY + 50)
			SKIP("too few descriptors are allowed");
	}
	for (unsigned i = 0; i < MANY; i++) {
		fds[i] = ready_fd();
		CHECK_OK(loop_add(l, fds[i], LOOP_IN, drain, &s[i]));
	}
	while (handled < MANY) {
		int n = loop_run(l, NS_PER_S);

		CHECK_INT(n, >, 0);
		handled += (unsigned)n;
	}
	CHECK_INT(loop_run(l, 0), ==, 0);
	for (unsigned i = 0; i < MANY; i++) {
		CHECK_INT(s[i].calls, ==, 1);
		loop_remove(l, fds[i]);
		close(fds[i]);
	}
}

BOTH(refusals)
{
	struct seen s = { 0 };
	int fd = ready_fd(), file;

	CHECK_OK(loop_add(l, fd, LOOP_IN, note, &s));
	CHECK_INT(loop_add(l, fd, LOOP_IN, note, &s), ==, -EEXIST);
	CHECK_INT(loop_add(l, -1, LOOP_IN, note, &s), ==, -EINVAL);
	CHECK_INT(loop_add(l, 900, LOOP_IN, note, &s), ==, -EBADF);
	CHECK_INT(loop_change(l, 900, LOOP_IN), ==, -ENOENT);
	file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	CHECK(file >= 0);
	CHECK_INT(loop_add(l, file, LOOP_IN, note, &s), ==, -EPERM);
	loop_remove(l, 900);
	loop_remove(l, -1);
	loop_remove(l, fd);
	loop_remove(l, fd);
	close(file);
	close(fd);
}

static void fault_walk(enum loop_backend backend)
{
	int fd = ready_fd();
	bool done = false;

	loop_destroy(loop_of(backend));
	for (unsigned n = 1; !done; n++) {
		struct seen s = { 0 };
		struct loop *l = NULL;
		int err;

		CHECK_INT(n, <, 50);
		fault_arm(FAULT_ALL, n, true);
		err = loop_create(backend, &l);
		if (err == 0)
			err = loop_add(l, fd, LOOP_IN, note, &s);
		if (err == 0)
			err = loop_change(l, fd, LOOP_IN | LOOP_OUT);
		if (err == 0)
			err = loop_run(l, NS_PER_S);
		done = !fault_fired();
		CHECK(done ? err == 1 : err < 0);
		fault_arm(0, 0, false);
		loop_destroy(l);
	}
	close(fd);
}

TEST(faults_epoll)
{
	fault_walk(LOOP_EPOLL);
}
TEST(faults_uring)
{
	fault_walk(LOOP_URING);
}

TEST(auto_has_a_name)
{
	struct loop *l = loop_of(LOOP_AUTO);

	CHECK(loop_backend_name(l)[0]);
	loop_destroy(l);
	loop_destroy(NULL);
}

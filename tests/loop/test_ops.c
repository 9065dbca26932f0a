/* SPDX-License-Identifier: Apache-2.0 */
/* Operations: the same cases over both backends. */
#include "tests/test.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/clock.h"
#include "base/fault.h"
#include "loop/loop.h"
#include "tests/loop/both.h"

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

static void note(struct loop_op *op, int64_t result)
{
	struct seen *s = (struct seen *)op;

	s->calls++;
	s->result = result;
	if (result > 0 && op->data)
		memcpy(s->bytes, op->data,
		       MIN((size_t)result, sizeof(s->bytes)));
}

static void until(struct loop *l, const struct seen *s, unsigned calls)
{
	uint64_t end = clock_ns() + 20 * NS_PER_S;

	while (s->calls < calls) {
		CHECK(clock_ns() < end);
		CHECK_INT(loop_run(l, NS_PER_S), >=, 0);
	}
	CHECK_INT(s->calls, ==, calls);
}

/* Everything that is ready has been worked off. */
static void settle(struct loop *l)
{
	for (unsigned quiet = 0; quiet < 3;) {
		int n = loop_run(l, 0);

		CHECK_INT(n, >=, 0);
		quiet = n == 0 ? quiet + 1 : 0;
	}
}

static void sockets(int pair[2])
{
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
}

/* A TCP connection over the loopback interface. */
static void tcp(int pair[2], int kind)
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

static void finish(struct loop *l, int pair[2])
{
	loop_forget(l, pair[0]);
	close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
}

static void say(int fd, const char *text)
{
	CHECK_INT(send(fd, text, strlen(text), MSG_NOSIGNAL), ==, strlen(text));
}

static int start_send(struct loop *l, struct seen *s, int fd, const void *p,
		      size_t len)
{
	struct iovec v = { (void *)(uintptr_t)p, len };

	return loop_send(l, &s->op, fd, &v, 1, 0);
}

BOTH(receive_what_there_is)
{
	struct seen s = { .op.fn = note };
	char got[16] = "";
	int pair[2];

	sockets(pair);
	say(pair[1], "hello");
	CHECK_OK(loop_receive(l, &s.op, pair[0], got, sizeof(got), 0));
	CHECK_INT(s.calls, ==, 0);
	until(l, &s, 1);
	CHECK_INT(s.result, ==, 5);
	CHECK_STR(got, "hello");
	CHECK(!s.op.data);
	/* again with the same one, which waits first */
	CHECK_OK(loop_receive(l, &s.op, pair[0], got, 3, 0));
	settle(l);
	CHECK_INT(s.calls, ==, 1);
	say(pair[1], "world");
	until(l, &s, 2);
	CHECK_INT(s.result, ==, 3);
	CHECK_MEM(got, "wor", 3);
	CHECK_OK(loop_receive(l, &s.op, pair[0], got, 9, LOOP_NOT_YET));
	until(l, &s, 3);
	CHECK_INT(s.result, ==, 2);
	CHECK_MEM(got, "ld", 2);
	settle(l);
	CHECK_INT(s.calls, ==, 3);
	finish(l, pair);
}

BOTH(receive_any)
{
	struct seen s = { .op.fn = note };
	int pair[2];

	sockets(pair);
	for (unsigned i = 0; i < 200; i++) { /* more than there are buffers */
		unsigned flags = i % 2 ? LOOP_NOT_YET : 0;

		CHECK_OK(loop_receive_any(l, &s.op, pair[0], 5, flags));
		if (i % 3 == 0)
			settle(l);
		say(pair[1], "abcdefg");
		until(l, &s, 2 * i + 1);
		CHECK_INT(s.result, ==, 5);
		CHECK_MEM(s.bytes, "abcde", 5);
		CHECK_OK(loop_receive_any(l, &s.op, pair[0], LOOP_ANY_BYTES,
					  flags));
		until(l, &s, 2 * i + 2);
		CHECK_INT(s.result, ==, 2);
		CHECK_MEM(s.bytes, "fg", 2);
	}
	finish(l, pair);
}

BOTH(the_end_of_the_stream)
{
	struct seen any = { .op.fn = note }, whole = { .op.fn = note };
	char got[8];
	int pair[2];

	tcp(pair, SOCK_NONBLOCK);
	CHECK_OK(loop_receive_any(l, &any.op, pair[0], 64, LOOP_NOT_YET));
	settle(l);
	CHECK_INT(any.calls, ==, 0);
	say(pair[1], "bye");
	CHECK_OK(shutdown(pair[1], SHUT_WR));
	until(l, &any, 1);
	CHECK_INT(any.result, ==, 3);
	for (unsigned i = 2; i < 5; i++) {
		CHECK_OK(loop_receive_any(l, &any.op, pair[0], 64,
					  LOOP_NOT_YET));
		until(l, &any, i);
		CHECK_INT(any.result, ==, 0);
		CHECK(!any.op.data);
	}
	CHECK_OK(loop_receive(l, &whole.op, pair[0], got, 8, LOOP_WHOLE));
	until(l, &whole, 1);
	CHECK_INT(whole.result, ==, 0);
	/* the other direction still works */
	CHECK_OK(start_send(l, &any, pair[0], "answer", 6));
	until(l, &any, 5);
	CHECK_INT(any.result, ==, 6);
	CHECK_INT(recv(pair[1], got, 8, 0), ==, 6);
	finish(l, pair);
}

BOTH(whole_in_pieces)
{
	struct seen s = { .op.fn = note };
	char got[12] = "";
	int pair[2];

	tcp(pair, SOCK_NONBLOCK);
	CHECK_OK(loop_receive(l, &s.op, pair[0], got, 9, LOOP_WHOLE));
	for (unsigned i = 0; i < 3; i++) {
		settle(l);
		CHECK_INT(s.calls, ==, 0);
		say(pair[1], "abc");
	}
	until(l, &s, 1);
	CHECK_INT(s.result, ==, 9);
	CHECK_STR(got, "abcabcabc");
	/* what came before the end */
	CHECK_OK(loop_receive(l, &s.op, pair[0], got, 9, LOOP_WHOLE));
	settle(l);
	say(pair[1], "xy");
	settle(l);
	CHECK_INT(s.calls, ==, 1);
	shutdown(pair[1], SHUT_WR);
	until(l, &s, 2);
	CHECK_INT(s.result, ==, 2);
	CHECK_MEM(got, "xyc", 3);
	finish(l, pair);
}

/* A peer in its own process: sends or reads `bytes`, at its own pace. */
static pid_t peer(int pair[2], size_t bytes, bool sends)
{
	pid_t pid = fork();
	size_t done = 0;

	CHECK(pid >= 0);
	if (pid > 0) {
		close(pair[1]);
		pair[1] = -1;
		return pid;
	}
	close(pair[0]);
	while (done < bytes) {
		char part[7001];
		size_t len = MIN(sizeof(part), bytes - done);
		ssize_t n;

		for (size_t i = 0; sends && i < len; i++)
			part[i] = (char)((done + i) % 251);
		n = sends ? send(pair[1], part, len, MSG_NOSIGNAL)
			  : recv(pair[1], part, len, 0);
		if (n <= 0)
			_exit(1);
		for (ssize_t i = 0; !sends && i < n; i++)
			if (part[i] != (char)((done + (size_t)i) % 251))
				_exit(2);
		done += (size_t)n;
	}
	_exit(0);
}

static void ended_well(pid_t pid)
{
	int status;

	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
}

#define LARGE ((size_t)24 << 20)

static char *large(void)
{
	char *p = malloc(LARGE);

	CHECK(p);
	for (size_t i = 0; i < LARGE; i++)
		p[i] = (char)(i % 251);
	return p;
}

BOTH(large_both_ways)
{
	struct seen s = { .op.fn = note };
	char *sent = large(), *got = calloc(1, LARGE);
	int pair[2];
	pid_t pid;

	tcp(pair, 0);
	pid = peer(pair, LARGE, true);
	CHECK_OK(loop_receive(l, &s.op, pair[0], got, LARGE, LOOP_WHOLE));
	until(l, &s, 1);
	CHECK_INT(s.result, ==, LARGE);
	CHECK_MEM(got, sent, LARGE);
	ended_well(pid);
	finish(l, pair);

	tcp(pair, SOCK_NONBLOCK);
	pid = peer(pair, LARGE, false);
	CHECK_OK(start_send(l, &s, pair[0], sent, LARGE));
	until(l, &s, 2);
	CHECK_INT(s.result, ==, LARGE);
	ended_well(pid);
	finish(l, pair);
	free(sent);
	free(got);
}

BOTH(pieces_to_a_slow_reader)
{
	static const size_t cut[] = { 0, 1, 1, 777777, LARGE };
	struct seen s = { .op.fn = note };
	char *sent = large();
	struct iovec v[LOOP_PIECES];
	int pair[2];
	pid_t pid;

	for (unsigned i = 0; i < LOOP_PIECES; i++)
		v[i] = (struct iovec){ sent + cut[i], cut[i + 1] - cut[i] };
	sockets(pair);
	CHECK_OK(loop_send(l, &s.op, pair[0], v, LOOP_PIECES, 0));
	memset(v, 0, sizeof(v)); /* the array was copied */
	settle(l);
	CHECK_INT(s.calls, ==, 0); /* nobody reads yet */
	pid = peer(pair, LARGE, false);
	until(l, &s, 1);
	CHECK_INT(s.result, ==, LARGE);
	ended_well(pid);
	finish(l, pair);
	free(sent);
}

BOTH(more_follows)
{
	struct seen s = { .op.fn = note };
	struct iovec v = { (char[]){ "head" }, 4 };
	char got[16] = "";
	int pair[2];

	tcp(pair, SOCK_NONBLOCK);
	CHECK_OK(loop_send(l, &s.op, pair[0], &v, 1, LOOP_MORE));
	until(l, &s, 1);
	CHECK_OK(start_send(l, &s, pair[0], "tail", 4));
	until(l, &s, 2);
	CHECK_INT(recv(pair[1], got, 8, MSG_WAITALL), ==, 8);
	CHECK_STR(got, "headtail");
	finish(l, pair);
}

BOTH(closed_peer)
{
	struct seen s = { .op.fn = note };
	int pair[2];

	sockets(pair); /* SIGPIPE would end the test */
	close(pair[1]);
	pair[1] = -1;
	CHECK_OK(start_send(l, &s, pair[0], "x", 1));
	until(l, &s, 1);
	CHECK_INT(s.result, ==, -EPIPE);
	finish(l, pair);
}

static void reset(int fd)
{
	struct linger now = { 1, 0 };

	CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
	close(fd);
}

BOTH(reset_by_the_peer)
{
	struct seen s = { .op.fn = note }, w = { .op.fn = note };
	char *sent = large(), got[8];
	int pair[2];

	tcp(pair, SOCK_NONBLOCK);
	CHECK_OK(loop_receive(l, &s.op, pair[0], got, 8, LOOP_WHOLE));
	CHECK_OK(start_send(l, &w, pair[0], sent, LARGE));
	settle(l);
	CHECK_INT(s.calls + w.calls, ==, 0);
	reset(pair[1]);
	pair[1] = -1;
	until(l, &s, 1);
	until(l, &w, 1);
	/* one of them is told of the reset, and of the other's part the kernel
	 * says nothing but the end */
	CHECK(s.result == -ECONNRESET || s.result == 0);
	CHECK_INT(w.result, >, 0);
	CHECK_INT(w.result, <, LARGE);
	CHECK_OK(start_send(l, &w, pair[0], sent, 1));
	until(l, &w, 2);
	CHECK(w.result == -EPIPE || w.result == -ECONNRESET);
	finish(l, pair);
	free(sent);
}

BOTH(cancel)
{
	struct seen s = { .op.fn = note }, w = { .op.fn = note };
	char *sent = large(), got[8] = "";
	int pair[2];

	tcp(pair, SOCK_NONBLOCK);
	loop_cancel(l, &s.op); /* nothing under way */
	CHECK_OK(loop_receive_any(l, &s.op, pair[0], 64, 0));
	loop_cancel(l, &s.op); /* before it began */
	CHECK_INT(s.calls, ==, 0);
	until(l, &s, 1);
	CHECK_INT(s.result, ==, -ECANCELED);
	CHECK_OK(loop_receive_any(l, &s.op, pair[0], 64, LOOP_NOT_YET));
	settle(l);
	loop_cancel(l, &s.op); /* while it waits */
	loop_cancel(l, &s.op);
	CHECK_INT(s.calls, ==, 1);
	until(l, &s, 2);
	CHECK_INT(s.result, ==, -ECANCELED);
	loop_cancel(l, &s.op); /* after it */
	settle(l);
	CHECK_INT(s.calls, ==, 2);
	/* bytes that were moved are told */
	CHECK_OK(loop_receive(l, &s.op, pair[0], got, 8, LOOP_WHOLE));
	settle(l);
	say(pair[1], "abc");
	settle(l);
	loop_cancel(l, &s.op);
	until(l, &s, 3);
	CHECK_INT(s.result, ==, 3);
	CHECK_OK(start_send(l, &w, pair[0], sent, LARGE));
	settle(l);
	loop_cancel(l, &w.op);
	until(l, &w, 1);
	CHECK_INT(w.result, >, 0);
	CHECK_INT(w.result, <, LARGE);
	/* and the descriptor is as good as before */
	CHECK_OK(loop_receive_any(l, &s.op, pair[0], 64, LOOP_NOT_YET));
	settle(l);
	say(pair[1], "hello");
	until(l, &s, 4);
	CHECK_INT(s.result, ==, 5);
	finish(l, pair);
	free(sent);
}

static void cancel_other(struct loop_op *op, int64_t result)
{
	struct seen *s = (struct seen *)op;

	note(op, result);
	loop_cancel(s->l, &s->other->op);
}

/* Both are done when the first one's callback cancels the other, or it is
 * cancelled in time: one callback, and no byte is lost. */
BOTH(cancel_in_the_same_turn)
{
	struct seen a = { .op.fn = cancel_other, .l = l }, b = a;
	int pa[2], pb[2];

	a.other = &b;
	b.other = &a;
	sockets(pa);
	sockets(pb);
	for (unsigned i = 1; i <= 10; i++) {
		CHECK_OK(loop_receive_any(l, &a.op, pa[0], 9, LOOP_NOT_YET));
		CHECK_OK(loop_receive_any(l, &b.op, pb[0], 9, LOOP_NOT_YET));
		settle(l);
		say(pa[1], "a");
		say(pb[1], "b");
		until(l, &a, i);
		until(l, &b, i);
		CHECK(a.result == 1 || b.result == 1);
		CHECK(a.result == 1 || a.result == -ECANCELED);
		CHECK(b.result == 1 || b.result == -ECANCELED);
		if (a.result < 0)
			CHECK_INT(recv(pa[0], a.bytes, 9, MSG_DONTWAIT), ==, 1);
		if (b.result < 0)
			CHECK_INT(recv(pb[0], b.bytes, 9, MSG_DONTWAIT), ==, 1);
	}
	finish(l, pa);
	finish(l, pb);
}

#define MANY 2000
static struct seen many[MANY];
static int pairs[MANY][2];

static void open_many(unsigned n)
{
	struct rlimit limit;

	CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = MIN(limit.rlim_max, 2 * n + 50);
	if (limit.rlim_cur < 2 * n + 50)
		SKIP("too few descriptors are allowed");
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
	for (unsigned i = 0; i < n; i++) {
		sockets(pairs[i]);
		many[i].op.fn = note;
	}
}

static void close_many(struct loop *l, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		finish(l, pairs[i]);
}

static long resident_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long all, resident;

	CHECK(f);
	CHECK_INT(fscanf(f, "%ld %ld", &all, &resident), ==, 2);
	fclose(f);
	return resident * (getpagesize() / 1024);
}

/* The thread sanitizer keeps a shadow of all that is touched. */
#if defined(__SANITIZE_THREAD__)
#define SHADOWED true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHADOWED true
#endif
#endif
#ifndef SHADOWED
#define SHADOWED false
#endif

BOTH(idle_ones_cost_nothing)
{
	long before;

	open_many(MANY);
	before = resident_kib();
	for (unsigned i = 0; i < MANY; i++)
		CHECK_OK(loop_receive_any(l, &many[i].op, pairs[i][0],
					  LOOP_ANY_BYTES, LOOP_NOT_YET));
	settle(l);
	/* an event of its own is the only thing that ends this one */
	CHECK_INT(loop_run(l, 30 * NS_PER_MS), ==, 0);
	if (!SHADOWED)
		CHECK_INT(resident_kib() - before, <, 2048);
	say(pairs[1234][1], "x");
	CHECK_INT(loop_run(l, UINT64_MAX), ==, 1);
	CHECK_INT(many[1234].result, ==, 1);
	for (unsigned i = 0; i < MANY; i++)
		loop_cancel(l, &many[i].op);
	for (unsigned i = 0; i < MANY; i++)
		until(l, &many[i], 1);
	close_many(l, MANY);
}

BOTH(more_are_ready_than_buffers)
{
	enum { N = 700 };

	open_many(N);
	for (unsigned round = 1; round <= 3; round++) {
		for (unsigned i = 0; i < N; i++)
			CHECK_OK(loop_receive_any(
				l, &many[i].op, pairs[i][0], 64,
				round % 2 ? LOOP_NOT_YET : 0));
		if (round != 2)
			settle(l);
		for (unsigned i = 0; i < N; i++)
			say(pairs[i][1], "ping");
		for (unsigned i = 0; i < N; i++) {
			until(l, &many[i], round);
			CHECK_INT(many[i].result, ==, 4);
		}
	}
	close_many(l, N);
}

static void receive_again(struct loop_op *op, int64_t result)
{
	struct seen *s = (struct seen *)op;

	note(op, result);
	if (result > 0)
		CHECK_OK(loop_receive_any(s->l, op, s->fd, 16, 0));
}

/* Each has far more bytes than a turn brings: none waits for another's end. */
BOTH(ready_ones_take_turns)
{
	enum { N = 150, EACH = 100 };
	static char text[16 * EACH];
	unsigned least = 0;

	open_many(N);
	for (unsigned i = 0; i < N; i++) {
		CHECK_INT(write(pairs[i][1], text, sizeof(text)), ==,
			  sizeof(text));
		many[i].op.fn = receive_again;
		many[i].l = l;
		many[i].fd = pairs[i][0];
		CHECK_OK(loop_receive_any(l, &many[i].op, pairs[i][0], 16, 0));
	}
	while (least < EACH) {
		unsigned most = 0;

		CHECK_INT(loop_run(l, NS_PER_S), >=, 0);
		least = UINT32_MAX;
		for (unsigned i = 0; i < N; i++) {
			least = MIN(least, many[i].calls);
			most = MAX(most, many[i].calls);
		}
		CHECK_INT(most - least, <, EACH / 2);
	}
	for (unsigned i = 0; i < N; i++) {
		loop_cancel(l, &many[i].op);
		until(l, &many[i], EACH + 1);
		CHECK_INT(many[i].result, ==, -ECANCELED);
	}
	close_many(l, N);
}

static void echo(struct loop_op *op, int64_t result)
{
	struct seen *s = (struct seen *)op;

	note(op, result);
	if (result <= 0)
		return;
	CHECK_OK(start_send(s->l, s->other, s->fd, s->bytes, (size_t)result));
	CHECK_OK(loop_receive_any(s->l, op, s->fd, 16, LOOP_NOT_YET));
}

BOTH(start_inside_callbacks)
{
	struct seen out = { .op.fn = note };
	struct seen in = { .op.fn = echo, .l = l, .other = &out };
	char got[8];
	int pair[2];

	tcp(pair, SOCK_NONBLOCK);
	in.fd = pair[0];
	CHECK_OK(loop_receive_any(l, &in.op, in.fd, 16, LOOP_NOT_YET));
	for (unsigned i = 1; i <= 100; i++) {
		say(pair[1], "ping");
		until(l, &in, i);
		until(l, &out, i);
		CHECK_INT(out.result, ==, 4);
		CHECK_INT(recv(pair[1], got, 8, 0), ==, 4);
	}
	shutdown(pair[1], SHUT_WR);
	until(l, &in, 101);
	CHECK_INT(in.result, ==, 0);
	finish(l, pair);
}

static void free_it(struct loop_op *op, int64_t result)
{
	struct seen *s = (struct seen *)op;

	CHECK_INT(result, ==, 1);
	s->other->calls++;
	loop_forget(s->l, s->fd);
	close(s->fd);
	free(s);
}

BOTH(callback_closes_and_frees)
{
	struct seen *s = calloc(1, sizeof(*s)), count = { 0 };
	int pair[2];
	char c;

	sockets(pair);
	*s = (struct seen){
		.op.fn = free_it, .l = l, .fd = pair[0], .other = &count
	};
	CHECK_OK(loop_receive_any(l, &s->op, pair[0], 8, LOOP_NOT_YET));
	settle(l);
	say(pair[1], "x");
	until(l, &count, 1);
	/* the loop holds nothing of it: its peer sees the end */
	CHECK_INT(recv(pair[1], &c, 1, MSG_DONTWAIT), ==, 0);
	close(pair[1]);
	settle(l);
}

BOTH(same_number_again)
{
	struct seen s = { .op.fn = note };
	int pair[2], first = -1;

	for (unsigned i = 1; i <= 5; i++) {
		sockets(pair);
		if (first < 0)
			first = pair[0];
		CHECK_INT(pair[0], ==, first);
		CHECK_OK(loop_receive_any(l, &s.op, pair[0], 8, LOOP_NOT_YET));
		settle(l);
		say(pair[1], "x");
		until(l, &s, i);
		say(pair[1], "left behind");
		settle(l);
		finish(l, pair);
	}
}

static void note_event(void *ctx, int fd, unsigned events)
{
	struct seen *s = ctx;

	(void)fd;
	s->calls++;
	s->result = events;
}

BOTH(refusals)
{
	struct seen s = { .op.fn = note }, t = s, u = s;
	struct iovec none[1] = { { (char[]){ "" }, 0 } };
	int pair[2], pipes[2];

	sockets(pair);
	CHECK_INT(loop_receive_any(l, &s.op, pair[0], 0, 0), ==, -EINVAL);
	CHECK_INT(loop_receive_any(l, &s.op, pair[0], LOOP_ANY_BYTES + 1, 0),
		  ==, -EINVAL);
	CHECK_INT(loop_receive_any(l, &s.op, -1, 1, 0), ==, -EINVAL);
	CHECK_INT(loop_receive(l, &s.op, pair[0], s.bytes, 0, 0), ==, -EINVAL);
	CHECK_INT(loop_send(l, &s.op, pair[0], none, 1, 0), ==, -EINVAL);
	CHECK_INT(loop_send(l, &s.op, pair[0], none, 5, 0), ==, -EINVAL);
	CHECK_OK(loop_receive_any(l, &s.op, pair[0], 8, 0));
	CHECK_INT(loop_receive_any(l, &t.op, pair[0], 8, 0), ==, -EBUSY);
	CHECK_INT(loop_add(l, pair[0], LOOP_IN, note_event, &t), ==, -EEXIST);
	CHECK_OK(start_send(l, &t, pair[0], "x", 1));
	CHECK_INT(start_send(l, &u, pair[0], "x", 1), ==, -EBUSY);
	until(l, &t, 1);
	loop_cancel(l, &s.op);
	until(l, &s, 1);
	/* from operations to readiness and back */
	CHECK_INT(loop_add(l, pair[0], LOOP_IN, note_event, &t), ==, -EEXIST);
	loop_forget(l, pair[0]);
	CHECK_OK(loop_add(l, pair[0], LOOP_OUT, note_event, &t));
	CHECK_INT(loop_receive_any(l, &s.op, pair[0], 8, 0), ==, -EEXIST);
	until(l, &t, 2);
	loop_remove(l, pair[0]);
	CHECK_OK(start_send(l, &t, pair[0], "x", 1));
	until(l, &t, 3);
	CHECK_INT(t.result, ==, 1);
	/* what cannot be: the callback tells */
	CHECK_OK(loop_receive_any(l, &s.op, 900, 8, 0));
	until(l, &s, 2);
	CHECK_INT(s.result, ==, -EBADF);
	CHECK_OK(pipe2(pipes, O_CLOEXEC));
	CHECK_OK(loop_receive_any(l, &s.op, pipes[0], 8, 0));
	until(l, &s, 3);
	CHECK_INT(s.result, ==, -ENOTSOCK);
	loop_forget(l, 100000);
	loop_forget(l, -1);
	finish(l, pair);
}

static void soon_again(struct loop_op *op, int64_t result)
{
	struct seen *s = (struct seen *)op;

	note(op, result);
	if (result == 0)
		loop_soon(s->l, op);
}

BOTH(soon)
{
	struct seen s = { .op.fn = note, .l = l }, in = s;
	int pair[2];

	loop_soon(l, &s.op);
	CHECK_INT(s.calls, ==, 0);
	CHECK_INT(loop_run(l, UINT64_MAX), ==, 1);
	CHECK_INT(s.calls, ==, 1);
	CHECK_INT(s.result, ==, 0);
	loop_soon(l, &s.op);
	loop_cancel(l, &s.op);
	until(l, &s, 2);
	CHECK_INT(s.result, ==, -ECANCELED);
	/* one that always comes again does not keep others away */
	s.op.fn = soon_again;
	loop_soon(l, &s.op);
	sockets(pair);
	CHECK_OK(loop_receive_any(l, &in.op, pair[0], 8, LOOP_NOT_YET));
	say(pair[1], "x");
	until(l, &in, 1);
	CHECK_INT(s.calls, >=, 3);
	CHECK_INT(s.calls, <, 20);
	loop_cancel(l, &s.op);
	CHECK_INT(loop_run(l, NS_PER_S), ==, 1);
	CHECK_INT(s.result, ==, -ECANCELED);
	finish(l, pair);
}

static void start_again_in_vain(struct loop_op *op, int64_t result)
{
	struct seen *s = (struct seen *)op;

	note(op, result);
	CHECK_INT(loop_receive_any(s->l, op, s->fd, 16, 0), ==, -ECANCELED);
}

static void destroy_busy(enum loop_backend backend)
{
	struct loop *l = loop_of(backend);
	struct seen waits = { .op.fn = note, .l = l };
	struct seen done = { .op.fn = start_again_in_vain, .l = l };
	struct seen fresh = { .op.fn = note }, soon = { .op.fn = note };
	struct seen out = { .op.fn = note };
	char *sent = large(), *got = calloc(1, 64);
	int a[2], b[2], c[2];

	sockets(a);
	sockets(b);
	sockets(c);
	CHECK_OK(loop_receive(l, &waits.op, a[0], got, 64, LOOP_WHOLE));
	CHECK_OK(start_send(l, &out, a[0], sent, LARGE));
	CHECK_OK(loop_receive_any(l, &done.op, b[0], 16, LOOP_NOT_YET));
	done.fd = b[0];
	settle(l);
	say(b[1], "x");
	CHECK_OK(loop_receive_any(l, &fresh.op, c[0], 16, 0));
	loop_soon(l, &soon.op);
	loop_destroy(l);
	CHECK_INT(waits.calls, ==, 1);
	CHECK_INT(waits.result, ==, -ECANCELED);
	CHECK_INT(fresh.calls, ==, 1);
	CHECK_INT(fresh.result, ==, -ECANCELED);
	CHECK_INT(soon.result, ==, -ECANCELED);
	CHECK_INT(out.calls, ==, 1);
	CHECK_INT(out.result, >, 0);
	CHECK_INT(done.calls, ==, 1);
	CHECK(done.result == 1 || done.result == -ECANCELED);
	/* nobody writes there any more */
	say(a[1], "late");
	CHECK_INT(got[0], ==, 0);
	free(got);
	free(sent);
}

TEST(destroy_with_operations_under_way_epoll)
{
	destroy_busy(LOOP_EPOLL);
}
TEST(destroy_with_operations_under_way_uring)
{
	destroy_busy(LOOP_URING);
}

TEST(destroy_with_many_under_way)
{
	for (int backend = LOOP_URING; backend <= LOOP_EPOLL; backend++) {
		struct loop *l = loop_of((enum loop_backend)backend);

		memset(many, 0, sizeof(many));
		open_many(1000);
		for (unsigned i = 0; i < 1000; i++)
			CHECK_OK(loop_receive_any(l, &many[i].op, pairs[i][0],
						  16, LOOP_NOT_YET));
		settle(l);
		for (unsigned i = 0; i < 1000; i += 2)
			say(pairs[i][1], "x");
		loop_destroy(l);
		for (unsigned i = 0; i < 1000; i++) {
			CHECK_INT(many[i].calls, ==, 1);
			close(pairs[i][0]);
			close(pairs[i][1]);
		}
	}
}

/* Whatever fails once: each operation that was started has one callback, and
 * what did not fail did its work. */
static bool fault_round(enum loop_backend backend, unsigned n)
{
	struct loop *l = NULL;
	struct seen in = { .op.fn = note }, out = in;
	int pair[2], err, started, sent;
	bool fired;

	tcp(pair, SOCK_NONBLOCK);
	fault_arm(FAULT_ALL, n, false);
	err = loop_create(backend, &l);
	if (err == 0) {
		started = loop_receive_any(l, &in.op, pair[0], 9, LOOP_NOT_YET);
		sent = start_send(l, &out, pair[0], "ab", 2);
		for (unsigned i = 0; i < 4; i++)
			loop_run(l, 0);
		say(pair[1], "abc");
		for (unsigned i = 0; i < 50 && (in.calls == 0 || !out.calls);
		     i++)
			loop_run(l, started == 0 ? 20 * NS_PER_MS : 0);
		CHECK_INT(in.calls, ==, started == 0);
		CHECK_INT(out.calls, ==, sent == 0);
		fired = fault_fired();
		CHECK(fired || (in.result == 3 && out.result == 2));
		CHECK(in.calls == 0 || in.result == 3 || in.result == -EIO);
		CHECK(out.calls == 0 || out.result == 2 || out.result == -EIO);
	}
	fired = fault_fired();
	fault_arm(0, 0, false);
	CHECK(fired || err == 0);
	loop_destroy(l);
	close(pair[0]);
	close(pair[1]);
	return fired;
}

static void fault_walk(enum loop_backend backend)
{
	unsigned n = 1;

	loop_destroy(loop_of(backend));
	while (fault_round(backend, n))
		CHECK_INT(n++, <, 200);
	CHECK_INT(n, >, 6);
}

TEST(faults_epoll)
{
	fault_walk(LOOP_EPOLL);
}
TEST(faults_uring)
{
	fault_walk(LOOP_URING);
}

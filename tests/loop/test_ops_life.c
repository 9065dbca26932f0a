/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations, many at a time and from inside their callbacks; what is refused; what
 * is under way when the loop is destroyed, and when anything fails. Over both backends.
 */
#include <sys/resource.h>
#include "base/fault.h"
#include "tests/loop/ops.h"

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

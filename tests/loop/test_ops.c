/* SPDX-License-Identifier: Apache-2.0 */
/* Operations move bytes, meet ends, are cancelled: the same cases over both backends. */
#include <sys/uio.h>
#include "tests/loop/ops.h"

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

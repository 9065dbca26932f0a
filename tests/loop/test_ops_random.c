/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any mixture of operations, cancels and closes, over both backends: each
 * started operation has one callback, and no byte is lost, doubled or moved,
 * whatever was cancelled when.
 */
#include "tests/test.h"
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/clock.h"
#include "loop/loop.h"
#include "tests/loop/both.h"

#define CONNECTIONS 90u /* more than there are buffers */
#define STEPS	    60000u
#define ROOM	    40000u

struct connection {
	struct loop_op in, out;
	struct loop *l;
	int fd, peer;
	bool in_busy, out_busy;
	/* positions in the two streams */
	uint64_t received, peer_sent, sent, peer_received;
	char *into, from[ROOM];
};

static struct connection c[CONNECTIONS];
static uint64_t seed = 88172645463325252ull;
static unsigned started, called;

static unsigned roll(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)((seed >> 11) % n);
}

static char byte_at(uint64_t position)
{
	return (char)(position * 7 % 251);
}

static void pattern(char *to, uint64_t position, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = byte_at(position + i);
}

static void check_pattern(const char *at, uint64_t position, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		CHECK_INT(at[i], ==, byte_at(position + (uint64_t)i));
}

static void received(struct loop_op *op, int64_t result)
{
	struct connection *x = container_of(op, struct connection, in);

	CHECK(x->in_busy);
	x->in_busy = false;
	called++;
	CHECK(result > 0 || result == -ECANCELED);
	check_pattern(op->data ? op->data : x->into, x->received, result);
	if (result > 0)
		x->received += (uint64_t)result;
	free(x->into); /* the loop has let go of it */
	x->into = NULL;
}

static void sent(struct loop_op *op, int64_t result)
{
	struct connection *x = container_of(op, struct connection, out);

	CHECK(x->out_busy);
	x->out_busy = false;
	called++;
	CHECK(result > 0 || result == -ECANCELED);
	if (result > 0)
		x->sent += (uint64_t)result;
	memset(x->from, 'X', 16); /* and of this */
}

static void start_in(struct connection *x)
{
	unsigned flags = roll(2) ? LOOP_NOT_YET : 0;
	size_t len = 1 + roll(roll(2) ? 100 : LOOP_ANY_BYTES);

	if (x->in_busy)
		return;
	if (roll(2)) {
		CHECK_OK(loop_receive_any(x->l, &x->in, x->fd, len, flags));
	} else {
		x->into = malloc(len);
		CHECK(x->into);
		if (roll(2))
			flags |= LOOP_WHOLE;
		CHECK_OK(
			loop_receive(x->l, &x->in, x->fd, x->into, len, flags));
	}
	x->in_busy = true;
	started++;
}

static void start_out(struct connection *x)
{
	size_t len = 4 + roll(roll(2) ? 100 : ROOM - 4), at = 0;
	unsigned n = 1 + roll(LOOP_PIECES);
	struct iovec v[LOOP_PIECES];

	if (x->out_busy)
		return;
	pattern(x->from, x->sent, len);
	for (unsigned i = 0; i < n; i++) {
		size_t part = i + 1 == n ? len - at
					 : roll((unsigned)(len - at));

		v[i] = (struct iovec){ x->from + at, part };
		at += part;
	}
	CHECK_OK(loop_send(x->l, &x->out, x->fd, v, n, 0));
	x->out_busy = true;
	started++;
}

static void peer_writes(struct connection *x)
{
	char part[5000];
	size_t len = 1 + roll(sizeof(part));
	ssize_t n;

	pattern(part, x->peer_sent, len);
	n = send(x->peer, part, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		x->peer_sent += (uint64_t)n;
}

static void peer_reads(struct connection *x)
{
	static char part[60000];
	ssize_t n = recv(x->peer, part, sizeof(part), MSG_DONTWAIT);

	check_pattern(part, x->peer_received, n);
	if (n > 0)
		x->peer_received += (uint64_t)n;
}

static void run(struct loop *l)
{
	CHECK_INT(loop_run(l, 0), >=, 0);
}

static void quiesce(struct connection *x)
{
	loop_cancel(x->l, &x->in);
	loop_cancel(x->l, &x->out);
	while (x->in_busy || x->out_busy)
		CHECK_INT(loop_run(x->l, NS_PER_S), >=, 0);
}

/* What we were told of and what the peer got are the same. */
static void close_it(struct connection *x)
{
	uint64_t before;

	quiesce(x);
	do {
		before = x->peer_received;
		peer_reads(x);
	} while (x->peer_received != before);
	CHECK_INT(x->peer_received, ==, x->sent);
	CHECK_INT(x->received, <=, x->peer_sent);
	loop_forget(x->l, x->fd);
	close(x->fd);
	close(x->peer);
}

static void open_it(struct connection *x, struct loop *l)
{
	int pair[2], kind = roll(2) ? SOCK_NONBLOCK : 0;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | kind, 0,
			    pair));
	x->l = l;
	x->fd = pair[0];
	x->peer = pair[1];
	x->in.fn = received;
	x->out.fn = sent;
	x->received = x->peer_sent = x->sent = x->peer_received = 0;
}

static void step(struct connection *x, struct loop *l)
{
	switch (roll(12)) {
	case 0:
	case 1:
		start_in(x);
		break;
	case 2:
	case 3:
		start_out(x);
		break;
	case 4:
	case 5:
		peer_writes(x);
		break;
	case 6:
	case 7:
		peer_reads(x);
		break;
	case 8:
		if (roll(3) == 0)
			loop_cancel(l, roll(2) ? &x->in : &x->out);
		break;
	case 9:
		if (roll(20) == 0) {
			close_it(x);
			open_it(x, l);
		}
		break;
	default:
		run(l);
	}
}

BOTH(any_mixture)
{
	for (unsigned i = 0; i < CONNECTIONS; i++)
		open_it(&c[i], l);
	for (unsigned i = 0; i < STEPS; i++) {
		step(&c[roll(CONNECTIONS)], l);
		if (roll(2000) == 0) /* all at once */
			for (unsigned k = 0; k < CONNECTIONS; k++) {
				start_in(&c[k]);
				peer_writes(&c[k]);
			}
	}
	CHECK_INT(started, >, STEPS / 50);
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		close_it(&c[i]);
		CHECK_INT(c[i].in_busy + c[i].out_busy, ==, 0);
	}
	CHECK_INT(started, ==, called);
	run(l);
	CHECK_INT(started, ==, called);
}

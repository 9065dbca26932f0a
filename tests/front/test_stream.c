/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: each case plain and with TLS, over both backends of the loop. The
 * peer is a process of its own; what it sees decides its exit status.
 */
#include "tests/test.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/guard.h"
#include "front/resp/stream.h"
#include "tests/front/tls_peer.h"

struct world {
	struct loop *loop;
	struct stream_tls *tls; /* NULL: plain */
	struct identity ca, server;
	struct peer_options peer;
	struct stream *stream;
	int fds[2];
	pid_t pid;
	unsigned gone;
};

/* One direction's call, and what its callback was told. */
struct told {
	struct world *w;
	unsigned calls;
	int64_t result;
	char bytes[64];
	bool closes;
};

static void setup(struct world *w, bool tls, enum loop_backend backend)
{
	int err = loop_create(backend, &w->loop);
	const char *why = "";

	if (err == -ENOSYS)
		SKIP("io_uring is refused here");
	CHECK_OK(err);
	w->peer.tls = tls;
	if (!tls)
		return;
	identity_make(&w->ca, "authority", NULL);
	identity_make(&w->server, "server", &w->ca);
	w->peer.ca = &w->ca;
	CHECK_OK(stream_tls_create(w->server.certificate_pem, w->server.key_pem,
				   NULL, &w->tls, &why));
}

static void identity_free(struct identity *id)
{
	EVP_PKEY_free(id->key);
	X509_free(id->certificate);
}

static void note_gone(void *ctx)
{
	struct world *w = ctx;

	w->gone++;
	w->stream = NULL;
}

static void finish(struct world *w)
{
	if (w->stream)
		stream_close(w->stream, note_gone, w);
	loop_destroy(w->loop);
	stream_tls_destroy(w->tls);
	identity_free(&w->ca);
	identity_free(&w->server);
}

#define EACH(name_)                                                   \
	static void case_##name_(struct world *w);                    \
	static void with_##name_(bool tls, enum loop_backend backend) \
	{                                                             \
		struct world w = { .fds = { -1, -1 } };               \
                                                                      \
		setup(&w, tls, backend);                              \
		case_##name_(&w);                                     \
		finish(&w);                                           \
	}                                                             \
	TEST(name_##_plain_epoll)                                     \
	{                                                             \
		with_##name_(false, LOOP_EPOLL);                      \
	}                                                             \
	TEST(name_##_plain_uring)                                     \
	{                                                             \
		with_##name_(false, LOOP_URING);                      \
	}                                                             \
	EACH_TLS(name_)

#define TLS_ONLY(name_)                                               \
	static void case_##name_(struct world *w);                    \
	static void with_##name_(bool tls, enum loop_backend backend) \
	{                                                             \
		struct world w = { .fds = { -1, -1 } };               \
                                                                      \
		setup(&w, tls, backend);                              \
		case_##name_(&w);                                     \
		finish(&w);                                           \
	}                                                             \
	EACH_TLS(name_)

#define EACH_TLS(name_)                         \
	TEST(name_##_tls_epoll)                 \
	{                                       \
		with_##name_(true, LOOP_EPOLL); \
	}                                       \
	TEST(name_##_tls_uring)                 \
	{                                       \
		with_##name_(true, LOOP_URING); \
	}                                       \
	static void case_##name_(struct world *w)

/* Starts the peer: `act` with an open connection says whether all went well. */
static void start_peer(struct world *w, bool (*act)(struct peer *p))
{
	struct peer p;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->fds));
	w->pid = fork();
	CHECK(w->pid >= 0);
	if (w->pid == 0) {
		close(w->fds[0]);
		if (!peer_open(&p, w->fds[1], &w->peer))
			_exit(2);
		_exit(act(&p) ? 0 : 1);
	}
	close(w->fds[1]);
}

static void start(struct world *w, bool (*act)(struct peer *p))
{
	start_peer(w, act);
	CHECK_OK(stream_open(w->loop, w->fds[0], w->tls, &w->stream));
	CHECK_INT(stream_fd(w->stream), ==, w->fds[0]);
}

static int peer_status(struct world *w)
{
	int status;

	CHECK_INT(waitpid(w->pid, &status, 0), ==, w->pid);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void until(struct world *w, const unsigned *count, unsigned n)
{
	uint64_t end = clock_ns() + 30 * NS_PER_S;

	while (*count < n) {
		CHECK(clock_ns() < end);
		CHECK_INT(loop_run(w->loop, NS_PER_S), >=, 0);
	}
	CHECK_INT(*count, ==, n);
}

static void note(void *ctx, const char *data, int64_t result)
{
	struct told *t = ctx;

	t->calls++;
	t->result = result;
	if (data && result > 0)
		memcpy(t->bytes, data, MIN((size_t)result, sizeof(t->bytes)));
	if (t->closes)
		stream_close(t->w->stream, note_gone, t->w);
}

static int send_text(struct world *w, struct told *t, const char *text)
{
	struct iovec v = { (void *)(uintptr_t)text, strlen(text) };

	return stream_send(w->stream, &v, 1, 0, note, t);
}

static void close_it(struct world *w)
{
	stream_close(w->stream, note_gone, w);
	until(w, &w->gone, 1);
}

/* ---- bytes ------------------------------------------------------------------- */

static bool ping_100(struct peer *p)
{
	char got[8];

	for (unsigned i = 0; i < 100; i++)
		if (!peer_write(p, "ping", 4) || !peer_read_all(p, got, 4) ||
		    memcmp(got, "ping", 4) != 0)
			return false;
	return peer_read(p, got, 8) == 0;
}

EACH(echo)
{
	struct told in = { .w = w }, out = in;

	start(w, ping_100);
	for (unsigned i = 1; i <= 100; i++) {
		CHECK_OK(stream_receive_any(w->stream, 16, LOOP_NOT_YET, note,
					    &in));
		CHECK_INT(in.calls, ==, i - 1);
		until(w, &in.calls, i);
		CHECK_INT(in.result, ==, 4);
		in.bytes[4] = 0;
		CHECK_OK(send_text(w, &out, in.bytes));
		CHECK_INT(out.calls, ==, i - 1);
		until(w, &out.calls, i);
		CHECK_INT(out.result, ==, 4);
	}
	close_it(w);
	CHECK_INT(peer_status(w), ==, 0);
}

#define PAGES 4u

static bool send_pages(struct peer *p)
{
	char page[PAGE_BYTES], got;

	for (unsigned i = 0; i < PAGES; i++) {
		memset(page, 'a' + (int)i, sizeof(page));
		if (!peer_write(p, page, sizeof(page)))
			return false;
	}
	return peer_read(p, &got, 1) == 0;
}

/* A page of the memory fails that is received into: it is told, and what was to go
 * there is not lost. */
EACH(memory_that_fails)
{
	const size_t all = PAGES * PAGE_BYTES;
	struct told in = { .w = w };
	int fd = memfd_create("end", MFD_CLOEXEC);
	static char whole[PAGES * PAGE_BYTES];
	size_t moved = 0;
	unsigned calls = 0;
	char *into = mmap(NULL, all, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	guard_install();
	CHECK(fd >= 0 && into != MAP_FAILED);
	CHECK(mmap(into + 2 * PAGE_BYTES, PAGE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
	start(w, send_pages);
	do {
		CHECK_OK(stream_receive(w->stream, into + moved, all - moved, 0,
					note, &in));
		until(w, &in.calls, ++calls);
		moved += in.result > 0 ? (size_t)in.result : 0;
		CHECK_INT(moved, <=, 2 * PAGE_BYTES);
	} while (in.result > 0);
	CHECK_INT(in.result, ==, -EFAULT);
	memcpy(whole, into, moved);
	CHECK_OK(stream_receive(w->stream, whole + moved, all - moved,
				LOOP_WHOLE, note, &in));
	until(w, &in.calls, ++calls);
	CHECK_INT(in.result, ==, all - moved);
	for (size_t i = 0; i < all; i++)
		CHECK(whole[i] == (char)('a' + i / PAGE_BYTES));
	munmap(into, all);
	close(fd);
	close_it(w);
	CHECK_INT(peer_status(w), ==, 0);
}

#define LARGE ((size_t)9 << 20)
static char large[LARGE], got[LARGE];

static void fill_large(void)
{
	for (size_t i = 0; i < LARGE; i++)
		large[i] = (char)(i % 251);
}

/* A server that closes with its send buffer full has no room to say so. */
static bool mirror_large(struct peer *p)
{
	fill_large();
	return peer_write(p, large, LARGE) && peer_read_all(p, got, LARGE) &&
	       memcmp(got, large, LARGE) == 0 && peer_read(p, got, 1) <= 0;
}

EACH(large)
{
	static const size_t cut[] = { 0, 5, 30000, LARGE - 2, LARGE };
	struct told in = { .w = w }, out = in;
	struct iovec v[LOOP_PIECES];

	fill_large();
	for (unsigned i = 0; i < LOOP_PIECES; i++)
		v[i] = (struct iovec){ large + cut[i], cut[i + 1] - cut[i] };
	start(w, mirror_large);
	CHECK_OK(stream_receive(w->stream, got, LARGE, LOOP_WHOLE, note, &in));
	until(w, &in.calls, 1);
	CHECK_INT(in.result, ==, LARGE);
	CHECK_MEM(got, large, LARGE);
	CHECK_OK(stream_send(w->stream, v, LOOP_PIECES, 0, note, &out));
	memset(v, 0, sizeof(v));
	until(w, &out.calls, 1);
	CHECK_INT(out.result, ==, LARGE);
	close_it(w);
	CHECK_INT(peer_status(w), ==, 0);
}

/* Both directions at once, and each waits for the other's end. */
static bool full_duplex(struct peer *p)
{
	fill_large();
	for (size_t at = 0; at < LARGE; at += LARGE / 16)
		if (!peer_write(p, large + at, LARGE / 16) ||
		    !peer_read_all(p, got + at, LARGE / 16))
			return false;
	return memcmp(got, large, LARGE) == 0;
}

EACH(both_directions_at_once)
{
	struct told in = { .w = w }, out = in;
	struct iovec v = { large, LARGE };

	fill_large();
	start(w, full_duplex);
	CHECK_OK(stream_send(w->stream, &v, 1, LOOP_MORE, note, &out));
	CHECK_OK(stream_receive(w->stream, got, LARGE, LOOP_WHOLE, note, &in));
	until(w, &in.calls, 1);
	until(w, &out.calls, 1);
	CHECK_INT(in.result, ==, LARGE);
	CHECK_INT(out.result, ==, LARGE);
	CHECK_MEM(got, large, LARGE);
	CHECK_INT(peer_status(w), ==, 0);
}

static bool one_record(struct peer *p)
{
	char c;

	fill_large();
	return peer_write(p, large, 10000) && peer_read(p, &c, 1) == 0;
}

/* With TLS all of it is in OpenSSL's hands after the first call, and the socket
 * is never ready again. */
EACH(what_was_read_ahead)
{
	struct told in = { .w = w };
	char part[10];

	fill_large();
	start(w, one_record);
	for (unsigned i = 0; i < 1000; i++) {
		size_t at = 10 * i;

		if (i % 2)
			CHECK_OK(stream_receive_any(w->stream, 10, LOOP_NOT_YET,
						    note, &in));
		else
			CHECK_OK(stream_receive(w->stream, part, 10,
						LOOP_NOT_YET | LOOP_WHOLE, note,
						&in));
		until(w, &in.calls, i + 1);
		CHECK_INT(in.result, ==, 10);
		CHECK_MEM(i % 2 ? in.bytes : part, large + at, 10);
	}
	close_it(w);
	CHECK_INT(peer_status(w), ==, 0);
}

static bool silent(struct peer *p)
{
	char c;

	return peer_write(p, "x", 1) && peer_read(p, &c, 1) == 0;
}

EACH(idle_costs_nothing)
{
	struct told in = { .w = w };

	start(w, silent);
	CHECK_OK(stream_receive_any(w->stream, 16, LOOP_NOT_YET, note, &in));
	until(w, &in.calls, 1);
	CHECK_OK(stream_receive_any(w->stream, 16, LOOP_NOT_YET, note, &in));
	loop_run(w->loop, 0);
	loop_run(w->loop, 0);
	CHECK_INT(loop_run(w->loop, 30 * NS_PER_MS), ==, 0);
	CHECK_INT(in.calls, ==, 1);
	close_it(w);
	CHECK_INT(in.calls, ==, 1);
	CHECK_INT(peer_status(w), ==, 0);
}

static bool unasked(struct peer *p)
{
	char c;

	return peer_write(p, "a", 1) && peer_read_all(p, &c, 1) &&
	       peer_write(p, "b", 1) && peer_read(p, &c, 1) == 0;
}

/* Bytes that nobody has asked for yet do not keep the loop awake. */
EACH(unread_bytes_cost_nothing)
{
	struct told in = { .w = w }, out = in;
	struct pollfd p;

	start(w, unasked);
	CHECK_OK(stream_receive_any(w->stream, 9, LOOP_NOT_YET, note, &in));
	until(w, &in.calls, 1);
	CHECK_OK(send_text(w, &out, "x"));
	until(w, &out.calls, 1);
	p = (struct pollfd){ stream_fd(w->stream), POLLIN, 0 };
	CHECK_INT(poll(&p, 1, 20000), ==, 1);
	for (unsigned i = 0; i < 4; i++)
		CHECK_INT(loop_run(w->loop, 0), >=, 0);
	CHECK_INT(loop_run(w->loop, 30 * NS_PER_MS), ==, 0);
	CHECK_OK(stream_receive_any(w->stream, 9, LOOP_NOT_YET, note, &in));
	until(w, &in.calls, 2);
	CHECK_INT(in.bytes[0], ==, 'b');
	close_it(w);
	CHECK_INT(peer_status(w), ==, 0);
}

/* ---- the end ------------------------------------------------------------------ */

static bool half_close(struct peer *p)
{
	char c[8];

	if (!peer_write(p, "question", 8))
		return false;
	peer_end(p);
	return peer_read_all(p, c, 6) && memcmp(c, "answer", 6) == 0;
}

EACH(half_closed_peer)
{
	struct told in = { .w = w }, out = in;

	start(w, half_close);
	CHECK_OK(stream_receive(w->stream, got, 100, LOOP_WHOLE, note, &in));
	until(w, &in.calls, 1);
	CHECK_INT(in.result, ==, 8);
	for (unsigned i = 2; i < 4; i++) {
		CHECK_OK(stream_receive_any(w->stream, 9, LOOP_NOT_YET, note,
					    &in));
		until(w, &in.calls, i);
		CHECK_INT(in.result, ==, 0);
	}
	CHECK_OK(send_text(w, &out, "answer"));
	until(w, &out.calls, 1);
	CHECK_INT(out.result, ==, 6);
	CHECK_INT(peer_status(w), ==, 0);
}

static bool vanish(struct peer *p)
{
	return peer_write(p, "x", 1); /* and the process ends */
}

EACH(vanished_peer)
{
	struct told in = { .w = w }, out = in;
	struct iovec v = { large, LARGE };

	start(w, vanish);
	CHECK_OK(stream_receive_any(w->stream, 9, 0, note, &in));
	until(w, &in.calls, 1);
	CHECK_INT(in.result, ==, 1);
	CHECK_INT(peer_status(w), ==, 0);
	/* an end that nobody waits for does not keep the loop awake */
	for (unsigned i = 0; i < 4; i++)
		CHECK_INT(loop_run(w->loop, 0), >=, 0);
	CHECK_INT(loop_run(w->loop, 30 * NS_PER_MS), ==, 0);
	CHECK_OK(stream_receive_any(w->stream, 9, LOOP_NOT_YET, note, &in));
	until(w, &in.calls, 2);
	CHECK(in.result == 0 || in.result == -ECONNRESET);
	for (unsigned i = 1; i < 3; i++) { /* SIGPIPE would end the test */
		CHECK_OK(stream_send(w->stream, &v, 1, 0, note, &out));
		until(w, &out.calls, i);
		CHECK(out.result == -EPIPE || out.result == -ECONNRESET);
	}
}

static bool wait_for_the_end(struct peer *p)
{
	char c;

	return peer_write(p, "begin", 5) && peer_read(p, &c, 1) <= 0;
}

/* The first bytes tell that a handshake, if any, is over. */
static bool begin_and_a_part(struct peer *p)
{
	char c;

	return peer_write(p, "begin", 5) && peer_write(p, "part", 4) &&
	       peer_read(p, &c, 1) <= 0;
}

EACH(close_in_the_middle_of_a_receive)
{
	struct told in = { .w = w };

	start(w, begin_and_a_part);
	CHECK_OK(stream_receive(w->stream, got, 5, LOOP_WHOLE, note, &in));
	until(w, &in.calls, 1);
	CHECK_OK(stream_receive(w->stream, got, 100, LOOP_WHOLE, note, &in));
	for (unsigned i = 0; i < 5; i++)
		loop_run(w->loop, 10 * NS_PER_MS);
	stream_close(w->stream, note_gone, w);
	until(w, &w->gone, 1);
	memset(got, 1, 100);
	CHECK_INT(peer_status(w), ==, 0);
	loop_run(w->loop, 0);
	CHECK_INT(in.calls, ==, 1);
	CHECK_INT(w->gone, ==, 1);
	CHECK_INT(got[99], ==, 1);
}

static bool read_to_the_end(struct peer *p)
{
	size_t n = 0;
	ssize_t r;

	while ((r = peer_read(p, got, sizeof(got))) > 0)
		n += (size_t)r;
	return n < LARGE;
}

/* From here on nothing is read at the other end: a sender cannot come to its end. */
static void stop_peer(struct world *w)
{
	int status;

	kill(w->pid, SIGSTOP);
	CHECK_INT(waitpid(w->pid, &status, WUNTRACED), ==, w->pid);
	CHECK(WIFSTOPPED(status));
}

EACH(close_in_the_middle_of_a_send)
{
	struct iovec v = { large, LARGE };
	struct told in = { .w = w }, out = in;

	start(w, wait_for_the_end);
	CHECK_OK(stream_receive(w->stream, got, 5, LOOP_WHOLE, note, &in));
	until(w, &in.calls, 1);
	CHECK_OK(stream_receive_any(w->stream, 5, LOOP_NOT_YET, note, &in));
	stop_peer(w);
	CHECK_OK(stream_send(w->stream, &v, 1, 0, note, &out));
	for (unsigned i = 0; i < 5; i++)
		loop_run(w->loop, NS_PER_MS);
	close_it(w);
	CHECK_INT(in.calls, ==, 1);
	CHECK_INT(out.calls, ==, 0);
	kill(w->pid, SIGKILL);
}

EACH(close_at_once)
{
	struct told t = { .w = w };

	start(w, read_to_the_end);
	CHECK_OK(send_text(w, &t, "x"));
	CHECK_OK(stream_receive_any(w->stream, 9, 0, note, &t));
	close_it(w);
	CHECK_INT(t.calls, ==, 0);
	CHECK_INT(peer_status(w), ==, w->tls ? 2 : 0);
	start(w, read_to_the_end);
	stream_close(w->stream, NULL, NULL);
	w->stream = NULL;
	CHECK_INT(peer_status(w), ==, w->tls ? 2 : 0);
}

EACH(close_inside_the_callback)
{
	struct told in = { .w = w, .closes = true }, out = { .w = w };

	start(w, silent);
	CHECK_OK(stream_receive_any(w->stream, 9, 0, note, &in));
	until(w, &w->gone, 1);
	CHECK_INT(peer_status(w), ==, 0);
	/* while the other half is busy too */
	w->gone = 0;
	start(w, silent);
	in.calls = 0;
	CHECK_OK(stream_receive_any(w->stream, 9, 0, note, &in));
	until(w, &in.calls, 1);
	until(w, &w->gone, 1);
	CHECK_INT(peer_status(w), ==, 0);
	w->gone = 0;
	start(w, wait_for_the_end);
	out.closes = true;
	in.calls = 0;
	in.closes = false;
	CHECK_OK(stream_receive(w->stream, got, 9, LOOP_WHOLE, note, &in));
	CHECK_OK(send_text(w, &out, "x"));
	until(w, &w->gone, 1);
	CHECK_INT(out.calls, ==, 1);
	CHECK_INT(in.calls, ==, 0);
	CHECK_INT(peer_status(w), ==, 1); /* it got the x */
}

EACH(loop_ends_first)
{
	struct told in = { .w = w }, out = in;
	struct iovec v = { large, LARGE };

	start(w, read_to_the_end);
	stop_peer(w);
	CHECK_OK(stream_receive(w->stream, got, 100, LOOP_WHOLE, note, &in));
	CHECK_OK(stream_send(w->stream, &v, 1, 0, note, &out));
	loop_run(w->loop, 0);
	stream_close(w->stream, note_gone, w);
	loop_destroy(w->loop);
	w->loop = NULL;
	CHECK_INT(w->gone, ==, 1);
	CHECK_INT(in.calls + out.calls, ==, 0);
	kill(w->pid, SIGKILL);
}

EACH(refusals)
{
	struct told in = { .w = w }, out = in;
	struct iovec v = { large, 0 };

	start(w, silent);
	CHECK_INT(stream_send(w->stream, &v, 1, 0, note, &out), ==, -EINVAL);
	CHECK_INT(stream_send(w->stream, &v, 0, 0, note, &out), ==, -EINVAL);
	CHECK_INT(stream_receive(w->stream, got, 0, 0, note, &in), ==, -EINVAL);
	CHECK_INT(stream_receive_any(w->stream, 0, 0, note, &in), ==, -EINVAL);
	CHECK_INT(stream_receive_any(w->stream, LOOP_ANY_BYTES + 1, 0, note,
				     &in),
		  ==, -EINVAL);
	CHECK_OK(stream_receive(w->stream, got, 2, LOOP_WHOLE, note, &in));
	CHECK_INT(stream_receive_any(w->stream, 1, 0, note, &in), ==, -EBUSY);
	v.iov_len = 1;
	CHECK_OK(stream_send(w->stream, &v, 1, 0, note, &out));
	CHECK_INT(stream_send(w->stream, &v, 1, 0, note, &out), ==, -EBUSY);
	until(w, &out.calls, 1);
}

/* ---- TLS ---------------------------------------------------------------------- */

TLS_ONLY(garbage_instead_of_a_handshake)
{
	struct told in = { .w = w }, out = in;

	w->peer.tls = false;
	start(w, wait_for_the_end);
	CHECK_OK(stream_receive_any(w->stream, 9, LOOP_NOT_YET, note, &in));
	until(w, &in.calls, 1);
	CHECK_INT(in.result, ==, -EPROTO);
	CHECK_OK(stream_receive_any(w->stream, 9, LOOP_NOT_YET, note, &in));
	CHECK_OK(send_text(w, &out, "x"));
	until(w, &in.calls, 2);
	until(w, &out.calls, 1);
	CHECK_INT(in.result, ==, -EPROTO);
	CHECK_INT(out.result, ==, -EPROTO);
	close_it(w);
}

TLS_ONLY(old_versions_are_refused)
{
	struct told in = { .w = w };

	w->peer.max_version = TLS1_1_VERSION;
	start(w, silent);
	CHECK_OK(stream_receive_any(w->stream, 9, LOOP_NOT_YET, note, &in));
	until(w, &in.calls, 1);
	CHECK_INT(in.result, ==, -EPROTO);
	close_it(w);
	CHECK_INT(peer_status(w), ==, 2);
}

TLS_ONLY(version_1_2)
{
	struct told in = { .w = w }, out = in;

	w->peer.max_version = TLS1_2_VERSION;
	start(w, half_close);
	CHECK_OK(send_text(w, &out, "answer"));
	CHECK_OK(stream_receive(w->stream, got, 9, LOOP_WHOLE, note, &in));
	until(w, &in.calls, 1);
	until(w, &out.calls, 1);
	CHECK_INT(in.result, ==, 8);
	CHECK_INT(out.result, ==, 6);
	CHECK_INT(peer_status(w), ==, 0);
}

static void require_client(struct world *w)
{
	const char *why;

	stream_tls_destroy(w->tls);
	CHECK_OK(stream_tls_create(w->server.certificate_pem, w->server.key_pem,
				   w->ca.certificate_pem, &w->tls, &why));
}

TLS_ONLY(client_without_a_certificate)
{
	struct identity stranger;
	struct told in = { .w = w };

	require_client(w);
	for (unsigned i = 1; i < 3; i++) {
		start(w, silent);
		CHECK_OK(stream_receive_any(w->stream, 9, LOOP_NOT_YET, note,
					    &in));
		until(w, &in.calls, i);
		CHECK_INT(in.result, ==, -EPROTO);
		w->gone = 0;
		close_it(w);
		CHECK_INT(peer_status(w), !=, 0);
		/* one that nobody vouches for is as good as none */
		if (i == 1)
			identity_make(&stranger, "stranger", NULL);
		w->peer.client = &stranger;
	}
	identity_free(&stranger);
}

TLS_ONLY(client_with_its_certificate)
{
	struct told in = { .w = w };
	struct identity client;

	identity_make(&client, "client", &w->ca);
	require_client(w);
	w->peer.client = &client;
	start(w, silent);
	CHECK_OK(stream_receive_any(w->stream, 9, LOOP_NOT_YET, note, &in));
	until(w, &in.calls, 1);
	CHECK_INT(in.result, ==, 1);
	close_it(w);
	CHECK_INT(peer_status(w), ==, 0);
	identity_free(&client);
}

TEST(certificates_that_cannot_be_used)
{
	struct identity a, b;
	struct stream_tls *tls = NULL;
	const char *why = NULL;
	char cut[4096];

	identity_make(&a, "a", NULL);
	identity_make(&b, "b", NULL);
	memcpy(cut, a.certificate_pem, sizeof(cut));
	cut[strlen(cut) / 2] = 0;
	const char *const tries[][3] = {
		{ "", a.key_pem, NULL },
		{ "nonsense", a.key_pem, NULL },
		{ cut, a.key_pem, NULL },
		{ a.certificate_pem, "", NULL },
		{ a.certificate_pem, b.key_pem, NULL },
		{ a.certificate_pem, a.certificate_pem, NULL },
		{ a.key_pem, a.certificate_pem, NULL },
		{ a.certificate_pem, a.key_pem, "" },
		{ a.certificate_pem, a.key_pem, "nonsense" },
		{ a.certificate_pem, a.key_pem, cut },
	};

	for (unsigned i = 0; i < ARRAY_LEN(tries); i++) {
		why = NULL;
		CHECK_INT(stream_tls_create(tries[i][0], tries[i][1],
					    tries[i][2], &tls, &why),
			  ==, -EINVAL);
		CHECK(why && why[0]);
		CHECK(!tls);
	}
	CHECK_OK(stream_tls_create(a.certificate_pem, a.key_pem,
				   b.certificate_pem, &tls, &why));
	stream_tls_destroy(tls);
	stream_tls_destroy(NULL);
	identity_free(&a);
	identity_free(&b);
}

/* ---- faults --------------------------------------------------------------------- */

static bool either(struct peer *p)
{
	char c;

	peer_write(p, "x", 1);
	peer_read(p, &c, 1);
	return true;
}

/* Something fails once: the calls say so, or do their work; what was opened is
 * closed. */
static bool fault_round(struct world *w, unsigned n)
{
	struct told in = { .w = w }, out = in;
	int err, started = -1, sent = -1;
	bool fired;

	w->gone = 0;
	start_peer(w, either);
	fault_arm(FAULT_ALL, n, false);
	err = stream_open(w->loop, w->fds[0], w->tls, &w->stream);
	if (err == 0) {
		started = stream_receive_any(w->stream, 9, 0, note, &in);
		sent = send_text(w, &out, "y");
		/* a run that fails is run again */
		for (unsigned i = 0; i < 100 && (in.calls < (started == 0) ||
						 out.calls < (sent == 0));
		     i++)
			loop_run(w->loop, NS_PER_S);
		CHECK_INT(in.calls, ==, started == 0);
		CHECK_INT(out.calls, ==, sent == 0);
	}
	fired = fault_fired();
	fault_arm(0, 0, false);
	if (!fired)
		CHECK(in.result == 1 && out.result == 1);
	CHECK(in.calls == 0 || in.result == 1 || in.result == -EIO);
	CHECK(out.calls == 0 || out.result == 1 || out.result == -EIO);
	if (w->stream)
		close_it(w);
	peer_status(w);
	return fired;
}

EACH(faults)
{
	unsigned n = 1;

	while (fault_round(w, n))
		CHECK_INT(n++, <, 100);
	CHECK_INT(n, >, 3);
}

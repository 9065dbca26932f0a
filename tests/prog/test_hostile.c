/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that misbehave, on the socket and in their rings. Meanwhile a good
 * client goes on, and afterwards the node finds nothing wrong with itself.
 */
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "base/rng.h"
#include "tests/prog/hostile.h"

#define BYTES (64 * KIB)

/* The good client: a child that works until it is told to end. */
struct good {
	struct live n;
	struct child child;
	oc_client *c;
	pid_t server;
	_Atomic uint64_t *rounds; /* shared */
};

static void good_run(const struct live *n, int fd, void *arg)
{
	_Atomic uint64_t *rounds = arg;
	oc_client *c = live_connect_as(
		n, (struct live_as){ .timeout_ns = 20 * NS_PER_S });
	oc_ns *ns = live_ns(c, BYTES);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t i = (uint64_t)getpid() << 20;

	live_write_some(ns, 0, 20, BYTES);
	child_say(fd, 'g');
	for (; poll(&p, 1, 0) == 0; i++, ++*rounds) {
		int r = live_write(ns, i, BYTES);

		if (r)
			FAIL("the good client: %d %s", r, oc_client_error(c));
		CHECK_OK(live_read(ns, i, BYTES));
	}
	oc_ns_close(ns);
	oc_client_close(c);
}

static void good_start(struct good *g)
{
	g->rounds = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(g->rounds != MAP_FAILED);
	live_start(&g->n, "--dram", "64M", "--log-level", "error");
	g->c = live_connect(&g->n);
	g->server = live_server(g->c);
	g->child = child_start(good_run, &g->n, (void *)(uintptr_t)g->rounds);
	CHECK_INT(child_hear(g->child.fd), ==, 'g');
}

/* It still works: some more rounds. */
static void good_goes_on(struct good *g)
{
	uint64_t was = *g->rounds;

	LIVE_WAIT(&g->n, *g->rounds > was + 3);
}

static void good_end(struct good *g)
{
	good_goes_on(g);
	CHECK_INT(live_server(g->c), ==, g->server);
	child_say(g->child.fd, 'e');
	CHECK_INT(child_end(&g->child), ==, 0);
	LIVE_WAIT(&g->n, live_stat(g->c).clients == 1);
	CHECK_INT(live_stat(g->c).granted, ==, 0);
	live_check(g->c);
	oc_client_close(g->c);
	live_stop(&g->n);
}

/* ---- the socket */

static unsigned say(int sock, const void *raw, size_t len, union msg *ret)
{
	CHECK_INT(send(sock, raw, len, MSG_NOSIGNAL), ==, len);
	return hostile_hear(sock, ret);
}

TEST(nonsense_on_the_socket)
{
	struct rng rng = { 7 };
	struct good g;
	uint8_t raw[4096];
	union msg m, a;
	int s;

	good_start(&g);
	s = hostile_socket(&g.n);
	msg_init(&m, MSG_HELLO, 1);
	for (size_t len = 1; len < m.head.bytes; len += 7)
		CHECK_INT(say(s, &m, len, &a), ==, MSG_ERROR);
	memset(raw, 'x', sizeof(raw));
	CHECK_INT(say(s, raw, sizeof(raw), &a), ==, MSG_ERROR);
	for (int i = 0; i < 2000; i++) {
		size_t len = 1 + rng_below(&rng, MSG_MAX);

		for (size_t k = 0; k < len; k++)
			raw[k] = (uint8_t)rng_next(&rng);
		if (i & 1) /* a right head */
			msg_init((union msg *)(void *)&m,
				 (enum msg_type)(1 + i / 2 % 7), 1),
				memcpy(raw, &m, sizeof(m.head)),
				len = MAX(len, sizeof(m.head));
		CHECK_INT(say(s, raw, len, &a), ==, MSG_ERROR);
	}
	close(s);
	good_end(&g);
}

TEST(wrong_hellos)
{
	struct hostile h;
	struct good g;
	union msg m, a;
	int s;

	good_start(&g);
	s = hostile_socket(&g.n);
	msg_init(&m, MSG_REGION, 1); /* before any HELLO */
	CHECK_INT(say(s, &m, m.head.bytes, &a), ==, MSG_ERROR);
	msg_init(&m, MSG_HELLO, 2);
	m.head.major = 99;
	CHECK_INT(say(s, &m, m.head.bytes, &a), ==, MSG_ERROR);
	CHECK_INT(a.error.error, ==, -EPROTONOSUPPORT);
	msg_init(&m, MSG_HELLO, 3);
	m.hello.stamp = layout_stamp() ^ 1;
	CHECK_INT(say(s, &m, m.head.bytes, &a), ==, MSG_ERROR);
	CHECK(strstr(a.error.text, "builds") != NULL);
	close(s);
	hostile_join(&g.n, &h);
	msg_init(&m, MSG_HELLO, 4); /* twice: the same client again */
	m.hello.stamp = layout_stamp();
	msg_text(m.hello.tenant, MSG_NAME, "other");
	CHECK_INT(say(h.sock, &m, m.head.bytes, &a), ==, MSG_WELCOME);
	CHECK_INT(a.welcome.client_id, ==, h.id);
	for (unsigned type = MSG_WELCOME; type < MSG_TYPES; type++) {
		msg_init(&m, (enum msg_type)type, 5);
		m.head.bytes = (uint16_t)msg_bytes(type);
		if (type == MSG_INDEX)
			continue;
		m.region.region = 0xffffffff; /* in a REGION; else anything */
		CHECK_INT(say(h.sock, &m, m.head.bytes, &a), ==, MSG_ERROR);
	}
	hostile_leave(&h);
	good_end(&g);
}

TEST(descriptors_that_nobody_asked_for)
{
	int fds[SEGMENT_FDS_MAX];
	struct good g;
	unsigned held;
	union msg m, a;
	int s;

	good_start(&g);
	s = hostile_socket(&g.n);
	for (unsigned i = 0; i < SEGMENT_FDS_MAX; i++)
		fds[i] = s;
	msg_init(&m, MSG_REGION, 1);
	held = live_fds(g.server);
	for (unsigned i = 0; i < 200; i++) {
		int r = segment_send(s, &m, m.head.bytes, fds,
				     1 + i % SEGMENT_FDS_MAX);

		if (r == -EPERM) /* the kernel keeps them out (Linux 6.16) */
			break;
		CHECK_OK(r);
		CHECK_INT(hostile_hear(s, &a), ==, MSG_ERROR);
	}
	/* the good client's slabs take some meanwhile */
	CHECK_INT(live_fds(g.server), <=, held + 200);
	close(s);
	good_end(&g);
}

TEST(thousands_of_silent_connections)
{
	struct rlimit l;
	struct good g;
	int s[3000];
	int n = 0;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	good_start(&g);
	for (; n < 3000; n++) {
		s[n] = hostile_socket(&g.n);
		if (s[n] < 0)
			break;
		if (n % 500 == 0)
			good_goes_on(&g);
	}
	CHECK_INT(n, >, 500);
	good_goes_on(&g);
	while (n-- > 0)
		close(s[n]);
	/* newcomers get in */
	oc_client_close(live_connect(&g.n));
	good_end(&g);
}

TEST(a_client_that_never_reads_its_answers)
{
	struct hostile h;
	struct good g;
	unsigned sent = 0;
	union msg m;

	good_start(&g);
	hostile_join(&g.n, &h);
	msg_init(&m, MSG_REGION, 1);
	m.region.region = 1;
	m.region.generation = 1;
	for (int i = 0; i < 20000; i++)
		sent += send(h.sock, &m, m.head.bytes,
			     MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
	CHECK_INT(sent, >, 100);
	msg_init(&m, MSG_INDEX, 1);
	for (int i = 0; i < 5000; i++)
		sent += send(h.sock, &m, m.head.bytes,
			     MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
	good_goes_on(&g);
	hostile_leave(&h);
	good_end(&g);
}

TEST(newcomers_get_in_beside_silent_connections)
{
	struct live n;
	oc_client *c;
	int s[300];

	live_start(&n, "--dram", "8M", "--max-clients", "32", "--log-level",
		   "error");
	for (int i = 0; i < 300; i++) {
		s[i] = hostile_socket(&n);
		CHECK_INT(s[i], >=, 0);
	}
	c = live_connect(&n);
	live_check(c);
	oc_client_close(c);
	for (int i = 0; i < 300; i++)
		close(s[i]);
	live_stop(&n);
}

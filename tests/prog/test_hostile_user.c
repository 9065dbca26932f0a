/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client with a user id of its own that follows no rule, beside a good one of
 * the same tenant and one of another: server and others go on unharmed, and the
 * operator sees who it was and why it was refused. As root, who can be somebody
 * else; the hostile one is a child.
 */
#include <fcntl.h>
#include <jansson.h>
#include <onecopy/session.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "prog/payload.h"
#include "tests/prog/hostile.h"

#define BYTES	 (64 * KIB)
#define STRANGER 65534u

static const char yaml[] = "dram: 64MiB\nslab: 1MiB\nlog_level: info\n"
			   "tenants:\n"
			   "  - name: default\n    share: 50%\n"
			   "  - name: guests\n    uids: [65534]\n"
			   "    dram: 16MiB\n";

struct scene {
	struct live n;
	oc_client *own, *guest; /* of default, of guests: the node's user */
	oc_ns *own_ns, *guest_ns;
	pid_t server;
	uint64_t next;
	bool guest_evicted; /* the stranger filled its tenant */
};

static void scene_begin(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	if (geteuid() != 0)
		SKIP("changing the user needs root");
	live_start_config(&s->n, yaml);
	s->own = live_connect(&s->n);
	s->guest =
		live_connect_as(&s->n, (struct live_as){ .tenant = "guests" });
	s->own_ns = live_ns(s->own, BYTES);
	s->guest_ns = live_ns(s->guest, BYTES);
	s->server = live_server(s->own);
	live_write_some(s->own_ns, 0, 20, BYTES);
	live_write_some(s->guest_ns, 0, 20, BYTES);
	s->next = 1000;
}

static void scene_goes_on(struct scene *s)
{
	CHECK_OK(live_write(s->own_ns, ++s->next, BYTES));
	CHECK_OK(live_read(s->own_ns, s->next, BYTES));
	CHECK_OK(live_write(s->guest_ns, s->next, BYTES));
	CHECK_OK(live_read(s->guest_ns, s->next, BYTES));
}

/* Nothing is lost, the same server serves, and what the stranger held is back. */
static void scene_end(struct scene *s)
{
	scene_goes_on(s);
	CHECK_INT(live_read_some(s->own_ns, 0, 20, BYTES), ==, 20);
	/* what is there is right, whatever happened */
	CHECK_INT(live_read_some(s->guest_ns, 0, 20, BYTES), >=,
		  s->guest_evicted ? 0 : 20);
	CHECK_INT(live_server(s->own), ==, s->server);
	LIVE_WAIT(&s->n, live_stat(s->guest).granted == 0 &&
				 live_stat(s->guest).clients == 1);
	live_check(s->own);
	live_check(s->guest);
	oc_ns_close(s->own_ns);
	oc_ns_close(s->guest_ns);
	oc_client_close(s->own);
	oc_client_close(s->guest);
	live_stop(&s->n);
}

static void become_stranger(void)
{
	CHECK_OK(setresgid(STRANGER, STRANGER, STRANGER));
	CHECK_OK(setresuid(STRANGER, STRANGER, STRANGER));
}

static struct ring_call grant_of(uint64_t i)
{
	struct oc_key key = live_key(i);
	struct ring_call q = {
		.op = RING_GRANT,
		.part = frame_part(1, 0, 0),
		.timeout_ns = LIVE_DEADLINE,
	};

	memcpy(q.key, key.bytes, sizeof(q.key));
	return q;
}

/* ---- what it was not granted ------------------------------------------------- */

static void store_into(void *at)
{
	*(volatile char *)at = 'x'; /* words: a store that must fault */
}

/* The signal that ends a child which stores there; 0: it could. */
static int signal_of_store(void *at)
{
	int status;
	pid_t pid = fork();

	CHECK_INT(pid, >=, 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		store_into(at);
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void cannot_write(int fd, bool payload)
{
	char path[64];
	void *at;

	CHECK_INT(pwrite(fd, "x", 1, 0), ==, -1);
	CHECK_INT(ftruncate(fd, 0), ==, -1);
	CHECK_INT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			    4096),
		  ==, -1);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) ==
	      MAP_FAILED);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK_INT(open(path, O_RDWR | O_CLOEXEC), ==, -1);
	at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	CHECK_INT(mprotect(at, 4096, PROT_READ | PROT_WRITE), ==, -1);
	if (payload)
		CHECK_INT(signal_of_store(at), ==, SIGSEGV);
	munmap(at, 4096);
}

static void writes_everywhere(const struct live *n, int fd, void *arg)
{
	unsigned mine = 0, others = 0;
	struct ring_answer a;
	struct hostile h;
	int fds[2];

	(void)arg;
	become_stranger();
	hostile_join_as(n, &h, "guests");
	a = hostile_ask(n, &h, 1, grant_of(700));
	CHECK_INT(a.result, ==, 0);
	for (uint32_t region = 1; region < 64; region++) {
		for (uint64_t gen = 0; gen < 16; gen++) {
			bool writable;

			if (hostile_region(&h, region, gen, &writable, fds))
				continue;
			mine += writable;
			others += !writable;
			if (!writable)
				cannot_write(fds[0], true);
			cannot_write(fds[1], true);
			close(fds[0]);
			close(fds[1]);
		}
	}
	CHECK_INT(mine, ==, 1);
	CHECK_INT(others, >=, 1);
	hostile_leave(&h);
	child_say(fd, 'd');
}

TEST(what_it_was_not_granted_it_cannot_write)
{
	struct child child;
	struct scene s;

	scene_begin(&s);
	child = child_start(writes_everywhere, &s.n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'd');
	CHECK_INT(child_end(&child), ==, 0);
	scene_end(&s);
}

/* ---- forged frames, stale generations, garbage ------------------------------- */

static void forges(const struct live *n, int fd, void *arg)
{
	struct hostile h;
	unsigned refused = 0;

	(void)arg;
	become_stranger();
	hostile_join_as(n, &h, "guests");
	for (uint32_t i = 0; i < 400; i++) {
		struct ring_call q = grant_of(i % 20);

		q.op = i & 1 ? RING_SEAL : RING_ABANDON;
		q.loc = frame_loc(i % 7, i / 7);
		q.gen = i % 5;
		q.extent = frame_extent(BYTES, 0);
		if (i % 50 == 49) { /* no frame at all */
			q.loc = UINT64_MAX;
			q.op = 1000 + i;
		}
		refused += hostile_ask(n, &h, i % 8, q).result != 0;
	}
	/* seals of blocks that are there are told so; nothing else succeeds */
	CHECK_INT(refused, ==, 400);
	shared_store64(&h.seg->header.pin_high, UINT64_MAX);
	for (uint32_t i = 0; i < h.pins; i++)
		shared_store64(&h.seg->slots[i], i * 0x9e3779b97f4a7c15ull);
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		shared_store32(&h.seg->ring[i], 0x80000000u | i);
	shared_store64_release(&h.seg->header.tail,
			       shared_load64(&h.seg->header.tail) + 900);
	CHECK_INT(send(h.bell, "", 1, MSG_NOSIGNAL), ==, 1);
	child_say(fd, 'r');
	CHECK_INT(child_hear(fd), ==, 'e');
	hostile_leave(&h);
}

/* The entry of `stat` for the client of that name. */
static json_t *entry(json_t *stat, const char *name)
{
	json_t *list = json_object_get(stat, "clients"), *c;
	size_t i;

	json_array_foreach(list, i, c)
		if (!strcmp(json_string_value(json_object_get(c, "name")),
			    name))
			return c;
	return NULL;
}

static json_int_t faults_of(oc_client *c, const char *name)
{
	char *text;
	json_int_t n;
	json_t *o;

	CHECK_OK(oc_inspect(c, "stat", NULL, 0, &text));
	o = json_loads(text, 0, NULL);
	n = json_integer_value(json_object_get(entry(o, name), "faults"));
	if (n)
		CHECK(json_string_value(
			json_object_get(entry(o, name), "last_fault")));
	json_decref(o);
	free(text);
	return n;
}

TEST(what_it_forges_is_refused_and_told)
{
	struct child child;
	struct scene s;

	scene_begin(&s);
	child = child_start(forges, &s.n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'r');
	scene_goes_on(&s);
	LIVE_WAIT(&s.n, faults_of(s.guest, "hostile") > 900);
	CHECK_INT(faults_of(s.guest, "test"), ==, 0);
	CHECK_INT(live_counter(s.guest, "faults"), >, 900);
	CHECK_INT(live_counter(s.own, "faults"), ==, 0);
	LIVE_WAIT(&s.n, live_said(&s.n, "user 65534, tenant \"guests\")"));
	child_say(child.fd, 'e');
	CHECK_INT(child_end(&child), ==, 0);
	scene_end(&s);
}

/* ---- flooding, never reading ------------------------------------------------- */

static void floods(const struct live *n, int fd, void *arg)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct hostile h;
	union msg m;

	(void)arg;
	become_stranger();
	hostile_join_as(n, &h, "guests");
	msg_init(&m, MSG_INDEX, 1);
	child_say(fd, 'r');
	for (uint32_t i = 0; poll(&p, 1, 0) == 0; i++) {
		struct ring_call q = grant_of(5000 + i);

		q.timeout_ns = i & 1 ? 3600 * NS_PER_S : 0;
		if (i % 7 == 0)
			q.op = RING_REMOVE;
		hostile_push(&h, i % RING_SLOTS, q);
		if (i % 16 == 0 && send(h.sock, &m, m.head.bytes,
					MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			CHECK_INT(errno, ==, EAGAIN);
	}
	hostile_leave(&h);
}

TEST(a_flood_that_reads_no_answers)
{
	struct child child;
	struct scene s;

	scene_begin(&s);
	child = child_start(floods, &s.n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'r');
	/* each within its deadline */
	for (unsigned i = 0; i < LIVE_N(300); i++) {
		CHECK_OK(live_write(s.own_ns, ++s.next, BYTES));
		CHECK_OK(live_read(s.own_ns, s.next, BYTES));
	}
	/* it fills its tenant's quota and no more */
	CHECK_INT(live_stat(s.guest).slab_bytes, <=, 16 * MIB);
	CHECK_INT(live_read_some(s.own_ns, 0, 20, BYTES), ==, 20);
	child_say(child.fd, 'e');
	CHECK_INT(child_end(&child), ==, 0);
	LIVE_WAIT(&s.n, live_stat(s.guest).clients == 1);
	s.guest_evicted = true;
	scene_end(&s);
}

/* ---- forks -------------------------------------------------------------------- */

static void forks(const struct live *n, int fd, void *arg)
{
	struct hostile h;
	char end;

	(void)arg;
	become_stranger();
	hostile_join_as(n, &h, "guests");
	for (uint32_t i = 0; i < 10; i++)
		CHECK_INT(hostile_ask(n, &h, i, grant_of(800 + i)).result, ==,
			  0);
	for (unsigned i = 0; i < 3; i++) {
		if (fork() > 0)
			continue;
		/* everything open, and as noisy as before */
		for (uint32_t k = 0; k < 2000; k++) {
			struct ring_call q = grant_of(900 + k);
			uint64_t tail = shared_load64(&h.seg->header.tail);

			q.seq = h.seq += 1;
			q.slot = k % RING_SLOTS;
			ring_req_store(&h.seg->req[q.slot], &q, true);
			shared_store64_release(&h.seg->header.tail, tail + 1);
			send(h.bell, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		}
		/* until the test ends */
		_exit(read(fd, &end, 1) > 0);
	}
	child_say(fd, 'r');
	pause(); /* killed; the children stay, with all its descriptors */
}

TEST(children_that_hold_all_of_it)
{
	struct child child;
	struct scene s;

	scene_begin(&s);
	child = child_start(forks, &s.n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'r');
	CHECK_INT(live_stat(s.guest).granted, >=, 10);
	kill(child.pid, SIGKILL);
	LIVE_WAIT(&s.n, live_stat(s.guest).granted == 0 &&
				live_stat(s.guest).clients == 1);
	scene_goes_on(&s);
	close(child.fd); /* ends the others */
	waitpid(child.pid, NULL, 0);
	scene_end(&s);
}

/* ---- who may come ------------------------------------------------------------- */

static void knocks(const struct live *n, int fd, void *arg)
{
	static const char *const tenants[] = { "default", "none-such", "" };
	char error[256];
	oc_client *c;

	(void)arg;
	become_stranger();
	for (unsigned i = 0; i < ARRAY_LEN(tenants); i++) {
		struct live_as as = { .tenant = tenants[i] };

		/* the same answer, whether there is such a tenant or not */
		CHECK_INT(live_try(n, as, &c, error), ==, -EACCES);
		if (!strstr(error, "65534"))
			FAIL("%s", error);
	}
	child_say(fd, 'd');
}

TEST(other_tenants_do_not_let_it_in)
{
	struct child child;
	struct scene s;

	scene_begin(&s);
	child = child_start(knocks, &s.n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'd');
	CHECK_INT(child_end(&child), ==, 0);
	CHECK(live_said(&s.n, "user 65534, tenant \"none-such\") was refused"));
	scene_end(&s);
}

/* ---- sessions ------------------------------------------------------------------ */

struct opened {
	uint32_t made, refused;
};

static int open_session(oc_ns *ns, const char *name, oc_session **ret)
{
	struct oc_session_options o = OC_SESSION_INIT;

	o.name = name;
	return oc_session_open(ns, &o, 0, ret);
}

static void opens_sessions(const struct live *n, int fd, void *arg)
{
	struct opened seen = { 0 };
	oc_client *c;
	oc_ns *ns;

	(void)arg;
	become_stranger();
	c = live_connect_as(n, (struct live_as){ .tenant = "guests" });
	ns = live_ns(c, BYTES);
	for (unsigned i = 0; i < 10000; i++) {
		oc_session *session;
		char name[32];
		int r;

		snprintf(name, sizeof(name), "flood-%u", i);
		r = open_session(ns, name, &session);
		if (r != 0 && r != -EDQUOT && r != -ENFILE)
			FAIL("session %u: %d %s", i, r, oc_client_error(c));
		seen.made += r == 0;
		seen.refused += r != 0;
	}
	CHECK(strlen(oc_client_error(c)) > 10);
	CHECK_INT(write(fd, &seen, sizeof(seen)), ==, sizeof(seen));
	pause();
}

TEST(ten_thousand_sessions)
{
	oc_session *one, *two;
	struct opened seen;
	struct child child;
	struct scene s;

	scene_begin(&s);
	child = child_start(opens_sessions, &s.n, NULL);
	CHECK_INT(recv(child.fd, &seen, sizeof(seen), MSG_WAITALL), ==,
		  sizeof(seen));
	CHECK_INT(seen.made + seen.refused, ==, 10000);
	CHECK_INT(seen.made, >, 0);
	CHECK_INT(seen.refused, >, 0);
	CHECK_INT(live_counter(s.guest, "session_refused"), >=, seen.refused);
	/* its tenant's others have theirs, and so has another tenant */
	CHECK_OK(open_session(s.guest_ns, "mine", &one));
	CHECK_OK(open_session(s.own_ns, "mine", &two));
	scene_goes_on(&s);
	child_kill(&child);
	LIVE_WAIT(&s.n, live_counter(s.guest, "sessions") == 1);
	CHECK_OK(oc_session_close(one, 0));
	CHECK_OK(oc_session_close(two, 0));
	scene_end(&s);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The server is killed again and again, under reading, writing and asking. */
#include "prog/payload.h"
#include "tests/prog/live.h"

#define BYTES  (64 * KIB)
#define KEPT   200u
#define WINDOW 64u
#define KILLS  30u

struct orders {
	_Atomic bool stop;
	_Atomic uint64_t writes, reads, ops;
};

static void reader(const struct live *n, int fd, void *arg)
{
	struct orders *o = arg;
	oc_client *c =
		live_connect_as(n, (struct live_as){ .read_only = true });
	oc_ns *ns = live_ns(c, BYTES);

	child_say(fd, 'r');
	while (!o->stop) {
		CHECK_INT(live_read_some(ns, 0, KEPT, BYTES), ==, KEPT);
		o->reads++;
	}
	oc_ns_close(ns);
	oc_client_close(c);
}

/* Each block is written once, and read again when it is sealed. */
static void writer(const struct live *n, int fd, void *arg)
{
	struct orders *o = arg;
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, BYTES);
	uint64_t at = (uint64_t)getpid() << 32;

	child_say(fd, 'w');
	for (; !o->stop; at++) {
		int r = live_write(ns, at, BYTES);

		if (r)
			FAIL("write %d: %s", r, oc_client_error(c));
		CHECK_OK(live_read(ns, at, BYTES));
		o->writes++;
	}
	oc_ns_close(ns);
	oc_client_close(c);
}

/* Operations in flight; each completes, with an answer. */
static void asker(const struct live *n, int fd, void *arg)
{
	struct orders *o = arg;
	oc_client *c = live_connect(n);
	struct oc_op op = { .size = sizeof(op), .kind = OC_OP_NOP };
	uint64_t pending = 0, id, given = 0, taken = 0;

	child_say(fd, 'a');
	while (!o->stop || pending) {
		struct oc_completion done[WINDOW];
		size_t got = 0;

		for (; !o->stop && pending < WINDOW; pending++) {
			op.user_data = given++;
			CHECK_OK(oc_op_submit(c, &op, &id));
		}
		CHECK_OK(oc_op_take(c, done, WINDOW, 0, &got));
		for (size_t i = 0; i < got; i++)
			CHECK_OK(done[i].result);
		pending -= got;
		taken += got;
		o->ops = taken;
	}
	CHECK_INT(given, ==, taken);
	oc_client_close(c);
}

/* Clients that come while there is no server. */
static void comer(const struct live *n, int fd, void *arg)
{
	struct orders *o = arg;

	child_say(fd, 'c');
	while (!o->stop)
		oc_client_close(live_connect(n));
}

static void kill_server(const struct live *n, oc_client *c, struct orders *o)
{
	uint64_t epoch = live_stat(c).server_epoch, writes = o->writes,
		 ops = o->ops;
	pid_t server = live_server(c);

	CHECK_INT(server, >, 1);
	CHECK_OK(kill(server, SIGKILL));
	LIVE_WAIT(n, live_stat(c).server_epoch == epoch + 1);
	LIVE_WAIT(n, o->writes > writes && o->ops > ops);
	CHECK_INT(live_server(c), !=, server);
}

TEST(thirty_killed_servers_in_a_row)
{
	void (*const what[])(const struct live *, int,
			     void *) = { reader, writer, writer, asker, comer };
	struct orders *o = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct child child[5];
	uint64_t epoch, begin = clock_ns();
	struct live n;
	oc_client *c;
	oc_ns *ns;

	CHECK(o != MAP_FAILED);
	live_start(&n, "--dram", "512M", "--log-level", "warn");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	live_write_some(ns, 0, KEPT, BYTES);
	epoch = live_stat(c).server_epoch;
	for (int i = 0; i < 5; i++)
		child[i] = child_start(what[i], &n, o);
	for (int i = 0; i < 5; i++)
		child_hear(child[i].fd);
	for (unsigned i = 0; i < LIVE_N(KILLS); i++) {
		kill_server(&n, c, o);
		live_check(c);
	}
	o->stop = true;
	for (int i = 0; i < 5; i++)
		CHECK_INT(child_end(&child[i]), ==, 0);
	CHECK_INT(live_stat(c).server_epoch, ==, epoch + LIVE_N(KILLS));
	CHECK_INT(live_read_some(ns, 0, KEPT, BYTES), ==, KEPT);
	LIVE_WAIT(&n, live_stat(c).clients == 1);
	CHECK_INT(live_stat(c).granted, ==, 0);
	live_check(c);
	fprintf(stderr, "%u kills: %llu ms\n", LIVE_N(KILLS),
		(unsigned long long)((clock_ns() - begin) / NS_PER_MS));
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

TEST(grants_and_pins_outlive_the_server)
{
	struct oc_part part = { 0, 0 };
	struct oc_key old = live_key(1), fresh = live_key(2);
	struct oc_grant g;
	struct oc_pin pin, through;
	struct live n;
	oc_client *c;
	oc_ns *ns;
	uint64_t epoch;

	live_start(&n, "--dram", "64M");
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	CHECK_OK(live_write(ns, 1, BYTES));
	CHECK_OK(oc_pin(ns, &old, part, 0, &pin));
	CHECK_OK(oc_pin(ns, &old, part, OC_PIN_BY_RING, &through));
	CHECK_OK(oc_grant(ns, &fresh, part, 0, 0, 0, &g));
	payload_make(&fresh, g.data, BYTES);
	epoch = live_stat(c).server_epoch;
	CHECK_OK(kill(live_server(c), SIGKILL));
	CHECK_OK(oc_seal(ns, &g, NULL, 0)); /* waits for the new one */
	CHECK_INT(live_stat(c).server_epoch, ==, epoch + 1);
	CHECK_OK(live_read(ns, 2, BYTES));
	CHECK_INT(payload_wrong(&old, pin.data, BYTES), ==, 0);
	/* both pins still hold */
	CHECK_OK(oc_remove(ns, &old, 0));
	CHECK_INT(live_counter(c, "leaving"), ==, 1);
	oc_unpin(ns, &pin);
	CHECK_INT(live_counter(c, "leaving"), ==, 1);
	CHECK_INT(payload_wrong(&old, through.data, BYTES), ==, 0);
	oc_unpin(ns, &through);
	LIVE_WAIT(&n, live_counter(c, "leaving") == 0);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

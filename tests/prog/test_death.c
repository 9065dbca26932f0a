/* SPDX-License-Identifier: Apache-2.0 */
/* What is left when a client, the keeper or the whole node ends. */
#include <fcntl.h>
#include <sys/file.h>
#include "tests/prog/live.h"
#include "tests/prog/run.h"

#define BYTES (64 * KIB)

/* ---- a client */

/* Holds grants and pins; its own child holds everything that it inherited. */
static void holder(const struct live *n, int fd, void *arg)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, BYTES);
	struct oc_part part = { 0, 0 };
	struct oc_grant g[20];
	struct oc_pin pin[20];
	pid_t grandchild;

	(void)arg;
	live_write_some(ns, 0, 20, BYTES);
	for (uint64_t i = 0; i < 20; i++) {
		struct oc_key key = live_key(1000 + i);

		CHECK_OK(oc_grant(ns, &key, part, 0, 0, 0, &g[i]));
		key = live_key(i);
		CHECK_OK(oc_pin(ns, &key, part, 0, &pin[i]));
	}
	grandchild = fork();
	CHECK_INT(grandchild, >=, 0);
	if (grandchild == 0)
		for (;;)
			pause(); /* killed when the test ends */
	child_say(fd, 'h');
	child_hear(fd); /* never: it is killed here */
}

TEST(a_killed_client_gives_everything_back)
{
	struct live n;
	struct child child;
	oc_client *c;
	oc_ns *ns;

	live_start(&n, "--dram", "4M", "--slab", "1M");
	child = child_start(holder, &n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'h');
	c = live_connect(&n);
	ns = live_ns(c, BYTES);
	CHECK_INT(live_stat(c).granted, ==, 20);
	CHECK_INT(live_stat(c).clients, ==, 2);
	child_kill(&child);
	LIVE_WAIT(&n, live_stat(c).clients == 1);
	CHECK_INT(live_stat(c).granted, ==, 0);
	CHECK_INT(live_read_some(ns, 0, 20, BYTES), ==, 20);
	CHECK_INT(live_counter(c, "client_deaths"), ==, 1);
	live_check(c);
	/* all 64 frames, those that were pinned and lent among them; a
	 * client uses its own cold frames for a while before it looks around */
	live_write_some(ns, 2000, 600, BYTES);
	CHECK_INT(live_read_some(ns, 2536, 64, BYTES), >=, 60);
	CHECK_INT(live_read_some(ns, 0, 20, BYTES), ==, 0);
	CHECK_INT(live_stat(c).slab_bytes, <=, 4 * MIB);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* ---- the keeper */

TEST(a_killed_keeper_ends_the_node_cleanly)
{
	struct live n;
	struct oc_key key = live_key(9);
	struct oc_part part = { 0, 0 };
	struct oc_grant g;
	oc_client *c;
	oc_ns *ns;
	pid_t server;
	char lock[128];

	live_start(&n, "--dram", "4M");
	c = live_connect_as(&n,
			    (struct live_as){ .timeout_ns = 20 * NS_PER_S });
	ns = live_ns(c, BYTES);
	CHECK_OK(live_write(ns, 1, BYTES));
	server = live_server(c);
	kill(n.keeper, SIGKILL);
	CHECK_INT(live_ended(&n), ==, 128 + SIGKILL);
	CHECK_INT(oc_grant(ns, &key, part, 0, 0, 0, &g), ==, -ENOTCONN);
	CHECK(strstr(oc_client_error(c), "connect again") != NULL);
	LIVE_WAIT(NULL, access(n.socket, F_OK) < 0);
	snprintf(lock, sizeof(lock), "%s.lock", n.socket);
	LIVE_WAIT(NULL, access(lock, F_OK) < 0);
	/* adopted by the runner: it is gone when it is no zombie's parent's */
	LIVE_WAIT(NULL, kill(server, 0) < 0 || live_fds(server) == 0);
	/* what is mapped stays readable */
	CHECK_OK(live_read(ns, 1, BYTES));
	oc_ns_close(ns);
	oc_client_close(c);
	live_remove(&n);
}

/* ---- SIGTERM */

/* Pins everything, then waits in a grant that has no room. */
static void waiter(const struct live *n, int fd, void *arg)
{
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, BYTES);
	struct oc_key key = live_key(999);
	struct oc_part part = { 0, 0 };
	struct oc_grant g;
	int r;

	(void)arg;
	for (uint64_t i = 0; i < 16; i++) {
		struct oc_key full = live_key(i);

		r = oc_grant(ns, &full, part, 0, 0, 0, &g);
		CHECK_OK(r);
	}
	child_say(fd, 'f');
	CHECK_INT(oc_grant(ns, &key, part, 0, 0, 0, &g), ==, -ENOTCONN);
	CHECK(strstr(oc_client_error(c), "node") != NULL);
	child_say(fd, 'w');
	oc_ns_close(ns);
	oc_client_close(c);
}

static bool has_waiting(oc_client *c)
{
	struct oc_stat s = live_stat(c);

	return s.granted && s.free_frames == 0;
}

TEST(sigterm_ends_the_node_and_wakes_who_waits)
{
	struct live n;
	struct child child;
	uint64_t begin;
	oc_client *c;

	live_start(&n, "--dram", "1M", "--slab", "64K");
	c = live_connect(&n);
	child = child_start(waiter, &n, NULL);
	CHECK_INT(child_hear(child.fd), ==, 'f');
	LIVE_WAIT(&n, has_waiting(c));
	begin = clock_ns();
	live_stop(&n);
	CHECK_INT(child_hear(child.fd), ==, 'w');
	CHECK_INT(clock_ns() - begin, <, LIVE_DEADLINE);
	CHECK_INT(child_end(&child), ==, 0);
	oc_client_close(c);
}

/* ---- the place */

TEST(a_second_node_is_refused)
{
	struct live n;
	struct run r;

	live_start(&n, "--dram", "4M");
	r = RUN("serve", "--socket", n.socket, "--dram", "4M");
	CHECK_INT(r.status, ==, 4);
	CHECK(strstr(r.err, "already serves") != NULL);
	CHECK(strstr(r.err, n.socket) != NULL);
	run_free(&r);
	oc_client_close(live_connect(&n)); /* it is none the worse */
	live_stop(&n);
}

TEST(a_dead_nodes_socket_is_taken_over)
{
	struct live n;
	struct run r;
	oc_client *c;
	pid_t pid, server;
	int status;

	live_start(&n, "--dram", "4M");
	c = live_connect(&n);
	server = live_server(c);
	/* both at once: nobody removes the files */
	kill(n.keeper, SIGSTOP);
	kill(server, SIGKILL);
	kill(n.keeper, SIGKILL);
	CHECK_INT(live_ended(&n), ==, 128 + SIGKILL);
	oc_client_close(c);
	CHECK_OK(access(n.socket, F_OK));
	LIVE_WAIT(NULL, kill(server, 0) < 0 || live_fds(server) == 0);
	r = RUN("check", "--node", n.socket);
	CHECK_INT(r.status, ==, 3);
	run_free(&r);
	pid = run_start((const char *const[]){ "serve", "--socket", n.socket,
					       "--dram", "4M", "--resp", "off",
					       "--http", "off", NULL });
	/* refused at once while nobody listens */
	LIVE_WAIT(NULL,
		  live_try(&n, (struct live_as){ .timeout_ns = LIVE_DEADLINE },
			   &c, NULL) == 0);
	live_check(c);
	oc_client_close(c);
	kill(pid, SIGTERM);
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
	CHECK_INT(access(n.socket, F_OK), ==, -1);
	live_remove(&n);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client is killed while the disk writes its frames, and while its server is
 * gone: nobody is given that memory, and all of it comes back.
 */
#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include "tests/prog/live.h"

#define FRAMES 6u
#define FRAME  MIB

/* What the disk has: nothing that live_write() makes. */
static int make_file(const struct live *n)
{
	static uint8_t some[FRAME];
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/data", n->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(fd, >=, 0);
	memset(some, 0xaa, sizeof(some));
	for (unsigned i = 0; i < FRAMES; i++)
		CHECK_INT(write(fd, some, sizeof(some)), ==, sizeof(some));
	CHECK_OK(fsync(fd));
	close(fd);
	return open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
}

struct how {
	bool device; /* it says so */
	unsigned frames;
};

/* Asks for frames, lets the disk write them, and waits for its end. */
static void write_by_device(const struct live *n, int fd, void *arg)
{
	const struct how *how = arg;
	oc_client *c = live_connect(n);
	oc_ns *ns = live_ns(c, FRAME);
	int file = make_file(n);
	struct io_uring ring;

	if (file < 0 || io_uring_queue_init(16, &ring, 0) < 0) {
		child_say(fd, 'n');
		child_hear(fd);
	}
	for (unsigned i = 0; i < how->frames; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
		struct oc_key key = live_key(1000 + i);
		struct oc_grant g;

		CHECK_OK(oc_grant_flags(ns, &key, (struct oc_part){ 0, 0 }, 0,
					0, how->device ? OC_GRANT_DEVICE : 0, 0,
					&g));
		CHECK(sqe != NULL);
		io_uring_prep_read(sqe, file, g.data, FRAME, i * FRAME);
	}
	CHECK_INT(io_uring_submit(&ring), ==, how->frames);
	child_say(fd, 'y');
	child_hear(fd);
}

static void start(struct live *n, struct child *child, struct how *how)
{
	live_start(n, "--dram", "16M");
	*child = child_start(write_by_device, n, how);
	if (child_hear(child->fd) == 'n') {
		child_kill(child);
		live_stop(n);
		SKIP("no direct reads by io_uring here");
	}
}

/* The node is used up several times over; every block that is there is right. */
static void use_up(struct live *n, oc_client *c)
{
	oc_ns *ns = live_ns(c, FRAME);

	for (uint64_t i = 0; i < 48; i++) {
		CHECK_OK(live_write(ns, i, FRAME));
		CHECK_OK(live_read(ns, i, FRAME));
		live_read_some(ns, 0, i, FRAME);
	}
	LIVE_WAIT(n, live_counter(c, "quarantined") == 0);
	live_check(c);
	oc_ns_close(ns);
}

TEST(who_is_killed_while_the_disk_writes)
{
	struct how how = { true, FRAMES };
	struct child child;
	struct live n;
	oc_client *c;

	start(&n, &child, &how);
	c = live_connect(&n);
	child_kill(&child);
	LIVE_WAIT(&n, live_counter(c, "quarantines") == FRAMES);
	CHECK_INT(live_counter(c, "granted"), ==, 0);
	use_up(&n, c);
	oc_client_close(c);
	live_stop(&n);
}

TEST(who_dies_with_the_server_while_the_disk_writes)
{
	struct how how = { true, FRAMES };
	struct child child;
	struct live n;
	oc_client *c;
	pid_t server;

	start(&n, &child, &how);
	c = live_connect(&n);
	server = live_server(c);
	CHECK_OK(kill(server, SIGSTOP));
	child_kill(&child);
	CHECK_OK(kill(server, SIGKILL));
	LIVE_WAIT(&n, live_counter(c, "quarantines") == FRAMES);
	use_up(&n, c);
	oc_client_close(c);
	live_stop(&n);
}

TEST(a_grant_that_is_the_processors_comes_back_at_once)
{
	struct how how = { false, 0 };
	struct child child;
	struct live n;
	oc_client *c;

	start(&n, &child, &how);
	c = live_connect(&n);
	child_kill(&child);
	LIVE_WAIT(&n, live_counter(c, "clients") == 1);
	CHECK_INT(live_counter(c, "quarantines"), ==, 0);
	use_up(&n, c);
	oc_client_close(c);
	live_stop(&n);
}

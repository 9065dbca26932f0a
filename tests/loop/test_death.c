/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process is killed while it receives into shared memory. Once its pidfd has
 * told of its end, nothing of what the peer sends lands there: whoever gets the
 * memory next has it alone (docs/design/coherence.md).
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "loop/loop.h"
#include "tests/loop/both.h"

#define BYTES  (1u << 20)
#define ROUNDS 20u

static void ignore(struct loop_op *op, int64_t result)
{
	(void)op;
	(void)result;
}

/* Receives until it is killed; says so when the first bytes may come. */
static void receive(enum loop_backend backend, int fd, int told, uint8_t *into)
{
	struct loop *l = loop_of(backend);
	struct loop_op op = { .fn = ignore };

	CHECK_OK(loop_receive(l, &op, fd, into, BYTES, LOOP_WHOLE));
	loop_run(l, 0);
	CHECK_INT(write(told, "x", 1), ==, 1);
	for (;;)
		loop_run(l, UINT64_MAX);
}

static void until_ended(pid_t pid)
{
	struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0),
			    .events = POLLIN };

	CHECK_INT(p.fd, >=, 0);
	CHECK_INT(poll(&p, 1, -1), ==, 1);
	close(p.fd);
}

static void send_some(int fd, unsigned n)
{
	static uint8_t some[4096];

	memset(some, 0xaa, sizeof(some));
	for (unsigned i = 0; i < n; i++)
		if (send(fd, some, sizeof(some), MSG_DONTWAIT) < 0)
			return;
}

/* True when there is something in the memory after all. */
static bool lands(enum loop_backend backend, unsigned before, unsigned after)
{
	int pair[2], told[2], status;
	bool landed = false;
	uint8_t *m = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char byte;
	pid_t pid;

	CHECK(m != MAP_FAILED);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CHECK_OK(pipe2(told, O_CLOEXEC));
	pid = fork();
	CHECK_INT(pid, >=, 0);
	if (!pid)
		receive(backend, pair[0], told[1], m);
	CHECK_INT(read(told[0], &byte, 1), ==, 1);
	send_some(pair[1], before);
	CHECK_OK(kill(pid, SIGKILL));
	send_some(pair[1], before);
	until_ended(pid);
	memset(m, 0, BYTES); /* its next owner */
	send_some(pair[1], after);
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	for (unsigned i = 0; i < BYTES; i++)
		landed |= m[i] != 0;
	close(pair[0]);
	close(pair[1]);
	close(told[0]);
	close(told[1]);
	munmap(m, BYTES);
	return landed;
}

static void nothing_lands(enum loop_backend backend)
{
	loop_destroy(loop_of(backend)); /* is it to be had? */
	for (unsigned i = 0; i < ROUNDS; i++)
		CHECK(!lands(backend, i % 4, 64));
}

TEST(nothing_is_received_for_the_dead_epoll)
{
	nothing_lands(LOOP_EPOLL);
}

TEST(nothing_is_received_for_the_dead_uring)
{
	nothing_lands(LOOP_URING);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Whose end the kernel vouches for. */
#include "region/host.h"
#include "tests/region/rig.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static pid_t child(int *ret_fd)
{
	int fds[2];
	char c;
	pid_t pid;

	CHECK_OK(pipe2(fds, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		close(fds[1]);
		CHECK_INT(read(fds[0], &c, 1), ==, 0); /* until told */
		_exit(0);
	}
	close(fds[0]);
	*ret_fd = fds[1];
	return pid;
}

TEST(a_process_lives_until_it_has_ended)
{
	uint64_t started = 0, mine = 0;
	int fd, status;
	siginfo_t info;
	pid_t pid = child(&fd);

	CHECK_OK(region_host_started((uint64_t)pid, &started));
	CHECK_OK(region_host_started((uint64_t)getpid(), &mine));
	CHECK_INT(started, >=, mine);
	CHECK(!region_host_ended((uint64_t)pid, started));
	/* the number went to another process */
	CHECK(region_host_ended((uint64_t)pid, started - 1));
	close(fd);
	CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
	CHECK(region_host_ended((uint64_t)pid, started)); /* not reaped yet */
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK(region_host_ended((uint64_t)pid, started));
	CHECK_INT(region_host_started((uint64_t)pid, &mine), ==, -ESRCH);
}

TEST(nothing_is_said_of_what_is_no_process)
{
	uint64_t started = 0;

	CHECK_OK(region_host_started((uint64_t)getpid(), &started));
	CHECK(!region_host_ended(0, 0));
	CHECK(!region_host_ended(UINT64_MAX, 0));
	CHECK(!region_host_ended((uint64_t)getpid(), started));
}

static _Atomic uint64_t number;

static void *stay(void *arg)
{
	char c;

	atomic_store(&number, (uint64_t)syscall(SYS_gettid));
	CHECK_INT(read(*(int *)arg, &c, 1), ==, 0); /* until told */
	return NULL;
}

/* The number of a process that has ended is a thread's now. */
TEST(a_threads_number_is_no_process)
{
	uint64_t started = 0;
	pthread_t thread;
	int fds[2];

	CHECK_OK(pipe2(fds, O_CLOEXEC));
	CHECK_OK(pthread_create(&thread, NULL, stay, &fds[0]));
	while (!atomic_load(&number))
		sched_yield();
	CHECK_OK(region_host_started(number, &started));
	CHECK(region_host_ended(number, started - 1));
	/* perhaps it was this very one */
	CHECK(!region_host_ended(number, started));
	close(fds[1]);
	CHECK_OK(pthread_join(thread, NULL));
	close(fds[0]);
}

static bool put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 &&
		    write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* Where the clock since boot is shifted, the kernel tells other starts. */
TEST(another_namespace_of_time_is_another_host)
{
	struct rig g = rig_create(1, 1, 1);
	struct region_host here, there;
	int status;
	pid_t pid;

	CHECK_OK(region_host_id(g.fd, &here));
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWTIME) ||
		    !put_text("/proc/self/timens_offsets", "boottime 1000 0"))
			_exit(77);
		/* children are in it */
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			CHECK_OK(region_host_id(g.fd, &there));
			CHECK(memcmp(&here, &there, sizeof(here)) != 0);
			_exit(0);
		}
		CHECK_INT(waitpid(pid, &status, 0), ==, pid);
		_exit(status ? 1 : 0);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	rig_destroy(&g);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no namespace of time can be made here");
	CHECK_INT(status, ==, 0);
}

/* A member of the same boot, but of another file, cannot be judged. */
TEST(a_host_is_a_boot_and_a_file)
{
	struct rig g = rig_create(1, 1, 1), other = rig_create(1, 1, 1);
	struct region_host a, b, c;

	CHECK_OK(region_host_id(g.fd, &a));
	CHECK_OK(region_host_id(g.fd, &b));
	CHECK_OK(region_host_id(other.fd, &c));
	CHECK_MEM(&a, &b, sizeof(a));
	CHECK(memcmp(&a, &c, sizeof(a)) != 0);
	rig_destroy(&g);
	rig_destroy(&other);
}

/* A member that says it is of this process number, on a host that is not this
 * one, is not dead because there is no such process here. */
TEST(another_hosts_member_is_not_judged)
{
	struct rig g = rig_create(2, 1, 4);
	struct region *a = rig_join(&g, "a", 1, false), *eye = rig_open(&g);
	struct region_control *control = mmap(
		NULL, REGION_UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, g.fd, 0);
	uint64_t word, pid;

	CHECK(control != MAP_FAILED);
	word = control->member[0].word;
	pid = control->member[0].pid;
	control->member[0].pid = 0x3fffff; /* nobody's */
	CHECK_OK(region_fence(eye, 0, 0, false));
	control->member[0].word = word;
	control->member[0].host[1] ^= 1;
	CHECK_INT(region_fence(eye, 0, 0, false), ==, REGION_ALIVE);
	control->member[0].host[1] ^= 1;
	control->member[0].pid = pid;
	CHECK_INT(region_fence(eye, 0, 0, false), ==, REGION_ALIVE);
	control->member[0].word = word ^ 1ull << 10; /* of the host's bits */
	CHECK_INT(region_fence(eye, 0, 0, false), ==, REGION_ALIVE);
	CHECK_OK(region_fence(eye, 0, 0, true));
	CHECK_INT(region_tick(a), ==, REGION_STALE);
	munmap(control, REGION_UNIT);
	region_close(a);
	region_close(eye);
	rig_destroy(&g);
}

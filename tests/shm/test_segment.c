/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/numa.h"
#include "tests/test.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "base/fault.h"
#include "shm/segment.h"

#define BYTES (16 * PAGE_BYTES)

static struct segment make(uint64_t bytes, unsigned flags)
{
	struct segment s = SEGMENT_NONE;

	CHECK_OK(segment_create("test", bytes, flags, &s));
	return s;
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int child_status(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

TEST(created_populated_and_private)
{
	struct segment s = make(BYTES, 0);
	struct stat info;
	uint64_t id;

	CHECK_OK(fstat(s.fd, &info));
	CHECK_INT(info.st_mode & 07777, ==, 0600);
	CHECK_INT(info.st_size, ==, BYTES);
	CHECK_INT(info.st_blocks * 512, >=, BYTES);
	CHECK_INT(fcntl(s.fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
	for (unsigned i = 0; i < BYTES; i++)
		CHECK_INT(((char *)s.base)[i], ==, 0);
	CHECK_OK(segment_identity(s.fd, &id));
	CHECK_INT(id, ==, info.st_ino);
	segment_close(&s);
	CHECK_INT(s.fd, ==, -1);
	segment_close(&s);
	segment_close(NULL);
}

TEST(size_is_sealed)
{
	struct segment s = make(BYTES, 0);

	CHECK(ftruncate(s.fd, 0) < 0 && errno == EPERM);
	CHECK(ftruncate(s.fd, 2 * BYTES) < 0 && errno == EPERM);
	CHECK(fcntl(s.fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
	segment_close(&s);
}

TEST(odd_sizes_are_refused)
{
	struct segment s = SEGMENT_NONE;

	CHECK_INT(segment_create("test", 0, 0, &s), ==, -EINVAL);
	CHECK_INT(segment_create("test", 4097, 0, &s), ==, -EINVAL);
	CHECK_INT(segment_create("test", -4096ull, 0, &s), ==, -EINVAL);
	CHECK_INT(s.fd, ==, -1);
}

TEST(huge_pages_or_ordinary_ones)
{
	struct segment s = make(4ull << 20, SEGMENT_TRY_HUGE), t;
	int fd = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);

	CHECK(s.kind == SEGMENT_DRAM);
	CHECK_OK(segment_attach(fd, 0, true, &t));
	CHECK_INT(t.kind, ==, s.kind);
	segment_close(&s);
	segment_close(&t);
}

TEST(attach_shares_the_memory)
{
	struct segment s = make(BYTES, 0), t;
	int fd = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);

	CHECK_OK(segment_attach(fd, BYTES, true, &t));
	((char *)t.base)[5000] = 7;
	CHECK_INT(((char *)s.base)[5000], ==, 7);
	segment_close(&t);
	CHECK(fcntl(fd, F_GETFD) < 0);
	segment_close(&s);
}

TEST(attach_refuses_what_is_not_sealed)
{
	struct segment s = make(BYTES, 0), t = SEGMENT_NONE;
	int open_size = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int pipes[2];

	CHECK_OK(ftruncate(open_size, BYTES));
	CHECK_OK(pipe2(pipes, O_CLOEXEC));
	CHECK_INT(segment_attach(open_size, 0, true, &t), ==, -EPROTO);
	CHECK_INT(segment_attach(file, 0, false, &t), ==, -EPROTO);
	CHECK_INT(segment_attach(pipes[0], 0, false, &t), ==, -EPROTO);
	CHECK_INT(segment_attach(s.fd, 2 * BYTES, true, &t), ==, -EPROTO);
	CHECK_INT(segment_attach(900, 0, true, &t), ==, -EBADF);
	CHECK_INT(t.fd, ==, -1);
	CHECK(fcntl(s.fd, F_GETFD) >= 0);
	close(open_size);
	close(file);
	close(pipes[0]);
	close(pipes[1]);
	segment_close(&s);
}

TEST(readonly_cannot_be_mapped_writable)
{
	struct segment s = make(BYTES, 0), t = SEGMENT_NONE;
	int fd;

	CHECK_OK(segment_reopen_readonly(s.fd, &fd));
	CHECK_INT(segment_attach(fd, 0, true, &t), ==, -EACCES);
	CHECK_OK(segment_attach(fd, 0, false, &t));
	CHECK(mprotect(t.base, t.bytes, PROT_READ | PROT_WRITE) < 0);
	segment_close(&t);
	segment_close(&s);
}

static void try_as_stranger(int fd)
{
	char path[32];

	CHECK_OK(setresgid(65534, 65534, 65534));
	CHECK_OK(setresuid(65534, 65534, 65534));
	/* A change of user makes the process undumpable, which alone would
	 * close /proc/self/fd; a client that was started as that user has no
	 * such hurdle. */
	CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(open(path, O_RDWR | O_CLOEXEC) < 0 && errno == EACCES);
	CHECK(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) ==
	      MAP_FAILED);
	CHECK(fchmod(fd, 0666) < 0 && errno == EPERM);
	CHECK(mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	_exit(0);
}

TEST(stranger_cannot_reopen_for_writing)
{
	struct segment s;
	pid_t pid;
	int fd;

	if (geteuid() != 0)
		SKIP("needs root to become another user");
	s = make(BYTES, 0);
	CHECK_OK(segment_reopen_readonly(s.fd, &fd));
	close(fd_take(&s.fd));
	pid = fork();
	if (pid == 0)
		try_as_stranger(fd);
	CHECK_INT(child_status(pid), ==, 0);
	close(fd);
	segment_close(&s);
}

TEST(consumed_map_is_absent_in_a_child)
{
	struct segment s = make(BYTES, 0), t;
	unsigned char there;
	int fd = fcntl(s.fd, F_DUPFD_CLOEXEC, 0);
	pid_t pid;

	CHECK_OK(segment_map_consume(fd, BYTES, false, true, &t));
	CHECK_INT(t.fd, ==, -1);
	CHECK(fcntl(fd, F_GETFD) < 0);
	CHECK_OK(mincore(t.base, PAGE_BYTES, &there));
	pid = fork();
	if (pid == 0) {
		if (mincore(t.base, PAGE_BYTES, &there) == 0)
			_exit(1);
		_exit(errno == ENOMEM ? 0 : 2);
	}
	CHECK_INT(child_status(pid), ==, 0);
	segment_close(&t);
	segment_close(&s);
}

enum step { CREATE, ATTACH, CONSUME, REOPEN };

static int run_step(enum step step, int fd, struct segment *s, int *ret_fd)
{
	switch (step) {
	case CREATE:
		return segment_create("test", 2ull << 20, SEGMENT_TRY_HUGE, s);
	case ATTACH:
		return segment_attach(fd, BYTES, true, s);
	case CONSUME:
		return segment_map_consume(fd, BYTES, true, true, s);
	default:
		return segment_reopen_readonly(fd, ret_fd);
	}
}

/* Fails each point in turn: nothing may be left, and the caller's descriptor
 * stays the caller's. */
static void walk(enum step step)
{
	struct segment whole = make(BYTES, 0);
	unsigned before = open_fds();
	bool done = false;

	for (unsigned n = 1; !done; n++) {
		struct segment s = SEGMENT_NONE;
		int fd = fcntl(whole.fd, F_DUPFD_CLOEXEC, 0), copy = -1, err;

		CHECK_INT(n, <, 50);
		fault_arm(FAULT_ALL, n, true);
		err = run_step(step, fd, &s, &copy);
		done = !fault_fired();
		fault_arm(0, 0, false);
		if (done)
			CHECK_OK(err);
		else
			CHECK(err == -ENOMEM || err == -EIO);
		if (err < 0)
			CHECK(s.fd == -1 && !s.base && copy == -1 &&
			      fcntl(fd, F_GETFD) >= 0);
		if (err < 0 || step == CREATE || step == REOPEN)
			close(fd);
		fd_close(copy);
		segment_close(&s);
		CHECK_INT(open_fds(), ==, before);
	}
	segment_close(&whole);
}

TEST(faults_create)
{
	walk(CREATE);
}
TEST(faults_attach)
{
	walk(ATTACH);
}
TEST(faults_consume)
{
	walk(CONSUME);
}
TEST(faults_reopen)
{
	walk(REOPEN);
}

static void make_pair(int type, int pair[2])
{
	CHECK_OK(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
			    pair));
}

TEST(descriptors_travel)
{
	struct segment s = make(BYTES, 0), t;
	int pair[2], fds[SEGMENT_FDS_MAX], got[SEGMENT_FDS_MAX];
	unsigned n = 0;
	size_t len = 0;
	char text[32];

	make_pair(SOCK_SEQPACKET, pair);
	for (unsigned i = 0; i < SEGMENT_FDS_MAX; i++)
		fds[i] = s.fd;
	CHECK_INT(segment_recv(pair[1], text, 32, got, &n, &len), ==, -EAGAIN);
	CHECK_OK(segment_send(pair[0], "hello", 5, fds, SEGMENT_FDS_MAX));
	CHECK_OK(segment_recv(pair[1], text, 32, got, &n, &len));
	CHECK_INT(len, ==, 5);
	CHECK_MEM(text, "hello", 5);
	CHECK_INT(n, ==, SEGMENT_FDS_MAX);
	CHECK_INT(fcntl(got[0], F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
	CHECK_OK(segment_attach(got[0], BYTES, true, &t));
	segment_close(&t);
	for (unsigned i = 1; i < n; i++)
		close(got[i]);
	CHECK_INT(segment_send(pair[0], "x", 1, fds, SEGMENT_FDS_MAX + 1), ==,
		  -EINVAL);
	close(pair[0]);
	CHECK_OK(segment_recv(pair[1], text, 32, got, &n, &len));
	CHECK(len == 0 && n == 0);
	CHECK_INT(segment_send(pair[1], "x", 1, NULL, 0), ==, -EPIPE);
	close(pair[1]);
	segment_close(&s);
}

TEST(cut_message_leaves_no_descriptor)
{
	struct segment s = make(BYTES, 0);
	int pair[2], got[SEGMENT_FDS_MAX];
	unsigned n = 77, before;
	size_t len = 77;
	char text[4];

	make_pair(SOCK_SEQPACKET, pair);
	before = open_fds();
	CHECK_OK(segment_send(pair[0], "hello", 5, &s.fd, 1));
	CHECK_INT(segment_recv(pair[1], text, 4, got, &n, &len), ==, -EPROTO);
	CHECK(n == 77 && len == 77);
	CHECK_INT(open_fds(), ==, before);
	close(pair[0]);
	close(pair[1]);
	segment_close(&s);
}

TEST(too_many_descriptors_leave_none)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(20 * sizeof(int))];
	} c;
	struct iovec part = { .iov_base = (char[]){ "x" }, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &part,
			    .msg_iovlen = 1,
			    .msg_control = c.room,
			    .msg_controllen = sizeof(c.room) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
	int pair[2], got[SEGMENT_FDS_MAX], fds[20];
	unsigned n = 0, before;
	size_t len;
	char text[4];

	make_pair(SOCK_SEQPACKET, pair);
	for (unsigned i = 0; i < 20; i++)
		fds[i] = pair[0];
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(cm), fds, sizeof(fds));
	before = open_fds();
	CHECK_INT(sendmsg(pair[0], &m, 0), ==, 1);
	CHECK_INT(segment_recv(pair[1], text, 4, got, &n, &len), ==, -EPROTO);
	CHECK_INT(open_fds(), ==, before);
	close(pair[0]);
	close(pair[1]);
}

/* ---- other kinds of memory ---------------------------------------------------- */

/* A memfd bound to a node follows the rules of any. */
TEST(memory_of_a_node)
{
	struct segment_source source = { .kind = SEGMENT_NODE,
					 .node = numa_allowed() };
	struct segment s, t;
	int fd, r;

	r = segment_create_from(&source, "node", BYTES, 0, &s);
	if (r == -EPERM || r == -ENOSYS)
		SKIP("mbind() is refused here");
	CHECK_OK(r);
	CHECK(s.kind == SEGMENT_NODE && segment_is_low(s.kind));
	memset(s.base, 7, BYTES);
	fd = dup(s.fd); /* words: the test's own */
	CHECK_OK(segment_map_consume_kind(fd, s.kind, 0, BYTES, false, true,
					  &t));
	CHECK(t.kind == SEGMENT_NODE);
	CHECK_MEM(t.base, s.base, BYTES);
	segment_close(&t);
	CHECK_INT(ftruncate(s.fd, 0), ==, -1);
	segment_close(&s);
	source.node = 1000;
	CHECK_INT(segment_create_from(&source, "node", BYTES, 0, &s), ==,
		  -EINVAL);
	source.node = 5000;
	CHECK_INT(segment_create_from(&source, "node", BYTES, 0, &s), ==,
		  -EINVAL);
}

/* What is no such device is none, whatever the record says of it. */
TEST(only_a_dax_device_is_one)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), opened;
	struct segment_source source = { .kind = SEGMENT_DAX, .fd = fd };
	struct segment s;
	uint64_t bytes;

	CHECK(fd >= 0);
	CHECK_INT(segment_dax_open("/dev/null", &opened, &bytes), ==, -EPROTO);
	CHECK_INT(segment_dax_open("/nowhere", &opened, &bytes), ==, -ENOENT);
	CHECK_INT(segment_dax_check(fd, 0, SEGMENT_DAX_UNIT), ==, -EPROTO);
	CHECK_INT(segment_attach_kind(fd, SEGMENT_DAX, 0, SEGMENT_DAX_UNIT,
				      false, &s),
		  ==, -EPROTO);
	CHECK_INT(segment_create_from(&source, "x", PAGE_BYTES, 0, &s), ==,
		  -EINVAL);
	source.offset = PAGE_BYTES;
	CHECK_INT(segment_create_from(&source, "x", SEGMENT_DAX_UNIT, 0, &s),
		  ==, -EINVAL);
	close(fd);
}

TEST(kinds_have_names)
{
	for (unsigned k = SEGMENT_DRAM; k < SEGMENT_KINDS; k++)
		CHECK(strcmp(segment_kind_name((enum segment_kind)k), "?"));
	CHECK_STR(segment_kind_name((enum segment_kind)0), "?");
	CHECK(!segment_is_low(SEGMENT_DRAM));
	CHECK(!segment_is_low(SEGMENT_KINDS));
}

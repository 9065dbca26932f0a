/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the main job can run: each call that a node cannot do without is
 * made, by the node's own functions where they can be had alone, and at the end
 * a node is started, written to and read.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/text.h"
#include "doctor.h"
#include "node.h"
#include "shm/segment.h"
#include "stop.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define SEGMENT_TRY_BYTES (4ull << 20)
#define TRIAL_DRAM	  (16ull << 20)
#define TRIAL_BLOCK	  65536u
#define NO_DIRECTORY	  "no private directory" /* of node_start() */
#define TRIAL_WAIT_NS	  (10 * NS_PER_S)

/* What refuses a call that every kernel of these days has. */
static void refused_gap(const struct doctor *d, struct doctor_result *r,
			const char *call)
{
	bool filter = doctor_filtered(d);

	doctor_cost(r, "The main job cannot run without %s%s.", call,
		    filter ? "; a seccomp filter is at work here" : "");
	if (filter)
		doctor_mend(r, "docker run --security-opt seccomp=unconfined");
}

static void seal_check(const struct segment *s, struct doctor_result *r)
{
	/* the size must be fixed: whoever shrinks it kills the readers */
	if (ftruncate(s->fd, 4096) == 0) {
		doctor_worsen(r, DOCTOR_BROKEN);
		r->error = -EPROTO;
		doctor_value(r, "a sealed segment could be shrunk");
	}
}

void doctor_memfd(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "shared memory");
	struct segment s = SEGMENT_NONE, again = SEGMENT_NONE;
	int copy = -1, e;

	doctor_value(r, "memfd, seals, mapping, read-only reopening");
	e = segment_create("onecopy-doctor", SEGMENT_TRY_BYTES, 0, &s);
	if (e) {
		doctor_failed(r, DOCTOR_MISSING, "memfd_create, map, seal", e);
		refused_gap(d, r, "sealed shared memory");
		return;
	}
	memset(s.base, 0x5a, s.bytes);
	e = segment_reopen_readonly(s.fd, &copy);
	if (e == 0)
		e = segment_attach(copy, s.bytes, false, &again);
	if (e == 0) {
		seal_check(&s, r);
		if (memcmp(again.base, s.base, s.bytes) != 0) {
			doctor_worsen(r, DOCTOR_BROKEN);
			doctor_value(r, "two mappings of a memfd differ");
		}
		copy = -1;
	} else {
		doctor_failed(r, DOCTOR_MISSING,
			      "opening a memfd again through /proc/self/fd", e);
		doctor_cost(r, "The main job cannot run: readers get the pool "
			       "through /proc.");
		doctor_mend(r, "mount -t proc proc /proc");
	}
	segment_close(&again);
	segment_close(&s);
	fd_close(copy);
}

void doctor_pidfd(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "death notices");
	int hold[2], fd = -1, e = 0;
	struct pollfd p;
	pid_t pid;

	if (pipe2(hold, O_CLOEXEC) < 0) {
		doctor_failed(r, DOCTOR_BROKEN, "pipe2", -errno);
		return;
	}
	pid = fork();
	if (pid == 0) {
		char c;

		close(hold[1]);
		_exit(read(hold[0], &c, 1) < 0); /* until the parent lets go */
	}
	fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (fd < 0)
		e = -errno;
	close(hold[0]);
	close(hold[1]);
	p = (struct pollfd){ .fd = fd, .events = POLLIN };
	if (fd >= 0 && poll(&p, 1, 2000) != 1)
		e = -ETIMEDOUT;
	if (pid > 0)
		waitpid(pid, NULL, 0);
	fd_close(fd);
	doctor_value(r, "pidfd_open tells when a process has ended");
	if (e) {
		doctor_failed(r, DOCTOR_MISSING, "pidfd_open", e);
		refused_gap(d, r, "pidfd_open (Linux 5.3)");
	}
}

/* Options of sockets that are used where they are; without each there is
 * another way. */
static void socket_options(int fd, struct doctor_result *r)
{
	int peer = -1, on = 0;
	socklen_t len = sizeof(peer);
	bool has;

	has = getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &peer, &len) == 0;
	if (has)
		fd_close(peer);
	doctor_number(r, "so_peerpidfd", has);
	len = sizeof(on);
	doctor_number(r, "so_passrights",
		      getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &on, &len) ==
			      0);
}

static int socket_exchange(const int pair[2])
{
	int sent, got[SEGMENT_FDS_MAX], e;
	unsigned n = 0;
	size_t len = 0;
	char text[8];

	sent = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sent < 0)
		return -errno;
	e = segment_send(pair[0], "copy", 4, &sent, 1);
	if (e == 0)
		e = segment_recv(pair[1], text, sizeof(text), got, &n, &len);
	if (e == 0 && (n != 1 || len != 4 || memcmp(text, "copy", 4) != 0))
		e = -EPROTO;
	for (unsigned i = 0; i < n; i++)
		fd_close(got[i]);
	fd_close(sent);
	return e;
}

void doctor_sockets(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "sockets");
	int pair[2], e;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		doctor_failed(r, DOCTOR_MISSING, "AF_UNIX SOCK_SEQPACKET",
			      -errno);
		refused_gap(d, r, "Unix sockets");
		return;
	}
	e = socket_exchange(pair);
	doctor_value(r, "AF_UNIX SOCK_SEQPACKET passes descriptors");
	if (e) {
		doctor_failed(r, DOCTOR_MISSING, "passing a descriptor", e);
		refused_gap(d, r, "descriptors that pass through sockets");
	}
	socket_options(pair[0], r);
	fd_close(pair[0]);
	fd_close(pair[1]);
}

void doctor_proc(const struct doctor *d, struct doctor_answer *a)
{
	static const char *const wanted[] = { "/proc/self/fd", "/proc/self/exe",
					      "/proc/self/status",
					      "/proc/meminfo" };
	struct doctor_result *r = doctor_add(a, "proc");

	doctor_value(r, "/proc is mounted and readable");
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		if (sysfs_exists(d->root, "%s", wanted[i]))
			continue;
		doctor_worsen(r, DOCTOR_MISSING);
		r->error = -ENOENT;
		doctor_value(r, "no %s", wanted[i]);
		doctor_cost(r, "The main job cannot run: it finds its own "
			       "program and reopens memory through /proc.");
		doctor_mend(r, "mount -t proc proc /proc");
		return;
	}
}

void doctor_events(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "event loop");
	struct epoll_event event = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC), e = 0;
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

	if (ep < 0 || fd < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0)
		e = -errno;
	else if (epoll_wait(ep, &event, 1, 2000) != 1)
		e = -ETIMEDOUT;
	fd_close(ep);
	fd_close(fd);
	doctor_value(r, "epoll and eventfd");
	if (e) {
		doctor_failed(r, DOCTOR_MISSING, "epoll, eventfd", e);
		refused_gap(d, r, "epoll and eventfd");
	}
}

void doctor_wipe(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "fork protection");
	void *p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int e = 0;

	if (p == MAP_FAILED || madvise(p, PAGE_BYTES, MADV_WIPEONFORK) < 0)
		e = -errno;
	if (p != MAP_FAILED)
		munmap(p, PAGE_BYTES);
	doctor_value(r, "MADV_WIPEONFORK");
	if (e) {
		doctor_failed(r, DOCTOR_MISSING, "MADV_WIPEONFORK", e);
		refused_gap(d, r, "MADV_WIPEONFORK (Linux 4.14)");
	}
}

/* ---- the whole of it --------------------------------------------------------- */

static int trial_write(oc_ns *ns, const struct oc_key *key, const void *data)
{
	struct oc_part part = { 0, 0 };
	struct oc_grant grant;
	uint64_t sum;
	int r = oc_grant(ns, key, part, 0, 0, 5 * NS_PER_S, &grant);

	if (r)
		return r < 0 ? r : -EPROTO;
	sum = oc_fill(&grant, data, TRIAL_BLOCK);
	return oc_seal(ns, &grant, &sum, 0);
}

static int trial_read(oc_ns *ns, const struct oc_key *key, const void *data)
{
	struct oc_part part = { 0, 0 };
	struct oc_pin pin;
	int r = oc_pin(ns, key, part, OC_PIN_VERIFY, &pin);

	if (r)
		return r < 0 ? r : -ENOENT;
	r = memcmp(pin.data, data, TRIAL_BLOCK) ? -EIO : 0;
	oc_unpin(ns, &pin);
	return r;
}

static int trial_block(oc_client *c)
{
	struct oc_ns_options options = {
		.size = sizeof(options),
		.block_tokens = 16,
		.n_groups = 1,
		.groups = { { .slices = 1, .slice_bytes = TRIAL_BLOCK } }
	};
	static const struct oc_key key = { { 1 } };
	static uint8_t data[TRIAL_BLOCK];
	oc_ns *ns;
	int r;

	memset(data, 0xa5, sizeof(data));
	r = oc_ns_open(c, &options, 0, &ns);
	if (r)
		return r < 0 ? r : -EPROTO;
	r = trial_write(ns, &key, data);
	if (r == 0)
		r = trial_read(ns, &key, data);
	oc_ns_close(ns);
	return r < 0 ? r : r > 0 ? -EPROTO : 0;
}

static int trial_use(struct node *n, char *error)
{
	struct oc_client_options options = {
		.size = sizeof(options),
		.socket = node_socket(n),
		.name = "onecopy doctor",
		.timeout_ns = 5 * NS_PER_S,
	};
	oc_client *c;
	int r = oc_client_connect(&options, &c, error);

	if (r)
		return r;
	r = trial_block(c);
	if (r)
		snprintf(error, NODE_ERROR, "a block: %s", oc_strerror(r));
	oc_client_close(c);
	return r;
}

static void trial_failed(struct doctor_result *r, int e, const char *error)
{
	r->error = e;
	doctor_value(r, "%.200s", error[0] ? error : strerror(-e));
	if (strncmp(error, NO_DIRECTORY, strlen(NO_DIRECTORY)) == 0) {
		/* this says nothing of a node that is given a place */
		doctor_limit(r, "not tried: no folder for a socket");
		doctor_cost(r, "Neither $XDG_RUNTIME_DIR nor /tmp can be "
			       "written: a node needs a place for its socket.");
		doctor_mend(r, "docker run --tmpfs /tmp   (or onecopy serve "
			       "--socket PATH)");
		return;
	}
	doctor_worsen(r, DOCTOR_BROKEN);
	doctor_cost(r, "The main job cannot run: a node of 16 MiB was started "
		       "and did not do its work.");
	doctor_mend(r, "onecopy serve --dram 16M --log-level debug");
}

void doctor_trial(const struct doctor *d, struct doctor_answer *a)
{
	struct node_options options = { .dram = TRIAL_DRAM,
					.wait_ns = TRIAL_WAIT_NS };
	struct doctor_result *r = doctor_add(a, "a node, tried");
	char error[NODE_ERROR] = "", time[32];
	uint64_t start = clock_ns();
	struct node *n;
	int e;

	(void)d;
	stop_catch(); /* interrupted: the node is ended first */
	e = node_start(&options, &n, error);
	if (e == 0) {
		e = trial_use(n, error);
		node_stop(n);
	}
	if (e) {
		trial_failed(r, e, error);
		return;
	}
	doctor_value(r,
		     "started, a block sealed, pinned and verified, "
		     "stopped: %s",
		     text_time(clock_ns() - start, time));
	doctor_number(r, "ns", (double)(clock_ns() - start));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* io_uring: set up and used; where it is refused, by whom. */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"
#include "doctor.h"

#define BUFFERS	     8
#define BUFFER_BYTES 1024
#define BUFFER_GROUP 1

static int wait_one(struct io_uring *ring, int *ret_res, unsigned *ret_flags)
{
	struct __kernel_timespec ts = { .tv_sec = 2 };
	struct io_uring_cqe *cqe;
	int e = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &ts, NULL);

	if (e < 0)
		return e;
	*ret_res = cqe->res;
	*ret_flags = cqe->flags;
	io_uring_cqe_seen(ring, cqe);
	return 0;
}

static int try_nop(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	unsigned flags;
	int res, e;

	if (!sqe)
		return -EBUSY;
	io_uring_prep_nop(sqe);
	e = wait_one(ring, &res, &flags);
	return e ? e : res;
}

/* A receive that takes its buffer from the ring, with or without going on. */
static int try_receive(struct io_uring *ring, int pair[2], bool multishot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	unsigned flags = 0;
	int res = 0, e;

	if (!sqe)
		return -EBUSY;
	if (multishot)
		io_uring_prep_recv_multishot(sqe, pair[0], NULL, 0, 0);
	else
		io_uring_prep_recv(sqe, pair[0], NULL, BUFFER_BYTES, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUFFER_GROUP;
	if (write(pair[1], "copy", 4) != 4)
		return -errno;
	e = wait_one(ring, &res, &flags);
	if (e == 0 && res < 0)
		e = res;
	if (e == 0 && (res != 4 || !(flags & IORING_CQE_F_BUFFER)))
		e = -EPROTO;
	if (e == 0 && multishot && !(flags & IORING_CQE_F_MORE))
		e = -EOPNOTSUPP;
	return e;
}

static int buffers_register(struct io_uring *ring, void *memory)
{
	struct io_uring_buf_ring *br = memory;
	char *data = (char *)memory + PAGE_BYTES;
	struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)memory,
					.ring_entries = BUFFERS,
					.bgid = BUFFER_GROUP };
	int e = io_uring_register_buf_ring(ring, &reg, 0);

	if (e)
		return e;
	io_uring_buf_ring_init(br);
	for (unsigned short i = 0; i < BUFFERS; i++)
		io_uring_buf_ring_add(br, data + i * BUFFER_BYTES, BUFFER_BYTES,
				      i, io_uring_buf_ring_mask(BUFFERS), i);
	io_uring_buf_ring_advance(br, BUFFERS);
	return 0;
}

static void try_buffers(struct io_uring *ring, struct doctor_uring *u)
{
	size_t bytes = PAGE_BYTES + BUFFERS * BUFFER_BYTES;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int pair[2] = { -1, -1 };

	u->buffer_ring = u->multishot = -ENOMEM;
	if (memory == MAP_FAILED)
		return;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		u->buffer_ring = u->multishot = -errno;
	} else {
		u->buffer_ring = buffers_register(ring, memory);
		if (u->buffer_ring == 0)
			u->buffer_ring = try_receive(ring, pair, false);
		u->multishot = u->buffer_ring ? u->buffer_ring
					      : try_receive(ring, pair, true);
	}
	fd_close(pair[0]);
	fd_close(pair[1]);
	/* the memory goes with this process, after the ring */
}

static void uring_try(struct doctor_uring *u)
{
	struct io_uring_probe *probe;
	struct io_uring ring;

	memset(u, 0, sizeof(*u));
	u->setup = io_uring_queue_init(32, &ring, 0);
	if (u->setup)
		return;
	u->features = ring.features;
	probe = io_uring_get_probe_ring(&ring);
	if (probe)
		u->ops = probe->ops_len;
	io_uring_free_probe(probe);
	u->nop = try_nop(&ring);
	if (u->nop == 0)
		try_buffers(&ring, u);
	else
		u->buffer_ring = u->multishot = u->nop;
	io_uring_queue_exit(&ring);
}

static const char *refused_by(const struct doctor *d, int e, uint64_t disabled,
			      struct doctor_result *r)
{
	if (e == -ENOSYS && !doctor_filtered(d)) {
		doctor_mend(r, "a kernel with CONFIG_IO_URING (Linux 5.11 or "
			       "later)");
		return "the kernel has none";
	}
	if (e == -ENOMEM) {
		doctor_mend(r, "ulimit -l unlimited");
		return "locked memory is used up (RLIMIT_MEMLOCK)";
	}
	/* 1: refused without CAP_SYS_ADMIN or the group io_uring_group */
	if (e == -EPERM && disabled) {
		doctor_mend(r, "sysctl -w kernel.io_uring_disabled=0");
		return "refused by sysctl kernel.io_uring_disabled";
	}
	if (doctor_filtered(d)) {
		doctor_mend(r, "docker run --security-opt seccomp=FILE   (one "
			       "that allows io_uring_setup, io_uring_enter and "
			       "io_uring_register)");
		return "refused by a seccomp filter";
	}
	return "refused";
}

static void judge_refusal(const struct doctor *d, const struct doctor_uring *u,
			  struct doctor_result *r)
{
	int e = u->setup ? u->setup : u->nop;
	uint64_t disabled = 0;
	const char *who;

	sysfs_read_u64(d->root, &disabled,
		       "/proc/sys/kernel/io_uring_disabled");
	doctor_number(r, "io_uring_disabled", (double)disabled);
	doctor_worsen(r, DOCTOR_MISSING);
	doctor_limit(r, "epoll in place of io_uring");
	doctor_cost(r, "The node uses epoll: a system call for each piece that "
		       "is received or sent, and reads from disk that block "
		       "a thread.");
	who = refused_by(d, e, disabled, r);
	doctor_text(r, "refused_by", who);
	r->error = e;
	doctor_value(r, "%s (%s)", who, strerror(-e));
}

void doctor_judge_uring(const struct doctor *d, const struct doctor_uring *u,
			struct doctor_result *r)
{
	doctor_number(r, "works", u->setup == 0 && u->nop == 0);
	if (u->setup || u->nop) {
		judge_refusal(d, u, r);
		return;
	}
	doctor_number(r, "features", u->features);
	doctor_number(r, "operations", u->ops);
	doctor_number(r, "buffer_ring", u->buffer_ring == 0);
	doctor_number(r, "multishot_receive", u->multishot == 0);
	doctor_value(r, "works, %u operations%s%s", u->ops,
		     u->buffer_ring ? "" : ", buffer rings",
		     u->multishot ? "" : ", multishot receive");
	if (~u->features & (IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP)) {
		doctor_limit(r, "epoll in place of io_uring");
		doctor_cost(r, "The kernel's io_uring is too old for the event "
			       "loop, which uses epoll.");
		doctor_mend(r, "Linux 5.11 or later");
	} else if (u->buffer_ring || u->multishot) {
		doctor_cost(r, "Each waiting connection keeps a buffer of its "
			       "own, and is asked for again after each "
			       "message.");
		doctor_mend(r, "Linux 6.0 or later");
	}
}

void doctor_uring(const struct doctor *d, struct doctor_answer *a)
{
	struct doctor_result *r = doctor_add(a, "io_uring");
	struct doctor_uring u;
	struct rlimit l;

	uring_try(&u);
	if (getrlimit(RLIMIT_MEMLOCK, &l) == 0 && l.rlim_cur != RLIM_INFINITY)
		doctor_number(r, "memlock_bytes", (double)l.rlim_cur);
	doctor_judge_uring(d, &u, r);
}

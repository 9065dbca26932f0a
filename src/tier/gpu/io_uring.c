/* SPDX-License-Identifier: Apache-2.0 */
/* Reads by io_uring. Built without liburing's header it is refused, and threads
 * do the work. */
#include <errno.h>
#include <stdlib.h>

#include "tier/gpu/io.h"

#if __has_include(<liburing.h>)
#include <liburing.h>

#include "base/clock.h"
#include "base/fault.h"

struct uring_slot {
	enum { SLOT_FREE, SLOT_FLIES, SLOT_DONE } state;
	int32_t result;
};

struct uring_io {
	struct gpu_io io;
	struct io_uring ring;
	uint32_t depth, flying;
	struct uring_slot slot[];
};

static void uring_take(struct uring_io *u, struct io_uring_cqe *cqe)
{
	struct uring_slot *s = &u->slot[(uintptr_t)io_uring_cqe_get_data(cqe)];

	s->result = cqe->res;
	s->state = SLOT_DONE;
	u->flying--;
	io_uring_cqe_seen(&u->ring, cqe);
}

static void uring_destroy(struct gpu_io *io)
{
	struct uring_io *u = container_of(io, struct uring_io, io);
	struct io_uring_cqe *cqe;

	while (u->flying) {
		int r = io_uring_wait_cqe(&u->ring, &cqe);

		if (r == 0)
			uring_take(u, cqe);
		else if (r != -EINTR)
			break; /* the ring itself is gone */
	}
	io_uring_queue_exit(&u->ring);
	free(u);
}

static int uring_create(uint32_t depth, struct gpu_io **ret_io)
{
	struct uring_io *u = mem_alloc(sizeof(*u) + depth * sizeof(u->slot[0]));
	int r;

	if (!u)
		return -ENOMEM;
	u->io.ops = &gpu_io_uring;
	u->depth = depth;
	r = fault_point(FAULT_IO)
		    ? -ENOSYS
		    : io_uring_queue_init(depth, &u->ring, IORING_SETUP_CLAMP);
	if (r < 0) {
		free(u);
		return r;
	}
	*ret_io = &u->io;
	return 0;
}

static int uring_read(struct gpu_io *io, uint32_t slot, int fd, void *data,
		      uint32_t bytes, uint64_t offset)
{
	struct uring_io *u = container_of(io, struct uring_io, io);
	struct io_uring_sqe *sqe;
	int r;

	if (u->slot[slot].state != SLOT_FREE)
		return -EBUSY;
	if (fault_point(FAULT_IO))
		return -EIO;
	sqe = io_uring_get_sqe(&u->ring);
	if (!sqe)
		return -EAGAIN;
	io_uring_prep_read(sqe, fd, data, bytes, offset);
	io_uring_sqe_set_data(sqe, (void *)(uintptr_t)slot);
	do
		r = io_uring_submit(&u->ring);
	while (r == -EINTR);
	/* What was not taken now goes with the next submit: it is under way. */
	u->slot[slot].state = SLOT_FLIES;
	u->flying++;
	return 0;
}

static int64_t uring_wait(struct gpu_io *io, uint32_t slot,
			  uint64_t deadline_ns)
{
	struct uring_io *u = container_of(io, struct uring_io, io);
	struct uring_slot *s = &u->slot[slot];
	struct io_uring_cqe *cqe;

	if (s->state == SLOT_FREE)
		return -EINVAL;
	while (s->state == SLOT_FLIES) {
		uint64_t now = deadline_ns ? clock_ns() : 0;
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
		struct __kernel_timespec wait = {
			.tv_sec = (long long)(left / NS_PER_S),
			.tv_nsec = (long long)(left % NS_PER_S)
		};
		int r = io_uring_peek_cqe(&u->ring, &cqe);

		if (r && left)
			r = io_uring_submit(&u->ring) < 0
				    ? -EAGAIN
				    : io_uring_wait_cqe_timeout(&u->ring, &cqe,
								&wait);
		if (r == 0)
			uring_take(u, cqe);
		else if (!left)
			return -ETIME;
	}
	s->state = SLOT_FREE;
	return s->result;
}

const struct gpu_io_ops gpu_io_uring = {
	.name = "io_uring",
	.create = uring_create,
	.destroy = uring_destroy,
	.read = uring_read,
	.wait = uring_wait,
};

#else

static int uring_create(uint32_t depth, struct gpu_io **ret_io)
{
	(void)depth;
	(void)ret_io;
	return -ENOSYS;
}

const struct gpu_io_ops gpu_io_uring = {
	.name = "io_uring",
	.create = uring_create,
};

#endif

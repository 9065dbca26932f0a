/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes by io_uring. The device's thread alone touches the ring; it is
 * woken by an eventfd that the ring reads.
 *
 * Memory that is registered spares the kernel the walk over its pages at each
 * move. The table has a place for each stretch of up to 64 MiB; a move whose
 * memory does not lie in one stretch is a plain one.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "tier/nvme/io_internal.h"

#define STRETCHES 4096u /* 256 GiB; more is not registered */
#define TAG_WAKE  1ull

struct stretch {
	const char *base;
	uint64_t bytes;
	unsigned slot;
};

struct uring {
	struct io_uring ring;
	int wake;
	uint64_t word; /* that the ring reads from `wake` */
	bool fixed;    /* a table for memory is there */
	bool refused;  /* said once */
	uint32_t n;
	struct stretch *stretch; /* by address */
	bool *taken;
};

static int set_up(struct io_uring *ring)
{
	struct io_uring_params p = { 0 };
	unsigned base = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
	int r;

	if (fault_point(FAULT_IO))
		return -EIO;
	p.cq_entries = 2 * NVME_PIECES;
	p.flags = base | IORING_SETUP_SINGLE_ISSUER |
		  IORING_SETUP_DEFER_TASKRUN;
	r = io_uring_queue_init_params(NVME_PIECES / 2, ring, &p);
	if (r != -EINVAL)
		return r;
	p = (struct io_uring_params){ .flags = base,
				      .cq_entries = 2 * NVME_PIECES };
	return io_uring_queue_init_params(NVME_PIECES / 2, ring, &p);
}

static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&u->ring))) {
		int r = io_uring_submit(&u->ring);

		must(r >= 0 || r == -EINTR || r == -EAGAIN || r == -EBUSY);
	}
	return sqe;
}

static void arm(struct uring *u)
{
	struct io_uring_sqe *sqe = get_sqe(u);

	io_uring_prep_read(sqe, u->wake, &u->word, sizeof(u->word), 0);
	sqe->user_data = TAG_WAKE;
}

static int fill(struct uring *u)
{
	int r;

	u->wake = fault_point(FAULT_IO) ? -1 : eventfd(0, EFD_CLOEXEC);
	if (u->wake < 0)
		return -EMFILE;
	u->stretch = mem_array(STRETCHES, sizeof(*u->stretch));
	u->taken = mem_array(STRETCHES, sizeof(*u->taken));
	r = u->stretch && u->taken ? set_up(&u->ring) : -ENOMEM;
	if (r < 0)
		return r;
	u->fixed = io_uring_register_buffers_sparse(&u->ring, STRETCHES) == 0;
	arm(u);
	return 0;
}

static int uring_open(struct nvme_engine *e)
{
	struct uring *u = mem_alloc(sizeof(*u));
	int r = u ? fill(u) : -ENOMEM;

	if (r == 0) {
		e->backend_state = u;
		return 0;
	}
	if (u) {
		fd_close(u->wake);
		free(u->stretch);
		free(u->taken);
		free(u);
	}
	return r;
}

static void uring_close(struct nvme_engine *e)
{
	struct uring *u = e->backend_state;

	io_uring_queue_exit(&u->ring);
	fd_close(u->wake);
	free(u->stretch);
	free(u->taken);
	free(u);
}

/* ---- memory -------------------------------------------------------------------- */

/* The first stretch that begins behind `at`. */
static uint32_t behind(const struct uring *u, const char *at)
{
	uint32_t low = 0, high = u->n;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (u->stretch[mid].base <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static const struct stretch *stretch_of(const struct uring *u, const void *data,
					uint64_t bytes)
{
	const char *at = data;
	uint32_t i = behind(u, at);
	const struct stretch *s;

	if (i == 0)
		return NULL;
	s = &u->stretch[i - 1];
	return at + bytes <= s->base + s->bytes ? s : NULL;
}

static int update(struct uring *u, unsigned slot, void *base, uint64_t bytes)
{
	struct iovec v = { base, bytes };
	__u64 tag = 0;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	return io_uring_register_buffers_update_tag(&u->ring, slot, &v, &tag,
						    1);
}

static void uring_memory_add(struct nvme_engine *e, void *base, uint64_t bytes)
{
	struct uring *u = e->backend_state;
	uint32_t at = behind(u, base);
	unsigned slot = 0;
	int r;

	while (slot < STRETCHES && u->taken[slot])
		slot++;
	if (!u->fixed || slot == STRETCHES)
		return;
	r = update(u, slot, base, bytes);
	if (r < 0) {
		if (!u->refused)
			log_info(
				"nvme: memory is not registered (%s): reads and "
				"writes go without",
				strerror(-r));
		u->refused = true;
		return;
	}
	memmove(&u->stretch[at + 1], &u->stretch[at],
		(u->n - at) * sizeof(*u->stretch));
	u->stretch[at] = (struct stretch){ base, bytes, slot };
	u->taken[slot] = true;
	u->n++;
}

static void uring_memory_drop(struct nvme_engine *e, void *base, uint64_t bytes)
{
	struct uring *u = e->backend_state;
	const char *from = base, *to = from + bytes;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < u->n; i++) {
		struct stretch *s = &u->stretch[i];

		if (s->base >= to || s->base + s->bytes <= from) {
			u->stretch[kept++] = *s;
			continue;
		}
		if (update(u, s->slot, NULL, 0) < 0) {
			/* the kernel keeps the pages; nothing names them */
			log_warn("nvme: memory stays registered");
			continue;
		}
		u->taken[s->slot] = false;
	}
	u->n = kept;
}

/* ---- pieces -------------------------------------------------------------------- */

static void prepare(struct uring *u, struct nvme_engine *e,
		    struct io_uring_sqe *sqe, const struct nvme_piece *p)
{
	const struct nvme_io *io = p->io;
	uint64_t at = io->offset + p->from;
	unsigned bytes = (unsigned)p->bytes;
	const struct iovec *vec;
	unsigned n = nvme_engine_vec(e, p, &vec);
	char *data = vec[0].iov_base;
	const struct stretch *s = n == 1 ? stretch_of(u, data, p->bytes) : NULL;

	if (n > 1 && io->op == NVME_READ)
		io_uring_prep_readv(sqe, e->fd, vec, n, at);
	else if (n > 1)
		io_uring_prep_writev(sqe, e->fd, vec, n, at);
	else if (io->op == NVME_READ && s)
		io_uring_prep_read_fixed(sqe, e->fd, data, bytes, at,
					 (int)s->slot);
	else if (io->op == NVME_READ)
		io_uring_prep_read(sqe, e->fd, data, bytes, at);
	else if (s)
		io_uring_prep_write_fixed(sqe, e->fd, data, bytes, at,
					  (int)s->slot);
	else
		io_uring_prep_write(sqe, e->fd, data, bytes, at);
}

static void uring_start(struct nvme_engine *e, struct nvme_piece *p)
{
	struct uring *u = e->backend_state;
	struct io_uring_sqe *sqe = get_sqe(u);
	const struct nvme_io *io = p->io;

	if (io->op == NVME_ALLOCATE)
		io_uring_prep_fallocate(sqe, e->fd, 0, (off_t)io->offset,
					(off_t)io->bytes);
	else if (io->op == NVME_SYNC)
		io_uring_prep_fsync(sqe, e->fd, IORING_FSYNC_DATASYNC);
	else
		prepare(u, e, sqe, p);
	sqe->user_data = (uintptr_t)p;
}

static void ended(struct nvme_engine *e, const struct io_uring_cqe *cqe)
{
	struct nvme_piece *p = (void *)(uintptr_t)cqe->user_data;
	int res = cqe->res;

	if (p->io->op == NVME_ALLOCATE && res == -EOPNOTSUPP)
		res = nvme_io_allocate(e->fd, p->io->offset, p->io->bytes);
	nvme_engine_ended(e, p, res);
}

static void uring_wait(struct nvme_engine *e, bool wait)
{
	struct uring *u = e->backend_state;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	bool woken = false;
	int r;

	if (wait)
		r = io_uring_submit_and_wait(&u->ring, 1);
	else
		r = io_uring_submit_and_get_events(&u->ring);
	/* EBUSY, EAGAIN: what has ended is taken below, then it goes on */
	must(r >= 0 || r == -EINTR || r == -EBUSY || r == -EAGAIN);
	io_uring_for_each_cqe(&u->ring, head, cqe) {
		if (cqe->user_data == TAG_WAKE)
			woken = true;
		else
			ended(e, cqe);
		n++;
	}
	io_uring_cq_advance(&u->ring, n);
	if (woken)
		arm(u);
}

static void uring_wake(struct nvme_engine *e)
{
	static const uint64_t one = 1;
	struct uring *u = e->backend_state;

	if (write(u->wake, &one, sizeof(one)) < 0)
		must(errno == EAGAIN || errno == EINTR);
}

const struct nvme_backend nvme_backend_uring = {
	.name = "io_uring",
	.open = uring_open,
	.close = uring_close,
	.start = uring_start,
	.wait = uring_wait,
	.wake = uring_wake,
	.memory_add = uring_memory_add,
	.memory_drop = uring_memory_drop,
};

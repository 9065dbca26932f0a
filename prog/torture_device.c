/* SPDX-License-Identifier: Apache-2.0 */
/* Direct reads of a file into frames, by io_uring: what is killed in the middle
 * of them leaves them under way. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>

#include "base/fault.h"
#include "torture.h"

#define DEVICE_DEPTH 16

struct torture_device {
	struct io_uring ring;
	int file;
};

int torture_device_open(const char *file, struct torture_device **ret_device)
{
	struct torture_device *d = mem_alloc(sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->file = open(file, O_RDONLY | O_DIRECT | O_CLOEXEC);
	r = d->file < 0 ? -errno
			: io_uring_queue_init(DEVICE_DEPTH, &d->ring, 0);
	if (r < 0) {
		fd_close(d->file);
		free(d);
		return r;
	}
	*ret_device = d;
	return 0;
}

void torture_device_close(struct torture_device *d)
{
	if (!d)
		return;
	io_uring_queue_exit(&d->ring);
	fd_close(d->file);
	free(d);
}

/* The memory is the kernel's until each read has said its word. */
int torture_device_read(struct torture_device *d, void *const *to,
			const uint32_t *slices, unsigned n)
{
	struct io_uring_cqe *cqe;
	unsigned asked = 0;
	int r = 0;

	for (; asked < n; asked++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&d->ring);

		if (!sqe)
			break;
		io_uring_prep_read(sqe, d->file, to[asked], TORTURE_SLICE,
				   (uint64_t)slices[asked] * TORTURE_SLICE);
	}
	if (io_uring_submit(&d->ring) < (int)asked)
		abort(); /* what was submitted cannot be told */
	for (unsigned i = 0; i < asked; i++) {
		int e = io_uring_wait_cqe(&d->ring, &cqe);

		if (e == -EINTR) {
			i--;
			continue;
		}
		if (e < 0)
			abort();
		if (cqe->res != (int)TORTURE_SLICE)
			r = cqe->res < 0 ? cqe->res : -EIO;
		io_uring_cqe_seen(&d->ring, cqe);
	}
	return asked < n ? -EBUSY : r;
}

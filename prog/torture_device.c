/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices that write into frames, and go on when the actor is killed: direct reads
 * of a file by io_uring; and a slow device, whose time does not depend on the
 * machine's disk: a process that has the frames' pages mapped, as a device has
 * them pinned, and writes them piece by piece.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "torture.h"

#define DEVICE_DEPTH 16
#define SLOW_PIECE   65536u /* bytes that the slow device writes at a time */

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

static void pages_of(void *const *to, unsigned n, int advice)
{
	for (unsigned i = 0; i < n; i++)
		if (madvise(to[i], TORTURE_SLICE, advice) < 0)
			abort();
}

/* In the process that is the device: nothing of the actor's is used. */
_Noreturn static void slow_write(void *const *to, const uint32_t *slices,
				 unsigned n, void *slice, uint64_t ns)
{
	uint32_t pieces = TORTURE_SLICE / SLOW_PIECE;
	struct timespec t = { .tv_nsec = (long)(ns / n / pieces) };

	for (unsigned i = 0; i < n; i++) {
		torture_slice_fill(slices[i], slice);
		for (uint32_t at = 0; at < TORTURE_SLICE; at += SLOW_PIECE) {
			nanosleep(&t, NULL);
			memcpy((uint8_t *)to[i] + at, (uint8_t *)slice + at,
			       SLOW_PIECE);
		}
	}
	_exit(0);
}

int torture_device_slow(void *const *to, const uint32_t *slices, unsigned n,
			uint64_t ns)
{
	void *slice = malloc(TORTURE_SLICE);
	int status = 0;
	pid_t pid;

	if (!slice)
		return -ENOMEM;
	/* a child of a client has nothing of the pool else */
	pages_of(to, n, MADV_DOFORK);
	pid = n ? fork() : 0;
	if (pid == 0 && n)
		slow_write(to, slices, n, slice, ns);
	pages_of(to, n, MADV_DONTFORK);
	free(slice);
	if (pid < 0)
		return -errno;
	while (pid && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? -EIO : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "space/uffd.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fault.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

/* Newer than the headers of Debian 12. */
#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON_MODE_DONTWAKE 1ull
#define UFFDIO_POISON		    _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

/* REMAP: a registered mapping that is moved stays registered, which is how a
 * block is taken away without a moment in which its addresses read zeros. */
#define NEEDED                                                              \
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | \
	 UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_EVENT_REMAP)

static int begin(int fd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = NEEDED };

	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return 0;
	return errno == EINVAL ? -EOPNOTSUPP : -errno;
}

static int open_call(void)
{
	int fd = (int)syscall(SYS_userfaultfd,
			      O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	return fd < 0 ? -errno : fd;
}

static int open_device(void)
{
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd, r;

	if (device < 0)
		return -errno;
	fd = ioctl(device, USERFAULTFD_IOC_NEW,
		   O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	r = fd < 0 ? -errno : fd;
	fd_close(device);
	return r;
}

int uffd_open(int *ret_fd)
{
	int fd, why, r;

	if (fault_point(FAULT_IO))
		return -EIO;
	fd = open_call();
	why = fd;
	if (fd < 0)
		fd = open_device();
	if (fd < 0)
		return why;
	r = begin(fd);
	if (r) {
		fd_close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int uffd_register(int fd, void *at, uint64_t bytes)
{
	struct uffdio_register r = {
		.range = { (uintptr_t)at, bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	return ioctl(fd, UFFDIO_REGISTER, &r) ? -errno : 0;
}

static int protect(int fd, void *at, uint64_t bytes, uint64_t mode)
{
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)at, bytes },
					  .mode = mode };

	while (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		if (errno != EAGAIN) /* mappings change just now */
			return -errno;
	return 0;
}

int uffd_arm(int fd, void *at, uint64_t bytes)
{
	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	return protect(fd, at, bytes, UFFDIO_WRITEPROTECT_MODE_WP);
}

int uffd_disarm(int fd, void *at, uint64_t bytes)
{
	return protect(fd, at, bytes, 0);
}

int uffd_wake(int fd, void *at, uint64_t bytes)
{
	struct uffdio_range range = { (uintptr_t)at, bytes };

	return ioctl(fd, UFFDIO_WAKE, &range) ? -errno : 0;
}

int uffd_copy(int fd, void *at, const void *from, uint64_t bytes)
{
	uint64_t done = 0;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	while (done < bytes) {
		struct uffdio_copy copy = {
			.dst = (uintptr_t)at + done,
			.src = (uintptr_t)from + done,
			.len = bytes - done,
			.mode = UFFDIO_COPY_MODE_DONTWAKE,
		};

		if (ioctl(fd, UFFDIO_COPY, &copy) == 0)
			return 0;
		if (copy.copy > 0)
			done += (uint64_t)copy.copy;
		else if (errno == EEXIST)
			done += PAGE_BYTES;
		else if (errno != EAGAIN)
			return -errno;
	}
	return 0;
}

int uffd_zero(int fd, void *at, uint64_t bytes)
{
	uint64_t done = 0;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	while (done < bytes) {
		struct uffdio_zeropage zero = {
			.range = { (uintptr_t)at + done, bytes - done },
			.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE,
		};

		if (ioctl(fd, UFFDIO_ZEROPAGE, &zero) == 0)
			return 0;
		if (zero.zeropage > 0)
			done += (uint64_t)zero.zeropage;
		else if (errno == EEXIST)
			done += PAGE_BYTES;
		else if (errno != EAGAIN)
			return -errno;
	}
	return 0;
}

int uffd_poison(int fd, void *at, uint64_t bytes)
{
	uint64_t done = 0;

	while (done < bytes) {
		struct uffdio_poison poison = {
			.range = { (uintptr_t)at + done, bytes - done },
			.mode = UFFDIO_POISON_MODE_DONTWAKE,
		};

		if (ioctl(fd, UFFDIO_POISON, &poison) == 0)
			return 0;
		if (poison.updated > 0)
			done += (uint64_t)poison.updated;
		else if (errno == EEXIST)
			done += PAGE_BYTES;
		else if (errno != EAGAIN)
			return -errno;
	}
	return 0;
}

bool uffd_wait(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

#define READ_MOST 16

size_t uffd_read(int fd, struct uffd_fault *ret_faults, size_t n)
{
	struct uffd_msg msg[READ_MOST];
	size_t want = MIN(n, (size_t)READ_MOST), got = 0;
	ssize_t bytes = read(fd, msg, want * sizeof(msg[0]));

	for (size_t i = 0; bytes > 0 && i < (size_t)bytes / sizeof(msg[0]);
	     i++) {
		uint64_t flags = msg[i].arg.pagefault.flags;

		if (msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		ret_faults[got++] = (struct uffd_fault){
			.address = (uintptr_t)msg[i].arg.pagefault.address,
			.write = flags & UFFD_PAGEFAULT_FLAG_WRITE,
			.protected = flags & UFFD_PAGEFAULT_FLAG_WP,
		};
	}
	return got;
}

/* ---- addresses ---- */

int space_map_at(void *at, uint64_t bytes, int prot, int flags, int fd,
		 uint64_t offset)
{
	long p;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	p = syscall(SYS_mmap, at, bytes, prot,
		    flags | MAP_FIXED | MAP_NORESERVE |
			    (fd < 0 ? MAP_ANONYMOUS : 0),
		    fd, offset);
	return p == -1 ? -errno : 0;
}

void *space_map_anywhere(uint64_t bytes, int prot)
{
	long p;

	if (fault_point(FAULT_MAP)) {
		errno = ENOMEM;
		return NULL;
	}
	p = syscall(SYS_mmap, NULL, bytes, prot,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == -1 ? NULL : (void *)p;
}

int space_move_at(void *from, void *to, uint64_t bytes)
{
	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	return syscall(SYS_mremap, from, bytes, bytes,
		       MREMAP_MAYMOVE | MREMAP_FIXED, to) == -1
		       ? -errno
		       : 0;
}

void space_not_in_child(void *at, uint64_t bytes)
{
	madvise(at, bytes, MADV_DONTFORK);
}

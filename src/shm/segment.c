/* SPDX-License-Identifier: Apache-2.0 */
/* Shared segments; the rules are in the header. Sockets are in
 * segment_socket.c, devices in segment_dax.c. */
#include "shm/segment.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "shm/segment_internal.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define SIZE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* <numaif.h> is libnuma's; the numbers are the kernel's. */
#define BIND_TO_NODES 2 /* MPOL_BIND */
#define NODES_MOST    1024

const char *segment_kind_name(enum segment_kind kind)
{
	static const char *const name[SEGMENT_KINDS] = {
		[SEGMENT_DRAM] = "dram",
		[SEGMENT_NODE] = "numa node",
		[SEGMENT_DAX] = "devdax",
		[SEGMENT_STANDIN] = "memory (stand-in)",
	};

	return (unsigned)kind < SEGMENT_KINDS && name[kind] ? name[kind] : "?";
}

static int map_error(int err)
{
	/* The kernel also refuses memory by EAGAIN (locked memory), EFAULT and
	 * ENOSPC (no page for a populated address). */
	switch (err) {
	case EAGAIN:
	case EFAULT:
	case ENOSPC:
		return -ENOMEM;
	default:
		return -err;
	}
}

/* Touches each page, for kernels before 5.14. Where memory is refused this
 * ends the process by SIGBUS, which is why it is not the first choice. */
static void touch_pages(void *base, uint64_t bytes, bool writable)
{
	for (uint64_t at = 0; at < bytes; at += PAGE_BYTES) {
		_Atomic(unsigned char) *p =
			(_Atomic(unsigned char) *)((unsigned char *)base + at);

		if (writable)
			atomic_fetch_add_explicit(p, 0, memory_order_relaxed);
		else
			(void)atomic_load_explicit(p, memory_order_relaxed);
	}
}

static int populate(void *base, uint64_t bytes, bool writable)
{
	int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
	int err;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	do
		err = madvise(base, bytes, advice) < 0 ? errno : 0;
	while (err == EINTR);
	if (err == EINVAL) {
		touch_pages(base, bytes, writable);
		return 0;
	}
	return err ? map_error(err) : 0;
}

/* Pages of 2 MiB where the kernel can make them now, whatever its policy for
 * ordinary faults on shared memory is: one page of each is touched, so that
 * there is something to collapse. Best effort: populate() does the rest. It is
 * also the quicker way to fresh memory (one clear for 512 faults). */
static void collapse(void *base, uint64_t bytes)
{
	uint64_t whole = bytes & ~(SEGMENT_HUGE_BYTES - 1);

	for (uint64_t at = 0; at < whole; at += SEGMENT_HUGE_BYTES)
		if (madvise((char *)base + at, PAGE_BYTES,
			    MADV_POPULATE_WRITE) < 0)
			return;
	if (whole)
		madvise(base, whole, MADV_COLLAPSE);
}

static uint64_t place_align(uint64_t bytes)
{
	return bytes >= SEGMENT_HUGE_BYTES ? SEGMENT_HUGE_BYTES : PAGE_BYTES;
}

uint64_t segment_place_bytes(uint64_t bytes)
{
	return bytes + place_align(bytes) - PAGE_BYTES;
}

void *segment_place_trim(void *base, uint64_t bytes)
{
	uint64_t whole = segment_place_bytes(bytes);
	uint64_t head =
		ALIGN_UP((uintptr_t)base, place_align(bytes)) - (uintptr_t)base;
	char *place = (char *)base + head;

	if (head)
		munmap(base, head);
	if (whole - head > bytes)
		munmap(place + bytes, whole - head - bytes);
	return place;
}

/* By the plain system call: who moves a mapping away (mremap) leaves its first
 * addresses to others without the thread sanitizer noticing, and that takes
 * mmap() for a write there. */
static void *map_at(void *at, uint64_t bytes, long prot, long flags, long fd,
		    uint64_t offset)
{
	/* long: it reads whole registers; -1 is MAP_FAILED */
	return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset);
}

/* NULL: wherever the kernel likes. */
static void *aligned_place(uint64_t bytes)
{
	void *base;

	if (bytes < SEGMENT_HUGE_BYTES)
		return NULL;
	base = map_at(NULL, segment_place_bytes(bytes), PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return base == MAP_FAILED ? NULL : segment_place_trim(base, bytes);
}

int segment_map(struct segment *s, bool writable)
{
	void *base = MAP_FAILED, *at;
	int prot = PROT_READ | (writable ? PROT_WRITE : 0);

	errno = ENOMEM;
	if (!fault_point(FAULT_MAP)) {
		at = aligned_place(s->bytes);
		base = map_at(at, s->bytes, prot,
			      MAP_SHARED | (at ? MAP_FIXED : 0), s->fd,
			      s->offset);
		if (base == MAP_FAILED && at) {
			int err = errno;

			munmap(at, s->bytes);
			errno = err;
		}
	}
	if (base == MAP_FAILED)
		return map_error(errno);
	s->base = base;
	return 0;
}

static int open_memfd(const char *name)
{
	int fd;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

int segment_bind(void *base, uint64_t bytes, int node)
{
	unsigned long mask[NODES_MOST / 64] = { 0 };

	if (node < 0 || node >= NODES_MOST)
		return -EINVAL;
	mask[node / 64] = 1ul << (node % 64);
	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	/* the kernel reads one bit less than it is told */
	if (syscall(SYS_mbind, base, bytes, BIND_TO_NODES, mask,
		    NODES_MOST + 1ul, 0ul) < 0)
		return -errno;
	return 0;
}

/* Mode, size, mapping, pages, seals: of a descriptor that nobody else has.
 * node: -1 any. */
static int fill_segment(struct segment *s, bool huge, int node)
{
	int err;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (fchmod(s->fd, 0600) < 0)
		return -errno;
	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	if (ftruncate(s->fd, (off_t)s->bytes) < 0)
		return map_error(errno);
	err = segment_map(s, true);
	if (err == 0 && node >= 0)
		err = segment_bind(s->base, s->bytes, node);
	if (err < 0)
		return err;
	if (huge && s->bytes >= SEGMENT_HUGE_BYTES) {
		madvise(s->base, s->bytes, MADV_HUGEPAGE); /* a wish */
		collapse(s->base, s->bytes);
	}
	err = populate(s->base, s->bytes, true);
	if (err < 0)
		return err;
	if (fault_point(FAULT_IO))
		return -EIO;
	return fcntl(s->fd, F_ADD_SEALS, SIZE_SEALS) < 0 ? -errno : 0;
}

int segment_create(const char *name, uint64_t bytes, unsigned flags,
		   struct segment *ret_segment)
{
	struct segment_source source = { .kind = SEGMENT_DRAM };

	return segment_create_from(&source, name, bytes, flags, ret_segment);
}

int segment_create_from(const struct segment_source *source, const char *name,
			uint64_t bytes, unsigned flags,
			struct segment *ret_segment)
{
	struct segment s = { .bytes = bytes,
			     .kind = source->kind ? source->kind
						  : SEGMENT_DRAM };
	int err;

	if (bytes == 0 || bytes % PAGE_BYTES || bytes > INT64_MAX)
		return -EINVAL;
	if (source->kind == SEGMENT_DAX)
		return segment_dax_create(source, bytes, ret_segment);
	s.fd = open_memfd(name);
	if (s.fd < 0)
		return s.fd;
	err = fill_segment(&s, flags & SEGMENT_TRY_HUGE,
			   source->kind == SEGMENT_NODE ? source->node : -1);
	if (err < 0) {
		segment_close(&s);
		return err;
	}
	*ret_segment = s;
	return 0;
}

/* What a descriptor of a peer must be before it is mapped. */
static int examine(int fd, uint64_t bytes, struct segment *ret)
{
	struct stat info;
	int seals;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (fstat(fd, &info) < 0)
		return -errno;
	/* Only memfds (and other shmem or hugetlb files) have seals. */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SIZE_SEALS) != SIZE_SEALS)
		return -EPROTO;
	if (!S_ISREG(info.st_mode) || info.st_size <= 0 ||
	    (uint64_t)info.st_size % PAGE_BYTES ||
	    (bytes && (uint64_t)info.st_size != bytes))
		return -EPROTO;
	*ret = (struct segment){
		.fd = fd,
		.bytes = (uint64_t)info.st_size,
		.kind = SEGMENT_DRAM,
	};
	return 0;
}

int segment_attach(int fd, uint64_t bytes, bool writable,
		   struct segment *ret_segment)
{
	return segment_attach_kind(fd, SEGMENT_DRAM, 0, bytes, writable,
				   ret_segment);
}

int segment_attach_kind(int fd, enum segment_kind kind, uint64_t offset,
			uint64_t bytes, bool writable,
			struct segment *ret_segment)
{
	struct segment s = {
		.fd = fd, .bytes = bytes, .offset = offset, .kind = kind
	};
	int err = kind == SEGMENT_DAX ? segment_dax_check(fd, offset, bytes)
				      : examine(fd, bytes, &s);

	if (err < 0)
		return err;
	s.kind = kind;
	err = segment_map(&s, writable);
	if (err < 0)
		return err;
	*ret_segment = s;
	return 0;
}

int segment_reopen_readonly(int fd, int *ret_fd)
{
	char path[32];
	int copy;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fault_point(FAULT_IO))
		return -EIO;
	/* O_NONBLOCK: a lease on the file must not hold us up */
	copy = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (copy < 0)
		return -errno;
	*ret_fd = copy;
	return 0;
}

int segment_map_consume(int fd, uint64_t bytes, bool writable, bool fill,
			struct segment *ret_segment)
{
	return segment_map_consume_kind(fd, SEGMENT_DRAM, 0, bytes, writable,
					fill, ret_segment);
}

int segment_map_consume_kind(int fd, enum segment_kind kind, uint64_t offset,
			     uint64_t bytes, bool writable, bool fill,
			     struct segment *ret_segment)
{
	struct segment s;
	int err = segment_attach_kind(fd, kind, offset, bytes, writable, &s);

	if (err < 0)
		return err;
	s.fd = -1; /* still the caller's until nothing can fail */
	if (fault_point(FAULT_MAP))
		err = -ENOMEM;
	else if (madvise(s.base, s.bytes, MADV_DONTFORK) < 0)
		err = -errno;
	if (err == 0 && fill)
		err = populate(s.base, s.bytes, writable);
	if (err < 0) {
		segment_close(&s);
		return err;
	}
	fd_close(fd);
	*ret_segment = s;
	return 0;
}

void segment_close(struct segment *s)
{
	if (!s)
		return;
	if (s->base)
		must(munmap(s->base, s->bytes) == 0);
	fd_close(s->fd);
	*s = SEGMENT_NONE;
}

int segment_identity(int fd, uint64_t *ret_id)
{
	struct stat info;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (fstat(fd, &info) < 0)
		return -errno;
	*ret_id = (uint64_t)info.st_ino;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reserved addresses. Empty, they are read-only zero pages; the kernel holds
 * faults back while one mapping replaces another, so a thread that reads there
 * sees the old pages, zeros or the new ones.
 *
 * A segment is mapped elsewhere first, with its checks, and then moved in:
 * pages that were made present stay so.
 */
#include "client/client.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HUGE_BYTES  (2ull << 20)
#define EMPTY_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/* By the plain system call: others may read at `at` meanwhile, which is what
 * is wanted here, but a thread sanitizer takes mmap() for a write. */
static void *map_zeros(void *at, uint64_t bytes, int fixed)
{
	long p;

	if (fault_point(FAULT_MAP)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	p = syscall(SYS_mmap, at, bytes, PROT_READ, EMPTY_FLAGS | fixed, -1, 0);
	if (p == -1)
		return MAP_FAILED;
	madvise((void *)p, bytes, MADV_DONTFORK);
	return (void *)p;
}

int place_reserve(struct place *p, uint64_t bytes)
{
	uint64_t align = bytes >= HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES;
	uint64_t whole, head;
	char *base;

	/* Powers of two, so that one slab outgrows its place seldom. */
	bytes = round_up_pow2(MAX(bytes, PAGE_BYTES));
	whole = bytes + align - PAGE_BYTES;
	base = map_zeros(NULL, whole, 0);
	if (base == MAP_FAILED)
		return -errno;
	head = ALIGN_UP((uintptr_t)base, align) - (uintptr_t)base;
	if (head)
		munmap(base, head);
	if (whole - head > bytes)
		munmap(base + head + bytes, whole - head - bytes);
	p->base = base + head;
	p->bytes = bytes;
	return 0;
}

int place_fill(struct place *p, struct segment *s)
{
	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	if (mremap(s->base, s->bytes, s->bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
		   p->base) == MAP_FAILED) {
		int error = -errno;

		/* The kernel may have taken the zeros away before it failed. */
		place_empty(p);
		return error;
	}
	s->base = NULL;
	return 0;
}

int place_empty(const struct place *p)
{
	if (!p->base)
		return 0;
	return map_zeros(p->base, p->bytes, MAP_FIXED) == MAP_FAILED ? -errno
								     : 0;
}

void place_close(struct place *p)
{
	if (p->base)
		munmap(p->base, p->bytes);
	*p = (struct place){ 0 };
}

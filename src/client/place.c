/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reserved addresses. Empty, they are read-only zero pages; the kernel holds
 * faults back while one mapping replaces another, so a thread that reads there
 * sees the old pages, zeros or the new ones.
 *
 * A segment is mapped elsewhere first, with its checks, and then moved in while
 * it has no pages here; they are made present at the place, which is aligned,
 * so that huge pages stay huge.
 */
#include "client/client.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

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
	p = syscall(SYS_mmap, at, bytes, PROT_READ, EMPTY_FLAGS | fixed, -1L,
		    0L);
	if (p == -1)
		return MAP_FAILED;
	madvise((void *)p, bytes, MADV_DONTFORK);
	return (void *)p;
}

int place_reserve(struct place *p, uint64_t bytes)
{
	void *base;

	/* Powers of two, so that one slab outgrows its place seldom. */
	bytes = round_up_pow2(MAX(bytes, PAGE_BYTES));
	base = map_zeros(NULL, segment_place_bytes(bytes), 0);
	if (base == MAP_FAILED)
		return -errno;
	p->base = segment_place_trim(base, bytes);
	p->bytes = bytes;
	return 0;
}

/* Pages that exist already: none are allocated, tables are filled. */
static int make_present(void *base, uint64_t bytes, enum place_pages pages)
{
	int advice = pages == PLACE_WRITE ? MADV_POPULATE_WRITE
					  : MADV_POPULATE_READ;

	if (bytes >= SEGMENT_HUGE_BYTES)
		madvise(base, bytes, MADV_HUGEPAGE); /* a wish */
	if (pages == PLACE_LATER)
		return 0;
	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	/* Kernels before 5.14 do it fault by fault, later. */
	if (madvise(base, bytes, advice) && errno != EINVAL)
		return errno == EFAULT ? -ENOMEM : -errno;
	return 0;
}

int place_fill(struct place *p, struct segment *s, enum place_pages pages)
{
	int r;

	if (fault_point(FAULT_MAP))
		return -ENOMEM;
	if (mremap(s->base, s->bytes, s->bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
		   p->base) == MAP_FAILED) {
		r = -errno;
	} else {
		s->base = NULL;
		r = make_present(p->base, s->bytes, pages);
	}
	/* The kernel may have taken the zeros away before it failed. */
	if (r)
		place_empty(p);
	return r;
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

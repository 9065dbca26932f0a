/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static _Atomic unsigned fault_mask;
static _Atomic bool fault_sticky, fault_hit;
static _Atomic uint64_t fault_at, fault_count;

void fault_arm(unsigned mask, uint64_t n, bool sticky)
{
	atomic_store(&fault_mask, 0);
	atomic_store(&fault_at, n);
	atomic_store(&fault_count, 0);
	atomic_store(&fault_sticky, sticky);
	atomic_store(&fault_hit, false);
	atomic_store(&fault_mask, n ? mask : 0);
}

uint64_t fault_passed(void)
{
	return atomic_load(&fault_count);
}

bool fault_fired(void)
{
	return atomic_load(&fault_hit);
}

bool fault_point(enum fault_kind kind)
{
	uint64_t at, count;

	if (likely(!(atomic_load_explicit(&fault_mask, memory_order_relaxed) &
		     (unsigned)kind)))
		return false;
	at = atomic_load(&fault_at);
	count = atomic_fetch_add(&fault_count, 1) + 1;
	if (count != at && !(count > at && atomic_load(&fault_sticky)))
		return false;
	atomic_store(&fault_hit, true);
	return true;
}

void *mem_alloc(size_t bytes)
{
	return fault_point(FAULT_ALLOC) ? NULL : calloc(1, bytes ? bytes : 1);
}

void *mem_array(size_t n, size_t each)
{
	return fault_point(FAULT_ALLOC) ? NULL
					: calloc(n ? n : 1, each ? each : 1);
}

void *mem_grow(void *p, size_t n, size_t each)
{
	return fault_point(FAULT_ALLOC) ? NULL : reallocarray(p, n, each);
}

int mem_grow_at(void *array, size_t n, size_t each)
{
	void **at = array;
	void *p = mem_grow(*at, n, each);

	if (!p)
		return -ENOMEM;
	*at = p;
	return 0;
}

char *mem_dup(const char *text)
{
	return fault_point(FAULT_ALLOC) ? NULL : strdup(text);
}

void mem_free_at(void *pp)
{
	free(*(void **)pp);
}

int fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

void fd_close_at(int *fd)
{
	*fd = fd_close(*fd);
}

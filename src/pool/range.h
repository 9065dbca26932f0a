/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of small integers: first fit, freed neighbours grow together. Gives
 * each slab's frames a dense range of item numbers. One thread. */
#ifndef ONECOPY_POOL_RANGE_H
#define ONECOPY_POOL_RANGE_H

#include "base/compiler.h"

struct range_hole {
	uint32_t at, n;
};
struct range_set {
	struct range_hole *hole; /* ascending, never adjacent */
	size_t n, cap;
	uint32_t end; /* numbers >= end were never given */
};

/* 0 or -ENOMEM, -ENOSPC (numbers exhausted). */
int range_take(struct range_set *s, uint32_t n, uint32_t *ret_at);
/* These numbers. -ENOMEM, -ENOSPC, -EEXIST: not all of them are free. */
int range_take_at(struct range_set *s, uint32_t at, uint32_t n);
/* When memory is refused just then, the numbers are lost and nothing else. */
void range_give(struct range_set *s, uint32_t at, uint32_t n);
void range_fini(struct range_set *s);

#endif

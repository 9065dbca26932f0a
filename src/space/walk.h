/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a reader of a span goes from touch to touch: on, back, or in steps.
 *
 * A touch is seen only where it faults, and a fault may map more than the block
 * that was touched, so what counts is the distance from what was mapped last. On to
 * the next block is believed at once: that is how most read. Any other step is
 * believed when it was made twice in a row; and after one jump at its first return,
 * since who walks through rows goes on alike in the next one. Touches in any order
 * make the same step twice in a row once in as many as there are blocks.
 *
 * Pure: small numbers in, a step out.
 */
#ifndef ONECOPY_SPACE_WALK_H
#define ONECOPY_SPACE_WALK_H

#include <stddef.h>
#include <stdint.h>

struct walk {
	size_t at;     /* the block that was touched last; SIZE_MAX: none yet */
	size_t lo, hi; /* it, and what was mapped with it */
	int64_t step;  /* the last one; 0: none yet */
	uint32_t sure; /* how often in a row, up to 2 */
	int64_t goes;  /* what the last touch told: 0: nothing */
};

#define WALK_INIT                                              \
	(struct walk)                                          \
	{                                                      \
		.at = SIZE_MAX, .lo = SIZE_MAX, .hi = SIZE_MAX \
	}

/* Block i was touched. The step that will be made next: 1, -1, or any; 0: not
 * known. */
int64_t walk_touch(struct walk *w, size_t i);
/* With it blocks [lo, hi] were mapped. */
static inline void walk_mapped(struct walk *w, size_t lo, size_t hi)
{
	w->lo = lo;
	w->hi = hi;
}
/* How many steps lead from a to b; -1: none do. step is not 0. */
int64_t walk_steps(size_t a, size_t b, int64_t step);
/* How many blocks of n there are from `from` on, it with them. */
size_t walk_room(size_t from, size_t n, int64_t step);

#endif

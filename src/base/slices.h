/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory in slices: `bytes` of it at base, the next `bytes` at base + stride, and
 * so on; or all in one. What reads and writes payload goes by this and not by a
 * pointer, so that it does not matter in which kind of slab a part lies.
 *
 * Positions are those in the payload, whose slices follow one another without a
 * gap: so its checksum, and what lies on a disk, does not depend on where a part
 * was either.
 */
#ifndef ONECOPY_BASE_SLICES_H
#define ONECOPY_BASE_SLICES_H

#include "base/compiler.h"

struct slices {
	uint8_t *base;	/* NULL: there is none */
	uint64_t bytes; /* of a slice; 0: all in one */
	uint64_t stride;
};

static inline struct slices slices_whole(const void *base)
{
	/* who only reads says so by what he does with it */
	return (struct slices){ .base = (uint8_t *)(uintptr_t)base };
}

/* Where byte `at` of the payload lies; of `most` bytes from there on, *ret_run
 * follow it. most > 0. */
static inline uint8_t *slices_at(const struct slices *s, uint64_t at,
				 uint64_t most, uint64_t *ret_run)
{
	uint64_t slice;

	if (likely(!s->bytes)) {
		*ret_run = most;
		return s->base + at;
	}
	slice = at / s->bytes;
	at -= slice * s->bytes;
	*ret_run = MIN(most, s->bytes - at);
	return s->base + slice * s->stride + at;
}

/* The first len bytes of the payload. */
void slices_copy(const struct slices *to, const struct slices *from,
		 uint64_t len);

#endif

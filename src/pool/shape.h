/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which frame size for how many bytes, and how many frames to a slab. Pure.
 *
 * Parts of a size that a namespace declares get frames of exactly that size
 * (to the page). Other sizes share classes: m * 2^k pages with m in 8..15, so
 * that at most 1/8 of a frame of eight pages or more is waste; below eight
 * pages a frame is the bytes to the page.
 */
#ifndef ONECOPY_POOL_SHAPE_H
#define ONECOPY_POOL_SHAPE_H

#include "base/compiler.h"

/* What the frames of a slab are like: slabs of one shape can replace each other. */
struct pool_shape {
	uint64_t frame_bytes;
	uint32_t stripes; /* shm/layout.h: slab_stripes() */
};
static inline bool shape_same(struct pool_shape a, struct pool_shape b)
{
	return a.frame_bytes == b.frame_bytes && a.stripes == b.stripes;
}

/* Small things of the server's own, which nobody maps page by page: 512, 1024 or
 * 2048 bytes, else shape_class(). */
uint64_t shape_small(uint64_t bytes);
uint64_t shape_exact(uint64_t bytes);
uint64_t shape_class(uint64_t bytes);

/* Payload bytes of a slab by default: 16,384 frames (their descriptors fill a
 * page of 2 MiB), but between 1/256 and 1/64 of the limit, so that there are
 * slabs enough to share, and between 64 KiB and 256 MiB. A power of two. */
uint64_t shape_slab_bytes(uint64_t limit, uint64_t frame_bytes);
/* Frames for a slab of this shape that may take `room` bytes; 0: none fits. */
uint32_t shape_frames(uint64_t frame_bytes, uint64_t slab_bytes, uint64_t room);

#endif

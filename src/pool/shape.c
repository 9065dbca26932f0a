/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/shape.h"
#include "coherence/frame.h"

uint64_t shape_exact(uint64_t bytes)
{
	return ALIGN_UP(MAX(bytes, 1ull), PAGE_BYTES);
}

#define SMALL_LEAST 512ull

uint64_t shape_small(uint64_t bytes)
{
	if (bytes > PAGE_BYTES / 2)
		return shape_class(bytes);
	return MAX(round_up_pow2(MAX(bytes, 1ull)), SMALL_LEAST);
}

uint64_t shape_class(uint64_t bytes)
{
	uint64_t exact = shape_exact(bytes);
	uint64_t step = round_down_pow2(exact) / 8;

	return step <= PAGE_BYTES ? exact : ALIGN_UP(exact, step);
}

#define SLAB_FRAMES 16384ull
#define SLAB_LEAST  (64ull << 10)
#define SLAB_MOST   (256ull << 20)

uint64_t shape_slab_bytes(uint64_t limit, uint64_t frame_bytes)
{
	uint64_t bytes = MIN(SLAB_FRAMES * frame_bytes, limit / 64);

	bytes = round_down_pow2(MAX(bytes, limit / 256));
	return MIN(MAX(bytes, SLAB_LEAST), SLAB_MOST);
}

uint32_t shape_frames(uint64_t frame_bytes, uint64_t slab_bytes, uint64_t room)
{
	uint64_t frames = MAX(slab_bytes / frame_bytes, 1ull);

	frames = MIN(frames, room / frame_bytes);
	if (frame_bytes < PAGE_BYTES) /* a segment is whole pages */
		frames -= frames % (PAGE_BYTES / frame_bytes);
	return (uint32_t)MIN(frames, (uint64_t)FRAME_IN_SLAB_MAX);
}

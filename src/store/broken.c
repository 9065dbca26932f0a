/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that fails under a slab (base/guard.h): what lies there is lost, and
 * nothing else. The kernel says how wide the loss is: a page, or the 2 MiB of a
 * device's.
 */
#include "base/log.h"
#include "store/internal.h"
#include "store/move.h"

static void break_frame(struct store *s, struct pool *p, struct pool_slab *slab,
			uint32_t frame)
{
	enum frame_state state = pool_frame_state(slab, frame);

	if (state == FRAME_FREE) {
		s->low_errors += slab->low;
		pool_frame_lost(p, slab, frame);
		return;
	}
	s->low_errors += slab->low && !pool_frame_is_broken(slab, frame);
	pool_frame_breaks(p, slab, frame);
	if (state != FRAME_SEALED) /* it does not become free */
		return;
	if (pool_is_twin(p, slab, frame)) { /* the other one is as it was */
		pool_frame_doom(p, slab, frame);
		return;
	}
	if (pool_twin_of(p, slab, frame) != POOL_NO_ITEM) {
		pool_twin_doom(p, slab, frame);
		return;
	}
	if (move_holds(s, p, &slab->desc[frame])) { /* it comes from there */
		move_leaves(s, p, slab, frame);
		pool_frame_doom(p, slab, frame);
		return;
	}
	note_gone(s, p, slab, frame, PAST_WRONG, 0);
	block_forget_of(s, p, slab, frame);
}

void broken_at(struct store *s, struct pool *p, struct pool_slab *slab,
	       const struct guard_fault *fault)
{
	uintptr_t base = (uintptr_t)slab->payload.base;
	uint64_t low = fault->at & ~(fault->bytes - 1), end;
	uint32_t frame;

	if (slab->retiring || fault->at < base ||
	    fault->at - base >= slab->payload.bytes)
		return;
	low = low > base ? low - base : 0;
	end = MIN((fault->at & ~(fault->bytes - 1)) + fault->bytes - base,
		  slab->payload.bytes);
	log_error("memory of slab %u (%s) fails at offset %llu: what lies "
		  "there is lost",
		  slab->id, segment_kind_name(slab->payload.kind),
		  (unsigned long long)(fault->at - base));
	if (slab->payload.kind == SEGMENT_DAX)
		pool_low_fails(p->low, slab->payload.offset + low, end - low);
	for (frame = 0; frame < slab->frames; frame++)
		if (pool_frame_meets(slab, frame, low, end))
			break_frame(s, p, slab, frame);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of parts between DRAM and low memory, in the server's thread: copied and
 * hashed in one pass, which verifies what is read, and guarded, because memory of
 * either side may fail under it. Wrong bytes take their block with them; memory that
 * fails takes what lies in it (broken.c), and a frame that could not be filled is
 * never sealed.
 */
#include <errno.h>
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "store/rung_internal.h"

struct copy {
	struct slices to, from;
	uint64_t bytes, seed, sum;
};

static void copy_run(void *ctx)
{
	struct copy *c = ctx;

	c->sum = hash_slices_copy(&c->to, &c->from, c->bytes, c->seed);
}

void rung_grant(struct rung_work *w, uint32_t item,
		const struct frame_desc *like)
{
	struct pool_filling filling = { .part = shared_load64(&like->part),
					.extent = shared_load64(&like->extent),
					.owner = CLIENT_SERVER,
					.now_ms = w->s->now_ns / NS_PER_MS };
	uint32_t frame;
	struct pool_slab *slab = pool_item(w->p, item, &frame);

	shared_load_words(filling.key, like->key, 4);
	pool_frame_grant(w->p, slab, frame, &filling);
}

/* From one frame into another that is GRANTED: 0; -EBADMSG the bytes were wrong;
 * -EIO, -EFAULT the memory of the first, of the other has failed; -ENOMEM. */
int rung_copy(struct rung_work *w, struct pool_slab *from, uint32_t ff,
	      struct pool_slab *to, uint32_t tf)
{
	const struct frame_desc *d = &from->desc[ff];
	struct copy c = {
		.to = pool_payload(to, tf),
		.from = pool_payload(from, ff),
		.bytes = frame_extent_bytes(shared_load64(&d->extent)),
		.seed = scrub_seed(d),
	};
	struct guard_fault fault;

	must(to->owner == CLIENT_SERVER);
	if (!c.to.base || !c.from.base)
		return -ENOMEM;
	w->copied += c.bytes;
	if (guard_run(copy_run, &c, &fault) < 0) {
		uintptr_t at = fault.at - (uintptr_t)to->payload.base;
		bool here = pool_frame_meets(to, tf, at, at + 1);

		broken_at(w->s, w->p, from, &fault);
		broken_at(w->s, w->p, to, &fault);
		return here ? -EFAULT : -EIO;
	}
	return c.sum == shared_load64(&d->checksum) ? 0 : -EBADMSG;
}

/* A frame that could not be filled: it is free, or its memory has failed. */
void rung_give_up(struct rung_work *w, struct pool_slab *slab, uint32_t frame,
		  int error)
{
	if (error == -EFAULT)
		pool_frame_broken(w->p, slab, frame);
	else
		pool_frame_abandon(w->p, slab, frame);
}

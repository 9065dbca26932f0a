/* SPDX-License-Identifier: Apache-2.0 */
/* What the store writes into a pool's history (store/past.h). */
#include "base/clock.h"
#include "store/internal.h"

/* Of a frame that still says what it holds. */
static struct past_note note_of(const struct store *s, const struct pool *p,
				const struct pool_slab *slab, uint32_t frame,
				enum past_event event)
{
	const struct frame_desc *d = &slab->desc[frame];
	uint64_t now_ms = s->now_ns / NS_PER_MS;
	uint64_t sealed_ms = shared_load64(&d->sealed_ms);
	uint64_t idle = p->touch_clock - shared_load64(&d->touched);

	return (struct past_note){
		.key = { shared_load64(&d->key[0]), shared_load64(&d->key[1]) },
		.at_ms = now_ms,
		.owner = shared_load64(&d->owner),
		.ns = frame_part_ns(shared_load64(&d->part)),
		.idle = (uint32_t)MIN(idle, (uint64_t)UINT32_MAX),
		.life_ms = (uint32_t)MIN(now_ms - MIN(sealed_ms, now_ms),
					 (uint64_t)UINT32_MAX),
		.frame_bytes =
			(uint32_t)MIN(slab->frame_bytes, (uint64_t)UINT32_MAX),
		.parts = 1,
		.event = (uint8_t)event,
	};
}

void note_cause(struct store_client *c, enum past_pressure pressure,
		enum past_limit limit)
{
	c->store->cause = (struct store_cause){
		.client = c->id,
		.pool = c->pool->number,
		.pressure = (uint8_t)pressure,
		.limit = (uint8_t)limit,
	};
}

void note_evicted(struct store *s, const struct pool *p,
		  const struct pool_slab *slab, uint32_t frame, uint32_t parts)
{
	struct past_note n = note_of(s, p, slab, frame, PAST_EVICTED);

	n.parts = (uint16_t)parts;
	n.pressure = s->cause.pressure;
	n.limit = s->cause.limit;
	/* another tenant's clients are nobody's business here */
	n.client = s->cause.pool == p->number ? s->cause.client : 0;
	past_add(s->past[p->number], &n);
}

void note_gone(struct store *s, const struct pool *p,
	       const struct pool_slab *slab, uint32_t frame,
	       enum past_event event, uint64_t client)
{
	struct past_note n = note_of(s, p, slab, frame, event);

	n.client = client;
	past_add(s->past[p->number], &n);
}

void note_unsealed(struct store *s, const struct pool *p,
		   const struct pool_slab *slab, uint32_t frame,
		   enum past_event event)
{
	struct past_note n = note_of(s, p, slab, frame, event);

	/* these are of the frame's last filling */
	n.idle = 0;
	n.life_ms = 0;
	past_add(s->past[p->number], &n);
}

void note_refused(struct store_client *c, const struct ring_call *call,
		  enum past_limit limit)
{
	struct store *s = c->store;
	const struct past_note n = {
		.key = { call->key[0], call->key[1] },
		.at_ms = s->now_ns / NS_PER_MS,
		.owner = c->id,
		.ns = frame_part_ns(call->part),
		.parts = 1,
		.event = PAST_REFUSED,
		.limit = (uint8_t)limit,
	};

	past_add(s->past[c->pool->number], &n);
}

void note_below(struct store *s, const struct pool *p, uint32_t ns,
		const uint64_t key[4], enum past_event event)
{
	const struct past_note n = {
		.key = { key[0], key[1] },
		.at_ms = s->now_ns / NS_PER_MS,
		.ns = ns,
		.parts = 1,
		.event = (uint8_t)event,
	};

	past_add(s->past[p->number], &n);
}

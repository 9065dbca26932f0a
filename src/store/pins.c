/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins through the ring, for a client whose own slots are all in use: the
 * server publishes them in the client's overflow slots. It evicts itself, in
 * the same thread, so no fence is needed between publishing and checking.
 */
#include <errno.h>
#include "coherence/pin.h"
#include <onecopy/onecopy.h>
#include "store/internal.h"

static shared_u64 *overflow(struct store_client *c, uint64_t slot)
{
	return &c->segment->slots[c->n_pins + slot];
}

/* Is the slot noted for another request that was not answered? A predecessor
 * died over it; pinned_before() will look there. */
static bool noted(struct store_client *c, const struct ring_call *call,
		  uint32_t slot)
{
	for (uint32_t i = 0; i < RING_SLOTS; i++) {
		const struct ring_resp *resp = &c->segment->resp[i];
		uint64_t seq = shared_load64(&c->segment->req[i].seq);

		if (i != call->slot && seq &&
		    seq != shared_load64(&resp->seq) &&
		    seq == shared_load64(&resp->arg2) &&
		    shared_load64(&resp->arg) == slot)
			return true;
	}
	return false;
}

static int64_t overflow_unused(struct store_client *c,
			       const struct ring_call *call, bool repeat)
{
	for (uint32_t i = 0; i < c->n_overflow; i++) {
		uint32_t slot = (c->overflow_hint + i) % c->n_overflow;

		if (!shared_load64(overflow(c, slot)) &&
		    !(repeat && noted(c, call, slot))) {
			c->overflow_hint = slot + 1;
			return slot;
		}
	}
	return -EDQUOT;
}

/* The answer's slot and sequence are noted before the pin is published, so a
 * repeated request finds the slot that it was given and none leaks. Releases
 * keep that order for a successor: sequence after slot, pin after both; pairs
 * with pinned_before() there, which runs when this process has ended. */
static bool pinned_before(struct store_client *c, const struct ring_call *call,
			  struct ring_answer *answer)
{
	const struct ring_resp *resp = &c->segment->resp[call->slot];
	uint64_t slot = shared_load64(&resp->arg), pin;
	struct pool_slab *slab;
	uint32_t frame;

	if (shared_load64(&resp->arg2) != call->seq || slot >= c->n_overflow)
		return false;
	pin = shared_load64(overflow(c, slot));
	slab = pool_locate(c->pool, pin_word_loc(pin), &frame);
	/* noted, and then it was another's or nobody's */
	if (!pin || !slab ||
	    !frame_is(&slab->desc[frame], call->key, call->part))
		return false;
	answer_set(answer, 0);
	answer->loc = pin_word_loc(pin);
	answer->gen = pool_frame_gen(slab, frame);
	answer->arg = slot;
	answer->arg2 = call->seq;
	return true;
}

static uint64_t flags_of(const struct ring_call *call)
{
	return (call->arg & RING_PIN_MAPPED ? PIN_MAPPED : 0) |
	       (call->arg & RING_PIN_LOSABLE ? PIN_LOSABLE : 0);
}

static void publish(struct store_client *c, const struct ring_call *call,
		    uint64_t slot, uint64_t loc, uint64_t gen)
{
	struct ring_resp *resp = &c->segment->resp[call->slot];
	shared_u64 *high = &c->segment->header.overflow_high;

	shared_store64(&resp->arg, slot);
	shared_store64_release(&resp->arg2, call->seq);
	if (shared_load64(high) <= slot)
		shared_store64(high, slot + 1);
	shared_store64_release(overflow(c, slot),
			       pin_word(loc, gen) | flags_of(call));
}

void pin_call(struct store_client *c, const struct ring_call *call, bool repeat,
	      struct ring_answer *ret_answer)
{
	uint32_t frame;
	struct pool_slab *s;
	int64_t slot;

	if (repeat && pinned_before(c, call, ret_answer))
		return;
	if (call->arg & ~(uint64_t)(RING_PIN_MAPPED | RING_PIN_LOSABLE)) {
		answer_set(ret_answer, -EINVAL);
		return;
	}
	s = pool_find(c->pool, call->key, call->part, &frame);
	answer_set(ret_answer, OC_MISS);
	if (!s)
		return;
	slot = overflow_unused(c, call, repeat);
	answer_set(ret_answer, MIN(slot, 0));
	if (slot < 0)
		return;
	ret_answer->loc = frame_loc(s->id, frame);
	ret_answer->gen = pool_frame_gen(s, frame);
	ret_answer->arg = (uint64_t)slot;
	ret_answer->arg2 = call->seq;
	publish(c, call, (uint64_t)slot, ret_answer->loc, ret_answer->gen);
}

void unpin_call(struct store_client *c, const struct ring_call *call,
		struct ring_answer *ret_answer)
{
	answer_set(ret_answer, -EINVAL);
	if (call->arg >= c->n_overflow)
		return;
	pin_clear(overflow(c, call->arg));
	answer_set(ret_answer, 0);
	c->store->retry = true;
}

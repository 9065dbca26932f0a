/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a pin that single pins and batches share. */
#ifndef ONECOPY_CLIENT_PIN_INLINE_H
#define ONECOPY_CLIENT_PIN_INLINE_H

#include "client/client.h"
#include "coherence/pin.h"

/* oc_pin.slot: which page of slots, and what unpin shall do. */
#define SLOT_OWN      (1ull << 32)
#define SLOT_OVERFLOW (1ull << 33)
#define SLOT_NO_TOUCH (1ull << 34)
#define SLOT_SHARDS   (1ull << 35) /* a slot in a CXL region (client/shards.h) */

/* Makes the server look as far as this slot. */
void pin_raise_high(oc_client *c, uint32_t slot);
/* Hashes a pinned part. OC_BAD: the pin is given back and the server told. */
int pin_verify(oc_client *c, const struct oc_key *key, uint64_t part,
	       struct oc_pin *pin);

static inline void pin_show(oc_client *c, uint32_t slot, uint64_t loc,
			    uint64_t gen)
{
	if (unlikely(slot >=
		     atomic_load_explicit(&c->pin_high, memory_order_acquire)))
		pin_raise_high(c, slot);
	pin_publish(&c->seg->slots[slot], loc, gen);
}

/* A sealed word with these low bits of the generation? */
static inline bool pin_word_fits(uint64_t word, uint64_t entry)
{
	return frame_word_state(word) == FRAME_SEALED &&
	       (uint8_t)frame_word_gen(word) == table_word_gen(entry);
}

/* The pin is valid: what the caller gets. False when the numbers cannot be. */
static inline bool pin_fill(const oc_client *c, const struct frame_desc *d,
			    uint64_t loc, uint64_t gen, uint64_t slot,
			    struct oc_pin *ret_pin)
{
	const struct client_slab *r = &c->slab[frame_loc_slab(loc)];
	uint64_t extent = shared_load64(&d->extent);
	struct form form = region_form(r);
	uint64_t offset = frame_loc_frame(loc) * form.step;

	if (unlikely(frame_extent_bytes(extent) > form.frame_bytes))
		return false;
	ret_pin->data =
		atomic_load_explicit(&r->data, memory_order_relaxed) + offset;
	ret_pin->bytes = frame_extent_bytes(extent);
	ret_pin->offset = offset;
	ret_pin->generation = gen;
	ret_pin->checksum = shared_load64(&d->checksum);
	ret_pin->region = frame_loc_slab(loc);
	ret_pin->tokens = frame_extent_tokens(extent);
	ret_pin->slot = slot;
	ret_pin->stride = form.stride;
	return true;
}

/* What every pin passes before its caller gets it. */
static inline int pin_finish(oc_client *c, const struct oc_key *key,
			     uint64_t part, unsigned flags, struct oc_pin *pin)
{
	if (unlikely(flags & OC_PIN_NO_TOUCH))
		pin->slot |= SLOT_NO_TOUCH;
	return unlikely(flags & OC_PIN_VERIFY) ? pin_verify(c, key, part, pin)
					       : 0;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "coherence/frame.h"
#include "coherence/pin.h"
#include "tests/test.h"

/* The documented transitions, written again; all others are illegal. */
static const struct {
	enum frame_state from;
	enum frame_event event;
	enum frame_state to;
} legal[] = {
	{ FRAME_FREE, FRAME_EV_GRANT, FRAME_GRANTED },
	{ FRAME_FREE, FRAME_EV_OWNER_DIED, FRAME_FREE },
	{ FRAME_FREE, FRAME_EV_RECOVER, FRAME_FREE },
	{ FRAME_GRANTED, FRAME_EV_SEAL, FRAME_SEALED },
	{ FRAME_GRANTED, FRAME_EV_ABANDON, FRAME_FREE },
	{ FRAME_GRANTED, FRAME_EV_OWNER_DIED, FRAME_FREE },
	{ FRAME_GRANTED, FRAME_EV_RECOVER, FRAME_GRANTED },
	{ FRAME_SEALED, FRAME_EV_OWNER_DIED, FRAME_SEALED },
	{ FRAME_SEALED, FRAME_EV_LEAVE, FRAME_LEAVING },
	{ FRAME_SEALED, FRAME_EV_DOOM, FRAME_DOOMED },
	{ FRAME_SEALED, FRAME_EV_RECOVER, FRAME_SEALED },
	{ FRAME_LEAVING, FRAME_EV_OWNER_DIED, FRAME_LEAVING },
	{ FRAME_LEAVING, FRAME_EV_SPARE, FRAME_SEALED },
	{ FRAME_LEAVING, FRAME_EV_RELEASE, FRAME_FREE },
	{ FRAME_LEAVING, FRAME_EV_RECOVER, FRAME_SEALED },
	{ FRAME_DOOMED, FRAME_EV_OWNER_DIED, FRAME_DOOMED },
	{ FRAME_DOOMED, FRAME_EV_RELEASE, FRAME_FREE },
	{ FRAME_DOOMED, FRAME_EV_RECOVER, FRAME_DOOMED },
	/* Such a frame ends with its slab, or when its device is done. */
	{ FRAME_GRANTED, FRAME_EV_QUARANTINE, FRAME_QUARANTINED },
	{ FRAME_QUARANTINED, FRAME_EV_OWNER_DIED, FRAME_QUARANTINED },
	{ FRAME_QUARANTINED, FRAME_EV_RECOVER, FRAME_QUARANTINED },
	{ FRAME_QUARANTINED, FRAME_EV_SETTLE, FRAME_FREE },
};

static enum frame_state want(enum frame_state from, enum frame_event event)
{
	for (size_t i = 0; i < ARRAY_LEN(legal); i++)
		if (legal[i].from == from && legal[i].event == event)
			return legal[i].to;
	return FRAME_STATES;
}

static void check_cell(enum frame_state from, enum frame_event event)
{
	const uint64_t gen = 0xabcdef0123ull;
	enum frame_state to = want(from, event);
	uint64_t next = 77;
	int err = frame_step(frame_word(gen, from), event, &next);

	if (to == FRAME_STATES) {
		CHECK_INT(err, ==, -EPROTO);
		CHECK_INT(next, ==, 77);
		return;
	}
	CHECK_OK(err);
	CHECK_INT(frame_word_state(next), ==, to);
	/* Exactly when it becomes free. */
	CHECK_INT(frame_word_gen(next), ==,
		  gen + (to == FRAME_FREE && from != FRAME_FREE));
}

TEST(each_cell_is_as_documented)
{
	for (unsigned s = 0; s < FRAME_STATES; s++)
		for (unsigned ev = 0; ev < FRAME_EVENTS; ev++)
			check_cell((enum frame_state)s, (enum frame_event)ev);
}

TEST(unknown_states_and_events_are_refused)
{
	uint64_t next = 77;

	for (unsigned s = FRAME_STATES; s < 256; s++)
		for (unsigned ev = 0; ev < FRAME_EVENTS; ev++)
			CHECK_INT(frame_step(frame_word(1, (enum frame_state)s),
					     (enum frame_event)ev, &next),
				  ==, -EPROTO);
	CHECK_INT(frame_step(0, FRAME_EVENTS, &next), ==, -EPROTO);
	CHECK_INT(frame_step(0, (enum frame_event)1000, &next), ==, -EPROTO);
	CHECK_INT(next, ==, 77);
}

TEST(words_and_places_pack_and_unpack_at_the_ends)
{
	const uint32_t slab = FRAME_SLABS_MAX - 1;
	const uint32_t frame = FRAME_IN_SLAB_MAX - 1;
	uint64_t loc = frame_loc(slab, frame);

	CHECK_INT(loc, ==, (1ull << FRAME_LOC_BITS) - 1);
	CHECK_INT(frame_loc_slab(loc), ==, slab);
	CHECK_INT(frame_loc_frame(loc), ==, frame);
	CHECK_INT(frame_loc(0, 0), ==, 0);
	CHECK_INT(frame_word_gen(frame_word(~0ull >> 8, FRAME_DOOMED)), ==,
		  ~0ull >> 8);
	CHECK_INT(frame_part_ns(frame_part(~0u, 1, 2)), ==, ~0u);
	CHECK_INT(frame_part_group(frame_part(1, 0xffff, 2)), ==, 0xffff);
	CHECK_INT(frame_part_rank(frame_part(1, 2, 0xffff)), ==, 0xffff);
	CHECK_INT(frame_extent_bytes(frame_extent(~0u, 0)), ==, ~0u);
	CHECK_INT(frame_extent_tokens(frame_extent(0, ~0u)), ==, ~0u);
}

TEST(pins_pack_and_unpack_at_the_ends)
{
	uint64_t last = frame_loc(FRAME_SLABS_MAX - 1, FRAME_IN_SLAB_MAX - 1);

	CHECK_INT(pin_word_loc(pin_word(last, 0)), ==, last);
	CHECK_INT(pin_word_gen(pin_word(last, 0)), ==, 0);
	CHECK_INT(pin_word_gen(pin_word(1, 0x3fffff)), ==, 0x3fffff);
	CHECK_INT(pin_word_loc(pin_word(1, ~0ull >> 8)), ==, 1);
	CHECK_INT(pin_word(last, 0x3fffff) | PIN_FLAGS, ==, UINT64_MAX);
	CHECK_INT(pin_word(last, 0x3fffff) & PIN_FLAGS, ==, 0);
	/* The low 22 bits of the generation. */
	CHECK_INT(pin_word(5, 0x400001), ==, pin_word(5, 1));
	/* Whatever it is held for. */
	CHECK(pin_word_names(pin_word(5, 7) | PIN_FLAGS, 5, 7));
	CHECK(!pin_word_names(pin_word(5, 7) | PIN_MAPPED, 5, 8));
	CHECK_INT(pin_word_gen(pin_word(5, 7) | PIN_FLAGS), ==, 7);
	CHECK_INT(pin_word_loc(pin_word(5, 7) | PIN_FLAGS), ==, 5);
	/* No place of a slab makes the empty slot. */
	CHECK_INT(pin_word(frame_loc(1, 0), 0), !=, 0);
}

TEST(a_pin_holds_for_its_own_filling_only)
{
	static struct frame_desc d;

	for (unsigned s = 0; s < FRAME_STATES; s++) {
		shared_store64(&d.word, frame_word(9, (enum frame_state)s));
		CHECK_INT(pin_holds(&d, 9), ==, s == FRAME_SEALED);
		CHECK(!pin_holds(&d, 8));
		CHECK(!pin_holds(&d, 9 + PIN_GEN_MASK + 1));
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Parts in slabs that are striped slice by slice, and below. */
#include "tests/prog/stripe_rig.h"

/* ---- parts ---- */

TEST(parts_are_written_and_read_in_slices)
{
	static uint8_t back[BYTES];
	struct oc_pin a, b;
	struct oc_where where;
	uint64_t bytes;
	struct rig r;

	start(&r);
	for (uint64_t n = 0; n < 4; n++)
		put(r.ns, n);
	for (uint64_t n = 0; n < 4; n++) {
		struct oc_key key = live_key(n);

		CHECK_OK(oc_get(r.ns, &key, SP_P0, back, BYTES, &bytes));
		CHECK_INT(bytes, ==, BYTES);
		for (uint32_t s = 0; s < SLICES; s++)
			CHECK(slice_is(back + s * SLICE, n, s));
	}
	for (uint64_t n = 0; n < 3; n++) {
		struct oc_key key = live_key(n), next = live_key(n + 1);

		CHECK_OK(oc_pin(r.ns, &key, SP_P0, OC_PIN_VERIFY, &a));
		CHECK_OK(oc_pin(r.ns, &next, SP_P0, 0, &b));
		/* 128 frames of a slab */
		CHECK_INT(a.stride, ==, 128 * SLICE);
		CHECK_INT(b.offset, ==, a.offset + SLICE);
		for (uint32_t s = 0; s < SLICES; s++)
			CHECK(slice_is((const uint8_t *)a.data + s * a.stride,
				       n, s));
		CHECK_OK(oc_where(r.ns, &key, SP_P0, &where));
		CHECK_INT(where.offset, ==, a.offset);
		oc_unpin(r.ns, &a);
		oc_unpin(r.ns, &b);
	}
	end(&r);
}

TEST(who_does_not_know_is_refused)
{
	struct oc_key key = live_key(0);
	uint8_t few[SLICE] = { 0 };
	struct oc_grant g;
	struct oc_pin pin;
	struct rig r;
	size_t n;
	oc_ns *ns;

	start(&r);
	put(r.ns, 0);
	/* by its number alone */
	CHECK_OK(oc_ns_find(r.c, oc_ns_id(r.ns), &ns));
	CHECK_INT(oc_pin(ns, &key, SP_P0, 0, &pin), ==, -EOPNOTSUPP);
	CHECK(strstr(oc_client_error(r.c), "OC_STRIPED"));
	CHECK_INT(oc_pin_batch(ns, &key, 1, SP_P0, 0, &pin, &n), ==,
		  -EOPNOTSUPP);
	CHECK_INT(oc_match_pin(ns, &key, 1, NULL, &pin, &n), ==, -EOPNOTSUPP);
	key = live_key(1);
	CHECK_INT(oc_grant(ns, &key, SP_P0, 0, 0, 0, &g), ==, -EOPNOTSUPP);
	CHECK_INT(oc_exists(ns, &key, SP_P0), ==, OC_MISS);
	oc_ns_close(ns);
	/* less than all slices */
	CHECK_INT(oc_put(r.ns, &key, SP_P0, few, SLICE, 0), ==, -EINVAL);
	CHECK_OK(oc_grant(r.ns, &key, SP_P0, 0, 0, 0, &g));
	oc_fill(&g, few, SLICE);
	CHECK_INT(oc_seal(r.ns, &g, NULL, 0), ==, -EINVAL);
	/* packed it is another namespace */
	ns = live_ns(r.c, BYTES);
	key = live_key(0);
	CHECK_INT(oc_pin(ns, &key, SP_P0, 0, &pin), ==, OC_MISS);
	CHECK_OK(live_write(ns, 0, BYTES));
	CHECK_OK(oc_pin(ns, &key, SP_P0, 0, &pin));
	CHECK_INT(pin.stride, ==, 0);
	CHECK(!live_wrong(&key, pin.data, BYTES));
	oc_unpin(ns, &pin);
	oc_ns_close(ns);
	end(&r);
}

/* A byte of the last slice, by whoever wrote it. */
TEST(wrong_bytes_in_a_slice_are_found)
{
	static uint8_t data[BYTES];
	struct oc_pin pin;
	struct oc_grant g;
	uint64_t sum;
	struct rig r;

	for (uint64_t n = 0; n < 2; n++) {
		struct oc_key key = live_key(n);
		uint8_t *last;

		start_scrub(&r, n ? "64M" : "0");
		make(n, data);
		CHECK_OK(oc_grant(r.ns, &key, SP_P0, 0, 0, 0, &g));
		last = (uint8_t *)g.data + (SLICES - 1) * g.stride;
		CHECK_INT(g.slice_bytes, ==, SLICE);
		sum = oc_fill(&g, data, BYTES);
		CHECK(sum == oc_checksum(&key, SP_P0, data, BYTES));
		CHECK_OK(oc_seal(r.ns, &g, n ? NULL : &sum, 0));
		CHECK_OK(oc_pin(r.ns, &key, SP_P0, OC_PIN_VERIFY, &pin));
		oc_unpin(r.ns, &pin);
		last[SLICE - 1] ^= 1;
		if (n == 0) /* by who reads it; else by the scrubber */
			CHECK_INT(oc_pin(r.ns, &key, SP_P0, OC_PIN_VERIFY,
					 &pin),
				  ==, OC_BAD);
		LIVE_WAIT(&r.n, live_counter(r.c, "bad") == 1);
		CHECK_INT(oc_exists(r.ns, &key, SP_P0), ==, OC_MISS);
		end(&r);
	}
}

/* ---- below ---- */

/* The rung below DRAM is not for them: they leave, or stay, and others fall. */
TEST(striped_blocks_do_not_fall_to_the_rung)
{
	static uint8_t back[BYTES];
	uint64_t bytes, there = 0, fallen;
	struct rig r;
	oc_ns *ns;

	r.place[0] = '\0';
	live_start(&r.n, "--dram=8M", "--slab=1M", "--cxl=memory:8M");
	open_node(&r);
	r.s = NULL;
	for (uint64_t n = 0; n < 128; n++)
		put(r.ns, n);
	CHECK_INT(live_counter(r.c, "cxl_parts"), ==, 0);
	CHECK_INT(live_counter(r.c, "evicted"), >, 60);
	for (uint64_t n = 0; n < 128; n++) {
		struct oc_key key = live_key(n);

		if (oc_get(r.ns, &key, SP_P0, back, BYTES, &bytes))
			continue;
		there++;
		for (uint32_t s = 0; s < SLICES; s++)
			CHECK(slice_is(back + s * SLICE, n, s));
	}
	CHECK_INT(there, >, 32);
	/* packed ones of the same client take their slabs, and fall */
	ns = live_ns(r.c, BYTES);
	live_write_some(ns, 5000, 128, BYTES);
	fallen = live_counter(r.c, "cxl_parts");
	CHECK_INT(fallen, >, 0);
	for (uint64_t n = 200; n < 300; n++)
		put(r.ns, n);
	CHECK_INT(live_read_some(ns, 5000, 128, BYTES), >, 0);
	oc_ns_close(ns);
	end(&r);
}

#define FRAMES 64u /* what memory holds */
#define MANY   (3 * FRAMES)

static void start_below(struct rig *r)
{
	char nvme[LIVE_DRIVE];

	live_drive_begin("64M", r->place, nvme);
	live_start(&r->n, "--dram=8M", "--slab=1M", "--nvme", nvme);
	LIVE_WAIT(&r->n, live_said(&r->n, "the nvme tier is up"));
	open_node(r);
	r->s = NULL;
	/* what a grant waits for too long is evicted unwritten, and counted */
	for (uint64_t n = 0; n < MANY; n++) {
		if (n >= FRAMES)
			LIVE_WAIT(
				&r->n,
				live_counter(r->c, "demoted") +
						live_counter(r->c,
							     "demote_missed") >
					n - FRAMES);
		put(r->ns, n);
	}
	LIVE_WAIT(&r->n, live_counter(r->c, "demoted") > 0);
	/* its frames are others' to have */
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	open_node(r);
	r->s = sp_make(r->ns, OC_SPACE_FAULTS);
}

/* 0: right; 1: lost, and flagged. */
static unsigned look(oc_span *sp, const struct oc_span_info *f, size_t i)
{
	struct oc_span_block b;
	unsigned wrong = 0;

	for (uint32_t s = 0; s < SLICES; s++)
		wrong += !slice_is(at(f, s, i), i, s);
	CHECK_OK(oc_span_block(sp, i, &b));
	if (b.state == OC_BLOCK_ZERO)
		return 1;
	CHECK_INT(wrong, ==, 0);
	return 0;
}

TEST(blocks_come_back_from_the_drive)
{
	struct oc_span_info f;
	unsigned lost = 0, again = 0;
	struct rig r;
	oc_span *sp;

	start_below(&r);
	sp = sp_map_how(r.s, 0, MANY,
			(struct oc_span_options){ .part = SP_P0,
						  .layout = OC_LAYOUT_SLICES,
						  .lost = OC_LOST_ZERO,
						  .flags = OC_SPAN_LAZY,
						  .capacity = MANY });
	f = sp_info(sp);
	for (size_t i = 0; i < MANY; i++)
		lost += look(sp, &f, i);
	CHECK_INT(lost, <=, live_counter(r.c, "demote_missed"));
	CHECK_INT(sp_report(r.s).moved_bytes + lost * BYTES, >=,
		  MANY / 3 * BYTES);
	CHECK_INT(sp_report(r.s).let_go + lost, >=, MANY - FRAMES);
	/* and from the end: each at its address */
	for (size_t i = MANY; i-- > 0;)
		again += look(sp, &f, i);
	CHECK_INT(again, >=, lost);
	CHECK_INT(again, <=, live_counter(r.c, "demote_missed"));
	NOTE("%u lost of %u, then %u", lost, MANY, again);
	end(&r);
}

/* What is on the drive does not know how it lay in memory. */
TEST(the_drive_outlives_the_node)
{
	static uint8_t back[BYTES];
	struct oc_match_options o = OC_MATCH_INIT;
	uint64_t bytes, there = 0, written;
	char nvme[96];
	struct rig r;

	start_below(&r);
	written = live_counter(r.c, "demoted");
	oc_space_destroy(r.s);
	r.s = NULL;
	oc_ns_close(r.ns);
	oc_client_close(r.c);
	live_stop(&r.n);
	snprintf(nvme, sizeof(nvme), "%s:64M", r.place);
	live_start(&r.n, "--dram=8M", "--slab=1M", "--nvme", nvme);
	LIVE_WAIT(&r.n, live_said(&r.n, "the nvme tier is up"));
	open_node(&r);
	o.fetch_ns = LIVE_DEADLINE;
	for (uint64_t n = 0; n < MANY; n++) {
		struct oc_key key = live_key(n);
		struct oc_pin pin = { 0 };
		size_t usable = 0;

		CHECK_OK(oc_match_pin(r.ns, &key, 1, &o, &pin, &usable));
		if (!usable)
			continue;
		there++;
		for (uint32_t s = 0; s < SLICES; s++)
			CHECK(slice_is((const uint8_t *)pin.data +
					       s * pin.stride,
				       n, s));
		oc_unpin(r.ns, &pin);
		CHECK_OK(oc_get(r.ns, &key, SP_P0, back, BYTES, &bytes));
	}
	CHECK_INT(there, >=, written);
	NOTE("%llu written, %llu there", (unsigned long long)written,
	     (unsigned long long)there);
	end(&r);
}

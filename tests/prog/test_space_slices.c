/* SPDX-License-Identifier: Apache-2.0 */
/* Slice after slice, over a real node. */
#include "base/fault.h"
#include "tests/prog/space_rig.h"

#define SLICES	 4
#define SLICE	 4096
#define BLOCKS	 8
#define STEPS	 64
#define PART_NEW (SLICES * SLICE)

/* A space of parts of SLICES slices beside the rig's, in each step a new one. */
struct sliced {
	struct space_rig r;
	oc_ns *ns;
	oc_space *s;
	oc_span *sp;
	struct oc_span_info info;
};

/* Of a space: one block's slices, and none for another. */
#define FEW_MAPPINGS 10

static struct oc_key slice_key(uint64_t n)
{
	return live_key(1000 + n);
}

static void make_part(uint8_t *data, uint64_t slice_bytes, uint64_t n)
{
	for (uint64_t k = 0; k < SLICES * slice_bytes; k++)
		data[k] = (uint8_t)(k / slice_bytes * 64 + n);
}

static void write_part(oc_ns *ns, uint64_t slice_bytes, uint64_t n)
{
	struct oc_key key = slice_key(n);
	uint8_t data[PART_NEW];
	int e;

	make_part(data, slice_bytes, n);
	e = oc_put(ns, &key, SP_P0, data, SLICES * slice_bytes, 0);
	CHECK(e == 0 || e == OC_EXISTS);
}

static oc_ns *slice_ns(oc_client *c, uint64_t slice_bytes)
{
	struct oc_ns_options no = {
		.size = sizeof(no),
		.block_tokens = 16,
		.n_groups = 1,
		.groups = { { .slices = SLICES, .slice_bytes = slice_bytes } }
	};
	oc_ns *ns;

	CHECK_OK(oc_ns_open(c, &no, 0, &ns));
	return ns;
}

static uint8_t *slice_at(const struct oc_span_info *f, unsigned slice, size_t i)
{
	return (uint8_t *)f->base + slice * f->slice_stride +
	       i * f->block_stride;
}

/* All slices of block i are those of write_part(n). */
static void slices_right(const struct oc_span_info *f, size_t i, uint64_t n,
			 uint64_t slice_bytes)
{
	for (unsigned s = 0; s < SLICES; s++)
		for (uint64_t k = 0; k < slice_bytes; k += 37)
			CHECK_INT(slice_at(f, s, i)[k], ==,
				  (uint8_t)(s * 64 + n));
}

static void sliced_start(struct sliced *w)
{
	sp_start(&w->r, OC_SPACE_FAULTS);
	w->ns = slice_ns(w->r.c, SLICE);
	for (uint64_t i = 0; i < BLOCKS; i++)
		write_part(w->ns, SLICE, i);
}

static void sliced_open(struct sliced *w, enum oc_lost lost, uint32_t mappings,
			uint64_t first, size_t n)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_FAULTS,
				       .mappings = mappings };
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key key[BLOCKS];

	for (size_t i = 0; i < n; i++)
		key[i] = slice_key(first + i);
	CHECK_OK(oc_space_create(w->ns, &so, &w->s));
	o.layout = OC_LAYOUT_SLICES;
	o.flags = OC_SPAN_LAZY;
	o.lost = lost;
	o.capacity = n;
	CHECK_OK(oc_span_map(w->s, key, n, &o, &w->sp));
	w->info = sp_info(w->sp);
	CHECK(!w->info.gathered);
}

static void sliced_end(struct sliced *w)
{
	oc_ns_close(w->ns);
	sp_end(&w->r);
}

TEST(slices_lie_side_by_side)
{
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key keys[BLOCKS];
	struct oc_span_info f;
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	for (int gather = 0; gather < 2; gather++) {
		uint64_t bytes = gather ? 1000 : SLICE;
		oc_ns *ns = slice_ns(r.c, bytes);
		oc_space *s = sp_make(ns, OC_SPACE_FAULTS);

		for (uint64_t i = 0; i < BLOCKS; i++) {
			keys[i] = slice_key(i);
			write_part(ns, bytes, i);
		}
		o.layout = OC_LAYOUT_SLICES;
		o.capacity = BLOCKS;
		CHECK_OK(oc_span_map(s, keys, BLOCKS, &o, &sp));
		f = sp_info(sp);
		CHECK_INT(f.gathered, ==, gather);
		CHECK_INT(f.slices, ==, SLICES);
		CHECK((f.why[0] != 0) == gather);
		for (size_t i = 0; i < BLOCKS; i++)
			slices_right(&f, i, i, bytes);
		oc_space_destroy(s);
		oc_ns_close(ns);
	}
	sp_end(&r);
}

/* One fault brings all slices of a block: the same range in the others. */
TEST(a_touch_brings_all_slices)
{
	struct sliced w;

	sliced_start(&w);
	sliced_open(&w, OC_LOST_BUS, 1000, 0, BLOCKS);
	CHECK_OK(oc_span_advise(w.sp, 0, 0, OC_ADVISE_RANDOM, 0));
	slices_right(&w.info, 5, 5, SLICE);
	CHECK_INT(sp_report(w.s).faults, ==, 1);
	oc_space_destroy(w.s);
	sliced_end(&w);
}

/* More slices than there may be mappings, and a few are touched: a few copies. */
TEST(too_many_slices_are_gathered_as_they_are_touched)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_FAULTS,
				       .mappings = FEW_MAPPINGS };
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key key[BLOCKS];
	struct sliced w;

	sliced_start(&w);
	CHECK_OK(oc_space_create(w.ns, &so, &w.s));
	for (uint64_t i = 0; i < BLOCKS; i++)
		key[i] = slice_key(i);
	o.layout = OC_LAYOUT_SLICES;
	for (int lazy = 0; lazy < 2; lazy++) {
		o.flags = lazy ? OC_SPAN_LAZY : 0;
		CHECK_OK(oc_span_map(w.s, key, BLOCKS, &o, &w.sp));
		w.info = sp_info(w.sp);
		CHECK_INT(w.info.gathered, ==, !lazy);
		CHECK(strstr(w.info.why, "too many mappings"));
		CHECK_INT(w.info.copied, ==, lazy ? 0 : BLOCKS);
		/* not neighbours: the next one of those is copied as well */
		slices_right(&w.info, 5, 5, SLICE);
		slices_right(&w.info, 7, 7, SLICE);
		CHECK_INT(sp_info(w.sp).copied, ==, lazy ? 2 : BLOCKS);
		/* a write reaches nobody, and takes no mapping */
		slice_at(&w.info, 2, 5)[0] ^= 1;
		slice_at(&w.info, 2, 5)[0] ^= 1;
		slices_right(&w.info, 5, 5, SLICE);
		slice_at(&w.info, 1, 6)[9] ^= 1;
		slice_at(&w.info, 1, 7)[9] ^= 1;
		CHECK_INT(sp_info(w.sp).own, ==, 0);
		oc_span_unmap(w.sp);
	}
	CHECK_INT(sp_report(w.s).gathered_bytes, ==, (BLOCKS + 3) * PART_NEW);
	oc_space_destroy(w.s);
	sliced_end(&w);
}

/* ---- half done ---- */

/* A space whose mappings another span has taken. */
static void crowded_open(struct sliced *w)
{
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key key = slice_key(0);
	struct oc_span_info f;
	oc_span *other;

	sliced_open(w, OC_LOST_BUS, FEW_MAPPINGS, 2, 1);
	o.layout = OC_LAYOUT_SLICES;
	o.flags = OC_SPAN_LAZY;
	o.capacity = 1;
	CHECK_OK(oc_span_map(w->s, &key, 1, &o, &other));
	f = sp_info(other);
	slices_right(&f, 0, 0, SLICE);
}

/* A copy whose letting go fails after some of its slices. */
TEST(a_copy_that_went_half_is_no_zeros)
{
	struct sliced w;
	bool fired = true;

	sliced_start(&w);
	for (unsigned at = 1; fired && at < STEPS; at++) {
		crowded_open(&w);
		slices_right(&w.info, 0, 2, SLICE);
		CHECK_INT(sp_state(w.sp, 0), ==, OC_BLOCK_COPIED);
		fault_arm(FAULT_MAP, at, false);
		oc_span_advise(w.sp, 0, 1, OC_ADVISE_DO_NOT_NEED, 0);
		fired = fault_fired();
		fault_arm(0, 0, false);
		slices_right(&w.info, 0, 2, SLICE);
		oc_space_destroy(w.s);
	}
	CHECK(!fired);
	sliced_end(&w);
}

/* A copy that fails after some of its slices, and is tried again. */
TEST(a_copy_that_came_half_is_made_again)
{
	struct sliced w;
	bool fired = true;

	sliced_start(&w);
	for (unsigned at = 1; fired && at < STEPS; at++) {
		crowded_open(&w);
		fault_arm(FAULT_MAP, at, false);
		slices_right(&w.info, 0, 2, SLICE);
		fired = fault_fired();
		fault_arm(0, 0, false);
		slices_right(&w.info, 0, 2, SLICE);
		oc_space_destroy(w.s);
	}
	CHECK(!fired);
	sliced_end(&w);
}

/* Zeros for what is gone, in some slices; then it is there. */
TEST(zeros_that_came_half_do_not_stay)
{
	struct sliced w;
	bool fired = true;
	unsigned at = 1;

	sliced_start(&w);
	for (; fired && at < STEPS; at++) {
		uint64_t n = 100 + at;

		sliced_open(&w, OC_LOST_ZERO, 1000, n, 1);
		fault_arm(FAULT_MAP, at, true);
		oc_span_prefetch(w.sp, 0, 1, OC_PREFETCH_WAIT, 0);
		fired = fault_fired();
		fault_arm(0, 0, false);
		if (sp_state(w.sp, 0) != OC_BLOCK_ABSENT) /* it says so */
			CHECK_INT(sp_state(w.sp, 0), ==, OC_BLOCK_ZERO);
		CHECK_OK(oc_span_advise(w.sp, 0, 1, OC_ADVISE_DO_NOT_NEED, 0));
		write_part(w.ns, SLICE, n);
		slices_right(&w.info, 0, n, SLICE);
		oc_space_destroy(w.s);
	}
	CHECK(!fired);
	CHECK_INT(at, >, 3);
	sliced_end(&w);
}

/* A first write of which some slices only got their place: what the others show
 * stays pinned. */
TEST(a_write_that_went_half_shows_nobody_elses)
{
	struct sliced w;
	bool fired = true;

	sliced_start(&w);
	for (unsigned at = 1; fired && at < STEPS; at++) {
		struct oc_key key = slice_key(2);

		sliced_open(&w, OC_LOST_BUS, 1000, 2, 1);
		slices_right(&w.info, 0, 2, SLICE);
		fault_arm(FAULT_MAP, at, false);
		slice_at(&w.info, 0, 0)[0] = 2; /* as it was */
		fired = fault_fired();
		fault_arm(0, 0, false);
		/* the frame is anybody's, if it was let go */
		CHECK_OK(oc_remove(w.ns, &key, 0));
		for (uint64_t i = 0; i < BLOCKS; i++)
			write_part(w.ns, SLICE, 1000 * at + i + 200);
		slices_right(&w.info, 0, 2, SLICE);
		oc_space_destroy(w.s);
		write_part(w.ns, SLICE, 2);
	}
	CHECK(!fired);
	sliced_end(&w);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Advice that is given to spans, by what it does. */
#include <onecopy/space.h>
#include "tests/prog/space_rig.h"

#define PINS  80u /* of SP_FEW_PINS */
#define MANY  64u
#define FEW   8u
#define FIRST 1000u /* of the blocks that need room */

static void prefetch_all(oc_span *sp)
{
	CHECK_OK(oc_span_prefetch(sp, 0, 0, OC_PREFETCH_WAIT, 0));
}

TEST(read_mostly_maps_all_that_lies_side_by_side)
{
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, MANY, SP_PART);
	sp = sp_map(r.s, 0, MANY, OC_SPAN_LAZY);
	CHECK_OK(oc_span_advise(sp, 0, 0, OC_ADVISE_READ_MOSTLY, 0));
	/* the first one meets the slab, whose descriptor a worker asks for */
	sp_right(sp, 10, 10);
	sp_right(sp, 11, 11);
	CHECK_INT(sp_report(r.s).faults_map, ==, 2);
	CHECK_INT(sp_info(sp).mapped, ==, MANY - 10);
	oc_span_unmap(sp);

	sp = sp_map(r.s, 0, MANY, OC_SPAN_LAZY);
	CHECK_OK(oc_span_advise(sp, 0, 0, OC_ADVISE_READ_MOSTLY, 0));
	CHECK_OK(oc_span_advise(sp, 0, 0, OC_ADVISE_NORMAL, 0));
	sp_right(sp, 10, 10);
	CHECK_INT(sp_info(sp).mapped, <, MANY - 10);
	sp_end(&r);
}

TEST(back_to_front_maps_in_growing_groups)
{
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, MANY, SP_PART);
	sp = sp_map(r.s, 0, MANY, OC_SPAN_LAZY);
	for (size_t i = MANY; i-- > 0;)
		sp_right(sp, i, i);
	CHECK_INT(sp_info(sp).mapped, ==, MANY);
	CHECK_INT(sp_report(r.s).faults_map, <, MANY / 4);
	sp_end(&r);
}

/* Few blocks, then many, and then more than there are pins for all. */
static void crowd(struct space_rig *r, oc_span *few, oc_span *many)
{
	oc_span *more = sp_map(r->s, FIRST, PINS - MANY, OC_SPAN_LAZY);

	prefetch_all(few);
	prefetch_all(many);
	prefetch_all(more);
	CHECK_INT(sp_info(more).mapped, ==, PINS - MANY);
}

TEST(what_prefers_a_lower_tier_leaves_first)
{
	struct space_rig r;
	oc_span *few, *many;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	live_write_some(r.ns, 0, FEW + MANY, SP_PART);
	live_write_some(r.ns, FIRST, PINS - MANY, SP_PART);
	few = sp_map(r.s, 0, FEW, OC_SPAN_LAZY);
	many = sp_map(r.s, FEW, MANY, OC_SPAN_LAZY);
	/* although it was mapped last */
	CHECK_OK(oc_span_advise(many, 0, 0, OC_ADVISE_PREFERRED_TIER,
				OC_TIER_NVME));
	crowd(&r, few, many);
	CHECK_INT(sp_info(few).mapped, ==, FEW);
	CHECK_INT(sp_info(many).mapped, <, MANY);
	sp_end(&r);
}

TEST(what_the_host_has_access_to_is_mapped_and_leaves_last)
{
	struct space_rig r;
	oc_span *few, *many;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	live_write_some(r.ns, 0, FEW + MANY, SP_PART);
	live_write_some(r.ns, FIRST, PINS - MANY, SP_PART);
	few = sp_map(r.s, 0, FEW, OC_SPAN_LAZY);
	many = sp_map(r.s, FEW, MANY, OC_SPAN_LAZY);
	CHECK_OK(oc_span_advise(few, 0, 0, OC_ADVISE_ACCESSED_BY, 0));
	LIVE_WAIT(&r.n, sp_info(few).mapped == FEW);
	CHECK_INT(sp_report(r.s).faults, ==, 0);
	/* that it came first does not count against it */
	crowd(&r, few, many);
	CHECK_INT(sp_info(few).mapped, ==, FEW);
	CHECK_INT(sp_info(many).mapped, <, MANY);
	sp_end(&r);
}

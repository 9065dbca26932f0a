/* SPDX-License-Identifier: Apache-2.0 */
/* What is gone for good: a space over a real node gives what was chosen. */
#include <stdatomic.h>
#include "prog/payload.h"
#include "tests/prog/space_rig.h"

TEST(what_is_gone_is_a_bus_error)
{
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 3, SP_PART);
	sp = sp_map(r.s, 0, 5, 0);
	sp_catch_bus();
	sp_right(sp, 2, 2);
	CHECK(sp_is_bus(sp_at(sp, 4)));
	CHECK_INT(sp_state(sp, 4), ==, OC_BLOCK_BUS);
	CHECK_INT(sp_report(r.s).faults_lost, ==, 1);
	/* past the end, and outside of every span */
	CHECK(sp_is_bus(sp_at(sp, 5)));
	CHECK(sp_is_bus(sp_at(sp, 0) + 64 * MIB));
	/* it is there now: let go, it comes */
	live_write_some(r.ns, 3, 2, SP_PART);
	CHECK_OK(oc_span_advise(sp, 4, 1, OC_ADVISE_DO_NOT_NEED, 0));
	sp_right(sp, 4, 4);
	sp_right(sp, 3, 3);
	sp_end(&r);
}

TEST(what_is_gone_is_zeros)
{
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 1, SP_PART);
	sp = sp_map_how(r.s, 0, 2,
			(struct oc_span_options){ .lost = OC_LOST_ZERO });
	for (size_t i = 0; i < SP_PART; i++)
		CHECK_INT(sp_at(sp, 1)[i], ==, 0);
	CHECK_INT(sp_state(sp, 1), ==, OC_BLOCK_ZERO);
	CHECK_INT(sp_info(sp).lost, ==, 1);
	sp_end(&r);
}

static int recompute(void *ctx, const struct oc_key *key, size_t block,
		     void *data, uint64_t bytes)
{
	atomic_fetch_add((_Atomic(int) *)ctx, 1);
	if (block == 3)
		return -EIO;
	payload_make(key, data, bytes);
	return 0;
}

TEST(what_is_gone_is_computed)
{
	struct space_rig r;
	_Atomic(int) calls = 0;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 1, SP_PART);
	sp = sp_map_how(r.s, 0, 4,
			(struct oc_span_options){ .lost = OC_LOST_CALL,
						  .recompute = recompute,
						  .ctx = &calls });
	sp_right(sp, 1, 1);
	CHECK_INT(calls, ==, 1);
	CHECK_INT(sp_report(r.s).recomputed, ==, 1);
	/* everybody has it again */
	CHECK_OK(live_read(r.ns, 1, SP_PART));
	CHECK_INT(sp_state(sp, 1), ==, OC_BLOCK_MAPPED);
	sp_catch_bus();
	CHECK(sp_is_bus(sp_at(sp, 3)));
	CHECK_INT(calls, ==, 2);
	sp_end(&r);
}

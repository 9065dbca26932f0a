/* The table of states, and what answers mean. */
#include "tests/test.h"
#include "tier/nvme/depth.h"
#include "tier/nvme/health.h"

TEST(states)
{
	CHECK_INT(health_step(TIER_COMING, HEALTH_FOUND), ==, TIER_UP);
	CHECK_INT(health_step(TIER_COMING, HEALTH_LATE), ==, TIER_COMING);
	CHECK_INT(health_step(TIER_UP, HEALTH_LATE), ==, TIER_SLOW);
	CHECK_INT(health_step(TIER_SLOW, HEALTH_PROMPT), ==, TIER_UP);
	CHECK_INT(health_step(TIER_UP, HEALTH_NO_WRITES), ==, TIER_READONLY);
	CHECK_INT(health_step(TIER_READONLY, HEALTH_PROMPT), ==, TIER_READONLY);
	CHECK_INT(health_step(TIER_READONLY, HEALTH_WORKS), ==, TIER_UP);
	CHECK_INT(health_step(TIER_DOWN, HEALTH_READS), ==, TIER_READONLY);
	CHECK_INT(health_step(TIER_DOWN, HEALTH_PROMPT), ==, TIER_DOWN);
	for (int s = 0; s < TIER_STATES; s++) {
		for (int e = 0; e < HEALTH_EVENTS; e++) {
			int to = (int)health_step((enum tier_state)s,
						  (enum health_event)e);

			CHECK(to < TIER_STATES);
			/* nothing leads back to where it began */
			CHECK(to != TIER_COMING || s == TIER_COMING);
		}
		CHECK_INT(health_step((enum tier_state)s, HEALTH_LOST), ==,
			  TIER_DOWN);
	}
}

TEST(answers)
{
	CHECK_INT(health_answer(0, true, true), ==, HEALTH_FINE);
	CHECK_INT(health_answer(-EROFS, true, true), ==, HEALTH_REFUSED);
	CHECK_INT(health_answer(-ENOSPC, true, true), ==, HEALTH_REFUSED);
	CHECK_INT(health_answer(-ENODEV, false, true), ==, HEALTH_GONE);
	CHECK_INT(health_answer(-EIO, false, true), ==, HEALTH_PLACE);
	CHECK_INT(health_answer(-ENODATA, false, true), ==, HEALTH_PLACE);
	CHECK_INT(health_answer(-ETIMEDOUT, false, true), ==, HEALTH_PLACE);
	CHECK_INT(health_answer(-ETIMEDOUT, false, false), ==, HEALTH_FINE);
	CHECK_INT(health_answer(-ENOMEM, true, true), ==, HEALTH_HOST);
	CHECK_INT(health_answer(-EINVAL, false, true), ==, HEALTH_HOST);
	CHECK_INT(health_answer(-EFAULT, false, true), ==, HEALTH_HOST);
	CHECK_INT(health_answer(-ECANCELED, true, true), ==, HEALTH_FINE);
}

/* ---- depth: against a device that serves `width` moves at once ----------------------- */

static uint32_t settle(uint32_t width, uint32_t begin)
{
	struct nvme_depth d;
	uint64_t now = 1000000000, each = 1000000;

	nvme_depth_init(&d, 4, 128, 20 * each);
	d.now = begin;
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t busy = MIN(width, d.now);
		uint64_t took = each * d.now / busy;

		now += each / busy;
		nvme_depth_ended(&d, 1 << 20, took, true, now);
		CHECK(d.now >= 4 && d.now <= 128);
	}
	return d.now;
}

/* As many as the device serves, and not so many that they only wait there. */
TEST(depth_follows_the_device)
{
	CHECK_INT(settle(64, 8), >=, 48);
	CHECK_INT(settle(100, 32), >=, 75);
	CHECK_INT(settle(1, 128), <=, 25);
	CHECK_INT(settle(2, 128), <=, 50);
}

TEST(depth_learns_nothing_from_idleness)
{
	struct nvme_depth d;

	nvme_depth_init(&d, 4, 64, 1000);
	for (unsigned i = 0; i < 1000; i++)
		nvme_depth_ended(&d, 4096, 100000, false, i * 1000000ull);
	CHECK_INT(d.now, ==, 32);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Every point that can fail, failed in turn: nothing is left behind. */
#include "tests/pool/rig.h"

TEST(create)
{
	for (unsigned sticky = 0; sticky < 2; sticky++) {
		for (uint64_t nth = 1;; nth++) {
			struct rig g;
			size_t fds;
			int r;

			rig_init(&g);
			fds = count_fds();
			fault_arm(FAULT_ALL, nth, sticky);
			r = pool_create(&g.options, &g.p);
			fault_arm(0, 0, false);
			if (r == 0) {
				rig_check(&g);
				rig_fini(&g);
				CHECK_INT(nth, >, 5);
				break;
			}
			CHECK(!g.p);
			CHECK_INT(g.k.n, ==, 0);
			CHECK_INT(count_fds(), ==, fds);
			fake_hold_fini(&g.k);
		}
	}
}

/* A pool with blocks; the next slab makes the index grow. */
static void some_blocks(struct rig *g)
{
	uint32_t id, frame;

	rig_create(g);
	for (uint64_t owner = 1; owner < 16; owner++) {
		CHECK_OK(rig_add(g, owner, 4096, 8, &id));
		for (uint64_t n = 0; n < 4; n++)
			rig_put(g, owner, 4096, owner * 100 + n, &frame);
	}
}

TEST(slab_add)
{
	for (uint64_t nth = 1;; nth++) {
		struct rig g;
		size_t fds;
		uint32_t id;
		int r;

		some_blocks(&g);
		fds = count_fds();
		fault_arm(FAULT_ALL, nth, false);
		r = rig_add(&g, 99, 4096, 6000, &id);
		fault_arm(0, 0, false);
		rig_check(&g);
		/* the payload and the descriptors, and both held */
		CHECK_INT(count_fds(), ==, fds + (r == 0 ? 4 : 0));
		rig_fini(&g);
		if (r == 0) {
			CHECK_INT(nth, >, 8);
			break;
		}
	}
}

TEST(slab_reshape)
{
	for (uint64_t nth = 1;; nth++) {
		struct rig g;
		size_t fds;
		uint32_t id;
		int r;

		some_blocks(&g);
		CHECK_OK(rig_add(&g, 20, 65536, 300, &id));
		fds = count_fds();
		fault_arm(FAULT_ALL, nth, false);
		r = pool_slab_reshape(g.p, id, 21,
				      (struct pool_shape){ 4096, 0 }, &id);
		fault_arm(0, 0, false);
		rig_check(&g);
		CHECK_INT(count_fds(), ==, fds);
		rig_fini(&g);
		if (r == 0) {
			CHECK_INT(nth, >, 6);
			break;
		}
	}
}

TEST(attach)
{
	for (uint64_t nth = 1;; nth++) {
		struct rig g;
		size_t fds;
		int r;

		some_blocks(&g);
		fds = count_fds();
		r = rig_attach_fault(&g, nth);
		if (r < 0) {
			CHECK_INT(g.budget.used, ==, 0);
			/* nothing is lost: the next one attaches */
			CHECK_OK(rig_attach(&g));
		}
		CHECK_INT(rig_check(&g).sealed, ==, 60);
		CHECK_INT(count_fds(), ==, fds);
		rig_fini(&g);
		if (r == 0) {
			CHECK_INT(nth, >, 20);
			break;
		}
	}
}

/* A payload that cannot be mapped is not there, and is tried again. */
TEST(payload)
{
	struct rig g;
	struct pool_slab *s;

	some_blocks(&g);
	CHECK_OK(rig_attach(&g));
	s = g.p->slab[1];
	fault_arm(FAULT_MAP, 1, true);
	CHECK(!pool_payload(s, 0).base);
	fault_arm(0, 0, false);
	CHECK(pool_payload(s, 1).base == pool_payload(s, 0).base + 4096);
	rig_fini(&g);
}

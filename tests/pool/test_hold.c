/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/eventfd.h>
#include "tests/pool/fake_hold.h"

TEST(gives_each_descriptor_once)
{
	struct fake_hold k = { 0 };
	struct hold_ops ops = fake_hold_ops(&k);
	size_t fds = count_fds();
	struct hold_set s;
	int a = eventfd(0, EFD_CLOEXEC), fd;

	for (uint32_t pool = 0; pool < 3; pool++)
		for (uint64_t id = 0; id < 50; id++) {
			struct hold_tag t = { HOLD_DESC, pool, id };

			CHECK_OK(ops.hold(&k, &t, a));
			t.kind = HOLD_PAYLOAD;
			CHECK_OK(ops.hold(&k, &t, a));
		}
	s = fake_hold_give(&k);
	fd = hold_set_take(&s, HOLD_DESC, 2, 49);
	CHECK(fd >= 0);
	close(fd);
	CHECK_INT(hold_set_take(&s, HOLD_DESC, 2, 49), ==, -1);
	CHECK_INT(hold_set_take(&s, HOLD_DESC, 3, 49), ==, -1);
	CHECK_INT(hold_set_take(&s, HOLD_INDEX, 2, 49), ==, -1);
	CHECK_INT(hold_set_take(&s, HOLD_PAYLOAD, 2, 50), ==, -1);
	hold_set_fini(&s, &ops);
	/* all but the one that was taken are dropped */
	CHECK_INT(k.n, ==, 1);
	CHECK_INT(k.held[0].tag.id, ==, 49);
	fake_hold_fini(&k);
	close(a);
	CHECK_INT(count_fds(), ==, fds);
}

TEST(closes_what_is_held_under_a_tag)
{
	struct hold_set s = { 0 };
	struct hold_tag one = { HOLD_DESC, 0, 1 }, two = { HOLD_DESC, 0, 2 };
	size_t fds = count_fds();
	int fd;

	CHECK_OK(hold_set_add(&s, &one, eventfd(0, EFD_CLOEXEC)));
	CHECK_OK(hold_set_add(&s, &two, eventfd(0, EFD_CLOEXEC)));
	hold_set_close(&s, &one);
	hold_set_close(&s, &one);
	CHECK_INT(s.n, ==, 1);
	CHECK_INT(count_fds(), ==, fds + 1);
	fd = hold_set_take(&s, HOLD_DESC, 0, 2);
	CHECK(fd >= 0);
	close(fd);
	hold_set_fini(&s, NULL);
	CHECK_INT(count_fds(), ==, fds);
}

TEST(keeps_its_content_when_memory_is_refused)
{
	struct fake_hold k = { 0 };
	struct hold_ops ops = fake_hold_ops(&k);
	struct hold_set s = { 0 };
	struct hold_tag t = { HOLD_DESC, 0, 0 };
	int r = 0;

	for (fault_arm(FAULT_ALLOC, 2, true); r == 0; t.id++)
		r = hold_set_add(&s, &t, eventfd(0, EFD_CLOEXEC));
	fault_arm(0, 0, false);
	CHECK_INT(r, ==, -ENOMEM);
	for (uint64_t id = 0; id < s.n; id++) {
		int fd = hold_set_take(&s, HOLD_DESC, 0, id);

		CHECK(fd >= 0);
		close(fd);
	}
	hold_set_fini(&s, &ops);
}

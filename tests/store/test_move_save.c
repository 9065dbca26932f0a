/* SPDX-License-Identifier: Apache-2.0 */
/* What memory holds is saved before the node ends. */
#include "store/internal.h"
#include "tests/store/deep.h"

TEST(everything_is_saved_before_the_end)
{
	struct deep d;
	unsigned turns = 0;

	deep_begin(&d, 4);
	deep_put(&d, 1, 50);
	CHECK_INT(d.f->writes, ==, 0);
	while (store_save(d.w->s, d.w->now)) {
		fake_tier_end_all(d.f);
		d.w->now += WORLD_SEC / 1000;
		CHECK_INT(turns++, <, 1000);
	}
	CHECK_OK(store_below_stop(d.w->s, d.w->now));
	for (uint64_t n = 1; n <= 50; n++)
		CHECK(deep_below(&d, n));
	CHECK_INT(deep_up(&d, 99, TIER_WAITED, NULL), ==, OC_MISS);
	deep_end(&d);
}

static unsigned saved_of(const struct deep *d, uint64_t first, uint64_t n)
{
	unsigned there = 0;

	for (uint64_t i = first; i < first + n; i++)
		there += deep_below(d, i);
	return there;
}

static void save_all(struct deep *d)
{
	unsigned turns = 0;

	while (store_save(d->w->s, d->w->now)) {
		fake_tier_end_all(d->f);
		d->w->now += WORLD_SEC / 1000;
		CHECK_INT(turns++, <, 1000);
	}
}

/* What is used most of late is what a drive that is too small gets. */
TEST(a_save_begins_with_the_warmest)
{
	struct deep d;

	deep_begin(&d, 4);
	d.f->limit = 20 * PART_BYTES;
	deep_put(&d, 1, 50);
	CHECK_INT(d.f->writes, ==, 0);
	for (uint64_t n = 1; n <= 50; n += 5)
		sim_touch(d.a, n, PART);
	store_touches(d.a->c);
	save_all(&d);
	for (uint64_t n = 1; n <= 50; n += 5)
		CHECK(deep_below(&d, n));
	CHECK_INT(saved_of(&d, 1, 50), >=, 18);
	CHECK_INT(saved_of(&d, 1, 30), ==, 6); /* the coldest */
	deep_end(&d);
}

/* Parts in arenas of their own, and far more of them than may fly at once. */
TEST(a_save_is_of_whole_blocks)
{
	const struct world_config config = { .limit = 16 * DEEP_SLAB,
					     .slab_bytes = DEEP_SLAB };
	unsigned whole = 0, parts = 0;
	struct deep d;
	uint32_t ns;

	deep_begin_as(&d, &config, NULL);
	d.f->limit = 85 * PART_BYTES; /* two, and some */
	ns = world_ns(d.w, 4, 10, PART_BYTES, 3);
	for (unsigned i = 0; i < 40; i++)
		for (uint64_t n = 1; n <= 4; n++)
			sim_put(d.a, n,
				frame_part(ns, (uint16_t)(i / 10),
					   (uint16_t)(i % 10)));
	CHECK_INT(d.f->writes, ==, 0);
	save_all(&d);
	for (uint64_t n = 1; n <= 4; n++) {
		unsigned of = 0;

		for (unsigned i = 0; i < 40; i++) {
			uint64_t key[4];

			key_of(n, key);
			of += fake_tier_has(
				d.f, key,
				(uint32_t)(frame_part(ns, (uint16_t)(i / 10),
						      (uint16_t)(i % 10)) &
					   UINT32_MAX));
		}
		whole += of == 40;
		parts += of;
	}
	CHECK_INT(whole, ==, 2);
	CHECK_INT(parts, <=, 85);
	deep_end(&d);
}

TEST(a_save_without_memory_for_its_order_saves_all)
{
	struct deep d;

	deep_begin(&d, 4);
	deep_put(&d, 1, 10);
	fault_arm(FAULT_ALLOC, 1, false);
	store_save(d.w->s, d.w->now);
	CHECK(fault_fired());
	fault_arm(0, 0, false);
	save_all(&d);
	CHECK_INT(saved_of(&d, 1, 10), ==, 10);
	deep_end(&d);
}

TEST(a_save_ends_when_the_drive_takes_nothing)
{
	struct deep d;

	deep_begin(&d, 4);
	deep_put(&d, 1, 50);
	d.f->state = TIER_READONLY;
	d.w->now += WORLD_SEC;
	CHECK(!store_save(d.w->s, d.w->now));
	deep_end(&d);
}

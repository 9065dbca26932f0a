/* SPDX-License-Identifier: Apache-2.0 */
/* A member that was declared dead and lives: it is given nothing more, and stores
 * nothing in a pin unit that is another's by now. */
#include "region/internal.h"
#include "tests/region/rig.h"

#define FRAMES 8u

struct fenced {
	struct rig g;
	struct region *a, *b; /* owns; reads, and is fenced */
	struct region_pin held;
};

static void fence_b(struct fenced *f)
{
	uint32_t member = 9;
	uint64_t inc;

	CHECK_OK(region_self(f->b, &member, &inc));
	CHECK_OK(region_fence(f->a, member, inc, true));
}

/* b holds block 1, and is declared dead. */
static struct fenced begin(void)
{
	struct fenced f = { .g = rig_create(2, 1, FRAMES) };

	f.a = rig_join(&f.g, "a", 1, false);
	f.b = rig_join(&f.g, "b", 0, false);
	for (uint64_t id = 1; id <= 4; id++)
		CHECK_OK(rig_put(f.a, id, 1));
	CHECK_OK(rig_pin(f.b, 1, &f.held));
	fence_b(&f);
	return f;
}

static void end(struct fenced *f)
{
	region_close(f->a);
	region_close(f->b);
	rig_destroy(&f->g);
}

TEST(who_was_declared_dead_pins_no_more)
{
	struct fenced f = begin();
	struct region_name there = rig_name(2), gone = rig_name(99);
	struct region_pin pin;

	CHECK_INT(region_pin(f.b, &there, &pin), ==, REGION_STALE);
	CHECK_INT(region_pin(f.b, &gone, &pin), ==, REGION_STALE);
	/* its pins count no more; bytes of another block are no news of damage */
	for (uint64_t id = 10; id < 40; id++)
		CHECK_OK(rig_put(f.a, id, 1));
	CHECK(!rig_right(1, f.held.data, f.held.bytes));
	there = rig_name(1);
	CHECK_INT(region_verify(f.b, &there, &f.held), ==, REGION_STALE);
	region_unpin(f.b, &f.held);
	CHECK_INT(region_leave(f.b), ==, REGION_STALE);
	end(&f);
}

/* Declared dead after it looked whether it is: the pin is given all the same
 * unless it looks again when it has published it. */
static struct fenced *now;

static void fence_and_die(void)
{
	region_mem_coherent.fence();
	fence_b(now);
}

TEST(declared_dead_in_the_middle_of_a_pin)
{
	struct rig g = rig_create(2, 1, FRAMES);
	struct fenced f = { .g = g };
	struct region_mem m = region_mem_coherent;
	struct region_name name = rig_name(1);
	struct region_pin pin;

	f.a = rig_join(&g, "a", 1, false);
	f.b = rig_join(&g, "b", 0, false);
	CHECK_OK(rig_put(f.a, 1, 1));
	now = &f;
	m.fence = fence_and_die;
	f.b->mem = &m;
	CHECK_INT(region_pin(f.b, &name, &pin), ==, REGION_STALE);
	end(&f);
}

/* What is stored into the unit later, the next one's pins would suffer from. */
TEST(who_was_declared_dead_leaves_the_next_ones_pins)
{
	struct fenced f = begin();
	struct region *c = rig_join(&f.g, "c", 0, false);
	struct region_name name = rig_name(2);
	struct region_pin held, pin;

	CHECK_INT(c->self, ==, f.b->self);
	CHECK_OK(rig_pin(c, 3, &held));
	CHECK_INT(held.slot, ==, f.held.slot);
	region_unpin(f.b, &f.held);
	CHECK_INT(region_pin(f.b, &name, &pin), ==, REGION_STALE);
	for (uint64_t id = 10; id < 40; id++)
		CHECK_OK(rig_put(f.a, id, 1));
	CHECK(rig_right(3, held.data, held.bytes));
	CHECK(rig_has(c, 3));
	region_unpin(c, &held);
	CHECK_INT(rig_check(f.a, false).pins, ==, 0);
	region_close(c);
	end(&f);
}

/* The region was made anew meanwhile, of another shape: nobody joins it by what lay
 * there before, and a member of before is none, even where the words are equal. */
TEST(what_was_made_anew_is_another_region)
{
	struct region_join_options o = { .size = sizeof(o), .shards = 1 };
	struct rig g = rig_create(2, 1, FRAMES);
	struct region *early = rig_open(&g), *a = rig_join(&g, "a", 1, false);
	struct region *c = rig_join(&g, "c", 0, false), *b;
	struct region_name name = rig_name(1);
	struct region_pin pin;

	CHECK_OK(rig_put(a, 1, 1));
	g.format.frames = FRAMES / 2;
	rig_format(&g);
	CHECK_INT(region_join(early, &o), ==, -ENODATA);
	b = rig_join(&g, "b", 1, false);
	CHECK_INT(b->word, ==, a->word);
	CHECK_INT(region_tick(a), ==, REGION_STALE);
	CHECK_INT(rig_put(a, 2, 1), ==, REGION_STALE);
	CHECK_INT(region_pin(c, &name, &pin), ==, REGION_STALE);
	CHECK_OK(region_tick(b));
	CHECK_OK(rig_put(b, 1, 1));
	region_close(early);
	region_close(a);
	region_close(c);
	region_close(b);
	rig_destroy(&g);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A store whose node is a member of a region (store/shard.h). */
#include "store/shard.h"
#include "tests/region/rig.h"
#include "tests/store/world.h"

static const struct world_config small = {
	.limit = 1 << 20,
	.slab_bytes = 1 << 20,
};

struct scene {
	struct rig g;
	struct world *w;
	struct region *r; /* the store's */
};

static struct scene begin(const char *tenant)
{
	struct store_region_options o = { .tenant = tenant, .publish = true };
	struct scene s = { .g = rig_create_small(4, 2, 64),
			   .w = world_create(&small) };

	s.r = rig_join(&s.g, "node", 1, false);
	CHECK_INT(region_owned(s.r), ==, 1);
	CHECK_OK(store_region_attach(s.w->s, s.r, &o));
	return s;
}

static void end(struct scene *s)
{
	world_destroy(s->w);
	rig_destroy(&s->g);
}

/* A server that is busy does not sleep. */
TEST(what_nobody_uses_is_not_busy)
{
	struct scene s = begin("nobody");
	struct pool *p;

	CHECK(!store_region_busy(s.w->s));
	store_settle(s.w->s, s.w->now);
	CHECK(!store_region_busy(s.w->s));
	/* its first client is there: what it has is looked through once */
	CHECK_OK(store_pool_add(s.w->s, "nobody", 0, &p));
	CHECK(store_region_busy(s.w->s));
	for (unsigned i = 0; i < 8 && store_region_busy(s.w->s); i++)
		store_settle(s.w->s, s.w->now);
	CHECK(!store_region_busy(s.w->s));
	end(&s);
}

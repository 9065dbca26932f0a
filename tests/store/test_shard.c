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

static struct scene begin(const char *tenant, uint32_t lease_ms)
{
	struct store_region_options o = { .tenant = tenant, .publish = true };
	struct scene s = { .g = rig_create_small(4, 2, 64),
			   .w = world_create(&small) };

	s.g.format.lease_ms = lease_ms;
	rig_format(&s.g);
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
	struct scene s = begin("nobody", 1000);
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

/* Whose lease has run out between two beats, and who asks for the figures then. */
TEST(who_looks_is_not_silent)
{
	struct scene s = begin("test", 1);
	struct region *other = rig_join(&s.g, "other", 1, false);
	struct region_member_status mine, others;
	struct store_region_stat st;

	do {
		region_member_status(s.r, 0, &mine);
		region_member_status(s.r, 1, &others);
	} while (!mine.late || !others.late);
	store_region_stat(s.w->s, &st);
	CHECK_INT(st.nodes, ==, 2);
	CHECK_INT(st.late, ==, 1);
	CHECK_INT(st.quarantined, ==, 1);
	region_close(other);
	end(&s);
}

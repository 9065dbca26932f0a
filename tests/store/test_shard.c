/* SPDX-License-Identifier: Apache-2.0 */
/* A store whose node is a member of a region (store/shard.h). */
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
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
	struct scene s = { .g = rig_create_small(8, 2, 64),
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

static char heard[1024];

static void hear(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s\n",
		 line);
}

/* A lease later; what was logged from then on. */
static const char *a_lease_later(struct scene *s)
{
	heard[0] = '\0';
	world_tick(s->w, WORLD_SEC);
	return heard;
}

/* Says it once, and not of who was there from the beginning. */
#define SAYS(s_, text_)                                          \
	do {                                                     \
		CHECK(strstr(a_lease_later(s_), text_) != NULL); \
		CHECK_STR(a_lease_later(s_), "");                \
	} while (0)

static void beats_at(struct scene *s, uint32_t member, uint64_t ms)
{
	struct region_control *control = rig_map(&s->g);

	shared_store64(&control->member[member].beat_ms, ms);
	rig_unmap(&s->g, control);
}

static void join_and_end(struct scene *s)
{
	pid_t pid = fork();
	int status;

	CHECK_INT(pid, >=, 0);
	if (!pid) {
		(void)rig_join(&s->g, "short", 0, false);
		_exit(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), ==, pid);
	CHECK_INT(status, ==, 0);
}

/* Who joins, is late, comes back, leaves, ends, is in the log. */
TEST(what_becomes_of_other_nodes_is_logged)
{
	struct scene s = begin("test", 1000);
	struct region_join_options reads = { .size = sizeof(reads),
					     .reader = true };
	const uint64_t now = clock_realtime_ms(), hour = 3600 * 1000;
	struct region *old = rig_join(&s.g, "old", 0, false), *young,
		      *reader = NULL;

	log_set(hear, NULL, LOG_INFO);
	beats_at(&s, 1, now + hour);
	CHECK_STR(a_lease_later(&s), "");
	young = rig_join(&s.g, "young", 0, false);
	beats_at(&s, 2, now + hour);
	CHECK_OK(region_open(s.g.path, &reader));
	CHECK_OK(region_join(reader, &reads));
	SAYS(&s, "member 2.1 (young) of the CXL region has joined");
	beats_at(&s, 1, now - hour);
	SAYS(&s, "member 1.1 (old) of the CXL region is late: silent for 36");
	beats_at(&s, 1, now + hour);
	SAYS(&s, "member 1.1 (old) of the CXL region is back");
	CHECK_OK(region_leave(old));
	CHECK_OK(region_leave(reader));
	SAYS(&s, "member 1.1 (old) of the CXL region has left");
	rig_kill(young, s.r);
	SAYS(&s, "member 2.1 (young) of the CXL region was declared dead");
	region_close(old);
	region_close(reader);
	end(&s);
}

/* Its heart stands still for a beat, and the kernel is asked. */
TEST(a_node_that_has_ended_is_logged)
{
	struct scene s = begin("test", 1000);
	const uint64_t hour = 3600 * 1000;

	log_set(hear, NULL, LOG_INFO);
	CHECK_STR(a_lease_later(&s), "");
	join_and_end(&s);
	beats_at(&s, 1, clock_realtime_ms() + hour);
	CHECK(strstr(a_lease_later(&s),
		     "(short) of the CXL region has joined"));
	SAYS(&s, "(short) of the CXL region has ended");
	end(&s);
}

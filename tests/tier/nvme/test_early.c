/* Parts that are removed before the tier knows what it has. */
#include "tests/tier/nvme/rig.h"

#define PARTS 12u

static struct nvme_fate hold(struct rig *g, enum nvme_op op, uint64_t offset,
			     uint64_t bytes)
{
	(void)offset;
	(void)bytes;
	return (struct nvme_fate){ .hold = op == NVME_READ && g->held };
}

static uint32_t space(struct rig *g, uint8_t digest)
{
	struct tier_space s = { .tenant = "tenant" };

	memset(s.digest, digest, sizeof(s.digest));
	CHECK_OK(tier_nvme.space(g->t, &s, &g->space));
	return g->space;
}

/* A log with parts in two spaces; opened again, it does not get beyond COMING. */
static void coming(struct rig *g, uint32_t *ret_other, uint32_t *ret_mine)
{
	rig_init(g, 0, 0);
	rig_open(g);
	for (uint64_t n = 0; n < PARTS; n++)
		CHECK_OK(rig_write(g, n, 0));
	space(g, 8);
	for (uint64_t n = 0; n < 3; n++)
		CHECK_OK(rig_write(g, n, 0));
	rig_stop(g);
	g->held = true;
	g->fate = hold;
	CHECK_OK(rig_open_try(g));
	*ret_other = space(g, 8);
	*ret_mine = space(g, 7);
	CHECK_INT(rig_stat(g).state, ==, TIER_COMING);
}

static void up(struct rig *g)
{
	g->held = false;
	nvme_io_kick(&nvme_of(g->t)->engine);
	rig_wait_state(g, TIER_UP);
	rig_check(g);
}

static void crash(struct rig *g)
{
	for (unsigned i = 0; i < 50; i++)
		rig_turn(g); /* the tombstones */
	rig_close(g);
	CHECK_OK(rig_open_try(g));
	rig_wait_state(g, TIER_UP);
}

TEST(removed_while_coming)
{
	uint32_t other, mine;
	struct rig g;

	coming(&g, &other, &mine);
	CHECK_OK(rig_remove(&g, 3));
	CHECK_OK(rig_remove(&g, 3));
	CHECK_OK(rig_remove(&g, 1000)); /* nobody knows yet */
	up(&g);
	CHECK_INT(rig_stat(&g).removed, ==, 1);
	CHECK(!rig_has(&g, 3));
	CHECK_INT(rig_remove(&g, 3), ==, OC_MISS);
	CHECK_OK(rig_read(&g, 4));
	crash(&g);
	space(&g, 7);
	CHECK_INT(rig_stat(&g).recovered, ==, PARTS + 3 - 1);
	CHECK(!rig_has(&g, 3));
	CHECK_OK(rig_read(&g, 4));
	rig_fini(&g);
}

/* More than is kept: nothing of the space is left, another's is. */
TEST(removed_too_many)
{
	uint32_t other, mine;
	struct rig g;

	coming(&g, &other, &mine);
	for (uint64_t n = 0; n < NVME_EARLY; n++)
		CHECK_OK(rig_remove(&g, 1000 + n));
	CHECK_OK(rig_remove(&g, 3));
	up(&g);
	CHECK_INT(rig_stat(&g).parts, ==, 3);
	CHECK(!rig_has(&g, 3));
	g.space = other;
	CHECK_OK(rig_read(&g, 1));
	crash(&g);
	CHECK_INT(rig_stat(&g).recovered, ==, 3);
	rig_fini(&g);
}

/* Another process has it for so long that the tier is DOWN. */
TEST(removed_while_down)
{
	uint32_t other, mine;
	struct rig g, successor;

	coming(&g, &other, &mine);
	up(&g);
	successor = g;
	successor.options.busy_ns = NS_PER_MS;
	CHECK_OK(rig_open_try(&successor));
	space(&successor, 7);
	for (unsigned i = 0; i < 60; i++) {
		successor.now += 20 * NS_PER_MS;
		rig_turn(&successor);
	}
	CHECK_INT(rig_stat(&successor).state, ==, TIER_DOWN);
	CHECK_OK(rig_remove(&successor, 3));
	rig_close(&g);
	rig_wait_state(&successor, TIER_UP);
	CHECK(!rig_has(&successor, 3));
	CHECK_OK(rig_read(&successor, 4));
	rig_close(&successor);
	rig_open(&g);
	rig_fini(&g);
}

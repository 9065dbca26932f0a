/* Every allocation and operation that can fail, failed in turn: the bytes are right or
 * a miss, nothing is left behind, and it can be opened again. */
#include <dirent.h>
#include "base/fault.h"
#include "tests/tier/nvme/rig.h"

static size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Turns, but no more than so many: what failed for good never comes. */
static bool comes_up(struct rig *g)
{
	for (unsigned i = 0; i < 3000; i++) {
		if (rig_stat(g).state == TIER_UP)
			return true;
		g->now += 10 * NS_PER_MS;
		rig_turn(g);
	}
	return false;
}

static void fill(struct rig *g, uint64_t from)
{
	rig_open(g);
	for (uint64_t n = from; n < from + 12; n++)
		CHECK_OK(rig_write(g, n, 0));
	CHECK_OK(rig_remove(g, from + 2));
}

static bool open_at(struct rig *g, bool well, uint64_t nth)
{
	size_t fds = count_fds();
	bool fired;
	int r;

	fault_arm(FAULT_ALL, nth, false);
	r = rig_open_try(g);
	if (r == 0)
		CHECK(comes_up(g)); /* what failed once is tried again */
	fired = fault_fired();
	fault_arm(0, 0, false);
	if (r < 0) {
		CHECK(fired);
		CHECK_INT(count_fds(), ==, fds);
		return true;
	}
	rig_check(g);
	for (uint64_t n = 0; n < 12; n++)
		if (rig_has(g, n))
			CHECK_OK(rig_read(g, n));
	if (well) /* else the removal may not be on disk */
		CHECK(!rig_has(g, 2));
	rig_close(g);
	CHECK_INT(count_fds(), ==, fds);
	return fired;
}

static void each_open(bool fresh, bool well)
{
	uint64_t nth = 0;
	bool fired;

	do {
		struct rig g;

		rig_init(&g, 0, 0);
		if (!fresh) {
			fill(&g, 0);
			if (well)
				rig_stop(&g);
			else
				rig_close(&g);
		}
		fired = open_at(&g, well, ++nth);
		rig_fini(&g);
		CHECK_INT(nth, <, 200);
	} while (fired);
	CHECK_INT(nth, >, 15);
}

TEST(open_fresh)
{
	each_open(true, false);
}

TEST(open_again)
{
	each_open(false, true);
	each_open(false, false);
}

/* One of everything, with the nth point failing. True: it did. */
static bool life_at(struct rig *g, uint64_t nth)
{
	struct tier_id id;
	struct tier_place p;
	bool fired;

	fault_arm(FAULT_ALL, nth, false);
	for (uint64_t n = 100; n < 160; n++) {
		struct rig_move m;
		int r = rig_write_begin(g, &m, n, 0);

		if (r == 0)
			r = rig_wait(g, &m);
		else
			rig_turn(g);
		CHECK(r <= 0);
		r = rig_read(g, n - n % 3);
		CHECK(r <= 0 || r == OC_MISS || r == OC_STALE);
		if (n % 7 == 0)
			rig_remove(g, n);
		rig_id(g, n, &id);
		if (n % 5 == 0 && tier_nvme.hold(g->t, &id, &p) == 0)
			tier_nvme.release(g->t, &p, false);
	}
	tier_nvme.stop(g->t, g->now + NS_PER_S);
	fired = fault_fired();
	fault_arm(0, 0, false);
	return fired;
}

TEST(life)
{
	uint64_t nth = 0, step = 1, hits = 0;
	bool fired;

	do {
		struct rig g;

		rig_init(&g, 0, 0);
		g.options.io = nth % 2 ? TIER_IO_URING : TIER_IO_THREADS;
		fill(&g, 0);
		nth += step;
		step += nth > 60; /* the first ones all, then ever fewer */
		fired = life_at(&g, nth);
		hits += fired;
		if (!fired) /* it is over, or this life passed few points */
			fprintf(stderr, "life %llu: %s: %s\n",
				(unsigned long long)nth,
				tier_state_name(rig_stat(&g).state),
				rig_stat(&g).why);
		rig_check(&g);
		rig_close(&g);
		rig_open(&g);
		rig_check(&g);
		for (uint64_t n = 0; n < 160; n++)
			if (rig_has(&g, n))
				CHECK_OK(rig_read(&g, n));
		rig_fini(&g);
	} while (fired || nth <= 100);
	CHECK_INT(hits, >, 60);
}

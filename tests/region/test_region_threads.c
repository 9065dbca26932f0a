/* SPDX-License-Identifier: Apache-2.0 */
/* Three members in one process, each with a thread: small shards, so that
 * readers and evictions meet all the time. */
#include "tests/region/rig.h"

#include "base/rng.h"
#include <pthread.h>

#define MEMBERS 3u
#define IDS	60u
#define OPS	12000u
#define HELD	4u

struct worker {
	struct region *r;
	uint64_t number, hits, seals;
};

static void let_go(struct region *r, uint64_t *id, struct region_pin *pin)
{
	if (*id)
		CHECK(rig_right(*id, pin->data, pin->bytes));
	if (*id)
		region_unpin(r, pin);
	*id = 0;
}

static void once(struct worker *w, uint64_t id, uint64_t *held,
		 struct region_pin *pin)
{
	int err = rig_pin(w->r, id, pin);

	CHECK(err == 0 || err == REGION_MISS);
	if (err == 0) {
		*held = id;
		w->hits++;
		return;
	}
	err = rig_put(w->r, id, w->number);
	CHECK(err == 0 || err == REGION_EXISTS || err == REGION_FULL);
	w->seals += err == 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct region_pin pin[HELD];
	uint64_t held[HELD] = { 0 };
	struct rng rng = { w->number };

	for (unsigned i = 0; i < OPS; i++) {
		unsigned at = i % HELD;
		uint64_t id = 1 + rng_below(&rng, IDS);
		struct region_name name = rig_name(id);

		let_go(w->r, &held[at], &pin[at]);
		once(w, id, &held[at], &pin[at]);
		if (i % 64 == 0)
			CHECK_OK(region_tick(w->r));
		if (i % 50 == 0)
			(void)region_remove(w->r, &name);
	}
	for (unsigned at = 0; at < HELD; at++)
		let_go(w->r, &held[at], &pin[at]);
	return NULL;
}

TEST(readers_and_evictions_meet)
{
	struct rig g = rig_create(MEMBERS, MEMBERS, 12);
	struct worker worker[MEMBERS];
	pthread_t thread[MEMBERS];
	uint64_t hits = 0, seals = 0;

	for (unsigned i = 0; i < MEMBERS; i++) {
		worker[i] =
			(struct worker){ .r = rig_join(&g, "worker", 1, true),
					 .number = i + 1 };
		CHECK_INT(region_owned(worker[i].r), ==, 1);
	}
	for (unsigned i = 0; i < MEMBERS; i++)
		CHECK_OK(pthread_create(&thread[i], NULL, work, &worker[i]));
	for (unsigned i = 0; i < MEMBERS; i++) {
		CHECK_OK(pthread_join(thread[i], NULL));
		hits += worker[i].hits;
		seals += worker[i].seals;
	}
	CHECK_INT(hits, >, 0);
	CHECK_INT(seals, >, IDS);
	for (unsigned i = 0; i < MEMBERS; i++)
		CHECK_OK(region_leave(worker[i].r));
	CHECK_INT(rig_check(worker[0].r, true).pins, ==, 0);
	for (unsigned i = 0; i < MEMBERS; i++)
		region_close(worker[i].r);
	rig_destroy(&g);
}

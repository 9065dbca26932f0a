/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation, mapping and hold of the server fails in turn. */
#include "base/fault.h"
#include "tests/store/talk.h"

static struct sim *a;

/* A walk over what sessions do: all answers are documented ones, and what was
 * refused left nothing. True: nothing failed. */
static bool walk(struct world *w)
{
	uint64_t one, two;
	int64_t r = talk_open(a, "one", 0, &one);

	CHECK(r == 0 || r == -ENOMEM || r == -EIO);
	if (r)
		return false;
	for (uint32_t n = 0; n < 34000 && r == 0; n += 2000)
		r = talk_append(a, one, n, n, 2000);
	CHECK(r == 0 || r == -ENOMEM || r == -EIO);
	if (r == 0)
		r = talk_fork(a, one, UINT64_MAX, "two", &two);
	CHECK(r == 0 || r == -ENOMEM || r == -EIO);
	if (r == 0)
		r = talk_append(a, two, 34000, 900000, 2000);
	CHECK(r == 0 || r == -ENOMEM || r == -EIO);
	(void)w;
	return r == 0;
}

TEST(requests_whose_memory_fails)
{
	bool through = false;

	for (uint64_t at = 1; !through; at++) {
		struct world_config k = talk_world;
		struct world *w;

		k.sessions.keys = k.sessions.keys_per_client = 1 << 20;
		w = world_create(&k);
		a = sim_add(w, 0);
		fault_arm(FAULT_ALL, at, false);
		through = walk(w) && !fault_fired();
		fault_arm(0, 0, false);
		world_check(w);
		world_restart(w);
		world_check(w);
		world_destroy(w);
	}
}

/* A server that cannot take over leaves everything to the next one. */
TEST(a_takeover_whose_memory_fails)
{
	int r = -1;

	for (uint64_t at = 1; r; at++) {
		struct world *w = world_create(&talk_world);
		uint64_t one, two;

		a = sim_add(w, 0);
		CHECK_OK(talk_open(a, "one", 0, &one));
		CHECK_OK(talk_append(a, one, 0, 0, 700));
		CHECK_OK(talk_fork(a, one, 65, "two", &two));
		world_die(w);
		w->given = fake_hold_give(&w->k);
		CHECK_OK(store_create(&w->options, &w->s));
		fault_arm(FAULT_ALL, at, false);
		r = store_pool_attach(w->s, 0, &w->given, talk_alive, w, &w->p);
		CHECK(r == 0 || fault_fired());
		r = fault_fired();
		fault_arm(0, 0, false);
		hold_set_fini(&w->given, NULL);
		store_destroy(w->s);
		CHECK_OK(world_attach(w));
		world_adopt(w);
		talk_is(w, one, 0, 700);
		talk_is(w, two, 0, 65);
		world_check(w);
		world_destroy(w);
	}
}

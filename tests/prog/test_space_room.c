/* SPDX-License-Identifier: Apache-2.0 */
/* A space over a real node that runs out of pins or mappings. */
#include <pthread.h>
#include <stdatomic.h>
#include "tests/prog/space_rig.h"

/* ---- letting go ---- */

struct reader {
	oc_span *sp;
	size_t n;
	_Atomic(bool) stop;
	_Atomic(uint64_t) rounds, wrong;
};

static void *read_on(void *arg)
{
	struct reader *w = arg;
	char *base = sp_at(w->sp, 0);
	uint64_t want[64];

	for (size_t i = 0; i < w->n; i++)
		memcpy(&want[i], base + i * SP_PART, sizeof(want[i]));
	while (!w->stop) {
		for (size_t i = 0; i < w->n; i++) {
			uint64_t got;

			memcpy(&got, base + i * SP_PART, sizeof(got));
			w->wrong += got != want[i];
		}
		w->rounds++;
	}
	return NULL;
}

TEST(readers_never_see_a_block_leave)
{
	struct reader w = { .n = 32 };
	pthread_t thread;
	struct space_rig r;
	uint64_t base;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 32, SP_PART);
	w.sp = sp_map(r.s, 0, 32, 0);
	CHECK_OK(pthread_create(&thread, NULL, read_on, &w));
	LIVE_WAIT(&r.n, w.rounds > 0);
	for (int i = 0; i < LIVE_N(2000); i++)
		CHECK_OK(oc_span_advise(w.sp, (size_t)i % 30, 2,
					OC_ADVISE_DO_NOT_NEED, 0));
	base = w.rounds;
	LIVE_WAIT(&r.n, w.rounds > base + 1);
	w.stop = true;
	CHECK_OK(pthread_join(thread, NULL));
	CHECK_INT(w.wrong, ==, 0);
	CHECK_INT(sp_report(r.s).returned, >, 0);
	sp_end(&r);
}

TEST(a_space_larger_than_its_pins)
{
	struct space_rig r;
	oc_span *sp;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	live_write_some(r.ns, 0, 1000, SP_PART);
	sp = sp_map(r.s, 0, 1000, OC_SPAN_LAZY);
	CHECK_OK(oc_span_hold(sp, 0, 4, 0, 0));
	for (size_t i = 0; i < 1000; i++)
		sp_right(sp, i, i);
	for (size_t i = 1000; i-- > 0;)
		sp_right(sp, i, i);
	CHECK_INT(sp_report(r.s).let_go, >, 800);
	CHECK_INT(sp_state(sp, 0), ==, OC_BLOCK_MAPPED);
	CHECK_INT(sp_state(sp, 3), ==, OC_BLOCK_MAPPED);
	CHECK_INT(sp_report(r.s).faults_lost, ==, 0);
	sp_end(&r);
}

TEST(what_was_written_is_not_let_go)
{
	struct space_rig r;
	oc_span *sp;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	live_write_some(r.ns, 0, 500, SP_PART);
	sp = sp_map(r.s, 0, 500, OC_SPAN_LAZY);
	for (size_t i = 0; i < 500; i += 5)
		sp_at(sp, i)[9] ^= 0x55;
	for (size_t i = 0; i < 500; i++)
		if (i % 5)
			sp_right(sp, i, i);
	for (size_t i = 0; i < 500; i += 5) {
		sp_at(sp, i)[9] ^= 0x55;
		sp_right(sp, i, i);
	}
	sp_end(&r);
}

/* ---- mappings run out ---- */

TEST(mappings_run_out_and_blocks_are_copied)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_FAULTS,
				       .mappings = 40 };
	struct oc_key keys[64];
	struct space_rig r;
	oc_span *sp;

	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 200, SP_PART);
	oc_space_destroy(r.s);
	CHECK_OK(oc_space_create(r.ns, &so, &r.s));
	for (int i = 0; i < 64; i++)
		keys[i] = live_key(3 * i);
	CHECK_OK(oc_span_map(r.s, keys, 64, NULL, &sp));
	for (size_t i = 0; i < 64; i++)
		sp_right(sp, i, 3 * i);
	CHECK_INT(sp_info(sp).copied, >, 0);
	CHECK_INT(sp_report(r.s).maps_full, >, 0);
	CHECK_INT(sp_report(r.s).mappings, <=, 40);
	sp_end(&r);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A space over a real node that runs out of pins or mappings. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/utsname.h>
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

/* Blocks of one page, armed and touched by nobody, were written by nobody. */
TEST(untouched_pages_are_let_go_and_not_copied)
{
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key keys[200];
	struct space_rig r;
	oc_space *s;
	oc_span *sp;
	oc_ns *ns;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	ns = live_ns(r.c, 4096);
	live_write_some(ns, 0, 200, 4096);
	s = sp_make(ns, OC_SPACE_FAULTS);
	for (uint64_t i = 0; i < 200; i++)
		keys[i] = live_key(i);
	o.flags = OC_SPAN_LAZY;
	CHECK_OK(oc_span_map(s, keys, 200, &o, &sp));
	for (size_t i = 0; i < 200; i++) /* a mapping each */
		CHECK_OK(oc_span_prefetch(sp, i, 1, OC_PREFETCH_WAIT, 0));
	CHECK_INT(sp_report(s).let_go, >=, 200 - 80);
	CHECK_INT(sp_report(s).own_bytes, ==, 0);
	CHECK_INT(sp_info(sp).own + sp_info(sp).copied, ==, 0);
	oc_space_destroy(s);
	oc_ns_close(ns);
	sp_end(&r);
}

/* ---- the kernel's own limit ---- */

#define MAPS_MOST 200000u
#define FEW_KEYS  128
#define LEFT	  64 /* mappings that are not taken */

/* Takes mappings of this process until the kernel gives no more; leaves `left`. */
static char *take_mappings(size_t left, size_t *ret_pages)
{
	char *at = mmap(NULL, MAPS_MOST * 4096ull, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t n = 0;

	CHECK(at != MAP_FAILED);
	/* every second page is a mapping of its own, and so is what is between */
	while (n < MAPS_MOST && mprotect(at + n * 4096, 4096, PROT_READ) == 0)
		n += 2;
	if (n >= MAPS_MOST)
		SKIP("vm.max_map_count is more than %u", MAPS_MOST);
	*ret_pages = n;
	/* n / 2 pages, two mappings each */
	CHECK_OK(munmap(at, ALIGN_UP(left, 2) * 4096));
	return at;
}

/* Pages can be marked (Linux 6.6). */
static bool has_poison(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	return uname(&u) == 0 &&
	       sscanf(u.release, "%d.%d", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 6));
}

/* The space thinks that there is room, and there is none: no crash, no wrong
 * bytes, touches and writes go on by copies. */
TEST(the_kernel_has_no_mappings_left)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .how = OC_SPACE_FAULTS,
				       .mappings = 1000000 };
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_key keys[FEW_KEYS];
	oc_span *run, *sp, *gone;
	struct space_rig r;
	size_t pages = 0;
	char *taken;

#ifdef LIVE_SLOW
	SKIP("a sanitizer needs mappings of its own");
#endif
	sp_start(&r, OC_SPACE_FAULTS);
	live_write_some(r.ns, 0, 3 * FEW_KEYS, SP_PART);
	oc_space_destroy(r.s);
	CHECK_OK(oc_space_create(r.ns, &so, &r.s));
	for (uint64_t i = 0; i < FEW_KEYS; i++)
		keys[i] = live_key(3 * i);
	o.flags = OC_SPAN_LAZY;
	CHECK_OK(oc_span_map(r.s, keys, FEW_KEYS, &o, &sp));
	run = sp_map(r.s, 0, 16, 0);
	keys[0] = live_key(1000000); /* nobody has it */
	CHECK_OK(oc_span_map(r.s, keys, 1, &o, &gone));
	taken = take_mappings(LEFT, &pages);
	for (size_t i = 0; i < FEW_KEYS; i++)
		sp_right(sp, i, 3 * i);
	CHECK_INT(sp_info(sp).mapped + sp_info(sp).copied, ==, FEW_KEYS);
	CHECK_INT(sp_info(sp).copied, >, 0);
	CHECK_INT(sp_report(r.s).maps_refused, >, 0);
	CHECK_INT(sp_report(r.s).faults_lost, ==, 0);
	CHECK(strstr(sp_report(r.s).advice, "vm.max_map_count"));
	/* what is gone is told all the same, and so is what never was */
	if (has_poison()) {
		sp_catch_bus();
		CHECK(sp_is_bus(sp_at(gone, 0)));
		CHECK_INT(sp_state(gone, 0), ==, OC_BLOCK_BUS);
		CHECK(sp_is_bus(sp_at(gone, 0) + SP_PART));
	}
	/* in the midst of a mapping: its own frame would take two more */
	sp_at(run, 7)[3] ^= 0x55;
	CHECK_INT(sp_state(run, 7), ==, OC_BLOCK_MAPPED); /* the kernel's */
	CHECK_OK(live_read(r.ns, 7, SP_PART));
	sp_at(run, 7)[3] ^= 0x55;
	for (size_t i = 0; i < 16; i++)
		sp_right(run, i, i);
	CHECK_OK(munmap(taken, MAPS_MOST * 4096ull));
	/* there is room again, and what was written is still there */
	sp_at(run, 7)[3] ^= 0x55;
	CHECK_OK(oc_span_prefetch(run, 0, 0, OC_PREFETCH_WAIT, 0));
	sp_at(run, 7)[3] ^= 0x55;
	sp_right(run, 7, 7);
	sp_end(&r);
}

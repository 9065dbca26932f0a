/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touches of blocks that are not mapped yet.
 *
 * What handing a fault over costs depends on where the two threads run more than
 * on anything else: 3 us on one processor, 10 us and more on two. So each side is
 * measured in both places, and compared with the other in the same place: the
 * best of a few turns each, because what else runs on the machine only adds.
 */
#include <errno.h>
#include <sched.h>

#include "base/clock.h"
#include "base/rng.h"
#include "bench_space.h"

#define FAULTS	    2000u
#define LAZY_BLOCKS 2048u
#define LAZY_TURNS  3u

/* ---- one after the other ---- */

/* Mean of touches of every second block, so that none lies beside the last. */
static int lazy_us(struct space_bench *s, struct plain_cpus cpus,
		   double *ret_us)
{
	struct space_one o;
	uint64_t start, sum = 0;
	double ignored;
	int r;

	plain_run_on(cpus.serve); /* its threads do, too */
	r = space_one_open(s, OC_SPAN_LAZY, &o, &ignored);
	plain_run_on(cpus.touch);
	if (r == 0) {
		r = oc_span_advise(o.span, 0, 0, OC_ADVISE_RANDOM, 0);
		start = clock_ns();
		for (size_t k = 0; k < LAZY_BLOCKS; k++)
			sum += plain_pages(o.base + (k * 2 + 1) * o.stride, 1);
		*ret_us = space_us_since(start) / LAZY_BLOCKS;
		oc_space_destroy(o.space);
		if (r == 0 && !sum)
			r = -EIO;
	}
	plain_run_on(-1);
	return r;
}

/* Two processors that this process may run on; one twice. */
static struct plain_cpus two_cpus(void)
{
	struct plain_cpus cpus = { -1, -1 };
	cpu_set_t all;

	if (sched_getaffinity(0, sizeof(all), &all))
		return cpus;
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && cpus.touch < 0)
			cpus.touch = cpus.serve = i;
		else if (CPU_ISSET(i, &all) && cpus.serve == cpus.touch)
			cpus.serve = i;
	return cpus;
}

struct lazy {
	double us, handoff, plain;
};

static int lazy_turn(struct space_bench *s, struct plain_cpus cpus,
		     struct lazy *best)
{
	double handoff = plain_fault(FAULTS, cpus), us;
	double plain = plain_touch(s->place, LAZY_BLOCKS, SPACE_SMALL);
	int r;

	if (handoff < 0 || plain < 0)
		return (int)(handoff < 0 ? handoff : plain);
	r = lazy_us(s, cpus, &us);
	if (r)
		return r;
	best->us = MIN(best->us, us);
	best->handoff = MIN(best->handoff, handoff);
	best->plain = MIN(best->plain, plain / LAZY_BLOCKS);
	return 0;
}

static int lazy_at(struct bench *b, struct space_bench *s,
		   struct plain_cpus cpus, const struct bench_figure *f,
		   const char *const names[2])
{
	double handoff[BENCH_RUNS_MAX];
	int r = 0;

	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		struct lazy best = { 1e18, 1e18, 1e18 };

		for (uint32_t k = 0; k < LAZY_TURNS && r == 0; k++)
			r = lazy_turn(s, cpus, &best);
		s->value[i] = best.us / (best.plain + 1.5 * best.handoff);
		s->other[i] = best.us;
		handoff[i] = best.handoff;
	}
	if (r)
		return r;
	bench_report(b, f, s->value, b->runs);
	bench_inform(b, names[0], "us", s->other, b->runs);
	bench_inform(b, names[1], "us", handoff, b->runs);
	return 0;
}

int space_touch_lazy(struct bench *b, struct space_bench *s)
{
	static const char *const two_names[] = { "touch_lazy_us",
						 "fault_handoff_us" };
	static const char *const one_names[] = { "touch_lazy_one_cpu_us",
						 "fault_handoff_one_cpu_us" };
	struct bench_figure f = {
		.name = "touch_lazy",
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 1,
		.reference = 1,
		.against = "a touch of a plain mapping and 1.5 times an empty "
			   "fault hand-off, between the same processors",
	};
	struct plain_cpus two = two_cpus();
	struct plain_cpus one = { two.touch, two.touch };
	int r;

	space_shuffle(s, 1);
	r = lazy_at(b, s, two, &f, two_names);
	f.name = "touch_lazy_one_cpu";
	f.note = "both threads on one processor";
	return r ? r : lazy_at(b, s, one, &f, one_names);
}

/* ---- in any order ---- */

/* Every page of all blocks once, in an order that no guess follows. Faults. */
static int random_once(struct space_bench *s, double *ret_faults)
{
	uint32_t pages = (uint32_t)(s->n * (SPACE_LARGE / PAGE_BYTES)), at = 0;
	struct oc_space_report report = { .size = sizeof(report) };
	struct space_one o;
	uint64_t sum = 0;
	double ignored;
	int r = space_one_open(s, OC_SPAN_LAZY, &o, &ignored);

	if (r)
		return r;
	r = oc_span_advise(o.span, 0, 0, OC_ADVISE_RANDOM, 0);
	/* odd, so that a power of two of pages is gone through */
	for (uint32_t i = 0; i < pages; i++, at = (at + 7919) % pages)
		sum += plain_pages(o.base + (uint64_t)at * PAGE_BYTES, 1);
	if (r == 0)
		r = oc_space_report(o.space, &report);
	oc_space_destroy(o.space);
	*ret_faults = (double)report.faults;
	return r ? r : sum ? 0 : -EIO;
}

int space_random_touch(struct bench *b, struct space_bench *s)
{
	static const struct bench_figure f = {
		.name = "random_touch",
		.unit = "faults a block",
		.sense = BENCH_AT_MOST,
		.wanted = 1,
		.against = "one fault for each block of 2 MiB, whose 512 pages "
			   "are touched among those of 31 others",
	};
	int r = 0;

	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		r = random_once(s, &s->value[i]);
		s->value[i] /= (double)s->n;
	}
	if (r == 0)
		bench_report(b, &f, s->value, b->runs);
	return r;
}

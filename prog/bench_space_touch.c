/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touches of blocks that are not mapped yet.
 *
 * What handing a fault over costs depends on where the two threads run more than
 * on anything else: 5 us on one processor, 10 to 20 us on two of a virtual
 * machine. So both sides are measured in both places, each pair in the same
 * places, and the worse pair counts.
 */
#include <errno.h>
#include <sched.h>

#include "base/clock.h"
#include "base/rng.h"
#include "bench_space.h"

#define FAULTS	    2000u
#define LAZY_BLOCKS 2048u

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
	double ratio, us, handoff;
};

static int lazy_at(struct space_bench *s, struct plain_cpus cpus,
		   struct lazy *ret)
{
	double handoff = plain_fault(FAULTS, cpus), plain, us;
	int r;

	if (handoff < 0)
		return (int)handoff;
	plain = plain_touch(s->place, LAZY_BLOCKS, SPACE_SMALL) / LAZY_BLOCKS;
	if (plain < 0)
		return (int)plain;
	r = lazy_us(s, cpus, &us);
	if (r == 0)
		*ret = (struct lazy){ us / (plain + 1.5 * handoff), us,
				      handoff };
	return r;
}

int space_touch_lazy(struct bench *b, struct space_bench *s)
{
	static const struct bench_figure f = {
		.name = "touch_lazy",
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 1,
		.reference = 1,
		.against = "a touch of a plain mapping and 1.5 times an empty "
			   "fault hand-off",
		.note = "threads on one processor, and on two: the worse",
	};
	static const char *const names[2][2] = {
		{ "touch_lazy_one_us", "fault_handoff_one_us" },
		{ "touch_lazy_two_us", "fault_handoff_two_us" },
	};
	double us[2][2][BENCH_RUNS_MAX];
	struct plain_cpus two = two_cpus();
	int r = 0;

	space_shuffle(s, 1);
	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		s->value[i] = 0;
		for (int apart = 0; apart < 2 && r == 0; apart++) {
			struct plain_cpus cpus = { two.touch,
						   apart ? two.serve
							 : two.touch };
			struct lazy l = { 0 };

			r = lazy_at(s, cpus, &l);
			if (r)
				return r;
			us[apart][0][i] = l.us;
			us[apart][1][i] = l.handoff;
			s->value[i] = MAX(s->value[i], l.ratio);
		}
	}
	bench_report(b, &f, s->value, b->runs);
	for (int k = 0; k < 4; k++)
		bench_inform(b, names[k / 2][k % 2], "us", us[k / 2][k % 2],
			     b->runs);
	return 0;
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_death: three nodes; one holds pins and a full shard and is killed. Told is
 * the rate of the others in the second in which it dies, with all that they do
 * about it, against the second before; and how long it takes until one of them
 * has sealed a block of its own in the dead one's shard.
 *
 * The victim does nothing but its heartbeats, so that its end leaves the others
 * no more of the processors than they had.
 */
#include "bench_cxl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"

#define DEATH_OTHERS 2u
#define DEATH_FRAMES 20000u
#define DEATH_HELD   1000u
#define DEATH_TICK   (50 * NS_PER_MS)
#define DEATH_MS     1000

struct death {
	_Atomic uint64_t shard;	 /* of the victim, + 1; it has joined */
	_Atomic uint64_t ready;	 /* nodes at work */
	_Atomic uint64_t killed; /* ns */
	_Atomic uint64_t used;	 /* ns: a block in the dead one's room */
	_Atomic uint64_t failed;
	_Atomic uint64_t ops[DEATH_OTHERS];
};

static void death_fail(struct death *d)
{
	atomic_store(&d->failed, 1);
	_exit(1);
}

/* ---- nodes --------------------------------------------------------------------------- */

static void death_victim(const struct cxl_bench *c, struct death *d)
{
	struct region *r = cxl_bench_join(c, 1, false);
	struct region_pin pin;
	uint32_t shard = 0;

	while (r && shard < c->g.shards && !region_owns(r, shard))
		shard++;
	if (!r || cxl_bench_fill(r, 1ull << 40, DEATH_FRAMES))
		death_fail(d);
	atomic_store(&d->shard, shard + 1);
	while (atomic_load(&d->ready) < DEATH_OTHERS)
		region_tick(r);
	for (uint64_t i = 0; i < DEATH_HELD; i++) {
		struct region_name name = cxl_bench_name(i);

		if (region_pin(r, &name, &pin))
			death_fail(d);
	}
	atomic_fetch_add(&d->ready, 1);
	for (;;) {
		region_tick(r);
		poll(NULL, 0, 50);
	}
}

/* The first block in the dead one's shard. */
static void death_use(struct region *r, struct death *d, uint64_t id)
{
	for (uint64_t i = 0; i < 1000; i++) {
		struct region_name name = cxl_bench_name(id + i);
		struct region_grant g;

		if (region_grant(r, &name, 64, 0, 0, &g))
			return;
		if (region_seal(r, &g, 64, 0, 0))
			death_fail(d);
		if (g.shard + 1 != atomic_load(&d->shard))
			continue;
		atomic_store(&d->used, clock_ns());
		return;
	}
}

/* Pins at random, and writes what is missing: a shard of half of the blocks. */
static void death_other(const struct cxl_bench *c, struct death *d, uint32_t at)
{
	struct region *r = cxl_bench_join(c, 1, true);
	struct rng rng = { at + 1 };
	uint64_t tick = 0;

	if (!r || cxl_bench_fill(r, at * DEATH_FRAMES, DEATH_FRAMES))
		death_fail(d);
	atomic_fetch_add(&d->ready, 1);
	for (;;) {
		struct region_name name = cxl_bench_name(
			rng_below(&rng, DEATH_OTHERS * DEATH_FRAMES));
		struct region_pin pin;

		if (region_pin(r, &name, &pin) == 0)
			region_unpin(r, &pin);
		if (atomic_fetch_add(&d->ops[at], 1) % 64)
			continue;
		if (clock_ns() - tick < DEATH_TICK)
			continue;
		tick = clock_ns();
		if (region_tick(r))
			death_fail(d);
		if (region_owned(r) > 1 && !atomic_load(&d->used))
			death_use(r, d, (2ull + at) << 40);
	}
}

/* ---- the trial -------------------------------------------------------------------------- */

static uint64_t death_ops(struct death *d)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < DEATH_OTHERS; i++)
		n += atomic_load(&d->ops[i]);
	return n;
}

static double death_rate(struct death *d, int ms)
{
	uint64_t begin = clock_ns(), ops = death_ops(d);

	poll(NULL, 0, ms);
	return (double)(death_ops(d) - ops) * 1e9 /
	       (double)(clock_ns() - begin);
}

static int death_measure(struct bench *b, struct death *d, pid_t victim,
			 double *ret_kept, double *ret_ms)
{
	double before;

	while (atomic_load(&d->ready) <= DEATH_OTHERS) {
		if (atomic_load(&d->failed) || bench_late(b))
			return -EIO;
		poll(NULL, 0, 10);
	}
	poll(NULL, 0, 300); /* warm */
	before = death_rate(d, DEATH_MS);
	atomic_store(&d->killed, clock_ns());
	kill(victim, SIGKILL);
	*ret_kept = death_rate(d, DEATH_MS) / before;
	while (!atomic_load(&d->used)) {
		if (atomic_load(&d->failed) || bench_late(b))
			return -ETIME;
		poll(NULL, 0, 1);
	}
	*ret_ms = (double)(atomic_load(&d->used) - atomic_load(&d->killed)) /
		  NS_PER_MS;
	return 0;
}

static int death_trial(struct bench *b, double *ret_kept, double *ret_ms)
{
	struct region_geometry g = { .members = 4,
				     .shards = 1 + DEATH_OTHERS,
				     .frames = DEATH_FRAMES,
				     .frame_bytes = PAGE_BYTES,
				     .lease_ms = 500 };
	struct death *d = mmap(NULL, sizeof(*d), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[1 + DEATH_OTHERS] = { 0 };
	struct cxl_bench c;
	int err;

	if (d == MAP_FAILED)
		return -errno;
	err = cxl_bench_make(b, g, true, &c);
	if (err) {
		munmap(d, sizeof(*d));
		return err;
	}
	pid[0] = cxl_bench_fork();
	if (pid[0] == 0)
		death_victim(&c, d);
	for (uint32_t i = 0; i < DEATH_OTHERS; i++) {
		pid[i + 1] = cxl_bench_fork();
		if (pid[i + 1] == 0)
			death_other(&c, d, i);
	}
	err = death_measure(b, d, pid[0], ret_kept, ret_ms);
	for (uint32_t i = 0; i <= DEATH_OTHERS; i++)
		cxl_bench_reap(pid[i]);
	cxl_bench_end(&c);
	munmap(d, sizeof(*d));
	return err;
}

int cxl_bench_death(struct bench *b)
{
	static const struct bench_figure kept = {
		.name = "node_death_rate", .unit = "x", .sense = BENCH_AT_LEAST,
		.wanted = 0.9, .reference = 1,
		.against = "the second before",
		.note = "of the two others, pins of blocks of both; " CXL_NOTE,
	}, room = {
		.name = "node_death_room_ms", .unit = "ms",
		.sense = BENCH_AT_MOST, .wanted = 1000, .reference = 1000,
		.against = "a limit: 1 s",
		.note = "from the kill to a block that another has sealed in "
			"its shard; " CXL_NOTE,
	};
	double rates[BENCH_RUNS_MAX], ms[BENCH_RUNS_MAX];
	int err = 0;

	for (uint32_t i = 0; !err && i < b->runs; i++)
		err = death_trial(b, &rates[i], &ms[i]);
	if (err) {
		fprintf(stderr, "onecopy: bench: cxl: a node's death: %s\n",
			strerror(-err));
		return err;
	}
	bench_report(b, &kept, rates, b->runs);
	bench_report(b, &room, ms, b->runs);
	return 0;
}

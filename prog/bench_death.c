/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client's death costs the others: a process with 10,000 pins is killed.
 * Measured until the node does not know it any more; at the end its blocks are
 * removed, and none of their frames may be held. Meanwhile other processes read
 * and write, and their rate in the second that begins with the kill is compared
 * with that of the seconds around it.
 *
 * A run is several deaths, one after the other, with a second before each and one
 * after it, and medians of the three kinds of second are compared: single
 * seconds differ by more than what is looked for. There are as many others as
 * leave the server a processor: where they share one, their rate is what the
 * scheduler makes of it.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "base/clock.h"
#include "base/rng.h"
#include "bench.h"
#include "payload.h"

#define PINNED 10000u
#define BLOCKS (PINNED + 4096u) /* the others' own come last */
#define BYTES  4096ull
#define OTHERS 2u
#define WINDOW NS_PER_S
#define DEATHS 5u /* of a run */

struct shared {
	_Atomic uint32_t ready, end;
	_Atomic uint64_t ops[OTHERS];
};

struct death {
	struct bench_pool *pool;
	struct shared *shared;
	pid_t victim, other[OTHERS];
	unsigned others;
};

/* Of each kind a second for each death. */
struct seconds {
	double before[DEATHS], death[DEATHS], after[DEATHS];
};

static void nap(uint64_t ns)
{
	struct timespec t = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };

	nanosleep(&t, NULL);
}

static void wait_ready(struct death *d, uint32_t n)
{
	uint64_t until = clock_ns() + 30 * NS_PER_S;

	while (atomic_load(&d->shared->ready) < n && clock_ns() < until)
		nap(NS_PER_MS);
}

/* ---- children ------------------------------------------------------------------ */

static int child_open(const struct death *d, oc_ns **ret_ns)
{
	struct oc_client_options client = {
		.size = sizeof(client),
		.socket = node_socket(d->pool->node),
		.name = "bench",
	};
	struct oc_ns_options ns = {
		.size = sizeof(ns),
		.block_tokens = 16,
		.n_groups = 1,
		.groups = { { .slices = 1, .slice_bytes = BYTES } },
	};
	oc_client *c;
	int r = oc_client_connect(&client, &c, NULL);

	return r ? r : oc_ns_open(c, &ns, 0, ret_ns);
}

_Noreturn static void hold_pins(const struct death *d)
{
	struct oc_pin *pins = calloc(PINNED, sizeof(*pins));
	struct oc_part part = { 0, 0 };
	size_t n = 0;
	oc_ns *ns;

	if (!pins || child_open(d, &ns) ||
	    oc_pin_batch(ns, d->pool->key, PINNED, part, 0, pins, &n) ||
	    n != PINNED)
		_exit(1);
	atomic_fetch_add(&d->shared->ready, 1);
	for (;;)
		pause();
}

/* Reads most of the time, and now and then replaces a block. */
_Noreturn static void work(const struct death *d, unsigned me)
{
	static uint8_t block[BYTES];
	const struct oc_key *key = &d->pool->key[PINNED];
	struct oc_part part = { 0, 0 };
	struct rng rng = { me + 1 };
	struct oc_pin pin;
	oc_ns *ns;

	if (child_open(d, &ns))
		_exit(1);
	atomic_fetch_add(&d->shared->ready, 1);
	for (uint64_t i = 0;
	     !atomic_load_explicit(&d->shared->end, memory_order_relaxed);
	     i++) {
		const struct oc_key *k = &key[rng_below(&rng, 4096)];

		if (i % 64 == 0) {
			oc_remove(ns, k, 0);
			payload_make(k, block, BYTES);
			oc_put(ns, k, part, block, BYTES, 0);
		} else if (oc_pin(ns, k, part, 0, &pin) == 0) {
			oc_unpin(ns, &pin);
		}
		atomic_fetch_add_explicit(&d->shared->ops[me], 1,
					  memory_order_relaxed);
	}
	_exit(0);
}

static pid_t child_start(const struct death *d, int me)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (me < 0)
		hold_pins(d);
	work(d, (unsigned)me);
}

static void child_end(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
		;
	*pid = 0;
}

/* ---- measuring --------------------------------------------------------------------- */

static uint64_t leaving(oc_client *c)
{
	json_t *root = NULL;
	uint64_t n = UINT64_MAX;

	if (ask_json(c, "stat", NULL, &root) == 0)
		n = ask_u64(json_object_get(root, "counters"), "leaving");
	json_decref(root);
	return n;
}

static uint64_t ops_now(const struct death *d)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < d->others; i++)
		n += atomic_load_explicit(&d->shared->ops[i],
					  memory_order_relaxed);
	return n;
}

static double rate_of_window(const struct death *d, uint64_t start,
			     uint64_t before)
{
	uint64_t now = clock_ns();

	if (now < start + WINDOW)
		nap(start + WINDOW - now);
	return (double)(ops_now(d) - before) / (double)(clock_ns() - start);
}

static uint64_t clients(oc_client *c)
{
	struct oc_stat s;

	return oc_stat(c, &s) ? 0 : s.clients;
}

/* Nothing of the victim's pins is left: its blocks go at once. */
static int remove_pinned(struct death *d)
{
	struct bench_pool *p = d->pool;

	for (uint32_t i = 0; i < PINNED; i++) {
		int r = oc_remove(p->ns, &p->key[i], 0);

		if (r)
			return r < 0 ? r : -EIO;
	}
	return leaving(p->client) <= d->others ? 0 : -EIO;
}

static int victim_start(struct death *d)
{
	uint32_t ready = atomic_load(&d->shared->ready);

	d->victim = child_start(d, -1);
	wait_ready(d, ready + 1);
	if (atomic_load(&d->shared->ready) != ready + 1)
		return -ECHILD;
	return clients(d->pool->client) == d->others + 2 ? 0 : -EIO;
}

/* Until the node has forgotten it. */
static int kill_victim(struct death *d, double *ret_ms)
{
	uint64_t start = clock_ns();

	child_end(&d->victim);
	while (clients(d->pool->client) != d->others + 1) {
		if (clock_ns() - start > 20 * NS_PER_S)
			return -ETIMEDOUT;
		nap(NS_PER_MS / 10);
	}
	*ret_ms = (double)(clock_ns() - start) / NS_PER_MS;
	return 0;
}

static double second(const struct death *d)
{
	return rate_of_window(d, clock_ns(), ops_now(d));
}

static int one_death(struct death *d, unsigned i, struct seconds *s,
		     double *longest)
{
	double ms = 0;
	uint64_t start, ops;
	int r = victim_start(d);

	if (r)
		return r;
	s->before[i] = second(d);
	start = clock_ns();
	ops = ops_now(d);
	r = kill_victim(d, &ms);
	if (r)
		return r;
	s->death[i] = rate_of_window(d, start, ops);
	s->after[i] = second(d);
	*longest = MAX(*longest, ms);
	return 0;
}

/* Afterwards the others are faster: whoever removes looks at fewer pins. The
 * seconds of the deaths are compared with the better of both. */
static int death_once(struct death *d, double *ret_ms, double *ret_kept)
{
	struct seconds s;
	double longest = 0;
	int r = bench_pool_open(512ull << 20, BYTES, &d->pool);

	if (r == 0)
		r = bench_pool_fill(d->pool, BLOCKS);
	for (unsigned i = 0; i < d->others && r == 0; i++)
		d->other[i] = child_start(d, (int)i);
	wait_ready(d, d->others);
	for (unsigned i = 0; i < DEATHS && r == 0; i++)
		r = one_death(d, i, &s, &longest);
	if (r < 0)
		return r;
	*ret_ms = longest;
	*ret_kept = 100 * bench_median(s.death, DEATHS) /
		    MAX(bench_median(s.before, DEATHS),
			bench_median(s.after, DEATHS));
	return remove_pinned(d);
}

static int death_run(double *ret_ms, double *ret_kept)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct death d = {
		.others = (unsigned)MIN(MAX(cores - 1, 1l), (long)OTHERS),
	};
	int r;

	d.shared = mmap(NULL, sizeof(*d.shared), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (d.shared == MAP_FAILED)
		return -ENOMEM;
	r = death_once(&d, ret_ms, ret_kept);
	child_end(&d.victim);
	for (unsigned i = 0; i < d.others; i++)
		child_end(&d.other[i]);
	bench_pool_close(d.pool);
	munmap(d.shared, sizeof(*d.shared));
	return r;
}

int bench_death(struct bench *b)
{
	static const struct bench_figure back = {
		.name = "client_death_ms", .unit = "ms", .sense = BENCH_AT_MOST,
		.wanted = 1000, .reference = 1000,
		.against = "a limit: 1 s from SIGKILL until nothing is left "
			   "of 10,000 pins; the longest of five deaths",
	}, others = {
		.name = "client_death_rate", .unit = "%",
		.sense = BENCH_AT_LEAST, .wanted = 90, .reference = 100,
		.against = "the others' rate in the seconds before, or after if "
			   "that is more; medians of five deaths",
	};
	double ms[BENCH_RUNS_MAX], kept[BENCH_RUNS_MAX];
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < b->runs; i++)
		r = bench_late(b) ? -ETIME : death_run(&ms[i], &kept[i]);
	if (r)
		return r;
	bench_report(b, &back, ms, b->runs);
	bench_report(b, &others, kept, b->runs);
	return 0;
}

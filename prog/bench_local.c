/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hit costs: pin and unpin blocks among a million in random order. The
 * blocks' keys are shuffled once, so that every probe, every descriptor and
 * every slot comes from memory, not from a cache that the last one filled.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"
#include "bench.h"

/* Pins between two looks at the clock: its 20 to 40 ns must not be part of the
 * result. */
#define LOCAL_CHUNK	    64u
#define LOCAL_BATCH	    8192u
#define LOCAL_WARM	    20000u
#define LOCAL_COUNTED	    100000u
#define LOCAL_COUNT_SECONDS 10

static const struct oc_part local_part = { 0, 0 };

static void local_shuffle(struct oc_key *key, uint64_t n, uint64_t seed)
{
	struct rng rng = { seed };

	for (uint64_t i = n; i > 1; i--) {
		uint64_t j = rng_below(&rng, i);
		struct oc_key k = key[i - 1];

		key[i - 1] = key[j];
		key[j] = k;
	}
}

static int local_pin_range(struct bench_pool *p, uint64_t from, uint64_t n)
{
	struct oc_pin pin;

	for (uint64_t i = from; i < from + n; i++) {
		int r = oc_pin(p->ns, &p->key[i], local_part, 0, &pin);

		if (unlikely(r))
			return r < 0 ? r : -ENOENT;
		oc_unpin(p->ns, &pin);
	}
	return 0;
}

/* One pass over all blocks: median of the chunks, and pins a second. */
static int local_pass(struct bench *b, struct bench_pool *p, double *chunk,
		      double *ret_ns, double *ret_rate)
{
	uint64_t n = p->blocks / LOCAL_CHUNK, all = clock_ns(), last = all;
	int r;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t now;

		r = local_pin_range(p, i * LOCAL_CHUNK, LOCAL_CHUNK);
		if (r)
			return r;
		now = clock_ns();
		chunk[i] = (double)(now - last) / LOCAL_CHUNK;
		last = now;
		if (i % 256 == 0 && bench_late(b))
			return -ETIME;
	}
	*ret_rate = (double)(n * LOCAL_CHUNK) * 1e9 / (double)(last - all);
	*ret_ns = bench_median(chunk, (uint32_t)n);
	return 0;
}

static int local_single(struct bench *b, struct bench_pool *p)
{
	static const struct bench_figure ns = {
		.name = "pin_ns", .unit = "ns", .sense = BENCH_AT_MOST,
		.wanted = 300, .against = "a limit: 300 ns a pin and unpin",
		.reference = 300,
	}, rate = {
		.name = "pin_rate", .unit = "1/s", .sense = BENCH_AT_LEAST,
		.wanted = 3e6, .against = "a limit: 3 million a second",
		.reference = 3e6,
	};
	double values[BENCH_RUNS_MAX], rates[BENCH_RUNS_MAX];
	double *chunk = malloc((p->blocks / LOCAL_CHUNK + 1) * sizeof(*chunk));
	int r = chunk ? 0 : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < b->runs; i++) {
		local_shuffle(p->key, p->blocks, i + 1);
		r = local_pin_range(p, 0, MIN(p->blocks, LOCAL_WARM));
		if (r == 0)
			r = local_pass(b, p, chunk, &values[i], &rates[i]);
	}
	free(chunk);
	if (r)
		return r;
	bench_report(b, &ns, values, b->runs);
	bench_report(b, &rate, rates, b->runs);
	return 0;
}

/* ---- 8,192 in one call ------------------------------------------------------ */

static int local_batch_pass(struct bench_pool *p, struct oc_pin *pin,
			    double *ret_us)
{
	double each[128];
	uint32_t rounds =
		(uint32_t)MIN(p->blocks / LOCAL_BATCH, ARRAY_LEN(each));

	for (uint32_t k = 0; k < rounds; k++) {
		uint64_t start = clock_ns();
		size_t got = 0;
		int r = oc_pin_batch(p->ns, p->key + k * LOCAL_BATCH,
				     LOCAL_BATCH, local_part, 0, pin, &got);

		each[k] = (double)(clock_ns() - start) / NS_PER_US;
		if (r)
			return r;
		oc_unpin_batch(p->ns, pin, LOCAL_BATCH);
		if (got != LOCAL_BATCH)
			return -ENOENT;
	}
	*ret_us = rounds ? bench_median(each, rounds) : 0;
	return rounds ? 0 : -ENODEV;
}

/* A batch is what an engine pins of a long session: a chain, sealed in order,
 * so its descriptors lie together and its index entries do not. The second
 * figure takes 8,192 blocks from anywhere among the million. */
static int local_batch(struct bench *b, struct bench_pool *p)
{
	static const struct bench_figure chain = {
		.name = "batch_pin_us",
		.unit = "us",
		.sense = BENCH_AT_MOST,
		.wanted = 300,
		.against = "a limit: 300 us for a chain of 8,192 pins, cold",
		.reference = 300,
	}, anywhere = {
		.name = "batch_pin_scattered_us",
		.unit = "us",
		.sense = BENCH_AT_MOST,
		.wanted = 300,
		.against = "a limit: 300 us for 8,192 pins in random order",
		.reference = 300,
	};
	double chains[BENCH_RUNS_MAX], any[BENCH_RUNS_MAX];
	struct oc_pin *pin = calloc(LOCAL_BATCH, sizeof(*pin));
	int r = pin ? 0 : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < b->runs; i++)
		r = local_batch_pass(p, pin, &chains[i]);
	for (uint32_t i = 0; r == 0 && i < b->runs; i++) {
		local_shuffle(p->key, p->blocks, 100 + i);
		r = local_batch_pass(p, pin, &any[i]);
	}
	free(pin);
	if (r)
		return r;
	bench_report(b, &chain, chains, b->runs);
	bench_report(b, &anywhere, any, b->runs);
	return 0;
}

/* ---- system calls ------------------------------------------------------------ */

/*
 * Counting system calls without a tracer: a child installs a seccomp filter
 * that turns every system call into SIGSYS, whose handler counts. What may
 * pass is what the handler and the end need. A child that is killed, or where
 * filters are refused, gives no count rather than 0.
 */
static _Atomic uint64_t *local_count;

static void local_on_sigsys(int signo)
{
	(void)signo;
	atomic_fetch_add_explicit(local_count, 1, memory_order_relaxed);
}

static int local_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_LEN(code), code };

	if (signal(SIGSYS, local_on_sigsys) == SIG_ERR ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno
								    : 0;
}

_Noreturn static void local_counted_child(const struct bench_pool *parent)
{
	struct bench_pool p = { .key = parent->key };
	struct oc_client_options options = {
		.size = sizeof(options),
		.socket = node_socket(parent->node),
		.name = "bench-syscalls",
		.read_only = true,
	};
	struct oc_ns_options ns = {
		.size = sizeof(ns),
		.block_tokens = 16,
		.ranks = 1,
		.n_groups = 1,
		.groups = { { .rule = OC_RULE_FULL,
			      .slices = 1,
			      .slice_bytes = parent->block_bytes } },
	};
	uint64_t n = MIN(parent->blocks, LOCAL_COUNTED);

	/* The first round meets every region for the first time. */
	if (oc_client_connect(&options, &p.client, NULL) ||
	    oc_ns_open(p.client, &ns, 0, &p.ns) ||
	    local_pin_range(&p, 0, parent->blocks))
		_exit(1);
	/* A call that is refused for ever may be tried for ever. */
	signal(SIGALRM, SIG_DFL);
	alarm(LOCAL_COUNT_SECONDS);
	if (local_filter())
		_exit(1);
	syscall(SYS_getppid); /* the count must see this one */
	_exit(local_pin_range(&p, 0, n) ? 1 : 0);
}

static int local_syscalls(struct bench *b, struct bench_pool *p)
{
	static const struct bench_figure f = {
		.name = "pin_syscalls",
		.unit = "calls",
		.sense = BENCH_AT_MOST,
		.wanted = 0,
		.against = "none in 100,000 pins; counted by a seccomp filter",
	};
	double value;
	pid_t pid;
	int status = 0;

	local_count = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (local_count == MAP_FAILED)
		return -errno;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		local_counted_child(p);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	value = (double)atomic_load(local_count) - 1;
	munmap(local_count, PAGE_BYTES);
	if (pid < 0 || status != 0 || value < 0) {
		fprintf(stderr, "onecopy: bench: pin_syscalls: system calls "
				"cannot be counted here (seccomp filters)\n");
		return 0;
	}
	bench_report(b, &f, &value, 1);
	return 0;
}

int bench_local(struct bench *b)
{
	struct bench_pool *p = bench_large(b);
	int r = p ? 0 : -ENODEV;

	if (r == 0) /* first: it wants the keys in the order of sealing */
		r = local_batch(b, p);
	if (r == 0)
		r = local_single(b, p);
	if (r == 0)
		r = local_syscalls(b, p);
	return r;
}

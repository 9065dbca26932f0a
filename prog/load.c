/* SPDX-License-Identifier: Apache-2.0 */
#include "load.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "load_part.h"
#include "stop.h"

#define LOAD_POLL_NS  (10 * NS_PER_MS)
#define LOAD_GRACE_NS (10 * NS_PER_S)
#define LOAD_STOP_NS  (2 * NS_PER_S)
#define LOAD_TICK_NS  (100 * NS_PER_MS)

const char *const load_time_names[LOAD_TIMES] = { "match", "pin", "nvme",
						  "grant", "seal" };
const char *const load_policy_names[LOAD_POLICIES] = { "plan", "always",
						       "never" };

void load_wait(_Atomic uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / NS_PER_S),
			       .tv_nsec = (long)(ns % NS_PER_S) };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0);
}

void load_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool load_stops(const struct load_shared *shared)
{
	return stop_wanted() ||
	       atomic_load_explicit(&shared->stop, memory_order_acquire);
}

void load_verified(struct load_result *r, uint64_t bytes, uint64_t wrong)
{
	r->delivered_bytes += bytes;
	r->verified_bytes += bytes;
	r->wrong_bytes += wrong;
	r->bad_blocks += wrong != 0;
}

double load_moves(const struct load_result *r)
{
	return r->delivered_bytes
		       ? (double)r->filled_bytes / (double)r->delivered_bytes
		       : 0;
}

int load_ns_open(const struct load_options *options, oc_client *c,
		 oc_ns **ret_ns)
{
	struct hash_piece label = { options->label, strlen(options->label) };
	struct oc_ns_options ns = {
		.size = sizeof(ns),
		.block_tokens = options->block_tokens,
		.ranks = 1,
		.n_groups = 1,
		.groups = { { .rule = OC_RULE_FULL,
			      .slices = 1,
			      .slice_bytes = options->block_bytes } },
		.label = options->label,
	};
	int r = hash_sha256(&label, 1, ns.weights);

	return r ? r : oc_ns_open(c, &ns, options->timeout_ns, ret_ns);
}

int load_open(const struct load_options *options, const char *name,
	      bool read_only, oc_client **ret_client, oc_ns **ret_ns)
{
	struct oc_client_options client = {
		.size = sizeof(client),
		.socket = options->socket,
		.name = name,
		.read_only = read_only,
		.timeout_ns = options->timeout_ns,
	};
	char error[256] = "";
	int r = oc_client_connect(&client, ret_client, error);

	if (r) {
		fprintf(stderr, "onecopy: %s: %s\n", name, error);
		return r;
	}
	r = load_ns_open(options, *ret_client, ret_ns);
	if (r) {
		fprintf(stderr, "onecopy: %s: namespace: %s\n", name,
			oc_client_error(*ret_client));
		oc_client_close(*ret_client);
	}
	return r;
}

/* ---- the parent ----------------------------------------------------------- */

static int load_map(struct load *l, uint32_t writers, uint32_t readers)
{
	l->bytes = sizeof(struct load_shared) +
		   (uint64_t)writers * readers * sizeof(struct load_ring);
	l->shared = mmap(NULL, l->bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (l->shared == MAP_FAILED)
		return -errno;
	l->shared->writers = writers;
	l->shared->readers = readers;
	for (uint32_t i = 0; i < LOAD_PROCESSES_MAX; i++)
		for (int t = 0; t < LOAD_TIMES; t++) {
			hist_init(&l->shared->writer[i].result.time[t]);
			hist_init(&l->shared->reader[i].result.time[t]);
		}
	return 0;
}

/* The pid of a child that runs fn, or -errno. */
static pid_t load_fork(struct load *l, uint32_t self,
		       int (*fn)(const struct load_options *,
				 struct load_shared *, uint32_t))
{
	pid_t parent = getpid(), pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid > 0) {
		l->left++;
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	status = fn(l->options, l->shared, self);
	fflush(NULL);
	_exit(status);
}

static int load_fork_all(struct load *l)
{
	fflush(NULL);
	for (uint32_t i = 0; i < l->shared->readers; i++) {
		l->reader_pid[i] = load_fork(l, i, load_reader);
		if (l->reader_pid[i] < 0)
			return l->reader_pid[i];
	}
	for (uint32_t i = 0; i < l->shared->writers; i++) {
		l->writer_pid[i] = load_fork(l, i, load_writer);
		if (l->writer_pid[i] < 0)
			return l->writer_pid[i];
	}
	return 0;
}

static void load_ended(struct load *l, const char *kind, uint32_t i,
		       struct load_part *part, int status)
{
	atomic_store_explicit(&part->ended, 1, memory_order_release);
	l->left--;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	part->result.died = 1;
	if (l->killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return; /* why it was stopped is known */
	l->failed = true;
	if (WIFSIGNALED(status))
		fprintf(stderr, "onecopy: %s %u died: %s\n", kind, i,
			strsignal(WTERMSIG(status)));
	else
		fprintf(stderr, "onecopy: %s %u ended with status %d\n", kind,
			i, WEXITSTATUS(status));
}

/* Collects children that have ended. True while writers are at work. */
static bool load_collect(struct load *l)
{
	struct load_shared *s = l->shared;
	uint32_t working = 0;
	int status;

	for (uint32_t i = 0; i < s->writers; i++) {
		pid_t pid = l->writer_pid[i];

		if (pid > 0 && waitpid(pid, &status, WNOHANG) == pid) {
			l->writer_pid[i] = 0;
			load_ended(l, "writer", i, &s->writer[i], status);
		}
		working += l->writer_pid[i] > 0;
	}
	for (uint32_t i = 0; i < s->readers; i++) {
		pid_t pid = l->reader_pid[i];

		if (pid > 0 && waitpid(pid, &status, WNOHANG) == pid) {
			l->reader_pid[i] = 0;
			load_ended(l, "reader", i, &s->reader[i], status);
		}
	}
	return working != 0;
}

static void load_kill(struct load *l)
{
	l->killed = true;
	for (uint32_t i = 0; i < l->shared->writers; i++)
		if (l->writer_pid[i] > 0)
			kill(l->writer_pid[i], SIGKILL);
	for (uint32_t i = 0; i < l->shared->readers; i++)
		if (l->reader_pid[i] > 0)
			kill(l->reader_pid[i], SIGKILL);
}

static double load_done(const struct load *l)
{
	uint64_t done = 0, all = l->options->end - l->options->first;

	for (uint32_t i = 0; i < l->shared->writers; i++)
		done += atomic_load_explicit(&l->shared->writer[i].done,
					     memory_order_relaxed);
	return all ? (double)done / (double)all : 1;
}

static void load_pause(void)
{
	struct timespec ts = { .tv_nsec = (long)LOAD_POLL_NS };

	nanosleep(&ts, NULL);
}

static void load_stop(struct load *l)
{
	atomic_store_explicit(&l->shared->stop, 1, memory_order_release);
}

/* Nobody who presses Ctrl-C waits for a grant's timeout. */
static uint64_t load_grace(void)
{
	return stop_wanted() ? LOAD_STOP_NS : LOAD_GRACE_NS;
}

/* Until all have ended. Children that do not stop in time are killed. */
static int load_watch(struct load *l)
{
	const struct load_options *o = l->options;
	uint64_t tick = 0, end = 0;
	int r = 0;

	while (l->left) {
		if (!load_collect(l))
			atomic_store_explicit(&l->shared->over, 1,
					      memory_order_release);
		if (r == 0 && o->tick && clock_ns() - tick >= LOAD_TICK_NS) {
			r = o->tick(o->ctx, l, load_done(l));
			tick = clock_ns();
		}
		if (!end && (r || l->failed || stop_wanted())) {
			load_stop(l);
			end = clock_ns() + load_grace();
		}
		if (end && clock_ns() > end)
			load_kill(l);
		load_pause();
	}
	if (r)
		return r;
	if (l->failed)
		return -EIO;
	return stop_wanted() ? -EINTR : 0;
}

void load_add(struct load_result *sum, const struct load_result *r)
{
	sum->requests += r->requests;
	sum->blocks += r->blocks;
	sum->hit_blocks += r->hit_blocks;
	sum->sealed_blocks += r->sealed_blocks;
	sum->exists += r->exists;
	sum->refused += r->refused;
	sum->stale += r->stale;
	sum->late += r->late;
	sum->filled_bytes += r->filled_bytes;
	sum->delivered_bytes += r->delivered_bytes;
	sum->verified_bytes += r->verified_bytes;
	sum->wrong_bytes += r->wrong_bytes;
	sum->bad_blocks += r->bad_blocks;
	sum->died += r->died;
	sum->nvme_blocks += r->nvme_blocks;
	sum->below_blocks += r->below_blocks;
	sum->computed_below += r->computed_below;
	sum->not_come += r->not_come;
	sum->first_ns += r->first_ns;
	sum->load_ns += r->load_ns;
	for (int i = 0; i < LOAD_POLICIES; i++)
		sum->expected_ns[i] += r->expected_ns[i];
	for (int t = 0; t < LOAD_TIMES; t++)
		hist_merge(&sum->time[t], &r->time[t]);
}

static void load_sum(const struct load *l, struct load_result *sum)
{
	for (uint32_t i = 0; i < l->shared->writers; i++)
		load_add(sum, &l->shared->writer[i].result);
	for (uint32_t i = 0; i < l->shared->readers; i++)
		load_add(sum, &l->shared->reader[i].result);
}

int load_run(const struct load_options *options, struct load_result *ret_result)
{
	struct load_options o = *options;
	struct load l = { .options = &o };
	uint64_t start;
	int r;

	memset(ret_result, 0, sizeof(*ret_result));
	for (int t = 0; t < LOAD_TIMES; t++)
		hist_init(&ret_result->time[t]);
	if (!o.timeout_ns)
		o.timeout_ns = 30 * NS_PER_S;
	if (!o.tiers.wait_ns)
		o.tiers.wait_ns = 60 * NS_PER_S;
	if (!o.end || o.end > o.deck->requests)
		o.end = o.deck->requests;
	o.first = MIN(o.first, o.end);
	if (o.deck->clients == 0 || o.deck->clients > LOAD_PROCESSES_MAX ||
	    o.readers > LOAD_PROCESSES_MAX)
		return -EINVAL;
	r = load_map(&l, o.deck->clients, o.readers);
	if (r)
		return r;
	start = clock_ns();
	r = load_fork_all(&l);
	if (r) {
		load_kill(&l);
		o.tick = NULL;
		load_watch(&l);
	} else {
		r = load_watch(&l);
	}
	load_sum(&l, ret_result);
	ret_result->ns = clock_ns() - start;
	munmap(l.shared, l.bytes);
	return r;
}

/* ---- holding --------------------------------------------------------------- */

static bool load_all_held(const struct load *l)
{
	for (uint32_t i = 0; i < l->shared->writers; i++)
		if (l->writer_pid[i] > 0 &&
		    !atomic_load_explicit(&l->shared->writer[i].holds,
					  memory_order_acquire))
			return false;
	return true;
}

int load_hold(struct load *l, uint64_t timeout_ns)
{
	uint64_t end = clock_ns() + timeout_ns;

	atomic_store_explicit(&l->shared->hold, 1, memory_order_release);
	while (!load_all_held(l)) {
		load_collect(l);
		if (clock_ns() > end || stop_wanted()) {
			load_go_on(l);
			return -ETIMEDOUT;
		}
		load_pause();
	}
	return 0;
}

void load_go_on(struct load *l)
{
	atomic_store_explicit(&l->shared->hold, 0, memory_order_release);
	load_wake(&l->shared->hold);
}

bool load_came_to_hold(const struct load *l)
{
	return atomic_load_explicit(&l->shared->came, memory_order_acquire);
}

void load_held(const struct load *l, uint64_t *ret_grants, uint64_t *ret_pins)
{
	uint64_t grants = 0, pins = 0;

	for (uint32_t i = 0; i < l->shared->writers; i++) {
		const struct load_part *p = &l->shared->writer[i];

		grants +=
			atomic_load_explicit(&p->grants, memory_order_relaxed);
		pins += atomic_load_explicit(&p->pins, memory_order_relaxed);
	}
	*ret_grants = grants;
	*ret_pins = pins;
}

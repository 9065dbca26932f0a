/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A probe in a child with a deadline.
 *
 * The child leads a process group of its own, which is killed whole when the
 * probe is over, and dies with its parent. Its output goes nowhere: drivers
 * like to talk. On a deadline, and when the command is interrupted, it is asked
 * first (SIGTERM), so that the probe that starts a node can end it and remove
 * its folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "doctor.h"
#include "stop.h"

#define GRACE_MS 3000

struct doctor_answer *doctor_answer_create(size_t n)
{
	void *p;

	if (fault_point(FAULT_MAP))
		return NULL;
	p = mmap(NULL, n * sizeof(struct doctor_answer), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

void doctor_answer_destroy(struct doctor_answer *a, size_t n)
{
	if (a)
		munmap(a, n * sizeof(*a));
}

static void child_quiet(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	dup3(fd, STDOUT_FILENO, O_CLOEXEC);
	dup3(fd, STDERR_FILENO, O_CLOEXEC);
	close(fd);
}

_Noreturn static void child_run(const struct doctor *d,
				const struct doctor_probe *p,
				struct doctor_answer *a, int done, pid_t parent)
{
	static const struct rlimit no_core;
	char word = 1;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1); /* it died before prctl() */
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	setrlimit(RLIMIT_CORE, &no_core);
	child_quiet();
	p->run(d, a);
	/* A parent that is gone does not matter. */
	if (write(done, &word, sizeof(word)) < 0)
		_exit(1);
	_exit(0);
}

/* 1: the child said that it is done; 0: it ended without; -errno. */
static int child_wait(int done, uint64_t ms)
{
	uint64_t end = clock_ns() + ms * NS_PER_MS, now;
	struct pollfd p = { .fd = done, .events = POLLIN };
	char word;
	int r;

	for (;;) {
		now = clock_ns();
		if (now >= end)
			return -ETIMEDOUT;
		if (stop_wanted())
			return -EINTR;
		r = poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0)
			return read(done, &word, 1) == 1;
	}
}

/* Ends what is left of the probe; the child's status as wait() tells it. A
 * child that has crashed keeps its own: it is past the point where a signal
 * matters. */
static int child_end(pid_t pid, int done, bool ask)
{
	struct pollfd p = { .fd = done, .events = POLLIN };
	int status = 0;

	if (ask) {
		kill(pid, SIGTERM);
		while (poll(&p, 1, GRACE_MS) < 0 && errno == EINTR)
			;
	}
	kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static unsigned deadline_ms(const struct doctor_probe *p)
{
	return p->deadline_ms ? p->deadline_ms : DOCTOR_DEADLINE_MS;
}

static void answer_broken(struct doctor_answer *a, const struct doctor_probe *p,
			  int why, int status)
{
	struct doctor_result *r;

	a->n = a->spilled = 0; /* the rest need not be touched */
	r = doctor_add(a, p->name);
	doctor_worsen(r, DOCTOR_BROKEN);
	r->error = -EIO;
	if (why == -ETIMEDOUT)
		doctor_value(r, "no answer within %.3g s",
			     deadline_ms(p) / 1e3);
	else if (why == -EINTR)
		doctor_value(r, "interrupted");
	else if (why < 0)
		doctor_value(r, "cannot be tried: %s", strerror(-why));
	else if (WIFSIGNALED(status))
		doctor_value(r, "ended by signal %d (%s)", WTERMSIG(status),
			     strsignal(WTERMSIG(status)));
	else
		doctor_value(r, "ended without an answer (status %d)",
			     WEXITSTATUS(status));
	doctor_cost(r, "Nothing is known of it: the probe did not end well.");
}

/* What another process wrote: all texts end, all counts are in range. */
static void answer_left_out(struct doctor_answer *a)
{
	struct doctor_result *r = &a->result[a->n - 1];
	size_t len = strlen(r->value);

	snprintf(r->value + len, sizeof(r->value) - len, " (and %u more)",
		 a->spilled);
	doctor_number(r, "left_out", a->spilled);
}

static void answer_bound(struct doctor_answer *a)
{
	a->n = MIN(a->n, (uint32_t)DOCTOR_RESULTS);
	for (uint32_t i = 0; i < a->n; i++) {
		struct doctor_result *r = &a->result[i];

		r->name[sizeof(r->name) - 1] = '\0';
		r->value[sizeof(r->value) - 1] = '\0';
		r->limit[sizeof(r->limit) - 1] = '\0';
		r->state = MIN(r->state, (uint32_t)DOCTOR_BROKEN);
		r->n_facts = MIN(r->n_facts, (uint32_t)DOCTOR_FACTS);
		r->n_gaps = MIN(r->n_gaps, (uint32_t)DOCTOR_GAPS);
		for (uint32_t k = 0; k < r->n_facts; k++) {
			r->fact[k].name[DOCTOR_NAME - 1] = '\0';
			r->fact[k].text[DOCTOR_FACT - 1] = '\0';
		}
		for (uint32_t k = 0; k < r->n_gaps; k++) {
			r->gap[k].cost[DOCTOR_TEXT - 1] = '\0';
			r->gap[k].mend[DOCTOR_MEND - 1] = '\0';
		}
	}
	if (a->n == DOCTOR_RESULTS && a->spilled)
		answer_left_out(a);
}

void doctor_probe(const struct doctor *d, const struct doctor_probe *p,
		  struct doctor_answer *a)
{
	pid_t pid, parent = getpid();
	int done[2], why, status = 0;

	a->n = a->spilled = 0; /* the rest need not be touched */
	if (stop_wanted()) {
		answer_broken(a, p, -EINTR, 0);
		return;
	}
	if (pipe2(done, O_CLOEXEC) < 0) {
		answer_broken(a, p, -errno, 0);
		return;
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child_run(d, p, a, done[1], parent);
	why = pid < 0 ? -errno : 0;
	close(done[1]);
	if (pid > 0) {
		setpgid(pid, pid);
		why = child_wait(done[0], deadline_ms(p));
		status = child_end(pid, done[0], why < 0);
	}
	close(done[0]);
	if (why == 1)
		answer_bound(a);
	else
		answer_broken(a, p, why, status);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench_resp.h"
#include "bench_resp_load.h"
#include "stop.h"

#define IDLE_CONNECTIONS 10000u
#define IDLE_FILES	 64u /* of everything else */
#define IDLE_LEAST	 1000u
/* The server looks at its clock a few times a second; two windows of the same
 * length meet one more or one less of each such moment. */
#define IDLE_WINDOW_S 2
#define IDLE_PHASE    4

struct idle {
	int *fd;
	unsigned n, wanted;
	char note[160];
};

struct idle_cost {
	uint64_t bytes, wakeups;
};

/* As many as this process may have open. */
static void idle_limit(struct idle *s)
{
	struct rlimit limit;

	s->wanted = IDLE_CONNECTIONS;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	if (limit.rlim_cur >= IDLE_CONNECTIONS + IDLE_FILES)
		return;
	s->wanted = limit.rlim_cur > IDLE_FILES
			    ? (unsigned)limit.rlim_cur - IDLE_FILES
			    : 0;
	snprintf(s->note, sizeof(s->note),
		 "%u connections: the limit of open files is %llu", s->wanted,
		 (unsigned long long)limit.rlim_cur);
}

/* The server's threads in a window in which nobody asks anything. */
static int idle_cost(const struct bench_peer *p, struct idle_cost *ret_cost)
{
	struct timespec window = { .tv_sec = IDLE_WINDOW_S };
	struct idle_cost cost;
	uint64_t before;
	int r = bench_peer_wakeups(p, &before);

	if (r)
		return r;
	nanosleep(&window, NULL);
	if (stop_wanted())
		return -EINTR;
	r = bench_peer_wakeups(p, &cost.wakeups);
	if (r == 0)
		r = bench_peer_memory(p, &cost.bytes);
	if (r)
		return r;
	cost.wakeups -= before;
	*ret_cost = cost;
	return 0;
}

/* Each has been served once: a connection costs more when it was used. */
static int idle_connect(struct idle *s, const struct bench_peer *p)
{
	while (s->n < s->wanted) {
		int fd = bench_load_dial(p), r;

		if (fd < 0)
			return fd;
		s->fd[s->n++] = fd;
		r = bench_load_ping(fd);
		if (r || stop_wanted())
			return r ? r : -EINTR;
	}
	return 0;
}

/* All of them are still there. */
static int idle_alive(const struct idle *s)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->n; i++)
		r = bench_load_ping(s->fd[i]);
	return r;
}

static void idle_report(struct bench *b, const struct idle *s,
			const struct idle_cost *without,
			const struct idle_cost *with)
{
	struct bench_figure bytes = {
		.name = "idle_connections", .unit = "B",
		.sense = BENCH_AT_MOST, .wanted = 4096, .reference = 4096,
		.against = "a limit: 4 KiB of the node for each of 10,000",
		.note = s->note[0] ? s->note : NULL,
	}, wakeups = {
		.name = "idle_wakeups", .unit = "",
		.sense = BENCH_AT_MOST, .wanted = IDLE_PHASE,
		.against = "wakeups of the node's threads in 2 s without "
			   "connections; more of them with",
		.note = bytes.note,
	};
	double value = ((double)with->bytes - (double)without->bytes) / s->n;
	double windows[2] = { (double)without->wakeups, (double)with->wakeups };

	value = MAX(value, 0);
	bench_report(b, &bytes, &value, 1);
	value = MAX(windows[1] - windows[0], 0);
	bench_report(b, &wakeups, &value, 1);
	bench_inform(b, "idle_wakeups_without", "in 2 s", &windows[0], 1);
	bench_inform(b, "idle_wakeups_with", "in 2 s", &windows[1], 1);
}

static int idle_measure(struct bench *b, struct idle *s,
			const struct bench_peer *p)
{
	struct idle_cost without, with;
	int r = idle_cost(p, &without);

	if (r == 0)
		r = idle_connect(s, p);
	if (r == 0)
		r = idle_cost(p, &with);
	if (r == 0)
		r = idle_alive(s);
	if (r) {
		fprintf(stderr,
			"onecopy: bench: idle connections: after %u: %s\n",
			s->n, strerror(-r));
		return r;
	}
	idle_report(b, s, &without, &with);
	return 0;
}

int bench_resp_idle(struct bench *b, const struct bench_peer *p)
{
	struct idle s = { 0 };
	int r;

	bench_says("resp: idle connections");
	idle_limit(&s);
	if (s.wanted < IDLE_LEAST) {
		bench_unmeasured(b, "idle_connections", s.note);
		return 0;
	}
	s.fd = calloc(s.wanted, sizeof(*s.fd));
	r = s.fd ? idle_measure(b, &s, p) : -ENOMEM;
	for (unsigned i = 0; i < s.n; i++)
		close(s.fd[i]);
	free(s.fd);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sessions cost: forks of one of 128k tokens, one after the other, each
 * waited for; appends; and what a thousand forks add to the node's memory.
 */
#include <errno.h>
#include <onecopy/session.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "ask.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "bench.h"

#define SESSION_BLOCKS 8192u /* 128k tokens of 16 */
#define SESSION_FORKS  1000u
#define SESSION_DRAM   (128ull << 20)
#define APPENDS	       1000u

struct session_bench {
	struct bench_pool *pool;
	oc_session *parent;
	oc_session *child[SESSION_FORKS];
	/* of each run */
	double fork_us[BENCH_RUNS_MAX], fork_p99_us[BENCH_RUNS_MAX];
	double append_us[BENCH_RUNS_MAX], append_many_us[BENCH_RUNS_MAX];
	double moved[BENCH_RUNS_MAX], replicas[BENCH_RUNS_MAX];
	double history[BENCH_RUNS_MAX];
};

struct counts {
	uint64_t moved, sealed, metadata;
};

static int count(struct session_bench *s, struct counts *ret)
{
	json_t *root, *pool;
	struct oc_stat stat;
	int r = oc_stat(s->pool->client, &stat); /* tells the client's own */

	if (r == 0)
		r = ask_json(s->pool->client, "stat", NULL, &root);
	if (r)
		return r;
	pool = json_object_get(root, "counters");
	*ret = (struct counts){
		.moved = ask_u64(pool, "seal_bytes") +
			 ask_u64(pool, "copied_bytes") +
			 ask_u64(pool, "tail_copied_bytes"),
		.sealed = ask_u64(pool, "sealed"),
		.metadata = ask_u64(pool, "meta_bytes"),
	};
	json_decref(root);
	return ret->sealed ? 0 : -EPROTO;
}

static int open_one(struct session_bench *s, oc_session **ret_session)
{
	return oc_session_open(s->pool->ns, NULL, 0, ret_session);
}

static int forks(struct session_bench *s, uint32_t run)
{
	static double us[SESSION_FORKS];
	int r = 0;

	for (uint32_t i = 0; i < SESSION_FORKS && r == 0; i++) {
		uint64_t start = clock_ns();

		r = oc_session_fork(s->parent, NULL, 0, &s->child[i]);
		us[i] = (double)(clock_ns() - start) / 1000;
	}
	s->fork_us[run] = bench_median(us, SESSION_FORKS);
	s->fork_p99_us[run] = us[SESSION_FORKS * 99 / 100];
	return r;
}

static void forks_end(struct session_bench *s)
{
	for (uint32_t i = 0; i < SESSION_FORKS; i++) {
		oc_session_close(s->child[i], 0);
		s->child[i] = NULL;
	}
}

/* A thousand forks, and what they added. */
static int forks_measure(struct session_bench *s, uint32_t run)
{
	struct counts before, after;
	int r = count(s, &before);

	if (r == 0)
		r = forks(s, run);
	if (r == 0)
		r = count(s, &after);
	forks_end(s);
	if (r)
		return r;
	s->moved[run] = (double)(after.moved - before.moved);
	s->replicas[run] = (double)after.sealed / SESSION_BLOCKS;
	s->history[run] =
		(double)(after.metadata - before.metadata) / SESSION_FORKS;
	return 0;
}

static int appends_measure(struct session_bench *s, uint32_t run)
{
	static double us[APPENDS];
	uint64_t start;
	oc_session *one;
	int r = open_one(s, &one);

	if (r)
		return r;
	start = clock_ns();
	r = oc_session_append(one, s->pool->key, SESSION_BLOCKS, 0);
	s->append_many_us[run] = (double)(clock_ns() - start) / 1000;
	for (uint32_t i = 0; i < APPENDS && r == 0; i++) {
		struct oc_key key = { { 1 } };

		memcpy(key.bytes + 8, &i, sizeof(i));
		start = clock_ns();
		r = oc_session_append(one, &key, 1, 0);
		us[i] = (double)(clock_ns() - start) / 1000;
	}
	s->append_us[run] = bench_median(us, APPENDS);
	oc_session_close(one, 0);
	return r;
}

/* This process and the server on cores of their own, where there are two: on
 * one, a round trip has the 50 us in it that the server looks for more before
 * it sleeps. */
static void apart(struct session_bench *s, cpu_set_t *ret_before)
{
	pid_t server;
	cpu_set_t one;
	int cpu = 0;

	CPU_ZERO(ret_before);
	if (sched_getaffinity(0, sizeof(*ret_before), ret_before) ||
	    CPU_COUNT(ret_before) < 2 ||
	    node_server_pid(s->pool->client, &server))
		return;
	for (int nth = 0; nth < 2; cpu++) {
		if (!CPU_ISSET(cpu, ret_before))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(nth ? server : 0, sizeof(one), &one))
			return;
		nth++;
	}
}

static int session_runs(struct bench *b, struct session_bench *s)
{
	int r = bench_pool_fill(s->pool, SESSION_BLOCKS);
	cpu_set_t before;

	if (r == 0)
		r = open_one(s, &s->parent);
	if (r == 0)
		r = oc_session_append(s->parent, s->pool->key, SESSION_BLOCKS,
				      0);
	apart(s, &before);
	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		r = bench_late(b) ? -ETIME : forks_measure(s, i);
		if (r == 0)
			r = appends_measure(s, i);
	}
	if (CPU_COUNT(&before))
		sched_setaffinity(0, sizeof(before), &before);
	return r;
}

static void session_tell(struct bench *b, struct session_bench *s)
{
	static const struct bench_figure us = {
		.name = "fork_us", .unit = "us", .sense = BENCH_AT_MOST,
		.wanted = 50, .reference = 50,
		.against = "a limit: 50 us for a session of 128k tokens, "
			   "request and answer",
	}, moved = {
		.name = "fork_moved_bytes", .unit = "bytes",
		.sense = BENCH_AT_MOST, .wanted = 0,
		.against = "payload bytes that 1,000 forks wrote",
	}, replicas = {
		.name = "fork_replicas", .unit = "", .sense = BENCH_AT_MOST,
		.wanted = 1, .reference = 1,
		.against = "resident blocks for each block of the prefix, "
			   "with 1,000 forks of it",
	};

	bench_report(b, &us, s->fork_us, b->runs);
	bench_inform(b, "fork_p99_us", "us", s->fork_p99_us, b->runs);
	bench_report(b, &moved, s->moved, b->runs);
	bench_report(b, &replicas, s->replicas, b->runs);
	bench_inform(b, "fork_metadata_bytes", "bytes", s->history, b->runs);
	bench_inform(b, "append_us", "us", s->append_us, b->runs);
	bench_inform(b, "append_8192_us", "us", s->append_many_us, b->runs);
}

int bench_session(struct bench *b)
{
	struct session_bench *s = calloc(1, sizeof(*s));
	int r = s ? bench_pool_open(SESSION_DRAM, 4096, &s->pool) : -ENOMEM;

	if (r == 0)
		r = session_runs(b, s);
	if (r == 0)
		session_tell(b, s);
	else if (s && s->pool && r != -ETIME)
		fprintf(stderr, "onecopy: bench: session: %s\n",
			oc_client_error(s->pool->client));
	if (s) {
		forks_end(s);
		oc_session_leave(s->parent);
		bench_pool_close(s->pool);
	}
	free(s);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/text.h"
#include "bench_pool.h"
#include "beside.h"
#include "llama/demo.h"
#include "load_report.h"
#include "progress.h"

#define DRAM_RANDOM  (512ull << 20)
#define DRAM_MOST    (4ull << 30)
#define SYSTEM_SMALL 256u
#define UBATCH_SMALL 128u
#define WARM_SHARE   0.05 /* of a cold answer's time, about */
#define COLD_TOTAL   (DEMO_AGENTS + 1 + 17 * WARM_SHARE)
#define DRIVE	     (1ull << 30) /* more than all prompts take */
#define FLOPS	     35e9 /* of one core, about: for the first bar only */

const char *const demo_act_names[DEMO_ACTS] = {
	"without onecopy",
	"with onecopy",
	"engines killed, restarted",
	"node's server killed",
	"node stopped, started again",
};

uint64_t demo_first_ns(const struct demo_act *a, int agent)
{
	for (int t = 0; t < DEMO_TURNS; t++)
		if (a->answer[agent][t].asked)
			return a->answer[agent][t].times.first_ns;
	return 0;
}

bool demo_is_right(const struct demo *d)
{
	return d->wrong == 0 && d->lost == 0 &&
	       d->act[ACT_KILLED].sharing == DEMO_AGENTS &&
	       d->act[ACT_STOPPED].sharing == DEMO_AGENTS &&
	       d->act[ACT_STOPPED].fetched * DEMO_BLOCK >= d->system_tokens;
}

static int demo_fail(struct demo *d, int r, const char *text)
{
	if (r == -EINTR)
		text = "interrupted";
	if (text != d->error)
		snprintf(d->error, sizeof(d->error), "%s", text);
	return r;
}

/* ---- progress */

static void demo_progress(void *ctx)
{
	struct demo *d = ctx;
	double part =
		(double)(clock_ns() - d->asked_ns) / (double)MAX(d->cold_ns, 1);

	progress_show(d->terminal, d->doing,
		      (d->done + d->now * MIN(part / d->now, 0.98)) /
			      COLD_TOTAL);
}

static void demo_asks(struct demo *d, int act, int agent, int turn)
{
	bool cold = turn == 0 &&
		    (act == ACT_ALONE || (act == ACT_TOGETHER && agent == 0));

	d->done += d->now;
	d->now = cold ? 1 : WARM_SHARE;
	d->asked_ns = clock_ns();
	snprintf(d->doing, sizeof(d->doing), "%-26s agent %d ",
		 demo_act_names[act], agent + 1);
	demo_progress(d);
}

/* ---- engines */

static void demo_kill_engines(struct demo *d)
{
	for (int a = 0; a < DEMO_AGENTS; a++) {
		worker_kill(d->worker[a]);
		d->worker[a] = NULL;
	}
}

static int demo_hear(struct demo *d, int agent)
{
	int r = worker_hear(d->worker[agent], demo_progress, d, &d->reply);

	if (r == -EPIPE)
		return demo_fail(d, r, "an engine's process died");
	if (r)
		return demo_fail(d, r, oc_strerror(r));
	if (d->reply.result)
		return demo_fail(d, d->reply.result,
				 d->reply.error[0]
					 ? d->reply.error
					 : oc_strerror(d->reply.result));
	return 0;
}

/* All at once: loading a model takes a while. */
static int demo_start_engines(struct demo *d)
{
	int r = 0;

	d->session.no_node = d->node == NULL;
	d->session.node = d->node ? node_socket(d->node) : NULL;
	for (int a = 0; a < DEMO_AGENTS && r == 0; a++)
		r = worker_start(&d->session, &d->worker[a]);
	if (r)
		return demo_fail(d, r, oc_strerror(r));
	for (int a = 0; a < DEMO_AGENTS && r == 0; a++)
		r = demo_hear(d, a);
	return r;
}

static void demo_meet(struct demo *d)
{
	text_copy(d->engine, sizeof(d->engine), d->reply.engine);
	d->random = d->reply.random;
	d->trained = d->reply.trained;
	d->parameters = d->reply.parameters;
	d->cold_ns = (uint64_t)(2e9 * (double)d->parameters * d->system_tokens /
				FLOPS);
}

/* ---- one answer */

static int demo_send(struct demo *d, int act, int agent, int turn)
{
	struct worker_ask ask = { .op = WORKER_ANSWER,
				  .share = act != ACT_ALONE,
				  .generate = DEMO_GENERATE };
	const struct demo_talk *k = &d->talk[agent];
	int r = 0;

	if (act == ACT_ALONE)
		r = demo_prompt(d, agent, turn);
	if (r)
		return demo_fail(d, r, "the model has too few words");
	demo_asks(d, act, agent, turn);
	r = worker_ask(d->worker[agent], &ask, k->tokens, k->n[turn]);
	return r ? demo_fail(d, r, "an engine's process died") : 0;
}

static void demo_judge(struct demo *d, int act, int agent, int turn)
{
	struct demo_answer *right = &d->act[ACT_ALONE].answer[agent][turn];
	struct demo_answer *a = &d->act[act].answer[agent][turn];

	if (act == ACT_ALONE)
		return;
	a->wrong = a->logits != right->logits || a->n != right->n ||
		   memcmp(a->tokens, right->tokens,
			  a->n * sizeof(*a->tokens)) != 0;
	d->compared++;
	d->wrong += a->wrong;
}

static int demo_take(struct demo *d, int act, int agent, int turn)
{
	struct demo_act *all = &d->act[act];
	struct demo_answer *a = &all->answer[agent][turn];
	const struct worker_reply *p = &d->reply;
	int r = demo_hear(d, agent);

	if (r)
		return r;
	a->asked = true;
	a->times = p->times;
	a->logits = p->logits;
	a->n = MIN(p->n, DEMO_GENERATE);
	memcpy(a->tokens, p->tokens, a->n * sizeof(*a->tokens));
	text_copy(a->text, sizeof(a->text), p->text);
	all->reused += p->times.reused;
	all->computed += p->times.prompt - p->times.held - p->times.reused;
	if (act == ACT_ALONE && turn == 0)
		d->cold_ns = p->times.first_ns;
	demo_judge(d, act, agent, turn);
	if (!p->shared)
		return 0;
	d->block_bytes = p->stat.block_bytes;
	all->private_bytes = p->stat.private_bytes;
	all->failures += p->stat.import_failures;
	all->fetched += p->stat.fetched_blocks;
	all->sharing += p->times.reused >= d->system_tokens ||
			(turn == 0 && p->stat.exported_blocks >=
					      d->system_tokens / DEMO_BLOCK);
	return 0;
}

static int demo_answer(struct demo *d, int act, int agent, int turn)
{
	int r = demo_send(d, act, agent, turn);

	return r ? r : demo_take(d, act, agent, turn);
}

/* ---- the node */

static int demo_start_node(struct demo *d)
{
	struct node_options o = {
		.dram = d->random ? DRAM_RANDOM
				  : MIN(bench_memory_free() / 2, DRAM_MOST),
		.drive = DRIVE,
		.save = true,
	};
	static char program[4096];
	int r = beside_path("onecopy", program, sizeof(program));

	if (r)
		return demo_fail(d, r,
				 "the program onecopy is not beside this one");
	o.program = program;
	r = node_start(&o, &d->node, d->error);
	return r ? demo_fail(d, r, d->error) : 0;
}

static int demo_connect(struct demo *d, oc_client **ret_client)
{
	struct oc_client_options o = { .size = sizeof(o),
				       .socket = node_socket(d->node),
				       .name = "demo",
				       .read_only = true };

	return oc_client_connect(&o, ret_client, d->error);
}

static int demo_pool(struct demo *d, struct demo_act *a)
{
	struct oc_stat st = { 0 };
	oc_client *c;
	int r = demo_connect(d, &c);

	if (r)
		return demo_fail(d, r, d->error);
	r = oc_stat(c, &st);
	oc_client_close(c);
	a->pool_bytes = st.sealed_bytes;
	a->pool_blocks = st.sealed_blocks;
	return r ? demo_fail(d, r, oc_strerror(r)) : 0;
}

/* Until the next server answers. */
static int demo_kill_server(struct demo *d)
{
	struct oc_stat before, after;
	pid_t pid = 0, next = 0;
	uint64_t begin;
	oc_client *c;
	int r = demo_connect(d, &c);

	if (r)
		return demo_fail(d, r, d->error);
	r = oc_stat(c, &before);
	if (r == 0)
		r = node_server_pid(c, &pid);
	begin = clock_ns();
	if (r == 0 && kill(pid, SIGKILL))
		r = -errno;
	if (r == 0)
		r = node_server_pid(c, &next);
	d->back_ns = clock_ns() - begin;
	if (r == 0)
		r = next == pid ? -EBUSY : oc_stat(c, &after);
	if (r == 0 && after.sealed_blocks < before.sealed_blocks)
		d->lost = before.sealed_blocks - after.sealed_blocks;
	oc_client_close(c);
	return r ? demo_fail(d, r, "the node's server did not come back") : 0;
}

/* What it held is on its drive, and found there. */
static int demo_restart_node(struct demo *d)
{
	uint64_t begin = clock_ns();
	struct load_drive drive;
	int r;

	progress_show(d->terminal, "the node is stopped", d->done / COLD_TOTAL);
	r = node_restart(d->node, d->error);
	if (r)
		return demo_fail(d, r, d->error);
	d->again_ns = clock_ns() - begin;
	r = load_drive_await(node_socket(d->node), &drive);
	if (r)
		return demo_fail(d, r, "the node's drive");
	d->found = drive.parts;
	return 0;
}

/* ---- acts */

/* Only when the model is there it is known how long it was trained for. */
static int demo_meet_engines(struct demo *d)
{
	int r = demo_start_engines(d);

	if (r)
		return r;
	demo_meet(d);
	if (!demo_is_small(d))
		return 0;
	demo_kill_engines(d);
	d->system_tokens = SYSTEM_SMALL;
	d->session.ubatch = UBATCH_SMALL;
	d->session.context = SYSTEM_SMALL + DEMO_ROOM;
	r = demo_start_engines(d);
	if (r == 0)
		demo_meet(d);
	return r;
}

static int act_alone(struct demo *d)
{
	int r = demo_meet_engines(d);

	if (r)
		return r;
	r = demo_texts(d);
	if (r)
		return demo_fail(d, r,
				 d->reply.error[0] ? d->reply.error
						   : "no texts for this model");
	for (int t = 0; t < DEMO_TURNS && r == 0; t++)
		for (int a = 0; a < DEMO_AGENTS && r == 0; a++)
			r = demo_answer(d, ACT_ALONE, a, t);
	return r;
}

static int act_together(struct demo *d)
{
	int r = demo_start_engines(d);

	for (int t = 0; t < DEMO_TURNS && r == 0; t++)
		for (int a = 0; a < DEMO_AGENTS && r == 0; a++)
			r = demo_answer(d, ACT_TOGETHER, a, t);
	return r;
}

static int act_restarted(struct demo *d)
{
	int r = demo_start_engines(d);

	for (int a = 0; a < DEMO_AGENTS && r == 0; a++)
		r = demo_answer(d, ACT_RESTARTED, a, DEMO_TURNS - 1);
	return r;
}

static int act_killed(struct demo *d)
{
	int r = demo_start_engines(d);

	for (int a = 0; a < DEMO_AGENTS && r == 0; a++) {
		r = demo_send(d, ACT_KILLED, a, DEMO_TURNS - 1);
		if (r == 0 && a == 1)
			r = demo_kill_server(d);
		if (r == 0)
			r = demo_take(d, ACT_KILLED, a, DEMO_TURNS - 1);
	}
	return r;
}

static int act_stopped(struct demo *d)
{
	int r = demo_restart_node(d);

	if (r == 0)
		r = demo_start_engines(d);
	for (int a = 0; a < DEMO_AGENTS && r == 0; a++)
		r = demo_answer(d, ACT_STOPPED, a, DEMO_TURNS - 1);
	return r;
}

int demo_acts(struct demo *d)
{
	static int (*const acts[DEMO_ACTS])(struct demo * d) = {
		act_alone, act_together, act_restarted, act_killed, act_stopped
	};
	uint64_t begin = clock_ns();
	int r = 0;

	for (int i = 0; i < DEMO_ACTS && r == 0; i++) {
		if (i == ACT_TOGETHER)
			r = demo_start_node(d);
		if (r == 0)
			r = acts[i](d);
		demo_kill_engines(d);
		if (r == 0 && d->node)
			r = demo_pool(d, &d->act[i]);
	}
	/* The contexts are the same in all acts. */
	d->act[ACT_ALONE].private_bytes = d->act[ACT_TOGETHER].private_bytes;
	d->ns = clock_ns() - begin;
	progress_clear(d->terminal);
	return r;
}

void demo_end(struct demo *d)
{
	demo_kill_engines(d);
	node_stop(d->node);
	d->node = NULL;
	free(d->system);
	d->system = NULL;
}

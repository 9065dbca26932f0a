/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/agents.h"
#include "base/fault.h"
#include "base/rng.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NEVER UINT64_MAX

/* One agent. Slots [0, agents) are sessions' main agents and always in use;
 * [agents, 2 * agents) are sub-agents while they live. */
struct agent {
	uint64_t next_ms; /* of its next turn; NEVER: the slot is free */
	uint64_t session;
	uint32_t team;
	uint32_t turns_left;
	uint32_t forks; /* sub-agents that this session has had */
	uint32_t name;	/* 0: main, else the number of the sub-agent */
	uint32_t n_ids;
	uint32_t room;
	uint64_t *ids;
};

struct agents {
	struct trace_source source;
	struct agents_options o;
	struct rng rng;
	struct trace_request request; /* ids are those of an agent */
	uint64_t next_id, next_session, done;
	uint64_t *prefix; /* teams x team_blocks */
	struct agent *agent;
	uint32_t slots;
	int failed;
};

void agents_defaults(struct agents_options *ret_options)
{
	*ret_options = (struct agents_options){
		.seed = 1,
		.requests = 1000,
		.agents = 8,
		.teams = 2,
		.team_blocks = 40,
		.own_blocks = 4,
		.turn_blocks = 4,
		.turns = 16,
		.chain_blocks = 512,
		.fork_percent = 8,
		.pause_percent = 15,
		.gap_ms = 2000,
		.pause_ms = 60000,
		.block_tokens = 512,
	};
}

static struct agents *agents_of(struct trace_source *s)
{
	return container_of(s, struct agents, source);
}

/* 1 .. 2n - 1, mean n; n is at least 1. */
static uint32_t around(struct agents *a, uint32_t n)
{
	return 1 + (uint32_t)rng_below(&a->rng, 2ull * n - 1);
}

static bool chance(struct agents *a, uint32_t percent)
{
	return rng_below(&a->rng, 100) < percent;
}

static int chain_reserve(struct agent *g, uint64_t n)
{
	uint64_t *ids;

	if (n <= g->room)
		return 0;
	n = round_up_pow2(n);
	ids = mem_grow(g->ids, n, sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	g->ids = ids;
	g->room = (uint32_t)n;
	return 0;
}

static int chain_set(struct agent *g, const uint64_t *ids, uint32_t n)
{
	int r = chain_reserve(g, n);

	if (r)
		return r;
	if (n)
		memcpy(g->ids, ids, n * sizeof(*ids));
	g->n_ids = n;
	return 0;
}

static int chain_extend(struct agents *a, struct agent *g, uint32_t blocks)
{
	int r = chain_reserve(g, (uint64_t)g->n_ids + blocks);

	if (r)
		return r;
	for (uint32_t i = 0; i < blocks; i++)
		g->ids[g->n_ids++] = a->next_id++;
	return 0;
}

/* A new session in a main agent's slot; when its turn comes stays. */
static int session_begin(struct agents *a, struct agent *g)
{
	int r = chain_set(g, a->prefix + (size_t)g->team * a->o.team_blocks,
			  a->o.team_blocks);

	if (!r)
		r = chain_extend(a, g, a->o.own_blocks);
	if (r)
		return r;
	g->session = a->next_session++;
	g->turns_left = around(a, a->o.turns);
	g->forks = 0;
	return 0;
}

static struct agent *free_slot(struct agents *a)
{
	for (uint32_t i = a->o.agents; i < a->slots; i++) {
		if (a->agent[i].next_ms == NEVER)
			return &a->agent[i];
	}
	return NULL;
}

/* A sub-agent with everything that its parent has; it makes a few turns. */
static int fork_agent(struct agents *a, struct agent *parent, uint64_t now)
{
	struct agent *child = free_slot(a);
	int r;

	if (!child)
		return 0;
	r = chain_set(child, parent->ids, parent->n_ids);
	if (r)
		return r;
	child->session = parent->session;
	child->team = parent->team;
	child->name = ++parent->forks;
	child->turns_left = around(a, 3);
	child->next_ms = now + around(a, a->o.gap_ms / 4 + 1);
	return 0;
}

/* The agent whose turn comes first; the lowest slot of equal ones. */
static struct agent *first_agent(struct agents *a)
{
	struct agent *first = &a->agent[0];

	for (uint32_t i = 1; i < a->slots; i++) {
		if (a->agent[i].next_ms < first->next_ms)
			first = &a->agent[i];
	}
	return first;
}

static void fill_request(struct agents *a, const struct agent *g)
{
	struct trace_request *r = &a->request;

	r->timestamp_ms = g->next_ms;
	r->n_ids = g->n_ids;
	r->ids = g->ids;
	r->input_length = (uint64_t)g->n_ids * a->o.block_tokens;
	r->output_length = around(a, 256);
	r->session = g->session;
	if (g->name)
		snprintf(r->agent, sizeof(r->agent), "sub%u", g->name);
	else
		snprintf(r->agent, sizeof(r->agent), "main");
}

static bool last_turn(const struct agents *a, const struct agent *g)
{
	return g->turns_left == 0 ||
	       g->n_ids + 2ull * a->o.turn_blocks > a->o.chain_blocks;
}

/* What the agent that just asked does next. Its chain stays as it is: the
 * request that was handed out points at it. */
static void plan_next(struct agents *a, struct agent *g)
{
	uint64_t now = g->next_ms;
	bool pause = chance(a, a->o.pause_percent);

	a->request.stop = pause || last_turn(a, g) ? TRACE_STOP_END
						   : TRACE_STOP_TOOL;
	g->next_ms = now + around(a, pause ? a->o.pause_ms : a->o.gap_ms);
	if (last_turn(a, g) && g->name)
		g->next_ms = NEVER; /* a fork takes it only in a later call */
}

static int take_turn(struct agents *a, struct agent *g)
{
	int r = 0;

	if (!g->name && last_turn(a, g))
		r = session_begin(a, g);
	if (!r)
		r = chain_extend(a, g, around(a, a->o.turn_blocks));
	if (r)
		return r;
	g->turns_left--;
	fill_request(a, g);
	if (!g->name && !last_turn(a, g) && chance(a, a->o.fork_percent))
		r = fork_agent(a, g, g->next_ms);
	return r;
}

static int agents_next(struct trace_source *s, const struct trace_request **ret)
{
	struct agents *a = agents_of(s);
	struct agent *g;

	if (!a->failed && a->done == a->o.requests)
		a->failed = TRACE_END;
	if (a->failed)
		return a->failed;
	g = first_agent(a);
	a->failed = take_turn(a, g);
	if (a->failed) {
		snprintf(s->error, sizeof(s->error), "no memory for a chain");
		return a->failed;
	}
	plan_next(a, g);
	a->done++;
	*ret = &a->request;
	return 0;
}

static void agents_progress(const struct trace_source *s, uint64_t *ret_done,
			    uint64_t *ret_total)
{
	const struct agents *a =
		(const void *)((const char *)s -
			       offsetof(struct agents, source));

	*ret_done = a->done;
	*ret_total = a->o.requests;
}

static void agents_close(struct trace_source *s)
{
	struct agents *a = agents_of(s);

	for (uint32_t i = 0; a->agent && i < a->slots; i++)
		free(a->agent[i].ids);
	free(a->agent);
	free(a->prefix);
	free(a);
}

static const struct trace_ops agents_ops = {
	.next = agents_next,
	.progress = agents_progress,
	.close = agents_close,
};

static const char *options_wrong(const struct agents_options *o)
{
	uint64_t least = (uint64_t)o->team_blocks + o->own_blocks +
			 2ull * o->turn_blocks;

	if (!o->requests)
		return "requests: at least 1";
	if (!o->agents || o->agents > 4096)
		return "agents: from 1 to 4096";
	if (!o->teams || o->teams > o->agents)
		return "teams: from 1 to the number of agents";
	if (!o->turn_blocks || !o->turns || !o->gap_ms || !o->pause_ms ||
	    !o->block_tokens)
		return "turn blocks, turns, gaps and block tokens: at least 1";
	if (o->fork_percent > 100 || o->pause_percent > 100)
		return "percentages: at most 100";
	if (o->chain_blocks < least || o->chain_blocks > AGENTS_CHAIN_MAX)
		return "chain blocks: from the shared and own prompt and two "
		       "turns to 65536";
	return NULL;
}

static int agents_begin(struct agents *a)
{
	size_t shared = (size_t)a->o.teams * a->o.team_blocks;
	int r = 0;

	a->slots = a->o.agents * 2;
	a->agent = mem_array(a->slots, sizeof(*a->agent));
	a->prefix = mem_array(shared, sizeof(*a->prefix));
	if (!a->agent || !a->prefix)
		return -ENOMEM;
	for (size_t i = 0; i < shared; i++)
		a->prefix[i] = a->next_id++;
	for (uint32_t i = 0; i < a->slots && !r; i++) {
		struct agent *g = &a->agent[i];

		g->team = i % a->o.teams;
		g->next_ms = NEVER;
		if (i >= a->o.agents)
			continue;
		g->next_ms = around(a, a->o.gap_ms);
		r = session_begin(a, g);
	}
	return r;
}

int agents_open(const struct agents_options *options,
		struct trace_source **ret_source, char error[TRACE_ERROR])
{
	struct agents_options o;
	struct agents *a;
	const char *text;
	int r;

	agents_defaults(&o);
	if (options)
		o = *options;
	text = options_wrong(&o);
	if (text) {
		snprintf(error, TRACE_ERROR, "%s", text);
		return -EINVAL;
	}
	a = mem_alloc(sizeof(*a));
	r = -ENOMEM;
	if (a) {
		a->source.ops = &agents_ops;
		a->o = o;
		a->rng.state = o.seed;
		r = agents_begin(a);
		if (!r) {
			*ret_source = &a->source;
			return 0;
		}
		agents_close(&a->source);
	}
	snprintf(error, TRACE_ERROR, "no memory for %u agents", o.agents);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include "base/fault.h"
#include "trace/agents.h"

#define NOTHING UINT64_MAX

static struct trace_source *open_agents(const struct agents_options *o)
{
	struct trace_source *s = NULL;
	char error[TRACE_ERROR] = "";

	CHECK_OK(agents_open(o, &s, error));
	return s;
}

/* An id always follows the same predecessor, so equal ids mean equal
 * prefixes. */
static void check_prefixes(const struct trace_request *r, uint64_t *before,
			   size_t room)
{
	uint64_t last = NOTHING - 1; /* before the first */

	CHECK_INT(r->n_ids, >, 0);
	for (size_t i = 0; i < r->n_ids; i++) {
		uint64_t id = r->ids[i];

		CHECK_INT(id, <, room);
		if (before[id] == NOTHING)
			before[id] = last;
		CHECK_INT(before[id], ==, last);
		last = id;
	}
}

struct seen {
	uint64_t requests, subs, tools, ends, sessions, long_gaps;
	uint64_t last_ms;
};

static void look(struct seen *seen, const struct trace_request *r,
		 const struct agents_options *o)
{
	CHECK_INT(r->timestamp_ms, >=, seen->last_ms);
	CHECK_INT(r->n_ids, <=, o->chain_blocks);
	CHECK_INT(r->n_ids, >, o->team_blocks + o->own_blocks);
	CHECK_INT(r->input_length, ==, r->n_ids * o->block_tokens);
	CHECK_INT(r->output_length, >, 0);
	seen->last_ms = r->timestamp_ms;
	seen->requests++;
	seen->subs += strncmp(r->agent, "sub", 3) == 0;
	seen->tools += r->stop == TRACE_STOP_TOOL;
	seen->ends += r->stop == TRACE_STOP_END;
	if (r->session >= seen->sessions)
		seen->sessions = r->session + 1;
}

static void check_all(const struct agents_options *o, struct seen *seen)
{
	size_t room = 1u << 20;
	uint64_t *before = malloc(room * sizeof(*before));
	struct trace_source *s = open_agents(o);
	const struct trace_request *r;
	uint64_t done, total;

	CHECK(before);
	memset(before, 0xff, room * sizeof(*before));
	while (trace_next(s, &r) == 0) {
		check_prefixes(r, before, room);
		look(seen, r, o);
	}
	CHECK_INT(trace_next(s, &r), ==, TRACE_END);
	CHECK_INT(seen->requests, ==, o->requests);
	trace_progress(s, &done, &total);
	CHECK(done == total && total == o->requests);
	trace_close(s);
	free(before);
}

TEST(default_workload)
{
	struct agents_options o;
	struct seen seen = { 0 };

	agents_defaults(&o);
	o.requests = 5000;
	check_all(&o, &seen);
	CHECK_INT(seen.subs, >, 100);
	CHECK_INT(seen.tools, >, seen.ends);
	CHECK_INT(seen.ends, >, 500);
	CHECK_INT(seen.sessions, >, o.agents * 4);
}

TEST(many_shapes)
{
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct agents_options o;
		struct seen seen = { 0 };

		agents_defaults(&o);
		o.seed = seed;
		o.requests = 300;
		o.agents = 1 + (uint32_t)seed % 7;
		o.teams = 1 + (uint32_t)seed % o.agents;
		o.team_blocks = (uint32_t)seed * 3;
		o.own_blocks = (uint32_t)seed % 4;
		o.turn_blocks = 1 + (uint32_t)seed % 3;
		o.chain_blocks = o.team_blocks + o.own_blocks +
				 2 * o.turn_blocks + (uint32_t)seed % 50;
		o.fork_percent = seed % 2 ? 100 : 0;
		o.pause_percent = (uint32_t)seed;
		fprintf(stderr, "seed %d\n", (int)seed);
		check_all(&o, &seen);
		if (!o.fork_percent)
			CHECK_INT(seen.subs, ==, 0);
	}
}

/* Agents of a team share its whole prompt, others nothing. */
TEST(teams_share_their_prompt)
{
	struct trace_source *s = open_agents(NULL);
	const struct trace_request *r;
	struct agents_options o;

	agents_defaults(&o);
	while (trace_next(s, &r) == 0) {
		uint64_t team = r->ids[0] / o.team_blocks;

		CHECK_INT(team, <, o.teams);
		for (uint32_t i = 0; i < o.team_blocks; i++)
			CHECK_INT(r->ids[i], ==, team * o.team_blocks + i);
		CHECK_INT(r->ids[o.team_blocks], >=, o.teams * o.team_blocks);
	}
	trace_close(s);
}

static bool same(const struct trace_request *a, const struct trace_request *b)
{
	return a->timestamp_ms == b->timestamp_ms && a->n_ids == b->n_ids &&
	       a->session == b->session && a->stop == b->stop &&
	       a->output_length == b->output_length &&
	       strcmp(a->agent, b->agent) == 0 &&
	       memcmp(a->ids, b->ids, a->n_ids * sizeof(*a->ids)) == 0;
}

TEST(equal_seeds_give_equal_requests)
{
	struct agents_options o;
	const struct trace_request *ra, *rb, *rc;
	struct trace_source *a, *b, *c;
	unsigned differ = 0;

	agents_defaults(&o);
	a = open_agents(&o);
	b = open_agents(&o);
	o.seed = 2;
	c = open_agents(&o);
	while (trace_next(a, &ra) == 0) {
		CHECK_OK(trace_next(b, &rb));
		CHECK_OK(trace_next(c, &rc));
		CHECK(same(ra, rb));
		differ += !same(ra, rc);
	}
	CHECK_INT(differ, >, 900);
	trace_close(a);
	trace_close(b);
	trace_close(c);
}

/* The generator must stay what it is: results are compared over time. */
TEST(first_requests_golden)
{
	static const struct {
		uint64_t ms, session, n_ids, last;
	} want[] = {
		{ 1142, 4, 49, 116 }, { 1406, 4, 50, 117 },
		{ 1598, 4, 54, 121 }, { 1617, 5, 48, 125 },
		{ 1744, 7, 50, 131 }, { 1777, 2, 49, 136 },
		{ 1820, 6, 51, 143 }, { 2197, 4, 61, 150 },
		{ 2266, 0, 46, 152 }, { 2414, 2, 55, 158 },
		{ 2540, 0, 47, 159 }, { 2564, 2, 62, 166 },
	};
	struct trace_source *s = open_agents(NULL);
	const struct trace_request *r;

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		CHECK_OK(trace_next(s, &r));
		CHECK_INT(r->timestamp_ms, ==, want[i].ms);
		CHECK_INT(r->session, ==, want[i].session);
		CHECK_INT(r->n_ids, ==, want[i].n_ids);
		CHECK_INT(r->ids[r->n_ids - 1], ==, want[i].last);
	}
	trace_close(s);
}

#define BAD(change_)                                                       \
	do {                                                               \
		struct trace_source *s_ = NULL;                            \
		char error_[TRACE_ERROR] = "";                             \
		struct agents_options o;                                   \
		agents_defaults(&o);                                       \
		change_;                                                   \
		if (agents_open(&o, &s_, error_) != -EINVAL || !error_[0]) \
			FAIL("accepted: %s", #change_);                    \
	} while (0)

TEST(bad_options_are_refused)
{
	BAD(o.requests = 0);
	BAD(o.agents = 0);
	BAD(o.agents = 5000);
	BAD(o.teams = 0);
	BAD(o.teams = 9);
	BAD(o.turn_blocks = 0);
	BAD(o.turn_blocks = UINT32_MAX);
	BAD(o.turns = 0);
	BAD(o.gap_ms = 0);
	BAD(o.pause_ms = 0);
	BAD(o.block_tokens = 0);
	BAD(o.fork_percent = 101);
	BAD(o.pause_percent = 101);
	BAD(o.chain_blocks = 40);
	BAD(o.chain_blocks = AGENTS_CHAIN_MAX + 1);
	BAD(o.team_blocks = UINT32_MAX);
}

TEST(every_fault_is_reported)
{
	uint64_t n = 0;
	int r;

	do {
		struct trace_source *s = NULL;
		const struct trace_request *req;
		char error[TRACE_ERROR] = "";

		fault_arm(FAULT_ALL, ++n, false);
		r = agents_open(NULL, &s, error);
		if (r) {
			CHECK_INT(r, ==, -ENOMEM);
			CHECK(error[0]);
			continue;
		}
		do
			r = trace_next(s, &req);
		while (!r);
		CHECK_INT(r == TRACE_END, ==, !fault_fired());
		CHECK(r == TRACE_END || s->error[0]);
		trace_close(s);
	} while (r != TRACE_END);
	CHECK_INT(n, >, 10);
}

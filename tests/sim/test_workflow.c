/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hints of a workflow in the simulation of one cache. Teams of agents work in
 * turns: after each step one of the others goes on, which the traces of single
 * sessions do not tell; who runs the workflow knows the next three.
 */
#include "base/fault.h"
#include "base/rng.h"
#include "sim/cache.h"
#include "tests/test.h"

#define FLOWS  24u
#define ROLES  6u
#define AHEAD  3u
#define STEPS  4000u
#define PREFIX 8u /* blocks that all begin with */
#define GROWN  256u

enum says {
	SAYS_NOTHING,
	SAYS_ABOUT,  /* who, and when, wrong by up to half of it */
	SAYS_ANYONE, /* when, of sessions of any flow */
	SAYS_TENTH,  /* who, and a tenth of the time, or ten times as long */
};

struct step {
	uint32_t role, ms; /* and how long it takes */
};

struct flow {
	uint64_t first; /* session */
	uint64_t at_ms;
	uint32_t left;
	struct step plan[AHEAD + 1];
	uint64_t ids[ROLES][GROWN];
	uint32_t n[ROLES];
};

/* The workload comes from one stream of numbers, what is said from another: it
 * is the same whatever is said. */
struct work {
	struct rng rng, hints;
	uint64_t next_id, next_session;
	struct flow flow[FLOWS];
};

static void grow(struct work *w, struct flow *f, uint32_t role, uint64_t blocks)
{
	while (blocks-- && f->n[role] < GROWN)
		f->ids[role][f->n[role]++] = w->next_id++;
}

static struct step step_after(struct work *w, uint32_t role)
{
	uint32_t other = 1 + (uint32_t)rng_below(&w->rng, ROLES - 1);

	return (struct step){ (role + other) % ROLES,
			      500 + (uint32_t)rng_below(&w->rng, 16000) };
}

static void begin(struct work *w, struct flow *f, uint64_t at_ms)
{
	f->first = w->next_session;
	f->at_ms = at_ms;
	f->left = 20 + (uint32_t)rng_below(&w->rng, 40);
	w->next_session += ROLES;
	for (uint32_t r = 0; r < ROLES; r++) {
		for (f->n[r] = 0; f->n[r] < PREFIX; f->n[r]++)
			f->ids[r][f->n[r]] = f->n[r];
		grow(w, f, r, 4 + rng_below(&w->rng, 17));
	}
	f->plan[0] = step_after(w, 0);
	for (uint32_t i = 1; i <= AHEAD; i++)
		f->plan[i] = step_after(w, f->plan[i - 1].role);
}

static uint64_t said_ms(struct work *w, enum says says, uint64_t ms)
{
	if (says == SAYS_TENTH)
		return rng_below(&w->hints, 2) ? ms * 10 : ms / 10;
	return ms / 2 + rng_below(&w->hints, ms + 1);
}

static uint32_t say(struct work *w, const struct flow *f, enum says says,
		    struct trace_next ret_next[AHEAD])
{
	uint32_t n = 0, told = 0;
	uint64_t in_ms = f->plan[0].ms;

	for (uint32_t i = 1; says && i <= AHEAD; i++) {
		const struct flow *of = f;
		uint32_t role = f->plan[i].role;
		struct trace_next *next = &ret_next[n];

		if (says == SAYS_ANYONE) {
			of = &w->flow[rng_below(&w->hints, FLOWS)];
			role = (uint32_t)rng_below(&w->hints, ROLES);
		}
		if (says == SAYS_ANYONE || !(told & 1u << role)) {
			*next = (struct trace_next){
				.session = of->first + role,
				.in_ms = said_ms(w, says, in_ms),
			};
			snprintf(next->agent, sizeof(next->agent), "role%u",
				 role);
			told |= 1u << role;
			n++;
		}
		in_ms += f->plan[i].ms;
	}
	return n;
}

static struct flow *soonest(struct work *w)
{
	struct flow *f = &w->flow[0];

	for (uint32_t i = 1; i < FLOWS; i++)
		if (w->flow[i].at_ms < f->at_ms)
			f = &w->flow[i];
	return f;
}

static void one_step(struct work *w, struct sim_trace *t, enum says says)
{
	struct flow *f = soonest(w);
	uint32_t role = f->plan[0].role;
	struct trace_next next[AHEAD];
	struct trace_request q;

	grow(w, f, role, 1 + rng_below(&w->rng, 4));
	q = (struct trace_request){
		.timestamp_ms = f->at_ms,
		.input_length = f->n[role] * 512ull,
		.output_length = 100,
		.session = f->first + role,
		.stop = TRACE_STOP_END,
		.n_ids = f->n[role],
		.ids = f->ids[role],
		.n_next = say(w, f, says, next),
		.next = next,
	};
	snprintf(q.agent, sizeof(q.agent), "role%u", role);
	CHECK_OK(sim_trace_add(t, &q));
	f->at_ms += f->plan[0].ms;
	if (!--f->left) {
		begin(w, f, f->at_ms + rng_below(&w->rng, 10000));
		return;
	}
	memmove(f->plan, f->plan + 1, sizeof(f->plan[0]) * AHEAD);
	f->plan[AHEAD] = step_after(w, f->plan[AHEAD - 1].role);
}

static void workflow(struct sim_trace *t, enum says says)
{
	struct work *w = calloc(1, sizeof(*w));

	CHECK(w);
	w->rng.state = 1;
	w->hints.state = 2;
	w->next_id = PREFIX;
	sim_trace_init(t);
	for (uint32_t i = 0; i < FLOWS; i++)
		begin(w, &w->flow[i], rng_below(&w->rng, 60000));
	for (uint32_t i = 0; i < STEPS; i++)
		one_step(w, t, says);
	free(w);
}

static struct sim_cache_result run(const struct sim_trace *t,
				   const char *policy, uint32_t dram)
{
	const struct sim_cache_options o = { .policy = policy,
					     .dram = dram,
					     .seed = 1 };
	struct sim_cache_result r;

	CHECK_OK(sim_cache_run(t, &o, &r));
	return r;
}

static double rate(const struct sim_trace *t, const char *policy, uint32_t dram)
{
	struct sim_cache_result r = run(t, policy, dram);

	return (double)r.hit_blocks / (double)r.blocks;
}

static const uint32_t sizes[] = { 500, 1000, 2000 };

/* Wrong by half, they are worth a third of what the farthest next use is above
 * the policy without them. */
TEST(next_steps_gain)
{
	struct sim_trace t;

	workflow(&t, SAYS_ABOUT);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		double none = rate(&t, "onecopy", sizes[i]);
		double with = rate(&t, "onecopy-hints", sizes[i]);
		double most = rate(&t, "bound", sizes[i]);

		fprintf(stderr, "%u: %.4f %.4f %.4f\n", sizes[i], none, with,
			most);
		CHECK(with > none + (most - none) / 3);
	}
	sim_trace_fini(&t);
}

/* Wrong ones cost at most a point, against none. */
TEST(wrong_ones_cost_little)
{
	static const enum says wrong[] = { SAYS_ANYONE, SAYS_TENTH };

	for (size_t k = 0; k < ARRAY_LEN(wrong); k++) {
		struct sim_trace t;

		workflow(&t, wrong[k]);
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
			double none = rate(&t, "onecopy", sizes[i]);
			double with = rate(&t, "onecopy-hints", sizes[i]);

			fprintf(stderr, "%u: %.4f %.4f\n", sizes[i], none,
				with);
			CHECK(with > none - 0.01);
		}
		sim_trace_fini(&t);
	}
}

/* No policy but the one with hints looks at them, and what is said changes
 * nothing of the workload. */
TEST(others_do_not_look)
{
	struct sim_trace t, plain;

	workflow(&t, SAYS_ANYONE);
	workflow(&plain, SAYS_NOTHING);
	CHECK_INT(plain.nexts, ==, 0);
	CHECK_INT(t.nexts, ==, AHEAD * (uint64_t)STEPS);
	CHECK_INT(run(&t, "onecopy", 1000).hit_blocks, ==,
		  run(&plain, "onecopy", 1000).hit_blocks);
	CHECK_INT(run(&t, "lru", 1000).hit_blocks, ==,
		  run(&plain, "lru", 1000).hit_blocks);
	sim_trace_fini(&t);
	sim_trace_fini(&plain);
}

TEST(a_trace_without_memory)
{
	struct trace_next next[2] = { { .session = 3, .in_ms = 5 } };
	uint64_t ids[3] = { 1, 2, 3 };
	const struct trace_request q = {
		.session = 2, .n_ids = 3, .ids = ids, .n_next = 2, .next = next
	};
	uint64_t n = 0;
	int err;

	do {
		struct sim_trace t;

		sim_trace_init(&t);
		fault_arm(FAULT_ALLOC, ++n, false);
		err = sim_trace_add(&t, &q);
		CHECK_INT(err, ==, fault_fired() ? -ENOMEM : 0);
		CHECK_INT(t.requests, ==, err ? 0 : 1);
		sim_trace_fini(&t);
	} while (err);
	CHECK_INT(n, >, 5);
	fault_arm(0, 0, false);
}

/* On two rungs as well: what is expected stays on the upper one. */
TEST(next_steps_gain_on_two_rungs)
{
	struct sim_cache_options o = {
		.policy = "onecopy",
		.dram = 500,
		.nvme = 1500,
		.block_bytes = 64ull << 20,
		.rung = { { .bytes_per_s = 24ull << 30 },
			  { .latency_ns = 100000, .bytes_per_s = 5ull << 30 } },
		.seed = 1,
	};
	struct sim_cache_result none, with;
	struct sim_trace t;

	workflow(&t, SAYS_ABOUT);
	CHECK_OK(sim_cache_run(&t, &o, &none));
	o.policy = "onecopy-hints";
	CHECK_OK(sim_cache_run(&t, &o, &with));
	fprintf(stderr, "%.1f %.1f s\n", none.saved_prefill_s - none.load_s,
		with.saved_prefill_s - with.load_s);
	CHECK(with.saved_prefill_s - with.load_s >
	      none.saved_prefill_s - none.load_s);
	sim_trace_fini(&t);
}

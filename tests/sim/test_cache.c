/* SPDX-License-Identifier: Apache-2.0 */
/* The simulation of one cache, over generated workloads. */
#include "base/fault.h"
#include "base/rng.h"
#include "sim/cache.h"
#include "sim/fleet.h"
#include "tests/test.h"
#include "trace/agents.h"

static void generate(struct sim_trace *t, const struct agents_options *o)
{
	struct trace_source *s = NULL;
	char error[TRACE_ERROR] = "";

	sim_trace_init(t);
	CHECK_OK(agents_open(o, &s, error));
	CHECK_OK(sim_trace_load(t, s));
	trace_close(s);
}

static void usual(struct sim_trace *t, uint64_t requests)
{
	struct agents_options o;

	agents_defaults(&o);
	o.requests = requests;
	generate(t, &o);
}

struct watch {
	const struct sim_trace *t;
	uint64_t at; /* decisions */
	uint64_t hash;
	uint64_t stop_after; /* requests that are hashed; 0: all */
	uint32_t resident;
	uint8_t *is;	    /* of a block */
	uint32_t *parent;   /* of a block: number + 1, 0: none */
	uint32_t *children; /* resident ones */
	bool chains;	    /* hold the policy to them */
};

static uint32_t dense(const struct sim_trace *t, uint64_t id)
{
	for (uint32_t i = 0; i < t->distinct; i++)
		if (t->id[i] == id)
			return i;
	FAIL("id %d is not of the trace", (int)id);
}

static void watch(void *ctx, uint64_t request, char what, uint64_t id)
{
	struct watch *w = ctx;
	uint64_t word[3] = { request, (uint64_t)what, id };
	uint32_t b, p;

	if (!w->stop_after || request < w->stop_after)
		for (int i = 0; i < 3; i++)
			w->hash = (w->hash ^ word[i]) * 0x100000001b3ull;
	w->at++;
	if (!w->is)
		return;
	b = dense(w->t, id);
	CHECK_INT(w->is[b], ==, what == '-');
	w->is[b] = what == '+';
	w->resident += what == '+' ? 1u : -1u;
	p = w->parent[b];
	if (!w->chains)
		return;
	if (what == '-')
		CHECK_INT(w->children[b], ==, 0);
	if (!p)
		return;
	if (what == '+')
		CHECK(w->is[p - 1]);
	w->children[p - 1] += what == '+' ? 1u : -1u;
}

static void watch_init(struct watch *w, const struct sim_trace *t)
{
	*w = (struct watch){ .t = t };
	w->is = calloc(t->distinct, 1);
	w->parent = calloc(t->distinct, sizeof(*w->parent));
	w->children = calloc(t->distinct, sizeof(*w->children));
	CHECK(w->is && w->parent && w->children);
	for (uint64_t i = 0; i < t->requests; i++)
		for (uint32_t k = 1; k < t->request[i].n; k++) {
			const uint32_t *b = t->block + t->request[i].first;

			w->parent[b[k]] = b[k - 1] + 1;
		}
}

static void watch_fini(struct watch *w)
{
	free(w->is);
	free(w->parent);
	free(w->children);
}

static struct sim_cache_result run(const struct sim_trace *t,
				   const char *policy, uint32_t dram,
				   uint64_t limit, struct watch *w)
{
	struct sim_cache_options o = {
		.policy = policy,
		.dram = dram,
		.limit = limit,
		.seed = 1,
		.decided = w ? watch : NULL,
		.ctx = w,
	};
	struct sim_cache_result r;

	CHECK_OK(sim_cache_run(t, &o, &r));
	return r;
}

#define EACH(name)        \
	const char *name; \
	for (size_t i_ = 0; (name = sim_cache_policy_name(i_)); i_++)

/* What each policy says of itself is what its decisions come to; no more than
 * the limit is resident; the same again gives the same. */
TEST(decisions_add_up)
{
	struct sim_trace t;

	usual(&t, 400);
	EACH(name)
	{
		for (uint32_t dram = 1; dram < 2000; dram = dram * 3 + 7) {
			struct sim_cache_result r, again;
			struct watch w, v;

			watch_init(&w, &t);
			watch_init(&v, &t);
			w.chains = strncmp(name, "onecopy", 7) == 0;
			r = run(&t, name, dram, 0, &w);
			again = run(&t, name, dram, 0, &v);
			CHECK_INT(w.resident, ==, r.resident);
			CHECK_INT(r.admitted - r.evicted, ==, r.resident);
			CHECK_INT(r.peak, <=, dram);
			CHECK_INT(w.hash, ==, v.hash);
			CHECK_INT(r.hit_blocks, ==, again.hit_blocks);
			CHECK_INT(r.blocks, ==, t.blocks);
			CHECK(r.saved_prefill_s <= r.prefill_s);
			watch_fini(&w);
			watch_fini(&v);
		}
	}
	sim_trace_fini(&t);
}

/* Where everything fits, all find the same. */
TEST(room_for_all)
{
	struct sim_trace t;
	uint64_t most;

	usual(&t, 400);
	most = run(&t, "lru", t.distinct, 0, NULL).hit_blocks;
	EACH(name)
	CHECK_INT(run(&t, name, t.distinct, 0, NULL).hit_blocks, ==, most);
	sim_trace_fini(&t);
}

TEST(none_is_above_the_bound)
{
	struct sim_trace t;

	usual(&t, 1000);
	for (uint32_t dram = 50; dram < 2000; dram *= 2) {
		uint64_t most = run(&t, "bound", dram, 0, NULL).hit_blocks;

		EACH(name)
		CHECK_INT(run(&t, name, dram, 0, NULL).hit_blocks, <=, most);
	}
	sim_trace_fini(&t);
}

/* A trace that ends sooner, and one that is looked at for less long, have the
 * same decisions as far as they go. */
TEST(the_future_changes_nothing)
{
	struct sim_trace whole, cut;

	usual(&whole, 600);
	usual(&cut, 300);
	EACH(name)
	{
		struct watch a = { .stop_after = 300 }, b = { 0 }, c = { 0 };

		run(&whole, name, 300, 0, &a);
		run(&whole, name, 300, 300, &c);
		CHECK_INT(a.hash, ==, c.hash);
		if (strcmp(name, "bound") == 0 ||
		    strcmp(name, "onecopy-hints") == 0)
			continue; /* they are told of it */
		run(&cut, name, 300, 0, &b);
		CHECK_INT(a.hash, ==, b.hash);
	}
	sim_trace_fini(&whole);
	sim_trace_fini(&cut);
}

static void add(struct sim_trace *t, uint64_t at, uint64_t session,
		const uint64_t *ids, size_t n)
{
	uint64_t copy[64];
	struct trace_request r = {
		.timestamp_ms = at,
		.session = session,
		.input_length = TRACE_NUMBER_MAX,
		.output_length = TRACE_NUMBER_MAX,
		.n_ids = n,
		.ids = copy,
	};

	memcpy(copy, ids, n * sizeof(*ids));
	CHECK_OK(sim_trace_add(t, &r));
}

TEST(absurd_traces)
{
	static const uint64_t ids[] = { 7, 8, 7, 9, 8, TRACE_NUMBER_MAX };
	struct sim_trace t;

	sim_trace_init(&t);
	EACH(empty)
	{
		CHECK_INT(run(&t, empty, 10, 0, NULL).requests, ==, 0);
	}
	add(&t, 1000, 1, ids, 6);
	add(&t, 1000, 1, ids, 0); /* no blocks */
	add(&t, 500, 2, ids, 2);  /* late */
	add(&t, TRACE_NUMBER_MAX, 1, ids + 3, 2);
	add(&t, 0, TRACE_NO_SESSION, ids, 6);
	CHECK_INT(t.late, ==, 2);
	CHECK_INT(t.distinct, ==, 4);
	CHECK_INT(t.request[0].n, ==, 4); /* each id once */
	CHECK_INT(t.request[2].at_ms, ==, 1000);
	CHECK_INT(t.request[4].at_ms, ==, TRACE_NUMBER_MAX);
	EACH(name)
	{
		for (uint32_t dram = 1; dram < 6; dram++) {
			struct sim_cache_result r;

			r = run(&t, name, dram, 0, NULL);
			CHECK_INT(r.requests, ==, 5);
			CHECK_INT(r.peak, <=, dram);
		}
	}
	sim_trace_fini(&t);
}

/* Chains of any shape, with forks and returns at any time: leaf first. */
TEST(leaves_first_whatever_comes)
{
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct rng r = { seed };
		struct sim_trace t;
		uint64_t now = 0;
		struct watch w;

		sim_trace_init(&t);
		for (int i = 0; i < 300; i++) {
			uint64_t ids[20], n = 1 + rng_below(&r, 20), at = 0;

			now += rng_below(&r, 30000);
			for (uint64_t k = 0; k < n; k++) {
				/* a tree: three ways on, mostly the first */
				at = at * 3 + 1 +
				     (rng_below(&r, 4) ? 0 : rng_below(&r, 3));
				at %= TRACE_NUMBER_MAX;
				ids[k] = at;
			}
			add(&t, now, TRACE_NO_SESSION, ids, n);
		}
		watch_init(&w, &t);
		w.chains = true;
		run(&t, "onecopy", 60, 0, &w);
		watch_fini(&w);
		sim_trace_fini(&t);
	}
}

TEST(memory_refused)
{
	struct sim_trace t;

	usual(&t, 50);
	EACH(name)
	{
		struct sim_cache_options o = { .policy = name, .dram = 40 };
		struct sim_cache_result r;
		uint64_t n = 0;
		int err;

		do {
			fault_arm(FAULT_ALLOC, ++n, false);
			err = sim_cache_run(&t, &o, &r);
			if (err)
				CHECK_INT(err, ==, -ENOMEM);
		} while (fault_fired());
		CHECK_OK(err);
		CHECK_INT(n, >, 3);
		fault_arm(0, 0, false);
	}
	sim_trace_fini(&t);
}

/* ---- load up and down again --------------------------------------------------- */

struct sweep {
	struct sim_trace t;
	uint64_t now, from[16]; /* first request of each stage */
	uint32_t stages;
};

/* `sessions` take turns for `requests`, each about once a minute; a chain has 20
 * blocks and grows. Their ids go on over the stages. */
static void stage(struct sweep *s, uint32_t sessions, uint32_t requests)
{
	static uint32_t length[64];
	struct rng r = { 5 + s->stages };

	s->from[s->stages++] = s->t.requests;
	for (uint32_t i = 0; i < requests; i++) {
		uint64_t who = (i + rng_below(&r, 4)) % sessions, ids[64];

		if (length[who] < 20 || length[who] > 40)
			length[who] = 20;
		s->now += 60000 / sessions;
		for (uint32_t k = 0; k < length[who]; k++)
			ids[k] = who * 1000 + k;
		add(&s->t, s->now, who, ids, length[who]);
		length[who] += i % 4 == 0;
	}
	s->from[s->stages] = s->t.requests;
}

static double rate_of(const struct sweep *s, const char *policy, uint32_t dram,
		      uint32_t which)
{
	struct sim_cache_result a, b;

	a = run(&s->t, policy, dram, s->from[which], NULL);
	b = run(&s->t, policy, dram, s->from[which + 1], NULL);
	return (double)(b.hit_blocks - a.hit_blocks) /
	       (double)(b.blocks - a.blocks);
}

/* Where the working set does not fit, LRU keeps next to nothing; this keeps what
 * fits. And when the load has gone, it is as good as before. */
TEST(load_goes_up_and_down_again)
{
	static const uint32_t sessions[] = { 5, 10, 20, 40, 20, 10, 5 };
	struct sweep s = { 0 };
	double rate[7], lru[7];

	sim_trace_init(&s.t);
	for (unsigned i = 0; i < 7; i++)
		stage(&s, sessions[i], 1500);
	for (unsigned i = 0; i < 7; i++) {
		rate[i] = rate_of(&s, "onecopy", 350, i);
		lru[i] = rate_of(&s, "lru", 350, i);
		fprintf(stderr, "%2u sessions: %.3f, lru %.3f\n", sessions[i],
			rate[i], lru[i]);
		CHECK(rate[i] > lru[i] - 0.02);
	}
	for (unsigned i = 0; i < 3; i++)
		CHECK(rate[6 - i] > rate[i] - 0.03);
	for (unsigned i = 2; i < 5; i++)
		CHECK(rate[i] > lru[i] + 0.05);
	CHECK(rate[0] > 0.9);
	sim_trace_fini(&s.t);
}

/* ---- two rungs ------------------------------------------------------------- */

static struct sim_cache_options two_rungs(const char *policy)
{
	return (struct sim_cache_options){
		.policy = policy,
		.dram = 60,
		.nvme = 240,
		.rung = { { .bytes_per_s = 24ull << 30 },
			  { .bytes_per_s = 5ull << 30, .latency_ns = 100000 } },
		.block_bytes = 64 << 20,
		.seed = 1,
	};
}

static const char *const of_two[] = { "lru", "onecopy", "onecopy-hints" };

struct both {
	const struct sim_trace *t;
	uint8_t *is[2]; /* of a block, on each rung */
	uint32_t n[2];
	uint64_t hits, next, written; /* counted up to the request `next` */
	uint64_t hash;
};

/* What the requests before that one found. */
static void count_hits(struct both *w, uint64_t request)
{
	for (; w->next < request; w->next++) {
		const struct sim_request *q = &w->t->request[w->next];
		const uint32_t *b = w->t->block + q->first;
		uint32_t k = 0;

		while (k < q->n && (w->is[0][b[k]] || w->is[1][b[k]]))
			k++;
		w->hits += k;
	}
}

static void watch_both(void *ctx, uint64_t request, char what, uint64_t id)
{
	struct both *w = ctx;
	unsigned rung = what == '>' || what == '<';
	bool came = what == '+' || what == '>';
	uint32_t b = dense(w->t, id);

	count_hits(w, request + 1);
	CHECK_INT(w->is[rung][b], ==, !came);
	w->is[rung][b] = came;
	w->n[rung] += came ? 1u : -1u;
	CHECK_INT(w->n[0], <=, 60);
	CHECK_INT(w->n[1], <=, 240);
	w->written += what == '>';
	w->hash = (w->hash ^ id ^ (uint64_t)what << 56) * 0x100000001b3ull;
}

static struct sim_cache_result run_both(const struct sim_trace *t,
					const char *policy, uint64_t *ret_hash)
{
	struct sim_cache_options o = two_rungs(policy);
	struct both w = { .t = t };
	struct sim_cache_result r;

	w.is[0] = calloc(t->distinct, 1);
	w.is[1] = calloc(t->distinct, 1);
	CHECK(w.is[0] && w.is[1]);
	o.decided = watch_both;
	o.ctx = &w;
	CHECK_OK(sim_cache_run(t, &o, &r));
	count_hits(&w, t->requests);
	CHECK_INT(w.hits, ==, r.hit_blocks);
	CHECK_INT(w.written, ==, r.written);
	CHECK_INT(w.n[1], ==, r.nvme_resident);
	CHECK_INT(w.n[0], ==, r.resident);
	free(w.is[0]);
	free(w.is[1]);
	*ret_hash = w.hash;
	return r;
}

/* Decisions come to what the result says, and are the same each time; what is below
 * already is never written (or watch_both() would see it come twice). */
TEST(two_rungs_add_up)
{
	struct sim_trace t;
	uint64_t hash, again;

	usual(&t, 1000);
	for (size_t i = 0; i < ARRAY_LEN(of_two); i++) {
		struct sim_cache_result r = run_both(&t, of_two[i], &hash);

		run_both(&t, of_two[i], &again);
		CHECK_INT(hash, ==, again);
		CHECK(r.load_s > 0 && r.load_s <= r.saved_prefill_s);
		CHECK_INT(r.nvme_hit_blocks, >, 0);
		CHECK_INT(r.nvme_hit_blocks, <, r.hit_blocks);
		CHECK_INT(r.promoted, >, 0);
		CHECK_INT(r.hit_blocks, >,
			  run(&t, of_two[i], 60, 0, NULL).hit_blocks);
	}
	sim_trace_fini(&t);
}

/* Nothing is written to a rung from which loading takes longer than computing. */
TEST(a_rung_that_is_too_slow)
{
	struct sim_cache_options o = two_rungs("onecopy");
	struct sim_cache_result r;
	struct sim_trace t;

	usual(&t, 1000);
	o.rung[1].latency_ns = 3600ull * 1000000000;
	CHECK_OK(sim_cache_run(&t, &o, &r));
	CHECK_INT(r.written, ==, 0);
	CHECK_INT(r.nvme_hit_blocks, ==, 0);
	CHECK_INT(r.admitted, >, 0);
	sim_trace_fini(&t);
}

/* What is announced is above when it is wanted: less is loaded, and what was brought
 * and used is not more than what was brought. Nobody announces, or nobody asks:
 * nothing. */
TEST(loads_ahead_of_announced_returns)
{
	struct sim_cache_options o = two_rungs("onecopy-hints");
	struct sim_cache_result with, without, slow;
	struct sim_trace t;

	usual(&t, 1000);
	CHECK_OK(sim_cache_run(&t, &o, &with));
	o.no_prefetch = true;
	CHECK_OK(sim_cache_run(&t, &o, &without));
	CHECK_INT(without.prefetched, ==, 0);
	CHECK(without.prefetch_saved_s == 0);
	CHECK_INT(with.prefetched, >, 100);
	CHECK_INT(with.prefetched_used, <=, with.prefetched);
	CHECK_INT(with.prefetched_used, >, with.prefetched / 2);
	CHECK_INT(with.promoted, >=, with.prefetched);
	CHECK(with.prefetch_saved_s > 0);
	CHECK(with.load_s < without.load_s);
	/* as fast as memory: there is nothing to gain */
	o.no_prefetch = false;
	o.rung[1] = o.rung[0];
	CHECK_OK(sim_cache_run(&t, &o, &slow));
	CHECK_INT(slow.prefetched, ==, 0);
	o = two_rungs("onecopy");
	CHECK_OK(sim_cache_run(&t, &o, &slow));
	CHECK_INT(slow.prefetched, ==, 0);
	sim_trace_fini(&t);
}

/* Announcements that are wrong by more than they say at best, by up to ten times the
 * truth, or that half of the sessions do not make, cost what they bring and no more;
 * without any it is the policy without hints. */
TEST(hints_that_are_wrong_or_missing_cost_little)
{
	static const struct {
		uint32_t error_pm, missing_pm;
	} as[] = { { 1000, 0 }, { 10000, 0 }, { 500, 500 }, { 4000, 500 } };
	struct sim_cache_options o = { .policy = "onecopy", .dram = 150 };
	struct sim_cache_result alone, told;
	struct sim_trace t;

	usual(&t, 2000);
	CHECK_OK(sim_cache_run(&t, &o, &alone));
	o.policy = "onecopy-hints";
	for (size_t i = 0; i < ARRAY_LEN(as); i++) {
		o.hint_error_pm = as[i].error_pm;
		o.hint_missing_pm = as[i].missing_pm;
		CHECK_OK(sim_cache_run(&t, &o, &told));
		CHECK_INT(told.hit_blocks * 100, >=, alone.hit_blocks * 99);
	}
	o.hint_missing_pm = 1000;
	CHECK_OK(sim_cache_run(&t, &o, &told));
	CHECK_INT(told.hit_blocks, ==, alone.hit_blocks);
	sim_trace_fini(&t);
}

TEST(two_rungs_without_memory)
{
	struct sim_trace t;

	usual(&t, 50);
	for (size_t i = 0; i < ARRAY_LEN(of_two); i++) {
		struct sim_cache_options o = two_rungs(of_two[i]);
		struct sim_cache_result r;
		uint64_t n = 0;
		int err;

		do {
			fault_arm(FAULT_ALLOC, ++n, false);
			err = sim_cache_run(&t, &o, &r);
			if (err)
				CHECK_INT(err, ==, -ENOMEM);
		} while (fault_fired());
		CHECK_OK(err);
		CHECK_INT(n, >, 10);
		fault_arm(0, 0, false);
	}
	sim_trace_fini(&t);
}

/* ---- generated work -------------------------------------------------------- */

static struct fleet_work generated(enum fleet_shape shape)
{
	struct fleet_shape_options o;
	struct fleet_work w;

	fleet_shape_defaults(shape, &o);
	o.requests = 300;
	o.agents = 6;
	CHECK_OK(fleet_work_make(&o, &w));
	return w;
}

/* One cache finds in generated work what one engine of a fleet finds in it, where
 * requests come one by one and all fits. */
TEST(generated_work_is_the_same_for_cache_and_fleet)
{
	for (int shape = 0; shape < (int)FLEET_SHAPES; shape++) {
		struct fleet_work w = generated((enum fleet_shape)shape);
		struct sim_cache_options c = { .policy = "lru",
					       .dram = 1u << 20 };
		struct fleet_options f;
		struct sim_cache_result one;
		struct fleet_result all;
		char error[TRACE_ERROR];
		struct sim_trace t;

		for (size_t i = 0; i < w.n; i++)
			w.arrival[i].at = 1000 * (double)i;
		sim_trace_init(&t);
		CHECK_OK(sim_trace_make(&t, &w));
		CHECK_INT(t.requests, ==, w.n);
		CHECK_INT(t.blocks, ==, w.blocks);
		CHECK_INT(t.distinct, ==, w.nodes - 1);
		CHECK_INT(t.late, ==, 0);
		CHECK_OK(sim_cache_run(&t, &c, &one));
		fleet_defaults(&f);
		f.engines = 1;
		f.blocks[ROUTE_VRAM] = 1u << 20;
		CHECK_OK(fleet_run(&f, &w, &all, error));
		CHECK_INT(one.hit_blocks, ==, all.hit_blocks);
		CHECK_INT(one.hit_blocks, >, 0);
		sim_trace_fini(&t);
		fleet_work_fini(&w);
	}
}

TEST(no_memory_for_generated_work)
{
	struct fleet_work w = generated(FLEET_BURSTS);
	int r = -ENOMEM;

	for (uint64_t n = 1; r; n++) {
		struct sim_trace t;

		sim_trace_init(&t);
		fault_arm(FAULT_ALLOC, n, false);
		r = sim_trace_make(&t, &w);
		fault_arm(FAULT_ALLOC, 0, false);
		CHECK(r == 0 || r == -ENOMEM);
		CHECK_INT(n, <, 1000);
		sim_trace_fini(&t);
	}
	fleet_work_fini(&w);
}

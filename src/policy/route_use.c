/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing policies in use, each as published and with its defaults, so that
 * what is new can be compared with what there is. They choose an engine by
 * their rule; how the KV gets there is what engines do by themselves (load
 * from their own lower tiers where that is quicker), Mooncake apart, which
 * pulls. All see the same numbers.
 *
 * Ties are drawn.
 */
#include "policy/route_price.h"
#include <math.h>

/* Least value wins. */
typedef double (*value_fn)(const struct route_case *c,
			   const struct route_engine *e);

/* Of those so far that are equal, the last of n has a chance of 1 / n: each has
 * the same in the end. */
static bool drawn(uint64_t *draw, uint32_t n)
{
	*draw = *draw * 6364136223846793005u + 1442695040888963407u;
	return (*draw >> 33) % n == 0;
}

static uint32_t least_of(const struct route_case *c, value_fn value)
{
	uint32_t best = ROUTE_NONE, equal = 0;
	uint64_t draw = c->r->draw;
	double least = 0;

	for (uint32_t i = 0; i < c->f->n; i++) {
		double v = value(c, &c->f->engine[i]);

		if (best != ROUTE_NONE && v > least)
			continue;
		equal = best != ROUTE_NONE && !(v < least) ? equal + 1 : 1;
		if (drawn(&draw, equal))
			best = i;
		least = v;
	}
	return best;
}

static double by_requests(const struct route_case *c,
			  const struct route_engine *e)
{
	(void)c;
	return e->in_flight;
}

static double match_of(const struct route_case *c, const struct route_engine *e)
{
	return route_reach(e, c->r);
}

/* match / n */
static double part_of(const struct route_case *c, const struct route_engine *e)
{
	return c->r->blocks ? match_of(c, e) / c->r->blocks : 0;
}

/* The most overlap; equal ones by load. */
static double by_match(const struct route_case *c, const struct route_engine *e)
{
	return -match_of(c, e) + e->in_flight / 1e6;
}

uint32_t route_best_match(const struct route_case *c)
{
	return least_of(c, by_match);
}

static void choose(const struct route_case *c, uint32_t engine,
		   struct route_choice *ret_choice,
		   struct route_price *ret_prices)
{
	struct route_price price;

	route_local(c, engine, &price);
	route_answer(c, engine, &price, ret_choice);
	for (uint32_t i = 0; ret_prices && i < c->f->n; i++)
		route_local(c, i, &ret_prices[i]);
}

#define DECIDE(name_)                                                   \
	static void name_##_decide(const struct route_fleet *f,         \
				   const struct route_request *r,       \
				   struct route_choice *ret_choice,     \
				   struct route_price *ret_prices)      \
	{                                                               \
		struct route_case c;                                    \
                                                                        \
		route_case_init(&c, f, r, true);                        \
		choose(&c, name_##_engine(&c), ret_choice, ret_prices); \
	}

struct spread {
	double min, max, sum, squares;
};

static struct spread spread_of(const struct route_case *c)
{
	struct spread s = { .min = INFINITY };

	for (uint32_t i = 0; i < c->f->n; i++) {
		double v = c->f->engine[i].in_flight;

		s.min = MIN(s.min, v);
		s.max = MAX(s.max, v);
		s.sum += v;
		s.squares += v * v;
	}
	return s;
}

/* ---- without affinity ------------------------------------------------------------ */

static uint32_t round_robin_engine(const struct route_case *c)
{
	return (uint32_t)(c->r->serial % c->f->n);
}

static uint32_t least_requests_engine(const struct route_case *c)
{
	return least_of(c, by_requests);
}

/* Two different engines, drawn. */
static uint32_t power_of_two_engine(const struct route_case *c)
{
	uint32_t n = c->f->n, a = (uint32_t)((c->r->draw >> 32) % n), b;

	if (n == 1)
		return 0;
	b = (uint32_t)((a + 1 + (c->r->draw & UINT32_MAX) % (n - 1)) % n);
	return c->f->engine[b].in_flight < c->f->engine[a].in_flight ? b : a;
}

/* ---- SGLang's and SMG's gateways ----------------------------------------------------- */

static uint32_t sglang_engine(const struct route_case *c)
{
	struct spread s = spread_of(c);
	uint32_t best = route_best_match(c);

	if (s.max - s.min > 64 && s.max > 1.5 * s.min)
		return least_of(c, by_requests);
	if (part_of(c, &c->f->engine[best]) > 0.3)
		return best;
	return least_of(c, by_requests);
}

static uint32_t smg_engine(const struct route_case *c)
{
	double average = spread_of(c).sum / c->f->n;
	uint32_t best = route_best_match(c);
	double load = c->f->engine[best].in_flight;

	if (load > 1.5 * average && load > average + 64)
		return least_of(c, by_requests);
	return best;
}

/* ---- Dynamo --------------------------------------------------------------------------- */

static double by_dynamo(const struct route_case *c,
			const struct route_engine *e)
{
	double block = c->r->block_tokens ? c->r->block_tokens : 1;
	double prefill = (e->prefill_tokens + (double)c->r->tokens) / block;
	uint32_t device = MIN(e->run[ROUTE_VRAM], c->r->blocks);
	uint32_t host = MIN(e->run[ROUTE_CXL], c->r->blocks);
	uint32_t disk = MIN(e->run[ROUTE_NVME], c->r->blocks);
	double credit;

	/* what is on its way was recorded when it was sent */
	if (e->coming > disk)
		device = host = disk = MIN(e->coming, c->r->blocks);
	credit = device + 0.75 * (host - device) + 0.25 * (disk - host);
	return route_dynamo_cost(prefill, credit,
				 e->decode_blocks + c->r->blocks);
}

static uint32_t dynamo_engine(const struct route_case *c)
{
	return least_of(c, by_dynamo);
}

/* ---- llm-d ------------------------------------------------------------------------------- */

/* Numbers of the fleet come with each engine: they are few. */
static double by_blend(const struct route_case *c, const struct route_engine *e)
{
	double min = INFINITY, max = 0, queue;

	for (uint32_t i = 0; i < c->f->n; i++) {
		min = MIN(min, c->f->engine[i].waiting);
		max = MAX(max, c->f->engine[i].waiting);
	}
	queue = max > min ? (max - e->waiting) / (max - min) : 1;
	return -(3 * part_of(c, e) + 2 * queue + 2 * (1 - e->kv_usage));
}

static uint32_t llmd_blend_engine(const struct route_case *c)
{
	return least_of(c, by_blend);
}

#define STICKY_MATCH   0.80
#define STICKY_RATE    15928.0 /* tokens a second */
#define STICKY_SECONDS 18.0

static bool sticks(const struct route_case *c, const struct route_engine *e)
{
	return part_of(c, e) >= STICKY_MATCH;
}

/* Whether only those that match well are kept. */
static bool sticky_keeps(const struct route_case *c)
{
	double in = INFINITY, out = INFINITY;

	for (uint32_t i = 0; i < c->f->n; i++) {
		const struct route_engine *e = &c->f->engine[i];
		double wait = e->uncached / STICKY_RATE;

		if (sticks(c, e))
			in = MIN(in, wait);
		else
			out = MIN(out, wait);
	}
	return in < (double)INFINITY && !(in > out + STICKY_SECONDS);
}

static double by_uncached(const struct route_case *c,
			  const struct route_engine *e)
{
	double hit = match_of(c, e) * c->r->block_tokens;

	return e->uncached + MAX(0, (double)c->r->tokens - hit);
}

static double by_sticky(const struct route_case *c,
			const struct route_engine *e)
{
	return sticks(c, e) ? by_uncached(c, e) : INFINITY;
}

static uint32_t llmd_sticky_engine(const struct route_case *c)
{
	return least_of(c, sticky_keeps(c) ? by_sticky : by_uncached);
}

/* ---- AIBrix, TensorRT-LLM ------------------------------------------------------------------ */

/* Best match among those not above the mean and a deviation. */
static double by_aibrix(const struct route_case *c,
			const struct route_engine *e)
{
	struct spread s = spread_of(c);
	double mean = s.sum / c->f->n, variance;

	variance = s.squares / c->f->n - mean * mean;
	if (e->in_flight > mean + (variance > 0 ? sqrt(variance) : 0))
		return 0;
	return -match_of(c, e);
}

static uint32_t aibrix_engine(const struct route_case *c)
{
	struct spread s = spread_of(c);
	uint32_t best = least_of(c, by_aibrix);

	if (s.max - s.min > 8 || !(by_aibrix(c, &c->f->engine[best]) < 0))
		return least_of(c, by_requests);
	return best;
}

static double by_tensorrt(const struct route_case *c,
			  const struct route_engine *e)
{
	return e->in_flight / 64.0 - part_of(c, e);
}

static uint32_t tensorrt_engine(const struct route_case *c)
{
	return least_of(c, by_tensorrt);
}

/* ---- Mooncake, algorithm 1 ------------------------------------------------------------------- */

/* The transfer is considered from one block more on: the paper leaves the
 * threshold open; others were not tried. */
#define MOONCAKE_MORE 1u

static void mooncake_price(const struct route_case *c, uint32_t engine,
			   uint32_t source, struct route_price *ret)
{
	const struct route_engine *e = &c->f->engine[engine];
	uint32_t own = route_reach(e, c->r);
	uint32_t best = route_reach(&c->f->engine[source], c->r);
	struct route_price moved;
	double tokens = (double)c->r->tokens;
	double hit = (double)best * c->r->block_tokens;

	route_local(c, engine, ret);
	if (source == engine || best < own + MOONCAKE_MORE)
		return;
	moved = *ret;
	moved.moved_s = route_pull_s(c, engine, source, own, best);
	moved.work_s = route_prefill_s(e, MIN(hit, tokens - 1), tokens);
	moved.ttft_s = e->wait_s + moved.moved_s + moved.work_s;
	moved.total_s = moved.ttft_s;
	moved.load_blocks = own;
	moved.pull_blocks = best;
	moved.pull_from = source;
	if (moved.ttft_s < ret->ttft_s)
		*ret = moved;
}

static void mooncake_decide(const struct route_fleet *f,
			    const struct route_request *r,
			    struct route_choice *ret_choice,
			    struct route_price *ret_prices)
{
	struct route_price price, least = { 0 };
	uint32_t best = ROUTE_NONE, source;
	struct route_case c;

	route_case_init(&c, f, r, true);
	source = route_best_match(&c);
	for (uint32_t k = 0; k < f->n; k++) {
		uint32_t i = (uint32_t)((r->draw + k) % f->n);

		mooncake_price(&c, i, source, &price);
		if (ret_prices)
			ret_prices[i] = price;
		if (best == ROUTE_NONE || price.ttft_s < least.ttft_s) {
			best = i;
			least = price;
		}
	}
	route_answer(&c, best, &least, ret_choice);
	ret_choice->refused = f->objective_s > 0 &&
			      least.ttft_s > f->objective_s;
}

/* ---- independent pulls ----------------------------------------------------------- */

/* Most that is there; what is still on its way is not known of. */
static double by_resident(const struct route_case *c,
			  const struct route_engine *e)
{
	return -(double)MIN(e->run[ROUTE_NVME], c->r->blocks);
}

/* The fewest in flight, and each fetches all that it lacks from who has most of
 * it, whoever else does so: what a cache that all engines share amounts to. In
 * use nowhere by that name; a hot prefix is compared with it. */
static void independent_decide(const struct route_fleet *f,
			       const struct route_request *r,
			       struct route_choice *ret_choice,
			       struct route_price *ret_prices)
{
	struct route_price price;
	struct route_case c;
	uint32_t engine, source;

	route_case_init(&c, f, r, true);
	engine = least_of(&c, by_requests);
	source = least_of(&c, by_resident);
	route_local(&c, engine, &price);
	if (source != engine)
		route_pull(&c, engine, source, (double)INFINITY, &price);
	route_answer(&c, engine, &price, ret_choice);
	for (uint32_t i = 0; ret_prices && i < f->n; i++)
		route_local(&c, i, &ret_prices[i]);
}

DECIDE(round_robin)
DECIDE(least_requests)
DECIDE(power_of_two)
DECIDE(sglang)
DECIDE(smg)
DECIDE(dynamo)
DECIDE(llmd_blend)
DECIDE(llmd_sticky)
DECIDE(aibrix)
DECIDE(tensorrt)

#define POLICY(symbol_, name_, rule_)                 \
	const struct route_policy route_##symbol_ = { \
		.name = name_,                        \
		.rule = rule_,                        \
		.decide = symbol_##_decide,           \
	}

POLICY(round_robin, "round-robin", "each in turn");
POLICY(least_requests, "least-requests", "fewest in flight");
POLICY(power_of_two, "power-of-two", "fewer in flight of two drawn");
POLICY(sglang, "sglang", "cache aware until loads differ by more than 64");
POLICY(smg, "smg", "most overlap until its load passes 1.5 x average");
POLICY(dynamo, "dynamo", "least prefill less overlap, plus decode blocks");
POLICY(llmd_blend, "llmd-blend", "3 prefix + 2 queue + 2 memory");
POLICY(llmd_sticky, "llmd-sticky", "stays until saturated for 18 s");
POLICY(aibrix, "aibrix", "best match among those not above mean + 1 sd");
POLICY(tensorrt, "tensorrt", "match less active / 64");
POLICY(mooncake, "mooncake", "least queue + transfer + prefill");
POLICY(independent, "independent-pulls",
       "fewest in flight, each pulls what it lacks by itself");

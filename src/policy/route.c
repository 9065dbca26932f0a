/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The joint decision, and the table of policies.
 *
 * All engines are priced with what they can do alone, then with the help of
 * the sources that can give most soonest. An engine that could not be the
 * cheapest even with everything for nothing is passed over, unless the caller
 * wants all prices: so the decision is exact for the sources looked at.
 */
#include "policy/route_price.h"
#include <math.h>

/* Each source looked at costs time; how much a larger number would give was
 * not measured. */
#define SOURCES 2u

static const struct route_policy *const policies[] = {
	&route_onecopy,	     &route_round_robin, &route_least_requests,
	&route_power_of_two, &route_sglang,	 &route_smg,
	&route_dynamo,	     &route_llmd_blend,	 &route_llmd_sticky,
	&route_aibrix,	     &route_tensorrt,	 &route_mooncake,
	&route_independent,  &route_oracle,
};

const struct route_policy *route_at(size_t i)
{
	return i < ARRAY_LEN(policies) ? policies[i] : NULL;
}

const struct route_policy *route_find(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_LEN(policies); i++)
		if (!strcmp(policies[i]->name, name))
			return policies[i];
	return NULL;
}

const char *route_tier_name(enum route_tier tier)
{
	static const char *const names[ROUTE_TIERS] = { "vram", "dram", "cxl",
							"nvme" };

	return (unsigned)tier < ROUTE_TIERS ? names[tier] : "?";
}

struct sources {
	uint32_t most, n, engine[ROUTE_ENGINES_MAX];
	double score[ROUTE_ENGINES_MAX], stay_s[ROUTE_ENGINES_MAX];
	double once_s[ROUTE_ENGINES_MAX]; /* what it computes is not computed
					     again for a later first token */
};

/* When a prompt that takes all that the source has would be begun, were the
 * target idle. What a source sent of late counts as if it were under way: so a
 * hot prefix goes out once and each replica serves the next one, in a chain or
 * a tree, instead of the first one serving all. */
static double source_score(const struct route_case *c, uint32_t i)
{
	const struct route_engine *s = &c->f->engine[i];
	const struct route_seat *seat = &c->seat[i];
	double block = c->r->block_tokens, flow, byte_s, all;
	uint32_t reach = seat->reach;

	if (!reach || !(s->link > 0))
		return INFINITY;
	byte_s = 1 / s->link;
	flow = c->r->block_bytes * reach * (1 + s->flows_out) * byte_s;
	if (s->coming_s > flow && reach > seat->run[ROUTE_NVME])
		flow = s->coming_s;
	block *= reach;
	all = (double)c->r->tokens;
	return flow + s->served * byte_s + route_compute_s(seat, block, all) +
	       (1 - s->trust) * route_compute_s(seat, 0, block);
}

static void sources_add(struct sources *s, uint32_t engine, double score)
{
	uint32_t at = s->n;

	while (at > 0 && score < s->score[at - 1])
		at--;
	if (at == s->most)
		return;
	if (s->n < s->most)
		s->n++;
	for (uint32_t i = s->n - 1; i > at; i--) {
		s->engine[i] = s->engine[i - 1];
		s->score[i] = s->score[i - 1];
	}
	s->engine[at] = engine;
	s->score[at] = score;
}

static void sources_find(const struct route_case *c, uint32_t most,
			 struct sources *s)
{
	uint32_t n = c->f->n, i = (uint32_t)(c->r->draw % n);
	struct route_price stay;

	s->most = most;
	s->n = 0;
	for (uint32_t k = 0; k < n; k++, i = i + 1 == n ? 0 : i + 1) {
		double score = source_score(c, i);

		if (score < (double)INFINITY)
			sources_add(s, i, score);
	}
	for (uint32_t j = 0; j < s->n; j++) {
		const struct route_engine *e = &c->f->engine[s->engine[j]];
		const struct route_seat *seat = &c->seat[s->engine[j]];

		route_local(c, s->engine[j], &stay);
		s->stay_s[j] = stay.ttft_s;
		s->once_s[j] = INFINITY;
		if (seat->reach > seat->run[ROUTE_NVME] && !e->coming_moves)
			s->once_s[j] = stay.ttft_s +
				       stay.shared_s * (2 - c->none_idle);
	}
}

/* Whether that is to compute what a source is computing, and no sooner: what an
 * idle fleet has to spare is gone when the session's next turn, and the next one,
 * do the same. Whom the request holds up in its first step there is a reason to
 * do it all the same, who may come later is none. */
static bool again(const struct route_case *c, uint32_t engine,
		  const struct sources *s, const struct route_price *price)
{
	for (uint32_t j = 0; j < s->n; j++)
		if (price->ttft_s > s->once_s[j] && s->engine[j] != engine &&
		    c->seat[s->engine[j]].reach > c->seat[engine].reach)
			return true;
	return false;
}

static void price_engine(const struct route_case *c, uint32_t engine,
			 const struct sources *s, struct route_price *ret)
{
	route_local(c, engine, ret);
	if (again(c, engine, s, ret)) {
		ret->again = true;
		ret->total_s = ROUTE_NEVER_S;
	}
	for (uint32_t j = 0; j < s->n; j++)
		route_pull(c, engine, s->engine[j], s->stay_s[j], ret);
}

static uint32_t best_engine(struct route_case *c, const struct sources *s,
			    struct route_price *ret)
{
	uint32_t first = (uint32_t)(c->r->draw % c->f->n), best, i;
	struct route_price price;

	route_leasts(c, first);
	i = route_next(c, (double)INFINITY);
	best = i == ROUTE_NONE ? first : i;
	price_engine(c, best, s, ret);
	while ((i = route_next(c, ret->total_s)) != ROUTE_NONE) {
		price_engine(c, i, s, &price);
		if (!(price.total_s < ret->total_s))
			continue;
		*ret = price;
		best = i;
	}
	return best;
}

static void decide_joint(struct route_case *c, bool all_sources,
			 struct route_choice *ret_choice,
			 struct route_price *ret_prices)
{
	struct route_price price;
	struct sources s;
	uint32_t best;

	sources_find(c, all_sources ? ROUTE_ENGINES_MAX : SOURCES, &s);
	best = best_engine(c, &s, &price);
	for (uint32_t i = 0; ret_prices && i < c->f->n; i++)
		price_engine(c, i, &s, &ret_prices[i]);
	route_answer(c, best, &price, ret_choice);
}

static void onecopy_decide(const struct route_fleet *f,
			   const struct route_request *r,
			   struct route_choice *ret_choice,
			   struct route_price *ret_prices)
{
	struct route_case c;

	route_case_init(&c, f, r, false);
	decide_joint(&c, false, ret_choice, ret_prices);
}

/* Shown the truth, it needs no guess about sources. */
static void oracle_decide(const struct route_fleet *f,
			  const struct route_request *r,
			  struct route_choice *ret_choice,
			  struct route_price *ret_prices)
{
	struct route_case c;

	route_case_init(&c, f, r, false);
	decide_joint(&c, true, ret_choice, ret_prices);
}

const struct route_policy route_onecopy = {
	.name = "onecopy",
	.rule = "engine, loads and pulls priced together, others included",
	.decide = onecopy_decide,
	.holds = true,
};

const struct route_policy route_oracle = {
	.name = "oracle",
	.rule = "the same over the truth, every source looked at",
	.decide = oracle_decide,
	.exact = true,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Prices inside policy: what route.h's functions have in common. Numbers of
 * the input are made sane here once, so that what follows need not ask. */
#ifndef ONECOPY_POLICY_ROUTE_PRICE_H
#define ONECOPY_POLICY_ROUTE_PRICE_H

#include "policy/route.h"

#define ROUTE_NEVER_S 1e9 /* an engine that cannot */
/* Who has just sent much will be asked again. Where others have the same copy, it
 * costs so much of the time that it took: less, and on fast links two of many
 * sharers take it from one; where nobody else has it, that time. */
#define ROUTE_ASKED 4.0

/* What every mix of an engine needs, once for a decision. */
struct route_seat {
	double wait_s, memory_s, needs;
	/* of a step; of that, of a token; to compute a token; what each token
	 * before it adds to that */
	double step_s, chunk_s, token_s, deeper_s;
	uint32_t run[ROUTE_TIERS], reach; /* sane, growing, within the prompt */
	/* what is taken from others: by a second of work, of an engine of the
	 * usual speed (usual: times what it takes here); by the square of the
	 * seconds for which memory is held; by a second copy */
	double crowd, usual, squeeze, copies_s;
};

struct route_case {
	const struct route_fleet *f;
	const struct route_request *r;
	uint32_t longest; /* run of any engine */
	uint32_t holders; /* ... that so many have */
	bool selfish;	  /* only the own first token counts */
	double token_s;	  /* of an engine, in the mean */
	double crowd;	  /* who is delayed by work, wherever it is done */
	double none_idle; /* how often no engine is idle, 0..1 */
	double astray;	  /* requests a second that find no idle engine */
	struct route_seat seat[ROUTE_ENGINES_MAX];
	/* for the search: no mix can be cheaper, from engine `first` on */
	double least[ROUTE_ENGINES_MAX];
	uint64_t sharp;
	uint32_t first;
};

/* Seconds of prefill for the tokens [from, to): route_prefill_s(), quicker. */
static inline double route_compute_s(const struct route_seat *s, double from,
				     double to)
{
	double n = to - from;

	return n > 0 ? n * (s->token_s + s->deeper_s * (to + from)) : 0;
}

void route_case_init(struct route_case *c, const struct route_fleet *f,
		     const struct route_request *r, bool selfish);
/* The prompt's blocks that `e` holds or will hold, its lowest tier included. */
static inline uint32_t route_reach(const struct route_engine *e,
				   const struct route_request *r)
{
	uint32_t run = MAX(e->run[ROUTE_NVME], e->coming);

	return MIN(run, r->blocks);
}
void route_local(const struct route_case *c, uint32_t engine,
		 struct route_price *ret);
/* Makes *price better where a pull from `source` does whose first token comes
 * within most_s. */
void route_pull(const struct route_case *c, uint32_t engine, uint32_t source,
		double most_s, struct route_price *price);
/* Begins a search for the cheapest engine. Of equal ones, the first from there
 * on. */
void route_leasts(struct route_case *c, uint32_t first);
/* The engine to look at next: that with the least bound of those not looked at;
 * ROUTE_NONE when none can be below `best`. */
uint32_t route_next(struct route_case *c, double best);
/* Seconds until `blocks` blocks of the source are at the engine. */
double route_pull_s(const struct route_case *c, uint32_t engine,
		    uint32_t source, uint32_t from, uint32_t to);
/* The best match, ties to the fewer requests in flight. */
uint32_t route_best_match(const struct route_case *c);
/* Fills what follows from the price. */
void route_answer(const struct route_case *c, uint32_t engine,
		  const struct route_price *price,
		  struct route_choice *ret_choice);

/* Dynamo's cost, in blocks. */
static inline double route_dynamo_cost(double prefill, double credit,
				       double decode)
{
	return (prefill > credit ? prefill - credit : 0) + decode;
}

#endif

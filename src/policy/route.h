/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which engine takes a request, and how its KV gets there? Pure functions over
 * plain numbers: the router and the simulator call the same code with what they
 * believe of their fleet. Seconds, bytes, tokens, blocks; no clock, no state,
 * no allocation.
 *
 *   prompt | use          | load          | pull              | recompute |
 *          0          use_blocks     load_blocks         pull_blocks      n
 *            there (or     own lower       from engine         the rest
 *            on its way)   tier            `pull_from`
 *
 * The decision is joint: each engine is priced with the best mix of the four,
 * given its queue, the links and what already flows over them, and the engine
 * with the least price is taken. The price is the time to the request's own
 * first token, and the time that the choice takes from others: those who come
 * while the engine is busy with it or kept free for it, those who wait for
 * device memory, those whose transfers share a link with it. Blocks are pulled
 * only where that serves the request sooner than their own engine would.
 *
 * Numbers that an input lacks are 0. Nothing here trusts its input: runs longer
 * than the prompt are cut, rates that are not positive make an engine useless
 * (it is taken only where all are).
 */
#ifndef ONECOPY_POLICY_ROUTE_H
#define ONECOPY_POLICY_ROUTE_H

#include "base/compiler.h"

#define ROUTE_ENGINES_MAX 64u
#define ROUTE_NONE	  UINT32_MAX

enum route_tier { ROUTE_VRAM, ROUTE_DRAM, ROUTE_CXL, ROUTE_NVME, ROUTE_TIERS };
const char *route_tier_name(enum route_tier tier);

struct route_request {
	uint32_t blocks; /* of the prompt, the last one may be partial */
	uint64_t tokens;
	uint32_t block_tokens;
	double block_bytes;
	uint64_t serial; /* of the requests, counted by the caller */
	uint64_t draw;	 /* a random number: ties and samples */
};

/* What is believed of an engine. */
struct route_engine {
	/* rates */
	double token_s;	  /* to prefill one token at depth 0 */
	double depth;	  /* tokens after which one costs twice that */
	double step_s;	  /* of a step of decode */
	double running_s; /* what each running request adds to it */
	double chunk;	  /* tokens of prefill in a step */
	/* the prompt's leading run that is resident in this tier or above */
	uint32_t run[ROUTE_TIERS];
	/* ... counting what is on its way (a sibling computes it, a transfer
	 * brings it), and the seconds until that is there */
	uint32_t coming;
	double coming_s;
	bool coming_moves; /* a transfer brings it; else a sibling before it in
			      the same queue computes it: nothing to wait for
			      but that queue */
	/* of those that wait there, how many have no blocks yet when their turn
	 * comes, and the seconds until the last of them has: whoever is ready
	 * sooner goes ahead of them */
	uint32_t moving;
	double moving_s;
	/* its link: bytes a second each way, flows now, bytes that went out of
	 * late (decaying), latency */
	double link, latency_s;
	uint32_t flows_in, flows_out;
	double served;
	/* queue: seconds until a prompt that is sent now is begun */
	double wait_s;
	/* requests a second of late that came back to blocks which were there */
	double returns;
	/* device memory: blocks of it (0: no limit), of these held or waited
	 * for by requests in flight, and how long a request decodes, holding
	 * its own */
	double memory, held, decode_s;
	uint32_t held_run; /* of the prompt, held by requests in flight: it
			      needs no room of its own */
	/* seconds of prefill that what a block more displaces would have
	 * saved; 0 where there is room */
	double copy_s;
	/* 0..1: how much of what it says to hold it turned out to hold */
	double trust;
	/* lower tiers: seconds a block, and until the tier is free */
	double load_s[ROUTE_TIERS], load_wait_s[ROUTE_TIERS];
	/* counters as routers in use have them */
	uint32_t in_flight;    /* requests sent and not known to be over */
	uint32_t waiting;      /* of those, without a first token */
	uint32_t running;      /* of those, decoding */
	double prefill_tokens; /* input of those that wait */
	double uncached;       /* of that, what was not resident when sent */
	double decode_blocks;  /* of those that run */
	double kv_usage;       /* 0..1 of its device memory in use */
};

struct route_fleet {
	const struct route_engine *engine;
	uint32_t n; /* 1 .. ROUTE_ENGINES_MAX */
	/* Traffic: requests a second for each engine, the share of the time
	 * that engines are busy with prompts (may pass 1). */
	double arrivals, busy;
	double objective_s; /* of the time to the first token; 0: none */
};

/* The price of an engine with its best mix. */
struct route_price {
	double ttft_s;	 /* to the first token, as predicted */
	double work_s;	 /* of prefill on that engine */
	double others_s; /* what the choice takes from others */
	double shared_s; /* ... of that, from those in its first step */
	double total_s;	 /* what is compared: lower is better */
	double moved_s;	 /* until the last block that is moved is there; 0 */
	double ready_s;	 /* until all blocks that it does not compute are */
	uint32_t use_blocks, load_blocks, pull_blocks; /* as drawn above */
	uint32_t pull_from;   /* ROUTE_NONE: no other engine */
	uint32_t here_blocks; /* resident there in any tier, not coming */
	bool again;	      /* is never taken: it computes what another engine
			    computes, and is no sooner */
};

/* The answers to the three questions, and the reasons. */
struct route_choice {
	uint32_t engine; /* which engine continues this session */
	bool move_first; /* should its KV move first (load or pull) */
	bool share;	 /* does one transfer serve several sharers: its
			      blocks come with a transfer that is under way, to
			      the source (which serves while its replica
			      arrives: a link of a chain or tree) or to the
			      engine itself (for a sibling) */
	bool refused;	 /* no engine within the objective (mooncake) */
	bool keeps;	 /* no engine has a longer run than this one */
	struct route_price price; /* of the engine */
};

struct route_policy {
	const char *name;
	const char *rule; /* one line */
	/* prices: n entries, or NULL when nobody wants the reasons. */
	void (*decide)(const struct route_fleet *f,
		       const struct route_request *r,
		       struct route_choice *ret_choice,
		       struct route_price *ret_prices);
	bool exact; /* shall be shown the truth: the oracle */
	bool holds; /* the caller keeps what would only wait, and asks again */
};

/* By name; NULL when there is none. The i-th; NULL past the last. */
const struct route_policy *route_find(const char *name);
const struct route_policy *route_at(size_t i);

/* Seconds of prefill for the tokens [from, to) of a prompt. */
double route_prefill_s(const struct route_engine *e, double from, double to);
/* The best mix without another engine's help: what an engine does by itself. */
void route_price_local(const struct route_fleet *f, uint32_t engine,
		       const struct route_request *r,
		       struct route_price *ret_price);
/* The best mix that pulls from `source`; the local one where that is best. */
void route_price_pull(const struct route_fleet *f, uint32_t engine,
		      uint32_t source, const struct route_request *r,
		      struct route_price *ret_price);

/* The joint decision. */
extern const struct route_policy route_onecopy;
/* Those in use, with their published defaults. */
extern const struct route_policy route_round_robin, route_least_requests,
	route_power_of_two, route_sglang, route_smg, route_dynamo,
	route_llmd_blend, route_llmd_sticky, route_aibrix, route_tensorrt,
	route_mooncake, route_independent, route_oracle;

#endif

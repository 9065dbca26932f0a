/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated fleet: engines, tiers, links, a router before them. The router's
 * decisions are policy/route.h's; this layer only plays the world.
 *
 *   requests --> router --> engine 0: queue | prefill in chunks + decode
 *                  ^        engine 1: vram, dram, cxl, nvme
 *                  |        ...       link in, link out
 *                  `-- events, 50 to 500 ms late; rates wrong by 30 %
 *
 * An engine works in steps: a step computes up to `chunk` tokens of the prompts
 * that are ready, in their order, and one token of each running request. It
 * takes step_s + running_s for each running one + token_s for each token of
 * prefill, which grows by 1/depth_tokens of it with each token before. Blocks
 * that are in device memory are used, those of lower tiers are loaded where
 * that is quicker than to compute them, those of other engines are pulled
 * where the router says so; meanwhile others go ahead. Blocks of a request
 * stay in device memory until it is over.
 *
 * A link carries its rate each way, shared evenly by its flows: a flow gets the
 * lesser of its two links' shares (what the other link has to spare is not
 * given out again, which is on the safe side). A flow from an engine whose copy
 * is still arriving ends no sooner than that copy and one block more.
 *
 * Times are seconds as doubles, computed in one order: equal options give equal
 * results; with all rates doubled and all waits halved, all times are exactly
 * half.
 *
 * One thread. Memory grows with distinct blocks and requests.
 */
#ifndef ONECOPY_SIM_FLEET_H
#define ONECOPY_SIM_FLEET_H

#include "policy/policy.h"
#include "policy/route.h"
#include "trace/trace.h"

/* ---- work ---------------------------------------------------------------------- */

struct fleet_arrival {
	double at;	 /* seconds */
	uint64_t serial; /* in the order of the source */
	uint32_t leaf;	 /* node of the last block; FLEET_ROOT: no blocks */
	uint32_t blocks;
	uint64_t in, out; /* tokens */
};

/* Prompts as paths in a tree of blocks: node 0 is the root, no block. */
struct fleet_work {
	struct fleet_arrival *arrival; /* times do not fall */
	size_t n, room;
	uint32_t *parent; /* of each node */
	uint32_t nodes, nodes_room;
	uint64_t blocks; /* of all prompts */
	uint32_t longest;
	uint32_t reordered; /* arrivals whose time was before that of one ahead
			       of them; they were sorted in */
};
#define FLEET_ROOT 0u

/* All (or the first `limit`, when not 0) requests of a source. -EINVAL etc. of
 * the source (its error says why), -ENOMEM; -EINTR as its tick says. */
int fleet_work_load(struct trace_source *source, uint64_t limit,
		    struct fleet_work *ret_work);

/* Generated workloads. */
enum fleet_shape {
	FLEET_SHARED, /* agents come within a window over one long prefix */
	FLEET_BURSTS, /* quiet, then `agents` siblings at once, again and again */
	FLEET_WAVES, /* sessions whose rate rises and falls */
	FLEET_SHAPES
};
const char *fleet_shape_name(enum fleet_shape shape);

struct fleet_shape_options {
	enum fleet_shape shape;
	uint64_t seed;
	uint64_t requests; /* SHARED: rounds x agents, at least one round */
	uint32_t agents;   /* that share a prefix */
	uint64_t prefix;   /* tokens */
	uint64_t own;	   /* tokens of each agent's own part, mean */
	uint64_t output;   /* tokens, mean */
	double within;	   /* seconds in which a round's agents come */
	double every;	   /* seconds between rounds */
	bool warm;	   /* one comes `every` seconds before, alone */
	uint32_t block_tokens;
	/* called now and then while it is made; a positive answer ends it:
	 * -EINTR; NULL: nobody asks */
	int (*tick)(void *ctx, double done);
	void *ctx;
};
void fleet_shape_defaults(enum fleet_shape shape,
			  struct fleet_shape_options *ret_options);
int fleet_work_make(const struct fleet_shape_options *o,
		    struct fleet_work *ret_work); /* -EINVAL, -ENOMEM, -EINTR */
void fleet_work_fini(struct fleet_work *work);

/* ---- a run ------------------------------------------------------------------------ */

/* What a request does until its first token, one after the other. */
enum fleet_phase {
	FLEET_IN_HOLD,	  /* waits at the router for its turn to be near */
	FLEET_IN_MOVE,	  /* blocks come from another engine */
	FLEET_IN_QUEUE,	  /* waits for device memory, or its turn to ask */
	FLEET_IN_LOAD,	  /* blocks come from lower tiers */
	FLEET_IN_LINE,	  /* waits for a step */
	FLEET_IN_PREFILL, /* is computed */
	FLEET_PHASES
};
const char *fleet_phase_name(enum fleet_phase phase);

/* Where one that the router holds was, when it is decided anew and leaves. */
struct fleet_stay {
	uint32_t engine;
	double turn_s; /* until its turn there */
	double ttft_s; /* ... and until its first token there */
};

/* What became of a request: its first token, or it gave up. */
struct fleet_fate {
	uint64_t serial;
	uint32_t engine;
	uint32_t asked, left; /* while held: looked at again, went elsewhere */
	bool gave_up;
	double arrived, decided, over; /* seconds of the run; decided: where
					  it went in the end */
	double foretold_s;	       /* from `decided` to its first token */
	double spent_s[FLEET_PHASES];
};

struct fleet_options {
	const struct route_policy *policy;
	uint32_t engines; /* 1 .. ROUTE_ENGINES_MAX */
	uint64_t seed;
	double load; /* arrivals come that many times faster */
	/* the engine */
	double token_s, depth_tokens, step_s, running_s;
	uint32_t chunk, running_most;
	/* memory */
	uint32_t block_tokens;
	double block_bytes;
	uint64_t blocks[ROUTE_TIERS]; /* capacity of an engine's tiers */
	double rate[ROUTE_TIERS];     /* bytes a second into device memory */
	double wait_s[ROUTE_TIERS];   /* from asking to the first byte */
	/* What leaves the tiers below device memory first, and what passes them
	 * by: policy_lru or policy_onecopy, as on a node; NULL: lru. Device
	 * memory is the engine's own, and LRU. */
	const struct policy_ops *eviction;
	/* links */
	double link, latency_s;
	/* what the router knows */
	double rate_error;	      /* 0.3: rates wrong by up to 30 % */
	double late_least, late_most; /* seconds */
	/* mishaps */
	double cancelled; /* share of the requests that give up waiting */
	double patience;  /* seconds, mean, until they do */
	uint32_t liars; /* the first engines, whose evictions are never told */
	/* The first engines, which say that they hold what others store. */
	uint32_t boasters;
	uint32_t laggards; /* the last engines, whose events come later still */
	double lag_s;	   /* ... by that much */
	double objective_s; /* for policies that refuse; 0: none */
	/* Each decision, with the prices of all engines; NULL: nobody asks.
	 * stay: of one that is held and goes elsewhere, what it leaves (the
	 * price of that engine among the others is that of staying); NULL: it
	 * has just come. */
	void (*decided)(void *ctx, double at, const struct route_fleet *fleet,
			const struct route_request *request,
			const struct route_choice *choice,
			const struct route_price *prices,
			const struct fleet_stay *stay);
	/* ... and what became of each that was not refused; NULL: likewise */
	void (*over)(void *ctx, const struct fleet_fate *fate);
	/* called now and then; a positive answer ends the run: -EINTR */
	int (*tick)(void *ctx, double done);
	void *ctx;
};
/* As measured of gpt-oss-120B on H100s; two tiers. */
void fleet_defaults(struct fleet_options *ret_options);

#define FLEET_SLOTS 60u

struct fleet_times {
	double mean, p50, p90, p99, max; /* milliseconds */
};

struct fleet_slot { /* of the run's time */
	double at_s;
	uint64_t requests, blocks, hits;
	double ttft_ms; /* mean */
};

struct fleet_result {
	uint64_t requests, cancelled, refused;
	/* Prompts of the work with more blocks than their tokens fill. */
	uint64_t short_prompts;
	double span_s;			/* first arrival to last end */
	struct fleet_times ttft, total; /* first token, completion */
	/* What no policy can be below, of those in ttft: each alone on an idle
	 * engine that has all blocks of all prompts before it. */
	struct fleet_times floor;
	double phase_ms[FLEET_PHASES]; /* mean; their sum is ttft.mean */
	uint64_t blocks, hit_blocks;
	uint64_t hits[ROUTE_TIERS]; /* of these, found there at the engine */
	/* The most blocks that any engine had there; and whether a block ever
	 * had to leave, wait or stay out for lack of room: where none had, more
	 * room changes nothing. */
	uint64_t peak[ROUTE_TIERS];
	bool full[ROUTE_TIERS];
	uint64_t pulled;	/* brought from another engine */
	double prefix_hit_rate; /* not recomputed / blocks */
	double loaded_bytes[ROUTE_TIERS], pulled_bytes, demoted_bytes;
	uint64_t moves;			   /* transfers between engines */
	uint64_t shared_moves;		   /* from a copy that was arriving */
	double busiest_bytes, busiest_use; /* link: bytes one way; 0..1 */
	double fairness;    /* Jain's index of the requests' slowdowns */
	double balance;	    /* Jain's index of the engines' busy seconds */
	double prefill_s;   /* engine seconds of prefill */
	double saved_s;	    /* ... that hits saved */
	double busy;	    /* share of engines' time */
	double last_ttft_s; /* of the last to get its first token */
	uint64_t events;
	struct fleet_slot slot[FLEET_SLOTS];
};

/* -EINVAL (with a text in `error`), -ENOMEM, -EINTR. */
int fleet_run(const struct fleet_options *o, const struct fleet_work *work,
	      struct fleet_result *ret_result, char error[TRACE_ERROR]);

#endif

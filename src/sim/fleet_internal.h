/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside a run: who owns what.
 *
 *   fleet.c         the run: arrivals, events in order, the end
 *   fleet_queue.c   events by time; equal times by when they were made
 *   fleet_cache.c   one tier of one engine: which blocks, whose turn to leave
 *   fleet_tiers.c   the ladder of an engine's tiers
 *   fleet_admit.c   how a request comes into an engine: moves, room, loads
 *   fleet_engine.c  steps of prefill and decode
 *   fleet_flow.c    transfers over links
 *   fleet_view.c    what the router believes: late events, its own books
 *   fleet_choose.c  a decision: from the view to route.h and back
 *   fleet_hold.c    what the router keeps until its turn is near
 *   fleet_count.c   results
 *   fleet_floor.c   what no policy can be below
 *
 * What is true is in nodes' `at` and in engines; what is believed is in nodes'
 * `seen` and `sent` and in the view. Only fleet_view.c goes from one to the
 * other.
 */
#ifndef ONECOPY_SIM_FLEET_INTERNAL_H
#define ONECOPY_SIM_FLEET_INTERNAL_H

#include "base/rng.h"
#include "policy/policy.h"
#include "policy/route_book.h"
#include "sim/fleet.h"

#define FLEET_NONE UINT32_MAX

/* ---- events ---------------------------------------------------------------------- */

enum fleet_kind {
	FLEET_STEP,   /* of engine `what` ends */
	FLEET_LOADED, /* request `what` has its blocks from lower tiers */
	FLEET_FLOWED, /* flow `what` has carried its bytes */
	FLEET_CANCEL, /* request `what` gives up, if it waits still */
	FLEET_LOOK,   /* the router looks at what it holds */
};

struct fleet_event {
	double at;
	uint64_t order;
	uint32_t what, age; /* stale when its owner's age is another */
	uint8_t kind;
};

struct fleet_queue {
	struct fleet_event *heap;
	size_t n, room;
	uint64_t order;
};

int fleet_queue_push(struct fleet_queue *q, double at, enum fleet_kind kind,
		     uint32_t what, uint32_t age); /* -ENOMEM */
/* The first; false when there is none. */
bool fleet_queue_pop(struct fleet_queue *q, struct fleet_event *ret);
void fleet_queue_fini(struct fleet_queue *q);

/* ---- one tier of one engine --------------------------------------------------------- */

struct fleet_cache {
	const struct policy_ops *ops;
	struct policy *policy;
	uint32_t capacity, n, slots; /* blocks; of slots, grown as needed */
	uint32_t peak;		     /* the most n ever was */
	bool full;	/* a block had to leave, wait or stay out */
	uint32_t *node; /* of each slot */
	uint32_t *pins;
	uint32_t *spare; /* free slots, a stack */
	uint32_t spares;
	uint32_t pinned; /* slots with pins */
	uint32_t *place; /* open addressing: slot + 1 */
	uint64_t mask;
	uint64_t stamp;
	/* the ticket of the prompt with that last block, until the next use */
	uint32_t leaf, ticket;
};

int fleet_cache_init(struct fleet_cache *c, uint32_t capacity,
		     const struct policy_ops *ops);
void fleet_cache_fini(struct fleet_cache *c);
uint32_t fleet_cache_find(const struct fleet_cache *c, uint32_t node);
/* Must not be there. -ENOMEM. Does not look at the capacity. `place`: for a
 * policy that knows sessions; NULL: none. */
int fleet_cache_add(struct fleet_cache *c, uint32_t node,
		    const struct policy_place *place);
void fleet_cache_touch(struct fleet_cache *c, uint32_t slot);
void fleet_cache_remove(struct fleet_cache *c, uint32_t slot);
/* The first to leave that nobody uses; FLEET_NONE. */
uint32_t fleet_cache_victim(struct fleet_cache *c);
void fleet_cache_pin(struct fleet_cache *c, uint32_t slot);
void fleet_cache_unpin(struct fleet_cache *c, uint32_t slot);

/* ---- blocks -------------------------------------------------------------------------- */

struct fleet_node {
	uint64_t at[ROUTE_TIERS]; /* engines that hold it there */
	uint64_t computing; /* of those with it in vram: in the step under way,
			       so that nobody else has any use for it yet */
	uint64_t seen[ROUTE_TIERS]; /* ... as the router was told */
	uint64_t sent; /* ... as it expects, having sent a prompt */
	uint64_t held; /* by requests in flight, as it knows */
	uint32_t leaf; /* last block of the prompt that used it last */
	bool known;    /* of a prompt that came before (fleet_floor.c) */
};

/* ---- requests in flight --------------------------------------------------------------- */

enum fleet_state {
	FLEET_FREE,
	FLEET_HELD,    /* by the router, in its engine's queue */
	FLEET_MOVING,  /* blocks come from another engine */
	FLEET_QUEUED,  /* for device memory */
	FLEET_LOADING, /* from lower tiers */
	FLEET_READY,   /* for prefill */
	FLEET_PREFILL, /* begun */
	FLEET_RUNNING, /* decodes */
	FLEET_ENDED,   /* the router does not know yet */
};

struct fleet_request {
	uint8_t state; /* enum fleet_state */
	uint32_t age;  /* grows when the place is used again */
	uint32_t index;
	uint32_t order;	      /* of those that were sent to an engine */
	uint32_t asked, left; /* while held */
	uint32_t engine, blocks;
	uint32_t *path; /* nodes, first to last */
	uint64_t in, out;
	double arrived, decided, sent, first, begun; /* decided: its price */
	double since, spent[FLEET_PHASES]; /* in this state; in those before */
	uint32_t pinned;   /* leading blocks that are pinned in vram */
	uint32_t computed; /* of these, there before the step under way */
	uint64_t reserved; /* blocks of device memory set aside */
	double ahead;	   /* tokens that it adds to its engine's */
	double done;	   /* tokens of prefill that are behind it */
	uint64_t cached;   /* tokens that it did not compute */
	uint32_t load_from, load_to, pull_from, pull_to; /* true */
	uint32_t moved_to; /* here when its moves are done, a sibling's too */
	uint32_t hits;	   /* blocks that were there when prefill began */
	uint32_t pending;  /* loads and pulls under way */
	uint32_t source;   /* of the pull; FLEET_NONE */
	uint32_t flow;
	uint32_t waiters;	    /* flows that wait for this one's blocks */
	uint32_t after, after_next; /* siblings here that wait for its moves */
	uint64_t last_step;	    /* of its decode */
	struct route_price price;   /* as decided */
	struct route_ticket ticket;
	bool cancelled;
	uint32_t next, prev; /* in the engine's list of queued, ready, ... */
	uint32_t view_next, view_prev; /* router's list: waits at its engine */
	uint32_t held_next, held_prev; /* ... is in flight there */
	uint32_t held_from; /* blocks before that are held by others */
};

struct fleet_list {
	uint32_t first, last, n;
};

struct fleet_engine {
	struct fleet_cache cache[ROUTE_TIERS];
	uint64_t reserved; /* blocks set aside in vram, not there yet */
	struct fleet_list queued, ready, prefill;
	double ahead; /* tokens of those that load or are ready */
	/* decode: a heap of requests by their last step */
	uint32_t *running;
	uint32_t n_running, running_room;
	uint64_t step;	/* steps of decode made so far */
	uint64_t steps; /* in the stretch under way */
	uint32_t age;
	bool stepping, prefilling;
	double begun, each; /* the stretch under way: begin, time of a step */
	double tier_free[ROUTE_TIERS]; /* when its loads are done */
	/* links */
	uint32_t *out, *in; /* flows */
	uint32_t n_out, n_in, out_room, in_room;
	double out_bytes, in_bytes;
	double busy_s, prefill_s;
};

struct fleet_flow {
	uint32_t request, age;
	uint32_t from, to;     /* engines */
	uint32_t first, last;  /* blocks */
	double left, rate, at; /* bytes left at that time */
	double not_before;     /* its end */
	uint32_t upstream;     /* request whose copy it follows; FLEET_NONE */
	uint32_t next;	       /* of those that follow the same one */
	bool linked;	       /* has a share of its links */
};

/* ---- what the router believes ------------------------------------------------------------ */

enum fleet_news {
	FLEET_STORED,
	FLEET_REMOVED,
	FLEET_FIRST,
	FLEET_OVER,
};

struct fleet_report {
	double at, due;
	uint32_t what; /* node or request */
	float usage;   /* of device memory */
	uint8_t news, tier;
};

struct fleet_mail {
	struct fleet_report *ring;
	uint32_t first, n, room; /* a power of two */
	double last_due;
};

struct fleet_belief { /* of an engine */
	struct route_book book;
	struct fleet_mail mail;
	double token_s, step_s, running_s, link; /* as believed */
	double load; /* times what lower tiers take */
	double usage;
	struct fleet_list waiting; /* requests, by view_next */
	uint32_t held_first;	   /* those in flight, by held_next */
	uint32_t hold;		   /* of those that wait, the first held one */
	uint32_t ask;		   /* ... and whom to ask next; FLEET_NONE */
};

struct fleet_transfer {
	uint32_t from, to;
	double until;
};

struct fleet_view {
	struct fleet_belief engine[ROUTE_ENGINES_MAX];
	struct rng rng; /* delays */
	struct fleet_transfer *transfer;
	uint32_t transfers, transfers_room;
	double last_arrival, gap_s; /* decaying means */
	double work_s, seen;	    /* ... and their weight */
	double late_s, lates;	    /* of reports, mean; of how many */
	uint32_t holds;		    /* requests that are held */
	bool looks;		    /* a look at them is to come */
	double look_s;		    /* ... so long after the last one */
	uint64_t heard;		    /* reports read */
	uint32_t sent;		    /* requests handed over so far */
};

struct fleet {
	const struct fleet_options *o;
	const struct fleet_work *work;
	double now;
	struct fleet_queue queue;
	struct fleet_node *node;
	struct fleet_engine engine[ROUTE_ENGINES_MAX];
	struct fleet_request *request;
	uint32_t requests, requests_room, request_spare;
	struct fleet_flow *flow;
	uint32_t flows, flows_room, flow_spare;
	uint32_t *path;	     /* of the prompt in hand */
	uint64_t *chain_key; /* of a chain that a tier's policy is told of */
	uint32_t *chain_item;
	struct fleet_view view;
	struct rng rng;
	float *ttft, *total; /* milliseconds, of those that are done */
	float *floor;	     /* milliseconds, of each arrival */
	float *floors;	     /* ... of those in ttft */
	double slow_sum, slow_squares, end;
	size_t done, firsts;
	int failed;
	struct fleet_result result;
};

/* Whether the router is told. */
static inline bool fleet_reported(const struct fleet *f, uint32_t engine,
				  enum fleet_news news)
{
	return !(news == FLEET_REMOVED && engine < f->o->liars);
}

/* Failing is remembered; the loop of the run ends by it. */
static inline void fleet_fail(struct fleet *f, int error)
{
	if (error && !f->failed)
		f->failed = error;
}

/* tiers */
int fleet_tiers_init(struct fleet *f, uint32_t engine);
/* Makes the block resident in device memory (or only used); others leave.
 * computing: it is there once the step under way is over, by
 * fleet_tiers_computed(); until then it has a place, and only who is in the same
 * step finds it. */
void fleet_tiers_put(struct fleet *f, uint32_t engine, uint32_t node,
		     bool computing);
void fleet_tiers_computed(struct fleet *f, uint32_t engine, uint32_t node);
/* Its pin, and where it was: the lowest tier number; FLEET_NONE: nowhere. */
void fleet_tiers_pin(struct fleet *f, uint32_t engine, uint32_t node);
void fleet_tiers_unpin(struct fleet *f, uint32_t engine, uint32_t node);
void fleet_tiers_touch(struct fleet *f, uint32_t engine, uint32_t node);
/* A prompt of that path is over: the tiers' policies learn of it. */
void fleet_tiers_use(struct fleet *f, const struct fleet_request *r);
/* Room in device memory for what is set aside; false when pins are in the way. */
bool fleet_tiers_room(struct fleet *f, uint32_t engine, uint64_t blocks);
/* Blocks of the path from `from` on that are in tier 0..t, in a row. */
uint32_t fleet_tiers_run(const struct fleet *f, uint32_t engine,
			 const uint32_t *path, uint32_t from, uint32_t to,
			 enum route_tier t);
/* ... that it can give to another engine: in any tier, and computed. */
uint32_t fleet_tiers_gives(const struct fleet *f, uint32_t engine,
			   const uint32_t *path, uint32_t from, uint32_t to);

/* engine: its steps */
void fleet_engine_step(struct fleet *f, uint32_t engine);
/* A prompt is ready. */
void fleet_engine_wake(struct fleet *f, uint32_t engine);
/* Blocks up to `to` become resident (computing: when the step ends) and are its
 * own until it is over. */
void fleet_engine_hold(struct fleet *f, struct fleet_request *r, uint32_t to,
		       bool computing);
void fleet_engine_let_go(struct fleet *f, struct fleet_request *r);
void fleet_engine_finish(struct fleet *f, uint32_t request);
double fleet_prefill_s(const struct fleet *f, double from, double to);
/* An absurdly long prompt takes larger chunks, not a trillion steps. */
#define FLEET_STEPS_MOST 4096.0

/* ... and how requests come into it */
void fleet_engine_take(struct fleet *f, uint32_t request);
void fleet_engine_admit(struct fleet *f, uint32_t engine);
void fleet_engine_moved(struct fleet *f,
			uint32_t request); /* one less pending */
void fleet_engine_loaded(struct fleet *f, uint32_t request);
void fleet_engine_cancel(struct fleet *f, uint32_t request);

/* flows */
void fleet_flow_begin(struct fleet *f, uint32_t request);
void fleet_flow_done(struct fleet *f, uint32_t flow);
/* A request's blocks are there (or never will be): who followed it ends. */
void fleet_flow_release(struct fleet *f, uint32_t request);

/* requests */
/* The request at that engine, sent before r, whose blocks beyond `from` (up to
 * *to) r wants too; *to becomes how far. FLEET_NONE: none, *to is `from`. */
uint32_t fleet_sibling(const struct fleet *f, uint32_t engine,
		       const struct fleet_request *r, uint32_t from,
		       uint32_t *to, enum fleet_state last);
uint32_t fleet_request_new(struct fleet *f); /* FLEET_NONE: failed */
void fleet_request_free(struct fleet *f, uint32_t request);
void fleet_request_enter(struct fleet *f, struct fleet_request *r,
			 enum fleet_state state);
void fleet_list_append(struct fleet *f, struct fleet_list *l, uint32_t request);
/* In the order in which they were sent. */
void fleet_list_insert(struct fleet *f, struct fleet_list *l, uint32_t request);
void fleet_list_remove(struct fleet *f, struct fleet_list *l, uint32_t request);

/* view */
int fleet_view_init(struct fleet *f);
void fleet_view_fini(struct fleet *f);
void fleet_view_tell(struct fleet *f, uint32_t engine, enum fleet_news news,
		     uint32_t tier, uint32_t what);
/* Everything that is due by now. */
void fleet_view_read(struct fleet *f);
/* Everything, whatever its time: at the end of a run. */
void fleet_view_drain(struct fleet *f);
/* It is in its engine's queue from now on. */
void fleet_view_queued(struct fleet *f, uint32_t request,
		       const struct route_request *r);
/* It goes to its engine, and its transfers begin. */
void fleet_view_begun(struct fleet *f, uint32_t request);
/* Takes a held one out of all counts, for a new decision, and puts it back with
 * the engine and the price that it has by now; its place in the queue stays. */
void fleet_view_lift(struct fleet *f, uint32_t request);
void fleet_view_put(struct fleet *f, uint32_t request,
		    const struct route_request *r);
/* From the place in the queue of `from` to the end of its engine's. */
void fleet_view_moved(struct fleet *f, uint32_t request, uint32_t from);
/* A held one is over; the request is gone. */
void fleet_view_over(struct fleet *f, uint32_t request);
/* A prompt comes: the traffic is counted. */
void fleet_view_arrival(struct fleet *f);
void fleet_view_fill(struct fleet *f, const struct route_request *r,
		     struct route_engine *engine, struct route_fleet *fleet);

/* decision */
void fleet_choose(struct fleet *f, size_t arrival);
/* For a held one that would be begun in turn_s; whether its engine is another. */
bool fleet_choose_again(struct fleet *f, uint32_t request, double turn_s);

/* what the router keeps */
void fleet_hold(struct fleet *f, uint32_t request);
void fleet_hold_look(struct fleet *f);
/* Whether one that comes now and needs so many blocks of device memory would be
 * handed over at once, and find them. */
bool fleet_hold_free(const struct fleet *f, uint32_t engine, double needs);
void fleet_hold_cancel(struct fleet *f, uint32_t request);

/* results */
int fleet_count_init(struct fleet *f);
void fleet_count_first(struct fleet *f, const struct fleet_request *r);
void fleet_count_over(struct fleet *f, const struct fleet_request *r);
void fleet_count_end(struct fleet *f, struct fleet_result *ret_result);
void fleet_count_fini(struct fleet *f);
int fleet_floor_init(struct fleet *f); /* -ENOMEM */
void fleet_floor_fini(struct fleet *f);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node in one process: a store over the fake keeper, slabs made at once, and
 * simulated clients that write their segments as real ones do. A server can
 * die (world_die) and be followed by another (world_attach).
 */
#ifndef ONECOPY_TESTS_STORE_WORLD_H
#define ONECOPY_TESTS_STORE_WORLD_H

#include "coherence/pin.h"
#include "store/internal.h"
#include "tests/pool/fake_hold.h"
#include "tests/test.h"
#include <onecopy/onecopy.h>

#define SIMS	   8
#define SIM_PINS   64
#define SIM_OVER   8
#define WORLD_SEC  1000000000ull
#define SIM_LATER  INT64_MAX /* result of a call that waits */
#define SIM_GRANTS 512

/* A client's side. */
struct sim {
	struct world *w;
	struct store_client *c; /* NULL: the server knows it no longer */
	struct segment seg;
	struct client_segment *cs;
	uint64_t id, seq;
	bool alive, closed;
	unsigned announced;
	uint32_t slot;		    /* of the last request */
	uint64_t taken[RING_SLOTS]; /* the last answer that it took */
	/* grants that it was told of and has not given back */
	struct ring_answer grant[SIM_GRANTS];
	uint32_t n_grants;
};

struct world {
	struct fake_hold k;
	struct hold_ops hold;
	struct store_options options;
	struct store *s;
	struct pool *p;
	struct sim sim[SIMS];
	uint64_t now;
	unsigned ended;
	struct hold_set given;
	struct ring_answer last;
	/* waiting grants of the server's own client that were answered */
	void (*local_answer)(struct world *w, const struct ring_call *call,
			     const struct ring_answer *answer);
	unsigned local_answers;
};

struct world_config {
	uint64_t limit, slab_bytes, grants;
	uint32_t percent;
	uint64_t scrub;
	uint64_t quota;
	struct store_sessions sessions;
	uint64_t low; /* bytes of the rung below; 0: there is none */
	enum segment_kind low_kind; /* 0: ordinary memory stands in */
	uint32_t prefill_rate, prefill_growth_ps;
};

/* A store with one pool and namespace 1: one group, one rank, whole parts of
 * 4096 bytes, 16 tokens. */
struct world *world_create(const struct world_config *config);
/* NULL: the default. */
struct world *world_create_with(const struct world_config *config,
				const struct policy_ops *policy);
/* A namespace of this many groups and ranks, parts up to `bytes`. */
uint32_t world_ns(struct world *w, uint16_t groups, uint16_t ranks,
		  uint64_t bytes, unsigned salt);
void world_destroy(struct world *w);
void world_ready(struct world *w);
void world_tick(struct world *w, uint64_t pass_ns);
/* Everything is recounted: pools, grants, budget, held descriptors. */
struct pool_checked world_check(struct world *w);
/* world_check() without what holds between calls only. */
void world_options(struct world *w);

#ifdef ONECOPY_RECORD
extern shared_hook world_client_hook; /* called for clients' stores */
#endif

struct sim *sim_add(struct world *w, unsigned i);
/* Its process ends / it closes its socket. */
void sim_die(struct sim *c);
bool sim_close(struct sim *c);
void sim_let_go(struct sim *c);

/* Writes a request into a slot; the server serves it; SIM_LATER or the
 * result. w->last has the answer. */
int64_t sim_call(struct sim *c, struct ring_call call);
void sim_push(struct sim *c, struct ring_call *call);
int64_t sim_serve(struct sim *c, uint32_t slot, bool repeat);
/* The answer of a request that waited; SIM_LATER: not yet. */
int64_t sim_answer(struct sim *c, uint32_t slot);

struct ring_call call_of(enum ring_op op, uint64_t n, uint64_t part);
int64_t sim_grant(struct sim *c, uint64_t n, uint64_t part, uint64_t timeout);
/* As the above, with the slabs that it asks for. */
int64_t sim_grant_wait(struct sim *c, uint64_t n, uint64_t part);
struct ring_call seal_of(struct sim *c, uint64_t n, uint64_t part,
			 const struct ring_answer *grant);
int64_t sim_seal(struct sim *c, uint64_t n, uint64_t part,
		 const struct ring_answer *grant);
int64_t sim_abandon(struct sim *c, const struct ring_answer *grant);
/* Grant, write, seal; must succeed. */
void sim_put(struct sim *c, uint64_t n, uint64_t part);
/* A pin as coherence/pin.h says; false: a miss. */
bool sim_pin(struct sim *c, uint32_t slot, uint64_t n, uint64_t part);
void sim_unpin(struct sim *c, uint32_t slot);
void sim_touch(struct sim *c, uint64_t n, uint64_t part);

/* Is block n resident, with the right bytes? Wrong bytes fail the test. */
bool world_has(struct world *w, uint64_t n, uint64_t part);
#define PART_BYTES 4096
void world_fill(uint64_t n, uint64_t part, uint8_t *buf);
uint64_t world_sum(uint64_t n, uint64_t part, const uint8_t *buf);
void key_of(uint64_t n, uint64_t key[4]);

/* The server is gone; the next one takes over what the keeper holds. */
void world_die(struct world *w);
int world_attach(struct world *w);
/* Adopts clients and repeats what was not answered; drops what nobody took. */
void world_adopt(struct world *w);
void world_restart(struct world *w);

#define PART frame_part(1, 0, 0)

#endif

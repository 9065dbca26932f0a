/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: the one place that knows everything. Pools of all tenants, the
 * clients that use them, and what happens: grant, seal, abandon, remove, pin
 * through the ring, evict, move slabs between shapes and owners, verify.
 *
 * It knows no sockets: a door (front/) hands it requests and is told answers.
 * One thread, nothing waits: a grant that finds no room is kept and answered
 * later, through options.answer, at the latest at its deadline.
 *
 * Death: everything that must survive is in shared memory before it is
 * answered. store_pool_attach() and store_client_adopt() rebuild the rest.
 */
#ifndef ONECOPY_STORE_STORE_H
#define ONECOPY_STORE_STORE_H

#include "pool/maker.h"
#include "pool/pool.h"
#include "store/past.h"
#include "tier/tier.h"
#include "wire/ring.h"

#define STORE_POOLS_MAX 17 /* "default" and those that are configured */

struct store;
struct fetch;
struct revoke;

/* A client of one pool, as the store sees it. */
struct store_client {
	struct store *store;
	struct pool *pool;
	struct client_segment *segment;
	struct client_record *record;
	uint64_t id;
	uint32_t index; /* in the pool's table of clients */
	uint32_t n_pins, n_overflow;
	bool read_only;
	bool closed;  /* said good bye; its process lives and owns slabs */
	bool local;   /* the server itself: store/local.h */
	bool outside; /* it found no slot in the CXL region, and is counted */
	uint64_t touch_head;
	uint32_t overflow_hint;
	uint64_t granted;      /* frames lent to it now */
	uint64_t share_left;   /* room_find()'s, for the slabs it looks at */
	bool may_wait;	       /* room_find()'s: the grant in hand */
	bool patient;	       /* it may wait for a write as well */
	bool rises;	       /* it is for what is copied up: nothing leaves
				  for it that is not below */
	bool asked;	       /* room_find()'s: mappings of a slab were */
	uint64_t moves;	       /* it is for this move; 0: for none */
	uint64_t making_bytes; /* of slabs on their way to it */
	uint32_t waiting;      /* its grants that wait for room */
	uint32_t fruitless;    /* of these, tried in vain in this pass */
	uint64_t pass;	       /* of the store over waiting grants */
	struct revoke *revoke; /* store/revoke.h; NULL: never asked */
	struct fetch **fetch;  /* by slot: its fetches under way; NULL: it has
				  made none */
	uint32_t fetches;      /* of those, how many */
	uint32_t fetching;     /* parts that they wait for */
	/* from before a restart: grants whose answer may be missing */
	struct store_repeat {
		uint64_t seq, loc;
	} * repeat;
	uint32_t n_repeat;
	/* requests of it that made no sense or were not allowed; the last */
	uint64_t faults;
	int64_t fault_result;
	uint32_t fault_op;
	void *door; /* the door's own */
};

/* Quotas of sessions; max 0: all are the defaults. */
struct store_sessions {
	uint32_t max;	     /* sessions of a tenant */
	uint32_t per_client; /* of one client */
	uint64_t keys;	     /* of history, of a tenant */
	uint64_t keys_per_client;
	uint64_t lease_ms; /* when none is asked for */
	uint64_t lease_max_ms;
};
#define STORE_SESSIONS_DEFAULT                                           \
	{                                                                \
		.max = 16384, .per_client = 4096, .keys = 4u << 20,      \
		.keys_per_client = 2u << 20, .lease_ms = 10 * 60 * 1000, \
		.lease_max_ms = 24 * 60 * 60 * 1000                      \
	}

struct store_options {
	uint64_t limit_bytes;		 /* of slabs, all pools */
	const struct policy_ops *policy; /* of eviction; NULL: LRU */
	uint64_t slab_bytes;		 /* 0: from the limit */
	unsigned segment_flags;
	uint64_t grants_per_client; /* frames lent at once */
	/* Prefill, for what making a block again takes: tokens a second with
	 * nothing before them (0: not told), and ps more for each token that
	 * lies before. */
	uint32_t prefill_rate, prefill_growth_ps;
	uint32_t slab_percent; /* of the limit that one client's slabs may be */
	uint64_t scrub_bytes_per_s; /* 0: no scrubber */
	struct store_sessions sessions;
	uint64_t history_bytes; /* for each pool; 0: none is kept */
	const struct hold_ops *hold;
	struct tier *below; /* opened; the caller's. NULL: none, or later */
	/* What a tenant may have there, in bytes; 0: all. NULL: all have all. */
	uint64_t (*below_share)(void *ctx, const char *tenant);
	/* The rung below DRAM (docs/design/cxl.md): bytes of slabs, 0: none; where
	 * they come from (a device's descriptor is the caller's, -1: it is not
	 * there now); the only tenant that has it (NULL: all). */
	uint64_t low_bytes;
	struct segment_source low;
	const char *low_tenant;
	uint64_t revoke_ns; /* to answer for what one maps; 0: for ever */
	bool revoke_end;    /* who does not is ended, if it may be */
	bool threaded;	    /* slabs are made in a thread */
	/* A grant that waited is answered. */
	void (*answer)(void *ctx, struct store_client *c,
		       const struct ring_call *call,
		       const struct ring_answer *answer);
	/* The client should look at its regions (a slab is going). */
	void (*announce)(void *ctx, struct store_client *c);
	/* The client is asked for what it maps (coherence/revoke.h, A3). NULL:
	 * it looks for itself. */
	void (*ask)(void *ctx, struct store_client *c);
	/* Its process is to end: 0, or -errno when that may not be. */
	int (*end)(void *ctx, struct store_client *c);
	/* A closed client is no longer known: nothing of it is left. */
	void (*ended)(void *ctx, struct store_client *c);
	void *ctx;
};

int store_create(const struct store_options *options, struct store **ret_store);
void store_destroy(struct store *s);
/* Readable when store_ready() has something to do. */
int store_fd(const struct store *s);
void store_ready(struct store *s, uint64_t now_ns);
/* After requests were served: grants that waited may have room now. */
void store_settle(struct store *s, uint64_t now_ns);
/* Work that needs no request: deadlines, retiring slabs, removed frames,
 * scrubbing. Returns the time until it wants to be called again. */
uint64_t store_tick(struct store *s, uint64_t now_ns);

struct store_load {
	uint64_t limit_bytes, used_bytes; /* of slabs, all pools */
	uint64_t waiting;		  /* grants, now */
	uint64_t slabs_refused; /* the kernel had no memory for a slab; since
				   this server began */
	uint64_t low_limit,
		low_used; /* the rung below DRAM; 0: there is none */
	enum segment_kind low_kind;
	uint64_t low_aside;  /* of low_used: of a device, lost for good */
	uint64_t low_errors; /* frames there whose memory has failed; since this
				server began */
	bool low_gone;	     /* store_low_gone() */
};
/* The memory of the rung below is not there (any more), or is back: no slab is made
 * of it meanwhile. What lies there is lost as it is touched. */
void store_low_gone(struct store *s, bool gone);
void store_load(const struct store *s, struct store_load *ret_load);
/* Pieces of the rung below, of `bytes` each and all of them different, for
 * measuring: up to `most`, spread over what the server has mapped. Their number.
 * Valid until the next call into the store. */
unsigned store_low_samples(const struct store *s, uint64_t bytes, unsigned most,
			   const void **ret_base);

/* ---- pools */
int store_pool_add(struct store *s, const char *tenant, uint64_t quota,
		   struct pool **ret_pool);
int store_pool_attach(struct store *s, uint32_t number, struct hold_set *given,
		      bool (*alive)(void *ctx, uint64_t client), void *ctx,
		      struct pool **ret_pool);
/* Its clients may ask now: price, server's number, state. For a pool that was
 * added or attached. */
void store_pool_serve(struct pool *p);
/* What a pool may have, from now on (0: all); a successor is not told. */
void store_pool_quota(struct pool *p, uint64_t quota);
/* What of its quota it has for certain; the rest it borrows while others leave
 * it unused. A new pool's is 0. At most the quota. */
void store_pool_share(struct pool *p, uint64_t share);
/* Bytes of slabs beyond its share, without those that retire. */
uint64_t store_pool_borrowed(const struct pool *p);
/* What its eviction policy has seen of sessions: how many of the usual length
 * fit, what they came back for, and how much of that was not in memory. False:
 * the policy knows no sessions. */
struct policy_load;
bool store_pool_load(const struct store *s, const struct pool *p,
		     struct policy_load *ret_load);
struct pool *store_pool(struct store *s, uint32_t number); /* NULL */
/* 0, or -ENOENT. */
int store_pool_by_tenant(struct store *s, const char *tenant,
			 struct pool **ret_pool);
/* Of the grants that wait for room now, how many there are; the i-th one's key
 * and client when it is of this pool. */
size_t store_waiting(const struct store *s);
bool store_waiting_at(const struct store *s, const struct pool *p, size_t i,
		      uint64_t ret_key[4], uint64_t *ret_part,
		      uint64_t *ret_client);
/* What is known of blocks that are not there; NULL: nothing is kept. */
const struct past *store_past(const struct store *s, const struct pool *p);
void store_each_client(struct store *s, struct pool *p,
		       void (*fn)(void *ctx, struct store_client *c),
		       void *ctx);
void store_check(struct store *s, struct pool *p,
		 void (*problem)(void *ctx, const char *text), void *ctx,
		 struct pool_checked *ret_checked);

/* ---- clients */
struct store_client_info {
	uint32_t pid, uid;
	bool read_only;
	uint32_t pins, overflow;
	const char *name;
};
/* A new client of a pool; its segment is mapped (and stays the caller's). Its
 * record is published by store_client_publish(), once the caller has what
 * must survive in the keeper's hands. -EUSERS: too many. */
int store_client_add(struct store *s, struct pool *p,
		     const struct store_client_info *info,
		     struct client_segment *segment,
		     struct store_client **ret_client);
void store_client_publish(struct store_client *c);
/* The client of a record that a predecessor published. */
int store_client_adopt(struct store *s, struct pool *p, uint32_t index,
		       struct client_segment *segment,
		       struct store_client **ret_client);
/* It closed its socket: grants and pins come back. Its process may still have
 * its slabs mapped for writing, so they stay its own (readable by all, and
 * retired when somebody needs the room) until it ends. The segment is not
 * used any more. True: it had no slabs and is gone altogether. */
bool store_client_close(struct store_client *c);
/* It was asked for what it maps, and did not answer in time (store/revoke.h). */
bool store_client_silent(const struct store_client *c);
/* Its process has ended: what it held comes back, its slabs are nobody's. */
void store_client_died(struct store_client *c);
/* A record whose client cannot be adopted: what it held comes back. */
void store_client_forget(struct pool *p, uint32_t index);

/* ---- the tier below (store/move.h, tier/tier.h)
 * Its descriptor is watched, and it is closed, by the caller; before
 * store_destroy(), which says no word to it. */
/* A tier that could not be opened at first. -ENOMEM. */
int store_below_attach(struct store *s, struct tier *t);
void store_below_ready(struct store *s, uint64_t now_ns);
/* The node serves: there is time to register memory. */
void store_below_serving(struct store *s);
/* Of the last tick; NULL: there is no tier. */
const struct tier_stat *store_below_stat(const struct store *s);
/* enum oc_tier; OC_TIER_NONE. */
unsigned store_below_kind(const struct store *s);
/* For tier_options.gone. */
void store_below_gone(struct store *s, const struct tier_id *id, bool wrong);
/* Nobody is served any more: goes on writing what is in memory alone. False: it
 * is done, or cannot be. Between calls the caller waits for the descriptor. */
bool store_save(struct store *s, uint64_t now_ns);
/* Ends the tier well. As tier_ops.stop(). */
int store_below_stop(struct store *s, uint64_t deadline_ns);

/* ---- requests */
enum store_result {
	STORE_ANSWERED = 0, /* *ret_answer is filled */
	STORE_LATER = 1,    /* options.answer will be called */
};
/* All but NS_OPEN and REPORT. backlog: how many requests of this client wait
 * behind it (eviction works in batches). repeat: the predecessor may have
 * done it already. */
enum store_result store_call(struct store_client *c,
			     const struct ring_call *call, uint32_t backlog,
			     bool repeat, struct ring_answer *ret_answer);
/* Reads the client's touch ring. */
void store_touches(struct store_client *c);
/* The slab's descriptors were given to this client. */
void store_region_given(struct store_client *c, uint32_t slab);

/* ---- namespaces. Positive id, or -errno. */
int64_t store_ns_open(struct pool *p, const struct ns_spec *spec);

#endif

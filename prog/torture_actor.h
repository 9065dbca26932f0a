/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of an actor (torture_actor.c): what its threads share, what an
 * operation says of itself, and the operations.
 *
 * To add an operation: a function in the file that it belongs to, a line here, and a
 * line in the table of torture_actor.c.
 */
#ifndef ONECOPY_PROG_TORTURE_ACTOR_H
#define ONECOPY_PROG_TORTURE_ACTOR_H

#include <pthread.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "torture.h"
#include "torture_resp.h"
#include "torture_session.h"

#define ACTOR_KEYS	 768u /* of each pool */
#define ACTOR_HELD	 24u  /* pins kept for a while */
#define ACTOR_GENS	 4096u
#define ACTOR_REGIONS	 4096u
#define ACTOR_MATCH_KEYS 8u /* records that one operation writes, at most */

static const struct oc_part actor_part = { 0, 0 };

struct pool_of {
	oc_client *client;
	oc_ns *ns;
	_Atomic uint64_t uses[ACTOR_REGIONS]; /* of a region's number */
	bool calm;
};

struct held {
	struct oc_pin pin;
	struct pool_of *pool;
	uint32_t key;
	uint64_t version;
};

/* The last generation of a frame, while its region is the same one. */
struct gen {
	uint64_t offset, use, generation;
	uint32_t region;
};

/* One thread of it. */
struct actor {
	const struct torture_actor_options *o;
	struct torture_log *log;
	struct rng rng;
	struct pool_of *pool; /* both */
	struct held held[ACTOR_HELD];
	struct torture_device *device;
	struct torture_sessions sessions;
	struct torture_resp resp[2]; /* to each pool */
	uint8_t value[TORTURE_NAMED_BYTES];
	uint64_t version; /* the last one; never used twice */
	struct gen gen[2][ACTOR_GENS];
	enum torture_call call;
	pthread_t thread;
};

/* ---- torture_note.c: what it does, and what came of it ---- */

/* A record that is under way; the driver makes UNKNOWN of it if this is the last
 * that is heard. */
struct trial_record *actor_begin(struct actor *a, enum trial_op op,
				 uint32_t key, uint64_t version, bool calm);
/* What the call answered to what the record says of it. version 0: as it was. */
void actor_end(struct actor *a, struct trial_record *r,
	       enum trial_result result, uint64_t version);
/* Nothing that others could see came of it. */
void actor_end_without(struct actor *a, struct trial_record *r);
/* How long the call of the operation in hand took, ns: the longest is kept. */
void actor_stall(struct actor *a, uint64_t took);
/* n bytes were not what they had to be; 0: all is well. */
void actor_wrong(struct actor *a, uint64_t n, const char *what, uint32_t key,
		 uint64_t version);
/* A call failed; for want of room or time is no news. */
void actor_error(struct actor *a, const char *what, int r);
/* A frame's generation grows, as long as its region is the same. */
void actor_generation(struct actor *a, const struct pool_of *p, uint32_t region,
		      uint64_t offset, uint64_t generation);

/* A frame goes from thread to thread through the server, another process: the thread
 * sanitizer is told. */
void actor_frame_goes(const void *data);
void actor_frame_comes(const void *data);
void actor_unpin(struct pool_of *p, struct oc_pin *pin);

/* At random; below `of`. */
uint32_t actor_chance(struct actor *a, uint32_t of);
uint32_t actor_some_key(struct actor *a);
struct pool_of *actor_some_pool(struct actor *a);
/* Never used before. */
uint64_t actor_next_version(struct actor *a);
void actor_doze(uint32_t us);

/* ---- operations ---- */

/* torture_read.c */
void actor_get(struct actor *a);
void actor_hold(struct actor *a);
void actor_let_go(struct actor *a, struct held *h); /* if it is held */
void actor_release(struct actor *a);
void actor_match(struct actor *a);
void actor_exists(struct actor *a);
/* torture_write.c */
void actor_put(struct actor *a);
void actor_abandon(struct actor *a);
void actor_remove(struct actor *a);
void actor_device(struct actor *a);
void actor_session(struct actor *a);
/* torture_named.c: the RESP door */
void actor_named(struct actor *a);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests between a client and the server through the client's segment.
 *
 * The bell is a socket pair: a byte of the client wakes the server, a byte of
 * the server makes the client's end readable.
 *
 * Slots, not a queue: a request lives in a slot until its answer was taken, so
 * answers come in any order and a new server finds what its predecessor had
 * not answered.
 *
 *   client                                server
 *   C1 fill slot i's request
 *   C2 req.seq = s        (release)
 *   C3 ring[tail % N] = i; tail++ (release)
 *   C4 full fence; read `asleep`; if set,
 *      ring the bell
 *                                         S1 read tail (acquire), ring, req
 *                                         S2 do it
 *                                         S3 fill answer, resp.seq = s (release)
 *                                         S4 full fence; if req.waiting: futex
 *                                            wake on resp.seq; if req.notify:
 *                                            ring the bell
 *   C5 wait for resp.seq == s (acquire)
 *
 * A slot is under way when req.seq != resp.seq. A new server looks at every
 * slot once and does those that are under way, again where needed: every
 * operation can be repeated (the server finds a frame granted by this
 * sequence number, a seal that was already made, ...).
 *
 * Before it stops looking at a ring the server stores asleep = 1, fences and
 * reads the tail once more (fall_asleep()): pairs with C3 in call_push() and C4
 * in call_wake() (store buffering, both fenced).
 *
 * The client is not trusted: the server copies a request before it looks at
 * it, checks every field, and never follows anything of it but small numbers.
 * What a hostile client stores in its answers or ring harms itself.
 */
#ifndef ONECOPY_WIRE_RING_H
#define ONECOPY_WIRE_RING_H

#include "base/shared.h"

#define RING_SLOTS	1024 /* requests under way, a power of two */
#define RING_BLOB_BYTES 65536ull
/* Of a grant for something that grows and has nothing before it: no location. */
#define RING_BEHIND_NONE UINT64_MAX

enum ring_op {
	RING_NOP = 0,
	RING_GRANT = 1,	  /* part, key, bytes, tokens, arg = enum
			     frame_grant_flags, loc = 0, or the frame that it
			     goes on behind (a wish), or RING_BEHIND_NONE: a
			     session's first -> loc, gen */
	RING_SEAL = 2,	  /* loc, gen, checksum, bytes, tokens, key, part */
	RING_ABANDON = 3, /* loc, gen */
	RING_REMOVE = 4,  /* key, part (namespace): the whole block */
	RING_PIN = 5,	  /* key, part, arg = enum ring_pin -> overflow slot,
			     loc, gen */
	RING_UNPIN = 6,	  /* arg = overflow slot */
	RING_CANCEL = 7,  /* arg = slot, arg2 = its seq */
	RING_NS_OPEN = 8, /* spec in the blob -> arg = namespace id */
	RING_REPORT = 9,  /* question in the blob -> JSON text in the blob,
			     piece by piece: arg = offset, arg2 = report id
			     (0: make a new one) -> loc = bytes of this
			     piece, arg = bytes of all, arg2 = report id;
			     OC_STALE: no such report (any more) */
	RING_BAD = 10,	  /* loc, gen: the client's verification failed; the
			     server checks for itself and drops it */
	/* Sessions. A name, of 64 bytes, lies in key, loc, gen, extent and
	 * checksum: ring_call_name(). */
	RING_SESSION_OPEN = 11, /* part (namespace), name, arg = flags, arg2 =
				   lease in ms -> loc = id, gen = keys, arg =
				   tail, arg2 = 1: it was made */
	RING_SESSION_FORK = 12, /* part = keys to keep (UINT64_MAX: all, and the
				   tail), name, arg = parent's id, arg2 = flags
				   << 48 | lease in ms -> as OPEN */
	RING_SESSION_APPEND = 13, /* arg = id, arg2 = keys before << 32 | n; one
				     key in the request, more in the blob ->
				     gen = keys */
	RING_SESSION_TAIL = 14,	  /* as SEAL, under a new key; arg = id, arg2 =
				   keys before << 32 | enum ring_tail -> gen =
				   keys */
	RING_SESSION_STATE = 15,  /* arg = id, arg2 = enum ring_state, loc =
				    expected return, gen = lease, in ms; 0: none
				    given; part = 1: as an operator, the owner
				    stays who it is. Of a pause, key[0] = why
				    the answer ended (ring_answer_end_name()),
				    key[1] = its tokens; 0: unknown */
	RING_SESSION_KEYS = 16,	  /* arg = id, arg2 = first -> keys in the blob;
				   loc = how many, gen = keys */
	RING_SESSION_INFO =
		17, /* arg = id -> struct session_said in the blob */
	/* Tiers below. part: namespace and rank (0xffff: all ranks), arg = n keys,
	 * arg2 = a bit for each group that is meant << 8 (none: all). One key
	 * lies in the request, more in the blob: RING_BLOB_KEYS at most. What is
	 * looked at may be fewer keys than n: a request does RING_REACH_PARTS
	 * parts, then the client asks on. */
	RING_LOOK = 18, /* -> loc = keys looked at, for each a struct ring_place
			    in the blob; of one key it is in the answer alone:
			    gen = bytes, arg = expected_ns, arg2 = tier << 32 |
			    tokens */
	RING_FETCH = 19, /* one key; timeout: to be answered by -> 0 all of its
			    parts that are meant are resident, OC_MISS they are
			    not to be had, -ETIMEDOUT. arg2 |=
			    RING_FETCH_AHEAD: any n; answered once it is under
			    way: loc = keys looked at, gen = parts begun */
	RING_SESSION_EXPECT = 20, /* arg = n struct ring_next in the blob,
				     RING_NEXT_MOST at most -> loc = those
				     whose session is there */
	RING_OPS
};

/* What a pin is held for: the flags of coherence/pin.h. */
enum ring_pin {
	RING_PIN_MAPPED = 1,
	RING_PIN_LOSABLE = 2,
};

/* What becomes of a tail that is sealed. */
enum ring_tail {
	RING_TAIL_SEAL = 0,   /* nothing more */
	RING_TAIL_NOTE = 1,   /* a partial block: the session's tail */
	RING_TAIL_APPEND = 2, /* a full one: the session's next key */
};

enum ring_state {
	RING_STATE_PAUSE = 1,
	RING_STATE_RESUME = 2,
	RING_STATE_RENEW = 3,
	RING_STATE_CLOSE = 4,
};

/* Why an answer ended, as enum oc_answer_end counts; NULL: no such reason. */
#define RING_ANSWER_ENDS 7u
const char *ring_answer_end_name(uint64_t ended);

/* A flag of OPEN beside those of enum oc_session_flags, with FIND: key[0] is the
 * session's id, and there is no name. */
#define RING_OPEN_BY_ID 0x100u

/* Where a block is that is not resident, and what having it takes. */
struct ring_place {
	uint32_t tier; /* enum oc_tier; of its slowest part that is needed; 0:
			  nowhere, or not all of it */
	uint32_t tokens;
	uint64_t bytes;	      /* of those of its parts that are not resident */
	uint64_t expected_ns; /* what is queued included */
};
_Static_assert(sizeof(struct ring_place) == 24, "no larger than a key");

enum ring_fetch_flags {
	RING_FETCH_AHEAD = 1, /* nobody waits: answered once it is under way */
};
#define RING_GROUPS_SHIFT 8 /* in arg2 of LOOK and FETCH */
#define RING_RANK_ALL	  0xffffu
#define RING_REACH_PARTS  4096u /* that one LOOK or FETCH looks at */

#define RING_NAME	64
#define RING_BLOB_KEYS	(RING_BLOB_BYTES / 32)
#define RING_LEASE_BITS 48
/* A session is expected in so many ms; 0: what others said of it is taken back. */
#define RING_NEXT_MOST 256u
struct ring_next {
	char name[RING_NAME]; /* zero padded */
	uint64_t in_ms;
};
_Static_assert(sizeof(struct ring_next) == RING_NAME + 8, "no gap");
_Static_assert(sizeof(struct ring_next) * RING_NEXT_MOST <= RING_BLOB_BYTES,
	       "fits");

/* For people; "no request" for what is none. */
const char *ring_op_name(uint64_t op);

/* Written by the client. 128 bytes. */
struct ring_req {
	shared_u64 seq; /* last; 0: never used; slot + a multiple of RING_SLOTS,
			    which grows with each use of the slot */
	shared_u64 op;	/* enum ring_op */
	shared_u64 part; /* frame_part() */
	shared_u64 key[4];
	shared_u64 loc;
	shared_u64 gen;
	shared_u64 extent; /* bytes << 32 | tokens */
	shared_u64 checksum;
	shared_u64
		timeout_ns; /* how long the server may keep it; 0: answer at once */
	shared_u64 arg;
	shared_u64 arg2;
	shared_u32 waiting; /* a thread sleeps on resp.seq */
	shared_u32 notify;  /* ring the bell */
	shared_u64 reserved;
};
_Static_assert(sizeof(struct ring_req) == 128, "two lines");

/* Written by the server. 64 bytes. */
struct ring_resp {
	shared_u64 seq;	   /* last. Its low 32 bits are the futex word */
	shared_u64 result; /* int64: 0, positive answer, -errno */
	shared_u64 loc;
	shared_u64 gen;
	shared_u64 arg;
	shared_u64 arg2;
	shared_u64 reserved[2];
};
_Static_assert(sizeof(struct ring_resp) == 64, "one line");

/* A request as copied out of shared memory. */
struct ring_call {
	uint64_t seq;
	uint64_t op, part, key[4], loc, gen, extent, checksum, timeout_ns, arg,
		arg2;
	uint32_t slot;
};
struct ring_answer {
	int64_t result;
	uint64_t loc, gen, arg, arg2;
};

/* Copies a request (relaxed loads after an acquire of seq). False when seq is
 * 0 or equals the answer's: nothing is under way. */
bool ring_req_load(const struct ring_req *req, const struct ring_resp *resp,
		   uint32_t slot, struct ring_call *ret_call);
/* Fills a slot's request, C1 and C2. */
void ring_req_store(struct ring_req *req, const struct ring_call *call,
		    bool notify);
/* S3. */
void ring_resp_store(struct ring_resp *resp, uint64_t seq,
		     const struct ring_answer *answer);
/* The name in a session's request, zero padded. */
void ring_call_name(const struct ring_call *call, char ret_name[RING_NAME]);
void ring_call_set_name(struct ring_call *call, const char *name);
/* C5 without waiting: true when answered. */
bool ring_resp_load(const struct ring_resp *resp, uint64_t seq,
		    struct ring_answer *ret_answer);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which block should leave? The interface behind which eviction orders stand.
 * Pure bookkeeping over numbers: no clock, no memory of blocks, no I/O. The
 * node and the simulator drive the same code.
 *
 * Items are small dense integers that the caller assigns (one for each frame).
 * Lists are dense integers too (one for each arena: frames that can replace
 * each other). An item is on at most one list. Stamps are the caller's touch
 * counter: they grow.
 *
 * One thread. Memory grows with the largest item and list reserved.
 */
#ifndef ONECOPY_POLICY_POLICY_H
#define ONECOPY_POLICY_POLICY_H

#include "base/compiler.h"

#define POLICY_NONE UINT32_MAX

struct policy;

/* A session uses its chain. What is not known is 0. */
struct policy_use {
	uint64_t now_ms; /* never goes back; an earlier one counts as the last */
	uint64_t session; /* its name; 0: it is known by its chain */
	uint32_t kind;	  /* of caller: any hash of model, agent, tenant */
	uint32_t why;	  /* the last answer ended: a class the caller has */
	uint64_t output;  /* tokens of the answer */
	/* It is expected back in so many ms (0: not said), or never again
	 * (POLICY_CLOSED). */
	uint64_t back_ms;
	bool told; /* others said so, not the session itself */
	/* What a hit saves for each byte, log2 in 1/256 against any one scale:
	 * time to recompute less time to load. 0: the same for all. */
	int32_t saves;
	/* The use is told of another list already, where it was given this
	 * ticket: what is known and counted there is not counted again. */
	bool again;
	uint32_t like;
	bool partial;	      /* the last block is not whole */
	uint32_t n;	      /* blocks of the chain */
	const uint64_t *key;  /* of each: 64 bits of its key */
	const uint32_t *item; /* of each: resident here, or POLICY_NONE */
};
#define POLICY_CLOSED UINT64_MAX

/* Where a block belongs that becomes resident. */
struct policy_place {
	uint32_t ticket; /* of the use */
	uint32_t parent; /* item of the block before it, or POLICY_NONE */
	bool last;	 /* it ends the chain */
};

/* What a policy has seen of its load; all since it was made. */
struct policy_load {
	uint64_t uses, returns;	 /* of sessions; those that came back */
	uint64_t returned, lost; /* blocks they came back for; not resident */
	/* the same of late: halved now and then */
	uint64_t recent_returned, recent_lost, recent_returns;
	uint32_t items;	   /* resident */
	uint32_t sessions; /* with resident blocks */
	uint32_t fit;	   /* sessions of the usual length that items hold */
};

struct policy_ops {
	const char *name;
	int (*create)(struct policy **ret_policy); /* -ENOMEM */
	void (*destroy)(struct policy *p);
	/* Room for items 0..items-1 and lists 0..lists-1; never shrinks. */
	int (*reserve)(struct policy *p, uint32_t items, uint32_t lists);
	/* A block became resident (its item must be on no list). */
	void (*insert)(struct policy *p, uint32_t list, uint32_t item,
		       uint64_t stamp);
	/* A block was used. No effect for an item that is on no list. */
	void (*touch)(struct policy *p, uint32_t item, uint64_t stamp);
	/* It left, for whatever reason. No effect when on no list. */
	void (*remove)(struct policy *p, uint32_t item);
	/* The first to leave of a list, and after `prev` the next one; or
	 * POLICY_NONE. Changes nothing: the caller may pass over an item (it
	 * is pinned) and go on with the next. */
	uint32_t (*victim)(struct policy *p, uint32_t list, uint32_t prev);
	/* Stamp of the item's last use; 0 when on no list. */
	uint64_t (*stamp)(const struct policy *p, uint32_t item);
	/*
	 * For policies that know sessions; NULL where there is no such thing.
	 *
	 * use(): a session uses a chain; touches what of it is resident in the
	 * list. One that lies in several lists is told of each. Returns a
	 * ticket for its other blocks, good until the next use() of the list,
	 * after which it may name another session.
	 * wants(): is a block of that use worth more than that victim of the
	 * list? Asked when there is no room; if not, the block passes by.
	 * insert_in(): as insert(), known to follow `parent`. tick(): the time,
	 * for uses that nobody describes. load(): what was seen so far.
	 *
	 * begin(): a session has come back: that is when its return is learned,
	 * and when what it lost is counted; its use() follows at the end of the
	 * turn and then tells of no return. In all lists. For callers that see
	 * both ends of a turn; others call use() alone.
	 *
	 * expect(): others say that a session comes back in so many ms from
	 * now. now_ms, session, kind and back_ms count. What the session or
	 * others said before is forgotten, and its next use ends it. 0: they
	 * take back what they said; what the session said itself stands. In
	 * all lists. False: it is not known.
	 */
	uint32_t (*use)(struct policy *p, uint32_t list,
			const struct policy_use *use, uint64_t stamp);
	bool (*wants)(const struct policy *p, uint32_t ticket, bool last,
		      uint32_t victim);
	void (*insert_in)(struct policy *p, uint32_t list, uint32_t item,
			  uint64_t stamp, const struct policy_place *place);
	void (*begin)(struct policy *p, const struct policy_use *use);
	bool (*expect)(struct policy *p, const struct policy_use *use);
	void (*tick)(struct policy *p, uint64_t now_ms);
	void (*load)(const struct policy *p, struct policy_load *ret_load);
	/*
	 * For a ladder of tiers (ladder.h), with an order for each rung.
	 * find(): the ticket of the session that such a use is of, without its
	 * being used: for a block that comes down to this rung long after;
	 * POLICY_NONE: it is not known any more. rate(): the chance of a use
	 * of that item's session, or of the one of a ticket, for each ms that
	 * it is kept, in 2^-32; what a hit saves is not in it. 0: not known.
	 */
	uint32_t (*find)(const struct policy *p, uint32_t list,
			 const struct policy_use *use);
	uint64_t (*rate)(const struct policy *p, uint32_t item);
	uint64_t (*rate_of)(const struct policy *p, uint32_t ticket, bool last);
	/*
	 * What was learned, without those it was learned of, for a policy that
	 * follows this one; NULL where nothing is learned. save(): as so many
	 * bytes, which only the same build understands. recall(): it is all
	 * that has been learned; what was seen in this life is forgotten, but
	 * not who is where. False, and nothing has been learned: NULL, or the
	 * bytes are another build's. That they are whole and the policy's own
	 * is the caller's to know.
	 */
	size_t (*learned_bytes)(void);
	void (*save)(const struct policy *p, void *ret_bytes);
	bool (*recall)(struct policy *p, const void *bytes, size_t n);
	/* Recount everything: 0, or -EPROTO. For tests. */
	int (*check)(const struct policy *p);
};

extern const struct policy_ops policy_lru, policy_onecopy;

/* By name ("lru", "onecopy"); NULL when there is none. */
const struct policy_ops *policy_find(const char *name);

#endif

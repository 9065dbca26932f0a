/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves between frames and the tier below, as a service of the store.
 *
 * Up (promotion): a part that is not resident gets a frame of the server's own,
 * is read there by one DMA, verified by the tier and sealed. Down (demotion): a
 * sealed part is pinned in the server's slots, written from its frame, and stays
 * resident until eviction finds that it has a replica below.
 *
 * One part is moved once at a time: who wants what is moving joins the move.
 * Order: somebody waits, then ahead, then demotion; within one, tenants in turn.
 * All in the store's thread; nothing here waits.
 *
 * Death: frames that were being filled are QUARANTINED by the successor until
 * the tier says that the device is done; what was being written down stays
 * where it was.
 */
#ifndef ONECOPY_STORE_MOVE_H
#define ONECOPY_STORE_MOVE_H

#include "store/store.h"
#include "tier/tier.h"

struct move;

/* Somebody who waits for one part. Caller's memory until done(). */
struct move_waiter {
	/* 0: resident now; OC_MISS: it is not to be had (gone, wrong bytes, an
	 * error, no room in time). Never from the call that began it. */
	void (*done)(struct move_waiter *w, int result);
	/* the mover's */
	struct move *move;
	struct move_waiter *next, *prev;
};

/* Brings a part up. 0: under way, w is told; OC_EXISTS: resident already;
 * OC_MISS: not below; -EAGAIN: too much is under way (only for TIER_AHEAD).
 * w NULL: nobody waits. deadline_ns: to begin, 0: none. A move that is wanted
 * again more urgently becomes so. */
int move_up(struct store *s, struct pool *p, const uint64_t key[4],
	    uint64_t part, enum tier_urgency urgency, uint64_t deadline_ns,
	    struct move_waiter *w);
/* Waits no more. A move that has not begun and that nobody wants ends. */
void move_leave(struct move_waiter *w);
/* A part below. Changes nothing. */
bool move_find(const struct store *s, const struct pool *p,
	       const uint64_t key[4], uint64_t part,
	       struct tier_found *ret_found);
/* Nothing of a namespace is below any more; what is in memory stays. */
void move_forget_all(struct store *s, const struct pool *p, uint32_t ns);

#endif

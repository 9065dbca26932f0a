/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which tenant may take memory, and which gives it back.
 *
 *   quota   never passed
 *   share   guaranteed: what is free goes to anybody, and what a tenant has
 *           beyond its share is borrowed. A tenant below its share that wants
 *           room gets it back from the one that borrows most
 *
 * A tenant that finds no room below its share *claims* the rest of its share
 * for a while: no tenant borrows what is claimed, so memory that a slab gave
 * back does not go to the one that has just given it.
 *
 * What retires is on its way out: it counts against the quota, since it is
 * memory, and not as borrowed, or more would be taken back than is owed.
 */
#include "base/clock.h"
#include "store/internal.h"

/* How long memory is kept for a tenant after it found no room. */
#define CLAIM_NS NS_PER_S

uint64_t quota_held(const struct pool *p)
{
	return pool_counter(p, POOL_C_slab_bytes) + p->making_bytes -
	       pool_counter(p, POOL_C_retiring_bytes);
}

uint64_t store_pool_borrowed(const struct pool *p)
{
	uint64_t held = quota_held(p);

	return held - MIN(held, p->share);
}

uint64_t quota_owed(const struct pool *p)
{
	uint64_t held = quota_held(p);

	return p->share - MIN(held, p->share);
}

uint64_t quota_left(const struct pool *p)
{
	uint64_t all = pool_counter(p, POOL_C_slab_bytes) + p->making_bytes;

	return p->quota - MIN(all, p->quota);
}

void quota_claim(struct store *s, struct pool *p)
{
	p->claim_ns = s->now_ns + CLAIM_NS;
}

static uint64_t claimed_by_others(const struct store *s, const struct pool *p)
{
	uint64_t bytes = 0;

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		const struct pool *q = s->pool[n];

		if (q && q != p && q->share && s->now_ns < q->claim_ns)
			bytes += quota_owed(q);
	}
	return bytes;
}

uint64_t quota_room(const struct store *s, const struct pool *p)
{
	uint64_t room = s->budget.limit - MIN(s->budget.used, s->budget.limit);
	uint64_t claimed = claimed_by_others(s, p);
	uint64_t beside = room - MIN(claimed, room);

	return MAX(beside, MIN(quota_owed(p), room));
}

struct pool *quota_lender(const struct store *s, const struct pool *p,
			  uint64_t more_than, uint64_t less_than)
{
	uint64_t most = more_than;
	struct pool *best = NULL;

	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct pool *q = s->pool[n];

		if (!q || q == p || store_pool_borrowed(q) <= most ||
		    store_pool_borrowed(q) >= less_than)
			continue;
		most = store_pool_borrowed(q);
		best = q;
	}
	return best;
}

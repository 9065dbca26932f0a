/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of the other nodes of the region, for the log: who joins, is late, comes
 * back, leaves, ends. Once a lease, from the beat; what happens and is over between two
 * looks is not told. Readers come and go with their clients, and are not told at all;
 * of this node's own clients those are counted that found no slot.
 *
 * Nothing is decided here. A node is known by slot and incarnation, so one that follows
 * in the same slot is another.
 */
#include "base/clock.h"
#include "base/log.h"
#include "store/shard_internal.h"

static void say_gone(uint32_t member, const struct shard_seen *seen,
		     const struct region_member_status *now)
{
	unsigned long long inc = seen->inc;

	if (now->inc != seen->inc)
		log_info("member %u.%llu (%s) of the CXL region is gone",
			 member, inc, seen->name);
	else if (now->state == MEMBER_FREE)
		log_info("member %u.%llu (%s) of the CXL region has left",
			 member, inc, seen->name);
	else
		log_warn("member %u.%llu (%s) of the CXL region %s", member,
			 inc, seen->name,
			 now->state == MEMBER_EXITED
				 ? "has ended: its processes were seen to end"
				 : "was declared dead");
}

static void say_late(uint32_t member, const struct shard_seen *seen,
		     const struct region_member_status *now)
{
	unsigned long long inc = seen->inc;

	if (now->late)
		log_warn("member %u.%llu (%s) of the CXL region is late: "
			 "silent for %lld ms; its shards wait for it",
			 member, inc, seen->name, (long long)now->silent_ms);
	else
		log_info("member %u.%llu (%s) of the CXL region is back",
			 member, inc, seen->name);
}

static void watch(uint32_t member, struct shard_seen *seen,
		  const struct region_member_status *now, bool first)
{
	bool lives = now->state == MEMBER_LIVE && now->known && !now->reader;

	if (now->lost)
		return;
	if (seen->inc && (!lives || now->inc != seen->inc)) {
		say_gone(member, seen, now);
		seen->inc = 0;
	}
	if (lives && !seen->inc) {
		*seen = (struct shard_seen){ .inc = now->inc };
		memcpy(seen->name, now->name, sizeof(seen->name));
		if (!first)
			log_info("member %u.%llu (%s) of the CXL region has "
				 "joined",
				 member, (unsigned long long)seen->inc,
				 seen->name);
	}
	if (lives && now->late != seen->late) {
		seen->late = now->late;
		say_late(member, seen, now);
	}
}

/* One whose end was heard of has no segment any more. */
bool shard_is_outside(const struct store_client *c)
{
	return c->segment &&
	       shared_load64(&c->segment->header.cxl) >> 32 == CLIENT_CXL_FULL;
}

void shard_outside(struct store_client *c)
{
	if (c->outside || !shard_is_outside(c))
		return;
	c->outside = true;
	pool_count(c->pool, POOL_C_region_outside, 1);
}

static void count_outside(struct store *s)
{
	struct pool *p = shard_pool(s);

	for (uint32_t i = 0; p && i < LAYOUT_CLIENTS_MAX; i++)
		if (s->client[p->number][i])
			shard_outside(s->client[p->number][i]);
}

void shard_watch(struct store *s)
{
	struct shard *h = s->shard;
	const struct region_geometry *g = region_geometry_of(h->region);
	uint32_t self = region_owner_member(h->word);

	if (s->now_ns < h->watch_ns)
		return;
	h->watch_ns = s->now_ns + g->lease_ms * NS_PER_MS;
	for (uint32_t i = 0; i < g->members; i++) {
		struct region_member_status now;

		if (i == self)
			continue;
		region_member_glance(h->region, i, &now);
		watch(i, &h->seen[i], &now, !h->watched);
	}
	h->watched = true;
	count_outside(s);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shards of a CXL region as this client reads them (region/region.h,
 * docs/design/region.md): blocks that nodes have put there, its own among them.
 *
 * The client is a member of its own, without a shard: its pins lie in a unit that
 * it alone writes, and its end is proved by itself, whatever becomes of its node.
 * It joins when a block is first missed on a node that has a region, and stays
 * until it closes. Where it cannot join, it reads what its node has, and
 * oc_client_error() and `onecopy stat` say why.
 *
 * Any thread. Looking takes no lock; pinning and unpinning take a short one
 * (client/member.h).
 *
 * Death: as a member's. Who was declared dead pins nothing more; what it holds is
 * protected no more, and stays mapped until it closes.
 */
#ifndef ONECOPY_CLIENT_SHARDS_H
#define ONECOPY_CLIENT_SHARDS_H

#include "client/client.h"
#include "region/region.h"

/* The id of the region among the client's (struct oc_region). */
#define SHARDS_REGION LAYOUT_SLABS_MAX

/* True when a look there may find something: the node has a region. */
static inline bool shards_there(const oc_client *c)
{
	return unlikely(shared_load64(&c->meta->cxl) != 0) ||
	       unlikely(atomic_load_explicit(&c->shards,
					     memory_order_relaxed) != NULL);
}

/* All of these join when it is the first time. 0, OC_MISS, OC_BAD, -errno. */
int shards_pin(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	       unsigned flags, struct oc_pin *ret_pin);
/* Those of these jobs that have no data yet. How many were there. */
size_t shards_pin_missed(oc_ns *ns, const struct pin_job *jobs, size_t n,
			 unsigned flags);
void shards_unpin(oc_client *c, uint64_t slot);
int shards_look(oc_ns *ns, const struct oc_key *key, struct oc_part part,
		struct region_seen *ret_seen);
/* Of n <= LOOK_MOST keys: bit i of `wanted`: look; of the result: there. extents
 * may be NULL. */
uint64_t shards_look_some(oc_ns *ns, const struct oc_key *keys, size_t n,
			  struct oc_part part, uint64_t wanted,
			  uint64_t *ret_extents);
/* For oc_region_each(). False: it is no member. */
bool shards_region(const oc_client *c, struct oc_region *ret_region);
/* With the client. */
void shards_close(oc_client *c);

#endif

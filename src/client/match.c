/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching: the joint hit rule (index/match.h) over what is resident, and what
 * is known of the blocks.
 *
 * Presence is looked up 64 blocks at a time, so that the misses of the cache
 * overlap. What is looked up beyond the first gap costs at most one chunk.
 * Tiers below are asked only for what is not resident.
 */
#include "client/matching.h"
#include "client/shards.h"

#define CHUNK LOOK_MOST

int matching_init(struct matching *m, oc_ns *ns, const struct oc_key *keys,
		  size_t n, int32_t rank)
{
	if (rank >= (int32_t)ns->spec.ranks)
		return client_fail(ns->c, -EINVAL, "no rank %d here", rank);
	m->ns = ns;
	m->keys = keys;
	m->n = n;
	m->first_rank = rank < 0 ? 0 : (unsigned)rank;
	m->ranks = rank < 0 ? ns->spec.ranks : 1;
	m->parts = ns->spec.groups * m->ranks;
	m->reach = NULL;
	m->pins = NULL;
	m->only_pins = false;
	for (unsigned g = 0; g < MATCH_GROUPS_MAX; g++)
		m->chunk[g].at = SIZE_MAX;
	return 0;
}

uint16_t matching_rank(const struct matching *m)
{
	return m->ranks == m->ns->spec.ranks ? RING_RANK_ALL
					     : (uint16_t)m->first_rank;
}

uint64_t matching_part(const struct matching *m, unsigned group, unsigned rank)
{
	return frame_part(m->ns->id, (uint16_t)group,
			  (uint16_t)(m->first_rank + rank));
}

/* One part of n keys, on this node or in its CXL region. *ret_shards (may be
 * NULL): of them, those that are there alone. */
static uint64_t look_both(struct matching *m, unsigned group, unsigned rank,
			  size_t at, size_t n, uint64_t *ret_extents,
			  uint64_t *ret_shards)
{
	uint64_t all = n == 64 ? UINT64_MAX : (1ull << n) - 1, more = 0;
	uint64_t there = pin_look_some(m->ns->c, m->keys + at, n,
				       matching_part(m, group, rank),
				       ret_extents);

	if (there != all && shards_there(m->ns->c))
		more = shards_look_some(
			m->ns, m->keys + at, n,
			(struct oc_part){ (uint16_t)group,
					  (uint16_t)(m->first_rank + rank) },
			all & ~there, ret_extents);
	if (ret_shards)
		*ret_shards = more;
	return there | more;
}

/* All ranks of a group in the chunk that holds this block. */
static void chunk_load(struct matching *m, unsigned group, size_t block)
{
	size_t at = block / CHUNK * CHUNK, n = MIN(m->n - at, (size_t)CHUNK);
	uint64_t there = UINT64_MAX;

	for (unsigned rank = 0; rank < m->ranks && there; rank++)
		there &= look_both(m, group, rank, at, n, NULL, NULL);
	m->chunk[group].at = at;
	m->chunk[group].there = there;
}

static struct oc_pin *pin_at(const struct matching *m, size_t block,
			     unsigned group, unsigned rank)
{
	return &m->pins[block * m->parts + group * m->ranks + rank];
}

/* Are all ranks pinned? *ret_failed: one of them could not be. */
static bool all_pinned(const struct matching *m, unsigned group, size_t block,
		       bool *ret_failed)
{
	bool all = true;

	*ret_failed = false;
	for (unsigned rank = 0; rank < m->ranks; rank++) {
		const struct oc_pin *p = pin_at(m, block, group, rank);

		all &= p->data != NULL;
		*ret_failed |= !p->data && p->slot == SLOT_FAILED;
	}
	return all;
}

static bool present(void *ctx, unsigned group, size_t block)
{
	struct matching *m = ctx;
	bool failed = false;

	if (m->pins && all_pinned(m, group, block, &failed))
		return true;
	if (failed || m->only_pins)
		return false;
	if (m->chunk[group].at != block / CHUNK * CHUNK)
		chunk_load(m, group, block);
	if (m->chunk[group].there >> block % CHUNK & 1)
		return true;
	return m->reach && reach_at(m->reach, group, block)->tier;
}

static size_t match_run(struct matching *m)
{
	return match_prefix(m->ns->rule, m->ns->spec.groups, m->n, present, m);
}

size_t matching_run(struct matching *m)
{
	oc_client *c = m->ns->c;
	struct footing f;
	size_t usable;
	int tries = 0;

	do {
		f = footing_get(c);
		for (unsigned g = 0; g < MATCH_GROUPS_MAX; g++)
			m->chunk[g].at = SIZE_MAX;
		usable = match_run(m);
	} while (usable < m->n && tries++ < FOOTING_TRIES &&
		 footing_moved(c, &f));
	return usable;
}

int matching_below(struct matching *m, struct reach *r, uint64_t deadline,
		   size_t *ret_reach)
{
	int e = reach_init(r, m->ns, m->keys, m->n, matching_rank(m), deadline);
	size_t reach;

	if (e)
		return e;
	m->reach = r;
	reach = matching_run(m);
	if (r->error)
		return r->error;
	*ret_reach = reach;
	return 0;
}

/* ---- information ---- */

/* Of parts below it is known exactly how large they are. */
static bool is_below(const struct matching *m, unsigned group, size_t block)
{
	return m->reach && reach_peek(m->reach, group, block)->bytes;
}

static void chunk_bytes(struct matching *m, unsigned group, unsigned rank,
			size_t at, size_t n, size_t usable,
			struct oc_block_info *ret_info)
{
	const struct match_group *rule = &m->ns->rule[group];
	uint64_t extents[CHUNK], shards;
	uint64_t there = look_both(m, group, rank, at, n, extents, &shards);

	for (size_t i = 0; i < n; i++) {
		if (!match_needs(rule, usable, at + i))
			continue;
		if (shards >> i & 1)
			ret_info[at + i].tier = OC_TIER_CXL;
		/* What left meanwhile counts as a whole part. */
		if (there >> i & 1)
			ret_info[at + i].bytes +=
				frame_extent_bytes(extents[i]);
		else if (!is_below(m, group, at + i))
			ret_info[at + i].bytes += m->ns->part_bytes[group];
	}
}

static uint32_t stream_add(uint32_t sum, uint64_t more)
{
	return more < UINT32_MAX - sum ? sum + (uint32_t)more : UINT32_MAX;
}

/* Parts in DRAM are reached while those below come up. */
static void inform_below(struct matching *m, size_t block, size_t usable,
			 struct oc_block_info *info)
{
	const oc_client *c = m->ns->c;
	bool first = true;

	for (unsigned g = 0; g < m->ns->spec.groups; g++) {
		const struct ring_place *p = reach_peek(m->reach, g, block);

		if (!p->bytes || !match_needs(&m->ns->rule[g], usable, block))
			continue;
		if (first && info->tier != (enum oc_tier)p->tier)
			info->stream_ns = 0;
		first = false;
		/* the slowest: they are in that order */
		info->tier = MAX(info->tier, (enum oc_tier)p->tier);
		info->bytes += p->bytes;
		info->expected_ns = MAX(info->expected_ns, p->expected_ns);
		info->stream_ns = stream_add(
			info->stream_ns,
			tier_stream(c, (enum oc_tier)p->tier, p->bytes));
	}
}

static void inform_block(struct matching *m, size_t block, size_t usable,
			 struct oc_block_info *info)
{
	const oc_client *c = m->ns->c;

	if (info->tier != OC_TIER_CXL)
		info->tier = OC_TIER_DRAM;
	if (info->bytes) {
		enum oc_tier priced = tier_expect(c, info->tier, 1)
					      ? info->tier
					      : OC_TIER_DRAM;

		info->expected_ns = tier_expect(c, priced, info->bytes);
		info->stream_ns =
			stream_add(0, tier_stream(c, priced, info->bytes));
	}
	if (m->reach)
		inform_below(m, block, usable, info);
	/* a price that was measured anew between the two */
	info->expected_ns = MAX(info->expected_ns, (uint64_t)info->stream_ns);
}

static void inform(struct matching *m, size_t usable,
		   struct oc_block_info *ret_info)
{
	memset(ret_info, 0, usable * sizeof(*ret_info));
	for (size_t at = 0; at < usable; at += CHUNK) {
		size_t n = MIN(usable - at, (size_t)CHUNK);

		for (unsigned g = 0; g < m->ns->spec.groups; g++)
			for (unsigned rank = 0; rank < m->ranks; rank++)
				chunk_bytes(m, g, rank, at, n, usable,
					    ret_info);
	}
	for (size_t i = 0; i < usable; i++)
		inform_block(m, i, usable, &ret_info[i]);
}

/* All n: what can be had from this node, and what cannot. */
static int inform_all(struct matching *m, size_t usable,
		      struct oc_block_info *ret_info)
{
	struct reach r = { .ns = m->ns };
	size_t reach = usable;
	int e = 0;

	if (usable < m->n && reach_exists(m->ns->c))
		e = matching_below(m, &r, client_deadline(m->ns->c, 0), &reach);
	if (e == 0) {
		/* what is resident may have become less in between */
		reach = MAX(reach, usable);
		inform(m, reach, ret_info);
		memset(ret_info + reach, 0, (m->n - reach) * sizeof(*ret_info));
	}
	m->reach = NULL;
	reach_fini(&r);
	return e;
}

int matching_options(const oc_client *c, const struct oc_match_options *from,
		     struct oc_match_options *o)
{
	if (from && options_copy(o, sizeof(*o), from))
		return client_fail(c, -EINVAL, "options without their size");
	if (o->flags & ~(unsigned)OC_MATCH_BELOW)
		return client_fail(c, -EINVAL, "unknown flags of a match: %#x",
				   o->flags);
	return 0;
}

int oc_match(oc_ns *ns, const struct oc_key *keys, size_t n,
	     const struct oc_match_options *options,
	     struct oc_block_info *ret_info, size_t *ret_usable)
{
	struct oc_match_options o = OC_MATCH_INIT;
	struct matching m;
	size_t usable;
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	r = matching_options(ns->c, options, &o);
	if (r == 0)
		r = matching_init(&m, ns, keys, n, o.rank);
	if (r == 0 && o.flags & OC_MATCH_BELOW && !ret_info && n)
		r = client_fail(ns->c, -EINVAL, "no place for what is below");
	if (r)
		return r;
	if (client_behind(ns->c))
		region_follow(ns->c);
	usable = matching_run(&m);
	if (o.flags & OC_MATCH_BELOW)
		r = inform_all(&m, usable, ret_info);
	else if (ret_info)
		inform(&m, usable, ret_info);
	if (r == 0)
		*ret_usable = usable;
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching: the joint hit rule (index/match.h) over what is resident.
 *
 * Presence is looked up 64 blocks at a time, so that the misses of the cache
 * overlap. What is looked up beyond the first gap costs at most one chunk.
 */
#include "client/client.h"

#define CHUNK  LOOK_MOST
#define ROUNDS 4 /* of matching and pinning before only pins count */
/* In oc_pin.slot of an entry with no data: could not be pinned. */
#define SLOT_FAILED 1

/* One match under way. */
struct matching {
	oc_ns *ns;
	const struct oc_key *keys;
	size_t n;
	unsigned first_rank, ranks;
	unsigned parts; /* groups x ranks */
	struct {
		size_t at; /* first block of the chunk; SIZE_MAX: none */
		uint64_t there;
	} chunk[MATCH_GROUPS_MAX];
	/* When pinning: [block][group][rank]. */
	struct oc_pin *pins;
	bool only_pins;
};

static int matching_init(struct matching *m, oc_ns *ns,
			 const struct oc_key *keys, size_t n,
			 const struct oc_match_options *options,
			 struct oc_match_options *ret_options)
{
	struct oc_match_options o = OC_MATCH_INIT;

	if (options && options_copy(&o, sizeof(o), options))
		return client_fail(ns->c, -EINVAL,
				   "options without their size");
	if (o.rank >= (int32_t)ns->spec.ranks)
		return client_fail(ns->c, -EINVAL, "no rank %d here", o.rank);
	m->ns = ns;
	m->keys = keys;
	m->n = n;
	m->first_rank = o.rank < 0 ? 0 : (unsigned)o.rank;
	m->ranks = o.rank < 0 ? ns->spec.ranks : 1;
	m->parts = ns->spec.groups * m->ranks;
	m->pins = NULL;
	m->only_pins = false;
	for (unsigned g = 0; g < MATCH_GROUPS_MAX; g++)
		m->chunk[g].at = SIZE_MAX;
	*ret_options = o;
	return 0;
}

static uint64_t part_of(const struct matching *m, unsigned group, unsigned rank)
{
	return frame_part(m->ns->id, (uint16_t)group,
			  (uint16_t)(m->first_rank + rank));
}

/* All ranks of a group in the chunk that holds this block. */
static void chunk_load(struct matching *m, unsigned group, size_t block)
{
	size_t at = block / CHUNK * CHUNK, n = MIN(m->n - at, (size_t)CHUNK);
	uint64_t there = UINT64_MAX;

	for (unsigned rank = 0; rank < m->ranks && there; rank++)
		there &= pin_look_some(m->ns->c, m->keys + at, n,
				       part_of(m, group, rank), NULL);
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
	return m->chunk[group].there >> block % CHUNK & 1;
}

static size_t match_run(struct matching *m)
{
	return match_prefix(m->ns->rule, m->ns->spec.groups, m->n, present, m);
}

/* A miss may be one because this client has not followed the node. */
static size_t match_fresh(struct matching *m)
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

/* ---- information ---- */

static void chunk_bytes(struct matching *m, unsigned group, unsigned rank,
			size_t at, size_t n, size_t usable,
			struct oc_block_info *ret_info)
{
	const struct match_group *rule = &m->ns->rule[group];
	uint64_t extents[CHUNK];
	uint64_t there = pin_look_some(m->ns->c, m->keys + at, n,
				       part_of(m, group, rank), extents);

	for (size_t i = 0; i < n; i++) {
		if (!match_needs(rule, usable, at + i))
			continue;
		/* What left meanwhile counts as a whole part. */
		ret_info[at + i].bytes +=
			there >> i & 1 ? frame_extent_bytes(extents[i])
				       : m->ns->part_bytes[group];
	}
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
	for (size_t i = 0; i < usable; i++) {
		ret_info[i].tier = OC_TIER_DRAM;
		ret_info[i].expected_ns =
			ret_info[i].bytes ? tier_expect(m->ns->c, OC_TIER_DRAM,
							ret_info[i].bytes)
					  : 0;
	}
}

int oc_match(oc_ns *ns, const struct oc_key *keys, size_t n,
	     const struct oc_match_options *options,
	     struct oc_block_info *ret_info, size_t *ret_usable)
{
	struct oc_match_options o;
	struct matching m;
	size_t usable;
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	r = matching_init(&m, ns, keys, n, options, &o);
	if (r)
		return r;
	if (client_behind(ns->c))
		region_follow(ns->c);
	usable = match_fresh(&m);
	if (ret_info)
		inform(&m, usable, ret_info);
	*ret_usable = usable;
	return 0;
}

/* ---- match and pin ---- */

struct collect {
	struct pin_job jobs[PIN_WINDOW];
	size_t n, failed;
	unsigned flags;
};

static int collect_flush(struct matching *m, struct collect *k)
{
	size_t got = 0;
	int r = pin_window(m->ns->c, k->jobs, k->n, k->flags, &got);

	for (size_t i = 0; i < k->n && r == 0; i++)
		if (!k->jobs[i].pin->data)
			k->jobs[i].pin->slot = SLOT_FAILED;
	k->failed += k->n - got;
	k->n = 0;
	return r;
}

/* Pins what a prefix needs and is not pinned yet. */
static int pin_needed(struct matching *m, size_t usable, unsigned flags,
		      size_t *ret_failed)
{
	struct collect k = { .flags = flags };
	int r = 0;

	for (size_t i = 0; i < usable * m->parts && r == 0; i++) {
		size_t block = i / m->parts;
		unsigned group = (unsigned)(i % m->parts) / m->ranks;
		unsigned rank = (unsigned)(i % m->parts) % m->ranks;

		if (m->pins[i].data ||
		    !match_needs(&m->ns->rule[group], usable, block))
			continue;
		k.jobs[k.n++] = (struct pin_job){ &m->keys[block],
						  part_of(m, group, rank),
						  &m->pins[i] };
		if (k.n == PIN_WINDOW)
			r = collect_flush(m, &k);
	}
	if (r == 0 && k.n)
		r = collect_flush(m, &k);
	*ret_failed = k.failed;
	return r;
}

/* Gives back what a prefix does not need; clears private marks. */
static void drop_unneeded(struct matching *m, size_t usable)
{
	for (size_t i = 0; i < m->n * m->parts; i++) {
		size_t block = i / m->parts;
		unsigned group = (unsigned)(i % m->parts) / m->ranks;

		if (block < usable &&
		    match_needs(&m->ns->rule[group], usable, block) &&
		    m->pins[i].data)
			continue;
		if (m->pins[i].data)
			pin_drop(m->ns->c, &m->pins[i], 1, false);
		m->pins[i].slot = 0;
	}
}

/* Each round that fails marks a part as gone; after some, nothing new is
 * pinned and the rule is applied to what is held. */
static int match_and_pin(struct matching *m, unsigned flags, size_t *ret_usable)
{
	for (int round = 0;; round++) {
		size_t failed = 0, usable;
		int r = 0;

		m->only_pins = round == ROUNDS;
		usable = match_fresh(m);
		if (!m->only_pins)
			r = pin_needed(m, usable, flags, &failed);
		if (r) {
			drop_unneeded(m, 0);
			return r;
		}
		if (failed)
			continue;
		drop_unneeded(m, usable);
		*ret_usable = usable;
		return 0;
	}
}

static void count_pins(struct matching *m, size_t usable)
{
	uint64_t pins = 0, bytes = 0;

	for (size_t i = 0; i < usable * m->parts; i++) {
		if (!m->pins[i].data)
			continue;
		pins++;
		bytes += m->pins[i].bytes;
	}
	client_add(m->ns->c, CLIENT_PINS, pins);
	client_add(m->ns->c, CLIENT_READ_BYTES, bytes);
	client_add(m->ns->c, CLIENT_MISSES, usable < m->n);
}

int oc_match_pin(oc_ns *ns, const struct oc_key *keys, size_t n,
		 const struct oc_match_options *options,
		 struct oc_pin *ret_pins, size_t *ret_usable)
{
	struct oc_match_options o;
	struct matching m;
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	r = matching_init(&m, ns, keys, n, options, &o);
	if (r)
		return r;
	if (client_behind(ns->c))
		region_follow(ns->c);
	m.pins = ret_pins;
	for (size_t i = 0; i < n * m.parts; i++) {
		ret_pins[i].data = NULL;
		ret_pins[i].slot = 0;
	}
	r = match_and_pin(&m, o.pin_flags, ret_usable);
	if (r == 0)
		count_pins(&m, *ret_usable);
	return r;
}

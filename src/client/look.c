/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking without a pin: what a descriptor said while its word did not change.
 * The answer may be old at once; nothing is held.
 */
#include "base/clock.h"
#include "client/reach.h"
#include "client/shards.h"

/* The loads before come before the loads after. */
static inline void look_fence(void)
{
#ifndef ONECOPY_TSAN /* which knows no fences */
	atomic_thread_fence(memory_order_acquire);
#endif
}

/* Is this candidate the part, and sealed, from the first look to the last? */
static bool look_at(const struct frame_desc *d, uint64_t entry,
		    const uint64_t key[4], uint64_t part, struct seen *ret_seen)
{
	uint64_t word = shared_load64_acquire(&d->word);

	if (frame_word_state(word) != FRAME_SEALED ||
	    (uint8_t)frame_word_gen(word) != table_word_gen(entry) ||
	    !frame_is(d, key, part))
		return false;
	ret_seen->loc = table_word_loc(entry);
	ret_seen->gen = frame_word_gen(word);
	ret_seen->extent = shared_load64(&d->extent);
	ret_seen->checksum = shared_load64(&d->checksum);
	look_fence();
	return shared_load64_acquire(&d->word) == word;
}

/* *ret_moved: as pin_try()'s. */
static int look(oc_client *c, const struct view *v, struct table_hash h,
		const uint64_t key[4], uint64_t part, bool *ret_moved,
		struct seen *ret_seen)
{
	unsigned cursor = 0;
	uint64_t entry;

	*ret_moved = false;
	while ((entry = table_probe(&v->table, h, &cursor))) {
		uint64_t loc = table_word_loc(entry);
		const struct frame_desc *d = region_desc(c, loc);

		if (unlikely(!d)) {
			int r = region_need(c, frame_loc_slab(loc),
					    client_deadline(c, 0));
			if (r < 0)
				return r;
			d = r ? NULL : region_desc(c, loc);
		}
		if (d && look_at(d, entry, key, part, ret_seen))
			return 0;
		*ret_moved |= d != NULL;
	}
	return OC_MISS;
}

int pin_look(oc_client *c, const uint64_t key[4], uint64_t part,
	     struct seen *ret_seen)
{
	struct table_hash h = table_hash(key, part);
	struct footing f = footing_get(c);
	bool moved;
	int r = look(c, f.view, h, key, part, &moved, ret_seen);

	for (int i = 0; r == OC_MISS && i < FOOTING_TRIES; i++) {
		if (!footing_moved(c, &f) && !moved)
			break;
		f = footing_get(c);
		r = look(c, f.view, h, key, part, &moved, ret_seen);
	}
	return r;
}

/* What a pipeline of looks keeps for each key. */
struct ahead {
	struct table_hash h;
	uint64_t key[4], entry;
	const struct frame_desc *desc;
};

/* Asks the memory for the buckets of all, then for their descriptors. */
static void look_ahead(oc_client *c, const struct view *v,
		       const struct oc_key *keys, size_t n, uint64_t part,
		       struct ahead *ret_ahead)
{
	for (size_t i = 0; i < n; i++) {
		struct ahead *a = &ret_ahead[i];

		key_words(&keys[i], a->key);
		a->h = table_hash(a->key, part);
		table_prefetch(&v->table, a->h);
	}
	for (size_t i = 0; i < n; i++) {
		struct ahead *a = &ret_ahead[i];
		unsigned cursor = 0;

		a->entry = table_probe(&v->table, a->h, &cursor);
		a->desc = a->entry ? region_desc(c, table_word_loc(a->entry))
				   : NULL;
		__builtin_prefetch(a->desc);
	}
}

uint64_t pin_look_some(oc_client *c, const struct oc_key *keys, size_t n,
		       uint64_t part, uint64_t *ret_extents)
{
	const struct view *v = footing_get(c).view;
	struct ahead ahead[LOOK_MOST];
	uint64_t there = 0;

	look_ahead(c, v, keys, n, part, ahead);
	for (size_t i = 0; i < n; i++) {
		const struct ahead *a = &ahead[i];
		struct seen seen;

		if (!a->entry)
			continue;
		/* The short way, or all candidates and unmet slabs. */
		if (!(a->desc &&
		      look_at(a->desc, a->entry, a->key, part, &seen)) &&
		    pin_look(c, a->key, part, &seen))
			continue;
		there |= 1ull << i;
		if (ret_extents)
			ret_extents[i] = seen.extent;
	}
	return there;
}

/* A measured price of this tier; NULL. */
static const struct tier_record *priced(const oc_client *c, enum oc_tier tier)
{
	for (unsigned i = 0; i < LAYOUT_TIERS; i++) {
		const struct tier_record *t = &c->meta->tier[i];

		if (shared_load64(&t->kind) == (uint64_t)tier &&
		    shared_load64(&t->measured_ms))
			return t;
	}
	return NULL; /* not measured yet */
}

uint64_t tier_stream(const oc_client *c, enum oc_tier tier, uint64_t bytes)
{
	const struct tier_record *t = priced(c, tier);
	uint64_t rate = t ? shared_load64(&t->bytes_per_s) : 0;

	return rate ? (uint64_t)((double)bytes * 1e9 / (double)rate) : 0;
}

uint64_t tier_expect(const oc_client *c, enum oc_tier tier, uint64_t bytes)
{
	const struct tier_record *t = priced(c, tier);

	return t ? shared_load64(&t->latency_ns) + tier_stream(c, tier, bytes)
		 : 0;
}

bool reach_exists(const oc_client *c)
{
	return priced(c, OC_TIER_NVME) != NULL;
}

/* A part that is not resident: where else it is. A node that does not answer
 * has it nowhere. */
static bool look_below(oc_ns *ns, const struct oc_key *key, uint64_t part,
		       struct ring_place *ret_place)
{
	return reach_exists(ns->c) &&
	       reach_one(ns, key, part, client_deadline(ns->c, 0), ret_place) ==
		       0 &&
	       ret_place->tier;
}

int oc_exists(oc_ns *ns, const struct oc_key *key, struct oc_part part)
{
	struct region_seen shards;
	struct ring_place place;
	struct seen seen;
	uint64_t words[4];
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	if (!ns_has(ns, part))
		return client_fail(ns->c, -EINVAL, "no part (%u, %u) here",
				   part.group, part.rank);
	key_words(key, words);
	r = pin_look(ns->c, words, ns_part(ns, part), &seen);
	if (r == OC_MISS && shards_there(ns->c) &&
	    shards_look(ns, key, part, &shards) == 0)
		return 0;
	if (r != OC_MISS || !look_below(ns, key, ns_part(ns, part), &place))
		return r;
	/* it may have come up meanwhile */
	return place.bytes ? OC_BELOW
			   : pin_look(ns->c, words, ns_part(ns, part), &seen);
}

/* 0 when the client that wrote it has ended. */
static uint64_t living(const oc_client *c, uint64_t owner)
{
	const shared_u64 *id = &c->meta->client[client_id_index(owner)].id;

	/* 0 is the id of a record without a client, and nobody's. */
	return shared_load64_acquire(id) == owner ? owner : 0;
}

/* From its descriptor; OC_MISS. */
static int where_resident(oc_client *c, const uint64_t key[4], uint64_t part,
			  struct oc_where *ret_where)
{
	uint64_t now_ms = clock_ns() / NS_PER_MS;
	struct oc_where w = { .tier = OC_TIER_DRAM, .replicas = 1 };
	uint64_t owner, sealed_ms;
	const struct frame_desc *d;
	struct seen s;
	int r = pin_look(c, key, part, &s);

	if (r)
		return r;
	d = region_desc(c, s.loc);
	if (!d)
		return OC_MISS;
	/* The server's line: read apart, so that looks touch one line. */
	owner = shared_load64(&d->owner);
	sealed_ms = shared_load64(&d->sealed_ms);
	look_fence();
	if (shared_load64_acquire(&d->word) != frame_word(s.gen, FRAME_SEALED))
		return OC_MISS;
	w.owner = living(c, owner);
	w.bytes = frame_extent_bytes(s.extent);
	w.tokens = frame_extent_tokens(s.extent);
	w.region = frame_loc_slab(s.loc);
	if (segment_is_low(c->info[w.region].kind))
		w.tier = OC_TIER_CXL;
	w.expected_ns = tier_expect(c, w.tier, w.bytes);
	w.offset =
		frame_loc_frame(s.loc) * region_form(&c->slab[w.region]).step;
	w.generation = s.gen;
	w.checksum = s.checksum;
	w.age_ms = now_ms > sealed_ms ? now_ms - sealed_ms : 0;
	*ret_where = w;
	return 0;
}

/* In a CXL region; whoever put it there. OC_MISS. */
static int where_shards(oc_ns *ns, const struct oc_key *key,
			struct oc_part part, struct oc_where *ret_where)
{
	struct region_seen s;
	uint64_t now_ms;

	if (shards_look(ns, key, part, &s))
		return OC_MISS;
	now_ms = clock_realtime_ms();
	*ret_where = (struct oc_where){
		.tier = OC_TIER_CXL,
		.expected_ns = tier_expect(ns->c, OC_TIER_CXL, s.bytes),
		.replicas = 1,
		.region = SHARDS_REGION,
		.offset = s.offset,
		.bytes = s.bytes,
		.generation = s.gen,
		.checksum = s.checksum,
		.tokens = s.tokens,
		.age_ms = now_ms > s.sealed_ms ? now_ms - s.sealed_ms : 0,
	};
	return 0;
}

int oc_where(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	     struct oc_where *ret_where)
{
	struct ring_place place;
	uint64_t words[4];
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	if (!ns_has(ns, part))
		return client_fail(ns->c, -EINVAL, "no part (%u, %u) here",
				   part.group, part.rank);
	key_words(key, words);
	r = where_resident(ns->c, words, ns_part(ns, part), ret_where);
	if (r == OC_MISS && shards_there(ns->c))
		r = where_shards(ns, key, part, ret_where);
	if (r != OC_MISS || !look_below(ns, key, ns_part(ns, part), &place))
		return r;
	if (!place.bytes) /* it has come up meanwhile */
		return where_resident(ns->c, words, ns_part(ns, part),
				      ret_where);
	*ret_where = (struct oc_where){
		.tier = (enum oc_tier)place.tier,
		.expected_ns = place.expected_ns,
		.replicas = 1,
		.bytes = place.bytes,
		.tokens = place.tokens,
	};
	return 0;
}

int oc_stat(oc_client *c, struct oc_stat *ret_stat)
{
	const shared_u64 *counter;
	uint64_t sums[CLIENT_COUNTS], held = 0;

	if (client_is_child(c))
		return client_child(c);
	counter = c->meta->counter;
	client_count(c, sums);
	for (uint32_t i = 0; i < c->n_pins + c->n_overflow; i++)
		held += shared_load64(&c->seg->slots[i]) != 0;
	*ret_stat = (struct oc_stat){
		.limit_bytes = shared_load64(&c->meta->header.limit_bytes),
		.slab_bytes = shared_load64(&counter[POOL_C_slab_bytes]),
		.meta_bytes = shared_load64(&counter[POOL_C_meta_bytes]),
		.sealed_blocks = shared_load64(&counter[POOL_C_sealed]),
		.sealed_bytes = shared_load64(&counter[POOL_C_sealed_bytes]),
		.granted = shared_load64(&counter[POOL_C_granted]),
		.free_frames = shared_load64(&counter[POOL_C_free_frames]),
		.clients = shared_load64(&counter[POOL_C_clients]),
		.evicted = shared_load64(&counter[POOL_C_evicted]),
		.server_epoch = shared_load64(&c->meta->header.server_epoch),
		.pins_held = held,
		.hits = sums[CLIENT_PINS],
		.misses = sums[CLIENT_MISSES],
	};
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients ask of tiers below: where blocks are (LOOK), and to have them
 * brought up (FETCH).
 *
 * A fetch that waits has a waiter for each part, and is answered when the last
 * one was told, when one is not to be had, or at its deadline. Its request holds
 * its only key, so a new server begins it again from the slot; what has come up
 * by then is resident.
 *
 * Waiters are told from inside the movement service. Nothing is answered or let
 * go there: it is noted, and done by fetch_settle().
 *
 * Bounds. Of one client FETCH_PARTS parts are under way at most, its further
 * fetches wait for them here; they are as many as its slots. A look or a fetch
 * ahead does RING_REACH_PARTS parts. Keys are copied from the blob before they
 * are looked at.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/log.h"
#include <onecopy/onecopy.h>
#include "store/internal.h"
#include "store/move.h"

#define FETCH_PARTS 1024u

struct fetch_part {
	struct move_waiter waiter;
	struct fetch *fetch;
	uint64_t part;
	bool waits; /* the waiter is the movement service's */
};

/* A fetch under way. */
struct fetch {
	struct fetch *next, *prev; /* of the store's */
	struct fetch *next_told;
	struct store_client *client;
	struct ring_call call;
	uint64_t deadline_ns;
	uint32_t n, left;
	bool begun, missed, told;
	struct fetch_part part[];
};

/* The parts of a block that a request means. */
struct meant {
	uint32_t ns, n;
	uint16_t first_rank, ranks;
	uint16_t group[MATCH_GROUPS_MAX];
	bool full; /* full attention alone: what lies behind a gap is no use */
};

static int meant_of(const struct pool *p, const struct ring_call *call,
		    struct meant *ret)
{
	struct meant m = { .ns = frame_part_ns(call->part) };
	const struct ns_record *rec = ns_find(p, m.ns);
	uint64_t mask = call->arg2 >> RING_GROUPS_SHIFT;
	uint16_t rank = frame_part_rank(call->part);
	struct ns_spec spec;

	if (!rec || !ns_record_load(rec, &spec))
		return -EINVAL;
	if ((rank != RING_RANK_ALL && rank >= spec.ranks) ||
	    mask >> spec.groups ||
	    call->arg2 & (((1u << RING_GROUPS_SHIFT) - 1) ^ RING_FETCH_AHEAD))
		return -EINVAL;
	m.first_rank = rank == RING_RANK_ALL ? 0 : rank;
	m.ranks = rank == RING_RANK_ALL ? spec.ranks : 1;
	m.full = true;
	for (uint16_t g = 0; g < spec.groups; g++) {
		if (mask && !(mask >> g & 1))
			continue;
		m.full &= ns_spec_rule(&spec, g).rule == MATCH_FULL;
		m.group[m.n++] = g;
	}
	m.n *= m.ranks;
	*ret = m;
	return 0;
}

static uint64_t meant_part(const struct meant *m, uint32_t i)
{
	return frame_part(m->ns, m->group[i / m->ranks],
			  (uint16_t)(m->first_rank + i % m->ranks));
}

/* The keys of a request, and how many of them it looks at. NULL: nonsense. */
static const uint64_t (*keys_of(struct store_client *c,
				const struct ring_call *call,
				const struct meant *m, size_t *ret_n))[4]
{
	uint64_t(*keys)[4] = c->store->session_keys;
	size_t n = MIN(call->arg, RING_REACH_PARTS / m->n);

	if (call->arg == 0 || call->arg > RING_BLOB_KEYS)
		return NULL;
	if (call->arg == 1)
		memcpy(keys[0], call->key, sizeof(keys[0]));
	else
		shared_load_words(keys[0], c->segment->blob, n * 4);
	*ret_n = n;
	return (const uint64_t(*)[4])keys;
}

/* ---- LOOK ------------------------------------------------------------------ */

static struct ring_place place_of(const struct store_client *c,
				  const struct meant *m, const uint64_t key[4])
{
	struct ring_place place = { .tier = OC_TIER_DRAM };
	uint64_t extent = 0;

	for (uint32_t i = 0; i < m->n; i++) {
		struct tier_found found;
		uint32_t frame;
		const struct pool_slab *s =
			pool_find(c->pool, key, meant_part(m, i), &frame);

		if (s) {
			extent = shared_load64(&s->desc[frame].extent);
			if (s->low && place.tier == OC_TIER_DRAM)
				place.tier = OC_TIER_CXL;
			continue;
		}
		if (!move_find(c->store, c->pool, key, meant_part(m, i),
			       &found))
			return (struct ring_place){ 0 };
		extent = found.block.extent;
		place.tier = OC_TIER_NVME;
		place.bytes += frame_extent_bytes(extent);
		place.expected_ns = MAX(place.expected_ns, found.expected_ns);
	}
	place.tokens = frame_extent_tokens(extent);
	return place;
}

static void look_call(struct store_client *c, const struct ring_call *call,
		      struct ring_answer *a)
{
	const uint64_t(*keys)[4];
	struct ring_place place;
	bool gap = false;
	struct meant m;
	size_t n;

	answer_set(a, -EINVAL);
	if (meant_of(c->pool, call, &m) < 0)
		return;
	keys = keys_of(c, call, &m, &n);
	if (!keys)
		return;
	answer_set(a, 0);
	a->loc = n;
	for (size_t i = 0; i < n; i++) {
		place = gap ? (struct ring_place){ 0 }
			    : place_of(c, &m, keys[i]);
		gap |= m.full && !place.tier;
		if (call->arg > 1)
			shared_store_bytes(c->segment->blob + 3 * i,
					   sizeof(place), &place,
					   sizeof(place));
	}
	if (call->arg > 1)
		return;
	a->gen = place.bytes;
	a->arg = place.expected_ns;
	a->arg2 = (uint64_t)place.tier << 32 | place.tokens;
}

/* ---- FETCH ahead ------------------------------------------------------------ */

/* 0; OC_MISS not all of it is to be had; -EAGAIN no more now. */
static int ahead(struct store_client *c, const struct meant *m,
		 const uint64_t key[4], uint64_t *begun)
{
	for (uint32_t i = 0; i < m->n; i++) {
		uint32_t frame;
		int r;

		if (pool_find(c->pool, key, meant_part(m, i), &frame))
			continue;
		r = move_up(c->store, c->pool, key, meant_part(m, i),
			    TIER_AHEAD, 0, NULL);
		*begun += r == 0;
		if (r == OC_MISS || r < 0)
			return r;
	}
	return 0;
}

static void ahead_call(struct store_client *c, const struct ring_call *call,
		       const struct meant *m, struct ring_answer *a)
{
	const uint64_t(*keys)[4];
	uint64_t begun = 0;
	bool stop = false;
	size_t n;
	int r = 0;

	answer_set(a, -EINVAL);
	keys = keys_of(c, call, m, &n);
	if (!keys)
		return;
	for (size_t i = 0; i < n && !stop; i++) {
		r = ahead(c, m, keys[i], &begun);
		stop = r < 0 || (r == OC_MISS && m->full);
	}
	/* where it has come to its end, there is nothing to ask on for */
	answer_set(a, call->arg == 1 && r == OC_MISS ? OC_MISS : 0);
	a->loc = stop ? call->arg : n;
	a->gen = begun;
}

/* ---- FETCH ------------------------------------------------------------------ */

static void told(struct move_waiter *w, int result)
{
	struct fetch_part *part = container_of(w, struct fetch_part, waiter);
	struct fetch *r = part->fetch;
	struct store *s = r->client->store;

	part->waits = false;
	r->left--;
	r->missed |= result != 0;
	if (result == 0)
		linger_add(s, r->client->pool, r->call.key, part->part);
	if (r->told || (r->left && !r->missed))
		return;
	r->told = true;
	r->next_told = s->fetch.told;
	s->fetch.told = r;
}

/* Asks for all of its parts; those that are resident need no waiting. */
static void begin(struct fetch *r, const struct meant *m)
{
	struct store_client *c = r->client;

	r->begun = true;
	c->fetching += r->n;
	for (uint32_t i = 0; i < r->n && !r->missed; i++) {
		struct fetch_part *part = &r->part[i];
		uint64_t id = meant_part(m, i);
		uint32_t frame;
		int e;

		if (pool_find(c->pool, r->call.key, id, &frame)) {
			linger_add(c->store, c->pool, r->call.key, id);
			continue;
		}
		part->fetch = r;
		part->part = id;
		part->waiter.done = told;
		part->waits = true;
		r->left++;
		e = move_up(c->store, c->pool, r->call.key, id, TIER_WAITED,
			    r->deadline_ns, &part->waiter);
		if (e == 0)
			continue;
		part->waits = false;
		r->left--;
		r->missed = e != OC_EXISTS;
	}
}

static void drop(struct fetch *r)
{
	struct store_client *c = r->client;
	struct store *s = c->store;

	for (uint32_t i = 0; i < r->n; i++)
		if (r->part[i].waits)
			move_leave(&r->part[i].waiter);
	if (r->begun) {
		c->fetching -= r->n;
		s->fetch.room = true;
	} else {
		s->fetch.parked--;
	}
	c->fetch[r->call.slot] = NULL;
	c->fetches--;
	*(r->prev ? &r->prev->next : &s->fetch.first) = r->next;
	*(r->next ? &r->next->prev : &s->fetch.last) = r->prev;
	if (r->told) {
		struct fetch **link = &s->fetch.told;

		while (*link != r)
			link = &(*link)->next_told;
		*link = r->next_told;
	}
	free(r);
}

static void finish(struct fetch *r, int64_t result)
{
	struct store_client *c = r->client;
	struct ring_call call = r->call;
	struct ring_answer a;

	drop(r);
	answer_set(&a, result);
	c->store->options.answer(c->store->options.ctx, c, &call, &a);
}

static bool has_room(const struct fetch *r)
{
	const struct store_client *c = r->client;

	return !c->fetching || c->fetching + r->n <= FETCH_PARTS;
}

/* Fetches that wait for others of their client, in the order they came. */
static void begin_parked(struct store *s)
{
	struct fetch *next;

	s->fetch.room = false;
	for (struct fetch *r = s->fetch.first; r && s->fetch.parked; r = next) {
		struct meant m;

		next = r->next;
		if (r->begun || !has_room(r))
			continue;
		s->fetch.parked--;
		must(meant_of(r->client->pool, &r->call, &m) == 0);
		begin(r, &m);
		if (!r->left || r->missed)
			finish(r, r->missed ? OC_MISS : 0);
	}
}

void fetch_settle(struct store *s)
{
	while (s->fetch.told)
		finish(s->fetch.told, s->fetch.told->missed ? OC_MISS : 0);
	if (s->fetch.room)
		begin_parked(s);
}

void fetch_tick(struct store *s)
{
	struct fetch *next;

	linger_tick(s);
	fetch_settle(s);
	for (struct fetch *r = s->fetch.first; r; r = next) {
		next = r->next;
		if (r->deadline_ns <= s->now_ns)
			finish(r, -ETIMEDOUT);
	}
	fetch_settle(s);
}

bool fetch_waits(const struct store *s)
{
	return s->fetch.first != NULL;
}

static struct fetch *fetch_new(struct store_client *c,
			       const struct ring_call *call, uint32_t n)
{
	struct store *s = c->store;
	struct fetch *r;

	if (!c->fetch)
		c->fetch = mem_array(RING_SLOTS, sizeof(struct fetch *));
	if (!c->fetch)
		return NULL;
	r = mem_alloc(sizeof(*r) + n * sizeof(r->part[0]));
	if (!r)
		return NULL;
	r->client = c;
	r->call = *call;
	r->n = n;
	r->deadline_ns = call->timeout_ns > UINT64_MAX - s->now_ns
				 ? UINT64_MAX
				 : s->now_ns + call->timeout_ns;
	c->fetch[call->slot] = r;
	c->fetches++;
	r->prev = s->fetch.last;
	*(s->fetch.last ? &s->fetch.last->next : &s->fetch.first) = r;
	s->fetch.last = r;
	s->fetch.parked++;
	return r;
}

/* All of a block's parts that are not resident lie below. */
static int fetchable(const struct store_client *c, const struct meant *m,
		     const uint64_t key[4])
{
	struct ring_place place = place_of(c, m, key);

	if (!place.tier)
		return OC_MISS;
	return place.bytes ? 0 : OC_EXISTS;
}

static enum store_result wait_call(struct store_client *c,
				   const struct ring_call *call,
				   const struct meant *m, struct ring_answer *a)
{
	struct fetch *r = c->fetch ? c->fetch[call->slot] : NULL;
	int e;

	answer_set(a, -EINVAL);
	if (call->arg != 1)
		return STORE_ANSWERED;
	/* A new server looks at every slot, and may find one again in the ring
	 * whose push its client had not finished. */
	if (r && r->call.seq == call->seq)
		return STORE_LATER;
	if (r) /* no library of ours uses a slot again before its answer */
		drop(r);
	e = fetchable(c, m, call->key);
	/* what came up ahead is to be there when its client comes for it, too */
	for (uint32_t i = 0; e == OC_EXISTS && i < m->n; i++)
		linger_add(c->store, c->pool, call->key, meant_part(m, i));
	answer_set(a, e == OC_EXISTS ? 0 : e ? e : -ETIMEDOUT);
	if (e || !call->timeout_ns)
		return STORE_ANSWERED;
	r = fetch_new(c, call, m->n);
	answer_set(a, -ENOMEM);
	if (!r)
		return STORE_ANSWERED;
	if (!has_room(r))
		return STORE_LATER;
	c->store->fetch.parked--;
	begin(r, m);
	if (r->left && !r->missed)
		return STORE_LATER;
	answer_set(a, r->missed ? OC_MISS : 0);
	drop(r);
	return STORE_ANSWERED;
}

enum store_result fetch_call(struct store_client *c,
			     const struct ring_call *call,
			     struct ring_answer *ret_answer)
{
	struct meant m;

	if (call->op == RING_LOOK) {
		look_call(c, call, ret_answer);
		return STORE_ANSWERED;
	}
	answer_set(ret_answer, -EINVAL);
	if (meant_of(c->pool, call, &m) < 0)
		return STORE_ANSWERED;
	if (!(call->arg2 & RING_FETCH_AHEAD))
		return wait_call(c, call, &m, ret_answer);
	ahead_call(c, call, &m, ret_answer);
	return STORE_ANSWERED;
}

bool fetch_cancel(struct store_client *c, uint32_t slot, uint64_t seq)
{
	struct fetch *r = c->fetch && slot < RING_SLOTS ? c->fetch[slot] : NULL;

	if (!r || r->call.seq != seq)
		return false;
	finish(r, -ECANCELED);
	return true;
}

void fetch_forget_client(struct store_client *c)
{
	for (uint32_t i = 0; c->fetches && i < RING_SLOTS; i++)
		if (c->fetch[i])
			drop(c->fetch[i]);
}

void fetch_fini(struct store *s)
{
	while (s->fetch.first)
		drop(s->fetch.first);
}

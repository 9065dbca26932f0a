/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy "onecopy": what is worth least leaves first.
 *
 * A block is used again when its session comes back. comeback.h learns when that
 * is, and says what keeping the session is worth for the room and the time that
 * it takes; all blocks of a session have that worth, and among them the leaf of
 * the chain leaves first. So a session that has just been used may be worth less
 * than one that was used before it and is due: then its blocks pass by, and
 * what works stays (wants()). That is also the protection from thrash: where the
 * working set does not fit, those that are kept are those that come back soonest
 * for their room, and the others do not push them out.
 *
 * A session is known by the name that the caller gives it, or by its chain: the
 * request that goes on from the chain's last whole block is its next. Records of
 * sessions outlive their blocks, so that returns are learned from all sessions,
 * not from those alone that were kept. Blocks that two sessions use become a
 * trunk, a record of its own whose uses are those of all.
 *
 * With nothing learned, or nothing but age that tells, the worth falls with the
 * age: LRU.
 *
 * Every operation is O(1) for each block, and O(steps of age) for each use.
 * 32 bytes an item, and a record for each 32 items.
 */
#include "policy/keep.h"
#include "policy/log2.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

#define RECENT_BLOCKS (1u << 16) /* halve what is of late at so many */
#define SINGLES	      256u	 /* such moments that a model has to see */
#define SOON_MS	      250u	 /* uses of single blocks that are one */

static int keep_create(struct policy **ret_policy)
{
	struct policy *p = mem_alloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	for (unsigned k = 0; k < KEEP_KINDS; k++)
		comeback_init(&p->model[k]);
	for (unsigned b = 0; b < COMEBACK_STEPS; b++) {
		p->timer[b] = (struct keep_queue){ POLICY_NONE, POLICY_NONE };
		p->due_ms[b] = UINT64_MAX;
	}
	p->ghosts = p->timer[0];
	p->by_age = true;
	*ret_policy = p;
	return 0;
}

static void keep_destroy(struct policy *p)
{
	if (!p)
		return;
	free(p->item);
	free(p->list);
	free(p->record);
	free(p->bucket);
	free(p);
}

/* ---- uses ------------------------------------------------------------------- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t z =
		(a ^ (b + 1) * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;

	return z ^ (z >> 31);
}

/* A block that several sessions begin with names none of them. */
static bool shared(const struct policy *p, const struct policy_use *u,
		   uint32_t i)
{
	uint32_t record = keep_record_of(p, u->item[i]);

	return record != POLICY_NONE && p->record[record].kind == KEEP_TRUNK;
}

/* The session's name, or the chain's last whole block. */
static bool name_of(const struct policy *p, const struct policy_use *u,
		    uint64_t *ret_name)
{
	uint32_t i = u->n > 1 && u->partial ? u->n - 2 : u->n - 1;

	*ret_name = u->session ? mix(u->session, u->kind) : u->key[i];
	return u->session || !shared(p, u, i);
}

static uint32_t find_session(const struct policy *p, uint32_t list,
			     const struct policy_use *u)
{
	uint32_t r = POLICY_NONE;

	if (u->session)
		return keep_find(p, list, mix(u->session, u->kind));
	for (uint32_t i = u->n; i-- > 0 && r == POLICY_NONE;)
		if (!shared(p, u, i))
			r = keep_find(p, list, u->key[i]);
	return r;
}

/* Did this use go on from the end of the last one? */
static bool reached_end(const struct keep_record *r, const struct policy_use *u)
{
	return r->chain <= u->n && r->chain &&
	       (uint32_t)u->key[r->chain - 1] == r->last_mark;
}

static void learn_gap(struct comeback_session *s, uint64_t gap)
{
	unsigned log = (unsigned)log2_of(gap + 2);

	s->usual_gap =
		(uint16_t)(s->usual_gap ? (s->usual_gap + log) / 2 : log);
}

/* The record is used again: how long did it take? */
static void learn_return(struct policy *p, struct keep_record *r)
{
	uint64_t gap = p->now_ms - r->at_ms;

	if (!r->found) {
		comeback_return(&p->model[r->kind], &r->session, gap);
		learn_gap(&r->session, gap);
	}
	r->turns = (uint16_t)MIN(r->turns + 1u, UINT16_MAX);
}

static void count_return(struct policy *p, const struct policy_use *u,
			 uint32_t chain)
{
	struct policy_load *l = &p->load;
	uint32_t n = MIN(chain, u->n), found = 0;

	while (found < n && u->item[found] != POLICY_NONE)
		found++;
	l->returns++;
	l->recent_returns++;
	l->returned += n;
	l->recent_returned += n;
	l->lost += n - found;
	l->recent_lost += n - found;
	p->by_age = !l->recent_lost;
	if (l->recent_returned > RECENT_BLOCKS) {
		l->recent_returned /= 2;
		l->recent_lost /= 2;
		l->recent_returns /= 2;
	}
}

static uint16_t hint_of(uint64_t back_ms)
{
	if (back_ms == POLICY_CLOSED)
		return UINT16_MAX;
	return (uint16_t)(back_ms ? log2_of(back_ms + 2) : 0);
}

static uint8_t kind_of(uint32_t kind)
{
	return (uint8_t)(kind ? 1 + mix(kind, 0) % (COMEBACK_VALUES - 1) : 0);
}

/* What this use says of the session. */
static void describe(struct keep_record *r, const struct policy_use *u)
{
	struct comeback_session *s = &r->session;
	uint32_t old = MIN(r->chain, u->n);

	s->trait[COMEBACK_TURNS] = comeback_count_class(r->turns);
	s->trait[COMEBACK_OUTPUT] = comeback_size_class(u->output);
	s->trait[COMEBACK_LENGTH] = comeback_size_class(u->n);
	s->trait[COMEBACK_WHY] = (uint8_t)(u->why % COMEBACK_VALUES);
	s->trait[COMEBACK_KIND] = kind_of(u->kind);
	s->trait[COMEBACK_FRESH] = comeback_size_class(u->n - old);
	s->hint = hint_of(u->back_ms);
	s->told = u->told;
	r->saves = (int16_t)MAX(-KEEP_LEVELS, MIN(u->saves / 32, KEEP_LEVELS));
	r->chain = u->n;
	r->partial = u->partial;
	r->last_mark = (uint32_t)u->key[u->n - 1];
}

/* again: the same return was counted in another list. */
static void come_back(struct policy *p, struct keep_record *r,
		      const struct policy_use *u, bool again)
{
	if (!again) {
		comeback_reached(&p->model[KEEP_SESSION], r->partial,
				 reached_end(r, u));
		count_return(p, u, r->chain);
	}
	learn_return(p, r);
}

static void keep_begin(struct policy *p, const struct policy_use *u)
{
	bool again = false;

	keep_advance(p, u->now_ms);
	for (uint32_t l = 0; u->n && l < p->lists; l++) {
		uint32_t i = find_session(p, l, u);

		if (i == POLICY_NONE || p->record[i].in_turn)
			continue;
		come_back(p, &p->record[i], u, again);
		again = true;
		p->record[i].in_turn = true;
		keep_restart(p, i);
		keep_settle(p, i);
	}
}

/* It is new in this list: what is known of it in another one. */
static void know_as(struct policy *p, uint32_t record,
		    const struct policy_use *u)
{
	const struct keep_record *like = &p->record[u->like];
	struct keep_record *r = &p->record[record];

	if (!u->again || u->like >= p->unused || u->like == record)
		return;
	r->session = like->session;
	r->turns = like->turns;
}

/* Somebody else says when it comes back. Its age goes on, and the time that is
 * left is put behind it. */
static void told_of(struct policy *p, uint32_t record, uint64_t back_ms)
{
	struct keep_record *r = &p->record[record];
	struct comeback_session *s = &r->session;
	uint64_t age = p->now_ms - r->at_ms;

	if (!back_ms && !s->told) /* what it said itself stands */
		return;
	if (back_ms && back_ms != POLICY_CLOSED)
		back_ms = age + MIN(back_ms, UINT64_MAX / 2);
	s->hint = hint_of(back_ms);
	s->told = true;
	keep_rejudge(p, record);
}

static bool keep_expect(struct policy *p, const struct policy_use *u)
{
	bool known = false;

	keep_advance(p, u->now_ms);
	for (uint32_t l = 0; u->session && l < p->lists; l++) {
		uint32_t i = keep_find(p, l, mix(u->session, u->kind));

		if (i == POLICY_NONE)
			continue;
		told_of(p, i, u->back_ms);
		known = true;
	}
	return known;
}

static uint32_t session_of(struct policy *p, uint32_t list,
			   const struct policy_use *u, uint64_t *ret_last_ms)
{
	uint32_t i = find_session(p, list, u);
	struct keep_record *r;
	uint64_t name;

	if (i != POLICY_NONE) {
		r = &p->record[i];
		*ret_last_ms = r->at_ms;
		if (!r->in_turn)
			come_back(p, r, u, u->again);
		r->in_turn = false;
	} else {
		i = keep_record_new(p, list, KEEP_SESSION);
		if (i == POLICY_NONE)
			return i;
		know_as(p, i, u);
		r = &p->record[i];
	}
	describe(r, u);
	if (name_of(p, u, &name))
		keep_name(p, i, name);
	keep_restart(p, i);
	return i;
}

/* ---- trunks ------------------------------------------------------------------- */

static void trunk_used(struct policy *p, uint32_t trunk)
{
	struct keep_record *r = &p->record[trunk];

	if (r->at_ms != p->now_ms)
		learn_return(p, r);
	r->session.trait[COMEBACK_TURNS] = comeback_count_class(r->turns);
	r->session.trait[COMEBACK_LENGTH] = comeback_size_class(r->items);
	keep_restart(p, trunk);
}

struct walk {
	uint32_t user;	/* whose chain it is */
	uint32_t from;	/* another session, whose blocks go to `trunk` */
	uint32_t trunk; /* used in this walk */
};

/* Blocks of another session are a trunk from now on; of the user where there is
 * no record left for that. */
static uint32_t make_trunk(struct policy *p, struct walk *w, uint32_t owner)
{
	struct keep_record *r = &p->record[owner];

	if (owner == w->from && w->trunk != POLICY_NONE)
		return w->trunk;
	w->from = owner;
	w->trunk = keep_record_new(p, r->list, KEEP_TRUNK);
	if (w->trunk == POLICY_NONE)
		return w->user;
	p->record[w->trunk].session.trait[COMEBACK_KIND] =
		p->record[owner].session.trait[COMEBACK_KIND];
	trunk_used(p, w->trunk);
	return w->trunk;
}

/* The record that an item of the chain goes to. */
static uint32_t record_to(struct policy *p, struct walk *w, uint32_t owner)
{
	struct keep_record *r = &p->record[owner];

	if (owner == w->user)
		return owner;
	/* they came in this turn, before anybody said whose they are */
	if (r->untold)
		return w->user;
	switch ((enum keep_kind)r->kind) {
	case KEEP_TRUNK:
		if (owner != w->trunk)
			trunk_used(p, owner);
		w->trunk = owner;
		return owner;
	case KEEP_LEFT:
		if (owner != w->from)
			learn_return(p, r);
		w->from = owner;
		w->trunk = POLICY_NONE;
		return w->user;
	default: /* what nobody was told to use before is the user's */
		return r->named ? make_trunk(p, w, owner) : w->user;
	}
}

/* Its blocks that are resident, from the last to the first: the head of each
 * record's ring ends up being its first. Number of the user's own. */
static uint32_t touch_chain(struct policy *p, uint32_t record,
			    const struct policy_use *u, uint64_t stamp)
{
	struct walk w = { record, POLICY_NONE, POLICY_NONE };
	uint32_t list = p->record[record].list, own = 0;

	for (uint32_t i = u->n; i-- > 0;) {
		uint32_t item = u->item[i];
		uint32_t was = keep_record_of(p, item), to;

		if (was == POLICY_NONE || p->record[was].list != list)
			continue;
		to = record_to(p, &w, was);
		keep_unlink(p, item);
		keep_link(p, to, item, POLICY_NONE);
		p->item[item].stamp = MAX(p->item[item].stamp, stamp);
		own += to == record;
		if (to != was)
			keep_settle(p, was);
		if (to != record)
			keep_settle(p, to);
	}
	return own;
}

/* What the record has behind its first `own` items is not of its chain: it is as
 * old as before. */
static void leave_behind(struct policy *p, uint32_t record, uint32_t own,
			 uint64_t last_ms)
{
	struct keep_record *r = &p->record[record];
	uint32_t left;

	if (r->items == own)
		return;
	left = keep_record_new(p, r->list, KEEP_LEFT);
	if (left == POLICY_NONE)
		return;
	p->record[left].session = r->session;
	keep_restart_at(p, left, last_ms);
	while (r->items > own) {
		uint32_t item = r->leaf;

		keep_unlink(p, item);
		keep_link(p, left, item, POLICY_NONE);
	}
	keep_settle(p, left);
}

static void mark_loose(struct policy *p, uint32_t record,
		       const struct policy_use *u)
{
	struct keep_record *r = &p->record[record];

	r->loose = r->items && r->leaf == u->item[u->n - 1];
}

static uint32_t keep_use(struct policy *p, uint32_t list,
			 const struct policy_use *u, uint64_t stamp)
{
	uint64_t last_ms = u->now_ms;
	uint32_t record;

	keep_advance(p, u->now_ms);
	if (list >= p->lists || !u->n)
		return POLICY_NONE;
	p->load.uses += !u->again;
	record = session_of(p, list, u, &last_ms);
	if (record == POLICY_NONE)
		return record;
	leave_behind(p, record, touch_chain(p, record, u, stamp), last_ms);
	mark_loose(p, record, u);
	keep_settle(p, record);
	p->list[list].recent = record;
	return record;
}

static bool keep_wants(const struct policy *p, uint32_t ticket, bool last,
		       uint32_t victim)
{
	uint32_t i = keep_record_of(p, victim);

	if (i == POLICY_NONE || ticket >= p->unused)
		return true;
	return p->record[i].level <= keep_level(p, &p->record[ticket], last);
}

/* ---- single blocks -------------------------------------------------------------- */

static void adopt(struct policy *p, uint32_t item, uint32_t parent)
{
	struct keep_item *it = &p->item[item];

	it->parent = POLICY_NONE;
	if (keep_record_of(p, parent) == POLICY_NONE || parent == item)
		return;
	it->parent = parent;
	it->parent_filling = p->item[parent].filling;
	p->item[parent].children++;
	if (p->item[parent].record != it->record)
		keep_settle(p, p->item[parent].record);
}

/* The blocks of this moment whose session nobody told; POLICY_NONE. */
static uint32_t untold_now(const struct policy *p, uint32_t list)
{
	uint32_t i = p->list[list].recent;

	if (i == POLICY_NONE || p->record[i].list != list ||
	    !p->record[i].untold || p->record[i].at_ms != p->now_ms)
		return POLICY_NONE;
	return i;
}

/* Where a block goes whose session nobody told: with what came at the same
 * time. */
static uint32_t record_for(struct policy *p, uint32_t list)
{
	uint32_t i = untold_now(p, list);

	if (i != POLICY_NONE)
		return i;
	i = keep_record_new(p, list, KEEP_SESSION);
	if (i == POLICY_NONE)
		i = keep_record_merged(p, list);
	p->record[i].untold = true;
	keep_restart(p, i);
	p->list[list].recent = i;
	return i;
}

static void put(struct policy *p, uint32_t record, uint32_t item,
		uint64_t stamp, const struct policy_place *place)
{
	uint32_t after = place ? place->parent : POLICY_NONE;
	struct keep_record *r = &p->record[record];

	if (keep_record_of(p, after) != record)
		after = r->untold ? r->leaf : POLICY_NONE;
	p->item[item].stamp = stamp;
	p->item[item].children = 0;
	keep_link(p, record, item, after);
	r->loose = place && place->last && r->leaf == item;
	p->list[r->list].items++;
	p->load.items++;
	adopt(p, item, place ? place->parent : POLICY_NONE);
	keep_settle(p, record);
}

static void keep_insert_in(struct policy *p, uint32_t list, uint32_t item,
			   uint64_t stamp, const struct policy_place *place)
{
	uint32_t i = place ? place->ticket : POLICY_NONE;

	if (i >= p->unused || p->record[i].list != list)
		i = record_for(p, list);
	put(p, i, item, stamp, place);
}

static void keep_insert(struct policy *p, uint32_t list, uint32_t item,
			uint64_t stamp)
{
	put(p, record_for(p, list), item, stamp, NULL);
}

/* Blocks whose session nobody tells are used again: what is used at one time is
 * one record, which takes over what is known of the one that they come from. */
static uint32_t burst_of(struct policy *p, uint32_t was)
{
	struct keep_record *r = &p->record[was];
	uint32_t i = untold_now(p, r->list);

	if (i != POLICY_NONE)
		return i;
	learn_return(p, r);
	/* nobody says what is lost, till count_return() does */
	if (!r->found && ++p->singles == SINGLES)
		p->by_age = false;
	r->session.trait[COMEBACK_TURNS] = comeback_count_class(r->turns);
	i = keep_record_new(p, r->list, KEEP_SESSION);
	if (i == POLICY_NONE) {
		keep_restart(p, was); /* what comes with it is no return */
		return was;
	}
	p->record[i].session = r->session;
	p->record[i].turns = r->turns;
	p->record[i].untold = true;
	keep_restart(p, i);
	return i;
}

/* A session's blocks are used one by one: one use for all that come soon. In a
 * turn they are used by it, and its return was learned when it began. */
static void session_used(struct policy *p, uint32_t record)
{
	struct keep_record *r = &p->record[record];

	if (p->now_ms - r->at_ms < SOON_MS)
		return;
	if (!r->in_turn) {
		learn_return(p, r);
		r->session.trait[COMEBACK_TURNS] =
			comeback_count_class(r->turns);
	}
	keep_restart(p, record);
}

static void keep_touch(struct policy *p, uint32_t item, uint64_t stamp)
{
	uint32_t was = keep_record_of(p, item), to = was;
	struct keep_item *it;

	if (was == POLICY_NONE)
		return;
	it = &p->item[item];
	it->stamp = MAX(it->stamp, stamp);
	if (p->record[was].untold)
		to = burst_of(p, was);
	else
		session_used(p, was);
	/* a place in a chain that was told is kept; what is used in one moment
	 * comes in the order of its chain */
	if (to != was || p->record[to].untold) {
		keep_unlink(p, item);
		keep_link(p, to, item,
			  p->record[to].items ? p->record[to].leaf
					      : POLICY_NONE);
	}
	keep_settle(p, was);
	keep_settle(p, to);
	p->list[p->record[to].list].recent = to;
}

/* The parent has one block less behind it: its record; POLICY_NONE: it has left
 * itself. */
static uint32_t orphan(struct policy *p, const struct keep_item *it)
{
	struct keep_item *parent;

	if (it->parent == POLICY_NONE)
		return POLICY_NONE;
	parent = &p->item[it->parent];
	if (parent->record == POLICY_NONE ||
	    parent->filling != it->parent_filling)
		return POLICY_NONE;
	parent->children--;
	return parent->record;
}

static void keep_remove(struct policy *p, uint32_t item)
{
	uint32_t i = keep_record_of(p, item);
	struct keep_item *it;
	uint32_t other;

	if (i == POLICY_NONE)
		return;
	it = &p->item[item];
	keep_unlink(p, item);
	it->filling++;
	p->list[p->record[i].list].items--;
	p->load.items--;
	other = orphan(p, it);
	keep_settle(p, i);
	if (other != i && other != POLICY_NONE)
		keep_settle(p, other);
}

static uint32_t first_of(const struct policy *p, uint32_t list, unsigned level)
{
	const struct keep_list *l = &p->list[list];

	level = keep_lowest(l, level);
	if (level >= KEEP_LEVELS)
		return POLICY_NONE;
	return p->record[l->level[level].first].leaf;
}

static uint32_t keep_victim(struct policy *p, uint32_t list, uint32_t prev)
{
	const struct keep_record *r;
	uint32_t i;

	if (list >= p->lists)
		return POLICY_NONE;
	if (prev == POLICY_NONE)
		return first_of(p, list, 0);
	i = keep_record_of(p, prev);
	if (i == POLICY_NONE || p->record[i].list != list)
		return POLICY_NONE;
	if (p->item[prev].prev != POLICY_NONE)
		return p->item[prev].prev;
	r = &p->record[i];
	if (r->next != POLICY_NONE)
		return p->record[r->next].leaf;
	return first_of(p, list, r->level + 1u);
}

static uint64_t keep_stamp(const struct policy *p, uint32_t item)
{
	return keep_record_of(p, item) == POLICY_NONE ? 0 : p->item[item].stamp;
}

static void keep_tick(struct policy *p, uint64_t now_ms)
{
	keep_advance(p, now_ms);
}

static void keep_load(const struct policy *p, struct policy_load *ret)
{
	uint64_t blocks = p->load.recent_returned;

	*ret = p->load;
	if (blocks)
		ret->fit = (uint32_t)MIN(
			(uint64_t)p->items * p->load.recent_returns / blocks,
			(uint64_t)UINT32_MAX);
}

/* ---- for a ladder of tiers ------------------------------------------------------- */

static uint32_t keep_find_use(const struct policy *p, uint32_t list,
			      const struct policy_use *u)
{
	return list < p->lists && u->n ? find_session(p, list, u) : POLICY_NONE;
}

/* Classes of worth are eighths of an octave above 2^-COMEBACK_LEAST. */
static uint64_t rate_in(const struct policy *p, uint32_t record, bool last)
{
	const struct keep_record *r = &p->record[record];
	int worth = keep_worth(r);

	if (!r->placed && r->session.step >= COMEBACK_SHORT)
		worth = comeback_worth(&p->model[r->kind], &r->session);
	if (last)
		worth += comeback_reach(&p->model[0], r->partial) / 32;
	worth = MAX(worth, 0);
	return (uint64_t)exp2_of(worth % 8 * (LOG2_ONE / 8)) << (worth / 8) >>
	       16;
}

static uint64_t keep_rate_of(const struct policy *p, uint32_t ticket, bool last)
{
	return ticket < p->unused ? rate_in(p, ticket, last) : 0;
}

static uint64_t keep_rate(const struct policy *p, uint32_t item)
{
	uint32_t i = keep_record_of(p, item);

	if (i == POLICY_NONE)
		return 0;
	return rate_in(p, i, p->record[i].loose && p->record[i].leaf == item);
}

const struct policy_ops policy_onecopy = {
	.name = "onecopy",
	.create = keep_create,
	.destroy = keep_destroy,
	.reserve = keep_reserve,
	.insert = keep_insert,
	.touch = keep_touch,
	.remove = keep_remove,
	.victim = keep_victim,
	.stamp = keep_stamp,
	.begin = keep_begin,
	.expect = keep_expect,
	.use = keep_use,
	.wants = keep_wants,
	.insert_in = keep_insert_in,
	.tick = keep_tick,
	.load = keep_load,
	.find = keep_find_use,
	.rate = keep_rate,
	.rate_of = keep_rate_of,
	.learned_bytes = keep_learned_bytes,
	.save = keep_save,
	.recall = keep_recall,
	.check = keep_check,
};

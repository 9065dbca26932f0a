/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/keep.h"
#include "base/fault.h"
#include "base/log.h"
#include <errno.h>

#define ITEMS_MAX 0x80000000u
#define LISTS_MAX 0x10000u
/* The level of least recently used: as much less for each step of age as one use
 * of a step is rarer than in the step before. */
#define BY_AGE	168
#define BY_STEP 4

/* ---- memory --------------------------------------------------------------- */

static uint32_t *bucket_of(const struct policy *p, uint32_t list, uint64_t name)
{
	uint64_t h = (name + list) * 0x9e3779b97f4a7c15ull;

	return &p->bucket[(h >> 32) & (p->buckets - 1)];
}

static void rehash(struct policy *p)
{
	for (uint32_t i = 0; i < p->buckets; i++)
		p->bucket[i] = POLICY_NONE;
	for (uint32_t i = 0; i < p->unused; i++) {
		struct keep_record *r = &p->record[i];
		uint32_t *b;

		if (!r->named)
			continue;
		b = bucket_of(p, r->list, r->name);
		r->bucket_next = *b;
		*b = i;
	}
}

static int reserve_records(struct policy *p, uint32_t items, uint32_t lists)
{
	uint32_t n = KEEP_FIRST + items / KEEP_EACH + lists;
	uint32_t buckets = (uint32_t)round_up_pow2(n);

	if (n <= p->records)
		return 0;
	if (mem_grow_at(&p->record, n, sizeof(*p->record)))
		return -ENOMEM;
	if (buckets > p->buckets) {
		if (mem_grow_at(&p->bucket, buckets, sizeof(*p->bucket)))
			return -ENOMEM;
		p->buckets = buckets;
		rehash(p);
	}
	p->records = n;
	return 0;
}

static int reserve_lists(struct policy *p, uint32_t n)
{
	if (n <= p->lists)
		return 0;
	if (mem_grow_at(&p->list, n, sizeof(*p->list)))
		return -ENOMEM;
	for (uint32_t i = p->lists; i < n; i++) {
		struct keep_list *l = &p->list[i];

		memset(l, 0, sizeof(*l));
		l->recent = POLICY_NONE;
		for (unsigned k = 0; k < KEEP_LEVELS; k++)
			l->level[k] =
				(struct keep_queue){ POLICY_NONE, POLICY_NONE };
	}
	p->lists = n;
	return 0;
}

int keep_reserve(struct policy *p, uint32_t items, uint32_t lists)
{
	int r;

	if (items > ITEMS_MAX || lists > LISTS_MAX)
		return -EINVAL;
	/* more than lists: of two that have items some are of one list */
	r = reserve_records(p, MAX(items, p->items), MAX(lists, p->lists));
	if (!r && items > p->items) {
		r = mem_grow_at(&p->item, items, sizeof(*p->item));
		for (uint32_t i = p->items; !r && i < items; i++)
			p->item[i] = (struct keep_item){
				.record = POLICY_NONE,
				.parent = POLICY_NONE,
			};
		if (!r)
			p->items = items;
	}
	return r ? r : reserve_lists(p, lists);
}

/* ---- names ----------------------------------------------------------------- */

uint32_t keep_find(const struct policy *p, uint32_t list, uint64_t name)
{
	uint32_t i = *bucket_of(p, list, name);

	while (i != POLICY_NONE &&
	       (p->record[i].name != name || p->record[i].list != list))
		i = p->record[i].bucket_next;
	return i;
}

static void unname(struct policy *p, uint32_t record)
{
	struct keep_record *r = &p->record[record];
	uint32_t *at;

	if (!r->named)
		return;
	at = bucket_of(p, r->list, r->name);
	while (*at != record)
		at = &p->record[*at].bucket_next;
	*at = r->bucket_next;
	r->named = false;
}

void keep_name(struct policy *p, uint32_t record, uint64_t name)
{
	struct keep_record *r = &p->record[record];
	uint32_t *b;

	if (r->named && r->name == name)
		return;
	unname(p, record);
	b = bucket_of(p, r->list, name);
	r->name = name;
	r->named = true;
	r->bucket_next = *b;
	*b = record;
}

/* ---- queues of records ------------------------------------------------------ */

static void queue_push(struct policy *p, struct keep_queue *q, uint32_t record)
{
	struct keep_record *r = &p->record[record];

	r->next = POLICY_NONE;
	r->prev = q->last;
	if (q->last == POLICY_NONE)
		q->first = record;
	else
		p->record[q->last].next = record;
	q->last = record;
}

static void queue_push_first(struct policy *p, struct keep_queue *q,
			     uint32_t record)
{
	struct keep_record *r = &p->record[record];

	r->prev = POLICY_NONE;
	r->next = q->first;
	if (q->first == POLICY_NONE)
		q->last = record;
	else
		p->record[q->first].prev = record;
	q->first = record;
}

static void queue_drop(struct policy *p, struct keep_queue *q, uint32_t record)
{
	struct keep_record *r = &p->record[record];

	if (r->prev == POLICY_NONE)
		q->first = r->next;
	else
		p->record[r->prev].next = r->next;
	if (r->next == POLICY_NONE)
		q->last = r->prev;
	else
		p->record[r->next].prev = r->prev;
}

static void timer_first(struct policy *p, unsigned step, uint32_t record)
{
	p->timer[step].first = record;
	p->due_ms[step] =
		record == POLICY_NONE
			? UINT64_MAX
			: p->record[record].at_ms + comeback_edge(step + 1);
}

static void timer_push(struct policy *p, uint32_t record)
{
	struct keep_record *r = &p->record[record];
	struct keep_queue *q = &p->timer[r->session.step];

	r->timed = r->session.step < COMEBACK_STEPS - 1;
	if (!r->timed)
		return;
	r->timer = r->session.step;
	r->timer_next = POLICY_NONE;
	r->timer_prev = q->last;
	if (q->last == POLICY_NONE)
		timer_first(p, r->timer, record);
	else
		p->record[q->last].timer_next = record;
	q->last = record;
}

static void timer_drop(struct policy *p, uint32_t record)
{
	struct keep_record *r = &p->record[record];
	struct keep_queue *q = &p->timer[r->timer];

	if (!r->timed)
		return;
	r->timed = false;
	if (r->timer_prev == POLICY_NONE)
		timer_first(p, r->timer, r->timer_next);
	else
		p->record[r->timer_prev].timer_next = r->timer_next;
	if (r->timer_next == POLICY_NONE)
		q->last = r->timer_prev;
	else
		p->record[r->timer_next].timer_prev = r->timer_prev;
}

/* ---- where a record stands --------------------------------------------------- */

unsigned keep_lowest(const struct keep_list *l, unsigned from)
{
	for (unsigned w = from / 64; w < KEEP_LEVELS / 64; w++) {
		uint64_t bits = l->full[w];

		if (w == from / 64)
			bits &= ~0ull << (from % 64);
		if (bits)
			return w * 64 + (unsigned)__builtin_ctzll(bits);
	}
	return KEEP_LEVELS;
}

uint8_t keep_level(const struct policy *p, const struct keep_record *r,
		   bool last)
{
	int level = keep_worth(r) + r->saves;

	if (p->by_age && !r->session.hint)
		level = BY_AGE - BY_STEP * r->session.step + r->saves;
	else if (last)
		level += comeback_reach(&p->model[0], r->partial) / 32;
	return (uint8_t)MAX(0, MIN(level, KEEP_STUCK - 1));
}

static void unplace(struct policy *p, uint32_t record)
{
	struct keep_record *r = &p->record[record];
	struct keep_list *l = &p->list[r->list];
	struct keep_queue *q = &l->level[r->level];

	if (!r->placed) {
		queue_drop(p, &p->ghosts, record);
		return;
	}
	queue_drop(p, q, record);
	if (q->first == POLICY_NONE)
		l->full[r->level / 64] &= ~(1ull << (r->level % 64));
	r->placed = false;
	p->load.sessions--;
}

static void place(struct policy *p, uint32_t record, uint8_t level)
{
	struct keep_record *r = &p->record[record];
	struct keep_list *l = &p->list[r->list];

	r->level = level;
	r->placed = true;
	queue_push(p, &l->level[level], record);
	l->full[level / 64] |= 1ull << (level % 64);
	p->load.sessions++;
}

/* It has no items any more. One whose session nobody told is never found again:
 * what it would have done from here on is not known, and it is the first to be
 * reclaimed. */
static void become_ghost(struct policy *p, uint32_t record)
{
	struct keep_record *r = &p->record[record];

	unplace(p, record);
	if (!r->untold) {
		queue_push(p, &p->ghosts, record);
		return;
	}
	timer_drop(p, record);
	queue_push_first(p, &p->ghosts, record);
}

static void stand(struct policy *p, uint32_t record, uint8_t level)
{
	if (p->record[record].placed && p->record[record].level == level)
		return;
	unplace(p, record);
	place(p, record, level);
}

void keep_settle(struct policy *p, uint32_t record)
{
	struct keep_record *r = &p->record[record];
	uint8_t level;

	if (!r->items) {
		if (r->placed)
			become_ghost(p, record);
		return;
	}
	level = p->item[r->leaf].children ? KEEP_STUCK
					  : keep_level(p, r, r->loose);
	stand(p, record, level);
}

uint32_t keep_record_new(struct policy *p, uint32_t list, enum keep_kind kind)
{
	uint32_t i = p->unused;
	struct keep_record *r;

	if (i < p->records) {
		p->unused++;
	} else {
		i = p->ghosts.first;
		if (i == POLICY_NONE)
			return i;
		unname(p, i);
		timer_drop(p, i);
		comeback_forget(&p->model[p->record[i].kind],
				&p->record[i].session);
		queue_drop(p, &p->ghosts, i);
	}
	r = &p->record[i];
	memset(r, 0, sizeof(*r));
	r->list = list;
	r->kind = kind;
	r->head = r->leaf = POLICY_NONE;
	r->at_ms = p->now_ms;
	queue_push(p, &p->ghosts, i);
	return i;
}

/* The first record of a list's order, and the one behind it. */
static bool first_two(const struct policy *p, uint32_t list,
		      uint32_t ret_two[2])
{
	const struct keep_list *l = &p->list[list];
	unsigned level = keep_lowest(l, 0);

	if (level >= KEEP_LEVELS)
		return false;
	ret_two[0] = l->level[level].first;
	ret_two[1] = p->record[ret_two[0]].next;
	if (ret_two[1] != POLICY_NONE)
		return true;
	level = keep_lowest(l, level + 1);
	if (level < KEEP_LEVELS)
		ret_two[1] = l->level[level].first;
	return level < KEEP_LEVELS;
}

static bool is_untold(const struct policy *p, const uint32_t two[2])
{
	return p->record[two[0]].untold && p->record[two[1]].untold;
}

uint32_t keep_record_merged(struct policy *p, uint32_t list)
{
	uint32_t two[2], best[2] = { POLICY_NONE, POLICY_NONE };

	for (uint32_t l = 0; l < p->lists; l++)
		if (first_two(p, l, two) &&
		    (best[0] == POLICY_NONE || is_untold(p, two))) {
			memcpy(best, two, sizeof(best));
			if (is_untold(p, two))
				break;
		}
	must(best[0] != POLICY_NONE);
	/* the second one's: the first may have become large in this way */
	while (p->record[best[1]].items) {
		uint32_t item = p->record[best[1]].leaf;

		keep_unlink(p, item);
		keep_link(p, best[0], item, POLICY_NONE);
	}
	p->record[best[1]].untold = true; /* a ghost to be taken at once */
	keep_settle(p, best[1]);
	keep_settle(p, best[0]);
	return keep_record_new(p, list, KEEP_SESSION);
}

/* As is known by now. */
static void judge(const struct policy *p, struct keep_record *r)
{
	const struct comeback *m = &p->model[r->kind];

	if (r->session.step < COMEBACK_SHORT)
		comeback_worths(m, &r->session, r->worth);
	else
		r->worth[COMEBACK_SHORT - 1] = comeback_worth(m, &r->session);
}

void keep_rejudge(struct policy *p, uint32_t record)
{
	judge(p, &p->record[record]);
	keep_settle(p, record);
}

void keep_restart_at(struct policy *p, uint32_t record, uint64_t at_ms)
{
	struct keep_record *r = &p->record[record];
	struct comeback_session *s = &r->session;
	/* a trunk is used by all: what it was worth within a second will do */
	bool again = r->kind == KEEP_TRUNK && r->timed && !s->step;

	timer_drop(p, record);
	r->at_ms = at_ms;
	r->found = false;
	comeback_begin(&p->model[r->kind], s);
	while (s->step < COMEBACK_STEPS - 1 &&
	       at_ms + comeback_edge(s->step + 1u) <= p->now_ms)
		s->step++;
	if (!again || s->step)
		judge(p, r);
	timer_push(p, record);
	if (!r->placed) { /* the ghost used last is reclaimed last */
		queue_drop(p, &p->ghosts, record);
		queue_push(p, &p->ghosts, record);
	}
}

void keep_restart(struct policy *p, uint32_t record)
{
	keep_restart_at(p, record, p->now_ms);
}

/* Records enter a step in the order of their last use, so the first of a timer is
 * the next; what was left behind enters later than its use was, and may wait for
 * those before it. Its return may have been learned meanwhile, up to its age. */
static void pass(struct policy *p, uint32_t record)
{
	struct keep_record *r = &p->record[record];

	timer_drop(p, record);
	if (r->session.step == r->timer && r->found)
		comeback_age(&p->model[r->kind], &r->session);
	else if (r->session.step == r->timer)
		comeback_pass(&p->model[r->kind], &r->session);
	timer_push(p, record);
	if (!r->placed)
		return;
	if (r->session.step >= COMEBACK_SHORT)
		judge(p, r);
	if (r->level != KEEP_STUCK)
		stand(p, record, keep_level(p, r, r->loose));
}

void keep_advance(struct policy *p, uint64_t now_ms)
{
	if (now_ms <= p->now_ms)
		return;
	p->now_ms = now_ms;
	for (unsigned k = 0; k < KEEP_KINDS; k++)
		comeback_tick(&p->model[k], now_ms);
	for (unsigned b = 0; b < COMEBACK_STEPS - 1; b++)
		while (p->due_ms[b] <= now_ms)
			pass(p, p->timer[b].first);
	if (now_ms - p->even_ms < COMEBACK_FIRST)
		return;
	p->even_ms = now_ms;
	for (unsigned k = 0; k < KEEP_KINDS; k++)
		comeback_even(&p->model[k]);
}

/* ---- items of a record -------------------------------------------------------- */

void keep_link(struct policy *p, uint32_t record, uint32_t item, uint32_t after)
{
	struct keep_record *r = &p->record[record];
	struct keep_item *it = &p->item[item];

	it->record = record;
	it->prev = after;
	it->next = after == POLICY_NONE ? r->head : p->item[after].next;
	if (it->prev == POLICY_NONE)
		r->head = item;
	else
		p->item[it->prev].next = item;
	if (it->next == POLICY_NONE) {
		r->leaf = item;
		r->loose = false;
	} else {
		p->item[it->next].prev = item;
	}
	r->items++;
}

void keep_unlink(struct policy *p, uint32_t item)
{
	struct keep_item *it = &p->item[item];
	struct keep_record *r = &p->record[it->record];

	if (it->prev == POLICY_NONE)
		r->head = it->next;
	else
		p->item[it->prev].next = it->next;
	if (it->next == POLICY_NONE) {
		r->leaf = it->prev;
		r->loose = false;
	} else {
		p->item[it->next].prev = it->prev;
	}
	r->items--;
	it->record = POLICY_NONE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recounts all that the policy "onecopy" keeps: rings of items, levels, timers,
 * and the sums over them. Changes nothing; O(records + items + levels). For tests.
 */
#include "policy/keep.h"
#include <errno.h>

/* Items of a record; more than p->items when its ring is broken. */
static uint64_t count_record(const struct policy *p, uint32_t record)
{
	const struct keep_record *r = &p->record[record];
	uint32_t prev = POLICY_NONE;
	uint64_t n = 0;

	for (uint32_t at = r->head; at != POLICY_NONE; n++) {
		if (at >= p->items || n > p->items ||
		    p->item[at].record != record || p->item[at].prev != prev)
			return p->items + 1ull;
		prev = at;
		at = p->item[at].next;
	}
	return r->leaf == prev && n == r->items ? n : p->items + 1ull;
}

static bool level_is_right(const struct policy *p, const struct keep_record *r)
{
	if (!r->items)
		return !r->placed;
	if (!r->placed)
		return false;
	return (p->item[r->leaf].children != 0) == (r->level == KEEP_STUCK);
}

static uint64_t count_level(const struct policy *p, uint32_t list,
			    unsigned level)
{
	const struct keep_list *l = &p->list[list];
	uint64_t n = 0;

	for (uint32_t i = l->level[level].first;
	     i != POLICY_NONE && n <= p->records; i = p->record[i].next)
		n += p->record[i].placed && p->record[i].level == level &&
		     p->record[i].list == list;
	if ((n != 0) != (l->full[level / 64] >> (level % 64) & 1))
		return p->records + 1ull;
	return n;
}

/* Records that wait for the end of a step; more than there are when the timer is
 * broken. */
static uint64_t count_timer(const struct policy *p, unsigned step)
{
	const struct keep_queue *q = &p->timer[step];
	uint32_t prev = POLICY_NONE;
	uint64_t n = 0, due = UINT64_MAX;

	if (q->first != POLICY_NONE)
		due = p->record[q->first].at_ms + comeback_edge(step + 1);
	for (uint32_t i = q->first; i != POLICY_NONE && n <= p->records; n++) {
		const struct keep_record *r = &p->record[i];

		if (!r->timed || r->timer != step || r->timer_prev != prev ||
		    r->session.step < step)
			return p->records + 1ull;
		prev = i;
		i = r->timer_next;
	}
	return q->last == prev && p->due_ms[step] == due ? n
							 : p->records + 1ull;
}

int keep_check(const struct policy *p)
{
	uint64_t on = 0, counted = 0, placed = 0, levels = 0, timed = 0;

	for (uint32_t i = 0; i < p->items; i++)
		on += p->item[i].record != POLICY_NONE;
	for (uint32_t i = 0; i < p->unused; i++) {
		counted += count_record(p, i);
		placed += p->record[i].placed;
		timed += p->record[i].timed;
		if (!level_is_right(p, &p->record[i]))
			return -EPROTO;
	}
	for (uint32_t l = 0; l < p->lists; l++)
		for (unsigned k = 0; k < KEEP_LEVELS; k++)
			levels += count_level(p, l, k);
	for (unsigned b = 0; b < COMEBACK_STEPS; b++)
		timed -= count_timer(p, b);
	return on == counted && on == p->load.items && placed == levels &&
			       placed == p->load.sessions && !timed
		       ? 0
		       : -EPROTO;
}

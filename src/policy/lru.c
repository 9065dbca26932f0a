/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Least recently used. One ring for each list, linked by item numbers: the
 * next to leave comes first. The rings' heads are nodes like the items, kept
 * in an array of their own, so linking has no special case.
 *
 * A node number is an item, or ~list for the head of a list: both are dense
 * from their end, and reserve() refuses the numbers where they would meet.
 *
 * Stamps need not arrive in order (touches come through lossy rings): the
 * order of the ring is that of the calls, and a stamp only grows.
 *
 * 20 bytes an item (two links, list, stamp), 8 a list. Nothing allocates but
 * create and reserve.
 */
#include "policy/policy.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

#define ITEMS_MAX 0x80000000u
#define LISTS_MAX 0x40000000u

struct link {
	uint32_t next, prev;
};

struct policy {
	uint32_t items, lists;
	struct link *item;
	struct link *head;
	uint32_t *on; /* list of an item, or POLICY_NONE */
	uint64_t *stamp;
};

static int lru_create(struct policy **ret_policy)
{
	struct policy *p = mem_alloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	*ret_policy = p;
	return 0;
}

static void lru_destroy(struct policy *p)
{
	if (!p)
		return;
	free(p->item);
	free(p->head);
	free(p->on);
	free(p->stamp);
	free(p);
}

static struct link *link_of(const struct policy *p, uint32_t node)
{
	return node < p->items ? &p->item[node] : &p->head[~node];
}

static int reserve_items(struct policy *p, uint32_t n)
{
	if (n <= p->items)
		return 0;
	if (n > ITEMS_MAX)
		return -EINVAL;
	if (mem_grow_at(&p->item, n, sizeof(*p->item)) ||
	    mem_grow_at(&p->on, n, sizeof(*p->on)) ||
	    mem_grow_at(&p->stamp, n, sizeof(*p->stamp)))
		return -ENOMEM;
	for (uint32_t i = p->items; i < n; i++) {
		p->on[i] = POLICY_NONE;
		p->stamp[i] = 0;
	}
	p->items = n;
	return 0;
}

static int reserve_lists(struct policy *p, uint32_t n)
{
	if (n <= p->lists)
		return 0;
	if (n > LISTS_MAX)
		return -EINVAL;
	if (mem_grow_at(&p->head, n, sizeof(*p->head)))
		return -ENOMEM;
	for (uint32_t i = p->lists; i < n; i++)
		p->head[i] = (struct link){ ~i, ~i };
	p->lists = n;
	return 0;
}

static int lru_reserve(struct policy *p, uint32_t items, uint32_t lists)
{
	int err = reserve_items(p, items);

	return err ? err : reserve_lists(p, lists);
}

static void unlink_item(struct policy *p, uint32_t item)
{
	struct link *l = &p->item[item];

	link_of(p, l->prev)->next = l->next;
	link_of(p, l->next)->prev = l->prev;
}

/* The most recently used place: just before the head. */
static void link_last(struct policy *p, uint32_t list, uint32_t item)
{
	struct link *head = &p->head[list], *l = &p->item[item];

	l->next = ~list;
	l->prev = head->prev;
	link_of(p, head->prev)->next = item;
	head->prev = item;
}

static bool listed(const struct policy *p, uint32_t item)
{
	return item < p->items && p->on[item] != POLICY_NONE;
}

static void lru_insert(struct policy *p, uint32_t list, uint32_t item,
		       uint64_t stamp)
{
	p->on[item] = list;
	p->stamp[item] = stamp;
	link_last(p, list, item);
}

static void lru_touch(struct policy *p, uint32_t item, uint64_t stamp)
{
	if (!listed(p, item))
		return;
	p->stamp[item] = MAX(p->stamp[item], stamp);
	unlink_item(p, item);
	link_last(p, p->on[item], item);
}

static void lru_remove(struct policy *p, uint32_t item)
{
	if (!listed(p, item))
		return;
	unlink_item(p, item);
	p->on[item] = POLICY_NONE;
}

static uint32_t lru_victim(struct policy *p, uint32_t list, uint32_t prev)
{
	uint32_t next;

	if (list >= p->lists)
		return POLICY_NONE;
	if (prev == POLICY_NONE)
		next = p->head[list].next;
	else if (listed(p, prev) && p->on[prev] == list)
		next = p->item[prev].next;
	else
		return POLICY_NONE;
	return next < p->items ? next : POLICY_NONE;
}

static uint64_t lru_stamp(const struct policy *p, uint32_t item)
{
	return listed(p, item) ? p->stamp[item] : 0;
}

/* Items of a ring; more than p->items when it is broken. */
static uint64_t count_ring(const struct policy *p, uint32_t list)
{
	const uint64_t broken = (uint64_t)p->items + 1;
	uint32_t prev = ~list;
	uint64_t n = 0;

	for (uint32_t at = p->head[list].next; at != ~list; n++) {
		if (at >= p->items || n == p->items || p->on[at] != list ||
		    p->item[at].prev != prev)
			return broken;
		prev = at;
		at = p->item[at].next;
	}
	return p->head[list].prev == prev ? n : broken;
}

static int lru_check(const struct policy *p)
{
	uint64_t on = 0, counted = 0;

	for (uint32_t i = 0; i < p->items; i++)
		on += p->on[i] != POLICY_NONE;
	for (uint32_t list = 0; list < p->lists; list++)
		counted += count_ring(p, list);
	return on == counted ? 0 : -EPROTO;
}

const struct policy_ops policy_lru = {
	.name = "lru",
	.create = lru_create,
	.destroy = lru_destroy,
	.reserve = lru_reserve,
	.insert = lru_insert,
	.touch = lru_touch,
	.remove = lru_remove,
	.victim = lru_victim,
	.stamp = lru_stamp,
	.check = lru_check,
};

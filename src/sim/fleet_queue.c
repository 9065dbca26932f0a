/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"
#include "sim/fleet_internal.h"
#include <errno.h>
#include <stdlib.h>

static bool before(const struct fleet_event *a, const struct fleet_event *b)
{
	if (a->at < b->at || a->at > b->at)
		return a->at < b->at;
	return a->order < b->order;
}

int fleet_queue_push(struct fleet_queue *q, double at, enum fleet_kind kind,
		     uint32_t what, uint32_t age)
{
	struct fleet_event e = { at, q->order++, what, age, (uint8_t)kind };
	size_t i = q->n;

	if (q->n == q->room) {
		size_t room = q->room ? 2 * q->room : 256;
		void *p = mem_grow(q->heap, room, sizeof(*q->heap));

		if (!p)
			return -ENOMEM;
		q->heap = p;
		q->room = room;
	}
	q->n++;
	for (; i && before(&e, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
		q->heap[i] = q->heap[(i - 1) / 2];
	q->heap[i] = e;
	return 0;
}

bool fleet_queue_pop(struct fleet_queue *q, struct fleet_event *ret)
{
	struct fleet_event last;
	size_t i = 0;

	if (!q->n)
		return false;
	*ret = q->heap[0];
	last = q->heap[--q->n];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= q->n)
			break;
		if (child + 1 < q->n &&
		    before(&q->heap[child + 1], &q->heap[child]))
			child++;
		if (!before(&q->heap[child], &last))
			break;
		q->heap[i] = q->heap[child];
		i = child;
	}
	q->heap[i] = last;
	return true;
}

void fleet_queue_fini(struct fleet_queue *q)
{
	free(q->heap);
}

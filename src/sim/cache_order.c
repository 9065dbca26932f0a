/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/cache_order.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

int order_init(struct order *o, uint32_t blocks)
{
	uint64_t n = (uint64_t)blocks + ORDER_QUEUES;

	*o = (struct order){
		.blocks = blocks,
		.next = mem_array(n, sizeof(*o->next)),
		.prev = mem_array(n, sizeof(*o->prev)),
		.in = mem_array(n, sizeof(*o->in)),
	};
	if (!o->next || !o->prev || !o->in) {
		order_fini(o);
		return -ENOMEM;
	}
	memset(o->in, ORDER_NOWHERE, n);
	for (uint32_t q = 0; q < ORDER_QUEUES; q++)
		o->next[blocks + q] = o->prev[blocks + q] = blocks + q;
	return 0;
}

void order_fini(struct order *o)
{
	free(o->next);
	free(o->prev);
	free(o->in);
	*o = (struct order){ 0 };
}

void order_push(struct order *o, unsigned queue, uint32_t block)
{
	uint32_t head = o->blocks + queue, last = o->prev[head];

	o->next[block] = head;
	o->prev[block] = last;
	o->next[last] = block;
	o->prev[head] = block;
	o->in[block] = (uint8_t)queue;
	o->n[queue]++;
}

void order_drop(struct order *o, uint32_t block)
{
	o->next[o->prev[block]] = o->next[block];
	o->prev[o->next[block]] = o->prev[block];
	o->n[o->in[block]]--;
	o->in[block] = ORDER_NOWHERE;
}

uint32_t order_next(const struct order *o, uint32_t block)
{
	uint32_t next = o->next[block];

	return next < o->blocks ? next : ORDER_NONE;
}

uint32_t order_first(const struct order *o, unsigned queue)
{
	return order_next(o, o->blocks + queue);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues of blocks for the published policies: rings linked by block numbers,
 * each with a head of its own. A block is in at most one queue, and its queue's
 * number is written beside it (ORDER_NOWHERE: in none). First in, first out:
 * "first" is the oldest.
 */
#ifndef ONECOPY_SIM_CACHE_ORDER_H
#define ONECOPY_SIM_CACHE_ORDER_H

#include "base/compiler.h"

#define ORDER_QUEUES  4
#define ORDER_NOWHERE 0xff
#define ORDER_NONE    UINT32_MAX

struct order {
	uint32_t blocks;
	uint32_t *next, *prev; /* of blocks, then of heads */
	uint8_t *in;	       /* queue of a block */
	uint32_t n[ORDER_QUEUES];
};

int order_init(struct order *o, uint32_t blocks); /* -ENOMEM */
void order_fini(struct order *o);
/* At the end of a queue: the youngest. The block is in none. */
void order_push(struct order *o, unsigned queue, uint32_t block);
void order_drop(struct order *o, uint32_t block);
/* The oldest of a queue, and the next younger one; ORDER_NONE after the last. */
uint32_t order_first(const struct order *o, unsigned queue);
uint32_t order_next(const struct order *o, uint32_t block);

#endif

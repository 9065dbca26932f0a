/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which block should leave? The interface behind which eviction orders stand.
 * Pure bookkeeping over numbers: no clock, no memory of blocks, no I/O. The
 * node and the simulator drive the same code.
 *
 * Items are small dense integers that the caller assigns (one for each frame).
 * Lists are dense integers too (one for each arena: frames that can replace
 * each other). An item is on at most one list. Stamps are the caller's touch
 * counter: they grow.
 *
 * One thread. Memory grows with the largest item and list reserved.
 */
#ifndef ONECOPY_POLICY_POLICY_H
#define ONECOPY_POLICY_POLICY_H

#include "base/compiler.h"

#define POLICY_NONE UINT32_MAX

struct policy;

struct policy_ops {
	const char *name;
	int (*create)(struct policy **ret_policy); /* -ENOMEM */
	void (*destroy)(struct policy *p);
	/* Room for items 0..items-1 and lists 0..lists-1; never shrinks. */
	int (*reserve)(struct policy *p, uint32_t items, uint32_t lists);
	/* A block became resident (its item must be on no list). */
	void (*insert)(struct policy *p, uint32_t list, uint32_t item,
		       uint64_t stamp);
	/* A block was used. No effect for an item that is on no list. */
	void (*touch)(struct policy *p, uint32_t item, uint64_t stamp);
	/* It left, for whatever reason. No effect when on no list. */
	void (*remove)(struct policy *p, uint32_t item);
	/* The first to leave of a list, and after `prev` the next one; or
	 * POLICY_NONE. Changes nothing: the caller may pass over an item (it
	 * is pinned) and go on with the next. */
	uint32_t (*victim)(struct policy *p, uint32_t list, uint32_t prev);
	/* Stamp of the item's last use; 0 when on no list. */
	uint64_t (*stamp)(const struct policy *p, uint32_t item);
	/* Recount everything: 0, or -EPROTO. For tests. */
	int (*check)(const struct policy *p);
};

extern const struct policy_ops policy_lru;

/* By name ("lru"); NULL when there is none. */
const struct policy_ops *policy_find(const char *name);

#endif

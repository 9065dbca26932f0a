/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recorded stores, and in which other orders they may be seen.
 *
 * What an observer sees of the first n stores is a set of them, not always a
 * prefix: two stores are ordered only when the later one is a release, when a
 * fence (or a system call, such as a message to the keeper) lies between them,
 * or when they are of one word. So at a moment when store n is seen, an earlier
 * one may be missing, with all that are ordered after it.
 *
 * That is what a surviving process may see of a running one, and what is left of
 * a killed one: its retired stores do reach memory, but the compiler may have
 * put relaxed stores in another order before that.
 *
 * order_next() walks the sets of one or two missing stores; order_undo() makes
 * memory what it is without them. A store that changes nothing, and one that is
 * overwritten by a store which is seen, make no new state and are left out.
 */
#ifndef ONECOPY_TESTS_ORDER_H
#define ONECOPY_TESTS_ORDER_H

#include "base/shared.h"
#include "tests/test.h"

#ifdef ONECOPY_RECORD
#define ORDER_STORES 65536

struct order_store {
	uintptr_t addr;
	uint64_t old, value;
	uint32_t fences; /* before it */
	uint8_t width;
	bool release;
};

struct order_log {
	uint32_t n, fences;
	struct order_store store[ORDER_STORES];
};

/* Stores at[0 .. k) of the first n are missing. */
struct order_miss {
	uint32_t n, k, at[2];
	bool one; /* no sets of two */
};

/* From shared_record_hook and shared_fence_hook. */
TEST_STATIC void order_note(struct order_log *log, const void *addr,
			    unsigned width, uint64_t value,
			    enum shared_order order)
{
	struct order_store *s = &log->store[log->n];
	uint64_t old = 0;

	CHECK_INT(log->n, <, ORDER_STORES);
	memcpy(&old, addr, width);
	*s = (struct order_store){ .addr = (uintptr_t)addr,
				   .old = old,
				   .value = value,
				   .fences = log->fences,
				   .width = (uint8_t)width,
				   .release = order == SHARED_RELEASE };
	log->n++;
}

TEST_STATIC bool order_missing(const struct order_miss *m, uint32_t at)
{
	return (m->k > 0 && m->at[0] == at) || (m->k > 1 && m->at[1] == at);
}

/* May store `at` be missing while those after it are there that are not missing
 * themselves? */
TEST_STATIC bool order_may_miss(const struct order_log *log,
				const struct order_miss *m, uint32_t at)
{
	const struct order_store *s = &log->store[at];

	if (s->old == s->value)
		return false;
	for (uint32_t i = at + 1; i < m->n; i++) {
		const struct order_store *later = &log->store[i];

		if (order_missing(m, i))
			continue;
		if (later->release || later->fences != s->fences)
			return false;
		if (later->addr < s->addr + s->width &&
		    s->addr < later->addr + later->width)
			return false;
	}
	return true;
}

TEST_STATIC bool order_valid(const struct order_log *log,
			     const struct order_miss *m)
{
	for (uint32_t i = 0; i < m->k; i++)
		if (!order_may_miss(log, m, m->at[i]))
			return false;
	return true;
}

/* Nothing before this can be missing: no fence lies after it, and one release
 * at most, which is missing too. */
TEST_STATIC uint32_t order_oldest(const struct order_log *log, uint32_t n)
{
	unsigned releases = 0;
	uint32_t at = n - 1;

	if (log->store[at].release)
		return n;
	while (at > 0 && releases < 2 &&
	       log->store[at - 1].fences == log->store[n - 1].fences)
		releases += log->store[--at].release;
	return at;
}

/* The next set for the first n stores; starts from k = 0. False: no more. */
TEST_STATIC bool order_next(const struct order_log *log, struct order_miss *m)
{
	uint32_t last = m->n ? m->n - 1 : 0; /* store n itself is there */

	if (m->n == 0)
		return false;
	do {
		uint32_t oldest = order_oldest(log, m->n);

		if (m->k == 0) {
			m->k = 1;
			m->at[0] = oldest;
		} else if (m->k == 1 && m->one) {
			m->at[0]++;
		} else if (m->k == 1) {
			m->k = 2;
			m->at[1] = m->at[0] + 1;
		} else {
			m->at[1]++;
		}
		if (m->k == 2 && m->at[1] >= last) {
			m->k = 1;
			m->at[0]++;
		}
		if (m->at[0] >= last)
			return false;
	} while (!order_valid(log, m));
	return true;
}

/* Memory as if these stores had not been made; the first n were. */
TEST_STATIC void order_undo(const struct order_log *log,
			    const struct order_miss *m)
{
	for (uint32_t i = m->k; i-- > 0;) {
		const struct order_store *s = &log->store[m->at[i]];

		memcpy((void *)s->addr, &s->old, s->width);
	}
}
#endif

#endif

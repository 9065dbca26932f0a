/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/cache_ahead.h"
#include "base/fault.h"
#include <errno.h>
#include <stdlib.h>

int ahead_init(struct ahead *a, uint64_t room)
{
	*a = (struct ahead){ .entry = mem_array(room + 1, sizeof(*a->entry)),
			     .room = room };
	return a->entry ? 0 : -ENOMEM;
}

void ahead_fini(struct ahead *a)
{
	free(a->entry);
	*a = (struct ahead){ 0 };
}

static bool before(const struct ahead_entry *a, const struct ahead_entry *b)
{
	if (a->wake_ms != b->wake_ms)
		return a->wake_ms < b->wake_ms;
	return a->request < b->request;
}

void ahead_add(struct ahead *a, const struct ahead_entry *e)
{
	uint64_t i = a->n++;

	for (; i && before(e, &a->entry[(i - 1) / 2]); i = (i - 1) / 2)
		a->entry[i] = a->entry[(i - 1) / 2];
	a->entry[i] = *e;
}

bool ahead_take(struct ahead *a, uint64_t now_ms, struct ahead_entry *ret)
{
	struct ahead_entry last;
	uint64_t i = 0, child;

	if (!a->n || a->entry[0].wake_ms > now_ms)
		return false;
	*ret = a->entry[0];
	last = a->entry[--a->n];
	for (; (child = 2 * i + 1) < a->n; i = child) {
		if (child + 1 < a->n &&
		    before(&a->entry[child + 1], &a->entry[child]))
			child++;
		if (!before(&a->entry[child], &last))
			break;
		a->entry[i] = a->entry[child];
	}
	a->entry[i] = last;
	return true;
}

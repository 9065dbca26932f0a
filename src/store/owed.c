/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removals that the tier below cannot hear of yet: it is not opened, or has not
 * found what it has. They are kept and told when it has, before anything of it
 * is found here.
 *
 * Of a pool so many names are kept; beyond them, and where memory is refused,
 * whole namespaces count as removed: less is found below, never what is gone.
 *
 * Death: a successor does not know them (docs/design/movement.md).
 */
#include <stdlib.h>
#include "base/fault.h"
#include "store/internal.h"
#include "store/move.h"

#define OWED_MOST 65536u

static void add_all(struct owed *o, uint32_t ns)
{
	uint32_t kept = 0;

	o->all[(ns - 1) / 64] |= 1ull << (ns - 1) % 64;
	for (uint32_t i = 0; i < o->n; i++)
		if (frame_part_ns(o->part[i].part) != ns)
			o->part[kept++] = o->part[i];
	o->n = kept;
}

static bool has_all(const struct owed *o, uint32_t ns)
{
	return o->all[(ns - 1) / 64] >> (ns - 1) % 64 & 1;
}

static bool grow(struct owed *o)
{
	uint32_t cap = MAX(2 * o->cap, 64u);
	struct owed_part *grown;

	if (o->n < o->cap)
		return true;
	if (cap > OWED_MOST)
		return false;
	grown = mem_grow(o->part, cap, sizeof(*grown));
	if (!grown)
		return false;
	o->part = grown;
	o->cap = cap;
	return true;
}

void owed_add(struct store *s, const struct pool *p, const uint64_t key[4],
	      uint64_t part)
{
	struct owed *o = &s->owed[p->number];
	uint32_t ns = frame_part_ns(part);

	if (!ns || ns > LAYOUT_NS_MAX || has_all(o, ns))
		return;
	if (!grow(o)) {
		add_all(o, ns);
		return;
	}
	o->part[o->n].part = part;
	memcpy(o->part[o->n++].key, key, sizeof(o->part[0].key));
}

void owed_add_all(struct store *s, const struct pool *p, uint32_t ns)
{
	if (ns && ns <= LAYOUT_NS_MAX)
		add_all(&s->owed[p->number], ns);
}

void owed_pay(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct owed *o = &s->owed[n];

		for (uint32_t i = 0; i < o->n; i++)
			move_forget(s, s->pool[n], o->part[i].key,
				    o->part[i].part);
		for (uint32_t ns = 1; ns <= LAYOUT_NS_MAX; ns++)
			if (has_all(o, ns))
				move_forget_all(s, s->pool[n], ns);
	}
	owed_fini(s);
}

void owed_fini(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		free(s->owed[n].part);
		s->owed[n] = (struct owed){ 0 };
	}
}

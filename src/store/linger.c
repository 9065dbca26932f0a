/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody waited for stays for a moment after it has come up, so that he
 * can pin it: by the order of eviction it would be among the first that leave
 * when more comes up, and often left before its client had run again.
 *
 * It is pinned in the server's own slots. Of a tenant that is a quarter of what
 * it may have at most, and all of it goes after LINGER_NS: the first comes first.
 * A successor begins without; who waited then asks again.
 */
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "store/internal.h"
#include "store/local.h"

#define LINGER_NS   (250 * NS_PER_MS)
#define LINGER_MOST 8192u /* a power of two */

struct linger_entry {
	uint64_t until_ns, bytes;
	int64_t slot;
	uint32_t pool;
};

struct linger {
	struct linger_entry entry[LINGER_MOST];
	uint32_t first, n;
	uint64_t bytes[STORE_POOLS_MAX];
};

static void let_go(struct store *s)
{
	struct linger *l = s->linger;
	const struct linger_entry *e = &l->entry[l->first % LINGER_MOST];

	local_unpin(s->local[e->pool], e->slot);
	l->bytes[e->pool] -= e->bytes;
	l->first++;
	l->n--;
	s->retry = true;
}

void linger_add(struct store *s, struct pool *p, const uint64_t key[4],
		uint64_t part)
{
	struct local_part found = { 0 };
	struct store_client *c;
	struct pool_slab *slab;
	struct linger *l;
	uint32_t frame;
	int64_t slot;

	if (!s->linger)
		s->linger = mem_alloc(sizeof(*s->linger));
	l = s->linger;
	slab = pool_find(p, key, part, &frame);
	if (slab) /* to wait for it is a use */
		pool_frame_touch(p, slab, frame);
	if (!l || !slab || local_client(s, p, &c) < 0)
		return;
	while (l->n && (l->n == LINGER_MOST ||
			l->bytes[p->number] + slab->frame_bytes > p->quota / 4))
		let_go(s);
	found.loc = frame_loc(slab->id, frame);
	found.gen = pool_frame_gen(slab, frame);
	slot = local_pin(c, &found);
	if (slot < 0)
		return;
	l->bytes[p->number] += slab->frame_bytes;
	l->entry[(l->first + l->n++) % LINGER_MOST] = (struct linger_entry){
		.until_ns = s->now_ns + LINGER_NS,
		.bytes = slab->frame_bytes,
		.slot = slot,
		.pool = p->number,
	};
}

void linger_tick(struct store *s)
{
	struct linger *l = s->linger;

	while (l && l->n &&
	       l->entry[l->first % LINGER_MOST].until_ns <= s->now_ns)
		let_go(s);
}

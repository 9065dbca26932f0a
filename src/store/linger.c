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
#define LINGER_MOST 8192u /* of a tenant; a power of two */

struct linger_entry {
	uint64_t until_ns, bytes;
	int64_t slot;
};

/* Of a tenant: nobody's parts leave for another's. */
struct linger {
	struct linger_entry entry[LINGER_MOST];
	uint32_t first, n;
	uint64_t bytes;
};

static void let_go(struct store *s, uint32_t pool)
{
	struct linger *l = s->linger[pool];
	const struct linger_entry *e = &l->entry[l->first % LINGER_MOST];

	local_unpin(s->local[pool], e->slot);
	l->bytes -= e->bytes;
	l->first++;
	l->n--;
	s->retry = true;
}

static struct linger *linger_of(struct store *s, uint32_t pool)
{
	if (!s->linger[pool])
		s->linger[pool] = mem_alloc(sizeof(*s->linger[pool]));
	return s->linger[pool];
}

void linger_add(struct store *s, struct pool *p, const uint64_t key[4],
		uint64_t part)
{
	struct linger *l = linger_of(s, p->number);
	struct local_part found = { 0 };
	struct store_client *c;
	struct pool_slab *slab;
	uint32_t frame;
	int64_t slot;

	slab = pool_find(p, key, part, &frame);
	if (slab) /* to wait for it is a use */
		pool_frame_touch(p, slab, frame);
	if (!l || !slab || slab->frame_bytes > p->quota / 4 ||
	    local_client(s, p, &c) < 0)
		return;
	while (l->n && (l->n == LINGER_MOST ||
			l->bytes + slab->frame_bytes > p->quota / 4))
		let_go(s, p->number);
	found.loc = frame_loc(slab->id, frame);
	found.gen = pool_frame_gen(slab, frame);
	slot = local_pin(c, &found);
	if (slot < 0)
		return;
	l->bytes += slab->frame_bytes;
	l->entry[(l->first + l->n++) % LINGER_MOST] = (struct linger_entry){
		.until_ns = s->now_ns + LINGER_NS,
		.bytes = slab->frame_bytes,
		.slot = slot,
	};
}

void linger_tick(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++) {
		struct linger *l = s->linger[n];

		while (l && l->n &&
		       l->entry[l->first % LINGER_MOST].until_ns <= s->now_ns)
			let_go(s, n);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the node asks for (client/revoke.h): blocks are let go whose pins it
 * names, a run at a time, and come back with the next touch.
 *
 * Kept is what is held (oc_span_hold()), what a fault or a call has in hand, and
 * what could not be unmapped. Nobody waits for those: the server is told that
 * they stay.
 *
 * Order: a block's addresses first, then its pin (leave.c). It is no use of the
 * block to give it back, so none is counted.
 *
 * Whoever has the space's lock may wait for a frame, and the node may ask this
 * space for the room. Then he gives way himself, from within his waiting
 * (revoke_here); but for the fault thread, which unmaps nothing: its first write
 * goes to the worker. The client's own thread therefore waits for the lock in
 * short pieces, and looks whether it has been done.
 */
#include <time.h>
#include "client/pin_inline.h"
#include "space/space.h"

#define LOCK_NS (10 * NS_PER_MS)

void block_say(oc_span *sp, size_t i)
{
	const struct block *b = &sp->block[i];

	if (b->pin.data)
		revoke_say(sp->s->c, &b->pin, b->held ? 0 : span_revocable(sp));
}

struct given {
	uint64_t gone, kept;
};

/* One that the kernel has copied pages of: they become the space's own memory; a
 * frame for them is what the node has none of. */
static bool give_written(oc_span *sp, size_t i)
{
	uint64_t bytes = sp->block[i].pin.bytes;

	if (block_own_memory(sp, i))
		return false;
	sp->s->n.own_bytes += bytes;
	return true;
}

/* Can it be unmapped now? What needs no unmapping is given at once. */
static bool gives(oc_span *sp, size_t i, struct given *g)
{
	struct block *b = &sp->block[i];

	if (!b->pin.data || !revoke_wants(sp->s->c, &b->pin))
		return false;
	if (b->held || b->flags & (BLOCK_HALF | BLOCK_WANTED) ||
	    (b->state != OC_BLOCK_MAPPED && !(b->flags & BLOCK_KEPT))) {
		g->kept++;
		return false;
	}
	b->pin.slot |= SLOT_NO_TOUCH;
	if (b->state == OC_BLOCK_MAPPED && !block_written(sp, i))
		return true;
	if (b->state == OC_BLOCK_MAPPED && !give_written(sp, i)) {
		g->kept++;
		return false;
	}
	if (b->state == OC_BLOCK_ABSENT)
		block_drop(sp, i);
	g->gone++;
	return false;
}

static void span_give_way(oc_span *sp, struct given *g)
{
	size_t i = 0, z;

	while (i < sp->n) {
		for (z = i; z < sp->n && gives(sp, z, g);)
			z++;
		if (z > i && blocks_let_go(sp, i, z - i))
			g->kept += z - i;
		else
			g->gone += z - i;
		i = MAX(z, i + 1);
	}
}

static void give_way(oc_space *s)
{
	uint64_t asked = shared_load64_acquire(&s->c->seg->header.asked);
	struct given g = { 0 };

	for (oc_span *sp = s->span; sp; sp = sp->next)
		if (!sp->going)
			span_give_way(sp, &g);
	s->n.revoke_asks++;
	s->n.revoked += g.gone;
	s->n.revoke_kept += g.kept;
	/* Release: what was done comes before the answer of who reads this. */
	atomic_store_explicit(&s->gave_way, asked, memory_order_release);
}

static bool has_given(const oc_space *s)
{
	return atomic_load_explicit(&s->gave_way, memory_order_acquire) ==
	       shared_load64(&s->c->seg->header.asked);
}

/* Not pthread_mutex_clocklock(), which the thread sanitizer does not know. */
static bool lock_for_a_while(oc_space *s)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOCK_NS;
	if (until.tv_nsec >= (long)NS_PER_S) {
		until.tv_nsec -= (long)NS_PER_S;
		until.tv_sec++;
	}
	return pthread_mutex_timedlock(&s->lock, &until) == 0;
}

/* From the client's thread. */
static void let_go(void *space)
{
	oc_space *s = space;

	while (!has_given(s)) {
		if (!lock_for_a_while(s))
			continue;
		if (!has_given(s))
			give_way(s);
		space_unlock(s);
	}
}

int space_give_way_here(void *space)
{
	oc_space *s = space;

	if (has_given(s))
		return 0;
	if (s->has_faults && pthread_equal(pthread_self(), s->faults))
		return -EBUSY;
	give_way(s);
	return 0;
}

int space_revocable(oc_space *s)
{
	if (s->how != OC_SPACE_FAULTS)
		return 0;
	s->here = (struct revoke_here){ space_give_way_here, s };
	s->user.let_go = let_go;
	s->user.ctx = s;
	return revoke_join(s->c, &s->user);
}

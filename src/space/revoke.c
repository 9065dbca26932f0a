/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the node asks for (client/revoke.h): blocks are let go whose pins it
 * names, if these are still theirs, a run at a time, and come back with the next touch.
 *
 * Kept is what is held (oc_span_hold()), what a fault or a call has in hand, and
 * what could not be unmapped. Nobody waits for those: the server is told that
 * they stay.
 *
 * Order: a block's addresses first, then its pin (leave.c). It is no use of the
 * block to give it back, so none is counted.
 *
 * The client's thread waits for the space's lock, under which nobody waits for
 * room of the node's for longer than a moment (own.c).
 */
#include "client/pin_inline.h"
#include "space/space.h"

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

	if (!b->pin.data || !(b->held ? revoke_names(sp->s->c, &b->pin)
				      : revoke_wants(sp->s->c, &b->pin)))
		return false;
	if (b->held || b->flags & (BLOCK_HALF | BLOCK_WANTED | BLOCK_TAKEN) ||
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

/* Blocks [a, z) are unmapped, as far as the kernel does it. */
static void give_run(oc_span *sp, size_t a, size_t z, struct given *g)
{
	if (a == z)
		return;
	blocks_let_go(sp, a, z - a);
	for (size_t i = a; i < z; i++)
		if (sp->block[i].pin.data)
			g->kept++;
		else
			g->gone++;
}

static void span_give_way(oc_span *sp, struct given *g)
{
	size_t i, z;

	for (i = 0; i < sp->n; i = z + 1) { /* z has been judged */
		for (z = i; z < sp->n && gives(sp, z, g);)
			z++;
		give_run(sp, i, z, g);
	}
}

/* From the client's thread. */
static void let_go(void *space)
{
	oc_space *s = space;
	struct given g = { 0 };

	space_lock(s);
	for (oc_span *sp = s->span; sp; sp = sp->next)
		if (!sp->going)
			span_give_way(sp, &g);
	s->n.revoke_asks += g.gone + g.kept != 0;
	s->n.revoked += g.gone;
	s->n.revoke_kept += g.kept;
	space_unlock(s);
}

int space_revocable(oc_space *s)
{
	if (s->how != OC_SPACE_FAULTS)
		return 0;
	s->user.let_go = let_go;
	s->user.ctx = s;
	return revoke_join(s->c, &s->user);
}

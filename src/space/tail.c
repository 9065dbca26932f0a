/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a space writes becomes a block: a first write's frame, and a session's
 * tail.
 *
 * A tail's frame is the session's own; the space shows it, and drops it when it
 * is sealed.
 */
#include <sys/mman.h>
#include "client/session.h"
#include "space/space.h"

/* A new block with the bytes of the frame that the space has. */
static int seal_copy(oc_span *sp, struct block *b, const struct oc_key *key,
		     uint64_t timeout_ns)
{
	struct oc_grant g;
	uint64_t sum;
	int r = oc_grant(sp->s->ns, key, sp->part, b->grant.bytes,
			 b->grant.tokens, timeout_ns, &g);

	if (r)
		return r;
	sum = oc_fill(&g, b->grant.data, b->grant.bytes);
	return oc_seal(sp->s->ns, &g, &sum, timeout_ns);
}

int oc_span_seal(oc_span *sp, size_t i, const struct oc_key *key,
		 uint64_t timeout_ns)
{
	oc_space *s = sp->s;
	struct block *b;
	int r = space_usable(s), done;

	if (r)
		return r;
	space_lock(s);
	b = i < sp->n ? &sp->block[i] : NULL;
	if (!b || b->state != OC_BLOCK_OWN || b->flags & BLOCK_HALF)
		r = client_fail(s->c, -EINVAL,
				"block %zu is not a frame of "
				"this space's own",
				i);
	else if (b->held)
		r = client_fail(s->c, -EBUSY, "block %zu is held", i);
	else
		r = seal_copy(sp, b, key, timeout_ns);
	if (r == 0 || r == OC_EXISTS) {
		sp->key[i] = *key;
		done = blocks_let_go(sp, i, 1);
		if (done == 0 && blocks_pin(sp, i, 1) == 0)
			blocks_map(sp, i, 1); /* else with a touch */
		r = done ? done : r;
	}
	space_unlock(s);
	return r;
}

/* ---- the session's tail ---- */

static int tail_check(oc_span *sp)
{
	oc_client *c = sp->s->c;

	if (sp->gathered || sp->shape.slices > 1 ||
	    sp->flags & OC_SPAN_READ_ONLY)
		return client_fail(c, -EINVAL,
				   "a tail is shown block after block, "
				   "writable");
	if (sp->n == sp->shape.capacity)
		return client_fail(c, -ENOSPC, "no room for a tail");
	return 0;
}

/* The lock is held. */
static int tail_show(oc_span *sp, const struct oc_grant *g)
{
	struct block *b = &sp->block[sp->n];
	int fd, r = 0;

	if (b->state == OC_BLOCK_TAIL && b->grant.data == g->data &&
	    b->grant.generation == g->generation)
		return 0;
	if (b->state == OC_BLOCK_TAIL) {
		/* another frame than before: sealed or dropped elsewhere */
		r = space_make_absent(sp->s, block_at(sp, 0, sp->n),
				      sp->shape.piece_bytes);
		if (r == 0)
			block_drop(sp, sp->n);
	} else {
		r = blocks_let_go(sp, sp->n, 1);
	}
	if (r == 0)
		r = slab_get(sp->s, g->region, &fd);
	if (r)
		return r;
	b->grant = *g;
	b->state = OC_BLOCK_TAIL;
	r = block_map_frame(sp, sp->n);
	if (r)
		block_drop(sp, sp->n);
	else
		sp->s->maps += 2;
	return r;
}

static struct tail_part *part_of(oc_session *session, struct oc_part part)
{
	return &session->part[(uint32_t)part.group * session->ns->spec.ranks +
			      part.rank];
}

int oc_span_tail(oc_span *sp, oc_session *session, uint64_t timeout_ns,
		 struct oc_tail *ret_tail)
{
	struct oc_tail tail = { 0 };
	int r = space_usable(sp->s);

	if (r)
		return r;
	space_lock(sp->s);
	r = tail_check(sp);
	space_unlock(sp->s);
	if (r == 0)
		r = oc_session_tail(session, sp->part, 0, timeout_ns, &tail);
	if (r)
		return r;
	space_lock(sp->s);
	r = tail_check(sp);
	if (r == 0)
		r = tail_show(sp, &part_of(session, sp->part)->grant);
	if (r == 0)
		tail.data = block_at(sp, 0, sp->n);
	space_unlock(sp->s);
	if (r == 0)
		*ret_tail = tail;
	return r;
}

int oc_span_tail_seal(oc_span *sp, oc_session *session,
		      const struct oc_key *key, uint64_t timeout_ns)
{
	oc_space *s = sp->s;
	int r = space_usable(s);

	if (r)
		return r;
	/* The frame becomes everybody's: this space's writable mapping of it goes
	 * first, and comes back when the seal has not been made. */
	space_lock(s);
	if (sp->n == sp->shape.capacity ||
	    sp->block[sp->n].state != OC_BLOCK_TAIL)
		r = client_fail(s->c, -EINVAL, "no tail is mapped");
	if (r == 0)
		r = space_make_absent(s, block_at(sp, 0, sp->n),
				      sp->shape.piece_bytes);
	if (r == 0)
		block_drop(sp, sp->n);
	if (r == 0)
		r = oc_session_tail_seal(session, key, NULL, timeout_ns);
	if (r == 0) {
		sp->key[sp->n++] = *key;
		if (blocks_pin(sp, sp->n - 1, 1) == 0)
			blocks_map(sp, sp->n - 1, 1); /* else with a touch */
	} else if (part_of(session, sp->part)->grant.data) {
		tail_show(sp, &part_of(session, sp->part)->grant);
	}
	space_unlock(s);
	return r;
}

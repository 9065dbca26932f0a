/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a space writes becomes a block: a first write's frame, and a session's
 * tail.
 *
 * A tail's frame is the session's own; the space shows it, and drops it when it
 * is sealed.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include "base/hash.h"
#include "client/session.h"
#include "space/space.h"

static bool same_key(const struct oc_key *a, const struct oc_key *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* What a block is of that was written: its own frame, or memory of the process. */
static struct oc_grant written_as(const oc_span *sp, const struct block *b)
{
	if (b->grant)
		return *b->grant;
	return (struct oc_grant){
		.bytes = b->pin.bytes ? b->pin.bytes : sp->shape.part_bytes,
		.tokens = b->pin.tokens,
	};
}

/* A new block with the bytes that are seen at the block's addresses. */
static int seal_copy(oc_span *sp, size_t i, const struct oc_key *key,
		     uint64_t timeout_ns)
{
	struct oc_grant w = written_as(sp, &sp->block[i]), g;
	struct slices from, to;
	uint64_t sum;
	int r;

	/* What the node makes room with may be asked of this space. */
	sp->block[i].held++;
	space_unlock(sp->s);
	r = oc_grant(sp->s->ns, key, sp->part, w.bytes, w.tokens, timeout_ns,
		     &g);
	space_lock(sp->s);
	sp->block[i].held--;
	if (r)
		return r;
	if (w.data && !(sp->block[i].flags & BLOCK_SEALING)) {
		from = grant_slices(&w);
		to = grant_slices(&g);
		sum = hash_slices_copy(&to, &from, w.bytes,
				       hash_part_seed(key->bytes, g.part.group,
						      g.part.rank));
		r = oc_seal(sp->s->ns, &g, &sum, timeout_ns);
	} else {
		to = grant_slices(&g);
		block_copy_out(sp, i, w.bytes, &to);
		r = oc_seal(sp->s->ns, &g, NULL, timeout_ns);
	}
	space_give_back(sp->s, &g); /* when it was not answered */
	return r;
}

/* A block's addresses as they were reserved. HALF when some of them are. */
static int pieces_absent(oc_span *sp, size_t i)
{
	int r = 0;

	for (uint32_t s = 0; s < sp->shape.slices && r == 0; s++) {
		r = space_make_absent(sp->s, block_at(sp, s, i),
				      sp->shape.piece_bytes);
		if (r && s)
			sp->block[i].flags |= BLOCK_HALF;
	}
	return r;
}

/* The frame itself: it was lent for that. Its writable addresses go first. */
static int seal_frame(oc_span *sp, size_t i, uint64_t timeout_ns)
{
	struct block *b = &sp->block[i];
	struct oc_grant g = *b->grant;
	struct oc_where where;
	int r = pieces_absent(sp, i);

	if (r)
		return r;
	r = oc_seal(sp->s->ns, &g, NULL, timeout_ns);
	if (r == -ETIMEDOUT) {
		b->flags |= BLOCK_HALF | BLOCK_SEALING; /* with a touch */
		return r;
	}
	/* the earlier seal, which nobody had answered */
	if (r == OC_STALE && b->flags & BLOCK_SEALING &&
	    oc_where(sp->s->ns, &g.key, sp->part, &where) == 0)
		r = OC_EXISTS;
	slab_put(sp->s, b->grant->region);
	free(b->grant);
	b->grant = NULL;
	b->state = OC_BLOCK_ABSENT;
	block_unflag(b, BLOCK_HALF | BLOCK_SEALING);
	return r;
}

/* Whatever it is that the space has written, as something that can be sealed. */
static int written(oc_span *sp, size_t i)
{
	struct block *b = &sp->block[i];

	block_wait(sp, i);
	if (b->state == OC_BLOCK_MAPPED && block_written(sp, i))
		block_own(sp, i);
	if (b->state != OC_BLOCK_OWN && b->state != OC_BLOCK_COPIED)
		return client_fail(sp->s->c, -EINVAL,
				   "block %zu was not written by this space",
				   i);
	if (b->held)
		return client_fail(sp->s->c, -EBUSY, "block %zu is held", i);
	return b->flags & BLOCK_HALF ? block_map_again(sp, i) : 0;
}

/* Is the frame all there is of what was written? */
static bool frame_is_all(const oc_span *sp, size_t i, const struct oc_key *key)
{
	const struct block *b = &sp->block[i];

	return b->state == OC_BLOCK_OWN && same_key(&b->grant->key, key) &&
	       !(b->flags & BLOCK_SEALING && block_written(sp, i));
}

/* Its coming is no bounce. */
static void block_is_given(struct block *b)
{
	block_unflag(b, BLOCK_WAS);
	b->flags |= BLOCK_GIVEN;
}

/* The block is a sealed key's from now on, and shows it; where writers take turns
 * its frame stays as well, for the next of them. */
static int given(oc_span *sp, size_t i, const struct oc_key *key, bool stays)
{
	int r = stays ? 0 : blocks_let_go(sp, i, 1);

	if (r)
		return r;
	sp->key[i] = *key;
	if (stays && !sp->gathered)
		decay_add(&sp->block[i].turns, space_ms());
	if (stays)
		return 0;
	block_is_given(&sp->block[i]);
	if (blocks_pin(sp, i, 1, 0) == 0)
		blocks_map(sp, i, 1); /* else with a touch */
	return 0;
}

static int seal_block(oc_span *sp, size_t i, const struct oc_key *key,
		      uint64_t timeout_ns)
{
	bool stays = sp->gathered;
	int r = written(sp, i), done;

	if (r)
		return r;
	if (frame_is_all(sp, i, key)) {
		r = seal_frame(sp, i, timeout_ns);
	} else {
		r = seal_copy(sp, i, key, timeout_ns);
		stays |= r == 0 && block_has_turns(sp, i) &&
			 sp->block[i].state == OC_BLOCK_OWN;
	}
	if (r != 0 && r != OC_EXISTS)
		return r;
	done = given(sp, i, key, stays);
	return done ? done : r;
}

int oc_span_seal(oc_span *sp, size_t i, const struct oc_key *key,
		 uint64_t timeout_ns)
{
	oc_space *s = sp->s;
	int r = space_usable(s);

	if (r)
		return r;
	space_lock(s);
	span_busy(sp);
	r = i < sp->n ? seal_block(sp, i, key, timeout_ns)
		      : client_fail(s->c, -EINVAL, "no block %zu", i);
	span_idle(sp);
	space_unlock(s);
	return r;
}

int oc_span_write_as(oc_span *sp, size_t i, const struct oc_key *key,
		     uint64_t timeout_ns)
{
	oc_space *s = sp->s;
	int r = space_usable(s);

	if (r)
		return r;
	space_lock(s);
	if (i >= sp->n)
		r = client_fail(s->c, -EINVAL, "no block %zu", i);
	else if (sp->gathered || sp->flags & OC_SPAN_READ_ONLY)
		r = client_fail(s->c, -EROFS, "a span that is not written");
	if (r == 0) {
		span_busy(sp);
		r = block_bring_as(sp, i, key,
				   client_deadline(s->c, timeout_ns));
		span_idle(sp);
	}
	space_unlock(s);
	return r;
}

int oc_span_replace(oc_span *sp, size_t i, const struct oc_key *key)
{
	oc_space *s = sp->s;
	int r = space_usable(s);

	if (r)
		return r;
	space_lock(s);
	span_busy(sp);
	if (i >= sp->n || sp->gathered)
		r = client_fail(s->c, -EINVAL, "no block %zu to replace", i);
	if (r == 0)
		block_wait(sp, i);
	if (r == 0 && sp->block[i].held)
		r = client_fail(s->c, -EBUSY, "block %zu is held", i);
	if (r == 0)
		r = blocks_let_go(sp, i, 1);
	if (r == 0) {
		/* pinned ahead, as it was */
		if (sp->block[i].pin.data)
			block_drop(sp, i);
		sp->key[i] = *key;
		block_is_given(&sp->block[i]);
	}
	span_idle(sp);
	space_unlock(s);
	return r;
}

/* ---- the session's tail ---- */

static int tail_check(oc_span *sp)
{
	oc_client *c = sp->s->c;

	if (sp->shape.gather || sp->flags & OC_SPAN_READ_ONLY)
		return client_fail(c, -EINVAL,
				   "a tail is shown where its frame can be "
				   "mapped, writable%s%s",
				   sp->shape.gather ? ": " : "",
				   sp->shape.gather ? sp->shape.gather : "");
	if (sp->n == sp->shape.capacity)
		return client_fail(c, -ENOSPC, "no room for a tail");
	return 0;
}

/* The lock is held. flags: BLOCK_SEALING, 0. */
static int tail_show(oc_span *sp, const struct oc_grant *g, unsigned flags)
{
	struct block *b = &sp->block[sp->n];
	struct oc_grant *own;
	int r = 0;

	if (b->state == OC_BLOCK_TAIL && b->grant->data == g->data &&
	    b->grant->generation == g->generation)
		return b->flags & BLOCK_HALF ? block_map_again(sp, sp->n) : 0;
	if (b->state == OC_BLOCK_TAIL) {
		/* another frame than before: sealed or dropped elsewhere */
		r = pieces_absent(sp, sp->n);
		if (r == 0)
			block_drop(sp, sp->n);
	} else {
		r = blocks_let_go(sp, sp->n, 1);
	}
	if (r == 0 && sp->shape.slices > 1 &&
	    !space_room(sp->s, 2 * (uint64_t)sp->shape.slices))
		r = client_fail(sp->s->c, -ENOSPC,
				"no mappings left for a tail");
	own = r ? NULL : mem_alloc(sizeof(*own));
	if (r == 0)
		r = own ? slab_get(sp->s, g->region) : -ENOMEM;
	if (r) {
		free(own);
		return r;
	}
	*own = *g;
	b->grant = own;
	b->state = OC_BLOCK_TAIL;
	b->flags |= (uint16_t)flags;
	r = block_map_frame(sp, sp->n);
	if (r && sp->shape.slices == 1)
		block_drop(sp, sp->n);
	else
		sp->s->maps += 2 * (uint64_t)sp->shape.slices;
	/* some of it is there, and the rest comes with the next call or touch */
	if (r && b->state == OC_BLOCK_TAIL)
		b->flags |= BLOCK_HALF;
	return r;
}

static struct tail_part *part_of(oc_session *session, struct oc_part part)
{
	return &session->part[(uint32_t)part.group * session->ns->spec.ranks +
			      part.rank];
}

static void tail_at(const oc_span *sp, struct oc_tail *tail)
{
	tail->data = block_at(sp, 0, sp->n);
	tail->stride = sp->shape.slices > 1
			       ? sp->shape.capacity * sp->shape.piece_bytes
			       : 0;
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
		r = tail_show(sp, &part_of(session, sp->part)->grant, 0);
	if (r == 0)
		tail_at(sp, &tail);
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
		r = pieces_absent(sp, sp->n);
	if (r == 0)
		block_drop(sp, sp->n);
	if (r == 0)
		r = oc_session_tail_seal(session, key, NULL, timeout_ns);
	if (r == 0) {
		sp->key[sp->n++] = *key;
		if (blocks_pin(sp, sp->n - 1, 1, 0) == 0)
			blocks_map(sp, sp->n - 1, 1); /* else with a touch */
	} else if (part_of(session, sp->part)->grant.data) {
		tail_show(sp, &part_of(session, sp->part)->grant,
			  r == -ETIMEDOUT ? BLOCK_SEALING : 0);
	}
	space_unlock(s);
	return r;
}

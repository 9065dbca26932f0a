/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that are a space's own: first writes, and what is gone for good.
 *
 * A first write gets a frame of this client, lent under a key that nobody has,
 * as a session's tail is. So it counts against the node's memory and this
 * client's quota, and can be sealed. Where the node lends none (full, refused,
 * not there) the copy lies in memory of the process.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include "base/hash.h"
#include "space/space.h"

#define KEY_TAG 0x65636170730000ull
#define TRIES	3 /* keys that somebody has in spite of all */

static void key_nobody_has(oc_space *s, struct oc_key *ret_key)
{
	uint64_t words[4] = { s->c->id, (uintptr_t)s, ++s->lent, KEY_TAG };

	words[3] = hash_bytes(words, sizeof(words), s->c->serial ^ clock_ns());
	memcpy(ret_key->bytes, words, sizeof(words));
}

/* as: the key that it will be sealed as; NULL: unknown. */
static int lend(oc_span *sp, const struct oc_key *as, uint64_t bytes,
		uint32_t tokens, struct oc_grant *ret_grant)
{
	int r = OC_EXISTS;

	if (as)
		return oc_grant(sp->s->ns, as, sp->part, bytes, tokens,
				sp->s->timeout_ns, ret_grant);
	for (int i = 0; i < TRIES && r == OC_EXISTS; i++) {
		struct oc_key key;

		key_nobody_has(sp->s, &key);
		r = oc_grant(sp->s->ns, &key, sp->part, bytes, tokens,
			     sp->s->timeout_ns, ret_grant);
	}
	return r;
}

int block_map_frame(oc_span *sp, size_t i)
{
	const struct shape *sh = &sp->shape;
	struct block *b = &sp->block[i];
	struct spot spot = block_spot(b);
	int r = 0;

	for (uint32_t s = 0; s < sh->slices && r == 0; s++) {
		uint64_t bytes = shape_pages(sh, &spot, s);
		char *at = block_at(sp, s, i);

		if (!bytes)
			break;
		r = space_map_at(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
				 sp->s->slab[spot.region].fd,
				 spot.offset + s * sh->from_stride);
		if (r == 0)
			space_not_in_child(at, bytes);
		sp->s->n.mmaps += r == 0;
	}
	return r;
}

/*
 * The write that waits for this copy has been noted by a thread sanitizer
 * already, although it has not been made: to it, the kernel orders nothing.
 */
#ifdef ONECOPY_TSAN
__attribute__((no_sanitize("thread"))) static void
copy_seen(void *to, const void *from, uint64_t bytes)
{
	/* else it becomes a memcpy(), which is looked at */
	const volatile char *f = from; /* words: not between threads */
	volatile char *t = to;	       /* words: not between threads */

	for (uint64_t i = 0; i < bytes; i++)
		t[i] = f[i];
}
#else
static void copy_seen(void *to, const void *from, uint64_t bytes)
{
	memcpy(to, from, bytes);
}
#endif

/* The block's bytes as they are seen at its addresses. */
static void copy_out(const oc_span *sp, size_t i, char *to)
{
	const struct shape *sh = &sp->shape;
	uint64_t bytes = sp->block[i].pin.bytes;

	for (uint32_t s = 0; s < sh->slices; s++) {
		uint64_t from = s * sh->from_stride;

		if (bytes > from)
			copy_seen(to + from, block_at(sp, s, i),
				  MIN(bytes - from, sh->piece_bytes));
	}
}

/* The pin and the descriptor behind what was shown until now. */
static void leave_shared(oc_space *s, struct oc_pin *pin)
{
	slab_put(s, pin->region);
	oc_unpin(s->ns, pin);
	s->n.pins--;
}

static int own_frame(oc_span *sp, size_t i, const struct oc_key *as)
{
	struct block *b = &sp->block[i];
	struct oc_pin shared = b->pin;
	struct oc_grant *g = mem_alloc(sizeof(*g));
	int fd, r = -ENOMEM;

	b->held++; /* it stays, whatever the node asks for meanwhile */
	if (g)
		r = lend(sp, as, shared.bytes, shared.tokens, g);
	b->held--;

	if (r)
		goto free_grant;
	r = slab_get(sp->s, g->region, &fd);
	if (r)
		goto abandon;
	copy_out(sp, i, g->data);
	b->grant = g;
	r = block_map_frame(sp, i);
	if (r && sp->shape.slices == 1)
		goto put_slab;
	if (r)
		b->flags |= BLOCK_HALF; /* some slices show the copy already */
	b->state = OC_BLOCK_OWN;
	b->pin = (struct oc_pin){ 0 };
	leave_shared(sp->s, &shared);
	return 0;
put_slab:
	b->grant = NULL;
	slab_put(sp->s, g->region);
abandon:
	oc_abandon(sp->s->ns, g, OC_NOWAIT);
free_grant:
	free(g);
	return r;
}

/* Memory of the process, put there in one step. */
static int own_piece(oc_span *sp, uint32_t s, size_t i)
{
	uint64_t bytes = sp->shape.piece_bytes;
	struct spot spot = block_spot(&sp->block[i]);
	char *at = block_at(sp, s, i);
	void *fresh = space_map_anywhere(bytes, PROT_READ | PROT_WRITE);
	int r;

	if (!fresh)
		return -ENOMEM;
	space_not_in_child(fresh, bytes);
	copy_seen(fresh, at, shape_pages(&sp->shape, &spot, s));
	r = space_move_at(fresh, at, bytes);
	if (r)
		munmap(fresh, bytes);
	return r;
}

int block_own_memory(oc_span *sp, size_t i)
{
	struct block *b = &sp->block[i];
	struct oc_pin shared = b->pin;

	for (uint32_t s = 0; s < sp->shape.slices; s++) {
		int r = own_piece(sp, s, i);

		/* Slices that were moved already are right, and stay. */
		if (r)
			return r;
	}
	sp->s->maps += 2 * sp->shape.slices;
	b->state = OC_BLOCK_COPIED;
	b->pin = (struct oc_pin){ 0 };
	leave_shared(sp->s, &shared);
	return 0;
}

int block_own(oc_span *sp, size_t i)
{
	struct block *b = &sp->block[i];
	uint64_t bytes = b->pin.bytes;
	int r;

	if (b->state != OC_BLOCK_MAPPED)
		return 0; /* nothing that others see */
	if (b->flags & BLOCK_HALF)
		return -EAGAIN;
	r = own_frame(sp, i, NULL);
	if (r == -EBUSY)
		return r;
	if (r)
		r = block_own_memory(sp, i);
	if (r == 0)
		sp->s->n.own_bytes += bytes;
	return r;
}

int block_own_as(oc_span *sp, size_t i, const struct oc_key *as)
{
	struct block *b = &sp->block[i];
	uint64_t bytes = b->pin.bytes;
	int r;

	if (b->state != OC_BLOCK_MAPPED || b->flags & BLOCK_HALF)
		return -EBUSY;
	r = own_frame(sp, i, as);
	if (r == 0)
		sp->s->n.own_bytes += bytes;
	return r;
}

/* ---- gone for good ---- */

int block_bus(oc_span *sp, size_t i)
{
	int r = 0;

	for (uint32_t s = 0; s < sp->shape.slices && r == 0; s++) {
		char *at = block_at(sp, s, i);

		r = space_map_at(at, sp->shape.piece_bytes,
				 PROT_READ | PROT_WRITE, MAP_PRIVATE,
				 sp->s->hole, 0);
		if (r == 0)
			space_not_in_child(at, sp->shape.piece_bytes);
	}
	/* SIGBUS in a part of it: lost, and the rest follows with a touch */
	sp->block[i].state = OC_BLOCK_BUS;
	sp->block[i].flags &= ~BLOCK_HALF;
	if (r)
		sp->block[i].flags |= BLOCK_HALF;
	sp->s->maps += 2 * sp->shape.slices;
	return 0;
}

static int lose_zero(oc_span *sp, size_t i)
{
	int r = block_fill(sp, i, NULL, 0);

	if (r == 0)
		sp->block[i].state = OC_BLOCK_ZERO;
	return r;
}

/* Into a frame, sealed: everybody has it again. Without the lock. */
static int compute_frame(oc_span *sp, size_t i, const struct oc_key *key)
{
	oc_space *s = sp->s;
	struct oc_grant g;
	int r = oc_grant(s->ns, key, sp->part, 0, 0, s->timeout_ns, &g);

	if (r)
		return r;
	r = sp->recompute(sp->ctx, key, i, g.data, g.bytes);
	if (r) {
		oc_abandon(s->ns, &g, OC_NOWAIT);
		return r < 0 ? r : -EIO;
	}
	r = oc_seal(s->ns, &g, NULL, s->timeout_ns);
	return r == OC_STALE ? -EAGAIN : r;
}

/* Into memory of the process: the node lends no frame. */
static int compute_memory(oc_span *sp, size_t i, const struct oc_key *key,
			  void **ret_data)
{
	uint64_t bytes = sp->shape.part_bytes;
	void *data = mem_alloc(bytes);
	int r;

	if (!data)
		return -ENOMEM;
	r = sp->recompute(sp->ctx, key, i, data, bytes);
	if (r) {
		free(data);
		return r < 0 ? r : -EIO;
	}
	*ret_data = data;
	return 0;
}

static int lose_call(oc_span *sp, size_t i)
{
	oc_space *s = sp->s;
	struct block *b = &sp->block[i];
	struct oc_key key = sp->key[i];
	void *data = NULL;
	int r;

	space_unlock(s);
	r = compute_frame(sp, i, &key);
	if (r < 0 && r != -EIO)
		r = compute_memory(sp, i, &key, &data);
	space_lock(s);
	if (r >= 0 && !data && b->state == OC_BLOCK_ABSENT) {
		r = blocks_pin(sp, i, 1);
		if (r == 0)
			r = blocks_map(sp, i, 1);
	} else if (r >= 0 && b->state == OC_BLOCK_ABSENT) {
		r = block_fill(sp, i, data, sp->shape.part_bytes);
		if (r == 0)
			b->state = OC_BLOCK_COPIED;
	}
	free(data);
	if (r >= 0 && b->state == OC_BLOCK_ABSENT)
		r = -EAGAIN; /* it was there, and left at once */
	sp->s->n.recomputed += r >= 0;
	return MIN(r, 0);
}

int block_lose(oc_span *sp, size_t i)
{
	int r;

	if (sp->lost == OC_LOST_CALL) {
		r = lose_call(sp, i);
		if (r == 0)
			return 0;
	}
	if (sp->block[i].state != OC_BLOCK_ABSENT)
		return 0;
	r = sp->lost == OC_LOST_ZERO ? lose_zero(sp, i) : block_bus(sp, i);
	return r ? r : OC_MISS;
}

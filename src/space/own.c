/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that are a space's own: first writes.
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
/* How long the node may take when the lock is held meanwhile. */
#define NOW_NS (20 * NS_PER_MS)

static void key_nobody_has(oc_space *s, struct oc_key *ret_key)
{
	uint64_t nth =
		atomic_fetch_add_explicit(&s->lent, 1, memory_order_relaxed);
	uint64_t words[4] = { s->c->id, (uintptr_t)s, nth, KEY_TAG };

	words[3] = hash_bytes(words, sizeof(words), s->c->serial ^ clock_ns());
	memcpy(ret_key->bytes, words, sizeof(words));
}

/* as: the key that it will be sealed as; NULL: unknown. */
static int lend(oc_span *sp, const struct oc_key *as, const struct oc_pin *of,
		uint64_t timeout_ns, struct oc_grant *ret_grant)
{
	int r = OC_EXISTS;

	if (as)
		return oc_grant(sp->s->ns, as, sp->part, of->bytes, of->tokens,
				timeout_ns, ret_grant);
	for (int i = 0; i < TRIES && r == OC_EXISTS; i++) {
		struct oc_key key;

		key_nobody_has(sp->s, &key);
		r = oc_grant(sp->s->ns, &key, sp->part, of->bytes, of->tokens,
			     timeout_ns, ret_grant);
	}
	return r;
}

/* ---- taken ---- */

void block_wait(oc_span *sp, size_t i)
{
	while (sp->block[i].flags & BLOCK_TAKEN)
		must(pthread_cond_wait(&sp->s->done, &sp->s->lock) == 0);
}

static void take(oc_span *sp, size_t i)
{
	sp->block[i].flags |= BLOCK_TAKEN;
	span_busy(sp);
}

/* Whoever touched it meanwhile looks again. */
static void untake(oc_span *sp, size_t i)
{
	block_unflag(&sp->block[i], BLOCK_TAKEN);
	blocks_wake(sp, i, 1);
	sp->busy--;
	pthread_cond_broadcast(&sp->s->done);
}

/* A frame and the descriptor of its slab. */
static int lend_patiently(oc_span *sp, size_t i, const struct oc_key *as,
			  struct oc_grant *ret_grant)
{
	oc_space *s = sp->s;
	struct oc_pin of = sp->block[i].pin;
	int r;

	space_unlock(s);
	r = lend(sp, as, &of, s->timeout_ns, ret_grant);
	space_lock(s);
	if (r)
		return r;
	r = slab_get_patiently(s, ret_grant->region);
	if (r)
		space_give_back(s, ret_grant);
	return r;
}

static int lend_now(oc_span *sp, size_t i, struct oc_grant *ret_grant)
{
	int r = lend(sp, NULL, &sp->block[i].pin,
		     MIN(client_span(sp->s->c, sp->s->timeout_ns), NOW_NS),
		     ret_grant);

	if (r)
		return r;
	r = slab_get(sp->s, ret_grant->region);
	if (r)
		space_give_back(sp->s, ret_grant);
	return r;
}

/* ---- frames ---- */

/* Without waiting for the answer: a request that the node gets late gives it
 * back late. After a seal that was not answered it may be sealed by then, and
 * the node says no. */
void space_give_back(oc_space *s, struct oc_grant *g)
{
	struct ring_call q;

	if (g->data && write_abandon_call(s->ns, g, &q) == 0)
		call_forget(s->c, &q, space_deadline(s));
	g->data = NULL;
}

int block_map_frame(oc_span *sp, size_t i)
{
	const struct shape *sh = &sp->shape;
	struct block *b = &sp->block[i];
	struct spot spot = block_spot(b);
	/* A frame that may be everybody's by now: writes stay here. */
	int how = b->flags & BLOCK_SEALING ? MAP_PRIVATE : MAP_SHARED;
	int r = 0;

	for (uint32_t s = 0; s < sh->slices && r == 0; s++) {
		uint64_t bytes = shape_pages(sh, &spot, s);
		char *at = block_at(sp, s, i);

		if (!bytes)
			break;
		r = space_map_at(at, bytes, PROT_READ | PROT_WRITE, how,
				 sp->s->slab[spot.region].fd,
				 shape_from(sh, &spot, s));
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

void block_copy_out(const oc_span *sp, size_t i, uint64_t bytes,
		    const struct slices *to)
{
	const struct shape *sh = &sp->shape;
	uint64_t run;

	for (uint32_t s = 0; s < sh->slices; s++) {
		uint64_t from = s * sh->from_stride;
		uint64_t n = bytes > from ? MIN(bytes - from, sh->piece_bytes)
					  : 0;

		for (uint64_t k = 0; k < n; k += run) {
			uint8_t *t = slices_at(to, from + k, n - k, &run);

			copy_seen(t, block_at(sp, s, i) + k, run);
		}
	}
}

void space_leave_shared(oc_space *s, struct oc_pin *pin)
{
	slab_put(s, pin->region);
	oc_unpin(s->ns, pin);
	s->n.pins--;
}

/* What was shown of the node's, or pinned to be. */
static void leave(oc_span *sp, size_t i, bool mapped)
{
	struct block *b = &sp->block[i];

	sp->s->n.ahead_used += (b->flags & BLOCK_KEPT) != 0;
	block_unflag(b, BLOCK_KEPT);
	if (mapped) {
		space_leave_shared(sp->s, &b->pin);
		return;
	}
	oc_unpin(sp->s->ns, &b->pin);
	sp->s->n.pins--;
}

/* A lent frame, its slab open, becomes the block's, with a copy. On a failure it
 * is still the caller's. */
static int own_frame(oc_span *sp, size_t i, struct oc_grant *g)
{
	struct block *b = &sp->block[i];
	bool mapped = b->state == OC_BLOCK_MAPPED;
	struct slices to = grant_slices(g), from;
	int r;

	if (mapped) {
		block_copy_out(sp, i, b->pin.bytes, &to);
	} else {
		from = pin_slices(sp->s->c, &b->pin);
		slices_copy(&to, &from, b->pin.bytes);
	}
	b->grant = g;
	r = block_map_frame(sp, i);
	if (r && sp->shape.slices == 1) {
		b->grant = NULL;
		return r;
	}
	b->state = OC_BLOCK_OWN;
	sp->s->maps += 2 * (uint64_t)sp->shape.slices;
	if (r)
		b->flags |= BLOCK_HALF;
	if (r && mapped) /* some slices still show what is pinned, which stays
			    so until the rest is mapped: block_map_again() */
		return 0;
	leave(sp, i, mapped);
	b->pin = (struct oc_pin){ 0 };
	return 0;
}

/* as: see lend(). now: the lock is not dropped. */
static int own_lent(oc_span *sp, size_t i, const struct oc_key *as, bool now)
{
	struct oc_grant *g = mem_alloc(sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	take(sp, i);
	r = now ? lend_now(sp, i, g) : lend_patiently(sp, i, as, g);
	if (r == 0) {
		r = own_frame(sp, i, g);
		if (r) {
			slab_put(sp->s, g->region);
			space_give_back(sp->s, g);
		}
	}
	untake(sp, i);
	if (r)
		free(g);
	return r;
}

/* n bytes of a pinned payload from `from` on, or what there is of them. */
static void copy_pinned(const oc_span *sp, size_t i, uint64_t from, uint64_t n,
			char *to)
{
	const struct oc_pin *pin = &sp->block[i].pin;
	struct slices data = pin_slices(sp->s->c, pin);
	uint64_t run;

	n = MIN(n, pin->bytes - from);
	for (uint64_t k = 0; k < n; k += run) {
		const uint8_t *f = slices_at(&data, from + k, n - k, &run);

		memcpy(to + k, f, run);
	}
}

/* Memory of the process, put there in one step. */
static int own_piece(oc_span *sp, uint32_t s, size_t i)
{
	const struct block *b = &sp->block[i];
	uint64_t bytes = sp->shape.piece_bytes;
	struct spot spot = block_spot(b);
	uint64_t n = shape_pages(&sp->shape, &spot, s);
	char *at = block_at(sp, s, i);
	void *fresh = space_map_anywhere(bytes, PROT_READ | PROT_WRITE);
	int r;

	if (!fresh)
		return -ENOMEM;
	space_not_in_child(fresh, bytes);
	if (b->state == OC_BLOCK_MAPPED)
		copy_seen(fresh, at, n);
	else if (n)
		copy_pinned(sp, i, s * sp->shape.from_stride, n, fresh);
	r = space_move_at(fresh, at, bytes);
	if (r)
		munmap(fresh, bytes);
	return r;
}

int block_own_memory(oc_span *sp, size_t i)
{
	struct block *b = &sp->block[i];
	bool mapped = b->state == OC_BLOCK_MAPPED;

	for (uint32_t s = 0; s < sp->shape.slices; s++) {
		int r = own_piece(sp, s, i);

		/* Slices that were moved already are right, and stay. */
		if (r && !mapped)
			b->flags |= BLOCK_HALF;
		if (r)
			return r;
	}
	sp->s->maps += 2 * sp->shape.slices;
	b->state = OC_BLOCK_COPIED;
	leave(sp, i, mapped);
	return 0;
}

/* The kernel copies the pages that are written, which needs no mapping more: all
 * that is left where there are none. Such pages are found: block_written(). */
static int own_pages(oc_span *sp, size_t i)
{
	struct spot spot = block_spot(&sp->block[i]);
	int r = span_armed(sp) ? 0 : -ENOMEM;

	for (uint32_t s = 0; s < sp->shape.slices && r == 0; s++)
		r = uffd_disarm(sp->s->uffd, block_at(sp, s, i),
				shape_pages(&sp->shape, &spot, s));
	return r;
}

/* Something that others have, and that can be copied. */
static bool can_own(const struct block *b)
{
	return b->state == OC_BLOCK_MAPPED ||
	       (b->state == OC_BLOCK_ABSENT && b->pin.data);
}

static void note_own(oc_span *sp, size_t i, uint64_t bytes)
{
	struct block *b = &sp->block[i];

	sp->s->n.own_bytes += bytes;
	if (b->flags & BLOCK_GIVEN)
		decay_add(&b->turns, space_ms());
	block_unflag(b, BLOCK_GIVEN);
}

static int own_anyhow(oc_span *sp, size_t i, bool now)
{
	struct block *b = &sp->block[i];
	uint64_t bytes = b->pin.bytes;
	int r;

	if (!can_own(b))
		return 0; /* nothing that others see */
	if (b->flags & BLOCK_HALF)
		return -EAGAIN;
	/* No mapping for a frame: a copy in the reserve takes none. */
	if (b->state == OC_BLOCK_ABSENT && sp->s->how == OC_SPACE_FAULTS &&
	    (sp->shape.gather ||
	     !space_room(sp->s, 2 * (uint64_t)sp->shape.slices)))
		return block_gather(sp, i);
	r = own_lent(sp, i, NULL, now);
	if (r)
		r = block_own_memory(sp, i);
	if (r && b->state == OC_BLOCK_MAPPED)
		return own_pages(sp, i);
	if (r == 0)
		note_own(sp, i, bytes);
	return r;
}

int block_own(oc_span *sp, size_t i)
{
	block_wait(sp, i);
	return own_anyhow(sp, i, false);
}

int block_own_now(oc_span *sp, size_t i)
{
	return own_anyhow(sp, i, true);
}

int block_own_as(oc_span *sp, size_t i, const struct oc_key *as)
{
	struct block *b = &sp->block[i];
	uint64_t bytes = b->pin.bytes;
	int r;

	if (!can_own(b) || b->flags & (BLOCK_HALF | BLOCK_TAKEN))
		return -EBUSY;
	r = own_lent(sp, i, as, false);
	if (r == 0)
		note_own(sp, i, bytes);
	return r;
}

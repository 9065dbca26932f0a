/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking blocks away from their addresses, and whose turn it is.
 *
 * Order: the addresses first, then what they showed. A pin is given back when
 * nobody can read its frame through the space any more.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "space/space.h"

void block_drop(oc_span *sp, size_t i)
{
	struct block *b = &sp->block[i];
	struct spot spot = block_spot(b);
	bool open = b->state == OC_BLOCK_MAPPED || b->state == OC_BLOCK_OWN ||
		    b->state == OC_BLOCK_TAIL;

	if (open)
		slab_put(sp->s, spot.region);
	if (b->grant && b->pin.data) /* HALF: the copy, and what it is of */
		slab_put(sp->s, b->pin.region);
	if (b->pin.data) {
		oc_unpin(sp->s->ns, &b->pin);
		sp->s->n.pins--;
	}
	/* a tail's frame is the session's */
	if (b->grant && b->state != OC_BLOCK_TAIL)
		space_give_back(sp->s, b->grant);
	free(b->grant);
	b->grant = NULL;
	b->state = OC_BLOCK_ABSENT;
	if (b->flags & BLOCK_MOVED)
		sp->s->moved -= sp->shape.part_bytes;
	block_unflag(b, BLOCK_HALF | BLOCK_KEPT | BLOCK_SEALING | BLOCK_MOVED |
				BLOCK_COUNTED);
}

int space_make_absent(oc_space *s, char *at, uint64_t bytes)
{
	void *fresh;
	int r;

	if (s->how == OC_SPACE_EXPLICIT) {
		r = space_map_at(at, bytes, PROT_NONE, MAP_PRIVATE, -1, 0);
		space_not_in_child(at, bytes);
		return r;
	}
	fresh = space_map_anywhere(bytes, PROT_READ | PROT_WRITE);
	if (!fresh)
		return -ENOMEM;
	space_not_in_child(fresh, bytes);
	r = uffd_register(s->uffd, fresh, bytes);
	if (r == 0)
		r = space_move_at(fresh, at, bytes);
	if (r)
		munmap(fresh, bytes);
	return r;
}

static int let_go_group(oc_span *sp, size_t a, size_t z)
{
	const struct shape *sh = &sp->shape;
	int r = 0;

	for (uint32_t s = 0; s < sh->slices && r == 0; s++)
		r = space_make_absent(sp->s, block_at(sp, s, a),
				      (z - a) * sh->piece_bytes);
	for (size_t i = a; i < z; i++) {
		struct block *b = &sp->block[i];

		if (r) {
			b->flags |= BLOCK_HALF;
			continue;
		}
		if (b->state == OC_BLOCK_MAPPED)
			b->flags |= BLOCK_WAS;
		b->let_go = (uint32_t)sp->s->n.let_go++;
		block_drop(sp, i);
	}
	return r;
}

static bool can_leave(const struct block *b)
{
	return (b->state != OC_BLOCK_ABSENT || b->flags & BLOCK_HALF) &&
	       b->state != OC_BLOCK_TAIL && !(b->flags & BLOCK_TAKEN);
}

int blocks_let_go(oc_span *sp, size_t first, size_t n)
{
	size_t end = first + n, stop;
	int r = 0;

	while (first < end && r == 0) {
		if (!can_leave(&sp->block[first])) {
			first++;
			continue;
		}
		for (stop = first; stop < end && can_leave(&sp->block[stop]);)
			stop++;
		r = let_go_group(sp, first, stop);
		first = stop;
	}
	return r;
}

int span_clear(oc_span *sp)
{
	int r = space_make_absent(sp->s, sp->base, sp->shape.bytes);

	if (r)
		return r;
	for (size_t i = 0; i < sp->shape.capacity; i++)
		block_drop(sp, i);
	return 0;
}

/* ---- written behind the arming ---- */

#define PAGE_IN_FILE (1ull << 61)
#define PAGE_SWAPPED (1ull << 62)
#define PAGE_PRESENT (1ull << 63)

static bool pages_written(int pagemap, const char *at, uint64_t bytes)
{
	uint64_t entry[128], pages = bytes / PAGE_BYTES;
	off_t where = (off_t)((uintptr_t)at / PAGE_BYTES * sizeof(entry[0]));

	while (pages) {
		size_t n = MIN(pages, (uint64_t)ARRAY_LEN(entry));
		ssize_t got =
			pread(pagemap, entry, n * sizeof(entry[0]), where);

		/* What cannot be known is taken for written. */
		if (got != (ssize_t)(n * sizeof(entry[0])))
			return true;
		for (size_t i = 0; i < n; i++)
			if (entry[i] & (PAGE_PRESENT | PAGE_SWAPPED) &&
			    !(entry[i] & PAGE_IN_FILE))
				return true;
		pages -= n;
		where += got;
	}
	return false;
}

bool block_written(const oc_span *sp, size_t i)
{
	struct spot spot = block_spot(&sp->block[i]);
	bool can = span_writable(sp) || sp->block[i].flags & BLOCK_SEALING;

	for (uint32_t s = 0; s < sp->shape.slices && can; s++)
		if (pages_written(sp->s->pagemap, block_at(sp, s, i),
				  shape_pages(&sp->shape, &spot, s)))
			return true;
	return false;
}

/* ---- whose turn it is ---- */

/* How readily blocks are given up, from round to round. */
enum urge { OLD_ONES, ANY_ONES, THRASHING_ONES };

/* Of what is held, the half that came last: being read just now, perhaps. Who reads
 * backwards is met by the hand at the newest block. */
static bool is_young(const oc_space *s, const struct block *b)
{
	return (uint32_t)s->n.mapped_blocks - b->came < s->n.pins / 2;
}

/* May this block go now? What was written becomes the space's own instead. */
static bool may_go(oc_span *sp, size_t i, enum urge urge)
{
	const struct block *b = &sp->block[i];

	if (b->state != OC_BLOCK_MAPPED || b->held ||
	    b->flags & (BLOCK_HALF | BLOCK_WANTED | BLOCK_TAKEN) ||
	    (urge == OLD_ONES && is_young(sp->s, b)) ||
	    (urge < THRASHING_ONES && b->bounces.n >= BOUNCES_MANY &&
	     decay_now(b->bounces, space_ms()) >= BOUNCES_MANY))
		return false;
	if (!block_written(sp, i))
		return true;
	block_own_now(sp, i);
	return false;
}

/* What was brought ahead and nobody has touched. */
static bool leave_kept(oc_span *sp, size_t i)
{
	if (!(sp->block[i].flags & BLOCK_KEPT) || sp->block[i].held ||
	    sp->block[i].flags & BLOCK_TAKEN ||
	    sp->block[i].state != OC_BLOCK_ABSENT)
		return false;
	block_drop(sp, i);
	sp->s->n.let_go++;
	return true;
}

static size_t span_make_room(oc_span *sp, size_t n, enum urge urge)
{
	size_t gone = 0, looked = 0;

	while (gone < n && looked < sp->n) {
		size_t a = sp->hand < sp->n ? sp->hand : 0, z = a;

		while (z < sp->n && z - a < n - gone && may_go(sp, z, urge))
			z++;
		if (z > a && let_go_group(sp, a, z) == 0)
			gone += z - a;
		else if (z == a && urge == THRASHING_ONES)
			gone += leave_kept(sp, a);
		looked += MAX(z - a, (size_t)1);
		sp->hand = MAX(z, a + 1);
	}
	return gone;
}

static size_t make_round(oc_space *s, size_t n, int rank, enum urge urge)
{
	size_t gone = 0;

	for (oc_span *sp = s->span; sp && gone < n; sp = sp->next)
		if (sp->rank == rank)
			gone += span_make_room(sp, n - gone, urge);
	return gone;
}

size_t space_make_room(oc_space *s, size_t n)
{
	size_t gone = 0;

	if (s->how == OC_SPACE_EXPLICIT)
		return 0;
	for (int rank = -1; rank <= 1 && gone < n; rank++)
		for (enum urge urge = 0; urge < THRASHING_ONES; urge++)
			gone += make_round(s, n - gone, rank, urge);
	for (int rank = -1; rank <= 1 && gone < n; rank++)
		gone += make_round(s, n - gone, rank, THRASHING_ONES);
	return gone;
}

/* ---- how many mappings ---- */

/* Do block i and the one before it lie in one mapping? */
static bool same_mapping(const oc_span *sp, uint32_t s, size_t i)
{
	struct spot a, b;

	if (sp->block[i].state != sp->block[i - 1].state)
		return false;
	if (sp->block[i].state != OC_BLOCK_MAPPED &&
	    sp->block[i].state != OC_BLOCK_OWN)
		return sp->block[i].state != OC_BLOCK_BUS;
	a = block_spot(&sp->block[i - 1]);
	b = block_spot(&sp->block[i]);
	return shape_joins(&sp->shape, &a, &b, s);
}

uint64_t span_count_maps(const oc_span *sp)
{
	uint32_t unlike = shape_unlike(&sp->shape);
	uint64_t n = 0;

	for (uint32_t s = 0; s < unlike && !sp->gathered; s++) {
		n++;
		for (size_t i = 1; i < sp->shape.capacity; i++)
			n += !same_mapping(sp, s, i);
	}
	return 1 + n * (sp->shape.slices / unlike);
}

uint64_t space_count_maps(const oc_space *s)
{
	uint64_t n = 1;

	for (const oc_span *sp = s->span; sp; sp = sp->next)
		n += span_count_maps(sp);
	return n;
}

bool space_room(oc_space *s, uint64_t runs)
{
	if (s->maps + runs <= s->n.mappings_limit)
		return true;
	s->maps = space_count_maps(s);
	if (s->maps + runs <= s->n.mappings_limit)
		return true;
	s->n.maps_full++;
	return false;
}

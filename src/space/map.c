/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting blocks at their addresses.
 *
 * What may be written is mapped, its pages are made present (afterwards each
 * would be a fault of its own: the kernel maps no neighbours of a page that is
 * registered), then it is registered and armed. A write before that goes into a
 * private page of the kernel's, and is found: space.h.
 */
#include <sys/mman.h>
#include "space/space.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define PIN_CHUNK 128u

/* ---- pins ---- */

static bool wants_pin(const struct block *b)
{
	return b->state == OC_BLOCK_ABSENT && !b->pin.data;
}

static int pin_chunk(oc_span *sp, size_t first, size_t n, unsigned flags)
{
	struct oc_pin pin[PIN_CHUNK];
	size_t pinned;
	/* a mapping needs the block's descriptor */
	int r = oc_pin_batch(sp->s->ns, sp->key + first, n, sp->part,
			     flags | PIN_HERE, pin, &pinned);

	if (r)
		return r;
	for (size_t i = 0; i < n; i++)
		if (pin[i].data && pin[i].bytes <= sp->shape.part_bytes) {
			sp->block[first + i].pin = pin[i];
			block_say(sp, first + i);
		} else if (pin[i].data) {
			oc_unpin(sp->s->ns, &pin[i]);
		}
	sp->s->n.pins += pinned;
	return 0;
}

int blocks_pin(oc_span *sp, size_t first, size_t n, unsigned flags)
{
	size_t end = first + n, stop;
	int r = 0;

	if (sp->flags & OC_SPAN_VERIFY)
		flags |= OC_PIN_VERIFY;
	if (span_revocable(sp) & PIN_MAPPED)
		flags |= PIN_BY_MAPPING;
	if (span_revocable(sp) & PIN_LOSABLE)
		flags |= PIN_BY_LOSER;

	while (first < end && r == 0) {
		if (!wants_pin(&sp->block[first])) {
			first++;
			continue;
		}
		for (stop = first + 1; stop < end && stop - first < PIN_CHUNK &&
				       wants_pin(&sp->block[stop]);)
			stop++;
		r = pin_chunk(sp, first, stop - first, flags);
		first = stop;
	}
	return r;
}

void blocks_unpin(oc_span *sp, size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++) {
		struct block *b = &sp->block[i];

		if (b->state != OC_BLOCK_ABSENT || !b->pin.data ||
		    b->flags & (BLOCK_KEPT | BLOCK_TAKEN))
			continue;
		oc_unpin(sp->s->ns, &b->pin);
		sp->s->n.pins--;
	}
}

/* ---- mappings ---- */

/* One mapping: slice `s` of blocks [a, z), which join. */
static int map_run(oc_span *sp, uint32_t s, size_t a, size_t z)
{
	const struct shape *sh = &sp->shape;
	struct spot first = block_spot(&sp->block[a]);
	struct spot last = block_spot(&sp->block[z - 1]);
	uint64_t bytes =
		(z - 1 - a) * sh->piece_bytes + shape_pages(sh, &last, s);
	char *at = block_at(sp, s, a);
	int r = space_map_at(at, bytes,
			     PROT_READ | (span_writable(sp) ? PROT_WRITE : 0),
			     MAP_PRIVATE, sp->s->slab[first.region].fd,
			     shape_from(sh, &first, s));

	if (r)
		return r;
	sp->s->n.mmaps++;
	/* Arming takes a page of 2 MiB apart, and leaves it unmapped. */
	if (span_armed(sp) && bytes >= SEGMENT_HUGE_BYTES)
		madvise(at, bytes, MADV_NOHUGEPAGE);
	return 0;
}

/* Where runs end, of parts in stripes: the same in all slices, so it is looked at
 * once. n 0: not known. */
#define ENDS_MOST 256u
struct ends {
	size_t n, end[ENDS_MOST];
};

static void find_ends(const oc_span *sp, size_t a, size_t z, struct ends *ret)
{
	ret->n = 0;
	if (!sp->shape.striped)
		return;
	for (size_t i = a; i < z; i++) {
		struct spot here = block_spot(&sp->block[i]), next = { 0 };

		if (i + 1 < z)
			next = block_spot(&sp->block[i + 1]);
		if (shape_joins(&sp->shape, &here, &next, 0))
			continue;
		if (ret->n == ENDS_MOST) {
			ret->n = 0;
			return;
		}
		ret->end[ret->n++] = i + 1;
	}
}

static int map_known(oc_span *sp, uint32_t s, size_t a, const struct ends *ends,
		     size_t *ret_end)
{
	int r = 0;

	for (size_t k = 0; k < ends->n && r == 0; k++) {
		r = map_run(sp, s, a, ends->end[k]);
		if (r == 0)
			a = ends->end[k];
	}
	*ret_end = a;
	return r;
}

/* Slice `s` of blocks [a, z): a mapping for each run. *ret_gaps: not all of the
 * addresses are mapped then. *ret_end: up to here they are, also on a failure. */
static int map_runs(oc_span *sp, uint32_t s, size_t a, size_t z, bool *ret_gaps,
		    size_t *ret_end)
{
	const struct shape *sh = &sp->shape;
	struct spot here = block_spot(&sp->block[a]), next;
	size_t from = a;
	int r = 0;

	for (size_t i = a; i < z && r == 0; i++, here = next) {
		next = i + 1 < z ? block_spot(&sp->block[i + 1])
				 : (struct spot){ 0 };
		if (shape_joins(sh, &here, &next, s))
			continue;
		*ret_gaps |= shape_pages(sh, &here, s) != sh->piece_bytes;
		if (shape_pages(sh, &here, s))
			r = map_run(sp, s, from, i + 1);
		if (r == 0)
			from = i + 1;
	}
	*ret_end = from;
	return r;
}

/* Makes pages present: as far as there are mappings without a gap at a time. */
static void populate(oc_span *sp, uint32_t s, size_t a, size_t z)
{
	const struct shape *sh = &sp->shape;

	while (a < z) {
		uint64_t bytes = 0, got = sh->piece_bytes;
		char *at = block_at(sp, s, a);

		for (; a < z && got == sh->piece_bytes; a++) {
			struct spot spot = block_spot(&sp->block[a]);

			got = shape_pages(sh, &spot, s);
			bytes += got;
		}
		if (bytes)
			madvise(at, bytes, MADV_POPULATE_READ); /* a wish */
	}
}

static int arm_row(oc_span *sp, uint32_t s, size_t a, size_t z, bool gaps)
{
	uint64_t bytes = (z - a) * sp->shape.piece_bytes;
	char *at = block_at(sp, s, a);
	int r;

	/* A single page comes with the fault that is under way. Armed and not
	 * present it could not be told from one that was written and swapped out. */
	if (gaps)
		populate(sp, s, a, z);
	else if (bytes > PAGE_BYTES || !sp->s->in_fault || sp->shape.slices > 1)
		madvise(at, bytes, MADV_POPULATE_READ); /* a wish */
	r = uffd_register(sp->s->uffd, at, bytes);
	return r ? r : uffd_arm(sp->s->uffd, at, bytes);
}

/* Slice `s` of blocks [a, z), all pinned. *ret_end: up to here it was done, also
 * on a failure; the rest is as it was. */
static int map_row(oc_span *sp, uint32_t s, size_t a, size_t z,
		   const struct ends *ends, size_t *ret_end)
{
	bool gaps = false;
	int armed = 0, r;

	r = ends->n ? map_known(sp, s, a, ends, ret_end)
		    : map_runs(sp, s, a, z, &gaps, ret_end);

	if (*ret_end == a)
		return r;
	space_not_in_child(block_at(sp, s, a),
			   (*ret_end - a) * sp->shape.piece_bytes);
	if (span_armed(sp))
		armed = arm_row(sp, s, a, *ret_end, gaps);
	if (armed)
		*ret_end = a;
	return armed ? armed : r;
}

static uint64_t runs_of(const oc_span *sp, size_t a, size_t z)
{
	uint32_t unlike = shape_unlike(&sp->shape);
	uint64_t runs = 0;

	for (uint32_t s = 0; s < unlike; s++) {
		struct spot before = { 0 };

		for (size_t i = a; i < z; i++) {
			struct spot here = block_spot(&sp->block[i]);

			runs += !shape_joins(&sp->shape, &before, &here, s);
			before = here;
		}
	}
	return runs * (sp->shape.slices / unlike);
}

/* What n mappings of a row add: without gaps between them, themselves and one for
 * each row that is cut in two; with gaps, each may cut something. */
static uint64_t maps_added(const oc_span *sp, uint64_t n)
{
	return sp->shape.striped ? n + sp->shape.slices : 2 * n;
}

uint64_t blocks_maps(const oc_span *sp, size_t a, size_t z)
{
	return maps_added(sp, runs_of(sp, a, z));
}

/* On a failure the first *ret_end - a blocks are mapped; *ret_half: and some of
 * the rest, in some slices. */
static int map_rows(oc_span *sp, size_t a, size_t z, size_t *ret_end,
		    bool *ret_half)
{
	struct ends ends;
	int r = 0;

	find_ends(sp, a, z, &ends);
	*ret_end = z;
	*ret_half = false;
	for (uint32_t s = 0; s < sp->shape.slices && r == 0; s++) {
		uint64_t mmaps = sp->s->n.mmaps;
		size_t end;

		r = map_row(sp, s, a, z, &ends, &end);
		if (r == 0)
			continue;
		/* arming failed; or other slices have been mapped */
		*ret_half = s || (end == a && sp->s->n.mmaps > mmaps);
		*ret_end = *ret_half ? a : end;
	}
	return r;
}

/* It came back before the space had let go of as many others as it holds: with a
 * little more room it had never left. */
static void note_mapped(oc_span *sp, struct block *b)
{
	struct oc_space_report *n = &sp->s->n;

	b->came = (uint32_t)n->mapped_blocks++;
	if (!(b->flags & BLOCK_WAS))
		return;
	n->returned++;
	if ((uint32_t)n->let_go - b->let_go <= n->pins)
		decay_add(&b->bounces, space_ms());
}

/* Blocks [a, z), all ABSENT and pinned, their descriptors open. On a failure some
 * are HALF, or still ABSENT. */
static int map_group(oc_span *sp, size_t a, size_t z)
{
	uint64_t mmaps = sp->s->n.mmaps;
	size_t end;
	bool half;
	int r;

	/* Before the first of them can be touched. */
	for (size_t i = a; i < z; i++) {
		sp->block[i].state = OC_BLOCK_MAPPED;
		sp->s->n.ahead_used += (sp->block[i].flags & BLOCK_KEPT) != 0;
		block_unflag(&sp->block[i], BLOCK_KEPT);
	}
	r = map_rows(sp, a, z, &end, &half);
	/* in the order in which they will be read */
	for (size_t k = 0; k < end - a; k++)
		note_mapped(
			sp,
			&sp->block[sp->walk.goes < 0 ? end - 1 - k : a + k]);
	for (size_t i = end; i < z; i++)
		if (half) {
			sp->block[i].flags |= BLOCK_HALF;
		} else {
			sp->block[i].state = OC_BLOCK_ABSENT;
			slab_put(sp->s, sp->block[i].pin.region);
		}
	sp->s->maps += maps_added(sp, sp->s->n.mmaps - mmaps);
	return r;
}

/* A device's memory cannot be mapped private, as a first write needs it: such a
 * block is copied. */
static bool is_copied(const oc_span *sp, size_t i)
{
	return sp->s->c->info[sp->block[i].pin.region].kind == SEGMENT_DAX;
}

/* Runs are counted where it matters; what is to be gathered has none. */
static bool group_has_room(const oc_span *sp, size_t a, size_t z)
{
	uint64_t most = 2 * (uint64_t)sp->shape.slices * (z - a);

	if (sp->shape.gather || is_copied(sp, a))
		return false;
	return sp->s->maps + most <= sp->s->n.mappings_limit ||
	       space_room(sp->s, blocks_maps(sp, a, z));
}

/* What is HALF has pages of something else: it leaves first. */
static bool can_map(const struct block *b)
{
	return b->state == OC_BLOCK_ABSENT && b->pin.data &&
	       !(b->flags & (BLOCK_HALF | BLOCK_TAKEN));
}

static int gather_group(oc_span *sp, size_t a, size_t z)
{
	int r = 0;

	/* Each copy would be a mapping of its own. */
	if (sp->s->how == OC_SPACE_EXPLICIT && !is_copied(sp, a)) {
		blocks_unpin(sp, a, z - a);
		return 0;
	}
	for (size_t i = a; i < z && r == 0; i++)
		if (can_map(&sp->block[i]))
			r = block_gather(sp, i);
	return r;
}

/* The next blocks in [first, end) that can be mapped, or are copied, all of them:
 * [*ret_a, *ret_z). */
static bool next_group(const oc_span *sp, size_t first, size_t end,
		       size_t *ret_a, size_t *ret_z)
{
	size_t a = first, z;

	while (a < end && !can_map(&sp->block[a]))
		a++;
	for (z = a; z < end && can_map(&sp->block[z]) &&
		    is_copied(sp, z) == is_copied(sp, a);)
		z++;
	*ret_a = a;
	*ret_z = z;
	return a < z;
}

static int get_slabs(oc_span *sp, size_t a, size_t z)
{
	int r;

	for (size_t i = a; i < z; i++) {
		r = slab_get(sp->s, sp->block[i].pin.region);
		while (r && i-- > a)
			slab_put(sp->s, sp->block[i].pin.region);
		if (r)
			return r;
	}
	return 0;
}

int blocks_map(oc_span *sp, size_t first, size_t n)
{
	size_t a = first, z, end = first + n;
	int r = 0;

	while (r == 0 && next_group(sp, a, end, &a, &z)) {
		r = group_has_room(sp, a, z) ? get_slabs(sp, a, z) : OC_BUSY;
		if (r == 0)
			r = map_group(sp, a, z);
		else if (r == OC_BUSY || sp->s->how == OC_SPACE_FAULTS)
			r = gather_group(sp, a, z);
		/* The kernel has none left, whatever the limit says. */
		if (r == -ENOMEM && sp->s->how == OC_SPACE_FAULTS) {
			sp->s->n.maps_refused++;
			r = gather_group(sp, a, z);
		}
		a = z;
	}
	return r;
}

/* ---- with descriptors that are not open yet ---- */

/* Slabs that are kept open, with a pin in each: a block's own may be given back
 * while the lock is dropped. */
#define KEPT_SLABS 32u
struct kept_slabs {
	size_t n;
	struct oc_pin pin[KEPT_SLABS];
};

static bool is_closed(const oc_span *sp, size_t i)
{
	const struct block *b = &sp->block[i];

	return can_map(b) && !slab_is_open(sp->s, b->pin.region);
}

static int keep_slab(oc_span *sp, size_t i, struct kept_slabs *kept)
{
	struct oc_key key = sp->key[i];
	struct oc_pin *mine = &kept->pin[kept->n];
	int r = oc_pin(sp->s->ns, &key, sp->part, OC_PIN_NO_TOUCH | PIN_HERE,
		       mine);

	if (r)
		return 0; /* no pin left: get_slabs() asks, with the lock */
	r = slab_get_patiently(sp->s, mine->region);
	if (r)
		oc_unpin(sp->s->ns, mine);
	kept->n += r == 0;
	return r;
}

static int keep_slabs(oc_span *sp, size_t first, size_t n,
		      struct kept_slabs *kept)
{
	int r = 0;

	for (size_t i = first; i < first + n && r == 0; i++)
		if (kept->n < KEPT_SLABS && is_closed(sp, i))
			r = keep_slab(sp, i, kept);
	return r;
}

int blocks_map_patiently(oc_span *sp, size_t first, size_t n)
{
	struct kept_slabs kept;
	int r;

	kept.n = 0;
	r = keep_slabs(sp, first, n, &kept);
	/* The node does not answer: not asked again while everybody waits. */
	for (size_t i = first; i < first + n && r; i++)
		if (is_closed(sp, i) && sp->s->how == OC_SPACE_FAULTS)
			block_gather(sp, i);
	r = blocks_map(sp, first, n);
	for (size_t k = 0; k < kept.n; k++) {
		slab_put(sp->s, kept.pin[k].region);
		oc_unpin(sp->s->ns, &kept.pin[k]);
	}
	return r;
}

int block_map_again(oc_span *sp, size_t i)
{
	struct block *b = &sp->block[i];
	size_t end;
	bool half;
	int r;

	if (b->state == OC_BLOCK_BUS)
		return block_bus(sp, i);
	if (b->grant)
		r = block_map_frame(sp, i);
	else
		r = b->state == OC_BLOCK_MAPPED
			    ? map_rows(sp, i, i + 1, &end, &half)
			    : -EAGAIN;
	if (r)
		return r;
	block_unflag(b, BLOCK_HALF);
	if (b->grant && b->pin.data) {
		space_leave_shared(sp->s, &b->pin);
		b->pin = (struct oc_pin){ 0 };
	}
	return 0;
}

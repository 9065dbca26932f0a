/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks as copies in memory of the process: what cannot be mapped, what has been
 * computed without a frame, zeros for what is gone, and what thrashes.
 *
 * Sealed blocks do not change, so a copy is never old. In a space with faults it
 * takes pages of the reserve and no mapping.
 */
#include <sys/mman.h>
#include "space/space.h"

/* Some bytes of a payload. */
struct stuff {
	const struct slices *data;
	uint64_t from, n;
};

static int fill_run(const oc_space *s, char *at, const uint8_t *from,
		    uint64_t n)
{
	uint64_t whole = n & ~(PAGE_BYTES - 1);
	_Alignas(PAGE_BYTES) char page[PAGE_BYTES] = { 0 };
	int r = 0;

	if (s->how == OC_SPACE_EXPLICIT) {
		memcpy(at, from, n);
		return 0;
	}
	if (whole)
		r = uffd_copy(s->uffd, at, from, whole);
	if (r == 0 && n > whole) {
		memcpy(page, from + whole, n - whole);
		r = uffd_copy(s->uffd, at + whole, page, PAGE_BYTES);
	}
	return r;
}

static int fill_piece(const oc_space *s, char *at, uint64_t bytes,
		      const struct stuff *with)
{
	uint64_t whole = ALIGN_UP(with->n, PAGE_BYTES), run;
	int r = 0;

	if (s->how == OC_SPACE_EXPLICIT)
		r = space_map_at(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE,
				 -1, 0);
	for (uint64_t k = 0; k < with->n && r == 0; k += run) {
		const uint8_t *from = slices_at(with->data, with->from + k,
						with->n - k, &run);

		r = fill_run(s, at + k, from, run);
	}
	if (r == 0 && s->how == OC_SPACE_FAULTS && bytes > whole)
		r = uffd_zero(s->uffd, at + whole, bytes - whole);
	return r;
}

int block_fill(oc_span *sp, size_t i, const struct slices *data, uint64_t bytes,
	       enum oc_block_state state)
{
	const struct shape *sh = &sp->shape;
	struct block *b = &sp->block[i];
	int r = 0;

	for (uint32_t s = 0; s < sh->slices && r == 0; s++) {
		uint64_t from = s * sh->from_stride;
		struct stuff with = { .data = data, .from = from };

		if (data && bytes > from)
			with.n = MIN(bytes - from, sh->piece_bytes);
		r = fill_piece(sp->s, block_at(sp, s, i), sh->piece_bytes,
			       &with);
		if (sp->s->how == OC_SPACE_EXPLICIT)
			space_not_in_child(block_at(sp, s, i), sh->piece_bytes);
	}
	/* Also after a failure: some of it can be read already. */
	b->state = (uint8_t)state;
	if (r)
		b->flags |= BLOCK_HALF;
	return r;
}

int block_gather(oc_span *sp, size_t i)
{
	struct block *b = &sp->block[i];
	struct slices data = pin_slices(sp->s->c, &b->pin);
	int r = block_fill(sp, i, &data, b->pin.bytes, OC_BLOCK_COPIED);

	block_unflag(b, BLOCK_KEPT);
	sp->s->n.gathered_bytes += r ? 0 : b->pin.bytes;
	oc_unpin(sp->s->ns, &b->pin);
	sp->s->n.pins--;
	return r;
}

/* ---- what thrashes ---- */

bool block_wants_move(const oc_span *sp, size_t i)
{
	const struct block *b = &sp->block[i];
	const oc_space *s = sp->s;

	return b->bounces.n >= BOUNCES_MANY && s->how == OC_SPACE_FAULTS &&
	       s->moved + sp->shape.part_bytes <= s->moved_most &&
	       decay_now(b->bounces, space_ms()) >= BOUNCES_MANY;
}

bool block_has_turns(const oc_span *sp, size_t i)
{
	const struct block *b = &sp->block[i];

	return b->turns.n >= BOUNCES_MANY && span_armed(sp) &&
	       decay_now(b->turns, space_ms()) >= BOUNCES_MANY;
}

void blocks_move(oc_span *sp, size_t first, size_t n)
{
	oc_space *s = sp->s;

	for (size_t i = first; i < first + n; i++) {
		struct block *b = &sp->block[i];
		uint64_t bytes = b->pin.bytes;

		if (b->state != OC_BLOCK_ABSENT || !b->pin.data ||
		    b->flags & (BLOCK_HALF | BLOCK_TAKEN) ||
		    !block_wants_move(sp, i) || block_gather(sp, i))
			continue;
		s->n.gathered_bytes -= bytes;
		s->n.moves++;
		s->n.move_bytes += bytes;
		s->moved += sp->shape.part_bytes;
		b->flags |= BLOCK_MOVED;
	}
}

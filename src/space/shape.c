/* SPDX-License-Identifier: Apache-2.0 */
/* Where pieces of blocks lie. Pure. */
#include "space/space.h"

static int slices_of(const struct ns_spec *spec, unsigned group,
		     struct shape *sh)
{
	uint64_t stride = sh->striped ? 0 : spec->group[group].stride;
	uint64_t bytes = spec->group[group].slice_bytes;

	if (!spec->group[group].slices)
		return -EINVAL; /* parts of any size have no slices */
	sh->slices = (uint32_t)spec->group[group].slices;
	sh->piece_bytes = bytes;
	sh->from_stride = stride ? stride : bytes;
	if (sh->slices > 1 &&
	    (bytes % PAGE_BYTES || sh->from_stride % PAGE_BYTES))
		sh->gather = "a slice is not whole pages";
	else if (sh->slices == 1)
		sh->piece_bytes = ALIGN_UP(bytes, PAGE_BYTES);
	return 0;
}

int shape_of(const struct ns_spec *spec, unsigned group, enum oc_layout layout,
	     size_t capacity, struct shape *ret_shape)
{
	struct shape sh = { .part_bytes = ns_spec_part_bytes(spec, group),
			    .slices = 1,
			    .striped = ns_spec_stripes(spec, group),
			    .capacity = capacity };
	uint64_t pieces;
	int r = 0;

	sh.piece_bytes = ALIGN_UP(sh.part_bytes, PAGE_BYTES);
	sh.from_stride = sh.piece_bytes;
	if (layout == OC_LAYOUT_SLICES)
		r = slices_of(spec, group, &sh);
	else if (sh.striped && spec->group[group].slices > 1)
		sh.gather = "its slabs are striped slice by slice";
	if (r)
		return r;
	if (__builtin_mul_overflow(capacity, (uint64_t)sh.slices, &pieces) ||
	    __builtin_mul_overflow(pieces, sh.piece_bytes, &sh.bytes) ||
	    sh.bytes > INT64_MAX)
		return -ENOSPC;
	sh.bytes = ALIGN_UP(sh.bytes, PAGE_BYTES);
	*ret_shape = sh;
	return 0;
}

uint64_t shape_pages(const struct shape *sh, const struct spot *spot,
		     uint32_t slice)
{
	uint64_t before = slice * sh->from_stride;

	if (spot->bytes <= before)
		return 0;
	return MIN(ALIGN_UP(spot->bytes - before, PAGE_BYTES), sh->piece_bytes);
}

bool shape_joins(const struct shape *sh, const struct spot *a,
		 const struct spot *b, uint32_t slice)
{
	return a->region && a->region == b->region &&
	       b->offset == a->offset + sh->piece_bytes &&
	       shape_pages(sh, a, slice) == sh->piece_bytes &&
	       shape_pages(sh, b, slice) > 0;
}

uint64_t shape_runs(const struct shape *sh, const struct spot *spots, size_t n)
{
	uint32_t unlike = shape_unlike(sh);
	uint64_t runs = 0;

	for (uint32_t s = 0; s < unlike; s++)
		for (size_t i = 0; i < n; i++)
			runs += shape_pages(sh, &spots[i], s) > 0 &&
				!(i &&
				  shape_joins(sh, &spots[i - 1], &spots[i], s));
	return runs * (sh->slices / unlike);
}

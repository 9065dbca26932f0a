/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces of a pool: opened by identity, never removed. */
#include <errno.h>
#include "pool/shape.h"
#include "store/internal.h"

const struct ns_record *ns_find(const struct pool *p, uint32_t id)
{
	const struct ns_record *r;

	if (!id || id > LAYOUT_NS_MAX)
		return NULL;
	r = &p->m->ns[id - 1];
	return shared_load64(&r->id) == id ? r : NULL;
}

struct ns_parts ns_parts_of(const struct pool *p, uint32_t id)
{
	return ns_record_parts(ns_find(p, id));
}

int64_t store_ns_open(struct pool *p, const struct ns_spec *spec)
{
	uint8_t digest[32];
	uint64_t words[4], have[4];
	int r = ns_spec_check(spec);

	if (r < 0)
		return r;
	for (unsigned g = 0; g < spec->groups; g++)
		if (ns_spec_part_bytes(spec, g) >
		    shared_load64(&p->m->header.max_frame))
			return -E2BIG;
	r = ns_spec_digest(spec, digest);
	if (r < 0)
		return r;
	memcpy(words, digest, sizeof(words));
	for (uint32_t i = 0; i < LAYOUT_NS_MAX; i++) {
		struct ns_record *rec = &p->m->ns[i];

		if (!shared_load64(&rec->id)) {
			if (ns_spec_is_striped(spec))
				layout_feature(p->m, LAYOUT_INCOMPAT_STRIPES);
			ns_record_store(rec, i + 1, spec, digest);
			return i + 1;
		}
		shared_load_words(have, rec->digest, 4);
		if (!memcmp(have, words, sizeof(have)))
			return i + 1;
	}
	return -ENOSPC;
}

/* What its record says: decoded and checked once, and not at each grant and
 * seal, of whose time that was an eighth. */
static const struct ns_spec *ns_spec_of(struct pool *p, uint32_t id)
{
	struct pool_ns *kept = &p->ns[id % POOL_NS_KEPT];
	const struct ns_record *rec;

	if (likely(id && kept->id == id))
		return &kept->spec;
	rec = ns_find(p, id);
	kept->id = 0;
	if (!rec || !ns_record_load(rec, &kept->spec))
		return NULL;
	kept->id = id;
	return &kept->spec;
}

int ns_part_check(struct pool *p, uint64_t part, uint64_t extent,
		  uint64_t *ret_extent, struct pool_shape *ret_shape)
{
	const struct ns_spec *spec = ns_spec_of(p, frame_part_ns(part));
	uint64_t bytes = frame_extent_bytes(extent), whole;
	uint32_t tokens = frame_extent_tokens(extent), stripes;
	unsigned g = frame_part_group(part);

	if (!spec || g >= spec->groups ||
	    frame_part_rank(part) >= spec->ranks ||
	    tokens >= spec->block_tokens)
		return -EINVAL;
	whole = ns_spec_part_bytes(spec, g);
	if (!bytes && spec->group[g].slices)
		bytes = whole;
	if (bytes > whole || bytes > shared_load64(&p->m->header.max_frame))
		return -E2BIG;
	stripes = ns_spec_stripes(spec, g);
	/* its last slices would be where others' are */
	if (stripes && bytes != whole)
		return -EINVAL;
	*ret_extent = frame_extent((uint32_t)bytes, tokens);
	ret_shape->stripes = stripes;
	ret_shape->frame_bytes = bytes == whole && spec->group[g].slices
					 ? shape_exact(bytes)
					 : shape_class(bytes);
	if (ret_shape->frame_bytes > shared_load64(&p->m->header.max_frame))
		ret_shape->frame_bytes = shape_exact(bytes);
	return 0;
}

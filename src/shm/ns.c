/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces: what a valid description is, its identity, its record. Specs
 * come from clients' memory: nothing is believed before ns_spec_check().
 */
#include "shm/layout.h"
#include "base/hash.h"
#include <errno.h>

typedef __typeof__(((struct ns_spec *)0)->group[0]) ns_spec_group;

static const char digest_name[] = "onecopy namespace 1"; /* with its zero */

/* Bytes hashed for the identity: name, fields, groups. */
#define DIGEST_MAX (sizeof(digest_name) + 72 + MATCH_GROUPS_MAX * 32)

static bool label_ok(const char label[LAYOUT_NAME])
{
	size_t n = 0;

	while (n < LAYOUT_NAME && label[n] >= 0x20 && label[n] < 0x7f)
		n++;
	return n < LAYOUT_NAME && !label[n];
}

/* False when it does not fit a part; the products cannot overflow because
 * every factor was bounded first. */
static bool size_ok(uint64_t slices, uint64_t slice_bytes, uint64_t stride)
{
	bool striped = stride == NS_STRIDE_SLAB;
	uint64_t step = stride && !striped ? stride : slice_bytes;

	if (!slice_bytes || slice_bytes > LAYOUT_PART_MAX)
		return false;
	if (!slices)
		return !stride;
	/* each slice is mapped for itself */
	if (striped &&
	    (slice_bytes % PAGE_BYTES || slices > LAYOUT_STRIPES_MAX))
		return false;
	if (step < slice_bytes || step > LAYOUT_PART_MAX ||
	    slices > LAYOUT_PART_MAX)
		return false;
	return (unsigned __int128)(slices - 1) * step + slice_bytes <=
	       LAYOUT_PART_MAX;
}

static bool group_ok(const struct ns_spec *spec, unsigned g)
{
	if (spec->group[g].rule > MATCH_STATE)
		return false;
	if ((spec->group[g].rule == MATCH_WINDOW) !=
	    (spec->group[g].window_tokens != 0))
		return false;
	return size_ok(spec->group[g].slices, spec->group[g].slice_bytes,
		       spec->group[g].stride);
}

static bool group_unused(const struct ns_spec *spec, unsigned g)
{
	static const ns_spec_group none;

	return memcmp(&spec->group[g], &none, sizeof(none)) == 0;
}

int ns_spec_check(const struct ns_spec *spec)
{
	if (!spec->block_tokens || spec->block_tokens > LAYOUT_BLOCK_TOKENS_MAX)
		return -EINVAL;
	if (!spec->ranks || spec->ranks > LAYOUT_RANKS_MAX || !spec->groups ||
	    spec->groups > MATCH_GROUPS_MAX ||
	    spec->ranks * spec->groups > LAYOUT_RANKS_MAX)
		return -EINVAL;
	for (unsigned g = 0; g < MATCH_GROUPS_MAX; g++) {
		if (g < spec->groups ? !group_ok(spec, g)
				     : !group_unused(spec, g))
			return -EINVAL;
	}
	return label_ok(spec->label) ? 0 : -EINVAL;
}

/* Distance of slices; equal identities must not depend on how it was said. */
static uint64_t group_step(const struct ns_spec *spec, unsigned g)
{
	if (spec->group[g].slices && !spec->group[g].stride)
		return spec->group[g].slice_bytes;
	return spec->group[g].stride;
}

uint64_t ns_spec_part_bytes(const struct ns_spec *spec, unsigned group)
{
	if (!spec->group[group].slices)
		return spec->group[group].slice_bytes;
	if (ns_spec_stripes(spec, group))
		return spec->group[group].slices *
		       spec->group[group].slice_bytes;
	return (spec->group[group].slices - 1) * group_step(spec, group) +
	       spec->group[group].slice_bytes;
}

struct match_group ns_spec_rule(const struct ns_spec *spec, unsigned group)
{
	struct match_group rule = {
		.rule = (enum match_rule)spec->group[group].rule,
	};

	if (rule.rule == MATCH_WINDOW)
		/* not DIV_UP: the sum could pass 32 bits */
		rule.window = (spec->group[group].window_tokens - 1) /
				      spec->block_tokens +
			      1;
	return rule;
}

/* Appends a number of `bytes` bytes, lowest first, whatever the machine. */
static size_t put(uint8_t *buf, size_t at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		buf[at + i] = (uint8_t)(value >> (8 * i));
	return at + bytes;
}

int ns_spec_digest(const struct ns_spec *spec, uint8_t ret_digest[32])
{
	uint8_t buf[DIGEST_MAX];
	size_t at = sizeof(digest_name);

	memcpy(buf, digest_name, at);
	memcpy(buf + at, spec->weights, 32);
	memcpy(buf + at + 32, spec->layout, 32);
	at = put(buf, at + 64, spec->block_tokens, 4);
	at = put(buf, at, spec->ranks, 2);
	at = put(buf, at, spec->groups, 2);
	for (unsigned g = 0; g < spec->groups; g++) {
		at = put(buf, at, spec->group[g].rule, 4);
		at = put(buf, at, spec->group[g].window_tokens, 4);
		at = put(buf, at, spec->group[g].slices, 8);
		at = put(buf, at, spec->group[g].slice_bytes, 8);
		at = put(buf, at, group_step(spec, g), 8);
	}
	return hash_sha256(&(struct hash_piece){ buf, at }, 1, ret_digest);
}

void ns_record_store(struct ns_record *r, uint32_t id,
		     const struct ns_spec *spec, const uint8_t digest[32])
{
	shared_store_bytes(r->digest, 32, digest, 32);
	shared_store_bytes(r->weights, 32, spec->weights, 32);
	shared_store_bytes(r->layout, 32, spec->layout, 32);
	shared_store64(&r->block_tokens, spec->block_tokens);
	shared_store64(&r->ranks_groups,
		       (uint64_t)spec->ranks << 32 | spec->groups);
	shared_store_bytes(r->label, LAYOUT_NAME, spec->label,
			   strnlen(spec->label, LAYOUT_NAME - 1));
	for (unsigned g = 0; g < MATCH_GROUPS_MAX; g++) {
		struct ns_group *to = &r->group[g];

		shared_store64(&to->rule, (uint64_t)spec->group[g].rule << 32 |
						  spec->group[g].window_tokens);
		shared_store64(&to->slices, spec->group[g].slices);
		shared_store64(&to->slice_bytes, spec->group[g].slice_bytes);
		shared_store64(&to->stride, spec->group[g].stride);
	}
	/* Pairs with the acquire load in ns_record_load(). */
	shared_store64_release(&r->id, id);
}

bool ns_record_load(const struct ns_record *r, struct ns_spec *ret_spec)
{
	struct ns_spec spec;
	uint64_t ranks_groups, tokens;

	/* Pairs with the release store at the end of ns_record_store(). */
	if (!shared_load64_acquire(&r->id))
		return false;
	memset(&spec, 0, sizeof(spec));
	shared_load_bytes(spec.weights, 32, r->weights);
	shared_load_bytes(spec.layout, 32, r->layout);
	shared_load_bytes(spec.label, LAYOUT_NAME, r->label);
	tokens = shared_load64(&r->block_tokens);
	ranks_groups = shared_load64(&r->ranks_groups);
	if (tokens > UINT32_MAX || ranks_groups >> 48 ||
	    (uint32_t)ranks_groups > UINT16_MAX)
		return false;
	spec.block_tokens = (uint32_t)tokens;
	spec.ranks = (uint16_t)(ranks_groups >> 32);
	spec.groups = (uint16_t)ranks_groups;
	for (unsigned g = 0; g < MATCH_GROUPS_MAX; g++) {
		uint64_t rule = shared_load64(&r->group[g].rule);

		spec.group[g].rule = (uint32_t)(rule >> 32);
		spec.group[g].window_tokens = (uint32_t)rule;
		spec.group[g].slices = shared_load64(&r->group[g].slices);
		spec.group[g].slice_bytes =
			shared_load64(&r->group[g].slice_bytes);
		spec.group[g].stride = shared_load64(&r->group[g].stride);
	}
	if (ns_spec_check(&spec))
		return false;
	*ret_spec = spec;
	return true;
}

struct ns_parts ns_record_parts(const struct ns_record *r)
{
	struct ns_parts parts = { 0 };
	uint64_t ranks_groups;

	if (!r || !shared_load64(&r->id))
		return parts;
	ranks_groups = shared_load64(&r->ranks_groups);
	parts.ns = (uint32_t)shared_load64(&r->id);
	parts.groups = (uint32_t)ranks_groups;
	parts.ranks = (uint32_t)(ranks_groups >> 32);
	parts.n = parts.groups * parts.ranks;
	return parts;
}

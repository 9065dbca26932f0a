/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, stamp and header of a region. Pure but for the stores into it. */
#include "region/format.h"
#include "base/hash.h"
#include "coherence/pin.h"
#include "region/mem.h"
#include <errno.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "words of a region are little-endian");
_Static_assert(REGION_SHARDS_MAX < FRAME_SLABS_MAX, "a location names them");

const char *const region_count_names[REGION_COUNTS_USED] = {
#define X(name, text) [REGION_C_##name] = #name,
	REGION_COUNTS(X)
#undef X
};

const char *const region_count_texts[REGION_COUNTS_USED] = {
#define X(name, text) [REGION_C_##name] = text,
	REGION_COUNTS(X)
#undef X
};

#define AT(type, field) offsetof(struct type, field)
static const uint64_t shape[] = {
	REGION_UNIT,
	REGION_NAME,
	REGION_MEMBERS_MAX,
	REGION_SHARDS_MAX,
	REGION_TOUCHES,
	REGION_REPORTS,
	REGION_SLOTS,
	REGION_COUNTS_USED,
	PAGE_BYTES,
	FRAME_LOC_BITS,
	FRAME_IN_SLAB_BITS,
	PIN_GEN_BITS,
	PIN_MAPPED,
	PIN_LOSABLE,
	FRAME_STATES,
	FRAME_GRANTED,
	FRAME_SEALED,
	FRAME_LEAVING,
	FRAME_DOOMED,
	FRAME_QUARANTINED,
	MEMBER_STATES,
	MEMBER_JOINING,
	MEMBER_LIVE,
	MEMBER_EXITED,
	MEMBER_TOLD,
	MEMBER_HOST_BITS,
	TABLE_WAYS,
	TABLE_MAGIC,
	sizeof(struct region_header),
	AT(region_header, version),
	AT(region_header, incompat),
	AT(region_header, compat),
	AT(region_header, stamp),
	AT(region_header, mode),
	AT(region_header, id),
	AT(region_header, born_ms),
	AT(region_header, bytes),
	AT(region_header, members),
	AT(region_header, shards),
	AT(region_header, frames),
	AT(region_header, frame_bytes),
	AT(region_header, lease_ms),
	AT(region_header, tenant),
	sizeof(struct region_member),
	AT(region_member, known),
	AT(region_member, beat),
	AT(region_member, beat_ms),
	AT(region_member, wants),
	AT(region_member, role),
	AT(region_member, host),
	AT(region_member, pid),
	AT(region_member, started),
	AT(region_member, writer),
	AT(region_member, image),
	REGION_PID_BITS,
	REGION_READER,
	AT(region_member, name),
	sizeof(struct region_owner),
	AT(region_control, member),
	AT(region_control, owner),
	sizeof(struct region_unit_head),
	AT(region_unit_head, touch_tail),
	AT(region_unit_head, report_tail),
	AT(region_unit_head, report),
	AT(region_unit_head, count),
	AT(region_unit, touch),
	AT(region_unit, slot),
	sizeof(struct region_shard_head),
	AT(region_shard_head, free),
	AT(region_shard_head, sealed),
	AT(region_shard_head, quarantined),
	AT(region_shard_head, node),
	sizeof(struct region_desc),
	AT(region_desc, key),
	AT(region_desc, checksum),
	AT(region_desc, part),
	AT(region_desc, extent),
	AT(region_desc, ns),
	AT(region_desc, grant_flags),
	AT(region_desc, sealed_ms),
};
#undef AT

uint64_t region_stamp(void)
{
	uint64_t stamp = hash_bytes(shape, sizeof(shape), REGION_MAGIC);

	for (unsigned i = 0; i < REGION_COUNTS_USED; i++)
		stamp = hash_bytes(region_count_names[i],
				   strlen(region_count_names[i]), stamp);
	return stamp;
}

int region_places(const struct region_geometry *g,
		  struct region_places *ret_places)
{
	struct region_places p;

	if (!g->members || g->members > REGION_MEMBERS_MAX || !g->shards ||
	    g->shards > REGION_SHARDS_MAX || !g->frames ||
	    g->frames > FRAME_IN_SLAB_MAX || !g->frame_bytes ||
	    g->frame_bytes % PAGE_BYTES || g->frame_bytes > UINT32_MAX)
		return -EINVAL;
	p.units = REGION_UNIT;
	p.shards = p.units + g->members * REGION_UNIT;
	p.table = sizeof(struct region_shard_head);
	p.table_bytes = ALIGN_UP(table_bytes(g->frames), PAGE_BYTES);
	p.desc = p.table + p.table_bytes;
	p.payload = ALIGN_UP(p.desc + g->frames * sizeof(struct region_desc),
			     PAGE_BYTES);
	p.shard_bytes =
		ALIGN_UP(p.payload + g->frames * g->frame_bytes, REGION_UNIT);
	*ret_places = p;
	return 0;
}

static bool fits(struct region_geometry *g, uint32_t frames, uint64_t bytes)
{
	struct region_places p;

	g->frames = frames;
	if (region_places(g, &p) ||
	    p.shards + p.shard_bytes * g->shards > bytes)
		return false;
	g->bytes = p.shards + p.shard_bytes * g->shards;
	return true;
}

int region_fit(struct region_geometry *g, uint64_t bytes)
{
	uint32_t low = 1, high = FRAME_IN_SLAB_MAX;
	struct region_places p;

	g->frames = 1;
	if (region_places(g, &p))
		return -EINVAL;
	if (!fits(g, low, bytes))
		return -ENOSPC;
	while (low < high) {
		uint32_t middle = low + (high - low + 1) / 2;

		if (fits(g, middle, bytes))
			low = middle;
		else
			high = middle - 1;
	}
	return fits(g, low, bytes) ? 0 : -ENOSPC;
}

void region_write_format(void *base, const struct region_geometry *g,
			 const char *tenant, uint64_t id, uint64_t born_ms)
{
	struct region_header *h = base;
	struct region_places p;
	unsigned char *at = base;
	struct table t;

	/* Not by shared_store: until the magic is there it is nobody's. */
	shared_store64_release(&h->magic, 0);
	region_places(g, &p);
	memset(at, 0, p.shards);
	for (uint32_t i = 0; i < g->shards; i++) {
		unsigned char *shard = at + p.shards + i * p.shard_bytes;

		struct region_shard_head *head = (void *)shard;

		memset(shard, 0, p.payload);
		shared_store64(&head->free, g->frames);
		table_init(&t, shard + p.table, p.table_bytes);
	}
	shared_store64(&h->version, REGION_VERSION);
	shared_store64(&h->stamp, region_stamp());
	shared_store64(&h->mode, REGION_COHERENT);
	shared_store64(&h->id, id);
	shared_store64(&h->born_ms, born_ms);
	shared_store64(&h->bytes, g->bytes);
	shared_store64(&h->members, g->members);
	shared_store64(&h->shards, g->shards);
	shared_store64(&h->frames, g->frames);
	shared_store64(&h->frame_bytes, g->frame_bytes);
	shared_store64(&h->lease_ms, g->lease_ms);
	shared_store_bytes(h->tenant, REGION_NAME, tenant, strlen(tenant));
	/* Pairs with region_read_format(). */
	shared_store64_release(&h->magic, REGION_MAGIC);
}

int region_read_format(const struct region_header *h, uint64_t bytes,
		       struct region_geometry *ret_g,
		       struct region_places *ret_places)
{
	struct region_geometry g;
	struct region_places p;

	/* Pairs with region_write_format(). */
	if (shared_load64_acquire(&h->magic) != REGION_MAGIC)
		return -ENODATA;
	if (shared_load64(&h->version) >> 32 != REGION_VERSION >> 32 ||
	    shared_load64(&h->incompat) ||
	    shared_load64(&h->stamp) != region_stamp() ||
	    !region_mem_of(shared_load64(&h->mode)))
		return -EPROTONOSUPPORT;
	/* Each read once; narrow ones are compared after, so nothing is cut. */
	g.bytes = shared_load64(&h->bytes);
	g.members = (uint32_t)MIN(shared_load64(&h->members), UINT32_MAX);
	g.shards = (uint32_t)MIN(shared_load64(&h->shards), UINT32_MAX);
	g.frames = (uint32_t)MIN(shared_load64(&h->frames), UINT32_MAX);
	g.frame_bytes = shared_load64(&h->frame_bytes);
	g.lease_ms = (uint32_t)MIN(shared_load64(&h->lease_ms), UINT32_MAX);
	if (region_places(&g, &p) || g.bytes > bytes || !g.lease_ms ||
	    g.bytes != p.shards + p.shard_bytes * g.shards)
		return -EPROTO;
	*ret_g = g;
	*ret_places = p;
	return 0;
}

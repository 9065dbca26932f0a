/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node tells of the CXL region that it is in: where a part lies and whose shard
 * that is, how the members and shards stand, and its memory, for clients and for those
 * who measure it. Looks alone; nothing is changed here.
 */
#include <errno.h>
#include "base/text.h"
#include "region/host.h"
#include "store/shard_internal.h"

const char *store_region_state_name(enum store_region_state state)
{
	static const char *const names[] = {
		[STORE_REGION_NONE] = "none",
		[STORE_REGION_IN] = "member",
		[STORE_REGION_FENCED] = "declared dead",
		[STORE_REGION_ANEW] = "made anew",
		[STORE_REGION_FAILED] = "failed",
		[STORE_REGION_LEFT] = "left",
	};

	return (unsigned)state < ARRAY_LEN(names) ? names[state] : "?";
}

unsigned store_region_samples(const struct store *s, uint64_t bytes,
			      unsigned most, const void **ret_base)
{
	const struct region_geometry *g;
	const char *base;
	uint64_t pieces;
	unsigned n = 0;

	if (!s->shard || !s->shard->region)
		return 0;
	g = region_geometry_of(s->shard->region);
	base = region_memory(s->shard->region);
	pieces = g->bytes / bytes;
	for (; n < most && n < pieces; n++)
		ret_base[n] = base + n * (pieces / MIN(most, pieces)) * bytes;
	return n;
}

int store_region_is_at(const struct store *s, const char *path)
{
	return s->shard && s->shard->region
		       ? region_is_at(s->shard->region, path)
		       : 0;
}

struct region *store_region_of(const struct store *s, const struct pool *p)
{
	char tenant[LAYOUT_NAME + 1] = "";

	if (!s->shard || !s->shard->region)
		return NULL;
	shared_load_bytes(tenant, LAYOUT_NAME, p->m->header.tenant);
	return strcmp(tenant, s->shard->tenant) ? NULL : s->shard->region;
}

int store_region_open(const struct store *s, const struct pool *p,
		      struct store_region_access *ret_access)
{
	struct region *r = store_region_of(s, p);
	int fd, err;

	if (!r)
		return -ENOENT;
	err = region_reopen(r, &fd);
	if (err)
		return err;
	*ret_access = (struct store_region_access){ .fd = fd };
	memcpy(ret_access->host, region_host_of(r)->id,
	       sizeof(ret_access->host));
	return 0;
}

int store_region_name(const struct pool *p, const uint64_t key[4],
		      uint64_t part, struct region_name *ret_name)
{
	const struct ns_record *rec = ns_find(p, frame_part_ns(part));

	if (!rec)
		return -ENOENT;
	memcpy(ret_name->key, key, sizeof(ret_name->key));
	shared_load_words(ret_name->ns, rec->digest, 4);
	ret_name->group = frame_part_group(part);
	ret_name->rank = frame_part_rank(part);
	return 0;
}

bool store_region_find(const struct store *s, const struct pool *p,
		       const uint64_t key[4], uint64_t part,
		       struct store_region_found *ret_found)
{
	struct region *r = store_region_of(s, p);
	struct region_shard_status shard;
	struct region_member_status m = { .name = "" };
	struct region_name name;

	if (!r || store_region_name(p, key, part, &name) ||
	    region_look(r, &name, &ret_found->seen))
		return false;
	ret_found->own = region_owns(r, ret_found->seen.shard);
	region_shard_status(r, ret_found->seen.shard, &shard);
	if (shard.owner >= 0 && !shard.gone)
		region_member_status(r, (uint32_t)shard.owner, &m);
	memcpy(ret_found->node, m.name, sizeof(m.name));
	return true;
}

static void stat_members(struct region *r, struct store_region_stat *st)
{
	struct region_member_status m;

	for (uint32_t i = 0; i < st->geometry.members; i++) {
		region_member_status(r, i, &m);
		if (i == st->member)
			memcpy(st->count, m.count, sizeof(st->count));
		if (m.state != MEMBER_LIVE)
			continue;
		st->ended += m.ended;
		st->readers += m.reader;
		st->nodes += !m.reader;
		/* who says this is not silent, whenever it beat last */
		st->late += m.late && !m.ended && i != st->member;
	}
}

static void stat_shards(struct region *r, struct store_region_stat *st)
{
	struct region_shard_status h;

	for (uint32_t i = 0; i < st->geometry.shards; i++) {
		region_shard_status(r, i, &h);
		st->nobodys += !h.lost && (h.owner < 0 || h.gone);
		if (!region_owns(r, i)) {
			st->quarantined += h.quarantined;
			continue;
		}
		st->owned++;
		st->free += h.free;
		st->sealed += h.sealed;
		st->held += h.held;
	}
}

void store_region_stat(const struct store *s,
		       struct store_region_stat *ret_stat)
{
	const struct shard *h = s->shard;

	*ret_stat = (struct store_region_stat){ .state = STORE_REGION_NONE };
	if (!h)
		return;
	ret_stat->state = h->state;
	text_copy(ret_stat->tenant, sizeof(ret_stat->tenant), h->tenant);
	if (!h->region)
		return;
	ret_stat->geometry = *region_geometry_of(h->region);
	ret_stat->kind = region_kind_of(h->region);
	(void)region_self(h->region, &ret_stat->member, &ret_stat->inc);
	stat_members(h->region, ret_stat);
	stat_shards(h->region, ret_stat);
	ret_stat->failed = region_failed(h->region);
	ret_stat->wanted = h->wanted;
}

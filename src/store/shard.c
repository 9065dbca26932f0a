/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the region that fails costs what src/region/lost.c says: a block, a
 * shard. Where the member itself cannot go on (-EIO of a beat), the node's part in it
 * is over.
 */
#include "store/shard.h"
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "region/host.h"
#include "store/internal.h"

#define FRESH	   4096u /* parts sealed and not copied yet; a power of two */
#define TURN_BYTES (2ull << 20) /* copied in a turn, at most, after the first */
#define SWEEP_TURN 256u		/* frames looked at in a turn */

struct fresh {
	uint64_t loc, gen;
};

struct shard {
	struct region *region; /* NULL: not, or no more */
	enum store_region_state state;
	char tenant[LAYOUT_NAME + 1];
	bool publish;
	uint32_t wanted;
	uint64_t word; /* pool_meta.cxl of the tenant's pool */
	uint64_t beat_ns, step_ns;
	struct fresh fresh[FRESH];
	uint32_t first, n;
	uint64_t leaving; /* bytes copied in this turn of what leaves */
	/* All frames were pinned: to find that out again costs a look at all pins,
	 * so nothing is put there before the next beat. */
	bool full;
	/* over all frames, for what was not in `fresh` */
	bool sweeping, missed;
	uint32_t slab, frame;
};

/* ---- life ------------------------------------------------------------------------ */

const char *store_region_state_name(enum store_region_state state)
{
	static const char *const names[] = {
		[STORE_REGION_NONE] = "none",
		[STORE_REGION_IN] = "member",
		[STORE_REGION_FENCED] = "declared dead",
		[STORE_REGION_FAILED] = "failed",
		[STORE_REGION_LEFT] = "left",
	};

	return (unsigned)state < ARRAY_LEN(names) ? names[state] : "?";
}

static struct pool *pool_of(struct store *s)
{
	struct pool *p = NULL;

	if (s->shard && s->shard->region)
		(void)store_pool_by_tenant(s, s->shard->tenant, &p);
	return p;
}

void shard_tell(struct store *s, struct pool *p)
{
	struct region *r = store_region_of(s, p);

	shared_store64_release(&p->m->cxl, r ? s->shard->word : 0);
}

static void tell_clients(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		if (s->pool[n])
			shard_tell(s, s->pool[n]);
}

/* Closing stores nothing: it is somebody else's by now, or not there. */
static void part(struct store *s, enum store_region_state state)
{
	struct shard *h = s->shard;

	h->state = state;
	h->word = 0;
	h->n = 0;
	h->sweeping = false;
	region_close(h->region);
	h->region = NULL;
	tell_clients(s);
}

static void fenced(struct store *s)
{
	log_error(
		"this node was declared dead in the CXL region: it uses it no "
		"more, and goes on without; its shards are others' now");
	part(s, STORE_REGION_FENCED);
}

static void failed(struct store *s)
{
	log_error("memory of the CXL region fails: this node uses it no more, "
		  "and goes on without");
	/* where it is not the control area, others get its shards */
	(void)region_leave(s->shard->region);
	part(s, STORE_REGION_FAILED);
}

int store_region_attach(struct store *s, struct region *r,
			const struct store_region_options *o)
{
	struct shard *h = s->shard;
	uint32_t member = 0;
	uint64_t inc = 0;
	int err;

	if (h && h->region)
		return -EALREADY;
	err = region_self(r, &member, &inc);
	if (err)
		return err;
	if (!h)
		h = mem_alloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	*h = (struct shard){
		.region = r,
		.state = STORE_REGION_IN,
		.publish = o->publish,
		.wanted = o->publish ? o->shards : 0,
		.word = region_owner_word(member, inc),
		.step_ns = MAX(region_geometry_of(r)->lease_ms * NS_PER_MS / 10,
			       NS_PER_MS),
		.sweeping = o->publish,
	};
	text_copy(h->tenant, sizeof(h->tenant), o->tenant);
	s->shard = h;
	tell_clients(s);
	return 0;
}

int store_region_leave(struct store *s)
{
	int r;

	if (!s->shard || !s->shard->region)
		return 0;
	r = region_leave(s->shard->region);
	part(s, r == REGION_STALE ? STORE_REGION_FENCED : STORE_REGION_LEFT);
	return r;
}

void shard_fini(struct store *s)
{
	if (s->shard)
		region_close(s->shard->region);
	free(s->shard);
	s->shard = NULL;
}

/* ---- names ------------------------------------------------------------------------ */

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

/* Would blocks of this namespace be there whole? */
static bool ns_fits(const struct pool *p, uint32_t ns, uint64_t frame_bytes)
{
	const struct ns_record *rec = ns_find(p, ns);
	struct ns_spec spec;

	if (!rec || !ns_record_load(rec, &spec))
		return false;
	for (unsigned g = 0; g < spec.groups; g++)
		/* a frame there is one run of bytes */
		if (ns_spec_stripes(&spec, g) ||
		    (spec.group[g].slices &&
		     ns_spec_part_bytes(&spec, g) > frame_bytes))
			return false;
	return true;
}

/* ---- putting there ----------------------------------------------------------------- */

struct put {
	struct region_name name;
	const void *data;
	uint64_t bytes, checksum;
	uint32_t tokens;
	bool leaving; /* it is there for the last time */
};

/* 0, REGION_*, -errno; -EBADMSG: what was copied is not what was sealed. *ret_wrote:
 * it was copied. */
static int put_there(struct region *r, const struct put *u, bool *ret_wrote)
{
	struct region_grant g;
	uint64_t checksum;
	int err = region_grant(r, &u->name, u->bytes, u->tokens, 0, &g);

	if (err)
		return err;
	*ret_wrote = true;
	if (region_fill(r, &g, u->data, u->bytes, &checksum) < 0)
		return -EBADMSG;
	if (checksum != u->checksum) {
		region_abandon(r, &g);
		return -EBADMSG;
	}
	err = region_seal(r, &g, u->bytes, u->tokens, u->checksum);
	/* a word that somebody wrote over is not the end of this member */
	return err == REGION_STALE && region_may_write(r) == 0 ? -EIO : err;
}

/* What the part says of itself is not so: the block goes. */
static void drop_wrong(struct store *s, struct pool *p, struct pool_slab *slab,
		       uint32_t frame)
{
	log_error("wrong bytes in slab %u frame %u (offset %llu): dropped",
		  slab->id, frame,
		  (unsigned long long)(frame * slab->frame_bytes));
	note_gone(s, p, slab, frame, PAST_WRONG, 0);
	pool_count(p, POOL_C_bad, block_forget_of(s, p, slab, frame).parts);
}

/* Bytes that differ, or memory of one of the two frames has failed. */
static void put_differs(struct store *s, struct pool *p, struct pool_slab *slab,
			uint32_t frame, bool leaving)
{
	pool_count(p, POOL_C_region_failed, 1);
	if (!scrub_verify(s, p, slab, frame) && !leaving &&
	    pool_frame_state(slab, frame) == FRAME_SEALED)
		drop_wrong(s, p, slab, frame);
}

static void put_answered(struct store *s, struct pool *p,
			 struct pool_slab *slab, uint32_t frame,
			 const struct put *u, int r)
{
	switch (r) {
	case 0:
		pool_count(p, POOL_C_region_published, 1);
		pool_count(p, POOL_C_region_published_bytes, u->bytes);
		break;
	case REGION_EXISTS:
		break;
	case REGION_FULL:
		s->shard->full = s->shard->missed = true;
		pool_count(p, POOL_C_region_refused, 1);
		break;
	case REGION_STALE:
	case -ENOTCONN:
		fenced(s);
		break;
	case -EBADMSG:
		put_differs(s, p, slab, frame, u->leaving);
		break;
	default:
		pool_count(p, POOL_C_region_failed, 1);
	}
}

/* Written by clients, so no record of a door, whose values change under their
 * keys, and no twin; and of a size that fits. */
static bool is_for_others(const struct shard *h, struct pool *p,
			  const struct pool_slab *slab, uint32_t frame)
{
	const struct frame_desc *d = &slab->desc[frame];
	uint64_t most = region_geometry_of(h->region)->frame_bytes;
	uint64_t bytes = frame_extent_bytes(shared_load64(&d->extent));

	if (slab->retiring || shared_load64(&d->owner) == CLIENT_SERVER ||
	    pool_is_twin(p, slab, frame))
		return false;
	return bytes && bytes <= most &&
	       ns_fits(p, frame_part_ns(shared_load64(&d->part)), most);
}

/* Bytes that it took. alone: looks whether it is there, and no more. */
static uint64_t put_as(struct store *s, struct pool *p, struct pool_slab *slab,
		       uint32_t frame, bool leaving, bool alone)
{
	const struct frame_desc *d = &slab->desc[frame];
	uint64_t extent = shared_load64(&d->extent), key[4];
	struct slices payload = pool_payload(slab, frame);
	struct put u = {
		.data = payload.base,
		.bytes = frame_extent_bytes(extent),
		.tokens = frame_extent_tokens(extent),
		.checksum = shared_load64(&d->checksum),
		.leaving = leaving,
	};
	bool wrote = false;

	shared_load_words(key, d->key, 4);
	if (!u.data || payload.bytes ||
	    store_region_name(p, key, shared_load64(&d->part), &u.name))
		return 0;
	if (leaving)
		region_use(s->shard->region, &u.name);
	if (!alone)
		put_answered(s, p, slab, frame, &u,
			     put_there(s->shard->region, &u, &wrote));
	return wrote ? u.bytes : 0;
}

static uint64_t put(struct store *s, struct pool *p, struct pool_slab *slab,
		    uint32_t frame)
{
	return put_as(s, p, slab, frame, false, false);
}

void shard_leaves(struct store *s, struct pool *p, struct pool_slab *slab,
		  uint32_t frame)
{
	struct shard *h = s->shard;

	if (!h || !h->region || !h->publish || pool_of(s) != p ||
	    !region_owned(h->region) || !is_for_others(h, p, slab, frame))
		return;
	/* who waits for the room waits for this as well */
	h->leaving += put_as(s, p, slab, frame, true,
			     h->full || h->leaving >= TURN_BYTES);
}

void shard_sealed(struct store *s, const struct pool *p,
		  const struct pool_slab *slab, uint32_t frame)
{
	struct shard *h = s->shard;

	if (!h || !h->region || !h->publish || pool_of(s) != p)
		return;
	if (!is_for_others(h, s->pool[p->number], slab, frame)) {
		pool_count(s->pool[p->number], POOL_C_region_unfit, 1);
		return;
	}
	if (h->n == FRESH) {
		h->missed = true; /* a sweep comes to it */
		return;
	}
	h->fresh[(h->first + h->n++) % FRESH] =
		(struct fresh){ frame_loc(slab->id, frame),
				pool_frame_gen(slab, frame) };
}

static uint64_t put_fresh(struct store *s, struct pool *p)
{
	struct shard *h = s->shard;
	struct fresh f = h->fresh[h->first++ % FRESH];
	struct pool_slab *slab;
	uint32_t frame;

	h->n--;
	slab = pool_locate(p, f.loc, &frame);
	/* evicted or removed meanwhile */
	if (!slab || slab->retiring ||
	    shared_load64(&slab->desc[frame].word) !=
		    frame_word(f.gen, FRAME_SEALED))
		return 0;
	return put(s, p, slab, frame);
}

/* One more frame; false: all were looked at. */
static bool sweep_next(struct shard *h, const struct pool *p,
		       struct pool_slab **ret_slab, uint32_t *ret_frame)
{
	struct pool_slab *slab;

	for (; h->slab < p->slab_end; h->slab++, h->frame = 0) {
		slab = pool_slab_at(p, h->slab);
		if (!slab || h->frame >= slab->frames)
			continue;
		*ret_slab = slab;
		*ret_frame = h->frame++;
		return true;
	}
	h->slab = h->frame = 0;
	return false;
}

/* What lies in memory and not in the region, while the shards have free frames:
 * for it nothing leaves. */
static void sweep(struct store *s, struct pool *p)
{
	struct shard *h = s->shard;
	struct pool_slab *slab;
	uint64_t bytes = 0;
	uint32_t frame;

	for (unsigned i = 0; i < SWEEP_TURN && bytes < TURN_BYTES && !h->full;
	     i++) {
		if (!region_free(h->region) ||
		    !sweep_next(h, p, &slab, &frame)) {
			h->slab = h->frame = 0;
			h->sweeping = false;
			return;
		}
		if (pool_frame_state(slab, frame) == FRAME_SEALED &&
		    is_for_others(h, p, slab, frame))
			bytes += put(s, p, slab, frame);
		if (!h->region)
			return;
	}
}

void shard_settle(struct store *s)
{
	struct pool *p = pool_of(s);
	struct shard *h = s->shard;
	uint64_t bytes = 0;

	if (!p)
		return;
	h->leaving = 0;
	if (!region_owned(h->region) ||
	    h->full) /* it waits for a shard, or room */
		return;
	while (h->region && h->n && bytes < TURN_BYTES && !h->full)
		bytes += put_fresh(s, p);
	if (!h->region || h->n || h->full)
		return;
	if (h->missed) {
		h->missed = false;
		h->sweeping = h->publish;
	}
	if (h->sweeping && bytes < TURN_BYTES)
		sweep(s, p);
}

bool store_region_busy(struct store *s)
{
	const struct shard *h = s->shard;

	/* before the tenant's first client there is no pool, and nothing to copy */
	return h && h->region && region_owned(h->region) && !h->full &&
	       (h->n || h->sweeping) && pool_of(s);
}

/* ---- beats ------------------------------------------------------------------------- */

uint64_t shard_tick(struct store *s)
{
	struct shard *h = s->shard;
	int r;

	if (!h || !h->region)
		return UINT64_MAX;
	if (s->now_ns < h->beat_ns)
		return h->beat_ns - s->now_ns;
	h->beat_ns = s->now_ns + h->step_ns;
	h->full = false;
	r = region_tick(h->region);
	if (r == REGION_STALE)
		fenced(s);
	else if (r == -EIO)
		failed(s);
	return h->step_ns;
}

/* ---- taking away -------------------------------------------------------------------- */

bool shard_forget(struct store *s, const struct pool *p, const uint64_t key[4],
		  uint64_t part)
{
	struct region_name name;
	int r;

	if (!s->shard || !s->shard->region || pool_of(s) != p ||
	    store_region_name(p, key, part, &name))
		return false;
	r = region_remove(s->shard->region, &name);
	if (r == REGION_STALE)
		fenced(s);
	return r == 0;
}

uint64_t shard_forget_block(struct store *s, const struct pool *p,
			    const uint64_t key[4], uint32_t ns)
{
	const struct ns_record *rec = ns_find(p, ns);
	uint64_t shape = rec ? shared_load64(&rec->ranks_groups) : 0, n = 0;
	unsigned ranks = (unsigned)(shape >> 32), groups = (unsigned)shape;

	for (unsigned i = 0; i < ranks * groups && s->shard; i++)
		n += shard_forget(s, p, key,
				  frame_part(ns, (uint16_t)(i / ranks),
					     (uint16_t)(i % ranks)));
	return n;
}

/* ---- for others ------------------------------------------------------------------- */

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

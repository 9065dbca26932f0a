/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying into the node's shards of a CXL region: what clients seal, behind the
 * requests (shard_sealed(), shard_settle()); what leaves this node's memory, at once
 * (shard_leaves()); and, by a look over all frames, what was missed: sealed by a
 * predecessor, or while the shards were full or not there yet.
 *
 * A copy is hashed as it is made, and sealed there only if it is what was sealed here.
 * Nothing is copied that others could not use whole, see is_for_others().
 *
 * In the server's thread, a bounded piece at a time: TURN_BYTES. A copy under way when
 * the server dies is a grant in the region, whose frame the next owner makes free.
 */
#include <errno.h>
#include "store/shard_internal.h"

#define TURN_BYTES (2ull << 20) /* copied in a turn, at most, after the first */
#define SWEEP_TURN 256u		/* frames looked at in a turn */

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

/* Bytes that differ, or memory of one of the two frames has failed. */
static void put_differs(struct store *s, struct pool *p, struct pool_slab *slab,
			uint32_t frame, bool leaving)
{
	pool_count(p, POOL_C_region_failed, 1);
	if (!scrub_verify(s, p, slab, frame) && !leaving &&
	    pool_frame_state(slab, frame) == FRAME_SEALED)
		block_drop_wrong(s, p, slab, frame);
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
		shard_fenced(s);
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

	if (!h || !h->region || !h->publish || shard_pool(s) != p ||
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

	if (!h || !h->region || !h->publish || shard_pool(s) != p)
		return;
	if (!is_for_others(h, s->pool[p->number], slab, frame)) {
		pool_count(s->pool[p->number], POOL_C_region_unfit, 1);
		return;
	}
	if (h->n == SHARD_FRESH) {
		h->missed = true; /* a sweep comes to it */
		return;
	}
	h->fresh[(h->first + h->n++) % SHARD_FRESH] =
		(struct shard_fresh){ frame_loc(slab->id, frame),
				      pool_frame_gen(slab, frame) };
}

static uint64_t put_fresh(struct store *s, struct pool *p)
{
	struct shard *h = s->shard;
	struct shard_fresh f = h->fresh[h->first++ % SHARD_FRESH];
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
	struct pool *p = shard_pool(s);
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
	       (h->n || h->sweeping) && shard_pool(s);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node as a member of a CXL region: it attaches, beats, leaves, is fenced, and
 * takes parts away. Copying is in shard_put.c, telling in shard_tell.c.
 *
 * Memory of the region that fails costs what src/region/lost.c says: a block, a
 * shard. Where the member itself cannot go on (-EIO of a beat), the node's part in it
 * is over.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "store/shard_internal.h"

/* ---- life ------------------------------------------------------------------------ */

struct pool *shard_pool(struct store *s)
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
	free(h->seen);
	h->seen = NULL;
	tell_clients(s);
}

/* REGION_STALE: what was it? */
static enum store_region_state why_stale(const struct shard *h)
{
	return region_is_anew(h->region) ? STORE_REGION_ANEW
					 : STORE_REGION_FENCED;
}

void shard_fenced(struct store *s)
{
	enum store_region_state why = why_stale(s->shard);

	if (why == STORE_REGION_ANEW)
		log_error("the CXL region was made anew under this node: what "
			  "it had there is lost; it uses it no more, and goes "
			  "on without until it is started again");
	else
		log_error("this node was declared dead in the CXL region: it "
			  "uses it no more, and goes on without; its shards "
			  "are others' now");
	part(s, why);
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
	struct shard_seen *seen;
	uint32_t member = 0;
	uint64_t inc = 0;
	int err;

	if (h && h->region)
		return -EALREADY;
	err = region_self(r, &member, &inc);
	if (err)
		return err;
	seen = mem_array(region_geometry_of(r)->members, sizeof(*seen));
	if (seen && !h)
		h = mem_alloc(sizeof(*h));
	if (!seen || !h) {
		free(seen);
		return -ENOMEM;
	}
	*h = (struct shard){
		.region = r,
		.state = STORE_REGION_IN,
		.publish = o->publish,
		.wanted = o->publish ? o->shards : 0,
		.word = region_owner_word(member, inc),
		.step_ns = MAX(region_geometry_of(r)->lease_ms * NS_PER_MS / 10,
			       NS_PER_MS),
		.seen = seen,
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
	part(s, r == REGION_STALE ? why_stale(s->shard) : STORE_REGION_LEFT);
	return r;
}

void shard_fini(struct store *s)
{
	if (s->shard) {
		region_close(s->shard->region);
		free(s->shard->seen);
	}
	free(s->shard);
	s->shard = NULL;
}

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
		shard_fenced(s);
	else if (r == -EIO)
		failed(s);
	else
		shard_watch(s);
	return h->step_ns;
}

/* ---- taking away -------------------------------------------------------------------- */

bool shard_forget(struct store *s, const struct pool *p, const uint64_t key[4],
		  uint64_t part)
{
	struct region_name name;
	int r;

	if (!s->shard || !s->shard->region || shard_pool(s) != p ||
	    store_region_name(p, key, part, &name))
		return false;
	r = region_remove(s->shard->region, &name);
	if (r == REGION_STALE)
		shard_fenced(s);
	return r == 0;
}

uint64_t shard_forget_block(struct store *s, const struct pool *p,
			    const uint64_t key[4], uint32_t ns)
{
	struct ns_parts parts = ns_parts_of(p, ns);
	uint64_t n = 0;

	for (uint32_t i = 0; i < parts.n && s->shard; i++)
		n += shard_forget(s, p, key, ns_parts_at(&parts, i));
	return n;
}

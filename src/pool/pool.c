/* SPDX-License-Identifier: Apache-2.0 */
/* Making a pool, and its small change: counters, epochs, held descriptors. */
#include "pool/pool.h"
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "pool/internal.h"
#include "pool/session.h"

/* Room at the start; grows by doubling as slabs come. */
#define INDEX_FIRST 4096

int pool_hold(struct pool *p, enum hold_kind kind, uint64_t id, int fd)
{
	struct hold_tag tag = { (uint32_t)kind, p->number, id };

	return p->hold->hold(p->hold->ctx, &tag, fd);
}

void pool_drop(struct pool *p, enum hold_kind kind, uint64_t id)
{
	struct hold_tag tag = { (uint32_t)kind, p->number, id };

	p->hold->drop(p->hold->ctx, &tag);
}

void pool_meta_account(struct pool *p, uint64_t add, uint64_t sub)
{
	p->meta_bytes += add - sub;
	pool_set(p, POOL_C_meta_bytes, p->meta_bytes);
}

void pool_region_changed(struct pool *p)
{
	shared_u64 *epoch = &p->m->header.region_epoch;

	/* release: the records come before the number that announces them;
	 * pairs with the acquire in follow_slabs() */
	shared_store64_release(epoch, shared_load64(epoch) + 1);
}

int pool_alloc(const struct pool_options *options, struct pool **ret_pool)
{
	struct pool *p = mem_alloc(sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->number = options->number;
	p->budget = options->budget;
	p->low = options->low;
	p->quota = options->quota;
	p->slab_bytes = options->slab_bytes;
	p->segment_flags = options->segment_flags;
	p->hold = options->hold;
	p->policy_ops = options->policy ? options->policy : &policy_lru;
	p->meta_segment = SEGMENT_NONE;
	p->index_segment = SEGMENT_NONE;
	p->slab_end = 1; /* slab 0 does not exist */
	p->touch_clock = 1;
	r = p->policy_ops->create(&p->policy);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret_pool = p;
	return 0;
}

static int meta_create(struct pool *p, const struct pool_options *options)
{
	int r = segment_create("onecopy-meta", POOL_META_BYTES, 0,
			       &p->meta_segment);

	if (r < 0)
		return r;
	p->m = p->meta_segment.base;
	layout_init(p->m, options->random, options->tenant);
	shared_store64(&p->m->header.born_ms, options->realtime_ms);
	shared_store64(&p->m->header.limit_bytes, options->budget->limit);
	shared_store64(&p->m->header.max_frame,
		       MIN(options->budget->limit, UINT32_MAX & ~0xfffull));
	pool_meta_account(p, POOL_META_BYTES, 0);
	return 0;
}

int pool_create(const struct pool_options *options, struct pool **ret_pool)
{
	struct pool *p;
	int r = pool_alloc(options, &p);

	if (r < 0)
		return r;
	r = meta_create(p, options);
	if (r < 0)
		goto fail;
	r = pool_index_create(p, INDEX_FIRST);
	if (r < 0)
		goto fail;
	r = pool_hold(p, HOLD_META, 0, p->meta_segment.fd);
	if (r < 0)
		goto fail_index;
	*ret_pool = p;
	return 0;
fail_index:
	pool_drop(p, HOLD_INDEX, shared_load64(&p->m->header.index_epoch));
fail:
	pool_destroy(p);
	return r;
}

void pool_destroy(struct pool *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < p->slab_end; i++)
		pool_slab_free(p->slab[i]);
	pool_sessions_free(p->sessions);
	segment_close(&p->index_segment);
	segment_close(&p->meta_segment);
	if (p->policy)
		p->policy_ops->destroy(p->policy);
	range_fini(&p->items);
	free(p->item_slab);
	free(p->item_next);
	free(p->item_prev);
	free(p->twin);
	free(p->arena);
	free(p);
}

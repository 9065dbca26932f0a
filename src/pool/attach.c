/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new server takes over what its predecessor left.
 *
 * The predecessor may have died between any two stores. What can be half done
 * is one operation: at most one frame sealed without an index entry, one frame
 * LEAVING, one slab whose record is not yet or no longer LIVE, gauges off by
 * one. So: take the slabs that the records name, put LEAVING frames back to
 * SEALED (their pins were never judged), free what dead clients were writing
 * (or quarantine it), enter what the index lacks, recount the gauges. Recency
 * is rebuilt from the descriptors' stamps.
 *
 * The dead server's own slab with a frame that a device may still write is
 * nobody's from now on, like a dead client's: read, and retired under pressure.
 *
 * Readers go on meanwhile: nothing that they may rely on changes.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/log.h"
#include "pool/internal.h"
#include "pool/session.h"

struct attach {
	struct pool *p;
	struct hold_set *given;
	bool (*alive)(void *ctx, uint64_t client);
	void *ctx;
	/* by index: the client that was said to live */
	uint64_t lives[LAYOUT_CLIENTS_MAX];
	struct recency {
		uint64_t stamp;
		uint32_t item;
	} * order;
	size_t n_order;
	bool retiring; /* a slab is */
};

/* Who lives when it is first asked about lives to the end of this: one that died
 * in between would keep what it was lent, in slabs that are nobody's, and its
 * funeral would not find it there. */
static bool client_lives(struct attach *a, uint64_t client)
{
	uint64_t *known = &a->lives[client_id_index(client)];

	if (*known == client)
		return true;
	if (!a->alive(a->ctx, client))
		return false;
	*known = client;
	return true;
}

/* What the last server was writing is lost with it; its slabs are this one's. */
static bool owner_lives(struct attach *a, uint64_t owner)
{
	return owner == CLIENT_SERVER || client_lives(a, owner);
}

static bool writer_lives(struct attach *a, uint64_t owner)
{
	return owner != CLIENT_SERVER && client_lives(a, owner);
}

static int meta_attach(struct attach *a)
{
	struct pool *p = a->p;
	const char *why = "";
	int fd = hold_set_take(a->given, HOLD_META, p->number, 0);
	int r;

	if (fd < 0) {
		/* one that was never finished leaves nothing to the next */
		hold_set_drop_pool(a->given, p->hold, p->number);
		return -ENOENT;
	}
	r = segment_attach(fd, POOL_META_BYTES, true, &p->meta_segment);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	p->m = p->meta_segment.base;
	r = layout_check(p->m, p->meta_segment.bytes, &why);
	if (r < 0)
		log_error("pool %u cannot be taken over: %s", p->number, why);
	p->meta_bytes = POOL_META_BYTES;
	return r;
}

static int index_attach(struct attach *a)
{
	struct pool *p = a->p;
	uint64_t epoch = shared_load64(&p->m->header.index_epoch);
	int fd = hold_set_take(a->given, HOLD_INDEX, p->number, epoch);
	int r;

	if (fd < 0)
		return -ENOENT;
	r = segment_attach(fd, 0, true, &p->index_segment);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	p->meta_bytes += p->index_segment.bytes;
	r = table_attach(&p->table, p->index_segment.base,
			 p->index_segment.bytes);
	if (r < 0) { /* it can be made anew from the descriptors */
		log_error("the index of pool %u is damaged: made anew",
			  p->number);
		return -ENOENT;
	}
	return 0;
}

/* Memory of the rung below is there still, and is its slab's again. What lies on
 * a device that was taken away is lost, and nothing else. */
static int low_attach(struct pool *p, const struct segment *memory)
{
	struct pool_low *low = p->low;
	int r;

	if (!low)
		return -ENOENT;
	if (memory->kind != SEGMENT_DAX)
		return 0;
	r = segment_dax_check(memory->fd, memory->offset, memory->bytes);
	if (r < 0)
		return -ENOENT;
	r = range_take_at(&low->units,
			  (uint32_t)(memory->offset / SEGMENT_DAX_UNIT),
			  (uint32_t)(memory->bytes / SEGMENT_DAX_UNIT));
	return r == -EEXIST ? -ENOENT : r;
}

static int slab_segments(struct attach *a, struct pool_slab *s,
			 const struct slab_record *rec)
{
	uint64_t tag = hold_slab_id(s->id, s->gen);
	int desc = hold_set_take(a->given, HOLD_DESC, a->p->number, tag);
	int data = hold_set_take(a->given, HOLD_PAYLOAD, a->p->number, tag);
	int r = -ENOENT;

	if (desc < 0 || data < 0)
		goto fail;
	r = segment_attach(desc, pool_desc_bytes(s->frames), true,
			   &s->desc_segment);
	if (r < 0)
		goto fail;
	desc = -1;
	s->desc = s->desc_segment.base;
	s->payload = (struct segment){
		.fd = data,
		.bytes = shared_load64(&rec->bytes),
		.offset = slab_place(rec),
		.kind = (enum segment_kind)slab_kind(rec),
	};
	s->low = segment_is_low(s->payload.kind);
	if (!s->low)
		return 0;
	r = low_attach(a->p, &s->payload);
	if (r == 0)
		return 0;
	s->payload = SEGMENT_NONE;
fail:
	fd_close(desc);
	fd_close(data);
	return r;
}

/* May a device still write somewhere in this slab of the dead server's own? */
static bool under_device(const struct pool_slab *s)
{
	for (uint32_t f = 0; f < s->frames; f++) {
		enum frame_state state = pool_frame_state(s, f);

		/* QUARANTINED for another reason */
		if (pool_frame_is_broken(s, f))
			continue;
		if (state == FRAME_QUARANTINED ||
		    (state == FRAME_GRANTED &&
		     shared_load64(&s->desc[f].grant_flags) &
			     FRAME_GRANT_DEVICE))
			return true;
	}
	return false;
}

static int slab_attach(struct attach *a, uint32_t id)
{
	struct pool *p = a->p;
	struct slab_record *rec = &p->m->slab[id];
	uint64_t word = shared_load64(&rec->word);
	struct pool_slab *s;
	int r;

	s = mem_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct pool_slab){
		.id = id,
		.gen = slab_word_gen(word),
		.frames = slab_frames(rec),
		.shape = { shared_load64(&rec->frame_bytes),
			   slab_stripes(rec) },
		.owner = shared_load64(&rec->owner),
		.writer_uid = (uint32_t)shared_load64(&rec->writer_place),
		.retiring = slab_word_state(word) == SLAB_RETIRING,
		.payload = SEGMENT_NONE,
		.desc_segment = SEGMENT_NONE,
		.arena = POOL_NO_ARENA,
	};
	r = slab_segments(a, s, rec);
	if (r < 0)
		goto fail;
	if (s->owner == CLIENT_SERVER && !s->retiring && under_device(s)) {
		s->owner = 0;
		shared_store64(&rec->owner, 0);
	}
	r = pool_items_take(p, s);
	if (r < 0)
		goto fail;
	if (!s->retiring)
		r = pool_arena_of(p, s->owner, s->shape, s->low, &s->arena);
	if (r < 0)
		goto fail_items;
	p->slab[id] = s;
	p->slab_end = MAX(p->slab_end, id + 1);
	return 0;
fail_items:
	pool_items_give(p, s);
fail:
	pool_slab_free(s);
	return r;
}

/* A record without descriptors names nothing that anybody can still read. */
static int slabs_attach(struct attach *a)
{
	for (uint32_t id = 1; id < LAYOUT_SLABS_MAX; id++) {
		struct slab_record *rec = &a->p->m->slab[id];
		uint64_t word = shared_load64(&rec->word);
		int r;

		if (slab_word_state(word) == SLAB_NONE)
			continue;
		r = slab_step(word, SLAB_EV_RECOVER, &word);
		if (r == 0)
			r = slab_attach(a, id);
		if (r == -ENOENT) {
			log_error("slab %u is named but was not held: dropped",
				  id);
			pool_slab_step(a->p, id, SLAB_EV_LOST);
			r = 0;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static void gauges_clear(struct pool *p)
{
	static const enum pool_counter gauges[] = {
		POOL_C_slab_bytes,   POOL_C_slabs,
		POOL_C_frames,	     POOL_C_free_frames,
		POOL_C_granted,	     POOL_C_sealed,
		POOL_C_sealed_bytes, POOL_C_leaving,
		POOL_C_quarantined,  POOL_C_retiring_bytes,
		POOL_C_clients,	     POOL_C_below_parts,
		POOL_C_below_bytes,  POOL_C_cxl_slab_bytes,
		POOL_C_cxl_parts,    POOL_C_cxl_bytes,
		POOL_C_cxl_replicas,
	};

	for (size_t i = 0; i < ARRAY_LEN(gauges); i++)
		pool_set(p, gauges[i], 0);
}

static int sealed_attach(struct attach *a, struct pool_slab *s, uint32_t frame)
{
	struct pool *p = a->p;
	struct frame_desc *d = &s->desc[frame];
	uint64_t stamp = shared_load64(&d->touched), key[4];
	uint32_t at;

	s->n_sealed++;
	s->touched_sum += stamp;
	p->touch_clock = MAX(p->touch_clock, stamp);
	if (pool_is_twin(p, s, frame))
		return 0;
	pool_sealed_count(p, s, frame, 1);
	a->order[a->n_order++] = (struct recency){ stamp, s->base + frame };
	shared_load_words(key, d->key, 4);
	if (pool_find(p, key, shared_load64(&d->part), &at))
		return 0;
	return pool_index_insert(p, s, frame);
}

/* Not pool_frame_owner_died(): the gauges do not count it yet. */
static void grant_orphan(struct pool *p, struct pool_slab *s, uint32_t frame)
{
	bool device = shared_load64(&s->desc[frame].grant_flags) &
		      FRAME_GRANT_DEVICE;

	pool_frame_step(s, frame,
			device ? FRAME_EV_QUARANTINE : FRAME_EV_OWNER_DIED);
	pool_count(p, POOL_C_quarantines, device);
}

/* Which of a device's units it is that a frame has lost is not known any more. */
static void unit_fails(struct pool *p, const struct pool_slab *s,
		       uint32_t frame)
{
	if (s->payload.kind == SEGMENT_DAX)
		pool_low_fails(p->low,
			       s->payload.offset + frame * s->frame_bytes,
			       s->frame_bytes);
}

static int frame_attach(struct attach *a, struct pool_slab *s, uint32_t frame)
{
	struct pool *p = a->p;

	if (pool_frame_state(s, frame) == FRAME_GRANTED &&
	    !writer_lives(a, shared_load64(&s->desc[frame].owner)))
		grant_orphan(p, s, frame);
	switch (pool_frame_state(s, frame)) {
	case FRAME_SEALED:
		return sealed_attach(a, s, frame);
	case FRAME_GRANTED:
		s->n_granted++;
		pool_count(p, POOL_C_granted, 1);
		return 0;
	case FRAME_DOOMED:
		pool_index_remove(p, s, frame); /* the word went first */
		s->n_doomed++;
		pool_count(p, POOL_C_leaving, 1);
		return 0;
	case FRAME_QUARANTINED:
		if (pool_frame_is_broken(s, frame))
			unit_fails(p, s, frame);
		s->n_quarantined++;
		pool_count(p, POOL_C_quarantined, 1);
		return 0;
	case FRAME_FREE:
		if (pool_frame_is_broken(s, frame)) {
			unit_fails(p, s, frame);
			pool_frame_keep(p, s, frame);
		} else {
			pool_free_push(p, s, frame);
		}
		return 0;
	default:
		return -EPROTO;
	}
}

static struct pool_slab *found_for(const struct pool *p,
				   const struct pool_slab *s, uint32_t frame,
				   uint32_t *ret_frame)
{
	const struct frame_desc *d = &s->desc[frame];
	uint64_t key[4];

	if (pool_frame_state(s, frame) != FRAME_SEALED)
		return NULL;
	shared_load_words(key, d->key, 4);
	return pool_find(p, key, shared_load64(&d->part), ret_frame);
}

/* What DRAM has is found there. */
static void twin_of_up(struct pool *p, struct pool_slab *s, uint32_t f)
{
	uint32_t lf;
	struct pool_slab *low = found_for(p, s, f, &lf);

	if (!low || !low->low)
		return;
	pool_index_switch(p, low, lf, s, f);
	pool_twin_link(p, s, f, low, lf);
}

/* What is found in DRAM has a twin here. */
static void twin_of_low(struct pool *p, struct pool_slab *s, uint32_t f)
{
	uint32_t uf;
	struct pool_slab *up = found_for(p, s, f, &uf);

	if (up && !up->low && pool_twin_of(p, up, uf) == POOL_NO_ITEM)
		pool_twin_link(p, up, uf, s, f);
}

/* What was known to be lost was to be DOOMED at once; a twin is found then. */
static void recover(struct pool *p, struct pool_slab *s, uint32_t f)
{
	(void)p;
	if (pool_frame_state(s, f) == FRAME_LEAVING)
		pool_frame_step(s, f, FRAME_EV_RECOVER);
	if (pool_frame_state(s, f) == FRAME_SEALED &&
	    unlikely(pool_frame_is_broken(s, f)))
		pool_frame_step(s, f, FRAME_EV_DOOM);
}

/* Of each frame of a slab that is in use. */
static void frames_each(struct pool *p, bool low,
			void (*fn)(struct pool *p, struct pool_slab *s,
				   uint32_t f))
{
	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];

		for (uint32_t f = 0;
		     s && !s->retiring && s->low == low && f < s->frames; f++)
			fn(p, s, f);
	}
}

static void twins_attach(struct pool *p)
{
	frames_each(p, false, twin_of_up);
	frames_each(p, true, twin_of_low);
}

static int frames_attach(struct attach *a)
{
	struct pool *p = a->p;

	/* before any frame is counted */
	frames_each(p, false, recover);
	frames_each(p, true, recover);
	if (p->low)
		twins_attach(p);

	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];
		int r = 0;

		if (!s)
			continue;
		pool_count(p, POOL_C_slabs, 1);
		pool_count(p,
			   s->low ? POOL_C_cxl_slab_bytes : POOL_C_slab_bytes,
			   s->payload.bytes);
		*(s->low ? &p->low->budget.used : &p->budget->used) +=
			s->payload.bytes;
		p->meta_bytes += s->desc_segment.bytes;
		if (s->retiring) {
			a->retiring = true;
			if (!s->low)
				pool_count(p, POOL_C_retiring_bytes,
					   s->payload.bytes);
			continue;
		}
		pool_count(p, POOL_C_frames, s->frames);
		p->arena[s->arena].slabs++;
		for (uint32_t f = s->frames; f-- > 0 && r == 0;)
			r = frame_attach(a, s, f);
		if (r < 0)
			return r;
	}
	return 0;
}

static int by_stamp(const void *x, const void *y)
{
	const struct recency *a = x, *b = y;

	return (a->stamp > b->stamp) - (a->stamp < b->stamp);
}

/* When something was used is not kept, but in which order, and when it was sealed:
 * not before anything that was used before it. For policies to which what comes in
 * one moment is one. */
static void order_attach(struct attach *a)
{
	struct pool *p = a->p;
	uint64_t now_ms = 0;
	uint64_t end_ms = shared_load64(&p->m->header.alive_ms);

	qsort(a->order, a->n_order, sizeof(*a->order), by_stamp);
	for (size_t i = 0; i < a->n_order; i++) {
		uint32_t frame;
		struct pool_slab *s = pool_item(p, a->order[i].item, &frame);

		now_ms = MAX(now_ms,
			     MIN(shared_load64(&s->desc[frame].sealed_ms),
				 end_ms));
		if (p->policy_ops->tick)
			p->policy_ops->tick(p->policy, now_ms);
		p->policy_ops->insert(p->policy, s->arena, a->order[i].item,
				      a->order[i].stamp);
	}
}

/* Owners that ended while no server was there. */
static void orphans_attach(struct attach *a)
{
	for (uint32_t id = 1; id < a->p->slab_end; id++) {
		struct pool_slab *s = a->p->slab[id];

		if (s && s->owner && !owner_lives(a, s->owner))
			pool_slabs_orphan(a->p, s->owner);
	}
}

static int attach_all(struct attach *a)
{
	struct pool *p = a->p;
	int r = meta_attach(a), s;

	if (r < 0)
		return r;
	r = slabs_attach(a);
	if (r < 0)
		return r;
	r = index_attach(a);
	if (r < 0 && r != -ENOENT)
		return r;
	s = pool_sessions_attach(p, a->given);
	if (s < 0)
		return s;
	hold_set_drop_pool(a->given, p->hold, p->number);
	if (r == -ENOENT)
		r = pool_index_create(p, p->items.end + 1024);
	if (r < 0)
		return r;
	a->order = mem_array(p->items.end, sizeof(*a->order));
	if (!a->order)
		return -ENOMEM;
	gauges_clear(p);
	r = frames_attach(a);
	if (r < 0)
		return r;
	order_attach(a);
	orphans_attach(a);
	/* a slab may have been marked RETIRING just before the number grew */
	if (a->retiring)
		pool_region_changed(p);
	pool_set(p, POOL_C_meta_bytes, p->meta_bytes);
	return 0;
}

int pool_attach(const struct pool_options *options, struct hold_set *given,
		bool (*alive)(void *ctx, uint64_t client), void *ctx,
		struct pool **ret_pool)
{
	struct attach a = { .given = given, .alive = alive, .ctx = ctx };
	int r = pool_alloc(options, &a.p);

	if (r < 0)
		return r;
	r = attach_all(&a);
	free(a.order);
	if (r < 0) {
		pool_destroy(a.p);
		return r;
	}
	*ret_pool = a.p;
	return 0;
}

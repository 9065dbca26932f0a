/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs: put into service, given another shape or owner, retired.
 *
 * Crash order: descriptors held, then the record published (word LIVE); record
 * withdrawn, then descriptors dropped. Reshaping withdraws the old record
 * before it publishes the new one, so two live records never name the same
 * memory; a crash between them loses an empty slab, which the next server's
 * budget does not count.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "base/fault.h"
#include "base/log.h"
#include "pool/internal.h"

uint64_t pool_desc_bytes(uint32_t frames)
{
	return ALIGN_UP((uint64_t)frames * sizeof(struct frame_desc),
			PAGE_BYTES);
}

void pool_slab_free(struct pool_slab *s)
{
	if (!s)
		return;
	segment_close(&s->payload);
	segment_close(&s->desc_segment);
	free(s);
}

static struct slab_record *record(struct pool *p, uint32_t id)
{
	return &p->m->slab[id];
}

/* Release: pairs with the clients' acquire of the word (record_word()). */
void pool_slab_step(struct pool *p, uint32_t id, enum slab_event event)
{
	shared_u64 *word = &record(p, id)->word;
	uint64_t next = 0;
	int r = slab_step(shared_load64(word), event, &next);

	must(r == 0);
	if (next != shared_load64(word))
		shared_store64_release(word, next);
}

static uint32_t unused_id(const struct pool *p)
{
	uint32_t id = 1;

	while (id < LAYOUT_SLABS_MAX && p->slab[id])
		id++;
	return id;
}

static int slab_hold(struct pool *p, struct pool_slab *s)
{
	uint64_t tag = hold_slab_id(s->id, s->gen);
	int r = pool_hold(p, HOLD_DESC, tag, s->desc_segment.fd);

	if (r < 0)
		return r;
	r = pool_hold(p, HOLD_PAYLOAD, tag, s->payload.fd);
	if (r < 0)
		pool_drop(p, HOLD_DESC, tag);
	return r;
}

/* Room for all frames that this shape may bring, so that an index of millions
 * is not rebuilt while it is in use; where that would be extravagant, for what
 * is there. */
#define ENTRIES_AHEAD (4ull << 20)

static uint64_t entries_expected(const struct pool *p,
				 const struct pool_slab *s)
{
	uint64_t now = pool_counter(p, POOL_C_frames) + s->frames;
	uint64_t all = p->budget->limit + (p->low ? p->low->budget.limit : 0);
	uint64_t ahead = all / s->frame_bytes;

	return MAX(now + now / 4, MIN(ahead, ENTRIES_AHEAD));
}

static uint32_t owner_uid(const struct pool *p, uint64_t owner)
{
	const struct client_record *rec = &p->m->client[client_id_index(owner)];

	if (owner == CLIENT_SERVER)
		return UID_SERVER;
	return (uint32_t)shared_load64(&rec->pid_uid);
}

/* Everything that can fail, and nothing that others see. On failure the
 * payload is still the caller's. */
static int slab_prepare(struct pool *p, const struct segment *payload,
			const struct pool_slab *want, struct pool_slab **ret)
{
	struct pool_slab *s = mem_alloc(sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	*s = *want;
	s->payload = SEGMENT_NONE;
	s->desc_segment = SEGMENT_NONE;
	s->low = segment_is_low(payload->kind);
	r = -ENOSPC;
	s->id = unused_id(p);
	if (s->id == LAYOUT_SLABS_MAX)
		goto fail;
	s->writer_uid = owner_uid(p, s->owner);
	s->gen = slab_word_gen(shared_load64(&record(p, s->id)->word)) + 1;
	r = segment_create("onecopy-frames", pool_desc_bytes(s->frames),
			   p->segment_flags, &s->desc_segment);
	if (r < 0)
		goto fail;
	s->desc = s->desc_segment.base;
	r = pool_index_reserve(p, entries_expected(p, s));
	if (r < 0)
		goto fail;
	r = pool_arena_of(p, s->owner, s->shape, s->low, &s->arena);
	if (r < 0)
		goto fail;
	r = pool_items_take(p, s);
	if (r < 0)
		goto fail_arena;
	s->payload = *payload;
	r = slab_hold(p, s);
	if (r < 0) {
		s->payload = SEGMENT_NONE;
		goto fail_items;
	}
	*ret = s;
	return 0;
fail_items:
	pool_items_give(p, s);
fail_arena:
	pool_arena_put(p, s->arena);
fail:
	must(r < 0);
	pool_slab_free(s);
	return r;
}

/* before: the record under which clients know the same memory, or NULL: who was
 * given it then may have it mapped still. */
static void record_store(struct pool *p, const struct pool_slab *s,
			 const struct slab_record *before)
{
	struct slab_record *rec = record(p, s->id);

	shared_store64(&rec->frame_bytes, s->frame_bytes);
	shared_store64(&rec->frames_kind,
		       slab_frames_kind(s->frames, s->stripes,
					(uint32_t)s->payload.kind));
	shared_store64(&rec->bytes, s->payload.bytes);
	shared_store64(&rec->desc_bytes, s->desc_segment.bytes);
	shared_store64(&rec->owner, s->owner);
	shared_store64(&rec->writer_place,
		       s->payload.offset / SEGMENT_DAX_UNIT << 32 |
			       s->writer_uid);
	shared_store64(&rec->retire_epoch, 0);
	for (size_t i = 0; i < ARRAY_LEN(rec->given); i++)
		shared_store64(&rec->given[i],
			       before ? shared_load64(&before->given[i]) : 0);
	pool_slab_step(p, s->id, SLAB_EV_ADD);
	must(slab_word_gen(shared_load64(&rec->word)) == s->gen);
}

/* What a slab's bytes count in. */
static enum pool_counter slab_gauge(const struct pool_slab *s)
{
	return s->low ? POOL_C_cxl_slab_bytes : POOL_C_slab_bytes;
}

static struct pool_budget *slab_budget(struct pool *p,
				       const struct pool_slab *s)
{
	return s->low ? &p->low->budget : p->budget;
}

static void slab_publish(struct pool *p, struct pool_slab *s,
			 const struct slab_record *before)
{
	record_store(p, s, before);
	p->slab[s->id] = s;
	p->slab_end = MAX(p->slab_end, s->id + 1);
	p->arena[s->arena].slabs++;
	pool_meta_account(p, s->desc_segment.bytes, 0);
	pool_count(p, POOL_C_slabs, 1);
	pool_count(p, POOL_C_frames, s->frames);
	pool_count(p, slab_gauge(s), s->payload.bytes);
	/* the first frame ends up at the head */
	for (uint32_t f = s->frames; f-- > 0;)
		pool_free_push(p, s, f);
	pool_region_changed(p);
}

int pool_low_take(struct pool_low *low, uint64_t bytes,
		  struct segment_source *ret_source)
{
	uint32_t at = 0, n = (uint32_t)(bytes / SEGMENT_DAX_UNIT);
	int r;

	if (bytes >
	    low->budget.limit - MIN(low->budget.used, low->budget.limit))
		return -ENOSPC;
	*ret_source = low->source;
	if (low->source.kind == SEGMENT_DAX) {
		r = range_take(&low->units, n, &at);
		if (r < 0)
			return r;
		/* room there is, and none of it in one piece */
		if (at + (uint64_t)n > low->budget.limit / SEGMENT_DAX_UNIT) {
			range_give(&low->units, at, n);
			return -ENOSPC;
		}
		ret_source->offset = at * SEGMENT_DAX_UNIT;
	}
	low->budget.used += bytes;
	return 0;
}

static bool is_bad(const struct pool_low *low, uint32_t unit)
{
	for (size_t i = 0; i < low->n_bad; i++)
		if (low->bad[i] == unit)
			return true;
	return false;
}

void pool_low_give(struct pool_low *low, const struct segment *memory)
{
	uint32_t at = (uint32_t)(memory->offset / SEGMENT_DAX_UNIT), good = at;
	uint32_t end = at + (uint32_t)(memory->bytes / SEGMENT_DAX_UNIT);

	if (memory->kind != SEGMENT_DAX)
		return;
	for (; at < end; at++) {
		if (likely(!is_bad(low, at)))
			continue;
		if (at > good)
			range_give(&low->units, good, at - good);
		good = at + 1;
		low->aside += SEGMENT_DAX_UNIT;
		low->budget.used += SEGMENT_DAX_UNIT;
	}
	if (end > good)
		range_give(&low->units, good, end - good);
}

static int bad_reserve(struct pool_low *low)
{
	uint32_t *grown;
	size_t cap = low->bad_cap ? 2 * low->bad_cap : 16;

	if (low->n_bad < low->bad_cap)
		return 0;
	grown = mem_grow(low->bad, cap, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	low->bad = grown;
	low->bad_cap = cap;
	return 0;
}

void pool_low_fails(struct pool_low *low, uint64_t offset, uint64_t bytes)
{
	uint64_t end = DIV_UP(offset + bytes, SEGMENT_DAX_UNIT);

	for (uint64_t at = offset / SEGMENT_DAX_UNIT; at < end; at++)
		if (!is_bad(low, (uint32_t)at) && bad_reserve(low) == 0)
			low->bad[low->n_bad++] = (uint32_t)at;
}

void pool_low_fini(struct pool_low *low)
{
	range_fini(&low->units);
	free(low->bad);
	low->bad = NULL;
}

int pool_slab_add(struct pool *p, struct segment *payload, uint64_t owner,
		  struct pool_shape shape, uint32_t frames, uint32_t *ret_id)
{
	struct pool_slab want = { .frames = frames,
				  .shape = shape,
				  .owner = owner };
	struct pool_slab *s;
	int r = slab_prepare(p, payload, &want, &s);

	if (r < 0) {
		segment_close(payload);
		return r;
	}
	*payload = SEGMENT_NONE;
	slab_publish(p, s, NULL);
	pool_count(p, POOL_C_slabs_made, 1);
	*ret_id = s->id;
	return 0;
}

/* Takes a slab's free frames off its arena's list. */
static void unlink_free(struct pool *p, struct pool_slab *s)
{
	for (uint32_t f = 0; f < s->frames && !s->draining; f++)
		if (pool_frame_state(s, f) == FRAME_FREE)
			pool_free_unlink(p, s, f);
}

void pool_slab_drain(struct pool *p, uint32_t id)
{
	unlink_free(p, p->slab[id]);
	p->slab[id]->draining = true;
}

void pool_slab_undrain(struct pool *p, uint32_t id)
{
	struct pool_slab *s = p->slab[id];

	s->draining = false;
	for (uint32_t f = s->frames; f-- > 0;)
		if (pool_frame_state(s, f) == FRAME_FREE)
			pool_free_link(p, s, f);
}

/* Takes an empty slab's frames out of service: nothing is granted from it. */
static void slab_withdraw_frames(struct pool *p, struct pool_slab *s)
{
	struct pool_arena *a = &p->arena[s->arena];

	must(pool_slab_empty(s));
	unlink_free(p, s);
	pool_count(p, POOL_C_free_frames, -(uint64_t)s->n_free);
	pool_count(p, POOL_C_quarantined, -(uint64_t)s->n_quarantined);
	pool_count(p, POOL_C_frames, -(uint64_t)s->frames);
	a->slabs--;
	pool_arena_put(p, s->arena);
	s->arena = POOL_NO_ARENA;
	s->n_free = 0;
	s->n_quarantined = 0;
}

/* Record first, descriptors second. The payload's bytes leave the budget
 * unless somebody else took the segment over. */
static void slab_end(struct pool *p, struct pool_slab *s, bool memory_stays)
{
	uint64_t tag = hold_slab_id(s->id, s->gen);

	pool_slab_step(p, s->id, memory_stays ? SLAB_EV_MOVE : SLAB_EV_FINISH);
	pool_region_changed(p);
	pool_drop(p, HOLD_PAYLOAD, tag);
	pool_drop(p, HOLD_DESC, tag);
	pool_count(p, POOL_C_slabs, -1ull);
	pool_count(p, slab_gauge(s), -s->payload.bytes);
	if (!memory_stays) {
		slab_budget(p, s)->used -= s->payload.bytes;
		pool_low_give(p->low, &s->payload);
	}
	pool_meta_account(p, 0, s->desc_segment.bytes);
	pool_items_give(p, s);
	p->slab[s->id] = NULL;
	if (s->registered && p->unmapping)
		p->unmapping(p->unmapping_ctx, s->payload.base,
			     s->payload.bytes);
	pool_slab_free(s);
}

int pool_slab_reshape(struct pool *p, uint32_t id, uint64_t owner,
		      struct pool_shape shape, uint32_t *ret_id)
{
	struct pool_slab *old = p->slab[id], *s;
	struct segment payload = old->payload;
	uint64_t frames = payload.bytes / shape.frame_bytes;
	struct pool_slab want = { .shape = shape, .owner = owner };
	int r;

	if (old->n_quarantined)
		return -EBUSY;
	if (!frames)
		return -E2BIG;
	want.frames = (uint32_t)MIN(frames, (uint64_t)FRAME_IN_SLAB_MAX);
	payload.base = NULL;
	payload.fd = fault_point(FAULT_IO)
			     ? -1
			     : fcntl(old->payload.fd, F_DUPFD_CLOEXEC, 3);
	if (payload.fd < 0)
		return -EMFILE;
	r = slab_prepare(p, &payload, &want, &s);
	if (r < 0) {
		payload.fd = fd_close(payload.fd);
		return r;
	}
	slab_withdraw_frames(p, old);
	slab_end(p, old, true);
	slab_publish(p, s, record(p, id));
	pool_count(p, POOL_C_slabs_moved, 1);
	*ret_id = s->id;
	return 0;
}

void pool_slab_retire(struct pool *p, uint32_t id)
{
	struct pool_slab *s = p->slab[id];
	struct slab_record *rec = record(p, id);
	uint64_t epoch = shared_load64(&p->m->header.region_epoch) + 1;

	slab_withdraw_frames(p, s);
	s->retiring = true;
	if (!s->low)
		pool_count(p, POOL_C_retiring_bytes, s->payload.bytes);
	shared_store64(&rec->retire_epoch, epoch);
	pool_slab_step(p, id, SLAB_EV_RETIRE);
	pool_region_changed(p);
}

void pool_slab_finish(struct pool *p, uint32_t id)
{
	struct pool_slab *s = p->slab[id];

	must(s->retiring);
	if (!s->low)
		pool_count(p, POOL_C_retiring_bytes, -s->payload.bytes);
	pool_count(p, POOL_C_slabs_retired, 1);
	slab_end(p, s, false);
}

void pool_slabs_orphan(struct pool *p, uint64_t owner)
{
	for (uint32_t id = 1; id < p->slab_end; id++) {
		struct pool_slab *s = p->slab[id];

		if (!s || s->owner != owner)
			continue;
		pool_slab_step(p, id, SLAB_EV_ORPHAN);
		s->owner = 0;
		shared_store64(&record(p, id)->owner, 0);
	}
	for (uint32_t i = 0; i < p->n_arenas; i++) {
		struct pool_arena *a = &p->arena[i];

		if (a->used && a->owner == owner) {
			a->owner = 0;
			a->making = 0; /* what arrives is not for it */
			pool_arena_put(p, i);
		}
	}
}

uint64_t pool_owned_bytes(const struct pool *p, uint64_t owner)
{
	uint64_t bytes = 0;

	for (uint32_t id = 1; id < p->slab_end; id++)
		if (p->slab[id] && p->slab[id]->owner == owner &&
		    !p->slab[id]->low)
			bytes += p->slab[id]->payload.bytes;
	return bytes;
}

struct slices pool_payload(struct pool_slab *s, uint32_t frame)
{
	struct slices part = { 0 };

	if (!s->payload.base) {
		void *base = fault_point(FAULT_MAP)
				     ? MAP_FAILED
				     : mmap(NULL, s->payload.bytes,
					    s->owner == CLIENT_SERVER
						    ? PROT_READ | PROT_WRITE
						    : PROT_READ,
					    MAP_SHARED, s->payload.fd,
					    (off_t)s->payload.offset);

		if (base == MAP_FAILED)
			return part;
		s->payload.base = base;
	}
	part.base = (uint8_t *)s->payload.base + pool_frame_offset(s, frame);
	if (s->stripes) {
		part.bytes = pool_slab_step_bytes(s);
		part.stride = s->frames * part.bytes;
	}
	return part;
}

bool pool_frame_meets(const struct pool_slab *s, uint32_t frame, uint64_t from,
		      uint64_t end)
{
	uint64_t step = pool_slab_step_bytes(s);
	uint64_t at = pool_frame_offset(s, frame);

	for (uint32_t i = 0; i < MAX(s->stripes, 1u); i++) {
		if (at < end && at + step > from)
			return true;
		at += s->frames * step;
	}
	return false;
}

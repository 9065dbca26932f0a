/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slabs and index segments that this client has mapped.
 *
 * A slab is mapped when a frame in it is met, and dropped when its record
 * changed (it retires, or its id names another slab now). The server retires a
 * slab only when nobody holds a frame in it, so dropping takes nothing away
 * from anyone; a probe under way reads zeros and misses.
 *
 * Order of mapping, for readers without a lock: payload, its shape, the
 * announcement, the descriptors, the pointer, the count. A reader that
 * validated a pin therefore finds the shape that belongs to its descriptor.
 */
#include "client/client.h"
#include "client/shards.h"
#include <fcntl.h>
#include <stdlib.h>
#include "base/fault.h"

/* A pin may wait this long for a grown index before it reports a miss. */
#define INDEX_WAIT_NS  (250 * NS_PER_MS)
#define INDEX_RETRY_NS NS_PER_S

static uint64_t record_word(const oc_client *c, uint32_t slab)
{
	return shared_load64_acquire(&c->meta->slab[slab].word);
}

static void tell(const oc_client *c, uint32_t slab, int event)
{
	const struct client_slab *r = &c->slab[slab];
	const struct region_info *info = &c->info[slab];
	struct oc_region region = {
		.id = slab,
		.kind = info->kind,
		.writable = info->writable,
		.base = atomic_load_explicit(&r->data, memory_order_relaxed),
		.bytes = info->bytes,
		.frame_bytes = region_form(r).frame_bytes,
	};

	if (c->on_region)
		c->on_region(c->region_ctx, event, &region);
}

static void payload_close(oc_client *c, struct region_info *info)
{
	if (!info->payload)
		return;
	fd_close(info->payload - 1);
	info->payload = 0;
	c->payloads--;
}

static int drop(oc_client *c, uint32_t slab)
{
	struct region_info *info = &c->info[slab];
	int r;

	payload_close(c, info);

	if (!info->told_gone)
		tell(c, slab, OC_REGION_GOES);
	info->told_gone = true;
	atomic_store_explicit(&c->slab[slab].frames, 0, memory_order_release);
	r = place_empty(&info->desc);
	if (r == 0)
		r = place_empty(&info->data);
	if (r)
		return client_fail(c, r, "cannot unmap region %u: %s", slab,
				   oc_strerror(r));
	info->word = 0;
	info->told_gone = false;
	return 0;
}

/* Room for `bytes` in a place; the old addresses stay until the end. */
static int make_room(oc_client *c, struct place *p, uint64_t bytes)
{
	struct leftover *old = NULL;
	struct place larger;
	int r;

	if (p->bytes >= bytes)
		return 0;
	if (p->base) {
		old = mem_alloc(sizeof(*old));
		if (!old)
			return -ENOMEM;
	}
	r = place_reserve(&larger, bytes);
	if (r) {
		free(old);
		return r;
	}
	if (old) {
		*old = (struct leftover){ c->leftovers, *p };
		c->leftovers = old;
	}
	*p = larger;
	return 0;
}

static uint64_t form_of(const struct slab_record *rec)
{
	uint64_t bytes = shared_load64(&rec->frame_bytes);
	uint32_t stripes = slab_stripes(rec);

	return form_word(stripes ? bytes / stripes : bytes, stripes,
			 slab_frames(rec));
}

/* Both segments are mapped somewhere: moves them in and shows them. */
static int publish(oc_client *c, uint32_t slab, uint64_t word,
		   struct segment *data, struct segment *desc)
{
	const struct slab_record *rec = &c->meta->slab[slab];
	struct region_info *info = &c->info[slab];
	struct client_slab *r = &c->slab[slab];
	int rc;

	rc = make_room(c, &info->desc, desc->bytes);
	if (rc == 0)
		rc = make_room(c, &info->data, data->bytes);
	if (rc == 0)
		rc = place_fill(&info->data, data,
				info->writable ? PLACE_WRITE : PLACE_LATER);
	if (rc)
		return rc;
	info->bytes = data->bytes;
	info->kind = slab_kind(rec);
	atomic_store_explicit(&r->form, form_of(rec), memory_order_relaxed);
	atomic_store_explicit(&r->data, info->data.base, memory_order_relaxed);
	tell(c, slab, OC_REGION_COMES);
	/* Present at once: a hit does not fault. */
	rc = place_fill(&info->desc, desc, PLACE_READ);
	if (rc) {
		tell(c, slab, OC_REGION_GOES);
		place_empty(&info->data);
		return rc;
	}
	info->word = word;
	c->regions_met = MAX(c->regions_met, slab + 1);
	atomic_store_explicit(&r->desc, (const void *)info->desc.base,
			      memory_order_release);
	atomic_store_explicit(&r->frames, slab_frames(rec),
			      memory_order_release);
	return 0;
}

/* Do the record's numbers fit the segments? */
static bool shape_fits(const struct slab_record *rec, uint64_t bytes,
		       uint64_t desc_bytes)
{
	uint64_t frames = slab_frames(rec);
	uint64_t frame_bytes = shared_load64(&rec->frame_bytes);
	uint32_t stripes = slab_stripes(rec);

	/* what a form can say */
	if (frame_bytes % FORM_UNIT || frame_bytes > LAYOUT_PART_MAX ||
	    stripes > LAYOUT_STRIPES_MAX ||
	    (stripes && frame_bytes % (stripes * PAGE_BYTES)))
		return false;

	return frames > 0 && frames <= FRAME_IN_SLAB_MAX && frame_bytes > 0 &&
	       frames <= desc_bytes / sizeof(struct frame_desc) &&
	       frame_bytes <= bytes / frames;
}

static int map_answer(oc_client *c, uint32_t slab, uint64_t word,
		      struct answer *a)
{
	const struct slab_record *rec = &c->meta->slab[slab];
	const struct msg_region *m = &a->msg.region;
	struct segment data = SEGMENT_NONE, desc = SEGMENT_NONE;
	bool own = m->writable && shared_load64(&rec->owner) == c->id &&
		   !c->read_only;
	/* of a record that changes meanwhile, the word says so in the end */
	enum segment_kind kind = (enum segment_kind)slab_kind(rec);
	int r = -EPROTO;

	if (a->n_fds != 2 || m->region != slab ||
	    m->generation != slab_word_gen(word))
		return client_fail(c, r, "a malformed answer about region %u",
				   slab);
	r = segment_map_consume_kind(a->fds[0], kind, slab_place(rec), m->bytes,
				     own, false, &data);
	if (r == 0) {
		a->fds[0] = -1;
		r = segment_map_consume(a->fds[1], m->desc_bytes, false, false,
					&desc);
	}
	if (r == 0) {
		a->fds[1] = -1;
		c->info[slab].writable = own;
		if (!shape_fits(rec, data.bytes, desc.bytes))
			r = -EPROTO;
		else if (record_word(c, slab) != word)
			r = OC_MISS;
		else
			r = publish(c, slab, word, &data, &desc);
	}
	segment_close(&data);
	segment_close(&desc);
	if (r < 0)
		client_fail(c, r, "cannot map region %u (%llu bytes): %s", slab,
			    (unsigned long long)m->bytes, oc_strerror(r));
	return r;
}

static int need_locked(oc_client *c, uint32_t slab, uint64_t deadline)
{
	uint64_t word = record_word(c, slab);
	struct region_info *info = &c->info[slab];
	struct answer a = { .n_fds = 0 };
	union msg m;
	int r;

	if (info->word && info->word != word) {
		r = drop(c, slab);
		if (r)
			return r;
	}
	if (slab_word_state(word) != SLAB_LIVE)
		return OC_MISS;
	if (info->word)
		return 0;
	msg_init(&m, MSG_REGION, 0);
	m.region.region = slab;
	m.region.generation = slab_word_gen(word);
	r = talk_ask(c, &m, deadline, &a);
	if (r == 0)
		r = map_answer(c, slab, word, &a);
	answer_fini(&a);
	/* It went while we asked. */
	return r == -ENOENT || r == -ESTALE ? OC_MISS : r;
}

static int take_slow(oc_client *c, uint64_t deadline)
{
	int r = lock_take(&c->slow, deadline);

	return r ? client_fail(c, r,
			       "other threads wait for the server's answers")
		 : 0;
}

int region_need(oc_client *c, uint32_t slab, uint64_t deadline)
{
	int r;

	if (slab == 0 || slab >= LAYOUT_SLABS_MAX)
		return OC_MISS;
	r = take_slow(c, deadline);
	if (r)
		return r;
	r = need_locked(c, slab, deadline);
	lock_drop(&c->slow);
	return r;
}

static int payload_again(const struct region_info *info, int *ret_fd)
{
	int fd = fault_point(FAULT_IO)
			 ? -1
			 : fcntl(info->payload - 1, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return -EMFILE;
	*ret_fd = fd;
	return 0;
}

/* What cannot be kept is asked for again. */
static void payload_keep(oc_client *c, struct region_info *info, int fd)
{
	int mine = c->payloads < REGION_PAYLOADS ? fcntl(fd, F_DUPFD_CLOEXEC, 0)
						 : -1;

	if (mine < 0)
		return;
	info->payload = mine + 1;
	c->payloads++;
}

static int descriptor_locked(oc_client *c, uint32_t slab, uint64_t deadline,
			     int *ret_fd)
{
	struct answer a = { .n_fds = 0 };
	union msg m;
	int r;

	if (c->info[slab].payload)
		return payload_again(&c->info[slab], ret_fd);
	msg_init(&m, MSG_REGION, 0);
	m.region.region = slab;
	m.region.generation = slab_word_gen(record_word(c, slab));
	r = talk_ask(c, &m, deadline, &a);
	if (r == 0 && (a.n_fds != 2 || a.msg.region.region != slab ||
		       a.msg.region.bytes != c->info[slab].bytes))
		r = client_fail(c, -EPROTO,
				"a malformed answer about region %u", slab);
	if (r == 0) {
		*ret_fd = fd_take(&a.fds[0]);
		payload_keep(c, &c->info[slab], *ret_fd);
	}
	answer_fini(&a);
	return r == -ENOENT ? -ESTALE : r;
}

int region_descriptor_kept(oc_client *c, uint32_t slab, int *ret_fd)
{
	const struct region_info *info = &c->info[slab];
	int r = -EAGAIN;

	if (!lock_try(&c->slow))
		return r;
	if (info->payload && info->word == record_word(c, slab))
		r = payload_again(info, ret_fd);
	lock_drop(&c->slow);
	return r;
}

int region_descriptor(oc_client *c, uint32_t slab, uint64_t deadline,
		      int *ret_fd)
{
	int r;

	if (slab == 0 || slab >= LAYOUT_SLABS_MAX)
		return -ESTALE;
	r = take_slow(c, deadline);
	if (r)
		return r;
	/* What is not mapped here has no frame that anybody could have pinned. */
	r = c->info[slab].word && c->info[slab].word == record_word(c, slab)
		    ? descriptor_locked(c, slab, deadline, ret_fd)
		    : -ESTALE;
	lock_drop(&c->slow);
	return r;
}

/* ---- following the node ---- */

/* Drops what changed. The epoch is read before the records: a record that
 * changes later has a later epoch. */
static void follow_slabs(oc_client *c)
{
	uint64_t epoch = shared_load64_acquire(&c->meta->header.region_epoch);

	if (epoch ==
	    atomic_load_explicit(&c->seen_region, memory_order_relaxed))
		return;
	for (uint32_t i = 1; i < c->regions_met; i++)
		if (c->info[i].word && c->info[i].word != record_word(c, i) &&
		    drop(c, i))
			return; /* the next call tries again */
	/* Release: the unmapping above comes before the server reuses it. Pairs
	 * with let_go(). */
	shared_store64_release(&c->seg->header.let_go_epoch, epoch);
	atomic_store_explicit(&c->seen_region, epoch, memory_order_relaxed);
}

/* A view of its own on a mapped segment. */
static int make_view(struct segment *s, struct view **ret_view)
{
	uint64_t bytes = s->bytes;
	struct view *view = mem_alloc(sizeof(*view));
	int r;

	if (!view)
		return -ENOMEM;
	r = place_reserve(&view->place, bytes);
	if (r == 0)
		r = place_fill(&view->place, s, PLACE_READ);
	if (r == 0)
		r = table_attach(&view->table, view->place.base, bytes);
	if (r) {
		place_close(&view->place);
		free(view);
		return r;
	}
	*ret_view = view;
	return 0;
}

/* Takes the mapping into a view that readers find. */
static int show_view(oc_client *c, struct segment *s, uint64_t epoch)
{
	struct view *old = atomic_load_explicit(&c->view, memory_order_relaxed);
	struct view *view;
	int r = make_view(s, &view);

	if (r)
		return r;
	view->next = old;
	/* Release: pairs with the acquire in footing_get(). */
	atomic_store_explicit(&c->view, view, memory_order_release);
	atomic_store_explicit(&c->seen_index, epoch, memory_order_relaxed);
	/* Gives the memory back; a failure only delays that. */
	if (old)
		place_empty(&old->place);
	return 0;
}

int region_first_view(oc_client *c, int fd, uint64_t bytes, uint64_t epoch)
{
	struct segment s = SEGMENT_NONE;
	int r = segment_map_consume(fd, bytes, false, false, &s);

	if (r == 0)
		r = show_view(c, &s, epoch);
	segment_close(&s);
	return r;
}

static int fetch_index(oc_client *c, uint64_t deadline)
{
	struct segment s = SEGMENT_NONE;
	struct answer a = { .n_fds = 0 };
	union msg m;
	int r;

	msg_init(&m, MSG_INDEX, 0);
	m.index.epoch = shared_load64_acquire(&c->meta->header.index_epoch);
	r = talk_ask(c, &m, deadline, &a);
	if (r == 0 && a.n_fds != 1)
		r = client_fail(c, -EPROTO, "an index without its memory");
	if (r == 0)
		r = segment_map_consume(a.fds[0], a.msg.index.bytes, false,
					false, &s);
	if (r == 0) {
		a.fds[0] = -1;
		r = show_view(c, &s, a.msg.index.epoch);
	}
	segment_close(&s);
	answer_fini(&a);
	return r;
}

static void follow_index(oc_client *c, uint64_t deadline)
{
	uint64_t now = clock_ns();

	if (shared_load64_acquire(&c->meta->header.index_epoch) ==
	    atomic_load_explicit(&c->seen_index, memory_order_relaxed))
		return;
	if (now <
	    atomic_load_explicit(&c->index_retry_ns, memory_order_relaxed))
		return;
	if (fetch_index(c, MIN(deadline, now + INDEX_WAIT_NS)) == 0 ||
	    deadline < now + INDEX_WAIT_NS)
		return; /* a caller in a hurry says nothing of the server */
	atomic_store_explicit(&c->index_retry_ns, clock_ns() + INDEX_RETRY_NS,
			      memory_order_relaxed);
}

void region_resync(oc_client *c, uint64_t deadline)
{
	/* Nothing but an index that could not be had a moment ago. */
	if (shared_load64(&c->meta->header.region_epoch) ==
		    atomic_load_explicit(&c->seen_region,
					 memory_order_relaxed) &&
	    clock_ns() < atomic_load_explicit(&c->index_retry_ns,
					      memory_order_relaxed))
		return;
	if (take_slow(c, deadline))
		return;
	follow_slabs(c);
	follow_index(c, deadline);
	lock_drop(&c->slow);
}

void region_follow(oc_client *c)
{
	if (!lock_try(&c->slow))
		return;
	follow_slabs(c);
	lock_drop(&c->slow);
}

void oc_region_each(oc_client *c, oc_region_fn fn, void *ctx)
{
	oc_region_fn own_fn = c->on_region;
	void *own_ctx = c->region_ctx;
	struct oc_region shards;

	if (client_is_child(c) || take_slow(c, client_deadline(c, 0)))
		return;
	c->on_region = fn;
	c->region_ctx = ctx;
	for (uint32_t i = 1; i < c->regions_met; i++)
		if (c->info[i].word && !c->info[i].told_gone)
			tell(c, i, OC_REGION_COMES);
	if (fn && shards_region(c, &shards))
		fn(ctx, OC_REGION_COMES, &shards);
	c->on_region = own_fn;
	c->region_ctx = own_ctx;
	lock_drop(&c->slow);
}

void region_close_all(oc_client *c)
{
	struct view *v = atomic_load_explicit(&c->view, memory_order_relaxed);

	for (uint32_t i = 1; c->info && i < LAYOUT_SLABS_MAX; i++) {
		payload_close(c, &c->info[i]);
		place_close(&c->info[i].desc);
		place_close(&c->info[i].data);
	}
	while (v) {
		struct view *next = v->next;

		place_close(&v->place);
		free(v);
		v = next;
	}
	while (c->leftovers) {
		struct leftover *next = c->leftovers->next;

		place_close(&c->leftovers->place);
		free(c->leftovers);
		c->leftovers = next;
	}
}

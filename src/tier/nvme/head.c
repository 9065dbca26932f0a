/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log segment that is being filled: places for parts, commit pages, and in
 * the end the summary.
 *
 * A commit page names parts whose payload is wholly written. One is written at a
 * time for a segment, each in a place of its own; what is finished meanwhile goes
 * into the next one. So parts that come together share a page, and one that comes
 * alone waits for nobody.
 *
 * The records of all its pages are kept in memory until it closes and are then
 * written once more, packed: a start reads that instead of the pages.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "tier/nvme/nvme.h"

#define COMMIT_WAIT_NS NS_PER_MS
#define DEAD_WAIT_NS   (5 * NS_PER_MS)
#define RECORD_WORST   (sizeof(struct log_entry) + sizeof(struct log_space))

/* ---- room --------------------------------------------------------------------- */

/* Units that must stay free above the payload: a page for each part that is on
 * its way, should each be committed alone; a page for tombstones; the summary of
 * everything; some where places are bad. */
static uint32_t reserve(const struct nvme_head *h, uint32_t more)
{
	const struct nvme *t = h->t;
	uint32_t parts = h->waits + h->writes + more;
	uint64_t deads =
		t->deads * (uint64_t)sizeof(struct log_tomb) + LOG_COMMIT_BYTES;
	uint64_t records = h->summary_bytes + parts * RECORD_WORST + deads;

	return parts + log_units_of(deads) + log_units_of(records) +
	       (t->segments[h->segment].bad ? LOG_COMMIT_GAP : 1);
}

static uint32_t room_for(const struct nvme_head *h, uint32_t units)
{
	uint32_t unit = nvme_bad_skip(h->t, h->segment, h->unit, units);

	if ((uint64_t)unit + units + reserve(h, 1) > h->low)
		return 0;
	return unit;
}

bool nvme_part_fits(const struct nvme *t, uint64_t bytes)
{
	return log_units_of(bytes) + LOG_FIRST_UNIT + 5 <= log_units(&t->g);
}

void nvme_head_destroy(struct nvme_head *h)
{
	if (!h)
		return;
	free(h->page);
	free(h->summary);
	free(h->spaces);
	free(h);
}

static int open_head(struct nvme *t)
{
	struct nvme_head *h = mem_alloc(sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->page = nvme_pages(LOG_UNIT);
	h->spaces = mem_array(LOG_SPACES_MAX / 8, 1);
	if (!h->page || !h->spaces) {
		nvme_head_destroy(h);
		return -ENOMEM;
	}
	h->t = t;
	h->tail = &h->waiting;
	h->unit = LOG_FIRST_UNIT;
	h->low = log_units(&t->g);
	h->segment = nvme_segment_free_take(t);
	t->segments[h->segment].state = SEGMENT_HEAD;
	h->next = t->heads;
	t->heads = t->head = h;
	return 0;
}

static void close_head(struct nvme *t)
{
	if (!t->head)
		return;
	t->segments[t->head->segment].state = SEGMENT_CLOSING;
	t->head->closing = true;
	t->head = NULL;
}

int nvme_head_place(struct nvme *t, uint64_t bytes, bool carry,
		    struct nvme_head **ret_head, uint32_t *ret_unit)
{
	uint32_t units = log_units_of(bytes), unit;
	int r;

	if (!nvme_part_fits(t, bytes))
		return -E2BIG;
	/* The last free one, and when it is open the rest of it, are for what the
	 * victim holds: a segment could else not be made free. Room for its
	 * tombstones is kept in reserve(), they wait since it was chosen. */
	if (t->frees == 0 && !carry)
		return -ENOSPC;
	unit = t->head ? room_for(t->head, units) : 0;
	if (unit == 0) {
		if (t->frees < (carry ? 1u : 2u))
			return -ENOSPC;
		close_head(t);
		r = open_head(t);
		if (r < 0)
			return r;
		unit = room_for(t->head, units);
		if (unit == 0)
			return -ENOSPC; /* its bad places */
	}
	*ret_head = t->head;
	*ret_unit = unit;
	t->head->unit = unit + units;
	t->head->writes++;
	t->segments[t->head->segment].units += units;
	return 0;
}

void nvme_head_unplace(const struct nvme_write *w)
{
	struct nvme_head *h = w->head;
	uint32_t units = (uint32_t)(w->io.bytes / LOG_UNIT);

	if (h->closing || h->unit != w->unit + units)
		return; /* it comes back with the segment */
	h->unit = w->unit;
	h->t->segments[h->segment].units -= units;
}

/* ---- records -------------------------------------------------------------------- */

struct emitter {
	uint8_t *at; /* records of the page */
	uint32_t bytes;
};

static void put(struct emitter *e, const void *record, size_t bytes)
{
	memcpy(e->at + e->bytes, record, bytes);
	e->bytes += (uint32_t)bytes;
}

static bool known(const struct nvme_head *h, uint32_t space)
{
	return h->spaces[space / 8] & 1u << space % 8;
}

static void put_space(struct nvme_head *h, struct emitter *e, uint32_t space)
{
	struct log_space s = { .tag = LOG_SPACE | space << 8 };

	if (known(h, space))
		return;
	s.space = h->t->spaces.space[space];
	put(e, &s, sizeof(s));
	h->spaces[space / 8] |= (uint8_t)(1u << space % 8);
}

static bool fits(const struct nvme_head *h, const struct emitter *e,
		 uint32_t space, size_t bytes)
{
	if (!known(h, space))
		bytes += sizeof(struct log_space);
	return e->bytes + bytes <= LOG_COMMIT_BYTES;
}

static void put_entry(struct nvme_head *h, struct emitter *e,
		      const struct nvme_write *w)
{
	const struct nvme_node *d = nvme_node(&h->t->index, w->node);
	struct log_entry r = {
		.tag = LOG_ENTRY | d->space << 8,
		.part = d->part,
		.unit = w->unit,
		.depth = d->depth,
		.checksum = d->checksum,
		.extent = d->extent,
		.gen = d->gen,
	};

	memcpy(r.key, d->key, sizeof(r.key));
	put_space(h, e, d->space);
	put(e, &r, sizeof(r));
}

static void put_tomb(struct nvme_head *h, struct emitter *e,
		     const struct nvme_node *d)
{
	struct log_tomb r = {
		.tag = LOG_TOMB | d->space << 8,
		.part = d->part,
		.segment = d->segment,
		.seq = d->checksum,
		.gen = d->gen,
	};

	memcpy(r.key, d->key, sizeof(r.key));
	put_space(h, e, d->space);
	put(e, &r, sizeof(r));
}

/* ---- a commit page ---------------------------------------------------------------- */

static void take_entries(struct nvme_head *h, struct emitter *e)
{
	struct nvme_write *w, **tail = &h->committing;

	while ((w = h->waiting)) {
		const struct nvme_node *d = nvme_node(&h->t->index, w->node);

		if (w->kind == WRITE_CARRY && !nvme_carry_on(w)) {
			h->waiting = w->next;
			h->waits--;
			nvme_write_over(w, -ECANCELED); /* it was removed */
			continue;
		}
		if (!fits(h, e, d->space, sizeof(struct log_entry)))
			break;
		put_entry(h, e, w);
		h->waiting = w->next;
		h->waits--;
		w->next = NULL;
		*tail = w;
		tail = &w->next;
	}
	if (!h->waiting)
		h->tail = &h->waiting;
	h->since_ns = h->t->now_ns;
}

static void dead_done(struct nvme *t, uint32_t n)
{
	struct nvme_node *d = nvme_node(&t->index, n);

	if (d->flags & NODE_CARRY)
		t->segments[t->victim].owed--;
	d->flags = 0;
}

static uint32_t dead_pop(struct nvme *t)
{
	uint32_t n = t->dead_first;

	t->dead_first = nvme_node(&t->index, n)->next;
	if (t->dead_first == NODE_NONE)
		t->dead_last = NODE_NONE;
	t->deads--;
	return n;
}

/* Tombstones whose entry cannot be found any more are not written. */
static void take_deads(struct nvme_head *h, struct emitter *e)
{
	struct nvme *t = h->t;
	uint32_t n;

	h->deads = NODE_NONE;
	if (h != t->head)
		return; /* room for them was kept in the open one */
	while ((n = t->dead_first) != NODE_NONE) {
		struct nvme_node *d = nvme_node(&t->index, n);

		if (t->segments[d->segment].seq != d->checksum) {
			dead_pop(t);
			dead_done(t, n);
			nvme_index_free(&t->index, n);
			continue;
		}
		if (!fits(h, e, d->space, sizeof(struct log_tomb)))
			break;
		put_tomb(h, e, d);
		dead_pop(t);
		d->next = h->deads;
		h->deads = n;
	}
	t->dead_ns = t->now_ns;
}

/* Without memory for the summary the pages are what a start reads. */
static void keep(struct nvme_head *h, const struct emitter *e)
{
	uint32_t need = h->summary_bytes + e->bytes;
	uint8_t *p;

	if (h->no_summary)
		return;
	if (need > h->summary_room) {
		uint32_t room = MAX(2 * h->summary_room, 4 * LOG_UNIT);

		p = nvme_pages(room);
		if (!p) {
			h->no_summary = true;
			return;
		}
		if (h->summary_bytes)
			memcpy(p, h->summary, h->summary_bytes);
		free(h->summary);
		h->summary = p;
		h->summary_room = room;
	}
	memcpy(h->summary + h->summary_bytes, e->at, e->bytes);
	h->summary_bytes = need;
}

static void submit(struct nvme_head *h, uint32_t unit, void *data,
		   uint64_t bytes, void (*done)(struct nvme_io *io))
{
	memset(&h->io, 0, sizeof(h->io));
	h->io.op = NVME_WRITE;
	h->io.urgency = NVME_LOG_ITSELF;
	h->io.offset = log_at(&h->t->g, h->segment, unit);
	h->io.data = data;
	h->io.bytes = nvme_units_bytes(bytes);
	h->io.done = done;
	h->busy = true;
	nvme_io_submit(&h->t->engine, &h->io);
}

static void committed(struct nvme_io *io);

/* The next place downward; false: there is none. */
static bool place_page(struct nvme_head *h)
{
	uint32_t low = nvme_bad_skip_down(h->t, h->segment, h->low - 1);

	if (low < h->unit)
		return false;
	h->low = low;
	submit(h, low, h->page, LOG_UNIT, committed);
	return true;
}

static void fail(struct nvme_head *h, int result);

static void commit(struct nvme_head *h)
{
	struct nvme *t = h->t;
	struct emitter e = { .at = h->page + sizeof(struct log_head) };

	take_entries(h, &e);
	take_deads(h, &e);
	if (e.bytes == 0)
		return;
	keep(h, &e);
	log_commit_emit(h->page, &t->g, h->segment, t->segments[h->segment].seq,
			h->number++, e.bytes);
	t->segments[h->segment].units++;
	if (!place_page(h))
		fail(h, -ENOSPC);
}

/* What was in the page goes back: writes fail, tombstones wait. */
static void fail(struct nvme_head *h, int result)
{
	struct nvme *t = h->t;
	struct nvme_write *w, *next;
	uint32_t n, after;

	h->broken = true;
	*h->tail = h->committing;
	w = h->waiting;
	h->waiting = h->committing = NULL;
	h->tail = &h->waiting;
	h->waits = 0;
	for (n = h->deads; n != NODE_NONE; n = after) {
		after = nvme_node(&t->index, n)->next;
		nvme_dead_push(t, n);
	}
	h->deads = NODE_NONE;
	if (t->head == h)
		close_head(t);
	for (; w; w = next) {
		next = w->next;
		nvme_write_over(w, result);
	}
}

static void bury(struct nvme_head *h)
{
	struct nvme *t = h->t;
	struct nvme_segment *s = &t->segments[h->segment];
	uint32_t n, after;

	for (n = h->deads; n != NODE_NONE; n = after) {
		struct nvme_node *d = nvme_node(&t->index, n);

		after = d->next;
		dead_done(t, n);
		d->next = s->dead;
		s->dead = n;
		s->deads++;
	}
	h->deads = NODE_NONE;
}

static void committed(struct nvme_io *io)
{
	struct nvme_head *h = container_of(io, struct nvme_head, io);
	struct nvme *t = h->t;
	struct nvme_write *w, *next;
	enum health_answer answer = nvme_watch_answer(t, io);

	h->busy = false;
	t->count.device_write_bytes += io->bytes;
	if (io->result < 0) {
		if (answer == HEALTH_PLACE)
			nvme_bad_add(t, h->segment, h->low, 1);
		if (answer != HEALTH_PLACE || t->state == TIER_DOWN ||
		    !place_page(h))
			fail(h, io->result);
		return;
	}
	bury(h);
	w = h->committing;
	h->committing = NULL;
	for (; w; w = next) {
		next = w->next;
		nvme_write_over(w, 0);
	}
}

void nvme_head_written(struct nvme_write *w, int result)
{
	struct nvme_head *h = w->head;

	h->writes--;
	if (result == 0 && h->broken)
		result = -EIO;
	if (result < 0) {
		nvme_write_over(w, result);
		return;
	}
	if (h->waits++ == 0)
		h->since_ns = h->t->now_ns;
	w->next = NULL;
	*h->tail = w;
	h->tail = &w->next;
}

/* ---- the end of one ---------------------------------------------------------------- */

static void finish(struct nvme_head *h)
{
	struct nvme *t = h->t;
	struct nvme_head **at = &t->heads;

	t->segments[h->segment].state = SEGMENT_CLOSED;
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	nvme_head_destroy(h);
}

static void closed(struct nvme_io *io)
{
	struct nvme_head *h = container_of(io, struct nvme_head, io);

	h->busy = false;
	h->t->count.device_write_bytes += io->bytes;
	if (nvme_watch_answer(h->t, io) == HEALTH_PLACE && io->result < 0)
		nvme_bad_add(h->t, h->segment, 1, 1);
	finish(h);
}

static void summed(struct nvme_io *io)
{
	struct nvme_head *h = container_of(io, struct nvme_head, io);
	struct nvme *t = h->t;

	h->busy = false;
	t->count.device_write_bytes += io->bytes;
	if (nvme_watch_answer(t, io) != HEALTH_FINE || io->result < 0) {
		finish(h); /* a start reads the pages */
		return;
	}
	log_closed_emit(h->page, &t->g, h->segment, t->segments[h->segment].seq,
			h->unit, h->summary, h->summary_bytes);
	submit(h, 1, h->page, LOG_UNIT, closed);
}

static void end_of(struct nvme_head *h)
{
	struct nvme *t = h->t;
	uint32_t units = log_units_of(h->summary_bytes);
	uint32_t unit = nvme_bad_skip(t, h->segment, h->unit, units);

	if (h->number == 0 && t->stopping) {
		/* nothing was ever committed: it is as good as free */
		finish(h);
		return;
	}
	if (h->broken || h->no_summary || unit + units > h->low ||
	    t->state == TIER_DOWN || t->state == TIER_READONLY || units == 0) {
		finish(h);
		return;
	}
	h->unit = unit;
	t->segments[h->segment].units += units;
	memset(h->summary + h->summary_bytes, 0,
	       nvme_units_bytes(h->summary_bytes) - h->summary_bytes);
	submit(h, unit, h->summary, h->summary_bytes, summed);
}

/* ---- when ------------------------------------------------------------------------ */

static bool due(const struct nvme_head *h)
{
	const struct nvme *t = h->t;

	if (h->broken)
		return false;
	if (h->waits)
		return h->closing || h->writes == 0 || t->stopping ||
		       h->waits >=
			       LOG_COMMIT_BYTES / sizeof(struct log_entry) ||
		       t->now_ns >= h->since_ns + COMMIT_WAIT_NS;
	return t->deads && h == t->head &&
	       (t->stopping || t->now_ns >= t->dead_ns + DEAD_WAIT_NS);
}

static bool writable(const struct nvme *t)
{
	return t->state == TIER_UP || t->state == TIER_SLOW;
}

/* Tombstones need a page: in the open segment, or in a new one. */
static void room_for_deads(struct nvme *t)
{
	if (t->deads == 0 || !writable(t))
		return;
	if (t->head && t->head->unit + reserve(t->head, 0) > t->head->low &&
	    t->frees)
		close_head(t);
	if (!t->head && t->frees)
		open_head(t); /* without memory: the next time */
}

void nvme_head_pump(struct nvme *t)
{
	struct nvme_head *h, *next;

	room_for_deads(t);
	for (h = t->heads; h; h = next) {
		next = h->next;
		if (h->busy)
			continue;
		if (due(h)) {
			commit(h);
			continue;
		}
		if (h->closing && h->writes == 0 && h->waits == 0)
			end_of(h);
	}
}

void nvme_head_close_all(struct nvme *t)
{
	if (t->deads == 0 || !writable(t) || !t->head)
		close_head(t);
}

bool nvme_heads_idle(const struct nvme *t)
{
	return !t->heads && (t->deads == 0 || !writable(t) || t->frees == 0);
}

uint64_t nvme_head_wants_ns(const struct nvme *t)
{
	uint64_t at = UINT64_MAX;

	for (const struct nvme_head *h = t->heads; h; h = h->next)
		if (h->waits && !h->busy)
			at = MIN(at, h->since_ns + COMMIT_WAIT_NS);
	if (t->deads)
		at = MIN(at, t->dead_ns + DEAD_WAIT_NS);
	return at;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room comes back by whole log segments. The victim is old and has little that is
 * wanted. Wanted parts are read, verified and written again elsewhere, as long as
 * all that was written to the device stays below 5/4 of what the store wrote; the
 * others leave. A part that somebody reads now is waited for.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/log.h"
#include "coherence/frame.h"
#include "tier/nvme/move.h"

/* Parts looked at in one call, so that the store's thread is not held up. */
#define STEPS 256u

/* What is wanted and cannot all be carried over is no reason to spare a segment: it
 * would stay until all that is younger has gone. */
#define CARRY_PART 4u

/* Age for each byte that would have to be written again; the rest of what can be
 * read counts too, for it is lost. */
static double score(const struct nvme *t, const struct nvme_segment *s)
{
	uint64_t most = t->g.segment_bytes;
	double size = (double)most;
	double carry = (double)MIN(s->used_bytes, most / CARRY_PART);
	double live = (double)MIN(s->live_bytes, most);

	return (double)(t->seq - s->seq) * (size - carry + 1) /
	       (size + carry + live);
}

static uint32_t choose(const struct nvme *t)
{
	uint32_t best = UINT32_MAX;
	double most = -1, is;

	for (uint32_t i = 0; i < t->there; i++) {
		const struct nvme_segment *s = &t->segments[i];

		if (s->state != SEGMENT_CLOSED || s->holds)
			continue;
		is = score(t, s);
		if (is > most) {
			most = is;
			best = i;
		}
	}
	return best;
}

/* Its tombstones go on elsewhere, while what they killed is on disk; what it holds
 * of that itself ends together with them. */
static void move_deads(struct nvme *t, uint32_t victim)
{
	struct nvme_segment *s = &t->segments[victim];
	uint32_t n, next;

	for (n = s->dead; n != NODE_NONE; n = next) {
		struct nvme_node *d = nvme_node(&t->index, n);

		next = d->next;
		if (d->segment == victim ||
		    t->segments[d->segment].seq != d->checksum) {
			nvme_index_free(&t->index, n);
			continue;
		}
		d->flags |= NODE_CARRY;
		s->owed++;
		nvme_dead_push(t, n);
	}
	s->dead = NODE_NONE;
	s->deads = 0;
}

static bool wanted(struct nvme *t, const struct nvme_node *d)
{
	struct tier_id id = nvme_node_id(d);
	struct tier_block block = nvme_node_block(d);

	if (t->options.wanted)
		return t->options.wanted(t->options.ctx, &id, &block);
	return d->uses > 0;
}

/* Written again it would still be less than 5/4. */
static bool affordable(const struct nvme *t, uint64_t bytes)
{
	uint64_t all = t->count.device_write_bytes + bytes + LOG_UNIT;

	for (unsigned i = 0; i < NVME_CARRIES; i++)
		if (t->carry[i].busy)
			all += t->carry[i].room + LOG_UNIT;
	return all <= t->count.write_bytes + t->count.write_bytes / 4;
}

/* ---- carrying ------------------------------------------------------------------ */

static struct nvme_carry *idle(struct nvme *t)
{
	for (unsigned i = 0; i < NVME_CARRIES; i++)
		if (!t->carry[i].busy)
			return &t->carry[i];
	return NULL;
}

/* It came to nothing. The part leaves, unless somebody reads it now, or the device
 * is to blame. */
static void over(struct nvme *t, struct nvme_carry *c)
{
	struct nvme_node *d = nvme_read_node(&c->read);

	c->busy = false;
	if (!d)
		return;
	d->flags &= (uint8_t)~NODE_CARRY;
	d->readers--;
	if (d->readers == 0 && t->state == TIER_UP && !t->stopping)
		nvme_part_drop(t, c->read.node, false);
}

/* Where a part that is being carried will lie; UINT32_MAX: not known yet. */
uint32_t nvme_carry_segment(const struct nvme *t, uint32_t n)
{
	for (unsigned i = 0; i < NVME_CARRIES; i++) {
		const struct nvme_carry *c = &t->carry[i];

		if (c->busy && c->read.node == n && c->write.head)
			return c->write.head->segment;
	}
	return UINT32_MAX;
}

bool nvme_carry_on(const struct nvme_write *w)
{
	const void *at = (const char *)w - offsetof(struct nvme_carry, write);
	const struct nvme_carry *c = at;

	return nvme_read_node(&c->read) != NULL;
}

static void carry_read(struct nvme_io *io)
{
	struct nvme_read *r = container_of(io, struct nvme_read, io);
	struct nvme_carry *c = container_of(r, struct nvme_carry, read);
	struct nvme *t = r->t;
	struct nvme_node *d = nvme_read_ended(r);
	struct slices from = slices_whole(c->data);
	struct nvme_head *h;
	uint32_t unit;

	if (!d || t->stopping) {
		if (d)
			d->flags &= (uint8_t)~NODE_CARRY;
		c->busy = false;
		return;
	}
	d->readers++; /* until it is written */
	if (io->result < 0 ||
	    nvme_head_place(t, io->payload, true, &h, &unit) < 0) {
		over(t, c);
		return;
	}
	nvme_write_begin(t, &c->write, r->node, h, unit, &from, WRITE_CARRY,
			 TIER_BEHIND, 0);
}

/* It may have been removed meanwhile: then the tombstone holds for both places,
 * and the node, which is the tombstone, is another's now. */
void nvme_carry_written(struct nvme_write *w, int result)
{
	struct nvme_carry *c = container_of(w, struct nvme_carry, write);
	struct nvme *t = w->t;
	struct nvme_node *d = nvme_read_node(&c->read);

	if (d && result == 0) {
		uint64_t bytes = frame_extent_bytes(d->extent);

		t->count.carried_bytes += bytes;
		d->readers--;
		nvme_part_live(t, w->node, w->head->segment, w->unit);
		c->busy = false;
		return;
	}
	over(t, c);
}

static bool carry(struct nvme *t, uint32_t n)
{
	struct nvme_node *d = nvme_node(&t->index, n);
	uint64_t bytes = nvme_units_bytes(frame_extent_bytes(d->extent));
	struct nvme_carry *c = idle(t);
	struct slices to;

	if (!c)
		return false;
	if (c->room < bytes) {
		free(c->data);
		c->data = nvme_pages(bytes);
		c->room = c->data ? bytes : 0;
	}
	if (!c->data) {
		nvme_part_drop(t, n, false);
		return true;
	}
	c->busy = true;
	c->write.head = NULL;
	d->flags |= NODE_CARRY;
	to = slices_whole(c->data);
	nvme_read_begin(t, &c->read, n, &to, TIER_BEHIND, 0, carry_read);
	return true;
}

/* ---- the victim ------------------------------------------------------------------ */

/* False: nothing more can be done now. */
static bool step(struct nvme *t, uint32_t n)
{
	struct nvme_node *d = nvme_node(&t->index, n);
	uint64_t bytes = nvme_units_bytes(frame_extent_bytes(d->extent));

	if (wanted(t, d) && affordable(t, bytes))
		return carry(t, n);
	nvme_part_drop(t, n, false);
	return true;
}

static void empty(struct nvme *t, struct nvme_segment *s)
{
	uint32_t n, next, steps = 0;

	for (n = s->first; n != NODE_NONE && steps < STEPS; n = next) {
		const struct nvme_node *d = nvme_node(&t->index, n);

		next = d->next;
		if (d->flags & NODE_CARRY || d->readers)
			continue; /* on its way, or waited for */
		if (!step(t, n))
			return;
		steps++;
	}
}

void nvme_reclaim_pump(struct nvme *t)
{
	struct nvme_segment *s;

	if (t->state != TIER_UP || t->stopping)
		return;
	if (t->victim == UINT32_MAX) {
		t->victim = choose(t);
		if (t->victim == UINT32_MAX)
			return;
		t->segments[t->victim].state = SEGMENT_VICTIM;
		move_deads(t, t->victim);
	}
	s = &t->segments[t->victim];
	if (s->state != SEGMENT_VICTIM)
		return; /* its new life is being written */
	empty(t, s);
	if (s->parts == 0)
		nvme_segment_make(t, t->victim);
}

bool nvme_reclaim_idle(const struct nvme *t)
{
	for (unsigned i = 0; i < NVME_CARRIES; i++)
		if (t->carry[i].busy)
			return false;
	return true;
}

void nvme_reclaim_free(struct nvme *t)
{
	for (unsigned i = 0; i < NVME_CARRIES; i++) {
		free(t->carry[i].data);
		t->carry[i].data = NULL;
	}
}

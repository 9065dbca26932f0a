/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that come and go, and the counts of their log segments. */
#include <errno.h>
#include "base/log.h"
#include "coherence/frame.h"
#include "tier/nvme/nvme.h"

static uint64_t bytes_of(const struct nvme_node *d)
{
	return frame_extent_bytes(d->extent);
}

static void link_to(struct nvme *t, uint32_t *first, uint32_t n)
{
	struct nvme_node *d = nvme_node(&t->index, n);

	d->next = *first;
	d->prev = NODE_NONE;
	if (*first != NODE_NONE)
		nvme_node(&t->index, *first)->prev = n;
	*first = n;
}

void nvme_segment_link(struct nvme *t, uint32_t n)
{
	struct nvme_node *d = nvme_node(&t->index, n);
	struct nvme_segment *s = &t->segments[d->segment];

	link_to(t, &s->first, n);
	s->parts++;
	s->live_bytes += bytes_of(d);
	if (d->uses)
		s->used_bytes += bytes_of(d);
	t->count.parts++;
	t->count.live_bytes += bytes_of(d);
}

void nvme_segment_unlink(struct nvme *t, uint32_t n)
{
	struct nvme_node *d = nvme_node(&t->index, n);
	struct nvme_segment *s = &t->segments[d->segment];

	if (d->prev != NODE_NONE)
		nvme_node(&t->index, d->prev)->next = d->next;
	else
		s->first = d->next;
	if (d->next != NODE_NONE)
		nvme_node(&t->index, d->next)->prev = d->prev;
	s->parts--;
	s->live_bytes -= bytes_of(d);
	if (d->uses)
		s->used_bytes -= bytes_of(d);
	t->count.parts--;
	t->count.live_bytes -= bytes_of(d);
}

void nvme_segment_used(struct nvme *t, struct nvme_node *d)
{
	if (d->uses == 0)
		t->segments[d->segment].used_bytes += bytes_of(d);
	if (d->uses < UINT8_MAX)
		d->uses++;
}

void nvme_part_live(struct nvme *t, uint32_t n, uint32_t segment, uint32_t unit)
{
	struct nvme_node *d = nvme_node(&t->index, n);

	must(d->state == NODE_WRITING || d->state == NODE_LIVE);
	if (d->state == NODE_LIVE)
		nvme_segment_unlink(t,
				    n); /* carried: it leaves its old place */
	d->state = NODE_LIVE;
	d->flags = 0;
	d->uses = 0;
	d->segment = segment;
	d->unit = unit;
	nvme_segment_link(t, n);
}

void nvme_dead_push(struct nvme *t, uint32_t n)
{
	nvme_node(&t->index, n)->next = NODE_NONE;
	if (t->dead_last != NODE_NONE)
		nvme_node(&t->index, t->dead_last)->next = n;
	else
		t->dead_first = n;
	t->dead_last = n;
	if (t->deads++ == 0)
		t->dead_ns = t->now_ns;
}

void nvme_part_kill(struct nvme *t, uint32_t n)
{
	struct nvme_node *d = nvme_node(&t->index, n);
	uint32_t copy = UINT32_MAX;

	must(d->state == NODE_LIVE);
	nvme_segment_unlink(t, n);
	nvme_index_hide(&t->index, n);
	/* the copy that is being written may be found in its stead */
	if (d->flags & NODE_CARRY)
		copy = nvme_carry_segment(t, n);
	if (copy != UINT32_MAX)
		d->segment = copy;
	d->state = NODE_DEAD;
	d->flags = 0;
	d->checksum = t->segments[d->segment].seq;
	d->readers = 0;
	nvme_dead_push(t, n);
}

static void gone(struct nvme *t, const struct nvme_node *d, bool wrong)
{
	struct tier_id id = nvme_node_id(d);

	if (t->options.gone)
		t->options.gone(t->options.ctx, &id, wrong);
}

void nvme_part_drop(struct nvme *t, uint32_t n, bool wrong)
{
	struct nvme_node *d = nvme_node(&t->index, n);

	must(d->state == NODE_LIVE);
	nvme_segment_unlink(t, n);
	nvme_index_hide(&t->index, n);
	if (!wrong)
		t->count.dropped++;
	gone(t, d, wrong);
	nvme_index_free(&t->index, n);
}

void nvme_part_forget(struct nvme *t, uint32_t n)
{
	must(nvme_node(&t->index, n)->state == NODE_WRITING);
	nvme_index_hide(&t->index, n);
	nvme_index_free(&t->index, n);
}

/* Its record would be found again by a start, which knows nothing of the place: so
 * it leaves a tombstone. */
static void wrong(struct nvme *t, uint32_t n)
{
	struct nvme_node *d = nvme_node(&t->index, n);

	t->count.bad++;
	nvme_bad_aside(t, d->segment, d->unit, log_units_of(bytes_of(d)));
	gone(t, d, true);
	nvme_part_kill(t, n);
}

void nvme_part_bad(struct nvme *t, uint32_t n, int result)
{
	struct nvme_node *d = nvme_node(&t->index, n);

	log_error("nvme: %s: part at offset %llu, %llu bytes: %s; the place is "
		  "%s",
		  t->path,
		  (unsigned long long)log_at(&t->g, d->segment, d->unit),
		  (unsigned long long)bytes_of(d),
		  result == -EBADMSG ? "other bytes than were written"
				     : strerror(-result),
		  result == -EBADMSG ? "set aside until the next start"
				     : "not used again");
	if (result == -EBADMSG) {
		wrong(t, n);
		return;
	}
	nvme_bad_add(t, d->segment, d->unit, log_units_of(bytes_of(d)));
	nvme_part_drop(t, n, true);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Log segments: the free ones, and how they become so. */
#include <errno.h>
#include <onecopy/onecopy.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "tier/nvme/nvme.h"

#define GROW_AGAIN_NS (10 * NS_PER_S)

uint32_t nvme_segment_free_take(struct nvme *t)
{
	uint32_t segment;

	if (t->frees == 0)
		return UINT32_MAX;
	segment = t->free[t->free_at];
	t->free_at = (t->free_at + 1) % t->g.segments;
	t->frees--;
	return segment;
}

void nvme_segment_free_add(struct nvme *t, uint32_t segment)
{
	t->segments[segment].state = SEGMENT_FREE;
	t->free[(t->free_at + t->frees++) % t->g.segments] = segment;
}

static void submit(struct nvme_making *m, enum nvme_op op, uint64_t at,
		   uint64_t bytes, void (*done)(struct nvme_io *io))
{
	memset(&m->io, 0, sizeof(m->io));
	m->io.op = (uint8_t)op;
	m->io.urgency = NVME_LOG_ITSELF;
	m->io.offset = at;
	m->io.bytes = bytes;
	m->io.data = m->page;
	m->io.done = done;
	nvme_io_submit(&m->t->engine, &m->io);
}

/* Nothing of the old life can be found any more. */
static void opened(struct nvme_io *io)
{
	struct nvme_making *m = container_of(io, struct nvme_making, io);
	struct nvme *t = m->t;
	struct nvme_segment *s = &t->segments[m->segment];
	enum health_answer answer = nvme_watch_answer(t, io);

	m->busy = false;
	t->count.device_write_bytes += io->bytes;
	if (answer == HEALTH_FINE && io->result == 0) {
		s->seq = m->seq;
		s->units = LOG_FIRST_UNIT;
		nvme_segment_free_add(t, m->segment);
	} else {
		/* what is on disk now is not known: no life */
		s->seq = 0;
		s->state = SEGMENT_VIRGIN;
		if (answer == HEALTH_PLACE) {
			s->state = SEGMENT_BAD;
			nvme_bad_add(t, m->segment, 0, log_units(&t->g));
		}
	}
	if (t->victim == m->segment)
		t->victim = UINT32_MAX;
}

static void open_life(struct nvme_making *m)
{
	struct nvme *t = m->t;

	m->seq = t->seq++; /* several may be made at once */
	log_opened_emit(m->page, &t->g, m->segment, m->seq);
	submit(m, NVME_WRITE, log_at(&t->g, m->segment, 0), LOG_UNIT, opened);
}

static void no_room(struct nvme *t, int error)
{
	char has[32];

	if (!t->grow_failed)
		log_warn("nvme: %s: no more room in the file system (%s): %s "
			 "are used until there is",
			 t->path, strerror(-error),
			 text_size(log_at(&t->g, t->there, 0), has));
	t->grow_failed = true;
	t->grow_ns = t->now_ns + GROW_AGAIN_NS;
}

static void grown(struct nvme_io *io)
{
	struct nvme_making *m = container_of(io, struct nvme_making, io);
	struct nvme *t = m->t;

	if (io->result == 0) {
		t->grow_failed = false;
		t->there = m->segment + 1;
		open_life(m);
		return;
	}
	m->busy = false;
	t->segments[m->segment].state = SEGMENT_VIRGIN;
	if (io->result == -ENOSPC || io->result == -EDQUOT ||
	    io->result == -EFBIG)
		no_room(t, io->result);
	else
		nvme_watch_answer(t, io);
}

static struct nvme_making *idle(struct nvme *t)
{
	for (unsigned i = 0; i < NVME_MAKINGS; i++)
		if (!t->making[i].busy)
			return &t->making[i];
	return NULL;
}

bool nvme_segment_make(struct nvme *t, uint32_t segment)
{
	struct nvme_segment *s = &t->segments[segment];
	struct nvme_making *m = idle(t);

	if (!m || s->reads || s->owed || s->parts || s->deads)
		return false;
	if (!m->page && !(m->page = nvme_pages(LOG_UNIT)))
		return false;
	m->t = t;
	m->segment = segment;
	m->busy = true;
	s->state = SEGMENT_MAKING;
	s->units = 0;
	if (segment < t->there) {
		open_life(m);
		return true;
	}
	submit(m, NVME_ALLOCATE, log_at(&t->g, segment, 0), t->g.segment_bytes,
	       grown);
	return true;
}

/* One that the file has and that has no life, else the next one that it lacks:
 * OC_MISS there is none, OC_BUSY it is on its way. */
static int next_virgin(const struct nvme *t, uint32_t *ret_segment)
{
	for (uint32_t i = 0; i < t->there; i++) {
		if (t->segments[i].state != SEGMENT_VIRGIN)
			continue;
		*ret_segment = i;
		return 0;
	}
	if (t->there == t->g.segments ||
	    (t->grow_failed && t->now_ns < t->grow_ns))
		return OC_MISS;
	if (t->segments[t->there].state != SEGMENT_VIRGIN)
		return OC_BUSY;
	*ret_segment = t->there;
	return 0;
}

static uint32_t makings(const struct nvme *t)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < NVME_MAKINGS; i++)
		n += t->making[i].busy;
	return n;
}

void nvme_segment_pump(struct nvme *t)
{
	uint32_t want = nvme_segments_ahead(t), segment;
	int r;

	while (t->frees + makings(t) < want) {
		r = next_virgin(t, &segment);
		if (r == OC_MISS)
			nvme_reclaim_pump(t);
		if (r)
			return;
		if (nvme_bad_at(t, segment, 0, LOG_FIRST_UNIT))
			t->segments[segment].state = SEGMENT_BAD;
		else if (!nvme_segment_make(t, segment))
			return;
	}
}

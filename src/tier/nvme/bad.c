/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places that are not used again: where the device failed. On disk in two copies,
 * written in turn. When the list is full, the log segment with most of them is
 * given up whole.
 *
 * A place that gave other bytes than were written is set aside in memory alone:
 * a power failure may have torn it, or a client changed the memory that it was
 * read into. Commit pages do pass over bad places and do not over those, since a
 * start knows only the former.
 */
#include <errno.h>
#include "base/log.h"
#include "tier/nvme/nvme.h"

static bool hits(const struct log_bad *b, uint32_t segment, uint32_t unit,
		 uint32_t units)
{
	return b->segment == segment && b->unit < unit + units &&
	       unit < b->unit + b->units;
}

static const struct log_bad *aside(const struct nvme *t, uint32_t i)
{
	return &t->aside[(t->aside_at + i) % NVME_ASIDES];
}

bool nvme_bad_at(const struct nvme *t, uint32_t segment, uint32_t unit,
		 uint32_t units)
{
	if (!t->segments[segment].bad)
		return false;
	for (uint32_t i = 0; i < t->n_bads; i++)
		if (hits(&t->bads[i], segment, unit, units))
			return true;
	return false;
}

uint32_t nvme_bad_skip(const struct nvme *t, uint32_t segment, uint32_t unit,
		       uint32_t units)
{
	bool again = t->segments[segment].bad || t->asides;

	while (again) {
		again = false;
		for (uint32_t i = 0; i < t->n_bads + t->asides; i++) {
			const struct log_bad *b =
				i < t->n_bads ? &t->bads[i]
					      : aside(t, i - t->n_bads);

			if (!hits(b, segment, unit, units))
				continue;
			unit = b->unit + b->units;
			again = true;
		}
	}
	return unit;
}

uint32_t nvme_bad_skip_down(const struct nvme *t, uint32_t segment,
			    uint32_t unit)
{
	while (unit >= LOG_FIRST_UNIT && nvme_bad_at(t, segment, unit, 1))
		unit--;
	return unit;
}

/* The segment with most entries becomes one entry. */
static void make_room(struct nvme *t)
{
	uint32_t worst = 0, most = 0, kept = 0, n;

	for (uint32_t i = 0; i < t->n_bads; i++) {
		n = 0;
		for (uint32_t j = i; j < t->n_bads; j++)
			n += t->bads[j].segment == t->bads[i].segment;
		if (n > most) {
			most = n;
			worst = t->bads[i].segment;
		}
	}
	for (uint32_t i = 0; i < t->n_bads; i++)
		if (t->bads[i].segment != worst)
			t->bads[kept++] = t->bads[i];
	t->bads[kept++] =
		(struct log_bad){ .segment = worst, .units = log_units(&t->g) };
	t->n_bads = kept;
	log_error("nvme: %s: log segment %u has too many bad places: it is "
		  "not used again",
		  t->path, worst);
}

void nvme_bad_add(struct nvme *t, uint32_t segment, uint32_t unit,
		  uint32_t units)
{
	if (nvme_bad_at(t, segment, unit, 1) &&
	    nvme_bad_at(t, segment, unit + units - 1, 1))
		return;
	if (t->n_bads == LOG_BADS_MAX)
		make_room(t);
	if (t->n_bads == LOG_BADS_MAX)
		return; /* as many segments as entries: none has room */
	t->bads[t->n_bads++] = (struct log_bad){ .segment = segment,
						 .unit = unit,
						 .units = units };
	t->segments[segment].bad = true;
	t->bads_dirty = true;
}

void nvme_bad_aside(struct nvme *t, uint32_t segment, uint32_t unit,
		    uint32_t units)
{
	uint64_t most =
		t->g.segments * (uint64_t)log_units(&t->g) / NVME_ASIDE_PART;
	uint64_t sum = units;

	for (uint32_t i = 0; i < t->asides; i++) {
		if (hits(aside(t, i), segment, unit, units))
			return;
		sum += aside(t, i)->units;
	}
	while (t->asides && (t->asides == NVME_ASIDES || sum > most)) {
		sum -= aside(t, 0)->units;
		t->aside_at = (t->aside_at + 1) % NVME_ASIDES;
		t->asides--;
	}
	if (sum > most)
		return;
	t->aside[(t->aside_at + t->asides++) % NVME_ASIDES] = (struct log_bad){
		.segment = segment, .unit = unit, .units = units
	};
}

static void written(struct nvme_io *io)
{
	struct nvme *t = container_of(io, struct nvme, bads_io);

	t->bads_busy = false;
	t->count.device_write_bytes += io->bytes;
	if (nvme_watch_answer(t, io) != HEALTH_FINE)
		log_warn("nvme: %s: the list of bad places is not written: %s",
			 t->path, strerror(-io->result));
}

void nvme_bad_pump(struct nvme *t)
{
	if (!t->bads_dirty || t->bads_busy || t->state == TIER_DOWN ||
	    t->state == TIER_READONLY)
		return;
	t->bads_dirty = false;
	t->bads_busy = true;
	t->bads_seq++;
	log_bads_emit(t->bads_page, &t->g, t->bads_seq, t->bads, t->n_bads);
	memset(&t->bads_io, 0, sizeof(t->bads_io));
	t->bads_io.op = NVME_WRITE;
	t->bads_io.urgency = NVME_LOG_ITSELF;
	t->bads_io.offset = LOG_BAD_AT(t->bads_seq % 2);
	t->bads_io.data = t->bads_page;
	t->bads_io.bytes = LOG_BAD_BYTES;
	t->bads_io.done = written;
	nvme_io_submit(&t->engine, &t->bads_io);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Parts that the store reads and writes. */
#include <errno.h>
#include <onecopy/onecopy.h>
#include "base/hash.h"
#include "base/log.h"
#include "coherence/frame.h"
#include "tier/nvme/move.h"

#define MOVES_MOST 16384u

struct move_state {
	union {
		struct nvme_read read;
		struct nvme_write write;
	} u;
};
_Static_assert(sizeof(struct move_state) <=
		       sizeof(((struct tier_move *)0)->private_),
	       "a move has room for it");
_Static_assert(offsetof(struct nvme_read, io) == 0 &&
		       offsetof(struct nvme_write, io) == 0,
	       "an operation begins both");

static struct move_state *state_of(struct tier_move *m)
{
	return (struct move_state *)(void *)m->private_;
}

static struct tier_move *move_of(void *state)
{
	return container_of(state, struct tier_move, private_);
}

static void end(struct nvme *t, struct tier_move *m, int result)
{
	t->moves--;
	m->done(m, result);
}

uint64_t nvme_seed_of(const uint64_t key[4], uint32_t part)
{
	return hash_part_seed((const uint8_t *)key, (uint16_t)(part >> 16),
			      (uint16_t)part);
}

/* ---- read ---------------------------------------------------------------------- */

/* The node, if it is still that part at that place's life. */
struct nvme_node *nvme_read_node(const struct nvme_read *r)
{
	struct nvme_node *d = nvme_node(&r->t->index, r->node);

	return d->state == NODE_LIVE && d->gen == r->gen ? d : NULL;
}

void nvme_read_begin(struct nvme *t, struct nvme_read *r, uint32_t n,
		     const struct slices *to, enum tier_urgency urgency,
		     uint64_t deadline_ns, void (*done)(struct nvme_io *io))
{
	struct nvme_node *d = nvme_node(&t->index, n);
	uint64_t bytes = frame_extent_bytes(d->extent);

	memset(r, 0, sizeof(*r));
	r->t = t;
	r->node = n;
	r->gen = d->gen;
	r->segment = d->segment;
	r->io.op = NVME_READ;
	r->io.urgency = (uint8_t)urgency;
	r->io.deadline_ns = deadline_ns;
	r->io.offset = log_at(&t->g, d->segment, d->unit);
	r->io.bytes = nvme_units_bytes(bytes);
	r->io.slices = *to;
	r->io.payload = bytes;
	r->io.seed = nvme_seed_of(d->key, d->part);
	r->io.checksum = d->checksum;
	r->io.done = done;
	d->readers++;
	t->segments[d->segment].reads++;
	nvme_io_submit(&t->engine, &r->io);
}

/* Ends the read's hold on the place; what the answer says of the place is heeded.
 * The node, if the part is still there. */
struct nvme_node *nvme_read_ended(struct nvme_read *r)
{
	struct nvme *t = r->t;
	struct nvme_node *d = nvme_read_node(r);
	enum health_answer answer = nvme_watch_answer(t, &r->io);

	t->segments[r->segment].reads--;
	if (d)
		d->readers--;
	if (r->io.begun_ns)
		t->count.device_read_bytes += r->io.sent;
	if (d && (answer == HEALTH_PLACE || r->io.result == -EBADMSG) &&
	    t->state != TIER_DOWN) {
		nvme_part_bad(t, r->node, r->io.result);
		return NULL;
	}
	return d;
}

static void read_done(struct nvme_io *io)
{
	struct nvme_read *r = container_of(io, struct nvme_read, io);
	struct tier_move *m = move_of(r);
	struct nvme *t = r->t;
	struct nvme_node *d = nvme_read_ended(r);
	int result = io->result;

	if (result == 0 && !d)
		result = OC_STALE;
	if (result == 0) {
		t->count.reads++;
		t->count.read_bytes += r->io.payload;
		nvme_segment_used(t, d);
	}
	end(t, m, result);
}

int nvme_move_read(struct tier *tier, struct tier_move *m)
{
	struct nvme *t = nvme_of(tier);
	struct nvme_node *d;
	uint32_t n;

	n = nvme_part_find(t, &m->id);
	if (n == NODE_NONE)
		return OC_MISS;
	d = nvme_node(&t->index, n);
	if (nvme_units_bytes(frame_extent_bytes(d->extent)) > m->room)
		return -E2BIG;
	if (t->moves >= MOVES_MOST || t->stopping)
		return -EAGAIN;
	m->block = nvme_node_block(d);
	t->moves++;
	nvme_read_begin(t, &state_of(m)->u.read, n, &m->slices, m->urgency,
			m->deadline_ns, read_done);
	return 0;
}

/* ---- write --------------------------------------------------------------------- */

static void payload_done(struct nvme_io *io)
{
	struct nvme_write *w = container_of(io, struct nvme_write, io);
	struct nvme *t = w->t;
	enum health_answer answer = nvme_watch_answer(t, io);

	t->count.device_write_bytes += io->sent;
	if (answer == HEALTH_PLACE && t->state != TIER_DOWN) {
		log_error("nvme: %s: write at offset %llu, %llu bytes: %s; the "
			  "place is not used again",
			  t->path, (unsigned long long)io->offset,
			  (unsigned long long)io->bytes, strerror(-io->result));
		nvme_bad_add(t, w->head->segment, w->unit,
			     (uint32_t)(io->bytes / LOG_UNIT));
	}
	if (io->result == -EBADMSG)
		nvme_head_unplace(w);
	nvme_head_written(w, io->result);
}

void nvme_write_begin(struct nvme *t, struct nvme_write *w, uint32_t n,
		      struct nvme_head *h, uint32_t unit,
		      const struct slices *from, enum write_kind kind,
		      enum tier_urgency urgency, uint64_t deadline_ns)
{
	const struct nvme_node *d = nvme_node(&t->index, n);

	memset(w, 0, sizeof(*w));
	w->t = t;
	w->head = h;
	w->node = n;
	w->unit = unit;
	w->kind = (uint8_t)kind;
	w->io.op = NVME_WRITE;
	w->io.urgency = (uint8_t)urgency;
	w->io.deadline_ns = deadline_ns;
	w->io.offset = log_at(&t->g, h->segment, unit);
	w->io.bytes = nvme_units_bytes(frame_extent_bytes(d->extent));
	w->io.slices = *from;
	w->io.payload = frame_extent_bytes(d->extent);
	w->io.seed = nvme_seed_of(d->key, d->part);
	w->io.checksum = d->checksum;
	w->io.done = payload_done;
	nvme_io_submit(&t->engine, &w->io);
}

/* The part is found from now on, or it came to nothing. */
static void move_written(struct nvme_write *w, int result)
{
	struct nvme *t = w->t;
	struct nvme_node *d = nvme_node(&t->index, w->node);
	bool doomed = d->flags & NODE_DOOMED;

	if (result < 0) {
		nvme_part_forget(t, w->node);
	} else {
		t->count.writes++;
		t->count.write_bytes += frame_extent_bytes(d->extent);
		nvme_part_live(t, w->node, w->head->segment, w->unit);
		if (doomed) {
			nvme_part_kill(t, w->node);
			result = OC_STALE;
		}
	}
	end(t, move_of(w), result);
}

void nvme_write_over(struct nvme_write *w, int result)
{
	if (w->kind == WRITE_MOVE)
		move_written(w, result);
	else
		nvme_carry_written(w, result);
}

static int takes_writes(const struct nvme *t)
{
	switch (t->state) {
	case TIER_UP:
		return 0;
	case TIER_READONLY:
		return -EROFS;
	case TIER_DOWN:
		return -EIO;
	default: /* soon, perhaps */
		return -EAGAIN;
	}
}

int nvme_move_write(struct tier *tier, struct tier_move *m)
{
	struct nvme *t = nvme_of(tier);
	uint64_t bytes = frame_extent_bytes(m->block.extent);
	struct nvme_head *h;
	struct nvme_node *d;
	uint32_t n, unit;
	int r = takes_writes(t);

	if (r == 0 && (t->moves >= MOVES_MOST || t->stopping))
		r = -EAGAIN;
	if (r < 0)
		return r;
	if (bytes == 0 || nvme_units_bytes(bytes) > m->room ||
	    m->id.space >= t->spaces.n)
		return -EINVAL;
	n = nvme_index_find(&t->index, &m->id);
	if (n != NODE_NONE)
		return nvme_node(&t->index, n)->state == NODE_LIVE ? OC_EXISTS
								   : OC_BUSY;
	r = nvme_index_add(&t->index, &m->id, &n);
	if (r < 0)
		return r;
	d = nvme_node(&t->index, n);
	d->state = NODE_WRITING;
	d->checksum = m->block.checksum;
	d->extent = m->block.extent;
	d->depth = m->block.depth;
	d->gen = t->gen++;
	r = nvme_head_place(t, bytes, false, &h, &unit);
	if (r < 0) {
		nvme_part_forget(t, n);
		return r;
	}
	t->moves++;
	nvme_write_begin(t, &state_of(m)->u.write, n, h, unit, &m->slices,
			 WRITE_MOVE, m->urgency, m->deadline_ns);
	return 0;
}

void nvme_move_cancel(struct tier *tier, struct tier_move *m)
{
	struct nvme *t = nvme_of(tier);

	nvme_io_cancel(&t->engine, &state_of(m)->u.read.io);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The tier's operations: its life, finding, removing, holding. */
#include "tier/nvme/nvme.h"
#include <errno.h>
#include <onecopy/onecopy.h>
#include <poll.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "coherence/frame.h"
#include "tier/nvme/move.h"

#define DEPTH_DEFAULT 64u
#define TICK_BUSY_NS  (5 * NS_PER_MS)
#define TICK_IDLE_NS  (250 * NS_PER_MS)
#define LOCK_AGAIN_NS (20 * NS_PER_MS)

/* ---- life ---------------------------------------------------------------------- */

/* Everything, whatever of it is there. The device's thread has ended. */
static void destroy(struct nvme *t)
{
	struct nvme_head *h;

	while ((h = t->heads)) {
		t->heads = h->next;
		nvme_head_destroy(h);
	}
	for (unsigned i = 0; i < NVME_MAKINGS; i++)
		free(t->making[i].page);
	nvme_reclaim_free(t);
	nvme_early_free(t);
	nvme_tables_free(t);
	nvme_spaces_fini(&t->spaces);
	free(t->bads);
	free(t->bads_page);
	free(t->trial_page);
	free(t->path);
	nvme_file_close(t);
	free(t);
}

static bool options_ok(const struct tier_options *o)
{
	uint64_t s = o->segment_bytes;

	return o->path && o->size &&
	       (s == 0 || ((s & (s - 1)) == 0 && s >= LOG_SEGMENT_MIN &&
			   s <= LOG_SEGMENT_MAX));
}

/* The file, its lock and, with the lock, its superblock. */
static int open_file(struct nvme *t)
{
	int r = nvme_file_open(t);

	if (r == 0)
		r = nvme_file_lock(t);
	if (r == -EBUSY && t->options.busy_ns) {
		t->busy_until_ns = t->now_ns + t->options.busy_ns;
		t->lock_ns = t->now_ns + LOCK_AGAIN_NS;
		t->why = "waits for the process that has it to be gone";
		return 0;
	}
	if (r == 0)
		r = nvme_super_load(t);
	t->loaded = r == 0;
	return r;
}

static int nvme_open(const struct tier_options *options, struct tier **ret_tier)
{
	struct nvme *t;
	int r;

	if (!options_ok(options))
		return -EINVAL;
	t = mem_alloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->tier.ops = &tier_nvme;
	t->options = *options;
	t->table = nvme_io_used();
	t->now_ns = options->now_ns;
	t->fd = -1;
	t->victim = UINT32_MAX;
	t->why = "finds what it has";
	r = nvme_spaces_init(&t->spaces);
	if (r == 0)
		r = open_file(t);
	if (r == 0)
		r = nvme_engine_start(
			&t->engine, t->table, t->fd, (int)options->io,
			options->depth ? options->depth : DEPTH_DEFAULT);
	if (r < 0) {
		destroy(t);
		return r;
	}
	t->options.path = t->path;
	if (t->locked)
		nvme_recover_begin(t);
	*ret_tier = &t->tier;
	return 0;
}

/* Writes that will not be committed any more. */
static void give_up(struct nvme *t)
{
	for (struct nvme_head *h = t->heads; h; h = h->next) {
		struct nvme_write *w = h->waiting, *next;

		h->waiting = NULL;
		h->waits = 0;
		for (; w; w = next) {
			next = w->next;
			nvme_write_over(w, -ECANCELED);
		}
	}
}

static void nvme_close(struct tier *tier)
{
	struct nvme *t = nvme_of(tier);

	if (!tier)
		return;
	t->stopping = true;
	nvme_engine_stop(&t->engine);
	while (t->engine.done.n)
		nvme_io_reap(&t->engine);
	give_up(t);
	must(t->moves == 0);
	nvme_engine_fini(&t->engine);
	destroy(t);
}

static bool idle(struct nvme *t)
{
	struct nvme_engine_stat s;

	nvme_engine_stat(&t->engine, &s);
	return t->moves == 0 && nvme_reclaim_idle(t) && nvme_heads_idle(t) &&
	       s.queued == 0 && s.flying == 0 && t->engine.done.n == 0;
}

/* One round of stop(). */
static void wind_down(struct nvme *t)
{
	struct pollfd p = { .fd = t->engine.event, .events = POLLIN };

	poll(&p, 1, 10);
	t->now_ns = t->table->now(t->table->ctx);
	nvme_io_reap(&t->engine);
	if (!t->found)
		return;
	nvme_head_pump(t);
	if (t->moves == 0 && nvme_reclaim_idle(t))
		nvme_head_close_all(t);
	nvme_head_pump(t);
	nvme_bad_pump(t);
}

static void synced(struct nvme_io *io)
{
	*(bool *)io->data = true;
}

/* What a power failure could still undo is made fast. */
static int sync_device(struct nvme *t, uint64_t deadline_ns)
{
	bool over = false;
	struct nvme_io io = { .op = NVME_SYNC,
			      .urgency = NVME_LOG_ITSELF,
			      .data = &over,
			      .done = synced };
	struct pollfd p = { .fd = t->engine.event, .events = POLLIN };

	nvme_io_submit(&t->engine, &io);
	for (;;) {
		nvme_io_reap(&t->engine);
		if (over)
			return io.result;
		if (t->table->now(t->table->ctx) >= deadline_ns)
			break;
		poll(&p, 1, 10);
	}
	/* it cannot be taken back: the thread ends when the kernel answers */
	nvme_engine_stop(&t->engine);
	nvme_io_reap(&t->engine);
	return -ETIMEDOUT;
}

static int nvme_stop(struct tier *tier, uint64_t deadline_ns)
{
	struct nvme *t = nvme_of(tier);

	t->stopping = true;
	nvme_io_drop(&t->engine, -ECANCELED);
	while (!idle(t) || t->head || t->recovering) {
		if (t->table->now(t->table->ctx) >= deadline_ns)
			return -ETIMEDOUT;
		wind_down(t);
	}
	if (t->state == TIER_DOWN || t->state == TIER_READONLY || !t->found)
		return 0;
	return sync_device(t, deadline_ns);
}

/* ---- turns --------------------------------------------------------------------- */

static int nvme_fd(const struct tier *tier)
{
	return nvme_of(tier)->engine.event;
}

static void look(struct nvme *t)
{
	struct nvme_engine_stat s;

	nvme_engine_stat(&t->engine, &s);
	t->queue_bytes = s.queued_bytes[TIER_WAITED] + s.flying_bytes;
	t->price = s.read;
}

void nvme_pump(struct nvme *t)
{
	if (t->found && t->state != TIER_DOWN && !t->stopping) {
		nvme_head_pump(t);
		if (t->state == TIER_UP)
			nvme_segment_pump(t);
		nvme_bad_pump(t);
	}
	look(t);
}

static void nvme_ready(struct tier *tier, uint64_t now_ns)
{
	struct nvme *t = nvme_of(tier);

	t->now_ns = MAX(now_ns, t->now_ns);
	nvme_io_reap(&t->engine);
	nvme_pump(t);
}

static uint64_t nvme_tick(struct tier *tier, uint64_t now_ns)
{
	struct nvme *t = nvme_of(tier);
	uint64_t at;
	bool busy;

	t->now_ns = MAX(now_ns, t->now_ns);
	nvme_io_reap(&t->engine);
	nvme_io_expire(&t->engine, t->now_ns);
	nvme_watch(t);
	nvme_pump(t);
	busy = t->moves || (t->found && t->victim != UINT32_MAX);
	at = t->now_ns + (busy ? TICK_BUSY_NS : TICK_IDLE_NS);
	at = MIN(at, nvme_watch_wants_ns(t));
	if (t->found)
		at = MIN(at, nvme_head_wants_ns(t));
	return at - MIN(at, t->now_ns);
}

/* ---- what it has ----------------------------------------------------------------- */

static int nvme_space(struct tier *tier, const struct tier_space *space,
		      uint32_t *ret_space)
{
	struct tier_space clean = { 0 };

	memcpy(clean.digest, space->digest, sizeof(clean.digest));
	memcpy(clean.tenant, space->tenant,
	       strnlen(space->tenant, LAYOUT_NAME - 1));
	return nvme_spaces_number(&nvme_of(tier)->spaces, &clean, ret_space);
}

uint32_t nvme_part_find(const struct nvme *t, const struct tier_id *id)
{
	uint32_t n;

	if (!t->found || t->state == TIER_DOWN)
		return NODE_NONE;
	n = nvme_index_find(&t->index, id);
	if (n != NODE_NONE && nvme_node(&t->index, n)->state != NODE_LIVE)
		return NODE_NONE;
	return n;
}

static bool nvme_find(const struct tier *tier, const struct tier_id *id,
		      struct tier_found *ret_found)
{
	const struct nvme *t = nvme_of(tier);
	uint32_t n = nvme_part_find(t, id);
	const struct nvme_node *d;
	uint64_t bytes;

	if (n == NODE_NONE)
		return false;
	d = nvme_node(&t->index, n);
	ret_found->block = nvme_node_block(d);
	bytes = t->queue_bytes + frame_extent_bytes(d->extent);
	ret_found->expected_ns =
		t->price.latency_ns +
		(uint64_t)((double)bytes * 1e9 /
			   (double)MAX(t->price.bytes_per_s, 1ull << 20));
	return true;
}

static int nvme_remove(struct tier *tier, const struct tier_id *id)
{
	struct nvme *t = nvme_of(tier);
	struct nvme_node *d;
	uint32_t n;

	if (!t->found) {
		nvme_early_remove(t, id);
		return 0;
	}
	n = nvme_index_find(&t->index, id);
	if (n == NODE_NONE)
		return OC_MISS;
	d = nvme_node(&t->index, n);
	if (d->state == NODE_LIVE)
		nvme_part_kill(t, n);
	else if (d->flags & NODE_DOOMED)
		return OC_MISS;
	else
		d->flags |= NODE_DOOMED; /* it is written, and then removed */
	t->count.removed++;
	return 0;
}

static void nvme_use(struct tier *tier, const struct tier_id *id)
{
	struct nvme *t = nvme_of(tier);
	uint32_t n = nvme_part_find(t, id);

	if (n != NODE_NONE)
		nvme_segment_used(t, nvme_node(&t->index, n));
}

static void nvme_memory_add(struct tier *tier, void *base, uint64_t bytes)
{
	nvme_engine_memory_add(&nvme_of(tier)->engine, base, bytes);
}

static void nvme_memory_drop(struct tier *tier, void *base, uint64_t bytes)
{
	nvme_engine_memory_drop(&nvme_of(tier)->engine, base, bytes);
}

/* ---- places ---------------------------------------------------------------------- */

static int nvme_hold(struct tier *tier, const struct tier_id *id,
		     struct tier_place *ret_place)
{
	struct nvme *t = nvme_of(tier);
	uint32_t n = nvme_part_find(t, id);
	struct nvme_segment *s;
	struct nvme_node *d;

	if (n == NODE_NONE)
		return OC_MISS;
	d = nvme_node(&t->index, n);
	s = &t->segments[d->segment];
	if (s->state == SEGMENT_VICTIM)
		return -EAGAIN; /* it is about to lie elsewhere, or to leave */
	s->holds++;
	d->readers++;
	*ret_place = (struct tier_place){
		.fd = t->fd,
		.offset = log_at(&t->g, d->segment, d->unit),
		.bytes = frame_extent_bytes(d->extent),
		.block = nvme_node_block(d),
		.private_ = { n, d->gen },
	};
	return 0;
}

static void nvme_release(struct tier *tier, struct tier_place *place,
			 bool wrong)
{
	struct nvme *t = nvme_of(tier);
	struct nvme_read r = { .t = t,
			       .node = (uint32_t)place->private_[0],
			       .gen = place->private_[1] };
	struct nvme_node *d = nvme_read_node(&r);
	uint64_t segment =
		(place->offset - LOG_FRONT_BYTES) / t->g.segment_bytes;

	must(t->segments[segment].holds > 0);
	t->segments[segment].holds--;
	if (!d)
		return;
	d->readers--;
	if (wrong)
		nvme_part_bad(t, r.node, -EBADMSG);
	else
		nvme_segment_used(t, d);
}

const struct tier_ops tier_nvme = {
	.name = "nvme",
	.kind = OC_TIER_NVME,
	.open = nvme_open,
	.stop = nvme_stop,
	.close = nvme_close,
	.fd = nvme_fd,
	.ready = nvme_ready,
	.tick = nvme_tick,
	.space = nvme_space,
	.find = nvme_find,
	.read = nvme_move_read,
	.write = nvme_move_write,
	.cancel = nvme_move_cancel,
	.remove = nvme_remove,
	.use = nvme_use,
	.memory_add = nvme_memory_add,
	.memory_drop = nvme_memory_drop,
	.hold = nvme_hold,
	.release = nvme_release,
	.stat = nvme_stat,
	.each = nvme_each,
	.check = nvme_check,
};

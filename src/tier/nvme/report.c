/* SPDX-License-Identifier: Apache-2.0 */
/* What the tier tells of itself, and a recount of everything. */
#include <stdio.h>
#include "base/fault.h"
#include "coherence/frame.h"
#include "tier/nvme/move.h"

static uint64_t used_bytes(const struct nvme *t)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < t->there; i++)
		n += t->segments[i].state >= SEGMENT_HEAD &&
		     t->segments[i].state < SEGMENT_BAD;
	return LOG_FRONT_BYTES + n * t->g.segment_bytes;
}

static uint64_t lost_bytes(const struct nvme *t)
{
	uint64_t units = 0;

	for (uint32_t i = 0; i < t->n_bads; i++)
		if (t->bads[i].segment < t->g.segments)
			units += t->bads[i].units;
	for (uint32_t i = 0; i < t->asides; i++)
		units += t->aside[(t->aside_at + i) % NVME_ASIDES].units;
	return units * LOG_UNIT;
}

/* Without those that are kept free, and the one that is being written. */
static uint64_t room_bytes(const struct nvme *t)
{
	uint64_t n = t->grow_failed ? t->there : t->g.segments;

	return (n - MIN(n, nvme_segments_ahead(t) + 1ull)) * t->g.segment_bytes;
}

void nvme_stat(const struct tier *tier, struct tier_stat *ret)
{
	struct nvme *t = nvme_of(tier);
	struct nvme_engine_stat s;

	nvme_engine_stat(&t->engine, &s);
	memset(ret, 0, sizeof(*ret));
	if (t->found)
		*ret = t->count; /* else it is the job's */
	ret->state = t->state;
	ret->why = t->why;
	if (t->state == TIER_UP && t->grow_failed)
		ret->why = "its file system is full, before its limit";
	ret->io = t->engine.backend->name;
	ret->direct = t->direct;
	ret->limit_bytes = t->options.size;
	if (t->found) {
		ret->limit_bytes = log_at(
			&t->g, t->grow_failed ? t->there : t->g.segments, 0);
		ret->used_bytes = used_bytes(t);
		ret->room_bytes = room_bytes(t);
		ret->lost_bytes = lost_bytes(t);
	}
	ret->queued = s.queued;
	ret->flying = s.flying;
	ret->read = s.read;
	ret->write = s.write;
}

void nvme_each(const struct tier *tier,
	       void (*fn)(void *ctx, const struct tier_id *id,
			  const struct tier_block *block),
	       void *ctx)
{
	const struct nvme *t = nvme_of(tier);

	if (!t->found)
		return;
	for (uint32_t n = 1; n < t->index.made; n++) {
		const struct nvme_node *d = nvme_node(&t->index, n);
		struct tier_block block = nvme_node_block(d);
		struct tier_id id = nvme_node_id(d);

		if (d->state == NODE_LIVE)
			fn(ctx, &id, &block);
	}
}

/* ---- the recount ------------------------------------------------------------------ */

struct recount {
	const struct nvme *t;
	void (*problem)(void *ctx, const char *text);
	void *ctx;
	uint64_t live_bytes, used_bytes;
	uint32_t parts, deads;
};

static void wrong(const struct recount *c, const char *what, uint64_t where,
		  uint64_t is, uint64_t counted)
{
	char text[160];

	snprintf(text, sizeof(text), "nvme: %s of %llu: %llu, counted %llu",
		 what, (unsigned long long)where, (unsigned long long)is,
		 (unsigned long long)counted);
	c->problem(c->ctx, text);
}

static void same(const struct recount *c, const char *what, uint64_t where,
		 uint64_t is, uint64_t counted)
{
	if (is != counted)
		wrong(c, what, where, is, counted);
}

static void check_node(struct recount *c, uint32_t n, uint32_t segment)
{
	const struct nvme *t = c->t;
	const struct nvme_node *d = nvme_node(&t->index, n);
	struct tier_id id = nvme_node_id(d);
	uint64_t bytes = frame_extent_bytes(d->extent);

	same(c, "segment of node", n, d->segment, segment);
	same(c, "state of node", n, d->state, NODE_LIVE);
	same(c, "place in the hash of node", n, nvme_index_find(&t->index, &id),
	     n);
	if (d->unit < LOG_FIRST_UNIT ||
	    d->unit + log_units_of(bytes) > log_units(&t->g))
		wrong(c, "unit of node", n, d->unit, log_units(&t->g));
	if (d->gen >= t->gen)
		wrong(c, "generation of node", n, d->gen, t->gen);
	c->live_bytes += bytes;
	c->used_bytes += d->uses ? bytes : 0;
	c->parts++;
}

static void check_segment(struct recount *all, uint32_t i)
{
	const struct nvme *t = all->t;
	const struct nvme_segment *s = &t->segments[i];
	struct recount c = { .t = t, .problem = all->problem, .ctx = all->ctx };
	uint32_t n;

	for (n = s->first; n != NODE_NONE && c.parts <= t->index.made;
	     n = nvme_node(&t->index, n)->next)
		check_node(&c, n, i);
	for (n = s->dead; n != NODE_NONE && c.deads <= t->index.made;
	     n = nvme_node(&t->index, n)->next) {
		same(&c, "state of dead node", n,
		     nvme_node(&t->index, n)->state, NODE_DEAD);
		c.deads++;
	}
	same(&c, "parts of segment", i, s->parts, c.parts);
	same(&c, "tombstones of segment", i, s->deads, c.deads);
	same(&c, "live bytes of segment", i, s->live_bytes, c.live_bytes);
	same(&c, "used bytes of segment", i, s->used_bytes, c.used_bytes);
	if (s->state < SEGMENT_HEAD && (s->parts || s->deads))
		wrong(&c, "parts of a segment that is not in use,", i, s->parts,
		      0);
	all->parts += c.parts;
	all->deads += c.deads;
	all->live_bytes += c.live_bytes;
}

/* Places of one segment do not overlap: a bit for each unit. */
static void check_overlaps(const struct recount *all, uint32_t i, uint8_t *map)
{
	const struct nvme *t = all->t;
	uint32_t n;

	memset(map, 0, log_units(&t->g) / 8 + 1);
	for (n = t->segments[i].first; n != NODE_NONE;
	     n = nvme_node(&t->index, n)->next) {
		const struct nvme_node *d = nvme_node(&t->index, n);
		uint32_t units = log_units_of(frame_extent_bytes(d->extent));

		for (uint32_t u = d->unit; u < d->unit + units; u++) {
			if (map[u / 8] & 1u << u % 8) {
				wrong(all, "unit that two parts have, node", n,
				      u, i);
				break;
			}
			map[u / 8] |= (uint8_t)(1u << u % 8);
		}
	}
}

static void check_nodes(struct recount *all)
{
	const struct nvme *t = all->t;
	uint32_t live = 0, writing = 0, dead = 0, free = 0;

	for (uint32_t n = 1; n < t->index.made; n++) {
		uint8_t state = nvme_node(&t->index, n)->state;

		live += state == NODE_LIVE;
		writing += state == NODE_WRITING;
		dead += state == NODE_DEAD;
	}
	for (uint32_t n = t->index.free; n != NODE_NONE && free < t->index.made;
	     n = nvme_node(&t->index, n)->chain)
		free++;
	same(all, "live nodes", 0, live, all->parts);
	same(all, "nodes in the hash", 0, t->index.hashed, live + writing);
	same(all, "nodes", 0, t->index.made - 1, live + writing + dead + free);
	if (dead < all->deads + t->deads)
		wrong(all, "dead nodes", 0, dead, all->deads + t->deads);
}

void nvme_check(const struct tier *tier,
		void (*problem)(void *ctx, const char *text), void *ctx)
{
	const struct nvme *t = nvme_of(tier);
	struct recount all = { .t = t, .problem = problem, .ctx = ctx };
	CLEANUP(mem_free_at) uint8_t *map = NULL;
	uint32_t frees = 0;

	if (!t->found)
		return;
	map = mem_alloc(log_units(&t->g) / 8 + 1);
	for (uint32_t i = 0; i < t->g.segments; i++) {
		check_segment(&all, i);
		if (map)
			check_overlaps(&all, i, map);
		frees += t->segments[i].state == SEGMENT_FREE;
	}
	same(&all, "free segments", 0, t->frees, frees);
	same(&all, "parts", 0, t->count.parts, all.parts);
	same(&all, "live bytes", 0, t->count.live_bytes, all.live_bytes);
	check_nodes(&all);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the log has, found at the start: headers and summaries, commit pages where
 * a segment was not closed; never payload. Runs in the device's thread.
 *
 * The order in which segments are read does not matter: of entries of one id the
 * larger generation holds, and a tombstone kills those up to its own, wherever
 * they turn up. Until all is read, tombstones stand in the index as DEAD nodes
 * (.unit: the segment that holds the record).
 */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "coherence/frame.h"
#include "tier/nvme/nvme.h"

#define BATCH	    16u /* segments read at once */
#define CHUNK_PAGES 64u /* commit pages read at once */
#define UNKNOWN	    UINT32_MAX
/* Of an entry, before it is looked up. */
#define BUCKET_AHEAD (16 * (uint32_t)sizeof(struct log_entry))
#define NODE_AHEAD   (8 * (uint32_t)sizeof(struct log_entry))

struct finding {
	struct nvme *t;
	struct nvme_io io[BATCH];
	uint8_t *pages;	 /* BATCH * CHUNK_PAGES */
	uint32_t *space; /* of the segment's number: ours */
	uint64_t most_gen;
	/* the segments of a batch */
	struct found {
		uint32_t segment, unit, bytes; /* the summary; 0: none */
		uint64_t checksum;
		uint8_t *summary; /* in f->buffer */
		int result;
	} batch[BATCH];
	uint32_t n;
	uint8_t *buffer[BATCH]; /* kept for the next batch */
	uint64_t room[BATCH];
	/* the segment that is read now */
	uint32_t segment, records;
};

/* ---- records -------------------------------------------------------------------- */

static bool older(const struct finding *f, const struct nvme_node *d,
		  uint64_t gen)
{
	const struct nvme_segment *s = f->t->segments;

	return d->gen < gen ||
	       (d->gen == gen && s[d->segment].seq < s[f->segment].seq);
}

/* Fills a node of the hash. */
static void place(struct finding *f, uint32_t n, const struct log_entry *e)
{
	struct nvme_node *d = nvme_node(&f->t->index, n);

	d->state = NODE_LIVE;
	d->checksum = e->checksum;
	d->extent = e->extent;
	d->gen = e->gen;
	d->depth = e->depth;
	d->segment = f->segment;
	d->unit = e->unit;
	nvme_segment_link(f->t, n);
}

static int add_entry(struct finding *f, uint32_t space,
		     const struct log_entry *e)
{
	struct nvme_index *x = &f->t->index;
	struct tier_id id = { .space = space, .part = e->part };
	uint32_t n;
	int r;

	memcpy(id.key, e->key, sizeof(id.key));
	f->most_gen = MAX(f->most_gen, e->gen);
	if (nvme_bad_at(f->t, f->segment, e->unit,
			log_units_of(frame_extent_bytes(e->extent))))
		return 0;
	for (n = nvme_index_find(x, &id); n != NODE_NONE;
	     n = nvme_index_next(x, &id, n)) {
		const struct nvme_node *d = nvme_node(x, n);

		if (d->state == NODE_DEAD && d->gen >= e->gen)
			return 0;
		if (d->state == NODE_DEAD)
			continue;
		if (older(f, d, e->gen)) {
			nvme_segment_unlink(f->t, n);
			place(f, n, e);
		}
		return 0;
	}
	r = nvme_index_add(x, &id, &n);
	if (r == -ENOSPC)
		return 0; /* the limit became smaller: a miss */
	if (r == 0)
		place(f, n, e);
	return r;
}

static int add_tomb(struct finding *f, uint32_t space, const struct log_tomb *b)
{
	struct nvme_index *x = &f->t->index;
	struct tier_id id = { .space = space, .part = b->part };
	struct nvme_node *d;
	uint32_t n, next;
	int r;

	memcpy(id.key, b->key, sizeof(id.key));
	f->most_gen = MAX(f->most_gen, b->gen);
	if (b->segment >= f->t->g.segments ||
	    f->t->segments[b->segment].seq != b->seq)
		return 0;
	for (n = nvme_index_find(x, &id); n != NODE_NONE; n = next) {
		d = nvme_node(x, n);
		next = nvme_index_next(x, &id, n);
		if (d->state != NODE_LIVE || d->gen > b->gen)
			continue;
		nvme_segment_unlink(f->t, n);
		nvme_index_hide(x, n);
		nvme_index_free(x, n);
	}
	r = nvme_index_add(x, &id, &n);
	if (r < 0)
		return r;
	d = nvme_node(x, n);
	d->state = NODE_DEAD;
	d->gen = b->gen;
	d->segment = b->segment;
	d->checksum = b->seq;
	d->unit = f->segment;
	return 0;
}

/* Some records ahead; if what lies there begins no entry, nothing is lost. */
static void
fetch(const struct finding *f, const void *data, uint32_t bytes, uint32_t at,
      void (*what)(const struct nvme_index *x, const struct tier_id *id))
{
	struct log_entry e;
	struct tier_id id;
	uint32_t space;

	if (at + sizeof(e) > bytes)
		return;
	memcpy(&e, (const uint8_t *)data + at, sizeof(e));
	space = e.tag >> 8;
	if ((e.tag & 0xff) != LOG_ENTRY || space >= LOG_SPACES_MAX)
		return;
	memcpy(id.key, e.key, sizeof(id.key));
	id.part = e.part;
	id.space = f->space[space];
	what(&f->t->index, &id);
}

/* 0; -EBADMSG: from here on it makes no sense; -ENOMEM. */
static int add_records(struct finding *f, const void *data, uint32_t bytes)
{
	struct log_record rec;
	uint32_t at = 0, space;
	int r;

	while ((r = log_record_next(&f->t->g, data, bytes, &at, &rec)) > 0) {
		f->records++;
		fetch(f, data, bytes, at + BUCKET_AHEAD,
		      nvme_index_fetch_bucket);
		fetch(f, data, bytes, at + NODE_AHEAD, nvme_index_fetch_node);
		space = f->space[rec.space];
		if (rec.kind == LOG_SPACE)
			r = nvme_spaces_number(&f->t->spaces,
					       &rec.u.space.space,
					       &f->space[rec.space]);
		else if (space == UNKNOWN)
			r = -EBADMSG;
		else if (rec.kind == LOG_ENTRY)
			r = add_entry(f, space, &rec.u.entry);
		else
			r = add_tomb(f, space, &rec.u.tomb);
		if (r < 0)
			break;
	}
	return r;
}

/* ---- commit pages ----------------------------------------------------------------- */

static void ask(struct finding *f, struct nvme_io *io, uint64_t at, void *data,
		uint64_t bytes)
{
	memset(io, 0, sizeof(*io));
	io->op = NVME_READ;
	io->offset = at;
	io->data = data;
	io->bytes = bytes;
	f->t->count.device_read_bytes += bytes;
}

static void ask_again(struct finding *f, struct nvme_io *io)
{
	ask(f, io, io->offset, io->data, io->bytes);
	nvme_io_wait(&f->t->engine, io, 1);
}

/* Pages [from, +n) of the segment. One that cannot be read is none. */
static void read_pages(struct finding *f, uint32_t from, uint32_t n)
{
	struct nvme *t = f->t;
	uint64_t at = log_at(&t->g, f->segment, from);

	ask(f, &f->io[0], at, f->pages, n * LOG_UNIT);
	nvme_io_wait(&t->engine, f->io, 1);
	if (f->io[0].result == 0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *page = f->pages + i * LOG_UNIT;

		ask(f, &f->io[0], at + i * LOG_UNIT, page, LOG_UNIT);
		nvme_io_wait(&t->engine, f->io, 1);
		if (f->io[0].result == 0)
			continue;
		log_error("nvme: %s: read at offset %llu: %s", t->path,
			  (unsigned long long)f->io[0].offset,
			  strerror(-f->io[0].result));
		t->count.errors++;
		memset(page, 0, LOG_UNIT);
	}
}

/* From the end downward, until there are no more. */
static int read_commits(struct finding *f)
{
	struct nvme *t = f->t;
	uint32_t high = log_units(&t->g), missing = 0, bytes, n;
	int r;

	while (high > LOG_FIRST_UNIT && missing < LOG_COMMIT_GAP) {
		n = MIN(high - LOG_FIRST_UNIT, CHUNK_PAGES);
		read_pages(f, high - n, n);
		for (; n > 0 && missing < LOG_COMMIT_GAP; n--, high--) {
			const uint8_t *page = f->pages + (n - 1) * LOG_UNIT;

			if (nvme_bad_at(t, f->segment, high - 1, 1))
				continue;
			if (!log_commit_parse(page, &t->g, f->segment,
					      t->segments[f->segment].seq,
					      &bytes)) {
				missing++;
				continue;
			}
			missing = 0;
			r = add_records(f, page + sizeof(struct log_head),
					bytes);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* ---- segments --------------------------------------------------------------------- */

static void begin_segment(struct finding *f, uint32_t segment)
{
	f->segment = segment;
	f->records = 0;
	memset(f->space, 0xff, LOG_SPACES_MAX * sizeof(*f->space));
}

static int read_segment(struct finding *f, const struct found *b)
{
	struct nvme *t = f->t;
	struct nvme_segment *s = &t->segments[b->segment];
	int r;

	begin_segment(f, b->segment);
	if (b->summary && b->result == 0 &&
	    log_summary_checksum(&t->g, b->segment, s->seq, b->summary,
				 b->bytes) == b->checksum)
		r = add_records(f, b->summary, b->bytes);
	else
		r = read_commits(f);
	if (r == -EBADMSG || r == -ENOSPC) {
		log_warn("nvme: %s: log segment %u: some records make no sense",
			 t->path, b->segment);
		r = 0;
	}
	if (r < 0)
		return r;
	s->units = log_units(&t->g);
	s->state = SEGMENT_CLOSED;
	if (f->records == 0) {
		s->units = LOG_FIRST_UNIT;
		nvme_segment_free_add(t, b->segment);
	}
	return 0;
}

static uint8_t *buffer(struct finding *f, uint32_t i, uint64_t bytes)
{
	bytes = nvme_units_bytes(bytes);
	if (f->room[i] < bytes) {
		free(f->buffer[i]);
		f->buffer[i] = nvme_pages(bytes);
		f->room[i] = f->buffer[i] ? bytes : 0;
	}
	return f->buffer[i];
}

/* Summaries of the batch at once, then each segment. */
static int read_batch(struct finding *f)
{
	uint32_t n = 0;
	int r = 0;

	for (uint32_t i = 0; i < f->n; i++) {
		struct found *b = &f->batch[i];

		b->summary = b->bytes ? buffer(f, i, b->bytes) : NULL;
		if (b->summary)
			ask(f, &f->io[n++],
			    log_at(&f->t->g, b->segment, b->unit), b->summary,
			    nvme_units_bytes(b->bytes));
	}
	nvme_io_wait(&f->t->engine, f->io, n);
	n = 0;
	for (uint32_t i = 0; i < f->n; i++)
		if (f->batch[i].summary)
			f->batch[i].result = f->io[n++].result;
	for (uint32_t i = 0; i < f->n && r == 0; i++)
		r = read_segment(f, &f->batch[i]);
	f->n = 0;
	return r;
}

/* What the first two pages say. */
static int judge(struct finding *f, uint32_t segment, const uint8_t *pages,
		 int result)
{
	struct nvme *t = f->t;
	struct nvme_segment *s = &t->segments[segment];
	struct found *b = &f->batch[f->n];

	if (result < 0) {
		log_error("nvme: %s: read at offset %llu: %s: log segment %u "
			  "is not used",
			  t->path,
			  (unsigned long long)log_at(&t->g, segment, 0),
			  strerror(-result), segment);
		t->count.errors++;
		s->state = SEGMENT_BAD;
		return 0;
	}
	if (nvme_bad_at(t, segment, 0, 1)) {
		s->state = SEGMENT_BAD;
		return 0;
	}
	if (!log_opened_parse(pages, &t->g, segment, &s->seq)) {
		s->seq = 0;
		return 0; /* as if it had never been used */
	}
	t->seq = MAX(t->seq, s->seq + 1);
	memset(b, 0, sizeof(*b));
	b->segment = segment;
	log_closed_parse(pages + LOG_UNIT, &t->g, segment, s->seq, &b->unit,
			 &b->bytes, &b->checksum);
	f->n++;
	return 0;
}

/* A tombstone counts only while the life that it names is on disk: so all first
 * pages are read before any record. */
static int read_headers(struct finding *f, struct found *all, uint32_t *ret_n)
{
	struct nvme *t = f->t;
	uint32_t n, total = 0;

	for (uint32_t at = 0; at < t->there; at += n) {
		n = MIN(t->there - at, BATCH);
		for (uint32_t i = 0; i < n; i++)
			ask(f, &f->io[i], log_at(&t->g, at + i, 0),
			    f->pages + i * 2 * LOG_UNIT, 2 * LOG_UNIT);
		nvme_io_wait(&t->engine, f->io, n);
		f->n = 0;
		for (uint32_t i = 0; i < n; i++)
			if (f->io[i].result < 0) /* perhaps only once */
				ask_again(f, &f->io[i]);
		for (uint32_t i = 0; i < n; i++)
			judge(f, at + i, f->pages + i * 2 * LOG_UNIT,
			      f->io[i].result);
		memcpy(all + total, f->batch, f->n * sizeof(*all));
		total += f->n;
	}
	*ret_n = total;
	return 0;
}

static void bury(struct nvme *t)
{
	for (uint32_t n = 1; n < t->index.made; n++) {
		struct nvme_node *d = nvme_node(&t->index, n);
		struct nvme_segment *s;

		if (d->state != NODE_DEAD)
			continue;
		nvme_index_hide(&t->index, n);
		s = &t->segments[d->unit];
		d->next = s->dead;
		s->dead = n;
		s->deads++;
	}
}

static int read_all(struct finding *f)
{
	CLEANUP(mem_free_at)
	struct found *all = mem_array(f->t->there, sizeof(*all));
	uint64_t entries = 0;
	uint32_t n, at, some;
	int r;

	if (!all)
		return -ENOMEM;
	r = read_headers(f, all, &n);
	for (at = 0; at < n; at++)
		entries += all[at].bytes / sizeof(struct log_entry);
	nvme_index_expect(&f->t->index, entries);
	for (at = 0; at < n && r == 0; at += some) {
		some = MIN(n - at, BATCH);
		memcpy(f->batch, all + at, some * sizeof(*all));
		f->n = some;
		r = read_batch(f);
	}
	if (r == 0)
		bury(f->t);
	f->t->gen = f->most_gen + 1;
	return r;
}

/* ---- tables ----------------------------------------------------------------------- */

void nvme_tables_free(struct nvme *t)
{
	nvme_index_fini(&t->index);
	free(t->segments);
	free(t->free);
	t->segments = NULL;
	t->free = NULL;
}

static int make_tables(struct nvme *t)
{
	uint64_t most = t->g.segments * (uint64_t)log_units(&t->g);

	nvme_tables_free(t);
	t->free_at = t->frees = 0;
	t->dead_first = t->dead_last = NODE_NONE;
	t->deads = 0;
	t->victim = UINT32_MAX;
	t->seq = t->gen = 1;
	t->count.parts = t->count.live_bytes = 0;
	t->segments = mem_array(t->g.segments, sizeof(*t->segments));
	t->free = mem_array(t->g.segments, sizeof(*t->free));
	if (!t->segments || !t->free ||
	    nvme_index_init(&t->index, most, t->g.uuid[0] ^ t->epoch)) {
		nvme_tables_free(t);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < t->n_bads; i++)
		if (t->bads[i].segment < t->g.segments)
			t->segments[t->bads[i].segment].bad = true;
	return 0;
}

static int recover(struct nvme *t)
{
	struct finding *f = mem_alloc(sizeof(*f));
	uint64_t begin = clock_ns();
	int r = f ? 0 : -ENOMEM;

	if (r == 0) {
		f->t = t;
		f->pages = nvme_pages(CHUNK_PAGES * LOG_UNIT);
		f->space = mem_array(LOG_SPACES_MAX, sizeof(*f->space));
		r = f->pages && f->space ? make_tables(t) : -ENOMEM;
		if (r == 0)
			r = read_all(f);
		for (uint32_t i = 0; i < BATCH; i++)
			free(f->buffer[i]);
		free(f->pages);
		free(f->space);
		free(f);
	}
	t->count.recovered = t->count.parts;
	t->count.recover_us = (clock_ns() - begin) / 1000;
	return r;
}

/* ---- the job ----------------------------------------------------------------------- */

static int job(struct nvme_io *io)
{
	struct nvme *t = container_of(io, struct nvme, recover_io);
	int r = 0;

	if (!t->loaded)
		r = nvme_super_load(t);
	if (r < 0)
		return r;
	t->loaded = true;
	return recover(t);
}

static void job_done(struct nvme_io *io)
{
	struct nvme *t = container_of(io, struct nvme, recover_io);

	t->recovering = false;
	if (io->result < 0) {
		log_error("nvme: %s: %s", t->path ? t->path : t->options.path,
			  strerror(-io->result));
		nvme_watch_event(t, HEALTH_LOST, "what it has cannot be found");
		return;
	}
	nvme_early_apply(t);
	t->found = true;
	log_info("nvme: %s: %llu parts found in %llu ms (%s, %s)", t->path,
		 (unsigned long long)t->count.recovered,
		 (unsigned long long)t->count.recover_us / 1000,
		 t->engine.backend->name,
		 t->direct ? "O_DIRECT" : "through the page cache");
	nvme_watch_event(t, HEALTH_FOUND, "");
}

void nvme_recover_begin(struct nvme *t)
{
	t->recovering = true;
	memset(&t->recover_io, 0, sizeof(t->recover_io));
	t->recover_io.op = NVME_JOB;
	t->recover_io.urgency = NVME_LOG_ITSELF;
	t->recover_io.run = job;
	t->recover_io.done = job_done;
	nvme_io_submit(&t->engine, &t->recover_io);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The bench's frame: what is counted and timed; and the other protocol. */
#include "bench_coherence.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/rng.h"
#include "bench.h"

#define READS	7u /* to each write */
#define LINE	64u
#define TIMED	(200 * NS_PER_MS)
#define SCANNED 256u

/* ---- watching ------------------------------------------------------------------ */

int watch_add(struct watch *w, const void *base, size_t bytes)
{
	struct watched *a = &w->area[w->n];

	if (w->n == ARRAY_LEN(w->area))
		return -ENOSPC;
	a->before = mem_alloc(bytes);
	if (!a->before)
		return -ENOMEM;
	a->base = base;
	a->bytes = bytes;
	w->n++;
	return 0;
}

static uint64_t lines_changed(struct watched *a)
{
	uint64_t n = 0;

	for (size_t at = 0; at < a->bytes; at += 4096) {
		size_t some = MIN(a->bytes - at, (size_t)4096);

		if (!memcmp(a->base + at, a->before + at, some))
			continue;
		for (size_t i = at; i < at + some; i += LINE)
			n += memcmp(a->base + i, a->before + i, LINE) != 0;
		memcpy(a->before + at, a->base + at, some);
	}
	return n;
}

void watch_step(struct watch *w)
{
	for (unsigned i = 0; w->on && i < w->n; i++)
		w->lines += lines_changed(&w->area[i]);
}

static void watch_begin(struct watch *w)
{
	w->on = true;
	watch_step(w);
	w->lines = 0;
	w->messages = 0;
}

void watch_fini(struct watch *w)
{
	for (unsigned i = 0; i < w->n; i++)
		free(w->area[i].before);
	w->n = 0;
}

/* ---- copy, flush, invalidate --------------------------------------------------------
 *
 * Memory has a home for each block. An actor works on copies of its own. Who
 * writes flushes its copy to the home, tells every other actor that theirs is
 * old, and goes on when all have acknowledged; there is no directory that knows
 * who has one. Who reads without a valid copy fetches the home. */
struct mailbox {
	_Alignas(LINE) uint64_t asked; /* sequence, by the writer */
	uint64_t block;
	_Alignas(LINE) uint64_t acknowledged; /* by its owner */
};

struct home {
	_Alignas(LINE) uint64_t version;
};

struct invalidate {
	struct watch *w;
	unsigned actors;
	uint64_t sequence, used;
	struct mailbox *mail;
	struct home *home;
	uint8_t *payload;
	struct cache {
		uint8_t *copy;
		bool valid[COHERENCE_BLOCKS];
	} cache[COHERENCE_ACTORS];
};

static void invalidate_destroy(void *ctx)
{
	struct invalidate *v = ctx;

	for (unsigned i = 0; i < v->actors; i++)
		free(v->cache[i].copy);
	free(v->mail);
	free(v->home);
	free(v->payload);
	free(v);
}

static int invalidate_create(unsigned actors, struct watch *w, void **ret_ctx)
{
	struct invalidate *v = mem_alloc(sizeof(*v));
	size_t mail = actors * sizeof(struct mailbox);
	size_t home = COHERENCE_BLOCKS * sizeof(struct home);
	int r;

	if (!v)
		return -ENOMEM;
	v->w = w;
	v->actors = actors;
	v->mail = aligned_alloc(LINE, mail);
	v->home = aligned_alloc(LINE, home);
	v->payload = calloc(COHERENCE_BLOCKS, COHERENCE_BYTES);
	r = v->mail && v->home && v->payload ? 0 : -ENOMEM;
	for (unsigned i = 0; i < actors && r == 0; i++) {
		v->cache[i].copy = calloc(COHERENCE_BLOCKS, COHERENCE_BYTES);
		r = v->cache[i].copy ? 0 : -ENOMEM;
	}
	if (r < 0) {
		invalidate_destroy(v);
		return r;
	}
	memset(v->mail, 0, mail);
	memset(v->home, 0, home);
	*ret_ctx = v;
	return 0;
}

static int invalidate_watch(void *ctx)
{
	struct invalidate *v = ctx;
	int r = watch_add(v->w, v->mail, v->actors * sizeof(struct mailbox));

	if (r == 0)
		r = watch_add(v->w, v->home,
			      COHERENCE_BLOCKS * sizeof(struct home));
	return r;
}

static int invalidate_read(void *ctx, unsigned actor, unsigned block)
{
	struct invalidate *v = ctx;
	struct cache *c = &v->cache[actor];
	size_t at = (size_t)block * COHERENCE_BYTES;

	if (!c->valid[block]) {
		memcpy(c->copy + at, v->payload + at, COHERENCE_BYTES);
		c->valid[block] = true;
	}
	v->used += c->copy[at + block];
	return 0;
}

/* The other side: its copy is old from now on. */
static void invalidate_serve(struct invalidate *v, unsigned actor)
{
	struct mailbox *m = &v->mail[actor];

	v->cache[actor].valid[m->block] = false;
	m->acknowledged = m->asked;
	v->w->messages++;
	watch_step(v->w);
}

static int invalidate_write(void *ctx, unsigned actor, unsigned block)
{
	struct invalidate *v = ctx;
	size_t at = (size_t)block * COHERENCE_BYTES;

	memset(v->cache[actor].copy + at, (int)++v->sequence, COHERENCE_BYTES);
	v->cache[actor].valid[block] = true;
	memcpy(v->payload + at, v->cache[actor].copy + at, COHERENCE_BYTES);
	v->home[block].version = v->sequence;
	watch_step(v->w);
	for (unsigned i = 0; i < v->actors; i++) {
		if (i == actor)
			continue;
		v->mail[i].block = block;
		v->mail[i].asked = v->sequence;
		v->w->messages++;
		watch_step(v->w);
		invalidate_serve(v, i);
	}
	return 0;
}

const struct coherence_ops coherence_invalidate = {
	.name = "invalidate",
	.create = invalidate_create,
	.watch = invalidate_watch,
	.read = invalidate_read,
	.write = invalidate_write,
	.destroy = invalidate_destroy,
};

/* ---- measuring ------------------------------------------------------------------------ */

struct cost {
	double messages, lines, ns; /* of an operation */
	double round;		    /* messages when each actor writes once */
};

/* Every actor writes once and reads some; all blocks are everybody's. */
static int one_round(const struct coherence_ops *ops, void *ctx,
		     unsigned actors, struct rng *rng)
{
	int r = 0;

	for (unsigned i = 0; i < actors && r == 0; i++) {
		r = ops->write(ctx, i,
			       (unsigned)rng_below(rng, COHERENCE_BLOCKS));
		for (unsigned j = 0; j < READS && r == 0; j++)
			r = ops->read(ctx, i,
				      (unsigned)rng_below(rng,
							  COHERENCE_BLOCKS));
	}
	return r;
}

static int time_rounds(const struct coherence_ops *ops, void *ctx,
		       unsigned actors, struct rng *rng, double *ret_ns)
{
	uint64_t start = clock_ns(), now, n = 0;
	int r;

	do {
		r = one_round(ops, ctx, actors, rng);
		now = clock_ns();
		n += (uint64_t)actors * (READS + 1);
	} while (r == 0 && now - start < TIMED);
	*ret_ns = (double)(now - start) / (double)n;
	return r;
}

static int measure(const struct coherence_ops *ops, unsigned actors,
		   struct cost *ret_cost)
{
	struct watch w = { 0 };
	struct rng rng = { 5 };
	uint64_t n = (uint64_t)actors * (READS + 1);
	void *ctx;
	int r = ops->create(actors, &w, &ctx);

	if (r < 0) {
		watch_fini(&w);
		return r;
	}
	for (unsigned b = 0; b < COHERENCE_BLOCKS && r == 0; b++)
		r = ops->write(ctx, b % actors, b);
	for (unsigned i = 0; i < 4 && r == 0; i++) /* all have their memory */
		r = one_round(ops, ctx, actors, &rng);
	if (r == 0)
		r = ops->watch(ctx);
	watch_begin(&w);
	if (r == 0)
		r = one_round(ops, ctx, actors, &rng);
	ret_cost->messages = (double)w.messages / (double)n;
	ret_cost->lines = (double)w.lines / (double)n;
	ret_cost->round = (double)w.messages;
	w.on = false;
	if (r == 0)
		r = time_rounds(ops, ctx, actors, &rng, &ret_cost->ns);
	ops->destroy(ctx);
	watch_fini(&w);
	return r;
}

/* ---- telling ------------------------------------------------------------------------------ */

static const unsigned actors_of[] = { 2, 4, 8, 16, 32, 64 };
#define SIZES ARRAY_LEN(actors_of)

static void tell_row(struct bench *b, unsigned actors, const char *of,
		     const struct cost *c)
{
	const struct {
		const char *name, *unit;
		double value;
	} row[] = { { "messages", "1/op", c->messages },
		    { "shared_lines", "1/op", c->lines },
		    { "round", "messages", c->round },
		    { "time", "ns/op", c->ns } };

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		char name[64];
		double value = row[i].value;

		snprintf(name, sizeof(name), "%s_%s_%u", of, row[i].name,
			 actors);
		bench_inform(b, name, row[i].unit, &value, 1);
	}
}

static void tell(struct bench *b, const struct cost ours[SIZES],
		 const struct cost theirs[SIZES])
{
	if (!b->figures) {
		bench_says(NULL);
		printf("%8s  %33s  %33s\n", "", "onecopy", "invalidate");
		for (unsigned i = 0; i < 2; i++)
			printf("%*s  %8s %8s %6s %8s", i ? 0 : 8,
			       i ? "" : "actors", "messages", "lines", "ns",
			       "a round");
		printf("\n");
	}
	for (size_t i = 0; i < SIZES; i++) {
		const struct cost *o = &ours[i], *t = &theirs[i];

		if (b->figures) {
			tell_row(b, actors_of[i], "onecopy", o);
			tell_row(b, actors_of[i], "invalidate", t);
			continue;
		}
		printf("%8u  %8.2f %8.2f %6.0f %8.0f  %8.2f %8.2f %6.0f %8.0f\n",
		       actors_of[i], o->messages, o->lines, o->ns, o->round,
		       t->messages, t->lines, t->ns, t->round);
	}
	if (!b->figures)
		printf("%8s  of an operation, %u reads to each write; a round: "
		       "messages when each writes once\n",
		       "", READS);
}

static double growth(double first, double last)
{
	return first > 0 ? last / first : 0;
}

static void judge(struct bench *b, const struct cost ours[SIZES],
		  const struct cost theirs[SIZES], uint64_t scans)
{
	const struct cost *first = &ours[0], *last = &ours[SIZES - 1];
	double m = growth(first->messages, last->messages);
	double l = growth(first->lines, last->lines);
	double per_scan = (double)SCANNED / (double)MAX(scans, 1ull);
	struct bench_figure f = {
		.name = "coherence_messages",
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 1.05,
		.against = "invalidate: the same growth from 2 to 64 actors",
		.reference =
			growth(theirs[0].messages, theirs[SIZES - 1].messages),
	};

	bench_report(b, &f, &m, 1);
	f.name = "coherence_lines";
	f.reference = growth(theirs[0].lines, theirs[SIZES - 1].lines);
	bench_report(b, &f, &l, 1);
	f = (struct bench_figure){
		.name = "frames_per_pin_scan",
		.unit = "frames",
		.sense = BENCH_AT_LEAST,
		.wanted = SCANNED,
		.against = "a batch: its frames leave after one look at all "
			   "pin slots",
	};
	bench_report(b, &f, &per_scan, 1);
}

int bench_coherence(struct bench *b)
{
	struct cost ours[SIZES], theirs[SIZES];
	uint64_t scans = 0;
	int r = 0;

	for (size_t i = 0; i < SIZES && r == 0; i++) {
		r = bench_late(b) ? -ETIME : 0;
		if (r == 0)
			r = measure(&coherence_onecopy, actors_of[i], &ours[i]);
		if (r == 0)
			r = measure(&coherence_invalidate, actors_of[i],
				    &theirs[i]);
	}
	if (r == 0)
		r = coherence_scans(SCANNED, &scans);
	if (r < 0)
		return r;
	tell(b, ours, theirs);
	judge(b, ours, theirs, scans);
	return 0;
}

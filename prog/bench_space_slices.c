/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slice after slice over slabs that are striped for it: a session of 1,024 blocks of
 * 64 slices, each a page. Beside it the same bytes gathered, which is what there is
 * without stripes, and bare mmap() of the same runs.
 */
#include "bench_space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "bench.h"
#include "client/client.h"

#define SLICES	   64u
#define SLICE	   4096u
#define PART	   (SLICES * SLICE)
#define BLOCKS	   1024u
#define NODE_BYTES (1ull << 30)
#define ROW_BYTES  ((uint64_t)BLOCKS * SLICE)
#define ALL_BYTES  ((uint64_t)BLOCKS * PART)

/* A run of neighbouring frames: where its first slice lies. */
struct run {
	int fd;
	uint64_t offset, stride;
	size_t first, n;
};

struct sliced {
	oc_ns *ns;
	struct oc_key key[BLOCKS];
	struct run run[BLOCKS];
	size_t runs;
};

static const struct oc_part part0 = { 0, 0 };

static int put_all(struct bench_pool *pool, struct sliced *w)
{
	struct oc_ns_options o = { .size = sizeof(o),
				   .block_tokens = 16,
				   .n_groups = 1,
				   .groups = { { .slices = SLICES,
						 .slice_bytes = SLICE,
						 .stride = OC_STRIPED } },
				   .label = "bench striped" };
	uint8_t *data = malloc(PART);
	int r = data ? oc_ns_open(pool->client, &o, 0, &w->ns) : -ENOMEM;

	for (uint64_t i = 0; i < BLOCKS && r == 0; i++) {
		memset(&w->key[i], 0, sizeof(w->key[i]));
		memcpy(w->key[i].bytes, &i, sizeof(i));
		memset(data, (int)i + 1, PART);
		r = oc_put(w->ns, &w->key[i], part0, data, PART, 0);
	}
	free(data);
	return r;
}

/* One block's place, as a run of its own or the last one's next. */
static int add_place(struct sliced *w, size_t i, const struct oc_pin *pin)
{
	struct run *last = w->runs ? &w->run[w->runs - 1] : NULL;
	static uint32_t region;
	oc_client *c = w->ns->c;
	int r = 0;

	if (last && region == pin->region &&
	    pin->offset == last->offset + last->n * SLICE) {
		last->n++;
		return 0;
	}
	w->run[w->runs] = (struct run){ last ? last->fd : -1, pin->offset,
					pin->stride, i, 1 };
	if (!last || region != pin->region)
		r = region_descriptor(c, pin->region, client_deadline(c, 0),
				      &w->run[w->runs].fd);
	region = pin->region;
	w->runs += r == 0;
	return r;
}

static int find_runs(struct sliced *w)
{
	int r = 0;

	for (size_t i = 0; i < BLOCKS && r == 0; i++) {
		struct oc_pin pin;

		r = oc_pin(w->ns, &w->key[i], part0, OC_PIN_NO_TOUCH, &pin);
		if (r)
			return r > 0 ? -ESTALE : r;
		r = add_place(w, i, &pin);
		oc_unpin(w->ns, &pin);
	}
	return r;
}

static void close_runs(struct sliced *w)
{
	for (size_t i = 0; i < w->runs; i++)
		if (i + 1 == w->runs || w->run[i + 1].fd != w->run[i].fd)
			fd_close(w->run[i].fd);
}

/* The same pages by bare calls: microseconds, or -errno. */
static double bare(const struct sliced *w)
{
	uint64_t start = clock_ns();
	char *base = mmap(NULL, ALL_BYTES, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	double us;

	if (base == MAP_FAILED)
		return -errno;
	for (uint32_t s = 0; s < SLICES; s++)
		for (size_t i = 0; i < w->runs; i++) {
			const struct run *k = &w->run[i];

			if (mmap(base + s * ROW_BYTES + k->first * SLICE,
				 k->n * SLICE, PROT_READ,
				 MAP_PRIVATE | MAP_FIXED, k->fd,
				 (off_t)(k->offset + s * k->stride)) ==
			    MAP_FAILED)
				return -errno;
		}
	us = space_us_since(start);
	munmap(base, ALL_BYTES);
	return us;
}

struct shown {
	oc_space *space;
	struct oc_span_info info;
	double us;
};

/* mappings: of the space at most; 0: the default. */
static int show(struct sliced *w, uint32_t mappings, unsigned flags,
		struct shown *ret)
{
	struct oc_space_options so = { .size = sizeof(so),
				       .mappings = mappings };
	struct oc_span_options o = OC_SPAN_INIT;
	uint64_t start;
	oc_span *span;
	int r;

	ret->space = NULL;
	r = oc_space_create(w->ns, &so, &ret->space);
	if (r)
		return r;
	o.layout = OC_LAYOUT_SLICES;
	o.capacity = BLOCKS;
	o.flags = flags;
	start = clock_ns();
	r = oc_span_map(ret->space, w->key, BLOCKS, &o, &span);
	ret->us = space_us_since(start);
	if (r == 0)
		r = oc_span_info(span, &ret->info);
	if (r == 0 && ret->info.gathered != (mappings != 0))
		r = -ENOSPC;
	if (r) {
		oc_space_destroy(ret->space);
		ret->space = NULL;
	}
	return r;
}

static int map(struct bench *b, struct sliced *w, double *times, double *ms)
{
	static const struct bench_figure f = {
		.name = "slices_map",
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 1.3,
		.reference = 1,
		.against = "bare mmap() of the same runs and slices",
		.note = "1,024 blocks of 64 slices of 4 KiB; read-only: without "
			"write protection",
	};
	double mappings = 0;

	for (int armed = 0; armed < 2; armed++) {
		for (uint32_t i = 0; i < b->runs; i++) {
			double plain = bare(w);
			struct shown s;
			int r = plain < 0 ? (int)plain
					  : show(w, 0,
						 armed ? 0 : OC_SPAN_READ_ONLY,
						 &s);

			if (r)
				return r;
			oc_space_destroy(s.space);
			times[i] = s.us / plain;
			ms[i] = s.us / 1000;
			mappings = (double)s.info.mappings;
		}
		if (!armed)
			bench_report(b, &f, times, b->runs);
		bench_inform(b, armed ? "slices_map_armed_ms" : "slices_map_ms",
			     "ms", ms, b->runs);
	}
	ms[0] = mappings;
	bench_inform(b, "slices_mappings", "mappings", ms, 1);
	return 0;
}

/* What it was without stripes: one copy. */
static int gather(struct bench *b, struct sliced *w, double *ms)
{
	for (uint32_t i = 0; i < b->runs; i++) {
		struct shown s;
		int r = show(w, SLICES, OC_SPAN_READ_ONLY, &s);

		if (r)
			return r;
		oc_space_destroy(s.space);
		ms[i] = s.us / 1000;
	}
	bench_inform(b, "slices_gather_ms", "ms", ms, b->runs);
	return 0;
}

/* Plain memory with the same bytes: of pages as small as a slice, or of whatever
 * the kernel gives. */
static char *plain_memory(const void *from, bool small)
{
	char *plain = mmap(NULL, ALL_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (plain == MAP_FAILED)
		return NULL;
	madvise(plain, ALL_BYTES, small ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	memcpy(plain, from, ALL_BYTES);
	return plain;
}

/* The best of some passes over all slices, microseconds. */
static double read_all(const char *base)
{
	double best = 1e18;

	for (int k = 0; k < 3; k++) {
		uint64_t start = clock_ns(), sum = 0;

		for (uint32_t l = 0; l < SLICES; l++)
			sum += plain_sum(base + l * ROW_BYTES, ROW_BYTES);
		best = MIN(best, sum ? space_us_since(start) : 1e18);
	}
	return best;
}

/* K of one layer over all tokens, layer by layer, against plain memory. */
static int read_rows(struct bench *b, struct sliced *w, double *times)
{
	static const struct bench_figure f = {
		.name = "slices_read",
		.unit = "x",
		.sense = BENCH_AT_LEAST,
		.wanted = 0.98,
		.reference = 1,
		.against = "reading plain memory of 4 KiB pages, slice by "
			   "slice",
	};
	struct shown s;
	int r = show(w, 0, 0, &s);

	for (int small = 1; small >= 0 && r == 0; small--) {
		char *plain = plain_memory(s.info.base, small);

		if (!plain) {
			r = -ENOMEM;
			break;
		}
		for (uint32_t i = 0; i < b->runs; i++)
			times[i] = read_all(plain) / read_all(s.info.base);
		munmap(plain, ALL_BYTES);
		if (small)
			bench_report(b, &f, times, b->runs);
		else
			bench_inform(b, "slices_read_huge", "x", times,
				     b->runs);
	}
	if (s.space)
		oc_space_destroy(s.space);
	return r;
}

int space_slices(struct bench *b, struct space_bench *s)
{
	struct sliced *w = calloc(1, sizeof(*w));
	int r = w ? bench_pool_open(NODE_BYTES, PART, &s->pool) : -ENOMEM;

	if (r == 0)
		r = put_all(s->pool, w);
	if (r == 0)
		r = find_runs(w);
	if (r == 0)
		r = map(b, w, s->value, s->other);
	if (r == 0)
		r = gather(b, w, s->value);
	if (r == 0)
		r = read_rows(b, w, s->value);
	if (w) {
		close_runs(w);
		oc_ns_close(w->ns);
	}
	free(w);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What spaces cost beside plain system calls on the same frames, in turns: a run
 * is a number of pairs, whose sides change places, and its value the median of
 * their ratios, since each side alone takes from tens of microseconds to a few
 * milliseconds, and what else runs on the machine comes and goes.
 *
 * Two nodes: one with 8,192 blocks of 4 KiB, where calls are what counts, and
 * one with blocks of 2 MiB, where bytes are. A block is a page at the least, so
 * with larger blocks less of each figure is calls.
 */
#include "bench_space.h"

#include <errno.h>
#include <onecopy/session.h>
#include <onecopy/space.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/rng.h"
#include "bench.h"
#include "client/client.h"
#include "space/uffd.h"

#define SMALL_BLOCKS 8192u /* 128k tokens of 16 */
#define RUNS	     256u
/* A node whose slabs have room for pages of 2 MiB, as all but toys. */
#define NODE_BYTES	(256ull << 20)
#define LARGE_BLOCKS	32u
#define FAULTS		2000u
#define TURNS		7u /* in a run */
#define SCATTERED_TURNS 3u /* of 100 ms each */
#define WRITES		24u

double space_us_since(uint64_t start)
{
	return (double)(clock_ns() - start) / 1000;
}

/* ---- where blocks lie ---- */

static int find_places(struct space_bench *s)
{
	int fd_of[64], r = 0;
	uint32_t n_fds = 0, region[64];

	for (size_t i = 0; i < s->n && r == 0; i++) {
		struct oc_where where;
		uint32_t k = 0;

		r = oc_where(s->pool->ns, &s->key[i], (struct oc_part){ 0, 0 },
			     &where);
		while (r == 0 && k < n_fds && region[k] != where.region)
			k++;
		if (r == 0 && k == ARRAY_LEN(region))
			r = -E2BIG;
		if (r == 0 && k == n_fds) {
			region[n_fds] = where.region;
			r = region_descriptor(s->pool->client, where.region,
					      client_deadline(s->pool->client,
							      0),
					      &fd_of[n_fds++]);
		}
		if (r == 0)
			s->place[i] =
				(struct plain_place){ fd_of[k], where.offset };
	}
	return r > 0 ? -ESTALE : r;
}

static void close_places(struct space_bench *s)
{
	for (size_t i = 0; i < s->n; i++)
		for (size_t k = i + 1; k < s->n; k++)
			if (s->place[k].fd == s->place[i].fd)
				s->place[k].fd = -1;
	for (size_t i = 0; i < s->n; i++)
		fd_close(s->place[i].fd);
}

void space_shuffle(struct space_bench *s, size_t each)
{
	struct oc_key *from = s->pool->key;
	size_t runs = s->n / each;
	uint32_t *order = calloc(runs, sizeof(*order));
	struct rng rng = { each };

	for (size_t i = 0; order && i < runs; i++)
		order[i] = (uint32_t)i;
	for (size_t i = runs; order && i > 1; i--) {
		size_t k = rng_below(&rng, i);
		uint32_t t = order[i - 1];

		order[i - 1] = order[k];
		order[k] = t;
	}
	for (size_t i = 0; order && i < s->n; i++)
		s->key[i] = from[order[i / each] * each + i % each];
	free(order);
}

static int begin(struct space_bench *s, uint64_t bytes, size_t n)
{
	int r = bench_pool_open(MAX(3 * n * bytes, NODE_BYTES), bytes,
				&s->pool);

	if (r)
		return r;
	s->n = n;
	s->key = calloc(n, sizeof(*s->key));
	s->place = calloc(n, sizeof(*s->place));
	if (!s->key || !s->place)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		s->place[i].fd = -1;
	r = bench_pool_fill(s->pool, n);
	if (r == 0)
		memcpy(s->key, s->pool->key, n * sizeof(*s->key));
	return r;
}

static void end(struct space_bench *s)
{
	if (s->place)
		close_places(s);
	free(s->key);
	free(s->place);
	bench_pool_close(s->pool);
	s->pool = NULL;
	s->key = NULL;
	s->place = NULL;
}

/* ---- a space for one measurement ---- */

int space_one_open(struct space_bench *s, unsigned flags, struct space_one *ret,
		   double *ret_us)
{
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_span_info info;
	uint64_t start;
	int r = oc_space_create(s->pool->ns, NULL, &ret->space);

	if (r)
		return r;
	o.flags = flags;
	start = clock_ns();
	r = oc_span_map(ret->space, s->key, s->n, &o, &ret->span);
	*ret_us = space_us_since(start);
	if (r == 0)
		r = oc_span_info(ret->span, &info);
	if (r == 0 && !(flags & OC_SPAN_LAZY) && info.mapped != s->n)
		r = -ESTALE;
	if (r) {
		oc_space_destroy(ret->space);
		return r;
	}
	ret->base = info.base;
	ret->stride = info.block_stride;
	return 0;
}

/* ---- pairs ---- */

/* The space's side and the plain one, microseconds. */
struct pair {
	double us, plain;
};

/* The medians of a run of pairs: ratio, and milliseconds of the space's side. */
static int in_pairs(struct space_bench *s, unsigned flags,
		    int (*pair)(struct space_bench *, unsigned flags,
				bool first, struct pair *),
		    uint32_t turns, double *ret_ratio, double *ret_ms)
{
	double ratio[TURNS], ms[TURNS];
	int r = 0;

	for (uint32_t k = 0; k < turns && r == 0; k++) {
		struct pair p = { 0 };

		r = pair(s, flags, k % 2, &p);
		ratio[k] = r ? 0 : p.us / p.plain;
		ms[k] = p.us / 1000;
	}
	if (r)
		return r;
	*ret_ratio = bench_median(ratio, turns);
	*ret_ms = bench_median(ms, turns);
	return 0;
}

/* ---- mapping ---- */

static uint64_t mmaps_of(const struct space_one *o)
{
	struct oc_space_report report = { .size = sizeof(report) };

	return oc_space_report(o->space, &report) ? UINT64_MAX : report.mmaps;
}

static int map_runs_once(struct space_bench *s, double *ret_ms)
{
	struct space_one o;
	int r = space_one_open(s, 0, &o, ret_ms);

	if (r)
		return r;
	*ret_ms /= 1000;
	/* two of them may lie side by side */
	if (mmaps_of(&o) > RUNS)
		r = -E2BIG;
	oc_space_destroy(o.space);
	return r;
}

static int map_runs(struct bench *b, struct space_bench *s)
{
	static const struct bench_figure f = {
		.name = "map_256_runs_ms",
		.unit = "ms",
		.sense = BENCH_AT_MOST,
		.wanted = 2,
		.reference = 2,
		.against = "a limit: 2 ms for 8,192 blocks of 4 KiB in 256 "
			   "runs, pinned, present, write protection armed",
	};
	double first, ms[TURNS];
	int r;

	space_shuffle(s, SMALL_BLOCKS / RUNS);
	/* asks the node for descriptors, which the client keeps then */
	r = map_runs_once(s, &first);
	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		for (uint32_t k = 0; k < TURNS && r == 0; k++)
			r = map_runs_once(s, &ms[k]);
		s->value[i] = r ? 0 : bench_median(ms, TURNS);
	}
	if (r)
		return r;
	bench_report(b, &f, s->value, b->runs);
	bench_inform(b, "map_256_runs_first_ms", "ms", &first, 1);
	return 0;
}

/* The space's side first, or last. */
static int scattered_pair(struct space_bench *s, unsigned flags, bool first,
			  struct pair *ret)
{
	struct space_one o;
	int r = 0;

	for (int side = 0; side < 2 && r == 0; side++) {
		if ((side == 0) != first) {
			ret->plain = plain_map(s->place, s->n, SPACE_SMALL);
			r = ret->plain < 0 ? (int)ret->plain : 0;
			continue;
		}
		r = space_one_open(s, flags, &o, &ret->us);
		if (r == 0)
			oc_space_destroy(o.space);
	}
	return r;
}

static int map_scattered(struct bench *b, struct space_bench *s)
{
	struct bench_figure f = {
		.name = "map_scattered",
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 1.3,
		.reference = 1,
		.against = "8,192 bare mmap() of the same blocks",
		.note = "read-only: without write protection",
	};
	int r;

	space_shuffle(s, 1);
	r = find_places(s);
	for (int armed = 0; armed < 2 && r == 0; armed++) {
		for (uint32_t i = 0; i < b->runs && r == 0; i++)
			r = in_pairs(s, armed ? 0 : OC_SPAN_READ_ONLY,
				     scattered_pair, SCATTERED_TURNS,
				     &s->value[i], &s->other[i]);
		if (r == 0 && !armed)
			bench_report(b, &f, s->value, b->runs);
		else if (r == 0)
			bench_inform(b, "map_scattered_armed", "x", s->value,
				     b->runs);
		if (r == 0)
			bench_inform(b,
				     armed ? "map_scattered_armed_ms"
					   : "map_scattered_ms",
				     "ms", s->other, b->runs);
	}
	return r;
}

static int fork_once(struct space_bench *s, oc_session *parent, double *ret_ms)
{
	struct oc_span_options o = OC_SPAN_INIT;
	oc_session *child = NULL;
	oc_space *space;
	oc_span *span;
	uint64_t start = clock_ns();
	int r = oc_space_create(s->pool->ns, NULL, &space);

	if (r)
		return r;
	r = oc_session_fork(parent, NULL, 0, &child);
	if (r == 0)
		r = oc_span_map_session(space, child, &o, 0, &span);
	*ret_ms = space_us_since(start) / 1000;
	oc_session_close(child, 0);
	oc_space_destroy(space);
	return r;
}

static int forks(struct bench *b, struct space_bench *s)
{
	static const struct bench_figure f = {
		.name = "fork_ms", .unit = "ms", .sense = BENCH_AT_MOST,
		.wanted = 2, .reference = 2,
		.against = "a limit: 2 ms for a session of 8,192 blocks in 256 "
			   "runs, forked, in a new space",
	}, moved = {
		.name = "fork_moved_bytes", .unit = "bytes",
		.sense = BENCH_AT_MOST, .wanted = 0,
		.against = "payload bytes that these forks wrote",
	};
	struct oc_stat before, after;
	oc_session *parent;
	int r;

	space_shuffle(s, SMALL_BLOCKS / RUNS);
	r = oc_session_open(s->pool->ns, NULL, 0, &parent);
	if (r)
		return r;
	r = oc_session_append(parent, s->key, s->n, 0);
	if (r == 0)
		r = oc_stat(s->pool->client, &before);
	for (uint32_t i = 0; i < b->runs && r == 0; i++)
		r = fork_once(s, parent, &s->value[i]);
	if (r == 0)
		r = oc_stat(s->pool->client, &after);
	oc_session_close(parent, 0);
	if (r)
		return r;
	bench_report(b, &f, s->value, b->runs);
	s->value[0] = (double)(after.sealed_bytes - before.sealed_bytes);
	bench_report(b, &moved, s->value, 1);
	return 0;
}

/* ---- touching ---- */

static int resident_pair(struct space_bench *s, unsigned flags, bool first,
			 struct pair *ret)
{
	struct space_one o;
	int r = space_one_open(s, flags, &o, &ret->us);

	if (r)
		return r;
	for (int side = 0; side < 2 && r == 0; side++) {
		uint64_t start = clock_ns();

		if ((side == 0) != first) {
			ret->plain = plain_touch(s->place, s->n, SPACE_LARGE);
			r = ret->plain < 0 ? (int)ret->plain : 0;
			continue;
		}
		plain_pages(o.base, s->n * SPACE_LARGE);
		ret->us = space_us_since(start);
	}
	oc_space_destroy(o.space);
	return r;
}

static int touch_resident(struct bench *b, struct space_bench *s)
{
	struct bench_figure f = {
		.name = "touch_resident",
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 1.1,
		.reference = 1,
		.against = "first touch of a plain mapping of the same "
			   "descriptor, page by page",
	};
	static const struct {
		const char *name;
		unsigned flags;
	} way[] = {
		{ "touch_resident", 0 },
		{ "touch_resident_pages", OC_SPAN_PAGES },
		{ "touch_resident_read_only", OC_SPAN_READ_ONLY },
	};
	int r = 0;

	for (size_t w = 0; w < ARRAY_LEN(way) && r == 0; w++) {
		for (uint32_t i = 0; i < b->runs && r == 0; i++)
			r = in_pairs(s, way[w].flags, resident_pair, TURNS,
				     &s->value[i], &s->other[i]);
		f.name = way[w].name;
		if (r == 0)
			bench_report(b, &f, s->value, b->runs);
	}
	return r;
}

/* How much faster than plain memory; the median of pairs. */
static double read_pairs(const char *base, const char *plain, uint64_t bytes)
{
	double ratio[TURNS];

	for (uint32_t k = 0; k < TURNS; k++) {
		double us[2]; /* the space's, plain */

		for (uint32_t side = 0; side < 2; side++) {
			uint32_t which = (side + k) % 2;
			uint64_t start = clock_ns();
			uint64_t sum = plain_sum(which ? plain : base, bytes);

			us[which] = space_us_since(start) + (sum == 0);
		}
		ratio[k] = us[1] / us[0];
	}
	return bench_median(ratio, TURNS);
}

static int read_after(struct bench *b, struct space_bench *s)
{
	static const struct bench_figure f = {
		.name = "read_after",
		.unit = "x",
		.sense = BENCH_AT_LEAST,
		.wanted = 0.98,
		.reference = 1,
		.against = "reading plain memory of the process",
	};
	uint64_t bytes = s->n * SPACE_LARGE;
	char *plain = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct space_one o;
	double us;
	int r;

	if (plain == MAP_FAILED)
		return -errno;
	r = space_one_open(s, 0, &o, &us);
	if (r)
		goto out;
	memcpy(plain, o.base, bytes);
	for (uint32_t i = 0; i < b->runs; i++)
		s->value[i] = read_pairs(o.base, plain, bytes);
	oc_space_destroy(o.space);
	bench_report(b, &f, s->value, b->runs);
out:
	munmap(plain, bytes);
	return r;
}

/* ---- writing ---- */

static int cow(struct bench *b, struct space_bench *s)
{
	static const struct bench_figure f = {
		.name = "cow_2m",
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 1.3,
		.reference = 1,
		.against = "memcpy() into a populated mapping and one fault "
			   "hand-off, of 2 MiB",
	};
	const struct plain_cpus anywhere = { -1, -1 };
	int r = 0;

	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		double plain[WRITES], us[WRITES], ratio[WRITES];
		double fault = plain_fault(FAULTS, anywhere);
		struct space_one o;
		double open_us;

		r = fault < 0 ? (int)fault : space_one_open(s, 0, &o, &open_us);
		if (r)
			return r;
		for (uint32_t k = 0; k < WRITES; k++) {
			char *at = o.base + k * SPACE_LARGE;
			uint64_t start;

			plain[k] = plain_copy(at, SPACE_LARGE);
			start = clock_ns();
			atomic_store_explicit((_Atomic(char) *)at, 1,
					      memory_order_relaxed);
			us[k] = space_us_since(start);
		}
		oc_space_destroy(o.space);
		for (uint32_t k = 0; k < WRITES; k++)
			ratio[k] = us[k] / (plain[k] + fault);
		s->other[i] = bench_median(us, WRITES);
		s->value[i] = bench_median(ratio, WRITES);
	}
	if (r)
		return r;
	bench_report(b, &f, s->value, b->runs);
	bench_inform(b, "cow_2m_us", "us", s->other, b->runs);
	return 0;
}

/* ---- all ---- */

static int refused(struct bench *b)
{
	static const char *const names[] = {
		"map_256_runs_ms", "touch_lazy",	  "random_touch",
		"cow_2m",	   "alternating_writers",
	};
	int fd, r = uffd_open(&fd);

	if (r == 0) {
		fd_close(fd);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		bench_unmeasured(b, names[i], "userfaultfd is refused here");
	return 1;
}

static int small_blocks(struct bench *b, struct space_bench *s)
{
	int r = begin(s, SPACE_SMALL, SMALL_BLOCKS);

	if (r == 0)
		r = map_runs(b, s);
	if (r == 0)
		r = forks(b, s);
	if (r == 0)
		r = bench_late(b) ? -ETIME : map_scattered(b, s);
	if (r == 0)
		r = space_touch_lazy(b, s);
	return r;
}

static int large_blocks(struct bench *b, struct space_bench *s)
{
	int r = begin(s, SPACE_LARGE, LARGE_BLOCKS);

	if (r == 0)
		r = find_places(s);
	if (r == 0)
		r = touch_resident(b, s);
	if (r == 0)
		r = space_random_touch(b, s);
	if (r == 0)
		r = read_after(b, s);
	if (r == 0)
		r = bench_late(b) ? -ETIME : cow(b, s);
	if (r == 0)
		r = space_alternating(b, s);
	return r;
}

int bench_space(struct bench *b)
{
	struct space_bench *s = calloc(1, sizeof(*s));
	int r = s ? 0 : -ENOMEM;

	if (r == 0 && refused(b)) {
		free(s);
		return 0;
	}
	for (int step = 0; step < 3 && r == 0; step++) {
		r = step == 2	? bench_late(b) ? -ETIME : space_slices(b, s)
		      : step == 1 ? large_blocks(b, s)
				: small_blocks(b, s);
		if (r && r != -ETIME && s->pool)
			fprintf(stderr, "onecopy: bench: space: %s\n",
				oc_client_error(s->pool->client));
		end(s);
	}
	free(s);
	return r ? r : space_from_drive(b);
}

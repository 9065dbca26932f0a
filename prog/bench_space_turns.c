/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two writers that take turns at a block of 2 MiB: each takes what the other sealed
 * last, changes it and seals it under the next key.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bench_space.h"

#define TURNS 16u /* a run */

static const struct oc_part P0 = { 0, 0 };

enum way { COPY, REPLACE, WRITE_AS, WAYS };

struct turns {
	struct space_bench *s;
	oc_space *space[2];
	oc_span *span[2]; /* REPLACE: they stay */
	char *mine[2];	  /* COPY */
	struct oc_key key[WAYS];
};

/* A key that no block has yet. */
static struct oc_key turn_key(struct space_bench *s)
{
	struct oc_key key = { { 0x77 } };
	uint64_t n = s->pool->next++;

	memcpy(key.bytes + 8, &n, sizeof(n));
	return key;
}

static void change(void *at)
{
	atomic_fetch_add_explicit((_Atomic(char) *)at, 1, memory_order_relaxed);
}

/* A span of the other's block, whose next key is known before. */
static int turn_write_as(struct turns *t, int who, const struct oc_key *key,
			 const struct oc_key *next)
{
	struct oc_span_options o = OC_SPAN_INIT;
	struct oc_span_info info;
	oc_span *span;
	int r;

	o.flags = OC_SPAN_LAZY;
	r = oc_span_map(t->space[who], key, 1, &o, &span);
	if (r)
		return r;
	r = oc_span_info(span, &info);
	if (r == 0)
		r = oc_span_write_as(span, 0, next, 0);
	if (r == 0) {
		change(info.base);
		r = oc_span_seal(span, 0, next, 0);
	}
	oc_span_unmap(span);
	return r;
}

/* The same span again and again, and nothing is known before. */
static int turn_replace(struct turns *t, int who, const struct oc_key *key,
			const struct oc_key *next)
{
	struct oc_span_info info;
	int r = oc_span_replace(t->span[who], 0, key);

	if (r == 0)
		r = oc_span_info(t->span[who], &info);
	if (r)
		return r;
	change(info.base);
	return oc_span_seal(t->span[who], 0, next, 0);
}

static int turn_copy(struct turns *t, int who, const struct oc_key *key,
		     const struct oc_key *next)
{
	char *mine = t->mine[who];
	uint64_t bytes;
	int r = oc_get(t->s->pool->ns, key, P0, mine, SPACE_LARGE, &bytes);

	if (r)
		return r;
	mine[0]++;
	return oc_put(t->s->pool->ns, next, P0, mine, bytes, 0);
}

static int take_turns(struct turns *t, enum way way, double *ret_us)
{
	static int (*const turn[])(struct turns *, int, const struct oc_key *,
				   const struct oc_key *) = {
		[COPY] = turn_copy,
		[REPLACE] = turn_replace,
		[WRITE_AS] = turn_write_as,
	};
	uint64_t start = clock_ns();
	int r = 0;

	for (uint32_t i = 0; i < TURNS && r == 0; i++) {
		struct oc_key next = turn_key(t->s);

		r = turn[way](t, i % 2, &t->key[way], &next);
		oc_remove(t->s->pool->ns, &t->key[way], 0);
		t->key[way] = next;
	}
	*ret_us = space_us_since(start);
	return r > 0 ? -ESTALE : r;
}

static int turns_open(struct turns *t)
{
	int r = 0;

	for (int k = 0; k < WAYS && r == 0; k++) {
		t->key[k] = turn_key(t->s);
		r = oc_put(t->s->pool->ns, &t->key[k], P0, t->mine[0],
			   SPACE_LARGE, 0);
	}
	for (int k = 0; k < 2 && r == 0; k++) {
		struct oc_span_options o = OC_SPAN_INIT;

		o.flags = OC_SPAN_LAZY;
		r = oc_space_create(t->s->pool->ns, NULL, &t->space[k]);
		if (r == 0)
			r = oc_span_map(t->space[k], &t->key[REPLACE], 1, &o,
					&t->span[k]);
	}
	return r;
}

int space_alternating(struct bench *b, struct space_bench *s)
{
	static const struct bench_figure f = {
		.name = "alternating_writers",
		.unit = "x",
		.sense = BENCH_AT_MOST,
		.wanted = 1.2,
		.reference = 1,
		.against = "oc_get(), a change and oc_put() in turns, 2 MiB",
	};
	struct turns t = { .s = s };
	double us[WAYS];
	int r = 0;

	for (int k = 0; k < 2; k++)
		t.mine[k] = calloc(1, SPACE_LARGE);
	r = t.mine[0] && t.mine[1] ? turns_open(&t) : -ENOMEM;
	for (uint32_t i = 0; i < b->runs && r == 0; i++) {
		for (uint32_t k = 0; k < WAYS && r == 0; k++) {
			enum way way = (enum way)((i + k) % WAYS);

			r = take_turns(&t, way, &us[way]);
		}
		if (r == 0) {
			s->value[i] = us[REPLACE] / us[COPY];
			s->other[i] = us[WRITE_AS] / us[COPY];
		}
	}
	if (r == 0) {
		bench_report(b, &f, s->value, b->runs);
		bench_inform(b, "alternating_write_as", "x", s->other, b->runs);
	}
	for (int k = 0; k < 2; k++) {
		oc_space_destroy(t.space[k]);
		free(t.mine[k]);
	}
	return r;
}

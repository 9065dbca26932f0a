/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that do anything with one space over a real node with fewer pins than
 * blocks. Each writes blocks of its own in one span and knows what they are; all
 * read another span, whose blocks leave under them. Block after block, and slice
 * after slice over slabs that are striped for it.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "base/rng.h"
#include "prog/payload.h"
#include "tests/prog/space_rig.h"

#define THREADS 4u
#define EACH	12u /* blocks that a thread writes */
#define MINE	(THREADS * EACH)
#define SHARED	72u
/* So many that what is sealed has room in the node: nothing is evicted. */
#define STEPS  LIVE_N(8000)
#define SLICES 4u
#define SLICE  (SP_PART / SLICES)
#define MARK   4321 /* the byte that a write changes */

struct actor {
	struct space_rig *r;
	oc_span *mine, *shared;
	struct oc_span_info mine_at, shared_at;
	unsigned index;
	size_t steps;
	struct rng rng;
	uint64_t seals;
	/* of each block: whose bytes, and what the mark is changed by */
	uint64_t version[EACH];
	uint8_t change[EACH];
};

static size_t block_of(const struct actor *a, size_t k)
{
	return a->index * EACH + k;
}

/* Byte k of block i. */
static char *byte_at(const struct oc_span_info *f, size_t i, uint64_t k)
{
	uint64_t slice = SP_PART / f->slices;

	return (char *)f->base + k / slice * f->slice_stride +
	       i * f->block_stride + k % slice;
}

static bool shows(const struct oc_span_info *f, size_t i, const char *want)
{
	uint64_t slice = SP_PART / f->slices;

	for (uint64_t k = 0; k < SP_PART; k += slice)
		if (memcmp(want + k, byte_at(f, i, k), slice) != 0)
			return false;
	return true;
}

static void look_mine(struct actor *a, size_t k)
{
	struct oc_key key = live_key(a->version[k]);
	char want[SP_PART];

	payload_make(&key, want, SP_PART);
	want[MARK] = (char)(want[MARK] ^ a->change[k]);
	if (!shows(&a->mine_at, block_of(a, k), want))
		FAIL("block %zu is not version %llu with %u", block_of(a, k),
		     (unsigned long long)a->version[k], a->change[k]);
}

static void look_shared(struct actor *a)
{
	size_t i = rng_below(&a->rng, SHARED);
	struct oc_key key = live_key(i);
	char want[SP_PART];

	payload_make(&key, want, SP_PART);
	if (!shows(&a->shared_at, i, want))
		FAIL("shared block %zu is wrong", i);
}

static void change(struct actor *a, size_t k)
{
	uint8_t by = (uint8_t)(1 + rng_below(&a->rng, 255));
	char *at = byte_at(&a->mine_at, block_of(a, k), MARK);

	*at = (char)(*at ^ by);
	a->change[k] ^= by;
}

static void forget(struct actor *a, size_t k)
{
	CHECK_OK(oc_span_advise(a->mine, block_of(a, k), 1,
				OC_ADVISE_DO_NOT_NEED, 0));
	a->change[k] = 0;
}

static void seal(struct actor *a, size_t k)
{
	uint64_t next = 100000 + a->index * 10000 + a->seals++;
	struct oc_key key = live_key(next);
	char data[SP_PART];

	if (rng_below(&a->rng, 2) && a->change[k] == 0) {
		int r = oc_span_write_as(a->mine, block_of(a, k), &key, 0);

		CHECK(r == 0 || r == -EBUSY); /* it is written already */
	}
	payload_make(&key, data, SP_PART);
	for (uint64_t at = 0; at < SP_PART; at += SLICE)
		memcpy(byte_at(&a->mine_at, block_of(a, k), at), data + at,
		       SLICE);
	CHECK_OK(oc_span_seal(a->mine, block_of(a, k), &key, 0));
	a->version[k] = next;
	a->change[k] = 0;
}

static void replace(struct actor *a, size_t k)
{
	uint64_t other = rng_below(&a->rng, SHARED);
	struct oc_key key = live_key(other);

	CHECK_OK(oc_span_replace(a->mine, block_of(a, k), &key));
	a->version[k] = other;
	a->change[k] = 0;
}

static void bring(struct actor *a, size_t k)
{
	unsigned flags = rng_below(&a->rng, 2) ? OC_PREFETCH_WRITE : 0;

	if (rng_below(&a->rng, 2)) {
		CHECK_OK(oc_span_hold(a->mine, block_of(a, k), 1, flags, 0));
		look_mine(a, k);
		oc_span_release(a->mine, block_of(a, k), 1);
	} else {
		CHECK_OK(oc_span_prefetch(a->mine, block_of(a, k), 1,
					  flags | OC_PREFETCH_WAIT, 0));
	}
}

static void leave(struct actor *a)
{
	size_t i = rng_below(&a->rng, SHARED);

	CHECK_OK(oc_span_advise(a->shared, i, MIN(4ul, SHARED - i),
				rng_below(&a->rng, 2) ? OC_ADVISE_DO_NOT_NEED
						      : OC_ADVISE_WILL_NEED,
				0));
}

static void *act(void *arg)
{
	struct actor *a = arg;

	for (size_t i = 0; i < a->steps; i++) {
		size_t k = rng_below(&a->rng, EACH);
		uint64_t what = rng_below(&a->rng, 16);

		look_shared(a);
		if (what < 6)
			change(a, k);
		else if (what < 7)
			seal(a, k);
		else if (what < 8)
			replace(a, k);
		else if (what < 10)
			forget(a, k);
		else if (what < 12)
			bring(a, k);
		else if (what < 13)
			leave(a);
		look_mine(a, k);
	}
	for (size_t k = 0; k < EACH; k++)
		look_mine(a, k);
	return NULL;
}

static void run(struct space_rig *r, struct oc_span_options o, size_t steps)
{
	static struct actor actors[THREADS];
	pthread_t thread[THREADS];
	oc_span *mine, *shared;

	o.flags = OC_SPAN_LAZY;
	mine = sp_map_how(r->s, 0, MINE, o);
	shared = sp_map_how(r->s, 0, SHARED, o);
	for (unsigned t = 0; t < THREADS; t++) {
		struct actor *a = &actors[t];

		*a = (struct actor){ .r = r,
				     .mine = mine,
				     .shared = shared,
				     .mine_at = sp_info(mine),
				     .shared_at = sp_info(shared),
				     .index = t,
				     .steps = steps,
				     .rng = { t + 1 } };
		for (size_t k = 0; k < EACH; k++)
			a->version[k] = block_of(a, k);
		CHECK_OK(pthread_create(&thread[t], NULL, act, a));
	}
	for (unsigned t = 0; t < THREADS; t++)
		CHECK_OK(pthread_join(thread[t], NULL));
	CHECK_INT(sp_report(r->s).faults_lost, ==, 0);
	oc_span_unmap(mine);
	oc_span_unmap(shared);
}

TEST(threads_do_anything_with_one_space)
{
	struct space_rig r;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	live_write_some(r.ns, 0, SHARED, SP_PART);
	run(&r, (struct oc_span_options){ .part = SP_P0 }, STEPS);
	/* nobody else saw a write */
	CHECK_INT(live_read_some(r.ns, 0, SHARED, SP_PART), ==, SHARED);
	LIVE_WAIT(&r.n, live_stat(r.c).granted == 0);
	sp_end(&r);
}

static void striped_ns(struct space_rig *r)
{
	struct oc_ns_options o = { .size = sizeof(o),
				   .block_tokens = 16,
				   .n_groups = 1,
				   .groups = { { .slices = SLICES,
						 .slice_bytes = SLICE,
						 .stride = OC_STRIPED } } };

	oc_space_destroy(r->s);
	oc_ns_close(r->ns);
	CHECK_OK(oc_ns_open(r->c, &o, 0, &r->ns));
	r->s = sp_make(r->ns, OC_SPACE_FAULTS);
}

TEST(threads_do_anything_in_slices)
{
	char want[SP_PART], data[SP_PART];
	struct space_rig r;
	uint64_t bytes;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	striped_ns(&r);
	for (uint64_t i = 0; i < SHARED; i++) {
		struct oc_key key = live_key(i);

		payload_make(&key, data, SP_PART);
		CHECK_OK(oc_put(r.ns, &key, SP_P0, data, SP_PART, 0));
	}
	run(&r,
	    (struct oc_span_options){ .part = SP_P0,
				      .layout = OC_LAYOUT_SLICES },
	    STEPS / 2);
	for (uint64_t i = 0; i < SHARED; i++) {
		struct oc_key key = live_key(i);

		payload_make(&key, want, SP_PART);
		CHECK_OK(oc_get(r.ns, &key, SP_P0, data, SP_PART, &bytes));
		CHECK_MEM(data, want, SP_PART);
	}
	LIVE_WAIT(&r.n, live_stat(r.c).granted == 0);
	sp_end(&r);
}

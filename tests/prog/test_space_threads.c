/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that do anything with one space over a real node with fewer pins than
 * blocks. Each writes blocks of its own in one span and knows what they are; all
 * read another span, whose blocks leave under them.
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
#define STEPS LIVE_N(8000)
#define MARK  4321 /* the byte that a write changes */

struct actor {
	struct space_rig *r;
	oc_span *mine, *shared;
	char *mine_base, *shared_base;
	unsigned index;
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

static char *mine_at(const struct actor *a, size_t k)
{
	return a->mine_base + block_of(a, k) * SP_PART;
}

static void look_mine(struct actor *a, size_t k)
{
	struct oc_key key = live_key(a->version[k]);
	char want[SP_PART];

	payload_make(&key, want, SP_PART);
	want[MARK] = (char)(want[MARK] ^ a->change[k]);
	if (memcmp(want, mine_at(a, k), SP_PART) != 0)
		FAIL("block %zu is not version %llu with %u", block_of(a, k),
		     (unsigned long long)a->version[k], a->change[k]);
}

static void look_shared(struct actor *a)
{
	size_t i = rng_below(&a->rng, SHARED);
	struct oc_key key = live_key(i);

	if (live_wrong(&key, a->shared_base + i * SP_PART, SP_PART))
		FAIL("shared block %zu is wrong", i);
}

static void change(struct actor *a, size_t k)
{
	uint8_t by = (uint8_t)(1 + rng_below(&a->rng, 255));
	char *at = mine_at(a, k) + MARK;

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

	if (rng_below(&a->rng, 2) && a->change[k] == 0) {
		int r = oc_span_write_as(a->mine, block_of(a, k), &key, 0);

		CHECK(r == 0 || r == -EBUSY); /* it is written already */
	}
	payload_make(&key, mine_at(a, k), SP_PART);
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

	for (size_t i = 0; i < STEPS; i++) {
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

TEST(threads_do_anything_with_one_space)
{
	static struct actor actors[THREADS];
	pthread_t thread[THREADS];
	oc_span *mine, *shared;
	struct space_rig r;

	sp_start_words(&r, OC_SPACE_FAULTS, SP_FEW_PINS);
	live_write_some(r.ns, 0, SHARED, SP_PART);
	mine = sp_map(r.s, 0, MINE, OC_SPAN_LAZY);
	shared = sp_map(r.s, 0, SHARED, OC_SPAN_LAZY);
	for (unsigned t = 0; t < THREADS; t++) {
		struct actor *a = &actors[t];

		*a = (struct actor){ .r = &r,
				     .mine = mine,
				     .shared = shared,
				     .mine_base = sp_at(mine, 0),
				     .shared_base = sp_at(shared, 0),
				     .index = t,
				     .rng = { t + 1 } };
		for (size_t k = 0; k < EACH; k++)
			a->version[k] = block_of(a, k);
		CHECK_OK(pthread_create(&thread[t], NULL, act, a));
	}
	for (unsigned t = 0; t < THREADS; t++)
		CHECK_OK(pthread_join(thread[t], NULL));
	CHECK_INT(sp_report(r.s).faults_lost, ==, 0);
	/* nobody else saw a write */
	CHECK_INT(live_read_some(r.ns, 0, SHARED, SP_PART), ==, SHARED);
	oc_span_unmap(mine);
	oc_span_unmap(shared);
	LIVE_WAIT(&r.n, live_stat(r.c).granted == 0);
	sp_end(&r);
}

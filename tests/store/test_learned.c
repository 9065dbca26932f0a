/* SPDX-License-Identifier: Apache-2.0 */
/* What eviction has learned outlives the server, and no torn half of it does. */
#include "base/fault.h"
#include "policy/policy.h"
#include "store/learned.h"
#include "tests/store/talk.h"

#define EACH TALK_EACH

static uint64_t returns_of(struct world *w)
{
	struct policy_load load;

	CHECK(store_pool_load(w->s, w->p, &load));
	return load.returns;
}

/* One session, and so many turns after its first. */
static uint64_t begin(struct world **ret_w, const struct policy_ops *policy)
{
	struct ring_call open = talk_open_call(NULL, 0);
	struct world *w = world_create_with(&talk_two, policy);

	store_pool_serve(w->p);
	sim_add(w, 0);
	CHECK_OK(sim_call(&w->sim[0], open));
	*ret_w = w;
	return w->last.loc;
}

static void turns(struct world *w, uint64_t id, unsigned n)
{
	struct sim *c = &w->sim[0];

	for (unsigned i = 0; i < n; i++) {
		world_tick(w, WORLD_SEC);
		CHECK_OK(talk_state(c, id, RING_STATE_RESUME, 0, 0));
		CHECK_OK(talk_state(c, id, RING_STATE_PAUSE, 0, 0));
	}
	world_tick(w, WORLD_SEC);
}

static void first_turn(struct world *w, uint64_t id)
{
	struct sim *c = &w->sim[0];

	CHECK_OK(talk_append(c, id, 0, 0, EACH));
	for (unsigned n = 0; n < EACH; n++)
		sim_put(c, n, PART);
	CHECK_OK(talk_state(c, id, RING_STATE_PAUSE, 0, 0));
}

static size_t held(struct world *w)
{
	return fake_hold_count(&w->k, HOLD_LEARNED);
}

TEST(a_successor_knows_what_was_learned)
{
	struct world *w;
	uint64_t id = begin(&w, &policy_onecopy);

	CHECK_INT(held(w), ==, 0); /* nothing was learned */
	first_turn(w, id);
	turns(w, id, 10);
	CHECK_INT(returns_of(w), ==, 10);
	CHECK_INT(held(w), ==, 1);
	world_restart(w);
	CHECK_INT(returns_of(w), ==, 10);
	/* its first use after that is nobody's return: who it was is not kept */
	turns(w, id, 5);
	CHECK_INT(returns_of(w), ==, 14);
	world_restart(w);
	CHECK_INT(returns_of(w), ==, 14);
	CHECK_INT(held(w), ==, 1);
	world_check(w);
	world_destroy(w);
}

TEST(lru_learns_nothing)
{
	struct world *w;
	uint64_t id = begin(&w, &policy_lru);

	first_turn(w, id);
	turns(w, id, 3);
	world_restart(w);
	CHECK_INT(held(w), ==, 0);
	world_destroy(w);
}

/* The held memory, and the number of a slot in it. */
static uint64_t *held_words(struct world *w, uint64_t *ret_words)
{
	int fd = fake_hold_find(&w->k, HOLD_LEARNED, 0, 0);
	struct segment seg;

	CHECK(fd >= 0);
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	CHECK(fd >= 0);
	CHECK_OK(segment_attach(fd, 0, true, &seg));
	*ret_words = seg.bytes / 8;
	return seg.base; /* mapped until the test ends */
}

/* The younger slot's first word; *ret_n: words that are written of it. */
static uint64_t *younger(struct world *w, uint64_t *ret_n)
{
	uint64_t all, *a = held_words(w, &all), *b;
	size_t slot = ALIGN_UP(64 + policy_onecopy.learned_bytes(), 64) / 8;

	*ret_n = 8 + policy_onecopy.learned_bytes() / 8;
	CHECK_INT(2 * slot, <=, all);
	b = a + slot;
	return a[1] > b[1] ? a : b;
}

/* A write that ended after any of its stores leaves what there was before it. A
 * word in every place that counts is wrong in turn. */
TEST(a_torn_write_is_seen)
{
	struct world *w;
	uint64_t id = begin(&w, &policy_onecopy), n, *slot;

	first_turn(w, id);
	turns(w, id, 10);
	slot = younger(w, &n);
	for (uint64_t at = 0; at < n; at += at < 40 || at + 40 > n ? 1 : 997) {
		if (at >= 5 && at < 8)
			continue; /* says nothing */
		slot[at] ^= 1ull << 17;
		world_restart(w);
		CHECK_INT(returns_of(w), ==, 9);
		slot[at] ^= 1ull << 17;
	}
	world_restart(w);
	CHECK_INT(returns_of(w), ==, 10);
	world_destroy(w);
}

TEST(neither_is_whole)
{
	struct world *w;
	uint64_t id = begin(&w, &policy_onecopy), n, *slot;

	first_turn(w, id);
	turns(w, id, 10);
	for (unsigned i = 0; i < 2; i++) {
		slot = younger(w, &n);
		slot[1] = 0;
	}
	world_restart(w);
	CHECK_INT(returns_of(w), ==, 0);
	turns(w, id, 3); /* and it is learned and kept again */
	world_restart(w);
	CHECK_INT(returns_of(w), ==, 2);
	CHECK_INT(held(w), ==, 1);
	world_destroy(w);
}

/* What another build holds is of another size: it is dropped, and made anew. */
TEST(another_size_is_dropped)
{
	const struct hold_tag tag = { HOLD_LEARNED, 0, 0 };
	struct segment other;
	struct world *w;
	uint64_t id = begin(&w, &policy_onecopy);

	first_turn(w, id);
	turns(w, id, 10);
	fake_hold_drop(&w->k, &tag);
	CHECK_OK(segment_create("other", PAGE_BYTES, 0, &other));
	CHECK_OK(fake_hold_hold(&w->k, &tag, other.fd));
	segment_close(&other);
	world_restart(w);
	CHECK_INT(held(w), ==, 0);
	CHECK_INT(returns_of(w), ==, 0);
	turns(w, id, 3);
	CHECK_INT(held(w), ==, 1);
	world_restart(w);
	CHECK_INT(returns_of(w), ==, 2);
	world_destroy(w);
}

/* No memory is no error: it is kept when there is some. */
TEST(memory_may_be_refused)
{
	struct world *w;
	uint64_t id = begin(&w, &policy_onecopy);

	first_turn(w, id);
	for (unsigned n = 1; n < 40; n++) {
		fault_arm(FAULT_ALLOC, n, true);
		world_tick(w, WORLD_SEC);
		fault_arm(0, 0, false);
	}
	turns(w, id, 3);
	world_restart(w);
	CHECK_INT(returns_of(w), ==, 3);
	world_destroy(w);
}

/* Without sessions there is an order too: by last use, the oldest first. */
TEST(the_order_of_single_blocks_is_kept)
{
	struct world *w;

	begin(&w, &policy_onecopy);
	for (unsigned n = 0; n < 2 * EACH; n++) {
		world_tick(w, WORLD_SEC);
		sim_put(&w->sim[0], n, PART);
	}
	world_tick(w, WORLD_SEC);
	sim_touch(&w->sim[0], 0, PART);
	store_touches(w->sim[0].c);
	world_tick(w, WORLD_SEC);
	world_restart(w);
	sim_put(&w->sim[0], 100, PART);
	CHECK(world_has(w, 0, PART) && !world_has(w, 1, PART));
	CHECK(world_has(w, 2 * EACH - 1, PART));
	world_check(w);
	world_destroy(w);
}

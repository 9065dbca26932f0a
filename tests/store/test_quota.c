/* SPDX-License-Identifier: Apache-2.0 */
/* Tenants that share a node: quotas, shares, what is borrowed and given back. */
#include <sys/mman.h>
#include "tests/store/world.h"

#define SLAB  65536ull
#define SLABS 16ull /* of the node */
#define IN    16u   /* parts in a slab */

/* A world of two tenants; a client of each. */
struct two {
	struct world *w;
	struct pool *a, *b;
	struct sim *of_a, *of_b;
};

static void turn_to(struct two *t, struct pool *p)
{
	t->w->p = p;
}

static struct two two_create(uint64_t share_a, uint64_t share_b)
{
	struct world_config config = { .limit = SLABS * SLAB,
				       .slab_bytes = SLAB };
	struct two t = { .w = world_create(&config) };

	t.a = t.w->p;
	store_pool_share(t.a, share_a * SLAB);
	t.of_a = sim_add(t.w, 0);
	CHECK_OK(store_pool_add(t.w->s, "other", 0, &t.b));
	store_pool_share(t.b, share_b * SLAB);
	turn_to(&t, t.b);
	CHECK_INT(world_ns(t.w, 1, 1, PART_BYTES, 0), ==, 1);
	t.of_b = sim_add(t.w, 1);
	return t;
}

static void two_destroy(struct two *t)
{
	turn_to(t, t->a);
	world_destroy(t->w);
}

/* Blocks from..from+n; grants that wait are served as time passes. */
static void fill(struct two *t, struct pool *p, uint64_t from, uint64_t n)
{
	struct sim *c = p == t->a ? t->of_a : t->of_b;

	turn_to(t, p);
	for (uint64_t i = from; i < from + n; i++) {
		int64_t r = sim_grant_wait(c, i, PART);
		struct ring_answer grant;
		uint32_t slot = c->slot;

		for (unsigned k = 0; r == SIM_LATER && k < 100; k++) {
			world_tick(t->w, WORLD_SEC / 1000);
			world_ready(t->w);
			r = sim_answer(c, slot);
		}
		CHECK_OK(r);
		grant = t->w->last;
		CHECK_OK(sim_seal(c, i, PART, &grant));
	}
}

static uint64_t slabs(const struct pool *p)
{
	return pool_counter(p, POOL_C_slab_bytes) / SLAB;
}

static uint64_t evicted(const struct pool *p)
{
	return pool_counter(p, POOL_C_evicted);
}

TEST(what_is_borrowed_is_given_back)
{
	struct two t = two_create(8, 8);

	fill(&t, t.a, 0, SLABS * IN);
	CHECK_INT(slabs(t.a), ==, SLABS);
	CHECK_INT(store_pool_borrowed(t.a), ==, 8 * SLAB);
	CHECK_INT(evicted(t.a), ==, 0);
	/* the other wants its share: it loses nothing of its own on the way */
	fill(&t, t.b, 1000, 8 * IN);
	CHECK_INT(slabs(t.b), ==, 8);
	CHECK_INT(slabs(t.a), ==, 8);
	CHECK_INT(evicted(t.b), ==, 0);
	CHECK_INT(store_pool_borrowed(t.a), ==, 0);
	CHECK_INT(pool_counter(t.a, POOL_C_reclaimed_bytes), ==, 8 * SLAB);
	CHECK_INT(pool_counter(t.b, POOL_C_sealed), ==, 8 * IN);
	/* and no more: beyond its share it evicts what is its own */
	fill(&t, t.b, 2000, 8 * IN);
	CHECK_INT(slabs(t.b), ==, 8);
	CHECK_INT(slabs(t.a), ==, 8);
	CHECK_INT(evicted(t.b), ==, 8 * IN);
	CHECK_INT(pool_counter(t.a, POOL_C_sealed), ==, 8 * IN);
	two_destroy(&t);
}

TEST(a_share_comes_back_while_the_borrower_goes_on)
{
	struct two t = two_create(8, 8);

	fill(&t, t.a, 0, SLABS * IN);
	for (uint64_t i = 0; i < 8 * IN; i++) {
		fill(&t, t.b, 1000 + i, 1);
		fill(&t, t.a, 5000 + 4 * i, 4);
	}
	CHECK_INT(slabs(t.b), ==, 8);
	CHECK_INT(slabs(t.a), ==, 8);
	CHECK_INT(evicted(t.b), ==, 0);
	two_destroy(&t);
}

/* Memory that came back for one tenant is not borrowed again at once. */
TEST(a_claim_keeps_what_came_back)
{
	struct two t = two_create(8, 8);
	struct ring_call cancel = { .op = RING_CANCEL };

	fill(&t, t.a, 0, SLABS * IN);
	turn_to(&t, t.b);
	CHECK_INT(sim_grant(t.of_b, 1000, PART, WORLD_SEC), ==, SIM_LATER);
	cancel.arg = t.of_b->slot;
	cancel.arg2 = t.of_b->seq - 1;
	CHECK_OK(sim_call(t.of_b, cancel));
	world_tick(t.w, WORLD_SEC / 1000);
	CHECK_INT(slabs(t.a), ==, SLABS - 1);
	fill(&t, t.a, 2000, IN);
	CHECK_INT(slabs(t.a), ==, SLABS - 1);
	/* who does not come for it loses it */
	world_tick(t.w, 2 * WORLD_SEC);
	fill(&t, t.a, 3000, IN);
	CHECK_INT(slabs(t.a), ==, SLABS);
	two_destroy(&t);
}

/* A slab that would leave less than the share is not taken. */
TEST(a_share_is_kept_to_the_slab)
{
	struct two t = two_create(0, 0);

	store_pool_share(t.a, 8 * SLAB + SLAB / 2);
	store_pool_share(t.b, 7 * SLAB + SLAB / 2);
	fill(&t, t.a, 0, SLABS * IN);
	fill(&t, t.b, 1000, 10 * IN);
	CHECK_INT(slabs(t.a), ==, 9);
	CHECK_INT(slabs(t.b), ==, 7);
	CHECK_INT(pool_counter(t.a, POOL_C_sealed), ==, 9 * IN);
	two_destroy(&t);
}

TEST(who_has_no_share_gives_all_back)
{
	struct two t = two_create(12, 0);

	fill(&t, t.b, 0, SLABS * IN);
	CHECK_INT(store_pool_borrowed(t.b), ==, SLABS * SLAB);
	fill(&t, t.a, 1000, 12 * IN);
	CHECK_INT(slabs(t.a), ==, 12);
	CHECK_INT(slabs(t.b), ==, 4);
	CHECK_INT(evicted(t.a), ==, 0);
	/* a share is no limit: what is left is shared by who has less of it */
	fill(&t, t.a, 2000, 20 * IN);
	CHECK_INT(slabs(t.a), >=, 12);
	CHECK_INT(slabs(t.a), <=, 14);
	two_destroy(&t);
}

/* Strict: its quota is its share. */
TEST(a_strict_tenant_does_not_borrow)
{
	struct two t = two_create(0, 4);

	store_pool_quota(t.b, 4 * SLAB);
	store_pool_share(t.b, 4 * SLAB);
	fill(&t, t.b, 0, 10 * IN);
	CHECK_INT(slabs(t.b), ==, 4);
	CHECK_INT(store_pool_borrowed(t.b), ==, 0);
	/* and what it has is its own, however much the other wants */
	fill(&t, t.a, 1000, 40 * IN);
	CHECK_INT(slabs(t.a), ==, SLABS - 4);
	CHECK_INT(slabs(t.b), ==, 4);
	CHECK_INT(pool_counter(t.b, POOL_C_sealed), ==, 4 * IN);
	two_destroy(&t);
}

TEST(a_quota_is_never_passed_for_a_share)
{
	struct two t = two_create(8, 8);

	store_pool_quota(t.b, 3 * SLAB);
	store_pool_share(t.b, 8 * SLAB); /* at most the quota */
	CHECK_INT(t.b->share, ==, 3 * SLAB);
	fill(&t, t.a, 0, SLABS * IN);
	fill(&t, t.b, 1000, 10 * IN);
	CHECK_INT(slabs(t.b), ==, 3);
	CHECK_INT(t.w->s->budget.used, <=, SLABS * SLAB);
	two_destroy(&t);
}

/* One client's limit is no reason to take from anybody. */
TEST(a_client_at_its_limit_takes_nothing)
{
	struct two t = two_create(8, 8);

	t.w->s->options.slab_percent = 10; /* 1.6 slabs */
	fill(&t, t.b, 1000, IN);
	t.w->s->options.slab_percent = 100;
	fill(&t, t.a, 0, 15 * IN);
	turn_to(&t, t.a);
	for (uint32_t i = 0; i < 15; i++)
		CHECK(sim_pin(t.of_a, i, i * IN, PART));
	t.w->s->options.slab_percent = 6; /* less than the one it has */
	fill(&t, t.b, 2000, 4 * IN);
	CHECK_INT(slabs(t.b), ==, 1);
	CHECK_INT(slabs(t.a), ==, 15);
	CHECK_INT(evicted(t.a), ==, 0);
	two_destroy(&t);
}

/* The borrower's processes do not let go: the other waits once, then does with
 * what it has; a grant that may not wait is never kept. */
TEST(a_borrower_that_does_not_let_go_stops_nobody)
{
	struct two t = two_create(8, 8);
	uint64_t longest = 0;

	fill(&t, t.b, 1000, 2 * IN);
	fill(&t, t.a, 0, 14 * IN);
	for (uint32_t id = 1; id < t.a->slab_end; id++)
		store_region_given(t.of_a->c, id);
	turn_to(&t, t.b);
	for (uint64_t i = 0; i < 200; i++) {
		uint64_t was = t.w->now;
		struct ring_answer grant;

		fill(&t, t.b, 2000 + i, 1);
		longest = MAX(longest, t.w->now - was);
		CHECK_OK(sim_grant(t.of_b, 9000 + i, PART, 0));
		grant = t.w->last;
		CHECK_OK(sim_abandon(t.of_b, &grant));
		world_tick(t.w, WORLD_SEC / 1000);
	}
	CHECK_INT(longest, <=, WORLD_SEC / 8);
	CHECK_INT(slabs(t.b), ==, 2);
	CHECK_INT(t.of_a->announced, >, 0);
	/* what it lent comes back with the process */
	turn_to(&t, t.a);
	sim_die(t.of_a);
	world_tick(t.w, WORLD_SEC);
	fill(&t, t.b, 3000, 8 * IN);
	CHECK_INT(slabs(t.b), ==, 8);
	two_destroy(&t);
}

TEST(pinned_blocks_of_a_borrower_stay)
{
	struct two t = two_create(8, 8);
	struct ring_answer grant;
	uint32_t slot;

	fill(&t, t.a, 0, SLABS * IN);
	turn_to(&t, t.a);
	for (uint32_t i = 0; i < SLABS; i++)
		CHECK(sim_pin(t.of_a, i, i * IN, PART));
	turn_to(&t, t.b);
	CHECK_INT(sim_grant(t.of_b, 1000, PART, 0), ==, -ENOBUFS);
	turn_to(&t, t.a);
	for (uint32_t i = 0; i < SLABS; i++)
		CHECK(world_has(t.w, i * IN, PART));
	/* who can wait has one slab emptied, as far as pins allow */
	turn_to(&t, t.b);
	CHECK_INT(sim_grant(t.of_b, 1000, PART, 10 * WORLD_SEC), ==, SIM_LATER);
	slot = t.of_b->slot;
	world_tick(t.w, WORLD_SEC / 1000);
	CHECK_INT(pool_counter(t.a, POOL_C_evicted), ==, IN);
	CHECK_INT(pool_counter(t.a, POOL_C_leaving), ==, 1);
	CHECK_INT(slabs(t.a), ==, SLABS);
	for (uint32_t i = 0; i < SLABS; i++)
		sim_unpin(t.of_a, i);
	for (unsigned k = 0; k < 4; k++) {
		world_tick(t.w, WORLD_SEC / 1000);
		world_ready(t.w);
	}
	CHECK_OK(sim_answer(t.of_b, slot));
	grant = t.w->last;
	CHECK_OK(sim_abandon(t.of_b, &grant));
	fill(&t, t.b, 1000, 8 * IN);
	CHECK_INT(slabs(t.b), ==, 8);
	two_destroy(&t);
}

/* What it has is pinned by the very request that wants more: that is nothing to
 * evict, though it is sealed and in the order of eviction. */
TEST(who_has_only_pinned_blocks_takes_from_who_has_more)
{
	struct two t = two_create(0, 0);

	fill(&t, t.a, 0, 15 * IN);
	fill(&t, t.b, 1000, IN);
	CHECK_INT(slabs(t.b), ==, 1);
	turn_to(&t, t.b);
	for (uint32_t i = 0; i < IN; i++)
		CHECK(sim_pin(t.of_b, i, 1000 + i, PART));
	fill(&t, t.b, 2000, IN);
	CHECK_INT(slabs(t.b), ==, 2);
	CHECK_INT(slabs(t.a), ==, 14);
	CHECK_INT(evicted(t.b), ==, 0);
	CHECK_INT(pool_counter(t.a, POOL_C_reclaimed_bytes), ==, SLAB);
	two_destroy(&t);
}

TEST(refused_because_of_the_quota_is_told_apart)
{
	struct two t = two_create(0, 0);
	struct ring_answer grant;

	store_pool_quota(t.b, SLAB);
	turn_to(&t, t.b);
	for (uint64_t i = 0; i < IN; i++)
		CHECK_OK(sim_grant_wait(t.of_b, i, PART));
	grant = t.w->last;
	CHECK_INT(sim_grant(t.of_b, 99, PART, 0), ==, -ENOBUFS);
	CHECK_INT(pool_counter(t.b, POOL_C_refused), ==, 1);
	CHECK_INT(pool_counter(t.b, POOL_C_quota_refused), ==, 1);
	CHECK_OK(sim_abandon(t.of_b, &grant));
	two_destroy(&t);
}

/* ---- one tenant's keys and another's ---------------------------------------- */

/* From here on a look at the pool's shared memory ends the test. */
static void hide(struct pool *p, int prot)
{
	CHECK_OK(mprotect(p->m, p->meta_segment.bytes, prot));
	CHECK_OK(mprotect(p->index_segment.base, p->index_segment.bytes, prot));
	for (uint32_t id = 1; id < p->slab_end; id++)
		if (p->slab[id])
			CHECK_OK(mprotect(p->slab[id]->desc_segment.base,
					  p->slab[id]->desc_segment.bytes,
					  prot));
}

struct asked {
	int64_t pin, remove, bad, abandon, grant, seal;
	uint64_t counters[POOL_COUNTERS_USED];
};

/* Everything that a client of b can ask about a key. */
static struct asked ask(struct two *t, uint64_t n)
{
	struct ring_call bad = call_of(RING_BAD, n, PART);
	struct asked r = { 0 };
	struct ring_answer grant;
	uint64_t was[POOL_COUNTERS_USED];

	turn_to(t, t->b);
	for (unsigned i = 0; i < POOL_COUNTERS_USED; i++)
		was[i] = pool_counter(t->b, (enum pool_counter)i);
	r.pin = sim_call(t->of_b, call_of(RING_PIN, n, PART));
	r.remove = sim_call(t->of_b, call_of(RING_REMOVE, n, PART));
	bad.loc = frame_loc(9, 1);
	bad.gen = 1;
	r.bad = sim_call(t->of_b, bad);
	r.grant = sim_grant(t->of_b, n, PART, 0);
	grant = t->w->last;
	r.seal = sim_seal(t->of_b, n, PART, &grant);
	CHECK_OK(sim_call(t->of_b, call_of(RING_REMOVE, n, PART)));
	for (unsigned i = 0; i < POOL_COUNTERS_USED; i++)
		r.counters[i] =
			pool_counter(t->b, (enum pool_counter)i) - was[i];
	return r;
}

/* A key that another tenant has is asked for as one that nobody has: the same
 * answers, the same counts, and not a byte of the other's pool is looked at. */
TEST(another_tenants_key_is_like_nobodys)
{
	struct two t = two_create(0, 0);
	struct asked theirs, nobodys;
	struct past_note note[2];
	uint64_t key[4];

	fill(&t, t.a, 0, 40);
	fill(&t, t.b, 1000, 20);
	turn_to(&t, t.b);
	ask(&t, 555555); /* whatever is done once */
	hide(t.a, PROT_NONE);
	theirs = ask(&t, 7);
	nobodys = ask(&t, 777777);
	key_of(7, key);
	/* its own block, removed above, is all that b's history has of it */
	CHECK_INT(past_find(store_past(t.w->s, t.b), key, 0, 2, note), ==, 1);
	CHECK_INT(note[0].event, ==, PAST_REMOVED);
	CHECK_INT(note[0].owner, ==, t.of_b->id);
	hide(t.a, PROT_READ | PROT_WRITE);
	CHECK_MEM(&theirs, &nobodys, sizeof(theirs));
	CHECK_INT(theirs.pin, ==, OC_MISS);
	CHECK_INT(theirs.remove, ==, OC_MISS);
	CHECK_INT(theirs.grant, ==, 0);
	turn_to(&t, t.a);
	CHECK(world_has(t.w, 7, PART));
	two_destroy(&t);
}

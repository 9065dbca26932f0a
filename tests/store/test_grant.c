/* SPDX-License-Identifier: Apache-2.0 */
/* Grants and seals: answers, repeats, waiting, quotas. */
#include "tests/store/world.h"

/* Room for 32 frames of one page in slabs of 16. */
static const struct world_config small = { .limit = 131072,
					   .slab_bytes = 65536 };

TEST(a_block_is_written_and_found)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	struct ring_answer grant;

	CHECK(!world_has(w, 1, PART));
	CHECK_OK(sim_grant_wait(a, 1, PART));
	grant = w->last;
	CHECK(!world_has(w, 1, PART));
	CHECK_OK(sim_seal(a, 1, PART, &grant));
	CHECK(world_has(w, 1, PART));
	CHECK_INT(sim_grant(b, 1, PART, 0), ==, OC_EXISTS);
	CHECK_INT(world_check(w).sealed, ==, 1);
	CHECK_INT(shared_load64(&a->c->record->seals), ==, 1);
	world_destroy(w);
}

TEST(the_first_seal_wins)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	struct ring_answer ga, gb;

	CHECK_OK(sim_grant_wait(a, 1, PART));
	ga = w->last;
	CHECK_OK(sim_grant_wait(b, 1, PART));
	gb = w->last;
	CHECK_INT(ga.loc, !=, gb.loc);
	CHECK_OK(sim_seal(b, 1, PART, &gb));
	CHECK_INT(sim_seal(a, 1, PART, &ga), ==, OC_EXISTS);
	CHECK_INT(sim_call(a, call_of(RING_NOP, 0, 0)), ==, 0);
	CHECK_INT(sim_abandon(a, &ga), ==, OC_STALE);
	CHECK_INT(world_check(w).granted, ==, 0);
	world_destroy(w);
}

TEST(stale_and_wrong_seals)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	struct ring_answer g;
	struct ring_call call;

	/* another key, too many bytes: the grant is used up */
	CHECK_OK(sim_grant_wait(a, 1, PART));
	g = w->last;
	CHECK_INT(sim_seal(a, 2, PART, &g), ==, -EINVAL);
	CHECK_INT(world_check(w).granted, ==, 0);
	CHECK_OK(sim_grant_wait(a, 1, PART));
	g = w->last;
	call = seal_of(a, 1, PART, &g);
	call.extent = frame_extent(4097, 0);
	CHECK_INT(sim_call(a, call), ==, -E2BIG);
	CHECK_INT(world_check(w).granted, ==, 0);
	/* another client, another generation: it is not theirs to use up */
	CHECK_OK(sim_grant_wait(a, 1, PART));
	g = w->last;
	call = seal_of(a, 1, PART, &g);
	CHECK_INT(sim_call(b, call), ==, OC_STALE);
	call.gen++;
	CHECK_INT(sim_call(a, call), ==, OC_STALE);
	CHECK_INT(sim_abandon(b, &g), ==, OC_STALE);
	CHECK_INT(world_check(w).granted, ==, 1);
	CHECK_OK(sim_abandon(a, &g));
	CHECK_INT(sim_seal(a, 1, PART, &g), ==, OC_STALE);
	CHECK_INT(world_check(w).free, ==, 16);
	world_destroy(w);
}

TEST(parts_that_do_not_exist)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);
	struct ring_call call = call_of(RING_GRANT, 1, PART);

	CHECK_INT(sim_grant(a, 1, frame_part(2, 0, 0), 0), ==, -EINVAL);
	CHECK_INT(sim_grant(a, 1, frame_part(0, 0, 0), 0), ==, -EINVAL);
	CHECK_INT(sim_grant(a, 1, frame_part(1, 1, 0), 0), ==, -EINVAL);
	CHECK_INT(sim_grant(a, 1, frame_part(1, 0, 1), 0), ==, -EINVAL);
	call.extent = frame_extent(4097, 0);
	CHECK_INT(sim_call(a, call), ==, -E2BIG);
	call.extent = frame_extent(1, 16);
	CHECK_INT(sim_call(a, call), ==, -EINVAL);
	call.op = RING_OPS;
	CHECK_INT(sim_call(a, call), ==, -EOPNOTSUPP);
	world_check(w);
	world_destroy(w);
}

TEST(readers_write_nothing)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);

	a->c->read_only = true;
	CHECK_INT(sim_grant(a, 1, PART, 0), ==, -EPERM);
	CHECK_INT(sim_call(a, call_of(RING_SEAL, 1, PART)), ==, -EPERM);
	CHECK_INT(sim_call(a, call_of(RING_REMOVE, 1, PART)), ==, -EPERM);
	world_destroy(w);
}

TEST(no_more_grants_than_the_quota)
{
	struct world_config config = small;
	struct world *w;
	struct sim *a, *b;
	struct ring_answer first;

	config.grants = 3;
	w = world_create(&config);
	a = sim_add(w, 0);
	b = sim_add(w, 1);
	CHECK_OK(sim_grant_wait(a, 1, PART));
	first = w->last;
	CHECK_OK(sim_grant_wait(a, 2, PART));
	CHECK_OK(sim_grant_wait(a, 3, PART));
	CHECK_INT(sim_grant_wait(a, 4, PART), ==, -EDQUOT);
	CHECK_OK(sim_grant_wait(b, 5, PART));
	CHECK_OK(sim_seal(a, 1, PART, &first));
	CHECK_OK(sim_grant_wait(a, 4, PART));
	world_check(w);
	world_destroy(w);
}

/* Asked again after a restart: the same frame, the same success. */
TEST(repeated_requests)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);
	struct ring_answer g;
	struct ring_call call;
	uint32_t slot;

	CHECK_OK(sim_grant_wait(a, 1, PART));
	g = w->last;
	slot = a->slot;
	/* the answer is lost */
	shared_store64(&a->cs->resp[slot].seq, 1);
	a->n_grants = 0;
	world_restart(w);
	CHECK_OK(sim_answer(a, slot));
	CHECK_INT(w->last.loc, ==, g.loc);
	CHECK_INT(w->last.gen, ==, g.gen);
	CHECK_INT(world_check(w).granted, ==, 1);
	call = seal_of(a, 1, PART, &g);
	CHECK_OK(sim_call(a, call));
	slot = a->slot;
	shared_store64(&a->cs->resp[slot].seq, 1);
	world_restart(w);
	CHECK_OK(sim_answer(a, slot));
	CHECK_INT(world_check(w).sealed, ==, 1);
	CHECK(world_has(w, 1, PART));
	world_destroy(w);
}

static int64_t pin_call_of(struct sim *c, uint64_t n)
{
	return sim_call(c, call_of(RING_PIN, n, PART));
}

TEST(pins_through_the_ring)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);
	struct ring_call call = call_of(RING_UNPIN, 0, 0);
	uint64_t slots = 0;

	sim_put(a, 1, PART);
	CHECK_INT(pin_call_of(a, 2), ==, OC_MISS);
	for (unsigned i = 0; i < SIM_OVER; i++) {
		CHECK_OK(pin_call_of(a, 1));
		slots |= 1ull << w->last.arg;
	}
	CHECK_INT(slots, ==, (1u << SIM_OVER) - 1);
	CHECK_INT(pin_call_of(a, 1), ==, -EDQUOT);
	call.arg = SIM_OVER;
	CHECK_INT(sim_call(a, call), ==, -EINVAL);
	call.arg = 3;
	CHECK_OK(sim_call(a, call));
	CHECK_OK(pin_call_of(a, 1));
	CHECK_INT(w->last.arg, ==, 3);
	/* again, after the answer was lost: no second slot */
	call.arg = 5;
	CHECK_OK(sim_call(a, call));
	CHECK_OK(pin_call_of(a, 1));
	shared_store64(&a->cs->resp[a->slot].seq, 1);
	world_restart(w);
	CHECK_OK(sim_answer(a, a->slot));
	CHECK_INT(w->last.arg, ==, 5);
	world_destroy(w);
}

/* A pin that was noted and not made; another request of that time must not be
 * given the place it noted, or one unpin undoes two pins. */
TEST(two_repeated_pins_have_two_slots)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);
	struct ring_call first = call_of(RING_PIN, 1, PART), second = first;
	struct ring_resp *resp;
	uint64_t one;

	sim_put(a, 1, PART);
	sim_push(a, &first);
	sim_push(a, &second);
	/* the server died over the second one */
	resp = &a->cs->resp[second.slot];
	shared_store64(&resp->arg, 0);
	shared_store64(&resp->arg2, second.seq);
	world_restart(w);
	CHECK_OK(sim_answer(a, first.slot));
	one = w->last.arg;
	CHECK_OK(sim_answer(a, second.slot));
	CHECK_INT(w->last.arg, !=, one);
	world_destroy(w);
}

/* All frames sealed and pinned by `by`. */
static void fill_and_pin(struct sim *c, struct sim *by, uint32_t frames)
{
	for (uint32_t n = 0; n < frames; n++) {
		sim_put(c, 100 + n, PART);
		CHECK(sim_pin(by, n, 100 + n, PART));
	}
}

TEST(a_full_pool_answers_after_an_unpin)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t slot;

	fill_and_pin(a, b, 32);
	CHECK_INT(sim_grant(a, 1, PART, 0), ==, -ENOBUFS);
	CHECK_INT(sim_grant(a, 1, PART, WORLD_SEC), ==, SIM_LATER);
	slot = a->slot;
	for (unsigned i = 0; i < 3; i++) {
		world_tick(w, WORLD_SEC / 100);
		CHECK_INT(sim_answer(a, slot), ==, SIM_LATER);
		world_check(w);
	}
	sim_unpin(b, 7);
	world_tick(w, WORLD_SEC / 100);
	CHECK_OK(sim_answer(a, slot));
	CHECK(!world_has(w, 107, PART));
	for (uint32_t n = 0; n < 32; n++)
		CHECK(n == 7 || world_has(w, 100 + n, PART));
	world_check(w);
	world_destroy(w);
}

TEST(a_full_pool_refuses_at_the_deadline)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	uint32_t slot;

	fill_and_pin(a, b, 32);
	CHECK_INT(sim_grant(a, 1, PART, WORLD_SEC), ==, SIM_LATER);
	slot = a->slot;
	world_tick(w, WORLD_SEC - 1);
	CHECK_INT(sim_answer(a, slot), ==, SIM_LATER);
	world_tick(w, 1);
	CHECK_INT(sim_answer(a, slot), ==, -ENOBUFS);
	/* a timeout beyond the end of time is none */
	CHECK_INT(sim_grant(a, 1, PART, UINT64_MAX), ==, SIM_LATER);
	slot = a->slot;
	world_tick(w, 1000 * WORLD_SEC);
	CHECK_INT(sim_answer(a, slot), ==, SIM_LATER);
	world_destroy(w);
}

TEST(a_waiting_grant_is_cancelled)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0), *b = sim_add(w, 1);
	struct ring_call cancel = call_of(RING_CANCEL, 0, 0);
	uint32_t slot;

	fill_and_pin(a, b, 32);
	CHECK_INT(sim_grant(a, 1, PART, WORLD_SEC), ==, SIM_LATER);
	slot = a->slot;
	cancel.arg = slot;
	cancel.arg2 = shared_load64(&a->cs->req[slot].seq) + 1;
	CHECK_INT(sim_call(a, cancel), ==, OC_STALE);
	cancel.arg2--;
	CHECK_INT(sim_call(b, cancel), ==, OC_STALE);
	CHECK_OK(sim_call(a, cancel));
	CHECK_INT(sim_answer(a, slot), ==, -ECANCELED);
	CHECK_INT(a->c->waiting, ==, 0);
	CHECK_INT(sim_call(a, cancel), ==, OC_STALE);
	world_destroy(w);
}

/* One client's hopeless grants do not keep another's from its room. */
TEST(hopeless_grants_hold_up_nobody_else)
{
	struct world_config config = { .limit = 262144, .slab_bytes = 65536 };
	struct world *w;
	struct sim *a, *b;
	uint32_t slot;

	config.percent = 50;
	w = world_create(&config);
	a = sim_add(w, 0);
	b = sim_add(w, 1);
	fill_and_pin(a, b, 31); /* its half, nearly */
	for (uint64_t n = 0; n < 40; n++)
		CHECK_INT(sim_grant(a, 500 + n, PART, 1000 * WORLD_SEC), ==,
			  SIM_LATER);
	CHECK_INT(sim_grant(b, 1, PART, WORLD_SEC), ==, SIM_LATER);
	slot = b->slot;
	world_ready(w);
	world_tick(w, WORLD_SEC / 100);
	CHECK_OK(sim_answer(b, slot));
	world_check(w);
	world_destroy(w);
}

/* A part in stripes is whole, so none is sealed of which no bytes were written. */
TEST(a_striped_part_is_not_sealed_empty)
{
	struct world *w = world_create(&small);
	struct sim *a = sim_add(w, 0);
	struct ns_spec spec = { .block_tokens = 16,
				.ranks = 1,
				.groups = 2,
				.weights = { 7 },
				.group = { { .slices = 1,
					     .slice_bytes = PART_BYTES },
					   { .slices = 4,
					     .slice_bytes = PART_BYTES,
					     .stride = NS_STRIDE_SLAB } } };
	int64_t ns = store_ns_open(w->p, &spec);

	CHECK_INT(ns, >, 0);
	for (uint16_t g = 0; g < 2; g++) {
		uint64_t part = frame_part((uint32_t)ns, g, 0);
		struct ring_call seal;
		uint64_t key[4];
		uint32_t frame;

		CHECK_OK(sim_grant_wait(a, 1, part));
		seal = seal_of(a, 1, part, &w->last);
		seal.extent = 0;
		CHECK_INT(sim_call(a, seal), ==, g ? -EINVAL : 0);
		key_of(1, key);
		CHECK((pool_find(w->p, key, part, &frame) != NULL) == !g);
		world_check(w);
	}
	world_destroy(w);
}

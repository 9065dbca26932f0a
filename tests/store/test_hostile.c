/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of clients that write what they like: nothing breaks, nobody else's
 * blocks go, and the limits hold. */
#include "base/rng.h"
#include "tests/store/world.h"

#define SLAB 65536ull

static uint64_t some(struct rng *r, uint64_t near)
{
	switch (rng_below(r, 4)) {
	case 0:
		return rng_below(r, near + 2);
	case 1:
		return near;
	case 2:
		return UINT64_MAX - rng_below(r, 3);
	default:
		return rng_next(r) >> rng_below(r, 64);
	}
}

static struct ring_call any_call(struct rng *r, struct sim *c)
{
	struct ring_call call = call_of((enum ring_op)some(r, RING_OPS),
					rng_below(r, 100), PART);
	const struct ring_answer *g =
		c->n_grants ? &c->grant[rng_below(r, c->n_grants)] : NULL;

	if (rng_below(r, 4)) /* mostly one that does something */
		call.op = RING_GRANT + rng_below(r, RING_BAD);
	if (call.op == RING_REMOVE) /* keys of its own only */
		key_of(1000 + rng_below(r, 100), call.key);
	call.part = rng_below(r, 4) ? frame_part(1 + (uint32_t)rng_below(r, 4),
						 (uint16_t)rng_below(r, 3),
						 (uint16_t)rng_below(r, 3))
				    : some(r, PART);
	call.loc = g && rng_below(r, 2)
			   ? g->loc
			   : some(r, frame_loc(1 + (uint32_t)rng_below(r, 4),
					       (uint32_t)rng_below(r, 16)));
	call.gen = g && rng_below(r, 2) ? g->gen : some(r, 3);
	call.extent = rng_below(r, 2)
			      ? frame_extent((uint32_t)rng_below(r, 9000), 0)
			      : some(r, 4096);
	call.checksum = rng_next(r);
	call.timeout_ns = some(r, WORLD_SEC);
	call.arg = some(r, SIM_OVER);
	call.arg2 = some(r, c->seq);
	return call;
}

static void spoil_memory(struct rng *r, struct sim *c)
{
	struct client_header *h = &c->cs->header;
	shared_u64 *word[] = { &h->pin_high,
			       &h->let_go_epoch,
			       &h->touch_tail,
			       &h->overflow_high,
			       &c->cs->slots[rng_below(r, SIM_PINS + SIM_OVER)],
			       &c->cs->touch[rng_below(r, TOUCH_RING)],
			       &c->cs->resp[rng_below(r, 64)].arg,
			       &c->cs->resp[rng_below(r, 64)].arg2 };

	shared_store64(word[rng_below(r, ARRAY_LEN(word))],
		       some(r, frame_loc(1, 3)));
}

static void forget_answered(struct sim *c)
{
	/* what it believes of its grants may be stale: it lied */
	if (c->n_grants > SIM_GRANTS / 2)
		c->n_grants = 0;
}

static void one_step(struct world *w, struct rng *r, struct sim *bad)
{
	uint64_t dice = rng_below(r, 1000);

	if (dice < 100)
		spoil_memory(r, bad);
	else if (dice < 900)
		sim_call(bad, any_call(r, bad));
	else if (dice < 930)
		store_touches(bad->c);
	else if (dice < 960)
		world_tick(w, rng_below(r, WORLD_SEC / 10));
	else if (dice < 990)
		world_ready(w);
	else if (dice < 994)
		world_restart(w);
	forget_answered(bad);
}

TEST(any_request_at_all)
{
	struct world_config config = { .limit = 8 * SLAB,
				       .slab_bytes = SLAB,
				       .grants = 20,
				       .percent = 50,
				       .scrub = 1 << 20 };

	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct world *w = world_create(&config);
		struct rng r = { seed };
		struct sim *good = sim_add(w, 0), *bad = sim_add(w, 1);

		world_ns(w, 2, 2, 4096, 1);
		world_ns(w, 1, 1, 9000, 2);
		for (uint64_t n = 1; n <= 10; n++) {
			sim_put(good, 5000 + n, PART);
			CHECK(sim_pin(good, (uint32_t)n, 5000 + n, PART));
		}
		for (unsigned i = 0; i < 3000; i++) {
			one_step(w, &r, bad);
			if (rng_below(&r, 300) == 0) {
				sim_die(bad);
				bad = sim_add(w, 1);
			}
			if (i % 20 == 0)
				world_check(w);
		}
		/* pinned by somebody honest: all there, and right */
		for (uint64_t n = 1; n <= 10; n++)
			CHECK(world_has(w, 5000 + n, PART));
		sim_die(bad);
		CHECK_INT(world_check(w).granted, ==, 0);
		world_destroy(w);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Where a block is, by the ladder: what the node was told of prefill, what passes
 * by, what is read where it lies. */
#include "store/price.h"
#include "tests/store/deep.h"
#include "tests/store/low.h"
#include "tests/store/talk.h"
#include "tier/tier.h"

static const struct world_config sessions = {
	.limit = 4 * DEEP_SLAB,
	.slab_bytes = DEEP_SLAB,
	.sessions = { .max = 400,
		      .per_client = 400,
		      .keys = 20 * SESSION_NODES * SESSION_NODE_KEYS,
		      .keys_per_client = 20 * SESSION_NODES * SESSION_NODE_KEYS,
		      .lease_ms = 100000000,
		      .lease_max_ms = 1000000000 },
};

static void price(struct world *w, enum oc_tier tier, uint64_t latency_ns,
		  uint64_t bytes_per_s)
{
	const struct tier_price p = { latency_ns, bytes_per_s };

	shared_store64(&w->p->m->tier[tier].latency_ns, 0);
	shared_store64(&w->p->m->tier[tier].bytes_per_s, 0);
	tier_publish_price(tier, &p, w->p->m, 1);
}

/* ---- what making again takes --------------------------------------------------- */

/* Of blocks that fill memory many times over: how many were written, not worth it. */
static void spill_to(bool fresh, bool values, uint32_t prefill_rate,
		     uint64_t *ret_written, uint64_t *ret_declined)
{
	struct world_config config = sessions;
	struct deep d;

	config.prefill_rate = prefill_rate;
	deep_begin_as(&d, &config, &policy_onecopy);
	d.f->fresh = fresh;
	if (values) /* as the RESP door's: of one "token" each */
		shared_store64(&d.w->p->m->ns[0].block_tokens, 1);
	price(d.w, OC_TIER_DRAM, 100, 10ull << 30);
	deep_put(&d, 1, 200);
	deep_rest(&d);
	*ret_written = COUNT(d.w, demoted);
	*ret_declined = COUNT(d.w, demote_declined);
	deep_end(&d);
}

static void spill(uint32_t prefill_rate, uint64_t *ret_written,
		  uint64_t *ret_declined)
{
	spill_to(false, false, prefill_rate, ret_written, ret_declined);
}

/* A load takes 104 us: 16 tokens take 160 us, or 16. */
TEST(what_is_sooner_made_than_loaded_is_not_written)
{
	uint64_t written, declined;

	spill(100000, &written, &declined);
	CHECK_INT(written, >, 100);
	CHECK_INT(declined, ==, 0);
	spill(1000000, &written, &declined);
	CHECK_INT(written, ==, 0);
	CHECK_INT(declined, >, 100);
	/* nobody told: it is worth a write */
	spill(0, &written, &declined);
	CHECK_INT(written, >, 100);
}

/* What was never read has no price, and what is never written is never read. */
TEST(a_fresh_drive_is_written_to)
{
	uint64_t written, declined;

	/* blocks of which nobody told what they take; values; and of prefill */
	spill_to(true, false, 0, &written, &declined);
	CHECK_INT(written, >, 100);
	CHECK_INT(declined, ==, 0);
	spill_to(true, true, 100000, &written, &declined);
	CHECK_INT(written, >, 100);
	CHECK_INT(declined, ==, 0);
	spill_to(true, false, 100000, &written, &declined);
	CHECK_INT(written, >, 100);
	CHECK_INT(declined, ==, 0);
}

TEST(a_block_is_dearer_the_deeper_it_lies)
{
	struct world_config config = sessions;
	const struct pool_slab *slab;
	struct world *w;
	struct sim *c;
	uint64_t id;
	uint32_t frame;

	config.prefill_rate = 1000;
	config.prefill_growth_ps = 1000000;
	w = world_create(&config);
	c = sim_add(w, 0);
	for (uint64_t n = 1; n <= 3; n++)
		sim_put(c, n, PART);
	CHECK_OK(talk_open(c, NULL, 0, &id));
	CHECK_OK(talk_append(c, id, 0, 1, 3));
	slab = slab_of(w, 3, PART, &frame);
	/* 1 ms and 24 us for each of 16 tokens */
	CHECK_INT(price_again_ns(w->s, w->p, &slab->desc[frame], 7), ==,
		  16 * 1024000);
	CHECK_INT(price_saves(w->s, w->p, 1, 0), ==, 0);
	/* 125 of them: twice as much */
	CHECK_INT(price_saves(w->s, w->p, 1, 125), ==, 256);
	/* two parts, each a half; a value of a door is not computed */
	CHECK_INT(world_ns(w, 1, 2, PART_BYTES, 1), ==, 2);
	sim_put(c, 9, frame_part(2, 0, 1));
	slab = slab_of(w, 9, frame_part(2, 0, 1), &frame);
	CHECK_INT(price_again_ns(w->s, w->p, &slab->desc[frame], 7), ==,
		  8 * 1000000);
	w->s->options.prefill_rate = 0;
	CHECK_INT(price_again_ns(w->s, w->p, &slab->desc[frame], 7), ==, 28);
	CHECK_INT(price_saves(w->s, w->p, 1, 125), ==, 0);
	world_check(w);
	world_destroy(w);
}

/* Where loading is quicker than making again, how deep it lies makes no odds. */
TEST(what_is_below_costs_its_load)
{
	struct world_config config = sessions;
	struct world *w;

	config.prefill_rate = 1000;
	config.prefill_growth_ps = 1000000;
	w = world_create(&config);
	sim_put(sim_add(w, 0), 1, PART);
	price(w, OC_TIER_DRAM, 100, 10ull << 30);
	CHECK_INT(price_saves(w->s, w->p, 1, 125), ==, 256);
	price(w, OC_TIER_NVME, 100000, 1ull << 30);
	CHECK_INT(price_saves(w->s, w->p, 1, 125), ==, 0);
	world_destroy(w);
}

/* ---- what passes by ------------------------------------------------------------- */

static void turn(struct sim *c, uint64_t id, uint64_t first, uint32_t n,
		 enum ring_state then)
{
	struct ring_call call = { .op = RING_SESSION_STATE,
				  .arg = id,
				  .arg2 = RING_STATE_RESUME };

	CHECK_OK(sim_call(c, call));
	for (uint64_t i = first; i < first + n; i++) {
		world_tick(c->w, 2 * (WORLD_SEC / 1000));
		if (world_has(c->w, i, PART))
			sim_touch(c, i, PART);
		else
			sim_put(c, i, PART);
	}
	store_touches(c->c);
	call.arg2 = then;
	CHECK_OK(sim_call(c, call));
}

#define WORK 48u /* blocks that come back, of 64 that there is room for */

/* A session that comes back every 2 s, and between its turns a stream of blocks
 * of sessions that never do. Blocks of the first that were gone when it came back. */
static uint64_t stream(const struct policy_ops *policy, uint64_t *ret_passed)
{
	struct world *w = world_create_with(&sessions, policy);
	struct sim *c = sim_add(w, 0);
	uint64_t id, other, next = 1000, lost = 0;

	price(w, OC_TIER_DRAM, 100, 10ull << 30);
	price(w, OC_TIER_NVME, 100000, 1ull << 30);
	store_pool_serve(w->p);
	CHECK_OK(talk_open(c, NULL, 0, &id));
	CHECK_OK(talk_append(c, id, 0, 1, WORK));
	for (unsigned round = 0; round < 60; round++) {
		for (uint64_t n = 1; round > 30 && n <= WORK; n++)
			lost += !world_has(w, n, PART);
		turn(c, id, 1, WORK, RING_STATE_PAUSE);
		for (unsigned k = 0; k < 10; k++, next += 8) {
			CHECK_OK(talk_open(c, NULL, 0, &other));
			CHECK_OK(talk_append(c, other, 0, next, 8));
			turn(c, other, next, 8, RING_STATE_CLOSE);
			world_tick(w, 150 * (WORLD_SEC / 1000));
		}
	}
	*ret_passed = COUNT(w, passed_by);
	world_check(w);
	world_destroy(w);
	return lost;
}

/* 80 blocks go through each 2 s, and room for 16 beside what works is enough. */
TEST(what_is_worth_less_passes_by)
{
	uint64_t passed, lost = stream(&policy_lru, &passed);

	CHECK_INT(lost, ==, 29 * WORK);
	CHECK_INT(passed, ==, 0);
	lost = stream(&policy_onecopy, &passed);
	CHECK_INT(lost, ==, 0);
	CHECK_INT(passed, >, 100);
}

/* ---- what is read below ---------------------------------------------------------- */

/* The order of "onecopy" with rates as the test says: of what was used after
 * `mark`, and of the rest. */
static uint64_t mark, late, early;

static uint64_t rate_said(const struct policy *p, uint32_t item)
{
	uint64_t stamp = policy_onecopy.stamp(p, item);

	return stamp > mark ? late : early;
}

static struct policy_ops said(void)
{
	struct policy_ops ops = policy_onecopy;

	ops.rate = rate_said;
	mark = UINT64_MAX;
	early = late = 1 << 20;
	return ops;
}

static bool is_low(struct world *w, uint64_t n)
{
	uint32_t frame;
	const struct pool_slab *s = slab_of(w, n, PART, &frame);

	CHECK(s);
	return s->low;
}

static uint64_t first_low(struct world *w)
{
	uint64_t n = 1;

	while (!is_low(w, n))
		n++;
	return n;
}

static void use_as(struct world *w, uint64_t n, uint64_t rate)
{
	mark = w->p->touch_clock;
	late = rate;
	touch(w, n);
	rest(w);
}

/* One use does, if it is worth a place in DRAM; and however many do not if not. */
TEST(the_ladder_says_what_comes_up_from_far_memory)
{
	const struct policy_ops ops = said();
	struct world *w = world_create_with(&both, &ops);
	uint64_t n;

	sim_add(w, 0);
	sim_add(w, 1);
	price(w, OC_TIER_DRAM, 100, 10ull << 30);
	price(w, OC_TIER_CXL, 400, 4ull << 30);
	put_all(w, 1, 48);
	/* the server has no slab in DRAM yet: a second use gets it one */
	for (n = first_low(w); is_low(w, n);) {
		touch(w, n);
		rest(w);
	}
	CHECK_INT(COUNT(w, cxl_in_place), ==, 0);
	for (unsigned i = 0; i < 5; i++)
		for (n = 1; n <= 48 && !pool_counter(w->p, POOL_C_cxl_in_place);
		     n++)
			if (is_low(w, n))
				use_as(w, n, 1 << 10);
	/* its slab is full, and this one is worth less than what is there */
	n = first_low(w);
	for (uint64_t i = 1; i < 4; i++) {
		uint64_t up = COUNT(w, cxl_promoted);
		uint64_t stayed = COUNT(w, cxl_in_place);

		use_as(w, n, 1 << 10);
		CHECK(is_low(w, n));
		CHECK_INT(COUNT(w, cxl_in_place), ==, stayed + 1);
		CHECK_INT(COUNT(w, cxl_promoted), ==, up);
	}
	use_as(w, n, 1 << 24);
	CHECK(!is_low(w, n));
	end(w);
}

/* What somebody waits for comes up whatever it is worth; what that says of its
 * place is counted. */
TEST(what_is_waited_for_may_be_passing)
{
	const struct policy_ops ops = said();
	struct deep d;

	deep_begin_as(&d, &sessions, &ops);
	price(d.w, OC_TIER_DRAM, 100, 10ull << 30);
	deep_put(&d, 1, 200);
	deep_rest(&d);
	for (uint64_t n = 1; n <= 40; n++) {
		CHECK(deep_below(&d, n) && !world_has(d.w, n, PART));
		CHECK_INT(deep_fetch(&d, n), ==, 0);
	}
	CHECK_INT(COUNT(d.w, promoted), ==, 40);
	CHECK_INT(COUNT(d.w, promoted_passing), ==, 0);
	/* all that is there is worth more than what comes now */
	mark = d.w->p->touch_clock;
	late = 1;
	for (uint64_t n = 41; n <= 44; n++) {
		CHECK_INT(deep_fetch(&d, n), ==, 0);
		CHECK(world_has(d.w, n, PART));
	}
	CHECK_INT(COUNT(d.w, promoted), ==, 44);
	CHECK_INT(COUNT(d.w, promoted_passing), >, 0);
	deep_end(&d);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Tiers below DRAM as the library sees them, over a fake node with a fake drive. */
#include <onecopy/tiers.h>
#include <math.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/fault.h"
#include "client/client.h"
#include "tests/client/fake.h"
#include "tests/test.h"

#define BLOCKS	12
#define PATIENT (20 * NS_PER_S) /* what is answered has the time it needs */

static const struct oc_part P0 = { 0, 0 };

struct rig {
	struct fake *f;
	oc_client *c;
	oc_ns *ns;
	uint64_t part;
	struct oc_key keys[BLOCKS];
};

/* Blocks [0, dram) resident, [dram, below) on the drive. */
static struct rig rig_make(unsigned dram, unsigned below)
{
	struct oc_client_options o = { .size = sizeof(o),
				       .timeout_ns = PATIENT };
	struct rig r;

	r.f = fake_start();
	fake_tier(r.f);
	r.c = fake_client(r.f, &o);
	r.ns = fake_ns(r.c);
	r.part = frame_part(1, 0, 0);
	pthread_mutex_lock(&r.f->lock);
	for (unsigned i = 0; i < BLOCKS; i++) {
		r.keys[i] = fake_key(i);
		if (i < dram)
			fake_seal(r.f, FAKE_OTHER, i, 5, &r.keys[i], r.part);
		else if (i < below)
			fake_below(r.f, i, r.part, BELOW_COMES);
	}
	pthread_mutex_unlock(&r.f->lock);
	return r;
}

static void rig_end(struct rig *r)
{
	oc_ns_close(r->ns);
	oc_client_close(r->c);
	fake_stop(r->f);
}

static struct oc_match_options below(void)
{
	struct oc_match_options o = OC_MATCH_INIT;

	o.flags = OC_MATCH_BELOW;
	return o;
}

TEST(fake_match_tells_what_is_below)
{
	struct rig r = rig_make(3, 9);
	struct oc_match_options o = below();
	struct oc_block_info info[BLOCKS];
	size_t usable;

	CHECK_OK(oc_match(r.ns, r.keys, BLOCKS, &o, info, &usable));
	CHECK_INT(usable, ==, 3);
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (i < 3) {
			CHECK_INT(info[i].tier, ==, OC_TIER_DRAM);
			CHECK_INT(info[i].expected_ns, ==, 1100);
			CHECK_INT(info[i].stream_ns, ==, 1000);
		} else if (i < 9) {
			CHECK_INT(info[i].tier, ==, OC_TIER_NVME);
			CHECK_INT(info[i].expected_ns, ==, 3000000);
			CHECK_INT(info[i].stream_ns, ==, 1000000);
		} else {
			CHECK_INT(info[i].tier, ==, OC_TIER_NONE);
			CHECK_INT(info[i].expected_ns, ==, 0);
		}
		CHECK_INT(info[i].bytes, ==, i < 9 ? FAKE_FRAME_BYTES : 0);
	}
	CHECK_INT(r.f->looks, ==, 1);
	/* a look that answers for fewer keys is asked on */
	r.f->look_most = 4;
	memset(info, 0xff, sizeof(info));
	CHECK_OK(oc_match(r.ns, r.keys, BLOCKS, &o, info, &usable));
	CHECK_INT(info[8].tier, ==, OC_TIER_NVME);
	CHECK_INT(info[9].tier, ==, OC_TIER_NONE);
	CHECK_INT(r.f->looks, ==, 4);
	CHECK_INT(oc_match(r.ns, r.keys, BLOCKS, &o, NULL, &usable), ==,
		  -EINVAL);
	o.flags = 2;
	CHECK_INT(oc_match(r.ns, r.keys, BLOCKS, &o, info, &usable), ==,
		  -EINVAL);
	CHECK_INT(r.f->fetches, ==, 0);
	rig_end(&r);
}

/* Who does not ask for it, and a node without a tier, pay nothing for it. */
TEST(fake_no_request_without_need)
{
	struct rig r = rig_make(3, 9);
	struct oc_match_options o = below();
	struct oc_block_info info[BLOCKS];
	struct oc_pin pins[BLOCKS];
	uint64_t done;
	size_t usable;

	CHECK_OK(oc_match(r.ns, r.keys, BLOCKS, NULL, NULL, &usable));
	done = r.f->done;
	CHECK_OK(oc_match(r.ns, r.keys, BLOCKS, NULL, info, &usable));
	CHECK_INT(usable, ==, 3);
	CHECK_OK(oc_match(r.ns, r.keys, 3, &o, info, &usable));
	CHECK_INT(usable, ==, 3);
	CHECK_INT(oc_exists(r.ns, &r.keys[0], P0), ==, 0);
	shared_store64(&r.f->meta->tier[OC_TIER_NVME].measured_ms, 0);
	o.fetch_ns = PATIENT;
	CHECK_OK(oc_match(r.ns, r.keys, BLOCKS, &o, info, &usable));
	CHECK_INT(usable, ==, 3);
	CHECK_INT(info[3].tier, ==, OC_TIER_NONE);
	CHECK_OK(oc_match_pin(r.ns, r.keys, BLOCKS, &o, pins, &usable));
	CHECK_INT(usable, ==, 3);
	oc_unpin_batch(r.ns, pins, usable);
	CHECK_INT(oc_exists(r.ns, &r.keys[4], P0), ==, OC_MISS);
	CHECK_OK(oc_fetch(r.ns, r.keys, BLOCKS, NULL, 0, &usable));
	CHECK_INT(usable, ==, 3);
	CHECK_INT(oc_pin_fetch(r.ns, &r.keys[4], P0, 0, 0, &pins[0]), ==,
		  OC_MISS);
	CHECK_INT(r.f->done, ==, done);
	rig_end(&r);
}

TEST(fake_exists_and_where_know_the_drive)
{
	struct rig r = rig_make(3, 9);
	struct oc_where w;

	CHECK_INT(oc_exists(r.ns, &r.keys[2], P0), ==, 0);
	CHECK_INT(oc_exists(r.ns, &r.keys[3], P0), ==, OC_BELOW);
	CHECK_INT(oc_exists(r.ns, &r.keys[9], P0), ==, OC_MISS);
	CHECK_OK(oc_where(r.ns, &r.keys[2], P0, &w));
	CHECK_INT(w.tier, ==, OC_TIER_DRAM);
	CHECK_OK(oc_where(r.ns, &r.keys[3], P0, &w));
	CHECK_INT(w.tier, ==, OC_TIER_NVME);
	CHECK_INT(w.bytes, ==, FAKE_FRAME_BYTES);
	CHECK_INT(w.expected_ns, ==, 3000000);
	CHECK_INT(w.generation, ==, 0);
	CHECK_INT(oc_where(r.ns, &r.keys[9], P0, &w), ==, OC_MISS);
	/* a node that does not answer has nothing below */
	r.f->mute_ring = true;
	r.c->timeout_ns = 20 * NS_PER_MS;
	CHECK_INT(oc_exists(r.ns, &r.keys[3], P0), ==, OC_MISS);
	CHECK_INT(oc_where(r.ns, &r.keys[3], P0, &w), ==, OC_MISS);
	rig_end(&r);
}

TEST(fake_fetch_brings_up)
{
	struct rig r = rig_make(3, 9);
	struct oc_fetch_options o = OC_FETCH_INIT;
	size_t usable = 99;

	o.flags = OC_FETCH_AHEAD;
	CHECK_OK(oc_fetch(r.ns, r.keys, BLOCKS, &o, 0, &usable));
	CHECK_INT(usable, ==, 3);
	CHECK_INT(r.f->ahead, ==, 6);
	CHECK_OK(oc_fetch(r.ns, r.keys, BLOCKS, NULL, 0, &usable));
	CHECK_INT(usable, ==, 9);
	CHECK_INT(r.f->fetches, ==, 6);
	/* what is there is not asked for again */
	CHECK_OK(oc_fetch(r.ns, r.keys, 9, NULL, 0, NULL));
	CHECK_INT(r.f->fetches, ==, 6);
	o.flags = 8;
	CHECK_INT(oc_fetch(r.ns, r.keys, 9, &o, 0, NULL), ==, -EINVAL);
	o.flags = 0;
	o.rank = 1;
	CHECK_INT(oc_fetch(r.ns, r.keys, 9, &o, 0, NULL), ==, -EINVAL);
	rig_end(&r);
}

/* A row longer than what is waited for at once, and than a window of keys. */
TEST(fake_a_long_row)
{
	enum { MANY = 5000 };
	struct rig r = rig_make(0, 0);
	struct oc_match_options o = below();
	struct oc_block_info *info = calloc(MANY, sizeof(*info));
	struct oc_key *keys = calloc(MANY, sizeof(*keys));
	size_t usable;

	CHECK(info && keys);
	/* the same few blocks again and again: each is on the drive */
	for (unsigned i = 0; i < MANY; i++)
		keys[i] = fake_key(i % 40);
	pthread_mutex_lock(&r.f->lock);
	for (unsigned i = 0; i < 40; i++)
		fake_below(r.f, i, r.part, BELOW_COMES);
	pthread_mutex_unlock(&r.f->lock);
	CHECK_OK(oc_match(r.ns, keys, MANY, &o, info, &usable));
	CHECK_INT(usable, ==, 0);
	CHECK_INT(info[MANY - 1].tier, ==, OC_TIER_NVME);
	CHECK_INT(r.f->looks, ==, 3);
	CHECK_OK(oc_fetch(r.ns, keys, MANY, NULL, PATIENT, &usable));
	CHECK_INT(usable, ==, MANY);
	CHECK_INT(r.f->fetched, ==, 40);
	free(info);
	free(keys);
	rig_end(&r);
}

static void check_pins(const struct rig *r, struct oc_pin *pins, size_t n)
{
	uint8_t expected[FAKE_FRAME_BYTES];
	struct oc_stat stat;

	for (size_t i = 0; i < n; i++) {
		CHECK(pins[i].data != NULL);
		fake_payload(i, expected);
		CHECK_MEM(pins[i].data, expected, FAKE_FRAME_BYTES);
	}
	for (size_t i = n; i < BLOCKS; i++)
		CHECK(pins[i].data == NULL && pins[i].slot == 0);
	CHECK_OK(oc_stat(r->c, &stat));
	CHECK_INT(stat.pins_held, ==, n);
	oc_unpin_batch(r->ns, pins, BLOCKS);
	CHECK_OK(oc_stat(r->c, &stat));
	CHECK_INT(stat.pins_held, ==, 0);
}

TEST(fake_match_pin_waits_for_the_drive)
{
	struct rig r = rig_make(3, 9);
	struct oc_match_options o = OC_MATCH_INIT;
	struct oc_pin pins[BLOCKS];
	size_t usable;

	CHECK_OK(oc_match_pin(r.ns, r.keys, BLOCKS, &o, pins, &usable));
	CHECK_INT(usable, ==, 3);
	check_pins(&r, pins, 3);
	o.fetch_ns = PATIENT;
	o.pin_flags = OC_PIN_VERIFY;
	CHECK_OK(oc_match_pin(r.ns, r.keys, BLOCKS, &o, pins, &usable));
	CHECK_INT(usable, ==, 9);
	check_pins(&r, pins, 9);
	rig_end(&r);
}

/* What does not come shortens the prefix, and what was pinned behind it goes. */
TEST(fake_match_pin_does_without_what_is_gone)
{
	struct rig r = rig_make(3, 6);
	struct oc_match_options o = OC_MATCH_INIT;
	struct oc_pin pins[BLOCKS];
	size_t usable;

	pthread_mutex_lock(&r.f->lock);
	fake_below(r.f, 6, r.part, BELOW_GONE);
	fake_below(r.f, 7, r.part, BELOW_COMES);
	pthread_mutex_unlock(&r.f->lock);
	o.fetch_ns = PATIENT;
	CHECK_OK(oc_match_pin(r.ns, r.keys, BLOCKS, &o, pins, &usable));
	CHECK_INT(usable, ==, 6);
	check_pins(&r, pins, 6);
	rig_end(&r);
}

/* What is said to be there and reads as a miss is asked for once more. */
TEST(fake_what_came_up_is_pinned)
{
	struct rig r = rig_make(1, 3);
	struct oc_match_options o = OC_MATCH_INIT;
	struct oc_pin pins[BLOCKS];
	size_t usable;

	pthread_mutex_lock(&r.f->lock);
	fake_below(r.f, 3, r.part, BELOW_LATE);
	fake_below(r.f, 4, r.part, BELOW_COMES);
	fake_below(r.f, 5, r.part, BELOW_LATE);
	pthread_mutex_unlock(&r.f->lock);
	o.fetch_ns = PATIENT;
	CHECK_OK(oc_match_pin(r.ns, r.keys, 5, &o, pins, &usable));
	CHECK_INT(usable, ==, 5);
	for (size_t i = 5; i < BLOCKS; i++)
		pins[i] = (struct oc_pin){ .data = NULL };
	check_pins(&r, pins, 5);
	CHECK_OK(oc_pin_fetch(r.ns, &r.keys[5], P0, 0, 0, pins));
	oc_unpin(r.ns, pins);
	rig_end(&r);
}

TEST(fake_a_deadline_ends_the_wait)
{
	struct rig r = rig_make(3, 5);
	struct oc_match_options o = OC_MATCH_INIT;
	struct oc_pin pins[BLOCKS], pin;
	uint64_t begin;
	size_t usable;

	pthread_mutex_lock(&r.f->lock);
	fake_below(r.f, 5, r.part, BELOW_STUCK);
	fake_below(r.f, 6, r.part, BELOW_COMES);
	pthread_mutex_unlock(&r.f->lock);
	/* longer each time, until the two that come had the time they need */
	for (o.fetch_ns = 100 * NS_PER_MS;; o.fetch_ns *= 4) {
		begin = clock_ns();
		CHECK_OK(oc_match_pin(r.ns, r.keys, BLOCKS, &o, pins, &usable));
		CHECK_INT(clock_ns() - begin, >=, o.fetch_ns);
		if (usable == 5)
			break;
		CHECK_INT(o.fetch_ns, <, PATIENT);
		oc_unpin_batch(r.ns, pins, BLOCKS);
	}
	check_pins(&r, pins, 5);
	CHECK_INT(oc_pin_fetch(r.ns, &r.keys[5], P0, 0, 50 * NS_PER_MS, &pin),
		  ==, -ETIMEDOUT);
	CHECK_INT(oc_pin_fetch(r.ns, &r.keys[5], P0, 0, OC_NOWAIT, &pin), ==,
		  -ETIMEDOUT);
	/* the server is asked to give up what nobody waits for; a round trip,
	 * and it has been */
	CHECK_INT(oc_exists(r.ns, &r.keys[9], P0), ==, OC_MISS);
	CHECK_INT(r.f->cancelled, >=, 2);
	rig_end(&r);
}

TEST(fake_a_pin_waits_for_its_part)
{
	struct rig r = rig_make(3, 9);
	struct oc_pin pin;
	struct oc_stat stat;

	CHECK_INT(oc_pin(r.ns, &r.keys[4], P0, 0, &pin), ==, OC_MISS);
	CHECK_OK(oc_pin_fetch(r.ns, &r.keys[4], P0, OC_PIN_VERIFY, 0, &pin));
	CHECK_INT(pin.bytes, ==, FAKE_FRAME_BYTES);
	oc_unpin(r.ns, &pin);
	CHECK_INT(oc_pin_fetch(r.ns, &r.keys[10], P0, 0, 0, &pin), ==, OC_MISS);
	CHECK_INT(oc_pin_fetch(r.ns, &r.keys[4], (struct oc_part){ 3, 0 }, 0, 0,
			       &pin),
		  ==, -EINVAL);
	CHECK_OK(oc_stat(r.c, &stat));
	CHECK_INT(stat.pins_held, ==, 0);
	rig_end(&r);
}

static struct oc_completion take_one(oc_client *c)
{
	struct oc_completion done;
	size_t n;

	CHECK_OK(oc_op_take(c, &done, 1, PATIENT, &n));
	CHECK_INT(n, ==, 1);
	return done;
}

TEST(fake_submitted_fetches_complete)
{
	struct rig r = rig_make(0, 2);
	struct oc_op op = { .size = sizeof(op),
			    .kind = OC_OP_FETCH,
			    .ns = r.ns };
	struct oc_completion done;
	uint64_t id;

	pthread_mutex_lock(&r.f->lock);
	fake_below(r.f, 2, r.part, BELOW_STUCK);
	pthread_mutex_unlock(&r.f->lock);
	op.key = r.keys[0];
	op.user_data = 7;
	CHECK_OK(oc_op_submit(r.c, &op, &id));
	done = take_one(r.c);
	CHECK_INT(done.user_data, ==, 7);
	CHECK_INT(done.kind, ==, OC_OP_FETCH);
	CHECK_INT(done.result, ==, 0);
	CHECK_INT(oc_exists(r.ns, &r.keys[0], P0), ==, 0);
	op.key = r.keys[3];
	CHECK_OK(oc_op_submit(r.c, &op, &id));
	CHECK_INT(take_one(r.c).result, ==, OC_MISS);
	op.key = r.keys[1];
	op.flags = OC_FETCH_AHEAD | OC_FETCH_PART;
	CHECK_OK(oc_op_submit(r.c, &op, &id));
	CHECK_INT(take_one(r.c).result, ==, 0);
	CHECK_INT(r.f->ahead, ==, 1);
	op.key = r.keys[2];
	op.flags = 0;
	CHECK_OK(oc_op_submit(r.c, &op, &id));
	CHECK_OK(oc_op_cancel(r.c, id));
	CHECK_INT(take_one(r.c).result, ==, -ECANCELED);
	op.flags = 16;
	CHECK_INT(oc_op_submit(r.c, &op, &id), ==, -EINVAL);
	op.flags = OC_FETCH_PART;
	op.part.group = 1;
	CHECK_INT(oc_op_submit(r.c, &op, &id), ==, -EINVAL);
	rig_end(&r);
}

/* Full attention and a window of one block. */
static oc_ns *two_groups(oc_client *c)
{
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = 16,
		.n_groups = 2,
		.groups = { { .slices = 1, .slice_bytes = FAKE_FRAME_BYTES },
			    { .rule = OC_RULE_WINDOW,
			      .window_tokens = 16,
			      .slices = 1,
			      .slice_bytes = FAKE_FRAME_BYTES } },
	};
	oc_ns *ns = NULL;

	CHECK_OK(oc_ns_open(c, &o, 0, &ns));
	return ns;
}

/* Only what the rules need is brought up: of the window, one block. */
TEST(fake_the_rules_say_what_is_brought_up)
{
	struct rig r = rig_make(2, 5);
	uint64_t window = frame_part(1, 1, 0);
	oc_ns *ns = two_groups(r.c);
	struct oc_match_options o = below();
	struct oc_block_info info[BLOCKS];
	struct oc_pin pins[2 * BLOCKS];
	size_t usable;

	r.f->groups = 2;
	pthread_mutex_lock(&r.f->lock);
	fake_seal(r.f, FAKE_OTHER, 20, 5, &r.keys[1], window);
	fake_below(r.f, 2, window, BELOW_COMES);
	fake_below(r.f, 3, window, BELOW_COMES);
	pthread_mutex_unlock(&r.f->lock);
	CHECK_OK(oc_match(ns, r.keys, BLOCKS, &o, info, &usable));
	CHECK_INT(usable, ==, 2);
	CHECK_INT(info[2].bytes, ==, FAKE_FRAME_BYTES);
	CHECK_INT(info[3].bytes, ==, 2 * FAKE_FRAME_BYTES);
	CHECK_INT(info[3].stream_ns, ==, 2000000);
	CHECK_INT(info[4].tier, ==, OC_TIER_NONE);
	o.fetch_ns = PATIENT;
	CHECK_OK(oc_match_pin(ns, r.keys, BLOCKS, &o, pins, &usable));
	CHECK_INT(usable, ==, 4);
	CHECK(pins[2 * 3].data && pins[2 * 3 + 1].data);
	CHECK(pins[2 * 2].data && !pins[2 * 2 + 1].data);
	oc_unpin_batch(ns, pins, 2 * BLOCKS);
	CHECK_INT(r.f->fetched, ==, 3);
	oc_ns_close(ns);
	rig_end(&r);
}

/* One part of a block on the drive and another on the rung: the block is on the
 * drive, and what both stream counts, in whatever order the groups are. */
TEST(fake_a_block_on_two_tiers_is_on_the_slower)
{
	struct rig r = rig_make(2, 5);
	uint64_t window = frame_part(1, 1, 0);
	oc_ns *ns = two_groups(r.c);
	struct oc_match_options o = below();
	struct oc_block_info info[BLOCKS];
	size_t usable;

	r.f->groups = 2;
	pthread_mutex_lock(&r.f->lock);
	fake_seal(r.f, FAKE_OTHER, 20, 5, &r.keys[1], window);
	fake_below(r.f, 2, window, BELOW_COMES);
	pthread_mutex_unlock(&r.f->lock);
	for (unsigned rung = 0; rung < 2; rung++) {
		pthread_mutex_lock(&r.f->lock);
		r.f->on_rung = 1u << rung;
		pthread_mutex_unlock(&r.f->lock);
		CHECK_OK(oc_match(ns, r.keys, 3, &o, info, &usable));
		CHECK_INT(usable, ==, 2);
		CHECK_INT(info[2].bytes, ==, 2 * FAKE_FRAME_BYTES);
		CHECK_INT(info[2].tier, ==, OC_TIER_NVME);
		CHECK_INT(info[2].stream_ns, >=, 1000000);
	}
	oc_ns_close(ns);
	rig_end(&r);
}

TEST(fake_memory_is_refused)
{
	struct rig r = rig_make(3, 9);
	struct oc_match_options o = below();
	struct oc_block_info info[BLOCKS];
	struct oc_pin pins[BLOCKS];
	struct oc_stat stat;
	size_t usable = 0;
	int refused = 0, e;

	o.fetch_ns = PATIENT;
	for (uint64_t i = 1;; i++) {
		fault_arm(FAULT_ALLOC, i, false);
		e = oc_match(r.ns, r.keys, BLOCKS, &o, info, &usable);
		if (e == 0)
			e = oc_match_pin(r.ns, r.keys, BLOCKS, &o, pins,
					 &usable);
		if (e == 0)
			e = oc_fetch(r.ns, r.keys, BLOCKS, NULL, 0, &usable);
		if (!fault_fired())
			break;
		CHECK_INT(e, ==, -ENOMEM);
		refused++;
		CHECK_OK(oc_stat(r.c, &stat));
		CHECK_INT(stat.pins_held, <=, 9);
		if (stat.pins_held)
			oc_unpin_batch(r.ns, pins, BLOCKS);
	}
	fault_arm(0, 0, false);
	CHECK_OK(e);
	CHECK_INT(usable, ==, 9);
	CHECK_INT(refused, >=, 5);
	rig_end(&r);
}

/* ---- oc_plan --------------------------------------------------------------- */

static struct oc_plan_options speed(double tokens_per_s)
{
	return (struct oc_plan_options){ .size = sizeof(struct oc_plan_options),
					 .tokens_per_s = tokens_per_s,
					 .block_tokens = 16 };
}

TEST(a_plan_from_what_a_match_says)
{
	struct oc_block_info info[10] = { { 0 } };
	struct oc_plan_options o = speed(100000); /* 160 us a block */
	struct oc_plan p;

	for (int i = 0; i < 8; i++)
		info[i] = (struct oc_block_info){ OC_TIER_NVME, 50000, 4096,
						  150000 };
	CHECK_OK(oc_plan(&o, info, 10, &p));
	CHECK_INT(p.load.blocks, ==, 8);
	CHECK_INT(p.load.load_ns, ==, 100000 + 8 * 50000);
	CHECK_INT(p.load.compute_ns, ==, 2 * 160000);
	CHECK_INT(p.load.ns, ==, p.load.load_ns + p.load.compute_ns);
	CHECK_INT(p.recompute.ns, ==, 10 * 160000);
	CHECK_INT(p.all.blocks, ==, 8);
	/* a drive ten times slower turns the answer */
	for (int i = 0; i < 8; i++)
		info[i] = (struct oc_block_info){ OC_TIER_NVME, 500000, 4096,
						  1500000 };
	CHECK_OK(oc_plan(&o, info, 10, &p));
	CHECK_INT(p.load.blocks, ==, 0);
	CHECK_INT(p.load.ns, ==, p.recompute.ns);
	CHECK_INT(p.all.ns, ==, 1000000 + 8 * 500000 + 2 * 160000);
	/* and depth turns it again: a block at 1 M tokens costs 17 ms */
	o.depth_ns = 1;
	o.held = 1000000;
	CHECK_OK(oc_plan(&o, info, 10, &p));
	CHECK_INT(p.load.blocks, ==, 8);
}

TEST(plans_that_cannot_be)
{
	struct oc_block_info info[1] = { { .tier = OC_TIER_DRAM } };
	struct oc_plan_options o = speed(1000);
	struct oc_plan p;

	CHECK_OK(oc_plan(&o, info, 1, &p));
	CHECK_OK(oc_plan(&o, NULL, 0, &p));
	o.tokens_per_s = 0;
	CHECK_INT(oc_plan(&o, info, 1, &p), ==, -EINVAL);
	o.tokens_per_s = NAN;
	CHECK_INT(oc_plan(&o, info, 1, &p), ==, -EINVAL);
	o = speed(1000);
	o.depth_ns = -1;
	CHECK_INT(oc_plan(&o, info, 1, &p), ==, -EINVAL);
	o = speed(1000);
	o.block_tokens = 0;
	CHECK_INT(oc_plan(&o, info, 1, &p), ==, -EINVAL);
	o = speed(1000);
	o.rest = UINT64_MAX;
	CHECK_INT(oc_plan(&o, info, 1, &p), ==, -EINVAL);
	o = speed(1000);
	o.size = 0;
	CHECK_INT(oc_plan(&o, info, 1, &p), ==, -EINVAL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Several groups and ranks: joint matches, and blocks that leave whole. */
#include "base/compiler.h"
#include "prog/payload.h"
#include "tests/prog/live.h"

/* Full attention, a window of 3 blocks, a state; two ranks. */
#define GROUPS	     3u
#define RANKS	     2u
#define PARTS	     (GROUPS * RANKS)
#define BLOCK_TOKENS 16u
#define WINDOW	     3u

static const uint64_t part_bytes[GROUPS] = { 32 * KIB, 16 * KIB, 8 * KIB };

static oc_ns *open_groups(oc_client *c)
{
	struct oc_ns_options o = {
		.size = sizeof(o),
		.block_tokens = BLOCK_TOKENS,
		.ranks = RANKS,
		.n_groups = GROUPS,
		.groups = {
			{ OC_RULE_FULL, 0, 4, 8 * KIB, 0 },
			{ OC_RULE_WINDOW, WINDOW * BLOCK_TOKENS, 2, 8 * KIB, 0 },
			{ OC_RULE_STATE, 0, 1, 8 * KIB, 0 },
		},
	};
	oc_ns *ns;

	CHECK_OK(oc_ns_open(c, &o, 0, &ns));
	for (uint16_t g = 0; g < GROUPS; g++)
		CHECK_INT(oc_ns_part_bytes(ns, g), ==, part_bytes[g]);
	return ns;
}

static struct oc_part part_of(unsigned i)
{
	return (struct oc_part){ (uint16_t)(i / RANKS), (uint16_t)(i % RANKS) };
}

static void put_part(oc_ns *ns, uint64_t block, unsigned i)
{
	struct oc_key key = live_key(block);
	struct oc_grant g;
	int r = oc_grant(ns, &key, part_of(i), 0, 0, 0, &g);

	CHECK(r == 0 || r == OC_EXISTS);
	if (r)
		return;
	payload_make(&key, g.data, g.bytes);
	CHECK_OK(oc_seal(ns, &g, NULL, 0));
}

static void put_block(oc_ns *ns, uint64_t block)
{
	for (unsigned i = 0; i < PARTS; i++)
		put_part(ns, block, i);
}

static unsigned parts_there(oc_ns *ns, uint64_t block)
{
	struct oc_key key = live_key(block);
	unsigned n = 0;

	for (unsigned i = 0; i < PARTS; i++)
		n += oc_exists(ns, &key, part_of(i)) == 0;
	return n;
}

static size_t match(oc_ns *ns, const struct oc_key *keys, size_t n, int rank)
{
	struct oc_match_options o = OC_MATCH_INIT;
	size_t usable = 999;

	o.rank = rank;
	CHECK_OK(oc_match(ns, keys, n, &o, NULL, &usable));
	return usable;
}

TEST(a_match_is_joint_over_groups_and_ranks)
{
	struct oc_key keys[10];
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start(&n, "--dram", "16M");
	c = live_connect(&n);
	ns = open_groups(c);
	for (uint64_t b = 0; b < 10; b++)
		keys[b] = live_key(b);
	CHECK_INT(match(ns, keys, 10, -1), ==, 0);
	/* full attention in all; windows and states only at the end of 8 */
	for (uint64_t b = 0; b < 10; b++)
		for (unsigned i = 0; i < RANKS; i++)
			put_part(ns, b, i);
	CHECK_INT(match(ns, keys, 10, -1), ==, 0);
	for (uint64_t b = 5; b < 8; b++)
		for (unsigned i = RANKS; i < 2 * RANKS; i++)
			put_part(ns, b, i);
	CHECK_INT(match(ns, keys, 10, -1), ==, 0);
	put_part(ns, 7, 2 * RANKS); /* the state of rank 0 */
	CHECK_INT(match(ns, keys, 10, 0), ==, 8);
	CHECK_INT(match(ns, keys, 10, 1), ==, 0);
	CHECK_INT(match(ns, keys, 10, -1), ==, 0);
	put_part(ns, 7, 2 * RANKS + 1);
	CHECK_INT(match(ns, keys, 10, -1), ==, 8);
	CHECK_INT(match(ns, keys, 7, -1), ==, 0);
	CHECK_INT(oc_remove(ns, &keys[2], 0), ==, 0);
	CHECK_INT(match(ns, keys, 10, -1), ==, 0);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

TEST(a_match_pins_what_the_rules_need_and_no_more)
{
	struct oc_pin pins[8 * PARTS];
	struct oc_key keys[8];
	struct live n;
	oc_client *c;
	oc_ns *ns;
	size_t usable;

	live_start(&n, "--dram", "16M");
	c = live_connect(&n);
	ns = open_groups(c);
	for (uint64_t b = 0; b < 6; b++)
		put_block(ns, b);
	for (uint64_t b = 0; b < 8; b++)
		keys[b] = live_key(b);
	memset(pins, 0, sizeof(pins));
	CHECK_OK(oc_match_pin(ns, keys, 8, NULL, pins, &usable));
	CHECK_INT(usable, ==, 6);
	for (size_t at = 0; at < 8 * PARTS; at++) {
		size_t b = at / PARTS, g = at % PARTS / RANKS;
		bool need = b < 6 && (g == 0 || (g == 1 && b >= 6 - WINDOW) ||
				      (g == 2 && b == 5));

		CHECK_INT(pins[at].data != NULL, ==, need);
		if (!need)
			continue;
		CHECK_INT(pins[at].bytes, ==, part_bytes[g]);
		CHECK_INT(payload_wrong(&keys[b], pins[at].data,
					pins[at].bytes),
			  ==, 0);
	}
	CHECK_INT(live_stat(c).pins_held, ==, RANKS * (6 + WINDOW + 1));
	oc_unpin_batch(ns, pins, 8 * PARTS);
	CHECK_INT(live_stat(c).pins_held, ==, 0);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* Memory for about 70 blocks, and 400 of them. */
TEST(the_parts_of_a_block_leave_together)
{
	struct live n;
	oc_client *c;
	oc_ns *ns;
	unsigned whole = 0;

	live_start(&n, "--dram", "8M");
	c = live_connect(&n);
	ns = open_groups(c);
	for (uint64_t b = 0; b < 400; b++)
		put_block(ns, b);
	CHECK_INT(live_counter(c, "evicted"), >, 300 * PARTS);
	for (uint64_t b = 0; b < 400; b++) {
		unsigned there = parts_there(ns, b);

		if (there != 0 && there != PARTS)
			FAIL("block %d: %u parts", (int)b, there);
		whole += there == PARTS;
	}
	CHECK_INT(whole, >, 20);
	CHECK_INT(live_stat(c).slab_bytes, <=, 8 * MIB);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

/* A pin on one part keeps all of its block. */
TEST(a_pinned_part_keeps_its_block)
{
	struct oc_key key = live_key(0);
	struct oc_pin pin;
	struct live n;
	oc_client *c;
	oc_ns *ns;

	live_start(&n, "--dram", "8M");
	c = live_connect(&n);
	ns = open_groups(c);
	put_block(ns, 0);
	CHECK_OK(oc_pin(ns, &key, part_of(2 * RANKS), 0, &pin));
	for (uint64_t b = 1; b < 400; b++)
		put_block(ns, b);
	CHECK_INT(parts_there(ns, 0), ==, PARTS);
	oc_unpin(ns, &pin);
	live_check(c);
	oc_ns_close(ns);
	oc_client_close(c);
	live_stop(&n);
}

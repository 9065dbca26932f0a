/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of replay and demo, with their sources: the program is no
 * library. */
#include "prog/against.c"
#include "prog/deck.c"
#include "prog/payload.c"
#include "tests/test.h"

static const uint64_t chain[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 };

/* Room for all: what is computed is what is distinct. */
TEST(lru_with_room_for_all)
{
	uint64_t prefill, held;
	struct deck d;

	CHECK_OK(deck_init(&d));
	CHECK_OK(deck_add(&d, 0, DECK_NO_SESSION, chain, 10));
	CHECK_OK(deck_add(&d, 1, DECK_NO_SESSION, chain, 10));
	CHECK_OK(deck_add(&d, 2, DECK_NO_SESSION, chain, 5));
	CHECK_OK(deck_deal(&d, 1));
	CHECK_OK(against_lru(&d, 10, &prefill, &held));
	CHECK_INT(prefill, ==, 10);
	CHECK_INT(held, ==, 10);
	deck_fini(&d);
}

/* Tail first: when 10 blocks pass through 4 places, the head is left. */
TEST(heads_live_longest)
{
	uint64_t prefill, held;
	struct deck d;

	CHECK_OK(deck_init(&d));
	CHECK_OK(deck_add(&d, 0, DECK_NO_SESSION, chain, 10));
	CHECK_OK(deck_add(&d, 1, DECK_NO_SESSION, chain, 4));
	CHECK_OK(deck_deal(&d, 1));
	CHECK_OK(against_lru(&d, 4, &prefill, &held));
	CHECK_INT(prefill, ==, 10);
	CHECK_INT(held, ==, 4);
	deck_fini(&d);
}

TEST(private_caches_compute_what_is_shared_again)
{
	struct against a;
	struct deck d;

	CHECK_OK(deck_init(&d));
	for (uint64_t i = 0; i < 4; i++)
		CHECK_OK(deck_add(&d, i, i, chain, 10));
	CHECK_OK(deck_deal(&d, 4));
	CHECK_OK(against_private(&d, 1, 100, &a));
	CHECK_INT(a.caches, ==, 5);
	CHECK_INT(a.split_blocks, ==, 20);
	CHECK_INT(a.prefill_blocks, ==, 40);
	CHECK_INT(a.held_blocks, ==, 50);
	CHECK_INT(a.moved_blocks, ==, 50);
	deck_fini(&d);
}

TEST(a_cache_without_room)
{
	struct against a;
	struct deck d;

	CHECK_OK(deck_init(&d));
	CHECK_OK(deck_add(&d, 0, 0, chain, 10));
	CHECK_OK(deck_deal(&d, 2));
	CHECK_OK(against_private(&d, 0, 1, &a));
	CHECK_INT(a.split_blocks, ==, 0);
	CHECK_INT(a.prefill_blocks, ==, 10);
	deck_fini(&d);
}

/* With sessions: by session. Without: by the deepest block, heads left out. */
TEST(dealing_keeps_conversations_together)
{
	static const uint64_t a[] = { 0, 1, 2 }, b[] = { 0, 3, 4 };
	struct deck d;

	CHECK_OK(deck_init(&d));
	CHECK_OK(deck_add(&d, 0, DECK_NO_SESSION, a, 2));
	CHECK_OK(deck_add(&d, 1, DECK_NO_SESSION, b, 2));
	CHECK_OK(deck_add(&d, 2, DECK_NO_SESSION, a, 3));
	CHECK_OK(deck_add(&d, 3, DECK_NO_SESSION, b, 3));
	CHECK_OK(deck_add(&d, 4, 17, a, 3));
	CHECK_OK(deck_add(&d, 5, 18, a, 3));
	CHECK_OK(deck_deal(&d, 2));
	CHECK_INT(d.request[0].client, !=, d.request[1].client);
	CHECK_INT(d.request[2].client, ==, d.request[0].client);
	CHECK_INT(d.request[3].client, ==, d.request[1].client);
	CHECK_INT(d.request[4].client, !=, d.request[5].client);
	deck_fini(&d);
}

/* The table of ids grows through several sizes and finds all again. */
TEST(many_ids_stay_dense)
{
	uint64_t ids[1000];
	struct deck d;

	CHECK_OK(deck_init(&d));
	for (uint64_t round = 0; round < 2; round++)
		for (uint64_t i = 0; i < 200; i++) {
			for (uint64_t k = 0; k < 1000; k++)
				ids[k] = (i * 1000 + k) << 20;
			CHECK_OK(deck_add(&d, i, i, ids, 1000));
		}
	CHECK_INT(d.distinct, ==, 200000);
	CHECK_INT(d.blocks, ==, 400000);
	for (uint64_t i = 0; i < d.blocks; i++)
		CHECK_INT(d.id[d.block[i]], ==, (i % 200000) << 20);
	deck_fini(&d);
}

TEST(payload_shows_every_wrong_byte)
{
	struct oc_key key, other;
	uint64_t words[32];
	uint8_t *bytes = (uint8_t *)words;

	CHECK_OK(payload_key("t", 1, 2, &key));
	CHECK_OK(payload_key("t", 1, 3, &other));
	for (uint64_t n = 1; n <= sizeof(words); n += 7) {
		payload_make(&key, words, n);
		CHECK_INT(payload_wrong(&key, words, n), ==, 0);
		for (uint64_t i = 0; i < n; i++) {
			bytes[i] ^= 0x40;
			CHECK_INT(payload_wrong(&key, words, n), ==, 1);
			bytes[i] ^= 0x40;
		}
	}
	CHECK_INT(payload_wrong(&other, words, 250), >, 200);
}

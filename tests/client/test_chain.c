/* SPDX-License-Identifier: Apache-2.0 */
/* Golden values: vLLM's `sha256_cbor`, computed with vLLM and cbor2. */
#include "onecopy/onecopy.h"
#include "tests/test.h"
#include "base/hash.h"
#include "base/text.h"

#define ROOT0 "4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e"

static void check_key(const struct oc_key *key, const char *hex)
{
	char got[65];

	text_hex(key->bytes, 32, got);
	CHECK_STR(got, hex);
}

static void count_up(uint32_t *tokens, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tokens[i] = (uint32_t)i + 1;
}

static struct oc_chain_options options(uint32_t block_tokens)
{
	return (struct oc_chain_options){
		.size = sizeof(struct oc_chain_options),
		.block_tokens = block_tokens,
	};
}

TEST(root_is_the_hash_of_the_seed)
{
	struct oc_key key;

	CHECK_OK(oc_chain_root(NULL, &key));
	check_key(&key, ROOT0);
	CHECK_OK(oc_chain_root("0", &key));
	check_key(&key, ROOT0);
}

TEST(blocks_chain_as_in_vllm)
{
	struct oc_chain_options o = options(4);
	struct oc_key keys[2];
	uint32_t tokens[35];
	size_t n;

	count_up(tokens, 35);
	CHECK_OK(oc_chain(&o, tokens, 11, keys, &n));
	CHECK_INT(n, ==, 2);
	check_key(&keys[0], "c9d58ba695280d69b243e1e0df813136"
			    "ca9196b286fb1a021e0b2e028ef071cb");
	check_key(&keys[1], "24125b23e68883b5c2141db2959d4843"
			    "3fe6bde2f26bd914efad121d154ab2d6");
	o = options(16);
	CHECK_OK(oc_chain(&o, tokens, 35, keys, &n));
	CHECK_INT(n, ==, 2);
	check_key(&keys[0], "202da172482d928bbc42ab25b0151e2b"
			    "895f13f41002e27b2ceabcfae6d332ea");
	check_key(&keys[1], "4a0a393805c6d2f0ed831000d41bb659"
			    "80336c4c04895d5e26470bbec927f5bf");
}

TEST(going_on_after_a_parent_is_the_same_chain)
{
	struct oc_chain_options o = options(4);
	struct oc_key all[8], some[8];
	uint32_t tokens[32];
	size_t n;

	count_up(tokens, 32);
	CHECK_OK(oc_chain(&o, tokens, 32, all, &n));
	CHECK_INT(n, ==, 8);
	o.parent = &all[2];
	/* Not hashed: the chain has begun already. */
	o.salt = "salt";
	CHECK_OK(oc_chain(&o, tokens + 12, 20, some, &n));
	CHECK_INT(n, ==, 5);
	CHECK_MEM(some, all + 3, 5 * sizeof(some[0]));
}

TEST(salt_goes_into_the_first_block_only)
{
	struct oc_chain_options o = options(16);
	struct oc_key keys[2], plain;
	uint32_t tokens[32];
	size_t n;

	count_up(tokens, 32);
	o.salt = "salt";
	CHECK_OK(oc_chain(&o, tokens, 32, keys, &n));
	check_key(&keys[0], "0222f5b704a8247ae4068ec648ea39b6"
			    "a207f22cee65f086f86091a2d25fbd47");
	o.salt = NULL;
	o.parent = &keys[0];
	CHECK_OK(oc_chain(&o, tokens + 16, 16, &plain, &n));
	CHECK_MEM(&plain, &keys[1], sizeof(plain));
	o = options(4);
	o.salt = "tenant-a";
	CHECK_OK(oc_chain(&o, tokens, 4, keys, &n));
	check_key(&keys[0], "5188afdf425172363edc325e9600bdb5"
			    "5cfc0950138d1c11b71ec2ac150962f4");
}

/* The bytes are written out here: RFC 8949 by hand. */
TEST(extra_is_lora_items_salt_in_this_order)
{
	static const uint8_t middle[] = {
		0x81, 0x1a, 0xff, 0xff, 0xff, 0xff, /* [4294967295] */
		0x85,				    /* five extras */
		0x62, 'l',  'o',		    /* LoRA */
		0x82, 0x61, 'a',  0x18, 0x18,	    /* ["a", 24] */
		0x82, 0x61, 'b',  0x20,		    /* ["b", -1] */
		0x82, 0x61, 'c',  0x39, 0x01, 0x00, /* ["c", -257] */
		0x61, 's',			    /* salt */
	};
	struct oc_chain_item items[] = { { "a", 0, 24 },
					 { "b", 0, -1 },
					 { "c", 0, -257 } };
	static const uint8_t head[] = { 0x83, 0x58, 0x20 };
	struct oc_chain_options o = options(1);
	uint32_t token = UINT32_MAX;
	struct oc_key root, key;
	uint8_t expected[32];
	size_t n;

	CHECK_OK(oc_chain_root(NULL, &root));
	CHECK_OK(
		hash_sha256((struct hash_piece[]){ { head, sizeof(head) },
						   { root.bytes, 32 },
						   { middle, sizeof(middle) } },
			    3, expected));
	o.lora = "lo";
	o.salt = "s";
	o.items = items;
	o.n_items = 3;
	CHECK_OK(oc_chain(&o, &token, 1, &key, &n));
	CHECK_MEM(key.bytes, expected, 32);
}

TEST(items_belong_to_their_block)
{
	struct oc_chain_item items[] = { { "x", 1, 0 } };
	struct oc_chain_options o = options(4);
	struct oc_key with[3], without[3];
	uint32_t tokens[12];
	size_t n;

	count_up(tokens, 12);
	CHECK_OK(oc_chain(&o, tokens, 12, without, &n));
	o.items = items;
	o.n_items = 1;
	CHECK_OK(oc_chain(&o, tokens, 12, with, &n));
	CHECK_MEM(&with[0], &without[0], 32);
	CHECK(memcmp(&with[1], &without[1], 32) != 0);
	CHECK(memcmp(&with[2], &without[2], 32) != 0);
}

TEST(a_partial_key_is_no_full_one)
{
	struct oc_chain_options o = options(4), full;
	struct oc_key partial, key;
	uint32_t tokens[4];
	size_t n;

	count_up(tokens, 4);
	for (uint32_t i = 1; i < 4; i++) {
		CHECK_OK(oc_chain_partial(&o, tokens, i, &partial));
		full = options(i);
		CHECK_OK(oc_chain(&full, tokens, i, &key, &n));
		CHECK(memcmp(&partial, &key, 32) != 0);
	}
	CHECK_INT(oc_chain_partial(&o, tokens, 0, &key), ==, -EINVAL);
	CHECK_INT(oc_chain_partial(&o, tokens, 4, &key), ==, -EINVAL);
}

TEST(large_blocks_and_wrong_options)
{
	struct oc_chain_item items[] = { { "x", 1, 0 }, { "y", 0, 0 } };
	struct oc_chain_options o = options(8192);
	uint32_t *tokens = calloc(8192, sizeof(*tokens));
	struct oc_key key;
	size_t n = 7;

	CHECK(tokens != NULL);
	CHECK_OK(oc_chain(&o, tokens, 8192, &key, &n));
	CHECK_INT(n, ==, 1);
	CHECK_OK(oc_chain(&o, tokens, 0, NULL, &n));
	CHECK_INT(n, ==, 0);
	o = options(0);
	CHECK_INT(oc_chain(&o, tokens, 1, &key, &n), ==, -EINVAL);
	o = options(1);
	o.items = items;
	o.n_items = 2;
	CHECK_INT(oc_chain(&o, tokens, 1, &key, &n), ==, -EINVAL);
	free(tokens);
}

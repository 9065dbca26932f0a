/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of the torture. A block carries its version in its first word, and all
 * other bytes follow from key and version. What a device reads is a slice of a
 * file, named by the version: such a block has a head like the others, and the
 * slice behind it.
 */
#include <string.h>

#include "base/compiler.h"
#include "payload.h"
#include "torture.h"

uint64_t torture_block_bytes(uint32_t key)
{
	static const uint64_t sizes[] = { 4096, 4096, 8192, 16384 };
	/* in the record, as long as may be there, and with a part of their own */
	static const uint64_t named[] = { 64, 4000, 16384, 40000,
					  TORTURE_NAMED_BYTES };

	if (key >= TORTURE_NAMES)
		return named[key % ARRAY_LEN(named)];
	if (TORTURE_DEVICE_KEY(key))
		return TORTURE_HEAD + TORTURE_SLICE;
	return sizes[key / 8 % ARRAY_LEN(sizes)];
}

int torture_key(uint32_t key, bool calm, struct oc_key *ret_key)
{
	return payload_key(calm ? "torture calm" : "torture", 0, key, ret_key);
}

/* A key of bytes that are nobody's block: where payload bytes come from. */
static void pattern(uint64_t a, uint64_t b, struct oc_key *ret_key)
{
	uint64_t words[4] = { a, b, a * 0x9e3779b97f4a7c15ull,
			      b * 0xbf58476d1ce4e5b9ull };

	memcpy(ret_key->bytes, words, sizeof(ret_key->bytes));
}

static uint32_t slice_of(uint64_t version)
{
	return (uint32_t)(version % TORTURE_SLICES);
}

void torture_slice_fill(uint32_t slice, void *data)
{
	struct oc_key key;

	pattern(slice, ~0ull, &key);
	payload_make(&key, data, TORTURE_SLICE);
}

static uint64_t head_bytes(uint32_t key)
{
	return TORTURE_DEVICE_KEY(key) ? TORTURE_HEAD
				       : torture_block_bytes(key);
}

void torture_block_fill(uint32_t key, uint64_t version, void *data)
{
	struct oc_key words;

	pattern(version, key, &words);
	payload_make(&words, (uint8_t *)data + 8, head_bytes(key) - 8);
	memcpy(data, &version, sizeof(version));
}

uint64_t torture_block_wrong(uint32_t key, const void *data, uint64_t bytes,
			     uint64_t *ret_version)
{
	const uint8_t *at = data;
	uint64_t head = head_bytes(key), version, wrong;
	struct oc_key words;

	*ret_version = 0;
	if (bytes != torture_block_bytes(key))
		return MAX(bytes, 1ull);
	memcpy(&version, at, sizeof(version));
	*ret_version = version;
	pattern(version, key, &words);
	wrong = payload_wrong(&words, at + 8, head - 8);
	if (TORTURE_DEVICE_KEY(key)) {
		pattern(slice_of(version), ~0ull, &words);
		wrong += payload_wrong(&words, at + head, TORTURE_SLICE);
	}
	return wrong;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "payload.h"

#include <string.h>

#include "base/compiler.h"
#include "base/hash.h"

static inline uint64_t payload_word(uint64_t seed, uint64_t j)
{
	uint64_t x = seed + j * 0x9e3779b97f4a7c15ull;

	return x ^ (x >> 29);
}

static uint64_t payload_seed(const struct oc_key *key)
{
	uint64_t w[4];

	memcpy(w, key->bytes, sizeof(w));
	return w[0] ^ (w[1] << 1) ^ (w[2] << 2) ^ (w[3] << 3);
}

int payload_key(const char *label, uint64_t seed, uint64_t id,
		struct oc_key *ret_key)
{
	uint64_t numbers[2] = { seed, id };
	struct hash_piece pieces[2] = {
		{ label, strlen(label) + 1 },
		{ numbers, sizeof(numbers) },
	};

	return hash_sha256(pieces, 2, ret_key->bytes);
}

void payload_make(const struct oc_key *key, void *data, uint64_t bytes)
{
	uint64_t seed = payload_seed(key), n = bytes / 8, tail;
	uint64_t *w = data;

	for (uint64_t j = 0; j < n; j++)
		w[j] = payload_word(seed, j);
	if (bytes % 8) {
		tail = payload_word(seed, n);
		memcpy(&w[n], &tail, bytes % 8);
	}
}

/* Slow path: the block is wrong, say by how much. */
static NOINLINE uint64_t payload_count(uint64_t seed, const uint8_t *data,
				       uint64_t bytes)
{
	uint64_t wrong = 0, word = 0;

	for (uint64_t i = 0; i < bytes; i++) {
		if (i % 8 == 0)
			word = payload_word(seed, i / 8);
		wrong += data[i] != ((const uint8_t *)&word)[i % 8];
	}
	return wrong;
}

uint64_t payload_wrong(const struct oc_key *key, const void *data,
		       uint64_t bytes)
{
	uint64_t seed = payload_seed(key), n = bytes / 8, tail, bad = 0;
	const uint64_t *w = data;

	for (uint64_t j = 0; j < n; j++)
		bad |= w[j] ^ payload_word(seed, j);
	if (bytes % 8) {
		tail = payload_word(seed, n);
		bad |= (uint64_t)(memcmp(&w[n], &tail, bytes % 8) != 0);
	}
	return bad ? payload_count(seed, data, bytes) : 0;
}

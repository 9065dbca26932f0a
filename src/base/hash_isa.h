/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to base/hash*.c: one table of operations for each instruction set,
 * and the arithmetic of XXH3's long inputs that the tables share.
 *
 * XXH3 of more than 240 bytes (https://github.com/Cyan4973/xxHash,
 * doc/xxhash_spec.md): eight 64-bit accumulators take in stripes of 64 bytes;
 * a block is 16 stripes, each mixed with the secret 8 bytes further on, and is
 * closed by a scramble. The last block (1..1024 bytes) is never scrambled, and
 * the last 64 bytes of the input are taken in once more at its end.
 *
 * Each file of an instruction set is compiled with its own flags and calls
 * nothing but static functions and libc, so that no code with those
 * instructions can be picked by the linker for a machine without them.
 */
#ifndef ONECOPY_BASE_HASH_ISA_H
#define ONECOPY_BASE_HASH_ISA_H

#include "base/compiler.h"

#define HASH_STRIPE	   64
#define HASH_BLOCK	   1024
#define HASH_BLOCK_STRIPES (HASH_BLOCK / HASH_STRIPE)
#define HASH_SECRET_BYTES  192

/* Below this the destination is left in the cache by an ordinary memcpy: the
 * lines still fit there, and the write-combining drain at the end is not paid
 * back. */
#define HASH_COPY_SMALL 8192

struct hash_ops {
	const char *name;
	uint64_t (*payload)(const void *data, size_t len, uint64_t seed);
	uint64_t (*copy)(void *dst, const void *src, size_t len, uint64_t seed);
	/* state: an XXH3_state_t; its layout is the same in every table. */
	void (*stream_add)(void *state, const void *data, size_t len);
};

/* name is NULL when the file was built without its instructions. */
extern const struct hash_ops hash_ops_portable;
extern const struct hash_ops hash_ops_avx2;
extern const struct hash_ops hash_ops_avx512;

/* The table in use. */
const struct hash_ops *hash_ops_get(void);

struct hash_acc {
	_Alignas(64) uint64_t lane[8];
	_Alignas(64) uint8_t secret[HASH_SECRET_BYTES];
};

#define HASH_P32_1 0x9E3779B1ull
#define HASH_P32_2 0x85EBCA77ull
#define HASH_P32_3 0xC2B2AE3Dull
#define HASH_P64_1 0x9E3779B185EBCA87ull
#define HASH_P64_2 0xC2B2AE3D27D4EB4Full
#define HASH_P64_3 0x165667B19E3779F9ull
#define HASH_P64_4 0x85EBCA77C2B2AE63ull
#define HASH_P64_5 0x27D4EB2F165667C5ull

static inline uint64_t hash_load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v; /* tables with this arithmetic are little-endian only */
}

/* secret: filled by the caller (XXH3_generateSecret_fromSeed). */
static inline void hash_acc_init(struct hash_acc *a)
{
	static const uint64_t start[8] = { HASH_P32_3, HASH_P64_1, HASH_P64_2,
					   HASH_P64_3, HASH_P64_4, HASH_P32_2,
					   HASH_P64_5, HASH_P32_1 };

	memcpy(a->lane, start, sizeof(start));
}

static inline void hash_acc_stripe(struct hash_acc *a, const uint8_t *data,
				   const uint8_t *secret)
{
	for (unsigned i = 0; i < 8; i++) {
		uint64_t value = hash_load64(data + 8 * i);
		uint64_t mixed = value ^ hash_load64(secret + 8 * i);

		a->lane[i ^ 1] += value;
		a->lane[i] += (mixed & 0xffffffffu) * (mixed >> 32);
	}
}

static inline uint64_t hash_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The last block: `tail` bytes (1..1024) at `last`, with the 64 bytes of input
 * that go before them in front of it. */
static inline uint64_t hash_acc_finish(struct hash_acc *a, const uint8_t *last,
				       size_t tail, uint64_t total)
{
	const uint8_t *secret = a->secret;
	uint64_t h = total * HASH_P64_1;

	for (size_t i = 0; i < (tail - 1) / HASH_STRIPE; i++)
		hash_acc_stripe(a, last + i * HASH_STRIPE, secret + 8 * i);
	hash_acc_stripe(a, last + tail - HASH_STRIPE,
			secret + HASH_SECRET_BYTES - HASH_STRIPE - 7);
	for (unsigned i = 0; i < 4; i++)
		h += hash_fold(
			a->lane[2 * i] ^ hash_load64(secret + 11 + 16 * i),
			a->lane[2 * i + 1] ^ hash_load64(secret + 19 + 16 * i));
	h ^= h >> 37;
	h *= 0x165667919E3779F9ull;
	return h ^ (h >> 32);
}

#endif

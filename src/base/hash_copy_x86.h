/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Body of hash_copy_avx2.c and hash_copy_avx512.c, which define `vec` and its
 * operations and then include this once.
 *
 * Each byte of the source is loaded once: the register that is hashed is the
 * register that is stored, so the result belongs to the bytes that were
 * written even when the source changes meanwhile. Stores are non-temporal: the
 * destination is not first read from memory, which is what makes copying and
 * hashing together cheaper than memcpy alone.
 */
#ifndef ONECOPY_BASE_HASH_COPY_X86_H
#define ONECOPY_BASE_HASH_COPY_X86_H

#include "base/hash_isa.h"

#ifdef VEC_PER_STRIPE

#define VEC_BYTES     (HASH_STRIPE / VEC_PER_STRIPE)
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* The hardware's prefetcher stops at a 4 KiB page, so the lines of the next
 * page are asked for a page ahead into L2, and fetched from there into L1. */
#define AHEAD_L1 1024
#define AHEAD_L2 4096

/* The compiler may load plain memory as often as it likes, and does so rather
 * than spill a register, or read the source where the text reads its copy.
 * After this a value has no known origin: it must be kept. */
#define KEEP_VEC(v)    __asm__("" : "+" VEC_CONSTRAINT(v))
#define KEEP_MEMORY(p) __asm__ volatile("" : : "r"(p) : "memory")

enum x86_store { STORE_CACHED, STORE_STREAM };

/* One stripe; `s` is its number in the block. */
static ALWAYS_INLINE void x86_stripe(vec *acc, uint8_t *dst, const uint8_t *src,
				     const uint8_t *secret, enum x86_store how)
{
	__builtin_prefetch(src + AHEAD_L2, 0, 2);
	__builtin_prefetch(src + AHEAD_L1, 0, 3);
	for (unsigned v = 0; v < VEC_PER_STRIPE; v++) {
		vec data = vec_load(src + v * VEC_BYTES);

		KEEP_VEC(data);
		if (how == STORE_STREAM)
			vec_stream(dst + v * VEC_BYTES, data);
		else
			vec_store(dst + v * VEC_BYTES, data);
		acc[v] =
			vec_mix(acc[v], data, vec_load(secret + v * VEC_BYTES));
	}
}

/* n whole blocks. STORE_STREAM wants dst aligned to VEC_BYTES. */
static ALWAYS_INLINE void x86_blocks(struct hash_acc *a, uint8_t *dst,
				     const uint8_t *src, size_t n,
				     enum x86_store how)
{
	const uint8_t *last = a->secret + HASH_SECRET_BYTES - HASH_STRIPE;
	vec acc[VEC_PER_STRIPE];

	for (unsigned v = 0; v < VEC_PER_STRIPE; v++)
		acc[v] = vec_load(a->lane + 8 / VEC_PER_STRIPE * v);
	for (size_t b = 0; b < n; b++) {
#pragma GCC unroll 16
		for (unsigned s = 0; s < HASH_BLOCK_STRIPES; s++)
			x86_stripe(acc, dst + s * HASH_STRIPE,
				   src + s * HASH_STRIPE, a->secret + 8 * s,
				   how);
		for (unsigned v = 0; v < VEC_PER_STRIPE; v++)
			acc[v] = vec_scramble(acc[v],
					      vec_load(last + v * VEC_BYTES));
		src += HASH_BLOCK;
		dst += HASH_BLOCK;
	}
	for (unsigned v = 0; v < VEC_PER_STRIPE; v++)
		vec_store(a->lane + 8 / VEC_PER_STRIPE * v, acc[v]);
}

static void x86_blocks_aligned(struct hash_acc *a, uint8_t *dst,
			       const uint8_t *src, size_t n)
{
	x86_blocks(a, dst, src, n, STORE_STREAM);
}

/* A line of dst that is `skew` bytes past a line of src: each block goes by
 * way of `room`, behind the 64 bytes that went before it, and the lines of dst
 * are cut out of there:
 *
 *	room	| carry 64 | block 1024            |
 *		      | line 0 | line 1 | ... 15 | -> next carry
 *		      ^ skew
 */
static void x86_blocks_skewed(struct hash_acc *a, uint8_t *dst,
			      const uint8_t *src, size_t n)
{
	_Alignas(64) uint8_t room[HASH_STRIPE + HASH_BLOCK];
	size_t skew = -(uintptr_t)dst & (HASH_STRIPE - 1);

	for (size_t b = 0; b < n; b++) {
		/* of the line cut at 0; wraps in the first block, which has
     * nothing to cut there */
		size_t line = b * HASH_BLOCK + skew - HASH_STRIPE;

		x86_blocks(a, room + HASH_STRIPE, src + b * HASH_BLOCK, 1,
			   STORE_CACHED);
		if (b == 0)
			memcpy(dst, room + HASH_STRIPE, skew);
		for (unsigned at = b ? 0 : HASH_STRIPE; at < HASH_BLOCK;
		     at += VEC_BYTES)
			vec_stream(dst + (line + at),
				   vec_load(room + skew + at));
		memcpy(room, room + HASH_BLOCK, HASH_STRIPE);
	}
	memcpy(dst + n * HASH_BLOCK + skew - HASH_STRIPE, room + skew,
	       HASH_STRIPE - skew);
}

static uint64_t x86_payload(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

/* The last block (1..1024 bytes) and the 64 bytes before it are hashed and
 * stored from `room`. */
static uint64_t x86_copy_long(uint8_t *dst, const uint8_t *src, size_t len,
			      uint64_t seed)
{
	_Alignas(64) uint8_t room[HASH_STRIPE + HASH_BLOCK];
	size_t blocks = (len - 1) / HASH_BLOCK;
	size_t done = (blocks - 1) * HASH_BLOCK;
	size_t tail = len - blocks * HASH_BLOCK;
	struct hash_acc a;

	hash_acc_init(&a);
	XXH3_generateSecret_fromSeed(a.secret, seed);
	if (((uintptr_t)dst & (HASH_STRIPE - 1)) == 0)
		x86_blocks_aligned(&a, dst, src, blocks - 1);
	else
		x86_blocks_skewed(&a, dst, src, blocks - 1);
	/* The block before the last is stored twice over: its end is needed. */
	x86_blocks(&a, room, src + done, 1, STORE_CACHED);
	memcpy(dst + done, room, HASH_BLOCK);
	memcpy(room, room + HASH_BLOCK - HASH_STRIPE, HASH_STRIPE);
	memcpy(room + HASH_STRIPE, src + done + HASH_BLOCK, tail);
	KEEP_MEMORY(room);
	memcpy(dst + done + HASH_BLOCK, room + HASH_STRIPE, tail);
	_mm_sfence();
	return hash_acc_finish(&a, room + HASH_STRIPE, tail, len);
}

static uint64_t x86_copy(void *dst, const void *src, size_t len, uint64_t seed)
{
	if (len >= HASH_COPY_SMALL)
		return x86_copy_long(dst, src, len, seed);
	memcpy(dst, src, len);
	KEEP_MEMORY(dst);
	return x86_payload(dst, len, seed);
}

static void x86_stream_add(void *state, const void *data, size_t len)
{
	XXH3_64bits_update(state, data, len);
}

#endif
#endif

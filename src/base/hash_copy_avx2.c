/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing and fused copying with AVX2 (built with -mavx2; without it the table
 * is empty). */
#include "base/hash_isa.h"

#if defined(__AVX2__) && defined(__x86_64__)
#include <immintrin.h>
#define XXH_INLINE_ALL
#define XXH_PREFETCH_DIST 1024
#include <xxhash.h>

#define VEC_NAME       "avx2"
#define VEC_PER_STRIPE 2
#define VEC_CONSTRAINT "x"
typedef __m256i vec;

#define vec_load(p)	 _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define vec_store(p, v)	 _mm256_storeu_si256((__m256i *)(void *)(p), (v))
#define vec_stream(p, v) _mm256_stream_si256((__m256i *)(void *)(p), (v))

static inline vec vec_mix(vec acc, vec data, vec secret)
{
	vec key = _mm256_xor_si256(data, secret);
	vec high = _mm256_srli_epi64(key, 32);
	vec swapped = _mm256_shuffle_epi32(data, _MM_SHUFFLE(1, 0, 3, 2));

	acc = _mm256_add_epi64(acc, swapped);
	return _mm256_add_epi64(acc, _mm256_mul_epu32(key, high));
}

static inline vec vec_scramble(vec acc, vec secret)
{
	vec prime = _mm256_set1_epi32((int)HASH_P32_1);
	vec key = _mm256_xor_si256(acc, _mm256_srli_epi64(acc, 47));
	vec low, high;

	key = _mm256_xor_si256(key, secret);
	low = _mm256_mul_epu32(key, prime);
	high = _mm256_mul_epu32(_mm256_srli_epi64(key, 32), prime);
	return _mm256_add_epi64(low, _mm256_slli_epi64(high, 32));
}

#include "base/hash_copy_x86.h"

const struct hash_ops hash_ops_avx2 = {
	.name = VEC_NAME,
	.payload = x86_payload,
	.copy = x86_copy,
	.stream_add = x86_stream_add,
};
#else
const struct hash_ops hash_ops_avx2 = { .name = NULL };
#endif

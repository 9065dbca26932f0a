/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing and fused copying with AVX-512 (built with -mavx512f -mavx512bw
 * -mavx512dq -mavx512vl; without them the table is empty). */
#include "base/hash_isa.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__x86_64__)
#include <immintrin.h>
#define XXH_INLINE_ALL
#define XXH_PREFETCH_DIST 1024
#include <xxhash.h>

#define VEC_NAME       "avx512"
#define VEC_PER_STRIPE 1
#define VEC_CONSTRAINT "v"
typedef __m512i vec;

#define vec_load(p)	 _mm512_loadu_si512((const void *)(p))
#define vec_store(p, v)	 _mm512_storeu_si512((void *)(p), (v))
#define vec_stream(p, v) _mm512_stream_si512((__m512i *)(void *)(p), (v))

static inline vec vec_mix(vec acc, vec data, vec secret)
{
	vec key = _mm512_xor_si512(data, secret);
	vec high = _mm512_srli_epi64(key, 32);
	vec swapped = _mm512_shuffle_epi32(data, _MM_PERM_BADC);

	acc = _mm512_add_epi64(acc, swapped);
	return _mm512_add_epi64(acc, _mm512_mul_epu32(key, high));
}

static inline vec vec_scramble(vec acc, vec secret)
{
	vec prime = _mm512_set1_epi32((int)HASH_P32_1);
	vec key = _mm512_ternarylogic_epi64(acc, _mm512_srli_epi64(acc, 47),
					    secret, 0x96);
	vec low = _mm512_mul_epu32(key, prime);
	vec high = _mm512_mul_epu32(_mm512_srli_epi64(key, 32), prime);

	return _mm512_add_epi64(low, _mm512_slli_epi64(high, 32));
}

#include "base/hash_copy_x86.h"

const struct hash_ops hash_ops_avx512 = {
	.name = VEC_NAME,
	.payload = x86_payload,
	.copy = x86_copy,
	.stream_add = x86_stream_add,
};
#else
const struct hash_ops hash_ops_avx512 = { .name = NULL };
#endif

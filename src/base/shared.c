/* SPDX-License-Identifier: Apache-2.0 */
#include "base/shared.h"

#ifdef ONECOPY_RECORD
shared_hook shared_record_hook;
void (*shared_fence_hook)(void);
#endif

extern _Atomic(uint64_t) shared_tsan_fence_word;
_Atomic(uint64_t) shared_tsan_fence_word;

void shared_store_words(shared_u64 *dst, const uint64_t *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		shared_store64(&dst[i], src[i]);
}

void shared_load_words(uint64_t *dst, const shared_u64 *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = shared_load64(&src[i]);
}

void shared_store_bytes(shared_u64 *dst, size_t cap, const void *src,
			size_t len)
{
	const unsigned char *bytes = src;

	if (len > cap)
		len = cap;
	for (size_t at = 0; at < cap; at += 8) {
		uint64_t word = 0;

		if (at < len)
			memcpy(&word, bytes + at, MIN(len - at, (size_t)8));
		shared_store64(&dst[at / 8], word);
	}
}

void shared_load_bytes(void *dst, size_t cap, const shared_u64 *src)
{
	unsigned char *bytes = dst;

	for (size_t at = 0; at < cap; at += 8) {
		uint64_t word = shared_load64(&src[at / 8]);

		memcpy(bytes + at, &word, MIN(cap - at, (size_t)8));
	}
}

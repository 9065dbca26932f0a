/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choice of the instruction set, the portable table, and SHA-256.
 *
 * The table is chosen at the first call and never changes; threads that race
 * there choose the same one.
 */
#include "base/hash.h"
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#define XXH_STATIC_LINKING_ONLY /* XXH3_state_t's size */
#include "base/fault.h"
#include "base/hash_isa.h"
#include <xxhash.h>

#define PORTABLE_CHUNK 4096 /* stays in L1 between the copy and the hash */

static uint64_t portable_payload(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

/* The hash is that of dst, so it belongs to what was written. */
static uint64_t portable_copy(void *dst, const void *src, size_t len,
			      uint64_t seed)
{
	const uint8_t *from = src;
	uint8_t *to = dst;
	XXH3_state_t state;

	XXH3_INITSTATE(&state);
	XXH3_64bits_reset_withSeed(&state, seed);
	for (size_t at = 0; at < len; at += PORTABLE_CHUNK) {
		size_t n = MIN(len - at, (size_t)PORTABLE_CHUNK);

		memcpy(to + at, from + at, n);
		/* So that the hash is not read from the source after all. */
		__asm__ volatile("" : : "r"(to) : "memory");
		XXH3_64bits_update(&state, to + at, n);
	}
	return XXH3_64bits_digest(&state);
}

static void portable_stream_add(void *state, const void *data, size_t len)
{
	XXH3_64bits_update(state, data, len);
}

const struct hash_ops hash_ops_portable = {
	.name = "portable",
	.payload = portable_payload,
	.copy = portable_copy,
	.stream_add = portable_stream_add,
};

static const struct hash_ops *choose(void)
{
#ifdef __x86_64__
	__builtin_cpu_init();
	if (hash_ops_avx512.name && __builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl"))
		return &hash_ops_avx512;
	if (hash_ops_avx2.name && __builtin_cpu_supports("avx2"))
		return &hash_ops_avx2;
#endif
	return &hash_ops_portable;
}

const struct hash_ops *hash_ops_get(void)
{
	static _Atomic(const struct hash_ops *) chosen;
	const struct hash_ops *ops =
		atomic_load_explicit(&chosen, memory_order_relaxed);

	if (likely(ops != NULL))
		return ops;
	ops = choose();
	/* Relaxed: the tables are constants, there is nothing to publish. */
	atomic_store_explicit(&chosen, ops, memory_order_relaxed);
	return ops;
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

void hash_name(const void *name, size_t len, uint64_t ret[2])
{
	XXH128_hash_t h = XXH3_128bits(name, len);

	ret[0] = h.low64;
	ret[1] = h.high64;
}

uint64_t hash_part_seed(const uint8_t key[HASH_KEY_BYTES], uint16_t group,
			uint16_t rank)
{
	uint8_t text[HASH_KEY_BYTES + 4];

	memcpy(text, key, HASH_KEY_BYTES);
	text[HASH_KEY_BYTES] = (uint8_t)group;
	text[HASH_KEY_BYTES + 1] = (uint8_t)(group >> 8);
	text[HASH_KEY_BYTES + 2] = (uint8_t)rank;
	text[HASH_KEY_BYTES + 3] = (uint8_t)(rank >> 8);
	return XXH3_64bits(text, sizeof(text));
}

uint64_t hash_payload(const void *data, size_t len, uint64_t seed)
{
	return hash_ops_get()->payload(data, len, seed);
}

uint64_t hash_copy(void *dst, const void *src, size_t len, uint64_t seed)
{
	return hash_ops_get()->copy(dst, src, len, seed);
}

struct hash_stream {
	XXH3_state_t state;
};

int hash_stream_create(uint64_t seed, struct hash_stream **ret_stream)
{
	struct hash_stream *s;

	/* The state wants 64 bytes of alignment, more than mem_alloc gives. */
	if (fault_point(FAULT_ALLOC))
		return -ENOMEM;
	s = aligned_alloc(_Alignof(struct hash_stream), sizeof(*s));
	if (!s)
		return -ENOMEM;
	hash_stream_reset(s, seed);
	*ret_stream = s;
	return 0;
}

void hash_stream_reset(struct hash_stream *s, uint64_t seed)
{
	XXH3_INITSTATE(&s->state);
	XXH3_64bits_reset_withSeed(&s->state, seed);
}

void hash_stream_add(struct hash_stream *s, const void *data, size_t len)
{
	hash_ops_get()->stream_add(&s->state, data, len);
}

uint64_t hash_stream_value(const struct hash_stream *s)
{
	return XXH3_64bits_digest(&s->state);
}

void hash_stream_destroy(struct hash_stream *s)
{
	free(s);
}

uint64_t hash_slices(const struct slices *data, size_t len, uint64_t seed)
{
	struct hash_stream s;
	uint64_t run;

	if (likely(!data->bytes))
		return hash_payload(data->base, len, seed);
	hash_stream_reset(&s, seed);
	for (uint64_t at = 0; at < len; at += run) {
		const uint8_t *p = slices_at(data, at, len - at, &run);

		hash_stream_add(&s, p, run);
	}
	return hash_stream_value(&s);
}

/* Small enough that what was copied is still near when it is hashed. */
#define COPY_STEP (16ull << 10)

uint64_t hash_slices_copy(const struct slices *to, const struct slices *from,
			  size_t len, uint64_t seed)
{
	struct hash_stream s;
	uint64_t run;

	if (likely(!to->bytes && !from->bytes))
		return hash_copy(to->base, from->base, len, seed);
	hash_stream_reset(&s, seed);
	for (uint64_t at = 0; at < len; at += run) {
		const uint8_t *f =
			slices_at(from, at, MIN(len - at, COPY_STEP), &run);
		uint8_t *t = slices_at(to, at, run, &run);

		/* what was written is hashed: `from` may change meanwhile */
		memcpy(t, f, run);
		hash_stream_add(&s, t, run);
	}
	return hash_stream_value(&s);
}

/* Fetched once: a lookup in libcrypto's providers costs more than the hash of
 * a block's tokens. A failed fetch is tried again by the next call. The digest
 * lives as long as the process. */
static EVP_MD *sha256_digest(void)
{
	static _Atomic(EVP_MD *) cached;
	EVP_MD *md = atomic_load_explicit(&cached, memory_order_acquire);
	EVP_MD *none = NULL;

	if (likely(md != NULL))
		return md;
	md = EVP_MD_fetch(NULL, "SHA256", NULL);
	/* Release: pairs with the acquire above, in sha256_digest(): the
	 * digest's contents. */
	if (md && !atomic_compare_exchange_strong_explicit(
			  &cached, &none, md, memory_order_acq_rel,
			  memory_order_acquire)) {
		EVP_MD_free(md);
		md = none;
	}
	return md;
}

/* One context to a thread, because creating one allocates; it goes with its
 * thread. */
static pthread_key_t context_key;
static pthread_once_t context_once = PTHREAD_ONCE_INIT;
static bool context_keyed;

static void context_free(void *ctx)
{
	EVP_MD_CTX_free(ctx);
}

static void context_make_key(void)
{
	context_keyed = pthread_key_create(&context_key, context_free) == 0;
}

static EVP_MD_CTX *sha256_context(void)
{
	EVP_MD_CTX *ctx;

	pthread_once(&context_once, context_make_key);
	if (!context_keyed)
		return NULL;
	ctx = pthread_getspecific(context_key);
	if (ctx)
		return ctx;
	ctx = EVP_MD_CTX_new();
	if (ctx && pthread_setspecific(context_key, ctx) != 0) {
		EVP_MD_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

int hash_sha256(const struct hash_piece *pieces, size_t n, uint8_t ret[32])
{
	EVP_MD *md;
	EVP_MD_CTX *ctx;

	if (fault_point(FAULT_ALLOC))
		return -ENOMEM;
	md = sha256_digest();
	ctx = md ? sha256_context() : NULL;
	if (!ctx || EVP_DigestInit_ex2(ctx, md, NULL) != 1)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (EVP_DigestUpdate(ctx, pieces[i].data, pieces[i].len) != 1)
			return -ENOMEM;
	return EVP_DigestFinal_ex(ctx, ret, NULL) == 1 ? 0 : -ENOMEM;
}

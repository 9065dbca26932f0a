/* SPDX-License-Identifier: Apache-2.0 */
/* Every table against the xxHash library's own functions. */
#include "base/fault.h"
#include "base/hash.h"
#include "base/hash_isa.h"
#include "base/rng.h"
#include "base/text.h"
#include "tests/test.h"
#include <pthread.h>
#include <stdatomic.h>
#include <xxhash.h>

#define GUARD 0xa5

static const struct hash_ops *usable(unsigned which)
{
	switch (which) {
	case 0:
		return &hash_ops_portable;
#ifdef __x86_64__
	case 1:
		return __builtin_cpu_supports("avx2") && hash_ops_avx2.name
			       ? &hash_ops_avx2
			       : NULL;
	case 2:
		/* The best table there is: avx512 where it can run. */
		return hash_ops_get();
#endif
	default:
		return NULL;
	}
}

static uint8_t *noise(size_t len, uint64_t seed)
{
	struct rng r = { seed };
	uint8_t *p = malloc(len);

	CHECK(p);
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)rng_next(&r);
	return p;
}

struct areas {
	uint8_t *src, *dst;
	size_t room;
};

static void copy_case(const struct hash_ops *ops, struct areas *a, size_t from,
		      size_t to, size_t len, uint64_t seed)
{
	uint64_t want = XXH3_64bits_withSeed(a->src + from, len, seed);
	uint64_t got;

	CHECK(to + len + 64 <= a->room && from + len <= a->room);
	memset(a->dst, GUARD, to + len + 64);
	got = ops->copy(a->dst + to, a->src + from, len, seed);
	if (got != want)
		FAIL("%s: copy of %zu from +%zu to +%zu", ops->name, len, from,
		     to);
	CHECK_MEM(a->dst + to, a->src + from, len);
	for (size_t i = 0; i < to; i++)
		CHECK_INT(a->dst[i], ==, GUARD);
	for (size_t i = 0; i < 64; i++)
		CHECK_INT(a->dst[to + len + i], ==, GUARD);
	CHECK(ops->payload(a->src + from, len, seed) == want);
}

static struct areas areas_make(size_t room)
{
	struct areas a = { .room = room };

	a.src = noise(room, 1);
	a.dst = aligned_alloc(4096, ALIGN_UP(room, 4096));
	CHECK(a.dst);
	return a;
}

static void areas_free(struct areas *a)
{
	free(a->src);
	free(a->dst);
}

TEST(all_short_lengths)
{
	struct areas a = areas_make(16384);

	for (unsigned w = 0; w < 3; w++)
		for (size_t len = 0; usable(w) && len <= 4096; len++)
			copy_case(usable(w), &a, len % 64, len % 67, len,
				  len % 3 ? len * 0x9e3779b97f4a7c15ull : 0);
	areas_free(&a);
}

TEST(all_alignments)
{
	struct areas a = areas_make(32768);

	for (unsigned w = 0; w < 3; w++)
		for (size_t to = 0; usable(w) && to < 64; to++)
			for (size_t from = 0; from < 64; from += 1 + to % 5)
				copy_case(usable(w), &a, from, to,
					  8192 + 37 * to + from, to);
	areas_free(&a);
}

TEST(lengths_around_the_edges)
{
	struct areas a = areas_make(32768);

	for (unsigned w = 0; w < 3; w++)
		for (size_t len = HASH_COPY_SMALL - 70;
		     usable(w) && len < HASH_COPY_SMALL + 2200; len += 3)
			copy_case(usable(w), &a, 0, len & 1, len, ~0ull);
	for (unsigned w = 0; w < 3; w++)
		for (size_t n = 8; usable(w) && n < 20; n++)
			for (size_t d = 0; d < 3; d++)
				copy_case(usable(w), &a, 0, 0, 1024 * n + d - 1,
					  n);
	areas_free(&a);
}

TEST(long_odd_lengths)
{
	struct areas a = areas_make(5u << 20);
	struct rng r = { 7 };

	for (unsigned w = 0; w < 3; w++)
		for (unsigned i = 0; usable(w) && i < 24; i++)
			copy_case(usable(w), &a, rng_below(&r, 4096),
				  rng_below(&r, 4096),
				  (4u << 20) - rng_below(&r, 3u << 20),
				  rng_next(&r));
	areas_free(&a);
}

struct changing {
	_Atomic int stop;
	_Atomic(uint64_t) *words;
	size_t n;
};

__attribute__((unused)) static void *change(void *arg)
{
	struct changing *c = arg;

	for (uint64_t v = 1; !c->stop; v++)
		for (size_t i = 0; i < c->n; i += 3)
			atomic_store_explicit(&c->words[i], v,
					      memory_order_relaxed);
	return NULL;
}

#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif

TEST(result_is_that_of_the_written_bytes)
{
#ifdef TSAN
	SKIP("the race here is on purpose");
#else
	struct areas a = areas_make(300000);
	struct changing c = { .words = (void *)a.src, .n = a.room / 8 };
	pthread_t other;

	CHECK_OK(pthread_create(&other, NULL, change, &c));
	for (unsigned w = 0; w < 3; w++)
		for (unsigned i = 0; usable(w) && i < 300; i++) {
			size_t len = i % 2 ? 262144 : 20011 + 61 * i;
			uint64_t got =
				usable(w)->copy(a.dst + i % 3, a.src, len, i);

			if (got != XXH3_64bits_withSeed(a.dst + i % 3, len, i))
				FAIL("%s: copy of %zu to +%u", usable(w)->name,
				     len, i % 3);
		}
	c.stop = 1;
	CHECK_OK(pthread_join(other, NULL));
	areas_free(&a);
#endif
}

TEST(stream_takes_pieces)
{
	uint8_t *data = noise(100000, 3);
	struct rng r = { 5 };
	struct hash_stream *s;

	CHECK_OK(hash_stream_create(1, &s));
	for (unsigned round = 0; round < 200; round++) {
		size_t len = rng_below(&r, 100000), at = 0;

		hash_stream_reset(s, round);
		while (at < len) {
			size_t n = 1 + rng_below(&r, 5000);

			n = MIN(n, len - at);
			hash_stream_add(s, data + at, n);
			at += n;
		}
		CHECK(hash_stream_value(s) == hash_payload(data, len, round));
	}
	hash_stream_destroy(s);
	hash_stream_destroy(NULL);
	free(data);
}

TEST(goldens)
{
	/* XXH3_64bits of nothing, from xxHash's own sanity test. */
	CHECK(hash_bytes(NULL, 0, 0) == 0x2d06800538d394c2ull);
	CHECK(hash_bytes("abc", 3, 0) == XXH3_64bits("abc", 3));
	CHECK(hash_bytes("abc", 3, 9) == XXH3_64bits_withSeed("abc", 3, 9));
}

TEST(part_seed_is_of_36_bytes)
{
	uint8_t text[36];

	for (unsigned i = 0; i < 32; i++)
		text[i] = (uint8_t)(i + 1);
	memcpy(text + 32, "\x02\x01\x04\x03", 4);
	CHECK(hash_part_seed(text, 0x0102, 0x0304) == XXH3_64bits(text, 36));
}

static void check_abc(void)
{
	struct hash_piece pieces[] = { { "a", 1 }, { "", 0 }, { "bc", 2 } };
	uint8_t out[32];
	char hex[65];

	CHECK_OK(hash_sha256(pieces, 3, out));
	text_hex(out, 32, hex);
	/* FIPS 180-2, appendix B.1 */
	CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223"
		       "b00361a396177a9cb410ff61f20015ad");
}

static void *many_abc(void *arg)
{
	for (unsigned i = 0; i < 500; i++)
		check_abc();
	return arg;
}

TEST(sha256_from_many_threads)
{
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		CHECK_OK(pthread_create(&threads[i], NULL, many_abc, NULL));
	for (unsigned i = 0; i < 4; i++)
		CHECK_OK(pthread_join(threads[i], NULL));
}

TEST(faults)
{
	struct hash_stream *s = NULL;
	uint8_t out[32];

	fault_arm(FAULT_ALL, 1, false);
	CHECK_INT(hash_stream_create(0, &s), ==, -ENOMEM);
	CHECK(!s);
	fault_arm(FAULT_ALL, 1, false);
	CHECK_INT(hash_sha256(NULL, 0, out), ==, -ENOMEM);
	CHECK_OK(hash_sha256(NULL, 0, out));
}

/* What lies in slices hashes as if it did not, and is copied to its place. */
TEST(slices)
{
	enum { SLICE = 4096, N = 5, STRIDE = 3 * SLICE };
	static uint8_t flat[N * SLICE], apart[N * STRIDE], to[N * STRIDE];
	struct slices whole = slices_whole(flat), run;
	struct slices a = { apart, SLICE, STRIDE };
	struct slices b = { to, SLICE, 2 * SLICE };
	uint64_t n;

	for (size_t i = 0; i < sizeof(flat); i++) {
		flat[i] = (uint8_t)(i * 2654435761u >> 13);
		apart[i / SLICE * STRIDE + i % SLICE] = flat[i];
	}
	for (size_t len = 0; len <= sizeof(flat); len += 1111) {
		uint64_t want = hash_payload(flat, len, 7);

		CHECK(hash_slices(&a, len, 7) == want);
		CHECK(hash_slices(&whole, len, 7) == want);
		memset(to, 0, sizeof(to));
		CHECK(hash_slices_copy(&b, &a, len, 7) == want);
		CHECK(hash_slices(&b, len, 7) == want);
		memset(to, 0, sizeof(to));
		run = slices_whole(to);
		CHECK(hash_slices_copy(&run, &a, len, 7) == want);
		CHECK_MEM(to, flat, len);
	}
	memset(to, 0, sizeof(to));
	slices_copy(&b, &whole, sizeof(flat));
	CHECK_MEM(to + 2 * SLICE * 3, flat + SLICE * 3, SLICE);
	/* a whole slice in between is nobody's */
	for (size_t i = 0; i < SLICE; i++)
		CHECK_INT(to[SLICE + i], ==, 0);
	CHECK(slices_at(&a, SLICE + 10, 100000, &n) == apart + STRIDE + 10);
	CHECK_INT(n, ==, SLICE - 10);
}

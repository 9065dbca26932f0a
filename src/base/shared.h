/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store primitive: every store to memory that another process reads or
 * recovers goes through shared_store*(), and nothing else writes there.
 *
 * Why: a process can die between any two stores. In a build with
 * ONECOPY_RECORD each store first calls shared_record_hook, so that a test can
 * log the stores of an operation, cut the operation after any of them (by
 * leaving the hook with longjmp or _exit) and run recovery on what is left.
 * Without it the calls are plain atomic stores.
 *
 * Payload bytes of frames are not metadata and are written by ordinary or
 * non-temporal stores (base/hash.h); the store that publishes them is ordered
 * after them by its caller.
 *
 * Loads are shared_load*(). Orders are spelled in the name; the comment at
 * each use names its partner.
 */
#ifndef ONECOPY_BASE_SHARED_H
#define ONECOPY_BASE_SHARED_H

#include <stdatomic.h>
#include "base/compiler.h"

typedef _Atomic(uint64_t) shared_u64;
typedef _Atomic(uint32_t) shared_u32;

_Static_assert(sizeof(shared_u64) == 8, "shared words are plain words");
_Static_assert(sizeof(shared_u32) == 4, "shared words are plain words");

#ifdef ONECOPY_RECORD
enum shared_order { SHARED_RELAXED, SHARED_RELEASE };
/* Called before each store with the address, the width in bytes (4 or 8), the
 * value and the order. NULL: no recording. One thread at a time. */
typedef void (*shared_hook)(void *addr, unsigned width, uint64_t value,
			    enum shared_order order);
extern shared_hook shared_record_hook;
/* Called at each shared_fence() and shared_fence_stores(). */
extern void (*shared_fence_hook)(void);
#define SHARED_RECORD_(p, v, o)                                     \
	do {                                                        \
		if (shared_record_hook)                             \
			shared_record_hook((void *)(uintptr_t)(p),  \
					   sizeof(*(p)), (v), (o)); \
	} while (0)
#else
#define SHARED_RECORD_(p, v, o) \
	do {                    \
	} while (0)
#endif

static inline void shared_store64(shared_u64 *p, uint64_t v)
{
	SHARED_RECORD_(p, v, SHARED_RELAXED);
	atomic_store_explicit(p, v, memory_order_relaxed);
}

static inline void shared_store64_release(shared_u64 *p, uint64_t v)
{
	SHARED_RECORD_(p, v, SHARED_RELEASE);
	atomic_store_explicit(p, v, memory_order_release);
}

static inline void shared_store32(shared_u32 *p, uint32_t v)
{
	SHARED_RECORD_(p, v, SHARED_RELAXED);
	atomic_store_explicit(p, v, memory_order_relaxed);
}

static inline void shared_store32_release(shared_u32 *p, uint32_t v)
{
	SHARED_RECORD_(p, v, SHARED_RELEASE);
	atomic_store_explicit(p, v, memory_order_release);
}

/* Compare and swap, for words with more than one writer. True: it was `from` and
 * is `to` now, and what was stored before is seen by who loads it (acquire). */
static inline bool shared_swap64(shared_u64 *p, uint64_t from, uint64_t to)
{
#ifdef ONECOPY_RECORD /* one thread then: what would fail stores nothing */
	if (atomic_load_explicit(p, memory_order_acquire) != from)
		return false;
	SHARED_RECORD_(p, to, SHARED_RELEASE);
#endif
	return atomic_compare_exchange_strong_explicit(
		p, &from, to, memory_order_acq_rel, memory_order_acquire);
}

static inline uint64_t shared_load64(const shared_u64 *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static inline uint64_t shared_load64_acquire(const shared_u64 *p)
{
	return atomic_load_explicit(p, memory_order_acquire);
}

static inline uint32_t shared_load32(const shared_u32 *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static inline uint32_t shared_load32_acquire(const shared_u32 *p)
{
	return atomic_load_explicit(p, memory_order_acquire);
}

/* Full fence: orders earlier stores before later loads (store-load), which is
 * what pins and sleep flags need. Costs about 20 to 30 ns on x86. */
static inline void shared_fence(void)
{
#ifdef ONECOPY_RECORD
	if (shared_fence_hook)
		shared_fence_hook();
#endif
#ifdef ONECOPY_TSAN
	/* TSan does not model fences: a read-modify-write of a shared word
	 * gives it the same order. */
	extern _Atomic(uint64_t) shared_tsan_fence_word;
	atomic_fetch_add_explicit(&shared_tsan_fence_word, 1,
				  memory_order_seq_cst);
#endif
	atomic_thread_fence(memory_order_seq_cst);
}

/* Orders earlier stores before later stores, for what may be stored only once
 * an earlier word is there. No instruction on x86. */
static inline void shared_fence_stores(void)
{
#ifdef ONECOPY_RECORD
	if (shared_fence_hook)
		shared_fence_hook();
#endif
#ifndef ONECOPY_TSAN /* which does not model fences, and does not need it */
	atomic_thread_fence(memory_order_release);
#endif
}

/* Store and load arrays of words and byte strings (padded with zeros to whole
 * words), relaxed. n is in words, len in bytes, cap in bytes (a multiple of
 * 8). */
void shared_store_words(shared_u64 *dst, const uint64_t *src, size_t n);
void shared_load_words(uint64_t *dst, const shared_u64 *src, size_t n);
void shared_store_bytes(shared_u64 *dst, size_t cap, const void *src,
			size_t len);
void shared_load_bytes(void *dst, size_t cap, const shared_u64 *src);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small macros that every layer uses. No functions with state.
 */
#ifndef ONECOPY_BASE_COMPILER_H
#define ONECOPY_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_LEN(a)   (sizeof(a) / sizeof((a)[0]))
#define ALIGN_UP(x, a) (((x) + ((a)-1)) & ~((uint64_t)(a)-1))
#define DIV_UP(x, y)   (((x) + (y)-1) / (y))
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))

#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define CACHE_LINE 64
#define PAGE_BYTES 4096ull /* smallest page; frames are aligned to it */

#define NOINLINE	  __attribute__((noinline))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define CLEANUP(fn)	  __attribute__((cleanup(fn)))

/* Is the thread sanitizer compiled in? gcc and clang say so in two ways. */
#if defined(__SANITIZE_THREAD__)
#define ONECOPY_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ONECOPY_TSAN 1
#endif
#endif

/* For the body of a short spin. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

static inline uint64_t round_up_pow2(uint64_t v)
{
	return v <= 1 ? 1 : 1ull << (64 - __builtin_clzll(v - 1));
}

static inline uint64_t round_down_pow2(uint64_t v)
{
	return v == 0 ? 0 : 1ull << (63 - __builtin_clzll(v));
}

#endif

/*
 * The test harness: include it, write TEST(name) { ... }, and that is a test.
 *
 * Each test runs in a process of its own (and a process group of its own) with
 * its output caught, so that a crash, a sanitizer's report, a leak or a hang is
 * charged to the test that caused it and to no other. The runner prints TAP, and
 * what a failed test wrote as "# " lines. When a test has ended, in whatever way,
 * every process it left behind is killed.
 *
 *	test_x [-l] [NAME]	-l lists the tests; NAME runs that one alone
 *
 * NOTE leaves a line that is printed after the test's result.
 *
 * Exit status: 0 all passed, 1 some failed, 77 all skipped; 0 in each case under
 * ONECOPY_TEST_HARNESS=meson, which wants to judge by the TAP alone.
 * ONECOPY_TEST_TIMEOUT (60) seconds times ONECOPY_TEST_TIME_SCALE (1) bound each
 * test. A test may fork: a CHECK that fails in a child fails the test as well.
 * Helpers in other files include this header too; what is shared is weak.
 */
#ifndef ONECOPY_TESTS_TEST_H
#define ONECOPY_TESTS_TEST_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct test_case {
	const char *name;
	void (*run)(void);
	int line;
};

/* What a test's processes tell the runner; a shared mapping. */
struct test_shared {
	int failed;
	char skipped[256];
	char noted[256];
};

#define TEST_WEAK __attribute__((weak))
#define TEST_ENTRY                                   \
	__attribute__((used, section("test_cases"))) \
	const struct test_case *const
#define TEST_STATIC static __attribute__((unused))

TEST_WEAK struct test_shared *test_shared;

#define TEST(name_)                                                   \
	static void test_##name_(void);                               \
	static const struct test_case test_case_##name_ = {           \
		.name = #name_, .run = test_##name_, .line = __LINE__ \
	};                                                            \
	static TEST_ENTRY test_entry_##name_ = &test_case_##name_;    \
	static void test_##name_(void)

__attribute__((format(printf, 3, 4), noreturn)) TEST_STATIC void
test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	fflush(NULL);
	test_shared->failed = 1;
	_exit(1);
}

#define SKIP(...)                                                            \
	do {                                                                 \
		snprintf(test_shared->skipped, sizeof(test_shared->skipped), \
			 __VA_ARGS__);                                       \
		fflush(NULL);                                                \
		_exit(77);                                                   \
	} while (0)

/* A figure of a test that passes: one line, a TAP comment. */
#define NOTE(...) \
	snprintf(test_shared->noted, sizeof(test_shared->noted), __VA_ARGS__)

#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)

#define CHECK(cond_)                               \
	do {                                       \
		if (!(cond_))                      \
			FAIL("CHECK(%s)", #cond_); \
	} while (0)

/* Integers of any kind: both sides are widened until no value is lost. */
#define CHECK_INT(a_, op_, b_)                                         \
	do {                                                           \
		__int128 x_ = (a_), y_ = (b_);                         \
		if (!(x_ op_ y_))                                      \
			FAIL("CHECK_INT(%s %s %s): %lld (0x%llx) and " \
			     "%lld (0x%llx)",                          \
			     #a_, #op_, #b_, (long long)x_,            \
			     (unsigned long long)x_, (long long)y_,    \
			     (unsigned long long)y_);                  \
	} while (0)

/* A call that answers 0, or a negative errno. */
#define CHECK_OK(expr_)                                                     \
	do {                                                                \
		long r_ = (long)(expr_);                                    \
		if (r_ != 0)                                                \
			FAIL("CHECK_OK(%s): %ld (%s)", #expr_, r_,          \
			     r_ < 0 ? strerror((int)-r_) : "not an error"); \
	} while (0)

#define CHECK_STR(a_, b_)                                                      \
	do {                                                                   \
		const char *x_ = (a_), *y_ = (b_);                             \
		if (!x_ || !y_ || strcmp(x_, y_) != 0)                         \
			FAIL("CHECK_STR(%s, %s): \"%s\" and \"%s\"", #a_, #b_, \
			     x_ ? x_ : "(null)", y_ ? y_ : "(null)");          \
	} while (0)

#define CHECK_MEM(a_, b_, size_)                                         \
	do {                                                             \
		const unsigned char *x_ = (const void *)(a_);            \
		const unsigned char *y_ = (const void *)(b_);            \
		size_t n_ = (size_), i_ = 0;                             \
		while (i_ < n_ && x_[i_] == y_[i_])                      \
			i_++;                                            \
		if (i_ < n_)                                             \
			FAIL("CHECK_MEM(%s, %s, %zu): byte %zu is %02x " \
			     "and %02x",                                 \
			     #a_, #b_, n_, i_, x_[i_], y_[i_]);          \
	} while (0)

#include "tests/test_run.h"

#endif

/*
 * Planted faults, one a test, between tests that pass; built without
 * optimization. Not a test by itself: tests/selftest/test_selftest.c runs this
 * program and holds each fault against the test that it was planted in.
 */
#include "tests/test.h"

#include <pthread.h>

TEST(first_passes)
{
	CHECK_INT(UINT64_MAX, >, -1);
	CHECK_MEM("abc", "abd", 2);
}

TEST(check_fails)
{
	int small = 2;

	CHECK_INT(small, >, 3);
}

TEST(call_fails)
{
	CHECK_OK(-EINVAL);
}

TEST(string_differs)
{
	CHECK_STR("one", "two");
}

TEST(memory_differs)
{
	CHECK_MEM("abc", "abd", 3);
}

TEST(passes_between)
{
}

TEST(crashes)
{
	raise(SIGSEGV);
}

TEST(leaves)
{
	_exit(3);
}

TEST(skips)
{
	SKIP("no %s here", "device");
}

TEST(child_fails)
{
	if (fork() == 0)
		FAIL("in the child");
	wait(NULL);
}

TEST(hangs)
{
	for (;;)
		pause();
}

/* Leaves a process that has left the group, and one that has not. */
TEST(strays)
{
	if (fork() == 0) {
		if (fork() == 0)
			setsid();
		for (;;)
			pause();
	}
}

static void *planted_forget(void)
{
	return malloc(100);
}

TEST(leaks)
{
	void *lost = planted_forget();

	CHECK(lost);
	lost = NULL;
	(void)lost;
}

TEST(overruns)
{
	char *heap = malloc(10);
	size_t past = 10;

	heap[past] = 1;
	free(heap);
}

static int planted_counter;

static void *planted_race(void *unused)
{
	for (int i = 0; i < 1000; i++)
		planted_counter++;
	return unused;
}

TEST(races)
{
	pthread_t thread;

	CHECK_OK(-pthread_create(&thread, NULL, planted_race, NULL));
	planted_race(NULL);
	pthread_join(thread, NULL);
}

TEST(last_passes)
{
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that fails: pages behind the end of a file are the nearest that needs no
 * privilege. */
#include "base/guard.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/test.h"

struct area {
	unsigned char *base;
	size_t bytes;
	uint64_t sum;
};

/* Four pages, of which the last two are not there. */
static struct area area_make(void)
{
	int fd = memfd_create("guard", MFD_CLOEXEC);
	struct area a = { .bytes = 4 * PAGE_BYTES };

	CHECK(fd >= 0);
	CHECK_OK(ftruncate(fd, 2 * PAGE_BYTES));
	a.base = mmap(NULL, a.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(a.base != MAP_FAILED);
	close(fd);
	return a;
}

static void add_up(void *ctx)
{
	struct area *a = ctx;

	for (size_t i = 0; i < a->bytes; i++)
		a->sum += atomic_load_explicit(
			(_Atomic(unsigned char) *)(a->base + i),
			memory_order_relaxed);
}

TEST(a_failure_is_an_error)
{
	struct guard_fault fault = { 0 };
	struct area a = area_make(), half = a;

	guard_install();
	half.bytes /= 2;
	CHECK_OK(guard_run(add_up, &half, &fault));
	CHECK_INT(fault.bytes, ==, 0);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_INT(guard_run(add_up, &a, &fault), ==, -EIO);
		CHECK_INT(fault.at, ==, (uintptr_t)a.base + 2 * PAGE_BYTES);
		CHECK_INT(fault.bytes, ==, PAGE_BYTES);
	}
	CHECK_INT(guard_run(add_up, &a, NULL), ==, -EIO);
	CHECK_OK(guard_run(add_up, &half, NULL));
}

static void fail_inside(void *ctx)
{
	struct area half = *(struct area *)ctx;

	half.bytes /= 2;
	CHECK_OK(guard_run(add_up, &half, NULL));
	CHECK_INT(guard_run(add_up, ctx, NULL), ==, -EIO);
	add_up(&half);
}

static void fail_after(void *ctx)
{
	fail_inside(ctx);
	add_up(ctx);
}

/* The innermost is left, and the next one stands as before. */
TEST(guards_nest)
{
	struct area a = area_make();

	guard_install();
	CHECK_OK(guard_run(fail_inside, &a, NULL));
	CHECK_INT(guard_run(fail_after, &a, NULL), ==, -EIO);
	CHECK_INT(guard_run(add_up, &a, NULL), ==, -EIO);
}

static void *run_thread(void *ctx)
{
	for (unsigned i = 0; i < 50; i++)
		CHECK_INT(guard_run(add_up, ctx, NULL), ==, -EIO);
	return NULL;
}

TEST(threads_have_guards_of_their_own)
{
	struct area a = area_make(), b = a;
	pthread_t t;

	guard_install();
	CHECK_OK(pthread_create(&t, NULL, run_thread, &a));
	run_thread(&b);
	CHECK_OK(pthread_join(t, NULL));
}

/* Outside of a guard it is the end, as it was. */
TEST(without_a_guard_it_ends_the_process)
{
	struct area a = area_make();
	int status;
	pid_t child;

	signal(SIGBUS, SIG_DFL); /* a sanitizer has its own */
	guard_install();
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		add_up(&a);
		_exit(0);
	}
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void last_words(int sig)
{
	(void)sig;
	_exit(7);
}

TEST(without_a_guard_it_is_what_it_was)
{
	struct area a = area_make();
	int status;
	pid_t child;

	child = fork();
	CHECK(child >= 0);
	if (!child) {
		signal(SIGBUS, last_words);
		guard_install();
		guard_install(); /* the one before is not its own */
		if (guard_run(add_up, &a, NULL) == -EIO)
			add_up(&a);
		_exit(0);
	}
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

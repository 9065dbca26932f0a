/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BOTH(name) { ... }: one test over each backend, with its loop `l`.
 */
#ifndef ONECOPY_TESTS_LOOP_BOTH_H
#define ONECOPY_TESTS_LOOP_BOTH_H

#include "tests/test.h"
#include "loop/loop.h"

TEST_STATIC struct loop *loop_of(enum loop_backend backend)
{
	struct loop *l = NULL;
	int err = loop_create(backend, &l);

	if (err == -ENOSYS && backend == LOOP_URING)
		SKIP("io_uring is refused here");
	CHECK_OK(err);
	return l;
}

#define BOTH(name_)                                         \
	static void case_##name_(struct loop *l);           \
	static void over_##name_(enum loop_backend backend) \
	{                                                   \
		struct loop *l = loop_of(backend);          \
                                                            \
		case_##name_(l);                            \
		loop_destroy(l);                            \
	}                                                   \
	TEST(name_##_epoll)                                 \
	{                                                   \
		over_##name_(LOOP_EPOLL);                   \
	}                                                   \
	TEST(name_##_uring)                                 \
	{                                                   \
		over_##name_(LOOP_URING);                   \
	}                                                   \
	static void case_##name_(struct loop *l)

#endif

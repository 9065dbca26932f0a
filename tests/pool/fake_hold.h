/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake keeper: keeps duplicates of descriptors in memory, as the keeper's
 * process does, and hands them to the next server. Like the keeper it takes
 * two descriptors under one tag, and a drop takes the younger one.
 */
#ifndef ONECOPY_TESTS_POOL_FAKE_HOLD_H
#define ONECOPY_TESTS_POOL_FAKE_HOLD_H

#include <dirent.h>
#include <fcntl.h>
#include "base/fault.h"
#include "pool/hold.h"
#include "tests/test.h"

struct fake_hold {
	struct hold_given *held;
	size_t n, cap;
};

TEST_STATIC int fake_hold_hold(void *ctx, const struct hold_tag *tag, int fd)
{
	struct fake_hold *k = ctx;

	if (fault_point(FAULT_IO))
		return -EIO;
	if (k->n == k->cap) {
		k->cap = k->cap ? 2 * k->cap : 64;
		k->held = realloc(k->held, k->cap * sizeof(*k->held));
		CHECK(k->held);
	}
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	CHECK(fd >= 0);
	k->held[k->n++] = (struct hold_given){ *tag, fd };
	return 0;
}

TEST_STATIC void fake_hold_drop(void *ctx, const struct hold_tag *tag)
{
	struct fake_hold *k = ctx;

	for (size_t i = k->n; i-- > 0;) {
		if (memcmp(&k->held[i].tag, tag, sizeof(*tag)))
			continue;
		close(k->held[i].fd);
		memmove(&k->held[i], &k->held[i + 1],
			(--k->n - i) * sizeof(*k->held));
		return;
	}
}

TEST_STATIC struct hold_ops fake_hold_ops(struct fake_hold *k)
{
	return (struct hold_ops){ fake_hold_hold, fake_hold_drop, k };
}

/* What the next server is given. */
TEST_STATIC struct hold_set fake_hold_give(const struct fake_hold *k)
{
	struct hold_set s = { 0 };

	for (size_t i = 0; i < k->n; i++) {
		int fd = fcntl(k->held[i].fd, F_DUPFD_CLOEXEC, 3);

		CHECK(fd >= 0);
		CHECK_OK(hold_set_add(&s, &k->held[i].tag, fd));
	}
	return s;
}

/* The descriptor held under a tag; -1: none. Exactly one, else it fails. */
TEST_STATIC int fake_hold_find(const struct fake_hold *k, enum hold_kind kind,
			       uint32_t pool, uint64_t id)
{
	int fd = -1;

	for (size_t i = 0; i < k->n; i++) {
		const struct hold_tag *t = &k->held[i].tag;

		if (t->kind != (uint32_t)kind || t->pool != pool || t->id != id)
			continue;
		CHECK_INT(fd, ==, -1);
		fd = k->held[i].fd;
	}
	return fd;
}

TEST_STATIC size_t fake_hold_count(const struct fake_hold *k,
				   enum hold_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < k->n; i++)
		n += k->held[i].tag.kind == (uint32_t)kind;
	return n;
}

TEST_STATIC void fake_hold_fini(struct fake_hold *k)
{
	for (size_t i = 0; i < k->n; i++)
		close(k->held[i].fd);
	free(k->held);
	*k = (struct fake_hold){ 0 };
}

/* Open descriptors of this process. */
TEST_STATIC size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif

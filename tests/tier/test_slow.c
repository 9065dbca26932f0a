/* SPDX-License-Identifier: Apache-2.0 */
/* The device that is slowed on purpose, over a fake one that is done at once. */
#include "tier/slow.h"
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "tests/test.h"

#define BYTES 65536u

/* 100 us, 655.36 MB/s: 100 us and 100 us for a part. */
struct quick {
	struct tier tier; /* first */
	struct tier_move *move[8];
	unsigned n, cancelled, written;
	bool closed;
	int fd, result;
};

static struct quick quick;

static int quick_read(struct tier *t, struct tier_move *m)
{
	(void)t;
	m->block.extent = (uint64_t)BYTES << 32;
	quick.move[quick.n++] = m;
	return 0;
}

static int quick_write(struct tier *t, struct tier_move *m)
{
	(void)t;
	(void)m;
	quick.written++;
	return 0;
}

static void quick_ready(struct tier *t, uint64_t now_ns)
{
	(void)t;
	(void)now_ns;
	while (quick.n) {
		struct tier_move *m = quick.move[--quick.n];

		m->done(m, quick.result);
	}
}

static uint64_t quick_tick(struct tier *t, uint64_t now_ns)
{
	quick_ready(t, now_ns);
	return NS_PER_S;
}

static void quick_cancel(struct tier *t, struct tier_move *m)
{
	(void)t;
	(void)m;
	quick.cancelled++;
	quick.result = -ECANCELED;
}

static void quick_stat(const struct tier *t, struct tier_stat *ret_stat)
{
	(void)t;
	*ret_stat = (struct tier_stat){ .state = TIER_UP,
					.why = "",
					.io = "fake",
					.read = { 100000, 655360000 } };
}

static bool quick_find(const struct tier *t, const struct tier_id *id,
		       struct tier_found *ret_found)
{
	(void)t;
	*ret_found = (struct tier_found){ .block.extent = (uint64_t)BYTES << 32,
					  .expected_ns = 200000 };
	return id->part == 0;
}

static int quick_fd(const struct tier *t)
{
	(void)t;
	return quick.fd;
}

static int quick_stop(struct tier *t, uint64_t deadline_ns)
{
	quick_ready(t, deadline_ns);
	return 0;
}

static void quick_close(struct tier *t)
{
	(void)t;
	quick.closed = true;
	close(quick.fd);
}

static const struct tier_ops quick_ops = {
	.name = "fake",
	.kind = 4,
	.read = quick_read,
	.write = quick_write,
	.ready = quick_ready,
	.tick = quick_tick,
	.cancel = quick_cancel,
	.stat = quick_stat,
	.find = quick_find,
	.fd = quick_fd,
	.stop = quick_stop,
	.close = quick_close,
};

static struct tier *begin(double factor)
{
	struct tier *t = &quick.tier;

	quick = (struct quick){ .tier.ops = &quick_ops,
				.fd = eventfd(0, EFD_CLOEXEC) };
	CHECK_OK(tier_slow(factor, &t));
	CHECK(t != &quick.tier);
	CHECK_STR(t->ops->name, "fake");
	return t;
}

struct reading {
	struct tier_move m;
	unsigned told;
	int result;
};

static void told(struct tier_move *m, int result)
{
	struct reading *r = container_of(m, struct reading, m);

	r->told++;
	r->result = result;
}

static void begin_read(struct tier *t, struct reading *r)
{
	*r = (struct reading){ .m.done = told };
	CHECK_OK(t->ops->read(t, &r->m));
	CHECK_INT(r->m.block.extent >> 32, ==, BYTES);
}

/* By its descriptor alone. */
static void await(struct tier *t, const struct reading *r)
{
	struct pollfd p = { .fd = t->ops->fd(t), .events = POLLIN };

	while (!r->told) {
		CHECK_INT(poll(&p, 1, 20000), ==, 1);
		t->ops->ready(t, clock_ns());
	}
}

TEST(fake_reads_take_their_time_one_after_the_other)
{
	struct tier *t = begin(100);
	struct tier_stat st;
	struct reading a, b;
	uint64_t start;

	t->ops->stat(t, &st);
	CHECK_INT(st.read.latency_ns, ==, 10000000);
	CHECK_INT(st.read.bytes_per_s, ==, 6553600);
	start = clock_ns();
	begin_read(t, &a);
	begin_read(t, &b);
	t->ops->tick(t, clock_ns()); /* the fake is done: it is not told yet */
	CHECK_INT(quick.n, ==, 0);
	await(t, &a);
	/* its bytes, then the latency */
	CHECK_INT(clock_ns() - start, >=, 20000000);
	await(t, &b);
	CHECK_INT(clock_ns() - start, >=, 30000000);
	CHECK_INT(a.told + b.told, ==, 2);
	CHECK_INT(a.result | b.result, ==, 0);
	t->ops->close(t);
	CHECK(quick.closed);
}

TEST(fake_what_is_queued_is_expected)
{
	struct tier *t = begin(100);
	struct tier_id id = { .part = 0 };
	struct tier_found found;
	struct reading r[4];

	CHECK(t->ops->find(t, &id, &found));
	CHECK_INT(found.expected_ns, ==, 20000000);
	for (int i = 0; i < 4; i++)
		begin_read(t, &r[i]);
	CHECK(t->ops->find(t, &id, &found));
	CHECK_INT(found.expected_ns, >=, 20000000);
	CHECK_INT(found.expected_ns, <=, 60000000);
	id.part = 1;
	CHECK(!t->ops->find(t, &id, &found));
	/* a stop waits for nothing that is pretended */
	CHECK_OK(t->ops->stop(t, clock_ns()));
	for (int i = 0; i < 4; i++)
		CHECK_INT(r[i].told, ==, 1);
	t->ops->close(t);
}

TEST(fake_failures_and_cancels_come_at_once)
{
	struct tier *t = begin(100000);
	struct reading a, b;

	begin_read(t, &a);
	quick.result = -EBADMSG;
	t->ops->tick(t, clock_ns());
	CHECK_INT(a.told, ==, 1);
	CHECK_INT(a.result, ==, -EBADMSG);
	quick.result = 0;
	begin_read(t, &a);
	begin_read(t, &b);
	t->ops->cancel(t, &a.m);
	CHECK_INT(quick.cancelled, ==, 1);
	t->ops->tick(t, clock_ns());
	CHECK_INT(a.result, ==, -ECANCELED);
	/* the same when the fake had done it */
	quick.result = 0;
	begin_read(t, &a);
	t->ops->tick(t, clock_ns());
	CHECK_INT(a.told, ==, 0);
	t->ops->cancel(t, &a.m);
	t->ops->tick(t, clock_ns());
	CHECK_INT(a.told, ==, 1);
	CHECK_INT(a.result, ==, -ECANCELED);
	CHECK_INT(quick.cancelled, ==, 1);
	/* writes are not slowed, and their cancels are the fake's */
	CHECK_OK(t->ops->write(t, &b.m));
	CHECK_INT(quick.written, ==, 1);
	t->ops->close(t);
}

TEST(factors_that_cannot_be)
{
	static const double bad[] = { 0, 0.99, -1, 1e9 };
	struct tier *t = &quick.tier;

	quick = (struct quick){ .tier.ops = &quick_ops, .fd = -1 };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK_INT(tier_slow(bad[i], &t), ==, -EINVAL);
	CHECK(t == &quick.tier);
	CHECK_INT(tier_slow(2, &t), <, 0); /* no descriptor to wait for */
	CHECK(t == &quick.tier);
	fault_arm(FAULT_ALLOC, 1, false);
	CHECK_INT(tier_slow(2, &t), ==, -ENOMEM);
	fault_arm(0, 0, false);
}

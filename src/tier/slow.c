/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/slow.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"

/* Until the tier has measured itself. */
#define LATENCY_NS  100000u
#define BYTES_PER_S (1ull << 30)

struct slow_move {
	struct tier_move tm; /* the tier's */
	struct slow *slow;
	struct tier_move *outer; /* who asked for it */
	struct slow_move *next;	 /* of slow.move */
	uint64_t due_ns;
	int result;
	bool ended; /* below */
};

struct slow {
	struct tier tier; /* first */
	struct tier *inner;
	struct tier_ops ops;
	double factor;
	struct tier_price price; /* slowed */
	uint64_t busy_ns;
	struct slow_move *move; /* by when they were begun */
	struct slow_move **last;
	int poll, timer;
};

static struct slow *slow_of(const struct tier *t)
{
	return (struct slow *)(uintptr_t)t;
}

static uint64_t scaled(double factor, uint64_t value, uint64_t otherwise)
{
	return (uint64_t)(factor * (double)(value ? value : otherwise));
}

static void learn(struct slow *s)
{
	struct tier_stat st;

	s->inner->ops->stat(s->inner, &st);
	s->price.latency_ns = scaled(s->factor, st.read.latency_ns, LATENCY_NS);
	s->price.bytes_per_s = MAX(
		scaled(1 / s->factor, st.read.bytes_per_s, BYTES_PER_S), 1ull);
}

static uint64_t span(const struct slow *s, uint64_t bytes)
{
	return (uint64_t)((double)bytes * 1e9 / (double)s->price.bytes_per_s);
}

/* For the first that is to be told. A move that is told late is one of a slow
 * device. */
static void arm(const struct slow *s)
{
	struct itimerspec at = { 0 };
	uint64_t due = UINT64_MAX;

	for (const struct slow_move *m = s->move; m; m = m->next)
		if (m->ended)
			due = MIN(due, m->due_ns);
	if (due != UINT64_MAX) {
		due = MAX(due, 1ull);
		at.it_value.tv_sec = (time_t)(due / NS_PER_S);
		at.it_value.tv_nsec = (long)(due % NS_PER_S);
	}
	timerfd_settime(s->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void unlink_move(struct slow *s, struct slow_move *m)
{
	struct slow_move **link = &s->move;

	while (*link != m)
		link = &(*link)->next;
	*link = m->next;
	if (s->last == &m->next)
		s->last = link;
}

static void tell(struct slow *s, uint64_t now_ns)
{
	struct slow_move *m = s->move;

	while (m) {
		struct tier_move *outer = m->outer;
		int result = m->result;

		if (!m->ended || m->due_ns > now_ns) {
			m = m->next;
			continue;
		}
		unlink_move(s, m);
		free(m);
		outer->done(outer, result);
		m = s->move; /* it may have begun or ended others */
	}
	arm(s);
}

static void ended(struct tier_move *tm, int result)
{
	struct slow_move *m = container_of(tm, struct slow_move, tm);

	m->ended = true;
	m->result = result;
	if (result)
		m->due_ns = 0;
}

static int slow_read(struct tier *t, struct tier_move *outer)
{
	struct slow *s = slow_of(t);
	struct slow_move *m = mem_alloc(sizeof(*m));
	uint64_t now = clock_ns();
	int r;

	if (!m)
		return -EAGAIN;
	m->tm = *outer;
	m->tm.done = ended;
	m->slow = s;
	m->outer = outer;
	r = s->inner->ops->read(s->inner, &m->tm);
	if (r) {
		free(m);
		return r;
	}
	outer->block = m->tm.block;
	s->busy_ns = MAX(now, s->busy_ns) + span(s, m->tm.block.extent >> 32);
	m->due_ns = s->busy_ns + s->price.latency_ns;
	*s->last = m;
	s->last = &m->next;
	return 0;
}

static void slow_cancel(struct tier *t, struct tier_move *outer)
{
	struct slow *s = slow_of(t);
	struct slow_move *m = s->move;

	while (m && m->outer != outer)
		m = m->next;
	if (!m) {
		s->inner->ops->cancel(s->inner, outer); /* a write */
		return;
	}
	m->due_ns = 0;
	if (m->ended) /* on the drive that it stands for it has not */
		m->result = -ECANCELED;
	else
		s->inner->ops->cancel(s->inner, &m->tm);
	arm(s);
}

static bool slow_find(const struct tier *t, const struct tier_id *id,
		      struct tier_found *ret_found)
{
	const struct slow *s = slow_of(t);
	uint64_t now = clock_ns();

	if (!s->inner->ops->find(s->inner, id, ret_found))
		return false;
	ret_found->expected_ns = (s->busy_ns > now ? s->busy_ns - now : 0) +
				 s->price.latency_ns +
				 span(s, ret_found->block.extent >> 32);
	return true;
}

static void slow_ready(struct tier *t, uint64_t now_ns)
{
	struct slow *s = slow_of(t);
	uint64_t rings;

	if (read(s->timer, &rings, sizeof(rings)) < 0)
		rings = 0; /* the tier's own descriptor it was */
	s->inner->ops->ready(s->inner, now_ns);
	tell(s, now_ns);
}

static uint64_t slow_tick(struct tier *t, uint64_t now_ns)
{
	struct slow *s = slow_of(t);
	uint64_t again = s->inner->ops->tick(s->inner, now_ns);

	learn(s);
	tell(s, now_ns);
	return again;
}

static void slow_stat(const struct tier *t, struct tier_stat *ret_stat)
{
	const struct slow *s = slow_of(t);

	s->inner->ops->stat(s->inner, ret_stat);
	ret_stat->io = "slowed for a test";
	ret_stat->read = s->price;
}

static int slow_fd(const struct tier *t)
{
	return slow_of(t)->poll;
}

static int slow_stop(struct tier *t, uint64_t deadline_ns)
{
	struct slow *s = slow_of(t);
	int r = s->inner->ops->stop(s->inner, deadline_ns);

	for (struct slow_move *m = s->move; m; m = m->next)
		m->due_ns = 0;
	tell(s, clock_ns());
	return r;
}

static void slow_close(struct tier *t)
{
	struct slow *s = slow_of(t);

	if (!t)
		return;
	s->inner->ops->close(s->inner);
	while (s->move) {
		struct slow_move *m = s->move;

		s->move = m->next;
		free(m);
	}
	fd_close(s->poll);
	fd_close(s->timer);
	free(s);
}

/* ---- what is the tier's own ------------------------------------------------- */

#define INNER(t) slow_of(t)->inner

static int slow_space(struct tier *t, const struct tier_space *space,
		      uint32_t *ret_space)
{
	return INNER(t)->ops->space(INNER(t), space, ret_space);
}

static int slow_write(struct tier *t, struct tier_move *m)
{
	return INNER(t)->ops->write(INNER(t), m);
}

static int slow_remove(struct tier *t, const struct tier_id *id)
{
	return INNER(t)->ops->remove(INNER(t), id);
}

static void slow_use(struct tier *t, const struct tier_id *id)
{
	INNER(t)->ops->use(INNER(t), id);
}

static void slow_memory_add(struct tier *t, void *base, uint64_t bytes)
{
	INNER(t)->ops->memory_add(INNER(t), base, bytes);
}

static void slow_memory_drop(struct tier *t, void *base, uint64_t bytes)
{
	INNER(t)->ops->memory_drop(INNER(t), base, bytes);
}

static int slow_hold(struct tier *t, const struct tier_id *id,
		     struct tier_place *ret_place)
{
	return INNER(t)->ops->hold(INNER(t), id, ret_place);
}

static void slow_release(struct tier *t, struct tier_place *place, bool wrong)
{
	INNER(t)->ops->release(INNER(t), place, wrong);
}

static void slow_each(const struct tier *t,
		      void (*fn)(void *ctx, const struct tier_id *id,
				 const struct tier_block *block),
		      void *ctx)
{
	INNER(t)->ops->each(INNER(t), fn, ctx);
}

static void slow_check(const struct tier *t,
		       void (*problem)(void *ctx, const char *text), void *ctx)
{
	INNER(t)->ops->check(INNER(t), problem, ctx);
}

static const struct tier_ops slow_ops = {
	.stop = slow_stop,
	.close = slow_close,
	.fd = slow_fd,
	.ready = slow_ready,
	.tick = slow_tick,
	.space = slow_space,
	.find = slow_find,
	.read = slow_read,
	.write = slow_write,
	.cancel = slow_cancel,
	.remove = slow_remove,
	.use = slow_use,
	.memory_add = slow_memory_add,
	.memory_drop = slow_memory_drop,
	.hold = slow_hold,
	.release = slow_release,
	.stat = slow_stat,
	.each = slow_each,
	.check = slow_check,
};

static int watch(const struct slow *s, int fd)
{
	struct epoll_event e = { .events = EPOLLIN };

	return epoll_ctl(s->poll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

static int watch_all(struct slow *s)
{
	int r;

	s->poll = epoll_create1(EPOLL_CLOEXEC);
	s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->poll < 0 || s->timer < 0)
		return -errno;
	r = watch(s, s->timer);
	return r ? r : watch(s, s->inner->ops->fd(s->inner));
}

int tier_slow(double factor, struct tier **tier)
{
	struct slow *s;
	int r;

	if (!(factor >= 1 && factor <= SLOW_MOST))
		return -EINVAL;
	s = mem_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->inner = *tier;
	s->factor = factor;
	s->poll = s->timer = -1;
	r = watch_all(s);
	if (r) {
		fd_close(s->poll);
		fd_close(s->timer);
		free(s);
		return r;
	}
	s->ops = slow_ops;
	s->ops.name = s->inner->ops->name;
	s->ops.kind = s->inner->ops->kind;
	s->tier.ops = &s->ops;
	s->last = &s->move;
	learn(s);
	*tier = &s->tier;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member dies after any of its stores, and with one or two stores missing that
 * may be seen late (tests/order.h). At that very moment every block is read by
 * another as it was sealed, or is a miss; then a third takes over, is cut in the
 * middle of that as well, and a fourth recounts everything.
 */
#include "tests/region/rig.h"

#ifndef ONECOPY_RECORD

TEST(survives_a_cut_after_any_store)
{
	SKIP("stores are not recorded in this build");
}

#else
#include <setjmp.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/order.h"

#define FRAMES 8u
#define IDS    40u

static jmp_buf cut;
static uint64_t stores_left;
static struct order_log *cut_log;

static void count_down(void *addr, unsigned width, uint64_t value,
		       enum shared_order order)
{
	if (!stores_left--)
		longjmp(cut, 1);
	order_note(cut_log, addr, width, value, order);
}

static void count_fence(void)
{
	cut_log->fences++;
}

static void cut_begin(uint64_t stores)
{
	static struct order_log log;

	cut_log = &log;
	log.n = log.fences = 0;
	stores_left = stores;
	shared_record_hook = count_down;
	shared_fence_hook = count_fence;
}

static void cut_end(void)
{
	shared_record_hook = NULL;
	shared_fence_hook = NULL;
}

/* ---- what is cut ------------------------------------------------------------------ */

struct scene {
	struct rig g;
	struct region *a;	/* is cut */
	struct region *b;	/* reads meanwhile */
	struct region_pin held; /* b's, of block 1 */
	bool holds;
};

struct cut_case {
	const char *name;
	void (*prepare)(struct scene *s);
	void (*act)(struct scene *s);
};

static void prepare_none(struct scene *s)
{
	s->a = rig_open(&s->g);
}

static void prepare_some(struct scene *s)
{
	s->a = rig_join(&s->g, "a", 1, false);
	for (uint64_t id = 1; id <= 3; id++)
		CHECK_OK(rig_put(s->a, id, 1));
	CHECK_OK(rig_pin(s->b, 1, &s->held));
	s->holds = true;
}

static void prepare_full(struct scene *s)
{
	prepare_some(s);
	for (uint64_t id = 4; id <= FRAMES; id++)
		CHECK_OK(rig_put(s->a, id, 1));
}

/* The shard is a dead member's, with a block in each state. */
static void prepare_dead(struct scene *s)
{
	struct region_name name = rig_name(20), gone = rig_name(1);
	struct region_grant grant;
	struct region *dead;

	prepare_some(s);
	CHECK_OK(region_grant(s->a, &name, RIG_BYTES, 16, 0, &grant));
	CHECK_OK(region_grant(s->a, &(struct region_name){ .key = { 9 } }, 9, 0,
			      FRAME_GRANT_DEVICE, &grant));
	CHECK_OK(region_remove(s->a, &gone)); /* doomed: it is pinned */
	dead = s->a;
	s->a = rig_join(&s->g, "taker", 0, false);
	rig_kill(dead, s->b);
}

static void act_join(struct scene *s)
{
	struct region_join_options o = { .size = sizeof(o), .shards = 1 };

	CHECK_OK(region_join(s->a, &o));
}

/* Of a keeper, which is this process' parent. */
static void act_join_kept(struct scene *s)
{
	struct region_join_options o = { .size = sizeof(o),
					 .shards = 1,
					 .keeper = (uint64_t)getppid(),
					 .node = { 1, 2 } };

	CHECK_OK(region_join(s->a, &o));
}

static uint64_t dead_process(void)
{
	pid_t pid = fork();

	CHECK_INT(pid, >=, 0);
	if (!pid)
		_exit(0);
	CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
	return region_process((uint64_t)pid, 1);
}

/* Its server has died, with a pin and a grant. */
static void prepare_kept(struct scene *s)
{
	struct region_control *control;
	struct region_name name = rig_name(20);
	struct region_grant grant;
	struct region_pin pin;
	uint32_t member = 0;
	uint64_t inc;

	s->a = rig_open(&s->g);
	act_join_kept(s);
	CHECK_OK(region_self(s->a, &member, &inc));
	for (uint64_t id = 1; id <= 3; id++)
		CHECK_OK(rig_put(s->a, id, 1));
	CHECK_OK(rig_pin(s->a, 2, &pin));
	CHECK_OK(region_grant(s->a, &name, RIG_BYTES, 16, 0, &grant));
	region_close(s->a);
	control = rig_map(&s->g);
	shared_store64(&control->member[member].writer, dead_process());
	rig_unmap(&s->g, control);
	CHECK_OK(rig_pin(s->b, 1, &s->held));
	s->holds = true;
	s->a = rig_open(&s->g);
}

static void act_put(struct scene *s)
{
	CHECK_OK(rig_put(s->a, 30, 2));
}

static void act_remove(struct scene *s)
{
	struct region_name name = rig_name(2), pinned = rig_name(1);

	CHECK_OK(region_remove(s->a, &name));
	CHECK_OK(region_remove(s->a, &pinned));
}

static void act_pin(struct scene *s)
{
	struct region_pin pin = { .bytes = 0 };

	CHECK_OK(rig_pin(s->a, 2, &pin));
	region_unpin(s->a, &pin);
}

static void act_take(struct scene *s)
{
	CHECK_OK(region_take(s->a, 0));
}

static void act_leave(struct scene *s)
{
	CHECK_OK(region_leave(s->a));
}

static void act_tick(struct scene *s)
{
	CHECK_OK(region_tick(s->a));
}

static const struct cut_case cases[] = {
	{ "join", prepare_none, act_join },
	{ "put", prepare_some, act_put },
	{ "put_evicts", prepare_full, act_put },
	{ "remove", prepare_some, act_remove },
	{ "pin", prepare_some, act_pin },
	{ "take_over", prepare_dead, act_take },
	{ "leave", prepare_some, act_leave },
	{ "tick", prepare_some, act_tick },
	{ "join_kept", prepare_none, act_join_kept },
	{ "go_on", prepare_kept, act_join_kept },
};

/* ---- before and after --------------------------------------------------------------- */

/* At this very moment, by one who lives: rig_pin() looks at the bytes. */
static uint64_t seen_now(struct scene *s)
{
	uint64_t seen = 0;

	for (uint64_t id = 1; id < IDS; id++)
		seen |= (uint64_t)rig_has(s->b, id) << id;
	if (s->holds)
		CHECK(rig_right(1, s->held.data, s->held.bytes));
	return seen;
}

/* What was read when it died is read later: but blocks that were leaving are
 * back, and what was doomed may be read no more. */
static void check_kept(struct scene *s, uint64_t seen)
{
	for (uint64_t id = 1; id < IDS; id++)
		if (seen & 1ull << id)
			CHECK(rig_has(s->b, id));
	if (s->holds)
		CHECK(rig_right(1, s->held.data, s->held.bytes));
}

/* Who claims, and says not yet who it is, is proved dead by the lock; who says
 * so lives, as its process does. Then somebody vouches for it. */
static void bury(struct scene *s)
{
	uint32_t members = region_geometry_of(s->b)->members, self = 0;
	uint64_t inc;

	CHECK_OK(region_self(s->b, &self, &inc));
	for (uint32_t i = 0; i < members; i++) {
		struct region_member_status m;

		region_member_status(s->b, i, &m);
		if (i == self ||
		    (m.state != MEMBER_LIVE && m.state != MEMBER_JOINING))
			continue;
		if (m.known) {
			CHECK_INT(region_fence(s->b, i, 0, false), ==,
				  REGION_ALIVE);
			CHECK_OK(region_fence(s->b, i, 0, true));
		} else {
			CHECK_INT(m.state, ==, MEMBER_JOINING);
			CHECK_OK(region_fence(s->b, i, 0, false));
		}
	}
}

static void take_both(struct region *r)
{
	CHECK_OK(region_take(r, 0));
	CHECK_OK(region_take(r, 1));
}

/* Nothing is lost: all frames can be used, but for one that a device may
 * write, and the pinned one. */
static void check_room(struct scene *s, struct region *r)
{
	struct region_checked done;

	if (s->holds)
		region_unpin(s->b, &s->held);
	CHECK_OK(region_tick(r));
	region_evict(r, 2 * FRAMES);
	region_evict(r, 2 * FRAMES);
	done = rig_check(r, true);
	CHECK_INT(done.free + done.other, ==, 2 * FRAMES);
	CHECK_INT(done.entries, ==, 0);
	CHECK_INT(done.pins, ==, 0);
	for (uint64_t id = 100; id < 100 + 3 * FRAMES; id++)
		CHECK_OK(rig_put(r, id, 3));
}

static void go_on(struct scene *s, uint64_t again)
{
	static uint64_t seen; /* static: longjmp */
	static struct region *c;

	seen = seen_now(s);
	region_close(s->a); /* and the lock with it */
	bury(s);
	check_kept(s, seen);
	c = rig_join(&s->g, "c", 0, false);
	cut_begin(again);
	if (!setjmp(cut))
		take_both(c);
	cut_end();
	check_kept(s, seen);
	rig_kill(c, s->b);
	c = rig_join(&s->g, "d", 0, false);
	take_both(c);
	check_kept(s, seen);
	rig_check(c, true);
	check_room(s, c);
	region_close(c);
}

/* A store of what was there is none, so it cannot be missing: the time of a beat, where
 * the clock has gone on by a millisecond in the run that was recorded, and not in this
 * one. */
static bool is_none(const struct order_miss *miss)
{
	for (uint32_t i = 0; i < miss->k; i++)
		if (cut_log->store[miss->at[i]].old ==
		    cut_log->store[miss->at[i]].value)
			return true;
	return false;
}

/* What is done now, in the output of a test that fails, in whatever way. */
static void say_cut(const struct cut_case *t, const struct order_miss *miss,
		    uint64_t again)
{
	fprintf(stderr, "%s: cut after %u stores, missing", t->name, miss->n);
	for (uint32_t i = 0; i < miss->k; i++)
		fprintf(stderr, " %u", miss->at[i]);
	fprintf(stderr, "%s; who takes over is cut after %lld\n",
		miss->k ? "" : " none", (long long)again);
}

/* True when it ran through. */
static bool one_cut(const struct rig *g, const struct cut_case *t,
		    struct order_miss miss, uint64_t again)
{
	static struct scene s; /* static: longjmp */
	static bool was_cut;

	say_cut(t, &miss, again);
	s = (struct scene){ .g = *g };
	rig_format(g);
	s.b = rig_join(g, "b", 0, false);
	t->prepare(&s);
	cut_begin(miss.n);
	was_cut = setjmp(cut) != 0;
	if (!was_cut)
		t->act(&s);
	cut_end();
	CHECK(is_none(&miss) || order_valid(cut_log, &miss));
	order_undo(cut_log, &miss);
	go_on(&s, again);
	region_close(s.b);
	return !was_cut;
}

/* The stores of one run, for the sets of missing ones. */
static void record(const struct rig *g, const struct cut_case *t,
		   struct order_log *ret_log)
{
	struct scene s = { .g = *g };

	rig_format(g);
	s.b = rig_join(g, "b", 0, false);
	t->prepare(&s);
	cut_begin(UINT64_MAX);
	t->act(&s);
	cut_end();
	*ret_log = *cut_log;
	region_close(s.a);
	region_close(s.b);
}

static void cut_case(const struct cut_case *t)
{
	static struct order_log log;
	struct rig g = rig_create(4, 2, FRAMES);
	unsigned cuts = 0, orders = 0;

	record(&g, t, &log);
	CHECK_INT(log.n, >, 0);
	for (uint32_t n = 0; n <= log.n; n++) {
		struct order_miss miss = { .n = n };

		CHECK_INT(one_cut(&g, t, miss, n % 7 * 5), ==, n == log.n);
		cuts++;
		while (order_next(&log, &miss)) {
			one_cut(&g, t, miss, UINT64_MAX);
			orders++;
		}
	}
	NOTE("%s: %u cuts, %u other orders", t->name, cuts, orders);
	rig_destroy(&g);
}

#define CUT(name, at)                 \
	TEST(name)                    \
	{                             \
		cut_case(&cases[at]); \
	}
CUT(join_is_cut, 0)
CUT(put_is_cut, 1)
CUT(put_with_eviction_is_cut, 2)
CUT(remove_is_cut, 3)
CUT(pin_is_cut, 4)
CUT(take_over_is_cut, 5)
CUT(leave_is_cut, 6)
CUT(tick_is_cut, 7)
CUT(join_of_a_keeper_is_cut, 8)
CUT(going_on_is_cut, 9)
#endif

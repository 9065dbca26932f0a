/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anything in any order: writers, readers, removals, a drive that ends its moves
 * in another order than they began, fails some, loses some, comes and goes, and
 * servers that die. After each step everything is recounted. What must hold:
 * bytes that are found are those that were sealed, what was removed is nowhere,
 * and who waits is told once.
 */
#include <errno.h>
#include "base/fault.h"
#include "base/rng.h"
#include "tests/store/deep.h"

#define KEYS	160u
#define WAITERS 24u

struct chaos {
	struct deep d;
	struct rng r;
	bool removed[KEYS];
	struct {
		struct waiter w;
		bool used;
		uint64_t n;
	} wait[WAITERS];
	bool deaths, faults;
	uint64_t told_ok, told_miss;
};

static uint64_t pick(struct chaos *c, uint64_t n)
{
	return rng_below(&c->r, n);
}

static void put(struct chaos *c)
{
	uint64_t n = pick(c, KEYS);
	struct sim *a = c->d.a;
	int64_t r = sim_grant(a, n, PART, pick(c, 2) ? WORLD_SEC / 20 : 0);
	uint32_t slot = a->slot;

	for (unsigned i = 0; i < 40 && r == SIM_LATER; i++) {
		sim_let_go(a);
		world_tick(c->d.w, WORLD_SEC / 500);
		world_ready(c->d.w);
		r = sim_answer(a, slot);
	}
	if (r != 0)
		return; /* it exists, or there was no room */
	if (pick(c, 8) == 0) {
		sim_abandon(a, &c->d.w->last);
		return;
	}
	r = sim_seal(a, n, PART, &c->d.w->last);
	if (r == 0)
		c->removed[n] = false;
}

static void drop(struct chaos *c)
{
	uint64_t n = pick(c, KEYS);

	sim_call(c->d.a, call_of(RING_REMOVE, n, PART));
	c->removed[n] = true;
}

static void ask(struct chaos *c)
{
	unsigned i = (unsigned)pick(c, WAITERS);
	uint64_t n = pick(c, KEYS);
	int r;

	if (c->wait[i].used) {
		if (pick(c, 3) == 0) {
			move_leave(&c->wait[i].w.w);
			c->wait[i].used = c->wait[i].w.told;
		}
		return;
	}
	r = deep_up(&c->d, n, pick(c, 3) ? TIER_WAITED : TIER_AHEAD,
		    &c->wait[i].w);
	CHECK(r == 0 || r == OC_EXISTS || r == OC_MISS || r == -EAGAIN);
	CHECK_INT(c->wait[i].w.told, ==, 0);
	c->wait[i].used = r == 0;
	c->wait[i].n = n;
}

static void hear(struct chaos *c)
{
	for (unsigned i = 0; i < WAITERS; i++) {
		if (!c->wait[i].used || !c->wait[i].w.told)
			continue;
		CHECK_INT(c->wait[i].w.told, ==, 1);
		CHECK(c->wait[i].w.result == 0 ||
		      c->wait[i].w.result == OC_MISS);
		c->told_ok += c->wait[i].w.result == 0;
		c->told_miss += c->wait[i].w.result != 0;
		c->wait[i].used = false;
	}
}

static void end_some(struct chaos *c)
{
	static const int results[] = { 0, 0, 0, 0,    0,	 0,
				       0, 0, 0, -EIO, -ECANCELED };

	for (uint64_t n = pick(c, 6); n && c->d.f->n_moves; n--)
		fake_tier_end(c->d.f, (unsigned)pick(c, c->d.f->n_moves),
			      results[pick(c, ARRAY_LEN(results))]);
	world_ready(c->d.w);
}

static void the_drive(struct chaos *c)
{
	static const enum tier_state states[] = { TIER_UP,	 TIER_UP,
						  TIER_UP,	 TIER_SLOW,
						  TIER_READONLY, TIER_DOWN };
	struct fake_part *p = &c->d.f->part[pick(c, 64)];

	if (pick(c, 6) == 0)
		c->d.f->state = states[pick(c, ARRAY_LEN(states))];
	c->d.f->limit = pick(c, 4) ? 0 : 40 * PART_BYTES;
	c->d.f->most = pick(c, 3) ? 0 : 3;
	if (!p->used)
		return;
	if (pick(c, 4) == 0)
		p->data[pick(c, PART_BYTES)] ^= 1;
	else if (pick(c, 4) == 0)
		fake_tier_drop(c->d.f, p->id.key, p->id.part);
}

static void gone(void *ctx, const struct tier_id *id, bool wrong)
{
	struct chaos *c = ctx;

	store_below_gone(c->d.w->s, id, wrong);
}

static void die(struct chaos *c)
{
	for (unsigned i = 0; i < WAITERS; i++)
		c->wait[i].used = false;
	deep_restart(&c->d, pick(c, 2));
	if (pick(c, 2))
		c->d.f->state = TIER_UP;
}

static void verify(struct chaos *c)
{
	/* what it is told when it has found what it has */
	bool unheard = c->d.f->state == TIER_COMING ||
		       store_below_stat(c->d.w->s)->state == TIER_COMING;

	world_check(c->d.w);
	for (uint64_t n = 0; n < KEYS; n++) {
		bool there = world_has(c->d.w, n, PART); /* and right */
		bool moves = unheard;

		for (unsigned i = 0; i < c->d.f->n_moves; i++)
			moves |= c->d.f->move[i].m->id.key[1] == n;
		if (!c->removed[n])
			continue;
		if (there)
			FAIL("block %llu is back", (unsigned long long)n);
		if (!moves && deep_below(&c->d, n))
			FAIL("block %llu is still below",
			     (unsigned long long)n);
	}
}

static void step(struct chaos *c)
{
	switch (pick(c, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		put(c);
		break;
	case 4:
		drop(c);
		break;
	case 5:
	case 6:
		ask(c);
		break;
	case 7:
	case 8:
		end_some(c);
		break;
	case 9:
		the_drive(c);
		break;
	case 10:
		if (c->deaths && pick(c, 12) == 0)
			die(c);
		break;
	default:
		sim_let_go(c->d.a);
		world_tick(c->d.w, pick(c, WORLD_SEC / 20));
		world_ready(c->d.w);
	}
	hear(c);
}

/* How many of those that waited got what they waited for. */
static uint64_t run(uint64_t seed, bool deaths, unsigned steps)
{
	struct chaos c = { .r = { seed }, .deaths = deaths };

	memset(c.removed, 1, sizeof(c.removed)); /* never there */
	deep_begin(&c.d, 4);
	c.d.f->options.gone = gone;
	c.d.f->options.ctx = &c;
	for (unsigned i = 0; i < steps; i++) {
		step(&c);
		verify(&c);
	}
	/* and when it is quiet, everybody has been told */
	c.d.f->state = TIER_UP;
	c.d.f->limit = 0;
	c.d.f->most = 0;
	deep_rest(&c.d);
	deep_rest(&c.d);
	hear(&c);
	for (unsigned i = 0; i < WAITERS; i++)
		CHECK(!c.wait[i].used);
	CHECK_INT(world_check(c.d.w).granted, ==, 0);
	verify(&c);
	deep_end(&c.d);
	return c.told_ok;
}

TEST(anything_in_any_order)
{
	uint64_t brought = 0;

	for (uint64_t seed = 1; seed <= 5; seed++)
		brought += run(seed, false, 1000);
	CHECK_INT(brought, >, 20);
}

TEST(and_servers_that_die)
{
	uint64_t brought = 0;

	for (uint64_t seed = 11; seed <= 16; seed++)
		brought += run(seed, true, 1000);
	CHECK_INT(brought, >, 10);
}

/* One fault; false: it was never reached. */
static bool walk(uint64_t seed, uint64_t nth)
{
	struct chaos c = { .r = { seed } };
	bool fired;

	memset(c.removed, 1, sizeof(c.removed));
	deep_begin(&c.d, 4);
	c.d.f->options.gone = gone;
	c.d.f->options.ctx = &c;
	deep_put(&c.d, 0, 100);
	memset(c.removed, 0, 100);
	fault_arm(FAULT_ALL, nth, nth % 5 == 0);
	for (unsigned i = 0; i < 250; i++)
		step(&c);
	fired = fault_fired();
	fault_arm(0, 0, false);
	c.d.f->state = TIER_UP;
	deep_rest(&c.d);
	hear(&c);
	for (unsigned i = 0; i < WAITERS; i++)
		CHECK(!c.wait[i].used);
	verify(&c);
	deep_end(&c.d);
	return fired;
}

/* Each allocation, mapping and descriptor fails once. */
TEST(whatever_fails_nothing_is_lost_or_wrong)
{
	uint64_t faults = 0;

	for (uint64_t seed = 70; seed < 78; seed++)
		for (uint64_t nth = 1; walk(seed, nth); nth++)
			faults++;
	CHECK_INT(faults, >, 60);
}

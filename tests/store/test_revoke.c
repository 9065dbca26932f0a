/* SPDX-License-Identifier: Apache-2.0 */
/* Asking clients for what they map: which blocks, whose, and what becomes of
 * those that answer, answer with nothing, or do not answer. */
#include <errno.h>
#include "base/fault.h"
#include "base/rng.h"
#include "coherence/revoke.h"
#include "store/revoke.h"
#include "tests/store/deep.h"

#define FRAMES 16u
#define MAPPED (PIN_MAPPED | PIN_LOSABLE)

struct rig {
	struct world *w;
	struct sim *a, *b; /* who writes, and who maps */
};

/* One slab, full of a's blocks 1 to FRAMES. */
static struct rig rig_begin(void)
{
	const struct world_config config = { .limit = DEEP_SLAB,
					     .slab_bytes = DEEP_SLAB };
	struct rig r = { .w = world_create(&config) };

	r.a = sim_add(r.w, 0);
	r.b = sim_add(r.w, 1);
	for (uint64_t n = 1; n <= FRAMES; n++)
		sim_put(r.a, n, PART);
	return r;
}

static void rig_end(struct rig *r)
{
	world_check(r->w);
	world_destroy(r->w);
}

/* A pin in slot n for block n. */
static void hold_as(struct sim *c, uint64_t n, uint64_t flags)
{
	shared_u64 *slot = &c->cs->slots[n];

	CHECK(sim_pin(c, (uint32_t)n, n, PART));
	shared_store64(slot, shared_load64(slot) | flags);
}

static void hold_all(struct sim *c, uint64_t flags)
{
	for (uint64_t n = 1; n <= FRAMES; n++)
		hold_as(c, n, flags);
}

static uint64_t asked(const struct sim *c)
{
	return shared_load64(&c->cs->header.asked);
}

static uint64_t wants(const struct sim *c)
{
	const shared_u64 *wanted = client_wanted(c->cs, SIM_PINS, SIM_OVER);
	uint64_t n = 0;

	for (uint32_t i = 0; i < SIM_PINS + SIM_OVER; i++)
		n += revoke_wanted(wanted, i) != 0;
	return n;
}

/* As an honest client, that gives back up to `most` of them. How many. */
static unsigned answer_with(struct sim *c, unsigned most)
{
	const shared_u64 *wanted = client_wanted(c->cs, SIM_PINS, SIM_OVER);
	struct client_header *h = &c->cs->header;
	unsigned n = 0;

	for (uint32_t i = 0; i < SIM_PINS + SIM_OVER && n < most; i++) {
		if (!revoke_meant(wanted, i, shared_load64(&c->cs->slots[i])))
			continue;
		pin_clear(&c->cs->slots[i]);
		n++;
	}
	shared_store64_release(&h->answered, shared_load64_acquire(&h->asked));
	return n;
}

static uint64_t count(const struct rig *r, enum pool_counter c)
{
	return pool_counter(r->w->p, c);
}

static uint64_t resident(struct rig *r)
{
	uint64_t n = 0;

	for (uint64_t i = 1; i <= FRAMES; i++)
		n += world_has(r->w, i, PART);
	return n;
}

static void tick(struct rig *r)
{
	world_tick(r->w, WORLD_SEC / 500);
}

/* A grant that waits for room; its slot. */
static uint32_t want_room(struct rig *r, uint64_t n)
{
	CHECK_INT(sim_grant(r->a, n, PART, 3600 * WORLD_SEC), ==, SIM_LATER);
	tick(r);
	return r->a->slot;
}

TEST(mapped_blocks_are_asked_for_and_leave)
{
	struct rig r = rig_begin();
	uint32_t slot;
	unsigned given;

	hold_all(r.b, MAPPED);
	slot = want_room(&r, 100);
	CHECK_INT(asked(r.b), ==, 1);
	CHECK_INT(asked(r.a), ==, 0);
	CHECK_INT(wants(r.b), >=, 1);
	CHECK_INT(wants(r.b), <=, FRAMES / 2);
	/* one question until there is an answer */
	for (unsigned i = 0; i < 300; i++)
		tick(&r);
	CHECK_INT(asked(r.b), ==, 1);
	CHECK_INT(sim_answer(r.a, slot), ==, SIM_LATER);
	CHECK_INT(resident(&r), ==, FRAMES);
	given = answer_with(r.b, UINT32_MAX);
	store_settle(r.w->s, r.w->now);
	CHECK_OK(sim_answer(r.a, slot));
	CHECK_INT(wants(r.b), ==, 0);
	CHECK_INT(count(&r, POOL_C_revoke_asks), ==, 1);
	CHECK_INT(count(&r, POOL_C_revoked), ==, given);
	CHECK_INT(count(&r, POOL_C_revoke_kept), ==, 0);
	/* what was given back has left, and nothing else */
	CHECK_INT(resident(&r), ==, FRAMES - given);
	rig_end(&r);
}

/* Two who want a slab in one turn, and find the same one. */
TEST(a_block_is_asked_for_once_in_a_turn)
{
	struct rig r = rig_begin();
	struct store *s = r.w->s;
	struct pool_slab *slab = r.w->p->slab[1];

	hold_all(r.b, MAPPED);
	CHECK(!evict_slab(s, r.w->p, slab, true));
	CHECK_INT(s->batch.asked, ==, FRAMES);
	CHECK(!evict_slab(s, r.w->p, slab, true));
	/* also for the second there will be an answer */
	CHECK_INT(s->batch.asked, ==, FRAMES);
	store_settle(s, r.w->now);
	CHECK_INT(asked(r.b), ==, 1);
	CHECK_INT(answer_with(r.b, UINT32_MAX), ==, FRAMES);
	store_settle(s, r.w->now);
	CHECK_INT(count(&r, POOL_C_revoked), ==, FRAMES);
	CHECK_INT(count(&r, POOL_C_revoke_kept), ==, 0);
	CHECK_INT(resident(&r), ==, 0);
	rig_end(&r);
}

/* The policy's next victims, in its order. */
TEST(the_coldest_are_asked_for)
{
	struct rig r = rig_begin();
	const shared_u64 *wanted;

	for (uint64_t n = 1; n <= FRAMES; n++)
		if (n != 5 && n != 7)
			sim_touch(r.a, n, PART);
	store_touches(r.a->c);
	hold_all(r.b, MAPPED);
	want_room(&r, 100);
	wanted = client_wanted(r.b->cs, SIM_PINS, SIM_OVER);
	CHECK(revoke_wanted(wanted, 5));
	CHECK(revoke_wanted(wanted, 7));
	CHECK(!revoke_wanted(wanted, FRAMES));
	rig_end(&r);
}

/* While something else can leave, nobody's mapping goes for it. */
TEST(what_nobody_holds_leaves_at_once)
{
	struct rig r = rig_begin();

	for (uint64_t n = 2; n <= FRAMES; n++)
		hold_as(r.b, n, MAPPED);
	CHECK_OK(sim_grant(r.a, 100, PART, WORLD_SEC));
	tick(&r);
	CHECK(!world_has(r.w, 1, PART));
	CHECK_INT(resident(&r), ==, FRAMES - 1);
	rig_end(&r);
}

/* Two slabs, full: the first of a client that has written before a did. */
static struct rig rig_of_two(struct sim **ret_first)
{
	const struct world_config config = { .limit = 2 * DEEP_SLAB,
					     .slab_bytes = DEEP_SLAB };
	struct rig r = { .w = world_create(&config) };

	*ret_first = sim_add(r.w, 2);
	for (uint64_t n = 1; n <= FRAMES; n++)
		sim_put(*ret_first, 1000 + n, PART);
	r.a = sim_add(r.w, 0);
	r.b = sim_add(r.w, 1);
	for (uint64_t n = 1; n <= FRAMES; n++)
		sim_put(r.a, n, PART);
	hold_all(r.b, MAPPED);
	return r;
}

/* What is colder and nobody's goes before anybody is asked for what is in use. */
TEST(colder_blocks_of_the_dead_leave_unasked)
{
	struct sim *first;
	struct rig r = rig_of_two(&first);

	sim_die(first);
	tick(&r);
	sim_put(r.a, 100, PART);
	CHECK_INT(asked(r.b), ==, 0);
	CHECK_INT(resident(&r), ==, FRAMES);
	CHECK(!world_has(r.w, 1001, PART));
	rig_end(&r);
}

/* The same of one who lives, and lets go; if he does not, they are asked after all. */
TEST(colder_blocks_of_the_living_leave_unasked)
{
	struct sim *first;
	struct rig r = rig_of_two(&first);
	uint32_t slot;

	store_region_given(first->c, 1);
	slot = want_room(&r, 100);
	CHECK_INT(asked(r.b), ==, 0);
	CHECK(r.w->p->slab[1]->retiring);
	CHECK_INT(resident(&r), ==, FRAMES);
	world_tick(r.w, WORLD_SEC / 5);
	CHECK_INT(asked(r.b), ==, 1);
	answer_with(r.b, UINT32_MAX);
	store_settle(r.w->s, r.w->now);
	CHECK_OK(sim_answer(r.a, slot));
	rig_end(&r);
}

TEST(warmer_blocks_of_others_stay)
{
	struct sim *first;
	struct rig r = rig_of_two(&first);

	for (unsigned k = 0; k < 3; k++)
		for (uint64_t n = 1; n <= FRAMES; n++)
			sim_touch(first, 1000 + n, PART);
	store_touches(first->c);
	sim_die(first);
	tick(&r);
	want_room(&r, 100);
	CHECK_INT(asked(r.b), ==, 1);
	CHECK(world_has(r.w, 1001, PART));
	rig_end(&r);
}

TEST(direct_pins_are_never_asked_for)
{
	struct rig r = rig_begin();
	struct sim *third = sim_add(r.w, 2);

	hold_all(r.b, 0);
	/* mapped by another as well: the direct pin counts */
	hold_all(third, MAPPED);
	want_room(&r, 100);
	for (unsigned i = 0; i < 300; i++)
		tick(&r);
	CHECK_INT(asked(r.b), ==, 0);
	CHECK_INT(asked(third), ==, 0);
	CHECK_INT(count(&r, POOL_C_revoke_asks), ==, 0);
	CHECK_INT(resident(&r), ==, FRAMES);
	rig_end(&r);
}

/* No tier below, and the mapping has no answer to a loss. */
TEST(what_would_be_lost_is_not_asked_for)
{
	struct rig r = rig_begin();

	hold_all(r.b, PIN_MAPPED);
	want_room(&r, 100);
	for (unsigned i = 0; i < 300; i++)
		tick(&r);
	CHECK_INT(asked(r.b), ==, 0);
	rig_end(&r);
}

TEST(what_is_kept_stays_and_is_not_asked_for_at_once)
{
	struct rig r = rig_begin();
	uint32_t slot;

	hold_all(r.b, MAPPED);
	slot = want_room(&r, 100);
	CHECK_INT(answer_with(r.b, 0), ==, 0);
	tick(&r);
	CHECK_INT(count(&r, POOL_C_revoked), ==, 0);
	CHECK_INT(count(&r, POOL_C_revoke_kept), >, 0);
	CHECK_INT(resident(&r), ==, FRAMES);
	/* others are asked for then, until one is given */
	for (unsigned i = 0; i < 100; i++) {
		answer_with(r.b, 1);
		tick(&r);
	}
	CHECK_OK(sim_answer(r.a, slot));
	rig_end(&r);
}

TEST(a_block_of_two_mappings_needs_both_answers)
{
	struct rig r = rig_begin();
	struct sim *third = sim_add(r.w, 2);
	uint32_t slot;

	hold_all(r.b, MAPPED);
	hold_all(third, MAPPED);
	slot = want_room(&r, 100);
	CHECK_INT(asked(r.b), ==, 1);
	CHECK_INT(asked(third), ==, 1);
	CHECK_INT(wants(r.b), ==, wants(third));
	answer_with(r.b, UINT32_MAX);
	tick(&r);
	CHECK_INT(sim_answer(r.a, slot), ==, SIM_LATER);
	CHECK_INT(resident(&r), ==, FRAMES);
	answer_with(third, UINT32_MAX);
	tick(&r);
	CHECK_OK(sim_answer(r.a, slot));
	rig_end(&r);
}

/* It gave them up for reasons of its own, and answers nobody. */
TEST(empty_slots_are_an_answer)
{
	struct rig r = rig_begin();
	uint32_t slot;

	hold_all(r.b, MAPPED);
	slot = want_room(&r, 100);
	for (uint64_t n = 1; n <= FRAMES; n++)
		sim_unpin(r.b, (uint32_t)n);
	tick(&r);
	CHECK_OK(sim_answer(r.a, slot));
	/* a successor does not wait for it either */
	world_restart(r.w);
	r.w->s->options.revoke_ns = WORLD_SEC;
	world_tick(r.w, 2 * WORLD_SEC);
	CHECK_INT(count(&r, POOL_C_revoke_late), ==, 0);
	rig_end(&r);
}

/* ---- no answer ------------------------------------------------------------------ */

static int end_result;
static unsigned ends;

static int on_end(void *ctx, struct store_client *c)
{
	(void)ctx;
	(void)c;
	ends++;
	return end_result;
}

static struct rig rig_silent(int result, bool wanted)
{
	struct rig r = rig_begin();

	r.w->options.revoke_ns = WORLD_SEC;
	r.w->options.revoke_end = wanted;
	r.w->options.end = on_end;
	r.w->s->options = r.w->options;
	end_result = result;
	ends = 0;
	return r;
}

/* Of the last refusal of a block. */
static unsigned limit_of(const struct rig *r, uint64_t n)
{
	struct past_note note = { 0 };
	uint64_t key[4];

	key_of(n, key);
	CHECK_INT(past_find(r->w->s->past[0], key, 1, 1, &note), ==, 1);
	return note.limit;
}

TEST(who_does_not_answer_keeps_it_against_its_tenant)
{
	struct rig r = rig_silent(-EPERM, true);
	uint32_t slot, last;
	uint64_t once;

	hold_all(r.b, MAPPED);
	slot = want_room(&r, 100);
	world_tick(r.w, WORLD_SEC / 2);
	CHECK_INT(count(&r, POOL_C_revoke_late), ==, 0);
	world_tick(r.w, WORLD_SEC);
	CHECK_INT(count(&r, POOL_C_revoke_late), ==, 1);
	CHECK_INT(ends, ==, 1);
	CHECK_INT(count(&r, POOL_C_revoke_held_bytes), ==, FRAMES * PART_BYTES);
	/* asked no more, tried by nobody, and read as ever */
	once = asked(r.b);
	for (unsigned i = 0; i < 300; i++)
		tick(&r);
	CHECK_INT(asked(r.b), ==, once);
	CHECK_INT(ends, ==, 1);
	CHECK_INT(resident(&r), ==, FRAMES);
	CHECK(revoke_holds(r.w->s, r.w->p, r.w->p->slab[1]));
	CHECK(store_client_silent(r.b->c));
	CHECK_INT(sim_grant(r.a, 101, PART, 0), ==, -ENOBUFS);
	CHECK_INT(limit_of(&r, 101), ==, LIMIT_SILENT);
	/* it answers after all */
	answer_with(r.b, UINT32_MAX);
	tick(&r);
	CHECK(!store_client_silent(r.b->c));
	CHECK_INT(count(&r, POOL_C_revoke_held_bytes), ==, 0);
	CHECK(!revoke_holds(r.w->s, r.w->p, r.w->p->slab[1]));
	CHECK_OK(sim_answer(r.a, slot));
	/* and may be asked again */
	for (uint64_t n = 1; n <= FRAMES; n++)
		if (world_has(r.w, n, PART))
			hold_as(r.b, n, MAPPED);
	while (sim_grant(r.a, ++slot + 200, PART, WORLD_SEC) == 0)
		sim_seal(r.a, slot + 200, PART, &r.w->last);
	last = r.a->slot;
	for (unsigned i = 0; i < 20 && sim_answer(r.a, last) == SIM_LATER;
	     i++) {
		tick(&r);
		answer_with(r.b, UINT32_MAX);
	}
	CHECK_OK(sim_answer(r.a, last));
	rig_end(&r);
}

TEST(it_comes_back_with_the_end_of_the_process)
{
	struct rig r = rig_silent(0, true);
	uint32_t slot;

	hold_all(r.b, MAPPED);
	slot = want_room(&r, 100);
	world_tick(r.w, 2 * WORLD_SEC);
	CHECK_INT(ends, ==, 1);
	CHECK_INT(count(&r, POOL_C_revoke_held_bytes), >, 0);
	CHECK_INT(sim_answer(r.a, slot), ==, SIM_LATER);
	sim_die(r.b);
	tick(&r);
	CHECK_INT(count(&r, POOL_C_revoke_held_bytes), ==, 0);
	CHECK_OK(sim_answer(r.a, slot));
	rig_end(&r);
}

TEST(nobody_is_ended_whom_the_operator_spares)
{
	struct rig r = rig_silent(0, false);

	hold_all(r.b, MAPPED);
	want_room(&r, 100);
	world_tick(r.w, 2 * WORLD_SEC);
	CHECK_INT(count(&r, POOL_C_revoke_late), ==, 1);
	CHECK_INT(ends, ==, 0);
	/* it closes: its pins are no more, whatever it maps */
	sim_close(r.b);
	tick(&r);
	CHECK_INT(count(&r, POOL_C_revoke_held_bytes), ==, 0);
	rig_end(&r);
}

/* ---- a server that dies ------------------------------------------------------------ */

TEST(the_next_server_waits_for_the_same_answer_and_asks_again)
{
	struct rig r = rig_silent(-EPERM, false);
	uint32_t slot;

	hold_all(r.b, MAPPED);
	want_room(&r, 100);
	world_restart(r.w);
	CHECK_INT(asked(r.b), ==, 1);
	CHECK_INT(wants(r.b), ==, 0);
	CHECK_INT(count(&r, POOL_C_revoke_late), ==, 0);
	/* the waiting grant was asked for again, and finds the same */
	slot = r.a->slot;
	answer_with(r.b, UINT32_MAX);
	tick(&r);
	CHECK_INT(asked(r.b), ==, 2);
	CHECK_INT(wants(r.b), >, 0);
	answer_with(r.b, UINT32_MAX);
	tick(&r);
	CHECK_OK(sim_answer(r.a, slot));
	rig_end(&r);
}

TEST(the_next_server_has_a_deadline_of_its_own)
{
	struct rig r = rig_silent(-EPERM, false);

	hold_all(r.b, MAPPED);
	want_room(&r, 100);
	world_tick(r.w, WORLD_SEC / 2);
	world_restart(r.w);
	world_tick(r.w, 3 * WORLD_SEC / 4);
	CHECK_INT(count(&r, POOL_C_revoke_late), ==, 0);
	world_tick(r.w, WORLD_SEC / 2);
	CHECK_INT(count(&r, POOL_C_revoke_late), ==, 1);
	CHECK_INT(count(&r, POOL_C_revoke_held_bytes), >, 0);
	/* the one after that counts anew */
	world_restart(r.w);
	CHECK_INT(count(&r, POOL_C_revoke_held_bytes), ==, 0);
	world_tick(r.w, 2 * WORLD_SEC);
	CHECK_INT(count(&r, POOL_C_revoke_held_bytes), >, 0);
	rig_end(&r);
}

/* ---- what is removed, what is written below ------------------------------------------- */

TEST(removed_blocks_are_asked_for_as_well)
{
	struct rig r = rig_begin();

	hold_as(r.b, 3, MAPPED);
	hold_as(r.b, 4, PIN_MAPPED);
	CHECK_OK(sim_call(r.a, call_of(RING_REMOVE, 3, PART)));
	CHECK_OK(sim_call(r.a, call_of(RING_REMOVE, 4, PART)));
	tick(&r);
	CHECK_INT(wants(r.b), ==, 1); /* 4 would be lost */
	answer_with(r.b, UINT32_MAX);
	tick(&r);
	CHECK_INT(count(&r, POOL_C_leaving), ==, 1);
	rig_end(&r);
}

/* They are asked for while what was given back leaves: that is another question,
 * with pins of its own. */
TEST(what_is_asked_for_at_an_answer_is_not_forgotten)
{
	struct rig r = rig_begin();
	uint64_t given;

	hold_all(r.b, MAPPED);
	want_room(&r, 100);
	given = wants(r.b);
	CHECK_OK(sim_call(r.a, call_of(RING_REMOVE, FRAMES - 1, PART)));
	CHECK_OK(sim_call(r.a, call_of(RING_REMOVE, FRAMES, PART)));
	world_tick(r.w, WORLD_SEC); /* not at once again: from now on */
	CHECK_INT(asked(r.b), ==, 1);
	CHECK_INT(answer_with(r.b, UINT32_MAX), ==, given);
	store_settle(r.w->s, r.w->now + WORLD_SEC);
	CHECK_INT(asked(r.b), ==, 2);
	CHECK_INT(wants(r.b), ==, 2);
	/* kept: it is no answer to look at its slots */
	CHECK_INT(answer_with(r.b, 0), ==, 0);
	store_settle(r.w->s, r.w->now + WORLD_SEC);
	CHECK_INT(count(&r, POOL_C_revoked), ==, given);
	CHECK_INT(count(&r, POOL_C_revoke_kept), ==, 2);
	CHECK_INT(wants(r.b), ==, 0);
	rig_end(&r);
}

/* A mapping that cannot bear a loss: written first, then asked for. */
TEST(what_is_dear_is_written_below_before)
{
	struct deep d;
	struct sim *b;
	uint32_t slot;

	deep_begin(&d, 1);
	b = sim_add(d.w, 1);
	for (uint64_t n = 1; n <= FRAMES; n++)
		sim_put(d.a, n, PART);
	hold_all(b, PIN_MAPPED);
	CHECK_INT(sim_grant(d.a, 100, PART, 3600 * WORLD_SEC), ==, SIM_LATER);
	slot = d.a->slot;
	for (unsigned i = 0; i < 50 && !wants(b); i++) {
		CHECK_INT(asked(b), ==, 0);
		world_tick(d.w, WORLD_SEC / 500);
		fake_tier_end_all(d.f);
		store_settle(d.w->s, d.w->now);
	}
	CHECK_INT(wants(b), >, 0);
	for (uint64_t n = 1; n <= FRAMES; n++)
		if (revoke_wanted(client_wanted(b->cs, SIM_PINS, SIM_OVER), n))
			CHECK(deep_below(&d, n));
	answer_with(b, UINT32_MAX);
	store_settle(d.w->s, d.w->now);
	CHECK_OK(sim_answer(d.a, slot));
	CHECK_INT(pool_counter(d.w->p, POOL_C_demote_missed), ==, 0);
	deep_rest(&d);
	deep_end(&d);
}

/* The tier has dropped it between question and answer: it stays in memory. */
TEST(what_is_not_below_any_more_stays)
{
	struct deep d;
	uint64_t key[4];
	struct sim *b;

	deep_begin(&d, 1);
	b = sim_add(d.w, 1);
	for (uint64_t n = 1; n <= FRAMES; n++)
		sim_put(d.a, n, PART);
	deep_rest(&d);
	hold_all(b, PIN_MAPPED);
	CHECK_INT(sim_grant(d.a, 100, PART, WORLD_SEC), ==, SIM_LATER);
	for (unsigned i = 0; i < 50 && !wants(b); i++) {
		world_tick(d.w, WORLD_SEC / 500);
		fake_tier_end_all(d.f);
		store_settle(d.w->s, d.w->now);
	}
	for (uint64_t n = 1; n <= FRAMES; n++) {
		key_of(n, key);
		if (deep_below(&d, n))
			fake_tier_drop(d.f, key, 0);
	}
	answer_with(b, UINT32_MAX);
	revoke_settle(d.w->s);
	for (uint64_t n = 1; n <= FRAMES; n++)
		CHECK(world_has(d.w, n, PART));
	deep_rest(&d);
	deep_end(&d);
}

/* ---- failures, and clients that lie ------------------------------------------------------ */

TEST(no_memory_is_no_question_and_no_harm)
{
	bool through = false;

	for (uint64_t at = 1; !through; at++) {
		struct rig r = rig_begin();
		uint32_t slot;

		hold_all(r.b, MAPPED);
		fault_arm(FAULT_ALLOC, at, false);
		CHECK_INT(sim_grant(r.a, 100, PART, 3600 * WORLD_SEC), <=,
			  SIM_LATER);
		slot = r.a->slot;
		tick(&r);
		through = !fault_fired();
		fault_arm(0, 0, false);
		for (unsigned i = 0; i < 100; i++) {
			answer_with(r.b, UINT32_MAX);
			tick(&r);
		}
		CHECK_INT(sim_answer(r.a, slot), !=, SIM_LATER);
		rig_end(&r);
	}
}

/* Whatever is in a client's words, the others get their room when its pins let
 * them, and all adds up. */
TEST(clients_that_lie_hurt_nobody)
{
	struct rig r = rig_silent(-EPERM, true);
	struct rng rng = { 7 };
	uint64_t n = 1000;

	for (unsigned i = 0; i < 4000; i++) {
		struct client_header *h = &r.b->cs->header;

		switch (rng_below(&rng, 6)) {
		case 0:
			shared_store64(&h->answered, rng_below(&rng, 5));
			break;
		case 1:
			shared_store64(&h->answered, rng_next(&rng));
			break;
		case 2:
			answer_with(r.b, (unsigned)rng_below(&rng, 20));
			break;
		case 3:
			shared_store64(&r.b->cs->slots[rng_below(&rng, 20)],
				       rng_next(&rng));
			break;
		case 4:
			shared_store64(
				&r.b->cs->slots[rng_below(&rng, 20)],
				pin_word(frame_loc(1, (uint32_t)rng_below(&rng,
									  16)),
					 rng_below(&rng, 40)) |
					MAPPED);
			break;
		default:
			if (sim_grant(r.a, ++n, PART, 0) == 0)
				CHECK_OK(sim_seal(r.a, n, PART, &r.w->last));
		}
		if (i % 16 == 0)
			world_tick(r.w, WORLD_SEC / 10);
		if (i % 256 == 0)
			world_check(r.w);
	}
	sim_die(r.b);
	tick(&r);
	CHECK_INT(count(&r, POOL_C_revoke_held_bytes), ==, 0);
	CHECK_OK(sim_grant(r.a, ++n, PART, 0));
	rig_end(&r);
}

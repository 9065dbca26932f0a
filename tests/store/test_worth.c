/* SPDX-License-Identifier: Apache-2.0 */
/* What is said when a turn ends decides what stays: from a client's requests to
 * the block that leaves, over simulated hours. */
#include "policy/policy.h"
#include "tests/store/talk.h"

#define EACH TALK_EACH

/* Who writes the blocks of a session. */
enum how {
	ONE_CLIENT,
	TWO_CLIENTS, /* the first half, and the second */
	TWO_RANKS,   /* each one part of each block */
};

struct scene {
	struct world *w;
	enum how how;
	struct sim *c, *other_c;
	uint64_t id[8], other;
	uint64_t between_ms; /* two blocks of a turn */
};

static void pass(struct scene *s, uint64_t ms)
{
	world_tick(s->w, ms * (WORLD_SEC / 1000));
}

static void begin_how(struct scene *s, const struct policy_ops *policy,
		      enum how how)
{
	struct world_config config = talk_two;
	struct ring_call open = talk_open_call(NULL, 0);

	if (how != ONE_CLIENT) /* a slab for each */
		config.slab_bytes /= 2;
	if (how == TWO_RANKS)
		config.limit *= 2;
	s->w = world_create_with(&config, policy);
	s->how = how;
	if (how == TWO_RANKS) {
		uint32_t ns = world_ns(s->w, 1, 2, PART_BYTES, 1);

		open.part = frame_part(ns, 0, 0);
	}
	store_pool_serve(s->w->p);
	s->c = sim_add(s->w, 0);
	s->other_c = sim_add(s->w, 1);
	s->other = 1000;
	s->between_ms = 0;
	for (unsigned i = 0; i < 8; i++) {
		CHECK_OK(sim_call(s->c, open));
		s->id[i] = s->w->last.loc;
		CHECK_OK(talk_append(s->c, s->id[i], 0, EACH * i, EACH));
	}
}

static void begin(struct scene *s, const struct policy_ops *policy)
{
	begin_how(s, policy, ONE_CLIENT);
}

static bool has(struct scene *s, unsigned n)
{
	if (s->how != TWO_RANKS)
		return world_has(s->w, n, PART);
	return world_has(s->w, n, frame_part(2, 0, 0)) &&
	       world_has(s->w, n, frame_part(2, 0, 1));
}

static void put(struct scene *s, unsigned n)
{
	if (s->how == TWO_RANKS) {
		sim_put(s->c, n, frame_part(2, 0, 0));
		sim_put(s->other_c, n, frame_part(2, 0, 1));
	} else if (s->how == TWO_CLIENTS && n % EACH >= EACH / 2) {
		sim_put(s->other_c, n, PART);
	} else {
		sim_put(s->c, n, PART);
	}
}

static bool is_whole(struct scene *s, unsigned i)
{
	unsigned n = 0;

	while (n < EACH && has(s, EACH * i + n))
		n++;
	return n == EACH;
}

/* A turn of session i: its blocks are there, and its answer ended like that. */
static void turn(struct scene *s, unsigned i, uint64_t back_ms, unsigned ended)
{
	struct ring_call call = { .op = RING_SESSION_STATE,
				  .arg = s->id[i],
				  .arg2 = RING_STATE_RESUME };

	CHECK_OK(sim_call(s->c, call));
	for (unsigned n = EACH * i; n < EACH * (i + 1); n++)
		if (!has(s, n)) {
			pass(s, s->between_ms);
			put(s, n);
		}
	call.arg2 = RING_STATE_PAUSE;
	call.loc = back_ms;
	call.key[0] = ended;
	call.key[1] = 100;
	CHECK_OK(sim_call(s->c, call));
}

/* Sessions that come back as they said, or as others whose answers ended so. */
static void learn(struct scene *s, bool announced)
{
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned k = 0; k < 8; k++) {
			for (unsigned i = 0; i < 4; i++)
				turn(s, i, announced ? 2000 : 0,
				     OC_ANSWER_TOOL);
			pass(s, 2000);
		}
		for (unsigned i = 4; i < 8; i++)
			turn(s, i, announced ? 16000 : 0, OC_ANSWER_TURN);
	}
}

/* Which of two stays, the one that soon comes back or the one that was used
 * last? */
static bool soon_stays(const struct policy_ops *policy, bool announced,
		       uint64_t between_ms)
{
	struct scene s;
	bool stays;

	begin(&s, policy);
	s.between_ms = between_ms;
	learn(&s, announced);
	pass(&s, 600000); /* those that are there are due no more */
	turn(&s, 0, announced ? 2000 : 0, OC_ANSWER_TOOL);
	pass(&s, 600);
	turn(&s, 4, announced ? 16000 : 0, OC_ANSWER_TURN);
	sim_put(s.c, s.other++, PART);
	stays = is_whole(&s, 0);
	CHECK(stays != is_whole(&s, 4));
	world_check(s.w);
	world_destroy(s.w);
	return stays;
}

TEST(an_announced_return_decides_what_stays)
{
	CHECK(!soon_stays(&policy_lru, true, 0));
	CHECK(soon_stays(&policy_onecopy, true, 0));
	/* blocks come one by one, and only at the end it is said whose */
	CHECK(soon_stays(&policy_onecopy, true, 7));
}

TEST(why_the_answer_ended_decides_what_stays)
{
	CHECK(!soon_stays(&policy_lru, false, 0));
	CHECK(soon_stays(&policy_onecopy, false, 0));
	CHECK(soon_stays(&policy_onecopy, false, 7));
}

TEST(a_reason_that_is_none_is_unknown)
{
	struct scene s;

	begin(&s, &policy_onecopy);
	turn(&s, 0, 0, RING_ANSWER_ENDS);
	turn(&s, 0, 0, 77);
	CHECK(!ring_answer_end_name(RING_ANSWER_ENDS));
	CHECK_STR(ring_answer_end_name(OC_ANSWER_OTHER), "other");
	world_check(s.w);
	world_destroy(s.w);
}

/* What a session lost is counted when it comes back, though it is there again
 * when its turn ends. */
TEST(losses_are_told)
{
	struct policy_load load;
	struct scene s;

	begin(&s, &policy_onecopy);
	turn(&s, 0, 0, 0);
	pass(&s, 1000);
	turn(&s, 0, 0, 0);
	CHECK(store_pool_load(s.w->s, s.w->p, &load));
	CHECK_INT(load.returns, ==, 1);
	CHECK_INT(load.lost, ==, 0);
	for (unsigned i = 1; i < 8; i++)
		turn(&s, i, 0, 0);
	CHECK(!world_has(s.w, 0, PART));
	turn(&s, 0, 0, 0);
	CHECK(store_pool_load(s.w->s, s.w->p, &load));
	CHECK_INT(load.returns, ==, 2);
	CHECK_INT(load.returned, ==, 2 * EACH);
	CHECK_INT(load.lost, ==, EACH);
	CHECK_INT(load.fit, ==, 2);
	world_destroy(s.w);
	begin(&s, &policy_lru);
	CHECK(!store_pool_load(s.w->s, s.w->p, &load));
	world_destroy(s.w);
}

/* A block more of that client. */
static void one_more(struct scene *s, struct sim *c)
{
	uint32_t ns = s->how == TWO_RANKS ? 2 : 1;

	sim_put(c, s->other++, frame_part(ns, 0, c == s->other_c && ns == 2));
}

/* Two sessions whose past is the same: what this turn said decides, for each
 * client that needs room. */
static void this_turn_decides(unsigned soon, unsigned late, enum how how,
			      bool other)
{
	struct scene s;

	begin_how(&s, &policy_onecopy, how);
	s.between_ms = 7;
	for (unsigned round = 0; round < 60; round++) {
		bool first = round % 2;

		turn(&s, soon, first ? 2000 : 120000, 0);
		turn(&s, late, first ? 2000 : 120000, 0);
		pass(&s, first ? 2000 : 120000);
	}
	turn(&s, soon, 2000, 0);
	turn(&s, late, 120000, 0);
	CHECK(is_whole(&s, soon) && is_whole(&s, late));
	one_more(&s, other ? s.other_c : s.c);
	CHECK(is_whole(&s, soon));
	/* of what may leave there it is the leaf that has left */
	CHECK(!has(&s,
		   EACH * late +
			   (how == TWO_CLIENTS && !other ? EACH / 2 : EACH) -
			   1));
	CHECK(has(&s, EACH * late));
	world_check(s.w);
	world_destroy(s.w);
}

TEST(what_this_turn_says_is_of_its_own_blocks)
{
	this_turn_decides(0, 4, ONE_CLIENT, false);
	this_turn_decides(4, 0, ONE_CLIENT, false);
}

/* Each client's slabs have an order of their own, and each is told. */
TEST(all_that_hold_a_chain_are_told)
{
	for (unsigned other = 0; other < 2; other++) {
		this_turn_decides(0, 4, TWO_CLIENTS, other);
		this_turn_decides(4, 0, TWO_CLIENTS, other);
		this_turn_decides(0, 4, TWO_RANKS, other);
		this_turn_decides(4, 0, TWO_RANKS, other);
	}
}

/* A return is one, in however many orders. */
TEST(a_return_is_counted_once)
{
	struct policy_load load;
	struct scene s;

	for (enum how how = ONE_CLIENT; how <= TWO_RANKS; how++) {
		begin_how(&s, &policy_onecopy, how);
		for (unsigned i = 0; i < 3; i++) {
			turn(&s, 0, 0, 0);
			pass(&s, 1000);
		}
		CHECK(store_pool_load(s.w->s, s.w->p, &load));
		CHECK_INT(load.uses, ==, 3);
		CHECK_INT(load.returns, ==, 2);
		CHECK_INT(load.returned, ==, 2 * EACH);
		CHECK_INT(load.lost, ==, 0);
		world_check(s.w);
		world_destroy(s.w);
	}
}

/* Longer than all its parts are looked at: who has of it what is not, and who has
 * it in mind alone, is told that the turn is over. */
static void turns_of_many_parts(bool gone)
{
	const unsigned ranks = 64, keys = 1040;
	struct world_config config = talk_two;
	struct ring_call open = talk_open_call(NULL, 0);
	struct policy_load load;
	struct scene s = { 0 };
	uint64_t part, id;

	config.sessions.keys = config.sessions.keys_per_client = 4096;
	s.w = world_create_with(&config, &policy_onecopy);
	part = frame_part(world_ns(s.w, 1, (uint16_t)ranks, PART_BYTES, 1), 0,
			  (uint16_t)(ranks - 1));
	open.part = frame_part(frame_part_ns(part), 0, 0);
	store_pool_serve(s.w->p);
	s.c = sim_add(s.w, 0);
	CHECK_OK(sim_call(s.c, open));
	id = s.w->last.loc;
	CHECK_OK(talk_append(s.c, id, 0, 0, 1));
	sim_put(s.c, 0, part);
	CHECK_OK(talk_state(s.c, id, RING_STATE_PAUSE, 0, 0));
	if (gone)
		CHECK_OK(sim_call(s.c, call_of(RING_REMOVE, 0, part)));
	for (unsigned n = 1; n < keys; n += 40)
		CHECK_OK(talk_append(s.c, id, n, n, MIN(40, keys - n)));
	for (unsigned i = 0; i < 3; i++) {
		CHECK_OK(talk_state(s.c, id, RING_STATE_PAUSE, 0, 0));
		pass(&s, 1000);
		CHECK_OK(talk_state(s.c, id, RING_STATE_RESUME, 0, 0));
	}
	CHECK(store_pool_load(s.w->s, s.w->p, &load));
	CHECK_INT(load.uses, ==, 4);
	CHECK_INT(load.returns, ==, 4);
	world_check(s.w);
	world_destroy(s.w);
}

TEST(a_turn_of_many_parts_ends_for_all)
{
	turns_of_many_parts(false);
	turns_of_many_parts(true);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What was learned outlives the policy that learned it. */
#include <stdlib.h>
#include <string.h>
#include "policy/keep.h"
#include "tests/test.h"

#define CHAIN 4u

static const struct policy_ops *const ops = &policy_onecopy;

struct scene {
	struct policy *p;
	uint64_t now_ms, stamp, name; /* of the next session */
};

static void make(struct policy **ret)
{
	CHECK_OK(ops->create(ret));
	CHECK_OK(ops->reserve(*ret, 64, 1));
}

/* A session's chain in items from `first` on; `why` its answer ended. */
static void use(struct scene *s, struct policy *p, uint64_t name,
		uint32_t first, uint32_t why)
{
	uint64_t key[CHAIN];
	uint32_t item[CHAIN];
	struct policy_use u = { .now_ms = s->now_ms,
				.session = name,
				.why = why,
				.output = 10,
				.n = CHAIN,
				.key = key,
				.item = item };

	uint32_t ticket;

	for (uint32_t i = 0; i < CHAIN; i++) {
		bool there = keep_record_of(p, first + i) != POLICY_NONE;

		key[i] = name * 100 + i;
		item[i] = there ? first + i : POLICY_NONE;
	}
	ticket = ops->use(p, 0, &u, ++s->stamp);
	for (uint32_t i = 0; i < CHAIN; i++) {
		struct policy_place place = {
			.ticket = ticket,
			.parent = i ? first + i - 1 : POLICY_NONE,
			.last = i == CHAIN - 1,
		};

		if (item[i] == POLICY_NONE)
			ops->insert_in(p, 0, first + i, ++s->stamp, &place);
	}
}

static void leave(struct policy *p, uint32_t first)
{
	for (uint32_t i = 0; i < CHAIN; i++)
		ops->remove(p, first + i);
}

/* Whose answer ended for reason 1 comes back after 2 s, for reason 2 never. One
 * that comes back has lost a block, so that worth counts and not age alone. */
static void live(struct scene *s, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t back = ++s->name, gone = ++s->name;

		use(s, s->p, back, 0, 1);
		use(s, s->p, gone, CHAIN, 2);
		ops->remove(s->p, CHAIN - 1);
		s->now_ms += 2000;
		use(s, s->p, back, 0, 1);
		leave(s->p, 0);
		leave(s->p, CHAIN);
		s->now_ms += 10000;
	}
}

/* Of two that are new, at 40 one whose answer ended for reason 1, and then at 32
 * one for reason 2. */
static uint32_t leaves_first(struct scene *s, struct policy *p)
{
	uint32_t victim;

	use(s, p, 1000001, 40, 1);
	use(s, p, 1000002, 32, 2);
	victim = ops->victim(p, 0, POLICY_NONE);
	leave(p, 32);
	leave(p, 40);
	return victim / 8 * 8;
}

static void begin(struct scene *s)
{
	*s = (struct scene){ .now_ms = 1000000 };
	make(&s->p);
	live(s, 100);
}

/* As a recall leaves it: all ratios judged. */
static void save_even(struct scene *s, void *bytes)
{
	for (unsigned k = 0; k < KEEP_KINDS; k++) {
		s->p->model[k].uneven = (1ull << COMEBACK_STEPS) - 1;
		comeback_even(&s->p->model[k]);
	}
	ops->save(s->p, bytes);
}

TEST(goes_on_where_the_other_ended)
{
	struct policy_load was, is;
	struct policy *next, *none;
	struct scene s;
	void *bytes = malloc(ops->learned_bytes());

	CHECK(bytes);
	begin(&s);
	ops->save(s.p, bytes);
	ops->load(s.p, &was);
	make(&next);
	make(&none);
	ops->tick(next, s.now_ms);
	CHECK(ops->recall(next, bytes, ops->learned_bytes()));
	ops->load(next, &is);
	CHECK_INT(is.returns, ==, was.returns);
	CHECK_INT(is.lost, ==, was.lost);
	CHECK_INT(is.recent_lost, ==, was.recent_lost);
	CHECK_INT(is.items, ==, 0);
	/* that one leaves that will not come back, though it was used last */
	CHECK_INT(leaves_first(&s, next), ==, 32);
	CHECK_INT(leaves_first(&s, none), ==, 40);
	CHECK_OK(ops->check(next));
	ops->destroy(next);
	ops->destroy(none);
	ops->destroy(s.p);
	free(bytes);
}

/* Saved again it is what was taken: nothing of it is lost on the way. */
TEST(saved_again_it_is_the_same)
{
	size_t n = ops->learned_bytes();
	uint64_t *a = malloc(n), *b = malloc(n);
	struct policy *next;
	struct scene s;

	CHECK(a && b && n % 8 == 0);
	begin(&s);
	save_even(&s, a);
	make(&next);
	CHECK(ops->recall(next, a, n));
	ops->save(next, b);
	CHECK_MEM(a, b, n);
	ops->destroy(next);
	ops->destroy(s.p);
	free(a);
	free(b);
}

/* What was there before: when it was used last nobody knows, so neither that it
 * was not used since nor that it is used now is learned from. */
TEST(what_was_found_teaches_nothing)
{
	size_t n = ops->learned_bytes();
	uint64_t *a = malloc(n), *b = malloc(n);
	struct policy *next;
	struct scene s;

	CHECK(a && b);
	begin(&s);
	save_even(&s, a);
	make(&next);
	for (uint32_t i = 0; i < 32; i++) {
		ops->tick(next, s.now_ms + i * 1000);
		ops->insert(next, 0, i, i + 1);
	}
	CHECK(ops->recall(next, a, n));
	ops->tick(next, s.now_ms + 3 * 3600 * 1000);
	ops->touch(next, 7, 100);
	ops->save(next, b);
	CHECK_MEM(a, b, n);
	/* from then on it is known */
	ops->tick(next, s.now_ms + 3 * 3600 * 1000 + 5000);
	ops->touch(next, 7, 101);
	ops->tick(next, s.now_ms + 4 * 3600 * 1000);
	ops->save(next, b);
	CHECK(memcmp(a, b, n) != 0);
	CHECK_OK(ops->check(next));
	ops->destroy(next);
	ops->destroy(s.p);
	free(a);
	free(b);
}

/* Who is where stays; what was seen is gone, and what stands is judged anew. */
TEST(nothing_is_made_of_what_does_not_fit)
{
	size_t n = ops->learned_bytes();
	uint64_t *bytes = malloc(n);
	struct policy_load load;
	struct scene s;

	CHECK(bytes);
	begin(&s);
	ops->save(s.p, bytes);
	use(&s, s.p, 5, 8, 1);
	CHECK(!ops->recall(s.p, bytes, n - 8));
	bytes[0] ^= 1;
	CHECK(!ops->recall(s.p, bytes, n));
	CHECK(!ops->recall(s.p, NULL, n));
	ops->load(s.p, &load);
	CHECK_INT(load.returns, ==, 0);
	CHECK_INT(load.items, ==, CHAIN);
	CHECK_INT(ops->victim(s.p, 0, POLICY_NONE), ==, 8 + CHAIN - 1);
	CHECK_OK(ops->check(s.p));
	bytes[0] ^= 1;
	CHECK(ops->recall(s.p, bytes, n));
	CHECK_OK(ops->check(s.p));
	ops->destroy(s.p);
	free(bytes);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The reference model of the torture, with forged logs: each kind of wrong is
 * found, and nothing else is. */
#include "base/rng.h"
#include "prog/torture_trial.c"
#include "tests/test.h"

struct forged {
	struct trial *h;
	uint64_t wrong[TRIAL_WRONGS];
	unsigned told;
};

static void on_told(void *ctx, enum trial_wrong what,
		    const struct trial_record *r)
{
	CHECK(what < TRIAL_WRONGS && r->begin_ns <= r->end_ns);
	((struct forged *)ctx)->told++;
}

static void begin(struct forged *f)
{
	memset(f, 0, sizeof(*f));
	CHECK_OK(trial_create(on_told, f, &f->h));
}

static void add(struct forged *f, enum trial_op op, enum trial_result result,
		uint64_t from, uint64_t to, uint64_t version, bool calm)
{
	struct trial_record r = { .begin_ns = from,
				  .end_ns = to,
				  .version = version,
				  .key = 5,
				  .op = (uint8_t)op,
				  .result = (uint8_t)result,
				  .calm = calm };

	CHECK_OK(trial_add(f->h, &r, 1));
}

#define SEALED(f, from, to, v) add(f, TRIAL_SEAL, TRIAL_DONE, from, to, v, 1)
#define READ(f, from, to, v)   add(f, TRIAL_READ, TRIAL_DONE, from, to, v, 1)
#define MISS(f, from, to)      add(f, TRIAL_READ, TRIAL_MISSED, from, to, 0, 1)
#define THERE(f, from, to)     add(f, TRIAL_LOOK, TRIAL_DONE, from, to, 0, 1)
#define REMOVED(f, from, to)   add(f, TRIAL_REMOVE, TRIAL_DONE, from, to, 0, 1)

/* Ends a round: so many of one kind so far, and none of another. */
static void expect(struct forged *f, uint64_t end, enum trial_wrong what,
		   uint64_t n)
{
	uint64_t all = 0;

	CHECK_OK(trial_round(f->h, end, f->wrong));
	for (unsigned i = 0; i < TRIAL_WRONGS; i++)
		all += f->wrong[i];
	CHECK_INT(f->wrong[what], ==, n);
	CHECK_INT(all, ==, n);
	CHECK_INT(f->told, ==, n);
}

static void expect_fine(struct forged *f, uint64_t end)
{
	expect(f, end, TRIAL_ORIGIN, 0);
}

static void over(struct forged *f)
{
	trial_destroy(f->h);
}

TEST(a_plain_life)
{
	struct forged f;

	begin(&f);
	MISS(&f, 1, 2);
	SEALED(&f, 3, 5, 1);
	READ(&f, 4, 6, 1); /* while it was sealed */
	THERE(&f, 7, 8);
	REMOVED(&f, 9, 12);
	READ(&f, 10, 11, 1); /* while it was removed */
	MISS(&f, 13, 14);
	SEALED(&f, 15, 16, 2);
	READ(&f, 17, 18, 2);
	expect_fine(&f, 20);
	CHECK_INT(trial_kept(f.h), ==, 1);
	READ(&f, 21, 22, 2);
	THERE(&f, 23, 24);
	expect_fine(&f, 30);
	over(&f);
}

TEST(a_version_that_nobody_sealed)
{
	struct forged f;

	begin(&f);
	READ(&f, 1, 2, 9);
	expect(&f, 5, TRIAL_ORIGIN, 1);
	SEALED(&f, 10, 12, 1);
	READ(&f, 7, 8, 1); /* before its seal */
	expect(&f, 15, TRIAL_ORIGIN, 2);
	add(&f, TRIAL_SEAL, TRIAL_REFUSED, 16, 17, 2, 1);
	READ(&f, 18, 19, 2); /* a loser's bytes */
	expect(&f, 20, TRIAL_ORIGIN, 3);
	over(&f);
}

TEST(something_where_nothing_was_sealed)
{
	struct forged f;

	begin(&f);
	THERE(&f, 1, 2);
	SEALED(&f, 3, 4, 1);
	expect(&f, 5, TRIAL_ORIGIN, 1);
	over(&f);
}

TEST(what_was_removed_comes_back)
{
	struct forged f;

	begin(&f);
	SEALED(&f, 1, 2, 1);
	REMOVED(&f, 3, 4);
	READ(&f, 5, 6, 1);
	expect(&f, 10, TRIAL_REMOVED, 1);
	over(&f);
}

TEST(what_was_removed_comes_back_in_a_later_round)
{
	struct forged f;

	begin(&f);
	SEALED(&f, 1, 2, 1);
	REMOVED(&f, 3, 4);
	expect_fine(&f, 10);
	READ(&f, 11, 12, 1);
	expect(&f, 20, TRIAL_ORIGIN, 1);
	over(&f);
}

TEST(two_versions_take_turns)
{
	struct forged f;

	begin(&f);
	SEALED(&f, 1, 2, 1);
	SEALED(&f, 5, 6, 2);
	READ(&f, 3, 4, 1);
	READ(&f, 7, 8, 2);
	READ(&f, 9, 10, 1); /* an old filling */
	add(&f, TRIAL_REMOVE, TRIAL_UNKNOWN, 1, 9, 0, 1);
	expect(&f, 20, TRIAL_TWICE, 1); /* the second seal did not fail */
	over(&f);
}

TEST(both_are_seen_at_once)
{
	struct forged f;

	begin(&f);
	add(&f, TRIAL_SEAL, TRIAL_UNKNOWN, 1, 2, 1, 0);
	add(&f, TRIAL_SEAL, TRIAL_UNKNOWN, 1, 2, 2, 0);
	READ(&f, 3, 4, 1);
	READ(&f, 5, 6, 2);
	READ(&f, 7, 8, 1);
	READ(&f, 9, 10, 2);
	expect(&f, 20, TRIAL_TWICE, 1);
	over(&f);
}

TEST(an_old_version_after_a_newer_in_a_later_round)
{
	struct forged f;

	begin(&f);
	SEALED(&f, 1, 2, 1);
	add(&f, TRIAL_SEAL, TRIAL_DONE, 5, 6, 2, 0);
	add(&f, TRIAL_READ, TRIAL_DONE, 7, 8, 2, 0);
	expect_fine(&f, 10);
	CHECK_INT(trial_kept(f.h), ==, 1);
	READ(&f, 11, 12, 1);
	expect(&f, 20, TRIAL_ORIGIN, 1);
	over(&f);
}

TEST(a_sealed_block_is_lost)
{
	struct forged f;

	begin(&f);
	SEALED(&f, 1, 4, 1);
	MISS(&f, 2, 3); /* not yet acknowledged */
	MISS(&f, 3, 5); /* began before */
	add(&f, TRIAL_READ, TRIAL_MISSED, 5, 6, 0, 0); /* evicted */
	expect_fine(&f, 7);
	MISS(&f, 8, 9);
	expect(&f, 10, TRIAL_LOST, 1);
	REMOVED(&f, 11, 13);
	MISS(&f, 10, 12); /* explained */
	expect(&f, 20, TRIAL_LOST, 1);
	MISS(&f, 21, 22);
	expect(&f, 30, TRIAL_LOST, 1);
	over(&f);
}

/* A removal that overlapped the seal explains a miss, also much later. */
TEST(a_removal_beside_the_seal_is_remembered)
{
	struct forged f;

	begin(&f);
	SEALED(&f, 1, 5, 1);
	REMOVED(&f, 2, 3);
	expect_fine(&f, 10);
	CHECK_INT(trial_kept(f.h), ==, 2);
	MISS(&f, 11, 12);
	expect_fine(&f, 20);
	READ(&f, 21, 22, 1);
	expect_fine(&f, 30);
	over(&f);
}

/* A client died over its seal: both is right, until the round's end. */
TEST(an_unknown_seal)
{
	struct forged f;

	begin(&f);
	add(&f, TRIAL_SEAL, TRIAL_UNKNOWN, 1, UINT64_MAX, 1, 1);
	MISS(&f, 5, 6);
	READ(&f, 7, 8, 1);
	expect_fine(&f, 10);
	REMOVED(&f, 11, 12);
	expect_fine(&f, 20);
	READ(&f, 21, 22, 1);
	expect(&f, 30, TRIAL_ORIGIN, 1);
	over(&f);
}

#define SET(f, from, to, v) add(f, TRIAL_REPLACE, TRIAL_DONE, from, to, v, 1)

TEST(a_value_that_is_replaced)
{
	struct forged f;

	begin(&f);
	SET(&f, 1, 2, 1);
	READ(&f, 3, 6, 1);
	SET(&f, 5, 8, 2);
	READ(&f, 6, 7, 1); /* while it was replaced */
	READ(&f, 9, 10, 2);
	add(&f, TRIAL_REPLACE, TRIAL_REFUSED, 11, 12, 3, 1);
	READ(&f, 13, 14, 2);
	expect_fine(&f, 15);
	CHECK_INT(trial_kept(f.h), ==, 1);
	MISS(&f, 16, 17); /* its own seal explains nothing */
	expect(&f, 18, TRIAL_LOST, 1);
	over(&f);
}

TEST(a_value_that_had_been_replaced)
{
	struct forged f;

	begin(&f);
	SET(&f, 1, 2, 1);
	SET(&f, 3, 4, 2);
	READ(&f, 5, 6, 1);
	expect(&f, 7, TRIAL_REMOVED, 1);
	over(&f);
}

/* Somebody died over it: either is there, and then it stays so. */
TEST(an_unknown_replacement)
{
	struct forged f;

	begin(&f);
	SET(&f, 1, 2, 1);
	add(&f, TRIAL_REPLACE, TRIAL_UNKNOWN, 3, UINT64_MAX, 2, 1);
	READ(&f, 5, 6, 1);
	READ(&f, 7, 8, 2);
	expect_fine(&f, 10);
	READ(&f, 11, 12, 2);
	expect_fine(&f, 20);
	READ(&f, 21, 22, 1); /* forgotten: it was replaced */
	expect(&f, 30, TRIAL_ORIGIN, 1);
	over(&f);
}

/* What one server does, one thing after the other, seen by clients whose calls
 * begin some time before and end some time after: never wrong. */
TEST(random_right_histories_are_fine)
{
	struct rng rng = { 7 };

	for (unsigned round = 0; round < 300; round++) {
		struct forged f;
		uint64_t there = 0, next = 1, now = 1000;
		bool calm = rng_below(&rng, 2);

		begin(&f);
		for (unsigned i = 0; i < 60;
		     i++, now += 1 + rng_below(&rng, 9)) {
			uint64_t from = now - rng_below(&rng, 20);
			uint64_t to = now + rng_below(&rng, 20);

			if (!calm && rng_below(&rng, 8) == 0)
				there = 0; /* evicted */
			switch (rng_below(&rng, 4)) {
			case 0:
				if (round % 2) { /* names at the RESP door */
					add(&f, TRIAL_REPLACE, TRIAL_DONE, from,
					    to, next, calm);
					there = next++;
					break;
				}
				add(&f, TRIAL_SEAL,
				    there ? TRIAL_REFUSED : TRIAL_DONE, from,
				    to, next, calm);
				there = there ? there : next;
				next++;
				break;
			case 1:
				add(&f, TRIAL_REMOVE, TRIAL_DONE, from, to, 0,
				    calm);
				there = 0;
				break;
			default:
				add(&f, TRIAL_READ,
				    there ? TRIAL_DONE : TRIAL_MISSED, from, to,
				    there, calm);
			}
			if (i % 20 == 19) {
				now += 40;
				expect_fine(&f, now);
				now += 40;
			}
		}
		over(&f);
	}
}

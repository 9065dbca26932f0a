/* SPDX-License-Identifier: Apache-2.0 */
/* The router's books: counters that cannot leak, a clock that is set right,
 * trust that falls and heals. */
#include "base/rng.h"
#include "policy/route_hold.h"
#include "tests/test.h"
#include <math.h>

static const struct route_request prompt = {
	.blocks = 10, .tokens = 5120, .block_tokens = 512, .block_bytes = 1e6
};

static struct route_price price(double work)
{
	return (struct route_price){ .work_s = work,
				     .pull_blocks = 4,
				     .pull_from = ROUTE_NONE };
}

static bool about(double a, double b)
{
	return fabs(a - b) < 1e-9;
}

/* Decided anew: counted once, the traffic as well. */
TEST(what_is_decided_anew_counts_once)
{
	struct route_ticket t[2] = { 0 };
	struct route_price p = price(2), q = price(3);
	struct route_book b;
	double back;

	route_book_init(&b);
	p.here_blocks = q.here_blocks = 5;
	route_book_sent(&b, &t[0], 10, &prompt, &p, 10);
	route_book_sent(&b, &t[1], 10, &prompt, &p, 10);
	back = route_book_returns(&b, prompt.serial);
	route_book_over(&b, &t[1], 11);
	CHECK(about(route_book_wait(&b, 11), 1));
	route_book_again(&b, &t[1], 11, &prompt, &q, 10);
	CHECK(about(route_book_wait(&b, 11), 4));
	CHECK_INT(b.waiting, ==, 2);
	CHECK(about(b.held, 20));
	CHECK(about(route_book_returns(&b, prompt.serial), back));
}

/* Only to where it is sent at once, and for much. */
TEST(who_is_held_leaves_for_much)
{
	struct route_price own = { .work_s = 1, .others_s = 2 };
	struct route_price other = { .ttft_s = 1.5, .total_s = 3 };
	struct route_ticket t = { 0 };
	struct route_price p = price(60);
	struct route_book b;

	route_book_init(&b);
	CHECK(route_hold_leaves(20, &own, &other));
	CHECK(!route_hold_leaves(4, &own, &other)); /* a little sooner */
	other.total_s = 30; /* what it takes from others is more */
	CHECK(!route_hold_leaves(20, &own, &other));
	CHECK(route_hold_free(&b, 10, 1000, 999));
	CHECK(!route_hold_free(&b, 10, 1000, 1001));
	CHECK(route_hold_free(&b, 10, 0, 1001)); /* no limit */
	route_book_sent(&b, &t, 10, &prompt, &p, 10);
	CHECK(!route_hold_free(&b, 10, 1000, 10));
	CHECK(route_hold_free(&b, 10 + 60, 1000, 10));
	/* its own transfers begin in time */
	CHECK(about(route_hold_ahead_s(&b, 7), route_hold_ahead_s(&b, 0) + 7));
}

/* What a queue takes beside prefill is of all engines. */
TEST(what_a_queue_takes_is_the_fleets)
{
	struct route_ticket t[40] = { 0 }, u = { 0 };
	struct route_price p = price(1);
	struct route_book a, b, *const all[] = { &a, &b };

	route_book_init(&a);
	route_book_init(&b);
	for (uint32_t i = 0; i < 40; i++)
		route_book_sent(&a, &t[i], 0, &prompt, &p, 1);
	for (uint32_t i = 0; i < 40; i++)
		route_book_first(&a, &t[i], 3 * (i + 1), 3 * (i + 1), 1);
	route_book_usual(all, 2);
	CHECK(a.usual_more_s > 0);
	CHECK(about(a.usual_more_s, b.usual_more_s));
	route_book_sent(&b, &u, 200, &prompt, &p, 1);
	CHECK(route_book_wait(&b, 200) > 1);
}

/* An engine that has ended few answers is not thought to have ended short ones. */
TEST(how_long_answers_take_is_the_fleets)
{
	struct route_ticket t[40] = { 0 };
	struct route_price p = price(1);
	struct route_book a, b, *const all[] = { &a, &b };
	struct route_engine e[3] = { 0 };

	route_book_init(&a);
	route_book_init(&b);
	route_book_fill(&b, 0, &e[0]);
	for (uint32_t i = 0; i < 40; i++) {
		route_book_sent(&a, &t[i], 0, &prompt, &p, 1);
		route_book_first(&a, &t[i], 1, 1, 1);
		route_book_over(&a, &t[i], 41);
	}
	route_book_usual(all, 2);
	route_book_fill(&a, 41, &e[1]);
	route_book_fill(&b, 41, &e[2]);
	CHECK(e[0].decode_s < 5);
	CHECK(e[1].decode_s > 35 && e[1].decode_s < 40);
	CHECK(e[2].decode_s > 35 && e[2].decode_s < 40);
	/* its own outweigh the others' */
	for (uint32_t i = 0; i < 40; i++) {
		t[i] = (struct route_ticket){ 0 };
		route_book_sent(&b, &t[i], 41, &prompt, &p, 1);
		route_book_first(&b, &t[i], 42, 42, 1);
		route_book_over(&b, &t[i], 52);
	}
	route_book_usual(all, 2);
	route_book_fill(&b, 52, &e[2]);
	CHECK(e[2].decode_s > 10 && e[2].decode_s < 16);
}

/* Sent, begun, done, cancelled, twice, in any order: nothing is left. */
TEST(counters_do_not_leak)
{
	struct route_ticket t[32] = { 0 };
	struct rng g = { 5 };
	struct route_book b;
	double now = 0;

	route_book_init(&b);
	for (uint32_t k = 0; k < 20000; k++) {
		struct route_ticket *x = &t[rng_below(&g, 32)];
		struct route_price p = price(0.01 * (double)rng_below(&g, 100));

		now += 0.01;
		p.ready_s = p.moved_s = 0.1 * (double)rng_below(&g, 10);
		switch (rng_below(&g, 3)) {
		case 0:
			if (x->state == ROUTE_TICKET_NONE)
				route_book_sent(&b, x, now, &prompt, &p, 7);
			break;
		case 1:
			route_book_first(&b, x, now, now - 0.1, p.work_s);
			break;
		default:
			route_book_over(&b, x, now);
		}
		CHECK(route_book_wait(&b, now) >= 0);
	}
	for (uint32_t i = 0; i < 32; i++) {
		route_book_over(&b, &t[i], now);
		route_book_over(&b, &t[i], now);
		CHECK_INT(t[i].state, ==, ROUTE_TICKET_NONE);
	}
	CHECK_INT(b.waiting, ==, 0);
	CHECK_INT(b.running, ==, 0);
	CHECK(about(b.owed_s, 0));
	CHECK(about(b.prefill_tokens, 0) && about(b.uncached, 0));
	CHECK(about(b.decode_blocks, 0) && about(b.held, 0));
}

TEST(the_queue_passes_with_time)
{
	struct route_ticket t[3] = { 0 };
	struct route_price p = price(2);
	struct route_book b;

	route_book_init(&b);
	for (uint32_t i = 0; i < 3; i++)
		route_book_sent(&b, &t[i], 10, &prompt, &p, 10);
	CHECK(about(route_book_wait(&b, 10), 6));
	CHECK(about(route_book_wait(&b, 11), 5));
	/* the first was done at 11 already, as is heard at 11.4 */
	route_book_first(&b, &t[0], 11.4, 11, 2);
	CHECK(about(route_book_wait(&b, 11.4), 3.6));
	/* a cancelled one takes its work along */
	route_book_over(&b, &t[1], 11.5);
	CHECK(about(route_book_wait(&b, 11.5), 1.5));
}

/* No first token for long: the engine waits for something itself. */
TEST(a_stalled_engine_is_not_idle)
{
	struct route_ticket t[2] = { 0 };
	struct route_price p = price(1);
	struct route_book b;

	route_book_init(&b);
	route_book_sent(&b, &t[0], 0, &prompt, &p, 10);
	route_book_sent(&b, &t[1], 0, &prompt, &p, 10);
	CHECK(about(route_book_stall(&b, 0.5), 0));
	CHECK(route_book_wait(&b, 30) > 20);
	route_book_first(&b, &t[0], 30.2, 30, 1);
	route_book_first(&b, &t[1], 31.2, 31, 1);
	CHECK(about(route_book_wait(&b, 32), 0));
}

/* A long prompt is not a stall, as long as it may still be computing. */
TEST(a_long_prompt_is_no_stall)
{
	struct route_ticket t[4] = { 0 };
	struct route_price p = price(60);
	struct route_book b;

	route_book_init(&b);
	route_book_sent(&b, &t[0], 0, &prompt, &p, 10);
	p = price(1);
	for (uint32_t i = 1; i < 4; i++)
		route_book_sent(&b, &t[i], 1, &prompt, &p, 10);
	CHECK(about(route_book_stall(&b, 59), 0));
	CHECK(about(route_book_wait(&b, 59), 4));
	CHECK(route_book_stall(&b, 70) > 9);
	/* a first token that is heard of: the next one's work counts */
	route_book_first(&b, &t[0], 60, 60, 60);
	route_book_head(&b, &t[1]);
	CHECK(about(route_book_stall(&b, 61), 0));
	CHECK(about(route_book_stall(&b, 65), 4));
}

/* The report of the last first token may come when the next prompt is long sent:
 * that one's work did not begin before it was. */
TEST(a_late_report_makes_no_queue_shorter)
{
	struct route_ticket t[2] = { 0 };
	struct route_price p = price(2);
	struct route_book b;

	route_book_init(&b);
	route_book_sent(&b, &t[0], 10, &prompt, &p, 10);
	route_book_sent(&b, &t[1], 12.4, &prompt, &p, 10);
	route_book_first(&b, &t[0], 12.5, 12, 2);
	route_book_head(&b, &t[1]);
	CHECK(about(route_book_wait(&b, 12.5), 1.9));
}

/* An engine that has not reported yet is taken to be as late as the others; one
 * that has is known for itself. */
TEST(a_first_report_is_as_late_as_the_others)
{
	struct route_ticket t[20] = { 0 };
	struct route_price p = price(1);
	struct route_book b;

	route_book_init(&b);
	route_book_usual_late(&b, 0.3);
	route_book_sent(&b, &t[0], 0, &prompt, &p, 10);
	CHECK(about(route_book_stall(&b, 1.5), 0));
	CHECK(route_book_stall(&b, 1.7) > 0);
	for (uint32_t i = 1; i < 20; i++) {
		route_book_first(&b, &t[i - 1], i + 3, i, 1);
		route_book_sent(&b, &t[i], i, &prompt, &p, 10);
	}
	CHECK(route_book_late(&b) > 2 && route_book_late(&b) < 3);
}

/* Whose blocks are not there yet when its turn comes is passed; who has others
 * before it, or has its blocks, is not. */
TEST(who_can_be_passed_is_counted)
{
	struct route_ticket t[2] = { 0 };
	struct route_price moves = price(1);
	struct route_book b;
	struct route_gap g;

	route_book_init(&b);
	CHECK(!route_gap_begin(&g, &b, 10, 0.25));
	moves.ready_s = moves.moved_s = 0.5;
	route_book_sent(&b, &t[0], 10, &prompt, &moves, 10);
	CHECK(route_gap_begin(&g, &b, 10, 0.25));
	route_gap_add(&g, &t[0]);
	CHECK_INT(g.moving, ==, 1);
	CHECK(about(g.moving_s, 0.5));
	/* it is there */
	CHECK(!route_gap_begin(&g, &b, 10.5, 0.25));
	CHECK_INT(g.moving, ==, 0);
	/* behind it nobody is passed whose blocks come while it is computed */
	moves.ready_s = moves.moved_s = 0.6;
	route_book_sent(&b, &t[1], 10.6, &prompt, &moves, 10);
	CHECK(route_gap_begin(&g, &b, 10.6, 0.25));
	CHECK(!route_gap_add(&g, &t[0]));
	CHECK_INT(g.moving, ==, 0);
	/* but who is taken in ahead of its turn */
	CHECK(route_gap_begin(&g, &b, 10.6, 0.5));
	CHECK(route_gap_add(&g, &t[0]));
	route_gap_add(&g, &t[1]);
	CHECK_INT(g.moving, ==, 1);
}

/* Seconds until the prompt of t[i] will have been computed, those from `first` to
 * `n` waiting. */
static double due(const struct route_book *b, const struct route_ticket *t,
		  uint32_t first, uint32_t n, uint32_t i, double now)
{
	struct route_line line;

	route_line_begin(&line, b, now);
	for (uint32_t k = first; k < n && k <= i; k++)
		route_line_add(&line, &t[k]);
	return MAX(line.at, 0);
}

/* One in ten waits for memory: that is no slowness, and who is in the queue has
 * to wait for it nevertheless. */
TEST(a_queue_is_more_than_its_prefill)
{
	struct route_ticket t[300] = { 0 };
	struct route_price p = price(1);
	struct route_book b;
	double now = 0;

	struct route_book *const all[] = { &b };

	route_book_init(&b);
	for (uint32_t i = 0; i < 300; i++)
		route_book_sent(&b, &t[i], 0, &prompt, &p, 1);
	for (uint32_t i = 0; i < 200; i++) {
		now += i % 10 ? 1 : 11;
		route_book_first(&b, &t[i], now, now, 1);
		route_book_over(&b, &t[i], now + 1);
		route_book_usual(all, 1);
		route_book_head(&b, &t[i + 1]);
	}
	CHECK(route_book_slowness(&b) < 1.5);
	CHECK(route_book_wait(&b, now) > 150);
	CHECK(route_book_wait(&b, now) < 250);
	CHECK(due(&b, t, 200, 300, 200, now) < 10);
}

/* When each of a queue will have been computed. */
TEST(who_is_in_the_queue_is_due_in_its_turn)
{
	struct route_ticket t[3] = { 0 };
	struct route_price p = price(2);
	struct route_book b;

	route_book_init(&b);
	for (uint32_t i = 0; i < 3; i++)
		route_book_sent(&b, &t[i], 10, &prompt, &p, 10);
	for (uint32_t i = 0; i < 3; i++)
		CHECK(about(due(&b, t, 0, 3, i, 10), 2 + 2 * i));
	/* the first is done late: all are later */
	route_book_first(&b, &t[0], 13, 13, 2);
	CHECK(about(due(&b, t, 1, 3, 1, 13), 2));
	CHECK(about(due(&b, t, 1, 3, 2, 14), 3));
}

/* The engine is kept free for a prompt whose blocks are on their way. */
TEST(a_queue_waits_for_blocks_that_move)
{
	struct route_ticket t[2] = { 0 };
	struct route_price p = price(1);
	struct route_book b;

	route_book_init(&b);
	p.ready_s = p.moved_s = 3;
	route_book_sent(&b, &t[0], 10, &prompt, &p, 10);
	CHECK(about(route_book_wait(&b, 10), 4));
	CHECK(about(route_book_stall(&b, 13.5), 0));
}

/* What siblings hold as well stays held when the first of them is over. */
TEST(shared_blocks_are_held_until_the_last)
{
	struct route_ticket t[3] = { 0 };
	struct route_price p = price(1);
	struct route_book b;

	route_book_init(&b);
	route_book_sent(&b, &t[0], 0, &prompt, &p, 100);
	route_book_sent(&b, &t[1], 0, &prompt, &p, 5);
	route_ticket_inherit(&t[0], &t[1], 90);
	route_book_over(&b, &t[0], 1);
	CHECK(about(b.held, 95));
	route_ticket_inherit(&t[0], &t[1], 90); /* it is over */
	route_ticket_inherit(&t[1], &t[2], 90); /* never sent */
	CHECK(about(t[1].held, 95));
	route_book_over(&b, &t[1], 2);
	CHECK(about(b.held, 0));
}

TEST(who_comes_back_is_counted)
{
	struct route_price p = price(1);
	struct route_request r = prompt;
	struct route_ticket t = { 0 };
	struct route_book b[2];

	for (uint32_t i = 0; i < 2; i++)
		route_book_init(&b[i]);
	p.here_blocks = r.blocks / 2; /* half of each is there */
	for (r.serial = 1; r.serial < 4000; r.serial++) {
		struct route_book *to = &b[r.serial % 4 == 0];

		route_book_sent(to, &t, 0, &r, &p, 1);
		route_book_over(to, &t, 1);
	}
	CHECK(fabs(route_book_returns(&b[0], r.serial) - 0.375) < 0.01);
	CHECK(fabs(route_book_returns(&b[1], r.serial) - 0.125) < 0.01);
	CHECK(route_book_returns(&b[0], r.serial + 2000) < 0.001);
}

TEST(slowness_is_learned)
{
	struct route_ticket t = { 0 };
	struct route_price p = price(1);
	struct route_book b;
	double now = 0;

	route_book_init(&b);
	CHECK(about(route_book_slowness(&b), 1));
	for (uint32_t i = 0; i < 50; i++) {
		route_book_sent(&b, &t, now, &prompt, &p, 10);
		route_book_first(&b, &t, now + 1.3, now + 1.3, 1);
		route_book_over(&b, &t, now + 2);
		now += 5;
	}
	CHECK(fabs(route_book_slowness(&b) - 1.3) < 0.05);
}

/* An engine that was never seen at work is like the others, not better. */
TEST(little_seen_is_like_the_others)
{
	struct route_engine e[3] = { { .token_s = 1 },
				     { .token_s = 1 },
				     { .token_s = 0.7 } };
	struct route_book b[3];
	const struct route_book *books[3] = { &b[0], &b[1], &b[2] };

	for (uint32_t i = 0; i < 3; i++)
		route_book_init(&b[i]);
	b[0].predicted_s = b[1].predicted_s = 30;
	route_book_pool(books, e, 3);
	CHECK(e[2].token_s > 0.99 && e[2].token_s < 1.01);
	e[2].token_s = 0.7;
	b[2].predicted_s = 30; /* seen to be faster */
	route_book_pool(books, e, 3);
	CHECK(e[2].token_s < 0.72);
}

TEST(trust_falls_and_heals)
{
	struct route_book b;
	double low;

	route_book_init(&b);
	route_book_cached(&b, 0, 1000, 1000);
	CHECK(about(route_book_trust(&b, 0), 1));
	for (uint32_t i = 0; i < 10; i++)
		route_book_cached(&b, i, 1000, 0);
	low = route_book_trust(&b, 10);
	CHECK(low < 0.15);
	/* with time alone ... */
	CHECK(route_book_trust(&b, 130) > 0.6);
	/* ... and sooner with what holds */
	for (uint32_t i = 0; i < 20; i++)
		route_book_cached(&b, 10, 1000, 1000);
	CHECK(route_book_trust(&b, 10) > 0.85);
	/* nothing promised, nothing learned */
	route_book_cached(&b, 10, 0, 0);
	CHECK(route_book_trust(&b, 10) > 0.85);
}

TEST(what_was_served_is_forgotten)
{
	struct route_book b;

	route_book_init(&b);
	route_book_served(&b, 0, 1e9);
	CHECK(about(route_book_serving(&b, 0), 1e9));
	CHECK(route_book_serving(&b, 10) < 0.4e9);
	CHECK(route_book_serving(&b, 200) < 1e4);
}

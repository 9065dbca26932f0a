/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/route_book.h"
#include <math.h>

#define OBSERVED_KEEP 0.97 /* of what was learned, at each first token */
#define STORED_KEEP   0.99
#define LAST_SHARE    0.25 /* of the mean use of a block, of one that goes */
#define SLOWNESS_MOST 4.0
#define OTHERWISE     3.0 /* times its prefill: it waited for something else */
#define TRUST_FALL    0.3 /* of the part that was missing */
#define TRUST_RISE    0.1
#define TRUST_HEAL_S  120.0 /* in which distrust falls to 1/e by itself */
#define SERVED_S      10.0  /* in which what was served falls to 1/e */
#define RECENT	      256.0 /* requests in which shares fall to 1/e */
#define DECODE_S      2.0   /* before any was seen */
#define DECODES_USUAL 8.0   /* answers that count as much as the others' */
#define LATES_USUAL   4.0   /* reports that count as much as the others' */
#define LATES_MOST    10.0  /* of its own */

void route_book_init(struct route_book *b)
{
	*b = (struct route_book){ .trust = 1, .usual_decode_s = DECODE_S };
}

static double decode_s(const struct route_book *b)
{
	return (DECODES_USUAL * b->usual_decode_s + b->decode_s) /
	       (DECODES_USUAL + b->decodes);
}

/* All of those that wait, with what each takes beside its prefill. */
static double owed_s(const struct route_book *b)
{
	return b->owed_s + b->waiting * b->usual_more_s;
}

void route_book_usual(struct route_book *const *books, uint32_t n)
{
	double more = 0, queued = 1, decode = DECODE_S, decodes = 1;

	for (uint32_t i = 0; i < n; i++) {
		more += books[i]->more_s;
		queued += books[i]->queued;
		decode += books[i]->decode_s;
		decodes += books[i]->decodes;
	}
	for (uint32_t i = 0; i < n; i++) {
		books[i]->usual_more_s = MAX(0, more / queued);
		books[i]->usual_decode_s = decode / decodes;
	}
}

/* An engine that has reported little is taken to be as late as the others, or
 * each prompt that it is asked about first looks overdue. */
double route_book_late(const struct route_book *b)
{
	return (b->late_s * b->lates + LATES_USUAL * b->usual_late_s) /
	       (b->lates + LATES_USUAL);
}

static void recent_fade(struct route_book *b, uint64_t serial)
{
	double left = exp(-(double)(serial - b->recent_at) / RECENT);

	b->back *= left;
	b->recent_at = serial;
}

void route_book_again(struct route_book *b, struct route_ticket *t, double now,
		      const struct route_request *r,
		      const struct route_price *price, double held)
{
	double hit = (double)price->pull_blocks * r->block_tokens;

	*t = (struct route_ticket){
		.state = ROUTE_TICKET_WAITING,
		.blocks = r->blocks,
		.tokens = (double)r->tokens,
		.uncached = MAX(0, (double)r->tokens - hit),
		.work_s = price->work_s,
		.held = held,
		.begin_at = now + price->ready_s,
	};
	b->moved_at = MAX(b->moved_at, t->begin_at);
	b->busy_until =
		MAX(b->busy_until, t->begin_at) + t->work_s + b->usual_more_s;
	if (!b->waiting) {
		b->begun_at = t->begin_at;
		b->head_s = t->work_s;
	}
	b->owed_s += t->work_s;
	b->waiting++;
	b->held += held;
	b->prefill_tokens += t->tokens;
	b->uncached += t->uncached;
}

void route_book_sent(struct route_book *b, struct route_ticket *t, double now,
		     const struct route_request *r,
		     const struct route_price *price, double held)
{
	route_book_again(b, t, now, r, price, held);
	recent_fade(b, r->serial);
	if (r->blocks)
		b->back += (double)price->here_blocks / r->blocks / RECENT;
}

static void stop_waiting(struct route_book *b, const struct route_ticket *t)
{
	b->owed_s -= t->work_s;
	b->head_s = b->owed_s; /* at most */
	b->prefill_tokens -= t->tokens;
	b->uncached -= t->uncached;
	if (--b->waiting)
		return;
	b->owed_s = 0; /* whatever rounding left */
	b->prefill_tokens = 0;
	b->uncached = 0;
}

/* From when the engine was free for it, to its first token: what its prefill
 * took. In a queue there is more to it: what runs decodes in between and holds
 * memory. That is no slowness, and comes with each request, however short. */
static void learn(struct route_book *b, const struct route_ticket *t, double at,
		  double expected_s)
{
	double begin = MAX(b->last_first, t->begin_at), took = at - begin;
	double slow = route_book_slowness(b) * expected_s;

	if (!(expected_s > 0) || at < begin)
		return;
	b->observed_s =
		b->observed_s * OBSERVED_KEEP + MIN(took, OTHERWISE * slow);
	b->predicted_s = b->predicted_s * OBSERVED_KEEP + expected_s;
	if (t->begin_at >= b->last_first)
		return;
	slow = route_book_slowness(b) * expected_s;
	b->more_s = b->more_s * OBSERVED_KEEP + took - slow;
	b->queued = b->queued * OBSERVED_KEEP + 1;
}

void route_book_first(struct route_book *b, struct route_ticket *t, double now,
		      double at, double expected_s)
{
	if (t->state != ROUTE_TICKET_WAITING)
		return;
	learn(b, t, at, expected_s);
	stop_waiting(b, t);
	t->state = ROUTE_TICKET_RUNNING;
	t->first_at = at;
	b->running++;
	b->decode_blocks += t->blocks;
	b->last_first = MAX(b->last_first, at);
	b->begun_at = MAX(b->begun_at, at);
	b->lates = MIN(b->lates + 1, LATES_MOST);
	b->late_s += (now - at - b->late_s) / b->lates;
	b->busy_until = at + owed_s(b);
}

void route_book_usual_late(struct route_book *b, double usual_late_s)
{
	b->usual_late_s = usual_late_s;
}

void route_book_head(struct route_book *b, const struct route_ticket *t)
{
	if (t->state != ROUTE_TICKET_WAITING)
		return;
	b->head_s = t->work_s;
	/* The last first token may have come before it was sent, and the report
	 * of that after it. */
	b->begun_at = MAX(b->begun_at, t->begin_at);
	b->busy_until = MAX(b->busy_until, b->begun_at + owed_s(b));
}

bool route_gap_begin(struct route_gap *g, const struct route_book *b,
		     double now, double ahead_s)
{
	*g = (struct route_gap){
		.now = now,
		.until = MIN(now, b->begun_at),
		.ahead_s = ahead_s,
		.last = b->moved_at,
	};
	return b->waiting && b->moved_at > now;
}

bool route_gap_add(struct route_gap *g, const struct route_ticket *t)
{
	if (t->state != ROUTE_TICKET_WAITING)
		return true;
	if (t->begin_at > MAX(g->until - g->ahead_s, g->now)) {
		g->moving++;
		g->moving_s = MAX(g->moving_s, t->begin_at - g->now);
	} else {
		g->until += t->work_s;
	}
	return g->until - g->ahead_s < g->last;
}

void route_ticket_inherit(struct route_ticket *from, struct route_ticket *to,
			  double blocks)
{
	double n = MIN(blocks, from->held);

	if (from->state == ROUTE_TICKET_NONE ||
	    to->state == ROUTE_TICKET_NONE || !(n > 0))
		return;
	from->held -= n;
	to->held += n;
}

void route_book_over(struct route_book *b, struct route_ticket *t, double at)
{
	if (t->state == ROUTE_TICKET_NONE)
		return;
	if (t->state == ROUTE_TICKET_WAITING) {
		stop_waiting(b, t);
		b->busy_until -= t->work_s + b->usual_more_s;
	} else {
		b->decode_blocks -= t->blocks;
		b->decode_s =
			b->decode_s * OBSERVED_KEEP + MAX(0, at - t->first_at);
		b->decodes = b->decodes * OBSERVED_KEEP + 1;
		if (--b->running == 0)
			b->decode_blocks = 0;
	}
	b->held -= t->held;
	if (!b->running && !b->waiting)
		b->held = 0;
	t->state = ROUTE_TICKET_NONE;
}

void route_book_stored(struct route_book *b, double stored, double saved_s)
{
	b->stored = b->stored * STORED_KEEP + stored;
	b->saved_s = b->saved_s * STORED_KEEP + saved_s;
	b->lost *= STORED_KEEP;
}

void route_book_lost(struct route_book *b, double lost)
{
	b->lost += lost;
}

/* A block that is stored lets another go. What is let go is used less than the
 * mean of what is kept: LAST_SHARE of it. */
static double copy_s(const struct route_book *b)
{
	double full = b->stored > 0 ? MIN(b->lost / b->stored, 1) : 0;

	return b->stored > 0 ? LAST_SHARE * full * b->saved_s / b->stored : 0;
}

double route_book_stall(const struct route_book *b, double now)
{
	if (!b->waiting)
		return 0;
	return MAX(0, now - b->begun_at - b->head_s - b->usual_more_s -
			      2 * route_book_late(b));
}

/* Work passes with time, but not on and on while no first token is heard of. */
double route_book_wait(const struct route_book *b, double now)
{
	double wait = MAX(0, b->busy_until - now), passed;
	double stall = route_book_stall(b, now);

	if (b->waiting) {
		passed = now - b->begun_at - stall;
		wait = MAX(wait, owed_s(b) - passed) + stall;
	}
	return wait;
}

/* What of the first one's work has passed is behind `at`. */
void route_line_begin(struct route_line *l, const struct route_book *b,
		      double now)
{
	*l = (struct route_line){
		.at = route_book_wait(b, now) - owed_s(b),
		.more_s = b->usual_more_s,
	};
}

double route_line_add(struct route_line *l, const struct route_ticket *t)
{
	double begin = MAX(l->at, 0);

	if (t->state == ROUTE_TICKET_WAITING)
		l->at += t->work_s + l->more_s;
	return begin;
}

double route_book_slowness(const struct route_book *b)
{
	/* a little of "as believed", so that the first words do not shout */
	double prior = 0.25;
	double ratio = (b->observed_s + prior) / (b->predicted_s + prior);

	return MIN(MAX(ratio, 1 / SLOWNESS_MOST), SLOWNESS_MOST);
}

double route_book_trust(const struct route_book *b, double now)
{
	double past = MAX(0, now - b->trust_at);

	return 1 - (1 - b->trust) * exp(-past / TRUST_HEAL_S);
}

void route_book_cached(struct route_book *b, double now, double promised,
		       double cached)
{
	double trust = route_book_trust(b, now), held;

	if (!(promised > 0))
		return;
	held = MIN(MAX(cached / promised, 0), 1);
	trust += (held < trust ? TRUST_FALL : TRUST_RISE) * (held - trust);
	b->trust = trust;
	b->trust_at = now;
}

double route_book_serving(const struct route_book *b, double now)
{
	double past = MAX(0, now - b->served_at);

	return b->served > 0 ? b->served * exp(-past / SERVED_S) : 0;
}

void route_book_served(struct route_book *b, double now, double bytes)
{
	b->served = route_book_serving(b, now) + bytes;
	b->served_at = now;
}

void route_book_fill(const struct route_book *b, double now,
		     struct route_engine *e)
{
	double slow = route_book_slowness(b);

	e->token_s *= slow;
	e->step_s *= slow;
	e->running_s *= slow;
	e->wait_s = route_book_wait(b, now);
	e->trust = route_book_trust(b, now);
	e->served = route_book_serving(b, now);
	e->held = b->held;
	e->decode_s = decode_s(b);
	e->copy_s = copy_s(b);
	e->in_flight = b->waiting + b->running;
	e->waiting = b->waiting;
	e->running = b->running;
	e->prefill_tokens = b->prefill_tokens;
	e->uncached = b->uncached;
	e->decode_blocks = b->decode_blocks;
}

double route_book_returns(const struct route_book *b, uint64_t serial)
{
	struct route_book now = *b;

	recent_fade(&now, serial);
	return now.back;
}

#define POOL_S 1.0 /* of prefill seen, that count as much as the others */

void route_book_pool(const struct route_book *const *books,
		     struct route_engine *engine, uint32_t n)
{
	double token = 0, step = 0, running = 0, seen = 0;

	for (uint32_t i = 0; i < n; i++) {
		double weight = 0.01 + books[i]->predicted_s;

		token += weight * engine[i].token_s;
		step += weight * engine[i].step_s;
		running += weight * engine[i].running_s;
		seen += weight;
	}
	for (uint32_t i = 0; i < n; i++) {
		double own = books[i]->predicted_s;
		struct route_engine *e = &engine[i];

		own /= POOL_S + own;
		e->token_s = own * e->token_s + (1 - own) * token / seen;
		e->step_s = own * e->step_s + (1 - own) * step / seen;
		e->running_s = own * e->running_s + (1 - own) * running / seen;
	}
}

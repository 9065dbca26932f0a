/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The router keeps what would only wait. A request is counted in its engine's
 * queue when it is decided, and is handed over when its turn is near: so much
 * ahead of it as hides how late reports are, and what its own transfers take.
 * Until then it is asked now and then whether it has a better place by what is
 * known by now, and takes that: who was sent cannot be taken back.
 *
 *   router's list of an engine:  sent, sent, sent | HELD, HELD, HELD
 *                                                   `- hold    `- asked, from
 *                                                              here to the left
 */
#include "policy/route_hold.h"
#include "sim/fleet_internal.h"
#include <math.h>

#define LOOK_S	    0.1 /* between two looks at those that are held */
#define LOOK_MOST_S 1.0 /* ... while nothing is heard of and nothing moves */

static struct fleet_belief *belief_of(struct fleet *f,
				      const struct fleet_request *r)
{
	return &f->view.engine[r->engine];
}

/* It is held no more: what follows it is. */
static void unhold(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	struct fleet_belief *b = belief_of(f, r);

	if (b->hold == request)
		b->hold = r->view_next;
	if (b->ask == request)
		b->ask = FLEET_NONE;
	f->view.holds--;
}

static void hand_over(struct fleet *f, uint32_t request)
{
	unhold(f, request);
	fleet_view_begun(f, request);
	fleet_engine_take(f, request);
}

/* Seconds until its turn. */
static double turn_s(const struct fleet *f, uint32_t request)
{
	const struct fleet_request *r = &f->request[request];
	const struct fleet_belief *b = &f->view.engine[r->engine];
	struct route_line line;
	double begin = 0;

	route_line_begin(&line, &b->book, f->now);
	for (uint32_t i = b->waiting.first; i != FLEET_NONE;
	     i = f->request[i].view_next) {
		begin = route_line_add(&line, &f->request[i].ticket);
		if (i == request)
			break;
	}
	return begin;
}

bool fleet_hold_free(const struct fleet *f, uint32_t engine, double needs)
{
	const struct fleet_belief *b = &f->view.engine[engine];

	return b->hold == FLEET_NONE &&
	       route_hold_free(&b->book, f->now,
			       (double)f->o->blocks[ROUTE_VRAM], needs);
}

/* Hands over those whose turn is near. */
static void release(struct fleet *f, uint32_t engine)
{
	struct fleet_belief *b = &f->view.engine[engine];

	while (b->hold != FLEET_NONE && !f->failed) {
		const struct fleet_request *r = &f->request[b->hold];
		double ahead = route_hold_ahead_s(&b->book, r->price.moved_s);

		/* an engine that has nothing to do is never kept waiting */
		if (b->hold != b->waiting.first && turn_s(f, b->hold) > ahead)
			return;
		hand_over(f, b->hold);
	}
}

/* As long as nothing happens, later and later. */
static void look_again(struct fleet *f, double after)
{
	double at = f->now + after;

	if (!f->view.holds || f->view.looks)
		return;
	if (!(at > f->now)) /* a clock of years has no tenths of a second */
		at = nextafter(f->now, (double)INFINITY);
	f->view.looks = true;
	f->view.look_s = after;
	fleet_fail(f, fleet_queue_push(&f->queue, at, FLEET_LOOK, 0, 0));
}

void fleet_hold(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	struct fleet_belief *b = belief_of(f, r);

	if (b->hold == FLEET_NONE)
		b->hold = request;
	f->view.holds++;
	if (f->o->policy->holds && f->o->engines > 1)
		release(f, r->engine);
	else
		hand_over(f, request);
	look_again(f, LOOK_S);
}

/* Whether another engine is better for it, by now. */
static void ask(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];
	uint32_t engine = r->engine;
	double turn = turn_s(f, request);

	if (!fleet_choose_again(f, request, turn))
		return; /* with a new plan, perhaps */
	if (f->view.engine[engine].hold == request)
		f->view.engine[engine].hold = r->view_next;
	f->view.holds--;
	fleet_view_moved(f, request, engine);
	fleet_hold(f, request);
}

/* One of each engine's, from the last to the first. */
static void ask_one(struct fleet *f, uint32_t engine)
{
	struct fleet_belief *b = &f->view.engine[engine];
	uint32_t i = b->ask;

	if (b->hold == FLEET_NONE)
		return;
	if (i == FLEET_NONE || f->request[i].state != FLEET_HELD ||
	    f->request[i].engine != engine)
		i = b->waiting.last;
	b->ask = i == b->hold ? FLEET_NONE : f->request[i].view_prev;
	ask(f, i);
}

void fleet_hold_look(struct fleet *f)
{
	uint64_t heard = f->view.heard;
	uint32_t sent = f->view.sent;
	double after = MIN(2 * f->view.look_s, LOOK_MOST_S);

	f->view.looks = false;
	fleet_view_read(f);
	for (uint32_t i = 0; i < f->o->engines && !f->failed; i++)
		release(f, i);
	for (uint32_t i = 0; i < f->o->engines && !f->failed; i++)
		ask_one(f, i);
	if (heard != f->view.heard || sent != f->view.sent)
		after = LOOK_S;
	look_again(f, after);
}

void fleet_hold_cancel(struct fleet *f, uint32_t request)
{
	struct fleet_request *r = &f->request[request];

	unhold(f, request);
	r->cancelled = true;
	fleet_count_over(f, r);
	fleet_view_over(f, request);
}

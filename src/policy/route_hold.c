/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/route_hold.h"

/* With 1 s, siblings whose turn comes in two are parted from their prefix. */
#define AHEAD_S 4.0
/* A session that leaves its blocks holds memory twice: for a first token in a
 * fifth of the time, not for one that is a little sooner. */
#define GAIN 5.0

double route_hold_ahead_s(const struct route_book *b, double moved_s)
{
	return AHEAD_S + 2 * route_book_late(b) + moved_s;
}

bool route_hold_free(const struct route_book *b, double now, double memory,
		     double needs)
{
	return route_book_wait(b, now) <= route_hold_ahead_s(b, 0) &&
	       (!(memory > 0) || b->held + needs <= memory);
}

bool route_hold_leaves(double turn_s, const struct route_price *price,
		       const struct route_price *other)
{
	double stays = turn_s + price->work_s;

	return other->ttft_s * GAIN < stays &&
	       other->total_s < stays + price->others_s;
}

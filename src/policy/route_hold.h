/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a router keeps instead of sending it. A request that would wait at its
 * engine is counted in that engine's queue and stays with the router until its
 * turn is near; until then it can have a better place, by what is known by then.
 * Pure functions: who holds the requests, and asks again, is the caller.
 */
#ifndef ONECOPY_POLICY_ROUTE_HOLD_H
#define ONECOPY_POLICY_ROUTE_HOLD_H

#include "policy/route_book.h"

/* So many seconds before its turn a request is sent: what an engine needs to have
 * before it, for late reports, for wrong rates, and to share steps and prefixes;
 * and its own transfers (moved_s). */
double route_hold_ahead_s(const struct route_book *b, double moved_s);
/* Whether one that comes now would be sent at once, and the engine has room for
 * `needs` blocks more: only there goes who has waited elsewhere. */
bool route_hold_free(const struct route_book *b, double now, double memory,
		     double needs);
/* Whether one whose turn comes in turn_s, at a price as decided, is better off
 * by `other`. */
bool route_hold_leaves(double turn_s, const struct route_price *price,
		       const struct route_price *other);

#endif

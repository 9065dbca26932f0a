/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device for tests and replays: a tier whose reads take as long as they would
 * on a drive so many times slower. They are done by the tier below it, one after
 * the other in a time of their own,
 *
 *	busy = max(now, busy) + factor * bytes / measured rate
 *	done at  busy + factor * measured latency
 *
 * and its prices and expectations say so. All else is the tier's own. Nothing of
 * it is used unless it is asked for.
 */
#ifndef ONECOPY_TIER_SLOW_H
#define ONECOPY_TIER_SLOW_H

#include "tier/tier.h"

#define SLOW_MOST 1000000.0

/* *tier is what it slows from now on, and is closed by its close(). 0; -EINVAL a
 * factor below 1 or beyond SLOW_MOST; -ENOMEM, -errno of descriptors: *tier is as
 * it was. */
int tier_slow(double factor, struct tier **tier);

#endif

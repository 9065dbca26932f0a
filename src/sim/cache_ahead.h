/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Returns that are expected, by the time at which somebody should look at them
 * again: a heap, the earliest first, and of one time in the order of requests.
 * Inside sim/ only.
 */
#ifndef ONECOPY_SIM_CACHE_AHEAD_H
#define ONECOPY_SIM_CACHE_AHEAD_H

#include "base/compiler.h"

struct ahead_entry {
	uint64_t wake_ms, back_ms; /* look; it is expected back */
	uint64_t request;	   /* which told so */
};

struct ahead {
	struct ahead_entry *entry;
	uint64_t n, room;
};

/* For so many at once. 0, or -ENOMEM. */
int ahead_init(struct ahead *a, uint64_t room);
void ahead_fini(struct ahead *a);
/* There must be room. */
void ahead_add(struct ahead *a, const struct ahead_entry *e);
/* The earliest, when it is not after now_ms. */
bool ahead_take(struct ahead *a, uint64_t now_ms, struct ahead_entry *ret);

#endif

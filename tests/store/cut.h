/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting a run after any of the server's stores: the operation is left by
 * longjmp, the dead server's heap with it, and only what the fake keeper holds
 * goes on. Each cut runs in a process of its own. Only in builds that record
 * stores.
 */
#ifndef ONECOPY_TESTS_STORE_CUT_H
#define ONECOPY_TESTS_STORE_CUT_H

#include "tests/store/world.h"

#define CUT_SLAB 65536ull

#ifdef ONECOPY_RECORD
/* Room for two slabs. */
extern const struct world_config cut_two;

struct cut_case {
	const struct world_config *config;
	void (*prepare)(struct world *w);
	void (*act)(struct world *w);	/* is cut */
	void (*after)(struct world *w); /* may be NULL */
};

/* Cuts after each store; again with one or two stores missing that may be seen
 * late (tests/order.h); and the recovery, or, for a client, with the server. */
void cut_everywhere(const struct cut_case *t);
/* The recovery after a cut there, cut after each of its stores, and again with
 * one missing at every fifth. */
void cut_recovery(const struct cut_case *t, uint64_t stores);
/* The same with the stores of this client instead of the server's. */
void cut_client(const struct cut_case *t, unsigned who);
/* One cut, and one of the recovery after `again` stores (UINT64_MAX: none).
 * False: it ran through. */
bool cut_forked(const struct cut_case *t, uint64_t stores, uint64_t again);
/* The same for a test that does the rest itself. True: it was cut. */
bool cut_after(uint64_t stores, void (*act)(struct world *w), struct world *w);
/* The dead server's own memory is not looked at again. */
void cut_forget(struct world *w);
#endif

#endif

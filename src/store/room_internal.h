/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files that find room for a frame (store/room*.c); what others call is
 * in store/internal.h.
 */
#ifndef ONECOPY_STORE_ROOM_INTERNAL_H
#define ONECOPY_STORE_ROOM_INTERNAL_H

#include "store/internal.h"

/* How long a grant waits for one slab to be let go before it tries for another:
 * living clients answer in less, and the dead are buried by then. */
#define ROOM_AWAIT_NS (100 * NS_PER_MS)

/* ---- store/room_new.c ---- */

/* Bytes of slabs that the client may have beside those it has. */
uint64_t room_share_left(const struct store_client *c);
/* Bytes that a new slab of this client may have at most. */
uint64_t room_for_slab(const struct store_client *c);
/* What keeps it from such a frame; share: room_share_left(). */
enum past_limit room_limit_of(const struct store_client *c, uint64_t share,
			      uint64_t frame_bytes);
/* A slab for this arena is asked for. 0, -ENOSPC, -ENOMEM. */
int room_ask(struct store_client *c, uint32_t arena);

/* ---- store/room_take.c ---- */

/* Of which slabs: any, or those that need nobody's answer. */
enum room_reach { ROOM_ANY, ROOM_AT_HAND };

/* Takes the coldest slab that is cold enough and not in use. victim: stamp of the
 * arena's next one; UINT64_MAX takes any. ask: mappings are asked for what they
 * alone keep. 0: its memory serves this arena now, under a number that may be new;
 * 1: it is on its way out; -ENOSPC. */
int room_take_coldest(struct store_client *c, uint32_t arena, uint64_t victim,
		      enum room_reach reach, bool ask);
/* The same, and what needs no answer first where one is awaited already. */
int room_take(struct store_client *c, uint32_t arena, uint64_t victim);
/* A slab of another tenant's, which borrows more than `more_than`, goes. 1: it is
 * on its way out; -ENOSPC. */
int room_take_lent(struct store_client *c, uint32_t arena, uint64_t more_than);
/* Somebody without any slab, and each slab has a frame in use: one of them is
 * drained. The same of what a lender could give. */
void room_drain(struct store_client *c, uint32_t arena);
void room_drain_lent(struct store_client *c, struct pool *lender);
/* The slab that is retiring for this arena; NULL: none (any more). */
const struct pool_slab *room_awaited(const struct store_client *c,
				     const struct pool_arena *a);
/* There is hope that those who have it let go: no second one meanwhile. */
bool room_awaits(const struct store_client *c, uint32_t arena);

#endif

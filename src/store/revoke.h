/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking clients for what they map.
 *
 * A pin that a mapping holds says so (PIN_MAPPED, coherence/pin.h). Where room
 * is needed and such pins alone keep a block from leaving, its clients are asked
 * to unmap it and to take the pin back (coherence/revoke.h): the word of each
 * pin in the client's segment, one number that grows for all of them, one wake-up.
 * The block comes back with the next touch, from the tier below.
 *
 *        judge(): note of a mapped pin          store_settle(), store_tick()
 *   IDLE ------------------------------> UNSENT --------------------> OPEN
 *     ^                                                                |
 *     |  answered, or none of the pins is there any more               |
 *     '----------------------------------------------------------------'
 *     |  what has been given back leaves                               |
 *     '------------------------ LATE <-------- the deadline passed ----'
 *
 * What is asked for. Blocks that the policy would evict next and that would not
 * be lost: the tier below has them, or their mappings say that they have an
 * answer to a loss (PIN_LOSABLE). A block that several clients map is asked of
 * all. One whose mapping is dear is written below first.
 *
 * LATE: a client that did not answer in time is ended where the operator wants
 * that and the kernel allows it. If not, what it maps is in quarantine: it stays
 * where it is, readable, and its own tenant's, counted there (revoke_held_bytes,
 * slab_bytes); no slab that has some of it is tried for anybody; and nothing is
 * asked of the client until it answers after all, or its process has ended.
 *
 * Nobody waits here. A waiting grant is tried again when an answer has come.
 *
 * Death. What was asked is in the client's segment; who asked, and since when, in
 * this process. A new server takes back the words, waits for an answer to what its
 * predecessor asked as if it had asked that now, and asks again as it needs.
 */
#ifndef ONECOPY_STORE_REVOKE_H
#define ONECOPY_STORE_REVOKE_H

#include "store/internal.h"

/* A mapped pin of a block in the batch. */
struct revoke_note {
	struct store_client *client;
	uint64_t pin;
	uint32_t slot, block;
};

/* Of a client that has been asked. */
struct revoke {
	struct revoke_pin {
		uint64_t pin; /* without flags, but for PIN_LOSABLE */
		uint32_t slot;
	} * pin;
	uint32_t n, cap;
	bool unsent, open, late;
	bool killed; /* it was sent SIGKILL */
	uint64_t since_ns;
	struct store_cause cause;
};

/* Notes a mapped pin. False: it counts as any other. */
bool revoke_note(struct evict_batch *b, struct store_client *c, uint32_t slot,
		 uint32_t block, uint64_t pin);
/* After all pins were seen, before anything is spared: asks for up to
 * batch.ask_most of the blocks that mappings alone hold, and says in
 * batch.pinned what each of them is. all: for all or none. */
void revoke_choose(struct store *s, struct pool *p, bool all);
/* Tells the clients. At the end of a turn. */
void revoke_send(struct store *s);
/* A slab goes: a client that is only asked to look follows the node. */
void revoke_nudge(struct store_client *c);
/* Deals with answers; before waiting grants are tried. */
void revoke_settle(struct store *s);
/* The same, and deadlines. */
void revoke_tick(struct store *s);
/* Pins of this client are no more. */
void revoke_forget_client(struct store_client *c);
/* A predecessor's client. */
void revoke_adopt(struct store_client *c);
/* Mappings that nobody answers for hold some of the slab. */
bool revoke_holds(const struct store *s, const struct pool *p,
		  const struct pool_slab *slab);
void revoke_fini(struct store *s);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings are asked for: the client's side of coherence/revoke.h.
 *
 * A client that maps has a thread for it, which sleeps until the server asks,
 * lets all who map give back what they can, and answers. It is there while
 * somebody has joined; a client without has no pin that says so.
 *
 * Locks: revoke_lock is held while let_go() is called, and comes before all that it
 * takes. Whoever joins or leaves waits for the questions in hand, so he holds no
 * lock that let_go() takes. And who has such a lock waits for no room of the
 * node's: it may be asked of this very client.
 */
#ifndef ONECOPY_CLIENT_REVOKE_H
#define ONECOPY_CLIENT_REVOKE_H

#include "client/client.h"
#include "coherence/revoke.h"

struct revoke_user {
	struct revoke_user *next;
	/* Gives back what revoke_wants(), as far as it can. */
	void (*let_go)(void *ctx);
	void *ctx;
};
/* -ENOMEM, -EAGAIN: no thread. */
int revoke_join(oc_client *c, struct revoke_user *u);
/* It is not called any more. Takes who has not joined. */
void revoke_leave(oc_client *c, struct revoke_user *u);

/* Is this pin asked for? Not where it holds something else, or for something
 * else, than what the server saw in its slot. */
bool revoke_wants(const oc_client *c, const struct oc_pin *pin);
/* Also when it is in direct use by now, and so is to be kept? */
bool revoke_names(const oc_client *c, const struct oc_pin *pin);
/* Says of a pin what it is held for: 0 or PIN_MAPPED, with PIN_LOSABLE. A pin of
 * the server's side says what it was taken with (PIN_BY_MAPPING). */
void revoke_say(oc_client *c, const struct oc_pin *pin, uint64_t flags);

#endif

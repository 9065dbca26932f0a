/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings are asked for: the client's side of coherence/revoke.h.
 *
 * A client that maps has a thread for it, which sleeps until the server asks,
 * lets all who map give back what they can, and answers. It is there while
 * somebody has joined; a client without has no pin that says so.
 *
 * Locks: whoever joins or leaves waits for the questions in hand, so he holds no
 * lock that let_go() takes. revoke_pending() and revoke_wants() take none.
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

/* What a thread does that waits for room while it holds a lock which let_go()
 * takes. 0: it waits on; -errno: it gives the request up. NULL: none is held. */
struct revoke_here {
	int (*give_way)(void *ctx);
	void *ctx;
};
extern _Thread_local const struct revoke_here *revoke_here;

/* Is there a question without an answer? */
static inline bool revoke_pending(const oc_client *c)
{
	const struct client_header *h = &c->seg->header;

	return shared_load64(&h->asked) != shared_load64(&h->answered);
}
/* Is this pin asked for? */
bool revoke_wants(const oc_client *c, const struct oc_pin *pin);
/* Says of a pin what it is held for: 0 or PIN_MAPPED, with PIN_LOSABLE. A pin of
 * the server's side says what it was taken with (OC_PIN_BY_MAPPING). */
void revoke_say(oc_client *c, const struct oc_pin *pin, uint64_t flags);

#endif

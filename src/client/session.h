/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by client/session*.c alone. */
#ifndef ONECOPY_CLIENT_SESSION_H
#define ONECOPY_CLIENT_SESSION_H

#include <onecopy/session.h>
#include "client/client.h"
#include "shm/session.h"

/* A tail's part as this handle writes it. */
struct tail_part {
	struct oc_grant grant; /* data NULL: none */
	uint32_t tokens;       /* that were in it when it was lent */
	uint64_t before; /* frame that was lent for the block before; 0: none */
};

struct oc_session {
	oc_ns *ns;
	uint64_t id;
	bool looks;    /* FIND: not the owner's handle */
	uint32_t keys; /* as this handle knows */
	/* the tail that is shared, when tokens is not 0 */
	uint32_t tail_tokens;
	bool tail_known; /* tail_key is its key */
	struct oc_key tail_key;
	uint64_t lent; /* tails, so far: for keys nobody has */
	uint32_t parts;
	struct tail_part part[]; /* [group][rank] */
};

/* What an answer means; the text of a failure. */
int session_result(const oc_client *c, int64_t result);
/* A request and its answer. */
int session_round(oc_session *s, struct ring_call *q, uint64_t timeout_ns,
		  struct ring_answer *ret_answer);
/* What the node says of it. */
int session_ask(oc_session *s, uint64_t deadline,
		struct session_said *ret_said);
/* The tail that is being written is given back; does not wait. */
void session_tail_drop(oc_session *s);
bool session_tail_open(const oc_session *s);

#endif

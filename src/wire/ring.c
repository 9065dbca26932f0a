/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/ring.h"

_Static_assert((RING_SLOTS & (RING_SLOTS - 1)) == 0, "a power of two");
_Static_assert(offsetof(struct ring_resp, seq) == 0, "the futex word");

bool ring_req_load(const struct ring_req *req, const struct ring_resp *resp,
		   uint32_t slot, struct ring_call *ret_call)
{
	/* Pairs with C2 in ring_req_store(). A client that stores fields
	 * after C2 spoils its own request: each is loaded once, here. */
	uint64_t seq = shared_load64_acquire(&req->seq);

	/* The server's own word: no order is needed. */
	if (seq == 0 || seq == shared_load64(&resp->seq))
		return false;
	ret_call->seq = seq;
	ret_call->op = shared_load64(&req->op);
	ret_call->part = shared_load64(&req->part);
	shared_load_words(ret_call->key, req->key, 4);
	ret_call->loc = shared_load64(&req->loc);
	ret_call->gen = shared_load64(&req->gen);
	ret_call->extent = shared_load64(&req->extent);
	ret_call->checksum = shared_load64(&req->checksum);
	ret_call->timeout_ns = shared_load64(&req->timeout_ns);
	ret_call->arg = shared_load64(&req->arg);
	ret_call->arg2 = shared_load64(&req->arg2);
	ret_call->slot = slot;
	return true;
}

void ring_req_store(struct ring_req *req, const struct ring_call *call,
		    bool notify)
{
	shared_store64(&req->op, call->op);
	shared_store64(&req->part, call->part);
	shared_store_words(req->key, call->key, 4);
	shared_store64(&req->loc, call->loc);
	shared_store64(&req->gen, call->gen);
	shared_store64(&req->extent, call->extent);
	shared_store64(&req->checksum, call->checksum);
	shared_store64(&req->timeout_ns, call->timeout_ns);
	shared_store64(&req->arg, call->arg);
	shared_store64(&req->arg2, call->arg2);
	shared_store32(&req->waiting, 0);
	shared_store32(&req->notify, notify);
	/* C2: pairs with the acquire load in ring_req_load(). */
	shared_store64_release(&req->seq, call->seq);
}

void ring_resp_store(struct ring_resp *resp, uint64_t seq,
		     const struct ring_answer *answer)
{
	shared_store64(&resp->result, (uint64_t)answer->result);
	shared_store64(&resp->loc, answer->loc);
	shared_store64(&resp->gen, answer->gen);
	shared_store64(&resp->arg, answer->arg);
	shared_store64(&resp->arg2, answer->arg2);
	/* S3: pairs with C5 in ring_resp_load(). */
	shared_store64_release(&resp->seq, seq);
}

bool ring_resp_load(const struct ring_resp *resp, uint64_t seq,
		    struct ring_answer *ret_answer)
{
	/* C5: pairs with S3 in ring_resp_store(). */
	if (shared_load64_acquire(&resp->seq) != seq)
		return false;
	ret_answer->result = (int64_t)shared_load64(&resp->result);
	ret_answer->loc = shared_load64(&resp->loc);
	ret_answer->gen = shared_load64(&resp->gen);
	ret_answer->arg = shared_load64(&resp->arg);
	ret_answer->arg2 = shared_load64(&resp->arg2);
	return true;
}

void ring_call_name(const struct ring_call *call, char ret_name[RING_NAME])
{
	uint64_t words[RING_NAME / 8] = { call->key[0], call->key[1],
					  call->key[2], call->key[3],
					  call->loc,	call->gen,
					  call->extent, call->checksum };

	memcpy(ret_name, words, RING_NAME);
	ret_name[RING_NAME - 1] = '\0';
}

void ring_call_set_name(struct ring_call *call, const char *name)
{
	uint64_t words[RING_NAME / 8] = { 0 };

	memcpy(words, name, strnlen(name, RING_NAME - 1));
	memcpy(call->key, words, sizeof(call->key));
	call->loc = words[4];
	call->gen = words[5];
	call->extent = words[6];
	call->checksum = words[7];
}

const char *ring_answer_end_name(uint64_t ended)
{
	static const char *const names[RING_ANSWER_ENDS] = {
		"unknown", "turn", "tool", "length", "stop", "cancel", "other",
	};

	return ended < RING_ANSWER_ENDS ? names[ended] : NULL;
}

const char *ring_op_name(uint64_t op)
{
	static const char *const names[RING_OPS] = {
		[RING_NOP] = "nop",
		[RING_GRANT] = "grant",
		[RING_SEAL] = "seal",
		[RING_ABANDON] = "abandon",
		[RING_REMOVE] = "remove",
		[RING_PIN] = "pin",
		[RING_UNPIN] = "unpin",
		[RING_CANCEL] = "cancel",
		[RING_NS_OPEN] = "ns_open",
		[RING_REPORT] = "report",
		[RING_BAD] = "bad",
		[RING_SESSION_OPEN] = "session_open",
		[RING_SESSION_FORK] = "session_fork",
		[RING_SESSION_APPEND] = "session_append",
		[RING_SESSION_TAIL] = "session_tail",
		[RING_SESSION_STATE] = "session_state",
		[RING_SESSION_KEYS] = "session_keys",
		[RING_SESSION_INFO] = "session_info",
		[RING_LOOK] = "look",
		[RING_FETCH] = "fetch",
		[RING_SESSION_EXPECT] = "session_expect",
	};

	return op < RING_OPS && names[op] ? names[op] : "no request";
}

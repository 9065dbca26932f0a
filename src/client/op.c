/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Submit forms: operations whose completions are taken later, by any thread.
 *
 * The notify eventfd tells of completions and of the node's announcements.
 * Who reads it empties it for all, so it is made readable again when
 * something is left for others.
 */
#include <onecopy/tiers.h>
#include "client/reach.h"
#include <sys/socket.h>
#include <poll.h>
#include <unistd.h>

static int fetch_call(const struct oc_op *op, struct ring_call *ret_q)
{
	bool part = op->flags & OC_FETCH_PART;

	if (op->flags & ~(unsigned)(OC_FETCH_AHEAD | OC_FETCH_PART))
		return client_fail(op->ns->c, -EINVAL,
				   "unknown flags of a fetch: %#x", op->flags);
	if (part && !ns_has(op->ns, op->part))
		return client_fail(op->ns->c, -EINVAL, "no part (%u, %u) here",
				   op->part.group, op->part.rank);
	*ret_q = reach_call(op->ns, &op->key,
			    part ? op->part.rank : RING_RANK_ALL,
			    part ? 1u << op->part.group : 0);
	if (op->flags & OC_FETCH_AHEAD)
		ret_q->arg2 |= RING_FETCH_AHEAD;
	return 0;
}

static int make_call(const struct oc_op *op, struct ring_call *ret_q,
		     struct oc_grant *ret_asked)
{
	switch (op->kind) {
	case OC_OP_GRANT:
		return write_grant_call(op->ns, &op->key, op->part, op->bytes,
					op->tokens, op->flags, ret_q,
					ret_asked);
	case OC_OP_SEAL:
		return write_seal_call(op->ns, op->grant, op->checksum, ret_q);
	case OC_OP_ABANDON:
		return write_abandon_call(op->ns, op->grant, ret_q);
	case OC_OP_REMOVE:
		return write_remove_call(op->ns, &op->key, ret_q);
	case OC_OP_FETCH:
		return fetch_call(op, ret_q);
	case OC_OP_NOP:
		*ret_q = (struct ring_call){ .op = RING_NOP };
		return 0;
	}
	return -EINVAL;
}

static bool op_is_whole(const oc_client *c, const struct oc_op *op)
{
	bool grant = op->kind == OC_OP_GRANT || op->kind == OC_OP_SEAL ||
		     op->kind == OC_OP_ABANDON;

	if (op->kind == OC_OP_NOP)
		return true;
	return op->ns && op->ns->c == c && (!grant || op->grant);
}

int oc_op_submit(oc_client *c, const struct oc_op *op, uint64_t *ret_id)
{
	struct oc_op o = { .size = sizeof(o) };
	struct oc_grant asked = { 0 };
	struct ring_call q;
	struct call *k;
	uint32_t slot;
	int r;

	if (client_is_child(c))
		return client_child(c);
	if (options_copy(&o, sizeof(o), op) || !op_is_whole(c, &o))
		return client_fail(c, -EINVAL, "an incomplete operation");
	r = make_call(&o, &q, &asked);
	if (r)
		return r;
	r = call_claim(c, 0, &slot);
	if (r)
		return r;
	q.timeout_ns = client_span(c, o.timeout_ns);
	k = &c->call[slot];
	atomic_store_explicit(&k->deadline,
			      client_deadline(c, o.timeout_ns) +
				      CLIENT_GRACE_NS,
			      memory_order_relaxed);
	k->user_data = o.user_data;
	k->kind = o.kind;
	k->ns = o.ns;
	k->grant = o.grant;
	k->asked = asked;
	atomic_fetch_add_explicit(&c->ops, 1, memory_order_relaxed);
	*ret_id = call_push(c, slot, &q, CALL_OP);
	call_wake(c);
	return 0;
}

int oc_op_cancel(oc_client *c, uint64_t id)
{
	uint32_t slot = (uint32_t)(id % RING_SLOTS);
	struct ring_call q = { .op = RING_CANCEL, .arg = slot, .arg2 = id };

	if (client_is_child(c))
		return client_child(c);
	return call_forget(c, &q, 0);
}

/* What the answer means, with the grant written. */
static int op_finish(oc_client *c, struct call *k, const struct ring_answer *a)
{
	int r;

	if (k->kind == OC_OP_GRANT)
		return write_granted(k->ns, &k->asked, a, client_deadline(c, 0),
				     k->grant);
	r = write_result(c, (enum ring_op)k->op, a->result);
	if ((k->kind == OC_OP_SEAL || k->kind == OC_OP_ABANDON) &&
	    r != -ETIMEDOUT)
		k->grant->data = NULL;
	return r;
}

/* Looks at one slot. True: *ret_done is its completion. */
static bool op_poll(oc_client *c, uint32_t slot, uint64_t now, int gone,
		    struct oc_completion *ret_done)
{
	struct call *k = &c->call[slot];
	uint64_t seq = atomic_load_explicit(&k->seq, memory_order_relaxed);
	uint64_t deadline =
		atomic_load_explicit(&k->deadline, memory_order_relaxed);
	uint32_t expected = CALL_OP;
	struct ring_answer a;
	bool answered;

	if (atomic_load_explicit(&k->state, memory_order_acquire) != CALL_OP)
		return false;
	answered = ring_resp_load(&c->seg->resp[slot], seq, &a);
	if (!answered && !gone && now < deadline)
		return false;
	if (!atomic_compare_exchange_strong_explicit(
		    &k->state, &expected, CALL_TAKING, memory_order_acquire,
		    memory_order_relaxed))
		return false;
	/* The slot may have gone round between the two looks. */
	seq = atomic_load_explicit(&k->seq, memory_order_relaxed);
	answered = ring_resp_load(&c->seg->resp[slot], seq, &a);
	deadline = atomic_load_explicit(&k->deadline, memory_order_relaxed);
	if (!answered && !gone && now < deadline) {
		atomic_store_explicit(&k->state, CALL_OP, memory_order_release);
		return false;
	}
	ret_done->user_data = k->user_data;
	ret_done->kind = k->kind;
	ret_done->result = answered ? op_finish(c, k, &a)
			   : gone   ? gone
				    : -ETIMEDOUT;
	atomic_fetch_sub_explicit(&c->ops, 1, memory_order_relaxed);
	if (answered)
		call_free(c, slot);
	else
		call_zombie(c, slot, !gone);
	return true;
}

static size_t op_collect(oc_client *c, struct oc_completion *ret_done, size_t n,
			 int gone)
{
	uint64_t now = clock_ns();
	size_t got = 0;

	for (uint32_t i = 0; i < RING_SLOTS && got < n; i++)
		got += op_poll(c, i, now, gone, &ret_done[got]);
	return got;
}

/* True when an operation is answered and not taken. */
static bool op_left(oc_client *c)
{
	for (uint32_t i = 0; i < RING_SLOTS; i++) {
		struct call *k = &c->call[i];
		struct ring_answer a;

		if (atomic_load_explicit(&k->state, memory_order_acquire) ==
			    CALL_OP &&
		    ring_resp_load(&c->seg->resp[i],
				   atomic_load_explicit(&k->seq,
							memory_order_relaxed),
				   &a))
			return true;
	}
	return false;
}

/* False: the node has closed its end of the bell. */
static bool event_drain(const oc_client *c)
{
	uint8_t rings[256];
	uint64_t count;
	ssize_t n;

	/* -EAGAIN: nothing, or somebody else was faster. */
	do
		n = recv(c->bell, rings, sizeof(rings), MSG_DONTWAIT);
	while (n == (ssize_t)sizeof(rings));
	if (read(c->self, &count, sizeof(count)) < 0)
		count = 0; /* nobody passed anything on */
	return n != 0;
}

static void event_pass_on(oc_client *c)
{
	uint64_t one = 1;

	if (op_left(c) && write(c->self, &one, sizeof(one)) < 0)
		return;
}

static void event_wait(const oc_client *c, uint64_t until)
{
	struct pollfd p = { .fd = c->notify, .events = POLLIN };
	uint64_t now = clock_ns();

	if (now < until)
		poll(&p, 1, (int)DIV_UP(until - now, NS_PER_MS));
}

int oc_op_take(oc_client *c, struct oc_completion *ret_done, size_t n,
	       uint64_t timeout_ns, size_t *ret_n)
{
	uint64_t deadline;
	int gone = 0;

	if (client_is_child(c))
		return client_child(c);
	if (n == 0)
		return OC_NONE;
	deadline = client_deadline(c, timeout_ns);
	for (;;) {
		uint64_t slice = clock_ns() + CLIENT_SLICE_NS;
		size_t got;

		if (!event_drain(c))
			gone = client_gone(c);
		if (client_behind(c))
			region_follow(c);
		got = op_collect(c, ret_done, n, gone);
		if (got) {
			event_pass_on(c);
			*ret_n = got;
			return 0;
		}
		if (atomic_load_explicit(&c->ops, memory_order_relaxed) == 0 ||
		    clock_ns() >= deadline)
			return OC_NONE;
		event_wait(c, MIN(slice, deadline));
		if (clock_ns() >= slice)
			gone = client_gone(c);
	}
}

int oc_client_dispatch(oc_client *c)
{
	if (client_is_child(c))
		return client_child(c);
	event_drain(c);
	call_reap(c);
	if (client_behind(c))
		region_follow(c);
	event_pass_on(c);
	return 0;
}

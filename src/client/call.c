/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests through the ring (wire/ring.h, the client's side).
 *
 * A slot's life here:
 *
 *   FREE -> WAITED -> (answered) -> FREE
 *              \-> (given up) ZOMBIE -> (answered) TAKING -> FREE
 *   FREE -> OP -> (answered) TAKING -> FREE
 *            \-> (deadline, node gone) TAKING -> ZOMBIE
 *
 * A slot is never used again before its answer came: the server may still
 * read it. A frame granted to a zombie is abandoned from the same slot, so
 * that giving it back cannot fail.
 */
#include "client/client.h"
#include <sys/socket.h>
#include <sched.h>
#include <unistd.h>

#define SPINS	     200 /* a few microseconds; the usual answer comes within */
#define FULL_WAIT_NS (50 * NS_PER_US)

static const futex_word *resp_word(const struct ring_resp *resp)
{
	/* The low half of seq on a little-endian machine. */
	return (const futex_word *)(uintptr_t)&resp->seq;
}

static void call_set(struct call *k, enum call_state state)
{
	atomic_store_explicit(&k->state, state, memory_order_release);
}

/* One of two threads gets it. */
static bool call_seize(struct call *k, enum call_state from)
{
	uint32_t expected = from;

	return atomic_compare_exchange_strong_explicit(&k->state, &expected,
						       CALL_TAKING,
						       memory_order_acquire,
						       memory_order_relaxed);
}

void call_free(oc_client *c, uint32_t slot)
{
	call_set(&c->call[slot], CALL_FREE);
	slots_release(&c->calls, slot);
}

uint64_t call_push(oc_client *c, uint32_t slot, const struct ring_call *q,
		   enum call_state state)
{
	struct call *k = &c->call[slot];
	struct client_segment *seg = c->seg;
	struct ring_call mine = *q;
	uint64_t seq = atomic_load_explicit(&k->seq, memory_order_relaxed);

	/* seq % RING_SLOTS is the slot, so seq alone names an operation. */
	mine.seq = (seq ? seq : slot) + RING_SLOTS;
	mine.slot = slot;
	k->op = (uint32_t)q->op;
	atomic_store_explicit(&k->seq, mine.seq, memory_order_relaxed);
	if (state == CALL_ZOMBIE)
		atomic_fetch_add_explicit(&c->zombies, 1, memory_order_relaxed);
	ring_req_store(&seg->req[slot], &mine, state == CALL_OP);
	lock_take_short(&c->push);
	shared_store32(&seg->ring[c->tail % RING_SLOTS], slot);
	c->tail++;
	/* Release: pairs with the server's acquire (S1) in session_turn(). */
	shared_store64_release(&seg->header.tail, c->tail);
	lock_drop(&c->push);
	/* Last: from here on another thread may take the slot further. */
	call_set(k, state);
	return mine.seq;
}

void call_wake(oc_client *c)
{
	/* C4: the tail before `asleep`; the server does the reverse. */
	shared_fence();
	if (shared_load64(&c->seg->header.asleep) != 1)
		return;
	/* A full queue is readable, which is all that is wanted. */
	if (send(c->bell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

/* The answered zombie `slot` is in this thread's hands. */
static void bury(oc_client *c, uint32_t slot, const struct ring_answer *a)
{
	struct call *k = &c->call[slot];
	struct ring_call q = { 0 };

	atomic_fetch_sub_explicit(&c->zombies, 1, memory_order_relaxed);
	if (a->result == 0 && k->op == RING_GRANT) {
		q.op = RING_ABANDON;
		q.loc = a->loc;
		q.gen = a->gen;
	} else if (a->result == 0 && k->op == RING_PIN) {
		q.op = RING_UNPIN;
		q.arg = a->arg;
	} else if (a->result == 0 &&
		   (k->op == RING_SESSION_OPEN || k->op == RING_SESSION_FORK) &&
		   a->arg2 == 1) {
		/* made for a caller that has given up */
		q.op = RING_SESSION_STATE;
		q.arg = a->loc;
		q.arg2 = RING_STATE_CLOSE;
	} else {
		call_free(c, slot);
		return;
	}
	call_push(c, slot, &q, CALL_ZOMBIE);
	call_wake(c);
}

void call_reap(oc_client *c)
{
	if (likely(atomic_load_explicit(&c->zombies, memory_order_relaxed) ==
		   0))
		return;
	for (uint32_t i = 0; i < RING_SLOTS; i++) {
		struct call *k = &c->call[i];
		struct ring_answer a;

		if (atomic_load_explicit(&k->state, memory_order_relaxed) !=
			    CALL_ZOMBIE ||
		    !call_seize(k, CALL_ZOMBIE))
			continue;
		if (ring_resp_load(&c->seg->resp[i],
				   atomic_load_explicit(&k->seq,
							memory_order_relaxed),
				   &a))
			bury(c, i, &a);
		else
			call_set(k, CALL_ZOMBIE);
	}
}

int call_claim(oc_client *c, uint64_t deadline, uint32_t *ret_slot)
{
	uint32_t hint = slots_thread();
	int r;

	call_reap(c);
	for (;;) {
		uint32_t slot = slots_claim(&c->calls, hint);

		if (slot != SLOTS_NONE) {
			*ret_slot = slot;
			return 0;
		}
		call_reap(c);
		r = client_gone(c);
		if (r)
			return r;
		if (clock_ns() >= deadline)
			return client_fail(c, -EAGAIN,
					   "%d requests are under way already",
					   RING_SLOTS);
		/* Nobody wakes us here: slots come back on all sides. */
		nanosleep(&(struct timespec){ .tv_nsec = FULL_WAIT_NS }, NULL);
	}
}

int call_begin(oc_client *c, const struct ring_call *q, enum call_state state,
	       uint64_t deadline, uint32_t *ret_slot)
{
	uint32_t slot;
	int r = call_claim(c, deadline, &slot);

	if (r)
		return r;
	call_push(c, slot, q, state);
	*ret_slot = slot;
	return 0;
}

void call_zombie(oc_client *c, uint32_t slot, bool cancel)
{
	struct call *k = &c->call[slot];
	struct ring_call q = {
		.op = RING_CANCEL,
		.arg = slot,
		.arg2 = atomic_load_explicit(&k->seq, memory_order_relaxed),
	};

	atomic_fetch_add_explicit(&c->zombies, 1, memory_order_relaxed);
	call_set(k, CALL_ZOMBIE);
	if (cancel)
		call_forget(c, &q, 0);
}

/* Sleeps until the answer or the end of a slice. */
static void sleep_slice(oc_client *c, uint32_t slot, uint64_t seq,
			uint64_t until)
{
	struct ring_req *req = &c->seg->req[slot];
	const struct ring_resp *resp = &c->seg->resp[slot];
	struct ring_answer a;
	uint32_t low = (uint32_t)shared_load64_acquire(&resp->seq);
	uint64_t now = clock_ns();

	if (low == (uint32_t)seq || now >= until)
		return;
	shared_store32(&req->waiting, 1);
	/* Pairs with S4 in turn_flush(): we see its answer or it sees
	 * `waiting`. */
	shared_fence();
	if (!ring_resp_load(resp, seq, &a))
		futex_sleep(resp_word(resp), low, until - now, true);
	shared_store32(&req->waiting, 0);
}

static bool spin(const struct ring_resp *resp, uint64_t seq,
		 struct ring_answer *ret_answer)
{
	for (int i = 0; i < SPINS; i++) {
		if (ring_resp_load(resp, seq, ret_answer))
			return true;
		cpu_relax();
	}
	sched_yield();
	return ring_resp_load(resp, seq, ret_answer);
}

int call_wait(oc_client *c, uint32_t slot, uint64_t deadline,
	      struct ring_answer *ret_answer)
{
	const struct ring_resp *resp = &c->seg->resp[slot];
	uint64_t seq =
		atomic_load_explicit(&c->call[slot].seq, memory_order_relaxed);
	uint64_t until = deadline + CLIENT_GRACE_NS;
	bool done = spin(resp, seq, ret_answer);
	int r = 0;

	while (!done && r == 0) {
		uint64_t slice = clock_ns() + CLIENT_SLICE_NS;

		sleep_slice(c, slot, seq, MIN(slice, until));
		done = ring_resp_load(resp, seq, ret_answer);
		if (done)
			break;
		if (clock_ns() >= until)
			r = client_fail(c, -ETIMEDOUT,
					"the server did not answer in time");
		else if (clock_ns() >= slice)
			r = client_gone(c);
		/* What this very call waits for may be a slab of ours. */
		if (r == 0 && client_behind(c))
			region_follow(c);
	}
	if (done)
		call_free(c, slot);
	else
		call_zombie(c, slot, r == -ETIMEDOUT);
	return r;
}

int call_round(oc_client *c, struct ring_call *q, uint64_t timeout_ns,
	       struct ring_answer *ret_answer)
{
	uint64_t deadline = client_deadline(c, timeout_ns);
	uint32_t slot;
	int r;

	q->timeout_ns = client_span(c, timeout_ns);
	r = call_begin(c, q, CALL_WAITED, deadline, &slot);
	if (r)
		return r == -EAGAIN ? -ETIMEDOUT : r;
	call_wake(c);
	return call_wait(c, slot, deadline, ret_answer);
}

int call_forget(oc_client *c, const struct ring_call *q, uint64_t deadline)
{
	uint32_t slot = slots_claim(&c->calls, slots_thread());
	int r;

	if (slot == SLOTS_NONE) {
		if (deadline == 0)
			return -EAGAIN;
		r = call_claim(c, deadline, &slot);
		if (r)
			return r;
	}
	call_push(c, slot, q, CALL_ZOMBIE);
	call_wake(c);
	return 0;
}

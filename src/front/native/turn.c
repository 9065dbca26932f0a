/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serving rings: the server's side of wire/ring.h.
 *
 * Answers are collected for a turn, so that one fence and one look at each
 * waiting flag serve several requests, and a completion descriptor is written
 * once.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "front/native/session.h"
#include <onecopy/onecopy.h>

#define TURN_REQUESTS 64
#define TRIES_MAX     3u /* servers that may die with a request in hand */
/* How long a ring is looked at after its last request before its client has
 * to wake the server: longer than a round trip, shorter than what an idle
 * node may burn. */
#define AWAKE_NS (50 * NS_PER_US)

void turn_wake(struct session *s)
{
	s->busy_ns = s->native->now_ns;
	if (s->awake)
		return;
	s->awake = true;
	shared_store64(&s->client->segment->header.asleep, 0);
	s->next_awake = s->native->awake;
	s->native->awake = s;
}

/* S3; the rest of S4 follows in turn_flush(). */
void turn_answer(struct session *s, const struct ring_call *call,
		 const struct ring_answer *answer)
{
	struct client_segment *seg = s->client->segment;

	ring_resp_store(&seg->resp[call->slot], call->seq, answer);
	if (shared_load32(&seg->req[call->slot].notify))
		s->notify_due = true;
	if (s->n_answered == ARRAY_LEN(s->answered))
		turn_flush(s);
	s->answered[s->n_answered++] = call->slot;
}

static void futex_wake(const shared_u64 *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Never waits, whatever the client did to its end; when its queue is full, it
 * is readable already. */
void turn_ring(struct session *s)
{
	if (send(s->bell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

void turn_flush(struct session *s)
{
	struct client_segment *seg;

	if (s->n_answered) {
		seg = s->client->segment;
		/* S4: pairs with the client's in sleep_slice() */
		shared_fence();
		for (uint32_t i = 0; i < s->n_answered; i++)
			if (shared_load32(&seg->req[s->answered[i]].waiting))
				futex_wake(&seg->resp[s->answered[i]].seq);
		s->n_answered = 0;
	}
	if (s->notify_due) {
		s->notify_due = false;
		turn_ring(s);
	}
}

/* Notes what is in hand, so that a request on which servers die is not the end
 * of the node. False: it has been tried often enough. */
static bool begin(struct session *s, const struct ring_call *call)
{
	struct client_record *rec = s->client->record;
	uint64_t tries = 1;

	if (shared_load64(&rec->serving) == call->seq)
		tries += shared_load64(&rec->tries);
	shared_store64(&rec->tries, tries);
	shared_store64(&rec->serving, call->seq);
	return tries <= TRIES_MAX;
}

/* What no library of ours asks for. */
static bool is_fault(const struct ring_call *call, int64_t result)
{
	switch (result) {
	case -EINVAL:
	case -EPERM:
	case -E2BIG:
	case -EOPNOTSUPP:
		return true;
	case OC_STALE: /* a frame that it was not lent */
		return call->op == RING_SEAL || call->op == RING_ABANDON;
	default:
		return false;
	}
}

/* Counted, shown by `stat`; said in the log the first time, then each time that
 * it has doubled. */
static void note_fault(struct session *s, uint64_t op, int64_t result)
{
	struct store_client *c = s->client;
	const struct client_record *rec = c->record;
	char name[LAYOUT_NAME + 1] = "", tenant[LAYOUT_NAME + 1] = "";

	c->faults++;
	c->fault_op = op < RING_OPS ? (uint32_t)op : RING_OPS;
	c->fault_result = result;
	pool_count(c->pool, POOL_C_faults, 1);
	if (c->faults & (c->faults - 1))
		return;
	shared_load_bytes(name, LAYOUT_NAME, rec->name);
	shared_load_bytes(tenant, LAYOUT_NAME, c->pool->m->header.tenant);
	log_some(s->native,
		 "client %llu (%s, process %u, user %u, tenant \"%s\"): "
		 "request %llu of it was refused: %s: %s",
		 (unsigned long long)c->id, name,
		 (unsigned)(shared_load64(&rec->pid_uid) >> 32),
		 (unsigned)shared_load64(&rec->pid_uid), tenant,
		 (unsigned long long)c->faults, ring_op_name(c->fault_op),
		 result == OC_STALE ? "not lent to it"
				    : strerror((int)-result));
}

static void serve(struct session *s, const struct ring_call *call,
		  uint32_t backlog, bool repeat)
{
	bool later = false;
	struct ring_answer answer = { .result = -EIO };

	if (!begin(s, call))
		log_some(s->native,
			 "a request (%llu) is given up: it was in "
			 "hand when %u servers died",
			 (unsigned long long)call->op, TRIES_MAX);
	else if (call->op == RING_NS_OPEN)
		report_ns_open(s, &answer);
	else if (call->op == RING_REPORT)
		report_call(s, call, &answer);
	else if (store_call(s->client, call, backlog, repeat, &answer) ==
		 STORE_LATER)
		later = true;
	shared_store64(&s->client->record->serving, 0);
	if (later)
		return;
	if (is_fault(call, answer.result))
		note_fault(s, call->op, answer.result);
	turn_answer(s, call, &answer);
}

/* Looks at much memory: one of them is enough for a client's turn. A repeated
 * one looks for what it made before among all sessions. */
static bool is_long(const struct ring_call *call, bool repeat)
{
	if (repeat &&
	    (call->op == RING_SESSION_OPEN || call->op == RING_SESSION_FORK))
		return true;
	/* the policy is told of all its keys, but when its lease is renewed */
	if (call->op == RING_SESSION_STATE)
		return call->arg2 != RING_STATE_RENEW;
	return call->op == RING_REPORT || call->op == RING_REMOVE ||
	       call->op == RING_BAD || call->op == RING_NS_OPEN ||
	       call->op == RING_SESSION_INFO || call->op == RING_SESSION_KEYS ||
	       ((call->op == RING_LOOK || call->op == RING_FETCH) &&
		call->arg > 64) ||
	       /* each session is looked for in all orders of the policy */
	       call->op == RING_SESSION_EXPECT ||
	       (call->op == RING_SESSION_APPEND && (uint32_t)call->arg2 > 64);
}

/* True: it was a long one. */
static bool serve_slot(struct session *s, uint32_t slot, uint32_t backlog,
		       bool repeat)
{
	struct client_segment *seg = s->client->segment;
	struct ring_call call;

	if (slot >= RING_SLOTS)
		note_fault(s, RING_OPS, -EPROTO);
	if (slot >= RING_SLOTS ||
	    !ring_req_load(&seg->req[slot], &seg->resp[slot], slot, &call))
		return false;
	serve(s, &call, backlog, repeat);
	return is_long(&call, repeat);
}

/* Slots that the predecessor may not have answered, up to a long request: a
 * thousand of those, which nobody was told of, must not keep all others waiting
 * for the new server. */
static void repeat_some(struct session *s)
{
	bool enough = false;

	while (s->unseen && !enough)
		enough = serve_slot(s, RING_SLOTS - s->unseen--, 0, true);
	turn_flush(s);
}

/* What the predecessor had in hand, before begin() notes another. */
static void repeat_in_hand(struct session *s)
{
	uint64_t seq = shared_load64(&s->client->record->serving);

	uint32_t slot = 0;

	while (slot < RING_SLOTS &&
	       shared_load64(&s->client->segment->req[slot].seq) != seq)
		slot++;
	if (seq && slot < RING_SLOTS)
		serve_slot(s, slot, 0, true);
}

void turn_repeat(struct session *s)
{
	s->head = shared_load64_acquire(&s->client->segment->header.tail);
	s->unseen = RING_SLOTS;
	repeat_in_hand(s);
	repeat_some(s);
	/* answers that the predecessor stored, and died before waking for */
	turn_wake_sleepers(s);
}

void turn_wake_sleepers(struct session *s)
{
	for (uint32_t slot = 0; slot < RING_SLOTS; slot++)
		if (shared_load32(&s->client->segment->req[slot].waiting))
			futex_wake(&s->client->segment->resp[slot].seq);
}

/* Requests of one session; their number. */
static uint32_t session_turn(struct session *s)
{
	struct client_segment *seg = s->client->segment;
	uint64_t tail = shared_load64_acquire(&seg->header.tail); /* S1 */
	uint64_t n = tail - s->head;
	bool enough = false;

	if (s->unseen) { /* older than what is in the ring */
		repeat_some(s);
		return 1;
	}
	if (!n)
		return 0;
	if (n > RING_SLOTS) {
		/* a ring cannot hold more: nonsense harms its writer only */
		s->head = tail;
		note_fault(s, RING_OPS, -EPROTO);
		return 0;
	}
	store_touches(s->client);
	n = MIN(n, (uint64_t)TURN_REQUESTS);
	for (uint64_t i = 0; i < n && !enough; i++, s->head++)
		enough = serve_slot(
			s,
			shared_load32(&seg->ring[s->head & (RING_SLOTS - 1)]),
			(uint32_t)(tail - s->head - 1), false);
	turn_flush(s);
	return (uint32_t)n;
}

/* Store buffering with the client's push, both sides fenced: either it sees
 * asleep, or its request is seen here. */
static bool fall_asleep(struct session *s)
{
	struct client_header *h = &s->client->segment->header;

	shared_store64(&h->asleep, 1);
	shared_fence();
	if (shared_load64_acquire(&h->tail) != s->head) {
		shared_store64(&h->asleep, 0);
		return false;
	}
	store_touches(s->client);
	s->awake = false;
	return true;
}

bool native_turn(struct native *n, uint64_t now_ns, bool *ret_awake)
{
	struct session **link = &n->awake, *s;
	bool busy = false;

	n->now_ns = now_ns;
	while ((s = *link)) {
		if (!s->client || s->client->closed) {
			s->awake = false;
			*link = s->next_awake;
			continue;
		}
		if (session_turn(s)) {
			busy = true;
			s->busy_ns = now_ns;
		} else if (now_ns - s->busy_ns > AWAKE_NS && fall_asleep(s)) {
			*link = s->next_awake;
			continue;
		}
		link = &s->next_awake;
	}
	*ret_awake = n->awake != NULL;
	return busy;
}

void native_answer(void *ctx, struct store_client *c,
		   const struct ring_call *call,
		   const struct ring_answer *answer)
{
	struct session *s = c->door;

	(void)ctx;
	turn_answer(s, call, answer);
	turn_flush(s);
}

void native_announce(void *ctx, struct store_client *c)
{
	struct session *s = c->door;

	(void)ctx;
	s->notify_due = true;
	turn_flush(s);
}

/* A3. Whoever looks after its mappings sleeps there. */
void native_ask(void *ctx, struct store_client *c)
{
	(void)ctx;
	futex_wake(&c->segment->header.asked);
}

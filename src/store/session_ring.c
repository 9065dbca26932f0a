/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions through the ring (wire/ring.h), and how they end by themselves. */
#include <errno.h>
#include <onecopy/session.h>
#include "base/clock.h"
#include "base/fault.h"
#include "store/internal.h"
#include "store/session.h"

#define LAPSE_RECORDS 2048u /* that a tick looks at */

/* ---- requests ---------------------------------------------------------------- */

static void answer_session(struct store_client *c, struct ring_answer *a,
			   const struct session_record *r)
{
	a->loc = pool_session_id(c->pool, r);
	a->gen = pool_session_keys(c->pool, r);
	a->arg = shared_load64(&r->tail);
}

static void wish_of(const struct ring_call *call, bool repeat,
		    struct session_wish *ret_wish)
{
	*ret_wish = (struct session_wish){ .seq = call->seq, .repeat = repeat };
	ring_call_name(call, ret_wish->name);
}

static void open_call(struct store_client *c, const struct ring_call *call,
		      bool repeat, struct ring_answer *a)
{
	struct session_record *r;
	struct session_wish wish;
	bool made;

	if (call->arg & RING_OPEN_BY_ID) {
		r = pool_session_at(c->pool, call->key[0]);
		answer_set(a, r ? 0 : OC_MISS);
		if (r)
			answer_session(c, a, r);
		return;
	}
	wish_of(call, repeat, &wish);
	wish.ns = frame_part_ns(call->part);
	wish.flags = (unsigned)call->arg;
	wish.lease_ms = call->arg2;
	answer_set(a, store_session_open(c, &wish, &r, &made));
	if (a->result)
		return;
	answer_session(c, a, r);
	a->arg2 = made;
}

static void fork_call(struct store_client *c, const struct ring_call *call,
		      bool repeat, struct ring_answer *a)
{
	struct session_record *parent = pool_session_at(c->pool, call->arg), *r;
	struct session_wish wish;

	answer_set(a, OC_MISS);
	if (!parent)
		return;
	wish_of(call, repeat, &wish);
	wish.flags = (unsigned)(call->arg2 >> RING_LEASE_BITS);
	wish.lease_ms = call->arg2 & ((1ull << RING_LEASE_BITS) - 1);
	answer_set(a, store_session_fork(c, parent, call->part, &wish, &r));
	if (a->result)
		return;
	answer_session(c, a, r);
	a->arg2 = 1;
}

/* The blob is copied once: what is looked at is what is kept. */
static const uint64_t (*keys_of(struct store_client *c,
				const struct ring_call *call, uint32_t n))[4]
{
	uint64_t(*keys)[4] = c->store->session_keys;

	if (n == 1)
		memcpy(keys[0], call->key, sizeof(keys[0]));
	else
		shared_load_words(keys[0], c->segment->blob, (size_t)n * 4);
	return (const uint64_t(*)[4])keys;
}

static void append_call(struct store_client *c, const struct ring_call *call,
			struct ring_answer *a)
{
	struct session_record *r = pool_session_at(c->pool, call->arg);
	uint32_t n = (uint32_t)call->arg2;

	answer_set(a, r ? -EINVAL : OC_MISS);
	if (!r || !n || n > RING_BLOB_KEYS)
		return;
	answer_set(a, store_session_append(c, r, call->arg2 >> 32,
					   keys_of(c, call, n), n));
	a->gen = pool_session_keys(c->pool, r);
}

static void note_tail(struct session_record *r, const struct ring_call *call,
		      uint32_t keys)
{
	/* None while the key is being written: one release hides the old key,
	 * the other shows the new one. Both pair with fork_tail(), in a
	 * successor. */
	shared_store64_release(&r->tail, 0);
	shared_fence_stores();
	shared_store_words(r->tail_key, call->key, 4);
	shared_store64_release(&r->tail,
			       session_tail(frame_extent_tokens(call->extent),
					    keys));
}

/* Sealed under the key that it has now. */
static int64_t seal_tail(struct store_client *c, const struct ring_call *call)
{
	uint32_t frame;
	struct pool_slab *s = pool_locate(c->pool, call->loc, &frame);
	struct ring_answer a;

	if (s && !c->read_only &&
	    shared_load64(&s->desc[frame].word) ==
		    frame_word(call->gen, FRAME_GRANTED) &&
	    shared_load64(&s->desc[frame].owner) == c->id)
		pool_frame_rekey(s, frame, call->key);
	seal_call(c, call, &a);
	return a.result;
}

static void tail_call(struct store_client *c, const struct ring_call *call,
		      struct ring_answer *a)
{
	struct session_record *r = pool_session_at(c->pool, call->arg);
	uint64_t keys = call->arg2 >> 32;
	enum ring_tail then = (enum ring_tail)(uint32_t)call->arg2;
	int64_t sealed;

	answer_set(a, OC_MISS);
	if (!r)
		return;
	answer_set(a, OC_BUSY);
	if (shared_load64(&r->owner) && shared_load64(&r->owner) != c->id)
		return;
	answer_set(a, -EINVAL);
	if (frame_part_ns(call->part) != shared_load64(&r->ns) ||
	    (then == RING_TAIL_NOTE && !frame_extent_tokens(call->extent)) ||
	    (then == RING_TAIL_APPEND && frame_extent_tokens(call->extent)))
		return;
	sealed = seal_tail(c, call);
	if (sealed == 0 || sealed == OC_EXISTS) {
		if (then == RING_TAIL_APPEND)
			sealed = store_session_append(c, r, keys,
						      keys_of(c, call, 1), 1);
		else if (keys == pool_session_keys(c->pool, r) &&
			 then == RING_TAIL_NOTE)
			note_tail(r, call, (uint32_t)keys);
	}
	answer_set(a, sealed == OC_EXISTS ? 0 : sealed);
	a->gen = pool_session_keys(c->pool, r);
}

static void state_call(struct store_client *c, const struct ring_call *call,
		       bool repeat, struct ring_answer *a)
{
	struct session_record *r = pool_session_at(c->pool, call->arg);
	enum ring_state what = (enum ring_state)call->arg2;
	bool known = ring_answer_end_name(call->key[0]);
	const struct session_turn turn = {
		.back_ms = call->loc,
		.lease_ms = call->gen,
		.ended = known ? (uint32_t)call->key[0] : 0,
		.answer_tokens = call->key[1],
	};

	/* what was closed by a server that died is closed */
	answer_set(a, repeat && what == RING_STATE_CLOSE ? 0 : OC_MISS);
	if (!r)
		return;
	answer_set(a, store_session_state(c, r, what, &turn, call->part != 0));
	if (a->result == 0 && what != RING_STATE_CLOSE)
		a->gen = pool_session_keys(c->pool, r);
}

static void keys_call(struct store_client *c, const struct ring_call *call,
		      struct ring_answer *a)
{
	const struct session_record *r = pool_session_at(c->pool, call->arg);
	uint64_t keys, n;

	answer_set(a, OC_MISS);
	if (!r)
		return;
	keys = pool_session_keys(c->pool, r);
	n = call->arg2 < keys ? MIN(keys - call->arg2, RING_BLOB_KEYS) : 0;
	if (n) {
		history_read(&c->pool->sessions->history,
			     shared_load64(&r->head), (uint32_t)call->arg2,
			     (uint32_t)n, c->store->session_keys);
		shared_store_words(c->segment->blob, c->store->session_keys[0],
				   n * 4);
	}
	answer_set(a, 0);
	a->loc = n;
	a->gen = keys;
}

static void info_call(struct store_client *c, const struct ring_call *call,
		      struct ring_answer *a)
{
	const struct session_record *r = pool_session_at(c->pool, call->arg);
	struct session_said said;

	answer_set(a, OC_MISS);
	if (!r)
		return;
	store_session_say(c->store, c->pool, r, true, &said);
	shared_store_bytes(c->segment->blob, sizeof(said), &said, sizeof(said));
	answer_set(a, 0);
	answer_session(c, a, r);
}

void session_call(struct store_client *c, const struct ring_call *call,
		  bool repeat, struct ring_answer *ret_answer)
{
	switch ((enum ring_op)call->op) {
	case RING_SESSION_OPEN:
		open_call(c, call, repeat, ret_answer);
		return;
	case RING_SESSION_FORK:
		fork_call(c, call, repeat, ret_answer);
		return;
	case RING_SESSION_APPEND:
		append_call(c, call, ret_answer);
		return;
	case RING_SESSION_TAIL:
		tail_call(c, call, ret_answer);
		return;
	case RING_SESSION_STATE:
		state_call(c, call, repeat, ret_answer);
		return;
	case RING_SESSION_KEYS:
		keys_call(c, call, ret_answer);
		return;
	case RING_SESSION_INFO:
		info_call(c, call, ret_answer);
		return;
	case RING_SESSION_EXPECT:
		expect_call(c, call, ret_answer);
		return;
	default:
		answer_set(ret_answer, -EOPNOTSUPP);
	}
}

/* ---- ends -------------------------------------------------------------------- */

/* Some records of a pool whose lease may have run out. */
static void lapse(struct store *s, uint32_t number)
{
	struct pool *p = s->pool[number];
	struct session_lapse *at = &s->lapse[number];
	uint64_t now = s->now_ns / NS_PER_MS;
	uint32_t last;

	if (!p->sessions || (!at->next && now < at->again_ms))
		return;
	last = MIN(at->next + LAPSE_RECORDS, p->sessions->end);
	for (uint32_t i = at->next; i < last; i++) {
		struct session_record *r = pool_session_record(p->sessions, i);

		if (pool_session_state(r) == SESSION_FREE)
			continue;
		if (shared_load64(&r->until_ms) > now) {
			move_expected(s, p, r);
			continue;
		}
		pool_session_end(p, r, SESSION_EV_LAPSE);
		pool_count(p, POOL_C_sessions_lapsed, 1);
	}
	at->next = last < p->sessions->end ? last : 0;
	if (at->next)
		return;
	at->again_ms = now + SESSION_LAPSE_MS;
	pool_session_trim(p);
}

void session_tick(struct store *s)
{
	for (uint32_t n = 0; n < STORE_POOLS_MAX; n++)
		if (s->pool[n])
			lapse(s, n);
}

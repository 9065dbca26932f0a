/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: requests of one round trip each. The handle remembers how many keys
 * there are, so that an append says where it belongs: what is asked again after
 * a server's death is recognised there, and what another client appended
 * meanwhile is not overwritten.
 */
#include "client/session.h"
#include <inttypes.h>
#include <stdlib.h>

int session_result(const oc_client *c, int64_t result)
{
	int r = (int)result;

	if (result < -4095 || result > INT32_MAX)
		return client_fail(c, -EPROTO, "a malformed answer");
	switch (r) {
	case -EDQUOT:
		return client_fail(c, r,
				   "this client has all the sessions, or keys "
				   "in them, that it may have "
				   "(sessions.per_client, "
				   "sessions.keys_per_client)");
	case -ENFILE:
		return client_fail(c, r,
				   "the tenant has all the sessions that it "
				   "may have (sessions.max)");
	case -ENOSPC:
		return client_fail(c, r,
				   "the tenant's sessions have all the keys "
				   "that they may have (sessions.keys)");
	case -EEXIST:
		return client_fail(c, r,
				   "a session of this name is in another "
				   "namespace");
	case -EPERM:
		return client_fail(c, r,
				   "a read-only client changes no session");
	case -EINVAL:
		return client_fail(c, r,
				   "the name has bytes other than printable "
				   "ASCII, or the request makes no sense");
	default:
		if (r < 0)
			client_fail(c, r, "session: the server refused: %s",
				    oc_strerror(r));
		return r;
	}
}

int session_round(oc_session *s, struct ring_call *q, uint64_t timeout_ns,
		  struct ring_answer *ret_answer)
{
	int r = call_round(s->ns->c, q, timeout_ns, ret_answer);

	return r ? r : session_result(s->ns->c, ret_answer->result);
}

/* ---- handles ---------------------------------------------------------------- */

static int handle_make(oc_ns *ns, oc_session **ret_session)
{
	uint32_t parts = (uint32_t)ns->spec.groups * ns->spec.ranks;
	oc_session *s = mem_alloc(sizeof(*s) + parts * sizeof(s->part[0]));

	if (!s)
		return client_fail(ns->c, -ENOMEM, "no memory for a session");
	s->ns = ns;
	s->parts = parts;
	*ret_session = s;
	return 0;
}

static void handle_learn(oc_session *s, const struct ring_answer *a)
{
	s->id = a->loc;
	s->keys = (uint32_t)a->gen;
	s->tail_tokens = (uint32_t)a->arg == s->keys ? (uint32_t)(a->arg >> 32)
						     : 0;
	s->tail_known = false;
}

static int options_of(const oc_client *c, const struct oc_session_options *from,
		      struct oc_session_options *ret)
{
	struct oc_session_options o = OC_SESSION_INIT;

	if (from && options_copy(&o, sizeof(o), from))
		return client_fail(c, -EINVAL, "options without their size");
	if (o.name && (!o.name[0] || strlen(o.name) >= OC_SESSION_NAME))
		return client_fail(c, -EINVAL,
				   "a session's name has 1 to %d characters",
				   OC_SESSION_NAME - 1);
	if (o.flags & ~(unsigned)(OC_SESSION_LEASED | OC_SESSION_TAKE |
				  OC_SESSION_FIND | OC_SESSION_NEW))
		return client_fail(c, -EINVAL, "a flag that is none");
	*ret = o;
	return 0;
}

int oc_session_open(oc_ns *ns, const struct oc_session_options *options,
		    uint64_t timeout_ns, oc_session **ret_session)
{
	struct ring_call q = { .op = RING_SESSION_OPEN,
			       .part = frame_part(ns->id, 0, 0) };
	struct oc_session_options o;
	struct ring_answer a;
	oc_session *s = NULL;
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	r = options_of(ns->c, options, &o);
	if (r == 0)
		r = handle_make(ns, &s);
	if (r)
		return r;
	ring_call_set_name(&q, o.name ? o.name : "");
	q.arg = o.flags;
	q.arg2 = o.lease_ms;
	if (o.id) {
		q.arg = OC_SESSION_FIND | RING_OPEN_BY_ID;
		q.key[0] = o.id;
	}
	r = session_round(s, &q, timeout_ns, &a);
	if (r) {
		free(s);
		return r;
	}
	handle_learn(s, &a);
	s->looks = o.id || o.flags & OC_SESSION_FIND;
	*ret_session = s;
	return 0;
}

/* The tail as it is to be found by the child. */
static int fork_prepare(oc_session *s, const struct oc_session_options *o,
			uint64_t timeout_ns)
{
	if (o->blocks || !session_tail_open(s))
		return 0;
	if (!o->tail_key)
		return client_fail(s->ns->c, -EINVAL,
				   "the tail is being written: a fork needs "
				   "the key that it is shared as");
	return oc_session_tail_share(s, o->tail_key, o->tail_tokens,
				     timeout_ns);
}

int oc_session_fork(oc_session *s, const struct oc_session_options *options,
		    uint64_t timeout_ns, oc_session **ret_session)
{
	struct ring_call q = { .op = RING_SESSION_FORK, .arg = s->id };
	struct oc_session_options o;
	struct ring_answer a;
	oc_session *child = NULL;
	int r;

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	r = options_of(s->ns->c, options, &o);
	if (r == 0)
		r = handle_make(s->ns, &child);
	if (r)
		return r;
	ring_call_set_name(&q, o.name ? o.name : "");
	q.part = o.blocks ? o.blocks : UINT64_MAX;
	q.arg2 = (uint64_t)o.flags << RING_LEASE_BITS |
		 MIN(o.lease_ms, (1ull << RING_LEASE_BITS) - 1);
	r = fork_prepare(s, &o, timeout_ns);
	if (r == 0)
		r = session_round(s, &q, timeout_ns, &a);
	if (r) {
		free(child);
		return r;
	}
	handle_learn(child, &a);
	if (child->tail_tokens && s->tail_known &&
	    child->tail_tokens == s->tail_tokens && child->keys == s->keys) {
		child->tail_key = s->tail_key;
		child->tail_known = true;
	}
	*ret_session = child;
	return 0;
}

void oc_session_leave(oc_session *s)
{
	if (!s)
		return;
	if (!client_is_child(s->ns->c))
		session_tail_drop(s);
	free(s);
}

/* ---- its life --------------------------------------------------------------- */

static int state(oc_session *s, enum ring_state what,
		 const struct oc_session_turn *turn, uint64_t timeout_ns)
{
	struct ring_call q = { .op = RING_SESSION_STATE,
			       .part = s->looks, /* the owner stays */
			       .arg = s->id,
			       .arg2 = what };
	struct ring_answer a;

	if (turn) {
		q.loc = turn->expected_return_ms;
		q.gen = turn->lease_ms;
		q.key[0] = turn->ended;
		q.key[1] = turn->answer_tokens;
	}

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	return session_round(s, &q, timeout_ns, &a);
}

int oc_session_pause(oc_session *s, uint64_t expected_return_ms,
		     uint64_t lease_ms, uint64_t timeout_ns)
{
	struct oc_session_turn turn = OC_SESSION_TURN_INIT;

	turn.expected_return_ms = expected_return_ms;
	turn.lease_ms = lease_ms;
	return state(s, RING_STATE_PAUSE, &turn, timeout_ns);
}

int oc_session_pause_after(oc_session *s, const struct oc_session_turn *turn,
			   uint64_t timeout_ns)
{
	struct oc_session_turn known = OC_SESSION_TURN_INIT;

	memcpy(&known, turn, MIN(turn->size, sizeof(known)));
	if (!oc_answer_end_name(known.ended))
		return -EINVAL;
	return state(s, RING_STATE_PAUSE, &known, timeout_ns);
}

const char *oc_answer_end_name(unsigned ended)
{
	return ring_answer_end_name(ended);
}

int oc_session_resume(oc_session *s, uint64_t timeout_ns)
{
	return state(s, RING_STATE_RESUME, NULL, timeout_ns);
}

int oc_session_renew(oc_session *s, uint64_t timeout_ns)
{
	return state(s, RING_STATE_RENEW, NULL, timeout_ns);
}

int oc_session_close(oc_session *s, uint64_t timeout_ns)
{
	int r;

	if (!s)
		return 0;
	r = state(s, RING_STATE_CLOSE, NULL, timeout_ns);
	if (r != -ETIMEDOUT && r != -ENOTCONN)
		oc_session_leave(s);
	return r;
}

uint64_t oc_session_id(const oc_session *s)
{
	return s->id;
}

size_t oc_session_blocks(const oc_session *s)
{
	return s->keys;
}

uint32_t oc_session_tail_tokens(const oc_session *s)
{
	return s->tail_tokens;
}

/* ---- keys ------------------------------------------------------------------- */

/* One window; a single key lies in the request itself. */
static int append_some(oc_session *s, const struct oc_key *keys, uint32_t n,
		       uint64_t deadline)
{
	oc_client *c = s->ns->c;
	struct ring_call q = { .op = RING_SESSION_APPEND,
			       .arg = s->id,
			       .arg2 = (uint64_t)s->keys << 32 | n };
	uint64_t now = clock_ns();
	struct ring_answer a;
	int r;

	if (n == 1) {
		key_words(keys, q.key);
		r = call_round(c, &q, now < deadline ? deadline - now : 1, &a);
	} else {
		r = blob_take(c, deadline);
		if (r)
			return r;
		shared_store_bytes(c->seg->blob, (size_t)n * OC_KEY_BYTES, keys,
				   (size_t)n * OC_KEY_BYTES);
		r = blob_round(c, &q, deadline, &a);
		lock_drop(&c->blob);
	}
	if (r == 0)
		r = session_result(c, a.result);
	if (r == 0) {
		s->keys += n;
		s->tail_tokens = 0;
	}
	return r;
}

int oc_session_append(oc_session *s, const struct oc_key *keys, size_t n,
		      uint64_t timeout_ns)
{
	uint64_t deadline;
	int r = 0;

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	deadline = client_deadline(s->ns->c, timeout_ns);
	if (n)
		session_tail_drop(s);
	for (size_t at = 0; at < n && r == 0; at += RING_BLOB_KEYS)
		r = append_some(s, keys + at,
				(uint32_t)MIN(n - at, (size_t)RING_BLOB_KEYS),
				deadline);
	return r;
}

/* Up to a blob's keys from `first` on. */
static int keys_some(oc_session *s, size_t first, struct oc_key *ret_keys,
		     size_t n, uint64_t deadline, size_t *ret_n)
{
	oc_client *c = s->ns->c;
	struct ring_call q = { .op = RING_SESSION_KEYS,
			       .arg = s->id,
			       .arg2 = first };
	struct ring_answer a;
	int r = blob_take(c, deadline);

	if (r)
		return r;
	r = blob_round(c, &q, deadline, &a);
	if (r == 0)
		r = session_result(c, a.result);
	if (r == 0 && a.loc > RING_BLOB_KEYS)
		r = client_fail(c, -EPROTO, "more keys than a blob has");
	if (r == 0) {
		*ret_n = MIN(a.loc, n);
		shared_load_bytes(ret_keys, *ret_n * OC_KEY_BYTES,
				  c->seg->blob);
	}
	lock_drop(&c->blob);
	return r;
}

int oc_session_keys(oc_session *s, size_t first, struct oc_key *ret_keys,
		    size_t n, uint64_t timeout_ns, size_t *ret_n)
{
	uint64_t deadline;
	size_t got = 0;

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	deadline = client_deadline(s->ns->c, timeout_ns);
	while (got < n) {
		size_t some = 0;
		int r = keys_some(s, first + got, ret_keys + got, n - got,
				  deadline, &some);

		if (r)
			return r;
		if (!some)
			break;
		got += some;
	}
	*ret_n = got;
	return 0;
}

int oc_session_match_pin(oc_session *s, size_t n,
			 const struct oc_match_options *options,
			 uint64_t timeout_ns, struct oc_pin *ret_pins,
			 size_t *ret_usable)
{
	size_t have = n ? n : s->keys, got = 0;
	struct oc_key *keys;
	int r;

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	keys = mem_array(have ? have : 1, sizeof(*keys));
	if (!keys)
		return client_fail(s->ns->c, -ENOMEM, "no memory for keys");
	r = oc_session_keys(s, 0, keys, have, timeout_ns, &got);
	if (r == 0)
		r = oc_match_pin(s->ns, keys, got, options, ret_pins,
				 ret_usable);
	free(keys);
	return r;
}

/* ---- what the node knows ----------------------------------------------------- */

int session_ask(oc_session *s, uint64_t deadline, struct session_said *ret_said)
{
	oc_client *c = s->ns->c;
	struct ring_call q = { .op = RING_SESSION_INFO, .arg = s->id };
	struct ring_answer a;
	int r = blob_take(c, deadline);

	if (r)
		return r;
	r = blob_round(c, &q, deadline, &a);
	if (r == 0)
		r = session_result(c, a.result);
	if (r == 0)
		shared_load_bytes(ret_said, sizeof(*ret_said), c->seg->blob);
	lock_drop(&c->blob);
	return r;
}

int oc_session_refresh(oc_session *s, uint64_t timeout_ns)
{
	struct session_said said;
	int r;

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	r = session_ask(s, client_deadline(s->ns->c, timeout_ns), &said);
	if (r)
		return r;
	s->keys = said.keys;
	s->tail_tokens = said.tail_tokens;
	memcpy(s->tail_key.bytes, said.tail_key, sizeof(said.tail_key));
	s->tail_known = true;
	return 0;
}

int oc_session_info(oc_session *s, uint64_t timeout_ns,
		    struct oc_session_info *ret_info)
{
	struct session_said said;
	int r;

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	r = session_ask(s, client_deadline(s->ns->c, timeout_ns), &said);
	if (r)
		return r;
	*ret_info = (struct oc_session_info){
		.id = said.id,
		.owner = said.owner,
		.parent = said.parent,
		.ns = said.ns,
		.paused = said.state == SESSION_PAUSED,
		.blocks = said.keys,
		.tail_tokens = said.tail_tokens,
		.resident_on_dram = said.resident,
		.hot_since_ms = said.hot_ms,
		.shared_with = said.shared_with,
		.shared_blocks = said.shared_keys,
		.evict_to = (enum oc_tier)said.evict_to,
		.turns = said.turns,
		.gap_ms = said.gap_ms,
		.last_gap_ms = said.last_gap_ms,
		.born_ms = said.born_ms,
		.used_ms = said.used_ms,
		.paused_ms = said.paused_ms,
		.expected_return_ms = said.expected_ms,
		.lease_ms = said.lease_ms,
		.resident_on_nvme = said.below,
	};
	memcpy(ret_info->name, said.name, sizeof(ret_info->name));
	ret_info->name[OC_SESSION_NAME - 1] = '\0';
	memcpy(ret_info->prefix_hash.bytes, said.prefix_hash,
	       sizeof(said.prefix_hash));
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's tail: frames that are written before anybody knows what they will
 * be called. They are lent under a key that nobody has, and get their own when
 * they are sealed (RING_SESSION_TAIL).
 *
 * A shared tail is a sealed partial block. Who writes first gets a frame of its
 * own and a copy, made and verified in one pass.
 */
#include "client/session.h"
#include "base/hash.h"

#define LEND_TRIES 3 /* keys that somebody has in spite of all */

bool session_tail_open(const oc_session *s)
{
	for (uint32_t i = 0; i < s->parts; i++)
		if (s->part[i].grant.data)
			return true;
	return false;
}

void session_tail_drop(oc_session *s)
{
	for (uint32_t i = 0; i < s->parts; i++) {
		struct oc_grant *g = &s->part[i].grant;
		struct ring_call q;

		if (g->data && write_abandon_call(s->ns, g, &q) == 0)
			call_forget(s->ns->c, &q, client_deadline(s->ns->c, 0));
		g->data = NULL;
	}
}

/* Of this client, this session and this lending: nobody computes it from
 * tokens. */
static void key_nobody_has(oc_session *s, struct oc_key *ret_key)
{
	uint64_t words[4] = { s->ns->c->id, s->id, ++s->lent, 0x6c696174 };

	words[3] = hash_bytes(words, sizeof(words), s->ns->c->serial);
	memcpy(ret_key->bytes, words, sizeof(words));
}

/* As oc_grant(), behind the session's block before: other sessions grow meanwhile. */
static int grant_behind(oc_session *s, const struct oc_key *key,
			struct oc_part part, uint64_t bytes, uint64_t before,
			uint64_t timeout_ns, struct oc_grant *ret_grant)
{
	uint64_t deadline = client_deadline(s->ns->c, timeout_ns);
	struct oc_grant asked;
	struct ring_answer a;
	struct ring_call q;
	int r = write_grant_call(s->ns, key, part, bytes, 0, 0, &q, &asked);

	if (r)
		return r;
	q.loc = before ? before : RING_BEHIND_NONE;
	r = call_round(s->ns->c, &q, timeout_ns, &a);
	return r ? r : write_granted(s->ns, &asked, &a, deadline, ret_grant);
}

static int lend(oc_session *s, struct oc_part part, uint64_t bytes,
		uint64_t before, uint64_t timeout_ns,
		struct oc_grant *ret_grant)
{
	int r = OC_EXISTS;

	for (int i = 0; i < LEND_TRIES && r == OC_EXISTS; i++) {
		struct oc_key key;

		key_nobody_has(s, &key);
		r = grant_behind(s, &key, part, bytes, before, timeout_ns,
				 ret_grant);
	}
	return r == OC_EXISTS
		       ? client_fail(s->ns->c, -EPROTO, "no key for a tail")
		       : r;
}

/* ---- the first write -------------------------------------------------------- */

/* The shared tail's part, pinned. OC_MISS: there is none (any more). */
static int shared_pin(oc_session *s, struct oc_part part, uint64_t deadline,
		      struct oc_pin *ret_pin)
{
	struct session_said said;
	int r;

	if (!s->tail_tokens)
		return OC_MISS;
	if (!s->tail_known) {
		r = session_ask(s, deadline, &said);
		if (r)
			return r;
		memcpy(s->tail_key.bytes, said.tail_key, OC_KEY_BYTES);
		s->tail_known = true;
	}
	return oc_pin(s->ns, &s->tail_key, part, 0, ret_pin);
}

/* Copies and verifies. False: the bytes are wrong, and the node was told. */
static bool shared_copy(oc_session *s, struct oc_part part, struct oc_pin *pin,
			struct oc_grant *g)
{
	uint64_t seed =
		hash_part_seed(s->tail_key.bytes, part.group, part.rank);
	struct slices to = grant_slices(g), from = pin_slices(s->ns->c, pin);
	uint64_t sum = hash_slices_copy(&to, &from, pin->bytes, seed);
	uint64_t sums[CLIENT_COUNTS];
	bool right = sum == pin->checksum;
	struct oc_pin again;

	if (right) {
		client_add(s->ns->c, CLIENT_TAIL_COPIES, 1);
		client_add(s->ns->c, CLIENT_TAIL_COPIED_BYTES, pin->bytes);
		client_count(s->ns->c, sums); /* seldom: told at once */
	} else if (oc_pin(s->ns, &s->tail_key, part, OC_PIN_VERIFY, &again) ==
		   0) {
		oc_unpin(s->ns, &again);
	}
	return right;
}

static int tail_begin(oc_session *s, struct oc_part part, uint64_t bytes,
		      uint64_t timeout_ns, struct tail_part *t,
		      bool *ret_copied)
{
	uint64_t deadline = client_deadline(s->ns->c, timeout_ns);
	struct oc_pin pin = { 0 };
	struct oc_grant g;
	int r = shared_pin(s, part, deadline, &pin);

	if (r < 0)
		return r;
	if (bytes == 0)
		bytes = s->ns->part_bytes[part.group];
	r = lend(s, part, MAX(bytes, pin.bytes), t->before, timeout_ns, &g);
	t->tokens = 0;
	*ret_copied = false;
	if (r == 0 && pin.data && shared_copy(s, part, &pin, &g)) {
		t->tokens = pin.tokens;
		*ret_copied = true;
	}
	if (pin.data)
		oc_unpin(s->ns, &pin);
	if (r == 0) {
		t->grant = g;
		t->before = g.frame;
	}
	return r;
}

int oc_session_tail(oc_session *s, struct oc_part part, uint64_t bytes,
		    uint64_t timeout_ns, struct oc_tail *ret_tail)
{
	struct tail_part *t;
	bool copied = false;
	int r = 0;

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	if (!ns_has(s->ns, part))
		return client_fail(s->ns->c, -EINVAL, "no such part");
	t = &s->part[(uint32_t)part.group * s->ns->spec.ranks + part.rank];
	if (!t->grant.data)
		r = tail_begin(s, part, bytes, timeout_ns, t, &copied);
	if (r)
		return r;
	*ret_tail = (struct oc_tail){
		.data = t->grant.data,
		.bytes = t->grant.bytes,
		.stride = t->grant.stride,
		.tokens = t->tokens,
		.copied = copied,
	};
	return 0;
}

/* ---- sealing ---------------------------------------------------------------- */

struct tail_seal {
	const struct oc_key *key;
	const uint64_t *checksums;
	uint32_t tokens;
	enum ring_tail last; /* what the last part's request does besides */
};

static int seal_part(oc_session *s, struct tail_part *t,
		     const struct tail_seal *how, const uint64_t *checksum,
		     enum ring_tail then, uint64_t timeout_ns)
{
	struct oc_grant *g = &t->grant;
	struct ring_call q = {
		.op = RING_SESSION_TAIL,
		.part = ns_part(s->ns, g->part),
		.loc = g->frame,
		.gen = g->generation,
		.extent = frame_extent((uint32_t)g->bytes, how->tokens),
		.arg = s->id,
		.arg2 = (uint64_t)s->keys << 32 | then,
	};
	struct ring_answer a;
	int r;

	key_words(how->key, q.key);
	q.checksum = checksum ? *checksum : write_checksum(g, how->key);
	shared_fence(); /* non-temporal stores of the caller */
	r = session_round(s, &q, timeout_ns, &a);
	/* refused before the frame was looked at: it is still lent */
	if (r == OC_MISS || r == OC_BUSY || r == -ETIMEDOUT || r == -ENOTCONN)
		return r;
	g->data = NULL;
	if (r == 0)
		s->keys = (uint32_t)a.gen;
	return r;
}

static int seal_all(oc_session *s, const struct tail_seal *how,
		    uint64_t timeout_ns)
{
	uint32_t left = 0, nth = 0;
	int r = 0;

	for (uint32_t i = 0; i < s->parts; i++)
		left += s->part[i].grant.data != NULL;
	if (!left)
		return client_fail(s->ns->c, -EINVAL,
				   "no tail is being written");
	for (uint32_t i = 0; i < s->parts && r == 0; i++) {
		if (!s->part[i].grant.data)
			continue;
		r = seal_part(s, &s->part[i], how,
			      how->checksums ? &how->checksums[nth] : NULL,
			      --left ? RING_TAIL_SEAL : how->last, timeout_ns);
		nth++;
	}
	return r;
}

int oc_session_tail_share(oc_session *s, const struct oc_key *key,
			  uint32_t tokens, uint64_t timeout_ns)
{
	struct tail_seal how = { .key = key,
				 .tokens = tokens,
				 .last = RING_TAIL_NOTE };
	int r;

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	if (!tokens || tokens >= s->ns->spec.block_tokens)
		return client_fail(s->ns->c, -EINVAL,
				   "a shared tail has 1 to %u tokens",
				   s->ns->spec.block_tokens - 1);
	r = seal_all(s, &how, timeout_ns);
	if (r)
		return r;
	s->tail_tokens = tokens;
	s->tail_key = *key;
	s->tail_known = true;
	return 0;
}

int oc_session_tail_seal(oc_session *s, const struct oc_key *key,
			 const uint64_t *checksums, uint64_t timeout_ns)
{
	struct tail_seal how = { .key = key,
				 .checksums = checksums,
				 .last = RING_TAIL_APPEND };
	int r;

	if (client_is_child(s->ns->c))
		return client_child(s->ns->c);
	r = seal_all(s, &how, timeout_ns);
	if (r == 0)
		s->tail_tokens = 0;
	return r;
}

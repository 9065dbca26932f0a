/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grants, seals, removals: what the server does for a client.
 *
 * The payload is written before the request is pushed. Ordinary stores are
 * ordered by the push (release); non-temporal ones of a caller by the full
 * fence before it.
 */
#include "client/client.h"
#include <inttypes.h>
#include "base/hash.h"

#define BATCH 256 /* requests of one batch under way */

int write_result(const oc_client *c, enum ring_op op, int64_t result)
{
	static const char *const names[RING_OPS] = {
		[RING_GRANT] = "grant",	    [RING_SEAL] = "seal",
		[RING_ABANDON] = "abandon", [RING_REMOVE] = "remove",
		[RING_NOP] = "round trip",  [RING_NS_OPEN] = "namespace",
		[RING_REPORT] = "report",   [RING_LOOK] = "look below",
		[RING_FETCH] = "fetch",
	};
	int r = (int)result;

	if (result < -4095 || result > INT32_MAX)
		return client_fail(c, -EPROTO, "a malformed answer");
	if (r >= 0)
		return r;
	switch (r) {
	case -ENOBUFS:
		return client_fail(c, r,
				   "the pool is full and all of it is in "
				   "use: raise the limit or unpin");
	case -EDQUOT:
		return client_fail(c, r, "this client's quota is used up");
	default:
		return client_fail(c, r, "%s: the server refused: %s",
				   names[op] ? names[op] : "request",
				   oc_strerror(r));
	}
}

/* ---- requests ---- */

int write_grant_call(oc_ns *ns, const struct oc_key *key, struct oc_part part,
		     uint64_t bytes, uint32_t tokens, unsigned flags,
		     struct ring_call *ret_q, struct oc_grant *ret_asked)
{
	oc_client *c = ns->c;

	if (c->read_only)
		return client_fail(c, -EPERM,
				   "a read-only client writes "
				   "nothing");
	if (ns_usable(ns))
		return -EOPNOTSUPP;
	if (!ns_has(ns, part) || tokens >= ns->spec.block_tokens)
		return client_fail(c, -EINVAL,
				   "no part (%u, %u) of %u tokens here",
				   part.group, part.rank, tokens);
	if (flags & ~(unsigned)OC_GRANT_DEVICE)
		return client_fail(c, -EINVAL, "unknown flags of a grant: %#x",
				   flags);
	if (bytes == 0)
		bytes = ns->part_bytes[part.group];
	if (bytes > UINT32_MAX)
		return client_fail(c, -E2BIG, "%" PRIu64 " bytes in one part",
				   bytes);
	if (ns_spec_stripes(&ns->spec, part.group) &&
	    bytes != ns->part_bytes[part.group])
		return client_fail(c, -EINVAL,
				   "a striped part is whole: %" PRIu64
				   " bytes, not %" PRIu64,
				   ns->part_bytes[part.group], bytes);
	*ret_q = (struct ring_call){
		.op = RING_GRANT,
		.part = ns_part(ns, part),
		.extent = frame_extent((uint32_t)bytes, tokens),
		.arg = flags,
	};
	key_words(key, ret_q->key);
	*ret_asked = (struct oc_grant){
		.bytes = bytes,
		.key = *key,
		.part = part,
		.tokens = tokens,
	};
	return 0;
}

static int grant_check(oc_ns *ns, const struct oc_grant *grant)
{
	if (!grant->data || !ns_has(ns, grant->part))
		return client_fail(ns->c, -EINVAL,
				   "this grant was used up already");
	return 0;
}

int write_seal_call(oc_ns *ns, const struct oc_grant *grant, uint64_t checksum,
		    struct ring_call *ret_q)
{
	int r = grant_check(ns, grant);

	if (r)
		return r;
	*ret_q = (struct ring_call){
		.op = RING_SEAL,
		.part = ns_part(ns, grant->part),
		.loc = grant->frame,
		.gen = grant->generation,
		.extent = frame_extent((uint32_t)grant->bytes, grant->tokens),
		.checksum = checksum,
	};
	key_words(&grant->key, ret_q->key);
	shared_fence();
	return 0;
}

int write_abandon_call(oc_ns *ns, const struct oc_grant *grant,
		       struct ring_call *ret_q)
{
	int r = grant_check(ns, grant);

	if (r)
		return r;
	*ret_q = (struct ring_call){
		.op = RING_ABANDON,
		.loc = grant->frame,
		.gen = grant->generation,
	};
	return 0;
}

int write_remove_call(oc_ns *ns, const struct oc_key *key,
		      struct ring_call *ret_q)
{
	*ret_q = (struct ring_call){
		.op = RING_REMOVE,
		.part = frame_part(ns->id, 0, 0),
	};
	key_words(key, ret_q->key);
	return 0;
}

/* ---- answers ---- */

static void give_back(oc_client *c, const struct ring_answer *a,
		      uint64_t deadline)
{
	struct ring_call q = {
		.op = RING_ABANDON,
		.loc = a->loc,
		.gen = a->gen,
	};

	call_forget(c, &q, deadline);
}

/* Fills in a grant whose slab is mapped. */
static int fill_grant(oc_client *c, const struct oc_grant *asked,
		      const struct ring_answer *a, struct oc_grant *ret_grant)
{
	uint32_t slab = frame_loc_slab(a->loc);
	const struct frame_desc *d = region_desc(c, a->loc);
	const struct client_slab *r = &c->slab[slab];
	struct form form;
	uint64_t offset;

	/* A frame of ours keeps its slab alive and writable. */
	if (!d)
		return OC_STALE;
	form = region_form(r);
	offset = frame_loc_frame(a->loc) * form.step;
	if (asked->bytes > form.frame_bytes)
		return client_fail(c, -EPROTO, "a frame smaller than asked");
	*ret_grant = *asked;
	ret_grant->data =
		atomic_load_explicit(&r->data, memory_order_relaxed) + offset;
	ret_grant->stride = form.stride;
	ret_grant->slice_bytes = form.stride ? form.step : 0;
	ret_grant->offset = offset;
	ret_grant->generation = a->gen;
	ret_grant->region = slab;
	ret_grant->frame = a->loc;
	return 0;
}

int write_granted(oc_ns *ns, const struct oc_grant *asked,
		  const struct ring_answer *a, uint64_t deadline,
		  struct oc_grant *ret_grant)
{
	oc_client *c = ns->c;
	uint32_t slab = frame_loc_slab(a->loc);
	int r = write_result(c, RING_GRANT, a->result);

	if (r)
		return r;
	if (slab == 0 || slab >= LAYOUT_SLABS_MAX)
		return client_fail(c, -EPROTO, "a frame that is nowhere");
	if (client_behind(c))
		region_follow(c);
	if (!region_desc(c, a->loc))
		r = region_need(c, slab, deadline + CLIENT_GRACE_NS);
	if (r == 0 && !c->info[slab].writable)
		r = client_fail(c, -EPROTO, "a frame in a slab of another's");
	if (r == 0)
		r = fill_grant(c, asked, a, ret_grant);
	if (r)
		give_back(c, a, deadline);
	/* A slab cannot go while it holds a grant: this answer is too old. */
	return r == OC_MISS || r == OC_STALE
		       ? client_fail(c, -ETIMEDOUT,
				     "the grant was taken away "
				     "before it could be used")
		       : r;
}

uint64_t write_checksum(const struct oc_grant *grant, const struct oc_key *key)
{
	struct slices data = grant_slices(grant);

	return hash_slices(&data, grant->bytes,
			   hash_part_seed(key->bytes, grant->part.group,
					  grant->part.rank));
}

/* ---- the calls ---- */

int oc_grant_flags(oc_ns *ns, const struct oc_key *key, struct oc_part part,
		   uint64_t bytes, uint32_t tokens, unsigned flags,
		   uint64_t timeout_ns, struct oc_grant *ret_grant)
{
	oc_client *c = ns->c;
	uint64_t deadline;
	struct oc_grant asked;
	struct ring_answer a;
	struct ring_call q;
	int r;

	if (client_is_child(c))
		return client_child(c);
	r = write_grant_call(ns, key, part, bytes, tokens, flags, &q, &asked);
	if (r)
		return r;
	deadline = client_deadline(c, timeout_ns);
	r = call_round(c, &q, timeout_ns, &a);
	return r ? r : write_granted(ns, &asked, &a, deadline, ret_grant);
}

int oc_grant(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	     uint64_t bytes, uint32_t tokens, uint64_t timeout_ns,
	     struct oc_grant *ret_grant)
{
	return oc_grant_flags(ns, key, part, bytes, tokens, 0, timeout_ns,
			      ret_grant);
}

static uint64_t grant_checksum(const struct oc_grant *grant)
{
	return write_checksum(grant, &grant->key);
}

/* The grant is used up by an answer, whatever it says. */
static int write_round(oc_client *c, struct ring_call *q, uint64_t timeout_ns,
		       struct oc_grant *grant)
{
	struct ring_answer a;
	int r = call_round(c, q, timeout_ns, &a);

	if (r == 0)
		r = write_result(c, (enum ring_op)q->op, a.result);
	if (grant && r != -ETIMEDOUT)
		grant->data = NULL;
	return r;
}

int oc_seal(oc_ns *ns, struct oc_grant *grant, const uint64_t *checksum,
	    uint64_t timeout_ns)
{
	struct ring_call q;
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	r = grant_check(ns, grant);
	if (r == 0)
		r = write_seal_call(
			ns, grant, checksum ? *checksum : grant_checksum(grant),
			&q);
	return r ? r : write_round(ns->c, &q, timeout_ns, grant);
}

int oc_abandon(oc_ns *ns, struct oc_grant *grant, uint64_t timeout_ns)
{
	struct ring_call q;
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	r = write_abandon_call(ns, grant, &q);
	return r ? r : write_round(ns->c, &q, timeout_ns, grant);
}

int oc_remove(oc_ns *ns, const struct oc_key *key, uint64_t timeout_ns)
{
	struct ring_call q;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	write_remove_call(ns, key, &q);
	return write_round(ns->c, &q, timeout_ns, NULL);
}

/* ---- batches ---- */

/* What the three batches differ in. make: the i-th request; done: its answer,
 * or r when there is none. Results are stored by them. */
struct batch {
	oc_ns *ns;
	size_t n;
	uint64_t deadline, timeout_ns;
	int (*make)(struct batch *b, size_t i, struct ring_call *ret_q);
	void (*done)(struct batch *b, size_t i, int r,
		     const struct ring_answer *a);
	const struct oc_key *keys;
	const uint64_t *checksums;
	struct oc_part part;
	uint64_t bytes;
	unsigned flags;
	struct oc_grant *grants;
	int *results;
};

/* Pushes up to BATCH requests from `at` on; returns how many entries were
 * looked at. A slot of SLOTS_NONE: its result is there already. The first one
 * may wait for a slot, the others are left for the next round. */
static size_t batch_push(struct batch *b, size_t at, uint32_t *slots)
{
	size_t most = MIN(b->n - at, (size_t)BATCH), i;
	bool pushed = false;

	for (i = 0; i < most; i++) {
		struct ring_call q;
		int r = b->make(b, at + i, &q);

		slots[i] = SLOTS_NONE;
		if (r == 0) {
			q.timeout_ns = client_span(b->ns->c, b->timeout_ns);
			r = call_begin(b->ns->c, &q, CALL_WAITED,
				       pushed ? 0 : b->deadline, &slots[i]);
			if (r == -EAGAIN && pushed)
				break;
			pushed |= r == 0;
			r = r == -EAGAIN ? -ETIMEDOUT : r;
		}
		if (r)
			b->done(b, at + i, r, NULL);
	}
	if (pushed)
		call_wake(b->ns->c);
	return i;
}

static int batch_run(struct batch *b)
{
	uint32_t slots[BATCH];

	b->deadline = client_deadline(b->ns->c, b->timeout_ns);
	for (size_t at = 0; at < b->n;) {
		size_t some = batch_push(b, at, slots);

		for (size_t i = 0; i < some; i++) {
			struct ring_answer a;
			int r;

			if (slots[i] == SLOTS_NONE)
				continue;
			r = call_wait(b->ns->c, slots[i], b->deadline, &a);
			b->done(b, at + i, r, r ? NULL : &a);
		}
		at += some;
	}
	for (size_t i = 0; b->results && i < b->n; i++)
		if (b->results[i] == -ENOTCONN || b->results[i] == -ETIMEDOUT)
			return b->results[i];
	return 0;
}

static int grant_make(struct batch *b, size_t i, struct ring_call *ret_q)
{
	return write_grant_call(b->ns, &b->keys[i], b->part, b->bytes, 0,
				b->flags, ret_q, &b->grants[i]);
}

static void grant_done(struct batch *b, size_t i, int r,
		       const struct ring_answer *a)
{
	struct oc_grant asked = b->grants[i];

	b->results[i] =
		r ? r
		  : write_granted(b->ns, &asked, a, b->deadline, &b->grants[i]);
}

int oc_grant_batch_flags(oc_ns *ns, const struct oc_key *keys, size_t n,
			 struct oc_part part, uint64_t bytes, unsigned flags,
			 uint64_t timeout_ns, struct oc_grant *ret_grants,
			 int *ret_results)
{
	struct batch b = {
		.ns = ns,
		.n = n,
		.timeout_ns = timeout_ns,
		.make = grant_make,
		.done = grant_done,
		.keys = keys,
		.part = part,
		.bytes = bytes,
		.flags = flags,
		.grants = ret_grants,
		.results = ret_results,
	};

	if (client_is_child(ns->c))
		return client_child(ns->c);
	memset(ret_grants, 0, n * sizeof(*ret_grants));
	return batch_run(&b);
}

int oc_grant_batch(oc_ns *ns, const struct oc_key *keys, size_t n,
		   struct oc_part part, uint64_t bytes, uint64_t timeout_ns,
		   struct oc_grant *ret_grants, int *ret_results)
{
	return oc_grant_batch_flags(ns, keys, n, part, bytes, 0, timeout_ns,
				    ret_grants, ret_results);
}

static int seal_make(struct batch *b, size_t i, struct ring_call *ret_q)
{
	const struct oc_grant *g = &b->grants[i];
	int r = grant_check(b->ns, g);

	return r ? r
		 : write_seal_call(b->ns, g,
				   b->checksums ? b->checksums[i]
						: grant_checksum(g),
				   ret_q);
}

static int abandon_make(struct batch *b, size_t i, struct ring_call *ret_q)
{
	return write_abandon_call(b->ns, &b->grants[i], ret_q);
}

static void used_done(struct batch *b, size_t i, int r,
		      const struct ring_answer *a)
{
	if (r == 0)
		r = write_result(b->ns->c, RING_SEAL, a->result);
	if (r != -ETIMEDOUT)
		b->grants[i].data = NULL;
	if (b->results)
		b->results[i] = r;
}

int oc_seal_batch(oc_ns *ns, struct oc_grant *grants, const uint64_t *checksums,
		  size_t n, uint64_t timeout_ns, int *ret_results)
{
	struct batch b = {
		.ns = ns,
		.n = n,
		.timeout_ns = timeout_ns,
		.make = seal_make,
		.done = used_done,
		.checksums = checksums,
		.grants = grants,
		.results = ret_results,
	};

	return client_is_child(ns->c) ? client_child(ns->c) : batch_run(&b);
}

int oc_abandon_batch(oc_ns *ns, struct oc_grant *grants, size_t n,
		     uint64_t timeout_ns)
{
	struct batch b = {
		.ns = ns,
		.n = n,
		.timeout_ns = timeout_ns,
		.make = abandon_make,
		.done = used_done,
		.grants = grants,
	};
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	r = batch_run(&b);
	/* Without a place for results: what is left says that one failed. */
	for (size_t i = 0; i < n && r == 0; i++)
		if (grants[i].data)
			r = -ETIMEDOUT;
	return r;
}

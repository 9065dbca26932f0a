/* SPDX-License-Identifier: Apache-2.0 */
#include "client/reach.h"
#include <stdlib.h>

#define WINDOW ((size_t)RING_BLOB_KEYS)
#define ROW    256 /* blocks that are waited for at once */
/* A block that came up may be gone again before it is pinned. */
#define PIN_TRIES 8

/* Of a window of keys the part that was looked at. */
struct reach_window {
	size_t from, to;
};

int reach_init(struct reach *r, oc_ns *ns, const struct oc_key *keys, size_t n,
	       uint16_t rank, uint64_t deadline)
{
	size_t windows = DIV_UP(n, WINDOW);

	*r = (struct reach){ .ns = ns,
			     .keys = keys,
			     .n = n,
			     .rank = rank,
			     .deadline = deadline };
	r->place = mem_array(ns->spec.groups * n, sizeof(*r->place));
	r->window = mem_array(ns->spec.groups * windows, sizeof(*r->window));
	if (r->place && r->window)
		return 0;
	reach_fini(r);
	return client_fail(ns->c, -ENOMEM, "no memory for where blocks are");
}

void reach_fini(struct reach *r)
{
	free(r->place);
	free(r->window);
	r->place = NULL;
	r->window = NULL;
}

static struct reach_window *window_of(const struct reach *r, unsigned group,
				      size_t block)
{
	return &r->window[group * DIV_UP(r->n, WINDOW) + block / WINDOW];
}

const struct ring_place *reach_peek(const struct reach *r, unsigned group,
				    size_t block)
{
	static const struct ring_place nowhere;
	const struct reach_window *w = window_of(r, group, block);

	return block >= w->from && block < w->to
		       ? &r->place[group * r->n + block]
		       : &nowhere;
}

static struct ring_call look_call(const oc_ns *ns, uint16_t rank,
				  unsigned groups, size_t n)
{
	return (struct ring_call){
		.op = RING_LOOK,
		.part = frame_part(ns->id, 0, rank),
		.arg = n,
		.arg2 = (uint64_t)groups << RING_GROUPS_SHIFT,
	};
}

static int answered(const oc_client *c, const struct ring_call *q,
		    const struct ring_answer *a)
{
	int r = write_result(c, (enum ring_op)q->op, a->result);

	if (r)
		return r;
	if (a->loc == 0 || a->loc > q->arg)
		return client_fail(c, -EPROTO,
				   "an answer about %llu of %llu "
				   "keys",
				   (unsigned long long)a->loc,
				   (unsigned long long)q->arg);
	return 0;
}

/* One round; the places of *ret_n keys. */
static int look_round(struct reach *r, struct ring_call *q, size_t from,
		      struct ring_place *ret_places, size_t *ret_n)
{
	oc_client *c = r->ns->c;
	struct ring_answer a;
	int e = blob_take(c, r->deadline);

	if (e)
		return e;
	shared_store_bytes(c->seg->blob, q->arg * OC_KEY_BYTES, r->keys + from,
			   q->arg * OC_KEY_BYTES);
	e = blob_round(c, q, r->deadline, &a);
	if (e == 0)
		e = answered(c, q, &a);
	if (e == 0 && ret_places)
		shared_load_bytes(ret_places, a.loc * sizeof(*ret_places),
				  c->seg->blob);
	lock_drop(&c->blob);
	if (e == 0)
		*ret_n = a.loc;
	return e;
}

static int look_single(oc_ns *ns, const struct oc_key *key, uint16_t rank,
		       unsigned groups, uint64_t deadline,
		       struct ring_place *ret_place)
{
	struct ring_call q = look_call(ns, rank, groups, 1);
	uint64_t now = clock_ns();
	struct ring_answer a;
	int e;

	key_words(key, q.key);
	e = call_round(ns->c, &q, now < deadline ? deadline - now : 1, &a);
	if (e == 0)
		e = answered(ns->c, &q, &a);
	if (e == 0)
		*ret_place = (struct ring_place){
			.tier = (uint32_t)(a.arg2 >> 32),
			.tokens = (uint32_t)a.arg2,
			.bytes = a.gen,
			.expected_ns = a.arg,
		};
	return e;
}

int reach_one(oc_ns *ns, const struct oc_key *key, uint64_t part,
	      uint64_t deadline, struct ring_place *ret_place)
{
	return look_single(ns, key, frame_part_rank(part),
			   1u << frame_part_group(part), deadline, ret_place);
}

/* The part of a window from or up to a block: rows of a FULL group are asked for
 * upwards, of others from the end down. */
static int look_window(struct reach *r, unsigned group, size_t block)
{
	struct reach_window *w = window_of(r, group, block);
	size_t first = block / WINDOW * WINDOW;
	size_t end = MIN(first + WINDOW, r->n);
	size_t at = r->ns->rule[group].rule == MATCH_FULL ? block : first;
	size_t from = at;

	while (at < end) {
		struct ring_place *p = &r->place[group * r->n + at];
		struct ring_call q =
			look_call(r->ns, r->rank, 1u << group, end - at);
		size_t n = 1;
		int e = end - at > 1 ? look_round(r, &q, at, p, &n)
				     : look_single(r->ns, &r->keys[at], r->rank,
						   1u << group, r->deadline, p);

		if (e)
			return e;
		at += n;
	}
	*w = (struct reach_window){ from, end };
	return 0;
}

const struct ring_place *reach_at(struct reach *r, unsigned group, size_t block)
{
	const struct reach_window *w = window_of(r, group, block);

	if (r->error == 0 && !(block >= w->from && block < w->to))
		r->error = look_window(r, group, block);
	return reach_peek(r, group, block);
}

/* ---- bringing up ---- */

struct ring_call reach_call(const oc_ns *ns, const struct oc_key *key,
			    uint16_t rank, unsigned groups)
{
	struct ring_call q = {
		.op = RING_FETCH,
		.part = frame_part(ns->id, 0, rank),
		.arg = 1,
		.arg2 = (uint64_t)groups << RING_GROUPS_SHIFT,
	};

	key_words(key, q.key);
	return q;
}

static int fetch_part(oc_ns *ns, const struct oc_key *key, struct oc_part part,
		      uint64_t deadline)
{
	struct ring_call q = reach_call(ns, key, part.rank, 1u << part.group);
	uint64_t now = clock_ns();
	struct ring_answer a;
	int r;

	if (now >= deadline)
		return -ETIMEDOUT;
	r = call_round(ns->c, &q, deadline - now, &a);
	return r ? r : write_result(ns->c, RING_FETCH, a.result);
}

int reach_pin(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	      unsigned flags, uint64_t deadline, struct oc_pin *ret_pin)
{
	int r = OC_MISS;

	for (int i = 0; i < PIN_TRIES && r == OC_MISS; i++) {
		r = fetch_part(ns, key, part, deadline);
		if (r)
			return r;
		r = pin_one(ns->c, key, ns_part(ns, part), flags, ret_pin);
	}
	return r;
}

/* Requests under way, in a ring of their own. */
struct row {
	struct reach *reach;
	const struct reach_job *jobs;
	size_t n, pushed, taken;
	reach_done done;
	void *ctx;
	uint32_t slot[ROW];
};

static void row_tell(struct row *w, int result)
{
	const struct reach_job *job = &w->jobs[w->taken++];

	if (w->done)
		w->done(w->ctx, job, result);
}

/* As many as have room. Only a first one waits for a slot. */
static int row_push(struct row *w)
{
	struct reach *r = w->reach;
	oc_client *c = r->ns->c;
	bool pushed = false;
	int e = 0;

	while (e == 0 && w->pushed < w->n && w->pushed - w->taken < ROW) {
		const struct reach_job *job = &w->jobs[w->pushed];
		struct ring_call q = reach_call(r->ns, &r->keys[job->block],
						r->rank, job->groups);
		uint64_t now = clock_ns();

		if (now >= r->deadline) {
			e = -ETIMEDOUT;
			break;
		}
		q.timeout_ns = r->deadline - now;
		e = call_begin(c, &q, CALL_WAITED,
			       w->pushed > w->taken ? 0 : r->deadline,
			       &w->slot[w->pushed % ROW]);
		w->pushed += e == 0;
		pushed |= e == 0;
	}
	if (pushed)
		call_wake(c);
	return e == -EAGAIN && w->pushed > w->taken ? 0 : e;
}

void reach_fetch(struct reach *r, const struct reach_job *jobs, size_t n,
		 reach_done done, void *ctx)
{
	struct row w = {
		.reach = r, .jobs = jobs, .n = n, .done = done, .ctx = ctx
	};
	int e = 0;

	while (w.taken < n) {
		struct ring_answer a;
		int got;

		if (e == 0)
			e = row_push(&w);
		if (w.taken == w.pushed) { /* and no more will be */
			w.pushed++;
			row_tell(&w, e == -EAGAIN ? -ETIMEDOUT : e);
			continue;
		}
		got = call_wait(r->ns->c, w.slot[w.taken % ROW], r->deadline,
				&a);
		if (got == 0)
			got = write_result(r->ns->c, RING_FETCH, a.result);
		row_tell(&w, got);
	}
}

int reach_ahead(struct reach *r, const struct reach_job *jobs, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t row = 1, did = 0;
		struct ring_call q;
		int e;

		while (i + row < n && row < WINDOW &&
		       jobs[i + row].block == jobs[i].block + row &&
		       jobs[i + row].groups == jobs[i].groups)
			row++;
		q = reach_call(r->ns, &r->keys[jobs[i].block], r->rank,
			       jobs[i].groups);
		q.arg = row;
		q.arg2 |= RING_FETCH_AHEAD;
		e = look_round(r, &q, jobs[i].block, NULL, &did);
		if (e < 0)
			return e;
		i += e ? row : did; /* a part that has left meanwhile: go on */
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/store/talk.h"

const struct world_config talk_world = {
	.limit = 8 * 65536,
	.slab_bytes = 65536,
	.sessions = { .max = 40,
		      .per_client = 24,
		      .keys = 2 * SESSION_NODES * SESSION_NODE_KEYS,
		      .keys_per_client = SESSION_NODES * SESSION_NODE_KEYS,
		      .lease_ms = TALK_LEASE,
		      .lease_max_ms = 10 * TALK_LEASE },
};

const struct world_config talk_two = {
	.limit = 2 * TALK_EACH * PART_BYTES,
	.slab_bytes = 2 * TALK_EACH * PART_BYTES,
	.sessions = { .max = 40,
		      .per_client = 40,
		      .keys = 2 * SESSION_NODES * SESSION_NODE_KEYS,
		      .keys_per_client = SESSION_NODES * SESSION_NODE_KEYS,
		      .lease_ms = 100000000,
		      .lease_max_ms = 1000000000 },
};

struct ring_call talk_open_call(const char *name, unsigned flags)
{
	struct ring_call call = { .op = RING_SESSION_OPEN,
				  .part = PART,
				  .arg = flags };

	ring_call_set_name(&call, name ? name : "");
	return call;
}

int64_t talk_open(struct sim *c, const char *name, unsigned flags,
		  uint64_t *ret_id)
{
	int64_t r = sim_call(c, talk_open_call(name, flags));

	*ret_id = c->w->last.loc;
	return r;
}

int64_t talk_fork(struct sim *c, uint64_t parent, uint64_t keep,
		  const char *name, uint64_t *ret_id)
{
	struct ring_call call = { .op = RING_SESSION_FORK,
				  .part = keep,
				  .arg = parent };
	int64_t r;

	ring_call_set_name(&call, name ? name : "");
	r = sim_call(c, call);
	*ret_id = c->w->last.loc;
	return r;
}

struct ring_call talk_append_call(struct sim *c, uint64_t id, uint32_t at,
				  uint64_t first, uint32_t n)
{
	struct ring_call call = { .op = RING_SESSION_APPEND,
				  .arg = id,
				  .arg2 = (uint64_t)at << 32 | n };
	shared_u64 *blob = c->cs->blob;

	CHECK_INT(n, <=, RING_BLOB_KEYS);
	key_of(first, call.key);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t key[4];

		key_of(first + i, key);
		for (unsigned k = 0; k < 4; k++)
			atomic_store_explicit(&blob[i * 4 + k], key[k],
					      memory_order_relaxed);
	}
	return call;
}

int64_t talk_append(struct sim *c, uint64_t id, uint32_t at, uint64_t first,
		    uint32_t n)
{
	return sim_call(c, talk_append_call(c, id, at, first, n));
}

int64_t talk_state(struct sim *c, uint64_t id, enum ring_state what,
		   uint64_t expected_ms, uint64_t lease_ms)
{
	return sim_call(c, (struct ring_call){ .op = RING_SESSION_STATE,
					       .arg = id,
					       .arg2 = what,
					       .loc = expected_ms,
					       .gen = lease_ms });
}

struct ring_call talk_tail_call(struct sim *c, uint64_t id, uint64_t n,
				uint32_t tokens, uint32_t keys,
				enum ring_tail then,
				const struct ring_answer *grant)
{
	struct ring_call call = seal_of(c, n, PART, grant);

	call.op = RING_SESSION_TAIL;
	call.extent = frame_extent(PART_BYTES, tokens);
	call.arg = id;
	call.arg2 = (uint64_t)keys << 32 | then;
	return call;
}

bool talk_alive(void *ctx, uint64_t client)
{
	(void)ctx;
	return client != 0;
}

struct session_record *talk_record(struct world *w, uint64_t id)
{
	return pool_session_at(w->p, id);
}

void talk_is(struct world *w, uint64_t id, uint64_t first, uint32_t n)
{
	const struct session_record *r = talk_record(w, id);
	uint64_t(*keys)[4] = calloc(n + 1, sizeof(*keys)), key[4];

	CHECK(r);
	CHECK_INT(pool_session_keys(w->p, r), ==, n);
	if (n)
		history_read(&w->p->sessions->history, shared_load64(&r->head),
			     0, n, keys);
	for (uint32_t i = 0; i < n; i++) {
		key_of(first + i, key);
		CHECK_MEM(keys[i], key, sizeof(key));
	}
	free(keys);
}

struct session_said talk_said(struct world *w, uint64_t id)
{
	const struct session_record *r = talk_record(w, id);
	struct session_said said;

	CHECK(r);
	store_session_say(w->s, w->p, r, true, &said);
	return said;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/cache_trace.h"
#include "base/fault.h"
#include "base/hash.h"
#include <errno.h>
#include <stdlib.h>

#define DISTINCT_MAX (1u << 30)
#define SLOTS_FIRST  (1u << 12)

void sim_trace_init(struct sim_trace *t)
{
	*t = (struct sim_trace){ 0 };
}

void sim_trace_fini(struct sim_trace *t)
{
	free(t->request);
	free(t->block);
	free(t->id);
	free(t->used);
	free(t->next);
	free(t->slot);
	sim_trace_init(t);
}

/* Room for `need` elements in *array. */
static int reserve(void *array, uint64_t *cap, uint64_t need, size_t each)
{
	void **at = array;
	uint64_t more = round_up_pow2(MAX(need, 256ull));
	void *p;

	if (need <= *cap)
		return 0;
	p = mem_grow(*at, more, each);
	if (!p)
		return -ENOMEM;
	*at = p;
	*cap = more;
	return 0;
}

static uint32_t *slot_of(const struct sim_trace *t, uint64_t id)
{
	uint64_t i = hash_bytes(&id, sizeof(id), 0);

	for (;; i++) {
		uint32_t *s = &t->slot[i & (t->slots - 1)];

		if (!*s || t->id[*s - 1] == id)
			return s;
	}
}

/* At most half full, so that a search ends soon. */
static int rehash(struct sim_trace *t)
{
	uint64_t slots = t->slots ? t->slots * 2 : SLOTS_FIRST;
	uint32_t *fresh;

	if (t->distinct * 2ull < t->slots)
		return 0;
	fresh = mem_array(slots, sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	free(t->slot);
	t->slot = fresh;
	t->slots = slots;
	for (uint32_t i = 0; i < t->distinct; i++)
		*slot_of(t, t->id[i]) = i + 1;
	return 0;
}

static int reserve_ids(struct sim_trace *t)
{
	uint64_t cap = t->id_cap;
	int r = reserve(&t->used, &cap, t->distinct + 1ull, sizeof(*t->used));

	if (r)
		return r;
	return reserve(&t->id, &t->id_cap, t->distinct + 1ull, sizeof(*t->id));
}

static int dense(struct sim_trace *t, uint64_t id, uint32_t *ret_dense)
{
	uint32_t *s;
	int r = rehash(t);

	if (r)
		return r;
	s = slot_of(t, id);
	if (!*s) {
		if (t->distinct == DISTINCT_MAX)
			return -E2BIG;
		r = reserve_ids(t);
		if (r)
			return r;
		t->id[t->distinct] = id;
		t->used[t->distinct] = 0;
		*s = ++t->distinct;
	}
	*ret_dense = *s - 1;
	return 0;
}

static uint32_t kind_of(const char *agent, uint64_t model)
{
	if (!agent[0] && !model)
		return 0;
	return (uint32_t)hash_bytes(agent, strlen(agent), model) | 1;
}

static int add_next(struct sim_trace *t, const struct trace_request *r)
{
	int err = reserve(&t->next, &t->next_cap, t->nexts + r->n_next,
			  sizeof(*t->next));

	for (size_t i = 0; !err && i < r->n_next; i++) {
		const struct trace_next *n = &r->next[i];

		t->next[t->nexts++] = (struct sim_next){
			n->session,
			n->in_ms,
			kind_of(n->agent, n->model),
		};
	}
	return err;
}

static uint64_t time_of(struct sim_trace *t, uint64_t at_ms)
{
	uint64_t last = t->requests ? t->request[t->requests - 1].at_ms : 0;

	if (at_ms >= last)
		return at_ms;
	t->late++;
	return last;
}

int sim_trace_add(struct sim_trace *t, const struct trace_request *r)
{
	struct sim_request *q;
	uint32_t n = 0, b = 0;
	int err;

	if (r->n_ids > TRACE_IDS_MAX)
		return -E2BIG;
	err = reserve(&t->request, &t->request_cap, t->requests + 1,
		      sizeof(*t->request));
	if (!err)
		err = reserve(&t->block, &t->block_cap, t->blocks + r->n_ids,
			      sizeof(*t->block));
	for (size_t i = 0; !err && i < r->n_ids; i++) {
		err = dense(t, r->ids[i], &b);
		if (err || t->used[b] == t->requests + 1)
			continue;
		t->used[b] = t->requests + 1;
		t->block[t->blocks + n++] = b;
	}
	if (!err)
		err = add_next(t, r);
	if (err)
		return err;
	q = &t->request[t->requests];
	*q = (struct sim_request){
		.at_ms = time_of(t, r->timestamp_ms),
		.session = r->session,
		.first = t->blocks,
		.n = n,
		.input = (uint32_t)MIN(r->input_length, UINT32_MAX),
		.output = (uint32_t)MIN(r->output_length, UINT32_MAX),
		.kind = kind_of(r->agent, r->model),
		.stop = r->stop,
		.n_next = (uint32_t)r->n_next,
		.first_next = t->nexts - r->n_next,
	};
	t->requests++;
	t->blocks += n;
	return 0;
}

int sim_trace_load(struct sim_trace *t, struct trace_source *s)
{
	const struct trace_request *q;
	int r = 0;

	while (!r) {
		r = trace_next(s, &q);
		if (r == TRACE_END)
			return 0;
		if (!r)
			r = sim_trace_add(t, q);
	}
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's protocol for the bench: its store with clients' segments, all in
 * this process; the steps of a pin and of a request as the library takes them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "bench_coherence.h"
#include "coherence/pin.h"
#include "store/store.h"

#define PINS  256u
#define LIMIT (128ull << 20)
#define SLAB  (512ull << 10)

struct actor {
	struct segment segment;
	struct client_segment *seg;
	struct store_client *client;
	uint64_t seq, tail, touch;
};

struct local {
	struct watch *w;
	struct store *store;
	struct pool *pool;
	uint64_t part;
	unsigned n;
	bool answered; /* a grant that waited for its slab */
	struct ring_answer late;
	struct actor actor[COHERENCE_ACTORS];
	uint8_t frame[COHERENCE_BLOCKS][COHERENCE_BYTES];
};

/* Nobody keeps anything: this node ends with the bench. */
static int no_hold(void *ctx, const struct hold_tag *tag, int fd)
{
	(void)ctx;
	(void)tag;
	(void)fd;
	return 0;
}

static void no_drop(void *ctx, const struct hold_tag *tag)
{
	(void)ctx;
	(void)tag;
}

static const struct hold_ops no_keeper = { no_hold, no_drop, NULL };

static void on_answer(void *ctx, struct store_client *c,
		      const struct ring_call *call,
		      const struct ring_answer *answer)
{
	struct local *l = ctx;

	(void)c;
	(void)call;
	l->late = *answer;
	l->answered = true;
}

static void on_client(void *ctx, struct store_client *c)
{
	(void)ctx;
	(void)c;
}

static void local_destroy(void *ctx)
{
	struct local *l = ctx;

	store_destroy(l->store);
	for (unsigned i = 0; i < l->n; i++)
		segment_close(&l->actor[i].segment);
	free(l);
}

static int add_actor(struct local *l, unsigned i)
{
	struct store_client_info info = { .pins = PINS, .name = "bench" };
	struct actor *a = &l->actor[i];
	int r = segment_create("onecopy-bench", client_segment_bytes(PINS, 0),
			       0, &a->segment);

	if (r < 0)
		return r;
	l->n = i + 1;
	a->seg = a->segment.base;
	a->seq = RING_SLOTS;
	r = store_client_add(l->store, l->pool, &info, a->seg, &a->client);
	if (r < 0)
		return r;
	store_client_publish(a->client);
	return 0;
}

static int open_ns(struct local *l)
{
	struct ns_spec spec;
	int64_t id;

	memset(&spec, 0, sizeof(spec));
	spec.block_tokens = 16;
	spec.ranks = 1;
	spec.groups = 1;
	spec.group[0].slices = 1;
	spec.group[0].slice_bytes = COHERENCE_BYTES;
	id = store_ns_open(l->pool, &spec);
	if (id < 0)
		return (int)id;
	l->part = frame_part((uint32_t)id, 0, 0);
	return 0;
}

static int node_open(unsigned actors, struct watch *w, struct local **ret)
{
	struct local *l = mem_alloc(sizeof(*l));
	struct store_options options = {
		.limit_bytes = LIMIT,
		.slab_bytes = SLAB,
		.grants_per_client = 1024,
		.slab_percent = 100,
		.hold = &no_keeper,
		.answer = on_answer,
		.announce = on_client,
		.ended = on_client,
		.ctx = l,
	};
	int r;

	if (!l)
		return -ENOMEM;
	l->w = w;
	for (unsigned i = 0; i < COHERENCE_ACTORS; i++)
		l->actor[i].segment = SEGMENT_NONE;
	r = store_create(&options, &l->store);
	if (r == 0)
		r = store_pool_add(l->store, "bench", 0, &l->pool);
	if (r == 0)
		r = open_ns(l);
	for (unsigned i = 0; i < actors && r == 0; i++)
		r = add_actor(l, i);
	if (r < 0) {
		local_destroy(l);
		return r;
	}
	*ret = l;
	return 0;
}

static void key_of(uint64_t block, uint64_t key[4])
{
	for (unsigned i = 0; i < 4; i++)
		key[i] = (block + 1) * 0x9e3779b97f4a7c15ull + i;
}

static void step(struct local *l)
{
	if (l->w)
		watch_step(l->w);
}

/* One request there and back: C1 to C3 and S1 to S3 of wire/ring.h. */
static int64_t ask(struct local *l, struct actor *a, struct ring_call *call,
		   uint32_t backlog, struct ring_answer *answer)
{
	uint32_t slot = (uint32_t)(a->tail % RING_SLOTS);
	struct ring_call seen;

	call->slot = slot;
	call->seq = a->seq + a->tail++;
	ring_req_store(&a->seg->req[slot], call, false);
	shared_store32(&a->seg->ring[slot], slot);
	shared_store64_release(&a->seg->header.tail, a->tail);
	shared_fence();
	step(l);
	if (!ring_req_load(&a->seg->req[slot], &a->seg->resp[slot], slot,
			   &seen))
		return -EPROTO;
	l->answered = false;
	if (store_call(a->client, &seen, backlog, false, answer) ==
	    STORE_LATER) {
		for (unsigned i = 0; i < 8 && !l->answered; i++) {
			store_ready(l->store, clock_ns());
			store_tick(l->store, clock_ns());
		}
		if (!l->answered)
			return -ETIMEDOUT;
		*answer = l->late;
	}
	ring_resp_store(&a->seg->resp[slot], seen.seq, answer);
	step(l);
	if (l->w)
		l->w->messages += 2;
	return answer->result;
}

/* What was there goes, and another filling takes its place. */
static int put(struct local *l, struct actor *a, uint64_t block,
	       uint32_t backlog)
{
	struct ring_call call = { .op = RING_GRANT,
				  .part = l->part,
				  .extent = frame_extent(COHERENCE_BYTES, 0),
				  .timeout_ns = NS_PER_S };
	struct ring_answer grant;
	uint32_t frame;
	struct pool_slab *s;
	int64_t r;

	key_of(block, call.key);
	r = ask(l, a, &call, backlog, &grant);
	if (r)
		return r < 0 ? (int)r : -EEXIST;
	s = pool_locate(l->pool, grant.loc, &frame);
	/* the owner writes through a mapping of its own; one is enough here */
	(void)pool_payload(s, frame).base;
	call.op = RING_SEAL;
	call.loc = grant.loc;
	call.gen = grant.gen;
	call.checksum = block;
	return (int)ask(l, a, &call, 0, &grant);
}

static int local_write(void *ctx, unsigned actor, unsigned block)
{
	struct local *l = ctx;
	struct actor *a = &l->actor[actor];
	struct ring_call call = { .op = RING_REMOVE, .part = l->part };
	struct ring_answer answer;
	int64_t r;

	key_of(block, call.key);
	r = ask(l, a, &call, 0, &answer);
	if (r < 0)
		return (int)r;
	/* the payload, once: into what stands for the frame */
	memset(l->frame[block], (int)a->tail, COHERENCE_BYTES);
	return put(l, a, block, 0);
}

/* R0 to R5 of coherence/pin.h, and the touch. */
static int local_read(void *ctx, unsigned actor, unsigned block)
{
	struct local *l = ctx;
	struct actor *a = &l->actor[actor];
	struct client_header *h = &a->seg->header;
	shared_u64 *slot = &a->seg->slots[0];
	const struct frame_desc *d;
	uint64_t key[4], entry, gen, loc;
	unsigned cursor = 0;
	struct pool_slab *s;
	uint32_t frame;

	key_of(block, key);
	entry = table_probe(&l->pool->table, table_hash(key, l->part), &cursor);
	s = entry ? pool_locate(l->pool, table_word_loc(entry), &frame) : NULL;
	if (!s)
		return -ENOENT;
	loc = table_word_loc(entry);
	d = &s->desc[frame];
	gen = frame_word_gen(shared_load64_acquire(&d->word));
	if (shared_load64(&h->pin_high) == 0)
		shared_store64(&h->pin_high, 1);
	pin_publish(slot, loc, gen);
	shared_fence();
	if (!pin_holds(d, gen) || !frame_is(d, key, l->part))
		return -ENOENT;
	step(l);
	pin_clear(slot);
	shared_store64(&a->seg->touch[a->touch++ % TOUCH_RING],
		       pin_word(loc, gen));
	shared_store64_release(&h->touch_tail, a->touch);
	step(l);
	store_touches(a->client);
	step(l);
	return 0;
}

/* Clients' segments and all of the node's metadata. */
static int local_watch(void *ctx)
{
	struct local *l = ctx;
	struct pool *p = l->pool;
	int r = watch_add(l->w, p->m, POOL_META_BYTES);

	if (r == 0)
		r = watch_add(l->w, p->index_segment.base,
			      p->index_segment.bytes);
	for (unsigned i = 0; i < l->n && r == 0; i++)
		r = watch_add(l->w, l->actor[i].segment.base,
			      l->actor[i].segment.bytes);
	for (uint32_t id = 1; id < p->slab_end && r == 0; id++)
		if (p->slab[id])
			r = watch_add(l->w, p->slab[id]->desc,
				      p->slab[id]->desc_segment.bytes);
	return r;
}

static int local_create(unsigned actors, struct watch *w, void **ret_ctx)
{
	struct local *l;
	int r = node_open(actors, w, &l);

	if (r < 0)
		return r;
	*ret_ctx = l;
	return 0;
}

const struct coherence_ops coherence_onecopy = {
	.name = "onecopy",
	.create = local_create,
	.watch = local_watch,
	.read = local_read,
	.write = local_write,
	.destroy = local_destroy,
};

int coherence_scans(unsigned frames, uint64_t *ret_scans)
{
	struct local *l;
	uint64_t before, evicted;
	uint64_t full = LIMIT / COHERENCE_BYTES;
	int r = node_open(2, NULL, &l);

	if (r < 0)
		return r;
	for (uint64_t i = 0; i < full && r == 0; i++)
		r = put(l, &l->actor[0], i, 0);
	before = pool_counter(l->pool, POOL_C_pin_scans);
	evicted = pool_counter(l->pool, POOL_C_evicted);
	/* so many requests wait behind the first: their frames leave at once */
	for (uint64_t i = 0; i < frames && r == 0; i++)
		r = put(l, &l->actor[0], full + i, frames - 1 - (uint32_t)i);
	*ret_scans = pool_counter(l->pool, POOL_C_pin_scans) - before;
	if (r == 0 && pool_counter(l->pool, POOL_C_evicted) - evicted != frames)
		r = -EPROTO;
	local_destroy(l);
	return r;
}

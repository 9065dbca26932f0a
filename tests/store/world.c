/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/store/world.h"
#include "base/hash.h"

/* A client's own stores are not the server's: they have a hook of their own. */
#ifdef ONECOPY_RECORD
shared_hook world_client_hook;
#define CLIENT_STORES                           \
	shared_hook hook_ = shared_record_hook; \
	shared_record_hook = world_client_hook
#define CLIENT_STORES_END shared_record_hook = hook_
#else
#define CLIENT_STORES	  (void)0
#define CLIENT_STORES_END (void)0
#endif

void key_of(uint64_t n, uint64_t key[4])
{
	key[0] = n * 0x9e3779b97f4a7c15ull;
	key[1] = n;
	key[2] = ~n;
	key[3] = 7;
}

/* ---- the world ------------------------------------------------------------ */

static void on_answer(void *ctx, struct store_client *c,
		      const struct ring_call *call,
		      const struct ring_answer *answer)
{
	struct sim *sim = c->door;
	struct world *w = ctx;

	if (c->local) {
		w->local_answers++;
		if (w->local_answer)
			w->local_answer(w, call, answer);
		return;
	}
	CHECK(sim->c == c);
	ring_resp_store(&sim->cs->resp[call->slot], call->seq, answer);
}

static void on_announce(void *ctx, struct store_client *c)
{
	(void)ctx;
	((struct sim *)c->door)->announced++;
}

static void drop_holds(struct world *w, uint64_t id)
{
	for (uint32_t k = HOLD_CLIENT_SEG; k <= HOLD_CLIENT_PIDFD; k++) {
		struct hold_tag tag = { k, w->p->number, id };

		fake_hold_drop(&w->k, &tag);
	}
}

static void on_ended(void *ctx, struct store_client *c)
{
	struct sim *sim = c->door;

	drop_holds(ctx, c->id);
	((struct world *)ctx)->ended++;
	sim->c = NULL;
}

void world_options(struct world *w)
{
	w->hold = fake_hold_ops(&w->k);
	w->options.hold = &w->hold;
	w->options.answer = on_answer;
	w->options.announce = on_announce;
	w->options.ended = on_ended;
	w->options.ctx = w;
}

struct world *world_create(const struct world_config *config)
{
	return world_create_with(config, NULL);
}

struct world *world_create_with(const struct world_config *config,
				const struct policy_ops *policy)
{
	struct world *w = calloc(1, sizeof(*w));

	CHECK(w);
	w->options = (struct store_options){
		.limit_bytes = config->limit,
		.policy = policy,
		.slab_bytes = config->slab_bytes,
		.prefill_rate = config->prefill_rate,
		.prefill_growth_ps = config->prefill_growth_ps,
		.grants_per_client = config->grants ? config->grants : 1000,
		.slab_percent = config->percent ? config->percent : 100,
		.scrub_bytes_per_s = config->scrub,
		.sessions = config->sessions,
		.history_bytes = 1 << 16,
		.low_bytes = config->low,
		.low = { .kind = config->low_kind ? config->low_kind
						  : SEGMENT_STANDIN,
			 .fd = -1 },
	};
	world_options(w);
	w->now = WORLD_SEC;
	CHECK_OK(store_create(&w->options, &w->s));
	CHECK_OK(store_pool_add(w->s, "test", config->quota, &w->p));
	/* no successor measures memory: that is what most of a run would be */
	for (unsigned i = 0; i < LAYOUT_TIERS; i++)
		shared_store64(&w->p->m->tier[i].measured_ms, 1);
	store_tick(w->s, w->now);
	CHECK_INT(world_ns(w, 1, 1, PART_BYTES, 0), ==, 1);
	return w;
}

uint32_t world_ns(struct world *w, uint16_t groups, uint16_t ranks,
		  uint64_t bytes, unsigned salt)
{
	struct ns_spec spec;
	int64_t id;

	memset(&spec, 0, sizeof(spec));
	spec.block_tokens = 16;
	spec.ranks = ranks;
	spec.groups = groups;
	spec.weights[0] = (uint8_t)salt;
	for (unsigned g = 0; g < groups; g++) {
		spec.group[g].slices = 1;
		spec.group[g].slice_bytes = bytes;
	}
	id = store_ns_open(w->p, &spec);
	CHECK_INT(id, >, 0);
	return (uint32_t)id;
}

void world_destroy(struct world *w)
{
	store_destroy(w->s);
	for (unsigned i = 0; i < SIMS; i++)
		segment_close(&w->sim[i].seg);
	fake_hold_fini(&w->k);
	free(w);
}

void world_ready(struct world *w)
{
	store_ready(w->s, w->now);
}

void world_tick(struct world *w, uint64_t pass_ns)
{
	w->now += pass_ns;
	store_tick(w->s, w->now);
}

static void on_problem(void *ctx, const char *text)
{
	(void)ctx;
	FAIL("%s", text);
}

static void check_held(struct world *w, enum hold_kind kind, uint64_t id,
		       int mine)
{
	int fd = fake_hold_find(&w->k, kind, w->p->number, id);
	uint64_t a, b;

	CHECK(fd >= 0);
	CHECK_OK(segment_identity(fd, &a));
	CHECK_OK(segment_identity(mine, &b));
	CHECK_INT(a, ==, b); /* the memory that is used, not another's */
}

/* Bytes in DRAM; *ret_low: and low ones. */
static uint64_t check_slabs(struct world *w, uint64_t *ret_low)
{
	uint64_t bytes = 0, low = 0, n = 0;

	for (uint32_t id = 1; id < w->p->slab_end; id++) {
		const struct pool_slab *s = w->p->slab[id];

		if (!s)
			continue;
		n++;
		*(s->low ? &low : &bytes) += s->payload.bytes;
		CHECK(s->low == segment_is_low(s->payload.kind));
		check_held(w, HOLD_DESC, hold_slab_id(id, s->gen),
			   s->desc_segment.fd);
		check_held(w, HOLD_PAYLOAD, hold_slab_id(id, s->gen),
			   s->payload.fd);
	}
	CHECK_INT(fake_hold_count(&w->k, HOLD_DESC), ==, n);
	CHECK_INT(fake_hold_count(&w->k, HOLD_PAYLOAD), ==, n);
	*ret_low = low;
	return bytes;
}

static uint64_t granted_to(struct world *w, uint64_t owner)
{
	uint64_t n = 0;

	for (uint32_t id = 1; id < w->p->slab_end; id++) {
		struct pool_slab *s = w->p->slab[id];

		for (uint32_t f = 0; s && f < s->frames; f++)
			n += pool_frame_state(s, f) == FRAME_GRANTED &&
			     shared_load64(&s->desc[f].owner) == owner;
	}
	return n;
}

struct pool_checked world_check(struct world *w)
{
	struct pool_checked seen;
	uint64_t low, slabs = check_slabs(w, &low), granted = 0;

	store_check(w->s, w->p, on_problem, NULL, &seen);
	CHECK_INT(w->s->budget.used, >=, slabs);
	CHECK_INT(w->s->budget.used, <=, w->s->budget.limit);
	CHECK_INT(w->s->low.budget.used, >=, low);
	CHECK_INT(w->s->low.budget.used, <=, w->s->low.budget.limit);
	check_held(w, HOLD_META, 0, w->p->meta_segment.fd);
	check_held(w, HOLD_INDEX, shared_load64(&w->p->m->header.index_epoch),
		   w->p->index_segment.fd);
	CHECK_INT(fake_hold_count(&w->k, HOLD_INDEX), ==, 1);
	CHECK_INT(fake_hold_count(&w->k, HOLD_META), ==, 1);
	for (unsigned i = 0; i < SIMS; i++) {
		struct sim *c = &w->sim[i];

		if (!c->c)
			continue;
		CHECK_INT(c->c->granted, ==, granted_to(w, c->id));
		granted += c->c->granted;
	}
	if (w->s->local[w->p->number]) {
		CHECK_INT(w->s->local[w->p->number]->granted, ==,
			  granted_to(w, CLIENT_SERVER));
		granted += w->s->local[w->p->number]->granted;
	}
	CHECK_INT(granted, ==, seen.granted);
	return seen;
}

/* ---- clients -------------------------------------------------------------- */

static void hold_client(struct world *w, struct sim *c)
{
	/* The segment stands for the other descriptors as well: nothing looks
	 * into them here. */
	for (uint32_t k = HOLD_CLIENT_SEG; k <= HOLD_CLIENT_PIDFD; k++) {
		struct hold_tag tag = { k, w->p->number, c->id };

		CHECK_OK(fake_hold_hold(&w->k, &tag, c->seg.fd));
	}
}

struct sim *sim_add(struct world *w, unsigned i)
{
	struct store_client_info info = { .pid = 100 + i,
					  .pins = SIM_PINS,
					  .overflow = SIM_OVER,
					  .name = "sim" };
	struct sim *c = &w->sim[i];

	segment_close(&c->seg);
	*c = (struct sim){ .w = w };
	CHECK_OK(segment_create("sim", client_segment_bytes(SIM_PINS, SIM_OVER),
				0, &c->seg));
	c->cs = c->seg.base;
	c->seq = RING_SLOTS;
	c->alive = true;
	CHECK_OK(store_client_add(w->s, w->p, &info, c->cs, &c->c));
	c->id = c->c->id;
	c->c->door = c;
	hold_client(w, c);
	store_client_publish(c->c);
	return c;
}

void sim_die(struct sim *c)
{
	struct world *w = c->w;
	struct store_client *sc = c->c;

	c->alive = false;
	if (!sc)
		return;
	store_client_died(sc);
	c->c = NULL;
	drop_holds(w, c->id);
}

bool sim_close(struct sim *c)
{
	bool gone = store_client_close(c->c);

	c->closed = true;
	c->n_grants = 0;
	if (gone) {
		drop_holds(c->w, c->id);
		c->c = NULL;
	}
	return gone;
}

void sim_let_go(struct sim *c)
{
	CLIENT_STORES;

	shared_store64_release(
		&c->cs->header.let_go_epoch,
		shared_load64_acquire(&c->w->p->m->header.region_epoch));
	CLIENT_STORES_END;
}

/* ---- requests ------------------------------------------------------------- */

struct ring_call call_of(enum ring_op op, uint64_t n, uint64_t part)
{
	struct ring_call call = { .op = op, .part = part };

	key_of(n, call.key);
	return call;
}

void sim_push(struct sim *c, struct ring_call *call)
{
	CLIENT_STORES;

	call->seq = c->seq++;
	call->slot = (uint32_t)(call->seq % RING_SLOTS);
	c->slot = call->slot;
	ring_req_store(&c->cs->req[call->slot], call, false);
	CLIENT_STORES_END;
}

/* What a client remembers of its answers. */
static void remember(struct sim *c, const struct ring_req *req,
		     const struct ring_answer *a)
{
	uint64_t op = shared_load64(&req->op);

	if (op == RING_GRANT && a->result == 0) {
		CHECK_INT(c->n_grants, <, SIM_GRANTS);
		c->grant[c->n_grants++] = *a;
		return;
	}
	if (op != RING_ABANDON && op != RING_SEAL)
		return;
	for (uint32_t i = 0; i < c->n_grants; i++)
		if (a->result >= 0 &&
		    c->grant[i].loc == shared_load64(&req->loc) &&
		    c->grant[i].gen == shared_load64(&req->gen))
			c->grant[i--] = c->grant[--c->n_grants];
}

int64_t sim_answer(struct sim *c, uint32_t slot)
{
	const struct ring_req *req = &c->cs->req[slot];

	if (!ring_resp_load(&c->cs->resp[slot], shared_load64(&req->seq),
			    &c->w->last))
		return SIM_LATER;
	if (c->taken[slot] != shared_load64(&req->seq))
		remember(c, req, &c->w->last);
	c->taken[slot] = shared_load64(&req->seq);
	return c->w->last.result;
}

int64_t sim_serve(struct sim *c, uint32_t slot, bool repeat)
{
	struct ring_call call;
	struct ring_answer answer = { 0 };

	if (!ring_req_load(&c->cs->req[slot], &c->cs->resp[slot], slot, &call))
		return sim_answer(c, slot);
	if (store_call(c->c, &call, 0, repeat, &answer) == STORE_LATER)
		return SIM_LATER;
	ring_resp_store(&c->cs->resp[slot], call.seq, &answer);
	return sim_answer(c, slot);
}

int64_t sim_call(struct sim *c, struct ring_call call)
{
	sim_push(c, &call);
	return sim_serve(c, call.slot, false);
}

int64_t sim_grant(struct sim *c, uint64_t n, uint64_t part, uint64_t timeout)
{
	struct ring_call call = call_of(RING_GRANT, n, part);

	call.timeout_ns = timeout;
	return sim_call(c, call);
}

int64_t sim_grant_wait(struct sim *c, uint64_t n, uint64_t part)
{
	int64_t r = sim_grant(c, n, part, WORLD_SEC);
	uint32_t slot = c->slot;

	if (r != SIM_LATER)
		return r;
	world_ready(c->w);
	return sim_answer(c, slot);
}

void world_fill(uint64_t n, uint64_t part, uint8_t *buf)
{
	for (unsigned i = 0; i < PART_BYTES; i++)
		buf[i] = (uint8_t)(n * 7 + part + i);
}

uint64_t world_sum(uint64_t n, uint64_t part, const uint8_t *buf)
{
	uint64_t key[4];
	uint8_t bytes[32];

	key_of(n, key);
	memcpy(bytes, key, sizeof(bytes));
	return hash_payload(buf, PART_BYTES,
			    hash_part_seed(bytes, frame_part_group(part),
					   frame_part_rank(part)));
}

struct ring_call seal_of(struct sim *c, uint64_t n, uint64_t part,
			 const struct ring_answer *grant)
{
	struct ring_call call = call_of(RING_SEAL, n, part);
	const struct pool_slab *s;
	uint8_t buf[PART_BYTES];
	uint32_t frame;

	world_fill(n, part, buf);
	s = pool_locate(c->w->p, grant->loc, &frame);
	CHECK(s);
	CHECK_INT(s->owner, ==, c->id);
	CHECK_INT(pwrite(s->payload.fd, buf, sizeof(buf),
			 (off_t)(frame * s->frame_bytes)),
		  ==, sizeof(buf));
	call.loc = grant->loc;
	call.gen = grant->gen;
	call.extent = frame_extent(PART_BYTES, 0);
	call.checksum = world_sum(n, part, buf);
	return call;
}

int64_t sim_seal(struct sim *c, uint64_t n, uint64_t part,
		 const struct ring_answer *grant)
{
	return sim_call(c, seal_of(c, n, part, grant));
}

int64_t sim_abandon(struct sim *c, const struct ring_answer *grant)
{
	struct ring_call call = call_of(RING_ABANDON, 0, 0);

	call.loc = grant->loc;
	call.gen = grant->gen;
	return sim_call(c, call);
}

void sim_put(struct sim *c, uint64_t n, uint64_t part)
{
	struct ring_answer grant;

	CHECK_OK(sim_grant_wait(c, n, part));
	grant = c->w->last;
	CHECK_OK(sim_seal(c, n, part, &grant));
}

static struct pool_slab *find(struct world *w, uint64_t n, uint64_t part,
			      uint32_t *ret_frame)
{
	uint64_t key[4];

	key_of(n, key);
	return pool_find(w->p, key, part, ret_frame);
}

bool sim_pin(struct sim *c, uint32_t slot, uint64_t n, uint64_t part)
{
	struct client_header *h = &c->cs->header;
	uint32_t frame;
	struct pool_slab *s = find(c->w, n, part, &frame);
	uint64_t gen;
	bool held;

	if (!s)
		return false;
	CLIENT_STORES;
	gen = pool_frame_gen(s, frame);
	if (shared_load64(&h->pin_high) <= slot)
		shared_store64(&h->pin_high, slot + 1);
	pin_publish(&c->cs->slots[slot], frame_loc(s->id, frame), gen);
	shared_fence();
	held = pin_holds(&s->desc[frame], gen);
	if (!held)
		pin_clear(&c->cs->slots[slot]);
	CLIENT_STORES_END;
	return held;
}

void sim_unpin(struct sim *c, uint32_t slot)
{
	CLIENT_STORES;

	pin_clear(&c->cs->slots[slot]);
	CLIENT_STORES_END;
}

void sim_touch(struct sim *c, uint64_t n, uint64_t part)
{
	struct client_header *h = &c->cs->header;
	uint64_t tail = shared_load64(&h->touch_tail);
	uint32_t frame;
	struct pool_slab *s = find(c->w, n, part, &frame);

	CHECK(s);
	CLIENT_STORES;
	shared_store64(&c->cs->touch[tail % TOUCH_RING],
		       pin_word(frame_loc(s->id, frame),
				pool_frame_gen(s, frame)));
	shared_store64_release(&h->touch_tail, tail + 1);
	CLIENT_STORES_END;
}

bool world_has(struct world *w, uint64_t n, uint64_t part)
{
	uint8_t want[PART_BYTES], have[PART_BYTES];
	uint32_t frame;
	struct pool_slab *s = find(w, n, part, &frame);

	if (!s)
		return false;
	world_fill(n, part, want);
	CHECK_INT(pread(s->payload.fd, have, sizeof(have),
			(off_t)(frame * s->frame_bytes)),
		  ==, sizeof(have));
	CHECK_MEM(have, want, sizeof(want));
	CHECK_INT(shared_load64(&s->desc[frame].checksum), ==,
		  world_sum(n, part, want));
	CHECK_INT(frame_extent_bytes(shared_load64(&s->desc[frame].extent)), ==,
		  PART_BYTES);
	return true;
}

/* ---- death and succession ------------------------------------------------- */

void world_die(struct world *w)
{
	store_destroy(w->s);
	w->s = NULL;
	w->p = NULL;
	for (unsigned i = 0; i < SIMS; i++)
		w->sim[i].c = NULL;
}

static bool is_alive(void *ctx, uint64_t id)
{
	struct world *w = ctx;

	for (unsigned i = 0; i < SIMS; i++)
		if (w->sim[i].id == id && w->sim[i].alive)
			return fake_hold_find(&w->k, HOLD_CLIENT_PIDFD, 0,
					      id) >= 0;
	return false;
}

int world_attach(struct world *w)
{
	int r;

	w->given = fake_hold_give(&w->k);
	CHECK_OK(store_create(&w->options, &w->s));
	w->s->now_ns = w->now; /* deadlines count from the world's time */
	r = store_pool_attach(w->s, 0, &w->given, is_alive, w, &w->p);
	if (r == 0)
		store_pool_serve(w->p);
	return r;
}

static void adopt(struct world *w, uint32_t index)
{
	uint64_t id = shared_load64(&w->p->m->client[index].id);
	bool held = true;
	unsigned i = 0;

	while (i < SIMS && w->sim[i].id != id)
		i++;
	CHECK_INT(i, <, SIMS);
	for (uint32_t k = HOLD_CLIENT_SEG; k <= HOLD_CLIENT_PIDFD; k++) {
		int fd = hold_set_take(&w->given, (enum hold_kind)k, 0, id);

		held = held && fd >= 0;
		fd_close(fd);
	}
	if (!held) {
		drop_holds(w, id);
		store_client_forget(w->p, index);
		return;
	}
	CHECK_OK(store_client_adopt(w->s, w->p, index, w->sim[i].cs,
				    &w->sim[i].c));
	w->sim[i].c->door = &w->sim[i];
	if (w->sim[i].c->closed)
		w->sim[i].c->segment = NULL;
	/* of the dead too, as the door does: their end is seen afterwards */
	for (uint32_t slot = 0; slot < RING_SLOTS; slot++) {
		struct ring_call call;

		if (!w->sim[i].c->closed &&
		    ring_req_load(&w->sim[i].cs->req[slot],
				  &w->sim[i].cs->resp[slot], slot, &call))
			sim_serve(&w->sim[i], slot, true);
	}
	if (!w->sim[i].alive)
		sim_die(&w->sim[i]);
	else if (w->sim[i].closed && !w->sim[i].c->closed)
		sim_close(&w->sim[i]);
}

void world_adopt(struct world *w)
{
	for (uint32_t i = 0; i < LAYOUT_CLIENTS_MAX; i++)
		if (shared_load64(&w->p->m->client[i].id))
			adopt(w, i);
	/* as the server does: last */
	hold_set_fini(&w->given, &w->hold);
}

void world_restart(struct world *w)
{
	world_die(w);
	CHECK_OK(world_attach(w));
	world_adopt(w);
}

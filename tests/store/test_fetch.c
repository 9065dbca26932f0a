/* SPDX-License-Identifier: Apache-2.0 */
/* What clients ask of a tier below: a fake one, which ends moves as told. */
#include <errno.h>
#include "base/fault.h"
#include "tests/store/deep.h"

#define ALL_RANKS frame_part(1, 0, RING_RANK_ALL)

/* Straight into the fake tier. */
static void put_below(struct deep *d, uint64_t n, uint32_t ns, uint16_t ranks)
{
	struct tier_space space = { 0 };
	uint64_t digest[4];
	uint32_t number;

	shared_load_words(digest, d->w->p->m->ns[ns - 1].digest, 4);
	memcpy(space.digest, digest, sizeof(space.digest));
	shared_load_bytes(space.tenant, sizeof(space.tenant),
			  d->w->p->m->header.tenant);
	CHECK_OK(d->f->tier.ops->space(&d->f->tier, &space, &number));
	for (uint16_t rank = 0; rank < ranks; rank++) {
		uint64_t part = frame_part(ns, 0, rank);
		struct fake_part *p = d->f->part;

		while (p->used)
			p++;
		CHECK(p < d->f->part + FAKE_PARTS);
		p->used = true;
		key_of(n, p->id.key);
		p->id.space = number;
		p->id.part = (uint32_t)part;
		p->data = malloc(PART_BYTES);
		world_fill(n, part, p->data);
		p->block.checksum = world_sum(n, part, p->data);
		p->block.extent = frame_extent(PART_BYTES, 0);
	}
}

/* A world whose tier is not attached yet, so that it counts what is put there. */
static void open_world(struct deep *d)
{
	const struct world_config config = { .limit = 8 * DEEP_SLAB,
					     .slab_bytes = DEEP_SLAB };

	*d = (struct deep){ .w = world_create(&config),
			    .f = fake_tier_create() };
	d->a = sim_add(d->w, 0);
}

/* Block 1 is resident; 2, 4, 5 and 6 are below. There is room. */
static void begin(struct deep *d)
{
	static const uint64_t below[] = { 2, 4, 5, 6 };

	open_world(d);
	for (size_t i = 0; i < ARRAY_LEN(below); i++)
		put_below(d, below[i], 1, 1);
	CHECK_OK(store_below_attach(d->w->s, &d->f->tier));
	deep_put(d, 1, 1);
	CHECK(world_has(d->w, 1, PART));
	CHECK(!world_has(d->w, 2, PART));
}

static struct ring_call look_of(uint64_t n)
{
	struct ring_call call = call_of(RING_LOOK, n, ALL_RANKS);

	call.arg = 1;
	return call;
}

static struct ring_call fetch_of(uint64_t n, uint64_t timeout)
{
	struct ring_call call = call_of(RING_FETCH, n, ALL_RANKS);

	call.arg = 1;
	call.timeout_ns = timeout;
	return call;
}

static void blob_keys(struct sim *c, uint64_t first, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t key[4];

		key_of(first + i, key);
		shared_store_words(c->cs->blob + 4 * i, key, 4);
	}
}

static struct ring_place place_at(struct sim *c, size_t i)
{
	struct ring_place p;

	shared_load_bytes(&p, sizeof(p), c->cs->blob + 3 * i);
	return p;
}

/* Lets a request that waits come to its end. */
static int64_t settle(struct deep *d, struct sim *c, uint32_t slot)
{
	int64_t r = sim_answer(c, slot);

	d->f->by_itself = true;
	for (unsigned i = 0; i < 1000 && r == SIM_LATER; i++) {
		sim_let_go(c);
		world_tick(d->w, WORLD_SEC / 500);
		world_ready(d->w);
		r = sim_answer(c, slot);
	}
	d->f->by_itself = false;
	return r;
}

/* Until the tier has the read, which waits for the test. */
static void in_flight(struct deep *d, unsigned moves)
{
	for (unsigned i = 0; i < 500 && d->f->n_moves < moves; i++) {
		sim_let_go(d->a);
		world_tick(d->w, WORLD_SEC / 500);
		world_ready(d->w);
	}
	CHECK_INT(d->f->n_moves, ==, moves);
}

TEST(a_look_tells_where_blocks_are)
{
	struct deep d;
	struct ring_call call;

	begin(&d);
	CHECK_OK(sim_call(d.a, look_of(1)));
	CHECK_INT(d.w->last.arg2 >> 32, ==, OC_TIER_DRAM);
	CHECK_INT(d.w->last.gen, ==, 0);
	CHECK_OK(sim_call(d.a, look_of(2)));
	CHECK_INT(d.w->last.arg2 >> 32, ==, OC_TIER_NVME);
	CHECK_INT(d.w->last.gen, ==, PART_BYTES);
	CHECK_INT(d.w->last.loc, ==, 1);
	CHECK_OK(sim_call(d.a, look_of(3)));
	CHECK_INT(d.w->last.arg2 >> 32, ==, OC_TIER_NONE);
	call = look_of(1);
	call.arg = 3;
	blob_keys(d.a, 1, 3);
	CHECK_OK(sim_call(d.a, call));
	CHECK_INT(d.w->last.loc, ==, 3);
	CHECK_INT(place_at(d.a, 0).tier, ==, OC_TIER_DRAM);
	CHECK_INT(place_at(d.a, 1).tier, ==, OC_TIER_NVME);
	CHECK_INT(place_at(d.a, 1).bytes, ==, PART_BYTES);
	CHECK_INT(place_at(d.a, 2).tier, ==, OC_TIER_NONE);
	/* behind the first that is nowhere nothing is of use */
	blob_keys(d.a, 0, 3);
	CHECK_OK(sim_call(d.a, call));
	CHECK_INT(place_at(d.a, 1).tier, ==, OC_TIER_NONE);
	CHECK_INT(d.f->reads, ==, 0);
	deep_end(&d);
}

static bool is_priced(const struct pool *p)
{
	const struct tier_record *t = &p->m->tier[OC_TIER_NVME];

	return shared_load64(&t->kind) == OC_TIER_NVME &&
	       shared_load64(&t->measured_ms) && shared_load64(&t->bytes_per_s);
}

/* Clients ask only where there is a price: at once, and in each pool. */
TEST(a_tier_that_has_read_nothing_has_a_price)
{
	struct deep d;
	struct pool *late;

	open_world(&d);
	CHECK(!is_priced(d.w->p));
	CHECK_OK(store_below_attach(d.w->s, &d.f->tier));
	CHECK(is_priced(d.w->p));
	CHECK_OK(store_pool_add(d.w->s, "late", 0, &late));
	CHECK(is_priced(late));
	world_destroy(d.w);
	fake_tier_destroy(d.f);
}

TEST(a_fetch_waits_until_it_is_resident)
{
	struct deep d;
	struct sim *b;
	uint32_t slot;

	begin(&d);
	b = sim_add(d.w, 1);
	CHECK_OK(sim_call(d.a, fetch_of(1, WORLD_SEC)));
	CHECK_INT(sim_call(d.a, fetch_of(3, WORLD_SEC)), ==, OC_MISS);
	CHECK_INT(sim_call(d.a, fetch_of(2, 0)), ==, -ETIMEDOUT);
	CHECK_INT(sim_call(d.a, fetch_of(2, WORLD_SEC)), ==, SIM_LATER);
	CHECK_INT(sim_call(b, fetch_of(2, WORLD_SEC)), ==, SIM_LATER);
	in_flight(&d, 1);
	slot = d.a->slot;
	CHECK_INT(sim_answer(d.a, slot), ==, SIM_LATER);
	CHECK_INT(settle(&d, d.a, slot), ==, 0);
	CHECK_OK(sim_answer(b, b->slot));
	CHECK(world_has(d.w, 2, PART));
	CHECK_INT(d.f->reads, ==, 1);
	CHECK_INT(d.a->c->fetches, ==, 0);
	CHECK_INT(d.a->c->fetching, ==, 0);
	deep_end(&d);
}

TEST(what_cannot_be_read_is_a_miss)
{
	struct deep d;

	begin(&d);
	CHECK_INT(sim_call(d.a, fetch_of(2, WORLD_SEC)), ==, SIM_LATER);
	in_flight(&d, 1);
	fake_tier_end(d.f, 0, -EIO);
	CHECK_INT(settle(&d, d.a, d.a->slot), ==, OC_MISS);
	CHECK(!world_has(d.w, 2, PART));
	deep_end(&d);
}

TEST(a_deadline_and_a_cancel_answer)
{
	struct ring_call cancel = { .op = RING_CANCEL };
	struct deep d;
	uint32_t slot;

	begin(&d);
	CHECK_INT(sim_call(d.a, fetch_of(2, WORLD_SEC / 10)), ==, SIM_LATER);
	slot = d.a->slot;
	in_flight(&d, 1);
	world_tick(d.w, WORLD_SEC / 10);
	CHECK_INT(sim_answer(d.a, slot), ==, -ETIMEDOUT);
	deep_rest(&d);
	CHECK_INT(sim_call(d.a, fetch_of(4, WORLD_SEC)), ==, SIM_LATER);
	slot = d.a->slot;
	cancel.arg = slot;
	cancel.arg2 = shared_load64(&d.a->cs->req[slot].seq);
	CHECK_OK(sim_call(d.a, cancel));
	CHECK_INT(sim_answer(d.a, slot), ==, -ECANCELED);
	CHECK_INT(sim_call(d.a, cancel), ==, OC_STALE);
	CHECK_INT(d.a->c->fetches, ==, 0);
	deep_rest(&d);
	deep_end(&d);
}

/* A client that closes or dies leaves nothing that is told of it. */
TEST(the_end_of_a_client_ends_its_fetches)
{
	for (int dies = 0; dies < 2; dies++) {
		struct deep d;
		struct sim *b;

		begin(&d);
		b = sim_add(d.w, 1);
		CHECK_INT(sim_call(b, fetch_of(2, WORLD_SEC)), ==, SIM_LATER);
		in_flight(&d, 1);
		if (dies)
			sim_die(b);
		else
			sim_close(b);
		CHECK(d.w->s->fetch.first == NULL);
		fake_tier_end_all(d.f);
		world_tick(d.w, WORLD_SEC / 500);
		deep_rest(&d);
		deep_end(&d);
	}
}

/* The next server reads the slot again, and nothing else of the client's. */
TEST(a_fetch_outlives_the_server)
{
	struct deep d;
	uint32_t slot;

	begin(&d);
	CHECK_INT(sim_call(d.a, fetch_of(2, WORLD_SEC)), ==, SIM_LATER);
	slot = d.a->slot;
	in_flight(&d, 1);
	blob_keys(d.a, 100, 64); /* another question meanwhile */
	deep_restart(&d, false);
	/* asked again before its tier is there, or after: both are answers */
	if (settle(&d, d.a, slot) == OC_MISS)
		CHECK_INT(sim_call(d.a, fetch_of(2, WORLD_SEC)), ==, SIM_LATER);
	CHECK_OK(settle(&d, d.a, d.a->slot));
	CHECK(world_has(d.w, 2, PART));
	deep_rest(&d);
	deep_end(&d);
}

TEST(fetches_ahead_are_begun_and_answered)
{
	struct ring_call call = fetch_of(2, 0);
	struct deep d;

	begin(&d);
	call.arg2 = RING_FETCH_AHEAD;
	CHECK_OK(sim_call(d.a, call));
	CHECK_INT(d.w->last.gen, ==, 1);
	deep_rest(&d);
	CHECK(world_has(d.w, 2, PART));
	CHECK_OK(sim_call(d.a, call));
	CHECK_INT(d.w->last.gen, ==, 0);
	key_of(3, call.key);
	CHECK_INT(sim_call(d.a, call), ==, OC_MISS);
	call.arg = 4; /* two, and two that are nowhere */
	blob_keys(d.a, 5, 4);
	CHECK_OK(sim_call(d.a, call));
	CHECK_INT(d.w->last.loc, ==, 4);
	CHECK_INT(d.w->last.gen, ==, 2);
	deep_rest(&d);
	CHECK(world_has(d.w, 5, PART) && world_has(d.w, 6, PART));
	deep_end(&d);
}

static void refused(struct deep *d, struct ring_call call)
{
	CHECK_INT(sim_call(d->a, call), ==, -EINVAL);
	call.op = RING_LOOK;
	if (call.arg != 2)
		CHECK_INT(sim_call(d->a, call), ==, -EINVAL);
	call.op = RING_FETCH;
	call.arg2 |= RING_FETCH_AHEAD;
	if (call.arg != 2)
		CHECK_INT(sim_call(d->a, call), ==, -EINVAL);
}

TEST(nonsense_is_refused)
{
	struct ring_call call = fetch_of(2, WORLD_SEC);
	uint32_t other;
	struct deep d;

	begin(&d);
	call.arg = 0;
	refused(&d, call);
	call.arg = RING_BLOB_KEYS + 1;
	refused(&d, call);
	call.arg = UINT64_MAX;
	refused(&d, call);
	call.arg = 2; /* who waits has one key */
	refused(&d, call);
	call = fetch_of(2, WORLD_SEC);
	call.arg2 = 2;
	refused(&d, call);
	call.arg2 = 2ull << RING_GROUPS_SHIFT; /* there is one group */
	refused(&d, call);
	call.arg2 = 1ull << 63;
	refused(&d, call);
	call.arg2 = 0;
	call.part = frame_part(1, 0, 1);
	refused(&d, call);
	call.part = frame_part(99, 0, RING_RANK_ALL);
	refused(&d, call);
	call.part = UINT64_MAX;
	refused(&d, call);
	/* a key of another namespace is another key */
	other = world_ns(d.w, 1, 1, PART_BYTES, 7);
	call.part = frame_part(other, 0, RING_RANK_ALL);
	CHECK_INT(sim_call(d.a, call), ==, OC_MISS);
	CHECK_INT(d.f->reads, ==, 0);
	CHECK(d.w->s->fetch.first == NULL);
	deep_end(&d);
}

/* The largest window of keys that a client can ask for, whatever is in it. */
TEST(a_full_blob_is_looked_at)
{
	struct ring_call call = look_of(1);
	struct deep d;

	begin(&d);
	call.arg = RING_BLOB_KEYS;
	blob_keys(d.a, 1, RING_BLOB_KEYS);
	CHECK_OK(sim_call(d.a, call));
	CHECK_INT(d.w->last.loc, ==, RING_BLOB_KEYS);
	CHECK_INT(place_at(d.a, 1).tier, ==, OC_TIER_NVME);
	CHECK_INT(place_at(d.a, RING_BLOB_KEYS - 1).tier, ==, OC_TIER_NONE);
	/* of many parts a request looks at so many, and says of how many keys */
	call.part = frame_part(world_ns(d.w, 2, 32, 64, 9), 0, RING_RANK_ALL);
	CHECK_OK(sim_call(d.a, call));
	CHECK_INT(d.w->last.loc, ==, RING_REACH_PARTS / 64);
	deep_end(&d);
}

/* A slot that is used again before it was answered harms who does it. */
TEST(a_slot_used_twice)
{
	struct ring_call call = fetch_of(2, WORLD_SEC), again;
	struct deep d;

	begin(&d);
	sim_push(d.a, &call);
	CHECK_INT(sim_serve(d.a, call.slot, false), ==, SIM_LATER);
	CHECK_INT(sim_serve(d.a, call.slot, false), ==, SIM_LATER);
	CHECK_INT(d.a->c->fetches, ==, 1);
	again = call;
	again.seq += RING_SLOTS;
	ring_req_store(&d.a->cs->req[call.slot], &again, false);
	CHECK_INT(sim_serve(d.a, call.slot, false), ==, SIM_LATER);
	CHECK_INT(d.a->c->fetches, ==, 1);
	CHECK_OK(settle(&d, d.a, call.slot));
	deep_end(&d);
}

/* More than is done at once for one client waits for what is under way. */
TEST(too_many_parts_wait_their_turn)
{
	enum { RANKS = 64, BLOCKS = 20 };
	uint32_t slot[BLOCKS], ns;
	struct deep d;

	open_world(&d);
	ns = world_ns(d.w, 1, RANKS, PART_BYTES, 5);
	for (uint64_t n = 0; n < BLOCKS; n++)
		put_below(&d, 1 + n, ns, RANKS);
	CHECK_OK(store_below_attach(d.w->s, &d.f->tier));
	for (uint64_t n = 0; n < BLOCKS; n++) {
		struct ring_call call = fetch_of(1 + n, 100 * WORLD_SEC);

		call.part = frame_part(ns, 0, RING_RANK_ALL);
		CHECK_INT(sim_call(d.a, call), ==, SIM_LATER);
		slot[n] = call.slot = d.a->slot;
	}
	CHECK_INT(d.a->c->fetches, ==, BLOCKS);
	CHECK_INT(d.a->c->fetching, ==, 1024);
	CHECK_INT(d.w->s->fetch.parked, ==, BLOCKS - 16);
	for (uint64_t n = 0; n < BLOCKS; n++)
		CHECK_INT(settle(&d, d.a, slot[n]), ==, 0);
	CHECK_INT(d.w->s->fetch.parked, ==, 0);
	CHECK_INT(d.f->reads, ==, RANKS * BLOCKS);
	deep_rest(&d);
	deep_end(&d);
}

TEST(no_memory_to_wait)
{
	struct deep d;
	int refusals = 0;
	int64_t r;

	begin(&d);
	for (uint64_t i = 1;; i++) {
		fault_arm(FAULT_ALLOC, i, false);
		r = sim_call(d.a, fetch_of(2, WORLD_SEC));
		if (!fault_fired())
			break;
		fault_arm(0, 0, false);
		if (r ==
		    SIM_LATER) /* refused further in: a miss, or tried on */
			r = settle(&d, d.a, d.a->slot);
		CHECK(r == 0 || r == -ENOMEM || r == OC_MISS);
		CHECK_INT(d.a->c->fetches, ==, 0);
		if (r == 0)
			break;
		refusals++;
	}
	fault_arm(0, 0, false);
	CHECK_INT(refusals, >=, 2);
	if (r == SIM_LATER)
		CHECK_OK(settle(&d, d.a, d.a->slot));
	CHECK(world_has(d.w, 2, PART));
	deep_end(&d);
}
